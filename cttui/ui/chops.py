"""Textual sends the cells that changed, and everything left of them; this sends only the cells.

`ChopsUpdate.render_segments` crops a dirty strip on its right side but not on its left ("TODO: crop to x
extents" in textual/_compositor.py, 8.2.8). On a table of 160 columns with one changed cell a row that is
most of the bytes. Private API: hence the checks, and the stock method wherever one of them fails.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import textual
from rich.control import Control
from rich.segment import Segment
from textual.strip import Strip

VERSIONS = ("8.",)
"""Versions of Textual that this was read against."""


def version() -> str:
    """Textual's version, "" where it can't be told.

    From the name of its metadata's folder: `textual.__version__` imports importlib.metadata, and that the
    email package, 20 ms before the first frame.
    """
    packages = Path(textual.__file__).parents[1]
    found = sorted(packages.glob("textual-[0-9]*.dist-info"))
    return found[-1].name.removeprefix("textual-").removesuffix(".dist-info") if found else ""


def install() -> bool:
    """Crop on both sides from now on. False where this Textual is another one: then nothing was changed."""
    if not version().startswith(VERSIONS):
        return False
    try:
        from textual._compositor import ChopsUpdate
    except ImportError:
        return False
    stock: Any = getattr(ChopsUpdate, "render_segments", None)
    if stock is None:
        return False
    if stock is render_segments:
        return True
    try:
        fits = _paints_the_same(ChopsUpdate, stock)
    except Exception:  # whatever a changed private API raises: then this is no version we know
        return False
    if fits:
        ChopsUpdate.render_segments = render_segments  # type: ignore[assignment]
    return fits


def render_segments(update: Any, console: Any) -> str:
    """The update as terminal sequences: every dirty span, cropped on both sides."""
    out: list[str] = []
    move_to = Control.move_to
    for y, left, right in update.spans:
        for end, (x, strip) in zip(update.chop_ends[y], update.chops[y].items(), strict=False):
            if strip is None or x >= right or end <= left:
                continue
            start, stop = max(x, left), min(end, right)
            if start > x or stop < end:
                strip = strip.crop(start - x, stop - x)
            out.append(move_to(start, y).segment.text)
            out.append(strip.render(console))
    return "".join(out)


def _paints_the_same(update_class: Any, stock: Any) -> bool:
    """Whether both methods leave the same cells on a small screen, and the stock one still sends more."""
    rows = [[(0, "abcdef"), (6, "ghij")], [(0, "klmnop"), (6, "qrst")]]
    chops = [{x: Strip([Segment(text)], len(text)) for x, text in row} for row in rows]
    update = update_class(chops, [(0, 2, 4), (1, 5, 8)], [[6, 10], [6, 10]])
    console = SimpleNamespace(_color_system=None)
    ours, theirs = render_segments(update, console), stock(update, console)
    if len(ours) >= len(theirs):
        return False  # mended upstream
    want = {(2, 0): "c", (3, 0): "d", (5, 1): "p", (6, 1): "q", (7, 1): "r"}
    painted = _screen(ours)
    drawn = _screen(theirs)
    return painted == want and all(drawn.get(cell) == character for cell, character in painted.items())


def _screen(sequences: str) -> dict[tuple[int, int], str]:
    """(x, y) → character, of text with cursor movements only."""
    cells: dict[tuple[int, int], str] = {}
    x = y = 0
    for part in sequences.replace("\n", "").split("\x1b["):
        if not part:
            continue
        position, _, text = part.partition("H")
        row, column = position.split(";")
        x, y = int(column) - 1, int(row) - 1
        for character in text:
            cells[x, y] = character
            x += 1
    return cells
