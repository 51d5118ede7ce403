"""Captured packets as numpy records, and their headers decoded for all of them at once.

`PACKET` is what the ring hands over and the log keeps; `HEADERS` is what filters and joins need. Addresses
are four u32 words in host order, as in flows.columns; ICMP has its echo id in `sport` and type << 8 | code
in `dport`, as conntrack's tuples have.
"""

import numpy as np
from numpy.typing import NDArray

from cttui.flows import columns as _columns  # sets the thread count of numpy's linear algebra first

SNAP = 96
"""Bytes kept of a packet from its network header: IPv6 with a 56-byte TCP header, IPv4 with any."""
NO_VLAN = 0xFFFF

PACKET = np.dtype([
    ("time_ns", "u8"), ("ifindex", "u4"), ("length", "u4"), ("ethertype", "u2"), ("vlan", "u2"),
    ("caplen", "u1"), ("pkttype", "u1"), ("pad", "u2"), ("data", "u1", (SNAP,)),
])  # fmt: skip
HEADERS = np.dtype([
    ("family", "u1"), ("proto", "u1"), ("tcp_flags", "u1"), ("fragment", "u1"), ("sport", "u2"), ("dport", "u2"),
    ("src0", "u4"), ("src1", "u4"), ("src2", "u4"), ("src3", "u4"),
    ("dst0", "u4"), ("dst1", "u4"), ("dst2", "u4"), ("dst3", "u4"),
])  # fmt: skip

Records = NDArray[np.void]

ETH_IPV4, ETH_IPV6 = 0x0800, 0x86DD
ETH_VLAN, ETH_QINQ = 0x8100, 0x88A8
PKTTYPES = ("in", "broadcast", "multicast", "other", "out", "host", "host")
"""sll_pkttype, include/uapi/linux/if_packet.h: PACKET_HOST, BROADCAST, MULTICAST, OTHERHOST, OUTGOING, …"""

_V4, _V6 = 2, 10
_PORTS = np.zeros(256, bool)
_PORTS[[6, 17, 33, 132, 136]] = True  # TCP, UDP, DCCP, SCTP, UDPlite begin with two ports
_ICMP = np.zeros(256, bool)
_ICMP[[1, 58]] = True
_ECHO = np.zeros(256, bool)
_ECHO[[0, 8, 13, 14, 15, 16, 17, 18]] = True  # ICMP types with an id, nf_conntrack_proto_icmp.c: invmap
_ECHO6 = np.zeros(256, bool)
_ECHO6[[128, 129, 139, 140]] = True  # nf_conntrack_proto_icmpv6.c: invmap
_EXTENSION = np.zeros(256, bool)
_EXTENSION[[0, 43, 51, 60, 135]] = True  # hop-by-hop, routing, AH, destination options, mobility
_FRAGMENT = 44
_MAX_EXTENSIONS = 8


def decode_headers(packets: Records, out: Records | None = None) -> Records:
    """HEADERS of PACKET records; what is truncated, a later fragment or not IP leaves its columns 0.

    A later fragment has addresses, protocol and `fragment` 2, a first one also ports and `fragment` 1.
    """
    n = len(packets)
    headers = np.zeros(n, HEADERS) if out is None else out
    if n == 0:
        return headers
    headers.view(np.uint8)[:] = 0  # a record at a time it would cost ten times as much
    first = packets["data"][:, 0]
    long4 = (packets["ethertype"] == ETH_IPV4) & (first == 0x45) & (packets["caplen"] >= 34)
    long6 = (packets["ethertype"] == ETH_IPV6) & (first >> 4 == 6) & (packets["caplen"] >= 54)
    plain = np.zeros(n, bool)
    for long, size, decode in ((long4, 36, _decode_plain4), (long6, 56, _decode_plain6)):
        if long.all():
            done = decode(np.ascontiguousarray(packets["data"][:, :size]), headers)
            if done.all():
                return headers
            plain |= done
        elif long.any():
            rows = np.flatnonzero(long)
            found = np.zeros(len(rows), HEADERS)
            done = decode(packets["data"][:, :size][rows], found)
            headers[rows[done]] = found[done]
            plain[rows] |= done
    if not plain.all():
        rows = np.flatnonzero(~plain)
        found = np.zeros(len(rows), HEADERS)
        _decode_mixed(packets[rows], found)
        headers[rows] = found
    return headers


def _decode_plain4(data: NDArray[np.uint8], headers: Records) -> NDArray[np.bool_]:
    """(n, 36) bytes of IPv4 packets without options: decode them all; which of them are whole TCP or UDP."""
    words = data.view(">u4")
    proto = data[:, 9]
    tcp = proto == 6
    good: NDArray[np.bool_] = (tcp | (proto == 17)) & ((words[:, 1] & 0x3FFF) == 0)
    headers["family"], headers["proto"] = _V4, proto
    np.multiply(data[:, 33], tcp, out=headers["tcp_flags"])
    headers["src0"], headers["dst0"] = words[:, 3], words[:, 4]
    _ports(words[:, 5], headers)
    return good


def _decode_plain6(data: NDArray[np.uint8], headers: Records) -> NDArray[np.bool_]:
    """(n, 56) bytes of IPv6 packets: decode them all; which of them have TCP or UDP behind their header."""
    words = data.view(">u4")
    proto = data[:, 6]
    tcp = proto == 6
    good: NDArray[np.bool_] = tcp | (proto == 17)
    headers["family"], headers["proto"] = _V6, proto
    np.multiply(data[:, 53], tcp, out=headers["tcp_flags"])
    for i in range(4):
        headers[f"src{i}"], headers[f"dst{i}"] = words[:, 2 + i], words[:, 6 + i]
    _ports(words[:, 10], headers)
    return good


def _ports(word: NDArray[np.uint32], headers: Records) -> None:
    """Source and destination port of one big-endian word."""
    ports = word.astype("u4")
    headers["sport"], headers["dport"] = ports >> 16, ports & 0xFFFF


def _decode_mixed(packets: Records, headers: Records) -> None:
    """Any packets: rows are narrowed step by step, every read is checked against the captured length."""
    n = len(packets)
    data = packets["data"]
    caplen = packets["caplen"].astype("i8")
    rows = np.arange(n)
    base = np.zeros(n, "i8")
    kind = packets["ethertype"].astype("i8")
    for _ in range(2):  # tags that are still in the packet (the outermost is in the metadata)
        tagged = rows[((kind == ETH_VLAN) | (kind == ETH_QINQ)) & (caplen >= base + 4)]
        if not len(tagged):
            break
        kind[tagged] = _u16(data, tagged, base[tagged] + 2)
        base[tagged] += 4
    version = data[rows, np.minimum(base, SNAP - 1)] >> 4

    v4 = rows[(kind == ETH_IPV4) & (version == 4) & (caplen >= base + 20)]
    v6 = rows[(kind == ETH_IPV6) & (version == 6) & (caplen >= base + 40)]
    l4 = np.full(n, SNAP, "i8")  # offset of the transport header, SNAP where there is none to read
    if len(v4):
        at = base[v4]
        headers["family"][v4] = _V4
        headers["proto"][v4] = data[v4, at + 9]
        headers["src0"][v4], headers["dst0"][v4] = _u32(data, v4, at + 12), _u32(data, v4, at + 16)
        fragment = _u16(data, v4, at + 6)
        later, first = (fragment & 0x1FFF) != 0, (fragment & 0x2000) != 0
        headers["fragment"][v4] = np.where(later, 2, np.where(first, 1, 0))
        size = (data[v4, at].astype("i8") & 15) * 4
        l4[v4] = np.where(later | (size < 20), SNAP, at + size)
    if len(v6):
        at = base[v6]
        headers["family"][v6] = _V6
        for i in range(4):
            headers[f"src{i}"][v6] = _u32(data, v6, at + 8 + 4 * i)
            headers[f"dst{i}"][v6] = _u32(data, v6, at + 24 + 4 * i)
        _walk_extensions(data, caplen, v6, at, headers, l4)

    proto = headers["proto"]
    known = headers["family"] > 0
    ported = rows[known & _PORTS[proto] & (l4 + 4 <= caplen)]
    if len(ported):
        headers["sport"][ported] = _u16(data, ported, l4[ported])
        headers["dport"][ported] = _u16(data, ported, l4[ported] + 2)
    tcp = rows[known & (proto == 6) & (l4 + 14 <= caplen)]
    if len(tcp):
        headers["tcp_flags"][tcp] = data[tcp, l4[tcp] + 13]
    icmp = rows[known & _ICMP[proto] & (l4 + 4 <= caplen)]
    if len(icmp):
        headers["dport"][icmp] = _u16(data, icmp, l4[icmp])
        kind_of = data[icmp, l4[icmp]]
        echo = icmp[
            np.where(proto[icmp] == 1, _ECHO[kind_of], _ECHO6[kind_of]) & (l4[icmp] + 6 <= caplen[icmp])
        ]
        headers["sport"][echo] = _u16(data, echo, l4[echo] + 4)


def _walk_extensions(
    data: Records, caplen: NDArray[np.int64], v6: NDArray[np.int64], base: NDArray[np.int64],
    headers: Records, l4: NDArray[np.int64],
) -> None:  # fmt: skip
    """Follow IPv6 next headers for all rows of `v6` together, at most eight deep."""
    rows = v6
    at = base + 40
    following = data[v6, base + 6]
    for _ in range(_MAX_EXTENSIONS):
        headers["proto"][rows] = following
        l4[rows] = at
        more = (_EXTENSION[following] | (following == _FRAGMENT)) & (at + 8 <= caplen[rows])
        if not more.any():
            return
        rows, at, was = rows[more], at[more], following[more]
        following = data[rows, at]
        units = data[rows, at + 1].astype("i8")
        is_fragment = was == _FRAGMENT
        offset = np.where(is_fragment, _u16(data, rows, at + 2), 0)
        later = (offset & 0xFFF8) != 0
        headers["fragment"][rows[is_fragment]] = np.where(later[is_fragment], 2, 1)
        headers["proto"][rows] = following
        l4[rows] = SNAP
        # RFC 8200: units of 8 bytes beyond the first; AH (RFC 4302) counts 4 bytes minus 2
        at = at + np.where(is_fragment, 8, np.where(was == 51, (units + 2) * 4, (units + 1) * 8))
        go_on = ~later & (at < SNAP)
        rows, at, following = rows[go_on], at[go_on], following[go_on]


def _u16(data: NDArray[np.void], rows: NDArray[np.int64], at: NDArray[np.int64]) -> NDArray[np.int64]:
    """Big-endian 16 bits of each row at its own offset, clamped into the row."""
    high = data[rows, np.minimum(at, SNAP - 1)].astype(np.int64)
    low = data[rows, np.minimum(at + 1, SNAP - 1)].astype(np.int64)
    value: NDArray[np.int64] = np.bitwise_or(high << 8, low)
    return value


def _u32(data: NDArray[np.void], rows: NDArray[np.int64], at: NDArray[np.int64]) -> NDArray[np.int64]:
    """Big-endian 32 bits of each row at its own offset, clamped into the row."""
    value: NDArray[np.int64] = np.bitwise_or(_u16(data, rows, at) << 16, _u16(data, rows, at + 2))
    return value


__all__ = ["HEADERS", "NO_VLAN", "PACKET", "PKTTYPES", "SNAP", "Records", "_columns", "decode_headers"]
