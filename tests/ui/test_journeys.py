"""Journeys on screen: as words, and as a table at every size."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from packet_samples import tcp
from textual.app import App, ComposeResult

from cttui.model.packet import Journey, JourneysReading, JourneyStep
from cttui.ui import capture, theme
from cttui.ui import journey_text as text
from cttui.ui.cells import Cells
from cttui.ui.widgets.journey_table import JourneyTable

Play = Callable[..., Any]
STAGES = ["raw PREROUTING", "conntrack", "mangle PREROUTING", "filter INPUT", "delivered"]
HOSTILE = "\x1b[31m[bold]x[/foo]\n\u202e"


def step(chain: str, kind: str = "policy", verdict: str = "accept", **more: Any) -> JourneyStep:
    return JourneyStep(
        time_ns=1000, family=more.pop("family", "ip"), table=more.pop("table", "raw"), chain=chain, kind=kind,
        verdict=verdict, hook=more.pop("hook", "prerouting"), **more,
    )  # fmt: skip


def journey(i: int, *, lost: bool = False, **more: Any) -> Journey:
    """Packet `i` of a burst: delivered, or lost in conntrack."""
    steps = [
        step("PREROUTING", "rule", "continue", rule="rule 1: -j CT"),
        step("conntrack", "stage", "passed", family="", table="", ct_state="new"),
        step("input", "stage", "passed", family="", table="", hook="input", ct_state="new"),
    ]
    if lost:
        steps = [steps[0], step("", "vanished", "in conntrack: table full", family="", table="")]
    defaults: dict[str, Any] = {
        "trace_id": i, "line": "IP …", "steps": steps, "data": tcp(10000 + i),
        "end": "in conntrack: table full" if lost else "delivered", "ended_ok": not lost,
        "cells": ["passed", "vanished", *["not reached"] * 3] if lost else ["passed"] * 5,
        "flow_id": None if lost else 7000 + i, "flow_key": 0 if lost else 5000 + i,
    }  # fmt: skip
    return Journey(**{**defaults, **more})


def reading(n: int = 10, lost: int = 3, **more: Any) -> JourneysReading:
    journeys = [journey(i, lost=i >= n - lost) for i in range(n)]
    ends = [("delivered", n - lost), ("in conntrack: table full", lost)]
    return JourneysReading(
        **{
            "stages": STAGES,
            "journeys": journeys,
            "total": n,
            "ends": ends,
            "why": "tracing every packet",
            **more,
        }
    )


# ---------------------------------------------------------------- words


def test_ends_and_limits_in_words() -> None:
    assert text.ends_words(reading()) == "7 delivered, 3 in conntrack: table full"
    many = reading(ends=[(f"end {i}", 9 - i) for i in range(9)])
    assert text.ends_words(many, most=2) == "9 end 0, 8 end 1, 28 elsewhere"
    assert text.limits_words(reading()) == ""
    assert text.limits_words(reading(total=5000, capped=12)).startswith("capped at 5,000: 12 more packets")
    assert "overflowed 2 times" in text.limits_words(JourneysReading(lost=2))


def test_the_banner_says_what_a_trace_waits_for_and_how_far_it_is() -> None:
    why = "tracing packets that match udp, until 1,000 packets or 30 s"
    waiting = JourneysReading(armed=True, why=why)
    assert text.trace_words(waiting) == "tracing, no packet yet: udp, until 1,000 packets or 30 s"
    ends = [("delivered", 7), ("dropped by filter INPUT rule 1: -p udp -j DROP", 3)]
    said = "10 so far: 7 delivered, 3 dropped by filter INPUT rule 1"
    assert text.trace_words(reading(armed=True, ends=ends)) == f"tracing, {said}"
    assert text.trace_words(reading(capped=2)) == "traced 10 of 12: 7 delivered, 3 in conntrack: table full"


def test_a_packet_is_made_of_what_the_trace_quotes() -> None:
    row = text.packet_of(journey(3))
    assert text.packet_label(journey(3)) == "198.51.100.2:10003 > 192.0.2.1:80 [S]"
    assert (row.length, row.ethertype, row.fate) == (40, 0x0800, "delivered")
    assert text.packet_of(journey(0, data=b"")).length == 0
    six = bytes.fromhex("6000000000140640") + bytes(32) + bytes(20)
    assert (text.packet_of(journey(0, data=six)).ethertype, text.packet_of(journey(0, data=six)).length) == (
        0x86DD,
        60,
    )


def test_the_way_of_a_packet() -> None:
    lines = [line if isinstance(line, str) else line[0] for line in text.timeline(journey(0), "l")]
    assert lines == [
        "198.51.100.2:10000 > 192.0.2.1:80 [S]",
        "end         delivered",
        "  PREROUTING",
        "    raw PREROUTING  rule 1: -j CT → continue",
        "    conntrack       passed  [new]",
        "  INPUT",
        "    input           passed  [new]",
        "flow        conntrack id 7000; l shows it",
    ]
    lost = text.journey_text(journey(9, lost=True))
    assert "\nend         in conntrack: table full\n" in lost
    assert lost.endswith("flow        none: no entry was made for it")


def test_tables_to_copy_say_every_cell_in_words() -> None:
    words = text.as_text(reading())
    assert words.startswith("10 packets traced: 7 delivered, 3 in conntrack: table full\n")
    assert (
        "8. 198.51.100.2:10007 > 192.0.2.1:80 [S]: in conntrack: table full\n   raw PREROUTING: passed\n   conntrack: vanished"
        in words
    )
    rows = text.as_markdown(reading(capped=2)).splitlines()
    table = [line for line in rows if line.startswith("|")]
    assert len(table) == 12 and {line.count("|") for line in table} == {len(STAGES) + 4}
    assert "capped at 10" in rows[2]
    assert text.journey_markdown(journey(0)).count("\n| ") == 4


def test_hostile_words_stay_words() -> None:
    bad = journey(0, end=HOSTILE, steps=[step(HOSTILE, "rule", HOSTILE, rule=HOSTILE + "|", table=HOSTILE)])
    odd = reading(1, 0, journeys=[bad], ends=[(HOSTILE, 1)], stages=[HOSTILE] * 5)
    for made in (
        text.as_text(odd),
        text.as_markdown(odd),
        text.journey_text(bad),
        text.journey_markdown(bad),
    ):
        assert "\x1b" not in made and "\u202e" not in made


def test_what_a_trace_may_be_armed_for() -> None:
    assert capture.judge("src=10.0.0.0/8 dport=443", pcap=False) == ("", -1)
    assert capture.judge("", pcap=False) == ("", -1)
    assert capture.judge("dprt=443", pcap=False)[0].startswith("'dprt' is no word")
    assert capture.judge("state=SYN_SENT", pcap=False)[0].startswith("A packet has no state")
    assert "no pcap expression" in capture.judge("pcap: tcp", pcap=False)[0]
    assert capture.judge("pcap: tcp", pcap=True) == ("", -1)
    assert capture.judge("pcap: ", pcap=True)[0]
    assert capture.number_between("5,000", 1, 5000) == ""
    for wrong in ("", "0", "5001", "x", "-1", "1.5"):
        assert capture.number_between(wrong, 1, 5000)


# ---------------------------------------------------------------- the table


class Host(App[None]):
    ENABLE_COMMAND_PALETTE = False
    AUTO_FOCUS = None

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return theme.variable_defaults()

    def __init__(self) -> None:
        super().__init__()
        self.wanted: list[tuple[int, int]] = []

    def compose(self) -> ComposeResult:
        yield JourneyTable()

    def on_rows_window_wanted(self) -> None:
        self.wanted.append(self.query_one(JourneyTable).question())


async def table(made: JourneysReading | None, size: tuple[int, int], *keys: str) -> list[str]:
    app = Host()
    async with app.run_test(size=size) as pilot:
        widget = app.query_one(JourneyTable)
        widget.focus()
        widget.show(made)
        await pilot.pause()
        for key in keys:
            await pilot.press(key)
        await pilot.pause()
        return widget.as_text().split("\n")


async def test_stages_are_named_where_there_is_room() -> None:
    lines = await table(reading(), (120, 20))
    assert lines[1].split() == ["raw", "conn-", "mangle", "filter"]
    assert lines[2].split() == ["#", "PACKET", "PRE", "track", "PRE", "IN", "delivered", "END"]
    assert lines[3].split() == ["1", "198.51.100.2:10000", ">", "192.0.2.1:80", "[S]", *"✓✓✓✓✓", "delivered"]
    assert lines[10].split()[5:] == ["✓", "?", "·", "·", "·", "in", "conntrack:", "table", "full"]
    assert "✗ dropped or refused" in lines[0]


def test_stages_of_iptables_legacy_have_a_name_of_their_own() -> None:
    assert text.stage_words("legacy filter INPUT") == ("filter", "IN leg.")
    assert text.stage_words("ip6 legacy raw PREROUTING") == ("ip6 raw", "PRE leg.")
    assert text.stage_words("ip6 filter FORWARD") == ("ip6 filter", "FWD")


async def test_stages_are_numbered_where_there_is_not() -> None:
    lines = await table(reading(), (62, 20))
    legend = " ".join(lines[1:3])
    for number, stage in enumerate(STAGES, 1):
        assert f"{number} {stage}" in legend
    row = next(line for line in lines if line.startswith("  8 "))
    assert "✓ ? · · ·" in row and "in conntrack" in row


@pytest.mark.parametrize("width", [80, 62, 50])
async def test_ports_stay_where_addresses_are_cut(width: int) -> None:
    lines = await table(reading(), (width, 20))
    assert all(f":{10000 + i} > " in lines[-10 + i] and ":80 " in lines[-10 + i] for i in range(10)), lines


async def test_more_stages_than_fit_scroll() -> None:
    stages = [f"table{i} chain{i}" for i in range(40)]
    made = reading(
        3, 0, stages=stages, journeys=[journey(i, cells=["passed"] * 39 + ["dropped"]) for i in range(3)]
    )
    lines = await table(made, (80, 24))
    assert "stages 1–" in lines[0] and "✗" not in "".join(lines[1:])
    lines = await table(made, (80, 24), *["right"] * 40)
    assert "–40 of 40" in lines[0] and "✗" in "".join(lines[1:])


async def test_without_unicode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cells, "ascii", True)
    lines = await table(reading(), (120, 20))
    assert all(line.isascii() for line in lines)
    assert lines[3].split()[5:10] == ["v"] * 5 and lines[10].split()[5:10] == ["v", "?", ".", ".", "."]


@pytest.mark.parametrize("made", [reading(), JourneysReading(), None, reading(1, 0, stages=[HOSTILE] * 5)])
async def test_every_size(made: JourneysReading | None) -> None:
    app = Host()
    async with app.run_test(size=(80, 24)) as pilot:
        widget = app.query_one(JourneyTable)
        widget.show(made)
        for size in ((80, 24), (200, 60), (20, 3), (3, 1), (40, 10), (80, 24)):
            await pilot.resize_terminal(*size)
            await pilot.pause()
            assert "\x1b" not in widget.as_text()


async def test_rows_that_are_not_here_are_asked_for() -> None:
    app = Host()
    async with app.run_test(size=(100, 12)) as pilot:
        widget = app.query_one(JourneyTable)
        widget.focus()
        whole = reading(500, 0)
        widget.show(msgspec.structs.replace(whole, journeys=whole.journeys[:11]))
        await pilot.pause()
        await pilot.press("down")
        assert not app.wanted and widget.selected is not None
        await pilot.press("end")
        await pilot.pause()
        first, count = app.wanted[-1]
        assert first + widget.visible_rows == 500 and widget.selected is None
        widget.show(
            msgspec.structs.replace(whole, journeys=whole.journeys[first : first + count], first=first)
        )
        assert widget.selected is not None and widget.selected.trace_id == 499


async def test_the_journeys_of_a_recorded_run(play: Play) -> None:
    """Ten SYNs for seven slots, as the kernel traced them: each packet's way, and where three of them ended."""
    async with play("journeys", (80, 24), free=7) as d:
        await d.until("7 free")
        await d.press("b")
        await d.until("traced 10: 7 delivered, 3 in conntrack: table full")
        await d.press("J")
        await d.until("10 packets traced: 7 delivered, 3 in conntrack: table full")
        await d.until("mangle PREROUTING  rule 1")
        assert "conntrack          passed  [new]" in d.text
        await d.press("end")
        await d.until("none: no entry was made for it")
        last = next(line for line in d.text.splitlines() if ":10009 > " in line and "[S]" in line)
        assert last.lstrip().startswith("10 ") and "✓ ? · · in conntrack: table full" in last
        await d.press("l")
        await d.until("no entry")
