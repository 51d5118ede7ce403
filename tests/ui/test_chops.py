"""The patch of Textual: applied to the version it was read against, harmless for any other."""

import itertools
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.segment import Segment
from textual import _compositor
from textual.strip import Strip

from cttui.ui import chops

STOCK = _compositor.ChopsUpdate.render_segments
"""Taken while tests are collected: only a running program installs the patch."""


@pytest.fixture
def stock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Textual's own method, put back afterwards."""
    monkeypatch.setattr(_compositor.ChopsUpdate, "render_segments", STOCK)
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
