"""What the low hook panel makes of chains without stage counters."""

from typing import Any

import pytest

from cttui.model.hooks import Chain, HooksReading, Rule
from cttui.ui.widgets.hook_items import hottest_items, summary


def _forward(backend: str, family: str, packets: int | None) -> Chain:
    given: dict[str, Any] = {"table": "filter", "chain": "FORWARD", "hook": "forward", "priority": 0}
    return Chain(backend=backend, family=family, policy="ACCEPT", policy_packets=packets, **given)


@pytest.mark.parametrize(
    ("chains", "packets"),
    [
        # IPv4 packets meet both backends, IPv6 packets their own: no packet goes from one family to the other.
        (
            [("iptables-legacy", "ip", 257), ("iptables-nft", "ip", 13_517), ("iptables-nft", "ip6", 40)],
            13_557,
        ),
        # A chain of inet meets both families.
        ([("nft", "inet", 90), ("iptables-nft", "ip", 60)], 90),
        ([("iptables-nft", "ip", 0), ("nft", "inet", 7)], 7),
    ],
)
def test_chains_of_one_name_are_one_step(chains: list[tuple[str, str, int]], packets: int) -> None:
    ((_, items, _),) = summary(HooksReading(chains=[_forward(*one) for one in chains]))
    assert [(item.name, item.packets, item.exact) for item in items] == [("FORWARD", packets, False)]


def test_a_policy_that_drops_is_among_the_hottest_rules() -> None:
    rules = [
        Rule(text="-j ACCEPT", number=1, packets=9, pps=1.0),
        Rule(text="-j CT", number=2, packets=9, pps=3.0),
    ]
    given: dict[str, Any] = {"backend": "nft", "table": "t", "chain": "c", "hook": "input", "policy_packets": 5, "policy_pps": 2.0}  # fmt: skip
    chains = [
        Chain(family="ip", policy="DROP", rules=rules, **given),
        Chain(family="ip6", policy="ACCEPT", **given),
    ]
    items = hottest_items(HooksReading(chains=chains))
    assert [(item.kind, item.pps) for item in items] == [("hook", None), ("rule", 3.0), ("chain", 2.0), ("rule", 1.0)]  # fmt: skip
