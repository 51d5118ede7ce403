"""Readings of a table and its path → findings: what is wrong, what it means, what to do. Pure functions.

Numbers about the kernel's behaviour were measured on 6.18; docs/diagnosis.md tells of each at length.
"""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from cttui.diagnosis import active_rules, forecast, network
from cttui.diagnosis.finding import ERROR, INFO, WARNING, Finding
from cttui.model.hooks import ActiveRule, Loss
from cttui.model.path import between
from cttui.model.safe import clean
from cttui.model.table import TableReading
from cttui.model.words import counted

_BY_RULE = re.compile(r"(dropped|rejected) by (the policy of |.* rule \d+)", re.DOTALL)
VERBS = ("lost", "dropped", "rejected", "refused")
NEARLY_FULL = 0.95
"""From here on the garbage collector may take what is not ASSURED (gc_worker in nf_conntrack_core.c)."""
CROWDED = 0.80
"""Where to alert: a burst takes the rest."""
HALF_OPEN, HALF_OPEN_SHARE = 50, 0.5
"""From so many SYN_SENT entries on, and this share of TCP, something doesn't answer."""
LONG_CHAINS = 8
"""Entries a bucket from which every lookup is slow."""


def packets(n: int) -> str:
    """`1 packet`, `3 packets`."""
    return counted(n, "packet")


def by_rule(loss: Loss) -> bool:
    """Whether a rule or policy dropped these packets: somebody meant that."""
    return loss.is_loss and _BY_RULE.match(loss.cause) is not None


def findings(
    table: TableReading,
    losses: Sequence[Loss] = (),
    rules: Sequence[ActiveRule] = (),
    network_rates: Mapping[str, float] = MappingProxyType({}),
) -> list[Finding]:
    """What these readings show, the worst first."""
    found = [
        *_table(table),
        *_statistics(table, dropped=any(active_rules.drops_invalid(rule) for rule in rules)),
        *active_rules.findings(rules, [clean(loss.cause) for loss in losses]),
        *network.findings(
            network_rates, [*(loss.source for loss in losses), *_discarded(losses, rules, network_rates)]
        ),
        *(_loss(loss, rules) for loss in losses if loss.packets),
    ]
    return sorted(found, key=lambda x: (ERROR, WARNING, INFO).index(x.level))


def _discarded(losses: Sequence[Loss], rules: Sequence[ActiveRule], rates: Mapping[str, float]) -> list[str]:
    """OutDiscards counts what rules took in OUTPUT, too (__ip_local_out): that is told of, and with stages so is the rest."""
    counted_by_stages = any(by_rule(x) and x.hook == "output" and not x.over for x in losses)
    taken = sum(x.pps for x in rules if active_rules.takes(x) and x.chain.lower() == "output")
    discarded = rates.get("IpOutDiscards", 0.0) + rates.get("Ip6OutDiscards", 0.0)
    return ["OutDiscards by rules"] if counted_by_stages or 0 < discarded <= 1.2 * taken else []


def is_full(table: TableReading) -> bool:
    """Whether no slot is left."""
    return bool(table.maximum and table.count is not None and table.count >= table.maximum)


def is_full_at_times(table: TableReading) -> bool:
    """Whether conntrack drops packets beside a table so nearly full: what ends is replaced at once."""
    near = bool(table.maximum and table.count is not None and table.count >= NEARLY_FULL * table.maximum)
    return near and dropped_before(table) > 0


def _percent(share: float) -> str:
    """Never rounded up to 100: then it would be full."""
    return f"{int(1000 * share) / 10:g}" if share >= NEARLY_FULL else f"{100 * share:.0f}"


def _contents(table: TableReading) -> tuple[str, ...]:
    """What the table holds most of, and how much of it can be evicted."""
    stateless = {name: n for name, n in table.by_protocol.items() if name not in ("tcp", "sctp")}
    most = sorted([*table.by_state.items(), *stateless.items()], key=lambda pair: -pair[1])[:3]
    if not most:
        return ()
    held = ", ".join(f"{clean(state)} {n:,}" for state, n in most)
    return (f"It holds {held}; {table.evictable:,} of all entries are not ASSURED and can be evicted.",)


def _table(table: TableReading) -> list[Finding]:
    out: list[Finding] = []
    if table.active is False:
        out.append(
            Finding(
                WARNING,
                "Conntrack is not active in this namespace.",
                (
                    clean(table.active_why)
                    or "No hook of conntrack is registered, so no packet makes an entry.",
                ),
                "A rule that needs it switches it on, e.g.  iptables -t raw -A PREROUTING -j CT",
            )
        )
    if not table.maximum or table.count is None:
        return out
    share = table.count / table.maximum
    if is_full(table) or is_full_at_times(table):
        now = f"{table.count:,} of {table.maximum:,}"
        rate = dropped_before(table)
        lost = f" Conntrack drops {rate:,.1f} packets/s." if rate else ""
        out.append(
            Finding(
                ERROR,
                f"The table is full: {now}.{lost}"
                if is_full(table)
                else f"The table is full again and again: {now} at this moment.{lost}",
                (
                    *_contents(table),
                    "A packet that would begin a flow is dropped by conntrack itself, before any filter rule, unless an "
                    "entry that is not ASSURED can be evicted (early_drop). No rule counter shows it.",
                    "After the first such loss the garbage collector also takes half-open and closing entries.",
                ),
                "Now: see what fills it, raise nf_conntrack_max, or exempt traffic with CT --notrack.",
            )
        )
    elif share >= NEARLY_FULL:
        dropped = max(table.stats.get("drop", 0) - max(table.stats.get("insert_failed", 0), 0), 0)
        out.append(
            Finding(
                WARNING,
                f"The table is {_percent(share)} % full.",
                (
                    *_contents(table),
                    "Once a packet has been lost because a table was full and nothing could be evicted, the garbage "
                    "collector's next walk ends entries that are not ASSURED, and closing ones, in every namespace "
                    "from 95 % on, long before their timeout. No statistic counts them.",
                    f"Dropped by conntrack here so far: {dropped:,}."
                    if dropped
                    else "None has been lost here so far.",
                ),
                "See what fills it before it is full.",
            )
        )
    elif share >= CROWDED:
        out.append(
            Finding(
                WARNING,
                f"The table is {_percent(share)} % full.",
                _contents(table),
                "A burst takes the rest: see what fills it.",
            )
        )
    if said := forecast.words(table):
        out.append(
            Finding(
                WARNING, f"{said[0].upper()}{said[1:]}.", _contents(table) if share < CROWDED else (),
                "See what fills it: group by destination port, by source, by state. Shorter timeouts are for entries "
                "to come; those that are there keep theirs, or are deleted.",
            )
        )  # fmt: skip
    half, tcp = table.by_state.get("SYN_SENT", 0), table.by_protocol.get("tcp", 0) - table.filler
    if half >= HALF_OPEN and half >= HALF_OPEN_SHARE * tcp:
        out.append(
            Finding(
                INFO,
                f"{half:,} connections wait for a first answer (SYN_SENT): {100 * half / max(tcp, half):.0f} % of TCP.",
                (
                    "A server, or a backend of a DNAT rule, that does not answer; a flood; or answers that come back "
                    "another way and are not seen here.",
                ),
                "Group them by destination and by source (what fills the table): one destination is a server, "
                "thousands of sources are a flood.",
            )
        )
    if table.buckets and table.count > LONG_CHAINS * table.buckets:
        out.append(
            Finding(
                WARNING,
                f"{table.count / table.buckets:.0f} entries share a hash bucket: every lookup walks a long chain.",
                remedy="Raise net.netfilter.nf_conntrack_buckets to the number of entries.",
            )
        )
    return out


_RISING: dict[str, tuple[str, str, str]] = {
    "insert_failed": (
        ERROR,
        "Packets are dropped at confirmation, because another entry has the tuple that theirs would get: two of one "
        "flow were in flight before either was confirmed, or SNAT has no free port left towards a destination.",
        "DNS over UDP with A and AAAA sent together (the five-second delay): single-request in resolv.conf, or CT "
        "--notrack for DNS. With SNAT or MASQUERADE: more addresses or ports to translate to, or shorter timeouts; "
        "group the flows by destination and port to see where to.",
    ),
    "chaintoolong": (
        ERROR, "Entries are refused because a hash chain is too long.",
        "Too few buckets, or somebody aims at one: raise nf_conntrack_buckets.",
    ),
    "early_drop": (
        WARNING, "The table is full, and entries that are not ASSURED are evicted for new ones.",
        "Handshakes that take their time are thrown out: treat it as a full table.",
    ),
    "invalid": (
        INFO, "Packets fit no connection or are malformed: INVALID. They pass unless a rule drops them.",
        active_rules.INVALID_REMEDY,
    ),
}  # fmt: skip


def dropped_before(table: TableReading) -> float:
    """Packets/s that conntrack drops before confirmation, where `drop` moves together with `insert_failed`."""
    races = max(table.rates.get("insert_failed", 0.0) - table.rates.get("chaintoolong", 0.0), 0.0)
    return max(table.rates.get("drop", 0.0) - races, 0.0)


def _statistics(table: TableReading, *, dropped: bool) -> list[Finding]:
    """Statistics that move right now. `dropped`: a rule drops INVALID packets, and is told of."""
    out = []
    rate = dropped_before(table)
    if rate > 0 and not is_full(table) and not is_full_at_times(table):
        out.append(
            Finding(
                ERROR,
                f"Conntrack drops {rate:,.1f} packets/s itself.",
                ("No rule shows them (statistic drop).",),
            )
        )
    for name, (level, why, remedy) in _RISING.items():
        if (rate := table.rates.get(name, 0.0)) > 0 and not (name == "invalid" and dropped):
            out.append(Finding(level, f"{name} rises by {rate:,.1f} a second.", (why,), remedy))
    return out


_WAYS = {
    "prerouting": "on the way in", "input": "on the way to a local process", "forward": "on the way through",
    "output": "on the way out of a local process", "postrouting": "on the way out",
}  # fmt: skip


def _loss(loss: Loss, rules: Sequence[ActiveRule]) -> Finding:
    cause, source = clean(loss.cause), clean(loss.source)
    were = "was" if loss.packets == 1 else "were"
    family = "IPv6" if loss.family == "ip6" else "IPv4"
    where = f"Missing {clean(between(loss))}, {_WAYS.get(loss.hook, loss.hook)} ({family})"
    where += f": {source}." if source else "."
    if not loss.is_loss:
        return Finding(INFO, f"{packets(loss.packets)} fewer went on: {cause}.", (where,))
    if by_rule(loss):
        rule, _, text = cause.partition(": ")
        now = sum(x.pps for x in rules if active_rules.takes(x) and cause.endswith(active_rules.named(x)))
        said = f"{rule}, {now:,.1f}/s now" if now else rule
        return Finding(INFO, f"{packets(loss.packets)} {were} {said}.", (*([text] if text else []), where))
    going = f"; {going_on(loss)}" if going_on(loss) else ""
    level = WARNING if loss.over or network.knocks(loss.source) else ERROR
    if cause == "unknown" and suspect(loss):
        return Finding(
            WARNING, f"{packets(loss.packets)} {were} lost, perhaps by {suspect(loss)}{going}.", (where,),
            "Without a counter of its own it can only be suspected: `counter drop` in an nft rule counts; a trace "
            "(journeys) shows each packet's end.",
        )  # fmt: skip
    if cause == "unknown":
        return Finding(
            level, f"{packets(loss.packets)} {were} lost, and no counter says why{going}.", (where,)
        )
    said = cause if cause.startswith(VERBS) else f"{verb(loss)}: {cause}"
    return Finding(level, f"{packets(loss.packets)} {were} {said}{going}.", (where,))


def verb(loss: Loss) -> str:
    """What became of packets: those that met no socket were delivered to UDP, which refuses them."""
    if not loss.is_loss:
        return "fewer"
    if by_rule(loss):
        return "dropped"
    return "refused" if loss.cause.startswith("no socket") else "lost"


def going_on(loss: Loss) -> str:
    """Whether it is still lost: how fast, or that it is over; "" after a burst."""
    if loss.over:
        return "none for a minute"
    return f"{loss.pps:,.0f}/s now" if loss.pps >= 1 else f"{loss.pps:.1f}/s now" if loss.pps else ""


def suspect(loss: Loss) -> str:
    """What may have dropped what nothing explains, the first of these: `policy DROP of fw in`; "" where nothing is."""
    source = clean(loss.source)
    if loss.cause != "unknown" or not source.startswith("perhaps "):
        return ""
    return re.split(r"; |: |, which", source.removeprefix("perhaps "))[0]


def alarming(losses: Sequence[Loss]) -> list[Loss]:
    """Losses that nobody meant."""
    return [x for x in losses if x.is_loss and x.packets and not by_rule(x)]
