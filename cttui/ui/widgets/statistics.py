"""Every conntrack statistic with its total, rate, past, what it means and when to worry."""

import math

from cttui.model.table import STATISTICS, Series, TableReading
from cttui.ui.lines import Line, Run, clip_words, pad
from cttui.ui.prose import wrap
from cttui.ui.rows import Rows
from cttui.ui.widgets.history import ALARMS, number, past

_FLOWS = {
    "entries": "Entries that the table holds, by nf_conntrack_count, and how that went on.",
    "new": 'Flows that began, by NEW events; "≥" from the difference of two dumps.',
    "ended": 'Flows that ended, by DESTROY events; "≥" from the difference of two dumps.',
}
MEANINGS: dict[str, str] = _FLOWS | STATISTICS
WORRY: dict[str, str] = {
    "entries": "when it nears nf_conntrack_max and does not come back.",
    "new": "when it stays above what the timeouts let go: the table then fills.",
    "ended": "when it stays below the new flows: the table then fills.",
    "found": "never.",
    "invalid": "when it rises while connections break: asymmetric routing, tcp_loose=0 after a restart, or a rule that drops INVALID.",
    "insert": "never.",
    "insert_failed": "when it rises steadily: each is a packet lost, often a DNS query that is asked again after five seconds.",
    "drop": "always: each is a packet that was lost and that no rule shows. Look whether the table is full.",
    "early_drop": "always: the table is full, and half-open or one-way flows are being evicted.",
    "error": "when it rises steadily: broken or forged packets.",
    "search_restart": "when it rises while nobody changes nf_conntrack_buckets.",
    "clash_resolve": "hardly ever; a steady rise says that something sends the same UDP tuple from several threads.",
    "chaintoolong": "always: raise nf_conntrack_buckets, or look for one source with very many flows.",
}
"""When to worry, as the end of a sentence; nf_conntrack_core.c counts them."""
_WIDE = 100


class Statistics(Rows):
    """A line a statistic. What it means stands below each where there is room, else for the one under the cursor."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(heading="Statistics", key="5", id=id)
        self.reading: TableReading | None = None
        self._explained = 0
        self._rows: list[int] = []

    def show(self, reading: TableReading | None) -> None:
        """Show a reading; None: nothing has been read yet."""
        self.reading = reading
        self.paint()

    @property
    def visible_rows(self) -> int:
        return max(0, self.body_height - self._explained)

    def names(self) -> list[str]:
        """What the reading has, losses first, so that a low panel shows them."""
        if self.reading is None:
            return []
        known = {series.name for series in self.reading.history} | set(self.reading.rates)
        names = [name for name in _FLOWS if name in known]
        names += [name for name in STATISTICS if name in self.reading.stats]
        return sorted(names, key=lambda name: (name not in ALARMS, name in STATISTICS))

    @property
    def selected(self) -> str:
        """The statistic under the cursor, "" before the first reading."""
        names = self.names()
        return names[min(self.cursor, len(names) - 1)] if names else ""

    def lay_out(self, width: int, height: int) -> list[Line]:
        if self.reading is None:
            return [((" Not read yet.", "muted"),)]
        history = {series.name: series for series in self.reading.history}
        names = self.names()
        self.total = len(names)
        wrapped = {name: wrap(f"   {_sentence(name)}", width - 1, "muted") for name in names}
        below = height >= len(names) + sum(map(len, wrapped.values()))
        beside = not below and width >= _WIDE
        chosen = names[min(max(self.cursor, 0), len(names) - 1)] if names else ""
        explained: list[Line] = []
        # In the dashboard the figures come first: there the sentence waits for the focus.
        if not below and chosen and (self.has_focus or height >= len(names) + 3) and height >= 5:
            explained = [(), *wrap(f" {chosen}: {_sentence(chosen)}", width - 1, "label")][-(height - 2) :]
        self._explained = len(explained)
        self.settle()
        self.reveal()
        chart = (
            0 if width < 44 else 12 if beside else min(30, width - 46) if width >= 56 else max(0, width - 44)
        )
        room = self.row_width(width)
        lines: list[Line] = []
        self._rows = []
        for at in range(self.top, len(names) if below else min(len(names), self.top + self.visible_rows)):
            name = names[at]
            runs = self._figures(name, history.get(name), chart, 13 - max(0, min(4, 40 - room)))
            if beside:
                used = sum(len(text) for text, _ in runs)
                runs.append(("  " + clip_words(MEANINGS[name], room - used - 2), "muted"))
            if at == self.cursor and self.has_focus:
                text = "".join(text for text, _ in runs)
                runs = [(pad(text, room), "cursor")]
            lines.append(tuple(runs))
            if below:
                lines += wrapped[name]
            self._rows += [at] * (len(lines) - len(self._rows))
        return lines if below else self.scrollbar(lines, width) + explained

    def row_at(self, y: int) -> int | None:
        line = y - bool(self.heading)
        return self._rows[line] if 0 <= line < len(self._rows) else None

    def _figures(self, name: str, series: Series | None, chart: int, figures: int = 13) -> list[Run]:
        assert self.reading is not None
        rate = self.reading.rates.get(name, math.nan)
        loud = name in ALARMS and rate > 0
        total = self.reading.count if name == "entries" else self.reading.stats.get(name)
        speed = "" if name == "entries" else number(rate, series.exact if series else True) + "/s"
        runs: list[Run] = [
            ("!" if loud else " ", "level-full"),
            (pad(name, 15), "level-full" if loud else "label"),
            (f"{'' if total is None else f'{total:,}':>{figures}}", "value" if total else "muted"),
            (
                f" {speed:>9} ",
                "level-full" if loud else "value" if rate > 0 else "muted",
            ),
        ]
        if chart and series is not None:
            runs += [(" ", ""), past(series, chart, apart=True)]
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


def _sentence(name: str) -> str:
    return f"{MEANINGS[name]} Worry {WORRY[name]}"
