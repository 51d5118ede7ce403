"""What trace messages mean: where a packet ended, and why it may have vanished."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from cttui.kernel import netstat
from cttui.kernel import trace as t
from cttui.kernel.trace_table import FIRST, START_PRIORITY, BaseChain, Place
from cttui.model.hooks import Loss
from cttui.model.safe import clean
from cttui.probe.rule_book import (
    CONFIRM,
    CONNTRACK_PRIORITY,
    DELIVERED_AT,
    END_POINTS,
    LEGACY,
    RuleBook,
    chain_label,
    is_end_point,
    is_ours,
)

UNKNOWN = "not known: trace messages were lost"
_BEFORE_CONNTRACK = -201
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
    losses: Sequence[Loss] = ()
    """Of a burst, by the counters of its stages and rules."""
    unheard: Mapping[str, str] = field(default_factory=dict)
    """By family: where and why every packet of the burst that was delivered got lost, `refused by UDP: no socket …`."""
    lost: int = 0
    """Times the listener's buffer overflowed: what a packet met last is then not known."""


class End(NamedTuple):
    """Where a packet ended. `mark` is the cell of its last stage: passed, dropped, refused, vanished or unknown."""

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
    nfproto: int = 0
    """NFPROTO_IPV4, NFPROTO_IPV6."""

    @property
    def family(self) -> str:
        """As chains are named."""
        return {2: "ip", 10: "ip6"}.get(self.nfproto, "inet")


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
        if last.place[2] == DELIVERED_AT and (why := evidence.unheard.get(last.family)):
            return End(why, False, "refused" if why.startswith("refused") else "vanished")
        return End(END_POINTS[last.place[2]], True, "passed")
    if is_ours(last.place) and last.place[2] == CONFIRM:
        return End("in conntrack: insert_failed, another packet's entry was there first", False, "vanished")
    if evidence.lost:
        return End(UNKNOWN, False, "unknown")
    return End(_vanished(last, book, evidence), False, "vanished")


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


def _vanished(last: LastStep, book: RuleBook, evidence: Evidence) -> str:
    """Where between two stages, and the likely cause."""
    base = last.base
    if in_conntrack(base, book):
        return f"in conntrack: {_conntrack_cause(evidence)}"
    position = book.position(base)
    if position is None:
        return f"lost behind {chain_label(base)}"
    if legacy := book.silent_between(position, last.family):
        return _by_legacy(legacy, position, last.family, evidence)
    label = _place_label(base, position)
    following = book.following(position, last.family)
    if following:
        return f"lost between {label} and {following}"
    if position.hook == "prerouting":
        found = [
            f"{netstat.EXPLAINS[name]} ({name} +{n})"
            for name in _ROUTING_COUNTERS
            if (n := evidence.network.get(name, 0)) > 0
        ]
        return f"in routing: {', '.join(found) or 'no counter says why'}"
    return f"lost after {label}"


def _by_legacy(chains: Sequence[Place], position: BaseChain, family: str, evidence: Evidence) -> str:
    """Lost where only rules of iptables-legacy can have done it: by which one, where a burst's counters say so."""
    causes = {
        loss.cause
        for loss in evidence.losses
        if loss.is_loss and (loss.family, loss.hook) == (family, position.hook)
    }
    names = [clean(f"{table.removeprefix(LEGACY)} {chain}") for _, table, chain in chains]
    if len(causes) == 1 and any(name in (cause := next(iter(causes))) for name in names):
        return f"{cause} (iptables-legacy, by its counter)"
    return f"lost in {' or '.join(names)}: by a rule of iptables-legacy? They can't be traced"


def _place_label(place: Place, position: BaseChain) -> str:
    """A place of ours by what it stands behind."""
    if not is_ours(place):
        return chain_label(place)
    if position.priority in (FIRST, START_PRIORITY):
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
