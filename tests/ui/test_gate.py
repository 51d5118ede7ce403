"""Whatever a widget forgets, no control character reaches the terminal."""

from textual.app import App, ComposeResult

from cttui.ui.cells import Cells
from cttui.ui.lines import Line

HOSTILE = "a\x1b[31mred\x1b]0;title\x07 [/foo] \u202eevil\x9b1m\nb"


class Careless(Cells):
    """A widget that cleans nothing."""

    def lay_out(self, width: int, height: int) -> list[Line]:
        return [((HOSTILE, ""), (" after", "value")), (("plain", ""),)]


class Stage(App[None]):
    def compose(self) -> ComposeResult:
        yield Careless()


async def test_the_last_gate() -> None:
    app = Stage()
    async with app.run_test(size=(70, 5)) as pilot:
        await pilot.pause()
        widget = app.query_one(Careless)
        strips = [widget.render_line(y) for y in range(2)]
        text = strips[0].text
        assert text.isprintable() and "\u202e" not in text
        assert "a\\x1b[31mred" in text and "[/foo]" in text
        assert strips[0].cell_length == widget.size.width
        assert strips[1].text.startswith("plain")
