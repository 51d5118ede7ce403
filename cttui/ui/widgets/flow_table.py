"""The flow table: a window on up to millions of flows, of which the probe sends what is on screen.

The table knows how many flows match and holds the last page of them. It asks by messages and never fetches.
The cursor stays on its flow while the rows move about, except on the first row reached by Home (or never
left): there it stays at the top, where the newest or biggest flow is.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.timer import Timer

from cttui.model.flow import Flow
from cttui.model.pages import FlowPage
from cttui.model.safe import clean
from cttui.model.words import counted
from cttui.ui.lines import Line, clip, clip_middle, keyed, width_of
from cttui.ui.rows import Rows
from cttui.ui.widgets.flow_columns import BY_ID, COLUMNS, LARGEST, SMALLEST, Column, sensible, shares
from cttui.ui.widgets.flow_lines import MARKER, Layout, flow_line, gap_line, header_line
from cttui.ui.widgets.flow_marks import FlowMarks

LATE_S = 0.012
"""How long a key waits for its rows; then the cursor is painted where they will be. At once where the last ones were
later than that."""


class FlowTable(Rows):
    """Flows, sorted and filtered by the probe; see the module."""

    header_lines: ClassVar[int] = 1

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "columns(-1)", "Columns to the left", show=False, id="flows.left"),
        Binding("right", "columns(1)", "Columns to the right", show=False, id="flows.right"),
        Binding(
            "less_than_sign", "sort_by(-1)", "Sort by the column before", show=False, id="flows.sort_previous"
        ),
        Binding(
            "greater_than_sign", "sort_by(1)", "Sort by the next column", show=False, id="flows.sort_next"
        ),
        Binding("i", "invert", "Turn the order round", show=False, id="flows.reverse"),
    ]

    class SortWanted(Message):
        """Another order was chosen; the table's `sort` and `descending` already say so."""

        def __init__(self, table: "FlowTable", key: str, descending: bool) -> None:
            super().__init__()
            self.table, self.key, self.descending = table, key, descending

    class Opened(Message):
        """Enter or a double click on a flow."""

        def __init__(self, table: "FlowTable", flow: Flow) -> None:
            super().__init__()
            self.table, self.flow = table, flow

    class Moved(Message):
        """The cursor is on another flow (None: on none)."""

        def __init__(self, table: "FlowTable", flow: Flow | None) -> None:
            super().__init__()
            self.table, self.flow = table, flow

    def __init__(self, *, key: str = "1", id: str | None = None) -> None:
        super().__init__(heading="Flows", key=key, id=id)
        self.sort = "newest"
        self.descending = True
        self.filter_text = ""
        """What the heading says of the filter; the app sets it."""
        self.filtered_in = ""
        """Where that is done first: kernel, or cttui."""
        self.empty: Sequence[str] = ("Not read yet.",)
        """Lines shown in an empty table; the app says why it is empty and which key helps."""
        self.page = FlowPage()
        self._chosen: list[str] = []
        self._fixed: dict[str, int] = {}
        self._left = 0
        self._overflow = False
        self._grown: dict[str, int] = {}
        self._base = 0
        self._at_top = True
        self._follow = 0
        self._asked = 0
        self._marks = FlowMarks()
        self._chasing = False
        self._wanted = False
        """Rows were asked for, and the question is still to come."""
        self._wanted_at: float | None = None
        self._slow = False
        self._late: Timer | None = None
        self._gaps = False
        """Rows that have not come are shown as gaps."""
        self._texts: dict[int, dict[str, str]] = {}
        self._drawn: dict[int, tuple[object, Line]] = {}
        """Rows of this page as laid out: a step of the cursor changes two of them."""

    # ------------------------------------------------------------ what the app asks and tells

    @property
    def columns(self) -> list[str]:
        """Ids of the columns shown, in order: as chosen, or what suits the width and the one that orders them."""
        if self._chosen:
            return self._chosen
        ids = sensible(self._cells(self.row_width(self.size.width)), self._grown, self._fixed)
        orders = next((column.id for column in COLUMNS if column.sort == self.sort), ids[0])
        return ids if orders in ids else [*ids[:-1], orders, ids[-1]]

    @columns.setter
    def columns(self, ids: Sequence[str]) -> None:
        self._chosen = [id for id in ids if id in BY_ID]
        self._left = 0
        self._measure_anew()
        self.paint()

    @property
    def widths(self) -> dict[str, int]:
        """Widths that a person has set, by column; the others follow their content."""
        return dict(self._fixed)

    @widths.setter
    def widths(self, cells: Mapping[str, int]) -> None:
        self._fixed = {id: min(max(n, SMALLEST), LARGEST) for id, n in cells.items() if id in BY_ID}
        self.paint()

    @property
    def shown_widths(self) -> dict[str, int]:
        """Widths on screen now."""
        return {column.id: cells for column, cells in self._layout(self.row_width(self.size.width))}

    @staticmethod
    def available_columns() -> tuple[Column, ...]:
        """Every column there is."""
        return COLUMNS

    @property
    def selected(self) -> Flow | None:
        """The flow under the cursor, None while its row has not arrived."""
        return self._row(self.cursor)

    def question(self) -> tuple[int, int, int]:
        """`first`, `count` and `follow_key` for the next FlowView: the screen and as much above and below,
        so that a step of scrolling finds its rows already here.

        Where a flow is followed the window is `anchored` to it: among 50,000 new flows a second a row number is
        out of date before its answer is here.
        """
        self._wanted = False
        rows = max(1, self.visible_rows)
        first = max(0, self.top - rows // 2)
        count = self.top - first + rows + rows // 2
        if not self._follow or self._at_top:
            self._asked = 0
            return first, count, 0
        self._asked = self._follow
        return first - self.cursor, count, self._follow

    def show(self, page: FlowPage, *, now: float | None = None) -> None:
        """Take a page in and repaint what it changed. `now`: monotonic seconds, for the markers."""
        before = self._follow
        self.page, self.total = page, page.matched
        self._texts.clear()
        self._drawn.clear()
        self._marks.see(page.rows, time.monotonic() if now is None else now)
        self._follow_cursor()
        self.settle()
        under = self.selected
        if under is not None:
            self._follow = under.key
        elif not self._follow or page.follow_at < 0:
            self._follow = 0
        if self._follow != before:
            self.post_message(self.Moved(self, under))
        # Under churn the followed flow may be elsewhere again in each answer: chase it every other time, or
        # question and answer would take turns without a pause.
        covered = self._covered(self.top)
        if covered and self._wanted_at is not None:
            self._slow, self._wanted_at = time.monotonic() - self._wanted_at > LATE_S, None
        self._chasing = not covered and not self._chasing
        if self._chasing and not self._wanted:
            self._want()
        self.paint()

    def clear(self) -> None:
        """Forget everything: another target, another filter."""
        self.page, self.total, self.top, self.cursor = FlowPage(), 0, 0, 0
        self._at_top, self._follow = True, 0
        self._wanted_at = None  # nobody waits for rows of what is forgotten
        self._marks.clear()
        self._measure_anew()
        self.paint()

    def order_by(self, key: str, descending: bool) -> None:
        """Another order. The cursor stays on its flow; at the top it stays at the top."""
        self.sort, self.descending = key, descending
        if not self._follow:
            self._at_top = True
        if self._at_top:
            self.top = self.cursor = 0
        self.post_message(self.SortWanted(self, key, descending))
        self.paint()

    # ------------------------------------------------------------ cursor and window

    def _row(self, row: int) -> Flow | None:
        at = row - self.page.first
        return self.page.rows[at] if 0 <= at < len(self.page.rows) else None

    def _covered(self, top: int) -> bool:
        """Whether the page holds every row of a view that begins at `top`."""
        last = min(top + self.visible_rows, self.total)
        return self.page.first <= top and last <= self.page.first + len(self.page.rows)

    def _follow_cursor(self) -> None:
        if self._at_top:
            self.cursor = self.top = 0
            return
        if not self._follow:
            return
        at = next((i for i, flow in enumerate(self.page.rows) if flow.key == self._follow), None)
        row = self.page.first + at if at is not None else -1
        if row < 0 and self._asked == self._follow:
            row = self.page.follow_at
        if row < 0:
            self._follow = 0  # it has ended: the cursor stays where it is and takes what is there now
            return
        # The view goes with it, so that it keeps its screen line.
        self.top = max(0, self.top + row - self.cursor)
        self.cursor = row

    def _want(self) -> None:
        if min(self.visible_rows, self.total - max(0, self.top)) > 0 and not self._covered(self.top):
            self._wanted = True
            self._wanted_at = self._wanted_at or time.monotonic()
            self.post_message(self.WindowWanted(self))

    def moved(self, by_hand: bool) -> None:
        if not by_hand:
            return
        self._at_top = self.cursor == 0 and self.top == 0
        under = self.selected
        key = under.key if under is not None else 0
        if key != self._follow or under is None:
            self._follow = key
            self.post_message(self.Moved(self, under))
        self._want()
        if self._late is not None:
            self._late.stop()
        self._late = None
        if not self._covered(self.top):
            if self._slow:
                self._gaps = True  # painted with what moved
            else:
                self._late = self.set_timer(LATE_S, self._show_gaps)

    def _show_gaps(self) -> None:
        if not self._covered(self.top):
            self._gaps = True
            self.paint()

    def opened(self) -> None:
        if (flow := self.selected) is not None:
            self.post_message(self.Opened(self, flow))

    def action_columns(self, step: int) -> None:
        """Scroll sideways by a column."""
        if step > 0 and not self._overflow:
            return
        self._left = min(max(0, self._left + step), len(self.columns) - 1)
        self.paint()

    def action_invert(self) -> None:
        self.order_by(self.sort, not self.descending)

    def action_sort_by(self, step: int) -> None:
        """Sort by another sortable column on screen."""
        keys = [BY_ID[id].sort for id in self.columns if BY_ID[id].sort]
        if not keys:
            return
        at = keys.index(self.sort) + step if self.sort in keys else (0 if step > 0 else len(keys) - 1)
        self.order_by(keys[at % len(keys)], self.descending)

    def on_resize(self, event: events.Resize) -> None:
        self._measure_anew()
        if not self._at_top:
            self.reveal()
        self._want()
        super().on_resize(event)

    def on_click(self, event: events.Click) -> None:
        if event.y == bool(self.heading):
            event.stop()
            self._click_header(event.x)
        else:
            super().on_click(event)

    def _click_header(self, x: int) -> None:
        at = MARKER
        for column, width in self._layout(self.row_width(self.size.width)):
            if at <= x <= at + width and column.sort:
                self.order_by(column.sort, not self.descending if self.sort == column.sort else True)
                return
            at += width + 1

    # ------------------------------------------------------------ layout

    def _cells(self, width: int) -> int:
        """Cells for columns in a row of `width`: a space keeps the last one off the scrollbar."""
        return width - MARKER - (self.total > self.visible_rows)

    def _layout(self, width: int) -> list[tuple[Column, int]]:
        columns = [BY_ID[id] for id in self.columns][self._left :]
        grown = dict(self._grown)
        for column in columns:
            if column.sort == self.sort:  # the arrow
                grown[column.id] = max(grown.get(column.id, 0), len(column.label) + 1)
        widths = shares(columns, grown, self._fixed, self._cells(width))
        self._overflow = 0 in widths
        return [(column, cells) for column, cells in zip(columns, widths, strict=True) if cells]

    def lay_out(self, width: int, height: int) -> list[Line]:
        if self._covered(self.top):
            self._base, self._gaps = self.top, False
        elif self._gaps:
            self._base = self.top
        elif not self._covered(self._base):
            self._base = min(max(self._base, self.page.first), max(0, self.total - 1))
        self._say()
        if self.page.error or not self.page.rows:
            return self._instead(width, height)
        shown = range(self._base, self._base + min(height - 1, self.total - self._base))
        rows = [(i, flow) for i in shown if (flow := self._row(i)) is not None or self._gaps]
        self._measure(rows)
        inner = self.row_width(width)
        layout = self._layout(inner)
        lines: list[Line] = []
        for i, flow in rows:
            cursor = self.cursor_style if i == self.cursor else ""
            if flow is None:
                lines.append(gap_line(cursor or "muted", inner))
            else:
                lines.append(self._line(i, flow, layout, cursor, inner))
        header = header_line(layout, self.sort, self._arrow, self._overflow, width)
        return [header, *self.scrollbar(lines, width)]

    @property
    def _arrow(self) -> str:
        return "▼" if self.descending else "▲"

    def _say(self) -> None:
        page, arrow = self.page, self._arrow
        hidden = f"{counted(page.fillers_hidden, 'filler')} hidden" if page.fillers_hidden else ""
        live = page.matched - page.ended
        shown = f"{live:,}" if live == page.total else f"{live:,} of {page.total:,}"
        if self._marks.begun is None:
            shown = ""  # no page yet, perhaps never: nobody has counted
        where = f"filter in {self.filtered_in}: " if self.filtered_in else "filter "
        # Cut rather than left out: a table must not look as if nothing narrowed it.
        cells = self.note_room(shown) - len(where)
        text = clean(self.filter_text)
        chosen = f"{where}{clip_middle(text, cells)}" if text and cells > 3 else "filter" if text else ""
        over = [flow.rate_over_s or 0.0 for flow in page.rows if flow.rate_bps is not None]
        rates = f"rates over {max(over):.0f} s" if over and "rate" in self.columns else ""
        self.note(rates, f"sort {self.sort} {arrow}", hidden, chosen, shown)

    def _instead(self, width: int, height: int) -> list[Line]:
        """What stands in place of rows: the filter's error, or why there are none."""
        if self.page.error:
            return [(), ((" " * MARKER, ""), (clip(clean(self.page.error), width - MARKER), "error-text"))]
        return [()] * min(1, height // 4) + [
            ((" " * MARKER, ""), *keyed(clip(text, width - MARKER), "muted" if i else ""))
            for i, text in enumerate(self.empty)
        ]

    def _measure(self, rows: Iterable[tuple[int, Flow | None]]) -> None:
        """The rows' cells; columns grow to what they need, and never shrink until the table is another."""
        columns = [BY_ID[id] for id in self.columns]
        for i, flow in rows:
            texts = self._texts.get(i, {})
            if flow is None or all(column.id in texts for column in columns):
                continue
            texts = self._texts[i] = {column.id: column.text(flow) for column in columns}
            for column in columns:
                if (need := min(width_of(texts[column.id]), column.most)) > self._grown.get(column.id, 0):
                    self._grown[column.id] = need

    def _measure_anew(self) -> None:
        self._grown.clear()
        self._texts.clear()

    def _line(self, row: int, flow: Flow, layout: Layout, cursor: str, width: int) -> Line:
        whole = cursor or ("flow-ended" if flow.ended else "")
        how = (layout, whole, width)
        drawn = self._drawn.get(row)
        if drawn is None or drawn[0] != how:
            line = flow_line(flow, self._texts[row], layout, self._marks.of(flow), whole, width)
            drawn = self._drawn[row] = (how, line)
        return drawn[1]

    def as_markdown(self) -> str:
        """The rows on screen as a Markdown table."""
        layout = self._layout(self.size.width)
        rows = [flow for i in range(self.visible_rows) if (flow := self._row(self._base + i)) is not None]
        cells = [[column.text(flow).replace("|", "\\|") for column, _ in layout] for flow in rows]
        head = [[column.label for column, _ in layout], ["---"] * len(layout)]
        return "\n".join("| " + " | ".join(row) + " |" for row in head + cells)
