"""A window of the sorted flows without sorting them all.

Partition at both ends of the window, then sort only what lies between: any scroll position costs a few
milliseconds at 262,144 rows. The order equals `sorted(rows, key=…, reverse=descending)`: ties stay in the order
of the rows, whichever the direction, and unknown values (no counters, rate not known yet) come last in both.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cttui.flows.columns import NO_COUNTER, NO_STATE, Columns, Interned
from cttui.flows.select import View
from cttui.model.flow import (
    AF_INET,
    HW_OFFLOAD,
    IPPROTO_SCTP,
    IPPROTO_TCP,
    OFFLOAD,
    PROTOCOLS,
    SCTP_STATES,
    TCP_STATES,
    state_name,
)

Rows = NDArray[np.int64]
Unsigned = NDArray[Any]


@dataclass(frozen=True, slots=True)
class SortValues:
    """What to sort by: unsigned arrays, the most significant first, and which rows have no value."""

    words: tuple[Unsigned, ...]
    unknown: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.words[0])


# -------------------------------------------------------------------- sort keys

_ADDRESSES = {"src": "orig_src", "dst": "orig_dst", "rsrc": "reply_src", "rdst": "reply_dst"}
_PORTS = {"sport": "orig_sport", "dport": "orig_dport", "rsport": "reply_sport", "rdport": "reply_dport"}


def sort_values(
    columns: Columns,
    rows: Rows,
    key: str,
    now: float,
    interned: Interned | None = None,
    wall_s: float | None = None,
) -> SortValues:
    """Values of `rows` for a sort key of model.filters.SORT_KEYS. Raises KeyError for another one.

    Ascending `newest` is the oldest first. Protocols, states and helpers sort by name (helpers in the order they
    were met without `interned`).
    """
    view = View(columns, now, interned or Interned(), wall_s, rows)
    if key in _ADDRESSES:
        return address_values(view, _ADDRESSES[key])
    if key in _PORTS:
        return SortValues((view[_PORTS[key]],), ~view["ports"])
    match key:
        case "newest":
            return SortValues((view["order"],))
        case "proto":
            return SortValues((_PROTOCOL_RANK[view["proto"]],))
        case "state":
            rank = _STATE_RANK.ravel()[view["proto"].astype(np.uint16) << np.uint16(8) | view["state"]]
            return SortValues((rank,), view["state"] == NO_STATE)
        case "timeout":
            offloaded = (view["status"] & np.uint32(OFFLOAD | HW_OFFLOAD)) != 0
            return SortValues((view["timeout"].astype(np.uint32),), offloaded)
        case "age":
            return SortValues((view["age"].astype(np.uint64),))
        case "rate":
            rate = view["rate_bps"]
            unknown = np.isnan(rate)
            # The bits of a float that is not negative sort like the float itself.
            return SortValues((np.where(unknown, np.float32(0), np.abs(rate)).view(np.uint32),), unknown)
        case "bytes" | "packets" | "orig-bytes" | "orig-packets" | "reply-bytes" | "reply-packets":
            counter = view[key.replace("-", "_")]
            return SortValues((counter,), counter == NO_COUNTER)
        case "flags":
            return SortValues((view["status"],))
        case "helper":
            names = view.interned.helpers
            rank = np.argsort(np.argsort(names, kind="stable"), kind="stable").astype(np.uint32)
            return SortValues((rank[view["helper"]] if interned else view["helper"],), view["helper"] == 0)
        case "mark" | "zone" | "family" | "use" | "id":
            return SortValues((view[key],))
    raise KeyError(key)


def address_values(view: View, name: str) -> SortValues:
    """Addresses in numeric order, IPv4 before IPv6; one word where all are IPv4."""
    family = view["family"]
    if not len(family) or bool((family == AF_INET).all()):
        return SortValues((view[f"{name}0"],))
    high = view[f"{name}0"].astype(np.uint64) << np.uint64(32) | view[f"{name}1"]
    low = view[f"{name}2"].astype(np.uint64) << np.uint64(32) | view[f"{name}3"]
    if bool((family != AF_INET).all()):
        return SortValues((high, low))
    return SortValues((family, high, low))


def _protocol_rank() -> NDArray[np.uint16]:
    """Position of each protocol by name; those without a name after them, by number."""
    order = sorted(range(256), key=lambda p: (p not in PROTOCOLS, PROTOCOLS.get(p, ""), p))
    rank = np.empty(256, np.uint16)
    rank[order] = np.arange(256)
    return rank


def _state_rank() -> NDArray[np.uint16]:
    """[protocol, state] → position of the state's name; equal names are equal whatever the protocol."""
    names = sorted({*TCP_STATES, *SCTP_STATES, *(f"state-{n}" for n in range(256))})
    position = {name: n for n, name in enumerate(names)}
    rank = np.zeros((256, 256), np.uint16)
    for proto in (IPPROTO_TCP, IPPROTO_SCTP):
        rank[proto] = [position[state_name(proto, state)] for state in range(256)]
    return rank


_PROTOCOL_RANK = _protocol_rank()
_STATE_RANK = _state_rank()


# -------------------------------------------------------------------- windows


def window(values: SortValues | Unsigned, first: int, n: int, descending: bool = False) -> Rows:
    """Positions (not rows) that a stable sort would put at [first, first + n); fewer at the end."""
    values = values if isinstance(values, SortValues) else SortValues((values,))
    size = len(values)
    first = max(0, first)
    n = min(n, size - first)
    if n <= 0:
        return np.zeros(0, np.int64)
    if values.unknown is None or not bool(values.unknown.any()):
        return _window(_directed(values.words, descending), None, first, n)
    known = np.flatnonzero(~values.unknown)
    parts = []
    if first < len(known):
        words = tuple(word[known] for word in values.words)
        parts.append(known[_window(_directed(words, descending), None, first, min(n, len(known) - first))])
    if first + n > len(known):
        after = max(0, first - len(known))
        parts.append(np.flatnonzero(values.unknown)[after : first + n - len(known)])
    return np.concatenate(parts)


def _directed(words: tuple[Unsigned, ...], descending: bool) -> tuple[Unsigned, ...]:
    """Words whose ascending order is the one asked for; ties stay ties, so it stays stable."""
    return tuple(~word for word in words) if descending else words


def _window(words: tuple[Unsigned, ...], among: Rows | None, first: int, n: int) -> Rows:
    """Positions at [first, first + n) of the ascending stable order of those in `among` (None: all).

    The first word splits them: those equal to the word at the window's start, those equal to the one at its end, and
    what lies strictly between, which is all inside the window. Only the two groups of ties look at the next word.
    """
    if n <= 0:
        return np.zeros(0, np.int64)
    if not words:
        return np.arange(first, first + n) if among is None else among[first : first + n]
    word = words[0] if among is None else words[0][among]
    last = first + n - 1
    parted = np.partition(word, first)  # one place at a time: numpy does that with vector instructions
    low = parted[first]
    parted.partition(last)
    high = parted[last]
    below = int(np.count_nonzero(word < low))
    ties_low = _positions(word == low, among)
    if low == high:
        return _window(words[1:], ties_low, first - below, n)
    skip = first - below
    head = _window(words[1:], ties_low, skip, len(ties_low) - skip)
    middle = _positions((word > low) & (word < high), among)
    if len(middle):
        middle = middle[np.lexsort([w[middle] for w in reversed(words)])]
    ties_high = _positions(word == high, among)
    tail = _window(words[1:], ties_high, 0, n - len(head) - len(middle))
    return np.concatenate((head, middle, tail))


def _positions(mask: NDArray[np.bool_], among: Rows | None) -> Rows:
    at = np.flatnonzero(mask)
    return at if among is None else among[at]


def position_of(values: SortValues | Unsigned, i: int, descending: bool = False) -> int:
    """Where the element at position `i` stands in that order."""
    values = values if isinstance(values, SortValues) else SortValues((values,))
    known = None if values.unknown is None else ~values.unknown
    if known is not None and not known[i]:
        return int(np.count_nonzero(known)) + int(np.count_nonzero(~known[:i]))
    less = np.zeros(len(values), np.bool_)
    equal = np.ones(len(values), np.bool_) if known is None else known.copy()
    for word in values.words:
        less |= equal & ((word > word[i]) if descending else (word < word[i]))
        equal &= word == word[i]
    return int(np.count_nonzero(less)) + int(np.count_nonzero(equal[:i]))
