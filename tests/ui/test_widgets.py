"""The other widgets: what they say of a reading, at which widths, and that hostile text stays text."""

from typing import Any

import msgspec
import pytest
import samples as s
from textual.app import App, ComposeResult
from textual.geometry import Region
from textual.message import Message

from cttui.model.hooks import ActiveRule, Chain, HooksReading, Loss, Rule, Stage
from cttui.model.packet import PacketPage
from cttui.model.table import STATISTICS, Series, TableReading
from cttui.ui import theme
from cttui.ui.cells import Cells
from cttui.ui.lines import width_of
from cttui.ui.widgets.breakdown import Breakdown
from cttui.ui.widgets.digits import BigDigits
from cttui.ui.widgets.gauge import Gauge, bar, percent
from cttui.ui.widgets.groups import Groups
from cttui.ui.widgets.history import Rates, blocks, number, past
from cttui.ui.widgets.hook_path import HookPath
from cttui.ui.widgets.packet_log import PacketLog
from cttui.ui.widgets.statistics import Statistics


class Host(App[None]):
    """One widget on the screen; keeps its messages."""

    ENABLE_COMMAND_PALETTE = False
    AUTO_FOCUS = None

    def __init__(self, widget: Cells) -> None:
        super().__init__()
        self.widget = widget
        self.said: list[Message] = []

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return theme.variable_defaults()

    def compose(self) -> ComposeResult:
        self.widget.styles.height = "100%"
        yield self.widget

    def keep(self, message: Message) -> None:
        self.said.append(message)

    on_rows_window_wanted = on_groups_drilled = on_groups_sort_wanted = keep
    on_packet_log_opened = on_hook_path_opened = keep


async def shown(widget: Any, reading: Any, size: tuple[int, int]) -> list[str]:
    """The widget's lines at a size, checked for width and control characters."""
    app = Host(widget)
    async with app.run_test(size=size) as pilot:
        widget.show(reading)
        await pilot.pause()
        lines: list[str] = widget.as_text().split("\n")
    assert len(lines) <= size[1] and all(width_of(line) <= size[0] for line in lines)
    assert all(line.isprintable() for line in lines)
    return lines


# ---------------------------------------------------------------- gauge, breakdown, rates


async def test_gauge_full() -> None:
    [line] = await shown(Gauge(), s.table(), (80, 1))
    assert line.startswith(" table ████") and line.endswith("262,144 / 262,144   100%  0 free  FULL")
    lines = await shown(Gauge(), s.table(), (120, 2))
    assert (
        "262,144 hash buckets · 1.00 entries a bucket · 262,137 filler · raw PREROUTING has -j CT" in lines[1]
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


async def markdown(widget: Any, reading: Any, size: tuple[int, int] = (80, 24)) -> str:
    app = Host(widget)
    async with app.run_test(size=size) as pilot:
        widget.show(reading)
        await pilot.pause()
        return str(widget.as_markdown())


# ---------------------------------------------------------------- hooks


async def test_compact_hooks_are_the_sketch() -> None:
    lines = await shown(HookPath(), s.hooks(), (80, 3))
    assert (
        lines[0].startswith("─2 Hooks─")
        and "PREROUTING → INPUT ── 7 dropped by rules ── 3 LOST ─" in lines[0]
    )
    assert lines[1] == " raw 10 ──▶ conntrack 7 (−3 table full) ──▶ mangle 7 ──▶ INPUT 7 ──▶ local"
    assert lines[2].startswith(" local 7 ──▶ raw 0 (−7 dropped by raw OUTPUT rule 1)")


async def test_compact_hooks_without_stage_counters_say_at_least() -> None:
    lines = await shown(HookPath(), s.hooks(stages=[], losses=[]), (80, 3))
    assert lines[1] == " raw ≥10 ──▶ mangle ≥7 ──▶ INPUT ≥7 ──▶ local"
    idle = [msgspec.structs.replace(c, policy_packets=None, rules=[]) for c in s.hooks().chains[:4]]
    lines = await shown(
        HookPath(), s.hooks(stages=[], losses=[], chains=[*idle, s.hooks().chains[4]]), (80, 3)
    )
    assert lines[1] == " raw ≥7 ──▶ device" and len(lines) == 2, "what stands still is left out"
    routed = s.hooks(stages=[], losses=[], chains=s.hooks().chains[:2])
    lines = await shown(HookPath(), routed, (80, 3))
    assert lines[1] == " raw ≥10 ──▶ mangle ≥7", "nothing says that they were for this machine"
    lines = await shown(HookPath(), HooksReading(), (80, 3))
    assert "No rules and no stage counters." in lines[1]


async def test_compact_hooks_say_what_joins_on_the_way_out() -> None:
    def through(stage: Stage) -> Stage:
        n = {"forward": 80, "postrouting": 87, "output": 7}.get(stage.hook, stage.packets)
        return msgspec.structs.replace(stage, packets=n)

    stages = [through(stage) for stage in s.hooks().stages]
    lines = await shown(HookPath(), s.hooks(stages=stages, losses=[]), (80, 5))
    out = next(line for line in lines if "device" in line)
    assert "──▶ + FORWARD 80 ──▶ POSTROUTING 87 ──▶ device" in out


async def test_compact_hooks_say_which_rule_drops_now() -> None:
    first = ActiveRule(family="ip", table="filter", chain="FORWARD", number=1, text="-m conntrack --ctstate INVALID -j DROP",
                       does="drops", pps=63.2)  # fmt: skip
    policy = ActiveRule(family="ip", table="filter", chain="INPUT", does="drops", pps=2.0)
    exempt = ActiveRule(
        family="ip", table="raw", chain="PREROUTING", number=2, does="does not track", pps=900.0
    )
    reading = s.hooks(stages=[], losses=[], active_rules=[exempt, first, policy])
    lines = await shown(HookPath(), reading, (80, 4))
    assert "rules drop 65/s" in lines[0]
    assert lines[2] == " filter FORWARD rule 1 drops 63/s  (+1 more)  -m conntrack --ctstate INVALID -j…"
    lines = await shown(HookPath(), s.hooks(active_rules=[first]), (80, 4))
    assert "rules drop" not in lines[0] and "drops" not in lines[2], "the stages say so"


async def test_the_path_in_order_with_conntrack_in_its_place() -> None:
    lines = await shown(HookPath(), s.hooks(), (100, 45))
    text = "\n".join(lines)
    order = ["PREROUTING ", "from the device", "raw PREROUTING", "◆ -j CT", "after raw", "◆ conntrack",
             "✗ −3 lost in conntrack: table full (drop +3)", "after conntrack", "mangle PREROUTING", "INPUT ", "filter INPUT",
             "LOGDROP", "local process", "OUTPUT ", "raw OUTPUT", "−7 dropped by raw OUTPUT rule 1: -p tcp --sport 80 -j DROP", "POSTROUTING"]  # fmt: skip
    at = 0
    for words in order:
        found = text.find(words, at)
        assert found >= 0, f"{words!r} is not after {text[:at][-60:]!r} in\n{text}"
        at = found + len(words)
    assert "7 dropped by rules ── 3 LOST" in lines[0]


async def test_what_a_rule_dropped_is_said_without_alarm() -> None:
    widget = HookPath()
    async with Host(widget).run_test(size=(100, 45)) as pilot:
        widget.show(s.hooks())
        await pilot.pause()
        runs = {text.strip(): style for line in widget.lay_out(100, 44) for text, style in line}
        marked = {text[:1]: style for text, style in runs.items() if "−" in text}
        assert marked == {"✗": "hook-loss", "│": "hook"}


async def test_an_old_reading_says_its_age() -> None:
    widget = HookPath()
    async with Host(widget).run_test(size=(100, 45)) as pilot:
        widget.show(s.hooks())
        for age, said in ((1.2, False), (7.4, True), (0.3, False)):
            widget.aged(age)
            await pilot.pause()
            assert ("read 7 s ago" in widget.as_text().split("\n")[0]) is said


async def test_one_look_says_whether_conntrack_is_on() -> None:
    widget = HookPath()
    async with Host(widget).run_test(size=(100, 40)) as pilot:
        widget.show(s.hooks(), active=False, why="no rule needs it")
        await pilot.pause()
        assert "◆ conntrack  not active in this namespace  no rule needs it" in widget.as_text()
        widget.show(s.hooks(), active=True, why="raw PREROUTING has -j CT")
        assert "◆ conntrack  raw PREROUTING has -j CT" in widget.as_text()


async def test_hostile_rules_are_shown_and_not_obeyed() -> None:
    lines = await shown(HookPath(), s.hooks(), (140, 45))
    line = next(line for line in lines if "hello" in line)
    assert "[bold red]" in line and "\\x1b[31m" in line and "[/foo]" in line
    wild = s.hooks(
        chains=[Chain(backend="nft", family="inet", table="a[/b]\x1b[2J", chain="日本\u202e", hook="input", policy="DROP",
                      rules=[Rule(text="x" * 5000 + "\n\r\t", number=1, packets=1)], rules_total=100_001)],
        losses=[Loss(family="ip", hook="input", after="mangle", before="filter", packets=1, cause="[x]\x07", source="\x1b]0;t")],
        missing=["nft is not installed:\x1b[31m native rules are not shown"],
    )  # fmt: skip
    lines = await shown(HookPath(), wild, (80, 40))
    assert any("100,000 more rules" in line for line in lines) and any("日本" in line for line in lines)
    assert any("nft is not installed" in line for line in lines)


async def test_enter_on_more_rules_asks_for_more() -> None:
    rules = [Rule(text="-j ACCEPT", number=n, packets=n) for n in range(1, 4)]
    long = Chain(
        backend="nft", family="ip6", table="t", chain="c", hook="input", rules=rules, rules_total=100_000
    )
    lost = Loss(family="ip6", hook="input", after="mangle", before="filter", packets=4, cause="unknown")
    widget = HookPath()
    async with Host(widget).run_test(size=(100, 40)) as pilot:
        widget.focus()
        widget.show(s.hooks(chains=[long], losses=[lost]))
        await pilot.pause()
        assert "99,997 more rules  Enter shows more" in widget.as_text() and "−4 IPv6 unknown" in widget.as_text()  # fmt: skip
        for wanted in (200, 800, 3200, 3200):
            assert widget.rules == wanted
            at = next(i for i, line in enumerate(widget.as_text().split("\n")[1:]) if "more rules" in line)
            widget.go(widget.top + at)
            await pilot.press("enter")
        assert "Enter shows more" not in widget.as_text()
        widget.clear()
        assert widget.rules == 200


async def test_rules_can_be_chosen_and_keep_the_cursor() -> None:
    widget = HookPath()
    app = Host(widget)
    async with app.run_test(size=(100, 30)) as pilot:
        widget.focus()
        widget.show(s.hooks())
        await pilot.press("down", "down", "down")
        assert widget.selected is not None and widget.selected[1].text == "-j CT"
        await pilot.press("enter")
        await pilot.pause()
        [opened] = [m for m in app.said if isinstance(m, HookPath.Opened)]
        assert (opened.chain.table, opened.rule.text) == ("raw", "-j CT")
        more = Chain(
            backend="iptables-nft", family="ip", table="aaa", chain="X", hook="prerouting", priority=-400
        )
        reading = s.hooks()
        widget.show(s.hooks(chains=[more, *reading.chains]))
        assert widget.selected is not None and widget.selected[1].text == "-j CT"
        widget.order_by("hottest")
        await pilot.pause()
        rows = widget.as_text().split("\n")
        assert "-j CT" in rows[1] and "hottest first" in rows[0]
        assert "raw PREROUTING" in rows[1]
    assert "-j CT" in await markdown(HookPath(), s.hooks(), (80, 5))


async def test_rules_keep_a_history_of_their_rate() -> None:
    widget = HookPath()
    app = Host(widget)
    async with app.run_test(size=(120, 30)) as pilot:
        for n in range(3):
            widget.show(s.hooks(network={"reading": n}))
        widget.show(s.hooks(network={"reading": 2}))
        await pilot.pause()
        line = next(line for line in widget.as_text().split("\n") if "-j CT" in line)
        assert "███" in line


# ---------------------------------------------------------------- packets


async def test_the_log_says_what_became_of_each_packet() -> None:
    lines = await shown(PacketLog(), s.packets(), (80, 6))
    assert lines[0].startswith("─3 Packets─") and lines[0].endswith("10 packets ─")
    assert "198.51.100.2:10009 > 192.0.2.1:80 [S]" in lines[-1] and "  lost in conntrack" in lines[-1]
    wide = await shown(PacketLog(), s.packets(), (160, 12))
    assert (
        "lost in conntrack: table full" in wide[10]
        and "SYN_SENT [UNREPLIED]" in wide[1]
        and "len 40" in wide[1]
    )
    assert " tun0 in " in wide[1]


async def test_following_and_scrolling_back() -> None:
    widget = PacketLog()
    app = Host(widget)
    async with app.run_test(size=(80, 6)) as pilot:
        widget.focus()
        await pilot.pause()
        everything = s.packets(100, lost=0)

        def answer() -> None:
            first, count = widget.question()
            at = 100 - count if first < 0 else first
            widget.show(
                PacketPage(
                    capturing=True,
                    total=100,
                    kept=100,
                    matched=100,
                    first=at,
                    rows=everything.rows[at : at + count],
                )
            )

        answer()
        assert widget.following and ":10099 " in widget.as_text().split("\n")[-1]
        await pilot.press("up", "pageup")
        await pilot.pause()
        assert not widget.following and "F follows" in widget.as_text()
        assert any(isinstance(m, PacketLog.WindowWanted) for m in app.said)
        assert widget.question() == (widget.top, 5)
        answer()
        await pilot.pause()
        assert widget.selected is not None and widget.selected.seq == widget.cursor + 1
        await pilot.press("enter")
        await pilot.pause()
        assert [m for m in app.said if isinstance(m, PacketLog.Opened)][-1].packet == widget.selected
        await pilot.press("end")
        assert widget.following
        await pilot.press("F")
        assert not widget.following
        await pilot.press("i")
        answer()
        await pilot.pause()
        assert " 0.011000 " in widget.as_text()


async def test_a_packet_shows_its_end_and_its_flow_where_there_is_room() -> None:
    row = msgspec.structs.replace(
        s.packets(1).rows[0], fate="in conntrack: table full", ct_state="SYN_SENT [UNREPLIED]"
    )
    wide, narrow = [
        (await shown(PacketLog(), s.packets(1, rows=[row]), (width, 5)))[1] for width in (160, 80)
    ]
    assert wide.rstrip(" ┃").endswith("  SYN_SENT [UNREPLIED]  lost in conntrack: table full")
    assert "SYN_SENT" not in narrow and narrow.rstrip(" ┃").endswith("  lost in conntrack")
    assert " len " in wide


async def test_the_log_says_what_it_does_not_show() -> None:
    page = s.packets(20, rate_pps=38_000.0, total=1_000_000, kept=100_000, matched=100_000, dropped=17,
                     left_out="Left out: the SSH connection you watch through.", top=[("tcp 198.51.100.2 > 192.0.2.1 [S]", 15_892)], top_of=16_384)  # fmt: skip
    log = PacketLog()
    log.page = msgspec.structs.replace(page, total=962_000)
    lines = await shown(log, page, (160, 12))
    assert (
        "38,000 pps, showing 1 in 4,200" in lines[0]
        and "DROPPED 17 by the ring" in lines[0]
        and "last 100,000 kept" in lines[0]
    )
    assert "38,000 pps, showing the newest 9" in (await shown(PacketLog(), page, (160, 12)))[0]
    assert "SSH connection" in lines[1] and lines[2].startswith("   97% tcp 198.51.100.2 > 192.0.2.1 [S]")
    assert lines[2].endswith("most frequent of the newest 16,384")
    assert "The packet log is off." in (await shown(PacketLog(), PacketPage(), (80, 5)))[1]
    unread = PacketLog()
    async with Host(unread).run_test(size=(80, 5)):
        assert "Not read yet." in unread.as_text(), "nobody has said that it is off"
    assert "No packets yet." in (await shown(PacketLog(), PacketPage(capturing=True), (80, 5)))[1]


async def test_hostile_packets_reach_the_screen_as_text() -> None:
    row = s.packets(1).rows[0]
    import msgspec

    rows = [
        msgspec.structs.replace(row, interface="e\x1b[31m\n", fate="[b]\x1b]0;x\x07", data=b"\x45"),
        msgspec.structs.replace(row, data=b"", ethertype=0xFFFF, direction="\x1b[2J", ct_state="[/x]\x07"),
    ]
    lines = await shown(PacketLog(), s.packets(2, rows=rows, left_out="\x1b[1m[/b]"), (80, 8))
    assert any("[b]" in line for line in lines)


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
