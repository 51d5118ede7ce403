"""What questions, summaries and explanations say."""

from typing import Any

import msgspec
import pytest

from cttui.client.targets import Target
from cttui.diagnosis.headline import headline
from cttui.lab.runner import Finished, Moving, Outcome, Row, RowMeasured, StepDone, StepStarted
from cttui.lab.tales import find
from cttui.model import flow as f
from cttui.model.faults import Fault
from cttui.model.hooks import HooksReading, Loss
from cttui.model.jobs import CounterDelta, Job, Result
from cttui.model.messages import Answer, Welcome
from cttui.model.pages import EVENT_TYPES, EventPage, EventRow, FlowPage, Owner
from cttui.model.table import Health, Series, TableReading
from cttui.model.tunables import Tunable
from cttui.model.words import conntrack_line
from cttui.ui import faults, questions
from cttui.ui.actions import Situation
from cttui.ui.bars import cost_words, dump_words, header_line
from cttui.ui.detail import flow_paragraphs, owner_words
from cttui.ui.lines import width_of
from cttui.ui.pasts import Pasts, changes
from cttui.ui.prose import wrap
from cttui.ui.session import Phase, State
from cttui.ui.telling import BEFORE, HELD, OVER, RUNNING, Telling
from cttui.ui.view import View
from tests.ui import samples


def text(paragraphs: questions.Paragraphs) -> str:
    return "\n".join(p if isinstance(p, str) else p[0] for p in paragraphs)


def key(id_: str) -> str:
    return f"<{id_}>"


FULL = Result(
    sent=10, seconds=0.1, new=7, new_by_state={"SYN_SENT": 7}, stats={"drop": 3, "found": 9},
    counters=[
        CounterDelta(backend="x", family="ip", table="raw", chain="PREROUTING", rule=1, text="-j CT", packets=10),
        CounterDelta(backend="x", family="ip", table="raw", chain="PREROUTING", rule=0, text="", packets=10),
        CounterDelta(backend="x", family="ip", table="mangle", chain="PREROUTING", rule=1, text="", packets=7),
    ],
)  # fmt: skip
MAX = Tunable(name="nf_conntrack_max", value="262144", scope="machine", writable=True, why="")


def test_a_setting_is_asked_about_in_full() -> None:
    title, paragraphs = questions.set_question(MAX, "100", 60, count=5000)
    said = text(paragraphs)
    assert "nf_conntrack_max" in title
    for word in (
        "262144  →  100",
        "whole machine",
        "Every network namespace",
        "after 60 s",
        "keep it",
        "holds 5,000",
    ):
        assert word in said, word
    assert "dropped at once" not in text(questions.set_question(MAX, "300000", 60, count=5000)[1][:3])


def test_values_are_bounded() -> None:
    loose = Tunable(name="nf_conntrack_tcp_loose", value="1", scope="netns", writable=True, why="")
    assert (
        questions.set_plan(loose, "2") and questions.set_plan(loose, "x") and questions.set_plan(loose, "-1")
    )
    assert questions.set_plan(loose, "1"), "no change"
    assert questions.set_plan(loose, " 0 ") == ""
    assert all(questions.set_plan(MAX, text) for text in ("²", "٣", "1,0", "9" * 5000)), "no numbers"
    assert questions.set_plan(MAX, str(1 << 31)) and not questions.set_plan(MAX, "0")


def test_deleting_counts_nat_and_names_the_filter() -> None:
    nat = samples.flow(1, status=f.CONFIRMED | f.DST_NAT)
    flows = [samples.flow(0), nat]
    title, paragraphs = questions.delete_set_question(flows, 20_000, "dport=80", most=2, sandbox=False)
    said = text(paragraphs)
    assert title == "Delete 2 flows?"
    for word in (
        "`dport=80`",
        "1 of them are translated",
        "20,000 match; at most 2",
        "198.51.100.2:10000 → 192.0.2.1:80",
        "left alone",
        "host in use",
    ):
        assert word in said, word
    assert "NAT" in text(questions.delete_question(nat, conntrack_line(nat), sandbox=True)[1])


def test_what_a_deletion_came_to() -> None:
    assert questions.deleted_words(1, 0, 0) == "1 flow deleted"
    said = questions.deleted_words(1_000, 2, 1, left=3)
    assert (
        said
        == "1,000 flows deleted · 2 gone meanwhile · 1 spared: you are connected through it · 3 left: stopped"
    )


def test_what_the_warden_did_by_itself_is_told() -> None:
    from cttui.probe.warden import news_words

    for what, level, word in (("reverted", "info", "put back"), ("left", "warning", "somebody else"),
                              ("unchanged", "info", "again already"), ("error: no", "error", "(no)")):  # fmt: skip
        said = news_words("nf_conntrack_acct", what, "1")
        assert said[0] == level and "nf_conntrack_acct" in said[1] and word in said[1]


def test_result_is_evidence() -> None:
    said = text(questions.result_lines(FULL))
    assert "10 packets" in said and "7 new: 7 SYN_SENT" in said and "drop      +3" in said
    assert said.count("raw PREROUTING") == 1, "the policy that counted the same says nothing new"
    assert "counts only" in said and "found" not in said
    quiet = Result(sent=1, seconds=0.1, new=1, losses=[Loss(family="ip", hook="output", after="a", before="b", packets=1, cause="dropped by raw OUTPUT rule 1: -j DROP", source="raw OUTPUT rule 1 +1")])  # fmt: skip
    assert "no conntrack statistic moved" in text(questions.result_lines(quiet))
    logged = text(questions.result_lines(msgspec.structs.replace(FULL, kernel_log=["table full"] * 6)))
    assert logged.count("kernel  ") == 1 and "kernel    table full  (6 times)" in logged


def test_summary_in_one_line() -> None:
    job = Job(id=1, kind="fire", state="done", result=FULL)
    assert faults.summary(job) == "burst  sent 10 · raw +10 · mangle +7 · new 7 SYN_SENT · drop +3"
    gone = msgspec.structs.replace(FULL, reclaimed=2)
    said = faults.summary(Job(id=1, kind="fire", state="done", result=gone))
    assert said.endswith(" · drop +3 · 2 reclaimed"), "what is cut in few columns is no loss"
    assert "5 of 10" in faults.summary(Job(id=1, kind="fire", state="running", done=5, total=10))
    failed = Job(id=1, kind="fire", state="failed", fault=Fault("x", "It broke.", "Mend it."))
    assert faults.summary(failed) == "burst  It broke. Mend it."
    assert faults.summary(Job(id=1, kind="fire", state="cancelled")) == "burst  cancelled"


def test_a_room_is_told_numbers_of_packets_only_after_a_burst() -> None:
    answer = Answer(seq=1, at=0.0, table=samples.table(count=10, filler=0, rates={}), health=Health())
    told = {label: number for number, label, _ in faults.big_numbers(answer, Job(id=1, kind="fire", state="done", result=FULL))}  # fmt: skip
    assert (told["sent"], told["raw"], told["mangle"], told["drop"]) == ("10", "10", "7", "3")
    filled = Job(id=2, kind="fill", state="done", result=Result(answer="7 free."))
    assert [label for _, label, _ in faults.big_numbers(answer, filled)] == ["entries", "free slots"]


def test_what_is_about_to_be_lost_comes_before_what_is_over() -> None:
    growing = [100_000.0 + 1490 * i for i in range(12)]
    table = samples.table(count=120_000, filler=0, rates={}, stats={}, history=[Series("entries", growing)])

    def said(**more: Any) -> str:
        lost = Loss(family="ip", hook="input", after="input", before="socket", packets=10, **more)
        answer = Answer(
            seq=1, at=0.0, table=table, health=Health(), hooks=HooksReading(losses=[lost], stages_armed=True)
        )
        return faults.banner(answer, None, None, "", key)[0][0][1][0]

    assert said(cause="no socket on that port", source="UdpNoPorts +10").startswith("table full in")
    assert said(cause="no route", source="IpExtInNoRoutes +10").startswith("10 packets lost: no route")


def test_many_free_slots_take_no_room_from_what_was_lost() -> None:
    burst = Job(id=1, kind="fire", state="done", result=FULL)

    def labels(count: int) -> list[str]:
        answer = Answer(seq=1, at=0.0, table=samples.table(count=count, filler=0), health=Health())
        return [label for _, label, _ in faults.big_numbers(answer, burst)]

    assert labels(10)[-2:] == ["drop", "free slots"]
    assert labels(262_137)[:2] == ["entries", "free slots"]


def test_losses_that_a_rule_meant_are_no_alarm() -> None:
    ruled = Loss(family="ip", hook="output", after="defrag", before="raw", packets=10, cause="dropped by raw OUTPUT rule 1: -j DROP", source="raw OUTPUT rule 1 +10")  # fmt: skip
    lost = Loss(family="ip", hook="prerouting", after="raw", before="conntrack", packets=3, cause="lost in conntrack: table full", source="drop +3")  # fmt: skip
    table = samples.table(count=10, stats={}, rates={})
    assert headline(table, [ruled], None) == ""
    assert "3 packets lost in conntrack" in headline(table, [ruled, lost], None)
    assert "table full" in headline(samples.table(), [], FULL)


def test_an_empty_table_says_why() -> None:
    box = Welcome(
        protocol=1, app="", target="sandbox", netns=1, kernel="", user="root", writes=True, can=["ctnetlink"]
    )
    host = Welcome(protocol=1, app="", target="host", netns=1, kernel="", user="no privilege", writes=False, can=[], cannot={"ctnetlink": "Needs root."})  # fmt: skip

    def why(table: TableReading, welcome: Welcome, **kw: object) -> str:
        options = {"filter_text": "", "held": 0, "fillers_hidden": 0, **kw}
        return "\n".join(faults.why_empty(table, welcome, key=key, **options))  # type: ignore[arg-type]

    empty = samples.table(count=0, filler=0)
    assert "<fire>" in why(empty, box)
    assert "Needs root." in why(empty, host) and "sandbox of your own" in why(empty, host)
    assert "none of 5 flows" in why(empty, box, filter_text="x", held=5)
    assert "not active" in why(samples.table(active=False, active_why="No hook."), box)
    assert "262,137 fillers" in why(samples.table(), box, fillers_hidden=262137)
    sighted = Welcome(protocol=1, app="", target="host", netns=1, kernel="", user="root", writes=True, can=["ctnetlink"])  # fmt: skip
    inactive = samples.table(count=0, active=None, active_why="No rule does.")
    alone = Situation(sandbox=False, other=False, can=frozenset({"ctnetlink"}))
    unknown = "Nothing shows that conntrack is active in this namespace.\nNo rule does."
    assert why(inactive, sighted, here=alone) == unknown
    able = Situation(sandbox=False, can=frozenset({"ctnetlink", "stages", "capture"}))
    for active in (None, False):
        keys = why(samples.table(count=0, active=active), sighted, here=able)
        assert "\n  <stages>  count packets" in keys and "<capture>" in keys and "<target>" in keys
    assert why(empty, sighted) == "The table is empty: no connection is tracked right now."
    taken = Fault("fill-taken", "Another sandbox is full already.", "Close it, or wait.")
    refused = why(empty, box, trouble=taken)
    assert "not filled. Another sandbox is full already.\nClose it, or wait." in refused
    assert "<reset>  try again" in refused
    played = why(empty, box, here=Situation(recording=True, other=False, next_action="fire"))
    assert (
        "<fire>  fire the recorded burst" in played and "<tales>" not in played and "<tunables>" not in played
    )
    assert "<fire>" not in why(empty, box, here=Situation(recording=True))
    filled = why(empty, box, here=Situation(recording=True, next_action="fill"))
    assert "<fire>  fill the table as it was filled then" in filled
    assert "<fire>  go on with" in why(empty, box, here=Situation(recording=True, next_action="rules"))
    assert "sandbox of your own" not in why(empty, host, here=Situation(sandbox=False, other=False))


def test_a_lost_probe_offers_another_target_only_where_there_is_one() -> None:
    fault = Fault("probe-died", "It died.")
    assert "<target>" in text(faults.restart_words(fault, Situation(), key))
    alone = text(faults.restart_words(fault, Situation(other=False), key))
    assert "<target>" not in alone and "<reset> starts a new, empty sandbox.   <quit> leaves." in alone


@pytest.mark.parametrize(("age_s", "said"), [(None, False), (3.0, True), (61.0, False)])
def test_lost_events_are_in_the_banner_for_a_minute(age_s: float | None, said: bool) -> None:
    answer = Answer(seq=1, at=0.0, table=samples.table(count=10, stats={}, rates={}), health=Health(events_lost=2, events_lost_age_s=age_s))  # fmt: skip
    assert [faults.banner(answer, None, None, "", key) != []] == [said]


def test_a_packet_without_a_flow_says_that_the_table_may_be_older() -> None:
    def said(**health: object) -> str:
        return faults.no_flow(Answer(seq=1, at=0.0, table=samples.table(), health=Health(**health)))  # type: ignore[arg-type]

    assert said(dump_age_s=4.2).endswith("it has ended, or it is newer than the table, read 4 s ago.")
    assert said(dump_age_s=4.2, events_attached=True) == faults.no_flow(None)


@pytest.mark.parametrize(("count", "said"), [
    (12, "2 more entries: unconfirmed, dying or not read yet."), (9, "1 entry shown ended after the table was read."), (10, None),
])  # fmt: skip
def test_the_count_beside_what_was_read(count: int, said: str | None) -> None:
    lines = text(questions.trust_lines(samples.table(count=count, held=10), Health()))
    assert said in lines if said else "entr" not in lines


def test_nothing_is_said_of_dumps_where_flows_are_not_read() -> None:
    unread = text(questions.trust_lines(samples.table(count=0, held=0), Health(counters_age_s=0.0)))
    assert "is not known" in unread and "dumps" not in unread
    assert "lower bounds" in text(
        questions.trust_lines(samples.table(count=0, held=0), Health(dump_age_s=1.0))
    )


def test_what_was_not_looked_at_is_not_said_to_be_fine() -> None:
    empty = samples.table(count=0, stats={}, rates={}, by_state={}, filler=0, held=0, assured=0, evictable=0)
    nothing = "Nothing is seen to be lost"

    def said(hooks_age_s: float | None, no_rules: str = "") -> str:
        health = Health(counters_age_s=0.0, hooks_age_s=hooks_age_s)
        return text(questions.explanation(empty, health, None, [], None, no_rules=no_rules))

    assert nothing not in said(None) and "still being read" in said(None)
    assert nothing in said(0.1) and "still" not in said(0.1)
    without = said(None, "It takes sudo.")
    assert nothing in without and "What rules drop is not seen. It takes sudo." in without


def test_explanation_covers_the_whole_picture() -> None:
    health = Health(
        counters_age_s=0.2, dump_age_s=5, events_attached=False, events_lost=2, ghosts=4, ring_drops=1
    )
    said = text(questions.explanation(samples.table(), health, None, [], FULL))
    for word in (
        "The table is full",
        "drop 3",
        "The last burst",
        "lower bounds",
        "2 times",
        "4 flows ended",
        "no room for 1",
    ):
        assert word in said, word


def test_hostile_text_is_escaped_everywhere() -> None:
    bad = "\x1b[31m[bold]x"
    result = Result(sent=1, new=1, new_by_state={bad: 1}, counters=[CounterDelta(backend="x", family="ip", table="raw", chain="PREROUTING", rule=1, text=bad, packets=1)], kernel_log=[bad])  # fmt: skip
    said = text(questions.result_lines(result, bad))
    said += faults.summary(Job(id=1, kind="fire", state="done", result=result))
    said += text(faults.restart_words(Fault("x", bad, bad), Situation(), key))
    assert "\x1b" not in said and "[bold]" in said


def test_header_keeps_what_matters() -> None:
    box = Welcome(
        protocol=1, app="", target="sandbox", netns=4026532245, kernel="6.18.44", user="root", writes=True
    )
    for width in (20, 40, 60, 80, 200):
        for phase in Phase:
            state = State(phase, samples_target(), 1.0, welcome=box)
            line = header_line(state, width=width, frozen_at="16:02:11")
            assert sum(width_of(t) for t, _ in line) == width
            if width >= 60:
                assert "SANDBOX" in "".join(t for t, _ in line)
    live = State(Phase.LIVE, samples_target(), 1.0, welcome=box)
    said = {
        width: "".join(t for t, _ in header_line(live, width=width, cost=cost_words(2.9)))
        for width in (60, 80)
    }
    assert "own CPU <3 %  1 Hz" in said[80]
    assert "own CPU" not in said[60] and "SANDBOX" in said[60]
    assert cost_words(140) == "own CPU ≥100 %"
    assert dump_words(None) == dump_words(9.9) == ""
    assert dump_words(31) == dump_words(59) == "flows >30 s old"


def samples_target() -> Target:
    return Target("sandbox", "SANDBOX")


def test_a_word_longer_than_a_line_goes_on_behind_one_of_its_signs() -> None:
    notation = 'IP(src="198.51.100.2",dst="192.0.2.1")/TCP(sport=(10000,10009),dport=80,flags="S")'
    lines = [line[0][0] for line in wrap(notation, 75)]
    assert lines == [
        'IP(src="198.51.100.2",dst="192.0.2.1")/', 'TCP(sport=(10000,10009),dport=80,flags="S")',
    ], "between layers rather than fields"  # fmt: skip
    assert [line[0][0] for line in wrap("TCP(dport=80,sport=RandNum(1024,65535))", 34)] == [
        "TCP(dport=80,sport=RandNum(1024,", "65535))",
    ], "but not where half a line would be left"  # fmt: skip
    flood = "TCP(flags=2,dport=80,sport=RandNum(1024,65535))"
    assert [line[0][0] for line in wrap(flood, 40)] == [
        "TCP(flags=2,dport=80,", "sport=RandNum(1024,65535))",
    ], "between fields rather than the ends of a range"  # fmt: skip
    assert [line[0][0] for line in wrap("x" * 25, 10)] == ["x" * 10, "x" * 10, "x" * 5]


def test_wrapping_hangs_beside_a_label() -> None:
    lines = ["".join(t for t, _ in line) for line in wrap("timeout    " + "word " * 30, 40)]
    assert lines[0].startswith("timeout    word") and all(x.startswith(" " * 11 + "word") for x in lines[1:])
    assert all(len(x) <= 40 for x in lines)
    assert wrap("", 10) == [()]


def test_detail_says_nat_in_words() -> None:
    flow = samples.flow(
        0, status=f.CONFIRMED | f.DST_NAT | f.SEEN_REPLY, reply_src=samples.ip("10.0.0.7"), reply_sport=8080
    )
    said = text(flow_paragraphs(flow, None))
    assert "DNAT: client dialled 192.0.2.1:80, answered by 10.0.0.7:8080" in said
    assert "nf_conntrack_tcp_timeout_syn_sent" in said


def test_detail_names_what_conntrack_noted_of_each_end() -> None:
    flow = samples.flow(0, tcp_wscale_orig=10, tcp_wscale_reply=7, tcp_flags_orig=0x33, tcp_flags_reply=0)
    said = text(flow_paragraphs(flow, None))
    assert (
        "tcp        original: window scale 10, flags 0x33 (window scale, SACK, data not acknowledged, "
        in said
    )
    assert "tcp        reply: window scale 7, flags 0x0\n" in said
    gre = samples.flow(0, proto=f.IPPROTO_GRE, state=None, orig_sport=0x11, orig_dport=0x22)
    assert "gre        source key 0x11, destination key 0x22\n" in text(flow_paragraphs(gre, None))


def test_detail_names_both_settings_of_a_connection_that_is_not_acknowledged() -> None:
    flow = samples.flow(
        0, state=3, status=f.CONFIRMED | f.SEEN_REPLY | f.ASSURED, timeout_s=298, tcp_flags_orig=0x33
    )
    said = text(flow_paragraphs(flow, None))
    assert "set by nf_conntrack_tcp_timeout_unacknowledged, or by …_max_retrans after repeats" in said


def test_detail_of_an_offloaded_flow_claims_no_timeout() -> None:
    said = text(flow_paragraphs(samples.flow(0, status=f.CONFIRMED | f.OFFLOAD, timeout_s=0), None))
    assert "timeout    kept by a flowtable, set by nf_flowtable_tcp_timeout" in said and "0s left" not in said


def test_detail_says_that_its_command_deletes() -> None:
    said = text(flow_paragraphs(samples.flow(0), None)).splitlines()
    assert said[-2] == "The command that deletes it" and said[-1].startswith("  conntrack -D ")


def test_detail_says_how_many_connections_a_helper_expects() -> None:
    flow = samples.flow(0, helper="ftp")
    assert "helper     ftp, expects 1 connection\n" in text(flow_paragraphs(flow, None, expected=1))
    assert "helper     ftp, expects 0 connections\n" in text(flow_paragraphs(flow, None, expected=0))
    assert "helper     ftp\n" in text(flow_paragraphs(flow, None)), "not asked"
    assert "expects" not in text(flow_paragraphs(samples.flow(0), None, expected=None))


@pytest.mark.parametrize(
    ("rare", "said"),
    [
        (
            {"sctp-vtag-orig": 0xBEEF, "sctp-vtag-reply": 1},
            ["sctp", "verification tags: original 0xbeef, reply 0x1"],
        ),
        (
            {"dccp-role": 1, "dccp-handshake-seq": 5},
            ["dccp", "the original direction is the server's, handshake number 5"],
        ),
        (
            {"seqadj-reply-position": 9, "seqadj-reply-before": 0, "seqadj-reply-after": -3},
            ["seq adj", "reply: +0 up to sequence number 9, -3 from there"],
        ),
        (
            {"synproxy-isn": 7},
            ["synproxy", "first sequence number 7, first timestamp 0, timestamps moved by 0"],
        ),
    ],
    ids=lambda value: next(iter(value), ""),
)
def test_attributes_that_few_carry(rare: dict[str, int], said: list[str]) -> None:
    label, words = said
    assert f"{label:<11}{words}\n" in text(flow_paragraphs(samples.flow(0), None, rare=rare))


def test_whose_sockets_the_ends_are() -> None:
    owners = [
        Owner(end="source", program="cu\x1brl", pids=[4711], user="alice"),
        Owner(end="destination", program="nginx", pids=[80, 81, 82], user="root", listening=True),
        Owner(end="source", program="", pids=[], user="65534"),
    ]
    assert text(flow_paragraphs(samples.flow(0), None, owners=owners)).count("process    ") == 3
    assert [owner_words(owner) for owner in owners] == [
        "source: cu\\x1brl (4711), alice",
        "destination: nginx (80 and 2 more), root, listening",
        "source: a process that can't be seen, 65534",
    ]


def test_watch_remembers_changes() -> None:
    watch = Pasts()
    before = samples.flow(0)
    after = samples.flow(0, state=3, status=f.CONFIRMED | f.SEEN_REPLY | f.ASSURED, timeout_s=432000)
    assert changes(before, after) == [
        "SYN_SENT → ESTABLISHED",
        "+SEEN_REPLY",
        "+ASSURED",
        "timeout set to 432000 s",
    ]
    answer = samples_answer(before)
    watch.see(answer, now=1.0)
    watch.see(samples_answer(after), now=2.0)
    past = watch.past(before.key)
    assert past is not None and past.first == 1.0 and [when for when, _ in past.changes] == [2.0] * 4


def test_events_tell_every_change_between_two_readings() -> None:
    watch = Pasts()
    syn = samples.flow(0)
    watch.see(samples_answer(syn), now=1.0)
    between = [("update", 1.2, samples.flow(0, state=2)), ("update", 1.3, samples.flow(0, state=3)),
               ("update", 0.5, samples.flow(0, state=7)), ("destroy", 1.8, samples.flow(0, state=3))]  # fmt: skip
    rows = [
        EventRow(kind=EVENT_TYPES.index(kind), time_ns=int(at * 1e9), flow=flow) for kind, at, flow in between
    ]
    answer = samples_answer(samples.flow(0, state=3, ended=True))
    watch.see(msgspec.structs.replace(answer, events=EventPage(rows=rows, last=4)), now=2.0)
    past = watch.past(syn.key)
    assert past is not None and past.changes == [
        (1.2, "SYN_SENT → SYN_RECV"), (1.3, "SYN_RECV → ESTABLISHED"), (1.8, "ended")
    ]  # fmt: skip


@pytest.mark.parametrize("ahead", [0.3, 3600.0, -3600.0])
def test_a_past_by_the_clock_of_its_events(ahead: float) -> None:
    """An answer came 0.3 s after it was made, or from a machine with another clock: its events are still news."""
    watch = Pasts()

    def see(at: float, flow: f.Flow, *told: tuple[float, int]) -> None:
        rows = [
            EventRow(kind=1, time_ns=int(when * 1e9), flow=samples.flow(0, state=state))
            for when, state in told
        ]
        page = EventPage(rows=rows, at_ns=int(at * 1e9))
        watch.see(msgspec.structs.replace(samples_answer(flow), events=page), now=at + ahead)

    watch.see(samples_answer(samples.flow(0)), now=9_999.0 + ahead)
    see(10_000.0, samples.flow(0))
    see(10_001.0, samples.flow(0, state=3), (10_000.1, 2), (10_000.2, 3))
    past = watch.past(samples.flow(0).key)
    assert past is not None
    assert past.changes == [(10_000.1, "SYN_SENT → SYN_RECV"), (10_000.2, "SYN_RECV → ESTABLISHED")]


def samples_answer(flow: f.Flow) -> Answer:
    return Answer(seq=1, at=0.0, table=samples.table(), health=Health(), flows=FlowPage(rows=[flow]))


def test_view_joins_groups_and_filter() -> None:
    view = View(filter="dport=80")
    view.enter("tcp", "proto=tcp")
    view.enter("SYN_SENT", "state=SYN_SENT")
    assert view.whole_filter == "(proto=tcp) and (state=SYN_SENT) and (dport=80)"
    assert view.breadcrumbs == "tcp › SYN_SENT"
    assert view.leave() and view.whole_filter == "(proto=tcp) and (dport=80)"
    assert view.leave() and view.whole_filter == "dport=80"
    assert view.leave() and view.whole_filter == "" and not view.leave()


def test_a_tale_told() -> None:
    tale = find("ten-syns")
    telling = Telling(tale)
    assert telling.phase == BEFORE and "r runs it" in text(telling.story("n", "r"))
    rows = tuple(telling.rows[1])
    telling.take(StepStarted(1, 1, tale.steps[0], rows))
    telling.phase = HELD
    assert telling.caption() == (f"{tale.steps[0].caption}. Predict first.", "caption"), "of its only step"
    assert "n carries out this step." in text(telling.story("n", "r")), "nothing is left to run behind it"
    telling.phase = RUNNING
    telling.take(Moving(tale.steps[0].moves[0], 1))
    assert telling.phase == RUNNING and "▸" in text(telling.story("n", "r"))
    telling.take(RowMeasured(1, 0, Row(rows[0].what, 10, 9, False)))
    telling.take(StepDone(1, Result()))
    telling.take(Finished(Outcome(tale.name, False, "6.18", rows=(Row("x", 10, 9, False),))))
    assert telling.phase == OVER and "One prediction failed" in text(telling.story("n", "r"))
    assert telling.caption() == telling.verdict, "a room reads it once, in its colour"
    assert "One prediction failed" not in text(telling.story("n", "r", captioned=True))
    assert next(row.measured for row, _ in telling.lines() if row is not None) == 9


def test_a_wrong_prediction_is_said_with_where_to_read_it() -> None:
    """What was expected is explained as that: it is not what happened."""
    tale = find("table-full")
    telling = Telling(tale)
    row = Row("dropped by conntrack (drop)", 3, 2600, False, "conntrack -S")
    telling.take(Finished(Outcome(tale.name, False, "6.18", rows=(row,))))
    said = text(telling.story("n", "r"))
    assert "dropped by conntrack (drop): 3 predicted, 2,600 measured (conntrack -S)" in said
    assert said.index("Why that was predicted") < said.index(tale.explanation)
    telling.take(Finished(Outcome(tale.name, True, "6.18")))
    assert "Why that was predicted" not in text(telling.story("n", "r"))


def test_a_room_guesses_before_a_prediction_is_shown() -> None:
    tale = find("dropped-in-input")
    telling = Telling(tale)

    def predictions() -> list[object]:
        return [row.predicted for row, _ in telling.lines(guessing=True) if row is not None]

    assert predictions() == ["?"] * 6
    assert "?" not in [row.predicted for row, _ in telling.lines() if row is not None], "alone one reads them"
    telling.take(StepStarted(1, 2, tale.steps[0], tuple(telling.rows[1])))
    telling.phase = HELD
    assert "n carries out this step, r this one and those behind it." in text(telling.story("n", "r"))
    assert telling.caption()[0].startswith("Step 1 of 2: ")
    assert predictions() == ["?"] * 6
    telling.phase = RUNNING
    assert predictions() == [10, 10, 0, "?", "?", "?"]
    telling.take(StepStarted(2, 2, tale.steps[1], tuple(telling.rows[2])))
    telling.phase = HELD
    assert predictions() == [10, 10, 0, "?", "?", "?"]
    telling.take(Finished(Outcome(tale.name, True, "6.18")))
    assert predictions() == [10, 10, 0, 0, 0, 10]
