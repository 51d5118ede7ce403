"""Textual sends the cells that changed, and more; this sends only the cells.

`ChopsUpdate.render_segments` crops a dirty strip on its right side but not on its left ("TODO: crop to x
extents" in textual/_compositor.py, 8.2.8). On a table of 160 columns with one changed cell a row that is
most of the bytes.

`Screen._compositor_refresh` of a screen behind a dialog marks it for repainting once more each time it was
repainted (textual/screen.py, 8.2.8), so that soon every change behind the dialog sends the whole screen,
45 kB at 160×50; what the dialog covers is sent along.

Private API: hence the checks, and the stock methods wherever one of them fails.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import textual
from rich.control import Control
from rich.segment import Segment
from textual.geometry import Region
from textual.screen import Screen
from textual.strip import Strip

VERSIONS = ("8.",)
"""Versions of Textual that this was read against."""
STOCK_REFRESH: Any = getattr(Screen, "_compositor_refresh", lambda screen: None)
STOCK_NAMES = {
    "_background_screens",
    "_compositor",
    "_dirty_regions",
    "_dirty_widgets",
    "_repaint_required",
    "_set_dirty",
}
"""What Textual's own method works with, where it is the one that repaints too much."""


def version() -> str:
    """Textual's version, "" where it can't be told.

    From the name of its metadata's folder: `textual.__version__` imports importlib.metadata, and that the
    email package, 20 ms before the first frame.
    """
    packages = Path(textual.__file__).parents[1]
    found = sorted(packages.glob("textual-[0-9]*.dist-info"))
    return found[-1].name.removeprefix("textual-").removesuffix(".dist-info") if found else ""


def install() -> bool:
    """Send only the cells from now on. False where this Textual is another one: then nothing was changed."""
    if not version().startswith(VERSIONS):
        return False
    if set(STOCK_REFRESH.__code__.co_names) >= STOCK_NAMES:
        Screen._compositor_refresh = refresh_behind  # type: ignore[method-assign,assignment]
    return _install_crop()


def _install_crop() -> bool:
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


def refresh_behind(screen: Any) -> None:
    """A screen behind others hands the cells that changed, and are to be seen, to the screen on top."""
    app = screen.app
    top = app.screen
    if screen is top or app.is_inline or screen not in app._background_screens:
        STOCK_REFRESH(screen)
        return
    changed = set(screen._compositor._dirty_regions)
    if not changed:
        return
    screen._compositor._dirty_regions.clear()
    screen._dirty_widgets.clear()
    above = app.screen_stack[app.screen_stack.index(screen) + 1 :]
    covers = [child.region for one in above for child in one.children if child.display and child.visible]
    for one in above:  # they keep what they saw behind them
        due = set(one._repaint_regions)
        one._set_dirty(*changed)
        one._repaint_regions.clear()
        one._repaint_regions.update(due)
    seen = (region.intersection(top._compositor.size.region) for region in uncovered(changed, covers))
    top._compositor._dirty_regions.update(region for region in seen if region)
    # That forgets which widgets are dirty, and those of the screen on top may not have been asked yet.
    top._compositor.update_widgets(top._dirty_widgets)
    top._compositor_refresh()


def uncovered(regions: Iterable[Region], covers: Iterable[Region]) -> Iterator[Region]:
    """What is left of the regions outside the covers."""
    left = list(regions)
    for cover in covers:
        left = [piece for region in left for piece in _around(region, cover)]
    yield from left


def _around(region: Region, cover: Region) -> Iterator[Region]:
    hole = region.intersection(cover)
    if not hole:
        yield region
        return
    for piece in (
        Region.from_corners(region.x, region.y, region.right, hole.y),
        Region.from_corners(region.x, hole.y, hole.x, hole.bottom),
        Region.from_corners(hole.right, hole.y, region.right, hole.bottom),
        Region.from_corners(region.x, hole.bottom, region.right, region.bottom),
    ):
        if piece:
            yield piece


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
