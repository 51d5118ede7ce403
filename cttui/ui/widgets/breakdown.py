"""What the table holds: protocols, states, and what may be evicted."""

from cttui.model.table import TableReading
from cttui.ui.cells import Cells, Line, Run, spread
from cttui.ui.widgets.gauge import bar, percent


class Breakdown(Cells):
    """What is in the table: by protocol, by state, ASSURED against evictable. One line, or bars."""

    DEFAULT_CSS = "Breakdown { height: 1; }"

    def __init__(
        self, *, heading: str = "", key: str = "", id: str | None = None, classes: str | None = None
    ) -> None:
        super().__init__(heading=heading, key=key, id=id, classes=classes)
        self.reading: TableReading | None = None

    def show(self, reading: TableReading | None) -> None:
        """Show a reading; None: nothing has been read yet."""
        self.reading = reading
        self.paint()

    def lay_out(self, width: int, height: int) -> list[Line]:
        if self.reading is None:
            return []
        return self._bars(self.reading, width, height) if height >= 4 else [self._line(self.reading, width)]

    def _line(self, reading: TableReading, width: int) -> Line:
        protocols = sorted(reading.by_protocol.items(), key=lambda item: -item[1])
        states = sorted(reading.by_state.items(), key=lambda item: -item[1])
        right: list[Run] = [
            ("  assured ", "label"), (f"{reading.assured:,}", "value"),
            ("  evictable ", "label"), (f"{reading.evictable:,}", "level-warn" if reading.evictable else "value"), (" ", ""),
        ]  # fmt: skip
        left: list[Run] = [(" ", "")]
        for name, count in protocols:
            left += [(name, "label"), (f" {count:,} · ", "value")]
        for name, count in states:
            left += [(name, _state(name)), (f" {count:,} · ", "value")]
        if len(left) == 1:
            left += [("no entries", "muted")]
        else:
            left[-1] = (left[-1][0].removesuffix(" · "), "value")
        return tuple(spread(left, right, width))

    def _bars(self, reading: TableReading, width: int, height: int) -> list[Line]:
        total = max(1, sum(reading.by_protocol.values()))
        rows: list[tuple[str, str, int]] = [
            (name, "label", count)
            for name, count in sorted(reading.by_protocol.items(), key=lambda item: -item[1])
        ]
        rows += [
            (name, _state(name), count)
            for name, count in sorted(reading.by_state.items(), key=lambda item: -item[1])
        ]
        tail: list[tuple[str, str, int]] = [
            ("assured", "label", reading.assured),
            ("evictable", "level-warn", reading.evictable),
        ]
        rows = rows[: max(1, height - len(tail))] + tail
        names = max(len(name) for name, _, _ in rows)
        digits = max(len(f"{count:,}") for _, _, count in rows)
        lines: list[Line] = []
        for name, style, count in rows:
            cells = max(0, width - names - digits - 11)
            filled, empty = bar(count / total, cells) if cells else ("", "")
            lines.append(
                ((f" {name:<{names}} ", style), (f"{count:>{digits},} ", "value"), (filled, style if style != "label" else "bar"),
                 (empty, "bar-empty"), (f" {percent(count / total):>6} ", "muted"))
            )  # fmt: skip
        return lines


def _state(name: str) -> str:
    if name == "ESTABLISHED":
        return "state-established"
    if name.startswith(("SYN", "COOKIE", "HEARTBEAT")):
        return "state-opening"
    return "state-closed" if name in ("CLOSE", "CLOSED", "NONE") else "state-closing"
