"""The order in which packets meet chains, and which chains jumps lead to. Pure.

Hooks and priorities: include/uapi/linux/netfilter_ipv4.h.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

from cttui.model.hooks import Chain, Loss

HOOK_ORDER = ("ingress", "prerouting", "input", "forward", "output", "postrouting", "egress")
FAMILIES_OF: dict[str, tuple[str, ...]] = {"ip": ("ip", "inet", "netdev"), "ip6": ("ip6", "inet", "netdev")}
"""Which chains a packet of a family meets: those of its own family, of inet, and of its device."""

_FAMILY_ORDER = ("netdev", "bridge", "arp", "ip", "ip6", "inet")
_BACKEND_ORDER = ("iptables-legacy", "iptables-nft", "nft")


_PLACES = {
    "in": "from the device", "local": "from a local process", "routed in": "routed to this machine",
    "routed on": "routed onward", "routed out": "routed out",
    "routing": "routing", "confirm": "confirmation", "socket": "local process",
}  # fmt: skip


def place_name(label: str) -> str:
    """A stage, or where a loss lies behind the last of them, as every screen and text calls it: `after raw`."""
    return _PLACES.get(label, f"after {label}")


def between(loss: Loss) -> str:
    """`between “after raw” and “after conntrack”`."""
    return f"between “{place_name(loss.after)}” and “{place_name(loss.before)}”"


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
