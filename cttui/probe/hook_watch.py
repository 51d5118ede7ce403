"""The rules and stage counters of the namespace, read as often as they cost little, with rates."""

import asyncio
import time
from dataclasses import dataclass

import msgspec

from cttui.kernel import netstat
from cttui.kernel.conntrack_use import conntrack_active
from cttui.kernel.rates import Rates
from cttui.kernel.rules import Reader
from cttui.kernel.ruleset import RuleSet, changes
from cttui.kernel.stages import Stages
from cttui.model.hooks import HooksReading, Loss, Stage
from cttui.model.views import HookView
from cttui.probe import losses, settled
from cttui.probe.active_rules import active_rules
from cttui.probe.counters import Counters, grown
from cttui.probe.loss_rates import LossRates

DUTY, DUTY_BESIDE_DEAR = 0.08, 0.03
"""Share of a core for reading counters. Chains that are dear to read have a share of their own: kernel.nft_rules."""
SHORTEST_S = 1.0
OLDEST_S = 9.5
"""Nothing on screen gets older than this, as long as MOST_DUTY of a core is enough for it."""
MOST_DUTY = 0.095
LOOKED_AT_S = 15.0
"""After this long without a question for hooks nobody looks: reading stops."""


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """Everything that counts packets. Stages are read before the rest, and twice after it.

    However much traffic there is, a stage must not seem to miss what rules have not counted yet: a difference
    goes from the stages after one look to those before a later one. The two readings after it tell how many
    packets passed while a look was taken.
    """

    at_s: float
    stages: list[Stage]
    rules: RuleSet
    stats: dict[str, int]
    network: dict[str, int]
    stages_after: list[Stage]
    stages_last: list[Stage]


Gap = tuple[str, str, str]
"""(family, hook, stage before it)."""


class HookWatch:
    """Reads rules while somebody looks at them, at most DUTY of a core. `alone`: in a sandbox."""

    def __init__(self, counters: Counters, *, alone: bool) -> None:
        self.stages = Stages()
        self.first_read = asyncio.Event()
        """Set once the rules have been read."""
        self.active: tuple[bool | None, str] = None, "The rules have not been read yet."
        """Whether rules switch conntrack on, and why."""
        self._alone = alone
        self._counters = counters
        self._reader = Reader()
        self._rates = Rates()
        self._loss_rates = LossRates()
        self._last: Look | None = None
        self._base: Look | None = None
        self._losses: list[Loss] = []
        self._settled: list[Loss] = []
        """Of the time before rules were replaced: part of `_losses`."""
        self._unknown: tuple[dict[Gap, int], dict[Gap, int]] = {}, {}
        """What nothing explained at the last two regular readings."""
        self._answered: tuple[Look, Look | None, HookView, HooksReading] | None = None
        self._cost_s = self._since = self._cut_s = 0.0
        """CPU seconds of the last reading, this thread's when its counters had come, and of cutting it to the view."""
        self._reading = asyncio.Lock()
        self._asked_at = float("-inf")
        self._wake = asyncio.Event()

    @property
    def read_at(self) -> float | None:
        """When the last reading was, monotonic seconds."""
        return self._last.at_s if self._last is not None else None

    @property
    def unseen_s(self) -> float:
        """Seconds since somebody looked, or since the stage counters were armed."""
        return time.monotonic() - self._asked_at

    @property
    def rules(self) -> RuleSet:
        """The last reading's rules."""
        return self._last.rules if self._last is not None else RuleSet([])

    async def look(self, whole: bool = False) -> Look:
        """One reading of everything, now; `whole`: with every counter, whatever that costs.

        Rates are of the regular readings only: theirs is a fair span.
        """
        async with self._reading:
            now = time.monotonic()
            before = self._read_stages()
            rules = await self._reader.read(whole)
            self._cost_s, self._since = rules.cost_s, time.thread_time()
            stats, network = self._counters.read_stats(), netstat.read() | self.stages.kinds
            after, last = self._read_stages(), self._read_stages()
            then, self._last = self._last, Look(now, before, rules, stats, network, after, last)
            self.active = conntrack_active(rules, alone=self._alone)
            # Read here: the sample that sees the table full may come after the first packets it cost.
            full = self._counters.saw_full()
            if self._base and then and settled.counters_gone(then.rules, rules):
                self._settle(then, self._last, full)
            since = losses_between(self._base, self._last, full) if self._base else []
            self._losses = settled.together([*self._settled, *since])
            return self._last

    def _settle(self, before: Look, after: Look, full: bool | None) -> None:
        """Counters went away between these two: what is known of before stays so, and counting begins anew."""
        meanwhile = [settled.unexplained(x, losses.UNKNOWN) for x in losses_between(before, after, full)]
        self._settled = settled.together([*self._sure_losses(), *meanwhile])
        known = {_gap(x): x.packets for x in self._settled if x.cause == losses.UNKNOWN}
        self._base, self._unknown = after, (known, known)

    def _read_stages(self) -> list[Stage]:
        try:
            return self.stages.read()
        except OSError:
            return []  # an administrator flushed the rule set: the counters are gone

    async def refresh(self, whole: bool = False) -> None:
        """A regular reading: rates, and the baseline of losses if there is none yet."""
        last = await self.look(whole)
        self._rates.take(last.rules, last.stages, last.at_s)
        self._loss_rates.take(self._losses, last.at_s)
        if self._base is None:
            self._base = last
        self._unknown = (
            self._unknown[1],
            {_gap(x): x.packets for x in self._losses if x.cause == losses.UNKNOWN},
        )
        self._cost_s += time.thread_time() - self._since
        self.first_read.set()

    def _sure_losses(self) -> list[Loss]:
        """What is unexplained counts once two readings say so: a packet between two stages is on its way."""
        out = []
        for x in self._losses:
            if x.cause == losses.UNKNOWN:
                sure = min(x.packets, *(known.get(_gap(x), 0) for known in self._unknown))
                x = msgspec.structs.replace(x, packets=sure)
            if x.packets:
                out.append(self._loss_rates.told(x))
        return out

    async def run(self) -> None:
        """Read for ever, while somebody looks."""
        before_s = float("inf")
        while True:
            if self.first_read.is_set() and time.monotonic() - self._asked_at > LOOKED_AT_S:
                self._wake.clear()
                await self._wake.wait()
            began = time.monotonic()
            await self.refresh()
            self._wake.clear()
            cost_s = self._cost_s + self._cut_s
            # Texts that are new cost once: the dearer of two readings says nothing of the next.
            pause_s = pause(min(cost_s, before_s), time.monotonic() - began, dear=self.rules.dear)
            before_s = cost_s
            try:
                async with asyncio.timeout(pause_s):
                    await self._wake.wait()
            except TimeoutError:
                pass

    def invalidate(self) -> None:
        """The rules were changed by us: read them again at once."""
        self._wake.set()

    def arm(self) -> None:
        """Count stages ourselves; losses are measured from the next reading on. Raises OSError."""
        self.stages.arm()
        self._asked_at = time.monotonic()
        self._base, self._losses, self._settled, self._unknown = None, [], [], ({}, {})
        self._wake.set()

    def disarm(self) -> None:
        """Remove our counters."""
        self.stages.disarm()
        self._base, self._losses, self._settled, self._unknown = None, [], [], ({}, {})

    def reading(self, view: HookView) -> HooksReading:
        """The last reading, cut to the view, and where packets went missing since the counters were armed."""
        if time.monotonic() - self._asked_at > LOOKED_AT_S:
            self._wake.set()
        self._asked_at = time.monotonic()
        last = self._last
        if last is None:
            return HooksReading()
        missing = last.rules.missing + last.rules.old(time.monotonic())
        if self._answered is not None and self._answered[:3] == (last, self._base, view):
            return msgspec.structs.replace(self._answered[3], missing=missing)
        began = time.thread_time()
        chains = last.rules.view(self._rates, view.rules_per_chain, view.order)
        self._reader.watched = {(c.family, c.table, c.chain): [r.number - 1 for r in c.rules] for c in chains}
        reading = HooksReading(
            chains=chains,
            stages=self._rates.of_stages(last.stages),
            losses=self._sure_losses(),
            stages_armed=self.stages.armed,
            rules_total=sum(len(c.texts.lines) for c in last.rules.columns if not c.ours),
            missing=missing,
            network=last.network,
            network_rates=self._counters.network_rates,
            active_rules=active_rules(last.rules, self._rates),
        )
        self._answered = last, self._base, view, reading
        self._cut_s = time.thread_time() - began
        return reading

    def close(self) -> None:
        """Let go of sockets and counters."""
        self.stages.disarm()
        self._reader.close()


def pause(cost_s: float, wall_s: float, *, dear: bool) -> float:
    """Seconds until the next reading, after one that took so much CPU time and so long.

    A counter is shown from the beginning of its reading to the end of the next one.
    """
    usual = max(SHORTEST_S, cost_s / (DUTY_BESIDE_DEAR if dear else DUTY))
    return min(usual, max(OLDEST_S - 2 * wall_s, cost_s / MOST_DUTY - wall_s, SHORTEST_S))


def _gap(loss: Loss) -> Gap:
    return loss.family, loss.hook, loss.after


def losses_between(before: Look, after: Look, full: bool | None) -> list[Loss]:
    """Packets that one stage counted and the next did not, between two readings; none without stages."""
    if not after.stages:
        return []
    return losses.attribute(
        losses.stage_growth(before.stages_after, after.stages),
        grown(after.stats, before.stats),
        changes(before.rules, after.rules),
        netstat.delta(before.network, after.network),
        full,
        {losses.place(s): s.packets for s in losses.stage_growth(before.stages_after, before.stages_last)},
        [f"{c.table} {c.chain}" for c in after.rules.columns if c.dear_s and c.read_at_s < after.at_s],
    )
