"""Whatever a widget forgets, no control character reaches the terminal."""

from collections.abc import Callable
from typing import Any

from textual import events
from textual.app import App, ComposeResult

from cttui.ui.cells import Cells
from cttui.ui.fields import Field
from cttui.ui.lines import Line

HOSTILE = "a\x1b[31mred\x1b]0;title\x07 [/foo] \u202eevil\x9b1m\nb"


class Careless(Cells):
    """A widget that cleans nothing."""

    def lay_out(self, width: int, height: int) -> list[Line]:
        return [((HOSTILE, ""), (" after", "value")), (("plain", ""),)]


class Stage(App[None]):
    def compose(self) -> ComposeResult:
        yield Careless()
        yield Field(HOSTILE)


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


async def test_what_is_pasted_into_a_field() -> None:
    app = Stage()
    async with app.run_test(size=(120, 5)) as pilot:
        field = app.query_one(Field)
        field.focus()
        field.value = ""
        field.post_message(events.Paste("dport=80 \x1b]52;c;aGk=\x07\u202e"))
        await pilot.pause()
        painted = "".join(
            segment.text for strip in app.screen._compositor.render_strips() for segment in strip
        )
        assert painted.isprintable() and "dport=80 \\x1b]52;c;aGk=\\x07\\u202e" in painted


async def test_what_a_notice_quotes(play: Callable[..., Any]) -> None:
    """A folder, a rule or an error may be called anything."""
    async with play("ten-syns", (120, 40)) as d:
        await d.until("fire the recorded burst")
        d.app.say(f"Written to /tmp/{HOSTILE}\nsecond [line]")
        await d.until("second [line]")
        assert d.text.replace("\n", "").isprintable() and "\\x1b]0;title\\x07" in d.text
