"""Once a second: counts, limit, statistics, network counters; rates and history lines from them."""

import collections
import math
from collections.abc import Callable
from dataclasses import dataclass, field

from cttui.kernel import sysctl
from cttui.model.table import Series

INTERVAL_S = 1.0
KEPT = 600
"""Samples of history kept: ten minutes."""
HISTORY = ("entries", "new", "ended", "drop", "early_drop", "insert_failed", "invalid")


@dataclass(slots=True)
class Sample:
    """One reading of everything that is a plain number; None where it can't be read."""

    at_s: float
    count: int | None
    maximum: int | None
    buckets: int | None
    stats: dict[str, int]
    network: dict[str, int]
    new: int
    ended: int
    exact: bool
    dumped_at: float | None = None
    """When the last whole dump ended: without events `new` and `ended` are of that moment, not of `at_s`."""

    @property
    def full(self) -> bool | None:
        """Whether the table is at its limit; None where either number can't be read."""
        return _at_limit(self.count, self.maximum)


def _at_limit(count: int | None, maximum: int | None) -> bool | None:
    if count is None or maximum is None:
        return None
    return bool(maximum) and count >= maximum


def read_number(name: str) -> int | None:
    """A sysctl that is one number, None where it does not exist or can't be read."""
    try:
        return int(sysctl.read(name))
    except (OSError, ValueError):
        return None


def grown(now: dict[str, int], before: dict[str, int]) -> dict[str, int]:
    """What counters grew by; a counter that went backwards (reset) or is new counts as not grown."""
    return {name: max(0, value - before.get(name, value)) for name, value in now.items()}


def _flows_between(before: Sample, after: Sample, span_s: float) -> dict[str, float]:
    return {
        "new": max(0, after.new - before.new) / span_s,
        "ended": max(0, after.ended - before.ended) / span_s,
    }


@dataclass
class Counters:
    """Takes samples and turns neighbours into rates. `read_stats`, `read_network`: name → total."""

    read_stats: Callable[[], dict[str, int]]
    read_network: Callable[[], dict[str, int]]
    last: Sample | None = None
    was_full: bool | None = None
    """Whether any reading so far saw the table at its limit: the reason for drops that are long past."""
    rates: dict[str, float] = field(default_factory=dict)
    network_rates: dict[str, float] = field(default_factory=dict)
    _history: dict[str, collections.deque[float]] = field(
        default_factory=lambda: {name: collections.deque(maxlen=KEPT) for name in HISTORY}
    )
    _dumped: Sample | None = None
    """The first sample after the last whole dump, while there are no events."""

    def saw_full(self) -> bool | None:
        """Whether the table is at its limit now, or was in any reading so far."""
        now = _at_limit(read_number("nf_conntrack_count"), read_number("nf_conntrack_max"))
        self.was_full = self.was_full or now
        return self.was_full

    def read(self, now: float, new: int, ended: int, exact: bool, dumped_at: float | None = None) -> Sample:
        """One sample; `new` and `ended` are the store's totals, `exact` whether events stand behind them."""
        sample = Sample(
            now,
            read_number("nf_conntrack_count"),
            read_number("nf_conntrack_max"),
            read_number("nf_conntrack_buckets"),
            self.read_stats(),
            self.read_network(),
            new,
            ended,
            exact,
            dumped_at,
        )
        self.was_full = self.was_full or sample.full
        return sample

    def take(self, sample: Sample) -> None:
        """Add a regular sample to the history; the rates are over the time since the one before."""
        before, self.last = self.last, sample
        values = {"entries": float(sample.count) if sample.count is not None else math.nan}
        flows = self._flow_rates(sample, before)
        if before is not None and sample.at_s > before.at_s:
            dt = sample.at_s - before.at_s
            self.rates = {k: v / dt for k, v in grown(sample.stats, before.stats).items()} | flows
            self.network_rates = {k: v / dt for k, v in grown(sample.network, before.network).items()}
        for name in HISTORY:
            self._history[name].append(values.get(name, self.rates.get(name, math.nan)))

    def _flow_rates(self, sample: Sample, before: Sample | None) -> dict[str, float]:
        """New and ended flows a second; nothing before there are two readings of the table.

        Dumps come more rarely than samples: a difference of dumps is spread over the time between them and holds
        until the next. Over the time between samples it would be none, and then more than there were.
        """
        if sample.exact:
            self._dumped = None
            if before is not None and before.exact and sample.at_s > before.at_s:
                return _flows_between(before, sample, sample.at_s - before.at_s)
            return {}
        since = self._dumped
        if since is not None and sample.dumped_at == since.dumped_at:
            return {name: self.rates[name] for name in ("new", "ended") if name in self.rates}
        if sample.dumped_at is not None:
            self._dumped = sample
            if since is not None and since.dumped_at is not None:
                return _flows_between(since, sample, sample.dumped_at - since.dumped_at)
        return {}

    def history(self, samples: int) -> list[Series]:
        """The last `samples` values of each line, oldest first."""
        if samples <= 0:
            return []
        exact = self.last is None or self.last.exact
        return [
            Series(name, list(line)[-samples:], exact or name not in ("new", "ended"))
            for name, line in self._history.items()
        ]
