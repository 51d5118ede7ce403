"""What trace messages mean: the rule behind a handle, where a packet ended, and why it may have vanished."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from cttui.kernel import netstat
from cttui.kernel import trace as t
from cttui.kernel.ruleset import RuleSet, explain
from cttui.kernel.trace_table import MARKER, POINTS, START_PRIORITY, TABLE_PREFIX, BaseChain, Place
from cttui.model.hooks import HOOKS
from cttui.model.safe import clean

DELIVERED = "delivered"
UNKNOWN = "not known: trace messages were lost"
CONNTRACK_PRIORITY = -200
_BEFORE_CONNTRACK = -201
END_POINTS = {"input_end": DELIVERED, "postrouting_end": "sent"}
"""Points of ours that nothing but confirmation comes after → what a packet that passed them is."""
CONFIRM = "confirm"
"""Stands for a point behind confirmation, which no chain can be."""
_CT_STATES = ((1, "invalid"), (2, "established"), (4, "related"), (8, "new"), (64, "untracked"))
"""NF_CT_STATE_BIT of enum ip_conntrack_info, as nft's `ct state` names them."""


_ROUTING_COUNTERS = (
    "TcpExtIPReversePathFilter", "IpExtInNoRoutes", "IpInAddrErrors", "IpInHdrErrors", "IpExtInTruncatedPkts",
    "IpInDiscards", "Ip6InNoRoutes", "Ip6InAddrErrors", "Ip6InHdrErrors", "Ip6InTruncatedPkts", "Ip6InDiscards",
)  # fmt: skip
"""What counts packets between prerouting and input or forward."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What else moved since the trace was armed: the reasons for packets that vanish."""

    stats: Mapping[str, int] = field(default_factory=dict)
    """Per-CPU statistics of conntrack (model.table.STATISTICS), differences."""
    full: bool = False
    """The table is or was at its limit."""
    network: Mapping[str, int] = field(default_factory=dict)
    """IP counters (kernel.netstat), differences."""
    lost: int = 0
    """Times the listener's buffer overflowed: what a packet met last is then not known."""


class End(NamedTuple):
    """Where a packet ended. `mark` is the cell of its last stage: passed, dropped, vanished or unknown."""

    sentence: str
    ok: bool
    mark: str


class LastStep(NamedTuple):
    """The last message of a packet, and the last base chain (or point of ours) before or at it."""

    base: Place
    place: Place
    kind: int
    verdict: int
    handle: int


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
        # Rules of iptables-legacy send no trace messages.
        self.legacy = any(c.backend == "iptables-legacy" and c.texts.lines for c in columns)
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

    def following(self, place: Place) -> str:
        """The next stage of the same hook, for "between … and …"; "" for none."""
        here = self.position(place)
        if here is None:
            return ""
        later = [
            (chain.priority, chain_label(other))
            for other, chain in self.base.items()
            if chain.hook == here.hook and chain.priority > here.priority and not is_ours(other) and not is_counting(other)
            and (other[0] in ("inet", place[0]) or place[0] == "inet")
        ]  # fmt: skip
        if here.hook in ("prerouting", "output") and here.priority < CONNTRACK_PRIORITY:
            later.append((CONNTRACK_PRIORITY, "conntrack"))
        return min(later)[1] if later else ""


_COUNTING = re.compile(r"cttui_\d+")
"""kernel.stages names its tables so."""


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


def verdict_words(verdict: int, jump: str) -> str:
    """A verdict as nft names it."""
    words = {
        t.DROP: "drop", t.ACCEPT: "accept", t.STOLEN: "stolen", t.CONTINUE: "continue", t.BREAK: "break",
        t.JUMP: "jump", t.GOTO: "goto", t.RETURN_VERDICT: "return",
    }.get(verdict)  # fmt: skip
    if words is None:
        return f"queue to {verdict >> 16}" if verdict & 0xFFFF == t.QUEUE else f"verdict {verdict:#x}"
    return f"{words} {clean(jump)}" if jump else words


def state_words(bits: int, direction: int) -> str:
    """Conntrack state as `ct state` names it, and whether the packet is an answer."""
    words = ",".join(name for bit, name in _CT_STATES if bits & bit)
    return f"{words} (reply)" if words and direction else words


def in_order(position: BaseChain) -> tuple[int, int]:
    """Sort key along the packet's path."""
    return HOOKS.index(position.hook) if position.hook in HOOKS else len(HOOKS), position.priority


def end_of(last: LastStep, book: RuleBook, evidence: Evidence) -> End:
    """Where a packet ended whose last message is `last`."""
    if last.verdict == t.DROP and last.kind in (t.RULE, t.POLICY):
        where = chain_label(last.place)
        if last.kind == t.POLICY:
            return End(f"dropped by the policy of {where}", False, "dropped")
        return End(f"dropped by {where} {book.rule(last.place, last.handle)}", False, "dropped")
    if last.kind == t.RULE and last.verdict == t.STOLEN:
        return End(
            f"taken over in {chain_label(last.place)} ({book.rule(last.place, last.handle)})", True, "passed"
        )
    if last.kind == t.RULE and last.verdict & 0xFFFF == t.QUEUE and last.verdict < t.RETURN_VERDICT:
        return End(f"waiting in NFQUEUE {last.verdict >> 16}", False, "vanished")
    if is_end_point(last.place):
        return End(END_POINTS[last.place[2]], True, "passed")
    if is_ours(last.place) and last.place[2] == CONFIRM:
        return End("in conntrack: insert_failed, another packet's entry was there first", False, "vanished")
    if evidence.lost:
        return End(UNKNOWN, False, "unknown")
    return End(_vanished(last.base, book, evidence), False, "vanished")


def is_final(last: LastStep) -> bool:
    """Whether nothing can follow this message (a queued packet may come back)."""
    if is_ours(last.place):
        return last.place[2] in (*END_POINTS, CONFIRM)
    return last.verdict in (t.DROP, t.STOLEN) and last.kind in (t.RULE, t.POLICY)


def in_conntrack(base: Place, book: RuleBook) -> bool:
    """Whether a packet that was last seen at `base` vanished in conntrack."""
    position = book.position(base)
    return (
        position is not None
        and position.hook in ("prerouting", "output")
        and position.priority == _BEFORE_CONNTRACK
    )


def _vanished(base: Place, book: RuleBook, evidence: Evidence) -> str:
    """Where between two stages, and the likely cause."""
    if in_conntrack(base, book):
        return f"in conntrack: {_conntrack_cause(evidence)}"
    position = book.position(base)
    if position is None:
        return f"lost behind {chain_label(base)}"
    label = _place_label(base, position)
    following = book.following(base)
    if following:
        hint = ": by a rule of iptables-legacy? They can't be traced" if book.legacy else ""
        return f"lost between {label} and {following}{hint}"
    if position.hook == "prerouting":
        found = [
            f"{netstat.EXPLAINS[name]} ({name} +{n})"
            for name in _ROUTING_COUNTERS
            if (n := evidence.network.get(name, 0)) > 0
        ]
        return f"in routing: {', '.join(found) or 'no counter says why'}"
    return f"lost after {label}"


def _place_label(place: Place, position: BaseChain) -> str:
    """A place of ours by what it stands behind."""
    if not is_ours(place):
        return chain_label(place)
    if position.priority == START_PRIORITY:
        return f"the beginning of {position.hook}"
    if position.priority == CONNTRACK_PRIORITY + 1:
        return "conntrack"
    return f"the end of {position.hook}"


def _conntrack_cause(evidence: Evidence) -> str:
    drop = evidence.stats.get("drop", 0)
    if drop and evidence.full:
        return "table full"
    moved = [
        f"{name} +{n}" for name in ("drop", "chaintoolong", "error") if (n := evidence.stats.get(name, 0))
    ]
    return ", ".join(moved) if moved else "no statistic says why"
