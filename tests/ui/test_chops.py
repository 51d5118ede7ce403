"""The patch of Textual: applied to the version it was read against, harmless for any other."""

import itertools
from collections.abc import Iterable, Iterator
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.segment import Segment
from textual import _compositor
from textual.app import App, ComposeResult
from textual.geometry import Region
from textual.screen import ModalScreen, Screen
from textual.strip import Strip
from textual.widgets import Label

from cttui.ui import chops
from cttui.ui.cells import Cells
from cttui.ui.lines import Line

STOCK = _compositor.ChopsUpdate.render_segments
"""Taken while tests are collected: only a running program installs the patch."""


@pytest.fixture
def stock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Textual's own method, put back afterwards."""
    monkeypatch.setattr(_compositor.ChopsUpdate, "render_segments", STOCK)
    monkeypatch.setattr(Screen, "_compositor_refresh", chops.STOCK_REFRESH)
    yield STOCK


def update(spans: list[tuple[int, int, int]]) -> Any:
    line = {0: Strip([Segment("0123"), Segment("456789")], 10), 10: Strip([Segment("abcdefghij")], 10)}
    return _compositor.ChopsUpdate([line], spans, [[10, 20]])


CONSOLE: Any = SimpleNamespace(_color_system=None)


def test_installs_on_the_version_in_use(stock: Any) -> None:
    assert chops.install()
    assert _compositor.ChopsUpdate.render_segments is chops.render_segments
    assert chops.install(), "again is as well"


def test_sends_only_the_span() -> None:
    assert chops.render_segments(update([(0, 3, 5)]), CONSOLE) == "\x1b[1;4H34"
    assert chops.render_segments(update([(0, 8, 12)]), CONSOLE) == "\x1b[1;9H89\x1b[1;11Hab"
    assert chops.render_segments(update([(0, 0, 20)]), CONSOLE) == "\x1b[1;1H0123456789\x1b[1;11Habcdefghij"


@given(st.data())
def test_paints_exactly_the_cells_of_the_spans(data: st.DataObject) -> None:
    text = "".join(chr(33 + i) for i in range(60))
    cuts = sorted({0, 60, *data.draw(st.lists(st.integers(1, 59), max_size=4))})
    line = {}
    for x, end in itertools.pairwise(cuts):
        middle = data.draw(st.integers(x, end))
        segments = [Segment(part) for part in (text[x:middle], text[middle:end]) if part]
        line[x] = Strip(segments, end - x)
    edges = sorted(data.draw(st.sets(st.integers(0, 60), max_size=8)))
    spans = [(0, left, right) for left, right in zip(edges[::2], edges[1::2], strict=False)]
    painted = chops._screen(
        chops.render_segments(_compositor.ChopsUpdate([line], spans, [cuts[1:]]), CONSOLE)
    )
    assert painted == {(x, 0): text[x] for _, left, right in spans for x in range(left, right)}


def test_leaves_another_version_alone(stock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chops, "version", lambda: "9.0.0")
    assert not chops.install()
    assert _compositor.ChopsUpdate.render_segments is stock
    assert Screen._compositor_refresh is chops.STOCK_REFRESH


def test_leaves_a_mended_textual_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def mended(update: Any, console: Any) -> str:
        return chops.render_segments(update, console)

    monkeypatch.setattr(_compositor.ChopsUpdate, "render_segments", mended)
    assert not chops.install()
    assert _compositor.ChopsUpdate.render_segments is mended


def test_leaves_a_changed_signature_alone(stock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Other:
        def __init__(self, regions: list[int]) -> None:
            self.regions = regions

        def render_segments(self, console: Any) -> str:
            return ""

    monkeypatch.setattr(_compositor, "ChopsUpdate", Other)
    assert not chops.install()


REGIONS = st.builds(Region, st.integers(0, 9), st.integers(0, 9), st.integers(1, 9), st.integers(1, 9))


def cells(regions: Iterable[Region]) -> list[tuple[int, int]]:
    return [(x, y) for r in regions for y in range(r.y, r.bottom) for x in range(r.x, r.right)]


@given(REGIONS, st.lists(REGIONS, max_size=3))
def test_what_is_left_beside_covers_is_each_cell_once(region: Region, covers: list[Region]) -> None:
    left = cells(chops.uncovered([region], covers))
    assert sorted(left) == sorted(set(cells([region])) - set(cells(covers)))


class Ticking(Cells):
    """Every cell changes with every tick."""

    tick = 0

    def lay_out(self, width: int, height: int) -> list[Line]:
        return [((chr(65 + self.tick % 26) * width, ""),) for _ in range(height)]


class Box(ModalScreen[None]):
    CSS = "Box { align: center middle; background: $background 0%; } Box > Label { width: 20; height: 4; }"

    def compose(self) -> ComposeResult:
        yield Label("still")


class Behind(App[None]):
    sent: ClassVar[list[Any]] = []

    def compose(self) -> ComposeResult:
        yield Ticking()

    def _display(self, screen: Any, renderable: Any) -> None:
        self.sent.append(renderable)


async def test_behind_a_dialog_only_what_is_seen_to_change_is_sent(stock: Any) -> None:
    assert chops.install()
    app = Behind()
    async with app.run_test(size=(40, 10)) as pilot:
        behind = app.query_one(Ticking)
        await app.push_screen(Box())
        for tick in range(1, 7):
            app.sent.clear()
            behind.tick = tick
            behind.paint()
            await pilot.pause()
            if tick == 1:
                continue  # the dialog was painted with it
            spans = [span for each in app.sent if each is not None for span in each.spans]
            assert sum(right - left for _, left, right in spans) == 40 * 10 - 20 * 4
            strips = app.screen._compositor.render_strips()
            shown = "".join(segment.text for strip in strips for segment in strip)
            assert shown.count(chr(65 + tick)) == 40 * 10 - 20 * 4 and "still" in shown
        app.sent.clear()
        app.screen.query_one(Label).update("moved")
        await pilot.pause()
        assert any(each is not None for each in app.sent), "the dialog's own changes are sent as ever"
        app.pop_screen()
        await pilot.pause()
        behind.tick = 9
        app.sent.clear()
        behind.paint()
        await pilot.pause()
        assert sum(r - left for each in app.sent if each is not None for _, left, r in each.spans) == 400


async def test_a_change_behind_does_not_swallow_one_on_top(stock: Any) -> None:
    assert chops.install()
    app = Behind()
    async with app.run_test(size=(40, 10)) as pilot:
        behind = app.query_one(Ticking)
        top: Screen[None] = Screen()
        await app.push_screen(top)
        over = Ticking()
        await top.mount(over)
        await pilot.pause()
        app.sent.clear()
        over.tick = 3
        over.paint()
        over._repaint_required = False
        top._dirty_widgets.add(over)  # as when the screen has heard of it and has not repainted yet
        behind.screen._compositor._dirty_regions.add(behind.region)
        behind.screen._compositor_refresh()
        await pilot.pause()
        assert sum(r - left for each in app.sent if each is not None for _, left, r in each.spans) == 400
