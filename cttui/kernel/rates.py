"""Packets a second of rules, policies and stages: each from two readings and the time between just these."""

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from cttui.kernel.ruleset import ChainKey, ChainRules, RuleSet, moved
from cttui.model.hooks import Stage

StageKey = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class _Sample:
    at_s: float
    chains: dict[ChainKey, ChainRules]
    stages: dict[StageKey, Stage]


class Rates:
    """Rates between regular readings; None until there are two, and after a reset or reload."""

    def __init__(self) -> None:
        self._now: _Sample | None = None
        self._before: _Sample | None = None
        self._known: dict[ChainKey, list[float | None]] = {}

    def take(self, rules: RuleSet, stages: Iterable[Stage], now: float) -> None:
        """A new reading, `now` in monotonic seconds."""
        self._before = self._now
        self._now = _Sample(now, {c.key: c for c in rules.columns}, {_place(s): s for s in stages})
        # Where a dear chain was not read again, only the rules on screen have new rates.
        known = {}
        for c in rules.columns:
            was = self._before.chains.get(c.key) if self._before is not None else None
            if was is not None and c.read_at_s and c.read_at_s == was.read_at_s and c.key in self._known:
                known[c.key] = _refreshed(self._known[c.key], was, c)
        self._known = known

    @property
    def _span_s(self) -> float:
        return self._now.at_s - self._before.at_s if self._now and self._before else 0.0

    def of(self, chain: ChainRules) -> list[float | None]:
        """Each rule's rate."""
        known = self._known.get(chain.key)
        if known is None:
            before = self._before.chains.get(chain.key) if self._before is not None else None
            now = self._now.chains.get(chain.key) if self._now is not None else None
            known = self._known[chain.key] = self._since(before, now) if now is not None else []
        # Rules may have changed since that reading, before the next one is due.
        return known if len(known) == len(chain.packets) else [None] * len(chain.packets)

    def stands_still(self, chain: ChainRules) -> bool:
        """Whether none of the chain's counters moved since the reading before: cheap to tell."""
        before = self._before.chains.get(chain.key) if self._before is not None else None
        return before is not None and before.packets == chain.packets

    def _since(self, before: ChainRules | None, chain: ChainRules) -> list[float | None]:
        if before is None:
            return [None] * len(chain.packets)
        if not (before.read_at_s and chain.read_at_s):
            span = self._span_s
            return [None if d is None or span <= 0 else d / span for d in moved(before, chain)]
        span = chain.read_at_s - before.read_at_s
        if span <= 0:
            return _refreshed([None] * len(chain.packets), before, chain)
        rates = [None if d is None else d / span for d in moved(before, chain)]
        if before.fresh and before.handles is not None and chain.handles is not None:
            later = {before.handles[i]: at for i, at in before.fresh.items()}
            for i, handle in enumerate(chain.handles):
                rate = rates[i]
                if handle in later and rate is not None:
                    rates[i] = rate * span / max(chain.read_at_s - later[handle], 1e-3)
        return rates

    def policy(self, chain: ChainRules) -> float | None:
        """The policy's rate."""
        before = self._before.chains.get(chain.key) if self._before is not None else None
        if before is None or self._span_s <= 0 or before.table_handle != chain.table_handle:
            return None
        if before.policy_packets is None or chain.policy_packets is None:
            return None
        d = chain.policy_packets - before.policy_packets
        return d / self._span_s if d >= 0 else None

    def of_stages(self, stages: Iterable[Stage]) -> list[Stage]:
        """The stages, of this reading or a later one, with their rates."""
        return [msgspec.structs.replace(s, pps=self._of_stage(_place(s))) for s in stages]

    def _of_stage(self, place: StageKey) -> float | None:
        before = self._before.stages.get(place) if self._before is not None else None
        now = self._now.stages.get(place) if self._now is not None else None
        if before is None or now is None or self._span_s <= 0 or now.packets < before.packets:
            return None
        return (now.packets - before.packets) / self._span_s


def _refreshed(known: list[float | None], was: ChainRules, now: ChainRules) -> list[float | None]:
    """The rates known, and new ones for rules that were read singly since."""
    if not now.fresh or now.table_handle != was.table_handle or len(was.packets) != len(now.packets):
        return known
    known = list(known)
    for i, at in now.fresh.items():
        span = at - was.fresh.get(i, was.read_at_s)
        if span > 0:
            grown = now.packets[i] - was.packets[i]
            known[i] = grown / span if grown >= 0 else None
    return known


def _place(stage: Stage) -> StageKey:
    return stage.family, stage.hook, stage.priority
