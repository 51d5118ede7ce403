"""`cttui events` ends when it was asked to, however much there is to tell."""

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from test_store import flow

from cttui.cli import events
from cttui.client.targets import Target
from cttui.model.messages import Ask
from cttui.model.pages import EventPage, EventRow

BEFORE_END = 5_000


class Flood:
    """A probe that has heard of ten thousand events more at each question."""

    def __init__(self) -> None:
        self.newest = BEFORE_END - 10_000

    def next_seq(self) -> int:
        return 1

    async def do(self, _: object) -> None:
        """Listening is on."""

    async def ask(self, ask: Ask) -> Any:
        assert ask.events is not None and self.newest < 200_000, "it never ends"
        self.newest += 10_000
        first, last = ask.events.after, min(ask.events.after + ask.events.count, self.newest)
        rows = [EventRow(kind=0, time_ns=1, flow=flow(1))] * (last - first)
        page = EventPage(rows=rows, last=last, newest=self.newest)
        health = SimpleNamespace(events_lost=0, events_attached=True)
        return SimpleNamespace(events=page, health=health, notices=[], tunables=None)


@pytest.mark.parametrize(("count", "lines"), [(None, BEFORE_END), (7, 7), (BEFORE_END + 1, BEFORE_END)])
def test_a_flood_ends_with_the_time(
    count: int | None, lines: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def with_link(_: object, work: Callable[[Any], Awaitable[None]]) -> None:
        asyncio.run(work(Flood()))  # type: ignore[arg-type]

    monkeypatch.setattr(events, "with_link", with_link)
    monkeypatch.setattr(events, "need", lambda *_: None)
    events.run(Target("host", "host", ()), "", "new", count, 0.0, "table")
    assert len(capsys.readouterr().out.splitlines()) == lines
