"""The table of a tale: what, predicted, measured, right or wrong; it fills in as the tale runs."""

from cttui.lab.runner import Row
from cttui.model.safe import clean
from cttui.ui.lines import Line, pad, width_of
from cttui.ui.prose import wrap
from cttui.ui.rows import Rows

LEAST_NUMBER, MOST_NUMBER = 9, 14
"""Cells of a column of numbers; what is longer stands on a line of its own below its row."""


class Outcomes(Rows):
    """Nothing is cut: what is too long for its column is wrapped."""

    DEFAULT_CSS = "Outcomes { height: auto; }"
    header_lines = 1

    def __init__(self) -> None:
        super().__init__(heading="Predicted and measured", id="outcomes")
        self._rows: list[tuple[Row | None, str]] = []
        self._wrapped: tuple[int, list[Line], list[int]] = (-1, [], [])
        self._at = 0
        self._kept_at = -1
        """The width at which the line to look at was last brought into view."""

    def show(self, rows: list[tuple[Row | None, str]], at: int) -> None:
        """The lines, (row, "") or (None, caption), and the one to keep in view."""
        if rows != self._rows:
            self._rows = rows
            self._wrapped = (-1, [], [])
            self.refresh(layout=True)
        self._at = at
        self._keep_in_view()
        self.paint()

    def _keep_in_view(self) -> None:
        self._kept_at = self.size.width
        _, lines, ends = self._lines_at(self._kept_at)
        self.total = len(lines)
        self.cursor = ends[self._at] if self._at < len(ends) else 0
        self.reveal()

    def get_content_height(self, container: object, viewport: object, width: int) -> int:
        """Lines it would like to have."""
        return len(self._lines_at(width)[1]) + 2

    def lay_out(self, width: int, height: int) -> list[Line]:
        if self._kept_at != width:
            self._keep_in_view()
        self.settle()
        what, number = self._columns(width)
        head = f" {pad('', what)} {pad('predicted', number, right=True)} {pad('measured', number, right=True)}   "
        body = self._lines_at(width)[1][self.top : self.top + self.visible_rows]
        return [((head, "header"),), *self.scrollbar(body, width)]

    def _columns(self, width: int) -> tuple[int, int]:
        """Cells for what is read and for each number, beside a scrollbar."""
        values = [v for row, _ in self._rows if row is not None for v in (row.predicted, row.measured)]
        widths = [width_of(shown(v)) for v in values if v is not None]
        number = max([LEAST_NUMBER, *(w for w in widths if w <= MOST_NUMBER)])
        return max(10, width - 2 * number - 7), number

    def _lines_at(self, width: int) -> tuple[int, list[Line], list[int]]:
        """Every line, and the last line of each row."""
        if self._wrapped[0] != width:
            what, number = self._columns(width)
            lines: list[Line] = []
            ends = []
            for row, caption in self._rows:
                lines += _lines(row, what, number) if row else _indented(caption, width - 2, "label")
                ends.append(len(lines) - 1)
            self._wrapped = (width, lines, ends)
        return self._wrapped


def _lines(row: Row, what: int, number: int) -> list[Line]:
    measured = "" if row.measured is None else shown(row.measured)
    mark, style = ("✓", "right") if row.ok else ("✗", "wrong") if row.ok is False else (" ", "value")
    name = "wrong" if row.ok is False else ""
    cells, below = [], []
    for label, value, its in (("predicted", shown(row.predicted), "muted"), ("measured", measured, style)):
        if width_of(value) > number:
            below.append((f"   {label}  {value}", its))
            value = "↓"
        cells.append((f"{pad(value, number, right=True)} ", its))
    first, *rest = wrap(clean(row.what), what, name)
    text = first[0][0] if first else ""
    return [
        ((f" {pad(text, what)} ", name), *cells, (f"{mark} ", style)),
        *(((" ", ""), *line) for line in rest),
        *(line for words, its in below for line in wrap(words, what + 2 * number + 5, its)),
    ]


def _indented(text: str, width: int, style: str) -> list[Line]:
    return [((" ", ""), *line) for line in wrap(text, width, style)]


def shown(value: int | str) -> str:
    """A predicted or measured value as people read it."""
    return f"{value:,}" if isinstance(value, int) else clean(value)
