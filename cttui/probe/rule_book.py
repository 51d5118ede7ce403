"""The chains and rules that a trace runs through: which come after which, and what their messages' handles mean."""

import re
from collections.abc import Mapping

from cttui.kernel.ruleset import RuleSet, explain
from cttui.kernel.trace_table import LAST, MARKER, POINTS, START_PRIORITY, TABLE_PREFIX, BaseChain, Place
from cttui.model.hooks import HOOKS
from cttui.model.safe import clean

DELIVERED = "delivered"
CONNTRACK_PRIORITY = -200
DELIVERED_AT = "input_end"
END_POINTS = {DELIVERED_AT: DELIVERED, "postrouting_end": "sent"}
"""Points of ours that nothing but confirmation comes after → what a packet that passed them is."""
CONFIRM = "confirm"
"""Stands for a point behind confirmation, which no chain can be."""


class RuleBook:
    """Chains and rules at the time of the trace."""

    def __init__(
        self,
        base: Mapping[Place, BaseChain],
        numbers: Mapping[tuple[str, str, str, int], int],
        rules: RuleSet | None = None,
    ) -> None:
        self.base = dict(base)
        self._numbers = numbers
        columns = rules.columns if rules is not None else []
        legacy = [c for c in columns if c.backend == "iptables-legacy" and c.hook]
        self._silent = {
            (c.family, f"{LEGACY}{c.table}", c.chain)
            for c in legacy
            if c.texts.lines or c.policy not in ("", "ACCEPT")
        }
        """Chains whose packets send no trace messages, and which may drop some."""
        for c in legacy:
            self.base[c.family, f"{LEGACY}{c.table}", c.chain] = BaseChain(c.hook, c.priority)
        self._chains = {
            (c.family, c.table, c.chain): c
            for c in sorted(
                columns, key=lambda c: c.backend == "iptables-nft"
            )  # its texts are the better ones
            if c.backend != "iptables-legacy"
        }

    def position(self, place: Place) -> BaseChain | None:
        """Hook and priority of a base chain or of a point of ours, None for a chain that is jumped to."""
        if is_ours(place):
            if place[2] == MARKER:
                return None
            if place[2].startswith("start_"):
                return BaseChain(place[2].removeprefix("start_"), START_PRIORITY)
            hook, priority = POINTS.get(place[2], ("", 0))
            return BaseChain(hook, priority) if hook else None
        return self.base.get(place)

    def rule(self, place: Place, handle: int) -> str:
        """`rule 3: <text>`, without text where it could not be read, by handle where its number is unknown."""
        number = self._numbers.get((*place, handle))
        if number is None:
            return f"rule handle {handle}"
        chain = self._chains.get(place)
        if chain is None or number > len(chain.texts.lines):
            return f"rule {number}"
        text = explain(chain.backend, chain.texts.lines[number - 1]).text
        return f"rule {number}: {clean(text, 200) or '(every packet)'}"

    def following(self, here: BaseChain, family: str) -> str:
        """The next stage of the same hook that would have sent a message, for "between … and …"; "" for none."""
        return min(self._speaking_after(here, family), default=(0, ""))[1]

    def silent_between(self, here: BaseChain, family: str) -> list[Place]:
        """Chains up to that next stage that may have dropped a packet without a message."""
        end = min(self._speaking_after(here, family), default=(LAST, ""))[0]
        return [
            place
            for place, chain in self.base.items()
            if place in self._silent and (place[0], chain.hook) == (family, here.hook)
            and here.priority <= chain.priority <= end  # of equal priorities either may come first
        ]  # fmt: skip

    def _speaking_after(self, here: BaseChain, family: str) -> list[tuple[int, str]]:
        """(priority, label) of the stages behind one, in its hook and of its family."""
        later = [
            (chain.priority, chain_label(place))
            for place, chain in self.base.items()
            if chain.hook == here.hook and chain.priority > here.priority and place[0] in ("inet", family)
            and not (is_ours(place) or is_counting(place) or silent(place))
        ]  # fmt: skip
        if here.hook in ("prerouting", "output") and here.priority < CONNTRACK_PRIORITY:
            later.append((CONNTRACK_PRIORITY, "conntrack"))
        return later


_COUNTING = re.compile(r"cttui_\d+")
"""kernel.stages names its tables so."""
LEGACY = "legacy "
"""What the tables of iptables-legacy are called here: they may stand beside those of iptables-nft."""


def silent(place: Place) -> bool:
    """Whether a chain sends no trace messages: one of iptables-legacy."""
    return place[1].startswith(LEGACY)


def is_counting(place: Place) -> bool:
    """Whether a place is of stage counters (of this or of another probe): no stage of the packet's own path."""
    return place[0] in ("ip", "ip6") and _COUNTING.fullmatch(place[1]) is not None


def is_ours(place: Place) -> bool:
    """Whether a place is of a trace table (of this or of another probe)."""
    return place[0] == "inet" and place[1].startswith(TABLE_PREFIX)


def is_end_point(place: Place) -> bool:
    """Whether a place is the last of a packet's path."""
    return is_ours(place) and place[2] in END_POINTS


def chain_label(place: Place) -> str:
    """`filter INPUT`; the family is named where it is not plain IPv4."""
    family, table, chain = place
    return clean(f"{table} {chain}" if family == "ip" else f"{family} {table} {chain}")


def in_order(position: BaseChain) -> tuple[int, int]:
    """Sort key along the packet's path."""
    return HOOKS.index(position.hook) if position.hook in HOOKS else len(HOOKS), position.priority
