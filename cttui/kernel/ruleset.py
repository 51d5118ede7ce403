"""A rule set as read, in columns: 100,000 rules are lists of numbers and texts until someone looks at them."""

import functools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from cttui.kernel import iptables_save, nft_json
from cttui.model.hooks import Chain, Rule
from cttui.model.path import chain_order

if TYPE_CHECKING:
    from cttui.kernel.rates import Rates

ANSWER_RULES, ANSWER_CHAINS = 4000, 1000
"""What one answer holds at most, whatever the view asks: a frame is 8 MiB, a screen has 60 lines."""

ChainKey = tuple[str, str, str, str]
"""(backend, family, table, chain)."""

_BUILTIN_TARGETS = {"", "ACCEPT", "DROP", "RETURN", "REJECT", "QUEUE", "NFQUEUE"}
_MAY_DROP = {"DROP", "REJECT", "QUEUE", "NFQUEUE", "SYNPROXY", "TPROXY", "VMAP", "STEAL", "TARPIT"}
_JSON_NEEDS = re.compile(
    r'"(?:ct|ct count|ct helper|ct timeout|ct expectation|snat|dnat|masquerade|redirect|synproxy|notrack|flow|xt)"'
)
_JSON_LEADS = re.compile(r'"(?:jump|goto|vmap)"')
_JSON_DROPS = re.compile(r'"(?:drop|reject|queue|synproxy|tproxy)"')
_JSON_COUNTED = re.compile(r'"counter": \{[^{}]*\}\}, \{"\w+": (?:null|\{[^{}]*\})\}\](?:,"comment":.*)?\}?\Z', re.DOTALL)  # fmt: skip


NOT_READ = "(text not read)"
"""A rule that is known by its counter only: the command is missing, or the rule set large and its texts come later."""


@functools.lru_cache(maxsize=20_000)
def explain(backend: str, text: str) -> nft_json.Meaning:
    """What a rule's stored text means: iptables words, or the JSON that nft printed."""
    if backend == "nft":
        if not text:
            return nft_json.Meaning(NOT_READ, counted=False)
        data: Any = msgspec.json.decode(text)
        return nft_json.explain(data if isinstance(data, dict) else {"expr": data})
    return nft_json.Meaning(text, iptables_save.verdict(text), iptables_save.conntrack(text))


@dataclass(slots=True)
class Texts:
    """The texts of one chain, kept from reading to reading while its rules are the same."""

    backend: str
    lines: list[str]
    needs: list[int] = field(default_factory=list)
    """Indices of rules that mention conntrack."""
    leads: list[int] = field(default_factory=list)
    """Indices of rules that may go on to another chain, or may drop without their counter saying so."""

    unread: bool = False
    """Whether the text of a rule is not known."""

    def scan(self, step: int = 1000) -> Iterator[None]:
        """Fill `needs` and `leads`, giving way after every `step` rules."""
        nft = self.backend == "nft"
        for i, line in enumerate(self.lines):
            if i % step == step - 1:
                yield
            if line == NOT_READ or (nft and not line):
                self.unread = True
            elif nft:
                if _JSON_NEEDS.search(line) and explain("nft", line).conntrack:
                    self.needs.append(i)
                uncounted = _JSON_DROPS.search(line) is not None and _JSON_COUNTED.search(line) is None
                if uncounted or _JSON_LEADS.search(line):
                    self.leads.append(i)
            else:
                if iptables_save.conntrack(line):
                    self.needs.append(i)
                if iptables_save.verdict(line) not in _BUILTIN_TARGETS:
                    self.leads.append(i)


@dataclass(slots=True)
class ChainRules:
    """One chain with its rules in columns. `packets` -1: a rule without a counter."""

    backend: str
    family: str
    table: str
    chain: str
    texts: Texts
    packets: list[int]
    sizes: list[int]
    hook: str = ""
    priority: int = 0
    device: str = ""
    policy: str = ""
    policy_packets: int | None = None
    policy_bytes: int | None = None
    ours: bool = False
    handles: list[int] | None = None
    table_handle: int = 0
    read_at_s: float = 0.0
    """Monotonic time of the counters where it is not that of the whole reading (nft)."""
    fresh: dict[int, float] = field(default_factory=dict)
    """Index → monotonic time of counters that were read later than the chain's (dear nft chains)."""
    dear_s: float = 0.0
    """CPU seconds that a reading costs where it is read more rarely than the rest, else 0."""

    @property
    def key(self) -> ChainKey:
        """(backend, family, table, chain)."""
        return self.backend, self.family, self.table, self.chain

    def rule(self, i: int, packets: int | None, size: int | None, pps: float | None = None) -> Rule:
        """Rule `i` (from 0) with the counts given."""
        meaning = explain(self.backend, self.texts.lines[i])
        return Rule(
            text=meaning.text,
            number=i + 1,
            packets=packets,
            bytes=size,
            pps=pps,
            verdict=meaning.verdict,
            conntrack=meaning.conntrack,
            handle=self.handles[i] if self.handles is not None else None,
        )

    def reading(self, indices: list[int], pps: "list[float | None] | None" = None, policy_pps: float | None = None) -> Chain:  # fmt: skip
        """The chain with some of its rules."""
        rules = []
        for i in indices:
            n = self.packets[i] if i < len(self.packets) else -1
            rules.append(self.rule(i, n if n >= 0 else None, self.sizes[i] if n >= 0 else None, pps[i] if pps else None))  # fmt: skip
        return self.head(rules, self.policy_packets, self.policy_bytes, policy_pps)

    def head(self, rules: list[Rule], policy_packets: int | None, policy_bytes: int | None, policy_pps: float | None = None) -> Chain:  # fmt: skip
        """The chain with these rules and policy counts."""
        return Chain(
            backend=self.backend, family=self.family, table=self.table, chain=self.chain, hook=self.hook,
            priority=self.priority, device=self.device, policy=self.policy, policy_packets=policy_packets,
            policy_bytes=policy_bytes, policy_pps=policy_pps, rules=rules, rules_total=len(self.texts.lines),
            ours=self.ours,
        )  # fmt: skip


@dataclass(slots=True)
class RuleSet:
    """Every chain of every backend at one moment."""

    columns: list[ChainRules]
    missing: list[str] = field(default_factory=list)
    """Sentences on what could not be read."""
    cost_s: float = 0.0
    """CPU seconds this reading took, child processes included; without dear chains and texts, which are read
    more rarely."""
    dear: bool = False
    """Whether there are chains whose counters are read more rarely than the rest."""

    def old(self, now: float) -> list[str]:
        """Sentences on chains whose counters are older than this reading, because reading them is dear."""
        return [
            f"{c.family} {c.table} {c.chain}: its {len(c.packets):,} rules cost the kernel {c.dear_s:.1f} s a reading; "
            f"counters of rules not on screen are {now - c.read_at_s:.0f} s old."
            for c in self.columns
            if c.dear_s and now - c.read_at_s > 1
        ]

    @property
    def unread(self) -> bool:
        """Whether there are rules of which only the counter is known, or none at all."""
        return bool(self.missing) or any(c.texts.unread for c in self.columns if not c.ours)

    @property
    def total(self) -> int:
        """Rules in all chains."""
        return sum(len(c.texts.lines) for c in self.columns)

    @property
    def chains(self) -> list[Chain]:
        """All chains with all their rules, in path order: for scripts; a screen asks for a `view`."""
        return chain_order([c.reading(list(range(len(c.texts.lines)))) for c in self.columns])

    def view(self, rates: "Rates | None" = None, rules_per_chain: int = 200, order: str = "path") -> list[Chain]:  # fmt: skip
        """All chains in path order, each with its first rules; "hottest" puts the busiest first.

        Bounded by ANSWER_RULES and ANSWER_CHAINS: base chains come first, then chains with most packets.
        """
        columns = self.columns
        if len(columns) > ANSWER_CHAINS:
            columns = sorted(columns, key=lambda c: (not c.hook, -max(c.packets, default=0)))[:ANSWER_CHAINS]
        left = ANSWER_RULES
        out = []
        for c in sorted(columns, key=lambda c: not c.hook):
            pps = rates.of(c) if rates is not None else None
            count = min(rules_per_chain, left)
            if order == "hottest":
                indices = hottest(c, pps, count)
            else:
                indices = list(range(min(count, len(c.texts.lines))))
            left -= len(indices)
            out.append(c.reading(indices, pps, rates.policy(c) if rates is not None else None))
        return chain_order(out)

    def needing_conntrack(self) -> Iterator[tuple[ChainRules, nft_json.Meaning]]:
        """Each rule that mentions conntrack with its chain, in path order."""
        for c in chain_order(c for c in self.columns if c.texts.needs and not c.ours):
            for i in c.texts.needs:
                yield c, explain(c.backend, c.texts.lines[i])


def hottest(chain: ChainRules, pps: "list[float | None] | None", count: int) -> list[int]:
    """Indices of the `count` busiest rules: by rate, then by packets, then by position."""
    n = len(chain.packets)
    rate = np.array([-1.0 if r is None else r for r in pps]) if pps is not None else np.zeros(n)
    packets = np.array(chain.packets, dtype=np.int64)
    return [int(i) for i in np.lexsort((np.arange(n), -packets, -rate))[:count]]


def moved(before: ChainRules | None, after: ChainRules) -> list[int | None]:
    """How far each rule's counter moved; None where there is no counter, no earlier reading, or a reset."""
    if before is None or before.table_handle != after.table_handle:
        return [None] * len(after.packets)
    same = before.handles == after.handles if after.handles is not None else before.texts.lines == after.texts.lines  # fmt: skip
    if same and len(before.packets) == len(after.packets):
        old: list[int] = before.packets
    else:
        known = dict(zip(_names(before), before.packets, strict=True))
        old = [known.get(name, -1) for name in _names(after)]
    return [b - a if b >= a >= 0 else None for a, b in zip(old, after.packets, strict=True)]


def _names(chain: ChainRules) -> list[Any]:
    """What a rule is called from reading to reading: its handle, which nft never uses twice, or its text
    with a number where the same text stands there more than once."""
    if chain.handles is not None:
        return list(chain.handles)
    seen: dict[str, int] = {}
    out: list[Any] = []
    for line in chain.texts.lines:
        seen[line] = seen.get(line, 0) + 1
        out.append((line, seen[line]))
    return out


def changes(before: RuleSet, after: RuleSet) -> list[Chain]:
    """What the counters grew by, as chains whose `packets` are differences: the food of loss attribution.

    Holds rules that counted, rules that lead to other chains, and rules that may drop uncounted (packets
    None). A rule or chain made or reset since `before` counts from zero.
    """
    old = {c.key: c for c in before.columns}
    out = []
    for c in after.columns:
        if c.ours:
            continue
        was = old.get(c.key)
        rules = []
        for i, d in _wanted(was, c):
            n = c.packets[i]
            grown = n if d is None else d
            meaning = explain(c.backend, c.texts.lines[i])
            if n < 0 or (meaning.verdict in _MAY_DROP and not meaning.counted):
                rules.append(c.rule(i, None, None))
            else:
                size = c.sizes[i] - (was.sizes[i] if d is not None and was is not None and len(was.sizes) == len(c.sizes) else 0)  # fmt: skip
                rules.append(c.rule(i, grown, max(size, 0)))
        policy = c.policy_packets
        policy_bytes = c.policy_bytes
        if policy is not None and was is not None and was.policy_packets is not None and policy >= was.policy_packets:  # fmt: skip
            policy -= was.policy_packets
            policy_bytes = max((policy_bytes or 0) - (was.policy_bytes or 0), 0)
        out.append(c.head(rules, policy, policy_bytes))
    return chain_order(out)


def _wanted(was: ChainRules | None, c: ChainRules) -> Iterable[tuple[int, int | None]]:
    """Index and growth of the rules that `changes` tells of. Most chains stand still: those cost little."""
    leads = c.texts.leads
    if was is not None and was.packets == c.packets and was.handles == c.handles and was.table_handle == c.table_handle and (c.handles is not None or was.texts.lines == c.texts.lines):  # fmt: skip
        return [(i, None if c.packets[i] < 0 else 0) for i in leads]
    wanted = set(leads)
    return [
        (i, d) for i, d in enumerate(moved(was, c)) if i in wanted or (c.packets[i] if d is None else d) > 0
    ]
