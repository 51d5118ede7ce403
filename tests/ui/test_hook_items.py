"""What the low hook panel makes of chains without stage counters."""

from typing import Any

import pytest

from cttui.model.hooks import Chain, HooksReading
from cttui.ui.widgets.hook_items import summary


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
