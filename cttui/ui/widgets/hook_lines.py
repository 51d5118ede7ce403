"""The lines of the hook panel: each item in cells, and a whole direction in one line."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from cttui.diagnosis import active_rules
from cttui.diagnosis.findings import by_rule, suspect
from cttui.diagnosis.network import knocks
from cttui.model import path
from cttui.model.hooks import ActiveRule, Chain, Loss
from cttui.model.safe import clean
from cttui.ui.lines import Line, Run, clip, clip_words, fit, width_of
from cttui.ui.widgets.history import blocks, number
from cttui.ui.widgets.hook_items import Item, is_fresh

HISTORY = 10
"""Cells of a rule's history line, shown from `_WIDE` cells on."""
_WIDE = 84
_RATES = 48
"""Narrower panels leave packets/s out: the rules' words matter more."""
_LOADS = re.compile(r"-m \w+ (?=-)|counter ")
_BACKEND = re.compile(r"^on by (iptables-\w+|nft) (ip |(?=\w))")
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
    count: int = 7
    """Cells that the largest number of packets takes, or their heading."""


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
    """`raw 10 ──▶ conntrack 7 (−3 table full) ──▶ mangle 7 ──▶ local`

    Where that has no room, the steps that say least give way to "…", and never to the one where packets are lost.
    """
    weights = [_weight(items, at) for at in range(len(items))] + [2] * bool(arrival)
    kept = list(range(len(weights)))
    arrow, brief = " ──▶ ", False
    while True:
        line: list[Run] = [(" ", "")]
        for i, at in enumerate(kept):
            line += [(arrow, "heading-rule")] * bool(i)
            if at > (kept[i - 1] + 1 if i else 0):
                line += [("…", "muted"), (arrow, "heading-rule")]
            line += _step(items[at], brief) if at < len(items) else [(arrival, "hook")]
        if kept[-1] < len(weights) - 1:
            line += [(arrow, "heading-rule"), ("…", "muted")]
        least = min(weights[at] for at in kept)
        if sum(width_of(text) for text, _ in line) <= width:
            return fit(line, width)
        if arrow != " ▶ ":
            arrow = " ▶ "
        elif least >= 2 and not brief and max(weights) > _BY_RULE:
            brief = True
        elif least < max(weights):
            kept.remove(next(at for at in kept if weights[at] == least))
        else:
            return fit(line, width)


_BY_RULE = 5


def _weight(items: list[Item], at: int) -> int:
    """How much a step says: where packets are lost most, where nothing changed least."""
    item = items[at]
    if fresh := [loss for loss in item.losses if is_fresh(loss)]:
        return 7 + any(not knocks(loss.source) for loss in fresh)
    if any(loss.is_loss for loss in item.losses):
        return _BY_RULE if all(by_rule(loss) for loss in item.losses if loss.is_loss) else 6
    if at + 1 < len(items) and any(is_fresh(loss) for loss in items[at + 1].losses):
        return 4  # what went in
    if at == 0:
        return 3
    return 2 if item.packets != items[at - 1].packets else int(item.name == "conntrack")


def _step(item: Item, brief: bool) -> list[Run]:
    """`conntrack 7 (−3 table full)`; `brief`: of what rules dropped only how much."""
    idle = item.packets == 0 or (item.packets is None and item.kind != "lost")
    style = "hook-idle" if idle else "hook-conntrack" if item.name == "conntrack" else "hook"
    count = "" if item.kind == "lost" else " –" if item.packets is None else f" {item.packets:,}"
    runs: list[Run] = [(clean(item.name), style)]
    if not item.exact and item.packets is not None:
        count = f" ≥{count.lstrip()}"
    runs.append((count, "hook-idle" if idle else "value"))
    losses = sorted((x for x in item.losses if x.is_loss), key=lambda x: (not is_fresh(x), -x.packets))
    ruled = [loss for loss in losses if by_rule(loss)]
    runs += [(f" (−{x.packets:,} {short_cause(x)})", "hook-loss") for x in losses if x not in ruled]
    if brief and ruled:
        runs.append((f" (−{sum(loss.packets for loss in ruled):,})", "muted"))
    else:
        runs += [(f" (−{x.packets:,} {short_cause(x)})", "muted") for x in ruled]
    return runs


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
    count = max(9, here.count) if rates else here.count
    words_width = max(10, min(here.words, width - 1 - count - 8 * rates - history))
    idle = not item.packets
    if item.kind == "hook":
        name = f" {item.name}"
        return [
            *fit([(name, "heading")], words_width),
            (f" {'packets':>{count}}" + (f" {'/s':>7}" if rates else ""), "muted"),
        ]
    if item.kind == "place":
        return [(f" ● {item.name}", "hook")]
    if item.kind == "loss":
        (loss,) = item.losses
        # What a rule dropped somebody meant to be dropped: no alarm.
        alarm = loss.is_loss and not by_rule(loss)
        sign = "  ✗ " if alarm else "  │ "
        said = loss_words(loss)
        if width_of(sign + said) > width and loss.is_loss:
            said = f"−{loss.packets:,} {short_cause(loss)}"
        if width_of(sign + said) > width:
            said = said.replace(" dropped by", "", 1).replace(" the policy", " policy", 1)
        return [(clip_words(sign + said, width), "hook-loss" if alarm else "hook")]
    if item.kind == "confirm":
        return [(f"  ◆ {item.name}", _conntrack_style(here)), ("  of new entries", "muted")]
    if item.kind == "conntrack":
        said, style = _conntrack_words(here)
        if not rates:  # the rule matters more than its backend
            said = _BACKEND.sub("on by ", said)
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
        left, policy = _chain_runs(item.chain, item.depth, words_width)
        if not policy:  # a number under "packets" would be nobody's
            return left
    else:
        left = rule_runs(item, words_width)
    packets = "" if item.packets is None else f"{item.packets:,}"
    pps = "" if item.pps is None else number(item.pps)
    runs = [*fit(left, words_width), (f" {packets:>{count}}", "hook-idle" if idle else "value")]
    if rates:
        runs.append((f" {pps:>7}", "hook-idle" if not item.pps else "value"))
    if history and any(past):
        runs.append((" " + blocks(list(past), HISTORY, apart=True), "history"))
    return runs


def _chain_runs(chain: Chain, depth: int, cells: int) -> tuple[list[Run], bool]:
    """A chain with as much of its backend and its policy as there is room for, and whether the policy is said."""
    lead, name = "  │ " + "  " * depth, f"{clean(chain.table)} {clean(chain.chain)}"
    whole, family, verdict = f"  {_backend(chain)}", f"  {chain.family}", f"  {clean(chain.policy)}"
    policy = f"  policy{verdict[1:]}"
    choices = [(whole, policy), (family, policy), (family, verdict), ("", verdict)]
    if not chain.policy:
        choices = [(whole, ""), (family, "")]
    elif chain.policy == "ACCEPT":  # one takes it for granted
        choices[2:] = [(family, "")]
    room = cells - width_of(lead + name)
    backend, said = next((c for c in choices if width_of("".join(c)) <= room), choices[-1])
    busy = bool(chain.policy_packets) or any(rule.packets for rule in chain.rules)
    drops = chain.policy == "DROP" and chain.policy_packets
    return [
        (lead, "hook-idle"),
        (name, "hook" if busy else "hook-idle"),
        (backend, "muted"),
        (said, "verdict-drop" if drops else "muted"),
    ], bool(said)


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
    if width_of(text) > cells:
        before, quote, comment = text.partition('"')
        text = _LOADS.sub("", before) + quote + comment
    if width_of(text) <= cells or not verdict or width_of(verdict) > cells // 2:
        return text
    return f"{clip(text, cells - width_of(verdict) - 1)} {verdict}"


def _backend(chain: Chain) -> str:
    return f"{chain.family} {chain.backend}" + (f" on {clean(chain.device)}" if chain.device else "")
