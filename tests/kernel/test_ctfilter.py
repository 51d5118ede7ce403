"""What the kernel filters, with what is left to us, equals the filter; and nothing is lost on the way."""

import json
from typing import Any

import pytest
from query_flows import ask, create, switch_on

from cttui.kernel.ctfilter import kernel_family, kernel_filter
from cttui.model.filters import parse, unparse

FILTERS = [
    "", "ipv4", "ipv6", "assured", "unreplied", "not assured replied", "assured not nat", "nat", "snat", "dnat",
    "not nat", "mark=5", "mark=0x10/0xf0", "mark=0", "mark=5,0x15", "mark=5 mark=0x1/0x1", "zone=7", "zone=9",
    "zone=11", "zone=0", "zone=7 mark=5 unreplied", "src=10.0.0.1", "dst=10.0.0.2", "reply-src=10.0.0.3",
    "reply-dst=10.0.0.9", "src=10.0.0.1 reply-dst=10.0.0.9", "src=fd00::1", "dst=fd00::2", "not src=fd00::1",
    "src=fd00::/64 tcp", "src=10.0.0.0/24", "src=10.0.0.0/24 tcp dport=443", "tcp", "ipv4 tcp", "ipv6 tcp dport=443",
    "ipv4 tcp dport=2 sport=4", "ipv4 udp dport=53 zone=65535", "src=10.0.0.1 tcp dport=2 reply-sport=80", "dport=443",
    "ipv4 dport=443", "ipv4 sctp dport=6", "ipv4 sctp dport=2", "ipv4 udplite sport=5", "ipv4 gre srckey=16",
    "ipv4 icmp type=8", "ipv4 icmp type=8 icmp-id=77", "ipv4 icmp icmp-id=78", "ipv4 icmp type=3", "ipv4 icmp code=0",
    "ipv6 icmpv6 type=128", "ipv6 icmpv6 icmp-id=77", "ipv4 proto=89", "tcp or udp", "not tcp", "state=SYN_SENT assured",
    "host=10.0.0.9", "ipv4 tcp dport=2 (assured or snat)", "assured unreplied", "ipv4 ipv6", "src=10.0.0.1 src=10.0.0.2",
]  # fmt: skip


@pytest.mark.kernel
def test_kernel_part_and_rest_equal_the_filter(netns: Any) -> None:
    switch_on(netns, accounting=False)
    create(netns)
    ask(netns, "traffic")
    answers = ask(netns, "filters", json.dumps(FILTERS))
    everything = set(answers[""]["matching"])
    narrowed = []
    for text, a in answers.items():
        expected = set(a["matching"])
        assert set(a["selected"]) == expected, text
        assert set(a["kept"]) == expected, text
        assert expected <= set(a["sent"]), text
        assert expected <= set(a["sent_bare"]), text
        if a["rest"] != text and set(a["sent"]) < everything:
            narrowed.append(text)
    # Everything the kernel can do is done there: only the conditions below stay with us.
    done = {text for text, a in answers.items() if not a["rest"]}
    assert {"assured", "mark=0x10/0xf0", "zone=7 mark=5 unreplied", "src=10.0.0.1 reply-dst=10.0.0.9", "ipv4 icmp type=8",
            "ipv6 tcp dport=443", "src=10.0.0.1 tcp dport=2 reply-sport=80", "not nat", "ipv6 icmpv6 icmp-id=77"} <= done  # fmt: skip
    assert len(narrowed) > 35


@pytest.mark.parametrize(
    ("text", "family", "left"),
    [
        ("src=fd00::1 tcp dport=80", 10, "src=fd00::1"),  # compared the wrong way round by the kernel
        ("ipv4 sctp dport=80", 2, "dport=80"),  # ports of TCP and UDP only
        ("ipv4 dport=80", 2, "dport=80"),  # needs the protocol
        ("ipv4 icmp type=3", 2, "type=3"),  # EINVAL: no opposite
        ("tcp dport=80", 0, "proto=tcp dport=80"),  # needs a family
        ("nat", 0, "nat"),  # one of two bits
        ("not nat assured", 0, ""),
        ("assured not assured", 0, "not assured"),
        ("src=10.0.0.0/8", 2, "src=10.0.0.0/8"),
        ("src=10.0.0.1,10.0.0.2", 2, "src=10.0.0.1,10.0.0.2"),
        ("tcp or udp", 0, "proto=tcp or proto=udp"),
        ("mark=1 mark=2", 0, "mark=2"),
    ],
)
def test_what_stays_with_us(text: str, family: int, left: str) -> None:
    node = parse(text)
    assert kernel_family(node) == family
    assert unparse(kernel_filter(node, family)[1]) == left


def test_nothing_to_filter() -> None:
    assert kernel_filter(None) == (b"", None)
    assert kernel_family(None) == 0
