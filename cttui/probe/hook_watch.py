"""The rules and stage counters of the namespace, read as often as they cost little, with rates."""

import asyncio
import time
from dataclasses import dataclass

from cttui.kernel import netstat
from cttui.kernel.rules import Reader
from cttui.kernel.ruleset import Rates, RuleSet, changes
from cttui.kernel.stages import Stages
from cttui.model.hooks import HooksReading, Loss, Stage
from cttui.model.messages import HookView
from cttui.probe import losses
from cttui.probe.counters import Counters, grown

DUTY = 0.10
SHORTEST_S = 1.0
LONGEST_S = 10.0
LOOKED_AT_S = 15.0
"""After this long without a question for hooks nobody looks: reading stops."""


@dataclass(frozen=True, slots=True)
class Look:
    """Everything that counts packets, read at one moment: only then do differences add up."""

    at_s: float
    rules: RuleSet
    stages: list[Stage]
    stats: dict[str, int]
    network: dict[str, int]


class HookWatch:
    """Reads rules while somebody looks at them, at most DUTY of a core."""

    def __init__(self, counters: Counters) -> None:
        self.stages = Stages()
        self.first_read = asyncio.Event()
        """Set once the rules have been read."""
        self._counters = counters
        self._reader = Reader()
        self._rates = Rates()
        self._last: Look | None = None
        self._base: Look | None = None
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

    async def look(self) -> Look:
        """One reading of everything, now. Rates are of the regular readings only: theirs is a fair span."""
        async with self._reading:
            rules = await self._reader.read()
            now = time.monotonic()
            try:
                stages = self.stages.read(now)
            except OSError:
                stages = []  # an administrator flushed the rule set: the counters are gone
            self._last = Look(now, rules, stages, self._counters.read_stats(), netstat.read())
            return self._last

    async def refresh(self) -> None:
        """A regular reading: rates, and the baseline of losses if there is none yet."""
        last = await self.look()
        self._rates.take(last.rules, last.at_s)
        if self._base is None:
            self._base = last
        self.first_read.set()

    async def run(self) -> None:
        """Read for ever, while somebody looks."""
        while True:
            if self.first_read.is_set() and time.monotonic() - self._asked_at > LOOKED_AT_S:
                self._wake.clear()
                await self._wake.wait()
            await self.refresh()
            self._wake.clear()
            interval = min(max(SHORTEST_S, self.rules.cost_s / DUTY), LONGEST_S)
            try:
                async with asyncio.timeout(interval):
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
        self._base = None
        self._wake.set()

    def disarm(self) -> None:
        """Remove our counters."""
        self.stages.disarm()
        self._base = None

    def reading(self, view: HookView) -> HooksReading:
        """The last reading, cut to the view, and where packets went missing since the counters were armed."""
        if time.monotonic() - self._asked_at > LOOKED_AT_S:
            self._wake.set()
        self._asked_at = time.monotonic()
        last = self._last
        if last is None:
            return HooksReading()
        return HooksReading(
            chains=last.rules.view(self._rates, view.rules_per_chain, view.order, view.first),
            stages=last.stages,
            losses=losses_between(self._base, last, self._counters.was_full)
            if self._base is not None
            else [],
            stages_armed=self.stages.armed,
            rules_total=sum(len(c.texts.lines) for c in last.rules.columns if not c.ours),
            missing=last.rules.missing,
            network=last.network,
            network_rates=self._counters.network_rates,
        )

    def close(self) -> None:
        """Let go of sockets and counters."""
        self.stages.disarm()
        self._reader.close()


def losses_between(before: Look, after: Look, full: bool | None) -> list[Loss]:
    """Packets that one stage counted and the next did not, between two readings; none without stages."""
    if not after.stages:
        return []
    return losses.attribute(
        losses.stage_growth(before.stages, after.stages),
        grown(after.stats, before.stats),
        changes(before.rules, after.rules),
        netstat.delta(before.network, after.network),
        full,
    )
