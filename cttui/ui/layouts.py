"""Which panels stand where at which size, and the two that only the dashboard has: banner and detail."""

from cttui.ui.cells import Cells, Line, spread
from cttui.ui.prose import Prose

PANELS = ("flows", "hooks", "packets", "groups", "statistics")
"""In the order of their keys 1 … 5."""
LAYOUTS: dict[str, tuple[str, ...]] = {
    "tiny": ("flows",),
    "compact": ("flows", "hooks", "packets"),
    "wide": PANELS,
    "huge": (*PANELS, "detail"),
}


def layout_for(width: int, height: int) -> str:
    """The layout that this many cells are enough for."""
    if width >= 180 and height >= 52:
        return "huge"
    if width >= 116 and height >= 34:
        return "wide"
    return "compact" if height >= 22 else "tiny"


class Banner(Cells):
    """What must not be missed: losses, pending reverts, the last burst. As many lines as it has."""

    DEFAULT_CSS = "Banner { height: auto; max-height: 3; }"

    def __init__(self) -> None:
        super().__init__(id="banner")
        self.lines: list[tuple[Line, Line]] = []

    def say(self, lines: list[tuple[Line, Line]]) -> None:
        """Say these; none: the banner takes no line."""
        if lines != self.lines:
            grown = len(lines) != len(self.lines)
            self.lines = lines
            if grown:
                self.refresh(layout=True)
            self.paint()

    def get_content_height(self, container: object, viewport: object, width: int) -> int:
        """Lines it has."""
        return len(self.lines)

    def lay_out(self, width: int, height: int) -> list[Line]:
        return [tuple(spread(left, right, width)) for left, right in self.lines[:height]]


class Detail(Prose):
    """The flow under the cursor, whole, where there is room for it beside the table."""

    def __init__(self) -> None:
        super().__init__([], heading="Detail", id="detail", indent=1)
        self.can_focus = True
