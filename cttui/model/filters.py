"""The filter language: one for the screen, for `cttui flows` and for tales. docs/filters.md is its manual."""

import re
import socket

from cttui.model import filter_words as words
from cttui.model import flow as f
from cttui.model.filter_ast import (
    ADDRESS_KEYS,
    FLAGS,
    ICMP_PROTOCOLS,
    NUMBER_KEYS,
    PORT_KEYS,
    PORT_PROTOCOLS,
    Address,
    And,
    Known,
    Label,
    Leaf,
    Masked,
    Node,
    Not,
    Number,
    Or,
    Span,
    State,
    Status,
    Text,
    Than,
    all_of,
    any_of,
    negated,
)
from cttui.model.filter_errors import FilterError
from cttui.model.filter_parser import parse
from cttui.model.filter_tokens import tokens
from cttui.model.flow import Flow, state_name

SORT_KEYS: dict[str, str] = {
    "newest": "first seen", "proto": "protocol", "state": "state", "src": "source", "dst": "destination",
    "sport": "source port", "dport": "destination port", "timeout": "timeout", "bytes": "bytes",
    "packets": "packets", "rate": "bits/s", "age": "age", "rsrc": "reply source", "rdst": "reply destination",
    "rsport": "reply source port", "rdport": "reply destination port", "orig-bytes": "bytes out",
    "reply-bytes": "bytes back", "orig-packets": "packets out", "reply-packets": "packets back",
    "flags": "flags", "mark": "mark", "zone": "zone", "helper": "helper", "family": "family", "use": "use",
    "id": "id",
}  # fmt: skip
"""key → label of what flows can be sorted by."""

GROUP_KEYS: dict[str, str] = {
    "src": "source", "dst": "destination", "src/24": "source network (/24, /64)",
    "dst/24": "destination network (/24, /64)", "sport": "source port", "dport": "destination port",
    "proto": "protocol", "state": "state", "family": "family", "nat": "NAT address", "rsrc": "reply source",
    "rdst": "reply destination", "mark": "mark", "zone": "zone", "helper": "helper",
}  # fmt: skip
"""key → label of what flows can be grouped by, alone or together."""


def numbers(key: str, flow: Flow, now_s: float = 0.0) -> tuple[int | float, ...]:
    """The known values of a number key; `now_s` is the time since the epoch, for `age`."""
    if key in PORT_KEYS:
        return tuple(getattr(flow, n) for n in PORT_KEYS[key]) if flow.proto in PORT_PROTOCOLS else ()
    icmp = flow.proto in ICMP_PROTOCOLS
    match key:
        case "type":
            return (flow.orig_dport >> 8,) if icmp else ()
        case "code":
            return (flow.orig_dport & 0xFF,) if icmp else ()
        case "icmp-id":
            return (flow.orig_sport,) if icmp else ()
        case "id":
            return (flow.id, flow.orig_sport, flow.reply_sport) if icmp else (flow.id,)
        case "srckey":
            return (flow.orig_sport,) if flow.proto == f.IPPROTO_GRE else ()
        case "dstkey":
            return (flow.orig_dport,) if flow.proto == f.IPPROTO_GRE else ()
        case "timeout":  # a flow handed to a flowtable has none: the kernel doesn't tell it
            return () if flow.status & FLAGS["offload"] else (flow.timeout_s,)
        case "age":
            born = flow.born_s if not flow.start_ns else (int(now_s * 1e9) - flow.start_ns) / 1e9
            return (max(0, int(born)),)
        case "rate":
            return () if flow.rate_bps is None else (flow.rate_bps,)
        case "bytes" | "packets":
            a, b = getattr(flow, f"orig_{key}"), getattr(flow, f"reply_{key}")
            return () if a is None or b is None else (a + b,)
        case "orig-bytes" | "orig-packets" | "reply-bytes" | "reply-packets":
            value = getattr(flow, key.replace("-", "_"))
            return () if value is None else (value,)
    return (getattr(flow, key),)


def matches(node: Node | None, flow: Flow, now_s: float = 0.0) -> bool:
    """Whether a flow satisfies the filter: the definition that the vectorised `flows.select` must equal."""
    match node:
        case None:
            return True
        case And(terms):
            return all(matches(term, flow, now_s) for term in terms)
        case Or(terms):
            return any(matches(term, flow, now_s) for term in terms)
        case Not(term):
            return not matches(term, flow, now_s)
        case _:
            return _leaf(node, flow, now_s)


def _leaf(node: Leaf, flow: Flow, now_s: float) -> bool:
    match node:
        case Address(key, spans):
            values = [int.from_bytes(getattr(flow, name), "big") for name in ADDRESS_KEYS[key]]
            return any(s.family == flow.family and s.low <= v <= s.high for s in spans for v in values)
        case Number(key, ranges):
            return any(low <= v <= high for v in numbers(key, flow, now_s) for low, high in ranges)
        case Than(key, op, limit):
            return any(_than(v, op, limit) for v in numbers(key, flow, now_s))
        case Masked(value, mask):
            return flow.mark & mask == value
        case State(names):
            return state_name(flow.proto, flow.state) in names
        case Status(bits):
            return bool(flow.status & bits)
        case Text(key, values):
            return getattr(flow, key) in values and getattr(flow, key) != ""
        case Label(bits):
            held = int.from_bytes(flow.labels, "little")
            return any(held >> bit & 1 for bit in bits)
        case Known(key):
            return _known(key, flow, now_s)


def _than(value: int | float, op: str, limit: int | float) -> bool:
    match op:
        case "<":
            return value < limit
        case "<=":
            return value <= limit
        case ">":
            return value > limit
    return value >= limit


def _known(key: str, flow: Flow, now_s: float) -> bool:
    match key:
        case "state":
            return bool(state_name(flow.proto, flow.state))
        case "helper" | "secctx":
            return bool(getattr(flow, key))
        case "label":
            return any(flow.labels)
    return bool(numbers(key, flow, now_s))


# -------------------------------------------------------------------- AST → text

_PLAIN = re.compile(r"[\w.:/+-]+")


def unparse(node: Node | None) -> str:
    """Text of the language with this meaning: parsing it gives the same tree."""
    return "" if node is None else _text(node)


def _text(node: Node) -> str:
    match node:
        case And(terms):
            parts = [f"({_text(t)})" if isinstance(t, Or) else _text(t) for t in terms]
            # A further src= after src= and dst= would read as a pasted line's reply side.
            pasted = sum(part.startswith("src=") for part in parts) > 1
            return (" and " if pasted else " ").join(parts)
        case Or(terms):
            return " or ".join(f"({_text(t)})" if isinstance(t, And) else _text(t) for t in terms)
        case Not(term):
            if isinstance(term, And | Or):
                return f"not ({_text(term)})"
            if isinstance(term, Status):
                return "unreplied" if term.bits == f.SEEN_REPLY else f"not {_text(term)}"
            if isinstance(term, Than):
                return f"not {_text(term)}"
            key, _, value = _text(term).partition("=")
            return f"{key}!={value}"
        case _:
            return _leaf_text(node)


def _leaf_text(node: Leaf) -> str:
    match node:
        case Address(key, spans):
            return f"{key}={','.join(map(span_text, spans))}"
        case Number(key, ranges):
            return f"{key}={','.join(_range_text(key, low, high) for low, high in ranges)}"
        case Than(key, op, value):
            return f"{key}{op}{_number_text(value)}"
        case Masked(value, mask):
            return f"mark={value:#x}/{mask:#x}"
        case State(names):
            return f"state={','.join(names)}"
        case Status(bits):
            return next(name for name, mask in FLAGS.items() if mask == bits)
        case Text(key, values):
            several = len(values) > 1
            return (
                f"{key}={','.join(v if _PLAIN.fullmatch(v) and not several else _quoted(v) for v in values)}"
            )
        case Label(bits):
            return f"label={','.join(map(str, bits))}"
        case Known(key):
            return f"{key}=*"


def _quoted(text: str) -> str:
    return f'"{text}"'


def span_text(span: Span) -> str:
    """An address, a CIDR, or `low-high`."""
    bits = 32 if span.family == f.AF_INET else 128
    family = socket.AF_INET if span.family == f.AF_INET else socket.AF_INET6
    low = socket.inet_ntop(family, span.low.to_bytes(bits // 8, "big"))
    if span.low == span.high:
        return low
    host = span.low ^ span.high
    if host & (host + 1) == 0 and span.low & host == 0:
        return f"{low}/{bits - host.bit_length()}"
    return f"{low}-{socket.inet_ntop(family, span.high.to_bytes(bits // 8, 'big'))}"


def _number_text(value: int | float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.3f}"


def _range_text(key: str, low: int | float, high: int | float) -> str:
    if low != high:
        return f"{_number_text(low)}-{_number_text(high)}"
    if key == "proto" and low in f.PROTOCOLS:
        return f.PROTOCOLS[int(low)]
    if key == "family":
        return "ipv4" if low == f.AF_INET else "ipv6"
    return _number_text(low)


# -------------------------------------------------------------------- typing aid


def complete(text: str, cursor: int, limit: int = 12) -> list[str]:
    """Words that may replace the one that ends at the cursor (from 0), likeliest first."""
    start = cursor
    while start > 0 and text[start - 1] not in " \t()!{}&|":
        start -= 1
    word = text[start:cursor]
    key_text, op, value = word.partition("=")
    if op:
        key = words.key_of(key_text.rstrip("!"))
        head, comma, last = value.rpartition(",")
        front = f"{key_text}={head}{comma}"
        choices: tuple[str, ...] = {
            "state": words.STATES,
            "status": tuple(FLAGS),
            "proto": tuple(f.PROTOCOLS.values()),
            "family": ("ipv4", "ipv6"),
            "helper": words.HELPERS,
            **dict.fromkeys(PORT_KEYS, tuple(words.SERVICES)),
        }.get(key or "", ())
        found = [front + c for c in choices if c.lower().startswith(last.lower()) and c != last]
        return found[:limit]
    lower = word.lower()
    if not lower:
        return []
    known = [
        *(f"{k}=" for k in words.KEYS if k not in words.NAT_KEYS),
        *("unreplied", *FLAGS),
        *words.STATES,
        *f.PROTOCOLS.values(),
        "ipv4",
        "ipv6",
    ]
    return [w for w in dict.fromkeys(known) if w.lower().startswith(lower) and w.lower() != lower][:limit]


__all__ = [
    "ADDRESS_KEYS", "FLAGS", "GROUP_KEYS", "NUMBER_KEYS", "PORT_KEYS", "SORT_KEYS", "Address", "And",
    "FilterError", "Flow", "Known", "Label", "Masked", "Node", "Not", "Number", "Or", "Span", "State", "Status",
    "Text", "Than", "all_of", "any_of", "complete", "matches", "negated", "numbers", "parse", "tokens", "unparse",
]  # fmt: skip
