"""Paragraphs in cells: wrapped, hanging beside their labels, scrolling. Plain text, as everywhere."""

import re
import textwrap
from collections.abc import Sequence

from textual.actions import SkipAction

from cttui.ui.lines import Line, width_of
from cttui.ui.rows import Rows

_HANGING = re.compile(r"\s*\S+(?: \S+)*\s{2,}(?=\S)")


def wrap(text: str, width: int, style: str = "") -> list[Line]:
    """A paragraph as lines of at most `width` cells.

    Leading spaces indent the whole of it; after a label set off by two spaces or more, the rest hangs
    beside it.
    """
    if width_of(text) <= width:
        return [((text, style),)] if text else [()]
    hanging = _HANGING.match(text)
    first = (
        hanging[0]
        if hanging is not None and len(hanging[0]) < width // 2
        else text[: len(text) - len(text.lstrip(" "))]
    )
    pieces = _Wrapper(max(10, width - len(first)), break_on_hyphens=False).wrap(text[len(first) :])
    return [(((first if i == 0 else " " * len(first)) + piece, style),) for i, piece in enumerate(pieces)]


class _Wrapper(textwrap.TextWrapper):
    """A word longer than a line, as scapy's notation is, goes on below behind one of its signs: between layers
    rather than fields, between fields rather than the ends of a range."""

    def _handle_long_word(
        self, reversed_chunks: list[str], cur_line: list[str], cur_len: int, width: int
    ) -> None:
        room = max(1, width - cur_len)
        word = reversed_chunks[-1]
        depth, least, at = 0, len(word), room
        for i, sign in enumerate(word[:room]):
            depth += (sign in "([") - (sign in ")]")
            if sign in ",/" and i >= room // 2 and depth <= least:
                least, at = depth, i + 1
        cur_line.append(word[:at])
        reversed_chunks[-1] = word[at:]


class Prose(Rows):
    """Paragraphs that scroll; there is no cursor to see. A paragraph is text, or (text, style name).

    The last two cells are a space and the scroll bar's, also while all fits: text does not wrap anew when more comes.
    """

    DEFAULT_CSS = "Prose { height: auto; max-height: 100%; }"

    def __init__(
        self,
        paragraphs: Sequence[str | tuple[str, str]],
        *,
        heading: str = "",
        id: str | None = None,
        indent: int = 0,
    ) -> None:
        super().__init__(heading=heading, id=id)
        self._indent = indent
        self.paragraphs = list(paragraphs)
        self._wrapped: tuple[int, list[Line]] = (-1, [])

    def show(self, paragraphs: Sequence[str | tuple[str, str]]) -> None:
        """Other paragraphs; the place one reads at stays."""
        if list(paragraphs) != self.paragraphs:
            self.paragraphs = list(paragraphs)
            self._wrapped = (-1, [])
            self.refresh(layout=True)
            self.paint()

    def _lines_at(self, width: int) -> list[Line]:
        if self._wrapped[0] != width:
            lines: list[Line] = []
            for paragraph in self.paragraphs:
                text, style = paragraph if isinstance(paragraph, tuple) else (paragraph, "")
                lines += [
                    ((" " * self._indent, ""), *line) for line in wrap(text, width - self._indent, style)
                ]
            self._wrapped = (width, lines)
        return self._wrapped[1]

    def get_content_height(self, container: object, viewport: object, width: int) -> int:
        """Lines it would like to have."""
        return len(self._lines_at(width - 2)) + bool(self.heading)

    def lay_out(self, width: int, height: int) -> list[Line]:
        lines = self._lines_at(width - 2)
        self.total = len(lines)
        self.settle()
        return self.scrollbar(lines[self.top : self.top + height], width)

    def action_open(self) -> None:
        """Enter means nothing to a text: whoever holds it may have a use for it."""
        raise SkipAction

    def action_move(self, rows: int) -> None:
        self.scroll_by(rows)

    def action_page(self, pages: int) -> None:
        self.scroll_by(pages * max(1, self.visible_rows - 1))
