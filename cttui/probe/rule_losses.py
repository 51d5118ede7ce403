"""Which rules and policies dropped what one stage counted and the next did not. Pure arithmetic."""

from dataclasses import dataclass, field

from cttui.model import path
from cttui.model.hooks import Chain, Loss

_DROPS = ("DROP", "REJECT")
_MAY_DROP = (*_DROPS, "QUEUE", "NFQUEUE", "VMAP", "SYNPROXY", "TPROXY", "STEAL", "TARPIT")


@dataclass(slots=True)
class Gap:
    """Between two neighbouring stages: how many packets are still to be explained."""

    family: str
    hook: str
    after: str
    before: str
    low: int
    high: int
    left: int
    behind: list[str] = field(default_factory=list)
    """Chains here whose counters are older than the stages'."""
    suspects: list[str] = field(default_factory=list)
    """What may have dropped here without a counter to say so."""

    def lose(self, packets: int, cause: str, source: str, is_loss: bool = True) -> Loss:
        """The loss of so many of them; the rest is still to be explained."""
        self.left -= packets
        return Loss(
            family=self.family, hook=self.hook, after=self.after, before=self.before, packets=packets, cause=cause,
            source=source, is_loss=is_loss,
        )  # fmt: skip


@dataclass(slots=True)
class _Source:
    """A rule or policy that dropped `packets`, in one of several gaps."""

    name: str
    counter: str
    verb: str
    text: str
    packets: int
    gaps: list[Gap]

    @property
    def cause(self) -> str:
        return f"{self.verb} by {self.name}" + (f": {self.text}" if self.text else "")

    @property
    def source(self) -> str:
        return f"{self.counter} +{self.packets}"


def by_rules(gaps: list[Gap], chains: list[Chain], behind: set[str]) -> list[Loss]:
    """What rules and policies with a counter dropped; what has none is noted as a suspect."""
    reached = path.reached_from(chains)
    sources: list[_Source] = []
    for chain in chains:
        bases = reached[path.name(chain)]
        where = [g for g in gaps if any(_within(base, g) for base in bases)]
        if not where:
            continue
        title = f"{chain.table} {chain.chain}"
        if title in behind:
            for gap in where:
                gap.behind.append(title)
        for rule in chain.rules:
            if rule.verdict in _DROPS and rule.packets:
                name = f"{title} rule {rule.number}"
                word = "rejected" if rule.verdict == "REJECT" else "dropped"
                sources.append(_Source(name, name, word, rule.text, rule.packets, where))
            elif rule.verdict in _MAY_DROP and rule.packets != 0 and not (rule.verdict in _DROPS and rule.packets):  # fmt: skip
                for gap in where:
                    gap.suspects.append(f"{title} rule {rule.number}: {rule.text}")
        if chain.hook and chain.policy == "DROP":
            here = [g for g in where if _within(chain, g)]
            if chain.policy_packets:
                sources.append(
                    _Source(
                        f"the policy of {title}", f"{title} policy", "dropped", "", chain.policy_packets, here
                    )
                )
            elif chain.policy_packets is None:
                for gap in here:
                    gap.suspects.append(f"policy DROP of {title}, which has no counter")
    return _settle(sources)


def _within(base: Chain, gap: Gap) -> bool:
    families = path.FAMILIES_OF[gap.family]
    # Ours are made last, and among equals the last one made comes first (nf_hook_entries_grow).
    return base.hook == gap.hook and base.family in families and gap.low <= base.priority < gap.high


def _settle(sources: list[_Source]) -> list[Loss]:
    """Give each source's packets to the gap where they are missing; where that is not certain, to none.

    Certain: a source with one gap left, or one that dropped at least what all its gaps miss together (an inet
    rule drops in two families). Several that share their gaps and dropped all of it are named together.
    """
    out: list[Loss] = []
    waiting = sources
    progress = True
    while progress and waiting:
        progress = False
        still: list[_Source] = []
        for source in waiting:
            open_gaps = [g for g in source.gaps if g.left > 0]
            if not open_gaps:
                continue
            if len(open_gaps) == 1 or sum(g.left for g in open_gaps) <= source.packets:
                for gap in open_gaps:
                    out.append(gap.lose(min(gap.left, source.packets), source.cause, source.source))
                    progress = True
            else:
                still.append(source)
        waiting = still
    for together in _sharing(waiting):
        gaps = {id(g): g for source in together for g in source.gaps if g.left > 0}.values()
        if sum(g.left for g in gaps) <= sum(source.packets for source in together):
            names = [source.name for source in together[:3]]
            if len(together) > 3:
                names.append(f"{len(together) - 3} more rules")
            cause = f"dropped by {', '.join(names[:-1])} or {names[-1]}"
            out += [g.lose(g.left, cause, ", ".join(source.source for source in together[:3])) for g in gaps]  # fmt: skip
            continue
        for source in together:
            for gap in source.gaps:
                if gap.left > 0:
                    gap.suspects.append(source.source)
    return out


def _sharing(sources: list[_Source]) -> list[list[_Source]]:
    """Sources that have open gaps in common, directly or through others, in groups."""
    groups: list[tuple[set[int], list[_Source]]] = []
    for source in sources:
        gaps = {id(g) for g in source.gaps if g.left > 0}
        members = [source]
        for group in [g for g in groups if g[0] & gaps]:
            groups.remove(group)
            gaps |= group[0]
            members = group[1] + members
        groups.append((gaps, members))
    return [members for _, members in groups]
