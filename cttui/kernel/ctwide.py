"""Messages of many layouts read together.

A busy table holds dozens of layouts (protocols, families, zones, helpers, NAT) in hash order, and a store that is
given each of them for itself spends its time on starting numpy. Here the layout of each message is guessed from
a hash of its first headers. The messages of a layout are copied out together and compared with it; then what
their columns need goes into one table with a row for each message, in the order of the buffer.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cttui.flows.batch import Masks
from cttui.flows.columns import DEFAULTS, SCHEMA, Columns, Interned
from cttui.kernel.ctlayout import FIRST, Layout, fields_of, gather, walk

Words = NDArray[np.uint32]
Numbers = NDArray[np.int64]
Flags = NDArray[np.bool_]

MOST = 256
"""Layouts held; then it starts anew."""
LAYOUTS_PER_LENGTH = 32
ROUNDS = 48
"""Bounds for a kernel (or a forger) that never repeats a layout: beyond them messages decode one by one."""
_SLOT_BITS = 16
_FACTORS = [np.uint32(f) for f in (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F, 0x165667B1, 0xA0761D65)]

_ZERO = FIRST >> 2
"""A word of a blanked message that is 0: its first header. Word 0 is all ones."""
_ALL_ONES = {name for name, value in DEFAULTS.items() if value == np.iinfo(SCHEMA[name]).max}
_OTHER_DEFAULTS = DEFAULTS.keys() - _ALL_ONES


def _slots(words: Words, starts: Numbers, lengths: Numbers) -> Words:
    """A hash of length, family and the first four attribute headers: nearly always one layout's."""
    total = lengths.astype(np.uint32)
    total *= _FACTORS[0]
    total += words.take(starts + 4, mode="clip") * _FACTORS[1]
    at = starts + (FIRST >> 2)
    for factor in _FACTORS[2:]:
        heads = words.take(at, mode="clip")  # a short message's may lie behind the end
        total += heads * factor
        at += (heads & np.uint32(0xFFFF)) + np.uint32(3) >> np.uint32(2)
    total >>= np.uint32(32 - _SLOT_BITS)
    return total


class Layouts:
    """The layouts seen, by number."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget all layouts."""
        self._layouts: list[Layout] = []
        self._slots = np.full(1 << _SLOT_BITS, -1, np.int16)
        self._of_length: dict[int, list[int]] = {}
        self._table: _Table | None = None

    def __len__(self) -> int:
        return len(self._layouts)

    def latest(self, length: int) -> Layout | None:
        """The layout of this length that was learnt last."""
        numbers = self._of_length.get(length)
        return self._layouts[numbers[-1]] if numbers else None

    def guess(self, words: Words, starts: Numbers, lengths: Numbers) -> Numbers:
        """The number of the layout each message seems to have (its length is right), -1 where it has none."""
        if not self._layouts:
            return np.full(len(starts), -1, np.int64)
        which = self._slots.take(_slots(words, starts, lengths)).astype(np.int64)
        which[self._tabled.lengths.take(which, mode="clip") != lengths] = -1
        return which

    def learn(self, words: Words, starts: Numbers, lengths: Numbers) -> Numbers:
        """The number of the layout each message has, a new one if need be; -1 where it is decoded one by one."""
        which = np.full(len(starts), -1, np.int64)
        for length in np.unique(lengths).tolist():
            if length % 4 == 0:
                here = np.flatnonzero(lengths == length)
                which[here] = self._learn(gather(words, starts[here], length), length)
        return which

    def _learn(self, rows: Words, length: int) -> Numbers:
        """The numbers of messages of one length (u4[n, words])."""
        which = np.full(len(rows), -1, np.int64)
        left = np.arange(len(rows))
        for number in self._of_length.get(length, []):
            match = self._layouts[number].matches(rows[left])
            which[left[match]] = number
            left = left[~match]
        for _ in range(ROUNDS):
            if not len(left) or self.full:
                break
            data = rows[left[0]].tobytes()
            leaves, heads, sound = walk(data)
            fields = fields_of(leaves)
            if not sound or not fields.identifies:
                left = left[1:]
                continue
            layout = Layout(data, heads, fields)
            match = layout.matches(rows[left])
            which[left[match]] = self._add(layout, data)
            left = left[~match]
        return which

    @property
    def full(self) -> bool:
        """Whether there is no room for another layout."""
        return len(self._layouts) >= MOST

    def _add(self, layout: Layout, data: bytes) -> int:
        """Know a layout by one of its messages; its number."""
        words = np.frombuffer(data, np.uint32)
        number = len(self._layouts)
        self._slots[_slots(words, np.zeros(1, np.int64), np.array([len(data)]))] = number
        same = self._of_length.setdefault(layout.length, [])
        if len(same) >= LAYOUTS_PER_LENGTH:
            same.pop(0)
        same.append(number)
        self._layouts.append(layout)
        self._table = None
        return number

    @property
    def _tabled(self) -> "_Table":
        """The table that columns of these layouts are put into."""
        if self._table is None:
            self._table = _Table(self._layouts)
        return self._table

    def read(
        self, words: Words, starts: Numbers, which: Numbers, interned: Interned
    ) -> tuple[Flags, Columns, Masks]:
        """(which messages have the layout of their number, columns of these, where those of some are carried)."""
        n = len(starts)
        table = self._tabled
        order = np.argsort(which.astype(np.int16), kind="stable")
        counts = np.bincount(which)
        active = np.flatnonzero(counts)
        ordered = starts[order]
        fields: NDArray[Any] = np.empty(n, table.record)
        values: Words = fields.view(np.uint32).reshape(n, -1)
        right = np.ones(n, np.bool_)
        at = 0
        for number in active.tolist():
            layout = self._layouts[number]
            part = slice(at, at + int(counts[number]))
            at = part.stop
            rows = gather(words, ordered[part], layout.length)
            if not layout.blank(rows, rows):
                right[order[part]] = ~(rows & layout.mask).any(axis=1)
            rows.take(table.sources[number], axis=1, out=values[part], mode="clip")
            for name, column in layout.others(rows, interned).items():
                fields[name][part] = column
        back = np.empty(n, np.int64)
        back[order] = np.arange(n)
        if not right.all():
            which, back = which[right], back[right]
        fields = fields.view(table.row)[back].view(table.record)  # opaque, rows are copied as one run
        has = table.has[active]
        always: Flags = np.logical_and.reduce(has, axis=0)
        columns: Columns = {}
        partial: Masks = {}
        carriers: dict[bytes, Flags] = {}  # many columns are carried by the same layouts
        for number in np.flatnonzero(has.any(axis=0)).tolist():
            name = table.names[number]
            columns[name] = fields[name]
            if not always[number]:
                layouts = table.has[:, number]
                carried = carriers.get(pattern := layouts.tobytes())
                if carried is None:
                    carried = carriers[pattern] = layouts.take(which)
                partial[name] = carried
                if name in _OTHER_DEFAULTS:
                    columns[name] = np.where(carried, columns[name], DEFAULTS[name])
        return right, columns, partial


class _Table:
    """Which words of a message make a row: four or eight bytes a column, as it stands in the message."""

    def __init__(self, layouts: list[Layout]) -> None:
        self.lengths = np.array([layout.length for layout in layouts], np.int64)
        kinds: dict[str, str] = {}
        for layout in layouts:
            kinds |= {name: kind for name, (_, kind) in layout.numbers.items()}
            kinds |= dict.fromkeys(layout.pairs, ">u2")
            kinds |= {name: SCHEMA[name] for name in layout.blobs}
            if layout.zone_dir:
                kinds["zone_dir"] = "u1"
        self.names = list(kinds)
        at: dict[str, int] = {}
        self.width = 0
        for name, kind in kinds.items():
            at[name] = self.width
            self.width += 2 if kind == ">u8" else 1
        self.record = np.dtype(
            {
                "names": self.names,
                "formats": list(kinds.values()),
                "offsets": [4 * word for word in at.values()],
                "itemsize": 4 * self.width,
            }
        )
        self.row = np.dtype((np.void, 4 * self.width))
        self.sources = np.full((len(layouts), self.width), _ZERO, np.int64)
        """The word of a blanked message for each word of a row: its value, or its default."""
        for name in kinds:
            if name in _ALL_ONES:
                self.sources[:, at[name] : at[name] + (2 if kinds[name] == ">u8" else 1)] = 0
        self.has = np.zeros((len(layouts), len(kinds)), np.bool_)
        """Whether messages of a layout carry a column."""
        for number, layout in enumerate(layouts):
            carried = {
                *layout.numbers,
                *layout.pairs,
                *layout.blobs,
                *(["zone_dir"] if layout.zone_dir else []),
            }
            self.has[number] = [name in carried for name in kinds]
            for name, (offset, kind) in layout.numbers.items():
                self.sources[number, at[name]] = offset >> 2
                if kind == ">u8":
                    self.sources[number, at[name] + 1] = (offset >> 2) + 1
