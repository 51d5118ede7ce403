"""What can be pressed, side by side in one line; a click presses it too."""

from collections.abc import Iterable, Sequence

from textual import events

from cttui.ui.cells import Cells
from cttui.ui.lines import Line, Run, width_of


class Offers(Cells):
    """Entries in a line. Subclasses say what pressing one means."""

    _spans: Sequence[tuple[int, int, str]] = ()

    def press(self, id_: str) -> None:
        """An entry was clicked."""
        raise NotImplementedError

    def side_by_side(self, entries: Iterable[tuple[str, list[Run]]]) -> Line:
        """(id, what it looks like) as one line, whose places are kept for clicks."""
        line: list[Run] = []
        spans: list[tuple[int, int, str]] = []
        x = 0
        for id_, runs in entries:
            end = x + sum(width_of(text) for text, _ in runs)
            spans.append((x, end, id_))
            line += runs
            x = end
        self._spans = spans
        return tuple(line)

    def on_click(self, event: events.Click) -> None:
        for start, end, id_ in self._spans:
            if start <= event.x < end:
                self.press(id_)
