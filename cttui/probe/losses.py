"""Where packets went that one stage counted and the next did not. Pure arithmetic on counter differences.

A cause is named only where a counter says so; what no counter explains is "unknown". Which counter moves where:
nf_conntrack_core.c (drop, insert_failed), ip_input.c and ip6_input.c (InDelivers after LOCAL_IN, InNoRoutes,
IPReversePathFilter before it), ip_fragment.c (Reasm*), udp.c, tcp_ipv4.c.
"""

import itertools
from collections.abc import Iterable, Mapping

import msgspec

from cttui.kernel.stages import FRAGMENTS, MULTICAST
from cttui.model import path
from cttui.model.hooks import PRIORITIES, Chain, Loss, Stage
from cttui.model.network_words import ROUTING_IN, ROUTING_OUT, SOCKET, short
from cttui.probe.rule_losses import Gap, by_rules

_PREFIX = {"ip": "Ip", "ip6": "Ip6"}
UNKNOWN = "unknown"

Place = tuple[str, str, int]
"""(family, hook, priority) of a stage."""


def attribute(
    stages: Iterable[Stage],
    stats: dict[str, int],
    chains: Iterable[Chain],
    network: dict[str, int],
    table_full: bool | None = None,
    slack: Mapping[Place, int] | None = None,
    behind: Iterable[str] = (),
) -> list[Loss]:
    """The losses between stages, from differences of all counters over one and the same time.

    `chains` as from kernel.ruleset.changes. `table_full` is whether the conntrack table was at its limit during
    that time (an early_drop says so too). `slack`: packets that passed a stage while the stages were being read
    for the first time; nobody knows whether they had passed the next one then. `behind`: chains ("table chain")
    with counters older than the stages'. Losses are in path order; those with `is_loss` False were merged, or
    will be explained by what is behind.
    """
    slack = slack or {}
    by_hook: dict[tuple[str, str], list[Stage]] = {}
    for stage in stages:
        by_hook.setdefault((stage.family, stage.hook), []).append(stage)
    for of_hook in by_hook.values():
        of_hook.sort(key=lambda s: s.priority)
    gaps = [
        Gap(family, hook, a.label, b.label, a.priority, b.priority, missing)
        for (family, hook), of_hook in by_hook.items()
        for a, b in itertools.pairwise(of_hook)
        if (missing := a.packets - slack.get(place(a), 0) - b.packets) > 0
    ]
    losses = by_rules(gaps, list(chains), set(behind))
    losses += _defragmentation(gaps, network)
    losses += _conntrack(gaps, stats, table_full)
    # OutDiscards counts what rules took in OUTPUT, too (__ip_local_out).
    taken = {f: sum(x.packets for x in losses if x.family == f and x.hook == "output") for f in _PREFIX}
    discards = {f"{p}OutDiscards": network.get(f"{p}OutDiscards", 0) - taken[f] for f, p in _PREFIX.items()}
    losses += _routing(by_hook, network | discards, slack)
    losses += _confirm(by_hook, stats, network)
    losses += _sockets(by_hook, network)
    losses += [g.lose(g.left, f"perhaps dropped by {g.behind[0]}, whose counters are older", "", False) for g in gaps if g.left > 0 and g.behind]  # fmt: skip
    losses += [
        g.lose(g.left, UNKNOWN, "perhaps " + "; ".join(g.suspects[:3]) if g.suspects else "")
        for g in gaps
        if g.left > 0
    ]
    return sorted(losses, key=lambda loss: _order(loss, by_hook))


def place(stage: Stage) -> Place:
    return stage.family, stage.hook, stage.priority


def stage_growth(before: Iterable[Stage], after: Iterable[Stage]) -> list[Stage]:
    """What the stages counted between two readings; all of it where the counters were armed anew meanwhile."""
    known = {place(s): s for s in before}
    out = []
    for s in after:
        was = known.get(place(s))
        fresh = was is None or s.packets < was.packets
        out.append(
            s if fresh or was is None
            else msgspec.structs.replace(s, packets=s.packets - was.packets, bytes=max(s.bytes - was.bytes, 0))
        )  # fmt: skip
    return out


def _order(loss: Loss, by_hook: dict[tuple[str, str], list[Stage]]) -> tuple[str, int, int]:
    labels = [s.label for s in by_hook.get((loss.family, loss.hook), [])]
    place = labels.index(loss.after) if loss.after in labels else len(labels)
    hooks = path.HOOK_ORDER
    return loss.family, hooks.index(loss.hook) if loss.hook in hooks else len(hooks), place


# ------------------------------------------------------------------------------------- between the hooks


def _defragmentation(gaps: list[Gap], network: dict[str, int]) -> list[Loss]:
    out = []
    for family, prefix in _PREFIX.items():
        seen = network.get(FRAGMENTS, 0) if family == "ip6" else 0
        taken = network.get(f"{prefix}ReasmReqds", 0)
        whole = network.get(f"{prefix}ReasmOKs", 0)
        failed = network.get(f"{prefix}ReasmFails", 0)
        here = [g for g in gaps if g.family == family and g.left > 0 and g.low < PRIORITIES["defrag"] < g.high]  # fmt: skip
        if len(here) != 1:
            continue
        gap = here[0]
        held = min(gap.left, max(seen, taken - whole))
        if held <= 0:
            continue
        source = f"fragments +{seen}" if seen else f"ReasmReqds +{taken}, ReasmOKs +{whole}"
        # A datagram given up counts once, however many fragments of it had come.
        if lost := min(held, failed):
            out.append(gap.lose(lost, "fragments whose datagram was given up", f"ReasmFails +{failed}"))
        if held > lost:
            done = "reassembled into whole datagrams"
            if seen:
                done = "reassembled into whole datagrams, or waiting for the rest"
            elif not whole:
                done = "that wait for the rest of their datagram"
            if lost:
                done += ", or given up with it"
            out.append(gap.lose(held - lost, f"fragments {done}", source, is_loss=False))
    return out


def _conntrack(gaps: list[Gap], stats: dict[str, int], table_full: bool | None) -> list[Loss]:
    here = [g for g in gaps if g.left > 0 and g.low < PRIORITIES["conntrack"] < g.high]
    missing = sum(g.left for g in here)
    # A lost race at confirm counts as drop and insert_failed, a chain too long as insert_failed only.
    races = max(stats.get("insert_failed", 0) - stats.get("chaintoolong", 0), 0)
    dropped = max(stats.get("drop", 0) - races, 0)
    if not missing or not dropped:
        return []
    if dropped < missing and len(here) > 1:
        for gap in here:
            gap.suspects.append(f"conntrack (drop +{dropped})")
        return []
    full = table_full or stats.get("early_drop", 0) > 0
    if full:
        cause = "lost in conntrack: table full"
    elif table_full is False and stats.get("invalid", 0) >= missing:
        cause = f"dropped by conntrack, which found them invalid (invalid +{stats['invalid']})"
    else:
        cause = "dropped by conntrack; whether its table was full is not known"
    return [g.lose(min(g.left, dropped), cause, f"drop +{min(g.left, dropped)}") for g in here]


def _routing(by_hook: dict[tuple[str, str], list[Stage]], network: dict[str, int], slack: Mapping[Place, int]) -> list[Loss]:  # fmt: skip
    """Between PREROUTING and INPUT or FORWARD, and between OUTPUT or FORWARD and POSTROUTING."""
    out: list[Loss] = []
    for family in _PREFIX:
        ends = {hook: (s[0], s[-1]) for (f, hook), s in by_hook.items() if f == family and s}
        if {"prerouting", "input", "forward"} <= ends.keys():
            last = ends["prerouting"][1]
            missing = last.packets - slack.get(place(last), 0) - ends["input"][0].packets - ends["forward"][0].packets  # fmt: skip
            gap = Gap(family, "prerouting", last.label, "routing", 0, 0, missing)
            out += _named(gap, ROUTING_IN[family], network)
        if {"output", "forward", "postrouting"} <= ends.keys():
            last, on = ends["output"][1], ends["forward"][1]
            passed = last.packets + on.packets - slack.get(place(last), 0) - slack.get(place(on), 0)
            missing = passed - ends["postrouting"][0].packets
            gap = Gap(family, "output", last.label, ends["postrouting"][0].label, 0, 0, missing)
            out += _named(gap, ROUTING_OUT[family], network)
    return out


def _named(gap: Gap, causes: dict[str, str], network: dict[str, int]) -> list[Loss]:
    """Attribute a gap to network counters: certain where one moved, or where all together are the gap."""
    if gap.left <= 0:
        return []
    moved = {name: network[name] for name in causes if network.get(name, 0) > 0}
    prefix = _PREFIX[gap.family]
    held = network.get(f"{prefix}ReasmReqds", 0) - network.get(f"{prefix}ReasmOKs", 0)
    out: list[Loss] = []
    if len(moved) == 1 or sum(moved.values()) <= gap.left:
        for name, packets in moved.items():
            if gap.left > 0:
                n = min(packets, gap.left)
                out.append(gap.lose(n, causes[name], f"{short(name)} +{packets}"))
    elif moved:
        gap.suspects += [f"{short(name)} +{packets}" for name, packets in moved.items()]
    if gap.left > 0 and not moved and held >= gap.left and not network.get(f"{prefix}ReasmFails"):
        # Without conntrack IPv4 fragments meet here, in ip_local_deliver, before the INPUT hook.
        out.append(gap.lose(gap.left, "fragments reassembled into whole datagrams", f"ReasmReqds {held:+} more than ReasmOKs", is_loss=False))  # fmt: skip
    seen, taken = (network.get(name, 0) for name in MULTICAST[gap.family])
    if gap.hook == "prerouting" and gap.left > 0 and seen > taken:
        n = min(gap.left, seen - taken)
        out.append(gap.lose(n, "multicast that nothing here listens to", f"multicast +{n}", is_loss=False))
    if gap.left > 0:
        out.append(gap.lose(gap.left, UNKNOWN, "perhaps " + "; ".join(gap.suspects) if gap.suspects else ""))  # fmt: skip
    return out


def _confirm(by_hook: dict[tuple[str, str], list[Stage]], stats: dict[str, int], network: dict[str, int]) -> list[Loss]:  # fmt: skip
    """Lost races at confirmation, which comes after every stage: the packet has no entry and is dropped."""
    failed = stats.get("insert_failed", 0)
    if failed <= 0:
        return []
    cause = "lost in conntrack at confirmation: another entry has the same tuple"
    if stats.get("chaintoolong", 0) >= failed:
        cause = "refused by conntrack: the hash chain is too long"
    out = []
    for family, prefix in _PREFIX.items():
        stages = by_hook.get((family, "input"))
        if not stages or failed <= 0:
            continue
        # InDelivers counts behind INPUT, so that the difference is what confirm dropped.
        arrived = network.get(f"{prefix}InDelivers", 0) + network.get(f"{prefix}InUnknownProtos", 0)
        gap = Gap(family, "input", stages[-1].label, "confirm", 0, 0, stages[-1].packets - arrived)
        if gap.left > 0:
            n = min(gap.left, failed)
            out.append(gap.lose(n, cause, f"insert_failed +{n}"))
            failed -= n
    leaving = {
        f: s[-1] for (f, hook), s in by_hook.items() if hook == "postrouting" and s and s[-1].packets > 0
    }
    # OutTransmits (Linux 6.7) counts behind POSTROUTING. Without it only a lone family is certain.
    sent = {f: network.get(f"{_PREFIX[f]}OutTransmits", 0) for f in leaving}
    certain = any(sent.values()) or len(leaving) == 1
    for family, stage in leaving.items():
        lost = min(failed, stage.packets - sent[family])
        if certain and lost > 0:
            gap = Gap(family, "postrouting", stage.label, "confirm", 0, 0, lost)
            out.append(gap.lose(lost, cause, f"insert_failed +{lost}"))
            failed -= lost
    return out


def _sockets(by_hook: dict[tuple[str, str], list[Stage]], network: dict[str, int]) -> list[Loss]:
    """What reached its protocol and no application."""
    out = []
    for family, causes in SOCKET.items():
        at = family
        if not at:
            # TCP counts both families together: say the one that had traffic, if only one had.
            had = [f for f in _PREFIX if by_hook.get((f, "input")) and by_hook[f, "input"][-1].packets > 0]
            at = had[0] if len(had) == 1 else "ip"
        stages = by_hook.get((at, "input"))
        for name, cause in causes.items():
            packets = network.get(name, 0)
            if stages and packets > 0:
                gap = Gap(at, "input", stages[-1].label, "socket", 0, 0, packets)
                out.append(gap.lose(packets, cause, f"{short(name)} +{packets}"))
    return out
