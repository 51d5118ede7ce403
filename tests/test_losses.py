"""Loss attribution: what counters say is named, what they do not say is unknown."""

from balance import balance
from hypothesis import given
from hypothesis import strategies as st

from cttui.kernel.stages import FRAGMENTS, MULTICAST, POINTS
from cttui.model.hooks import Chain, Loss, Rule, Stage
from cttui.probe.loss_rates import LossRates
from cttui.probe.losses import attribute, stage_growth


def stages(family="ip", **counts):
    """Every stage of a family; `hook=[…]` sets the counts along a hook, the rest is 0."""
    out = []
    for hook, points in POINTS:
        numbers = counts.get(hook, [0] * len(points))
        out += [
            Stage(family=family, hook=hook, priority=p, label=label, packets=n, bytes=0)
            for (p, label), n in zip(points, numbers, strict=True)
        ]
    return out


def rule(packets, verdict="DROP", number=1):
    return Rule(text=f"-j {verdict}", number=number, packets=packets, verdict=verdict)


def chain(table, hook, priority, *rules, family="ip", backend="iptables-nft", **kw):
    return Chain(backend=backend, family=family, table=table, chain=hook.upper(), hook=hook, priority=priority, rules=list(rules), **kw)  # fmt: skip


def brief(losses):
    return [(x.hook, x.before, x.packets, x.cause, x.source) for x in losses]


FULL = stages(prerouting=[10, 10, 10, 7, 7, 7, 7], input=[7, 7, 7, 7])


def test_full_table():
    found = attribute(FULL, {"drop": 3}, [], {"IpInDelivers": 7}, table_full=True)
    assert brief(found) == [("prerouting", "conntrack", 3, "lost in conntrack: table full", "drop +3")]
    account = balance(FULL, found, "ip")
    assert (account.entered, account.arrived, account.lost, account.merged) == (10, 7, 3, 0)


def test_a_drop_of_conntrack_that_no_counter_shows_is_unknown():
    (loss,) = attribute(FULL, {}, [], {})
    assert loss.cause == "unknown" and loss.packets == 3 and loss.is_loss


def test_conntrack_drops_without_knowledge_of_the_limit_are_not_called_full():
    (loss,) = attribute(FULL, {"drop": 3}, [], {})
    assert "not known" in loss.cause


def test_lost_races_are_not_mistaken_for_a_full_table():
    (loss,) = attribute(FULL, {"drop": 3, "insert_failed": 3}, [], {"IpInDelivers": 7}, table_full=True)
    assert loss.cause == "unknown"


def test_rule_and_policy_between_the_same_stages():
    counted = stages(prerouting=[9] * 7, input=[9, 9, 2, 2])
    chains = [chain("filter", "input", 0, rule(4), policy="DROP", policy_packets=3)]
    found = attribute(counted, {}, chains, {})
    assert [(x.packets, x.source) for x in found] == [
        (4, "filter INPUT rule 1 +4"),
        (3, "filter INPUT policy +3"),
    ]


def test_uncounted_rules_and_policies_are_suspects_not_causes():
    counted = stages(prerouting=[9] * 7, input=[9, 9, 2, 2])
    chains = [chain("t", "input", -5, rule(None), family="inet", backend="nft", policy="DROP")]
    (loss,) = attribute(counted, {}, chains, {})
    assert loss.cause == "unknown" and "rule 1" in loss.source and "policy DROP" in loss.source


def test_an_inet_rule_is_split_between_families_only_when_the_sum_fits():
    both = stages(input=[5, 5, 2, 2]) + stages("ip6", input=[4, 4, 3, 3])
    at = {"family": "inet", "backend": "nft"}
    fits = attribute(both, {}, [chain("t", "input", 0, rule(4), **at)], {})
    assert [(x.family, x.packets, "dropped" in x.cause) for x in fits] == [("ip", 3, True), ("ip6", 1, True)]
    odd = attribute(both, {}, [chain("t", "input", 0, rule(2), **at)], {})
    assert [(x.family, x.cause) for x in odd] == [("ip", "unknown"), ("ip6", "unknown")]


def test_routing_causes_and_their_ambiguity():
    counted = stages(prerouting=[10] * 7, input=[4] * 4)
    named = attribute(counted, {}, [], {"TcpExtIPReversePathFilter": 6})
    assert [(x.before, x.packets, x.source) for x in named] == [("routing", 6, "IPReversePathFilter +6")]
    (unknown,) = attribute(counted, {}, [], {"TcpExtIPReversePathFilter": 6, "IpInHdrErrors": 6})
    assert unknown.cause == "unknown" and "InHdrErrors +6" in unknown.source


def test_multicast_that_nobody_joined_is_no_loss():
    counted = stages("ip6", prerouting=[10] * 7, input=[4] * 4)
    seen, taken = MULTICAST["ip6"]
    (unheard,) = attribute(counted, {}, [], {seen: 9, taken: 3})
    assert (unheard.packets, unheard.is_loss, unheard.before) == (6, False, "routing")
    unheard, unknown = attribute(counted, {}, [], {seen: 9, taken: 4})
    assert (unheard.packets, unknown.packets, unknown.cause) == (5, 1, "unknown")
    lost, unheard = attribute(counted, {}, [], {seen: 9, taken: 3, "Ip6InNoRoutes": 2})
    assert (lost.packets, lost.cause, unheard.packets) == (2, "no route", 4)


def test_fragments():
    counted = stages(prerouting=[40, 10, 10, 10, 10, 10, 10], input=[10] * 4)
    (merged,) = attribute(counted, {}, [], {"IpReasmReqds": 40, "IpReasmOKs": 10})
    assert not merged.is_loss and merged.packets == 30
    lost, rest = attribute(counted, {}, [], {"IpReasmReqds": 40, "IpReasmOKs": 10, "IpReasmFails": 1})
    assert (lost.packets, lost.is_loss, lost.source) == (1, True, "ReasmFails +1")
    assert (rest.packets, rest.is_loss) == (29, False) and "or given up" in rest.cause
    # Conntrack reassembles IPv6 without counting: there the fragments that we counted ourselves say so.
    counted = stages("ip6", prerouting=[40, 10, 10, 10, 10, 10, 10], input=[10] * 4)
    (merged,) = attribute(counted, {}, [], {FRAGMENTS: 40})
    assert not merged.is_loss and merged.packets == 30 and merged.source == "fragments +40"


def test_a_race_lost_on_the_way_out_is_the_familys_that_sent_less():
    counted = stages(postrouting=[2] * 4) + stages("ip6", postrouting=[3] * 4)
    moved = {"insert_failed": 1, "drop": 1}
    (found,) = [x for x in attribute(counted, moved, [], {"IpOutTransmits": 1, "Ip6OutTransmits": 3}) if x.before == "confirm"]  # fmt: skip
    assert (found.family, found.hook, found.packets, found.source) == (
        "ip",
        "postrouting",
        1,
        "insert_failed +1",
    )
    assert not [x for x in attribute(counted, moved, [], {}) if x.before == "confirm"]


def test_lost_race_at_confirm_and_no_port():
    counted = stages(prerouting=[2] * 7, input=[2] * 4)
    found = attribute(counted, {"drop": 1, "insert_failed": 1}, [], {"IpInDelivers": 1, "UdpNoPorts": 1})
    assert [(x.before, x.packets, x.source) for x in found] == [("confirm", 1, "insert_failed +1"), ("socket", 1, "UdpNoPorts +1")]  # fmt: skip
    assert balance(counted, found, "ip").arrived == 0


def test_growth_after_the_counters_were_armed_anew():
    before, after = stages(input=[9, 9, 9, 9]), stages(input=[2, 2, 1, 1])
    assert [s.packets for s in stage_growth(before, after) if s.hook == "input"] == [2, 2, 1, 1]
    assert all(s.packets == 0 for s in stage_growth(after, after))


@given(
    st.lists(st.integers(0, 9), min_size=11, max_size=11), st.integers(0, 9), st.integers(0, 9), st.integers(0, 9),
    st.dictionaries(st.sampled_from(["drop", "early_drop", "insert_failed", "invalid", "chaintoolong"]), st.integers(0, 9)),
    st.dictionaries(st.sampled_from(["IpReasmReqds", "IpReasmOKs", "IpInAddrErrors", "IpExtInNoRoutes", "IpReasmFails"]), st.integers(0, 9)),
)  # fmt: skip
def test_every_missing_packet_is_accounted_once(steps, a, b, c, stats, network):
    """Whatever the counters say: entered = arrived + lost + merged, and no loss is negative or empty."""
    counts = [sum(steps[i:]) for i in range(len(steps))]
    counted = stages(prerouting=counts[:7], input=counts[7:])
    chains = [chain("raw", "prerouting", -300, rule(a)), chain("filter", "input", 0, rule(b), policy="DROP", policy_packets=c)]  # fmt: skip
    network = network | {"IpInDelivers": counts[-1]}
    found = attribute(counted, stats, chains, network)
    assert all(x.packets > 0 for x in found)
    account = balance(counted, found, "ip")
    assert account.entered == account.arrived + account.lost + account.merged


def inet(*rules):
    return chain("t", "input", 0, *rules, family="inet", backend="nft")


BOTH = stages(input=[80, 80, 0, 0]) + stages("ip6", input=[70, 70, 0, 0])


def test_one_rule_of_both_families_explains_both_though_it_was_read_later():
    found = attribute(BOTH, {}, [inet(rule(153))], {"IpInDelivers": 0})
    assert [(x.family, x.before, x.packets, x.source) for x in found] == [
        ("ip", "filter", 80, "t INPUT rule 1 +153"), ("ip6", "filter", 70, "t INPUT rule 1 +153"),
    ]  # fmt: skip


def test_rules_that_share_their_gaps_are_named_together_where_they_dropped_it_all():
    found = attribute(BOTH, {}, [inet(rule(100), rule(50, number=2))], {})
    assert {(x.family, x.packets, x.cause) for x in found} == {
        ("ip", 80, "dropped by t INPUT rule 1 or t INPUT rule 2"), ("ip6", 70, "dropped by t INPUT rule 1 or t INPUT rule 2"),
    }  # fmt: skip
    # One packet that neither counted: then nobody knows whose the rest is either.
    found = attribute(BOTH, {}, [inet(rule(100), rule(49, number=2))], {})
    assert {(x.cause, x.source) for x in found} == {("unknown", "perhaps t INPUT rule 1 +100; t INPUT rule 2 +49")}  # fmt: skip


def test_packets_that_were_on_their_way_when_counting_began_are_not_lost():
    counted = stages(prerouting=[1000, 1000, 998, 998, 998, 998, 995])
    places = {(s.hook, s.label): (s.family, s.hook, s.priority) for s in counted}
    slack = {places["prerouting", "defrag"]: 2, places["prerouting", "nat"]: 1}
    found = [x for x in attribute(counted, {}, [], {}, slack=slack) if x.before != "routing"]
    assert [(x.after, x.before, x.packets) for x in found] == [("nat", "prerouting", 2)]


def test_counters_that_are_older_than_the_stages_are_waited_for():
    counted = stages(input=[10, 10, 2, 2])
    found = attribute(counted, {}, [chain("t", "input", 0, rule(5))], {}, behind=["t INPUT"])
    assert [(x.packets, x.is_loss) for x in found if x.before == "filter"] == [(5, True), (3, False)]
    assert "t INPUT, whose counters are older" in found[1].cause


def test_a_burst_has_no_rate_and_what_goes_on_has():
    rates = LossRates()

    def told(packets, at):
        one = Loss(family="ip", hook="input", after="a", before="b", packets=packets, cause="no route")
        rates.take([one] if packets else [], at)
        return rates.told(one)

    said = [told(packets, float(at)) for at, packets in enumerate([0, 10, 10, 20, 40, 60, 60])]
    assert [x.pps for x in said] == [0, 0, 0, 0, 20, 20, 0]
    assert not told(60, 65.0).over and told(60, 66.0).over and not told(61, 67.0).over
