"""Text fields: the cursor is where one sees it."""

from collections.abc import Callable
from typing import Any

from textual.app import App, ComposeResult
from textual.containers import Horizontal

from cttui.ui.fields import Field, Label


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
