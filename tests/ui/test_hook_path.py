"""The hook panel: the path in a few lines and in full, what was lost where, and that rules are not obeyed."""

import re

import msgspec
import pytest
import samples as s
from host import Host, markdown, shown

from cttui.model.hooks import ActiveRule, Chain, HooksReading, Loss, Rule, Stage
from cttui.model.jobs import Result
from cttui.model.path import between
from cttui.ui.questions import result_lines
from cttui.ui.widgets.hook_items import Item
from cttui.ui.widgets.hook_lines import Here, brief, item_runs
from cttui.ui.widgets.hook_path import HookPath


async def test_compact_hooks_are_the_sketch() -> None:
    lines = await shown(HookPath(), s.hooks(), (80, 3))
    assert (
        lines[0].startswith("─2 Hooks─")
        and "PREROUTING → INPUT ── 7 dropped by rules ── 3 LOST ─" in lines[0]
    )
    assert lines[1] == " raw 10 ──▶ conntrack 7 (−3 table full) ──▶ mangle 7 ──▶ INPUT 7 ──▶ local"
    assert lines[2].startswith(" local 7 ──▶ raw 0 (−7 dropped by raw OUTPUT rule 1)")


def lost(n: int, before: str, hook: str, cause: str, **more: object) -> Loss:
    return Loss(family="ip", hook=hook, after="raw", before=before, packets=n, cause=cause, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(("losses", "width", "line"), [
    ([], 51, " raw 10 ▶ conntrack 7 ▶ mangle 7 ▶ INPUT 7 ▶ local"),
    ([], 48, " raw 10 ▶ conntrack 7 ▶ … ▶ INPUT 7 ▶ local"),
    ([lost(3, "routing", "prerouting", "no route")], 79, " raw 10 ▶ conntrack 7 ▶ mangle 7 ▶ routing (−3 no route) ▶ INPUT 7 ▶ local"),
    ([lost(3, "socket", "input", "no socket on that port")], 80, " raw 10 ▶ conntrack 7 ▶ mangle 7 ▶ INPUT 7 ▶ local (−3 no socket on that port)"),
    ([lost(3, "socket", "input", "no socket on that port")], 60, " raw 10 ▶ … ▶ INPUT 7 ▶ local (−3 no socket on that port)"),
    ([lost(3, "socket", "input", "no socket on that port")], 40, " … ▶ local (−3 no socket on that port)"),
    ([lost(3, "filter", "input", "dropped by filter INPUT rule 1"), lost(1, "filter", "input", "dropped by filter INPUT rule 2"), lost(3, "socket", "input", "no socket on that port")],
     76, " raw 10 ▶ … ▶ filter 7 (−4) ▶ INPUT 7 ▶ local (−3 no socket on that port)"),
    ([lost(4, "conntrack", "prerouting", "dropped by raw PREROUTING rule 1"), lost(3, "conntrack", "prerouting", "lost in conntrack: table full")],
     60, " raw 10 ▶ conntrack 7 (−3 table full) (−4) ▶ … ▶ local"),
    ([lost(3, "conntrack", "prerouting", "lost in conntrack: table full"), lost(99, "socket", "input", "no socket on that port", source="UdpNoPorts +99")],
     40, " … ▶ conntrack 7 (−3 table full) ▶ …"),
])  # fmt: skip
async def test_where_packets_are_lost_is_on_a_line_of_any_width(
    losses: list[Loss], width: int, line: str
) -> None:
    assert (await shown(HookPath(), s.hooks(losses=losses), (width, 3)))[1] == line


async def test_the_direction_where_packets_are_lost_comes_first_until_that_is_over() -> None:
    for over, first in ((False, "POSTROUTING"), (True, "PREROUTING")):
        out = lost(2, "confirm", "postrouting", "lost in conntrack at confirmation", over=over)
        lines = await shown(HookPath(), s.hooks(losses=[out]), (80, 3))
        assert (
            first in lines[0]
            and ("confirmation (−2 lost in conntrack at confirmation)" in lines[1]) is not over
        )


async def test_compact_hooks_without_stage_counters_say_at_least() -> None:
    lines = await shown(HookPath(), s.hooks(stages=[], losses=[]), (80, 3))
    assert lines[1] == " raw ≥10 ──▶ mangle ≥7 ──▶ INPUT ≥7 ──▶ local"
    idle = [msgspec.structs.replace(c, policy_packets=None, rules=[]) for c in s.hooks().chains[:4]]
    lines = await shown(
        HookPath(), s.hooks(stages=[], losses=[], chains=[*idle, s.hooks().chains[4]]), (80, 3)
    )
    assert lines[1] == " raw ≥7 ──▶ device" and len(lines) == 2, "what stands still is left out"
    met = [msgspec.structs.replace(s.hooks().chains[2], policy_packets=None)]  # its rule matched none
    lines = await shown(
        HookPath(), s.hooks(stages=[], losses=[], chains=[s.hooks().chains[0], *met]), (80, 3)
    )
    assert lines[1] == " raw ≥10 ──▶ INPUT ≥0 ──▶ local", "what no rule counted may have passed"
    routed = s.hooks(stages=[], losses=[], chains=s.hooks().chains[:2])
    lines = await shown(HookPath(), routed, (80, 3))
    assert lines[1] == " raw ≥10 ──▶ mangle ≥7", "nothing says that they were for this machine"
    lines = await shown(HookPath(), HooksReading(), (80, 3))
    assert "No rules and no stage counters." in lines[1]


@pytest.mark.parametrize(("text", "verdict", "cells", "said"), [
    ("-m conntrack --ctstate INVALID -j DROP", "DROP", 40, "-m conntrack --ctstate INVALID -j DROP"),
    ("-m conntrack --ctstate INVALID -j DROP", "DROP", 25, "--ctstate INVALID -j DROP"),
    ("-m conntrack --ctstate INVALID -j DROP", "DROP", 20, "--ctstate INVA… DROP"),
    ("ip saddr 10.1.0.0/24 tcp dport 8080 counter drop", "DROP", 45, "ip saddr 10.1.0.0/24 tcp dport 8080 drop"),
    ('-m comment --comment "-m x -m y z" -j DROP', "DROP", 30, '--comment "-m x -m y z" … DROP'),
    ("-p tcp -m tcp --dport 22", "", 12, "-p tcp --dport 22"),
])  # fmt: skip
def test_a_rule_that_is_cut_keeps_its_verdict(text: str, verdict: str, cells: int, said: str) -> None:
    assert brief(text, verdict, cells) == said


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


async def test_what_no_socket_took_is_refused_not_lost() -> None:
    refused = Loss(
        family="ip", hook="input", after="after input", before="local process", packets=10,
        cause="no socket on that port", source="UdpNoPorts +10",
    )  # fmt: skip
    lines = await shown(HookPath(), s.hooks(losses=[refused]), (100, 45))
    assert "10 refused" in lines[0] and "LOST" not in lines[0]
    words = "\n".join(
        line if isinstance(line, str) else line[0] for line in result_lines(Result(losses=[refused]))
    )
    assert "refused   10 between" in words and "lost" not in words


async def test_the_stages_that_a_loss_lies_between_stand_around_it_by_the_name_it_has_elsewhere() -> None:
    one = Loss(
        family="ip",
        hook="output",
        after="defrag",
        before="raw",
        packets=7,
        cause="dropped by raw OUTPUT rule 1",
    )
    for loss in (one, Loss(family="ip", hook="input", after="input", before="socket", packets=2, cause="no socket on that port")):  # fmt: skip
        first, second = re.findall("“(.*?)”", between(loss))
        text = "\n".join(await shown(HookPath(), s.hooks(losses=[loss]), (100, 45)))
        at = text.index("−7" if loss is one else "−2")
        assert first in text[text.index(loss.hook.upper()) : at] and second in text[at:]


async def test_a_fresh_loss_is_in_view_unless_somebody_looks_elsewhere() -> None:
    def reading(over: bool) -> HooksReading:
        return s.hooks(losses=[lost(2, "socket", "input", "no socket on that port", over=over)])

    widget = HookPath()
    async with Host(widget).run_test(size=(60, 9)) as pilot:
        widget.show(s.hooks(losses=[]))
        assert " PREROUTING" in widget.as_text()
        widget.show(reading(over=False))
        assert "✗ −2 no socket" in widget.as_text()
        top = widget.top
        widget.show(s.hooks(losses=[lost(5, "confirm", "postrouting", "no port"), *reading(False).losses]))
        assert widget.top == top, "while one goes on, another moves nothing"
        widget.show(reading(over=True))
        assert " PREROUTING" in widget.as_text()
        widget.focus()
        await pilot.pause()
        widget.show(reading(over=False))
        assert widget.top == 0, "somebody reads here"
        await pilot.press("down", "down")
        widget.screen.set_focus(None)
        widget.show(reading(over=False))
        assert widget.cursor == 2, "or has put the cursor somewhere"


async def test_what_a_rule_dropped_is_said_without_alarm() -> None:
    widget = HookPath()
    async with Host(widget).run_test(size=(100, 45)) as pilot:
        widget.show(s.hooks())
        await pilot.pause()
        runs = {text.strip(): style for line in widget.lay_out(100, 44) for text, style in line}
        marked = {text[:1]: style for text, style in runs.items() if "−" in text}
        assert marked == {"✗": "hook-loss", "│": "hook"}


def test_a_narrow_panel_says_who_dropped() -> None:
    here = Here(40, True, "", False)
    for who in ("the policy of filter INPUT", "filter OUTPUT rule 1"):
        item = Item("loss", "", 1200, losses=(lost(1200, "filter", "input", f"dropped by {who}: -j DROP"),))
        assert item_runs(item, 38, here)[0][0] == f"  │ −1,200 {who.removeprefix('the ')}"
        assert "dropped by" in item_runs(item, 60, here)[0][0]


async def test_an_old_reading_says_its_age() -> None:
    widget = HookPath()
    async with Host(widget).run_test(size=(100, 45)) as pilot:
        widget.show(s.hooks())
        for age, said in ((1.2, False), (7.4, True), (0.3, False)):
            widget.aged(age)
            await pilot.pause()
            assert ("read 7 s ago" in widget.as_text().split("\n")[0]) is said


def test_a_narrow_panel_says_which_rule_needs_conntrack_before_where_it_is_kept() -> None:
    for backend, said in (("iptables-nft ip raw", "raw"), ("nft inet fw", "inet fw"), ("iptables-legacy ip6 raw", "ip6 raw")):  # fmt: skip
        here = Here(40, True, f"Conntrack is on because of {backend} PREROUTING: -j CT", False)
        assert (
            item_runs(Item("conntrack", "conntrack"), 47, here)[1][0] == f"  on by {said} PREROUTING: -j CT"
        )
        assert item_runs(Item("conntrack", "conntrack"), 90, here)[1][0].startswith(f"  on by {backend}")


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
        assert "hottest first" in rows[0] and "packets" in rows[1], "figures under a heading here, too"
        assert "-j CT" in rows[2] and "raw PREROUTING" in rows[2]
    said = await markdown(HookPath(), s.hooks(), (80, 5))
    assert "| rule | │ 1 ◆ -j CT | 10 | 10.0 |" in said and "| stage | ▼ after raw | 10 | 10.0 |" in said
    assert "| chain | │ raw PREROUTING ip iptables-nft policy ACCEPT | 0 |  |" in said and "| hook | INPUT |  |  |" in said  # fmt: skip


async def test_rules_keep_a_history_of_their_rate() -> None:
    widget = HookPath()
    app = Host(widget)
    async with app.run_test(size=(120, 30)) as pilot:
        for n in range(3):
            widget.show(s.hooks(network={"reading": n}))
        widget.show(s.hooks(network={"reading": 2}))
        await pilot.pause()
        line = next(line for line in widget.as_text().split("\n") if "-j CT" in line)
        assert "▇▇▇" in line, "columns of neighbouring lines stay apart"


@pytest.mark.parametrize("width", [39, 60, 80, 100])
async def test_figures_stand_in_their_columns_and_off_the_scrollbar(width: int) -> None:
    chain = Chain(
        backend="iptables-nft", family="ip", table="filter", chain="INPUT", hook="input", policy="DROP", policy_packets=1_234_567_890,
        policy_pps=12.0, rules=[Rule(text="-j CT", number=n, packets=n, pps=1.0) for n in range(40)], rules_total=40,
    )  # fmt: skip
    lines = await shown(HookPath(), s.hooks(chains=[chain]), (width, 30))
    (policy,) = [line for line in lines if "filter INPUT" in line and "DROP" in line]
    (heading,) = [line for line in lines if line.startswith(" INPUT")]
    end = heading.index("packets") + len("packets")
    assert policy[:end].endswith(" 1,234,567,890")
    assert all(line[-1] in "│┃" and line[-2] == " " for line in lines[1:])
    if width >= 60:
        assert heading[: policy.index(" 12 ") + 3].endswith("/s")


async def test_no_rules_is_said_whole() -> None:
    lines = await shown(HookPath(), HooksReading(), (40, 20))
    assert "stage counters of our own can." in " ".join(" ".join(lines).split())


@pytest.mark.parametrize(
    ("active", "style"), [(True, "hook-conntrack"), (None, "hook"), (False, "hook-idle")]
)
def test_conntrack_stands_out_only_where_it_is_on(active: bool | None, style: str) -> None:
    here = Here(40, active, "No rule of this namespace switches conntrack on.", False)
    for kind in ("conntrack", "confirm"):
        assert item_runs(Item(kind, kind), 80, here)[0] == (f"  ◆ {kind}", style)
