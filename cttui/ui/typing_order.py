"""Keys in their order: each is carried out before the next one is handed to a widget.

Textual gives a key to the widget in focus as soon as it arrives, and carries out its binding when it has bubbled up
to the application. Over a slow line several arrive at once: of `/dport=80` all but the `/` would go to the flow
table, where they are commands, because the field that the `/` opens is not there yet.
"""

import asyncio
from collections import deque
from typing import Any

from textual import events
from textual.app import App
from textual.message import Message

QUIET = 2
"""Rounds in which neither screen nor focus changed: then a key is done. A dialog opens in the one after its key."""
LOST_S = 0.3
"""A message to a widget that is being taken down is lost: another is sent then."""


class Behind(Message):
    """Takes the way of a key, behind it: when it arrives, so has the key."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


class TypingOrder(App[None]):
    """See the module."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self._typed: deque[events.Key] = deque()
        self._quiet = QUIET
        """Quiet rounds since the last key was handed over."""
        self._round = 0
        self._seen: tuple[object, object] = (None, None)

    async def on_event(self, event: events.Event) -> None:
        """Keys wait for those before them."""
        if not isinstance(event, events.Key) or event.is_forwarded:
            await super().on_event(event)
        elif self._quiet < QUIET:
            self._typed.append(event)
        else:
            await self._hand_over(event)

    async def _hand_over(self, key: events.Key) -> None:
        self._quiet = 0
        await super().on_event(key)
        self._follow()

    def _follow(self) -> None:
        if not self.is_running or not self.screen_stack:
            return
        self._round += 1
        self._seen = (self.screen, self.focused)
        (self.focused or self.screen).post_message(Behind(self._round))
        asyncio.get_running_loop().call_later(LOST_S, self._again, self._round)

    def _again(self, number: int) -> None:
        if number == self._round and self._quiet < QUIET:
            self._follow()

    async def on_behind(self, message: Behind) -> None:
        """A round is over."""
        message.stop()
        if message.number != self._round or self._quiet >= QUIET:
            return
        self._quiet = self._quiet + 1 if self._seen == (self.screen, self.focused) else 0
        if self._quiet < QUIET:
            self._follow()
        elif self._typed:
            await self._hand_over(self._typed.popleft())
