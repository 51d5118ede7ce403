"""History lines: one colour, so that a tick costs a handful of bytes."""

import math

from cttui.model import words
from cttui.model.table import Series
from cttui.ui.lines import Line, Run, fit, width_of
from cttui.ui.widgets.table_line import TableLine

_EIGHTHS = " ▁▂▃▄▅▆▇█"
ALARMS = {"drop", "early_drop", "insert_failed", "chaintoolong"}
"""Statistics whose movement means that something is being lost."""
SHORT = {
    "insert_failed": "ins.failed",
    "early_drop": "early",
    "search_restart": "restart",
    "clash_resolve": "clash",
}
"""Names for narrow places."""


def number(value: float, exact: bool = True) -> str:
    """A rate in at most seven cells, "≥" before a lower bound."""
    if math.isnan(value):
        return "–"
    text = (
        f"{value:.1f}"
        if 0 < value < 10 and not round(float(value), 1).is_integer()
        else words.si(value)
        if value >= 10000
        else f"{round(value):,}"
    )
    return text if exact else "≥" + text


def blocks(values: list[float], width: int, *, apart: bool = False) -> str:
    """The last `width` values as columns of eighth blocks, from the left.

    The scale reaches from 0 to the largest value shown. A gap (NaN) is "·", 0 an eighth, and any value above 0
    at least two. `apart`: an eighth stays free above the largest, where another line's columns would go on.
    """
    shown = values[-width:]
    high = max((v for v in shown if not math.isnan(v)), default=0.0)
    cells = [
        "·"
        if math.isnan(v)
        else _EIGHTHS[1 if high <= 0 or v <= 0 else max(2, round(v / high * (8 - apart)))]
        for v in shown
    ]
    return "".join(cells).ljust(width)


def past(series: Series, width: int, *, apart: bool = False) -> Run:
    """The last `width` values; in the colour of alarm where they show a loss, not along a line of zeros."""
    lost = series.name in ALARMS and any(value > 0 for value in series.values[-width:])
    return blocks(series.values, width, apart=apart), "history-alarm" if lost else "history"


class Rates(TableLine):
    """The rates that tell whether something is being lost, in one line of 80 cells or a few more."""

    def lay_out(self, width: int, height: int) -> list[Line]:
        """As many of them as fit, each with its past where there is room for all that have one."""
        if self.reading is None:
            return []
        history = {series.name: series for series in self.reading.history}
        parts: list[tuple[list[Run], Series | None]] = []
        for name in ("new", "ended", "drop", "early_drop", "insert_failed", "invalid"):
            if name not in self.reading.rates and name not in history:
                continue
            series = history.get(name)
            rate = self.reading.rates.get(name, math.nan)
            loud = name in ALARMS and rate > 0
            label = SHORT.get(name, name)
            unit = "/s" if name in ("new", "ended", "drop") else ""
            figure = number(rate, series.exact if series else True) + unit
            style = "level-full" if loud else "value"
            runs = [
                (label.upper() if loud else label, "level-full" if loud else "label"),
                (f" {figure}", style),
            ]
            charted = name in ("new", "drop") or width >= 120
            parts.append((runs, series if charted else None))
        while (taken := sum(2 + sum(width_of(text) for text, _ in runs) for runs, _ in parts) - 1) > width:
            parts.pop()
        charts = sum(series is not None for _, series in parts)
        usual = 8 if width >= 120 else 6
        cells = min(usual, (width - taken - 1) // charts - 1) if charts else 0
        line: list[Run] = []
        for runs, series in parts:
            line += [("  " if line else " ", ""), *runs]
            if series is not None and cells >= 3:
                line += [(" ", ""), past(series, cells)]
        return [fit(line, width)]
