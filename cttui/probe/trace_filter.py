"""The filter words as tests of nftables rules: what a trace is armed for."""

from collections.abc import Iterable, Sequence
from itertools import product

from cttui.kernel.trace_table import Test
from cttui.model import filters as f
from cttui.model.faults import FaultError
from cttui.model.filter_ast import PORT_PROTOCOLS
from cttui.model.flow import AF_INET
from cttui.model.packet_match import ECHO, parse_packets

MOST_RULES = 64
"""Alternatives of a filter; every packet of the host meets each of these rules."""
Tests = tuple[Test, ...]

_OFFSETS = {(2, "src"): 12, (2, "dst"): 16, (10, "src"): 8, (10, "dst"): 24}
_ENDS = {"src": ("src",), "dst": ("dst",), "host": ("src", "dst")}
_PORTS = {"sport": (0,), "dport": (2,), "port": (0, 2)}


def alternatives(text: str) -> list[Tests]:
    """Conjunctions of tests, one of which a packet must pass. FaultError "bad-filter"."""
    node = parse_packets(text)
    found: list[Tests] = [()] if node is None else _either(node, False)
    if len(found) > MOST_RULES:
        raise FaultError(
            "bad-filter", f"This filter takes {len(found)} rules to trace, at most {MOST_RULES} are armed.",
            "Trace something narrower: one address, one port.",
        )  # fmt: skip
    return found


def _either(node: f.Node, negated: bool) -> list[Tests]:
    """Disjunctive form of a node or of its complement."""
    match node:
        case f.Not(term):
            return _either(term, not negated)
        case f.And(terms) if not negated:
            return _all(_either(term, False) for term in terms)
        case f.Or(terms) if negated:
            return _all(_either(term, True) for term in terms)
        case f.And(terms) | f.Or(terms):
            return [tests for term in terms for tests in _either(term, negated)]
        case _:
            leaf = _leaf(node)
            if not negated:
                return leaf
            # not (a and b or c) = (not a or not b) and not c
            return _all([(t._replace(negated=not t.negated),) for t in tests] for tests in leaf)


def _all(parts: Iterable[Sequence[Tests]]) -> list[Tests]:
    """Every combination of one alternative of each part."""
    out: list[Tests] = [()]
    for part in parts:
        out = [(*left, *(t for t in right if t not in left)) for left, right in product(out, part)]
        if len(out) > MOST_RULES * MOST_RULES:
            break  # refused by the caller
    return out


def _leaf(node: f.Node) -> list[Tests]:
    """Alternatives of one condition; each begins with what makes its bytes mean what is asked."""
    match node:
        case f.Address(key, spans):
            return [
                (
                    _family(span.family),
                    _bytes("network", _OFFSETS[span.family, end], span.low, span.high, _size(span)),
                )
                for end in _ENDS[key]
                for span in spans
            ]
        case f.Number("family", ranges):
            return [
                (Test("nfproto", 0, bytes([number]), bytes([number])),)
                for number in (2, 10)
                if _in(number, ranges)
            ]
        case f.Number("proto", ranges):
            return [(Test("l4proto", 0, bytes([int(low)]), bytes([int(high)])),) for low, high in ranges]
        case f.Number(key, ranges) if key in _PORTS:
            return [
                (_proto(proto), _bytes("transport", at, int(low), int(high), 2))
                for proto in PORT_PROTOCOLS
                for at in _PORTS[key]
                for low, high in ranges
            ]
        case f.Number(key, ranges) if key in ("type", "code"):
            at = 0 if key == "type" else 1
            return [
                (_proto(proto), _bytes("transport", at, int(low), int(high), 1))
                for proto in ECHO
                for low, high in ranges
            ]
        case f.Number("icmp-id", ranges):
            return [
                (
                    _proto(proto),
                    _bytes("transport", 0, kind, kind, 1),
                    _bytes("transport", 4, int(low), int(high), 2),
                )
                for proto, kinds in ECHO.items()
                for kind in kinds
                for low, high in ranges
            ]
        case f.Known(key) if key in _PORTS:
            return [(_proto(proto),) for proto in PORT_PROTOCOLS]
    raise FaultError(
        "bad-filter", f"A trace can't be armed by {getattr(node, 'key', 'this')}.",
        "Use src, dst, host, sport, dport, port, proto, family, type, code or icmp-id.",
    )  # fmt: skip


def _in(number: int, ranges: Iterable[tuple[int | float, int | float]]) -> bool:
    return any(low <= number <= high for low, high in ranges)


def _size(span: f.Span) -> int:
    return 4 if span.family == AF_INET else 16


def _family(number: int) -> Test:
    return Test("nfproto", 0, bytes([number]), bytes([number]))


def _proto(number: int) -> Test:
    return Test("l4proto", 0, bytes([number]), bytes([number]))


def _bytes(base: str, offset: int, low: int, high: int, size: int) -> Test:
    return Test(base, offset, low.to_bytes(size, "big"), high.to_bytes(size, "big"))
