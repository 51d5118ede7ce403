"""The packet's path through netfilter: hooks, chains, rules, conntrack in its place, and what was lost where."""

import re
from collections import deque

from textual.message import Message

from cttui.diagnosis import active_rules
from cttui.diagnosis.findings import by_rule
from cttui.model.hooks import ActiveRule, Chain, HooksReading, Loss, Rule
from cttui.model.safe import clean
from cttui.model.words import counted
from cttui.ui.lines import Line, Run, clip, clip_words, fit, width_of
from cttui.ui.prose import wrap
from cttui.ui.rows import Rows
from cttui.ui.widgets.history import blocks, number
from cttui.ui.widgets.hook_items import Item, hottest_items, path_items, summary

COMPACT = 5
"""A body of this many lines or less shows one line a direction."""
HISTORY = 10
"""Cells of a rule's history line, shown from `_WIDE` cells on."""
_WIDE = 84
_RATES = 48
"""Narrower panels leave packets/s out: the rules' words matter more."""
_KEPT = 40
_WORDS = 60
RULES, MOST_RULES = 200, 3200
"""Rules of a chain that are asked for at first, and after Enter on "more rules" a few times."""
OLD_S = 3.0
"""From here on a reading's age is said: large rule sets are read more rarely."""
_APPEND = re.compile(r"^-A \S+ ")


def loss_words(loss: Loss) -> str:
    """`−3 lost in conntrack: table full (drop +3)`; packets that were merged are no loss and have no minus."""
    cause = clean(loss.cause) or "unknown"
    source = clean(loss.source)
    said = cause if by_rule(loss) or not source or source in cause else f"{cause} ({source})"
    family = "IPv6 " if loss.family == "ip6" else ""
    return f"−{loss.packets:,} {family}{said}" if loss.is_loss else f"{loss.packets:,} {family}fewer: {said}"


def short_cause(loss: Loss) -> str:
    """The cause in few words: `table full`, `dropped by raw OUTPUT rule 1`."""
    cause = clean(loss.cause).removeprefix("lost in conntrack: ")
    return cause.partition(": ")[0]


class HookPath(Rows):
    """A list in path order; in a panel of few lines one line a direction."""

    class Opened(Message):
        """Enter or a double click on a rule."""

        def __init__(self, panel: "HookPath", chain: Chain, rule: Rule) -> None:
            super().__init__()
            self.panel, self.chain, self.rule = panel, chain, rule

    class Moved(Message):
        """The cursor was put on another line by hand: on a rule, or on none."""

        def __init__(self, panel: "HookPath", chain: Chain | None, rule: Rule | None) -> None:
            super().__init__()
            self.panel, self.chain, self.rule = panel, chain, rule

    def __init__(
        self, *, heading: str = "Hooks", key: str = "2", id: str | None = None, classes: str | None = None
    ) -> None:
        super().__init__(heading=heading, key=key, id=id, classes=classes)
        self.reading: HooksReading | None = None
        self.order = "path"
        """`path`, or `hottest`: rules by packets/s."""
        self.rules = RULES
        """How many rules of each chain to ask for."""
        self.active: bool | None = None
        self.why = ""
        self._age = ""
        self.unread = "Not read yet."
        """What stands here before the first reading; the app says why there will be none."""
        self._items: list[Item] = []
        self._below: list[Line] = []
        self._words = 0
        """Cells that the longest line's words take: the figures stand next to them."""
        self._rates: dict[tuple[str, str, str, str, int, str], deque[float]] = {}

    # ------------------------------------------------------------ what the app asks and tells

    @property
    def selected(self) -> tuple[Chain, Rule] | None:
        """The rule under the cursor and its chain."""
        if 0 <= self.cursor < len(self._items):
            item = self._items[self.cursor]
            if item.chain is not None and item.rule is not None:
                return item.chain, item.rule
        return None

    def show(self, reading: HooksReading | None, *, active: bool | None = None, why: str = "") -> None:
        """Take a reading in and repaint what it changed; None: nothing has been read yet.

        `active` and `why` as in TableReading: whether conntrack is on in this namespace, and by which rule.
        """
        self.active, self.why = active, why
        if reading is not None and reading != self.reading:  # the same again is no new sample
            self._remember(reading)
        self.reading = reading
        self._list()
        self.paint()

    def aged(self, age_s: float | None) -> None:
        """How old the reading is by now."""
        said = f"read {age_s:.0f} s ago" if age_s is not None and age_s >= OLD_S else ""
        if said != self._age:
            self._age = said
            self.paint()

    def clear(self) -> None:
        """Forget everything: another target."""
        self.reading, self._items, self.top, self.cursor = None, [], 0, 0
        self.rules = RULES
        self._rates.clear()
        self.note()
        self.paint()

    def order_by(self, order: str) -> None:
        """`path` or `hottest`."""
        self.order, self.top, self.cursor = order, 0, 0
        self._list()
        self.paint()

    # ------------------------------------------------------------ rows

    @property
    def compact(self) -> bool:
        """Whether the panel is so low that it shows one line a direction."""
        return self.body_height <= COMPACT

    def _list(self) -> None:
        """The list anew, the cursor staying on its rule."""
        under = self._place()
        if self.reading is None:
            self._items = []
        else:
            self._items = hottest_items(self.reading) if self.order == "hottest" else path_items(self.reading)
        rules = (item for item in self._items if item.rule is not None)
        longest = max((sum(width_of(text) for text, _ in self._rule(item)) for item in rules), default=0)
        self._words = max(_WORDS, longest + 1)
        self.total = 0 if self.compact else len(self._items)
        if under is not None and self._place() != under:
            places = (i for i, item in enumerate(self._items) if _name(item) == under)
            at = next(places, self.cursor)
            self.top += at - self.cursor
            self.cursor = at
        self.settle()

    def _place(self) -> tuple[str, ...] | None:
        return _name(self._items[self.cursor]) if 0 <= self.cursor < len(self._items) else None

    def _remember(self, reading: HooksReading) -> None:
        rates = {}
        for chain in reading.chains:
            for rule in chain.rules:
                if rule.pps is not None:
                    key = (chain.backend, chain.family, chain.table, chain.chain, rule.number, rule.text)
                    past = rates[key] = self._rates.get(key) or deque(maxlen=_KEPT)
                    past.append(rule.pps)
        self._rates = rates

    def moved(self, by_hand: bool) -> None:
        if by_hand:
            chain, rule = self.selected or (None, None)
            self.post_message(self.Moved(self, chain, rule))

    def opened(self) -> None:
        if (found := self.selected) is not None:
            self.post_message(self.Opened(self, *found))
        elif 0 <= self.cursor < len(self._items) and self._items[self.cursor].kind == "more":
            self.rules = min(4 * self.rules, MOST_RULES)

    # ------------------------------------------------------------ layout

    def lay_out(self, width: int, height: int) -> list[Line]:
        reading = self.reading
        if reading is None:
            return wrap(f" {self.unread}", width, "muted")
        self.total = 0 if self.compact else len(self._items)
        self._below = [] if self.compact else self._notes(reading, width)
        self.settle()
        lost = sum(loss.packets for loss in reading.losses if loss.is_loss and not by_rule(loss))
        ruled = sum(loss.packets for loss in reading.losses if loss.is_loss and by_rule(loss))
        rules = sum(chain.rules_total for chain in reading.chains if not chain.ours)
        dropping = [rule for rule in reading.active_rules if active_rules.takes(rule)]
        now = sum(rule.pps for rule in dropping)
        directions = summary(reading)
        self.note(
            self._age,
            "hottest first" if self.order == "hottest" else "",
            counted(rules, "rule") if rules else "",
            directions[0][0] if self.compact and directions else "",
            f"{ruled:,} dropped by rules" if ruled else f"rules drop {number(now)}/s" if now else "",
            (f"{lost:,} LOST" if lost else "", "hook-loss"),
        )
        if self.compact:
            lines = [self._direction(items, arrival, width) for _, items, arrival in directions]
            if dropping and not reading.stages:  # the stages say so themselves
                lines[1:1] = [_dropping(dropping, width)]
            return lines or [((" No rules and no stage counters.", "muted"),)]
        rows = self._items[self.top : self.top + self.visible_rows]
        inner = self.row_width(width)
        body = [self._line(item, inner, self.top + i) for i, item in enumerate(rows)]
        return self.scrollbar(body, width) + self._below

    def _notes(self, reading: HooksReading, width: int) -> list[Line]:
        """What could not be read, below the list."""
        lines: list[Line] = []
        for sentence in reading.missing[:2]:
            lines += wrap(f" {clean(sentence)}", width, "level-warn")[:2]
        if not lines and not reading.rules_total and not reading.stages:
            lines = [
                ((" No rules here, so nothing counts packets; stage counters of our own can.", "muted"),)
            ]
        return lines

    @property
    def visible_rows(self) -> int:
        return max(0, self.body_height - len(self._below))

    def _direction(self, items: list[Item], arrival: str, width: int) -> Line:
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

    def _line(self, item: Item, width: int, at: int) -> Line:
        runs = self._runs(item, width)
        if at == self.cursor and self.has_focus:
            return tuple((text, "cursor") for text, _ in fit(runs, width))
        return fit(runs, width)

    def _runs(self, item: Item, width: int) -> list[Run]:
        history = HISTORY + 1 if width >= _WIDE else 0
        rates = width >= _RATES
        words_width = max(10, min(self._words, width - 10 - 8 * rates - history))
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
            return [(f"  ◆ {item.name}", "hook-idle" if self.active is False else "hook-conntrack")]
        if item.kind == "conntrack":
            said, style = self._conntrack_words()
            name = f"  ◆ {item.name}"
            return [
                (name, "hook-idle" if self.active is False else "hook-conntrack"),
                ("  " + clip_words(said, max(0, width - width_of(name) - 2)) if said else "", style),
            ]
        if item.kind == "more":
            how = "  Enter shows more" if self.rules < MOST_RULES else ""
            return [("  │   " + "  " * item.depth + item.name + how, "muted")]
        if item.kind == "stage":
            left: list[Run] = [
                ("  ▼ ", "hook-idle" if idle else "hook"),
                (_stage_name(item.name), "hook-idle" if idle else "hook"),
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
            left = self._rule(item)
        packets = "" if item.packets is None else f"{item.packets:,}"
        pps = "" if item.pps is None else number(item.pps)
        runs = [*fit(left, words_width), (f" {packets:>9}", "hook-idle" if idle else "value")]
        if rates:
            runs.append((f" {pps:>7}", "hook-idle" if not item.pps else "value"))
        if history and item.rule is not None and item.chain is not None:
            chain, rule = item.chain, item.rule
            past = self._rates.get(
                (chain.backend, chain.family, chain.table, chain.chain, rule.number, rule.text)
            )
            if past and any(past):
                runs.append((" " + blocks(list(past), HISTORY), "history"))
        return runs

    def _conntrack_words(self) -> tuple[str, str]:
        """(whether conntrack is on here and by which rule, style)."""
        why = clean(self.why)
        if self.active is False:
            return f"not active in this namespace  {why}".rstrip(), "level-warn"
        if self.active is None and why:
            return why.partition(". ")[0].replace("No rule", "perhaps off: no rule", 1), "muted"
        return why.replace("Conntrack is on because of", "on by", 1), "muted"

    def _rule(self, item: Item) -> list[Run]:
        rule, idle = item.rule, not item.packets
        assert rule is not None
        text = _APPEND.sub("", clean(rule.text)) or "every packet"
        drops = rule.verdict in ("DROP", "REJECT")
        style = "hook-idle" if idle else "verdict-drop" if drops else "hook"
        where = f"{item.name}  " if item.name else ""
        mark = "◆" if rule.conntrack else " "
        return [("  │ " + "  " * item.depth, "hook-idle"), (f"{rule.number:>3} ", "muted"), (mark + " ", "hook-conntrack" if not idle else "hook-idle"),
                (where, "label"), (clip(text, 400), style)]  # fmt: skip

    def as_markdown(self) -> str:
        """The whole list, scrolled out of view or not, as a Markdown table."""
        rows = ["| where | what | packets | packets/s |", "|---|---|---:|---:|"]
        for item in self._items:
            what = (
                "".join(text for text, _ in self._runs(item, 10_000)[:4]).strip()
                if item.kind != "rule"
                else "".join(t for t, _ in self._rule(item)).strip()
            )
            cells = (item.kind, re.sub(r"\s+", " ", what).replace("|", "\\|"), item.packets, item.pps)
            rows.append("| " + " | ".join("" if cell is None else str(cell) for cell in cells) + " |")
        return "\n".join(rows)


def _dropping(rules: list[ActiveRule], width: int) -> Line:
    """`filter FORWARD rule 1 drops 63/s  -m conntrack --ctstate INVALID -j DROP`, of the busiest."""
    busiest = rules[0]
    more = f"  (+{len(rules) - 1} more)" if len(rules) > 1 else ""
    said = f" {active_rules.name(busiest)} {busiest.does} {number(busiest.pps)}/s{more}"
    return fit(((said, "verdict-drop"), (f"  {clean(busiest.text)}", "muted")), width)


def _name(item: Item) -> tuple[str, ...]:
    chain = item.chain
    rule = f"{item.rule.number} {item.rule.text}" if item.rule else ""
    return (
        item.kind,
        item.name,
        chain.backend + chain.family + chain.table + chain.chain if chain else "",
        rule,
    )


def _backend(chain: Chain) -> str:
    return f"{chain.family} {chain.backend}" + (f" on {clean(chain.device)}" if chain.device else "")


_ENTRANCES = {"in": "from the device", "local": "from a local process", "routed in": "routed to this machine",
              "routed on": "routed onward", "routed out": "routed out"}  # fmt: skip


def _stage_name(label: str) -> str:
    return _ENTRANCES.get(label, f"after {label}")
