"""Flows grouped by one or more keys, with what each group holds.

Grouping is one sort of 64-bit words that carry the key above and the row's position below, which is several
times faster than an argsort or a dictionary. Keys that don't fit are hashed into the space above the position,
and checked: where two keys had one hash, an exact sort of the whole keys takes over.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cttui.flows.columns import NO_COUNTER, NO_STATE, Columns, Interned
from cttui.flows.select import View
from cttui.flows.window import SortValues, window
from cttui.model import words as flow_words
from cttui.model.filter_ast import Span, State, Text
from cttui.model.filters import span_text, unparse
from cttui.model.flow import AF_INET, AF_INET6, ASSURED, DST_NAT, PROTOCOLS, SEEN_REPLY, SRC_NAT, state_name
from cttui.model.messages import GroupPage, GroupRow
from cttui.model.safe import clean

Rows = NDArray[np.int64]
Parts = list[tuple[NDArray[Any], int]]
"""Unsigned arrays and the bits each takes, the most significant first: together the key of a row."""


@dataclass(frozen=True, slots=True)
class GroupKey:
    """How to group by one key: its parts for all rows, and for one row what to show and what selects it."""

    parts: Callable[[View], Parts]
    words: Callable[[View, int], tuple[str, str]]
    """(text, filter) of the row at a position."""


# -------------------------------------------------------------------- keys


def _address(name: str, key: str) -> GroupKey:
    return GroupKey(
        lambda view: _address_parts(view, name, 128),
        lambda view, at: _network_words(view, name, key, at, 32, 128),
    )


def _network(name: str, key: str) -> GroupKey:
    return GroupKey(
        lambda view: _address_parts(view, name, 64, np.uint32(0xFFFFFF00)),
        lambda view, at: _network_words(view, name, key, at, 24, 64),
    )


def _address_parts(view: View, name: str, v6_bits: int, v4_mask: np.uint32 | None = None) -> Parts:
    family = view["family"]
    first = view[f"{name}0"]
    six = family == AF_INET6
    mixed = bool(six.any())
    if v4_mask is not None:
        first = np.where(six, first, first & v4_mask) if mixed else first & v4_mask
    if not mixed:
        return [(first, 32)]
    return [
        (six.view(np.uint8), 1),
        (first, 32),
        *((view[f"{name}{word}"], 32) for word in range(1, v6_bits // 32)),
    ]


def _network_words(view: View, name: str, key: str, at: int, v4_bits: int, v6_bits: int) -> tuple[str, str]:
    family = int(view["family"][at])
    size, length = (32, v4_bits) if family == AF_INET else (128, v6_bits)
    value = 0
    for word in range(size // 32):
        value = value << 32 | int(view[f"{name}{word}"][at])
    host = (1 << (size - length)) - 1
    text = span_text(Span(family, value & ~host, value | host))
    return text, f"{key}={text}"


def _port(name: str, key: str) -> GroupKey:
    def parts(view: View) -> Parts:
        ports = view["ports"]
        if bool(ports.all()):
            return [(view[name], 16)]
        return [(ports.view(np.uint8), 1), (np.where(ports, view[name], np.uint16(0)), 16)]

    def words(view: View, at: int) -> tuple[str, str]:
        if not view["ports"][at]:
            return "–", f"{key}!=*"
        port = int(view[name][at])
        return str(port), f"{key}={port}"

    return GroupKey(parts, words)


def _number(name: str, bits: int) -> GroupKey:
    def words(view: View, at: int) -> tuple[str, str]:
        value = int(view[name][at])
        return str(value), f"{name}={value}"

    return GroupKey(lambda view: [(view[name], bits)], words)


def _protocol_words(view: View, at: int) -> tuple[str, str]:
    proto = int(view["proto"][at])
    name = flow_words.protocol(proto)
    return (name if proto in PROTOCOLS else f"proto {proto}"), f"proto={name}"


def _family_words(view: View, at: int) -> tuple[str, str]:
    name = "ipv4" if view["family"][at] == AF_INET else "ipv6"
    return name, f"family={name}"


def _state_parts(view: View) -> Parts:
    """A number for each name: one name may stand for states of several protocols."""
    proto, state = view["proto"], view["state"]
    both = proto.astype(np.uint16) << np.uint16(8) | state
    used = np.flatnonzero(np.bincount(both, minlength=1))
    code_of: dict[str, int] = {"": 0}
    codes = np.zeros(1 << 16, np.uint16)
    for pair in used.tolist():
        name = _state_text(pair >> 8, pair & 0xFF)
        codes[pair] = code_of.setdefault(name, len(code_of))
    return [(codes[both], 16)]


def _state_text(proto: int, state: int) -> str:
    return state_name(proto, None if state == NO_STATE else state)


def _state_words(view: View, at: int) -> tuple[str, str]:
    name = _state_text(int(view["proto"][at]), int(view["state"][at]))
    return (name, unparse(State((name,)))) if name else ("–", "state!=*")


def _helper_words(view: View, at: int) -> tuple[str, str]:
    name = view.interned.helpers[int(view["helper"][at])]
    return (clean(name), unparse(Text("helper", (name,)))) if name else ("–", "helper!=*")


def _nat_parts(view: View) -> Parts:
    """Which NAT (destination before source where both), then the translated address."""
    status = view["status"]
    dnat = (status & np.uint32(DST_NAT)) != 0
    snat = ((status & np.uint32(SRC_NAT)) != 0) & ~dnat
    parts: Parts = [(dnat.view(np.uint8) * np.uint8(2) + snat.view(np.uint8), 2)]
    to, back = np.flatnonzero(dnat), np.flatnonzero(snat)
    if not len(to) and not len(back):
        return parts
    translated = view["family"] == AF_INET6
    translated &= dnat | snat
    six = bool(translated.any())
    if six:
        parts.append((translated.view(np.uint8), 1))
    for word in range(4 if six else 1):
        address = np.zeros(view.size, np.uint32)
        address[to] = view[f"reply_src{word}"][to]
        address[back] = view[f"reply_dst{word}"][back]
        parts.append((address, 32))
    return parts


def _nat_words(view: View, at: int) -> tuple[str, str]:
    status = int(view["status"][at])
    if status & DST_NAT:
        text, selects = _network_words(view, "reply_src", "reply-src", at, 32, 128)
        return f"DNAT {text}", f"dnat {selects}"
    if status & SRC_NAT:
        text, selects = _network_words(view, "reply_dst", "reply-dst", at, 32, 128)
        return f"SNAT {text}", f"snat not dnat {selects}"
    return "no NAT", "not nat"


_KEYS: dict[str, GroupKey] = {
    "src": _address("orig_src", "src"),
    "dst": _address("orig_dst", "dst"),
    "rsrc": _address("reply_src", "reply-src"),
    "rdst": _address("reply_dst", "reply-dst"),
    "src/24": _network("orig_src", "src"),
    "dst/24": _network("orig_dst", "dst"),
    "sport": _port("orig_sport", "sport"),
    "dport": _port("orig_dport", "dport"),
    "proto": GroupKey(lambda view: [(view["proto"], 8)], _protocol_words),
    "state": GroupKey(_state_parts, _state_words),
    "family": GroupKey(lambda view: [(view["family"], 8)], _family_words),
    "nat": GroupKey(_nat_parts, _nat_words),
    "mark": _number("mark", 32),
    "zone": _number("zone", 16),
    "helper": GroupKey(lambda view: [(view["helper"], 16)], _helper_words),
}
"""The keys of model.filters.GROUP_KEYS."""


# -------------------------------------------------------------------- partition


@dataclass(frozen=True, slots=True)
class Partition:
    """`order` i8[n]: positions, group by group, in their order inside each; `starts` i8[g]: where each group begins."""

    order: Rows
    starts: Rows

    @property
    def counts(self) -> Rows:
        """Members of each group."""
        return np.diff(self.starts, append=len(self.order))


def partition(parts: Parts) -> Partition:
    """Equal keys together. Groups are in key order where the key fits beside a position, else in some order
    that the keys alone decide."""
    n = len(parts[0][0])
    if n == 0:
        return Partition(np.zeros(0, np.int64), np.zeros(0, np.int64))
    position_bits = max(1, (n - 1).bit_length())
    words = _joined(parts)
    fits = sum(bits for _, bits in parts) <= 64 - position_bits
    packed = words[0].copy() if fits else _hashed(words) >> np.uint64(position_bits)
    packed <<= np.uint64(position_bits)
    packed |= np.arange(n, dtype=np.uint64)
    packed.sort()
    order = (packed & np.uint64((1 << position_bits) - 1)).astype(np.int64)
    packed >>= np.uint64(position_bits)
    new = packed[1:] != packed[:-1]
    if not fits and not np.array_equal(new, _changes(words, order)):
        order = np.lexsort(words[::-1])
        new = _changes(words, order)
    return Partition(order, np.concatenate(([0], np.flatnonzero(new) + 1)))


def _joined(parts: Parts) -> list[NDArray[np.uint64]]:
    """As few 64-bit words as hold the parts, in their order."""
    words: list[NDArray[np.uint64]] = []
    room = 0
    for array, bits in parts:
        if bits > room:
            words.append(array.astype(np.uint64))
            room = 64 - bits
        else:
            words[-1] <<= np.uint64(bits)
            words[-1] |= array
            room -= bits
    return words


def _hashed(words: list[NDArray[np.uint64]]) -> NDArray[np.uint64]:
    """64 bits over the words, the upper ones well mixed (multiplication and xor-shift, as in splitmix64)."""
    total = np.zeros(len(words[0]), np.uint64)
    for word in words:
        total ^= word
        total *= np.uint64(0x9E3779B97F4A7C15)
        total ^= total >> np.uint64(29)
    total *= np.uint64(0xBF58476D1CE4E5B9)
    total ^= total >> np.uint64(32)
    total *= np.uint64(0x94D049BB133111EB)
    return total


def _changes(words: list[NDArray[np.uint64]], order: Rows) -> NDArray[np.bool_]:
    """Where, in that order, the next key is another one."""
    new = np.zeros(len(order) - 1, np.bool_)
    for word in words:
        ordered = word[order]
        new |= ordered[1:] != ordered[:-1]
    return new


# -------------------------------------------------------------------- totals


class _Totals:
    """Sums over groups. Reads a column only when a sum over it is asked for."""

    def __init__(self, view: View, parted: Partition) -> None:
        self._view = view
        self._parted = parted
        self._flags: dict[str, NDArray[np.uint32]] = {}
        self._values: dict[str, tuple[NDArray[Any], NDArray[np.bool_] | None]] = {}

    def _sum(self, values: NDArray[Any]) -> NDArray[Any]:
        """Of `values`, a number each position, per group."""
        total: NDArray[Any] = np.add.reduceat(values[self._parted.order], self._parted.starts)
        return total

    def values(self, sort: str) -> SortValues:
        """All groups by one of SORTS except `key`."""
        if sort == "count" or not len(self._parted.starts):
            return SortValues((self._parted.counts.view(np.uint64),))
        if sort in ("unreplied", "assured"):
            return SortValues((self._sum(self._flagged(sort)),))
        values, known = self._known(sort)
        unknown = None if known is None else self._sum(known.astype(np.uint32)) == 0
        total = self._sum(values)
        if sort == "rate":  # not negative, so the bits sort like the number
            return SortValues((total.view(np.uint64),), unknown)
        return SortValues((total,), unknown)

    def of(self, number: int) -> dict[str, Any]:
        """The sums of one group, named as in GroupRow."""
        start = self._parted.starts[number]
        end = (
            self._parted.starts[number + 1]
            if number + 1 < len(self._parted.starts)
            else len(self._parted.order)
        )
        members = self._parted.order[start:end]
        sums: dict[str, Any] = {
            name: int(np.count_nonzero(self._flagged(name)[members])) for name in ("unreplied", "assured")
        }
        for name, kind in (("packets", int), ("bytes", int), ("rate", float)):
            values, known = self._known(name)
            told = known is None or bool(known[members].any())
            sums[name] = kind(values[members].sum()) if told else None
        sums["rate_bps"] = sums.pop("rate")
        return sums

    def _flagged(self, name: str) -> NDArray[np.uint32]:
        """1 where the flow is `assured` or `unreplied`, else 0."""
        if name not in self._flags:
            status = self._view["status"]
            bit = np.uint32(ASSURED if name == "assured" else SEEN_REPLY)
            set_ = (status & bit) // bit
            self._flags[name] = set_ if name == "assured" else np.uint32(1) - set_
        return self._flags[name]

    def _known(self, name: str) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Values of `bytes`, `packets` or `rate`, 0 where there is none, and where there are any (None: all)."""
        if name not in self._values:
            values = self._view["rate_bps"].astype(np.float64) if name == "rate" else self._view[name]
            known = ~np.isnan(values) if name == "rate" else values != NO_COUNTER
            if bool(known.all()):
                self._values[name] = values, None
            else:
                self._values[name] = np.where(known, values, values.dtype.type(0)), known
        return self._values[name]


# -------------------------------------------------------------------- pages

SORTS = ("count", "bytes", "packets", "rate", "unreplied", "assured", "key")


def group(
    columns: Columns,
    rows: Rows,
    by: list[str],
    sort: str = "count",
    descending: bool = True,
    first: int = 0,
    count: int = 20,
    interned: Interned | None = None,
) -> GroupPage:
    """A window of the groups of `rows`. `sort` is one of SORTS; groups without counters come last.

    Bytes, packets and rate are sums over the members that have them, None where no member has. Raises
    KeyError for a key that is not in model.filters.GROUP_KEYS, ValueError for no key or an unknown sort.
    """
    if not by:
        raise ValueError("group by what?")
    if sort not in SORTS:
        raise ValueError(f"groups can't be sorted by {sort!r}")
    keys = [_KEYS[name] for name in by]
    view = View(columns, 0.0, interned or Interned(), 0.0, rows)
    parts = [part for key in keys for part in key.parts(view)]
    parted = partition(parts)
    totals = _Totals(view, parted)
    if sort == "key":
        leaders = parted.order[parted.starts]
        values = SortValues(tuple(array[leaders] for array, _ in parts))
    else:
        values = totals.values(sort)
    total = len(parted.starts)
    counts = parted.counts
    out = []
    for number in window(values, first, count, descending).tolist():
        leader = int(parted.order[parted.starts[number]])
        shown, selects = zip(*(key.words(view, leader) for key in keys), strict=True)
        members = int(counts[number])
        out.append(
            GroupRow(
                key=list(shown),
                filter=" and ".join(selects) if len(keys) > 2 else " ".join(selects),
                count=members,
                share=members / len(rows),
                **totals.of(number),
            )
        )
    return GroupPage(by=by, total=total, flows=len(rows), first=max(0, min(first, total)), rows=out)
