"""Journeys in words: where packets ended, one packet's way step by step, tables to copy. Pure functions."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cttui.model import packet_words
from cttui.model.packet import Journey, JourneysReading, JourneyStep, PacketRow
from cttui.model.packet_headers import ETH_IPV4, ETH_IPV6
from cttui.model.safe import clean
from cttui.model.words import counted, times
from cttui.ui.lines import clip, clip_ends, width_of

if TYPE_CHECKING:
    from cttui.ui.questions import Paragraphs

MARKS: dict[str, tuple[str, str]] = {
    "passed": ("✓", "right"), "dropped": ("✗", "wrong"), "refused": ("✗", "wrong"),
    "not reached": ("·", "muted"),
    "vanished": ("?", "level-warn"), "unknown": ("–", "level-warn"),
}  # fmt: skip
"""Cell of JourneysReading.stages → (mark, style)."""
LEGEND = "✓ passed  ✗ dropped or refused  · not met  ? vanished here  – not known"
_SHORT = {"PREROUTING": "PRE", "POSTROUTING": "POST", "INPUT": "IN", "OUTPUT": "OUT", "FORWARD": "FWD",
          "prerouting": "pre", "postrouting": "post", "input": "in", "output": "out", "forward": "fwd"}  # fmt: skip
_LABEL = 10
_BY_RULE = re.compile(r"(dropped|rejected) by .* rule \d+: ", re.DOTALL)


def ends_words(reading: JourneysReading, most: int = 4, *, rules: bool = True) -> str:
    """`7 delivered, 3 in conntrack: table full`; ends beyond the `most` frequent are counted together.

    `rules`: with the texts of rules that dropped, beside their names.
    """
    named = [
        (end if rules or not _BY_RULE.match(end) else end.partition(": ")[0], n) for end, n in reading.ends
    ]
    parts = [f"{n:,} {clean(end)}" for end, n in named[:most]]
    if rest := sum(n for _, n in reading.ends[most:]):
        parts.append(f"{rest:,} elsewhere")
    return ", ".join(parts)


def traced_words(reading: JourneysReading) -> str:
    """`10 packets traced: 7 delivered, 3 in conntrack: table full`."""
    ends = f": {ends_words(reading)}" if reading.ends else ""
    return f"{counted(reading.total, 'packet')} traced{ends}"


def trace_words(reading: JourneysReading) -> str:
    """The banner's line: `traced 10: 7 delivered, …`, and of a trace that goes on how far it is or what it waits for."""
    if reading.armed and not reading.total:
        what = clean(reading.why).removeprefix("tracing ").removeprefix("packets that match ")
        return f"tracing, no packet yet: {what}"
    words = f"tracing, {reading.total:,} so far" if reading.armed else f"traced {reading.total:,}"
    if reading.capped:
        words += f" of {reading.total + reading.capped:,}"
    if reading.ends:
        words += f": {ends_words(reading, rules=False)}"
    return words + (" (trace messages lost)" if reading.lost else "")


def ends_lines(reading: JourneysReading) -> "Paragraphs":
    """Where traced packets ended, a line an end."""
    if not reading.total:
        return []
    many = reading.total + reading.capped
    of = f"{reading.total:,} of " if reading.capped else ""
    out: Paragraphs = [(f"{'traced':<9} {of}{counted(many, 'packet')}", "value")]
    good = ("delivered", "sent")
    out += [
        (f"          {n:,} {clean(end)}", "right" if end in good else "error-text") for end, n in reading.ends
    ]
    if limits := limits_words(reading):
        out.append((f"          {limits}", "level-warn"))
    return out


def limits_words(reading: JourneysReading) -> str:
    """What of the traffic is not among the journeys, "" where nothing is missing."""
    parts = []
    if reading.capped:
        more = "1 more packet was" if reading.capped == 1 else f"{reading.capped:,} more packets were"
        parts.append(f"capped at {reading.total:,}: {more} not traced")
    if reading.lost:
        parts.append(
            f"trace messages lost: the kernel's buffer overflowed {times(reading.lost)}, "
            "so journeys are missing or cut"
        )
    return "; ".join(parts)


def packet_of(journey: Journey) -> PacketRow:
    """What a trace message quotes of the packet, as a row of the log: headers only, no interface."""
    data = journey.data
    six = bool(data) and data[0] >> 4 == 6
    length = len(data)
    if six and len(data) >= 40:
        length = 40 + int.from_bytes(data[4:6], "big")
    elif len(data) >= 4:
        length = int.from_bytes(data[2:4], "big")
    return PacketRow(
        seq=0,
        time_ns=journey.steps[0].time_ns if journey.steps else 0,
        interface="",
        direction="",
        ethertype=ETH_IPV6 if six else ETH_IPV4,
        length=max(length, len(data)),
        data=data,
        flow_key=journey.flow_key,
        fate=journey.end,
    )


def packet_label(journey: Journey, cells: int | None = None) -> str:
    """`198.51.100.2:10000 > 192.0.2.1:80 [S]`, in at most so many cells."""
    fields = packet_words.packet_fields(packet_of(journey))
    if not fields.source:
        return clean(journey.line) if cells is None else clip(clean(journey.line), cells)
    return ends_label(fields, cells)


def ends_label(fields: packet_words.PacketFields, cells: int | None = None) -> str:
    """From where to where and what a packet is; in few cells without what it is, then with addresses cut, not ports."""
    ends = clean(f"{fields.source} > {fields.destination}")
    what = clean(f"[{fields.flags}]" if fields.flags else fields.proto)
    whole = f"{ends} {what}"
    if cells is None or width_of(whole) <= cells:
        return whole
    return clip_ends(clean(fields.source), clean(fields.destination), cells)


def stage_words(label: str) -> tuple[str, str]:
    """A stage's name on two lines: ("raw", "PRE"), ("conn-", "track"), ("ip6 filter", "IN"), ("filter", "IN leg.")."""
    whole = {"conntrack": ("conn-", "track"), "delivered": ("", "delivered"), "sent": ("sent", "")}
    if label in whole:
        return whole[label]
    table, _, chain = clean(label).rpartition(" ")
    legacy = " leg." if "legacy " in table else ""
    return table.replace("legacy ", "")[:10], f"{_SHORT.get(chain, chain)[: 10 - len(legacy)]}{legacy}"


def step_words(step: JourneyStep) -> tuple[str, str]:
    """(where, what) of one step: ("raw PREROUTING", "rule 1: -j CT → continue [new]")."""
    where = " ".join(
        part for part in (step.family if step.family != "ip" else "", step.table, step.chain) if part
    )
    if step.kind == "vanished":
        return "", step.verdict
    what = {"rule": step.rule or "rule", "policy": "policy", "return": "end of chain"}.get(step.kind, "")
    words = f"{what} → {step.verdict}" if what else step.verdict
    return clean(where), clean(words + (f"  [{step.ct_state}]" if step.ct_state else ""))


def step_style(step: JourneyStep) -> str:
    """How a step is painted."""
    if step.kind == "vanished":
        return "level-warn"
    if step.verdict == "refused" or (step.kind in ("rule", "policy") and step.verdict == "drop"):
        return "verdict-drop"
    return "hook-conntrack" if step.chain == "conntrack" and step.kind == "stage" else ""


def fate_words(fate: str) -> tuple[str, str]:
    """(words, style) of where a packet of the log ended."""
    good = fate.startswith(("delivered", "sent", "taken over"))
    lost = "lost " if fate.startswith("in ") else ""  # in conntrack, in routing
    return lost + clean(fate), "fate-passed" if good else "fate-lost"


def timeline(journey: Journey, flow_key_name: str = "") -> "Paragraphs":
    """One packet's end, its way with a line a step, and its flow.

    Steps have an order but no times: trace messages carry none, and come within microseconds.
    """
    # The end first: on a small screen the way may be longer than its panel.
    style = "right" if journey.ended_ok else "muted" if journey.end == "under way" else "wrong"
    out: Paragraphs = [
        (packet_label(journey), "value"),
        (f"{'end':<{_LABEL}}  {clean(journey.end)}", style),
    ]
    room = max((len(step_words(step)[0]) for step in journey.steps), default=0)
    hook = ""
    for step in journey.steps:
        where, what = step_words(step)
        if step.kind == "vanished":
            continue
        if step.hook != hook:
            hook = step.hook
            out.append((f"  {clean(hook).upper()}", "label"))
        out.append((f"    {where:<{room}}  {what}", step_style(step)))
    if journey.flow_id is not None:
        gone = "" if journey.flow_key else "; not in the table any more"
        key = f"; {flow_key_name} shows it" if flow_key_name and journey.flow_key else ""
        out.append(f"{'flow':<{_LABEL}}  conntrack id {journey.flow_id}{gone}{key}")
    else:
        out.append((f"{'flow':<{_LABEL}}  none: no entry was made for it", "muted"))
    return out


def as_text(reading: JourneysReading) -> str:
    """Packets × stages in words, a packet a paragraph: for screen readers, tickets and mails."""
    lines = [traced_words(reading)]
    if limits := limits_words(reading):
        lines.append(limits)
    for number, journey in enumerate(reading.journeys, reading.first + 1):
        lines.append("")
        lines.append(f"{number}. {packet_label(journey)}: {clean(journey.end)}")
        lines += [
            f"   {clean(stage)}: {cell}" for stage, cell in zip(reading.stages, journey.cells, strict=False)
        ]
    return "\n".join(lines)


def as_markdown(reading: JourneysReading) -> str:
    """Packets × stages as a Markdown table, cells in words."""
    stages = [_cell(stage) for stage in reading.stages]
    lines = [traced_words(reading), ""]
    if limits := limits_words(reading):
        lines += [limits, ""]
    lines.append("| # | packet | " + " | ".join(stages) + (" | " if stages else "") + "end |")
    lines.append("|---:|---|" + "---|" * (len(stages) + 1))
    for number, journey in enumerate(reading.journeys, reading.first + 1):
        cells = [str(number), _cell(packet_label(journey)), *journey.cells, _cell(journey.end)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def journey_text(journey: Journey) -> str:
    """One packet's way as lines."""
    return "\n".join(_texts(timeline(journey)))


def journey_markdown(journey: Journey) -> str:
    """One packet's way as a Markdown table."""
    lines = [f"`{packet_label(journey)}`", "", "| hook | where | what |", "|---|---|---|"]
    for step in journey.steps:
        where, what = step_words(step)
        lines.append(f"| {_cell(step.hook)} | {_cell(where)} | {_cell(what)} |")
    flow = f", conntrack id {journey.flow_id}" if journey.flow_id is not None else ""
    return "\n".join([*lines, "", f"End: {clean(journey.end)}{flow}"])


def _texts(paragraphs: Sequence[str | tuple[str, str]]) -> list[str]:
    return [p if isinstance(p, str) else p[0] for p in paragraphs]


def _cell(text: str) -> str:
    return clean(text).replace("|", "\\|")
