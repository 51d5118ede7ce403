"""Filters over columns: which rows match, all of them at once.

`model.filters.matches` defines what a filter means; this must equal it (tests/test_select.py). Conditions are
evaluated over whole columns where most rows are wanted anyway: contiguous memory is several times
faster than picking rows first.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cttui.flows.columns import NO_COUNTER, NO_STATE, Columns, Interned
from cttui.model import filter_ast as ast
from cttui.model.flow import (
    AF_INET,
    IPPROTO_GRE,
    IPPROTO_SCTP,
    IPPROTO_TCP,
    SCTP_STATES,
    TCP_STATES,
)

Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]
Values = list[tuple[NDArray[Any], Mask | None]]
"""Alternatives: an array, and which of its elements are known (None: all)."""


class View:
    """Columns as seen at one moment, each read and derived once.

    `now` is the probe's monotonic clock, `wall_s` the time since the epoch (for flows with timestamps).
    """

    def __init__(
        self,
        columns: Columns,
        now: float,
        interned: Interned,
        wall_s: float | None = None,
        rows: Rows | None = None,
    ) -> None:
        self._columns = columns
        self._rows = rows
        self._cache: dict[str, NDArray[Any]] = {}
        self.now = now
        self.wall_s = time.time() if wall_s is None else wall_s
        self.interned = interned
        self.size = len(columns["id"]) if rows is None else len(rows)

    def __getitem__(self, name: str) -> NDArray[Any]:
        """A column, or one of: `ports`, `icmp` (masks by protocol), `timeout`, `age`, `bytes`, `packets`."""
        cached = self._cache.get(name)
        if cached is None:
            derive = _DERIVED.get(name)
            if derive is not None:
                cached = derive(self)
            else:
                cached = self._columns[name] if self._rows is None else self._columns[name][self._rows]
            self._cache[name] = cached
        return cached


def _one_of(array: NDArray[Any], values: tuple[int, ...]) -> Mask:
    """Membership by comparing: for a handful of values faster than isin."""
    mask: Mask = array == values[0]
    for value in values[1:]:
        mask |= array == value
    return mask


def live_timeout(timeout_s: NDArray[Any], read_s: NDArray[Any], now: float) -> NDArray[np.int64]:
    """Seconds left: what was read, counted down by the whole seconds since, never below 0."""
    since = (now - read_s).astype(np.int64)  # cuts towards 0, as int() does
    left: NDArray[np.int64] = np.maximum(timeout_s.astype(np.int64) - since, 0)
    return left


def _age(view: View) -> NDArray[Any]:
    """Whole seconds since the flow began, or where the kernel does not say, since it was first seen."""
    start = view["start_ns"]
    seen = np.maximum(view.now - view["born_s"], 0.0)
    if start.any():
        told = (int(view.wall_s * 1e9) - start.astype(np.int64)) / 1e9
        seen = np.where(start != 0, told, seen)
    return np.maximum(seen.astype(np.int64), 0)


def _both(what: str) -> Callable[[View], NDArray[Any]]:
    def add(view: View) -> NDArray[Any]:
        a, b = view[f"orig_{what}"], view[f"reply_{what}"]
        known = (a != NO_COUNTER) & (b != NO_COUNTER)
        return a + b if known.all() else np.where(known, a + b, NO_COUNTER)

    return add


_DERIVED: dict[str, Callable[[View], NDArray[Any]]] = {
    "ports": lambda view: _one_of(view["proto"], ast.PORT_PROTOCOLS),
    "icmp": lambda view: _one_of(view["proto"], ast.ICMP_PROTOCOLS),
    "gre": lambda view: view["proto"] == IPPROTO_GRE,
    "timeout": lambda view: live_timeout(view["timeout_s"], view["read_s"], view.now),
    "age": _age,
    "bytes": _both("bytes"),
    "packets": _both("packets"),
}


def numbers(key: str, view: View) -> Values:
    """The values of a number key (model.filter_ast.NUMBER_KEYS)."""
    if key in ast.PORT_KEYS:
        return [(view[name], view["ports"]) for name in ast.PORT_KEYS[key]]
    match key:
        case "type":
            return [(view["orig_dport"] >> np.uint16(8), view["icmp"])]
        case "code":
            return [(view["orig_dport"] & np.uint16(0xFF), view["icmp"])]
        case "icmp-id":
            return [(view["orig_sport"], view["icmp"])]
        case "id":
            return [
                (view["id"], None),
                (view["orig_sport"], view["icmp"]),
                (view["reply_sport"], view["icmp"]),
            ]
        case "srckey":
            return [(view["orig_sport"], view["gre"])]
        case "dstkey":
            return [(view["orig_dport"], view["gre"])]
        case "timeout":
            return [(view["timeout"], (view["status"] & np.uint32(ast.FLAGS["offload"])) == 0)]
        case "rate":
            rate = view["rate_bps"].astype(np.float64)
            return [(rate, ~np.isnan(rate))]
        case "bytes" | "packets" | "orig-bytes" | "orig-packets" | "reply-bytes" | "reply-packets":
            counter = view[key.replace("-", "_")]
            return [(counter, counter != NO_COUNTER)]
    return [(view[key], None)]


def mask_of(node: ast.Node, view: View) -> Mask:
    """Which rows of the view satisfy the filter."""
    mask: Mask
    match node:
        case ast.And(terms):
            mask = mask_of(terms[0], view)
            for term in terms[1:]:
                mask = mask & mask_of(term, view)
        case ast.Or(terms):
            mask = _any([mask_of(term, view) for term in terms])
        case ast.Not(term):
            mask = ~mask_of(term, view)
        case ast.Address(key, spans):
            mask = _any([_span(view, name, span) for name in ast.ADDRESS_KEYS[key] for span in spans])
        case ast.Number(key, ranges):
            mask = _any(
                [_known(_within(a, low, high), k) for a, k in numbers(key, view) for low, high in ranges]
            )
        case ast.Than(key, op, value):
            mask = _any([_known(_COMPARE[op](a, value), k) for a, k in numbers(key, view)])
        case ast.Masked(value, mask_bits):
            mask = (view["mark"] & np.uint32(mask_bits)) == np.uint32(value)
        case ast.Status(bits):
            mask = (view["status"] & np.uint32(bits)) != 0
        case ast.State(names):
            mask = _any([_state(view, name) for name in names])
        case ast.Text(key, values):
            held = view.interned.helpers if key == "helper" else _decoded(view.interned)
            wanted = [i for i, text in enumerate(held) if text and text in values]
            mask = np.isin(view[key], wanted)
        case ast.Label(label_bits):
            mask = _labelled(view, sum(1 << bit for bit in set(label_bits)))
        case ast.Known(key):
            mask = _is_known(view, key)
    return mask


_COMPARE: dict[str, Any] = {"<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal}


def _any(masks: list[Mask]) -> Mask:
    total = masks[0]
    for mask in masks[1:]:
        total = total | mask
    return total


def _known(mask: Mask, known: Mask | None) -> Mask:
    return mask if known is None else mask & known


def _within(array: NDArray[Any], low: int | float, high: int | float) -> Mask:
    mask: Mask = array == low if low == high else (array >= low) & (array <= high)
    return mask


def _span(view: View, name: str, span: ast.Span) -> Mask:
    """Addresses in a span. IPv6: word by word from the most significant, as far as the ends differ."""
    mask: Mask = view["family"] == span.family
    if span.family == AF_INET:
        return mask & _within(view[f"{name}0"], span.low, span.high)
    low = [span.low >> shift & 0xFFFFFFFF for shift in (96, 64, 32, 0)]
    high = [span.high >> shift & 0xFFFFFFFF for shift in (96, 64, 32, 0)]
    same = 0
    while same < 4 and low[same] == high[same]:
        mask &= view[f"{name}{same}"] == low[same]
        same += 1
    if same == 4 or (not any(low[same:]) and all(word == 0xFFFFFFFF for word in high[same:])):
        return mask
    above: Mask = view[f"{name}3"] >= low[3]
    below: Mask = view[f"{name}3"] <= high[3]
    for word in range(2, same - 1, -1):
        array = view[f"{name}{word}"]
        above = (array > low[word]) | ((array == low[word]) & above)
        below = (array < high[word]) | ((array == high[word]) & below)
    return mask & above & below


def _state(view: View, name: str) -> Mask:
    """Rows whose state has this name: one number means different states under different protocols."""
    proto, state = view["proto"], view["state"]
    masks: list[Mask] = []
    for known, names in ((IPPROTO_TCP, TCP_STATES), (IPPROTO_SCTP, SCTP_STATES)):
        if name in names:
            masks.append((state == names.index(name)) & (proto == known))
    number = int(name[6:]) if name.startswith("state-") else NO_STATE
    if number < NO_STATE:  # a state this program has no name for
        nameless: Mask = state == number
        for known, names in ((IPPROTO_TCP, TCP_STATES), (IPPROTO_SCTP, SCTP_STATES)):
            if number < len(names):
                nameless = nameless & (proto != known)
        masks.append(nameless)
    return _any(masks) if masks else np.zeros(view.size, np.bool_)


def _decoded(interned: Interned) -> list[str]:
    return [blob.decode("utf-8", "replace") for blob in interned.blobs]


def _labelled(view: View, wanted: int) -> Mask:
    """Rows whose label bitmap has one of the wanted bits; each distinct bitmap is looked at once."""
    index, blobs = view["labels"], view.interned.blobs
    if not index.any():
        return np.zeros(view.size, np.bool_)
    used = np.unique(index).tolist()
    # Rows that are no flow any more may point beyond the blobs still kept.
    chosen = [i for i in used if i < len(blobs) and int.from_bytes(blobs[i], "little") & wanted]
    mask: Mask = np.isin(index, chosen)
    return mask


def _is_known(view: View, key: str) -> Mask:
    mask: Mask
    if key == "state":
        mask = view["state"] != NO_STATE
    elif key in ("helper", "secctx"):
        mask = view[key] != 0
    elif key == "label":
        mask = _labelled(view, (1 << 1024) - 1)
    else:
        everyone = np.ones(view.size, np.bool_)
        mask = _any([everyone if known is None else known for _, known in numbers(key, view)])
    return mask


# -------------------------------------------------------------------- rows


def select(
    node: ast.Node | None,
    columns: Columns,
    rows: Rows,
    now: float,
    interned: Interned,
    wall_s: float | None = None,
) -> Rows:
    """Those of `rows` that match, in their order. `now`, `wall_s` as in View."""
    if node is None or not len(rows):
        return rows
    if isinstance(node, ast.And):
        cheap = [term for term in node.terms if not _is_dear(term)]
        if 0 < len(cheap) < len(node.terms):
            # What must be computed first is asked last, of the rows that are left.
            rows = select(ast.all_of(cheap), columns, rows, now, interned, wall_s)
            node = ast.all_of(filter(_is_dear, node.terms))
    size = len(columns["id"])
    if len(rows) * 3 < size:
        return _taken(rows, mask_of(node, View(columns, now, interned, wall_s, rows)))
    mask = mask_of(node, View(columns, now, interned, wall_s))
    if len(rows) == size and rows[0] == 0 and rows[-1] == size - 1 and bool((rows[1:] > rows[:-1]).all()):
        return np.flatnonzero(mask)
    return _taken(rows, mask[rows])


def _is_dear(node: ast.Node) -> bool:
    """Whether a condition needs more than comparing columns."""
    match node:
        case ast.And(terms) | ast.Or(terms):
            return any(map(_is_dear, terms))
        case ast.Not(term):
            return _is_dear(term)
        case ast.Number(key, _) | ast.Than(key, _, _):
            return key in ("timeout", "age", "rate", "bytes", "packets")
    return isinstance(node, ast.Label)


def _taken(rows: Rows, mask: Mask) -> Rows:
    """`rows[mask]`, which numpy does several times slower than looking the positions up first."""
    return rows[np.flatnonzero(mask)]
