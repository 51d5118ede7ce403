"""Messages of many layouts read together: one gather a column, however many layouts are mixed.

A busy table holds dozens of layouts (protocols, families, zones, helpers, NAT) in hash order, so that
reading each for itself spends its time on starting numpy. Here the layout of each message is guessed from
a signature of its first headers, all its headers are compared with that layout's, and then offset tables
say where in each message a column stands.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cttui.flows.columns import DEFAULTS, SCHEMA, Columns, Interned
from cttui.kernel.ctlayout import FIRST, Layout, intern_column

Words = NDArray[np.uint32]
Numbers = NDArray[np.int64]

MOST = 256
"""Layouts held; then it starts anew."""
_SLOT_BITS = 16
_PRIMES = [np.uint64(p) for p in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x27D4EB2F165667C5,
                                  0xD6E8FEB86659FD93, 0xA0761D6478BD642F)]  # fmt: skip
_STEPS = {"u1": 1, ">u2": 2, ">u4": 4, ">u8": 4}


def _signatures(words: Words, starts: Numbers, lengths: Numbers) -> NDArray[np.uint64]:
    """A hash of length, family and the first four attribute headers: nearly always one layout's."""
    last = len(words) - 1
    total = lengths.astype(np.uint64) * _PRIMES[0]
    total += words[np.minimum(starts + 4, last)] * _PRIMES[1]
    at = starts + (FIRST >> 2)
    for prime in _PRIMES[2:]:
        heads = words[np.minimum(at, last)]
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
        self._at: dict[str, tuple[str, Numbers]] = {}
        self._pairs: dict[str, tuple[Numbers, Numbers]] = {}
        for number, layout in enumerate(layouts):
            at = np.flatnonzero(layout.mask)
            self._head_at[number, : len(at)] = at
            self._heads[number, : len(at)] = layout.heads[at]
            for name, (offset, kind) in layout.numbers.items():
                table = self._at.setdefault(name, (kind, np.full(n, -1, np.int64)))[1]
                table[number] = offset // _STEPS[kind]
            for name, (high, low) in layout.pairs.items():
                highs, lows = self._pairs.setdefault(
                    name, (np.full(n, -1, np.int64), np.full(n, -1, np.int64))
                )
                highs[number], lows[number] = high, low
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
    ) -> tuple[Columns, dict[str, NDArray[np.bool_]]]:
        """(columns of messages of these layouts, where a column that only some of them carry is carried)."""
        views: dict[str, NDArray[Any]] = {
            "u1": words.view(np.uint8), ">u2": words.view(np.uint16), ">u4": words,
            # every place where an u64 can start: attributes are aligned to four bytes only
            ">u8": np.ndarray((max(len(words) - 1, 0),), ">u8", words, strides=(4,)),
        }  # fmt: skip
        bases = {"u1": starts * 4, ">u2": starts * 2, ">u4": starts, ">u8": starts}
        active = np.flatnonzero(np.bincount(which, minlength=len(self._layouts)))
        columns: Columns = {}
        partial: dict[str, NDArray[np.bool_]] = {}
        for name, (kind, table) in self._at.items():
            offsets = table[active]
            lowest = int(offsets.min())
            if lowest < 0 and int(offsets.max()) < 0:
                continue
            at = table[which]
            if lowest < 0:
                carried = at >= 0
                partial[name] = carried
                at[~carried] = 0
            at += bases[kind]
            values = views[kind].take(at)
            if kind in (">u2", ">u4") and _LITTLE:
                values.byteswap(inplace=True)
            columns[name] = np.where(carried, values, DEFAULTS.get(name, 0)) if lowest < 0 else values
        for name, (highs, lows) in self._pairs.items():
            carried = highs[which] >= 0
            if not carried.any():
                continue
            octets, rows, of = views["u1"], starts[carried] * 4, which[carried]
            high, low = octets[rows + highs[of]].astype(np.uint16), octets[rows + lows[of]]
            _put(columns, partial, name, carried, high << np.uint16(8) | low)
        for number in active.tolist():
            for name, (at_, length) in self._layouts[number].blobs.items():
                carried = which == number
                places = (starts[carried] * 4 + at_)[:, None] + np.arange(length)
                _put(columns, partial, name, carried, intern_column(interned, name, views["u1"][places]))
        if self._zone_dirs[active].any():
            columns["zone_dir"] = self._zone_dirs[which]
        return columns, partial


_LITTLE = np.little_endian


def _put(
    columns: Columns,
    partial: dict[str, NDArray[np.bool_]],
    name: str,
    carried: NDArray[np.bool_],
    values: NDArray[Any],
) -> None:
    """Set some rows of a column that other rows may have from elsewhere, or not at all."""
    if name not in columns:
        columns[name] = np.full(len(carried), DEFAULTS.get(name, 0), SCHEMA[name])
        partial[name] = carried
    elif name in partial:
        partial[name] = partial[name] | carried
    columns[name][carried] = values
    if name in partial and partial[name].all():
        del partial[name]
