"""The part of a filter that the kernel can do in a dump.

A dump may ask for a family (in nfgenmsg), status bits, a masked mark, a zone, and exact fields of either tuple
(ctnetlink_alloc_filter, ctnetlink_filter_match in net/netfilter/nf_conntrack_netlink.c). What an older kernel does not
know it ignores, so the answer is always a superset: whoever dumps applies the whole filter again.

Not handed over: IPv6 addresses, which the kernel compares the wrong way round (`!ipv6_addr_cmp()` drops the equal
ones), and ports of other protocols than TCP and UDP, which it does not compare.
"""

import struct
from dataclasses import dataclass

from cttui.kernel.netlink import attribute, nested
from cttui.model.filter_ast import Address, And, Masked, Node, Not, Number, Status, all_of
from cttui.model.flow import AF_INET, AF_INET6, IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_TCP, IPPROTO_UDP

_TUPLE_ORIG, _TUPLE_REPLY, _STATUS, _MARK, _ZONE, _MARK_MASK, _FILTER, _STATUS_MASK = (
    1,
    2,
    3,
    8,
    18,
    21,
    25,
    26,
)
"""CTA_* of nfnetlink_conntrack.h."""

# CTA_FILTER_F_* of net/netfilter/nf_internals.h
_F_SRC, _F_DST, _F_PROTO, _F_SPORT, _F_DPORT = 1 << 0, 1 << 1, 1 << 3, 1 << 4, 1 << 5
_ICMP_FIRST_FLAG = {IPPROTO_ICMP: 6, IPPROTO_ICMPV6: 9}
_ICMP_FIRST_ATTRIBUTE = {IPPROTO_ICMP: 4, IPPROTO_ICMPV6: 7}
"""Echo id, type, code follow each other as attributes; as flags: type, code, id."""
_ICMP_TYPES = {IPPROTO_ICMP: (0, 8, 13, 14, 15, 16, 17, 18), IPPROTO_ICMPV6: (128, 129, 139, 140)}
"""Types that have an opposite (invmap in nf_conntrack_proto_icmp*.c); EINVAL for others."""

_TUPLE_FIELDS = {
    "src": ("orig", "src"), "dst": ("orig", "dst"), "sport": ("orig", "sport"), "dport": ("orig", "dport"),
    "reply-src": ("reply", "src"), "reply-dst": ("reply", "dst"), "reply-sport": ("reply", "sport"),
    "reply-dport": ("reply", "dport"), "type": ("orig", "type"), "code": ("orig", "code"),
    "icmp-id": ("orig", "icmp-id"),
}  # fmt: skip


def _terms(node: Node | None) -> tuple[Node, ...]:
    return () if node is None else node.terms if isinstance(node, And) else (node,)


def _single(node: Node, key: str) -> int | None:
    """The one value that a number condition asks for."""
    if isinstance(node, Number) and node.key == key and len(node.ranges) == 1:
        low, high = node.ranges[0]
        if low == high and isinstance(low, int):
            return low
    return None


def kernel_family(node: Node | None) -> int:
    """The address family that every matching flow has, 0 where it may be either: for the dump's header."""
    for term in _terms(node):
        families = {_single(term, "family")}
        if isinstance(term, Address):
            families = {span.family for span in term.spans}
        if len(families) == 1 and (family := families.pop()) in (AF_INET, AF_INET6):
            return family
    return 0


def kernel_filter(node: Node | None, family: int = 0) -> tuple[bytes, Node | None]:
    """(attributes for the dump request, what they leave to be filtered).

    Tuple fields need the dump to be of one family: pass `kernel_family(node)` here and to the dump. With
    `family` 0 only status, mark and zone are handed over.
    """
    rest: list[Node] = []
    status = mask = 0
    mark: tuple[int, int] | None = None
    zone: int | None = None
    fields: dict[str, Node] = {}
    for term in _terms(node):
        bits = _status(term)
        wanted_mark, wanted_zone = _marked(term), _single(term, "zone")
        key = _field(term)
        if bits is not None and (status ^ bits[0]) & mask & bits[1] == 0:
            status, mask = status | bits[0], mask | bits[1]
        elif wanted_mark is not None and mark is None:
            mark = wanted_mark
        elif wanted_zone is not None and zone is None:
            zone = wanted_zone
        elif family and _single(term, "family") == family:
            pass
        elif family and key and key not in fields:
            fields[key] = term
        else:
            rest.append(term)
    out = b""
    if mask:
        out += _be32(_STATUS, status) + _be32(_STATUS_MASK, mask)
    if mark is not None:
        out += _be32(_MARK, mark[0]) + _be32(_MARK_MASK, mark[1])
    if zone is not None:
        out += attribute(_ZONE, struct.pack(">H", zone))
    tuples, left = _tuples(fields, family)
    rest += left
    return out + tuples, all_of(rest) if rest else None


@dataclass(frozen=True, slots=True)
class Part:
    """What a dump may ask the kernel for, on behalf of a filter."""

    attributes: bytes
    family: int
    scope: Node
    """The conditions that the kernel judges: every flow they hold for is in the answer."""
    lasting: bool
    """None of them can change while a flow lives: one that is missing has ended."""


def kernel_part(node: Node | None) -> Part | None:
    """The kernel's part of a filter, None where it has none."""
    family = kernel_family(node)
    attributes, rest = kernel_filter(node, family)
    if not attributes and not family:
        return None
    left = _terms(rest)
    done = [term for term in _terms(node) if term not in left]
    if family:
        done.append(Number("family", ((family, family),)))
    changing = [term for term in done if _status(term) is not None or _marked(term) is not None]
    return Part(attributes, family, all_of(done), not changing)


def _status(node: Node) -> tuple[int, int] | None:
    """(bits, mask) of a status condition the kernel can express: all bits of the mask have these values."""
    if isinstance(node, Status) and node.bits.bit_count() == 1:
        return node.bits, node.bits
    if isinstance(node, Not) and isinstance(node.term, Status):
        return 0, node.term.bits
    return None


def _marked(node: Node) -> tuple[int, int] | None:
    if isinstance(node, Masked):
        return node.value, node.mask
    value = _single(node, "mark")
    return None if value is None else (value, 0xFFFFFFFF)


def _field(node: Node) -> str:
    """The key of an exact condition on a tuple field, "" for anything else."""
    if isinstance(node, Address):
        one = len(node.spans) == 1 and node.spans[0].low == node.spans[0].high
        return node.key if one and node.spans[0].family == AF_INET and node.key in _TUPLE_FIELDS else ""
    if isinstance(node, Number) and (node.key in _TUPLE_FIELDS or node.key == "proto"):
        return node.key if _single(node, node.key) is not None else ""
    return ""


def _tuples(fields: dict[str, Node], family: int) -> tuple[bytes, list[Node]]:
    """CTA_FILTER with its tuples for what can be compared exactly, and what is left."""
    proto = _single(fields["proto"], "proto") if "proto" in fields else None
    left = []
    sides: dict[str, dict[str, int]] = {"orig": {}, "reply": {}}
    for key, term in fields.items():
        if key == "proto":
            continue
        side, name = _TUPLE_FIELDS[key]
        value = term.spans[0].low if isinstance(term, Address) else _single(term, key)
        if value is None or not _comparable(name, value, proto, family):
            left.append(term)
        else:
            sides[side][name] = value
    if not fields.keys() - {"proto"} and proto is None:
        return b"", left
    out, flags = b"", {}
    for side, kind in (("orig", _TUPLE_ORIG), ("reply", _TUPLE_REPLY)):
        if sides[side] or (side == "orig" and proto is not None):
            body, flags[side] = _tuple(sides[side], proto)
            out += nested(kind, body)
    if not flags:
        return b"", left
    chosen = [attribute(1 if side == "orig" else 2, struct.pack("=I", bits)) for side, bits in flags.items()]
    return out + nested(_FILTER, *chosen), left


def _comparable(name: str, value: int, proto: int | None, family: int) -> bool:
    """Whether the kernel compares this field for this protocol (ctnetlink_filter_match_tuple)."""
    if name in ("src", "dst"):
        return family == AF_INET
    if name in ("sport", "dport"):
        return proto in (IPPROTO_TCP, IPPROTO_UDP)
    if proto not in _ICMP_TYPES:
        return False
    return name != "type" or value in _ICMP_TYPES[proto]


def _tuple(values: dict[str, int], proto: int | None) -> tuple[bytes, int]:
    """Attributes inside a CTA_TUPLE_*, and the CTA_FILTER_F_* that say which of them count."""
    flags = 0
    addresses, numbers = [], []
    for name, kind, flag in (("src", 1, _F_SRC), ("dst", 2, _F_DST)):
        if name in values:
            addresses.append(attribute(kind, values[name].to_bytes(4, "big")))
            flags |= flag
    if proto is not None:
        numbers.append(attribute(1, bytes([proto])))
        flags |= _F_PROTO
        for name, kind, flag in (("sport", 2, _F_SPORT), ("dport", 3, _F_DPORT)):
            if name in values:
                numbers.append(attribute(kind, struct.pack(">H", values[name])))
                flags |= flag
        for n, name in enumerate(("icmp-id", "type", "code")):
            if name in values:
                size = 2 if name == "icmp-id" else 1
                numbers.append(
                    attribute(_ICMP_FIRST_ATTRIBUTE[proto] + n, values[name].to_bytes(size, "big"))
                )
                flags |= 1 << (_ICMP_FIRST_FLAG[proto] + (2, 0, 1)[n])
    body = (nested(1, *addresses) if addresses else b"") + (nested(2, *numbers) if numbers else b"")
    return body, flags


def _be32(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack(">I", value))
