"""Packets × stages: how far each traced packet came."""

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message

from cttui.model.packet import Journey, JourneysReading
from cttui.model.safe import clean
from cttui.ui import journey_text as text
from cttui.ui.lines import Line, Run, clip, pad, width_of
from cttui.ui.prose import wrap
from cttui.ui.rows import Rows

_LEAST_PACKET, _LEAST_END = 22, 28
"""Cells that packet and end keep beside the stages; below, stages are numbered instead of named."""


class JourneyTable(Rows):
    """A row a packet, a column a stage, and the end in words."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "stages(-1)", "Earlier stages, where not all fit", show=False),
        Binding("right", "stages(1)", "Later stages", show=False),
    ]

    class Moved(Message):
        """The cursor was put on another packet."""

    class Opened(Message):
        """Enter or a double click on a packet."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(heading="Packets × stages", id=id)
        self.reading: JourneysReading | None = None
        self.empty: Sequence[str] = ()
        self.header_rows = 0
        self._from = 0

    @property
    def selected(self) -> Journey | None:
        """The journey under the cursor, None while it has not arrived."""
        if self.reading is None:
            return None
        at = self.cursor - self.reading.first
        return self.reading.journeys[at] if 0 <= at < len(self.reading.journeys) else None

    @property
    def visible_rows(self) -> int:
        return max(0, self.body_height - self.header_rows)

    def question(self) -> tuple[int, int]:
        """`first` and `count` for the next JourneyView."""
        return self.top, max(1, self.body_height)

    def show(self, reading: JourneysReading | None) -> None:
        """Take a reading in and repaint what it changed."""
        self.reading = reading
        self.total = reading.total if reading is not None else 0
        self.settle()
        self.paint()

    def moved(self, by_hand: bool) -> None:
        self.post_message(self.Moved())
        if self.reading is None:
            return
        first, last = self.reading.first, self.reading.first + len(self.reading.journeys)
        if not (first <= self.top and min(self.top + self.visible_rows, self.total) <= last):
            self.post_message(self.WindowWanted(self))

    def opened(self) -> None:
        self.post_message(self.Opened())

    def action_stages(self, by: int) -> None:
        """Scroll the columns."""
        self._from = max(0, self._from + by)
        self.paint()

    def row_at(self, y: int) -> int | None:
        row = self.top + y - bool(self.heading) - self.header_rows
        return row if y >= bool(self.heading) + self.header_rows and row < self.total else None

    # ------------------------------------------------------------ layout

    def lay_out(self, width: int, height: int) -> list[Line]:
        reading = self.reading
        if reading is None or not reading.total:
            self.note("")
            return [line for words in self.empty for line in wrap(f" {words}", width, "muted")]
        number = max(3, len(f"{reading.total:,}") + 1)
        room = width - 1 - number - 2  # a scrollbar may come, and a space before the packet
        names = [text.stage_words(label) for label in reading.stages]
        widths = [max(width_of(a), width_of(b)) + 1 for a, b in names]
        named = room - sum(widths) >= _LEAST_PACKET + _LEAST_END
        if not named:
            widths = [len(str(i + 1)) + 1 for i in range(len(names))]
        most = len(widths)
        while most > 1 and sum(widths[-most:]) > room - _LEAST_PACKET - 10:
            most -= 1
        self._from = min(self._from, len(widths) - most)
        shown = range(self._from, self._from + most)
        self.note(
            text.LEGEND if width >= 100 else "",
            f"stages {self._from + 1}–{self._from + most} of {len(widths)}, ← →"
            if most < len(widths)
            else "",
        )
        rest = room - sum(widths[i] for i in shown)
        top, bottom = self.top, self.top + height
        visible = [j for i, j in enumerate(reading.journeys, reading.first) if top <= i < bottom]
        ends = max((width_of(clean(j.end)) for j in visible), default=0)
        packet = min(
            max((width_of(text.packet_label(j)) for j in visible), default=0),
            max(rest - 1 - min(ends, rest // 2), _LEAST_PACKET),
        )
        packet = max(packet, 6)
        end = max(0, rest - packet - 1)
        head = self._header(names, list(shown), widths, number, packet, end, width, named)
        head = head[: max(0, height - 1)]
        self.header_rows = len(head)
        self.settle()
        body: list[Line] = []
        row_w = self.row_width(width)
        for at in range(self.top, min(self.total, self.top + self.visible_rows)):
            i = at - reading.first
            runs: list[Run] = [(f"{at + 1:>{number},} ", "muted")]
            if not 0 <= i < len(reading.journeys):
                runs.append(("…", "muted"))
                body.append(self.under_cursor(runs, row_w) if at == self.cursor else tuple(runs))
                continue
            journey = reading.journeys[i]
            runs.append((pad(text.packet_label(journey, packet), packet) + " ", ""))
            for stage in shown:
                cell = journey.cells[stage] if stage < len(journey.cells) else "not reached"
                mark, mark_style = text.MARKS.get(cell, ("–", "muted"))
                runs.append((pad(mark, widths[stage]), mark_style))
            ended = (
                "fate-passed" if journey.ended_ok else "muted" if journey.end == "under way" else "fate-lost"
            )
            runs.append((pad(clip(clean(journey.end), end), end), ended))
            body.append(self.under_cursor(runs, row_w) if at == self.cursor else tuple(runs))
        return head + self.scrollbar(body, width)

    def _header(
        self, names: list[tuple[str, str]], shown: list[int], widths: list[int], number: int, packet: int, end: int,
        width: int, named: bool,
    ) -> list[Line]:  # fmt: skip
        assert self.reading is not None
        left = f"{'#':>{number}} {pad('PACKET', packet)} "
        if named:
            upper = "".join(pad(names[i][0], widths[i]) for i in shown)
            lower = "".join(pad(names[i][1], widths[i]) for i in shown)
            first = pad("", len(left)) + upper
            return [
                ((pad(first, width), "header"),),
                ((pad(left + lower + "END", width), "header"),),
            ]
        columns = "".join(pad(str(i + 1), widths[i]) for i in shown)
        return [
            *self._legend(width),
            ((pad(left + columns + "END", width), "header"),),
        ]

    def _legend(self, width: int) -> list[Line]:
        """What the numbers stand for; a stage is not broken over lines."""
        assert self.reading is not None
        lines = [""]
        for i, label in enumerate(self.reading.stages):
            item = f"{i + 1} {clean(label)}"
            if lines[-1] and width_of(lines[-1]) + width_of(item) + 3 > width:
                lines.append("")
            lines[-1] += f"{'  ' if lines[-1] else ''} {item}"
        return [((line, "label"),) for line in lines]

    def as_markdown(self) -> str:
        """The rows that are here as a Markdown table, cells in words."""
        return text.as_markdown(self.reading) if self.reading is not None else ""
