"""Text fields, and what is said below them."""

from textual.suggester import Suggester
from textual.widgets import Input

from cttui.model.safe import clean
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
        at, self.cursor_position = self.cursor_position, 0
        self.cursor_position = at

    def on_resize(self) -> None:
        if self.has_focus:
            self.on_focus()


class Label(Cells):
    """What a field is for, before it. `cells`: its width, for labels below each other."""

    DEFAULT_CSS = "Label { height: 1; }"

    def __init__(self, text: str, cells: int = 0) -> None:
        super().__init__()
        self._text = text
        self.styles.width = cells or len(text)

    def lay_out(self, width: int, height: int) -> list[Line]:
        return [((self._text, "label"),)]


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
            self.paint()

    def lay_out(self, width: int, height: int) -> list[Line]:
        lines: list[Line] = []
        for part in self._text.split("\n"):
            lines += (
                wrap(part, width, self._style)
                if width_of(part) > width and height > 1
                else [((clip_words(part, width), self._style),)]
            )
        return lines[:height]
