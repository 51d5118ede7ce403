"""Groups of flows: what fills the table."""

from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message

from cttui.model import words
from cttui.model.pages import GroupPage, GroupRow
from cttui.model.safe import clean
from cttui.ui.lines import Line, Run, clip_middle, pad, width_of
from cttui.ui.prose import wrap
from cttui.ui.rows import Rows
from cttui.ui.widgets.gauge import bar, percent

SORTS = ("count", "bytes", "rate", "unreplied", "key")
"""Orders that `<` and `>` go through."""


class Groups(Rows):
    """Groups with count, share, bytes, rate and the share that never got a reply. Enter goes into one."""

    header_lines: ClassVar[int] = 1
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "less_than_sign",
            "sort_by(-1)",
            "Sort by the column before",
            show=False,
            id="groups.sort_previous",
        ),
        Binding(
            "greater_than_sign", "sort_by(1)", "Sort by the next column", show=False, id="groups.sort_next"
        ),
        Binding("i", "invert", "Turn the order round", show=False, id="groups.reverse"),
    ]

    class SortWanted(Message):
        """Another order was chosen; `sort` and `descending` already say so."""

        def __init__(self, groups: "Groups", key: str, descending: bool) -> None:
            super().__init__()
            self.groups, self.key, self.descending = groups, key, descending

    class Drilled(Message):
        """Enter or a double click on a group: `row.filter` selects its flows."""

        def __init__(self, groups: "Groups", row: GroupRow) -> None:
            super().__init__()
            self.groups, self.row = groups, row

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(heading="What fills the table", key="4", id=id)
        self.page = GroupPage(by=[])
        self.sort = "count"
        self.descending = True
        self.empty: Sequence[str] = ("Nothing to group.",)
        self.way = ""
        """Groups entered and filter, which narrow what is grouped; the app sets it."""

    @property
    def selected(self) -> GroupRow | None:
        """The group under the cursor."""
        at = self.cursor - self.page.first
        return self.page.rows[at] if 0 <= at < len(self.page.rows) else None

    def question(self) -> tuple[int, int]:
        """`first` and `count` for the next GroupView."""
        return self.top, max(1, self.visible_rows)

    def show(self, page: GroupPage) -> None:
        """Take a page in and repaint what it changed."""
        self.page, self.total = page, page.total
        self.settle()
        self.paint()

    def clear(self) -> None:
        """Forget everything: other groups come."""
        self.page, self.total, self.top, self.cursor = GroupPage(by=[]), 0, 0, 0
        self.paint()

    def order_by(self, key: str, descending: bool) -> None:
        """Another order: back to the top of it."""
        self.sort, self.descending = key, descending
        self.top = self.cursor = 0
        self.post_message(self.SortWanted(self, key, descending))
        self.paint()

    def moved(self, by_hand: bool) -> None:
        first, rows = self.page.first, len(self.page.rows)
        if not (first <= self.top and min(self.total, self.top + self.visible_rows) <= first + rows):
            self.post_message(self.WindowWanted(self))

    def on_resize(self, event: events.Resize) -> None:
        super().on_resize(event)
        self.moved(False)

    def opened(self) -> None:
        if (row := self.selected) is not None:
            self.post_message(self.Drilled(self, row))

    def action_sort_by(self, step: int) -> None:
        at = SORTS.index(self.sort) if self.sort in SORTS else 0
        self.order_by(SORTS[(at + step) % len(SORTS)], self.descending)

    def action_invert(self) -> None:
        self.order_by(self.sort, not self.descending)

    # ------------------------------------------------------------ layout

    def lay_out(self, width: int, height: int) -> list[Line]:
        page = self.page
        arrow = "▼" if self.descending else "▲"
        count = words.counted(page.total, "group") if page.total else ""
        if count and width >= 60:
            count += f" of {words.counted(page.flows, 'flow')}"
        # Where one is comes first: the columns say how flows are grouped and sorted, too.
        room = self.note_room(count) - len("in ")
        way = f"in {clip_middle(clean(self.way), room)}" if self.way and room > 3 else ""
        self.note(f"sort {self.sort} {arrow}", f"by {', '.join(page.by)}" if page.by else "", way, count)
        if not page.rows:
            return [
                line
                for i, text in enumerate(self.empty)
                for line in wrap(f" {text}", width, "muted" if i else "")
            ]
        inner = self.row_width(width)
        need = [
            max(width_of(clean(row.key[i])) if i < len(row.key) else 0 for row in page.rows)
            for i in range(len(page.by))
        ]
        names = [max(cells, len(key)) for cells, key in zip(need, page.by, strict=True)]
        figures = self._figures(inner - sum(names) - len(names))
        spare = inner - 1 - sum(cells + 1 for _, _, cells, _ in figures)
        bars = max(0, min(30, spare - sum(names) - len(names) - 9))
        bars = bars if bars >= 5 else 0
        room = max(8, spare - (bars + 1 if bars else 0) - 8 - len(names))
        while sum(names) > room and max(names) > 4:
            names[names.index(max(names))] -= 1
        at = max(0, self.top - page.first)
        rows = page.rows[at : at + height - 1]
        lines = [self._line(row, names, bars, figures, inner, self.top + i) for i, row in enumerate(rows)]
        return [self._header(names, bars, figures, width), *self.scrollbar(lines, width)]

    def _figures(self, room: int) -> list[tuple[str, str, int, str]]:
        """(sort key, label, cells, attribute) of the number columns that fit beside the names."""
        # No wider than it must be: an address beside it is cut for every cell.
        widest = max((len(self._figure(row, "count")) for row in self.page.rows), default=0)
        figures = [("count", "FLOWS", max(6, widest), "count"), ("unreplied", "UNREPL", 6, "unreplied")]
        if room >= 34:
            figures.append(("", "ASSURED", 7, "assured"))
        if room >= 51 and any(row.bytes is not None for row in self.page.rows):
            figures += [("bytes", "BYTES", 7, "bytes"), ("rate", "RATE", 8, "rate_bps")]
        return figures

    def _header(
        self, names: list[int], bars: int, figures: list[tuple[str, str, int, str]], width: int
    ) -> Line:
        runs: list[Run] = [(" ", "header")]
        arrow = "▼" if self.descending else "▲"
        for name, cells in zip(self.page.by, names, strict=True):
            runs += [(pad(name.upper(), cells), "header"), (" ", "header")]
        for key, label, cells, _ in figures:
            on = key == self.sort and bool(key)
            runs += [
                (pad(label + arrow if on else label, cells, True), "header-sorted" if on else "header"),
                (" ", "header"),
            ]
            if key == "count":
                runs += [(pad("SHARE", 7, True), "header"), (" " * (bars + 1), "header")]
        used = sum(width_of(text) for text, _ in runs)
        return (*runs, (" " * max(0, width - used), "header"))

    def _line(
        self,
        row: GroupRow,
        names: list[int],
        bars: int,
        figures: list[tuple[str, str, int, str]],
        width: int,
        at: int,
    ) -> Line:
        runs: list[Run] = [(" ", "")]
        for i, cells in enumerate(names):
            runs += [
                (pad(clip_middle(clean(row.key[i]) if i < len(row.key) else "", cells), cells), ""),
                (" ", ""),
            ]
        for key, _, cells, name in figures:
            runs += [
                (pad(self._figure(row, name), cells, True), "value" if key == "count" else ""),
                (" ", ""),
            ]
            if key == "count":
                runs += [(f"{percent(row.share):>7}", "label"), (" ", "")]
                if bars:
                    filled, empty = bar(row.share, bars)
                    runs += [(filled, "bar on bar-empty"), (empty, "bar-empty")]
        if at == self.cursor:
            return self.under_cursor(runs, width)
        return tuple(runs)

    @staticmethod
    def _figure(row: GroupRow, name: str) -> str:
        if name == "count":
            return f"{row.count:,}"
        if name in ("unreplied", "assured"):
            return percent(getattr(row, name) / row.count) if row.count else "–"
        value = getattr(row, name)
        if value is None:
            return "–"
        return words.si(value) + ("b/s" if name == "rate_bps" else "")

    def as_markdown(self) -> str:
        """The groups on screen as a Markdown table."""
        figures = self._figures(self.size.width)
        head = [[*self.page.by, *(label for _, label, _, _ in figures)]]
        head.append(["---"] * len(head[0]))
        body = [
            [
                *(clean(key).replace("|", "\\|") for key in row.key),
                *(self._figure(row, n) for *_, n in figures),
            ]
            for row in self.page.rows
        ]
        return "\n".join("| " + " | ".join(cells) + " |" for cells in head + body)
