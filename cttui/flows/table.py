"""The reading side of the store: rows, flows, counts. A store has it live, a snapshot has it of a moment."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cttui.flows.columns import NO_COUNTER, NO_STATE, NO_WSCALE, SCHEMA, Columns, Interned
from cttui.model.flow import (
    AF_INET,
    ASSURED,
    FILLER_MARK,
    FILLER_ZONE,
    IPPROTO_SCTP,
    IPPROTO_TCP,
    PROTOCOLS,
    Flow,
    state_name,
)

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Counts:
    """The table broken down, live flows only, fillers included."""

    by_protocol: dict[str, int]
    """Names as `conntrack` prints them, `proto-N` for others; most first."""
    by_state: dict[str, int]
    """TCP and SCTP states together; most first."""
    assured: int
    evictable: int
    """Not ASSURED."""
    filler: int


class FlowTable:
    """Columns, which rows are alive, and what they say. Row numbers last until the next change: keep keys."""

    def __init__(
        self, columns: Columns, live: NDArray[np.bool_], ended: NDArray[np.bool_], interned: Interned
    ) -> None:
        self._columns = columns
        self._live = live
        self._ended = ended
        self._high = len(live)
        self._count = int(np.count_nonzero(live))
        self._rows_of: dict[int, int] | None = None
        self._cached_columns: tuple[int, Columns] | None = None
        self._cached_counts: tuple[int, Counts] | None = None
        self.interned = interned
        self.generation = 0
        """Grows with every change."""

    def __len__(self) -> int:
        return self._count

    @property
    def columns(self) -> Columns:
        """Column name → array over the rows in use; which of them are flows say `live` and `rows`."""
        cached = self._cached_columns
        if cached is None or cached[0] != self._high:
            cached = (self._high, {name: column[: self._high] for name, column in self._columns.items()})
            self._cached_columns = cached
        return cached[1]

    @property
    def live(self) -> NDArray[np.bool_]:
        """Which rows are flows the kernel has."""
        return self._live[: self._high]

    @property
    def ended(self) -> NDArray[np.bool_]:
        """Which rows are flows that have just ended and stay for a moment."""
        return self._ended[: self._high]

    @property
    def fillers(self) -> NDArray[np.bool_]:
        """Which rows only occupy slots of a sandbox (model.flow.FILLER_ZONE and FILLER_MARK)."""
        mask: NDArray[np.bool_] = (self.columns["zone"] == FILLER_ZONE) & (
            self.columns["mark"] == FILLER_MARK
        )
        return mask

    def rows(self, *, ended: bool = False) -> Rows:
        """Rows of the live flows, with `ended` also of those that have just ended."""
        return np.flatnonzero(self.live | self.ended if ended else self.live)

    def row_of(self, key: int) -> int | None:
        """The row of the live flow with this key."""
        if self._rows_of is None:
            rows = self.rows()
            self._rows_of = dict(zip(self._columns["key"][rows].tolist(), rows.tolist(), strict=True))
        return self._rows_of.get(key)

    def counts(self) -> Counts:
        """The breakdown, counted once per generation."""
        if self._cached_counts is None or self._cached_counts[0] != self.generation:
            self._cached_counts = (self.generation, self._count_all())
        return self._cached_counts[1]

    def _count_all(self) -> Counts:
        columns, live = self.columns, self.live
        both = columns["proto"].astype(np.uint16) << np.uint16(8) | columns["state"]
        tally = np.bincount(both[live], minlength=1 << 16).reshape(256, 256)
        by_protocol = {
            PROTOCOLS.get(proto, f"proto-{proto}"): int(tally[proto].sum())
            for proto in np.flatnonzero(tally.any(axis=1)).tolist()
        }
        by_state: dict[str, int] = {}
        for proto in (IPPROTO_TCP, IPPROTO_SCTP):
            for state in np.flatnonzero(tally[proto]).tolist():
                if state != NO_STATE:
                    name = state_name(proto, state)
                    by_state[name] = by_state.get(name, 0) + int(tally[proto, state])
        assured = int(np.count_nonzero((columns["status"] & np.uint32(ASSURED)).astype(np.bool_) & live))
        return Counts(
            _most_first(by_protocol),
            _most_first(by_state),
            assured,
            self._count - assured,
            int(np.count_nonzero(self.fillers & live)),
        )

    def flow(self, row: int, now: float) -> Flow:
        """The flow of one row at `now` (monotonic seconds)."""
        return self.flows(np.array([row], np.int64), now)[0]

    def flows(self, rows: Rows, now: float) -> list[Flow]:
        """The flows of some rows, timeouts counted down to `now`."""
        columns = self._columns
        values: dict[str, list[Any]] = {name: columns[name][rows].tolist() for name in _SCALARS}
        ended = self._ended[rows].tolist()
        packed = {
            end: np.stack([columns[f"{end}{word}"][rows] for word in range(4)], axis=1)
            .astype(">u4")
            .tobytes()
            for end in ("orig_src", "orig_dst", "reply_src", "reply_dst")
        }
        helpers, blobs = self.interned.helpers, self.interned.blobs
        flows = []
        for n in range(len(ended)):
            v = {name: column[n] for name, column in values.items()}
            start = 16 * n
            stop = start + (4 if v["family"] == AF_INET else 16)
            read_s = v.pop("read_s")
            born_s = v.pop("born_s")
            v["timeout_s"] = max(0, v["timeout_s"] - int(now - read_s)) if not ended[n] else v["timeout_s"]
            v["state"] = _known(v["state"], NO_STATE)
            for name in _COUNTERS:
                v[name] = _known(v[name], _NO_COUNTER)
            for name in _STAMPS:
                v[name] = _known(v[name], 0)
            v["helper"] = helpers[v["helper"]]
            v["labels"] = blobs[v["labels"]]
            v["secctx"] = blobs[v["secctx"]].decode("utf-8", "replace")
            v["master"] = blobs[v["master"]]
            rate = v["rate_bps"]
            v["rate_bps"] = rate if rate == rate else None  # NaN: unknown
            for name, source in _TCP.items():
                v[name] = _known(v.pop(source), NO_WSCALE)
            flows.append(
                Flow(
                    orig_src=packed["orig_src"][start:stop],
                    orig_dst=packed["orig_dst"][start:stop],
                    reply_src=packed["reply_src"][start:stop],
                    reply_dst=packed["reply_dst"][start:stop],
                    born_s=max(0.0, now - born_s),
                    ended=ended[n],
                    **v,
                )
            )
        return flows

    def snapshot(self) -> "FlowTable":
        """A copy of this moment, ended flows included; row numbers are its own."""
        rows = self.rows(ended=True)
        columns = {name: column[rows] for name, column in self._columns.items() if name in SCHEMA}
        copy = FlowTable(columns, self._live[rows], self._ended[rows], self.interned.frozen())
        copy.generation = self.generation
        return copy


_ADDRESS_WORDS = {
    f"{end}{word}" for end in ("orig_src", "orig_dst", "reply_src", "reply_dst") for word in range(4)
}
_SCALARS = [name for name in SCHEMA if name not in _ADDRESS_WORDS and name != "order"]
_COUNTERS = ("orig_packets", "orig_bytes", "reply_packets", "reply_bytes")
_TCP = {
    "tcp_wscale_orig": "wscale_orig", "tcp_wscale_reply": "wscale_reply",
    "tcp_flags_orig": "tcpflags_orig", "tcp_flags_reply": "tcpflags_reply",
}  # fmt: skip
_STAMPS = ("start_ns", "stop_ns")
_NO_COUNTER = int(NO_COUNTER)


def _known(value: int, unknown: int) -> int | None:
    return None if value == unknown else value


def _most_first(tally: dict[str, int]) -> dict[str, int]:
    return dict(sorted(tally.items(), key=lambda item: -item[1]))
