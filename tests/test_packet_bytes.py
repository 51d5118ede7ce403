"""The injector's bytes are those scapy builds, packet by packet."""

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cttui.lab.compose import compile
from cttui.lab.preview import patch_value, patched
from cttui.model.actions import Patch, Template
from cttui.model.faults import FaultError
from cttui.probe.packet_bytes import build, burst, check, values

WIDTHS = (1, 2, 4, 8, 16)


@st.composite
def templates(draw: st.DrawFn) -> Template:
    """Any bytes, any patches that don't overlap, any checksums between them."""
    data = bytearray(draw(st.binary(min_size=60, max_size=90)))
    patches: list[Patch] = []
    at = 2
    while at < len(data) - 18 and len(patches) < 4:
        width = draw(st.sampled_from(WIDTHS))
        limit = (1 << 8 * min(width, 8)) - 1
        kind = draw(st.sampled_from(("cycle", "range", "random")))
        first, last = sorted((draw(st.integers(0, limit)), draw(st.integers(0, limit))))
        choices = draw(st.lists(st.integers(0, limit), min_size=1, max_size=5)) if kind == "cycle" else []
        stride = draw(st.sampled_from((1, 2, 7, 1000)))
        patches.append(
            Patch(offset=at, width=width, kind=kind, first=first, last=last, values=choices, stride=stride)
        )
        at += width + draw(st.integers(0, 9))
    covered = draw(st.lists(st.sampled_from([p.offset for p in patches]), unique=True)) if patches else []
    sums = [(0, covered)] if covered else []
    return Template(
        data=bytes(data), patches=patches, checksums=sums, zero_is_none=draw(st.sampled_from(([], [0])))
    )


@given(templates(), st.integers(0, 1 << 40), st.integers(0, (1 << 64) - 1))
@settings(max_examples=150, deadline=None)
def test_arrays_equal_the_rule_for_one_packet(template: Template, first: int, seed: int) -> None:
    check(template)
    rows = build(template, first, 9, seed, pad=3)
    assert not rows[:, :3].any()
    assert [bytes(row[3:]) for row in rows] == [patched(template, first + i, seed) for i in range(9)]


SCAPY = (
    'IP(src="198.51.100.0/30",dst="192.0.2.1",ttl=[1,64,255])/TCP(sport=(10250,10259),dport=[80,443],flags="SA",seq=7)',
    'IP(src=["198.51.100.1","203.0.113.7"],dst="192.0.2.1",id=(65530,65535))/UDP(sport=(240,270),dport=53)/"hello"',
    'IP(src="198.51.100.2",dst="192.0.2.0/30")/ICMP(id=(250,260),seq=[1,2])/"odd"',
    'IPv6(src="2001:db8:1::/126",dst="2001:db8::1",hlim=(1,3))/TCP(dport=(65530,65535),window=[1,2,3])',
    'IPv6(src="2001:db8:1::2",dst=["2001:db8::1","2001:db8:9::1"])/UDP(sport=[5,6])/("x"*33)',
    'IPv6(src="2001:db8:1::2",dst="2001:db8::1")/ICMPv6EchoRequest(id=(1,9),seq=(1,9))/"abc"',
    'IP(src="198.51.100.2",dst="192.0.2.1")/SCTP(sport=(1,9),tag=[1,2])/SCTPChunkInit(init_tag=3)',
    'IP(src="198.51.100.2",dst="192.0.2.1",flags="MF",frag=(250,260))/UDP(dport=9)/"x"',
    'IP(src="198.51.100.2",dst="192.0.2.1",options=[IPOption_RR(),IPOption_NOP()])/TCP(sport=(1,70),options=[("MSS",1460),("NOP",None),("WScale",7)])',
    'IP(src="198.51.100.2",dst="192.0.2.1")/UDP(sport=(1000,1004),chksum=0)/DNS(id=(250,280),qd=DNSQR(qname="a.example"))',
    'IP(src="198.51.100.2",dst="192.0.2.1")/ICMP(type=[0,8,13,3],code=0)',
    'IP(src="198.51.100.2",dst="192.0.2.1")/GRE(chksum_present=1)/IP(src="10.0.0.0/29",dst="10.1.1.1")/UDP(sport=(1,3))',
    'IPv6(src="2001:db8:1::2",dst="2001:db8::1",tc=(0,5),fl=[1,2])/TCP()',
    'IPv6(src="2001:db8:1::2",dst="2001:db8::1")/IPv6ExtHdrHopByHop(options=[RouterAlert()])/IPv6ExtHdrDestOpt()/UDP(sport=(1,5))',
    'IP(src="198.51.100.2",dst="192.0.2.1")/Raw(load=["a","bcd"])',
)  # fmt: skip


def _namespace() -> dict[str, Any]:
    from scapy.layers import dns, inet, inet6, l2, sctp

    return {k: v for module in (dns, inet, inet6, l2, sctp) for k, v in vars(module).items()}


@pytest.mark.parametrize("text", SCAPY)
def test_ranges_give_what_scapy_gives_in_its_order(text: str) -> None:
    """The whole of a burst's first round, against scapy's own reading of the same text."""
    want = [bytes(p) for p in eval(text, _namespace())]  # noqa: S307 — the test's own text, for scapy
    made = compile(text)
    blocks = burst(made, 0, len(want))
    n = len(made)
    got = [bytes(blocks[i % n][i // n]) for i in range(len(want))]
    assert got == want


RANDOM = (
    'IP(src=RandIP(),dst="192.0.2.1",id=RandShort(),ttl=RandByte())/TCP(sport=RandShort(),dport=80,flags=RandByte(),seq=RandInt())',
    'IP(src=RandIP("198.18.0.0/15"),dst="192.0.2.1")/UDP(sport=RandNum(1024,65535),dport=(1,50))/DNS(id=RandShort(),qd=DNSQR(qname="b.example"))',
    'IPv6(src=RandIP6("2001:db8::/32"),dst="2001:db8::1")/UDP(sport=RandShort())/"some payload"',
    'IPv6(src=RandIP6("2001:db8:1::/64"),dst="2001:db8::1",fl=RandNum(0,1048575))/ICMPv6EchoRequest(id=RandShort(),seq=RandShort())',
    'IP(src=RandIP("198.18.0.0/15"),dst="192.0.2.1")/ICMP(id=RandShort(),seq=(1,9))',
)  # fmt: skip


@pytest.mark.parametrize("text", RANDOM)
def test_random_packets_keep_valid_checksums(text: str) -> None:
    """scapy, given a packet's fields without lengths and checksums, builds the same bytes."""
    from scapy.layers.inet import IP
    from scapy.layers.inet6 import IPv6

    (template,) = compile(text)
    rows = build(template, 12345, 400, seed=99)
    assert len({bytes(row) for row in rows}) > 390
    for row in rows:
        data = bytes(row)
        layer = packet = (IPv6 if data[0] >> 4 == 6 else IP)(data)
        while layer:
            for name in ("chksum", "cksum", "len", "plen"):
                if name in layer.fields:
                    delattr(layer, name)
            layer.raw_packet_cache = None
            layer = layer.payload
        assert bytes(packet) == data


def test_a_udp_checksum_of_zero_is_written_as_ones() -> None:
    """Among 65,536 ports one makes the sum 0; "no checksum" it must not mean (RFC 768)."""
    (template,) = compile('IP(src="198.51.100.2",dst="192.0.2.1")/UDP(sport=(0,65535),dport=9)/"x"')
    sums = build(template, 0, 65536)[:, 26:28].astype(np.uint16)
    assert (sums[:, 0] << 8 | sums[:, 1]).min() > 0
    (without,) = compile('IP(src="198.51.100.2",dst="192.0.2.1")/UDP(sport=(0,65535),dport=9,chksum=0)/"x"')
    assert not build(without, 0, 65536)[:, 26:28].any()


@given(st.integers(0, 200), st.integers(1, 97), st.integers(1, 7))
@settings(max_examples=50, deadline=None)
def test_batches_of_a_burst_join(first: int, count: int, n: int) -> None:
    """Any cut of a burst holds the same packets: a repeated burst is the same burst."""
    chance = random.Random(n)
    made = [
        Template(
            data=chance.randbytes(40), patches=[Patch(offset=4 * t, width=4, kind="random", last=2**32 - 1)]
        )
        for t in range(n)
    ]
    blocks = burst(made, first, count, seed=5)
    assert sum(len(b) for b in blocks) == count
    seen = [0] * n
    for i in range(first, first + count):
        t = i % n
        assert bytes(blocks[t][seen[t]]) == patched(made[t], i // n, 5)
        seen[t] += 1


def test_random_values_are_even() -> None:
    """Each of 16 values within 5 % of its share, and other seeds give others."""
    patch = Patch(offset=3, width=1, kind="random", first=16, last=31)
    drawn = values(patch, np.arange(160_000, dtype=np.uint64), 1)
    counts = np.bincount(drawn.astype(np.int64) - 16)
    assert len(counts) == 16 and counts.min() > 9_500 and counts.max() < 10_500
    assert [patch_value(patch, i, 1) for i in range(50)] == drawn[:50].tolist()
    assert [patch_value(patch, i, 2) for i in range(50)] != drawn[:50].tolist()


@pytest.mark.parametrize(
    "template",
    [
        Template(data=b""),
        Template(data=bytes(20), patches=[Patch(offset=19, width=2, kind="range")]),
        Template(data=bytes(20), patches=[Patch(offset=0, width=3, kind="range")]),
        Template(data=bytes(20), patches=[Patch(offset=0, width=1, kind="range", last=256)]),
        Template(data=bytes(20), patches=[Patch(offset=0, width=1, kind="cycle")]),
        Template(data=bytes(20), patches=[Patch(offset=0, width=1, kind="dance")]),
        Template(data=bytes(20), patches=[Patch(offset=0, width=1, kind="range", stride=0)]),
        Template(data=bytes(20), checksums=[(19, [])]),
    ],
)
def test_what_does_not_fit_is_refused(template: Template) -> None:
    with pytest.raises(FaultError):
        check(template)
