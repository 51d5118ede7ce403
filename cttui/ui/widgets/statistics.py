"""Every conntrack statistic with its total, rate and meaning."""

from cttui.model.table import STATISTICS, TableReading
from cttui.ui.cells import Cells, Line


class Statistics(Cells):
    """Every per-CPU statistic: total, rate, history, and what it means."""

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
        return [] if self.reading is None else [((name, "label"),) for name in STATISTICS][:height]
