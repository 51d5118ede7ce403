"""The filter words applied to one packet at a time: for capture files, where no columns are.

The same keys and meanings as probe.packet_filter, which does it for the live log in numpy.
"""

from typing import NamedTuple

from cttui.model import filters as f
from cttui.model.faults import FaultError
from cttui.model.filter_ast import ICMP_PROTOCOLS, PORT_PROTOCOLS
from cttui.model.packet import PacketRow
from cttui.model.packet_headers import ETH_IPV4, ETH_IPV6, ETH_QINQ, ETH_VLAN
from cttui.model.transport_headers import u16

_ENDS = {"src": ("src",), "dst": ("dst",), "host": ("src", "dst")}
_PORTS = {"sport": ("sport",), "dport": ("dport",), "port": ("sport", "dport")}
PACKET_KEYS = (*_ENDS, *_PORTS, "proto", "family", "type", "code", "icmp-id", "bytes")
"""What a packet has of a flow's keys."""
_EXTENSIONS = (0, 43, 44, 51, 60, 135)
ECHO = {1: (0, 8, 13, 14, 15, 16, 17, 18), 58: (128, 129, 139, 140)}
"""ICMP messages with an id: invmap of nf_conntrack_proto_icmp.c and nf_conntrack_proto_icmpv6.c."""


class Facts(NamedTuple):
    """What filters look at; None where the packet has none."""

    family: int | None = None
    proto: int | None = None
    src: int = 0
    dst: int = 0
    sport: int | None = None
    dport: int | None = None
    type: int | None = None
    code: int | None = None
    icmp_id: int | None = None


def parse_packets(text: str) -> f.Node | None:
    """The tree of a filter that packets can have, None for an empty one. FaultError "bad-filter"."""
    try:
        node = f.parse(text)
    except f.FilterError as error:
        raise FaultError("bad-filter", str(error), "docs/filters.md describes the words.") from None
    if node is not None:
        _check(node)
    return node


def _check(node: f.Node) -> None:
    match node:
        case f.And(terms) | f.Or(terms):
            for term in terms:
                _check(term)
        case f.Not(term):
            _check(term)
        case f.Address(key, _) | f.Number(key, _) | f.Than(key, _, _) | f.Known(key) if key in PACKET_KEYS:
            return
        case _:
            what = getattr(node, "key", type(node).__name__.lower())
            raise FaultError(
                "bad-filter", f"A packet has no {what}, only its flow has.",
                "Packets have src, dst, host, sport, dport, port, proto, family, type, code, icmp-id and bytes.",
            )  # fmt: skip


def matches(node: f.Node | None, row: PacketRow) -> bool:
    """Whether a packet satisfies a filter of `parse_packets`."""
    return node is None or _matches(node, facts(row), row.length)


def _matches(node: f.Node, packet: Facts, length: int) -> bool:
    match node:
        case f.And(terms):
            return all(_matches(term, packet, length) for term in terms)
        case f.Or(terms):
            return any(_matches(term, packet, length) for term in terms)
        case f.Not(term):
            return not _matches(term, packet, length)
        case f.Address(key, spans):
            return any(
                span.family == packet.family and span.low <= getattr(packet, end) <= span.high
                for end in _ENDS[key]
                for span in spans
            )
        case f.Number(key, ranges):
            return any(low <= v <= high for v in _values(key, packet, length) for low, high in ranges)
        case f.Than(key, op, limit):
            return any(_than(v, op, limit) for v in _values(key, packet, length))
        case f.Known(key):
            return bool(_values(key, packet, length))
    return False


def _than(value: int, op: str, limit: int | float) -> bool:
    return {"<": value < limit, "<=": value <= limit, ">": value > limit}.get(op, value >= limit)


def _values(key: str, packet: Facts, length: int) -> list[int]:
    if key == "bytes":
        return [length]
    names = _PORTS.get(key, (key.replace("-", "_"),))
    return [value for name in names if (value := getattr(packet, name)) is not None]


def facts(row: PacketRow) -> Facts:
    """Addresses, protocol, ports and ICMP numbers of a packet, from its captured bytes."""
    kind, data = row.ethertype, row.data
    for _ in range(2):
        if kind in (ETH_VLAN, ETH_QINQ) and len(data) >= 4:
            kind, data = u16(data, 2), data[4:]
    if kind == ETH_IPV4 and len(data) >= 20 and data[0] >> 4 == 4:
        found = Facts(2, data[9], int.from_bytes(data[12:16], "big"), int.from_bytes(data[16:20], "big"))
        size = (data[0] & 15) * 4
        return found if u16(data, 6) & 0x1FFF or size < 20 else _transport(found, data[size:])
    if kind == ETH_IPV6 and len(data) >= 40 and data[0] >> 4 == 6:
        found = Facts(10, data[6], int.from_bytes(data[8:24], "big"), int.from_bytes(data[24:40], "big"))
        at = 40
        for _ in range(8):
            proto = found.proto
            if proto not in _EXTENSIONS or len(data) < at + 8:
                break
            found = found._replace(proto=data[at])
            if proto == 44:
                if u16(data, at + 2) & 0xFFF8:
                    return found
                at += 8
            else:
                at += (data[at + 1] + 2) * 4 if proto == 51 else (data[at + 1] + 1) * 8
        return _transport(found, data[at:])
    return Facts()


def _transport(found: Facts, data: bytes) -> Facts:
    proto = found.proto
    if proto in PORT_PROTOCOLS and len(data) >= 4:
        return found._replace(sport=u16(data, 0), dport=u16(data, 2))
    if proto in ICMP_PROTOCOLS and len(data) >= 4:
        echo = data[0] in ECHO[proto] and len(data) >= 6
        return found._replace(type=data[0], code=data[1], icmp_id=u16(data, 4) if echo else None)
    return found
