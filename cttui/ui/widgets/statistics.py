"""Every conntrack statistic with its total, rate, past and meaning."""

import math
import textwrap

from cttui.model.table import STATISTICS, Series, TableReading
from cttui.ui.cells import Cells, Line, Run, clip, pad
from cttui.ui.widgets.history import ALARMS, blocks, number

_FLOWS = {
    "new": 'Flows that began, by NEW events; "≥" from the difference of two dumps.',
    "ended": 'Flows that ended, by DESTROY events; "≥" from the difference of two dumps.',
}


class Statistics(Cells):
    """A line a statistic: name, total, per second, history, and in a wide panel what it means.

    Where there is room, the meaning follows on lines of its own instead of being cut.
    """

    def __init__(
        self,
        *,
        heading: str = "Statistics",
        key: str = "5",
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(heading=heading, key=key, id=id, classes=classes)
        self.reading: TableReading | None = None

    def show(self, reading: TableReading | None) -> None:
        """Show a reading; None: nothing has been read yet."""
        self.reading = reading
        self.paint()

    def lay_out(self, width: int, height: int) -> list[Line]:
        if self.reading is None:
            return [((" Not read yet.", "muted"),)]
        history = {series.name: series for series in self.reading.history}
        meanings = _FLOWS | STATISTICS
        names = [name for name in _FLOWS if name in self.reading.rates or name in history]
        names += [name for name in STATISTICS if name in self.reading.stats]
        # What means loss stands first, so that a low panel shows it.
        names.sort(key=lambda name: (name not in ALARMS, name in STATISTICS))
        wrapped = {name: textwrap.wrap(meanings[name], max(10, width - 4)) for name in names}
        below = height >= len(names) + sum(map(len, wrapped.values()))
        beside = not below and width >= 100
        chart = (
            0 if width < 44 else 12 if beside else min(30, width - 46) if width >= 56 else max(0, width - 44)
        )
        lines: list[Line] = []
        for name in names:
            runs = self._figures(name, history.get(name), chart)
            if beside:
                used = sum(len(text) for text, _ in runs)
                runs.append(("  " + clip(meanings[name], width - used - 2), "muted"))
            lines.append(tuple(runs))
            if below:
                lines += [(("   " + line, "muted"),) for line in wrapped[name]]
        return lines

    def _figures(self, name: str, series: Series | None, chart: int) -> list[Run]:
        assert self.reading is not None
        rate = self.reading.rates.get(name, math.nan)
        loud = name in ALARMS and rate > 0
        total = self.reading.stats.get(name)
        runs: list[Run] = [
            ("!" if loud else " ", "level-full"),
            (pad(name, 15), "level-full" if loud else "label"),
            (f"{'' if total is None else f'{total:,}':>13}", "value" if total else "muted"),
            (
                f" {number(rate, series.exact if series else True) + '/s':>9} ",
                "level-full" if loud else "value" if rate > 0 else "muted",
            ),
        ]
        if chart and series is not None:
            runs.append(
                (" " + blocks(series.values, chart)[0], "history-alarm" if name in ALARMS else "history")
            )
        elif chart:
            runs.append((" " * (chart + 1), ""))
        return runs

    def as_markdown(self) -> str:
        """All statistics as a Markdown table."""
        rows = ["| statistic | total | per second | |", "|---|---:|---:|---|"]
        if self.reading is not None:
            for name, meaning in STATISTICS.items():
                if name in self.reading.stats:
                    rate = number(self.reading.rates.get(name, math.nan))
                    rows.append(f"| {name} | {self.reading.stats[name]:,} | {rate} | {meaning} |")
        return "\n".join(rows)
