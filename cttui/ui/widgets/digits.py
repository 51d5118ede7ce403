"""Big digits for a room: the numbers in question in presenter mode."""

from cttui.ui.cells import Cells
from cttui.ui.lines import Line, Run, clip, width_of

_FONT = {
    "0": ("█▀█", "█ █", "▀▀▀"), "1": ("▀█ ", " █ ", "▀▀▀"), "2": ("▀▀█", "█▀▀", "▀▀▀"), "3": ("▀▀█", " ▀█", "▀▀▀"),
    "4": ("█ █", "▀▀█", "  ▀"), "5": ("█▀▀", "▀▀█", "▀▀▀"), "6": ("█▀▀", "█▀█", "▀▀▀"), "7": ("▀▀█", "  █", "  ▀"),
    "8": ("█▀█", "█▀█", "▀▀▀"), "9": ("█▀█", "▀▀█", "▀▀▀"), ",": ("  ", "  ", "▗▛"), ".": (" ", " ", "▄"),
    "−": ("   ", "▀▀▀", "   "), "+": ("   ", "▀█▀", "   "), "/": ("  █", " █ ", "█  "), "%": ("█ █", " █ ", "█ █"),
    "–": ("   ", "▀▀▀", "   "), " ": (" ", " ", " "), ":": ("▄", " ", "▀"),
}  # fmt: skip
_PLAIN = {
    "0": (" _ ", "| |", "|_|"), "1": ("   ", "  |", "  |"), "2": (" _ ", " _|", "|_ "), "3": (" _ ", " _|", " _|"),
    "4": ("   ", "|_|", "  |"), "5": (" _ ", "|_ ", " _|"), "6": (" _ ", "|_ ", "|_|"), "7": (" _ ", "  |", "  |"),
    "8": (" _ ", "|_|", "|_|"), "9": (" _ ", "|_|", " _|"), ",": (" ", " ", ","), ".": (" ", " ", "."),
    "−": ("   ", " _ ", "   "), "+": ("   ", "_|_", " | "), "/": ("  /", " / ", "/  "), "%": ("o /", " / ", "/ o"),
    "–": ("   ", " _ ", "   "), " ": (" ", " ", " "), ":": (" ", ".", "."),
}  # fmt: skip


class BigDigits(Cells):
    """Numbers three lines high, each with its label below, side by side."""

    DEFAULT_CSS = "BigDigits { height: 4; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.numbers: list[tuple[str, str, str]] = []

    def show(self, numbers: list[tuple[str, str, str]]) -> None:
        """Show (number as text, label, style name or "") from left to right; what has no room is left out."""
        self.numbers = numbers
        self.paint()

    def lay_out(self, width: int, height: int) -> list[Line]:
        font = _PLAIN if self.ascii else _FONT
        lines: list[list[Run]] = [[] for _ in range(4)]
        used = 0
        for text, label, style in self.numbers:
            glyphs = [font.get(character, font[" "]) for character in text]
            cells = max(sum(len(glyph[0]) + 1 for glyph in glyphs), width_of(label)) + 3
            if used + cells > width:
                break
            used += cells
            for row in range(3):
                lines[row] += [
                    ("  ", ""),
                    (" ".join(glyph[row] for glyph in glyphs).ljust(cells - 2), style or "digits"),
                ]
            lines[3] += [("  ", ""), (clip(label, cells - 2).ljust(cells - 2), "label")]
        return [tuple(line) for line in lines[:height]]
