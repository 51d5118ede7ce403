"""The filter as it is typed: checked at every key, applied while it is right, completed by Tab."""

import re
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.widgets import Input

from cttui.model import filters
from cttui.model.faults import FaultError
from cttui.model.packet_match import parse_packets
from cttui.ui.cells import Cells
from cttui.ui.fields import Field, Says
from cttui.ui.lines import Line

PROMPT = " / "
KEYS = [
    ("enter", "Enter", "keep it"), ("escape", "Esc", "take it back"), ("tab", "Tab", "complete"),
    ("up", "↑", "an earlier one"),
]  # fmt: skip
"""(key, its name, what it does) for the last line: the usual ones would be typed."""
EXAMPLES = (
    "src=10.0.0.0/8  dport=443,8000-8999  state=SYN_SENT  unreplied  nat  not assured  bytes>1M  timeout<10"
)
PACKET_EXAMPLES = "src=10.0.0.0/8  dport=443,8000-8999  host=192.0.2.1  tcp  icmp  bytes>1000  not port=22"


def judge(text: str) -> tuple[str, int, str]:
    """(sentence, column, what may be meant) on what is wrong with a filter; "" and -1 where it is right."""
    try:
        filters.parse(text)
    except filters.FilterError as e:
        return e.message, e.column, e.hint
    return "", -1, ""


def judge_packets(text: str) -> tuple[str, int, str]:
    """As `judge`, for the packet log: a packet has fewer attributes than a flow."""
    if text.lstrip().startswith("pcap:"):
        return "A pcap expression chooses what is captured; what is shown is chosen by filter words", 0, ""
    wrong = judge(text)
    if wrong[0]:
        return wrong
    try:
        parse_packets(text)
    except FaultError as e:
        return e.fault.sentence.removesuffix("."), 0, ""
    return "", -1, ""


class Prompt(Cells):
    """The sign before the field."""

    DEFAULT_CSS = "Prompt { width: 3; height: 1; }"

    def lay_out(self, width: int, height: int) -> list[Line]:
        return [((PROMPT, "key"),)]


class FilterBar(Vertical):
    """One line to type in and one that says what is wrong, at its column, or what could be typed."""

    DEFAULT_CSS = """
    FilterBar { height: 2; display: none; background: $panel; }
    FilterBar.open { display: block; }
    FilterBar Horizontal { height: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "Take the filter back", show=False, priority=True),
        Binding("tab", "complete", "Complete the word", show=False, priority=True),
        Binding("up", "history(1)", "An earlier filter", show=False, priority=True),
        Binding("down", "history(-1)", "A later filter", show=False, priority=True),
    ]

    class Applied(Message):
        """A right filter was typed so far; `done` says that Enter was pressed. `panel` is what it is for."""

        def __init__(self, text: str, done: bool, panel: str) -> None:
            super().__init__()
            self.text, self.done, self.panel = text, done, panel

    class Cancelled(Message):
        """Escape: the filter from before the typing is wanted back."""

        def __init__(self, before: str, panel: str) -> None:
            super().__init__()
            self.before, self.panel = before, panel

    def __init__(self) -> None:
        super().__init__(id="filter-bar")
        self._before = ""
        self._past: list[str] = []
        self._at = -1
        self.panel = "flows"
        self._judge = judge

    def compose(self) -> ComposeResult:
        with Horizontal():
            yield Prompt()
            yield Field(id="filter-field")
        yield Says(id="filter-says")

    def open(self, text: str, past: list[str], panel: str = "flows") -> None:
        """Begin typing on top of `text`; `past` are earlier filters, the last first; `panel` flows or packets."""
        self._before, self._past, self._at = text, past, -1
        self.panel, self._judge = panel, judge_packets if panel == "packets" else judge
        field = self.query_one(Field)
        field.can_focus = True
        field.value = text
        field.cursor_position = len(text)
        self.add_class("open")
        self._say(text)
        self.screen.set_focus(field)  # at once: the next key is the first of the filter

    def close(self) -> None:
        """Go away."""
        self.remove_class("open")
        self.query_one(Field).can_focus = False

    def on_mount(self) -> None:
        # Tab must not lead here while the bar is closed.
        self.query_one(Field).can_focus = False

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        if not self.has_class("open"):
            return
        field = self.query_one(Field)
        text = field.value  # newer than the event's where keys come quickly
        if self._say(text):
            self.post_message(self.Applied(text, False, self.panel))

    def _say(self, text: str) -> bool:
        """What is wrong with the filter, or what could be typed next. Whether it is right."""
        field = self.query_one(Field)
        sentence, column, hint = self._judge(text)
        says = self.query_one(Says)
        words = filters.complete(text, min(field.cursor_position, len(text)))
        # The beginning of a word is no mistake while it is being typed.
        begun = (
            bool(words)
            and field.cursor_position >= len(text)
            and not re.search(r"[\s=(){}!&|,]", text[column:])
        )
        if not sentence or begun:
            says.say(
                "   "
                + (
                    "Tab  " + "  ".join(words)
                    if words
                    else (PACKET_EXAMPLES if self.panel == "packets" else EXAMPLES)
                    if not text
                    else "Enter keeps it, Esc takes it back"
                )
            )
            return not sentence
        offset = len(PROMPT) + column - int(field.scroll_offset.x)
        pointer = " " * offset + "^ " if 0 <= offset < self.size.width // 2 else f"   column {column + 1}: "
        says.say(f"{pointer}{sentence}. {hint}".rstrip(), "error-text")
        return False

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if self._judge(event.value)[0]:
            self.app.bell()
            return
        self.close()
        self.post_message(self.Applied(event.value, True, self.panel))

    def action_cancel(self) -> None:
        """Close, with the filter from before."""
        self.close()
        self.post_message(self.Cancelled(self._before, self.panel))

    def action_complete(self) -> None:
        """Finish the word before the cursor with the likeliest one."""
        field = self.query_one(Field)
        cursor = min(field.cursor_position, len(field.value))
        words = filters.complete(field.value, cursor)
        if not words:
            return
        start = cursor
        while start > 0 and field.value[start - 1] not in " \t()!{}&|":
            start -= 1
        field.value = field.value[:start] + words[0] + field.value[cursor:]
        field.cursor_position = start + len(words[0])

    def action_history(self, step: int) -> None:
        """An earlier (1) or later (-1) filter."""
        to = self._at + step
        if -1 <= to < len(self._past):
            self._at = to
            field = self.query_one(Field)
            field.value = self._past[to] if to >= 0 else self._before
            field.cursor_position = len(field.value)
