"""Packets for tests: one of every kind the log words, as (ethertype, bytes from the network header)."""

import struct
from pathlib import Path

import numpy as np

from cttui.kernel.packet_columns import NO_VLAN, PACKET, SNAP, Records
from cttui.model.packet import PacketRow

SEEDS: list[tuple[int, bytes]] = [
    (int(line[:4], 16), bytes.fromhex(line[4:]))
    for line in (Path(__file__).parent / "data/packets_seeds.hex").read_text().split()
]
"""TCP with every flag and option, UDP, ICMP errors, ICMPv6, extension headers, fragments, SCTP, GRE, tunnels,
IPsec, ARP, VLAN tags, wrong lengths, headers cut at every interesting byte, garbage."""


def row(kind: int, data: bytes, *, seq: int = 1, length: int | None = None, **more: object) -> PacketRow:
    """A row of the log as the ring would have captured it."""
    return PacketRow(
        seq=seq, time_ns=1_700_000_000_000_000_000 + seq, interface="tun0", direction="in", ethertype=kind,
        length=len(data) if length is None else length, data=data[:SNAP], **more,  # type: ignore[arg-type]
    )  # fmt: skip


def records(packets: list[tuple[int, bytes]]) -> Records:
    """PACKET records of the same."""
    out = np.zeros(len(packets), PACKET)
    for i, (kind, data) in enumerate(packets):
        snap = data[:SNAP]
        out[i]["ethertype"], out[i]["length"], out[i]["caplen"], out[i]["vlan"] = (
            kind,
            len(data),
            len(snap),
            NO_VLAN,
        )
        out[i]["time_ns"], out[i]["ifindex"] = 1_700_000_000_000_000_000 + i, 7
        out[i]["data"][: len(snap)] = np.frombuffer(snap, np.uint8)
        out[i]["data"][len(snap) :] = 0xEE  # what an earlier packet left there
    return out


def tcp(
    sport: int, dport: int = 80, flags: int = 2, src: bytes = b"\xc6\x33\x64\x02", dst: bytes = b"\xc0\0\2\1"
) -> bytes:
    """A TCP packet without payload; checksums are 0, which nothing here looks at."""
    header = struct.pack(">HHIIBBHHH", sport, dport, 0, 0, 0x50, flags, 8192, 0, 0)
    if len(src) == 16:
        return struct.pack(">IHBB", 6 << 28, len(header), 6, 64) + src + dst + header
    return struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(header), 0, 0, 64, 6, 0) + src + dst + header


def raw_pcap(packets: list[bytes]) -> bytes:
    """A pcap file of LINKTYPE_RAW, microseconds, little endian."""
    out = bytearray(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101))
    for i, data in enumerate(packets):
        out += struct.pack("<IIII", 1_700_000_000, i, len(data), len(data)) + data
    return bytes(out)
