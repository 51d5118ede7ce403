"""Widgets painted as lines of text cells, of which only the cells that changed go to the terminal.

Over SSH the terminal is the bottleneck: repainting a 160×50 dashboard costs 20 kB, its changed cells a few
hundred bytes. Every widget of this program therefore lays all of its lines out in one pass, and the base
class here compares them with what was painted last and refreshes only the runs of cells that differ.
`chops.install` makes Textual send no more than these runs.
"""

import itertools
import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from typing import ClassVar

from rich.cells import cell_len
from rich.color import Color as RichColor
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.color import Color, ColorParseError
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from cttui.model.safe import clean
from cttui.ui.ascii import to_ascii
from cttui.ui.lines import Line, Run, clip, clip_words, fit, width_of

STYLE_COST = 40
"""Bytes of the SGR sequences around a run in true colour: CSI 38;2;r;g;b;48;2;r;g;b m … CSI 0 m."""
MOVE_COST = 8
"""Bytes of a cursor movement, CSI row;column H."""
NOTE_EDGES = 4
"""Cells around a note in a heading: a space, the note, a space, two of the rule."""


_NARROW = re.compile(r"[ -~\u00b0-\u02ff\u2010-\u2027\u2190-\u21ff\u2500-\u259f]*")
"""Text of characters that take one cell each: ASCII, Latin, dots and dashes, arrows, lines and blocks."""


def _cells(line: Line) -> str | list[str]:
    """What stands in each cell. Where wide characters are among it a list: "" for their second cell."""
    text = "".join(text for text, _ in line)
    if _NARROW.fullmatch(text):
        return text
    cells: list[str] = []
    for text, _ in line:
        if text.isascii():
            cells += text
            continue
        for character in text:
            wide = cell_len(character)
            if wide:
                cells += [character, *[""] * (wide - 1)]
            elif cells:
                cells[-1] += character
    return cells


def _ends(line: Line) -> list[tuple[int, str]]:
    """Cell behind each run of the line, and the run's style."""
    out, end = [], 0
    for text, style in line:
        end += width_of(text)
        out.append((end, style))
    return out


def _differences(old: Line, new: Line, was: str | list[str], now: str | list[str]) -> Iterator[range]:
    """Cells that differ, from left to right, one or many at a time."""
    before, after = _ends(old), _ends(new)
    start = i = j = 0
    while i < len(before) and j < len(after):
        end = min(before[i][0], after[j][0])
        if before[i][1] != after[j][1]:
            yield range(start, end)
        elif was[start:end] != now[start:end]:
            yield from (range(x, x + 1) for x in range(start, end) if was[x] != now[x])
        start = end
        i, j = i + (before[i][0] == end), j + (after[j][0] == end)


def changed_runs(old: Line, new: Line) -> list[tuple[int, int]]:
    """Half-open runs of cells in which two lines of one width differ, merged where that saves bytes.

    A run of its own costs a cursor movement and its style; bridging the gap costs the cells between and
    each change of style among them. A run never begins or ends inside a wide character.
    """
    was, now = _cells(old), _cells(new)
    if type(was) is not type(now):
        was, now = list(was), list(now)
    if len(was) != len(now):
        return [(0, max(len(was), len(now)))]
    turns = [end for (end, style), (_, next_) in itertools.pairwise(_ends(new)) if style != next_]
    runs: list[tuple[int, int]] = []
    for cells in _differences(old, new, was, now):
        start, end = cells.start, cells.stop
        while start and (was[start] == "" or now[start] == ""):
            start -= 1
        while end < len(now) and (was[end] == "" or now[end] == ""):
            end += 1
        if runs:
            last = runs[-1][1]
            if start <= last:
                runs[-1] = (runs[-1][0], max(last, end))
                continue
            styles = bisect_left(turns, start) - bisect_left(turns, last)
            if start - last + STYLE_COST * styles < MOVE_COST + STYLE_COST:
                runs[-1] = (runs[-1][0], end)
                continue
        runs.append((start, end))
    return runs


class Cells(Widget):
    """A widget whose content is `lay_out`'s lines; `paint` repaints what changed of them.

    A panel has a heading as its first line: a rule with the panel's key and name on the left and notes on
    the right, heavier while the panel has the focus.
    """

    ascii: ClassVar[bool] = False
    """Set once at start where the locale has no Unicode: every line is then reduced to ASCII."""

    DEFAULT_CSS = "Cells { height: 1fr; width: 1fr; }"

    def __init__(self, *, heading: str = "", key: str = "", id: str | None = None) -> None:
        super().__init__(id=id)
        self.heading = heading
        self.key = key
        self.notes: list[Run] = []
        self._lines: list[Line] = []
        self._laid: tuple[int, int] = (-1, -1)
        self._strips: dict[int, tuple[Line, Strip]] = {}
        self._styles_by_name: dict[str, Style] = {}
        self._variables: dict[str, str] = {}

    # ------------------------------------------------------------ for subclasses

    def lay_out(self, width: int, height: int) -> list[Line]:
        """All lines below the heading, at most `height` of them, each at most `width` cells."""
        raise NotImplementedError

    @property
    def body_height(self) -> int:
        """Lines below the heading."""
        return max(0, self.size.height - bool(self.heading))

    def note(self, *notes: str | Run) -> None:
        """What the heading says on the right, the most important last; the caller paints."""
        runs = [(note, "heading-note") if isinstance(note, str) else note for note in notes]
        self.notes = [run for run in runs if run[0]]

    def note_room(self, *others: str) -> int:
        """Cells that the heading has for one more note beside these."""
        taken = sum(width_of(other) + NOTE_EDGES for other in others if other)
        return self.size.width - width_of(self._key_and_heading) - 4 - taken - NOTE_EDGES

    def paint(self) -> None:
        """Lay the lines out anew and refresh the cells that differ from what was painted."""
        width, height = self.size
        if not self.is_attached or not width or not height or not self._displayed():
            self._laid = (-1, -1)  # laid out when it is shown
            return
        old, known = self._lines, self._laid == (width, height)
        self._lay()
        if not known:
            self.refresh()
            return
        regions = [
            Region(start, y, end - start, 1)
            for y, (was, now) in enumerate(zip(old, self._lines, strict=True))
            if was != now
            for start, end in changed_runs(was, now)
        ]
        if regions:
            self.refresh(*regions)

    # ------------------------------------------------------------ for everyone

    def as_text(self) -> str:
        """The panel as it stands on screen, without trailing spaces (for copying, and for tests)."""
        if self._laid != tuple(self.size):
            self._lay()
        return "\n".join("".join(text for text, _ in line).rstrip() for line in self._lines).rstrip("\n")

    def as_markdown(self) -> str:
        """The panel as a Markdown code block."""
        return f"```\n{self.as_text()}\n```"

    # ------------------------------------------------------------ painting

    def _displayed(self) -> bool:
        return all(node.display for node in self.ancestors_with_self if isinstance(node, Widget))

    def _lay(self) -> None:
        width, height = self.size
        headed = bool(self.heading and height)
        lines = self.lay_out(width, height - headed)[: height - headed]
        if headed:  # last, as laying out may change the notes
            lines = [self._heading_line(width), *lines]
        if self.ascii:
            lines = [tuple((to_ascii(text), style) for text, style in line) for line in lines]
        self._lines = [fit(line, width) for line in lines]
        self._lines += [fit((), width)] * (height - len(lines))
        self._laid = (width, height)

    @property
    def _key_and_heading(self) -> str:
        return f"{self.key} {self.heading}" if self.key else self.heading

    def _heading_line(self, width: int) -> Line:
        rule, line = ("━", "heading-focus") if self.has_focus else ("─", "heading-rule")
        name = clip(self._key_and_heading, width - 2)
        left: list[Run] = [(rule, line), (name, "heading-focus" if self.has_focus else "heading")]
        room = width - width_of(name) - 4
        notes = list(self.notes)
        while notes and sum(width_of(text) + NOTE_EDGES for text, _ in notes) > room:
            text, style = notes.pop(0)
            if not notes and style != "heading-note" and room > 8:  # a loss is said as far as it fits
                notes = [(clip_words(text, room - 4), style)]
                break
        right: list[Run] = []
        for text, style in notes:
            right += [(" ", line), (text, style), (f" {rule * 2}", line)]
        right = [*right[:-1], (f" {rule}", line)] if right else []
        taken = sum(width_of(text) for text, _ in left + right)
        return (*left, (rule * (width - taken), line), *right)

    def style_named(self, name: str) -> Style:
        """The style of a theme variable on this widget's background."""
        style = self._styles_by_name.get(name)
        if style is None:
            style = self._styles_by_name[name] = self.rich_style + named_style(self.app.theme_variables, name)
        return style

    def render_line(self, y: int) -> Strip:
        if self._laid != tuple(self.size):
            self._lay()
        if y >= len(self._lines):
            return Strip.blank(self.size.width, self.style_named(""))
        line = self._lines[y]
        cached = self._strips.get(y)
        if cached is not None and cached[0] == line:
            return cached[1]
        strip = Strip([Segment(text, self.style_named(style)) for text, style in line], self.size.width)
        if not all(text.isprintable() for text, _ in line):
            # The last gate before the terminal: what a widget forgot to clean.
            cleaned = [Segment(clean(text), self.style_named(style)) for text, style in line]
            strip = Strip(cleaned).adjust_cell_length(self.size.width)
        self._strips[y] = (line, strip)
        return strip

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._styles_by_name.clear()
        self._strips.clear()
        if self._variables != self.app.theme_variables:
            self._variables = dict(self.app.theme_variables)
            self.refresh()

    def on_resize(self, _event: events.Resize) -> None:
        self.paint()

    def on_show(self, _event: events.Show) -> None:
        self.paint()

    def watch_has_focus(self, has_focus: bool) -> None:
        # Not at the events: a handler of ours hears of them before has_focus says so.
        super().watch_has_focus(has_focus)
        self.paint()


def named_style(variables: Mapping[str, str], name: str) -> Style:
    """What the theme says about `name`: colour, `-background`, `-style`. Unknown names change nothing."""
    if not name:
        return Style.null()
    name, _, ground = name.partition(" on ")
    text_style = variables.get(f"{name}-style", "none")
    return Style(
        color=_rich(variables.get(name)), bgcolor=_rich(variables.get(f"{ground or name}-background"))
    ) + Style.parse("" if text_style == "none" else text_style)


def _rich(value: str | None) -> RichColor | None:
    if not value:
        return None
    try:
        colour = Color.parse(value)
    except ColorParseError:
        return None  # "auto 87%" and the like: the widget's own colour
    return colour.rich_color if colour.a else None
