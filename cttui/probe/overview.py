"""The table as a whole, and how far the screen can be trusted: what every answer begins with."""

import time

from cttui.flows.table import Counts
from cttui.kernel import ctnetlink
from cttui.model.table import Health, TableReading
from cttui.probe.capture import Capture
from cttui.probe.counters import INTERVAL_S, Counters
from cttui.probe.hook_watch import HookWatch
from cttui.probe.own_cost import OwnCost
from cttui.probe.queries import Remembered
from cttui.probe.watch import Watch


class Overview:
    """Reads nothing but the counters of the moment; the rest is what the others hold."""

    def __init__(
        self,
        watch: Watch,
        counters: Counters,
        hooks: HookWatch,
        capture: Capture,
        cost: OwnCost,
        *,
        privileged: bool,
    ) -> None:
        self._watch, self._counters, self._hooks, self._capture = watch, counters, hooks, capture
        self._cost = cost
        self._privileged = privileged
        self._counts = Remembered[None, Counts]()

    def table(self, history: int) -> TableReading:
        """The gauge at this moment, with `history` samples of each rate."""
        store = self._watch.store
        # Read for this answer; the history and the rates are of the regular samples.
        sample = self._counters.read(time.monotonic(), store.new_total, store.ended_total, exact=True)
        counts = self._counts.get(None, store.counts)
        if self._privileged:
            active, why = self._hooks.active
        else:
            active, why = (
                None,
                "The rules can't be read here, so whether one switches conntrack on is unknown.",
            )
        if sample.count and active is not True:
            held = f"the table holds {sample.count:,} {'entry' if sample.count == 1 else 'entries'}"
            rules = ", though no rule of this namespace switches it on" if self._privileged else ""
            active, why = True, f"Conntrack is on, or was: {held}{rules}."
        return TableReading(
            count=sample.count,
            maximum=sample.maximum,
            buckets=sample.buckets,
            active=active,
            active_why=why,
            held=len(self._watch.store),
            filler=counts.filler,
            by_protocol=counts.by_protocol,
            by_state=counts.by_state,
            assured=counts.assured,
            evictable=counts.evictable,
            stats=sample.stats,
            rates={k: v for k, v in self._counters.rates.items() if self._known(k)},
            history_interval_s=INTERVAL_S,
            history=[line for line in self._counters.history(history) if self._known(line.name)],
        )

    def _known(self, name: str) -> bool:
        """Whether a rate has a source here: new and ended flows are seen by events and dumps only."""
        return self._privileged or name not in ("new", "ended")

    def health(self, now: float, *, watching: bool) -> Health:
        """How old each part is at `now` (monotonic), what was lost, what we cost."""

        def age(at: float | None) -> float | None:
            return None if at is None else max(0.0, now - at)

        watch = self._watch
        return Health(
            counters_age_s=0.0,
            dump_age_s=age(watch.dumped_at),
            dump_interval_s=watch.interval_s if watching else None,
            dump_cost_s=watch.dump_cost_s,
            hooks_age_s=age(self._hooks.read_at),
            packets_age_s=self._capture.age_s,
            events_attached=watch.events is not None,
            events=watch.events_total,
            events_lost=watch.lost_total,
            ghosts=watch.store.ghosts_total,
            resyncs=watch.resyncs,
            ring_drops=self._capture.drops,
            cpu_percent=self._cost.cpu_percent,
            rss_bytes=self._cost.rss_bytes,
            filter_in_kernel=watch.filtered,
            clock_s=now,
            events_lost_age_s=age(watch.lost_at),
        )


def stats_without_privilege() -> dict[str, int]:
    """The statistics from /proc, which everybody may read; empty where there are none."""
    try:
        found = ctnetlink.stats_from_proc()
    except OSError:
        return {}
    found.pop("entries", None)
    return found
