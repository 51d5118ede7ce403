"""Before and after: everything that is counted, read around a job, and the difference as its Result.

A tun write is counted when it returns; on a veth pair the receiving side runs in a softirq, so the reading
after waits until events, rule counters and interface have been quiet for a moment, at most `settle_s`.
"""

import asyncio
import time
from dataclasses import dataclass

import numpy as np

from cttui.kernel import netstat
from cttui.kernel.kmsg import KernelLog
from cttui.kernel.ruleset import changes
from cttui.model.flow import state_name
from cttui.model.hooks import Chain
from cttui.model.jobs import CounterDelta, Result
from cttui.probe import losses
from cttui.probe.capture import Capture
from cttui.probe.counters import Counters, Sample, grown
from cttui.probe.hook_watch import HookWatch, Look, losses_between
from cttui.probe.watch import Watch

QUIET_S = 0.03
SHOWN_FLOWS = 64


@dataclass(slots=True)
class Baseline:
    """Everything counted at one moment."""

    sample: Sample
    look: Look
    order: int
    """Flows from this serial number on are new."""
    new: int
    ended: int
    lost: int


def deltas(chains: list[Chain]) -> list[CounterDelta]:
    """Rule and policy counters that moved, in path order; rule 0 is the chain's policy."""
    out: list[CounterDelta] = []
    for c in chains:

        def moved(rule: int, text: str, packets: int, size: int | None, c: Chain = c) -> CounterDelta:
            return CounterDelta(
                backend=c.backend, family=c.family, table=c.table, chain=c.chain, hook=c.hook,
                priority=c.priority, rule=rule, text=text, packets=packets, bytes=size or 0,
            )  # fmt: skip

        out += [moved(r.number, r.text, r.packets, r.bytes) for r in c.rules if r.packets]
        if c.policy_packets:
            out.append(moved(0, f"policy {c.policy}", c.policy_packets, c.policy_bytes))
    return out


class Measure:
    """Takes baselines and differences for the jobs of one probe."""

    def __init__(
        self, watch: Watch, counters: Counters, hooks: HookWatch, capture: Capture, log: KernelLog, netns: int
    ) -> None:
        self._watch, self._counters, self._hooks, self._capture = watch, counters, hooks, capture
        self._log, self._netns = log, netns

    async def _read(self) -> Baseline:
        store = self._watch.store
        look = await self._hooks.look(whole=True)
        return Baseline(
            self._counters.read(time.monotonic(), store.new_total, store.ended_total, exact=True),
            look,
            store.next_order,
            store.new_total,
            store.ended_total,
            self._watch.lost_total,
        )

    async def baseline(self) -> Baseline:
        """The reading before a job. Waiting events are applied first: they belong to what was before."""
        self._log.mark()
        before = await self._read()
        while self._watch.receive_events():
            await asyncio.sleep(0)
        before.order = self._watch.store.next_order
        before.new, before.ended = self._watch.store.new_total, self._watch.store.ended_total
        return before

    async def settle(self, settle_s: float) -> None:
        """Wait until nothing has arrived for QUIET_S, at most `settle_s`; a flood is bounded by that too."""
        end = time.monotonic() + settle_s
        quiet_since = time.monotonic()
        while (now := time.monotonic()) < end and now - quiet_since < QUIET_S:
            busy = self._watch.receive_events()
            busy = self._capture.receive() or busy
            if busy:
                quiet_since = time.monotonic()
            await asyncio.sleep(0 if busy else 0.005)
        # What has arrived by now counts, however much it is.
        while self._watch.receive_events():
            await asyncio.sleep(0)

    async def result(self, before: Baseline, settle_s: float) -> Result:
        """What changed since `before`. Fields of the burst itself are the caller's to add."""
        await self.settle(settle_s)
        store = self._watch.store
        after = await self._read()
        columns = store.columns
        rows = store.rows()
        rows = rows[columns["order"][rows] >= before.order]
        rows = rows[np.argsort(columns["order"][rows], kind="stable")]
        by_state: dict[str, int] = {}
        pairs, numbers = np.unique(
            np.stack([columns["proto"][rows], columns["state"][rows]]), axis=1, return_counts=True
        )
        for (proto, state), n in zip(pairs.T.tolist(), numbers.tolist(), strict=True):
            name = state_name(proto, None if state == 255 else state) or "stateless"
            by_state[name] = by_state.get(name, 0) + n
        new = after.new - before.new
        return Result(
            count_before=before.sample.count or 0,
            count_after=after.sample.count or 0,
            new=new,
            new_by_state=by_state,
            new_flows=store.flows(rows[:SHOWN_FLOWS], time.monotonic()),
            reclaimed=max(0, new - len(rows)),
            events_lost=after.lost - before.lost,
            stats=grown(after.look.stats, before.look.stats),
            network=netstat.delta(before.look.network, after.look.network),
            counters=deltas(changes(before.look.rules, after.look.rules)),
            stages=losses.stage_growth(before.look.stages_after, after.look.stages),
            losses=losses_between(before.look, after.look, self._counters.was_full),
            kernel_log=self._log.since_mark(self._netns),
        )
