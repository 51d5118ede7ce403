"""States that are no table: why there is nothing to see, what went wrong, and which key or command helps."""

from collections.abc import Callable

from cttui.diagnosis import forecast
from cttui.diagnosis.findings import alarming, is_full, suspect
from cttui.diagnosis.headline import headline
from cttui.diagnosis.network import knocks
from cttui.model.as_root import as_root
from cttui.model.faults import Fault
from cttui.model.jobs import Job, Result
from cttui.model.messages import Answer, Welcome
from cttui.model.packet import JourneysReading
from cttui.model.safe import clean
from cttui.model.table import TableReading
from cttui.model.words import counted, times
from cttui.ui.actions import BY_ID, Situation
from cttui.ui.journey_text import trace_words
from cttui.ui.lines import Line

Key = Callable[[str], str]
"""Action id → the key a person has for it."""

TOLD_S = 60.0
"""For so long the banner says that events were lost; then only F4 does."""
LEAST_WIDTH, LEAST_HEIGHT = 40, 10
"""Below this there is only one sentence."""


def too_small(width: int, height: int) -> str:
    """What a terminal too small for a dashboard says, "" where it is large enough."""
    if width >= LEAST_WIDTH and height >= LEAST_HEIGHT:
        return ""
    return f"{width}×{height} is too small: cttui needs {LEAST_WIDTH}×{LEAST_HEIGHT}, better 80×24."


def cannot(welcome: Welcome | None, what: str) -> str:
    """Why the probe can't do `what` here and what helps, "" where it can or nobody knows yet."""
    if welcome is None or what in welcome.can:
        return ""
    return clean(welcome.cannot.get(what, "")) or f"This needs more privilege here: run {as_root()}."


def why_empty(
    table: TableReading,
    welcome: Welcome | None,
    *,
    filter_text: str,
    held: int,
    fillers_hidden: int,
    key: Key,
    trouble: Fault | None = None,
    here: Situation | None = None,
) -> list[str]:
    """What an empty flow table says instead of rows: why, then what to press."""
    here = here or Situation()
    sandbox = welcome is not None and welcome.target == "sandbox"
    if why := cannot(welcome, "ctnetlink"):
        return [
            "The flows can't be read here.",
            why,
            "Counters and statistics above need no privilege and go on.",
            f"{key('target')} opens a sandbox of your own." if not sandbox and here.other else "",
        ]
    if filter_text:
        shown = f"none of {counted(held, 'flow')}" if held else "no flow: the table is empty"
        return [f"The filter matches {shown}.", f"{key('back')} takes it off, {key('filter')} changes it."]
    if table.active is False:
        lines = ["Conntrack is not active in this namespace: packets pass without an entry."]
        if table.active_why:
            lines.append(clean(table.active_why))
        if not sandbox:
            lines.append("A firewall with `ctstate` or NAT rules switches it on. Nothing needs to be done.")
            lines += _without_conntrack(here, key)
        elif missing := welcome.cannot.get("iptables", "") if welcome is not None else "":
            lines.append(clean(missing))
        else:
            lines.append("A rule that needs it switches it on, e.g. `iptables -t raw -A PREROUTING -j CT`.")
        return lines
    if fillers_hidden:
        burst = [f"{key('fire')} fires 10 SYNs: see how many get in."] if here.allows(BY_ID["fire"]) else []
        return [
            f"No flows but {counted(fillers_hidden, 'filler')}: they only occupy slots ({key('fillers')} shows them).",
            *burst,
        ]
    if sandbox and trouble is not None:
        return [
            f"The table is not filled. {clean(trouble.sentence)}",
            clean(trouble.remedy),
            "",
            f"  {key('reset')}  try again, in a new sandbox",
            f"  {key('back')}  go on with this one, which is empty",
        ]
    if sandbox:
        offers = {
            "fire": _PLAYED.get(here.next_action, "go on with what was done next")
            if here.recording
            else "fire 10 SYNs and see 10 flows",
            "tunables": f"leave only 7 slots free, then {key('fire')}: where do 3 packets go?",
            "tales": "the experiments, each with its prediction",
            "compose": "compose packets of your own",
            "help": "the keys of this panel" if here.recording else "everything else",
        }
        return [
            "The recorded table is empty."
            if here.recording
            else "An empty table in a network of its own: the host is not touched.",
            "",
            *(f"  {key(id_)}  {what}" for id_, what in offers.items() if here.allows(BY_ID[id_])),
        ]
    if table.count:
        return [f"{table.count:,} entries are there and being read…"]
    if table.active is None:
        nothing = "Nothing shows that conntrack is active in this namespace."
        return [nothing, clean(table.active_why), *_without_conntrack(here, key)]
    return ["The table is empty: no connection is tracked right now."]


def _without_conntrack(here: Situation, key: Key) -> list[str]:
    """What shows packets that have no flow."""
    offers = {
        "stages": "count packets at each step of the path (conntrack stays as it is)",
        "capture": "log packets",
        "target": "a sandbox of your own, where conntrack is active",
    }
    lines = [f"  {key(id_)}  {what}" for id_, what in offers.items() if here.allows(BY_ID[id_])]
    return ["", *lines] if lines else []


_PLAYED = {"fire": "fire the recorded burst", "fill": "fill the table as it was filled then"}


def no_flow(answer: Answer | None) -> str:
    """Why a packet's flow isn't there; without events it may have begun after the table was read."""
    age_s = answer.health.dump_age_s if answer is not None and not answer.health.events_attached else None
    newer = f", or it is newer than the table, read {age_s:.0f} s ago" if age_s else ""
    return f"This packet has no flow in the table: none was made, it has ended{newer}."


def restart_words(fault: Fault, here: Situation, key: Key) -> list[str | tuple[str, str]]:
    """The whole middle of the screen when there is no probe: what happened, what to do."""
    again = "a new, empty sandbox" if here.sandbox else "a new probe"
    if here.recording:
        again = "the recording from its beginning"
    lines: list[str | tuple[str, str]] = ["", (f"  {clean(fault.sentence)}", "error-text")]
    if fault.remedy:
        lines += ["", f"  {clean(fault.remedy)}"]
    other = f"   {key('target')} looks at the other target." if here.other else ""
    lines += ["", f"  {key('reset')} starts {again}.{other}   {key('quit')} leaves."]
    if here.sandbox and fault.code == "probe-died":
        lines += ["", ("  The sandbox went with its probe; nothing of it is left in the kernel.", "muted")]
    return lines


_NAMES = {
    "fire": ("burst", "packets"),
    "hold": ("burst", "packets"),
    "fill": ("filling", "slots taken"),
    "unfill": ("emptying", ""),
    "delete": ("deleting", "flows"),
}
"""Kind of a job → what its line in the banner begins with, and what is counted."""


def summary(job: Job) -> str:
    """A job in one line: how far it is, then what it did; of a burst: sent, what two rules counted, flows, losses."""
    result = job.result
    name, unit = _NAMES.get(job.kind, (job.kind, ""))
    if job.state == "running":
        far = f"{job.done:,} of {job.total:,} {unit}" if job.total else clean(job.sentence) or "begins"
        return f"{name}  {far}".rstrip()
    if job.fault is not None:
        return f"{name}  {clean(job.fault.sentence)} {clean(job.fault.remedy)}".rstrip()
    if result is None:
        return clean(job.sentence) or f"{name}  {job.state}"
    if result.answer and not result.sent:
        return clean(result.answer)
    parts = [f"burst  sent {result.sent:,}"]
    parts += [f"{table} +{n:,}" for table, n in prerouting(result)]
    states = ", ".join(
        f"{n:,} {clean(s)}" for s, n in sorted(result.new_by_state.items(), key=lambda kv: -kv[1])[:2]
    )
    parts.append(f"new {states}" if states else "no new flow")
    parts += [
        f"{name} +{n:,}"
        for name in ("drop", "early_drop", "insert_failed", "invalid")
        if (n := result.stats.get(name, 0))
    ]
    if result.reclaimed:  # last: what is cut in few columns must not be a loss
        parts.append(f"{result.reclaimed:,} reclaimed")
    return " · ".join(parts) + (f"  (cancelled after {result.sent:,})" if job.state == "cancelled" else "")


def big_numbers(answer: Answer, job: Job | None) -> list[tuple[str, str, str]]:
    """Presenter mode: (number, label, style) of what a room should see, the first of them in any width."""
    table = answer.table
    out: list[tuple[str, str, str]] = []
    roomy: list[tuple[str, str, str]] = []
    if table.count is not None:
        visible = table.count - table.filler
        out.append((f"{visible:,}", "flows" if table.filler else "entries", ""))
        if table.maximum:
            free = max(0, table.maximum - table.count)
            # Many free slots are not in question, and their digits would take the room of what was lost.
            places = roomy if free > 999 else out
            places.append((f"{free:,}", "free slots", "level-full" if free == 0 else ""))
    result = job.of_packets if job is not None else None
    if result is not None:
        out.append((f"{result.sent:,}", "sent", ""))
        out += [(f"{n:,}", name, "") for name, n in prerouting(result)]
        lost = result.stats.get("drop", 0)
        out.append((f"{lost:,}", "drop", "level-full" if lost else ""))
    elif table.rates.get("drop"):
        out.append((f"{table.rates['drop']:,.0f}", "drops a second", "level-full"))
    return out + roomy


def prerouting(result: Result) -> list[tuple[str, int]]:
    """Packets counted in raw and mangle PREROUTING, the largest counter of each: before and after conntrack."""
    out: dict[str, int] = {"raw": 0, "mangle": 0}
    for delta in result.counters:
        if delta.chain == "PREROUTING" and delta.table in out:
            out[delta.table] = max(out[delta.table], delta.packets)
    return list(out.items())


def banner(
    answer: Answer | None,
    welcome: Welcome | None,
    job: Job | None,
    pending: str,
    key: Key,
    trouble: Fault | None = None,
    journeys: JourneysReading | None = None,
) -> list[tuple[Line, Line]]:
    """Lines between the figures and the flows, each as (what stands at the left, what at the right edge)."""
    lines: list[tuple[Line, Line]] = []
    if pending.strip():
        dead = pending.startswith("put back")
        tail = () if dead else ((f"  {key('tunables')} ", "key"), ("keep or undo ", "muted"))
        lines.append((((" ! ", "level-warn"), (pending, "level-warn")), tail))
    if trouble is not None:
        words = f"not filled: {clean(trouble.sentence)}"
        lines.append(
            (
                ((" ! ", "level-warn"), (words, "level-warn")),
                ((f"  {key('reset')} ", "key"), ("again ", "muted")),
            )
        )
    if answer is not None:
        result = job.of_packets if job is not None else None
        losses = answer.hooks.losses if answer.hooks else []
        loss = headline(answer.table, losses, result, answer.hooks.network_rates if answer.hooks else {})
        real = alarming(losses)
        mild = bool(real) and all(x.over or suspect(x) or knocks(x.source) for x in real)
        mild = mild and not is_full(answer.table)
        soon = forecast.words(answer.table)
        if loss and not (mild and soon):  # what is about to be lost comes before what is over
            style = "level-warn" if mild else "error-text"
            lines.append(
                (
                    ((" ! ", style), (loss, style)),
                    ((f"  {key('explain')} ", "key"), ("explain ", "muted")),
                )
            )
        elif soon:
            lines.append(
                (
                    ((" ! ", "level-warn"), (soon, "level-warn")),
                    ((f"  {key('explain')} ", "key"), ("explain ", "muted")),
                )
            )
        elif welcome is not None and "ctnetlink" not in welcome.can:
            lines.append(
                (
                    (
                        (" ! ", "level-warn"),
                        ("counters only: reading the flows needs privilege", "level-warn"),
                    ),
                    ((f"{as_root()} ", "muted"),),
                )
            )
        elif (age := answer.health.events_lost_age_s) is not None and age < TOLD_S:
            lost = f"events were lost {times(answer.health.events_lost)}; each time the table was read anew"
            lines.append((((" ! ", "level-warn"), (lost, "level-warn")), ()))
    if job is not None:
        style = "error-text" if job.fault is not None else "value"
        running = job.state == "running"
        tail = (
            (f"  {key('cancel' if running else 'result')} ", "key"),
            ("stop " if running else "details ", "muted"),
        )
        lines.append((((f" {summary(job)}", style),), tail))
    if journeys is not None and (journeys.total or journeys.armed):
        style = "level-warn" if journeys.armed or journeys.lost else "value"
        lines.append(
            (
                ((f" {trace_words(journeys)}", style),),
                ((f"  {key('journeys')} ", "key"), ("journeys ", "muted")),
            )
        )
    return lines
