"""Buffers of ctnetlink messages → batches of columns."""

import sys

import numpy as np
from numpy.typing import NDArray

from cttui.flows.batch import DESTROY, NEW, UPDATE, Batch
from cttui.flows.columns import SCHEMA, Interned
from cttui.kernel.ctlayout import FIRST, Layout, decode_one, fields_of, walk
from cttui.kernel.ctwide import Wide
from cttui.kernel.netlink import HEADER, NLM_F_CREATE, NLM_F_EXCL

CT_NEW, CT_GET, CT_DELETE = 1 << 8 | 0, 1 << 8 | 1, 1 << 8 | 2
"""NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_*."""


def offsets_in(buffer: NDArray[np.uint8], start: int, end: int) -> NDArray[np.int64]:
    """Offsets of the messages that stand one behind the other in buffer[start:end]; stops at damage.

    A table of one kind of flow has messages of one length: then they are found without a loop.
    """
    words = buffer[: len(buffer) & ~3].data.cast("B").cast("I")
    if end - start >= FIRST:
        length = words[start >> 2]
        n = (end - start) // length if length >= FIRST else 0
        if n > 8 and not length % 4 and n * length == end - start:
            lengths = buffer[start:end].view(np.uint32)[:: length >> 2]
            if (lengths == length).all():
                return np.arange(start, end, length, dtype=np.int64)
    chain = _chained(buffer[start : end & ~3].view(np.uint32)) + (start >> 2)
    found: list[int] = []
    at, last = start >> 2, end >> 2
    if len(chain):
        at = int(chain[-1])
        chain = chain[:-1]
    while at < last:
        length = words[at]
        if length < _SHORTEST:
            break
        found.append(at)
        at += (length + 3) >> 2
    if at > last:
        found.pop()  # it ends behind the end
    offsets = np.concatenate((chain, np.array(found, np.int64)))
    offsets <<= 2
    return offsets


def _chained(words: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Words at which messages begin, found without a loop: as far as it can be told, the last with its end open.

    Messages of one dump share type and flags, sequence number and port. Where these three stand, a message may
    begin; where each such place is where the one before ends, none is by chance. Events share zeros: too many places.
    """
    n = len(words)
    if n < 8 or not words[2]:
        return np.zeros(0, np.int64)
    alike = words[1 : n - 2] == words[1]
    alike &= words[2 : n - 1] == words[2]
    alike &= words[3:] == words[3]
    at = np.flatnonzero(alike)
    lengths = words[at].astype(np.int64)
    good = (at[:-1] + (lengths[:-1] + 3 >> 2) == at[1:]) & (lengths[:-1] >= _SHORTEST)
    return at if good.all() else at[: int(np.argmin(good)) + 1]


_SHORTEST = HEADER.size

LAYOUTS_PER_LENGTH = 32
ROUNDS = 48
"""Bounds for a kernel (or a forger) that never repeats a layout: beyond them messages decode one by one."""


class Decoder:
    """Buffers of ctnetlink messages → batches. `undecoded` counts messages that name no flow."""

    def __init__(self, interned: Interned) -> None:
        self.interned = interned
        self.undecoded = 0
        self._layouts: dict[int, list[Layout]] = {}
        self._wide = Wide()

    @property
    def layouts(self) -> int:
        """How many layouts are remembered."""
        return sum(map(len, self._layouts.values()))

    def decode(self, buffer: NDArray[np.uint8], offsets: NDArray[np.int64]) -> list[Batch]:
        """Batches of the messages at these offsets (multiples of 4); others than conntrack's are skipped."""
        words = buffer[: len(buffer) & ~3].view(np.uint32)
        inside = (offsets >= 0) & (offsets <= len(buffer) - FIRST) & (offsets & 3 == 0)
        positions = np.arange(len(offsets), dtype=np.int64)
        if not inside.all():
            self.undecoded += int(np.count_nonzero(~inside))
            offsets, positions = offsets[inside], positions[inside]
        if not len(offsets):
            return []
        starts = offsets >> 2
        lengths = words[starts].astype(np.int64)
        tops = words[starts + 1]
        kinds = _kinds(tops)
        ours = kinds <= DESTROY
        sound = (lengths >= FIRST) & (offsets + lengths <= len(buffer))
        keep = sound & ours
        if not keep.all():
            self.undecoded += int(np.count_nonzero(ours & ~sound))
            starts, lengths, kinds, positions = starts[keep], lengths[keep], kinds[keep], positions[keep]
        if not len(starts):
            return []
        first = int(lengths[0])
        if (lengths == first).all():
            return self._decode_length(words, first, starts, kinds, positions)
        batches: list[Batch] = []
        which = self._wide.recognise(words, starts, lengths)
        known = which >= 0
        if known.any():
            if known.all():
                columns, partial = self._wide.columns(words, starts, which, self.interned)
                return [Batch(kinds, positions, columns, partial, which)]
            columns, partial = self._wide.columns(words, starts[known], which[known], self.interned)
            batches.append(Batch(kinds[known], positions[known], columns, partial, which[known]))
            left = ~known
            starts, lengths, kinds, positions = starts[left], lengths[left], kinds[left], positions[left]
        for length in np.unique(lengths).tolist():
            at = lengths == length
            batches += self._decode_length(words, length, starts[at], kinds[at], positions[at])
        return batches

    def _decode_length(
        self,
        words: NDArray[np.uint32],
        length: int,
        starts: NDArray[np.int64],
        kinds: NDArray[np.uint8],
        positions: NDArray[np.int64],
    ) -> list[Batch]:
        """Batches of messages of one length."""
        width = (length + 3) >> 2
        if length % 4:
            octets = words.view(np.uint8)
            odd = [octets[at * 4 : at * 4 + length].tobytes() for at in starts.tolist()]
            return self._decode_singly(odd, kinds, positions)
        known = self._layouts.get(length, [])
        if (starts[1:] - starts[:-1] == width).all():
            first = int(starts[0])
            rows = words[first : first + width * len(starts)].reshape(-1, width)
        else:
            # All windows of this width over the buffer, without a copy; picking copies each as one run.
            windows = np.ndarray((len(words) - width + 1, width), np.uint32, words, strides=(4, 4))
            rows = windows[starts]
        if known and (copy := known[-1].take(rows)) is not None:
            return [Batch(kinds, positions, known[-1].columns(copy, self.interned))]
        batches: list[Batch] = []
        for layout in known:
            match = layout.matches(rows)
            if match.any():
                batches.append(
                    Batch(kinds[match], positions[match], layout.columns(rows[match], self.interned))
                )
                rest = ~match
                rows, kinds, positions = rows[rest], kinds[rest], positions[rest]
                if not len(rows):
                    return batches
        loose: list[int] = []
        left = np.arange(len(rows))
        for _ in range(ROUNDS):
            first = int(left[0])
            data = rows[first].tobytes()
            leaves, heads, sound = walk(data)
            fields = fields_of(leaves)
            if not sound or not fields.identifies:
                loose.append(first)
                left = left[1:]
            else:
                layout = self._remember(Layout(data, heads, fields), data)
                match = layout.matches(rows[left])
                at = left[match]
                batches.append(Batch(kinds[at], positions[at], layout.columns(rows[at], self.interned)))
                left = left[~match]
            if not len(left):
                break
        loose += left.tolist()
        if loose:
            batches += self._decode_singly(
                [rows[at].tobytes() for at in loose], kinds[loose], positions[loose]
            )
        return batches

    def _remember(self, layout: Layout, data: bytes) -> Layout:
        """Keep a layout for the next buffer, within bounds."""
        if self._wide.full:
            self._wide.clear()
            self._layouts.clear()
        known = self._layouts.setdefault(len(data), [])
        if len(known) >= LAYOUTS_PER_LENGTH:
            known.pop(0)
        known.append(layout)
        self._wide.add(layout, data)
        return layout

    def _decode_singly(
        self, messages: list[bytes], kinds: NDArray[np.uint8], positions: NDArray[np.int64]
    ) -> list[Batch]:
        """Batches of messages decoded one by one, put together by the columns they carry."""
        groups: dict[tuple[str, ...], tuple[list[int], list[dict[str, int]]]] = {}
        for number, data in enumerate(messages):
            values = decode_one(data, self.interned)
            if values is None:
                self.undecoded += 1
                continue
            numbers, flows = groups.setdefault(tuple(sorted(values)), ([], []))
            numbers.append(number)
            flows.append(values)
        return [
            Batch(
                kinds[numbers],
                positions[numbers],
                {name: np.array([flow[name] for flow in flows], SCHEMA[name]) for name in names},
            )
            for names, (numbers, flows) in groups.items()
        ]


_OTHER = 255
_MADE = NLM_F_CREATE | NLM_F_EXCL


def _kind(top: int) -> int:
    """NEW, UPDATE, DESTROY by type and flags of a message (its second word); 255: not conntrack's."""
    kind, flags = (top & 0xFFFF, top >> 16) if sys.byteorder == "little" else (top >> 16, top & 0xFFFF)
    if kind == CT_DELETE:
        return DESTROY
    if kind == CT_NEW:
        return NEW if flags & _MADE == _MADE else UPDATE
    return _OTHER


def _kinds(tops: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """The kind of each message by its second word: few differ, so each different one is looked at once."""
    if (tops == tops[0]).all():
        return np.full(len(tops), _kind(int(tops[0])), np.uint8)
    different, which = np.unique(tops, return_inverse=True)
    found: NDArray[np.uint8] = np.array([_kind(top) for top in different.tolist()], np.uint8)[which]
    return found
