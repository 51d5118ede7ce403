"""The rules and stage counters of the namespace, read as often as they cost little, with rates."""

import asyncio
import time

from cttui.kernel import netstat
from cttui.kernel.rules import Reader
from cttui.kernel.ruleset import Rates, RuleSet, changes
from cttui.kernel.stages import Stages
from cttui.model.hooks import HooksReading, Stage
from cttui.model.messages import HookView
from cttui.probe import losses
from cttui.probe.counters import Counters, stage_growth

DUTY = 0.10
SHORTEST_S = 1.0
LONGEST_S = 10.0
LOOKED_AT_S = 15.0
"""After this long without a question for hooks nobody looks: reading stops."""


class HookWatch:
    """Reads rules while somebody looks at them, at most DUTY of a core."""

    def __init__(self, counters: Counters) -> None:
        self.stages = Stages()
        self.read_at: float | None = None
        self.cost_s = 0.0
        self.first_read = asyncio.Event()
        """Set once the rules have been read."""
        self._counters = counters
        self._reader = Reader()
        self._rates = Rates()
        self._rules = RuleSet([])
        self._reading = asyncio.Lock()
        self._asked_at = float("-inf")
        self._wake = asyncio.Event()
        self._stage_base: list[Stage] = []
        self._rule_base: RuleSet | None = None
        self._stat_base: dict[str, int] = {}
        self._network_base: dict[str, int] = {}

    @property
    def interval_s(self) -> float:
        """Seconds between readings at their present cost."""
        return min(max(SHORTEST_S, self.cost_s / DUTY), LONGEST_S)

    async def read_rules(self) -> RuleSet:
        """One reading of every backend, now. Rates are of the regular readings only: theirs is a fair span."""
        async with self._reading:
            self._rules = await self._reader.read()
            self.read_at = time.monotonic()
            self.cost_s = self._rules.cost_s
            return self._rules

    def read_stages(self) -> list[Stage]:
        """The stage counts now, [] when not armed or flushed away."""
        try:
            return self.stages.read(time.monotonic())
        except OSError:
            return []

    async def refresh(self) -> None:
        """A regular reading: rules, rates, and the baseline of losses if there is none yet."""
        rules = await self.read_rules()
        self._rates.take(rules, time.monotonic())
        if self._rule_base is None:
            self._rule_base = rules
        self.first_read.set()

    async def run(self) -> None:
        """Read for ever, while somebody looks."""
        while True:
            if self.first_read.is_set() and time.monotonic() - self._asked_at > LOOKED_AT_S:
                self._wake.clear()
                await self._wake.wait()
            await self.refresh()
            self._wake.clear()
            try:
                async with asyncio.timeout(self.interval_s):
                    await self._wake.wait()
            except TimeoutError:
                pass

    @property
    def rules(self) -> RuleSet:
        """The last regular reading."""
        return self._rules

    def invalidate(self) -> None:
        """The rules were changed by us: read them again at once."""
        self._wake.set()

    def arm(self) -> None:
        """Count stages ourselves; losses are measured from now on. Raises OSError."""
        self.stages.arm()
        self._stage_base = self.read_stages()
        self._rule_base = None
        self._stat_base = self._counters.read_stats()
        self._network_base = netstat.read()

    def disarm(self) -> None:
        """Remove our counters."""
        self.stages.disarm()

    def reading(self, view: HookView) -> HooksReading:
        """The last reading, cut to the view, and where packets went missing since the counters were armed."""
        if self._asked_at == float("-inf") or time.monotonic() - self._asked_at > LOOKED_AT_S:
            self._wake.set()
        self._asked_at = time.monotonic()
        stages = self.read_stages()
        found = []
        if stages and self._rule_base is not None:
            found = losses.attribute(
                stage_growth(self._stage_base, stages),
                {k: v - self._stat_base.get(k, 0) for k, v in self._counters.read_stats().items()},
                changes(self._rule_base, self._rules),
                netstat.delta(self._network_base, netstat.read()),
                self._counters.was_full,
            )
        last = self._counters.last
        return HooksReading(
            chains=self._rules.view(self._rates, view.rules_per_chain, view.order, view.first),
            stages=stages,
            losses=found,
            stages_armed=self.stages.armed,
            rules_total=self._rules.total,
            missing=self._rules.missing,
            network=last.network if last else {},
            network_rates=self._counters.network_rates,
        )

    def close(self) -> None:
        """Let go of sockets and counters."""
        self.stages.disarm()
        self._reader.close()
