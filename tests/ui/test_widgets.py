"""The other widgets: what they say of a reading, at which widths, and that hostile text stays text."""

from typing import Any

import pytest
import samples as s
from host import Host, markdown, shown
from textual.geometry import Region

from cttui.model.pages import GroupRow
from cttui.model.table import STATISTICS, Series, TableReading
from cttui.ui.cells import Cells
from cttui.ui.lines import width_of
from cttui.ui.prose import Prose
from cttui.ui.widgets.breakdown import Breakdown
from cttui.ui.widgets.digits import BigDigits
from cttui.ui.widgets.gauge import Gauge, bar, percent
from cttui.ui.widgets.groups import Groups
from cttui.ui.widgets.history import Rates, blocks, number, past
from cttui.ui.widgets.hook_path import HookPath
from cttui.ui.widgets.packet_log import PacketLog
from cttui.ui.widgets.statistics import Statistics

# ---------------------------------------------------------------- gauge, breakdown, rates


async def test_gauge_full() -> None:
    [line] = await shown(Gauge(), s.table(), (80, 1))
    assert line.startswith(" table ████") and line.endswith("262,144 / 262,144   100%  0 free  FULL")
    lines = await shown(Gauge(), s.table(), (120, 2))
    assert (
        "262,144 hash buckets · 1.00 entries a bucket · 262,137 fillers · raw PREROUTING has -j CT"
        in lines[1]
    )


@pytest.mark.parametrize(
    ("reading", "says"),
    [
        (None, "not read yet"),
        ({"maximum": 0}, "262,144 entries · no limit"),
        ({"maximum": None}, "262,144 entries · limit unknown"),
        ({"count": None}, "? / 262,144"),
        ({"count": 262143}, "99.99%  1 free  nearly full"),
        ({"count": 220000}, "84%  42,144 free  filling"),
        ({"count": 1}, "<1%  262,143 free"),
        ({"count": 0}, "0%  262,144 free"),
        (
            {"count": 0, "active": False, "active_why": "no rule needs it"},
            "not active in this namespace  no rule needs it",
        ),
    ],
)
async def test_gauge_levels_in_words(reading: dict[str, Any] | None, says: str) -> None:
    [line] = await shown(Gauge(), None if reading is None else s.table(**reading), (80, 1))
    assert says in line


def test_a_bar_is_full_only_when_full_and_empty_only_when_empty() -> None:
    assert bar(1.0, 10) == ("█" * 10, "")
    assert bar(0.9999, 10)[0] == "█" * 9 + "▉"
    assert bar(0.0001, 10) == ("▏", " " * 9) and bar(0, 10) == ("", " " * 10)
    assert [percent(x) for x in (0, 0.0001, 0.5, 0.9999, 1)] == ["0%", "<1%", "50%", "99.99%", "100%"]


async def test_breakdown() -> None:
    [line] = await shown(Breakdown(), s.table(), (80, 1))
    assert line.startswith(" tcp 262,144 · ESTABLISHED 262,137 · SYN_SENT 7") and line.endswith(
        "assured 262,137  evictable 7"
    )
    many = s.table(by_state={f"STATE_{i}": i for i in range(30)})
    [line] = await shown(Breakdown(), many, (80, 1))
    assert "…" in line and line.endswith("evictable 7")
    [line] = await shown(Breakdown(), s.table(by_protocol={}, by_state={}, assured=0, evictable=0), (80, 1))
    assert "no entries" not in line, "the gauge has some: these were not read"
    assert "not read" in line and line.endswith("assured –  evictable –")
    empty = s.table(count=0, by_protocol={}, by_state={}, assured=0, evictable=0)
    [line] = await shown(Breakdown(), empty, (80, 1))
    assert "no entries" in line and line.endswith("assured 0  evictable 0")


async def test_rates_and_history() -> None:
    [line] = await shown(Rates(), s.table(), (80, 1))
    assert "new 7/s ▁▁▁▁▁█" in line and "DROP 3/s ▁▁▁▁▁█" in line and "invalid 0" in line
    least = s.table(history=[Series("new", [s.NAN, 7.0], False)])
    [line] = await shown(Rates(), least, (80, 1))
    assert "new ≥7/s" in line
    host = s.table(
        history=[Series("new", [7.0], False), Series("ended", [0.0], False), Series("drop", [3.0])]
    )
    [line] = await shown(Rates(), host, (80, 1))
    assert "…" not in line and line.endswith("invalid 0")


def test_blocks_and_numbers() -> None:
    assert blocks([0, 1, 4, 8], 6) == "▁▂▄█  "
    assert blocks([s.NAN, 0.0001, 100], 3) == "·▂█"
    assert blocks([], 3) == "   "
    assert [number(x) for x in (0, 7, 0.5, 1234, 123456, s.NAN)] == ["0", "7", "0.5", "1,234", "123k", "–"]


def test_the_past_alarms_where_something_was_lost() -> None:
    assert past(Series("drop", [0.0, 3.0, 0.0]), 3)[1] == "history-alarm"
    assert past(Series("drop", [3.0, s.NAN, 0.0]), 2)[1] == "history", "what is lost has left the picture"
    assert past(Series("new", [3.0]), 3)[1] == "history"


async def test_statistics_say_what_they_mean() -> None:
    lines = await shown(Statistics(), s.table(), (100, 50))
    text = " ".join(" ".join(lines).split())
    assert all(name in text for name in STATISTICS) and "the DNS five-second delay" in text
    assert "Worry always: each is a packet that was lost" in text
    assert any(
        (line.startswith("!drop") and " 3 " in line and "3.0/s" in line) or "3/s" in line for line in lines
    )
    narrow = await shown(Statistics(), s.table(), (40, 14))
    assert any("drop" in line for line in narrow)
    assert "| drop | 3 | 3 | Packets dropped by conntrack" in await markdown(Statistics(), s.table())


# ---------------------------------------------------------------- groups, digits, all of them


async def test_groups() -> None:
    lines = await shown(Groups(), s.groups(), (80, 12))
    assert lines[0].startswith("─4 What fills the table─") and "8 groups of 2,000 flows" in lines[0]
    assert lines[1].split() == ["SRC", "DPORT", "FLOWS▼", "SHARE", "UNREPL", "ASSURED", "BYTES", "RATE"]
    assert (
        lines[2].split()[:2] == ["198.51.100.0", "443"]
        and "1,000" in lines[2]
        and "50%" in lines[2]
        and "123M" in lines[2]
    )
    narrow = await shown(Groups(), s.groups(), (40, 12))
    assert "1,000" in narrow[2]
    inside = Groups()
    inside.way = "state ESTABLISHED › src 2001:db8::7 › dst/24 198.51.100.0/24 dport=443"
    heading = (await shown(inside, s.groups(), (80, 12)))[0]
    assert (
        "in state ESTA" in heading
        and "…" in heading
        and heading.endswith("dport=443 ── 8 groups of 2,000 flows ─")
    )


async def test_an_address_is_whole_beside_the_figures_of_a_wide_layout() -> None:
    rows = [GroupRow(key=["198.18.129.128"], filter="", count=13, share=0.001, unreplied=13)]
    lines = await shown(Groups(), s.groups(1, by=["src"], rows=rows), (40, 6))
    assert lines[2].split() == ["198.18.129.128", "13", "<1%", "100%"]


async def test_groups_drill_and_sort() -> None:
    widget = Groups()
    app = Host(widget)
    async with app.run_test(size=(80, 6)) as pilot:
        widget.focus()
        await pilot.pause()
        widget.show(s.groups(4, total=40))
        await pilot.press("down", "enter", "greater_than_sign", "i", "end")
        await pilot.pause()
        drilled = [m for m in app.said if isinstance(m, Groups.Drilled)]
        assert drilled[0].row.filter == "src=198.51.100.1 dport=443"
        assert [(m.key, m.descending) for m in app.said if isinstance(m, Groups.SortWanted)] == [
            ("bytes", True),
            ("bytes", False),
        ]
        assert any(isinstance(m, Groups.WindowWanted) for m in app.said)
        assert widget.question() == (36, 4)
    hostile = s.groups(
        1, rows=[s.groups(1).rows[0].__class__(key=["\x1b[31m[/x]", "y"], filter="", count=1, share=1.0)]
    )
    lines = await shown(Groups(), hostile, (80, 5))
    assert "\\x1b[31m[/x]" in lines[2]


async def test_big_digits() -> None:
    numbers = [
        ("10", "raw PREROUTING", ""),
        ("7", "mangle PREROUTING", ""),
        ("−3", "lost", "hook-loss"),
        ("262,144", "no room", ""),
    ]
    lines = await shown(BigDigits(), numbers, (60, 4))
    assert "raw PREROUTING" in lines[3] and "lost" in lines[3] and "no room" not in lines[3]
    assert lines[0].startswith("  ▀█  █▀█")
    thousands = await shown(BigDigits(), [("1,000", "sent", "")], (60, 4))
    assert " ▗▛ " in thousands[2] and "▗▛" not in thousands[1], "a comma hangs below the line, as no dot does"


async def test_prose_keeps_off_its_scroll_bar() -> None:
    words = "src=192.0.2.1 dst=198.51.100.2 sport=80 dport=10006 " * 4
    for width in range(30, 60):
        prose = Prose([words] * 3)
        async with Host(prose).run_test(size=(width, 6)):
            for line in prose.as_text().splitlines():
                assert line[-2:] in (" ┃", " │"), line


WIDGETS: list[tuple[type[Any], tuple[Any, ...], Any]] = [
    (Gauge, (), s.table()), (Rates, (), s.table()), (Breakdown, (), s.table()),
    (Statistics, (), s.table()), (HookPath, (), s.hooks()), (PacketLog, (), s.packets()), (Groups, (), s.groups()),
    (BigDigits, (), [("7", "x", "")]),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "args", "reading"), WIDGETS)
async def test_the_same_reading_again_repaints_nothing(
    kind: type[Any], args: tuple[Any, ...], reading: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    widget = kind(*args)
    async with Host(widget).run_test(size=(100, 12)) as pilot:
        await pilot.pause()
        widget.show(reading)
        await pilot.pause()
        refreshed: list[tuple[Region, ...]] = []
        monkeypatch.setattr(widget, "refresh", lambda *regions, **kw: refreshed.append(regions))
        widget.show(reading)
        assert refreshed == []


@pytest.mark.parametrize(("kind", "args", "reading"), WIDGETS)
async def test_every_size(kind: type[Any], args: tuple[Any, ...], reading: Any) -> None:
    widget = kind(*args)
    async with Host(widget).run_test(size=(80, 24)) as pilot:
        for width, height in ((80, 24), (120, 40), (200, 60), (20, 2), (3, 1), (80, 24)):
            await pilot.resize_terminal(width, height)
            widget.show(reading)
            await pilot.pause()
            lines = widget.as_text().split("\n")
            assert len(lines) <= height and all(width_of(line) <= width for line in lines)


@pytest.mark.parametrize(("kind", "args", "reading"), WIDGETS)
async def test_ascii(
    kind: type[Any], args: tuple[Any, ...], reading: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Cells, "ascii", True)
    lines = await shown(kind(*args), reading, (100, 20))
    assert all(line.isascii() for line in lines)


async def test_a_hidden_panel_costs_nothing_and_comes_back_with_the_latest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    widget = Gauge()
    async with Host(widget).run_test(size=(80, 3)) as pilot:
        widget.show(s.table())
        await pilot.pause()
        widget.display = False
        await pilot.pause()
        laid: list[int] = []
        lay_out = widget.lay_out
        monkeypatch.setattr(widget, "lay_out", lambda width, height: laid.append(1) or lay_out(width, height))
        widget.show(s.table(count=100))
        await pilot.pause()
        assert laid == []
        widget.display = True
        await pilot.pause()
        assert "100 / 262,144" in "".join(segment.text for segment in widget.render_line(0))
        widget.show(s.table(count=101))
        await pilot.pause()
        assert "101 / 262,144" in "".join(segment.text for segment in widget.render_line(0))


async def test_a_table_never_read_says_nothing_false() -> None:
    empty = TableReading(count=None, maximum=None, buckets=None, active=None)
    for widget in (Gauge(), Rates(), Breakdown(), Statistics()):
        lines = await shown(widget, empty, (80, 12))
        assert "NaN" not in "\n".join(lines) and "None" not in "\n".join(lines)


async def test_the_statistic_under_the_cursor_is_explained() -> None:
    widget = Statistics()
    app = Host(widget)
    async with app.run_test(size=(80, 14)) as pilot:
        widget.show(s.table())
        widget.focus()
        await pilot.pause()
        await pilot.press("home")
        for _ in widget.names():
            assert f" {widget.selected}: {STATISTICS.get(widget.selected, '')[:20]}" in widget.as_text()
            assert "Worry" in widget.as_text()
            await pilot.press("down")
        assert widget.selected == widget.names()[-1]
