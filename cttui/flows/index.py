"""Key → row, for thousands of keys at a time: an open-addressing hash table in numpy.

A dict costs 0.27 µs a lookup and 0.35 µs an insertion at 262,144 flows, mostly cache misses, one after the
other; here the misses of a batch overlap (0.04 µs). The keys themselves stay in the store's column.
"""

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint64]
Rows = NDArray[np.int64]

_EMPTY, _ERASED, _FIRST = 0, 1, 2
"""A slot holds row + _FIRST. Zero is empty, so that a table never used touches no memory."""


class KeyIndex:
    """Linear probing from the key's high bits, which are a hash; at most a quarter of the slots are used."""

    def __init__(self, bits: int) -> None:
        """`bits`: of the smallest table's size."""
        self._smallest = max(bits, 4)
        self._clear(self._smallest)
        self._slot_of = np.zeros(1 << 12, np.int64)
        self._count = 0

    def _clear(self, bits: int) -> None:
        self._shift = np.uint64(64 - bits)
        self._mask = (1 << bits) - 1
        self._slots = np.zeros(1 << bits, np.int32)
        self._erased = 0

    def __len__(self) -> int:
        return self._count

    def _start(self, keys: Keys) -> NDArray[np.int64]:
        return (keys >> self._shift).view(np.int64)

    def find(self, keys: Keys, column: Keys) -> Rows:
        """The row of each key, -1 where there is none. `column`: the keys by row."""
        slots = self._start(keys)
        rows = self._slots[slots].astype(np.int64)
        rows -= _FIRST
        hit = column[rows] == keys  # rows below 0 read the end of the column: sorted out below
        hit &= rows >= 0
        if hit.all():
            return rows
        open_ = np.flatnonzero(~hit)
        open_ = open_[rows[open_] != _EMPTY - _FIRST]
        rows[~hit] = -1
        while len(open_):
            slots[open_] = (slots[open_] + 1) & self._mask
            found = self._slots[slots[open_]].astype(np.int64) - _FIRST
            hit = (column[found] == keys[open_]) & (found >= 0)
            rows[open_[hit]] = found[hit]
            open_ = open_[~hit & (found != _EMPTY - _FIRST)]
        return rows

    def reserve(self, count: int, column: Keys) -> None:
        """Make room for `count` keys in all, now rather than in the middle of their coming."""
        if 4 * (count + self._erased) > len(self._slots):
            self._rebuild(max(0, count - self._count), column)
        if count > len(self._slot_of):
            self._slot_of = _longer(self._slot_of, count)

    def add(self, keys: Keys, rows: Rows, column: Keys) -> None:
        """Add keys that are not here, each once. `column`: the keys by row, of all rows already here."""
        n = len(keys)
        if 4 * (self._count + self._erased + n) > len(self._slots):
            self._rebuild(n, column)
        if n:
            highest = int(rows.max())
            if highest >= len(self._slot_of):
                self._slot_of = _longer(self._slot_of, max(highest + 1, 2 * len(self._slot_of)))
            self._put(keys, rows)
            self._count += n

    def _put(self, keys: Keys, rows: Rows) -> None:
        slots = self._start(keys)
        marks = (rows + _FIRST).astype(np.int32)
        while True:
            there = self._slots[slots]
            free = there < _FIRST
            self._slots[slots[free]] = marks[free]
            won = self._slots[slots] == marks  # of two that want one slot the later has it
            self._erased -= int(np.count_nonzero(won & (there == _ERASED)))
            self._slot_of[rows[won]] = slots[won]
            if won.all():
                return
            lost = ~won
            slots, marks, rows = (slots[lost] + 1) & self._mask, marks[lost], rows[lost]

    def remove(self, rows: Rows) -> None:
        """Forget the keys of rows that are here."""
        self._slots[self._slot_of[rows]] = _ERASED
        self._erased += len(rows)
        self._count -= len(rows)

    def _rebuild(self, more: int, column: Keys) -> None:
        """A table of the right size without erased slots: about 15 ms at 262,144 flows."""
        rows = self._slots[self._slots >= _FIRST].astype(np.int64) - _FIRST
        bits = max(self._smallest, (6 * (self._count + more)).bit_length())
        self._clear(bits)
        self._put(column[rows], rows)


def _longer(array: Rows, n: int) -> Rows:
    longer = np.zeros(n, np.int64)
    longer[: len(array)] = array
    return longer
