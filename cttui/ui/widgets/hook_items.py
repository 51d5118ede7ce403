"""What a hook panel lists, in the order in which a packet meets it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from cttui.diagnosis.findings import by_rule
from cttui.model.hooks import PRIORITIES, Chain, HooksReading, Loss, Rule, Stage
from cttui.model.path import HOOK_ORDER

CONNTRACK, CONFIRM = PRIORITIES["conntrack"], PRIORITIES["confirm"]
PATHS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("in", ("ingress", "prerouting", "input"), "local"),
    ("through", ("forward",), ""),
    ("out", ("output", "postrouting", "egress"), "device"),
)
"""The three ways of a packet: its hooks, and where it arrives. Routed packets go in → through → out."""


@dataclass(frozen=True, slots=True)
class Item:
    """One line of the list. `kind`: hook, stage, conntrack, confirm, chain, rule, more, loss or place."""

    kind: str
    name: str
    packets: int | None = None
    pps: float | None = None
    chain: Chain | None = None
    rule: Rule | None = None
    losses: tuple[Loss, ...] = ()
    """Of a loss itself, and in a panel of few lines of the step where they lie."""
    depth: int = 0
    exact: bool = True
    """False: `packets` is the least it can be."""


def at_least(chain: Chain) -> int | None:
    """Packets that certainly entered a base chain: its largest counter; None without any.

    A packet counts at most once in a rule and once in the policy, so none of them is more than what came in.
    """
    counters = [rule.packets for rule in chain.rules if rule.packets is not None]
    if chain.policy_packets is not None:
        counters.append(chain.policy_packets)
    return max(counters) if counters else None


def by_hook(reading: HooksReading) -> dict[str, list[tuple[int, Chain | list[Stage] | None]]]:
    """hook → (priority, chain, the stages of all families at that point, or None for conntrack), in path order."""
    out: dict[str, list[tuple[int, Chain | list[Stage] | None]]] = {hook: [] for hook in HOOK_ORDER}
    for chain in reading.chains:
        if chain.hook and not chain.ours:
            out.setdefault(chain.hook, []).append((chain.priority, chain))
    points: dict[tuple[str, int], list[Stage]] = {}
    for stage in reading.stages:
        points.setdefault((stage.hook, stage.priority), []).append(stage)
    for (hook, priority), stages in points.items():
        out.setdefault(hook, []).append((priority, stages))
    for hook in ("prerouting", "output"):
        out[hook].append((CONNTRACK, None))
    for hook in ("input", "postrouting"):
        out[hook].append((CONFIRM, None))
    for entries in out.values():
        entries.sort(
            key=lambda entry: (entry[0], entry[1] is not None)
        )  # stable: chains keep the reading's order
    return out


def path_items(reading: HooksReading) -> list[Item]:
    """The whole path as a list."""
    hooks = by_hook(reading)
    jumped = _by_name(reading.chains)
    items: list[Item] = []
    seen: set[int] = set()
    for _, names, arrival in PATHS:
        for hook in names:
            entries = hooks.get(hook, [])
            if not any(isinstance(entry, Chain | list) for _, entry in entries) and hook in (
                "ingress",
                "forward",
                "egress",
            ):
                continue
            items.append(Item("hook", hook.upper()))
            items += _hook_items(hook, entries, reading, jumped, seen)
        if arrival == "local":
            items.append(Item("place", "local process"))
    others = [
        chain for chain in reading.chains if not chain.hook and not chain.ours and id(chain) not in seen
    ]
    if others:
        items.append(Item("hook", "OTHER CHAINS"))
        for chain in others:
            items += _chain_items(chain, jumped, seen, 0)
    return items


def hottest_items(reading: HooksReading) -> list[Item]:
    """Rules, and policies that drop, the most packets/s first."""
    chains = [chain for chain in reading.chains if not chain.ours]
    items = [
        Item("rule", f"{family(chain)}{chain.table} {chain.chain}", rule.packets, rule.pps, chain, rule)
        for chain in chains
        for rule in chain.rules
    ]
    items += [
        Item("chain", chain.chain, chain.policy_packets, chain.policy_pps, chain)
        for chain in chains
        if chain.policy == "DROP" and chain.policy_packets
    ]
    items.sort(key=lambda item: (-(item.pps or 0.0), -(item.packets or 0)))
    return [Item("hook", "RULES"), *items] if items else []


def family(chain: Chain) -> str:
    """`ip6 `, "" for IPv4, as journeys say it: tables of both are called alike."""
    return "" if chain.family == "ip" else f"{chain.family} "


def total(stages: Iterable[Stage]) -> tuple[int, float | None]:
    """Packets and packets/s of one point, all families together."""
    stages = list(stages)
    rates = [stage.pps for stage in stages if stage.pps is not None]
    return sum(stage.packets for stage in stages), sum(rates) if rates else None


def _by_name(chains: Iterable[Chain]) -> dict[tuple[str, str, str, str], Chain]:
    return {
        (chain.backend, chain.family, chain.table, chain.chain): chain for chain in chains if not chain.hook
    }


def _hook_items(
    hook: str,
    entries: list[tuple[int, Chain | list[Stage] | None]],
    reading: HooksReading,
    jumped: dict[tuple[str, str, str, str], Chain],
    seen: set[int],
) -> Iterator[Item]:
    losses = [loss for loss in reading.losses if loss.hook == hook and loss.packets]
    named = {loss.after for loss in losses}
    last: tuple[int, str] | None = None
    between = False
    for priority, entry in entries:
        if entry is None:
            kind = "conntrack" if priority == CONNTRACK else "confirm"
            yield Item(kind, "conntrack" if kind == "conntrack" else "confirmation")
            between = True
        elif isinstance(entry, Chain):
            yield from _chain_items(entry, jumped, seen, 0)
            between = True
        else:
            packets, pps = total(entry)
            label = entry[0].label
            here = [loss for loss in losses if loss.before == label]
            for loss in here:
                losses.remove(loss)
                yield Item("loss", "", loss.packets, losses=(loss,))
            # A stage that says what the one before said, with nothing between them, is left out, unless a loss names it.
            if last is None or between or here or label in named or last[0] != packets:
                yield Item("stage", label, packets, pps)
            last, between = (packets, label), False
    for loss in losses:
        yield Item("loss", "", loss.packets, losses=(loss,))


def _chain_items(
    chain: Chain, jumped: dict[tuple[str, str, str, str], Chain], seen: set[int], depth: int
) -> Iterator[Item]:
    seen.add(id(chain))
    yield Item("chain", chain.chain, chain.policy_packets, chain.policy_pps, chain, depth=depth)
    for rule in chain.rules:
        yield Item("rule", "", rule.packets, rule.pps, chain, rule, depth=depth)
        name = rule.verdict.removeprefix("jump ").removeprefix("goto ")
        target = jumped.get((chain.backend, chain.family, chain.table, name))
        if target is not None and id(target) not in seen and depth < 16:
            yield from _chain_items(target, jumped, seen, depth + 1)
    if chain.rules_total > len(chain.rules):
        yield Item("more", f"{chain.rules_total - len(chain.rules):,} more rules", depth=depth)


def summary(reading: HooksReading) -> list[tuple[str, list[Item], str]]:
    """For a panel of few lines: (direction, stages or chains with what they counted, arrival).

    First those where packets are lost that nobody meant to be, then the busiest.
    Where stage counters are on they are exact; otherwise the largest counter of a chain is a lower bound.
    Prerouting and input are one line, output and postrouting another.
    """
    hooks = by_hook(reading)
    out: list[tuple[bool, int, str, list[Item], str]] = []
    for _, names, arrival in PATHS:
        items: list[Item] = []
        for hook in names:
            if hook == "postrouting" and items and (routed := _last_stage(hooks.get("forward", []))):
                items.append(Item("stage", "+ FORWARD", routed))  # 2 ──▶ 82 would be no path
            items += _summary_of(hook, hooks.get(hook, []), reading)
        losses = [loss for item in items for loss in item.losses]
        busy = max((n or 0 for n in (*(item.packets for item in items), *(loss.packets for loss in losses))), default=0)  # fmt: skip
        for i, item in enumerate(items):
            if item.exact and item.packets == 0 and any(before.packets for before in items[:i]):
                items, arrival = items[: i + 1], ""  # nothing comes further
                break
        seen = items[-1].chain if items else None
        if names[0] == "ingress" and seen is not None and seen.hook != "input":
            arrival = ""  # no counter behind routing: whether they were for this machine isn't known
        if items and items[-1].name == arrival:
            arrival = ""  # said already: that is where packets were lost
        if items and (busy or names[0] == "ingress"):
            titles = " → ".join(name.upper() for name in names if name not in ("ingress", "egress"))
            out.append((any(is_fresh(loss) for loss in losses), busy, titles, items, arrival))
    out = [entry for entry in out if entry[1]] or out  # what stands still says nothing beside what moves
    out.sort(key=lambda entry: (not entry[0], -entry[1]))
    return [(titles, items, arrival) for _, _, titles, items, arrival in out]


def is_fresh(loss: Loss) -> bool:
    """Whether these packets are being lost, or were a moment ago, and nobody meant that."""
    return loss.is_loss and not by_rule(loss) and not loss.over


_SHORT = {"in": "device", "routed in": "routed here", "confirm": "confirmation", "socket": "local"}
"""Stages and places in a panel of few lines, where they aren't called by their label."""


def _last_stage(entries: list[tuple[int, Chain | list[Stage] | None]]) -> int:
    """Packets that left a hook, 0 where no stage counts them."""
    points = [entry for _, entry in entries if isinstance(entry, list)]
    return total(points[-1])[0] if points else 0


def _summary_of(
    hook: str, entries: list[tuple[int, Chain | list[Stage] | None]], reading: HooksReading
) -> Iterator[Item]:
    losses = [loss for loss in reading.losses if loss.hook == hook and loss.packets]
    points = [entry for _, entry in entries if isinstance(entry, list)]
    if points:
        tables = {entry.table for _, entry in entries if isinstance(entry, Chain)}
        before: Item | None = None
        for stages in points:
            packets, pps = total(stages)
            label = stages[0].label
            here = tuple(loss for loss in losses if loss.before == label)
            losses = [loss for loss in losses if loss not in here]
            item = Item("stage", hook.upper() if label == hook else _SHORT.get(label, label), packets, pps, losses=here)  # fmt: skip
            changed = before is not None and packets != before.packets
            if here and before is not None:
                yield before  # what went in, where less came out
                before = None
            wanted = label in ("raw", "conntrack") or (label in tables and label in ("mangle", "nat"))
            if wanted or here or changed or (label == hook and hook not in ("prerouting", "output")):
                yield item
                before = None
            elif before is None or changed:
                before = item if stages is points[0] else None
        for place in dict.fromkeys(loss.before for loss in losses):  # behind the last stage
            here = tuple(loss for loss in losses if loss.before == place)
            yield Item("lost", _SHORT.get(place, place), losses=here)
        return
    # Chains of one name are one step, of other families or backends: a packet meets those of its family only,
    # and of these all that don't drop it.
    steps: dict[str, list[Chain]] = {}
    for _, entry in entries:
        if isinstance(entry, Chain):
            steps.setdefault(entry.chain if entry.table == "filter" else entry.table, []).append(entry)
    for name, chains in steps.items():
        least: dict[str, int] = {}
        for chain in chains:
            if (n := at_least(chain)) is not None:
                least[chain.family] = max(n, least.get(chain.family, 0))
        n = max(least.get("inet", 0), sum(n for family, n in least.items() if family != "inet"))
        yield Item("chain", name, n if least else None, chain=chains[0], exact=False)
