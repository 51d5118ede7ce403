"""Rules and policies that drop packets, or keep them out of tracking, right now: said by their own counters."""

import heapq

from cttui.kernel.rates import Rates
from cttui.kernel.ruleset import ChainRules, RuleSet, explain
from cttui.model.hooks import ActiveRule

MOST = 5
DOES = {"DROP": "drops", "REJECT": "rejects"}


def active_rules(rules: RuleSet, rates: Rates) -> list[ActiveRule]:
    """The busiest first, at most MOST. Not among them: what has no counter, or one that other packets move too."""
    found: list[ActiveRule] = []
    for c in rules.columns:
        if c.ours:
            continue
        for i, pps in enumerate(() if rates.stands_still(c) else rates.of(c)):
            if pps and (one := _of_rule(c, i, pps)) is not None:
                found.append(one)
        if c.policy == "DROP" and (pps := rates.policy(c)):
            found.append(ActiveRule(family=c.family, table=c.table, chain=c.chain, does="drops", pps=pps))
    return heapq.nlargest(MOST, found, key=lambda one: one.pps)


def _of_rule(c: ChainRules, i: int, pps: float) -> ActiveRule | None:
    meaning = explain(c.backend, c.texts.lines[i])
    does = DOES.get(meaning.verdict) if meaning.counted else None
    if meaning.conntrack == "NOTRACK":
        does = "does not track"
    if does is None:
        return None
    return ActiveRule(
        family=c.family, table=c.table, chain=c.chain, number=i + 1, text=meaning.text, does=does, pps=pps
    )
