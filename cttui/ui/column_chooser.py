"""The dialog that chooses columns, their order and their widths."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical

from cttui.ui.dialogs import Button, Buttons, Dialog, Entry, Menu
from cttui.ui.widgets.flow_columns import LARGEST, SMALLEST, Column


@dataclass(frozen=True, slots=True)
class Arrangement:
    """What was chosen: columns in order (none: the program's choice), and the widths set by hand."""

    columns: list[str]
    widths: dict[str, int]


class ColumnChooser(Dialog[Arrangement | None]):
    """Space takes or leaves a column, K and J move it, < > and = set its width, Enter is done."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "take", "Take or leave", show=False),
        Binding("J,shift+down", "shift(1)", "Later", show=False),
        Binding("K,shift+up", "shift(-1)", "Earlier", show=False),
        Binding("less_than_sign", "widen(-1)", "Narrower", show=False),
        Binding("greater_than_sign", "widen(1)", "Wider", show=False),
        Binding("equals_sign", "automatic", "As wide as its content needs", show=False),
        Binding("backspace", "usual", "Columns, order and widths as they were at first", show=False),
    ]

    def __init__(
        self,
        columns: Sequence[Column],
        chosen: Sequence[str],
        set_: Mapping[str, int],
        shown: Mapping[str, int],
    ) -> None:
        """`set_`: widths set by hand; `shown`: widths on screen now, from which < and > begin."""
        super().__init__()
        self.title_text = "Columns of the flows"
        by_id = {column.id: column for column in columns}
        order = [*chosen, *(id_ for id_ in by_id if id_ not in chosen)]
        self._columns = [by_id[id_] for id_ in order if id_ in by_id]
        self._chosen = [id_ for id_ in chosen if id_ in by_id]
        self._set = dict(set_)
        self._shown = {**{column.id: column.usual for column in columns}, **shown}

    def _entry(self, column: Column) -> Entry:
        width = str(self._set[column.id]) if column.id in self._set else "auto"
        return Entry(column.id, column.label, f"{width:>4}  {column.help}")

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = self.title_text
            yield Menu([self._entry(column) for column in self._columns], self._chosen, untaken="○ ")
            yield Buttons(
                [Button("toggle", "space", "take"), Button("", "JK", "move"), Button("", "<>=", "width"),
                 Button("usual", "⌫", "usual"), Button("ok", "Enter", "done"), Button("esc", "Esc", "cancel")]
            )  # fmt: skip

    def action_take(self) -> None:
        """Take the line under the cursor, or leave it."""
        menu = self.query_one(Menu)
        if menu.current is None:
            return
        id_ = menu.current.id
        menu.chosen = [c for c in menu.chosen if c != id_] if id_ in menu.chosen else [*menu.chosen, id_]
        menu.paint()

    def action_shift(self, by: int) -> None:
        """Move the line under the cursor."""
        menu = self.query_one(Menu)
        to = menu.cursor + by
        if 0 <= to < menu.total:
            menu.entries.insert(to, menu.entries.pop(menu.cursor))
            self._columns.insert(to, self._columns.pop(menu.cursor))
            menu.go(to)

    def action_widen(self, by: int) -> None:
        """The column under the cursor wider or narrower than it stands on screen."""
        column = self._columns[self.query_one(Menu).cursor]
        width = self._set.get(column.id, self._shown[column.id]) + by
        self._set[column.id] = min(max(width, SMALLEST), LARGEST)
        self._say_width()

    def action_automatic(self) -> None:
        """The column under the cursor as wide as its content needs."""
        self._set.pop(self._columns[self.query_one(Menu).cursor].id, None)
        self._say_width()

    def _say_width(self) -> None:
        menu = self.query_one(Menu)
        menu.entries[menu.cursor] = self._entry(self._columns[menu.cursor])
        menu.paint()

    def action_usual(self) -> None:
        """Back to what the program would choose."""
        self.dismiss(Arrangement([], {}))

    def on_menu_chosen(self, event: Menu.Chosen) -> None:
        self._done()

    def on_buttons_pressed(self, event: Buttons.Pressed) -> None:
        match event.button:
            case "toggle":
                self.action_take()
            case "usual":
                self.action_usual()
            case "ok":
                self._done()
            case "esc":
                self.dismiss(None)

    def _done(self) -> None:
        menu = self.query_one(Menu)
        self.dismiss(Arrangement([c.id for c in self._columns if c.id in menu.chosen], self._set))
