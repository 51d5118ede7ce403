"""Text fields, and what is said below them."""

from rich.segment import Segment
from textual.strip import Strip
from textual.suggester import Suggester
from textual.widgets import Input

from cttui.model.safe import clean
from cttui.ui.ascii import to_ascii
from cttui.ui.cells import Cells
from cttui.ui.lines import Line, clip_words, width_of
from cttui.ui.prose import wrap


class Field(Input):
    """A text field of ours: plain, no markup, no frame."""

    DEFAULT_CSS = "Field, Field:focus { border: none; width: 1fr; height: 1; padding: 0; }"

    def __init__(
        self,
        value: str = "",
        placeholder: str = "",
        id: str | None = None,
        suggester: Suggester | None = None,
    ) -> None:
        super().__init__(
            value, placeholder=placeholder, id=id, suggester=suggester, select_on_focus=False, compact=True
        )
        self.cursor_blink = False  # over a slow line silence is worth more

    def validate_value(self, value: str) -> str:
        """What is pasted or configured may hold anything, and Textual paints it as it is."""
        return clean(value)

    def on_focus(self) -> None:
        """Show the cursor: Textual scrolls to it only when it moves, and a long line opens with it at its end."""
        selected, self.cursor_position = self.selection, 0
        self.selection = selected  # with what a dialog selected to be typed over

    def on_blur(self) -> None:
        """Where nobody types, a line is read from its beginning."""
        self.scroll_to(0, 0, animate=False, force=True, immediate=True)

    def on_resize(self) -> None:
        if self.has_focus:
            self.on_focus()

    def render_line(self, y: int) -> Strip:
        """The part in view, with "…" where more stands beyond; the cursor's cell stays as it is."""
        strip = super().render_line(y)
        width = self.scrollable_content_region.width
        first = int(self.scroll_offset.x)
        hidden = {0: first > 0, width - 1: width_of(self.value) - first > width}
        cursor = width_of(self.value[: self.cursor_position]) - first if self.has_focus else -1
        for at, more in hidden.items():
            if y == 0 and more and at != cursor:
                style = self.rich_style + self.get_component_rich_style("input--placeholder")
                dots = Strip([Segment(to_ascii("…") if Cells.ascii else "…", style)])
                strip = Strip.join([strip.crop(0, at), dots, strip.crop(at + 1)])
        return strip


class Label(Cells):
    """What a field is for, before it. `cells`: its width, for labels below each other."""

    DEFAULT_CSS = "Label { height: 1; }"

    def __init__(self, text: str, cells: int = 0) -> None:
        super().__init__()
        self._text = text
        self.styles.width = cells or len(text)

    def lay_out(self, width: int, height: int) -> list[Line]:
        return [((self._text, "label"),)]


def pointed(message: str, at: int, width: int) -> str:
    """The message beside a ^ in cell `at`, below it where there is no room beside it; whole in any case."""
    if not 0 <= at < width or width_of(message) > width:
        return message
    if at + 2 + width_of(message) <= width:
        return f"{' ' * at}^ {message}"
    if width_of(message) < at:
        return f"{' ' * (at - width_of(message) - 1)}{message} ^"
    return f"{' ' * at}^\n{message}"


class Says(Cells):
    """One or more lines under a field: what is wrong with it, or what it means."""

    DEFAULT_CSS = "Says { height: 1; }"

    def __init__(self, text: str = "", style: str = "muted", id: str | None = None) -> None:
        super().__init__(id=id)
        self._text, self._style = text, style

    def say(self, text: str, style: str = "muted") -> None:
        """Say something else."""
        if (text, style) != (self._text, self._style):
            self._text, self._style = text, style
            self.refresh(layout=self.styles.is_auto_height)
            self.paint()

    def get_content_height(self, container: object, viewport: object, width: int) -> int:
        """Lines it would like to have."""
        return sum(len(wrap(part, width)) for part in self._text.split("\n"))

    def lay_out(self, width: int, height: int) -> list[Line]:
        lines: list[Line] = []
        for part in self._text.split("\n"):
            lines += (
                wrap(part, width, self._style)
                if width_of(part) > width and height > 1
                else [((clip_words(part, width), self._style),)]
            )
        return lines[:height]
