"""The writing side of the store: rows are found, taken, filled, overwritten, buried and reused.

What is written when is the business of store.py.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from cttui.flows.arena import zeros
from cttui.flows.batch import Masks
from cttui.flows.columns import DEFAULTS, KERNEL_COLUMNS, SCHEMA, Columns, Interned
from cttui.flows.index import KeyIndex, Keys, Rows
from cttui.flows.table import FlowTable

_T = TypeVar("_T", bound=np.generic)

GRAVE_S = 2.0
GRAVES = 4096
"""How long an ended flow stays, and how many at most."""
RATE_OVER_S = 0.2
"""Readings closer together than this are too noisy for a rate."""
COLLECT = 4096
"""Unused interned values tolerated before they are collected."""
ROOM = 1 << 20
"""Rows there is room for from the start. Untouched pages cost nothing, while to copy the columns as the table grows
takes a quarter of a second at 524,288 flows, in which no question is answered."""

REPLY = [f"reply_{end}{word}" for end in ("src", "dst") for word in range(4)] + ["reply_sport", "reply_dport"]
TOLD = [
    *REPLY, "status", "timeout_s", "state", "mark", "helper", "labels", "secctx", "master",
    "wscale_orig", "wscale_reply", "tcpflags_orig", "tcpflags_reply",
]  # fmt: skip
"""What may change in a known flow and is told by events. Identity columns never change."""
UNTOLD = ["use", "orig_packets", "orig_bytes", "reply_packets", "reply_bytes", "start_ns", "stop_ns"]
"""What only a dump or a GET tells (and a DESTROY, of the end)."""
CHANGING = [*TOLD, *UNTOLD]
_OPTIONAL = frozenset(CHANGING) - {*REPLY, "status", "timeout_s", "mark", "use"}
_BLOBS = ("labels", "secctx", "master")


class RowTable(FlowTable):
    """Rows by key. Times are monotonic seconds."""

    def __init__(self, interned: Interned, capacity: int = ROOM) -> None:
        columns: Columns = {name: zeros(capacity, kind) for name, kind in SCHEMA.items()}
        super().__init__(columns, zeros(capacity, np.bool_), zeros(capacity, np.bool_), interned)
        self._high = 0
        self._virgin = 0  # rows from here on were never used: all zero
        self._seen = zeros(capacity, np.uint32)  # epoch of the last sign of life
        self._told = zeros(capacity, np.uint32)  # epoch of the last event or GET
        self._base_bytes = zeros(capacity, np.uint64)  # what the next rate is measured from
        self._base_s = zeros(capacity, np.float64)  # and when that was, 0: no counters read yet
        self._ever: set[str] = set()  # optional columns some message carried: only these need resetting
        self._index = KeyIndex((2 * capacity).bit_length() - 1)
        self._ahead = 0  # where the next flow of a dump stands if the table has not changed since the last
        self._free: Rows = np.zeros(0, np.int64)  # a stack of _free_count rows
        self._free_count = 0
        self._graves: deque[tuple[float, Rows]] = deque()
        self._grave_count = 0
        self._order = 0
        self._collect_above = COLLECT

    @property
    def next_order(self) -> int:
        """The serial number (column `order`) that the next new flow gets."""
        return self._order

    def reserve(self, count: int) -> None:
        """Make room for `count` flows at once: grown little by little, a large table is copied on the way.

        Room costs nothing until it is used (arena.zeros).
        """
        if count > len(self._live):
            self._resize(count)
        self._index.reserve(count, self._columns["key"])

    def row_of(self, key: int) -> int | None:
        """The row of the live flow with this key."""
        row = int(self.find(np.array([key], np.uint64))[0])
        return None if row < 0 else row

    def find(self, keys: Keys) -> Rows:
        """The row of each key, -1 where there is none."""
        return self._index.find(keys, self._columns["key"])

    def _place(self, keys: Keys, *, unique: bool) -> tuple[Rows, NDArray[np.bool_]]:
        """The row of each key and whether it is a new one; rows of new flows have still to be written.

        `unique` False: a key may be there twice (a dump over a resized hash table), and is then one row.
        """
        mine = self._columns["key"]
        n = len(keys)
        ahead = mine[self._ahead : self._ahead + n]
        if len(ahead) == n and (ahead == keys).all() and self._live[self._ahead : self._ahead + n].all():
            rows = np.arange(self._ahead, self._ahead + n)
            self._ahead += n
            return rows, np.zeros(n, np.bool_)
        rows = self._index.find(keys, mine)
        fresh = rows < 0
        missing = int(np.count_nonzero(fresh))
        if not missing:
            self._ahead = int(rows[-1]) + 1 if n else 0
            return rows, fresh
        wanted = keys if missing == len(keys) else keys[fresh]
        taken = self._take(missing)
        mine = self._columns["key"]  # _take may have made a longer one
        mine[taken] = wanted
        self._index.add(wanted, taken, mine)
        if not unique:
            first = self._index.find(wanted, mine)
            twice = first != taken
            if twice.any():
                self._index.remove(taken[twice])
                self._give_back(taken[twice])
                taken = first
                missing -= int(np.count_nonzero(twice))
        rows[fresh] = taken
        self._ahead = int(rows[-1]) + 1
        self._live[taken] = True
        self._count += missing
        return rows, fresh

    def _take(self, n: int) -> Rows:
        """Rows for new flows: free ones if there are enough, otherwise unused ones behind the last."""
        if n <= self._free_count:
            self._free_count -= n
            return self._free[self._free_count : self._free_count + n].copy()
        start = self._high
        if start + n > len(self._live):
            self._resize(max(2 * len(self._live), start + n))
        self._high = start + n
        return np.arange(start, start + n)

    def _give_back(self, rows: Rows) -> None:
        count = self._free_count + len(rows)
        if count > len(self._free):
            free = np.zeros(2 * count, np.int64)
            free[: self._free_count] = self._free[: self._free_count]
            self._free = free
        self._free[self._free_count : count] = rows
        self._free_count = count

    def _write(
        self,
        rows: Rows,
        fresh: NDArray[np.bool_],
        columns: Columns,
        partial: Masks,
        now: float,
        *,
        complete: bool,
    ) -> None:
        """Write messages. `complete`: what one doesn't carry, its flow doesn't have."""
        self._ever |= columns.keys() & _OPTIONAL
        made = int(np.count_nonzero(fresh))
        if made == len(rows):
            self._fill(rows, columns, partial, now)
        elif not made:
            self._overwrite(rows, columns, partial, CHANGING, now, complete=complete)
        else:
            known = ~fresh
            self._fill(rows[fresh], pick(columns, fresh), pick(partial, fresh), now)
            self._overwrite(
                rows[known], pick(columns, known), pick(partial, known), CHANGING, now, complete=complete
            )

    def _fill(self, rows: Rows, columns: Columns, partial: Masks, now: float) -> None:
        """Write all of new flows."""
        n = len(rows)
        if not n:
            return
        at = together(rows)
        virgin = int(rows.min()) >= self._virgin
        mine = self._columns
        for name in KERNEL_COLUMNS:
            if name in columns:
                mine[name][at] = columns[name]
            else:
                value = DEFAULTS.get(name, 0)
                if value or not virgin:
                    mine[name][at] = value
        mine["born_s"][at] = now
        mine["read_s"][at] = now
        mine["order"][at] = np.arange(self._order, self._order + n, dtype=np.uint64)
        mine["rate_bps"][at] = np.nan
        self._order += n
        self._told[at] = 0
        if not virgin:
            mine["rate_over_s"][at] = 0
            self._base_s[at] = 0
        if "orig_bytes" in columns:
            self._base_bytes[at] = _total_bytes(columns)
            self._base_s[at] = np.where(partial["orig_bytes"], now, 0) if "orig_bytes" in partial else now
        self._virgin = max(self._virgin, self._high)

    def _overwrite(
        self,
        rows: Rows,
        columns: Columns,
        partial: Masks,
        names: Sequence[str],
        now: float,
        *,
        complete: bool,
    ) -> None:
        """Write what may change of known flows."""
        if not len(rows):
            return
        mine = self._columns
        at = together(rows)
        if "orig_bytes" in columns:
            counted = partial.get("orig_bytes")
            if counted is None:
                self._rate(rows, _total_bytes(columns), now)
            elif counted.any():
                self._rate(rows[counted], _total_bytes(columns)[counted], now)
        for name in names:
            if name in columns:
                if name in partial and not complete and name != "mark":
                    some = partial[name]
                    mine[name][rows[some]] = columns[name][some]
                else:
                    mine[name][at] = columns[name]
            elif (complete and name in self._ever) or name == "mark":
                # an event leaves the mark out only where it is 0 (ctnetlink_dump_mark)
                mine[name][at] = DEFAULTS.get(name, 0)
        if "timeout_s" in columns and names is CHANGING:
            timed = partial.get("timeout_s")
            mine["read_s"][at if timed is None else rows[timed]] = now

    def _rate(self, rows: Rows, total: NDArray[np.uint64], now: float) -> None:
        """Bits per second since the last reading that lies far enough back."""
        at = together(rows)
        due = now - self._base_s[at] >= RATE_OVER_S
        if not due.all():
            if not due.any():
                return
            rows, total = rows[due], total[due]
            at = together(rows)
        before, base_s = self._base_bytes[at], self._base_s[at]
        over = now - base_s
        never = base_s == 0
        bits = 8.0 * (total - before).astype(np.float64)
        bits /= over
        # No reading before, or counters that were set back (CT_GET_CTRZERO): no rate.
        bits[never | (total < before)] = np.nan
        self._columns["rate_bps"][at] = bits
        self._columns["rate_over_s"][at] = np.where(never, 0, over)
        self._base_bytes[at] = total
        self._base_s[at] = now

    def _resize(self, capacity: int) -> None:
        def resized(old: NDArray[Any]) -> NDArray[Any]:
            new = zeros(capacity, old.dtype)
            new[: self._high] = old[: self._high]
            return new

        for name, column in self._columns.items():
            self._columns[name] = resized(column)
        self._live, self._ended = resized(self._live), resized(self._ended)
        self._seen, self._told = resized(self._seen), resized(self._told)
        self._base_bytes, self._base_s = resized(self._base_bytes), resized(self._base_s)
        self._virgin = min(self._virgin, self._high)
        self._cached_columns = None

    def _tidy(self) -> None:
        """After a dump: let go of unused rows at the end, and of interned values no flow has."""
        if self._free_count > self._high // 2:
            used = np.flatnonzero(self.live | self.ended)
            self._high = int(used[-1]) + 1 if len(used) else 0
            free = self._free[: self._free_count]
            self._free = free[free < self._high]
            self._free_count = len(self._free)
            if len(self._live) > max(ROOM, 4 * self._high):
                self._resize(max(ROOM, 2 * self._high))
        if len(self.interned.blobs) > self._collect_above:
            marked = np.zeros(len(self.interned.blobs), np.bool_)
            rows = self.rows(ended=True)
            for name in _BLOBS:
                marked[self._columns[name][rows]] = True
            numbers = self.interned.forget(marked)
            for name in _BLOBS:
                self._columns[name][rows] = numbers[self._columns[name][rows]]
            self._collect_above = 2 * len(self.interned.blobs) + COLLECT

    def _bury(self, rows: Rows, now: float) -> None:
        """Flows have ended: their rows stay for GRAVE_S, then are free."""
        if not len(rows):
            return
        self._index.remove(rows)
        self._live[rows] = False
        self._ended[rows] = True
        self._columns["timeout_s"][rows] = 0
        self._count -= len(rows)
        self._graves.append((now, rows))
        self._grave_count += len(rows)

    def expire(self, now: float) -> None:
        """Free the rows of flows that ended a while ago, and the oldest of too many."""
        graves = self._graves
        before = self._grave_count
        while graves and (graves[0][0] <= now - GRAVE_S or self._grave_count > GRAVES):
            rows = graves.popleft()[1]
            self._grave_count -= len(rows)
            self._ended[rows] = False
            self._give_back(rows)
        if self._grave_count != before:
            self.generation += 1


def together(rows: Rows) -> Rows | slice:
    """A slice where the rows stand one behind the other: several times as fast to write to."""
    first, last = int(rows[0]), int(rows[-1])
    if last - first == len(rows) - 1 and (rows[1:] - rows[:-1] == 1).all():
        return slice(first, last + 1)
    return rows


def pick(columns: dict[str, NDArray[_T]], which: NDArray[Any]) -> dict[str, NDArray[_T]]:
    """Some rows of columns, by mask or by number."""
    return {name: column[which] for name, column in columns.items()}


def _total_bytes(columns: Columns) -> NDArray[np.uint64]:
    total: NDArray[np.uint64] = columns["orig_bytes"].astype(np.uint64)
    if "reply_bytes" in columns:
        total += columns["reply_bytes"].astype(np.uint64)
    return total
