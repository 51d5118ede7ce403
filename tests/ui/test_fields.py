"""Text fields: the cursor is where one sees it."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from textual.app import App, ComposeResult
from textual.containers import Horizontal

from cttui.ui.dashboard import Dashboard
from cttui.ui.dialogs import Ask
from cttui.ui.fields import Field, Label, pointed
from cttui.ui.filter_bar import FilterBar


class Row(App[None]):
    CSS = "Horizontal { height: 1; }"

    def compose(self) -> ComposeResult:
        with Horizontal():
            yield Label("line  ")
            yield Field("0123456789" * 8)


async def test_a_long_line_opens_with_its_cursor_in_view() -> None:
    app = Row()
    async with app.run_test(size=(60, 3)) as pilot:
        await pilot.pause()
        field = app.query_one(Field)
        for width in (60, 40):
            await pilot.resize_terminal(width, 3)
            await pilot.pause()
            assert field.region.right == width
            assert field.scroll_x + field.size.width > len(field.value)


async def test_sixteen_colours_show_the_cursor(play: Callable[..., Any]) -> None:
    async with play("ten-syns", (80, 24), theme="ansi16") as d:
        await d.press("slash")
        field = d.app.query_one("#filter-field", Field)
        style = next(s.style for s in field.render_line(0) if s.style is not None)
        assert style.reverse and style.color.is_default and style.bgcolor.is_default


async def test_a_key_waits_for_the_field_that_it_opens(
    play: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    furnish = Dashboard.furnish

    async def pressed_meanwhile(self: Dashboard) -> None:
        self.app.act("filter")
        await furnish(self)

    monkeypatch.setattr(Dashboard, "furnish", pressed_meanwhile)
    async with play("ten-syns", (80, 24)) as d, asyncio.timeout(10):
        while not any(bar.has_class("open") for bar in d.app.query(FilterBar)):
            await asyncio.sleep(0.02)


async def test_what_does_not_fit_is_marked_at_the_end_that_is_cut() -> None:
    app = Row()
    async with app.run_test(size=(40, 3)) as pilot:
        await pilot.pause()
        field = app.query_one(Field)
        shown: list[str] = []
        for key in ("end", "home", "end"):
            await pilot.press(key)
            await pilot.pause()
            shown.append(field.render_line(0).text[: field.size.width])
        assert shown[0].startswith("…") and shown[0].endswith("6789 ")
        assert shown[1].startswith("0123") and shown[1].endswith("…")
        assert shown[2] == shown[0]
        app.set_focus(None)
        await pilot.pause()
        assert field.render_line(0).text.startswith("0123"), "where nobody types, the beginning is in view"
        field.value = "short"
        await pilot.pause()
        assert field.render_line(0).text.startswith("short ") and "…" not in field.render_line(0).text


@pytest.mark.parametrize(
    ("at", "said"),
    [
        (3, "   ^ no such field"),
        (30, "                no such field ^"),
        (13, "             ^\nno such field"),
        (-1, "no such field"),
        (40, "no such field"),
    ],
)
def test_a_mistake_is_pointed_at_and_said_whole(at: int, said: str) -> None:
    assert pointed("no such field", at, 40 if at != 13 else 25) == said


async def test_what_stands_in_a_question_is_typed_over() -> None:
    class Asking(App[None]):
        def on_mount(self) -> None:
            self.push_screen(Ask("A question", [], "80", lambda text: ""))

    app = Asking()
    async with app.run_test(size=(60, 12)) as pilot:
        await pilot.pause()
        await pilot.press("4", "4", "3")
        assert app.screen.query_one(Field).value == "443"
