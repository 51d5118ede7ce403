"""Trace messages made up, put together to journeys: ids that come again, batches that cut, every kind of end."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from packet_samples import tcp

from cttui.kernel import trace as t
from cttui.kernel.ruleset import ChainRules, RuleSet, Texts
from cttui.kernel.trace_table import BaseChain
from cttui.model.hooks import Loss
from cttui.model.packet import JourneysReading
from cttui.model.views import JourneyView
from cttui.probe.journey_words import Evidence, state_words, verdict_words
from cttui.probe.journeys import Journeys
from cttui.probe.packet_log import PacketTuple, Place
from cttui.probe.rule_book import RuleBook

TABLE = "cttui_trace_1"
RAW, MANGLE, INPUT, X = (
    ("ip", "raw", "PREROUTING"), ("ip", "mangle", "PREROUTING"), ("ip", "filter", "INPUT"), ("ip", "filter", "X"),
)  # fmt: skip
MARK, BEFORE, AFTER, END, SENT = (
    ("inet", TABLE, name)
    for name in (
        "mark",
        "prerouting_before_conntrack",
        "prerouting_after_conntrack",
        "input_end",
        "postrouting_end",
    )
)
BASE = {
    RAW: BaseChain("prerouting", -300), MANGLE: BaseChain("prerouting", -150), INPUT: BaseChain("input", 0),
    ("ip6", "filter", "INPUT"): BaseChain("input", 0), ("inet", TABLE, "input_end"): BaseChain("input", 2**31 - 2),
}  # fmt: skip
NUMBERS = {(*INPUT, 4): 1, (*INPUT, 5): 2, (*X, 9): 1}


class NoFlows:
    def of_packets(self, tuples: list[PacketTuple]) -> list[tuple[int, str]]:
        return [(tuple_[4], "") for tuple_ in tuples]

    def tuples_of(self, key: int) -> list[PacketTuple]:
        return []


@dataclass
class Feed:
    """A listener's names and messages."""

    journeys: Journeys
    places: list[Any] = field(default_factory=list)
    jumps: list[str] = field(default_factory=lambda: [""])

    def send(self, *messages: dict[str, Any]) -> None:
        steps, heads = np.zeros(len(messages), t.STEP), np.zeros((len(messages), 60), np.uint8)
        for i, message in enumerate(messages):
            data = message.pop("data", b"")
            for name, value in message.items():
                steps[i][name] = value
            heads[i, : len(data[:20])] = np.frombuffer(data[:20], np.uint8)
            heads[i, 40 : 40 + len(data[20:40])] = np.frombuffer(data[20:40], np.uint8)
            steps[i]["network"], steps[i]["transport"] = len(data[:20]), len(data[20:40])
        self.journeys.append(t.TraceBatch(steps, heads), self.places, self.jumps)

    def message(
        self, trace_id: int, place: Any, kind: int = t.POLICY, verdict: int = t.ACCEPT, **more: Any
    ) -> dict[str, Any]:
        if place not in self.places:
            self.places.append(place)
        jump = more.pop("jump", "")
        if jump not in self.jumps:
            self.jumps.append(jump)
        return {
            "trace_id": trace_id, "place": self.places.index(place), "kind": kind, "verdict": verdict, "nfproto": 2,
            "iif": 2, "jump": self.jumps.index(jump), "time_ns": 1000, "handle": 1 if kind == t.RULE else 0, **more,
        }  # fmt: skip

    def start(self, trace_id: int, sport: int = 1000, **more: Any) -> dict[str, Any]:
        return self.message(trace_id, MARK, t.RULE, t.ACCEPT, handle=3, data=tcp(sport), **more)

    def passed(self, trace_id: int, *places: Any) -> list[dict[str, Any]]:
        return [self.message(trace_id, place) for place in places]

    def read(self, now_ns: int = 10**12) -> JourneysReading:
        return self.journeys.reading(JourneyView(count=50), NoFlows(), now_ns, armed=True)


@pytest.fixture
def feed() -> Feed:
    return Feed(Journeys(TABLE, 100, RuleBook(BASE, NUMBERS)))


ALL = (RAW, BEFORE, AFTER, MANGLE, INPUT, END)


def test_an_id_that_comes_again_is_another_packet(feed: Feed) -> None:
    for sport in (1000, 1000, 1001):
        feed.send(feed.start(7, sport), *feed.passed(7, *ALL))
    got = feed.read()
    assert got.total == 3 and got.ends == [("delivered", 3)]
    assert [j.flow_key for j in got.journeys] == [1000, 1000, 1001]
    assert got.stages == ["raw PREROUTING", "conntrack", "mangle PREROUTING", "filter INPUT", "delivered"]
    assert all(j.cells == ["passed"] * 5 and j.ended_ok for j in got.journeys)
    assert got.journeys[0].line == "IP 198.51.100.2.1000 > 192.0.2.1.80: Flags [S], seq 0, win 8192, length 0"


def test_batches_may_cut_anywhere_and_cpus_interleave(feed: Feed) -> None:
    a = [feed.start(1, 1), *feed.passed(1, *ALL)]
    b = [feed.start(2, 2), *feed.passed(2, *ALL)]
    mixed = [message for pair in zip(a, b, strict=True) for message in pair]
    for message in mixed:
        feed.send(dict(message))
    got = feed.read()
    assert [(len(j.steps), j.end) for j in got.journeys] == [(5, "delivered")] * 2  # END and AFTER are stages


def test_traces_of_others_and_dummy_messages_are_left_out(feed: Feed) -> None:
    feed.send(
        *feed.passed(5, RAW, INPUT),
        feed.start(1),
        feed.message(1, RAW, t.RULE, t.CONTINUE, handle=0),
        *feed.passed(1, *ALL),
    )
    got = feed.read()
    assert (
        got.total == 1
        and sum(step.chain == "PREROUTING" and step.table == "raw" for step in got.journeys[0].steps) == 1
    )


def test_beyond_the_cap_packets_are_counted_only(feed: Feed) -> None:
    feed.journeys.most = 2
    for trace_id in range(5):
        feed.send(feed.start(trace_id), *feed.passed(trace_id, *ALL))
    got = feed.read()
    assert (got.total, got.capped, got.ends) == (2, 3, [("delivered", 2)])


def test_a_rule_that_drops_is_named(feed: Feed) -> None:
    feed.send(feed.start(1), *feed.passed(1, *ALL[:4]), feed.message(1, INPUT, t.RULE, t.DROP, handle=5))
    (journey,) = feed.read().journeys
    assert journey.end == "dropped by filter INPUT rule 2" and not journey.ended_ok
    assert journey.cells == ["passed", "passed", "passed", "dropped", "not reached"]


def test_a_drop_in_a_chain_jumped_to_counts_where_it_came_from(feed: Feed) -> None:
    feed.send(
        feed.start(1), *feed.passed(1, *ALL[:4]), feed.message(1, INPUT, t.RULE, t.JUMP, handle=4, jump="X"),
        feed.message(1, X, t.RULE, t.DROP, handle=9),
    )  # fmt: skip
    (journey,) = feed.read().journeys
    assert journey.end == "dropped by filter X rule 1" and journey.cells[3] == "dropped"
    assert [step.verdict for step in journey.steps[-2:]] == ["jump X", "drop"]


def test_a_policy_that_drops(feed: Feed) -> None:
    feed.send(feed.start(1), *feed.passed(1, *ALL[:4]), feed.message(1, INPUT, t.POLICY, t.DROP))
    assert feed.read().ends == [("dropped by the policy of filter INPUT", 1)]


@pytest.mark.parametrize(
    ("evidence", "end"),
    [
        (Evidence(stats={"drop": 3}, full=True), "in conntrack: table full"),
        (Evidence(stats={"drop": 3}), "in conntrack: drop +3"),
        (Evidence(stats={"chaintoolong": 2, "drop": 2}), "in conntrack: drop +2, chaintoolong +2"),
        (Evidence(full=True), "in conntrack: no statistic says why"),
    ],
)
def test_vanished_in_conntrack(feed: Feed, evidence: Evidence, end: str) -> None:
    feed.journeys.evidence = evidence
    feed.send(feed.start(1), *feed.passed(1, RAW, BEFORE), feed.start(2), *feed.passed(2, *ALL))
    got = feed.read()
    assert got.journeys[0].end == end and got.journeys[0].steps[-1].kind == "vanished"
    assert got.journeys[0].cells == ["passed", "vanished", "not reached", "not reached", "not reached"]
    assert sorted(got.ends) == [("delivered", 1), (end, 1)] or got.ends[0][1] == 1


@pytest.mark.parametrize(
    ("lost", "family", "matched", "end"),
    [
        (2, "ip", 2, "refused by UDP: no socket on that port"),
        (1, "ip", 2, "delivered"),  # which of them is not known
        (2, "ip6", 2, "delivered"),
        (2, "ip", 500, "delivered"),  # of those that were not traced perhaps
        (500, "ip", 500, "refused by UDP: no socket on that port"),
    ],
)
def test_what_is_delivered_to_no_socket_is_not_said_to_have_arrived(
    feed: Feed, lost: int, family: str, matched: int, end: str
) -> None:
    feed.journeys.matched = matched
    feed.send(feed.start(1), *feed.passed(1, *ALL), feed.start(2), *feed.passed(2, *ALL))
    feed.journeys.explain(
        [Loss(family=family, hook="input", after="input", before="socket", packets=lost, cause="no socket on that port", source="UdpNoPorts +2")]
    )  # fmt: skip
    got = feed.read()
    assert got.ends == [(end, 2)] and got.journeys[0].end == end
    arrived = end == "delivered"
    assert got.journeys[0].ended_ok == arrived
    assert got.journeys[0].cells[-2:] == ["passed", "passed" if arrived else "refused"]
    assert got.journeys[0].steps[-1].verdict == ("passed" if arrived else "refused")


def test_what_a_slow_reader_lost_was_not_refused(feed: Feed) -> None:
    feed.journeys.matched = 2
    feed.send(feed.start(1), *feed.passed(1, *ALL), feed.start(2), *feed.passed(2, *ALL))
    full = "socket's receive buffer full"
    feed.journeys.explain(
        [Loss(family="ip", hook="input", after="input", before="socket", packets=2, cause=full, source="UdpRcvbufErrors +2")]
    )  # fmt: skip
    journey = feed.read().journeys[0]
    assert (journey.end, journey.ended_ok, journey.cells[-1]) == (f"in UDP: {full}", False, "passed")
    assert [step.verdict for step in journey.steps[-2:]] == ["passed", f"in UDP: {full}"]


def test_vanished_elsewhere(feed: Feed) -> None:
    feed.journeys.evidence = Evidence(network={"TcpExtIPReversePathFilter": 1})
    feed.send(feed.start(1), feed.start(2), *feed.passed(2, RAW), feed.start(3), *feed.passed(3, RAW, BEFORE, AFTER),
              feed.start(4), *feed.passed(4, RAW, BEFORE, AFTER, MANGLE), feed.start(5), *feed.passed(5, *ALL[:5]))  # fmt: skip
    assert [j.end for j in feed.read().journeys] == [
        "lost between the beginning of prerouting and raw PREROUTING",
        "lost between raw PREROUTING and conntrack",
        "lost between conntrack and mangle PREROUTING",
        "in routing: reverse path filter: the answer would leave another way (TcpExtIPReversePathFilter +1)",
        "lost after filter INPUT",
    ]


def legacy(feed: Feed, policy: str = "DROP") -> None:
    """A chain of iptables-legacy behind that of iptables-nft."""
    chain = ChainRules(
        "iptables-legacy",
        "ip",
        "filter",
        "INPUT",
        Texts("iptables-legacy", []),
        [],
        [],
        "input",
        1,
        policy=policy,
    )
    feed.journeys.book = RuleBook(BASE, NUMBERS, RuleSet([chain]))


@pytest.mark.parametrize(
    ("causes", "end"),
    [
        ([], "lost in filter INPUT: by a rule of iptables-legacy? They can't be traced"),
        (["dropped by the policy of filter INPUT"], "dropped by the policy of filter INPUT (iptables-legacy, by its counter)"),
        (["dropped by the policy of filter INPUT", "unknown"], "lost in filter INPUT: by a rule of iptables-legacy? They can't be traced"),
        (["dropped by mangle INPUT rule 1"], "lost in filter INPUT: by a rule of iptables-legacy? They can't be traced"),
    ],
)  # fmt: skip
def test_chains_of_iptables_legacy_say_nothing(feed: Feed, causes: list[str], end: str) -> None:
    legacy(feed)
    losses = [
        Loss(family="ip", hook="input", after="", before="", packets=1, cause=cause) for cause in causes
    ]
    other = Loss(family="ip6", hook="input", after="", before="", packets=1, cause="in another family")
    feed.journeys.evidence = Evidence(losses=[*losses, other])
    feed.send(feed.start(1), *feed.passed(1, *ALL), feed.start(2), *feed.passed(2, *ALL[:5]), feed.start(3), *feed.passed(3, RAW),
              feed.start(4), *feed.passed(4, *ALL[:4]), feed.message(4, INPUT, t.RULE, t.DROP, handle=4))  # fmt: skip
    got = feed.read()
    assert got.stages[-3:] == ["filter INPUT", "legacy filter INPUT", "delivered"]
    assert [j.cells[-2:] for j in got.journeys] == [
        ["passed", "passed"], ["vanished", "not reached"], ["not reached", "not reached"], ["not reached", "not reached"],
    ]  # fmt: skip
    assert got.journeys[1].end == end


def test_an_empty_chain_of_iptables_legacy_is_no_suspect(feed: Feed) -> None:
    legacy(feed, policy="ACCEPT")
    feed.send(feed.start(1), *feed.passed(1, *ALL[:5]))
    assert feed.read().journeys[0].end == "lost after filter INPUT"


def test_a_packet_may_still_be_under_way(feed: Feed) -> None:
    feed.send(feed.start(1), *feed.passed(1, RAW, BEFORE))
    assert feed.read(now_ns=2000).ends == [("under way", 1)]
    assert feed.read(now_ns=2000).journeys[0].end == "under way"


def test_the_log_says_nothing_of_a_packet_under_way(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    feed.journeys.since_ns = 500
    feed.send(feed.start(1, 1000, time_ns=1000), *feed.passed(1, RAW, BEFORE))
    monkeypatch.setattr("cttui.probe.journeys.time", SimpleNamespace(time_ns=lambda: 2000))
    assert feed.journeys.fate(900, tcp(1000), alone) == "", "it was called lost behind its last message"
    monkeypatch.undo()
    assert feed.journeys.fate(900, tcp(1000), alone) != ""
    assert feed.read(now_ns=10**12).ends[0][0].startswith("in conntrack")
    feed.journeys.settle()
    assert feed.read(now_ns=2000).ends[0][0].startswith("in conntrack")


def test_the_template_of_ct_rules_is_no_flow(feed: Feed) -> None:
    template = {"has_ct": 1, "ct_id": 5, "ct_status": 0x808, "ct_state": 8}
    flow = {"has_ct": 1, "ct_id": 77, "ct_status": 0, "ct_state": 8}
    feed.send(feed.start(1), feed.message(1, RAW, **template), feed.message(1, BEFORE, **template),
              feed.message(1, AFTER, **flow), *feed.passed(1, MANGLE, INPUT, END))  # fmt: skip
    (journey,) = feed.read().journeys
    assert journey.flow_id == 77
    assert [step.ct_state for step in journey.steps] == ["", "new", "new", "new", "new"]


def alone(since_ns: int) -> Place:
    raise AssertionError("nothing is like it")


def test_a_packet_of_the_log_finds_its_fate(feed: Feed) -> None:
    feed.journeys.since_ns = 500
    feed.send(feed.start(1, 1000, time_ns=1000), *feed.passed(1, *ALL))
    assert feed.journeys.fate(900, tcp(1000), alone) == "delivered"
    assert feed.journeys.fate(1001, tcp(1000), alone) == "", "captured after its trace message was read"
    assert feed.journeys.fate(499, tcp(1000), alone) == "", "captured before packets were marked"
    assert feed.journeys.fate(900, tcp(1000) + b"payload", alone) == "delivered"
    assert feed.journeys.fate(800, tcp(1001), alone) == "" == feed.journeys.fate(900, b"", alone)
    feed.journeys.until_ns = 899
    assert feed.journeys.fate(900, tcp(1000), alone) == "", "captured after packets were marked"


def test_of_equal_packets_each_has_its_own_fate(feed: Feed) -> None:
    feed.journeys.since_ns = 500
    feed.send(feed.start(1, time_ns=9000), *feed.passed(1, *ALL))
    feed.send(feed.start(2, time_ns=9000), feed.message(2, INPUT, t.RULE, t.DROP, handle=4))

    def fate(place: Place | None) -> str:
        return feed.journeys.fate(8000, tcp(1000), lambda since_ns: place)

    dropped = "dropped by filter INPUT rule 1"
    assert [fate(Place(n, 3)) for n in range(3)] == ["delivered", dropped, ""], "the third was not traced"
    assert [fate(Place(n, 2)) for n in range(2)] == ["delivered", dropped], "all of them are there"
    assert fate(Place(0, 1)) == "" == fate(None), "one is gone from the log: this is the first or the second"
    feed.journeys.evidence = Evidence(lost=1)
    assert fate(Place(0, 2)) == "", "messages were lost: perhaps a packet of these too"


def test_at_the_cap_a_packet_may_have_twins_that_were_not_traced(feed: Feed) -> None:
    feed.journeys.since_ns, feed.journeys.most = 500, 1
    feed.send(feed.start(1, time_ns=9000), *feed.passed(1, *ALL))
    told = [feed.journeys.fate(8000, tcp(1000), lambda since_ns, n=n: Place(n, 2)) for n in (0, 1)]  # type: ignore[misc]
    assert told == ["delivered", ""]


def test_a_packet_of_our_own_comes_back_by_lo_under_another_id(feed: Feed) -> None:
    entrance = ("inet", TABLE, "start_prerouting")
    feed.send(feed.start(7, iif=0), *feed.passed(7, SENT))
    feed.send(feed.message(8, entrance, t.RULE, data=tcp(1000)), *feed.passed(8, entrance, *ALL))
    feed.send(feed.message(9, entrance, t.RULE, data=tcp(2000)), *feed.passed(9, *ALL))
    got = feed.read()
    assert got.total == 1 and got.ends == [("delivered", 1)], "and another's is not taken for it"


def test_a_race_lost_at_confirmation_is_no_delivery(feed: Feed) -> None:
    def ct(flow: int, status: int = 0) -> dict[str, int]:
        return {"has_ct": 1, "ct_id": flow, "ct_status": status, "ct_state": 8}

    for trace_id, flow, status in ((1, 70, 0), (2, 71, 0), (3, 60, t.CONFIRMED)):
        feed.send(
            feed.start(trace_id),
            *feed.passed(trace_id, *ALL[:5]),
            feed.message(trace_id, END, **ct(flow, status)),
        )
    feed.journeys.unconfirmed({70})
    got = feed.read()
    lost = "in conntrack: insert_failed, another packet's entry was there first"
    assert got.ends == [("delivered", 2), (lost, 1)]
    assert [j.end for j in got.journeys] == ["delivered", lost, "delivered"]
    assert got.journeys[1].cells == ["passed"] * 4 + ["vanished"] and not got.journeys[1].ended_ok
    assert [step.kind for step in got.journeys[1].steps][-2:] == ["policy", "vanished"]


def test_after_a_loss_nothing_is_claimed(feed: Feed) -> None:
    feed.journeys.evidence = Evidence(stats={"drop": 3}, full=True, lost=1)
    feed.send(feed.start(1), *feed.passed(1, RAW, BEFORE), feed.start(2), *feed.passed(2, *ALL))
    got = feed.read()
    assert dict(got.ends) == {"delivered": 1, "not known: trace messages were lost": 1}
    assert got.journeys[0].cells == ["passed", *["unknown"] * 4]


def test_a_queue_is_no_end(feed: Feed) -> None:
    feed.send(
        feed.start(1), *feed.passed(1, *ALL[:4]), feed.message(1, INPUT, t.RULE, 3 << 16 | t.QUEUE, handle=4)
    )
    assert feed.read().ends == [("waiting in NFQUEUE 3", 1)]
    feed.send(*feed.passed(1, END))
    assert feed.read().ends == [("delivered", 1)]


def test_forwarded_packets_have_other_stages(feed: Feed) -> None:
    forward = ("inet", TABLE, "forward_end")
    feed.send(feed.start(1), *feed.passed(1, RAW, BEFORE, AFTER, MANGLE, forward, SENT))
    got = feed.read()
    assert got.ends == [("sent", 1)] and got.stages == [
        "raw PREROUTING",
        "conntrack",
        "mangle PREROUTING",
        "sent",
    ]


def test_windows(feed: Feed) -> None:
    for trace_id in range(30):
        feed.send(feed.start(trace_id, 1000 + trace_id), *feed.passed(trace_id, *ALL))
    feed.journeys.evidence, feed.journeys.matched = Evidence(lost=2), 101
    newest = feed.journeys.reading(JourneyView(first=-1, count=5), NoFlows(), 0, armed=True)
    assert [j.trace_id for j in newest.journeys] == [25, 26, 27, 28, 29] and newest.first == 25
    assert (newest.lost, newest.capped) == (2, 1)
    middle = feed.journeys.reading(JourneyView(first=10, count=2), NoFlows(), 0, armed=True)
    assert [j.trace_id for j in middle.journeys] == [10, 11]


def test_words() -> None:
    assert (
        state_words(2, 1) == "established (reply)"
        and state_words(64, 0) == "untracked"
        and state_words(0, 1) == ""
    )
    assert verdict_words(t.GOTO, "a\x1b") == "goto a\\x1b" and verdict_words(0x12345, "") == "verdict 0x12345"
