"""Captures written and read: byte orders, resolutions, link types, comments, damage."""

import io
import struct
import subprocess
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packet_samples import SEEDS, row, tcp

from cttui.model.capture_file import CaptureFile, CaptureFileError
from cttui.model.packet import Journey, JourneyStep, PacketRow
from cttui.model.packet_words import packet_line
from cttui.model.pcapng import JourneyComments, journey_text, write_pcapng

SYN = tcp(1234)
TIME_NS = 1_700_000_000_123_456_789


def opened(tmp_path: Path, data: bytes) -> CaptureFile:
    path = tmp_path / "file"
    path.write_bytes(data)
    return CaptureFile(path)


def pcap(link: int, packet: bytes, order: str = "<", magic: int = 0xA1B2C3D4, part: int = 123_456) -> bytes:
    header = struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, 65535, link)
    return header + struct.pack(f"{order}IIII", 1_700_000_000, part, len(packet), len(packet) + 10) + packet


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(
    ("magic", "part", "ns"), [(0xA1B2C3D4, 123_456, 123_456_000), (0xA1B23C4D, 123_456_789, 123_456_789)]
)
def test_pcap_of_both_byte_orders_and_resolutions(
    tmp_path: Path, order: str, magic: int, part: int, ns: int
) -> None:
    file = opened(tmp_path, pcap(101, SYN, order, magic, part))
    assert (len(file), file.kind, file.notes) == (1, "pcap", [])
    got = file.row(0)
    assert got.time_ns == 1_700_000_000_000_000_000 + ns
    assert (got.data, got.length, got.ethertype, got.seq) == (SYN, 50, 0x0800, 1)


ETHERNET = b"\x02\0\0\0\0\1" + b"\x02\0\0\0\0\2"
LINKS = {
    "ethernet": (1, ETHERNET + b"\x08\0" + SYN, "", None),
    "broadcast": (1, b"\xff" * 6 + ETHERNET[6:] + b"\x08\0" + SYN, "broadcast", None),
    "multicast": (1, b"\x01" + ETHERNET[1:] + b"\x08\0" + SYN, "multicast", None),
    "vlan": (1, ETHERNET + b"\x81\0\x20\x05\x08\0" + SYN, "", 5),
    "raw": (101, SYN, "", None), "raw v4": (228, SYN, "", None),
    "cooked": (113, struct.pack(">HHH8sH", 4, 1, 6, b"", 0x800) + SYN, "out", None),
    "cooked vlan": (113, struct.pack(">HHH8sHHH", 0, 1, 6, b"", 0x8100, 7, 0x800) + SYN, "in", 7),
    "cooked 2": (276, struct.pack(">HHIHBB8s", 0x800, 0, 3, 1, 2, 6, b"") + SYN, "multicast", None),
    "loopback": (0, b"\x02\0\0\0" + SYN, "", None), "loopback, other order": (108, b"\0\0\0\x02" + SYN, "", None),
}  # fmt: skip


@pytest.mark.parametrize("name", LINKS)
def test_link_types(tmp_path: Path, name: str) -> None:
    link, packet, direction, vlan = LINKS[name]
    got = opened(tmp_path, pcap(link, packet)).row(0)
    assert (got.data, got.length, got.ethertype, got.direction, got.vlan) == (
        SYN,
        50,
        0x0800,
        direction,
        vlan,
    )
    assert opened(tmp_path, pcap(link, packet[:3])).row(0).length < 14


def test_802_3_frames_are_no_ip(tmp_path: Path) -> None:
    got = opened(tmp_path, pcap(1, ETHERNET + b"\0\x26" + b"\x42\x42\x03")).row(0)
    assert got.ethertype == 4 and packet_line(got, time_format="none").startswith("802.2")


def test_what_is_written_is_read_and_tcpdump_reads_it_too(tmp_path: Path) -> None:
    rows = [
        row(kind, data, seq=i, vlan=5 if i % 7 == 0 else None, length=len(data) + (i % 3) * 100)
        for i, (kind, data) in enumerate(SEEDS, 1)
    ]
    rows += [row(0x800, SYN, seq=len(rows) + 1)]
    rows = [
        PacketRow(**{n: getattr(r, n) for n in r.__struct_fields__}
                  | {"interface": ("tun0", "wlan1")[i % 2], "direction": ("in", "out", "broadcast", "multicast", "other")[i % 5]})
        for i, r in enumerate(rows)
    ]  # fmt: skip
    path = tmp_path / "log.pcapng"
    with path.open("wb") as file:
        assert write_pcapng(file, rows, lambda r: f"packet {r.seq}\nsecond line" if r.seq % 2 else "") == len(
            rows
        )
    got = list(CaptureFile(path).rows())
    for a, b in zip(rows, got, strict=True):
        if (
            a.ethertype in (0x8100, 0x88A8) and a.vlan is None
        ):  # the reader takes one tag off, as the kernel does
            a = msgspec.structs.replace(
                a, vlan=b.vlan, ethertype=b.ethertype, length=a.length - 4, data=a.data[4:]
            )
        fate = f"packet {b.seq}" if b.seq % 2 else ""
        assert b == msgspec.structs.replace(a, fate=fate)
    done = subprocess.run(["tcpdump", "-nr", str(path)], capture_output=True, text=True, check=True)
    assert sum(not line.startswith("\t") for line in done.stdout.splitlines()) == len(rows)
    assert "LINUX_SLL" in done.stderr and "truncated dump" not in done.stderr


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    length = 12 + len(body)
    return struct.pack(f"{order}II", kind, length) + body + struct.pack(f"{order}I", length)


@pytest.mark.parametrize("order", "<>")
def test_pcapng_of_others(tmp_path: Path, order: str) -> None:
    """Another byte order, µs by default, a power-of-two resolution with an offset, simple and old blocks, sections."""
    section = block(0x0A0D0D0A, struct.pack(f"{order}IHHq", 0x1A2B3C4D, 1, 0, -1), order)
    plain = block(1, struct.pack(f"{order}HHI", 101, 0, 0), order)
    binary = block(1, struct.pack(f"{order}HHI", 101, 0, 0)
                   + struct.pack(f"{order}HHB3x", 9, 1, 0x80 | 10) + struct.pack(f"{order}HHq", 14, 8, 1_000_000)
                   + struct.pack(f"{order}HH4s", 2, 4, b"eth\x1b") + bytes(4), order)  # fmt: skip
    us = TIME_NS // 1000
    enhanced = block(6, struct.pack(f"{order}IIIII", 0, us >> 32, us & 0xFFFFFFFF, 40, 40) + SYN, order)
    ticks = 5 << 10 | 512
    second = block(6, struct.pack(f"{order}IIIII", 1, ticks >> 32, ticks & 0xFFFFFFFF, 40, 40) + SYN, order)
    old = block(2, struct.pack(f"{order}HHIIII", 0, 0, us >> 32, us & 0xFFFFFFFF, 40, 40) + SYN, order)
    simple = block(3, struct.pack(f"{order}I", 40) + SYN, order)
    unknown = block(0x0BAD, b"12345678", order)
    file = opened(
        tmp_path,
        section + plain + binary + enhanced + unknown + second + old + simple + section + plain + enhanced,
    )
    rows = list(file.rows())
    assert [r.data for r in rows] == [SYN] * 5 and file.notes == []
    assert [r.time_ns for r in rows] == [us * 1000, 1_000_005_500_000_000, us * 1000, 0, us * 1000]
    assert rows[1].interface == "eth\\x1b"  # hostile text
    assert [r.seq for r in file.rows(2, 2)] == [3, 4]


def test_a_file_cut_short_says_where_and_shows_the_rest(tmp_path: Path) -> None:
    whole = io.BytesIO()
    write_pcapng(whole, [row(0x800, SYN, seq=i) for i in range(10)])
    for data in (whole.getvalue()[:-30], pcap(101, SYN) + pcap(101, SYN)[24:-5]):
        file = opened(tmp_path, data)
        assert len(file) in (9, 1) and "cut short" in file.notes[0]
        assert all(r.data == SYN for r in file.rows())


@pytest.mark.parametrize(
    "data", [b"", b"1234567", b"not a capture at all", pcap(105, SYN)[:30], pcap(101, SYN)[:20]]
)
def test_what_can_not_be_read_is_a_sentence(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(CaptureFileError, match=r"^[A-Z].*\.$"):
        opened(tmp_path, data)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 2**32),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=8),
    st.booleans(),
)
def test_damaged_files_never_break_the_reader(
    tmp_path_factory: pytest.TempPathFactory, cut: int, damage: list[tuple[int, int]], ng: bool
) -> None:
    whole = io.BytesIO()
    write_pcapng(whole, [row(kind, data) for kind, data in SEEDS[:12]], lambda r: "comment")
    data = bytearray(whole.getvalue() if ng else pcap(1, ETHERNET + b"\x81\0" + SYN) * 2)
    for at, value in damage:
        data[at % len(data)] = value
    path = tmp_path_factory.mktemp("damaged") / "file"
    path.write_bytes(data[: len(data) - cut % 40])
    try:
        file = CaptureFile(path)
    except CaptureFileError:
        return
    for number in range(len(file)):
        assert packet_line(file.row(number)).isprintable()
    file.close()


def journey(end: str, time_ns: int) -> Journey:
    steps = [
        JourneyStep(time_ns=time_ns, family="ip", table="raw", chain="PREROUTING", kind="rule", verdict="continue", rule="rule 1: -j CT"),
        JourneyStep(time_ns=time_ns, family="", table="", chain="conntrack", kind="stage", verdict="passed", ct_state="new"),
        JourneyStep(time_ns=time_ns, family="ip", table="x\x1b[", chain="INPUT", kind="policy", verdict="drop"),
    ]  # fmt: skip
    return Journey(trace_id=1, line="", steps=steps, end=end, ended_ok=False, flow_id=7, data=SYN)


def test_comments_tell_each_journey_once() -> None:
    packet = row(0x800, SYN, seq=0)
    long_ago = journey("long ago", 1000)
    comments = JourneyComments([long_ago, *(journey(end, packet.time_ns + 5) for end in ("first", "second"))])

    def comment(fate: str) -> str:
        return comments(msgspec.structs.replace(packet, fate=fate))

    assert comment("first").startswith("first (conntrack id 7)\nip raw PREROUTING: rule 1: -j CT → continue")
    assert comment("") == "", "one like them that was not traced"
    assert comment("second").startswith("second ") and comment("second") == "second", "a way is told once"
    assert comments(row(0x800, tcp(99), fate="known otherwise")) == "known otherwise"
    text = journey_text(journey("x", 1))
    assert "conntrack → passed [new]" in text and "ip x\\x1b[ INPUT: policy → drop" in text


def test_many_packets_take_little_memory_until_shown(tmp_path: Path) -> None:
    path = tmp_path / "many"
    one = struct.pack("<IIII", 1_700_000_000, 0, 40, 40) + SYN
    path.write_bytes(pcap(101, SYN)[:24] + one * 50_000)
    file = CaptureFile(path)
    assert len(file) == 50_000
    assert [r.seq for r in file.rows(49_998, 10)] == [49_999, 50_000]
    with pytest.raises(IndexError):
        file.row(50_000)
