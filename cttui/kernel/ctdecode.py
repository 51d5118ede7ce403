"""Buffers of ctnetlink messages → batches of columns."""

import sys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cttui.flows.batch import DESTROY, NEW, UPDATE, Batch
from cttui.flows.columns import EVENT_COLUMNS, SCHEMA, Interned
from cttui.kernel.ctlayout import FIRST, decode_one, gather
from cttui.kernel.ctwide import Layouts
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


@dataclass(frozen=True, slots=True)
class _Messages:
    """Messages of a buffer: the words they start at, bytes, NEW, UPDATE or DESTROY, their order."""

    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    kinds: NDArray[np.uint8]
    positions: NDArray[np.int64]

    def pick(self, which: NDArray[np.bool_]) -> "_Messages":
        """Some of them."""
        return _Messages(self.starts[which], self.lengths[which], self.kinds[which], self.positions[which])


class Decoder:
    """Buffers of ctnetlink messages → batches. `undecoded` counts messages that name no flow."""

    def __init__(self, interned: Interned) -> None:
        self.interned = interned
        self.undecoded = 0
        self._layouts = Layouts()

    @property
    def layouts(self) -> int:
        """How many layouts are remembered."""
        return len(self._layouts)

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
        if self._layouts.full:
            self._layouts.clear()
        left = _Messages(starts, lengths, kinds, positions)
        if (batch := self._alike(words, left)) is not None:
            return [batch]
        batches: list[Batch] = []
        for find in (self._layouts.guess, self._layouts.learn):
            which = find(words, left.starts, left.lengths)
            done = which >= 0
            if done.any():
                some, which = (left, which) if done.all() else (left.pick(done), which[done])
                right, columns, partial = self._layouts.read(words, some.starts, which, self.interned)
                if not right.all():
                    some, which = some.pick(right), which[right]
                    done[done] = right
                if len(which):
                    batches.append(Batch(some.kinds, some.positions, columns, partial, which))
            if done.all():
                return batches
            left = left.pick(~done)
        return batches + self._decode_singly(words.view(np.uint8), left)

    def _alike(self, words: NDArray[np.uint32], messages: "_Messages") -> Batch | None:
        """Messages that all have one known layout, as in a table of one kind of flow: columns are views of them."""
        starts = messages.starts
        length = int(messages.lengths[0])
        layout = self._layouts.latest(length)
        if layout is None or (messages.lengths != length).any():
            return None
        width = length >> 2
        if (starts[1:] - starts[:-1] == width).all():
            first = int(starts[0])
            rows = words[first : first + width * len(starts)].reshape(-1, width)
            copy = np.empty_like(rows)
        else:
            rows = copy = gather(words, starts, length)
        if not layout.blank(rows, copy):
            return None
        return Batch(messages.kinds, messages.positions, layout.columns(copy, self.interned))

    def _decode_singly(self, octets: NDArray[np.uint8], messages: "_Messages") -> list[Batch]:
        """Batches of messages decoded one by one, put together by the columns they carry."""
        groups: dict[tuple[str, ...], tuple[list[int], list[dict[str, int]]]] = {}
        ends = zip((4 * messages.starts).tolist(), messages.lengths.tolist(), strict=True)
        for number, (at, length) in enumerate(ends):
            values = decode_one(octets[at : at + length].tobytes(), self.interned)
            if values is None:
                self.undecoded += 1
                continue
            numbers, flows = groups.setdefault(tuple(sorted(values)), ([], []))
            numbers.append(number)
            flows.append(values)
        return [
            Batch(
                messages.kinds[numbers],
                messages.positions[numbers],
                {name: np.array([flow[name] for flow in flows], _TYPES[name]) for name in names},
            )
            for names, (numbers, flows) in groups.items()
        ]


_TYPES = SCHEMA | EVENT_COLUMNS
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
