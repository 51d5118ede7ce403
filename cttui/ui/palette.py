"""The command palette: every action that can work here, found by its name, id, key or the words of its help."""

import re
from functools import partial
from typing import TYPE_CHECKING, cast

from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.content import Content

from cttui.ui import actions

if TYPE_CHECKING:
    from cttui.ui.program import Program

BY_HELP, BY_ID, BY_KEY = 0.01, 0.02, 10.0
"""Textual's fuzzy matcher gives a name about 0.1 to 2 points: it comes before its help, a key before both."""


class Commands(Provider):
    """Over the dashboard all actions, over another screen those that work on every one."""

    def _offered(self) -> list[tuple[actions.Action, str]]:
        """(action, its key)."""
        program = cast("Program", self.app)
        here = program.dashboard.situation
        everywhere = self.screen is not program.dashboard
        return [
            (action, program.key(action.id))
            for action in actions.ACTIONS
            if action.id != "palette"
            and here.allows(action)
            and (action.id in actions.APP_IDS or not everywhere)
        ]

    def _do(self, action: actions.Action) -> "partial[None]":
        return partial(cast("Program", self.app).act, action.id)

    async def discover(self) -> Hits:
        for action, key in sorted(self._offered(), key=lambda offered: offered[0].label):
            yield DiscoveryHit(
                _shown(Content(action.label), key), self._do(action), action.label, action.help
            )

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        for action, key in self._offered():
            score = BY_KEY if query == key else matcher.match(action.label)
            if not score and _has(action.id, query):
                score = BY_ID
            elif not score and _has(action.help, query):
                score = BY_HELP
            if score:
                name = matcher.highlight(action.label)
                yield Hit(score, _shown(name, key), self._do(action), action.label, action.help)


def _shown(name: Content, key: str) -> Content:
    return Content.assemble(name, f"  ({key})") if key else name


def _has(text: str, query: str) -> bool:
    """Whether every word of the query begins a word of the text."""
    words = _words(text)
    return all(any(word.startswith(one) for word in words) for one in _words(query))


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.lower())
