"""Questions: confirm, choose one, choose several, type something, read something.

Everything is plain text laid out in cells. A question that changes a host states old → new, the scope, who
is affected and what undoes it; its safe answer is the one that Enter or Escape gives.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Input

from cttui.ui.fields import Field, Says
from cttui.ui.lines import Line, clip_words, pad, width_of
from cttui.ui.offers import Offers
from cttui.ui.prose import Prose
from cttui.ui.rows import Rows

T = TypeVar("T")


class Dialog(ModalScreen[T]):
    """A box over the dashboard, which goes on living behind it. `q` closes it as Escape does, except in a field."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss_none", "Close", show=False),
        Binding("ctrl+c", "app.quit", "Quit", show=False),
    ]

    title_text = ""

    def action_dismiss_none(self) -> None:
        """Close without an answer."""
        self.dismiss(None)


@dataclass(frozen=True, slots=True)
class Button:
    """An answer: `key` presses it."""

    id: str
    key: str
    label: str
    style: str = "key"


class Buttons(Offers):
    """Answers side by side, each with its key."""

    DEFAULT_CSS = "Buttons { height: 1; margin-top: 1; }"

    class Pressed(Message):
        """An answer was clicked."""

        def __init__(self, button: str) -> None:
            super().__init__()
            self.button = button

    def __init__(self, buttons: Sequence[Button]) -> None:
        super().__init__()
        self._buttons = list(buttons)

    def show(self, buttons: Sequence[Button]) -> None:
        """Other answers."""
        self._buttons = list(buttons)
        self.paint()

    def lay_out(self, width: int, height: int) -> list[Line]:
        taken = sum(width_of(button.key + button.label) + 6 for button in self._buttons)
        gap = "   " if taken <= width else " "
        return [
            self.side_by_side(
                (button.id, [(f" {button.key} ", button.style), (f" {button.label}{gap}", "label")])
                for button in self._buttons
            )
        ]

    def press(self, id_: str) -> None:
        self.post_message(self.Pressed(id_))


class Confirm(Dialog[str | None]):
    """A question with answers on keys; the answer's id, or None for Escape, q and n.

    There is no default that does something: Enter only closes questions that merely inform.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("n", "dismiss_none", "No", show=False)]

    def __init__(
        self,
        title: str,
        paragraphs: Sequence[str | tuple[str, str]],
        buttons: Sequence[Button],
        *,
        danger: bool = False,
    ) -> None:
        super().__init__()
        self.title_text = title
        self._paragraphs = paragraphs
        self._buttons = [*buttons, Button("", "Esc", "no")]
        self._danger = danger

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog danger" if self._danger else "dialog") as box:
            box.border_title = self.title_text
            yield Prose(self._paragraphs)
            yield Buttons(self._buttons)

    def on_key(self, event: events.Key) -> None:
        for button in self._buttons:
            if button.id and event.character and event.character == button.key:
                event.stop()
                self.dismiss(button.id)
                return

    def on_buttons_pressed(self, event: Buttons.Pressed) -> None:
        self.dismiss(event.button or None)


class Read(Dialog[str | None]):
    """Something to read: help, an explanation, last words; the answer is the one of `offers` that was taken."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,f1,f4,question_mark", "dismiss_none", "Close", show=False)
    ]

    def __init__(
        self, title: str, paragraphs: Sequence[str | tuple[str, str]], offers: Sequence[Button] = ()
    ) -> None:
        super().__init__()
        self.title_text = title
        self._paragraphs = paragraphs
        self._offers = offers

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog wide") as box:
            box.border_title = self.title_text
            yield Prose(self._paragraphs)
            yield Buttons([*self._offers, Button("", "Esc", "close")])

    def on_key(self, event: events.Key) -> None:
        for button in self._offers:
            if button.key in (event.character, event.key.capitalize()):
                event.stop()
                self.dismiss(button.id)
                return

    def on_buttons_pressed(self, event: Buttons.Pressed) -> None:
        self.dismiss(event.button or None)


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a menu."""

    id: str
    label: str
    help: str = ""


class Menu(Rows):
    """Lines to choose from: name on the left, what it is on the right, a mark on those that are chosen."""

    DEFAULT_CSS = "Menu { height: auto; max-height: 100%; }"

    class Chosen(Message):
        """Enter or a double click on a line."""

        def __init__(self, entry: str) -> None:
            super().__init__()
            self.entry = entry

    def __init__(
        self,
        entries: Sequence[Entry],
        chosen: Sequence[str] = (),
        *,
        marks: bool = True,
        untaken: str = "  ",
        id: str | None = None,
    ) -> None:
        """`untaken`: the mark of what is not chosen, where each line can be taken or left."""
        super().__init__(id=id)
        self._untaken = untaken
        self.entries = list(entries)
        self.chosen = list(chosen)
        self.pointed: Callable[[], None] = lambda: None
        """Called when the cursor is on another line."""
        self._marks = marks
        self.total = len(self.entries)
        at = [i for i, e in enumerate(self.entries) if e.id in self.chosen]
        self.cursor = at[0] if at else 0

    def show(self, entries: Sequence[Entry]) -> None:
        """Other lines; the cursor stays on its entry where that is still there."""
        here = self.entries[self.cursor].id if self.entries else ""
        self.entries = list(entries)
        self.total = len(self.entries)
        self.cursor = next((i for i, e in enumerate(self.entries) if e.id == here), 0)
        self.settle()
        self.refresh(layout=True)
        self.paint()

    @property
    def current(self) -> Entry | None:
        """The entry under the cursor."""
        return self.entries[self.cursor] if 0 <= self.cursor < len(self.entries) else None

    def get_content_height(self, container: object, viewport: object, width: int) -> int:
        """Lines it would like to have."""
        return max(1, len(self.entries))

    def on_mount(self) -> None:
        self.call_after_refresh(self.go, self.cursor)

    def lay_out(self, width: int, height: int) -> list[Line]:
        self.settle()
        room = self.row_width(width)
        most = room * 2 // 3 if any(e.help for e in self.entries) else room
        label = min(max((width_of(e.label) for e in self.entries), default=0), most)
        lines: list[Line] = []
        for i in range(self.top, min(self.total, self.top + height)):
            entry = self.entries[i]
            mark = ("● " if entry.id in self.chosen else self._untaken) if self._marks else ""
            here = i == self.cursor
            text = f"{'▸' if here else ' '}{mark}{pad(entry.label, label)}  "
            rest = room - width_of(text)
            about = pad(clip_words(entry.help, rest - (self.total > height)), max(0, rest))
            style = self.cursor_style if here else ""
            lines.append(((text, style), (about, style or "muted")))
        return self.scrollbar(lines, width)

    def moved(self, by_hand: bool) -> None:
        self.pointed()

    def opened(self) -> None:
        if self.current is not None:
            self.post_message(self.Chosen(self.current.id))


class Choose(Dialog[str | None]):
    """One of several: arrows and Enter, or the first letters of its name. Where `several` may be taken together,
    space takes them, and the answer names them in that order, separated by commas."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("space", "take", "Take several", show=False)]

    def __init__(
        self,
        title: str,
        entries: Sequence[Entry],
        current: str = "",
        hint: str = "",
        *,
        several: bool = False,
    ) -> None:
        super().__init__()
        self.title_text = title
        self._entries = entries
        self._current = current
        self._hint = hint
        self._several = several
        self._taken: list[str] = []
        self._typed = ""

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = self.title_text
            box.border_subtitle = self._hint
            yield Menu(self._entries, self._current.split(","))
            take = [Button("take", "space", "take several")] if self._several else []
            yield Buttons([Button("", "Enter", "choose"), *take, Button("esc", "Esc", "close")])

    def action_take(self) -> None:
        """Take the line under the cursor with others, or leave it."""
        menu = self.query_one(Menu)
        if not self._several or menu.current is None:
            return
        id_ = menu.current.id
        self._taken = [t for t in self._taken if t != id_] if id_ in self._taken else [*self._taken, id_]
        menu.chosen = self._taken or self._current.split(",")
        menu.paint()

    def on_menu_chosen(self, event: Menu.Chosen) -> None:
        self.dismiss(",".join(self._taken) or event.entry)

    def on_buttons_pressed(self, event: Buttons.Pressed) -> None:
        current = self.query_one(Menu).current
        if event.button == "take":
            self.action_take()
        elif event.button or current is None:
            self.dismiss(None)
        else:
            self.dismiss(",".join(self._taken) or current.id)

    def on_key(self, event: events.Key) -> None:
        if event.character is None or not event.character.isalnum():
            self._typed = ""
            return
        if event.character in "jkgG" and not self._typed:
            return
        menu = self.query_one(Menu)
        for typed in (self._typed + event.character, event.character):
            for i, entry in enumerate(menu.entries):
                if entry.label.lower().startswith(typed.lower()):
                    self._typed = typed
                    menu.go(i)
                    event.stop()
                    return


class Ask(Dialog[str | None]):
    """Type something. `check` says what is wrong with it, or "" where it is right."""

    DEFAULT_CSS = "Ask Says { height: auto; }"

    def __init__(
        self, title: str, about: Sequence[str | tuple[str, str]], value: str, check: Callable[[str], str]
    ) -> None:
        super().__init__()
        self.title_text = title
        self._about = about
        self._value = value
        self._check = check

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = self.title_text
            prose = Prose(self._about)
            prose.can_focus = False
            yield prose
            yield Field(self._value)
            yield Says()
            yield Buttons(self._buttons(self._value))

    def _buttons(self, value: str) -> list[Button]:
        go_on = [] if self._check(value) else [Button("ok", "Enter", "go on")]
        return [*go_on, Button("", "Esc", "cancel")]

    def on_mount(self) -> None:
        field = self.query_one(Field)
        field.focus()
        field.select_all()  # typed over by the first key, kept by Enter

    def on_input_changed(self, event: Input.Changed) -> None:
        problem = self._check(event.value)
        self.query_one(Says).say(problem, "error-text" if problem else "muted")
        self.query_one(Buttons).show(self._buttons(event.value))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if not self._check(event.value):
            self.dismiss(event.value)

    def on_buttons_pressed(self, event: Buttons.Pressed) -> None:
        value = self.query_one(Field).value
        if not event.button:
            self.dismiss(None)
        elif not self._check(value):
            self.dismiss(value)
