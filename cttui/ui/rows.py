"""A panel of rows that scrolls and has a cursor: less, vim and htop habits, wheel and click."""

from collections.abc import Iterable
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message

from cttui.ui.cells import Cells
from cttui.ui.lines import Line, Run, fit


class Rows(Cells, can_focus=True):
    """Scrolling and a cursor over `total` rows; the subclass lays the visible ones out.

    `top` is the first visible row, `cursor` the selected one (-1: none). `header_lines` lines of the body
    don't scroll. Subclasses override `moved` to react to a new cursor or top, `opened` to Enter.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False, id="rows.up"),
        Binding("down,j", "move(1)", "Down", show=False, id="rows.down"),
        Binding("pageup,ctrl+b", "page(-1)", "Page up", show=False, id="rows.page_up"),
        Binding("pagedown,ctrl+f", "page(1)", "Page down", show=False, id="rows.page_down"),
        Binding("ctrl+u", "half(-1)", "Half a page up", show=False, id="rows.half_up"),
        Binding("ctrl+d", "half(1)", "Half a page down", show=False, id="rows.half_down"),
        Binding("home,g", "first", "First", show=False, id="rows.first"),
        Binding("end,G", "last", "Last", show=False, id="rows.last"),
        Binding("enter", "open", "Open", show=False, id="rows.open"),
    ]

    header_lines: ClassVar[int] = 0

    class WindowWanted(Message):
        """Rows are in view that have not arrived; the widget's `question` says which."""

        def __init__(self, rows: "Rows") -> None:
            super().__init__()
            self.rows = rows

    def __init__(self, *, heading: str = "", key: str = "", id: str | None = None) -> None:
        super().__init__(heading=heading, key=key, id=id)
        self.total = 0
        self.top = 0
        self.cursor = 0

    # ------------------------------------------------------------ for subclasses

    @property
    def visible_rows(self) -> int:
        """Rows that fit on the panel."""
        return max(0, self.body_height - self.header_lines)

    def moved(self, by_hand: bool) -> None:
        """The cursor or the top moved; `by_hand`: by a key or the mouse."""

    def opened(self) -> None:
        """Enter or a click on the cursor's row."""

    def settle(self) -> None:
        """Keep cursor and top within the rows there are."""
        self.cursor = min(max(self.cursor, 0), max(0, self.total - 1))
        self.top = min(max(self.top, 0), max(0, self.total - self.visible_rows))

    def reveal(self) -> None:
        """Scroll as little as needed to have the cursor in view."""
        if self.cursor < self.top:
            self.top = self.cursor
        elif self.cursor >= self.top + self.visible_rows:
            self.top = self.cursor - self.visible_rows + 1
        self.settle()

    @property
    def cursor_style(self) -> str:
        """The style of the cursor's row."""
        return "cursor" if self.has_focus else "cursor-blurred"

    def under_cursor(self, line: Iterable[Run], width: int) -> Line:
        """The line as the cursor's row, which is one colour from edge to edge."""
        return fit([(text, self.cursor_style) for text, _ in line], width, self.cursor_style)

    def scrollbar(self, lines: list[Line], width: int) -> list[Line]:
        """The rows' lines with a scrollbar in their last column where there is more than fits.

        Lines must be laid out for `width - 1` then (see `row_width`).
        """
        rows = self.visible_rows
        if self.total <= rows or rows <= 0:
            return lines
        size = max(1, rows * rows // self.total)
        free = rows - size
        last = self.total - rows
        # The thumb touches an end only when the view does: otherwise there is something more.
        at = (
            0
            if self.top == 0
            else free
            if self.top >= last
            else min(max(1, self.top * free // last), free - 1)
        )
        return [
            (*fit(line, width - 1), ("┃", "scroll-thumb") if at <= y < at + size else ("│", "scroll-track"))
            for y, line in enumerate(lines + [()] * (rows - len(lines)))
        ]

    def row_width(self, width: int) -> int:
        """Cells left for a row beside the scrollbar."""
        return width - 1 if self.total > self.visible_rows else width

    # ------------------------------------------------------------ keys and mouse

    def go(self, row: int) -> None:
        """Put the cursor on `row` by hand."""
        self.cursor = row
        self.settle()
        self.reveal()
        self.moved(True)
        self.paint()

    def scroll_by(self, rows: int) -> None:
        """Move the view by hand, taking the cursor along only as far as it must."""
        self.top += rows
        self.settle()
        low, high = self.top, max(self.top, self.top + self.visible_rows - 1)
        self.cursor = min(max(self.cursor, low), high)
        self.settle()
        self.moved(True)
        self.paint()

    def action_move(self, rows: int) -> None:
        self.go(self.cursor + rows)

    def action_page(self, pages: int) -> None:
        self._leap(pages * max(1, self.visible_rows - 1))

    def action_half(self, halves: int) -> None:
        self._leap(halves * max(1, self.visible_rows // 2))

    def _leap(self, rows: int) -> None:
        self.top += rows
        self.go(self.cursor + rows)

    def action_first(self) -> None:
        self.go(0)

    def action_last(self) -> None:
        self.go(self.total - 1)

    def action_open(self) -> None:
        self.opened()

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self.scroll_by(3)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self.scroll_by(-3)

    def on_click(self, event: events.Click) -> None:
        row = self.row_at(event.y)
        if row is None:
            return
        event.stop()
        if event.chain > 1:
            self.opened()
        else:
            self.go(row)

    def on_resize(self, event: events.Resize) -> None:
        self.settle()
        self.reveal()
        super().on_resize(event)

    def row_at(self, y: int) -> int | None:
        """The row on line `y` of the widget, None outside the rows."""
        row = self.top + y - bool(self.heading) - self.header_lines
        return row if y >= bool(self.heading) + self.header_lines and row < self.total else None
