"""What is asked before something is changed, and what happened afterwards, in words. Pure functions."""

from collections import Counter
from collections.abc import Sequence

from cttui.diagnosis.finding import ERROR, WARNING
from cttui.diagnosis.findings import by_rule, findings, verb
from cttui.model import flow as f
from cttui.model import words
from cttui.model.flow import Flow
from cttui.model.hooks import HooksReading
from cttui.model.jobs import Notice, Result
from cttui.model.path import between
from cttui.model.safe import clean
from cttui.model.table import STATISTICS, Health, TableReading
from cttui.model.tunables import TUNABLES, Tunable
from cttui.model.words import counted, times
from cttui.ui.numbers import whole

Paragraphs = list[str | tuple[str, str]]

_AFFECTS: dict[str, str] = {
    "nf_conntrack_max": "Every network namespace of this machine: containers and virtual routers too. Below the present count, new connections are dropped at once; existing ones live on.",
    "nf_conntrack_tcp_loose": "Connections whose beginning conntrack has not seen: after a reboot or a flush, 0 makes their packets INVALID, and a rule that drops INVALID cuts them.",
    "nf_conntrack_acct": "Flows that begin from now on: 1 counts their packets and bytes, at two atomic additions a packet, 0 does not. Those there already go on as they began.",
    "nf_conntrack_events": "Whether programs that listen (conntrackd, this one) hear of flows that begin from now on.",
    "nf_conntrack_timestamp": "Flows that begin from now on: with 1 they remember when they did.",
    "nf_conntrack_log_invalid": "The kernel log: under attack it can fill quickly.",
    "nf_conntrack_tcp_be_liberal": "Which out-of-window TCP segments count as INVALID.",
}
_TIMEOUT_AFFECTS = "Entries refreshed by a packet from now on. Existing entries keep the timeout they have, so lowering it frees nothing now."


def set_question(
    tunable: Tunable, new: str, keep_s: float, count: int | None = None
) -> tuple[str, Paragraphs]:
    """Title and paragraphs of the question before a host's setting is written. `keep_s` 0: put back at exit."""
    scope = (
        "the whole machine, all namespaces" if tunable.scope == "machine" else "this network namespace only"
    )
    affects = _AFFECTS.get(tunable.name, _TIMEOUT_AFFECTS if "timeout" in tunable.name else tunable.why)
    now: Paragraphs = []
    if tunable.name == "nf_conntrack_max" and count is not None and 0 < int(new) <= count:
        now = [
            (
                f"Right now   the table here holds {count:,}: new connections would be dropped at once.",
                "error-text",
            )
        ]
    after = f"after {keep_s:.0f} s, or " if keep_s > 0 else ""
    return f"Change {tunable.name}?", [
        (f"{clean(tunable.value)}  →  {clean(new)}", "value"),
        "",
        *now,
        f"Scope     {scope}",
        f"Affects   {affects}",
        f"Undone    by itself {after}when this program ends in any way, unless you keep it (K).",
    ]


_MOST: dict[str, int] = {
    "nf_conntrack_tcp_loose": 1, "nf_conntrack_acct": 1, "nf_conntrack_timestamp": 1, "nf_conntrack_tcp_be_liberal": 1,
    "nf_conntrack_events": 2, "nf_conntrack_log_invalid": 255,
}  # fmt: skip
"""Largest values, nf_conntrack_standalone.c."""


def set_plan(tunable: Tunable, new: str) -> str:
    """One sentence on a value that can't be right, "" where it can be."""
    text = new.strip()
    number = whole(text)
    if number is None:
        return "A whole number, not below 0."
    most = _MOST.get(tunable.name, 0x7FFFFFFF)
    if number > most:
        return "0 or 1." if most == 1 else f"At most {most}."
    if text == tunable.value:
        return "That is what it is now."
    return ""


def delete_question(flow: Flow, line: str, *, sandbox: bool) -> tuple[str, Paragraphs]:
    """Before one flow is deleted."""
    paragraphs: Paragraphs = [(clean(line), "value"), ""]
    if is_nat(flow):
        paragraphs.append(
            (
                "It is translated (NAT): without its entry the connection breaks, and the peer is not told.",
                "level-warn",
            )
        )
    elif not sandbox:
        tcp = " (with tcp_loose=1) or is INVALID" if flow.proto == f.IPPROTO_TCP else ""
        paragraphs.append(f"Without its entry, the connection's next packet makes a new one{tcp}.")
    paragraphs.append("Exactly this entry is deleted, by tuple, zone and id; it can't be undone.")
    return "Delete this flow?", paragraphs


SAMPLE = 5
"""Lines of flows that the question before a deletion shows."""


def delete_set_question(
    flows: Sequence[Flow], matched: int, filter_text: str, *, most: int, sandbox: bool
) -> tuple[str, Paragraphs]:
    """Before the flows of a filter are deleted: exactly `flows`, of `matched` that were there."""
    n = len(flows)
    nat = sum(1 for flow in flows if is_nat(flow))
    what = f"that match `{clean(filter_text)}`" if filter_text else "in this table: no filter is set"
    paragraphs: Paragraphs = [(f"{n:,} {'flow' if n == 1 else 'flows'} {what}", "value"), ""]
    paragraphs += [(f"  {_ends(flow)}", "muted") for flow in flows[:SAMPLE]]
    if n > SAMPLE:
        paragraphs.append((f"  … and {n - SAMPLE:,} more", "muted"))
    paragraphs.append("")
    if nat:
        paragraphs.append((f"{nat:,} of them are translated (NAT): those connections break.", "level-warn"))
    if matched > n >= most:
        paragraphs.append(
            (f"{matched:,} match; at most {most:,} go at a time, the oldest first.", "level-warn")
        )
    paragraphs.append(
        "Exactly these are deleted, each by tuple, zone and id. Flows that come to match meanwhile are left "
        "alone, and so is the connection this program is watched through. It can't be undone."
    )
    if not sandbox:
        paragraphs.append("They are flows of a host in use.")
    return f"Delete {n:,} {'flow' if n == 1 else 'flows'}?", paragraphs


def _ends(flow: Flow) -> str:
    state = f.state_name(flow.proto, flow.state)
    name = f"{words.protocol(flow.proto)} {state}".rstrip()
    ends = [
        words.endpoint(address, port, flow.proto)
        for address, port in ((flow.orig_src, flow.orig_sport), (flow.orig_dst, flow.orig_dport))
    ]
    return f"{name:<17} {ends[0]} → {ends[1]}"


def deleted_words(deleted: int, gone: int, spared: int, left: int = 0) -> str:
    """What a deletion came to."""
    parts = [f"{deleted:,} {'flow' if deleted == 1 else 'flows'} deleted"]
    if gone:
        parts.append(f"{gone:,} gone meanwhile")
    if spared:
        parts.append(f"{spared:,} spared: you are connected through it")
    if left:
        parts.append(f"{left:,} left: stopped")
    return " · ".join(parts)


def is_nat(flow: Flow) -> bool:
    """Whether the entry translates."""
    return bool(flow.status & (f.SRC_NAT | f.DST_NAT))


def result_lines(result: Result, title: str = "") -> Paragraphs:
    """What a burst did, as evidence: each number with the counter it comes from."""
    out: Paragraphs = []
    if title:
        out += [(clean(title), "heading"), ""]
    sent = f"sent      {counted(result.sent, 'packet')} in {result.seconds:.2f} s"
    if result.seconds > 0 and result.sent > 1:
        sent += f"  ({result.sent / result.seconds:,.0f} a second)"
    out.append((sent, "value"))
    for name, n in sorted(result.send_errors.items()):
        out.append((f"          {n:,} refused by the system: {clean(name)}", "error-text"))
    ruled = {(d.family, d.table, d.chain, d.packets) for d in result.counters if d.rule}
    for delta in result.counters:
        # A policy that counted what a rule of its chain counted says nothing new.
        if not delta.packets or (
            not delta.rule and (delta.family, delta.table, delta.chain, delta.packets) in ruled
        ):
            continue
        where = f"{delta.table} {delta.chain}"
        what = f"rule {delta.rule}: {clean(delta.text, 60) or 'counts only'}" if delta.rule else "policy"
        out.append(f"  +{delta.packets:<8,}{where:<20} {what}")
    states = ", ".join(
        f"{n:,} {clean(state)}" for state, n in sorted(result.new_by_state.items(), key=lambda kv: -kv[1])
    )
    out.append((f"flows     {result.new:,} new{': ' + states if states else ''}", "value"))
    if result.reclaimed:
        out.append(
            f"          {result.reclaimed:,} of them gone again already: reclaimed by the garbage collector or ended"
        )
    if result.events_lost:
        out.append((f"          at least: events were lost {times(result.events_lost)}", "level-warn"))
    for name, n in result.stats.items():
        if n and name in STATISTICS and name not in ("found", "insert"):
            style = "error-text" if name in ("drop", "insert_failed") else "level-warn"
            out.append((f"{name:<9} +{n:,}  {STATISTICS[name]}", style))
    for loss in result.losses:
        style = "muted" if by_rule(loss) or not loss.is_loss else "error-text"
        out.append(
            (
                f"{verb(loss):<9} {loss.packets:,} {clean(between(loss))}: {clean(loss.cause)}",
                style,
            )
        )
    for line, n in list(Counter(result.kernel_log or ()).items())[:6]:
        out.append(f"kernel    {clean(line, 160)}{f'  ({n} times)' if n > 1 else ''}")
    quiet = not any(result.stats.get(n) for n in ("drop", "insert_failed", "early_drop", "invalid"))
    if quiet and not any(loss.is_loss and not by_rule(loss) for loss in result.losses):
        out.append(("losses    none but what rules dropped: no conntrack statistic moved", "right"))
    return out


def explanation(
    table: TableReading,
    health: Health,
    hooks: HooksReading | None,
    notices: Sequence[Notice],
    last: Result | None,
    stages: str = "",
    no_rules: str = "",
) -> Paragraphs:
    """F4: what was lost, where, by which counter, what to do; then how far the screen can be trusted.

    `stages`: how they come to be counted where they aren't, or why they can't be; `no_rules`: why rules can't be read.
    """
    out: Paragraphs = []
    path = hooks if hooks is not None else HooksReading()
    for finding in findings(table, path.losses, path.active_rules, path.network_rates):
        style = {ERROR: "error-text", WARNING: "level-warn"}.get(finding.level, "")
        out += [(finding.what, style), *(f"  {why}" for why in finding.why)]
        out += [f"  {finding.remedy}"] if finding.remedy else []
        out.append("")
    if not out and health.hooks_age_s is None and not no_rules:
        out += [("Nothing is known yet: rules and their counters are still being read.", "level-warn"), ""]
    elif not out:
        out.append(("Nothing is seen to be lost, and the table has room.", "right"))
        if no_rules:
            out.append(f"  What rules drop is not seen. {no_rules}")
        elif not path.stages_armed:
            out.append(f"  What no rule and no statistic counts is seen with stage counters only. {stages}")
        out.append("")
    moved = [(n, v) for n, v in table.stats.items() if v and n in STATISTICS and n not in ("found", "insert")]
    if moved:
        out.append(("Since this namespace exists", "heading"))
        for name, value in moved:
            rate = table.rates.get(name, 0.0)
            now = f", {rate:,.1f}/s now" if rate else ""
            out.append(f"  {name} {value:,}{now}: {STATISTICS[name]}")
        out.append("")
    if last is not None:
        out += [("The last burst", "heading"), *result_lines(last), ""]
    if notices:
        out.append(("Notices", "heading"))
        for notice in notices:
            style = {"error": "error-text", "warning": "level-warn"}.get(notice.level, "")
            out.append((f"  {clean(notice.sentence)} {clean(notice.remedy)}".rstrip(), style))
        out.append("")
    out += [("How far to trust this screen", "heading"), *trust_lines(table, health)]
    return out


def trust_lines(table: TableReading, health: Health) -> Paragraphs:
    """Ages, losses and costs of the readings."""
    out: Paragraphs = []
    if health.counters_age_s is not None:
        out.append(f"  Counters were read {health.counters_age_s:.1f} s ago.")
    if health.dump_age_s is not None:
        every = f", every {health.dump_interval_s:.0f} s" if health.dump_interval_s else ""
        cost = f", {1000 * health.dump_cost_s:.0f} ms each" if health.dump_cost_s else ""
        out.append(
            f"  The whole table was read {health.dump_age_s:.0f} s ago{every}{cost}; rows on screen every time."
        )
    if health.filter_in_kernel:
        out.append(
            "  The flows of the filter are picked out by the kernel and read every second; the rest less often."
        )
    if health.hooks_age_s is not None:
        out.append(f"  Rules and stages were read {health.hooks_age_s:.0f} s ago.")
    if health.events_attached:
        out.append(f"  Events: {health.events:,} heard; new and ended flows are exact.")
    elif health.dump_age_s is not None:
        out.append(
            "  Events are off: new and ended flows are lower bounds from comparing dumps (e attaches them)."
        )
    else:
        out.append("  Flows are not read: how many begin and end is not known.")
    if health.events_lost:
        out.append(
            (
                f"  The kernel dropped events {times(health.events_lost)}; each was followed by a new dump.",
                "level-warn",
            )
        )
    if health.ghosts:
        out.append(f"  {counted(health.ghosts, 'flow')} ended without an event, found by a dump.")
    if health.ring_drops:
        out.append(
            (f"  The packet ring had no room for {counted(health.ring_drops, 'packet')}.", "level-warn")
        )
    if table.count is not None and table.held and table.count != table.held:
        beside = table.count - table.held
        if beside > 0:
            out.append(
                f"  {counted(beside, 'more entry', 'more entries')}: unconfirmed, dying or not read yet."
            )
        else:
            out.append(f"  {counted(-beside, 'entry', 'entries')} shown ended after the table was read.")
    out.append(f"  The probe takes {health.cpu_percent:.1f} % of a core and {health.rss_bytes / 1e6:.0f} MB.")
    return out


def setting_help(name: str) -> str:
    """What a setting does."""
    return TUNABLES[name][1] if name in TUNABLES else ""
