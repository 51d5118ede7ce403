"""What a flow's detail asks for, and what it takes from an answer."""

from types import SimpleNamespace

import pytest

from cttui.model.messages import Answer, Ask
from cttui.model.pages import EventPage, EventRow, Owner
from cttui.model.table import Health
from cttui.ui.detail import FlowDetail
from cttui.ui.pasts import Pasts
from tests.ui import samples


def _detail(pasts: Pasts, monkeypatch: pytest.MonkeyPatch) -> tuple[FlowDetail, list[str]]:
    detail = FlowDetail(samples.flow(0), pasts, lambda *_: None)
    shown: list[str] = []

    def show(paragraphs: list[str | tuple[str, str]]) -> None:
        shown[:] = [p if isinstance(p, str) else p[0] for p in paragraphs]

    monkeypatch.setattr(detail, "query_one", lambda _: SimpleNamespace(show=show))
    return detail, shown


def test_a_frozen_flow_does_not_change_back(monkeypatch: pytest.MonkeyPatch) -> None:
    pasts = Pasts()
    detail, _ = _detail(pasts, monkeypatch)
    frozen = samples.flow(0, state=1)
    pasts.see(
        Answer(seq=0, at=1.0, table=samples.table(), health=Health(), flows=samples.page([frozen])), now=10.0
    )
    event = EventRow(
        kind=1, time_ns=11_000_000_000, flow=samples.flow(0, state=3)
    )  # after the moment on screen
    asked = detail.amend(Ask(seq=1, at=1.0))
    told = EventPage(rows=[event], last=1, newest=1) if asked.events is not None else None
    answer = Answer(
        seq=1, at=2.0, table=samples.table(), health=Health(), flows=samples.page([frozen]), events=told
    )
    pasts.see(answer, now=12.0)
    past = pasts.past(frozen.key)
    assert past is not None and past.changes == []
    assert detail.amend(Ask(seq=2)).events is not None


def test_owners_of_another_flow_are_not_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    detail, shown = _detail(Pasts(), monkeypatch)
    owner = Owner(end="source", program="curl", pids=[7], user="alice")
    for other in (0, 1):
        page = samples.page([samples.flow(other)], owners=[owner])
        detail.heard(Answer(seq=1, at=1.0, table=samples.table(), health=Health(), flows=page))
        assert any("curl" in line for line in shown) == (other == 0)
