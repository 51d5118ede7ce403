"""Messages of many layouts read together: one gather a column, however many layouts are mixed.

A busy table holds dozens of layouts (protocols, families, zones, helpers, NAT) in hash order, so that
reading each for itself spends its time on starting numpy. Here the layout of each message is guessed from
a signature of its first headers, all its headers are compared with that layout's, and then offset tables
say where in each message a column stands.
"""

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cttui.flows.batch import Masks
from cttui.flows.columns import DEFAULTS, SCHEMA, Columns, Interned
from cttui.kernel.ctlayout import FIRST, Layout, intern_column

Words = NDArray[np.uint32]
Numbers = NDArray[np.int64]

MOST = 256
"""Layouts held; then it starts anew."""
_SLOT_BITS = 16
_PRIMES = [np.uint64(p) for p in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x27D4EB2F165667C5,
                                  0xD6E8FEB86659FD93, 0xA0761D6478BD642F)]  # fmt: skip
_PAIR = "pair"
_TWO = (">u8", _PAIR)


def _signatures(words: Words, starts: Numbers, lengths: Numbers) -> NDArray[np.uint64]:
    """A hash of length, family and the first four attribute headers: nearly always one layout's."""
    total = lengths.astype(np.uint64) * _PRIMES[0]
    total += words.take(starts + 4, mode="clip") * _PRIMES[1]
    at = starts + (FIRST >> 2)
    for prime in _PRIMES[2:]:
        heads = words.take(at, mode="clip")  # a short message's may lie behind the end
        total += heads * prime
        at = at + ((heads & np.uint32(0xFFFF)) + np.uint32(3) >> np.uint32(2))
    return total


class Wide:
    """The layouts seen, as tables."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget all layouts."""
        self._layouts: list[Layout] = []
        self._signature = np.zeros(1 << _SLOT_BITS, np.uint64)
        self._number = np.full(1 << _SLOT_BITS, -1, np.int16)
        self._stale = True

    @property
    def full(self) -> bool:
        """Whether there is no room for another layout."""
        return len(self._layouts) >= MOST

    def add(self, layout: Layout, data: bytes) -> None:
        """Know a layout by one of its messages."""
        words = np.frombuffer(data, np.uint32)
        signature = _signatures(words, np.zeros(1, np.int64), np.array([len(data)]))
        slot = int(signature[0] >> np.uint64(64 - _SLOT_BITS))
        self._signature[slot] = signature[0]
        self._number[slot] = len(self._layouts)
        self._layouts.append(layout)
        self._stale = True

    def _build(self) -> None:
        """The tables, one row a layout."""
        layouts = self._layouts
        n = len(layouts)
        self._lengths = np.array([layout.record.itemsize for layout in layouts], np.int64)
        most = max(int(np.count_nonzero(layout.mask)) for layout in layouts)
        # Rows are padded with the message's own length, at word 0.
        self._head_at = np.zeros((n, most), np.int64)
        self._heads = np.repeat(self._lengths[:, None].astype(np.uint32), most, axis=1)
        for number, layout in enumerate(layouts):
            at = np.flatnonzero(layout.mask)
            self._head_at[number, : len(at)] = at
            self._heads[number, : len(at)] = layout.heads[at]
        # A column is one word of the message, two for counters and for the type and code of ICMP.
        self._names: list[tuple[str, str]] = sorted({
            *((name, kind) for layout in layouts for name, (_, kind) in layout.numbers.items()),
            *((name, _PAIR) for layout in layouts for name in layout.pairs),
        })  # fmt: skip
        self._has = np.zeros((n, len(self._names)), np.bool_)
        self._at = np.zeros((n, 2 * len(self._names)), np.int64)
        for column, (name, kind) in enumerate(self._names):
            for number, layout in enumerate(layouts):
                first = second = -1
                if kind == _PAIR:
                    first, second = layout.pairs.get(name, (-1, -1))
                elif layout.numbers.get(name, (0, ""))[1] == kind:
                    first = layout.numbers[name][0]
                    second = first + 4 if kind == ">u8" else -1
                self._has[number, column] = first >= 0
                self._at[number, 2 * column : 2 * column + 2] = max(first, 0) >> 2, max(second, 0) >> 2
        self._zone_dirs = np.array([layout.zone_dir for layout in layouts], np.uint8)
        self._stale = False

    def recognise(self, words: Words, starts: Numbers, lengths: Numbers) -> Numbers:
        """The number of each message's layout, -1 where it is none of those known."""
        if not self._layouts:
            return np.full(len(starts), -1, np.int64)
        if self._stale:
            self._build()
        signatures = _signatures(words, starts, lengths)
        slots = (signatures >> np.uint64(64 - _SLOT_BITS)).view(np.int64)
        numbers = self._number[slots].astype(np.int64)
        fits = (self._signature[slots] == signatures) & (self._lengths[numbers] == lengths) & (numbers >= 0)
        if not fits.all():
            numbers[~fits] = -1
            starts, which = starts[fits], numbers[fits]
        else:
            which = numbers
        at = self._head_at[which]
        at += starts[:, None]
        differing = words.take(at) != self._heads[which]
        if differing.any():
            which[differing.any(axis=1)] = -1
            numbers[fits] = which
        return numbers

    def columns(
        self, words: Words, starts: Numbers, which: Numbers, interned: Interned
    ) -> tuple[Columns, Masks]:
        """(columns of messages of these layouts, where a column that only some of them carry is carried)."""
        active = np.flatnonzero(np.bincount(which, minlength=len(self._layouts)))
        has: NDArray[np.bool_] = self._has[active]
        used = np.flatnonzero(np.logical_or.reduce(has, axis=0)).tolist()
        always = np.logical_and.reduce(has, axis=0)
        places: list[int] = []
        for n in used:
            places += [2 * n, 2 * n + 1] if self._names[n][1] in _TWO else [2 * n]
        at = self._at[:, places][which]
        at += starts[:, None]
        read = words.take(at)
        if sys.byteorder == "little":
            read.byteswap(inplace=True)
        columns: Columns = {}
        partial: Masks = {}
        place = 0
        for n in used:
            name, kind = self._names[n]
            values = _value(kind, read[:, place], read[:, place + 1] if kind in _TWO else None)
            place += 2 if kind in _TWO else 1
            if always[n]:
                columns[name] = values
                continue
            carried = self._has[:, n][which]
            if name in columns or DEFAULTS.get(name):
                _put(columns, partial, name, carried, values)
            else:
                columns[name] = values * carried  # what is not there is 0: quicker than choosing
                partial[name] = carried
        octets = words.view(np.uint8)
        for number in active.tolist():
            for name, (at_, length) in self._layouts[number].blobs.items():
                carried = which == number
                bytes_at = (starts[carried] * 4 + at_)[:, None] + np.arange(length)
                values = np.zeros(len(which), SCHEMA[name])
                values[carried] = intern_column(interned, name, octets[bytes_at])
                _put(columns, partial, name, carried, values)
        if self._zone_dirs[active].any():
            columns["zone_dir"] = self._zone_dirs[which]
        return columns, partial


def _value(kind: str, first: Words, second: Words | None) -> NDArray[Any]:
    """The value in the words it stands in: attributes begin at a word, and their first byte is the highest."""
    if kind == "u1":
        return (first >> np.uint32(24)).astype(np.uint8)
    if kind == ">u2":
        return (first >> np.uint32(16)).astype(np.uint16)
    if second is None:
        return first
    if kind == _PAIR:
        return (first >> np.uint32(24) << np.uint32(8) | second >> np.uint32(24)).astype(np.uint16)
    return first.astype(np.uint64) << np.uint64(32) | second


def _put(
    columns: Columns, partial: Masks, name: str, carried: NDArray[np.bool_], values: NDArray[Any]
) -> None:
    """Set some rows of a column that other rows may have from elsewhere, or not at all."""
    if name not in columns:
        columns[name] = np.where(carried, values, DEFAULTS.get(name, 0))
        partial[name] = carried
    else:
        columns[name] = np.where(carried, values, columns[name])
        if name in partial:
            partial[name] = partial[name] | carried
    if name in partial and partial[name].all():
        del partial[name]
