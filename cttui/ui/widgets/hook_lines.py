"""The lines of the hook panel: each item in cells, and a whole direction in one line."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from cttui.diagnosis import active_rules
from cttui.diagnosis.findings import by_rule, suspect
from cttui.model import path
from cttui.model.hooks import ActiveRule, Chain, Loss
from cttui.model.safe import clean
from cttui.ui.lines import Line, Run, clip, clip_words, fit, width_of
from cttui.ui.widgets.history import blocks, number
from cttui.ui.widgets.hook_items import Item

HISTORY = 10
"""Cells of a rule's history line, shown from `_WIDE` cells on."""
_WIDE = 84
_RATES = 48
"""Narrower panels leave packets/s out: the rules' words matter more."""
_LOADS = re.compile(r"-m \w+ (?=-)|counter ")
_APPEND = re.compile(r"^-A \S+ ")


@dataclass(frozen=True, slots=True)
class Here:
    """What lines say beside their item. `active` and `why` as in TableReading."""

    words: int
    """Cells that the longest line's words take: the figures stand next to them."""
    active: bool | None
    why: str
    more: bool
    """Enter on "more rules" shows more of them."""


def loss_words(loss: Loss) -> str:
    """`−3 lost in conntrack: table full (drop +3)`; packets that were merged are no loss and have no minus."""
    cause = clean(loss.cause) or "unknown"
    source = clean(loss.source)
    said = cause if by_rule(loss) or not source or source in cause else f"{cause} ({source})"
    family = "IPv6 " if loss.family == "ip6" else ""
    return f"−{loss.packets:,} {family}{said}" if loss.is_loss else f"{loss.packets:,} {family}fewer: {said}"


def short_cause(loss: Loss) -> str:
    """The cause in few words: `table full`, `dropped by raw OUTPUT rule 1`, `perhaps policy DROP of fw in`."""
    if who := suspect(loss):
        return f"perhaps {who}"
    cause = clean(loss.cause).removeprefix("lost in conntrack: ")
    return cause.partition(": ")[0]


def direction_line(items: list[Item], arrival: str, width: int) -> Line:
    """`raw 10 ──▶ conntrack 7 (−3 table full) ──▶ mangle 7 ──▶ local process`"""
    pieces: list[list[Run]] = []
    for item in items:
        count = "–" if item.packets is None else f"{item.packets:,}"
        idle = not item.packets
        style = "hook-idle" if idle else "hook-conntrack" if item.name == "conntrack" else "hook"
        piece: list[Run] = [
            (f"{clean(item.name)} ", style),
            ("" if item.exact or idle else "≥", style),
            (count, "hook-idle" if idle else "value"),
        ]
        if item.loss is not None and item.loss.is_loss:
            style = "muted" if by_rule(item.loss) else "hook-loss"
            piece.append((f" (−{item.loss.packets:,} {short_cause(item.loss)})", style))
        pieces.append(piece)
    if arrival:
        pieces.append([(arrival, "hook")])
    for arrow in (" ──▶ ", " ▶ "):
        line: list[Run] = [(" ", "")]
        for i, piece in enumerate(pieces):
            line += [(arrow, "heading-rule"), *piece] if i else piece
        if sum(width_of(text) for text, _ in line) <= width:
            break
    return fit(line, width)


def dropping_line(rules: list[ActiveRule], width: int) -> Line:
    """`filter FORWARD rule 1 drops 63/s  -m conntrack --ctstate INVALID -j DROP`, of the busiest."""
    busiest = rules[0]
    more = f"  (+{len(rules) - 1} more)" if len(rules) > 1 else ""
    said = f" {active_rules.name(busiest)} {busiest.does} {number(busiest.pps)}/s{more}"
    return fit(((said, "verdict-drop"), (f"  {clean(busiest.text)}", "muted")), width)


def item_runs(item: Item, width: int, here: Here, past: Sequence[float] = ()) -> list[Run]:
    """An item in at most `width` cells; `past`: its rule's packets/s, oldest first."""
    history = HISTORY + 1 if width >= _WIDE else 0
    rates = width >= _RATES
    words_width = max(10, min(here.words, width - 10 - 8 * rates - history))
    idle = not item.packets
    if item.kind == "hook":
        name = f" {item.name}"
        return [
            *fit([(name, "heading")], words_width),
            (f" {'packets':>9}" + (f" {'/s':>7}" if rates else ""), "muted"),
        ]
    if item.kind == "place":
        return [(f" ● {item.name}", "hook")]
    if item.kind == "loss" and item.loss is not None:
        # What a rule dropped somebody meant to be dropped: no alarm.
        alarm = item.loss.is_loss and not by_rule(item.loss)
        sign = "  ✗ " if alarm else "  │ "
        said = loss_words(item.loss)
        if width_of(sign + said) > width and item.loss.is_loss:
            said = f"−{item.loss.packets:,} {short_cause(item.loss)}"
        return [(clip_words(sign + said, width), "hook-loss" if alarm else "hook")]
    if item.kind == "confirm":
        return [(f"  ◆ {item.name}", _conntrack_style(here)), ("  of new entries", "muted")]
    if item.kind == "conntrack":
        said, style = _conntrack_words(here)
        name = f"  ◆ {item.name}"
        return [
            (name, _conntrack_style(here)),
            ("  " + clip_words(said, max(0, width - width_of(name) - 2)) if said else "", style),
        ]
    if item.kind == "more":
        how = "  Enter shows more" if here.more else ""
        return [("  │   " + "  " * item.depth + item.name + how, "muted")]
    if item.kind == "stage":
        left: list[Run] = [
            ("  ▼ ", "hook-idle" if idle else "hook"),
            (path.place_name(item.name), "hook-idle" if idle else "hook"),
        ]
    elif item.kind == "chain" and item.chain is not None:
        chain = item.chain
        policy = f"  policy {clean(chain.policy)}" if chain.policy else ""
        if chain.policy_packets:
            policy += f" {chain.policy_packets:,}"
        busy = bool(chain.policy_packets) or any(rule.packets for rule in chain.rules)
        lead, name = "  │ " + "  " * item.depth, f"{clean(chain.table)} {clean(chain.chain)}"
        backend = f"  {_backend(chain)}"
        if not rates:  # not all of it fits: without what one takes for granted
            backend = f"  {chain.family}"
            policy = "" if chain.policy == "ACCEPT" else policy
        return [
            (lead, "hook-idle"),
            (name, "hook" if busy else "hook-idle"),
            (backend, "muted"),
            (policy, "verdict-drop" if chain.policy == "DROP" and chain.policy_packets else "muted"),
        ]
    else:
        left = rule_runs(item, words_width)
    packets = "" if item.packets is None else f"{item.packets:,}"
    pps = "" if item.pps is None else number(item.pps)
    runs = [*fit(left, words_width), (f" {packets:>9}", "hook-idle" if idle else "value")]
    if rates:
        runs.append((f" {pps:>7}", "hook-idle" if not item.pps else "value"))
    if history and any(past):
        runs.append((" " + blocks(list(past), HISTORY), "history"))
    return runs


def _conntrack_style(here: Here) -> str:
    """Conntrack stands out where it is known to be on."""
    return "hook-conntrack" if here.active else "hook-idle" if here.active is False else "hook"


def _conntrack_words(here: Here) -> tuple[str, str]:
    """(whether conntrack is on here and by which rule, style)."""
    why = clean(here.why)
    if here.active is False:
        return f"not active in this namespace  {why}".rstrip(), "level-warn"
    if here.active is None and why:
        return why.partition(". ")[0].replace("No rule", "perhaps off: no rule", 1), "muted"
    return why.replace("Conntrack is on because of", "on by", 1), "muted"


def rule_runs(item: Item, width: int = 0) -> list[Run]:
    """A rule's line without its figures; in `width` cells (0: any) with its verdict, whatever else is cut."""
    rule, idle = item.rule, not item.packets
    assert rule is not None
    text = _APPEND.sub("", clean(rule.text)) or "every packet"
    drops = rule.verdict in ("DROP", "REJECT")
    style = "hook-idle" if idle else "verdict-drop" if drops else "hook"
    where = f"{item.name}  " if item.name else ""
    mark = "◆" if rule.conntrack else " "
    if width:
        text = brief(text, clean(rule.verdict), max(8, width - 10 - 2 * item.depth - width_of(where)))
    return [("  │ " + "  " * item.depth, "hook-idle"), (f"{rule.number:>3} ", "muted"), (mark + " ", "hook-conntrack" if not idle else "hook-idle"),
            (where, "label"), (clip(text, 400), style)]  # fmt: skip


def brief(text: str, verdict: str, cells: int) -> str:
    """A rule's words in so many cells: what only loads a match goes first, the verdict never."""
    if width_of(text) > cells and '"' not in text:
        text = _LOADS.sub("", text)
    if width_of(text) <= cells or not verdict or width_of(verdict) > cells // 2:
        return text
    return f"{clip(text, cells - width_of(verdict) - 1)} {verdict}"


def _backend(chain: Chain) -> str:
    return f"{chain.family} {chain.backend}" + (f" on {clean(chain.device)}" if chain.device else "")
