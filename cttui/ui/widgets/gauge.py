"""The table gauge: entries against the limit, in words, figures and a bar."""

from cttui.model.safe import clean
from cttui.model.table import TableReading
from cttui.model.words import counted
from cttui.ui.lines import Line, Run, fit, width_of
from cttui.ui.widgets.table_line import TableLine

WARN, FULL = 0.8, 0.95
"""From 80 % on a burst fills it; from 95 % on, once a packet was lost, the garbage collector takes what is not ASSURED."""


def level(reading: TableReading) -> tuple[str, str]:
    """(theme variable, word) for how full the table is; the word says it without colour."""
    if reading.count is None or reading.maximum is None:
        return "muted", "unknown"
    if reading.maximum == 0:
        return "level-ok", "unlimited"
    share = reading.count / reading.maximum
    if reading.count >= reading.maximum:
        return "level-full", "FULL"
    if share >= FULL:
        return "level-full", "nearly full"
    if share >= WARN:
        return "level-warn", "filling"
    return "level-ok", ""


def bar(share: float, width: int) -> tuple[str, str]:
    """(filled, empty) parts of a bar of `width` cells in eighths of a cell.

    Not empty while there is anything, not full while there is room: the ends are the news.
    """
    eighths = round(min(max(share, 0.0), 1.0) * width * 8)
    if share > 0:
        eighths = max(eighths, 1)
    if share < 1:
        eighths = min(eighths, width * 8 - 1)
    whole, part = divmod(eighths, 8)
    filled = "█" * whole + (" ▏▎▍▌▋▊▉"[part] if part else "")
    return filled, " " * (width - len(filled))


def percent(share: float) -> str:
    """A share as a percentage that says 100 % only of all and 0 % only of nothing."""
    if 0.995 <= share < 1:
        return f"{min(99.99, int(share * 10000) / 100):.2f}%"
    if 0 < share < 0.01:
        return "<1%"
    return f"{share:.0%}"


class Gauge(TableLine):
    """One line: bar, entries / limit, percent, free slots; a second one, where there is room, with what
    lies behind it: buckets, entries without room in the store, why conntrack is (not) active."""

    def lay_out(self, width: int, height: int) -> list[Line]:
        reading = self.reading
        if reading is None:
            return [((" table  ", "label"), ("not read yet", "muted"))]
        lines = [self._main(reading, width)]
        if height > 1:
            lines.append(self._behind(reading, width))
        return lines

    def _main(self, reading: TableReading, width: int) -> Line:
        colour, word = level(reading)
        if reading.active is False and not reading.count:
            return fit(
                [
                    (" table  ", "label"),
                    ("conntrack is not active in this namespace", "level-warn"),
                    ("  " + clean(reading.active_why), "muted"),
                ],
                width,
            )
        count = "?" if reading.count is None else f"{reading.count:,}"
        if not reading.maximum:
            limit = "limit unknown" if reading.maximum is None else "no limit"
            return fit([(" table  ", "label"), (count, "value"), (f" entries · {limit}", "")], width)
        entries = reading.count or 0
        share = entries / reading.maximum
        free = max(0, reading.maximum - entries)
        figures: list[Run] = [
            (f" {count} / {reading.maximum:,}", "value"),
            (f" {percent(share):>6}" if reading.count is not None else "      ?", colour),
            (f"  {free:,} free" if reading.count is not None else "", colour if free == 0 else "value"),
            (f"  {word}" if word else "", colour),
            (" ", ""),
        ]
        taken = sum(width_of(text) for text, _ in figures)
        cells = width - len(" table ") - taken
        if cells < 6:
            return fit([(" table", "label"), *figures], width)
        filled, empty = bar(share, cells)
        return fit(
            [(" table ", "label"), (filled, f"{colour} on bar-empty"), (empty, "bar-empty"), *figures], width
        )

    def _behind(self, reading: TableReading, width: int) -> Line:
        """As many of these as fit, the first ones first."""
        parts: list[str] = []
        if reading.buckets:
            parts.append(f"{reading.buckets:,} hash buckets")
            if reading.count is not None:
                parts.append(f"{reading.count / reading.buckets:.2f} entries a bucket")
        if reading.filler:
            parts.append(counted(reading.filler, "filler"))
        if reading.count is not None and reading.count > reading.held > 0:
            parts.append(f"{reading.count - reading.held:,} unconfirmed, dying or not read yet")
        if reading.active_why:
            parts.append(clean(reading.active_why))
        while len(parts) > 1 and sum(width_of(part) + 3 for part in parts) > width - 5:
            parts.pop()
        return (("       " + " · ".join(parts), "muted"),)
