"""What a filter means: a small tree of typed conditions.

Every leaf is true for a flow when at least one known value of its key satisfies it; a flow without the value
(no ports, no accounting, no state) satisfies no leaf of that key, and so satisfies every negated one.
"""

from collections.abc import Iterable

import msgspec

from cttui.model import flow as f

ADDRESS_KEYS: dict[str, tuple[str, ...]] = {
    "src": ("orig_src",),
    "dst": ("orig_dst",),
    "reply-src": ("reply_src",),
    "reply-dst": ("reply_dst",),
    "host": ("orig_src", "orig_dst", "reply_src", "reply_dst"),
}
"""key → the fields of Flow it looks at; `host` at both ends of both directions, so NAT hides nothing."""

PORT_KEYS: dict[str, tuple[str, ...]] = {
    "sport": ("orig_sport",),
    "dport": ("orig_dport",),
    "reply-sport": ("reply_sport",),
    "reply-dport": ("reply_dport",),
    "port": ("orig_sport", "orig_dport", "reply_sport", "reply_dport"),
}
PORT_PROTOCOLS = (f.IPPROTO_TCP, f.IPPROTO_UDP, 33, f.IPPROTO_SCTP, f.IPPROTO_UDPLITE)
"""Protocols whose `*_sport` and `*_dport` are ports, as conntrack prints them."""
ICMP_PROTOCOLS = (f.IPPROTO_ICMP, f.IPPROTO_ICMPV6)

U8, U16, U32, U64 = (1 << 8) - 1, (1 << 16) - 1, (1 << 32) - 1, (1 << 64) - 1
NUMBER_KEYS: dict[str, int] = {
    **dict.fromkeys(PORT_KEYS, U16), "proto": U8, "family": U8, "type": U8, "code": U8, "icmp-id": U16,
    "srckey": U16, "dstkey": U16, "mark": U32, "zone": U16, "id": U32, "use": U32, "timeout": U32, "age": U64,
    "bytes": U64, "packets": U64, "orig-bytes": U64, "orig-packets": U64, "reply-bytes": U64,
    "reply-packets": U64, "rate": U64,
}  # fmt: skip
"""key → largest value. `id` is conntrack's id or an ICMP echo id, as both are printed as `id=`."""

TEXT_KEYS = ("helper", "secctx")

FLAGS: dict[str, int] = {
    "replied": f.SEEN_REPLY, "assured": f.ASSURED, "nat": f.SRC_NAT | f.DST_NAT, "snat": f.SRC_NAT,
    "dnat": f.DST_NAT, "expected": f.EXPECTED, "offload": f.OFFLOAD | f.HW_OFFLOAD, "hw-offload": f.HW_OFFLOAD,
    "confirmed": f.CONFIRMED, "dying": f.DYING, "seq-adjust": f.SEQ_ADJUST, "src-nat-done": f.SRC_NAT_DONE,
    "dst-nat-done": f.DST_NAT_DONE, "fixed-timeout": f.FIXED_TIMEOUT, "template": f.TEMPLATE,
    "untracked": f.UNTRACKED, "helper-assigned": f.HELPER,
}  # fmt: skip
"""word → status bits, one of which must be set."""


class Span(msgspec.Struct, frozen=True):
    """Addresses of one family from `low` to `high`, both included, as integers."""

    family: int
    low: int
    high: int


class Address(msgspec.Struct, frozen=True):
    """An address of `key` (ADDRESS_KEYS) lies in one of the spans."""

    key: str
    spans: tuple[Span, ...]


class Number(msgspec.Struct, frozen=True):
    """A number of `key` (NUMBER_KEYS) lies in one of the inclusive ranges."""

    key: str
    ranges: tuple[tuple[int | float, int | float], ...]


class Than(msgspec.Struct, frozen=True):
    """A number of `key` is `op` (`<`, `<=`, `>`, `>=`) than the value."""

    key: str
    op: str
    value: int | float


class Masked(msgspec.Struct, frozen=True):
    """`mark & mask == value`, as in `-m 0x10/0xf0`."""

    value: int
    mask: int


class State(msgspec.Struct, frozen=True):
    """The state has one of these names (TCP_STATES, SCTP_STATES)."""

    names: tuple[str, ...]


class Status(msgspec.Struct, frozen=True):
    """One of the status bits is set; `bits` is a value of FLAGS."""

    bits: int


class Text(msgspec.Struct, frozen=True):
    """The text of `key` (TEXT_KEYS) is one of the values."""

    key: str
    values: tuple[str, ...]


class Label(msgspec.Struct, frozen=True):
    """One of these connection labels (bit numbers 0 to 127) is set."""

    bits: tuple[int, ...]


class Known(msgspec.Struct, frozen=True):
    """The flow has a value of `key`: a state, a port, a helper, counters."""

    key: str


class Not(msgspec.Struct, frozen=True):
    """The complement."""

    term: "Node"


class And(msgspec.Struct, frozen=True):
    """Every term holds; at least two, none of them an And."""

    terms: tuple["Node", ...]


class Or(msgspec.Struct, frozen=True):
    """A term holds; at least two, none of them an Or."""

    terms: tuple["Node", ...]


Leaf = Address | Number | Than | Masked | State | Status | Text | Label | Known
Node = Leaf | Not | And | Or


def all_of(terms: Iterable[Node]) -> Node:
    """And, flattened; a single term is itself. Needs at least one."""
    flat: list[Node] = []
    for term in terms:
        flat.extend(term.terms if isinstance(term, And) else (term,))
    return flat[0] if len(flat) == 1 else And(tuple(flat))


def any_of(terms: Iterable[Node]) -> Node:
    """Or, flattened; a single term is itself. Needs at least one."""
    flat: list[Node] = []
    for term in terms:
        flat.extend(term.terms if isinstance(term, Or) else (term,))
    return flat[0] if len(flat) == 1 else Or(tuple(flat))


def negated(term: Node) -> Node:
    """Not, without double negation."""
    return term.term if isinstance(term, Not) else Not(term)
