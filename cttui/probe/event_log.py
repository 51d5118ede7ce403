"""The events themselves, one after the other, for a reader who wants each (`cttui events`)."""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from cttui.flows.batch import DESTROY, NEW, UPDATE, Batch
from cttui.flows.columns import Columns
from cttui.flows.event_rows import event_rows
from cttui.flows.select import View, mask_of
from cttui.flows.store import Store
from cttui.flows.table import FlowTable
from cttui.model import filters
from cttui.model.pages import EventPage, EventRow
from cttui.model.views import EventView

MOST_WAITING = 100_000
"""Events kept for a reader who is slow; the oldest beyond that are skipped, and counted."""
MOST_ROWS = 5_000
TOGETHER = 256
"""Fewer events than these are kept in one: by themselves, each would take 10 kB in columns of one row."""
ASKED_S = 30.0
"""Who looks at one flow asks each second, and nobody says that it looks no more: each batch would cost twice."""


@dataclass(slots=True)
class _Chunk:
    """What one receive batch brought of what is asked for; `first` is the number of its first event."""

    first: int
    now: float
    times_ns: NDArray[np.uint64]
    kinds: NDArray[np.uint8]
    columns: Columns


def _joined(one: _Chunk, two: _Chunk) -> _Chunk:
    """Both, at the time of the second: what is told as seconds before `now` moves with it."""
    later = two.now - one.now
    columns = {name: np.concatenate([column, two.columns[name]]) for name, column in one.columns.items()}
    for name in ("born_s", "read_s"):
        columns[name][: len(one.kinds)] += later
    return _Chunk(
        one.first,
        two.now,
        np.concatenate([one.times_ns, two.times_ns]),
        np.concatenate([one.kinds, two.kinds]),
        columns,
    )


class EventLog:
    """Events that match, numbered from 1. Begins with the first question, or anew with another filter."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._chunks: deque[_Chunk] = deque()
        self._asked: EventView | None = None
        """The last question, `after` and `count` left out."""
        self._node: filters.Node | None = None
        self._asked_at = 0.0
        self._next = 1

    def append(self, batches: Sequence[Batch], now: float) -> None:
        """One receive batch, before it is applied to the store. `now`: monotonic seconds."""
        if self._asked is not None and self._asked.flow_key and time.monotonic() - self._asked_at > ASKED_S:
            self._asked = None
            self._chunks.clear()
        if self._asked is None:
            return
        kinds, columns = event_rows(self._store, batches, now)
        wanted = np.isin(kinds, self._asked.kinds or (NEW, UPDATE, DESTROY))
        if self._asked.flow_key:
            wanted &= columns["key"] == np.uint64(self._asked.flow_key)
        if self._node is not None:
            wanted &= mask_of(self._node, View(columns, now, self._store.interned))
        if not wanted.any():
            return
        picked = {name: column[wanted] for name, column in columns.items()}
        told = picked.pop("event_ns")
        times = np.where(told != 0, told, np.uint64(time.time_ns()))
        chunk = _Chunk(self._next, now, times, kinds[wanted], picked)
        self._next += len(chunk.kinds)
        if self._chunks and len(self._chunks[-1].kinds) + len(chunk.kinds) <= TOGETHER:
            chunk = _joined(self._chunks.pop(), chunk)
        self._chunks.append(chunk)
        while self._next - self._chunks[0].first - len(self._chunks[0].kinds) >= MOST_WAITING:
            self._chunks.popleft()

    def page(self, view: EventView) -> EventPage:
        """What came after event number `view.after`, oldest first; what is before it is forgotten."""
        asked = msgspec.structs.replace(view, after=0, count=0)
        self._asked_at = time.monotonic()
        if asked != self._asked:
            try:
                self._node = filters.parse(view.filter)
            except filters.FilterError as e:
                return EventPage(error=f"{e.message}. {e.hint}".rstrip())
            self._asked = asked
            self._chunks.clear()
        known = min(view.after, self._next - 1)  # more was told by a probe before this one
        while self._chunks and self._chunks[0].first + len(self._chunks[0].kinds) <= known + 1:
            self._chunks.popleft()
        oldest = self._chunks[0].first if self._chunks else self._next
        after = max(known, oldest - 1)
        skipped = after - known
        rows: list[EventRow] = []
        for chunk in self._chunks:
            left = min(view.count, MOST_ROWS) - len(rows)
            if left <= 0:
                break
            start = after + 1 - chunk.first
            rows += self._rows(chunk, start, start + left)
            after = chunk.first + min(start + left, len(chunk.kinds)) - 1
        return EventPage(rows=rows, last=after, skipped=skipped, newest=self._next - 1, at_ns=time.time_ns())

    def _rows(self, chunk: _Chunk, start: int, stop: int) -> list[EventRow]:
        kinds = chunk.kinds[start:stop]
        every = np.ones(len(chunk.kinds), np.bool_)
        table = FlowTable(chunk.columns, every, ~every, self._store.interned)
        flows = table.flows(np.arange(start, start + len(kinds)), chunk.now)
        return [
            EventRow(kind=kind, time_ns=time_ns, flow=flow)
            for kind, time_ns, flow in zip(
                kinds.tolist(), chunk.times_ns[start:stop].tolist(), flows, strict=True
            )
        ]
