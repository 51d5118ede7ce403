"""The netfilter path as a list: what a packet of one family and direction meets, in its order. Pure.

Hooks and priorities: include/uapi/linux/netfilter_ipv4.h; conntrack's own: nf_conntrack_proto.c.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

import msgspec

from cttui.model.hooks import PRIORITIES, Chain, Stage

DIRECTIONS = ("in", "forward", "out")
HOOK_ORDER = ("ingress", "prerouting", "input", "forward", "output", "postrouting", "egress")
HOOKS_OF: dict[str, tuple[str, ...]] = {
    "in": ("ingress", "prerouting", "input"),
    "forward": ("ingress", "prerouting", "forward", "postrouting", "egress"),
    "out": ("output", "postrouting", "egress"),
}
FAMILIES_OF: dict[str, tuple[str, ...]] = {"ip": ("ip", "inet", "netdev"), "ip6": ("ip6", "inet", "netdev")}
"""Which chains a packet of a family meets: those of its own family, of inet, and of its device."""

_FAMILY_ORDER = ("netdev", "bridge", "arp", "ip", "ip6", "inet")
_BACKEND_ORDER = ("iptables-legacy", "iptables-nft", "nft")


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One thing on the path. `kind`: `start`, `chain`, `stage`, `defrag`, `conntrack`, `routing`, `confirm`, `end`."""

    kind: str
    label: str
    hook: str = ""
    priority: int = 0
    chain: Chain | None = None
    stage: Stage | None = None


class Placed(Protocol):
    """Anything that has a chain's place."""

    @property
    def backend(self) -> str: ...
    @property
    def family(self) -> str: ...
    @property
    def hook(self) -> str: ...
    @property
    def priority(self) -> int: ...


P = TypeVar("P", bound=Placed)


def chain_order(chains: Iterable[P]) -> list[P]:
    """All chains as a packet could meet them: by hook and priority, then those only reached by jumps.

    Among equal priorities the one made last comes first (nf_hook_entries_grow), which is nft's listing
    backwards; between backends the order is not readable, so it is a fixed one.
    """
    listed = list(chains)
    indexed = sorted(
        enumerate(listed),
        key=lambda pair: (
            not pair[1].hook,
            _place(HOOK_ORDER, pair[1].hook),
            pair[1].priority if pair[1].hook else 0,
            _place(_BACKEND_ORDER, pair[1].backend),
            _place(_FAMILY_ORDER, pair[1].family),
            -pair[0] if pair[1].hook else pair[0],
        ),
    )
    return [chain for _, chain in indexed]


def _place(order: Sequence[str], word: str) -> int:
    return order.index(word) if word in order else len(order)


def priority_name(priority: int) -> str:
    """The kernel's name of a priority, with the distance where it is near one: "raw", "conntrack - 1", "10"."""
    for name, value in PRIORITIES.items():
        if priority == value:
            return name
    if priority < -500:
        return "first"
    if priority > 500:
        return "last"
    for name, value in PRIORITIES.items():
        if 0 < abs(priority - value) <= 10:
            return f"{name} {'+' if priority > value else '-'} {abs(priority - value)}"
    return str(priority)


def path(
    chains: Iterable[Chain],
    stages: Iterable[Stage],
    family: str,
    direction: str,
    conntrack: bool | None = True,
) -> list[Point]:
    """The points of one path, first to last. Chains of ours are left out (stages stand for them).

    `conntrack` False leaves conntrack, its defragmentation and confirm out; None (unknown) draws them.
    """
    points = [Point(kind="start", label="local process" if direction == "out" else "network")]
    base = [c for c in chain_order(chains) if c.hook and not c.ours and c.family in FAMILIES_OF[family]]
    own = [s for s in stages if s.family == family]
    for number, hook in enumerate(HOOKS_OF[direction]):
        if number and hook in ("input", "forward", "postrouting") and not (hook == "postrouting" and direction == "forward"):  # fmt: skip
            points.append(Point(kind="routing", label="routing", hook=hook, priority=-(1 << 31)))
        here = [(s.priority, 1, _stage_point(s)) for s in own if s.hook == hook]
        here += [(c.priority, 2, _chain_point(c)) for c in base if c.hook == hook]
        if conntrack is not False:
            here += [(p.priority, 0, p) for p in _conntrack_points(hook)]
        points += [p for _, _, p in sorted(here, key=lambda entry: entry[:2])]
    points.append(Point(kind="end", label="local process" if direction == "in" else "network"))
    return points


def _stage_point(stage: Stage) -> Point:
    return Point(kind="stage", label=stage.label, hook=stage.hook, priority=stage.priority, stage=stage)


def _chain_point(chain: Chain) -> Point:
    label = f"{chain.table} {chain.chain}"
    return Point(kind="chain", label=label, hook=chain.hook, priority=chain.priority, chain=chain)


def _conntrack_points(hook: str) -> list[Point]:
    if hook in ("prerouting", "output"):
        return [
            Point(kind="defrag", label="defrag", hook=hook, priority=PRIORITIES["defrag"]),
            Point(kind="conntrack", label="conntrack", hook=hook, priority=PRIORITIES["conntrack"]),
        ]
    if hook in ("input", "postrouting"):
        return [Point(kind="confirm", label="confirm", hook=hook, priority=PRIORITIES["confirm"])]
    return []


ChainName = tuple[str, str, str, str]


def name(chain: Chain) -> ChainName:
    """(backend, family, table, chain)."""
    return chain.backend, chain.family, chain.table, chain.chain


def reached_from(chains: Iterable[Chain]) -> dict[ChainName, list[Chain]]:
    """For every chain the base chains from which packets can get to it; a base chain reaches itself.

    Follows the jumps among the rules given. Where a verdict map leads is not in its rule: a chain of such a
    table that no jump names counts as reachable from every base chain with a map.
    """
    listed = list(chains)
    by_table: dict[tuple[str, str, str], dict[str, Chain]] = {}
    for chain in listed:
        by_table.setdefault(name(chain)[:3], {})[chain.chain] = chain
    out: dict[ChainName, list[Chain]] = {name(c): [] for c in listed}
    for base in listed:
        if not base.hook:
            continue
        siblings = by_table[name(base)[:3]]
        seen: set[str] = set()
        todo = [base.chain]
        maps = False
        while todo:
            at = todo.pop()
            if at in seen:
                continue
            seen.add(at)
            for rule in siblings[at].rules:
                target = rule.verdict.removeprefix("jump ").removeprefix("goto ")
                if target in siblings:
                    todo.append(target)
                maps = maps or rule.verdict == "VMAP"
        if maps:
            seen |= {c for c, chain in siblings.items() if not chain.hook}
        for reached in seen:
            out[(*name(base)[:3], reached)].append(base)
    return out
