"""What an app shows → SVG, still or moving, with our own cells: no web font, no window frame.

Rich's own export asks for a web font, and what can't fetch it (rsvg-convert, a README) draws box characters
of another width. Here a cell has exactly the advance of DejaVu Sans Mono (0.602 em), runs are placed by
cell, and `textLength` keeps them there in any other font.
"""

import html
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from rich.cells import cell_len
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from rich.terminal_theme import TerminalTheme
from textual.app import App

CELL, LINE, SIZE = 10.0, 19, 16.61
"""Pixels: a cell's width, a line's height, the font size (10 / 0.602)."""
BASELINE = 14.6
MARGIN = 6
FONT = "'DejaVu Sans Mono','Liberation Mono',Menlo,Consolas,monospace"
XTERM = TerminalTheme(
    (0, 0, 0), (229, 229, 229),
    [(0, 0, 0), (205, 0, 0), (0, 205, 0), (205, 205, 0), (0, 0, 238), (205, 0, 205), (0, 205, 205), (229, 229, 229)],
    [(127, 127, 127), (255, 0, 0), (0, 255, 0), (255, 255, 0), (92, 92, 255), (255, 0, 255), (0, 255, 255), (255, 255, 255)],
)  # fmt: skip
"""xterm's colours (charproc.c), for themes that leave them to the terminal."""


@dataclass(frozen=True, slots=True)
class Look:
    """How a run of cells is drawn."""

    colour: str
    background: str
    bold: bool = False
    italic: bool = False
    underline: bool = False
    dim: bool = False


Cells = tuple[tuple[str, Look], ...]
"""One line: runs of (text, look)."""
Frame = tuple[Cells, ...]
_INK = re.compile(r"\S+(?: {1,2}\S+)*")
PLAIN = Look(XTERM.foreground_color.hex, XTERM.background_color.hex)


def frame(app: App[object]) -> Frame:
    """The cells on screen now, dialogs over what is behind them."""
    width, height = app.size
    console = Console(
        width=width, height=height, file=io.StringIO(), force_terminal=True, color_system="truecolor",
        legacy_windows=False, safe_box=False,
    )  # fmt: skip
    update = app.screen._compositor.render_update(
        full=True, screen_stack=app._background_screens, simplify=True
    )
    segments = Segment.filter_control(console.render(update))  # type: ignore[arg-type]
    return tuple(tuple(_runs(line)) for line in Segment.split_lines(segments))[:height]


def _runs(line: Iterable[Segment]) -> Iterable[tuple[str, Look]]:
    text, look = "", PLAIN
    for segment in line:
        mine = _look(segment.style)
        if mine != look and text:
            yield text, look
            text = ""
        text, look = text + segment.text, mine
    if text:
        yield text, look


def _look(style: Style | None) -> Look:
    if style is None:
        return PLAIN
    fore, back = (
        c.get_truecolor(XTERM, foreground=i == 0).hex if c is not None and not c.is_default else plain
        for i, (c, plain) in enumerate(
            ((style.color, PLAIN.colour), (style.bgcolor, PLAIN.background))
        )
    )  # fmt: skip
    if style.reverse:
        fore, back = back, fore
    return Look(fore, back, bool(style.bold), bool(style.italic), bool(style.underline), bool(style.dim))


def still(of: Frame, title: str) -> str:
    """One frame as an SVG document."""
    draw = _Draw(_ground(of))
    return draw.document([of], title, [draw.line(line, y) for y, line in enumerate(of)])


def moving(frames: Sequence[tuple[Frame, float]], title: str) -> str:
    """Frames, each with the seconds it stays, as one document that repeats.

    A line that several neighbouring frames share is drawn once.
    """
    whole = sum(seconds for _, seconds in frames)
    draw = _Draw(_ground(frames[0][0]))
    parts: list[str] = []
    for y in range(max(len(f) for f, _ in frames)):
        at = 0.0
        spans: list[tuple[float, float, Cells]] = []
        for cells, seconds in frames:
            line = cells[y] if y < len(cells) else ()
            begin = spans.pop()[0] if spans and spans[-1][2] == line else at
            at += seconds
            spans.append((begin, at, line))
        if len(spans) == 1:
            parts.append(draw.line(spans[0][2], y))
            continue
        parts += [
            f'<g opacity="{0 if begin else 1}">{draw.line(line, y)}<animate attributeName="opacity" dur="{whole:.2f}s" '
            f'repeatCount="indefinite" calcMode="discrete" {_times(begin / whole, end / whole)}/></g>'
            for begin, end, line in spans
        ]
    return draw.document([f for f, _ in frames], title, parts)


def _times(begin: float, end: float) -> str:
    """Visible from `begin` to `end`, both parts of the whole."""
    steps = [(0.0, 0)] if begin > 0 else []
    steps.append((begin, 1))
    if end < 0.9999:
        steps.append((end, 0))
    values = ";".join(str(value) for _, value in steps)
    return f'values="{values}" keyTimes="{";".join(f"{at:.4f}" for at, _ in steps)}"'


def _ground(of: Frame) -> str:
    """The background that most cells have."""
    count: dict[str, int] = {}
    for line in of:
        for text, look in line:
            count[look.background] = count.get(look.background, 0) + len(text)
    return max(count, key=lambda colour: count[colour])


class _Draw:
    """Lines to SVG; looks get short class names, which keeps the files small."""

    def __init__(self, ground: str) -> None:
        self.ground = ground
        self._names: dict[Look, str] = {}

    def document(self, frames: Sequence[Frame], title: str, parts: list[str]) -> str:
        """The whole file around what was drawn."""
        columns = max(sum(cell_len(text) for text, _ in line) for f in frames for line in f)
        width = columns * CELL + 2 * MARGIN
        height = max(len(f) for f in frames) * LINE + 2 * MARGIN
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
            f'width="{width:g}" height="{height:g}"><title>{html.escape(title)}</title>'
            f"<style>text{{font-family:{FONT};font-size:{SIZE}px;white-space:pre}}{self._css()}</style>"
            f'<rect width="100%" height="100%" rx="4" fill="{self.ground}"/>'
            f'<g transform="translate({MARGIN} {MARGIN})">' + "\n".join(parts) + "</g></svg>\n"
        )

    def line(self, line: Cells, y: int) -> str:
        """One line: backgrounds, then what is written on them."""
        backs: list[str] = []
        texts: list[str] = []
        x = 0
        for text, look in line:
            cells = cell_len(text)
            if look.background != self.ground:
                backs.append(
                    f'<rect x="{x * CELL:g}" y="{y * LINE}" width="{cells * CELL:g}" height="{LINE}" '
                    f'fill="{look.background}"/>'
                )
            for at, piece in _pieces(text):
                texts.append(
                    f'<text class="{self._name(look)}" x="{(x + at) * CELL:g}" y="{y * LINE + BASELINE:g}" '
                    f'textLength="{cell_len(piece) * CELL:g}">{html.escape(piece).replace(" ", "&#160;")}</text>'
                )
            x += cells
        return "".join(backs) + "".join(texts)

    def _name(self, look: Look) -> str:
        return self._names.setdefault(replace(look, background=""), f"s{len(self._names)}")

    def _css(self) -> str:
        out = []
        for look, name in self._names.items():
            rule = f"fill:{look.colour}"
            rule += ";font-weight:bold" if look.bold else ""
            rule += ";font-style:italic" if look.italic else ""
            rule += ";text-decoration:underline" if look.underline else ""
            rule += ";opacity:.6" if look.dim else ""
            out.append(f".{name}{{{rule}}}")
        return "".join(out)


def _pieces(text: str) -> Iterable[tuple[int, str]]:
    """(cell, text) between longer runs of spaces, which need no drawing."""
    for found in _INK.finditer(text):
        yield cell_len(text[: found.start()]), found[0]
