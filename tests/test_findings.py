"""Findings from readings: what is named, how bad it is, and what is no finding at all."""

import itertools

import msgspec
import pytest

from cttui.diagnosis import active_rules, forecast, network
from cttui.diagnosis.finding import ERROR, INFO, WARNING
from cttui.diagnosis.findings import by_rule, findings, is_full, suspect
from cttui.diagnosis.headline import headline
from cttui.model.hooks import ActiveRule, Loss
from cttui.model.jobs import Result
from cttui.model.table import Series, TableReading

LIMIT = 262_144


def table(count: int | None = 10, maximum: int | None = LIMIT, **more: object) -> TableReading:
    return TableReading(**{"count": count, "maximum": maximum, "buckets": LIMIT, "active": True, **more})  # type: ignore[arg-type]


def loss(
    n: int = 3, cause: str = "lost in conntrack: table full", source: str = "drop +3", **more: object
) -> Loss:
    return Loss(
        family="ip",
        hook="prerouting",
        after="raw",
        before="conntrack",
        packets=n,
        cause=cause,
        source=source,
        **more,
    )  # type: ignore[arg-type]


RULED = loss(7, "dropped by raw OUTPUT rule 1: -p tcp --sport 80 -j DROP", "raw OUTPUT rule 1 +7")


@pytest.mark.parametrize(
    ("reading", "level", "word"),
    [
        (table(LIMIT), ERROR, "full: 262,144 of 262,144"),
        (table(int(0.9605 * LIMIT)), WARNING, "96 % full"),
        (table(int(0.85 * LIMIT)), WARNING, "85 % full"),
        (table(active=False), WARNING, "not active"),
        (table(5_000_000, 8_000_000), WARNING, "19 entries share a hash bucket"),
        (table(rates={"insert_failed": 2.0}), ERROR, "insert_failed rises by 2.0"),
        (table(rates={"drop": 5.0}), ERROR, "drops 5.0 packets/s"),
        (table(LIMIT, rates={"early_drop": 9.0}), WARNING, "early_drop rises"),
        (table(rates={"invalid": 1.0}), INFO, "invalid rises"),
    ],
)
def test_one_reading_one_finding(reading: TableReading, level: str, word: str) -> None:
    found = [x for x in findings(reading) if word in x.what]
    assert [x.level for x in found] == [level]


@pytest.mark.parametrize(
    "reading", [table(), table(None), table(None, None), table(10, 0), table(0, active=None)]
)
def test_a_quiet_table_has_none(reading: TableReading) -> None:
    assert findings(reading) == [] and headline(reading, [], None) == "" and not is_full(reading)


def test_the_worst_first() -> None:
    levels = [x.level for x in findings(table(LIMIT, active=False, rates={"invalid": 1.0}), [RULED, loss()])]
    assert levels == sorted(levels, key=(ERROR, WARNING, INFO).index) and levels[0] == ERROR


def test_above_95_percent_entries_are_forgotten_only_after_a_loss() -> None:
    never, once = (findings(table(int(0.96 * LIMIT), stats={"drop": n}))[0] for n in (0, 3))
    for finding in (never, once):
        assert "Once a packet has been lost" in finding.why[0] and "No statistic" in finding.why[0]
    assert "None has been lost" in never.why[1] and "so far: 3" in once.why[1]


def test_what_a_rule_meant_is_no_alarm() -> None:
    assert by_rule(RULED) and not by_rule(loss())
    assert headline(table(), [RULED], None) == "" and findings(table(), [RULED])[0].level == INFO
    (found,) = findings(table(), [RULED])
    assert found.what == "7 packets were dropped by raw OUTPUT rule 1." and found.why[0] == "-p tcp --sport 80 -j DROP"  # fmt: skip
    merged = loss(30, "fragments reassembled", "ReasmOKs", is_loss=False)
    assert findings(table(), [merged])[0].what == "30 packets fewer went on: fragments reassembled."
    assert headline(table(), [merged], None) == ""


def active(text: str = "-p tcp --sport 80 -j DROP", does: str = "drops", **more: object) -> ActiveRule:
    given = {
        "family": "ip",
        "table": "raw",
        "chain": "OUTPUT",
        "number": 1,
        "text": text,
        "does": does,
        "pps": 2.5,
    }
    return ActiveRule(**(given | more))  # type: ignore[arg-type]


def test_what_a_rule_drops_is_told_without_stages_and_once() -> None:
    (found,) = findings(table(), [], [active()])
    assert found.level == INFO and found.what == "raw OUTPUT rule 1 drops 2.5 packets/s."
    (found,) = findings(table(), [], [active(number=0, text="")])
    assert found.what == "The policy of raw OUTPUT drops 2.5 packets/s."
    (found,) = findings(table(), [RULED], [active()])
    assert found.what == "7 packets were dropped by raw OUTPUT rule 1, 2.5/s now."
    # Rule 11 is not rule 1.
    eleventh = loss(7, "dropped by raw OUTPUT rule 11: -p tcp --sport 80 -j DROP")
    assert len(findings(table(), [eleventh], [active()])) == 2


def test_invalid_packets_that_a_rule_drops_are_a_warning_that_says_what_to_do() -> None:
    rule = active("-m conntrack --ctstate INVALID -j DROP", table="filter", chain="FORWARD")
    (found,) = findings(table(rates={"invalid": 63.0}), [], [rule])
    assert found.level == WARNING and "filter FORWARD rule 1 drops 2.5 packets/s" in found.what
    assert "another way" in found.remedy and "nf_conntrack_log_invalid" in found.remedy


@pytest.mark.parametrize(("text", "is_one"), [
    ("-m conntrack --ctstate INVALID -j DROP", True), ("-m state --state INVALID,NEW -j DROP", True),
    ("ct state invalid counter drop", True), ("ct state { new, invalid } counter drop", True),
    ("-m conntrack ! --ctstate INVALID -j DROP", False), ('-m comment --comment "invalid" -j DROP', False),
    ("ct state new tcp dport 80 counter drop", False),
])  # fmt: skip
def test_which_rules_drop_invalid_packets(text: str, is_one: bool) -> None:
    assert active_rules.drops_invalid(active(text)) is is_one


@pytest.mark.parametrize(("counts", "more", "said"), [
    ([100_000 + 1490 * i for i in range(12)], {}, "table full in 1 min 30 s if it goes on growing by 1,490 a second"),
    ([float("nan")] * 6 + [100_000 + 1490 * i for i in range(6)], {}, "table full in 1 min 30 s if it goes on growing by 1,490 a second"),
    ([100_000] * 11 + [120_000], {}, ""),  # a burst is no trend
    ([100_000 - 1490 * i for i in range(12)], {}, ""),
    ([100_000 + i for i in range(12)], {}, ""),  # two days away
    ([100_000 + 1490 * i for i in range(5)], {}, ""),
    ([100_000 + 1490 * i for i in range(12)], {"filler": 5}, ""),
    ([100_000 + 1490 * i for i in range(12)], {"maximum": 0}, ""),
])  # fmt: skip
def test_a_table_that_fills_up_says_when_it_is_full(
    counts: list[float], more: dict[str, int], said: str
) -> None:
    reading = table(LIMIT - 1490 * 95, history=[Series("entries", counts)], by_protocol={"udp": 9}, **more)
    assert forecast.words(reading) == said
    told = [x.what for x in findings(reading) if "full in" in x.what]
    assert told == ([f"T{said[1:]}."] if said else [])


def test_a_table_that_is_about_to_be_full_has_a_second_left() -> None:
    reading = table(LIMIT - 10, history=[Series("entries", [100_000 + 1490.0 * i for i in range(12)])])
    assert forecast.words(reading).startswith("table full in 1 s ")


def test_untracked_packets_matter_where_packets_are_dropped() -> None:
    exempt = active("-p tcp --dport 80 -j CT --notrack", "does not track")
    assert findings(table(), [], [exempt]) == []
    said = [x.what for x in findings(table(), [], [exempt, active(number=0, text="", table="filter")])]
    assert said == ["raw OUTPUT rule 1 keeps 2.5 packets/s out of tracking.", "The policy of filter OUTPUT drops 2.5 packets/s."]  # fmt: skip


@pytest.mark.parametrize(("half", "tcp", "told"), [(49, 49, False), (50, 100, True), (50, 101, False)])
def test_connections_that_nobody_answers_are_told(half: int, tcp: int, told: bool) -> None:
    found = findings(table(tcp, by_protocol={"tcp": tcp + 1000}, by_state={"SYN_SENT": half}, filler=1000))
    assert [x.level for x in found] == [INFO] * told


@pytest.mark.parametrize(("one", "what", "said"), [
    (loss(3000, "no socket on that port", "UdpNoPorts +3000"), "3,000 packets were refused: no socket on that port.", "3,000 packets refused: no socket on that port"),
    (loss(1, "dropped by conntrack; why", "drop +1"), "1 packet was dropped by conntrack; why.", "1 packet dropped by conntrack; why"),
    (loss(2, "unknown", ""), "2 packets were lost, and no counter says why.", "2 packets lost after raw, cause unknown"),
])  # fmt: skip
def test_every_loss_is_a_sentence(one: Loss, what: str, said: str) -> None:
    (found,) = findings(table(), [one])
    assert (
        found.what == what
        and "Missing between “after raw” and “after conntrack”, on the way in (IPv4)" in found.why[-1]
    )
    assert headline(table(), [one], None) == said


@pytest.mark.parametrize(("cause", "source", "kept"), [
    ("lost in conntrack: table full", "drop +3", "lost in conntrack: table full"),
    ("dropped by conntrack; whether its table was full is not known", "drop +3", "dropped by conntrack"),
    ("dropped by conntrack, which found them invalid (invalid +3)", "drop +3", "dropped by conntrack"),
    ("lost in conntrack at confirmation: another entry has the same tuple", "insert_failed +3", "at confirmation"),
    ("unknown", "", "cause unknown"),
    *((words, "counter +3", words.split(":")[0].split(",")[0]) for words in network._WORDS.values()),
])  # fmt: skip
def test_what_is_lost_has_room_in_80_columns(cause: str, source: str, kept: str) -> None:
    count = LIMIT if "table full" in cause else 5
    beside = loss(2, "no route", over=True)
    for n, over, pps, others in itertools.product((3, 99_999), (False, True), (0.0, 234.0), ([], [beside])):
        said = headline(table(count), [loss(n, cause, source, pps=pps, over=over), *others], None)
        assert kept in said and len(f" ! {said}  F4 explain ") <= 80
        assert ("none now" in said) is over and ("/s now" in said) is (pps > 0 and not over)


@pytest.mark.parametrize("rate", [3.0, 123_456.0])
def test_what_is_being_lost_has_room_in_80_columns(rate: float) -> None:
    moving = [
        *({"rates": {name: rate}} for name in ("drop", "insert_failed")),
        *({"network": {name: rate}} for name in network.REMEDIES),
    ]
    for more in moving:
        for count in (5, LIMIT):
            said = headline(table(count, rates=more.get("rates", {})), [], None, more.get("network", {}))
            assert said and len(f" ! {said}  F4 explain ") <= 80, said


def test_what_ip_and_tcp_count_is_told_without_stages_and_once() -> None:
    rates = {
        "TcpExtIPReversePathFilter": 19.0,
        "UdpNoPorts": 2.0,
        "IpInReceives": 900.0,
        "IpExtInNoRoutes": 0.5,
    }
    found = findings(table(), network_rates=rates)
    assert [(x.level, x.what) for x in found] == [
        (WARNING, "19.0 packets/s: reverse path filter: an answer would leave another way."),
        (INFO, "2.0 packets/s: no socket on that port."), (INFO, "0.5 packets/s: no route."),
    ]  # fmt: skip
    assert "rp_filter" in found[0].remedy and "nstat -az TcpExtIPReversePathFilter" in found[0].why[0]
    said = headline(table(), [], None, rates)
    assert said == "19 packets/s lost: reverse path filter (IPReversePathFilter)"
    one = loss(83, "reverse path filter: an answer would leave another way", "IPReversePathFilter +83")
    told = findings(table(), [one], network_rates={"TcpExtIPReversePathFilter": 19.0})
    assert len(told) == 1 and headline(table(), [one], None, rates).startswith(
        "83 packets lost: reverse path filter"
    )


def test_what_rules_took_in_output_is_not_told_again_as_discarded() -> None:
    rates = {"IpOutDiscards": 7.4}
    assert [x.what for x in findings(table(), network_rates=rates)] == ["7.4 packets/s: discarded on the way out."]  # fmt: skip
    ruled = msgspec.structs.replace(RULED, hook="output")
    assert [x.what for x in findings(table(), [ruled], network_rates=rates)] == ["7 packets were dropped by raw OUTPUT rule 1."]  # fmt: skip
    for chain, pps, told in (("OUTPUT", 7.0, 1), ("OUTPUT", 2.0, 2), ("INPUT", 7.0, 2)):
        rule = ActiveRule(family="ip", table="filter", chain=chain, number=1, does="drops", pps=pps)
        assert len(findings(table(), [], [rule], rates)) == told
    past = msgspec.structs.replace(ruled, over=True)
    assert len(findings(table(), [past], network_rates=rates)) == 2


def test_remedies_are_of_counters_that_have_words() -> None:
    assert set(network.REMEDIES) <= set(network._WORDS)


def test_what_strangers_cause_is_no_error_and_hides_none() -> None:
    knock = loss(9000, "no socket on that port", "UdpNoPorts +9000", pps=9.0)
    full = loss(3, pps=1.0)
    assert "table full" in headline(table(LIMIT), [knock, full], None)
    assert [x.level for x in findings(table(), [knock])] == [WARNING]
    assert [x.level for x in findings(table(), [loss(3, "no route", "InNoRoutes +3", pps=1.0)])] == [ERROR]


def test_a_loss_says_whether_it_goes_on() -> None:
    now, over = loss(90, pps=63.2), loss(900, "no route", "InNoRoutes +900", over=True)
    assert headline(table(LIMIT), [now], None) == "90 packets lost in conntrack: table full, 63/s now"
    assert headline(table(), [over], None) == "900 packets lost: no route, none now"
    assert headline(table(), [now, over], None).startswith("90 packets"), "what goes on comes first"
    said = {x.level: x.what for x in findings(table(), [now, over])}
    assert said[ERROR].endswith("table full; 63/s now.") and said[WARNING].endswith("none for a minute.")


@pytest.mark.parametrize(("source", "who"), [
    ("perhaps policy DROP of f c, which has no counter", "policy DROP of f c"),
    ("perhaps f c rule 3: tcp dport 80 drop; f c rule 9: drop", "f c rule 3"), ("", ""),
])  # fmt: skip
def test_what_has_no_counter_is_suspected_by_name(source: str, who: str) -> None:
    one = loss(48, "unknown", source, pps=9.0)
    assert suspect(one) == who
    (found,) = findings(table(), [one])
    if who:
        assert headline(table(), [one], None) == f"48 packets lost, perhaps by {who}, 9/s now"
        assert found.level == WARNING and f"perhaps by {who}" in found.what and "counter drop" in found.remedy
    else:
        assert found.level == ERROR and "cause unknown" in headline(table(), [one], None)


def test_the_headline() -> None:
    assert (
        headline(table(LIMIT), [loss()], None)
        == "3 packets lost in conntrack: table full (no rule dropped them)"
    )
    said = headline(table(), [loss(1, "unknown", ""), loss(3, "lost in conntrack: no memory")], None)
    assert said == "3 packets lost in conntrack: no memory (of 4 lost)"
    assert "cause unknown" in headline(table(), [loss(1, "unknown", "")], None)
    assert "drops 4 packets/s" in headline(table(rates={"drop": 4.0}), [], None)
    assert "3 packets lost" in headline(table(), [], Result(stats={"drop": 3}))
    said = "15 packets/s lost at confirmation: DNS race or no SNAT port"
    assert headline(table(rates={"insert_failed": 15.0, "drop": 15.0}), [], None) == said
    assert [x.what for x in findings(table(rates={"insert_failed": 15.0, "drop": 15.0}))] == ["insert_failed rises by 15.0 a second."]  # fmt: skip
    taken = loss(
        60, "lost in conntrack at confirmation: another entry has the same tuple", "insert_failed +60"
    )
    assert headline(table(), [taken], None) == "60 packets lost in conntrack at confirmation"
    assert "before any filter rule" in headline(table(LIMIT), [], None)
    assert "push out" in headline(table(LIMIT, evictable=LIMIT), [], None)
    for beside in (
        loss(10, "no socket on that port", "UdpNoPorts +10"),
        loss(900, "no route", "IpExtInNoRoutes +900", over=True),
    ):
        assert headline(table(LIMIT), [beside], None).startswith("table full: conntrack drops new flows")
        assert "table full" not in headline(table(), [beside], None)
    churning = table(
        LIMIT - 5, rates={"drop": 5.0}, by_state={"ESTABLISHED": LIMIT - 9, "TIME_WAIT": 4}, evictable=2
    )
    assert headline(churning, [], None) == "conntrack drops 5 packets/s: table full (no rule dropped them)"
    (found,) = findings(churning)
    assert (
        found.level == ERROR
        and "again and again: 262,139 of 262,144" in found.what
        and "5.0 packets/s" in found.what
    )
    assert "ESTABLISHED 262,135, TIME_WAIT 4; 2 of all" in found.why[0]
    assert "99.9 % full" in findings(table(LIMIT - 5))[0].what, "100 % it is when it is full"


def test_hostile_text_is_escaped() -> None:
    found = findings(table(active=False, active_why="\x1b[31mx"), [loss(1, "\x1b[2Jy", "\x07")])
    said = " ".join(word for x in found for word in (x.what, *x.why))
    assert "\x1b" not in said and "\x07" not in said
