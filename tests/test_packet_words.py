"""Lines of packets: `tcpdump -nS` is the oracle for addresses, ports, flags and lengths."""

import io
import random
import re
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packet_samples import SEEDS, row

from cttui.lab.dissect import dissect
from cttui.model.packet_words import aggregate_line, packet_fields, packet_line, time_words
from cttui.model.pcapng import write_pcapng

ENDS = re.compile(r"(?P<src>[0-9a-f.:]+) > (?P<dst>[0-9a-f.:]+): ")


def tcpdump(path: Path) -> list[str]:
    """One line a packet (hex dumps of what tcpdump doesn't know are left out)."""
    done = subprocess.run(["tcpdump", "-nStr", str(path)], capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if not line.startswith("\t")]


def same_in_both(theirs: str, ours: str) -> list[str]:
    """What tcpdump says and we don't, or otherwise; [] for agreement."""
    wrong = []
    theirs, ours = theirs.replace("bytes missing!", "bytes missing! "), re.sub(r"vlan \d+ ", "", ours)
    outer = re.sub(r"(DSTOPT|frag \(0\|\d+\)|AH\([^)]*\):) (\d+) > (\d+): ", r"\1 ", theirs)
    a, b = ENDS.search(outer), ENDS.search(ours)
    if a is not None and b is not None:
        # tcpdump prints ports behind extension headers alone, and none for UDPlite
        inner = re.search(r"(?:DSTOPT|frag \(0\|\d+\)|AH\([^)]*\):) (\d+) > (\d+): ", theirs)
        source, destination = (
            f"{a[end]}.{inner[n]}" if inner else a[end] for end, n in (("src", 1), ("dst", 2))
        )
        if (source, destination) != (b["src"], b["dst"]) and "ip-proto-136" not in theirs:
            wrong.append(f"{source} > {destination}")
    elif a is not None:
        wrong.append("addresses")
    for pattern in (
        r"Flags \[[^]]*\]",
        r"\blength (\d+)",
        r"seq [\d:]+",
        r"ack \d+",
        r"options \[[^]]*\]",
        r"ICMP6?,? [a-z -]+",
    ):
        found = re.search(pattern, theirs)
        if found and found[0] not in ours and "Unknown" not in theirs:
            wrong.append(found[0])
    if re.search(r"\[\|ip6?\]", theirs) and not re.search(r"\[\|ip6?\]", ours):
        wrong.append("cut short")
    return wrong


def test_every_kind_of_packet_agrees_with_tcpdump(tmp_path: Path) -> None:
    rows = [row(kind, data, seq=i) for i, (kind, data) in enumerate(SEEDS, 1)]
    path = tmp_path / "all.pcapng"
    with path.open("wb") as file:
        write_pcapng(file, rows)
    theirs = tcpdump(path)
    ours = [packet_line(r, time_format="none", where=False) for r in rows]
    assert len(theirs) == len(ours)
    assert [(t, o, w) for t, o in zip(theirs, ours, strict=True) if (w := same_in_both(t, o))] == []


def test_random_ipv4_packets_agree_with_tcpdump(tmp_path: Path) -> None:
    """Random transport headers behind a sound IPv4 header: addresses, ports, flags and lengths."""
    source = random.Random(5)
    rows = []
    for seq in range(1, 1500):
        proto, rest = source.choice([1, 6, 6, 17, 47, 132, 253]), source.randbytes(source.randrange(70))
        if proto == 6 and len(rest) > 12:  # a data offset that is possible, no options
            rest = rest[:12] + b"\x50" + rest[13:]
        fragment = source.choice([0, 0, 0x4000, 0x2000, 0x0003])
        header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(rest), seq, fragment, 64, proto, 0)
        rows.append(row(0x0800, header + source.randbytes(8) + rest, seq=seq))
    path = tmp_path / "random.pcapng"
    with path.open("wb") as file:
        write_pcapng(file, rows)
    for theirs, r in zip(tcpdump(path), rows, strict=True):
        ours = packet_line(r, time_format="none", where=False)
        a, b = ENDS.search(theirs), ENDS.search(ours)
        if a is None and re.match(r"IP (truncated|bad)-", theirs):
            continue  # tcpdump then prints no addresses
        assert a is not None and b is not None, (theirs, ours)
        assert (a["src"], a["dst"]) == (b["src"], b["dst"]), (theirs, ours)
        flags = re.search(r"Flags \[[^]]*\]", theirs)
        if flags:
            assert flags[0] in ours, (theirs, ours)
            length = re.search(r"length \d+", theirs)
            assert length is None or length[0] in ours, (theirs, ours)


@settings(max_examples=500, deadline=None)
@given(
    st.sampled_from([0x0800, 0x86DD, 0x0806, 0x8100, 0x88A8, 0x1234, 4]),
    st.one_of(st.binary(max_size=96), st.binary(max_size=95).map(lambda b: b"\x45" + b), st.binary(max_size=95).map(lambda b: b"\x60" + b)),
    st.integers(0, 2**32 - 1), st.integers(-(2**62), 2**64),
    st.text(max_size=15), st.sampled_from([None, 0, 4095]),
)  # fmt: skip
def test_whatever_it_is_the_line_is_printable(
    kind: int, data: bytes, length: int, time_ns: int, name: str, vlan: int | None
) -> None:
    packet = row(kind, data, length=length, vlan=vlan)
    packet = type(packet)(
        **{n: getattr(packet, n) for n in packet.__struct_fields__} | {"interface": name, "time_ns": time_ns}
    )
    for time_format in ("absolute", "delta", "epoch", "none"):
        assert packet_line(packet, time_format=time_format, previous_ns=5).isprintable()
    assert all(str(word).isprintable() for word in packet_fields(packet))
    assert aggregate_line(kind, data, length).isprintable()


def test_columns_hold_what_the_line_says() -> None:
    kind, data = SEEDS[1]
    packet = row(kind, data, vlan=5)
    fields = packet_fields(packet, time_format="none")
    assert (fields.source, fields.destination, fields.proto, fields.flags) == (
        "198.51.100.2:10000", "192.0.2.1:80", "tcp", "S.",
    )  # fmt: skip
    assert fields.info.startswith("vlan 5 seq 5, ack 7, win 8192, options [mss 1460,sackOK")
    six = packet_fields(row(*SEEDS[22]))
    assert six.source == "[2001:db8::2]:10000" and six.length == 60


def test_times() -> None:
    assert time_words(5_000_001_999, "epoch") == "5.000001"
    assert time_words(5_250_000_000, "delta", 5_000_000_000) == "0.250000"
    assert time_words(5_000_000_000, "delta", 5_250_000_000) == "-0.250000"
    assert time_words(5_000_000_000, "delta") == "0.000000"
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.000123", time_words(1_700_000_000_000_123_456, "absolute"))


@pytest.mark.parametrize("number", range(len(SEEDS)))
def test_the_scapy_expression_builds_the_packet(number: int) -> None:
    from scapy import all as scapy

    from cttui.lab.udplite import UDPLite  # scapy has none; imported, it is how protocol 136 is dissected

    kind, data = SEEDS[number]
    found = dissect(row(kind, data))
    assert bytes(eval(found.scapy, vars(scapy) | {"UDPLite": UDPLite})) == data[:96]  # noqa: S307 (our own expression, of our own packet)
    assert all(line.isprintable() for line in found.hexdump)
    assert all(text.isprintable() for layer in found.layers for pair in layer.fields for text in pair)


def test_a_cut_packet_says_how_much_is_missing() -> None:
    found = dissect(row(*SEEDS[0], length=1500))
    assert found.note == "1460 of 1500 bytes were not captured."
    assert [layer.name for layer in found.layers] == ["IP", "TCP"]
    assert found.layers[1].offset == 20 and ("dport", "80 (http)") in found.layers[1].fields
    assert io.StringIO("\n".join(found.hexdump)).readline().startswith("0x0000:  4500 0028")
