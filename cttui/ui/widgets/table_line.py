"""What a line of the dashboard's head shows: one reading of the table."""

from cttui.model.table import TableReading
from cttui.ui.cells import Cells


class TableLine(Cells):
    """Holds the reading; subclasses lay it out."""

    DEFAULT_CSS = "TableLine { height: 1; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.reading: TableReading | None = None

    def show(self, reading: TableReading | None) -> None:
        """Show a reading; None: nothing has been read yet."""
        self.reading = reading
        self.paint()
