"""The packet's path through netfilter: hooks, chains, rules, conntrack in its place, and what was lost where."""

import re
from collections import Counter, deque
from collections.abc import Sequence

from textual.message import Message

from cttui.diagnosis import active_rules
from cttui.diagnosis.findings import verb
from cttui.diagnosis.network import knocks
from cttui.model.hooks import Chain, HooksReading, Rule
from cttui.model.safe import clean
from cttui.model.words import counted
from cttui.ui.lines import Line, fit, width_of
from cttui.ui.prose import wrap
from cttui.ui.rows import Rows
from cttui.ui.widgets.history import number
from cttui.ui.widgets.hook_items import Item, hottest_items, is_fresh, path_items, summary
from cttui.ui.widgets.hook_lines import Here, direction_line, dropping_line, item_runs, rule_runs

COMPACT = 5
"""A body of this many lines or less shows one line a direction."""
_KEPT = 40
_WORDS = 60
RULES, MOST_RULES = 200, 3200
"""Rules of a chain that are asked for at first, and after Enter on "more rules" a few times."""
RuleName = tuple[str, str, str, str, int, str]
OLD_S = 3.0
"""From here on a reading's age is said: large rule sets are read more rarely."""


class HookPath(Rows):
    """A list in path order; in a panel of few lines one line a direction."""

    class Opened(Message):
        """Enter or a double click on a rule."""

        def __init__(self, panel: "HookPath", chain: Chain, rule: Rule) -> None:
            super().__init__()
            self.panel, self.chain, self.rule = panel, chain, rule

    def __init__(self, *, key: str = "2", id: str | None = None) -> None:
        super().__init__(heading="Hooks", key=key, id=id)
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
        self._count = 0
        self._by_hand = False
        """The cursor was put somewhere: it stays there."""
        self._near: tuple[str, ...] | None = None
        """The loss that was brought into view, () for the beginning of the path; None: nothing was yet."""
        self._rates: dict[RuleName, deque[float]] = {}

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
        self._by_hand, self._near = False, None
        self.rules = RULES
        self._rates.clear()
        self.note()
        self.paint()

    def order_by(self, order: str) -> None:
        """`path` or `hottest`."""
        self.order, self.top, self.cursor = order, 0, 0
        self._by_hand, self._near = False, None
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
        longest = max((sum(width_of(text) for text, _ in rule_runs(item)) for item in rules), default=0)
        self._words = max(_WORDS, longest + 1)
        self._count = max(7, len(f"{max((item.packets or 0 for item in self._items), default=0):,}"))
        self.total = 0 if self.compact else len(self._items)
        if under is not None and self._place() != under:
            places = (i for i, item in enumerate(self._items) if _name(item) == under)
            at = next(places, self.cursor)
            self.top += at - self.cursor
            self.cursor = at
        self.settle()

    def moved(self, by_hand: bool) -> None:
        self._by_hand = bool(self.cursor or self.top)

    def _show_loss(self) -> None:
        """Have a fresh loss in view, and the beginning again when it is over, unless somebody looks elsewhere."""
        if self.compact or self._by_hand:
            self._near = None if self.compact else self._near
            return
        fresh = {_name(item): i for i, item in enumerate(self._items) for x in item.losses if is_fresh(x)}
        if self._near in fresh:
            near = self._near
        else:
            near = max(fresh, key=lambda name: _gravity(self._items[fresh[name]]), default=())
        at = fresh.get(near, 0)
        seen = self.top <= at < self.top + self.visible_rows
        if not seen and self.has_focus and self._near is not None:
            return
        self._near = near
        if not seen:
            self.cursor, self.top = at, at - self.visible_rows // 2
            self.settle()

    def _place(self) -> tuple[str, ...] | None:
        return _name(self._items[self.cursor]) if 0 <= self.cursor < len(self._items) else None

    def _remember(self, reading: HooksReading) -> None:
        rates = {}
        for chain in reading.chains:
            for rule in chain.rules:
                if rule.pps is not None:
                    key = _rule_name(chain, rule)
                    past = rates[key] = self._rates.get(key) or deque(maxlen=_KEPT)
                    past.append(rule.pps)
        self._rates = rates

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
        self._show_loss()
        became: Counter[str] = Counter()
        for loss in reading.losses:
            became[verb(loss)] += loss.packets
        ruled, refused, lost = became["dropped"], became["refused"], became["lost"]
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
            (f"{refused:,} refused" if refused else "", "level-warn"),
            (f"{lost:,} LOST" if lost else "", "hook-loss"),
        )
        if self.compact:
            lines = [direction_line(items, arrival, width) for _, items, arrival in directions]
            if dropping and not reading.stages:  # the stages say so themselves
                lines[1:1] = [dropping_line(dropping, width)]
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
            no_rules = " No rules here, so nothing counts packets; stage counters of our own can."
            lines = wrap(no_rules, width, "muted")
        return lines

    @property
    def visible_rows(self) -> int:
        return max(0, self.body_height - len(self._below))

    def _line(self, item: Item, width: int, at: int) -> Line:
        runs = item_runs(item, width - 1, self._here(), self._past(item))  # figures off the edge or scrollbar
        if at == self.cursor and self.has_focus:
            return tuple((text, "cursor") for text, _ in fit(runs, width))
        return fit(runs, width)

    def _here(self) -> Here:
        return Here(self._words, self.active, self.why, self.rules < MOST_RULES, self._count)

    def _past(self, item: Item) -> Sequence[float]:
        """Packets/s of the item's rule, as they were while it was watched."""
        if item.chain is None or item.rule is None:
            return ()
        return self._rates.get(_rule_name(item.chain, item.rule), ())

    def as_markdown(self) -> str:
        """The whole list, scrolled out of view or not, as a Markdown table."""
        rows = ["| where | what | packets | packets/s |", "|---|---|---:|---:|"]
        for item in self._items:
            runs = rule_runs(item) if item.kind == "rule" else item_runs(item, 10_000, self._here())
            what = "".join(text for text, _ in runs)
            if item.kind in ("hook", "stage", "chain"):
                what = what[: self._words]  # what follows are the figures
            cells = (item.kind, re.sub(r"\s+", " ", what).strip().replace("|", "\\|"), item.packets, item.pps)
            rows.append("| " + " | ".join("" if cell is None else str(cell) for cell in cells) + " |")
        return "\n".join(rows)


def _gravity(item: Item) -> tuple[bool, int]:
    return any(not knocks(loss.source) for loss in item.losses), item.packets or 0


def _rule_name(chain: Chain, rule: Rule) -> RuleName:
    return chain.backend, chain.family, chain.table, chain.chain, rule.number, rule.text


def _name(item: Item) -> tuple[str, ...]:
    chain = item.chain
    rule = f"{item.rule.number} {item.rule.text}" if item.rule else ""
    return (
        item.kind,
        item.name,
        chain.backend + chain.family + chain.table + chain.chain if chain else "",
        rule,
        *(word for loss in item.losses for word in (loss.family, loss.hook, loss.after, loss.before)),
    )
