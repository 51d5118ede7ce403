"""Readings of the conntrack table as a whole."""

import msgspec

STATISTICS: dict[str, str] = {
    "found": "Lookups that found an entry. Stays 0 on current kernels.",
    "invalid": "Packets that conntrack could not fit to any connection or found malformed. They pass, marked INVALID, unless a rule drops them.",
    "insert": "Entries inserted through ctnetlink; entries made by packets are not counted.",
    "insert_failed": "Packets dropped at confirmation, because another entry had their tuple: a lost race (the DNS five-second delay), or SNAT without a free port.",
    "drop": "Packets dropped by conntrack itself: table full or no memory, or at confirmation (insert_failed). No rule shows them.",
    "early_drop": "Entries not yet ASSURED that were evicted to make room in a full table.",
    "error": "ICMP errors and packets conntrack could not parse.",
    "search_restart": "Lookups started again because the hash table was resized meanwhile. Harmless unless it rises steadily.",
    "clash_resolve": "Lost races that conntrack could settle by using the winner's entry (UDP). No packet was lost.",
    "chaintoolong": "Insertions refused because a hash chain was too long: the hash table has too few buckets, or someone aims at one.",
}  # fmt: skip
"""Per-CPU statistics of `conntrack -S` (ctnetlink_ct_stat_cpu_fill_info) that this program shows."""


class Series(msgspec.Struct, array_like=True, frozen=True):
    """A history line: one value an interval, oldest first; NaN where nothing was read."""

    name: str
    values: list[float]
    exact: bool = True
    """False: a lower bound ("≥ n"), for new and ended flows counted from dump differences."""


class TableReading(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """The gauge: counts, limit, statistics, history.

    `maximum` 0 means unlimited (nf_conntrack_core.c: nf_conntrack_max is checked only when non-zero).
    `active` is True (a hook of conntrack is registered here or entries exist), False (the kernel lists its
    hooks and conntrack is not among them) or None (no evidence either way).
    """

    count: int | None
    maximum: int | None
    buckets: int | None
    active: bool | None
    active_why: str = ""
    """One sentence: which evidence, and which rule switched conntrack on where known."""
    held: int = 0
    """Flows in the probe's store; `count - held` are unconfirmed, dying or not yet read."""
    filler: int = 0
    by_protocol: dict[str, int] = {}
    by_state: dict[str, int] = {}
    assured: int = 0
    evictable: int = 0
    """Not ASSURED: what early_drop and the garbage collector may take."""
    stats: dict[str, int] = {}
    """Sum over CPUs, names as in STATISTICS."""
    rates: dict[str, float] = {}
    """Per second over the last interval: statistics, and `new`, `ended` flows."""
    history_interval_s: float = 1.0
    history: list[Series] = []


class Health(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """How far the screen can be trusted, and what the probe costs. Ages in seconds, None: never read."""

    counters_age_s: float | None = None
    dump_age_s: float | None = None
    dump_interval_s: float | None = None
    dump_cost_s: float | None = None
    hooks_age_s: float | None = None
    packets_age_s: float | None = None
    events_attached: bool = False
    events: int = 0
    events_lost: int = 0
    """Times the kernel said ENOBUFS: each hides an unknown number of events and is followed by a resync."""
    ghosts: int = 0
    """Flows that ended without an event, found by a dump."""
    resyncs: int = 0
    ring_drops: int = 0
    cpu_percent: float = 0.0
    rss_bytes: int = 0
    filter_in_kernel: bool = False
    clock_s: float = 0.0
    """The probe's monotonic clock at this answer."""
    events_lost_age_s: float | None = None
    """Seconds since events were lost last."""
