"""The filter words applied to packets: over the log's columns, and as a pcap expression for the kernel.

Of a flow filter's keys a packet has addresses, ports, protocol, family, ICMP type, code and id, and `bytes`,
its length. `src` and `dst` are the packet's own, whichever direction of its flow it travels. What only a flow
has (state, mark, timeout, …) is refused by name.
"""

import ipaddress
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cttui.kernel import bpf
from cttui.kernel.packet_columns import Records
from cttui.model import filters as f
from cttui.model.faults import FaultError
from cttui.model.filter_ast import ICMP_PROTOCOLS, PORT_PROTOCOLS
from cttui.model.flow import AF_INET
from cttui.model.packet_match import ECHO, parse_packets

Matcher = Callable[[Records, Records], NDArray[np.bool_]]
"""PACKET records, HEADERS records → which match."""
PCAP = "pcap:"
"""What stands before a raw pcap expression."""

_PORTS: dict[str, tuple[str, ...]] = {"sport": ("sport",), "dport": ("dport",), "port": ("sport", "dport")}
_ENDS: dict[str, tuple[str, ...]] = {"src": ("src",), "dst": ("dst",), "host": ("src", "dst")}
_HAS_PORTS = np.zeros(256, bool)
_HAS_PORTS[list(PORT_PROTOCOLS)] = True
_IS_ICMP = np.zeros(256, bool)
_IS_ICMP[list(ICMP_PROTOCOLS)] = True


class CaptureFilter(NamedTuple):
    """What the kernel filters (b"": everything) and what is left to be done on the columns (None: nothing)."""

    program: bytes
    matcher: Matcher | None


async def capture_filter(text: str) -> CaptureFilter:
    """The filter of a capture: filter words, or `pcap:` and an expression. FaultError "bad-filter"."""
    text = text.strip()
    if text.startswith(PCAP):
        return CaptureFilter(await bpf.compile_pcap(text.removeprefix(PCAP).strip()), None)
    node = parse_packets(text)
    if node is None:
        return CaptureFilter(b"", None)
    expression = pcap_expression(node)
    matcher = _compiled(node)
    if expression is None:
        return CaptureFilter(b"", matcher)
    try:
        return CaptureFilter(await bpf.compile_pcap(expression), None)
    except FaultError:  # no tcpdump, or one that does without a word
        return CaptureFilter(b"", matcher)


@lru_cache(maxsize=64)
def matcher_of(text: str) -> Matcher | None:
    """The filter of a view; None for an empty one. FaultError "bad-filter"."""
    if text.strip().startswith(PCAP):
        raise FaultError(
            "bad-filter", "A pcap expression chooses what is captured, not what is shown.",
            "Give it to the capture, or use filter words here.",
        )  # fmt: skip
    node = parse_packets(text)
    return None if node is None else _compiled(node)


# ---------------------------------------------------------------- on columns


def _compiled(node: f.Node) -> Matcher:
    return lambda packets, headers: _mask(node, packets, headers)


def _mask(node: f.Node, packets: Records, headers: Records) -> NDArray[np.bool_]:
    match node:
        case f.And(terms):
            mask = _mask(terms[0], packets, headers)
            for term in terms[1:]:
                mask = mask & _mask(term, packets, headers)
            return mask
        case f.Or(terms):
            mask = _mask(terms[0], packets, headers)
            for term in terms[1:]:
                mask = mask | _mask(term, packets, headers)
            return mask
        case f.Not(term):
            return ~_mask(term, packets, headers)
        case f.Address(key, spans):
            return _any(_in_span(headers, end, span) for end in _ENDS[key] for span in spans)
        case f.Number(key, ranges):
            has, values = _values(key, packets, headers)
            return has & _any((value >= low) & (value <= high) for value in values for low, high in ranges)
        case f.Than(key, op, limit):
            has, values = _values(key, packets, headers)
            compare = {"<": np.less, "<=": np.less_equal, ">": np.greater}.get(op, np.greater_equal)
            return has & _any(compare(value, limit) for value in values)
        case f.Known(key):
            return _values(key, packets, headers)[0]
    raise AssertionError(node)  # refused by _check


def _any(masks: Iterable[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    result: NDArray[np.bool_] = np.logical_or.reduce(list(masks))
    return result


def _values(key: str, packets: Records, headers: Records) -> tuple[NDArray[np.bool_], list[NDArray[Any]]]:
    """Which packets have a value of `key`, and the columns of it."""
    known = headers["family"] > 0
    if key in _PORTS:
        # a later fragment has no ports; a first one and a whole packet have
        return known & _HAS_PORTS[headers["proto"]] & (headers["fragment"] < 2), [
            headers[n] for n in _PORTS[key]
        ]
    if key in ("type", "code", "icmp-id"):
        kind = headers["dport"] >> 8
        column = {"type": kind, "code": headers["dport"] & 255, "icmp-id": headers["sport"]}[key]
        has = known & _IS_ICMP[headers["proto"]] & (headers["fragment"] < 2)
        if key == "icmp-id":
            has &= np.where(headers["proto"] == 1, np.isin(kind, ECHO[1]), np.isin(kind, ECHO[58]))
        return has, [column]
    if key == "bytes":
        return np.ones(len(packets), bool), [packets["length"]]
    return known, [headers[key]]


def _in_span(headers: Records, end: str, span: f.Span) -> NDArray[np.bool_]:
    """Which packets' `end` lies in the span: word by word from the least significant one."""
    right: NDArray[np.bool_] = headers["family"] == span.family
    if span.family == AF_INET:
        word = headers[f"{end}0"]
        within: NDArray[np.bool_] = right & (word >= span.low) & (word <= span.high)
        return within
    if not right.any():
        return right
    above = below = np.ones(len(headers), bool)
    for i in (3, 2, 1, 0):
        word = headers[f"{end}{i}"]
        low, high = (value >> (32 * (3 - i)) & 0xFFFFFFFF for value in (span.low, span.high))
        above = (word > low) | ((word == low) & above)
        below = (word < high) | ((word == high) & below)
    result: NDArray[np.bool_] = right & above & below
    return result


# ---------------------------------------------------------------- as a pcap expression


def pcap_expression(node: f.Node) -> str | None:
    """The same filter for tcpdump, None where pcap has no words for it.

    pcap's ports are those of TCP, UDP and SCTP, in IPv6 directly behind the header.
    """
    match node:
        case f.And(terms) | f.Or(terms):
            parts = [pcap_expression(term) for term in terms]
            word = " and " if isinstance(node, f.And) else " or "
            return None if None in parts else f"({word.join(p for p in parts if p)})"
        case f.Not(term):
            inner = pcap_expression(term)
            return None if inner is None else f"not {inner}"
        case f.Address(key, spans):
            side = {"src": "src ", "dst": "dst ", "host": ""}[key]
            return _or(f"{side}net {net}" for span in spans for net in _networks(span))
        case f.Number(key, ranges):
            if key == "icmp-id" or any(low != int(low) or high != int(high) for low, high in ranges):
                return None  # other messages have something else where echoes have their id
            return _or(_pcap_range(key, int(low), int(high)) for low, high in ranges)
        case f.Than(key, op, limit) if key == "bytes" and limit == int(limit):
            return f"(len {op} {int(limit)})"
        case f.Known(key) if key in _PORTS:
            return "(portrange 0-65535)"
        case f.Known(key) if key in ("type", "code"):
            return "((icmp and ip[6:2] & 0x1fff = 0) or icmp6)"
    return None


def _or(parts: Iterable[str]) -> str:
    return f"({' or '.join(parts)})"


def _pcap_range(key: str, low: int, high: int) -> str:
    if key in _PORTS:
        side = {"sport": "src ", "dport": "dst ", "port": ""}[key]
        return f"{side}port {low}" if low == high else f"{side}portrange {low}-{high}"
    if key == "family":
        words = [word for number, word in ((2, "ip"), (10, "ip6")) if low <= number <= high]
        return _or(words) if words else "(len < 0)"
    if key == "proto":
        return (
            f"((ip and ip[9] >= {low} and ip[9] <= {high}) or (ip6 and ip6[6] >= {low} and ip6[6] <= {high}))"
            if low != high
            else f"(ip proto {low} or ip6 proto {low})"
        )
    if key == "bytes":
        return f"(len >= {low} and len <= {high})"
    at = {"type": "[0]", "code": "[1]"}[key]
    return _or(f"({name} and {name}{at} >= {low} and {name}{at} <= {high})" for name in ("icmp", "icmp6"))


def _networks(span: f.Span) -> list[str]:
    """A span as networks."""
    kind = ipaddress.IPv4Address if span.family == AF_INET else ipaddress.IPv6Address
    return [str(net) for net in ipaddress.summarize_address_range(kind(span.low), kind(span.high))]
