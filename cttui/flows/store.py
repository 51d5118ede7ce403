"""The conntrack table as columns, kept equal to the kernel's by events and dumps.

Which reading wins, and why:

- A flow is known by its key: CTA_ID with a hash of zone and original tuple (batch.keys_of).
- Events of one receive batch are applied in their order; the last one of a key says whether it lives.
- A dump runs beside the events, and what a slice says may be up to one socket buffer older than the
  events applied before it. So a DESTROY bars its key from later slices until a NEW (a tombstone), and of
  a flow that an event told about since the dump began a slice writes only what no event tells
  (counters, use count, timestamps).
- A ghost is a flow absent from a complete dump and untouched since it began: it ended without an event.
  Flows made before a listener attached always do (nf_conntrack_events=2).
- After lost events nothing that was told before counts: `lost()`, then a fresh dump.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from cttui.flows.batch import DESTROY, NEW, Batch, Masks, keys_of
from cttui.flows.columns import Columns, Interned
from cttui.flows.index import Keys, Rows
from cttui.flows.rounds import rounds
from cttui.flows.rows import ROOM, UNTOLD, RowTable, pick, together

UNHEARD_S = 30.0
"""How long a DESTROY may come late."""


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What a dump found."""

    added: int
    """Flows first seen by it."""
    changed: int
    """Known flows whose status, state or mark it corrected."""
    ended: int
    """Flows that ended since it began, by an event or as ghosts."""
    ghosts: int
    """Flows that it no longer held and no event told about."""
    again: bool
    """Events were lost meanwhile, or the dump was incomplete: another one is due."""


class Store(RowTable):
    """Flows by key. `now` is always the probe's monotonic clock in seconds.

    `new_total` and `ended_total` only grow. They are exact while `events_attached` (each NEW and DESTROY
    counts once, ghosts when they are found); otherwise lower bounds from dump differences. A Batch must be
    applied before the next end_dump: that may renumber interned values.
    """

    def __init__(self, interned: Interned, capacity: int = ROOM) -> None:
        super().__init__(interned, capacity)
        self._unheard: dict[int, float] = {}  # ended without an event, lately: a late DESTROY counts once
        self._epoch = 1
        self._dumping = False
        self._tainted = False
        self._tombstones: set[int] = set()
        self._found = [0, 0, 0]  # added, changed, ended in this dump
        self.events_attached = False
        self.new_total = 0
        self.ended_total = 0
        self.ghosts_total = 0

    # ------------------------------------------------------------ events

    def apply(self, batches: Sequence[Batch], now: float) -> None:
        """Apply the events of one receive batch."""
        batches = [batch for batch in batches if len(batch)]
        if not batches:
            return
        self.expire(now)
        keys = [keys_of(batch.columns) for batch in batches]
        self.new_total += sum(int(np.count_nonzero(batch.kinds == NEW)) for batch in batches)
        parts, left_out = rounds(batches, keys)
        self.ended_total += left_out
        for number, chosen in parts:
            batch = batches[number]
            if chosen is None or len(chosen) == len(batch):
                self._apply_part(batch.kinds, keys[number], batch.columns, batch.partial, now)
            else:
                columns, partial = pick(batch.columns, chosen), pick(batch.partial, chosen)
                self._apply_part(batch.kinds[chosen], keys[number][chosen], columns, partial, now)
        self.generation += 1

    def _apply_part(
        self, kinds: NDArray[np.uint8], keys: Keys, columns: Columns, partial: Masks, now: float
    ) -> None:
        """Apply messages, no two of them about the same flow."""
        dead = kinds == DESTROY
        if dead.any():
            if dead.all():
                self._destroy(keys, columns, partial, now)
                return
            self._destroy(keys[dead], pick(columns, dead), pick(partial, dead), now)
            alive = ~dead
            kinds, keys = kinds[alive], keys[alive]
            columns, partial = pick(columns, alive), pick(partial, alive)
        if self._tombstones:
            self._tombstones.difference_update(keys.tolist())
        if self._unheard:
            for key in keys[kinds == NEW].tolist():
                self._unheard.pop(key, None)
        rows, fresh = self._place(keys, unique=True)
        self._write(rows, fresh, columns, partial, now, complete=False)
        self._seen[rows] = self._epoch
        self._told[rows] = self._epoch

    def _destroy(self, keys: Keys, columns: Columns, partial: Masks, now: float) -> None:
        """End flows by DESTROY, with the last counters and timestamps it brings."""
        if self._dumping:
            self._tombstones.update(keys.tolist())
        rows = self.find(keys)
        known = rows >= 0
        if not known.all():
            rows, columns, partial = rows[known], pick(columns, known), pick(partial, known)
        if self._unheard:  # counted already, when their absence was noticed
            self.ended_total -= sum(self._unheard.pop(key, None) is not None for key in keys.tolist())
        self.ended_total += len(keys)
        for name in (*UNTOLD, "status", "state"):
            if name in partial:
                some = partial[name]
                self._columns[name][rows[some]] = columns[name][some]
            elif name in columns:
                self._columns[name][rows] = columns[name]
        self._end(rows, now)

    def lost(self) -> None:
        """Events were lost: what events told is no longer fresher than a dump, and another dump is due."""
        self._tainted = True
        self._told[: self._high] = 0

    # ------------------------------------------------------------ dumps

    def begin_dump(self) -> None:
        """A dump starts. Events go on through `apply`."""
        self._epoch += 1
        self._dumping = True
        self._tainted = False
        self._tombstones.clear()
        self._found = [0, 0, 0]
        self._ahead = 0

    def put_dump(self, batches: Iterable[Batch], now: float) -> None:
        """Take one slice of the dump."""
        for batch in batches:
            keys, columns, partial = keys_of(batch.columns), batch.columns, batch.partial
            if self._tombstones:
                barred = self._tombstones
                keep = np.fromiter((key not in barred for key in keys.tolist()), np.bool_, len(keys))
                if not keep.all():
                    keys, columns, partial = keys[keep], pick(columns, keep), pick(partial, keep)
            before = self._count
            rows, fresh = self._place(keys, unique=False)
            at = together(rows) if len(rows) else rows
            self._seen[at] = self._epoch
            told = (self._told[at] == self._epoch) & ~fresh
            if told.any():
                untold = {name: columns[name][told] for name in UNTOLD if name in columns}
                self._overwrite(rows[told], untold, pick(partial, told), UNTOLD, now, complete=False)
                rest = ~told
                rows, fresh = rows[rest], fresh[rest]
                columns, partial = pick(columns, rest), pick(partial, rest)
            self._found[1] += self._differing(rows, fresh, columns)
            self._write(rows, fresh, columns, partial, now, complete=True)
            added = self._count - before
            self._found[0] += added
            if not self.events_attached:
                self.new_total += added
        self.generation += 1

    def _differing(self, rows: Rows, fresh: NDArray[np.bool_], columns: Columns) -> int:
        """How many known flows have another status, state or mark than these columns say."""
        if not len(rows):
            return 0
        at = together(rows)
        differs = np.zeros(len(rows), np.bool_)
        for name in ("status", "state", "mark"):
            if name in columns:
                differs |= self._columns[name][at] != columns[name]
        return int(np.count_nonzero(differs & ~fresh))

    def end_dump(
        self,
        now: float,
        *,
        complete: bool = True,
        scope: Callable[[Columns], NDArray[np.bool_]] | None = None,
    ) -> Reconciled:
        """The dump has ended: flows it should have held and did not are ghosts.

        `complete` False (interrupted, given up): nothing is concluded from absence. `scope`: of a filtered
        dump, which rows (mask over `columns`) it would have held.
        """
        ghosts = 0
        if complete:
            stale = self.live & (self._seen[: self._high] != self._epoch)
            if scope is not None:
                stale &= scope(self.columns)
            rows = np.flatnonzero(stale)
            ghosts = len(rows)
            self._end_unheard(rows, now)
            self.ghosts_total += ghosts
        self._dumping = False
        self._tombstones.clear()
        added, changed, ended = self._found
        again = self._tainted or not complete
        self._tainted = False
        self.expire(now)
        self._tidy()
        self.generation += 1
        return Reconciled(added, changed, ended, ghosts, again)

    def put_get(self, batches: Iterable[Batch], gone: Iterable[int], now: float) -> None:
        """Take the answers to single GETs: entries read again, and keys the kernel no longer has."""
        for batch in batches:
            keys = keys_of(batch.columns)
            if self._tombstones:
                self._tombstones.difference_update(keys.tolist())
            before = self._count
            rows, fresh = self._place(keys, unique=False)
            self._write(rows, fresh, batch.columns, batch.partial, now, complete=True)
            self._seen[rows] = self._epoch
            self._told[rows] = self._epoch
            if not self.events_attached:
                self.new_total += self._count - before
        keys = np.array(list(gone), np.uint64)
        if self._dumping:
            self._tombstones.update(keys.tolist())
        rows = self.find(keys)
        self._end_unheard(rows[rows >= 0], now)
        self.generation += 1

    # ------------------------------------------------------------ the end of flows

    def _end_unheard(self, rows: Rows, now: float) -> None:
        """End flows that no event told about."""
        if not len(rows):
            return
        self.ended_total += len(rows)
        if self.events_attached:
            self._unheard = {key: at for key, at in self._unheard.items() if at > now - UNHEARD_S}
            self._unheard.update(zip(self._columns["key"][rows].tolist(), repeat(now), strict=False))
        self._end(rows, now)

    def _end(self, rows: Rows, now: float) -> None:
        if not len(rows):
            return
        self._found[2] += len(rows)
        self._bury(rows, now)
