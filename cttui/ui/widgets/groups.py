"""Groups of flows: what fills the table."""

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message

from cttui.model import words
from cttui.model.messages import GroupPage, GroupRow
from cttui.model.safe import clean
from cttui.ui.cells import Line, Run, clip_middle, pad, width_of
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

    class WindowWanted(Message):
        """The panel needs groups [first, first + count)."""

        def __init__(self, groups: "Groups", first: int, count: int) -> None:
            super().__init__()
            self.groups, self.first, self.count = groups, first, count

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

    def __init__(
        self, *, heading: str = "Groups", key: str = "4", id: str | None = None, classes: str | None = None
    ) -> None:
        super().__init__(heading=heading, key=key, id=id, classes=classes)
        self.page = GroupPage(by=[])
        self.sort = "count"
        self.descending = True
        self.empty: Sequence[str] = ("Nothing to group.",)

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
