"""Keys that arrive together, as over a slow line, do what they do when they arrive one by one."""

import asyncio
from collections.abc import Callable

import pytest
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding
from textual.screen import ModalScreen
from textual.widgets import Input, Label

from cttui.ui import typing_order
from cttui.ui.typing_order import Behind, TypingOrder


class Form(ModalScreen[None]):
    """Two fields; Escape closes."""

    BINDINGS = [Binding("escape", "dismiss", "Close")]  # noqa: RUF012

    def compose(self) -> ComposeResult:
        yield Input(id="one")
        yield Input(id="two")

    def on_mount(self) -> None:
        self.query_one("#one", Input).focus()


class Desk(TypingOrder):
    """Letters are commands but where a field has the focus."""

    AUTO_FOCUS = None

    BINDINGS = [  # noqa: RUF012
        Binding("slash", "open", "Open a field"), Binding("B", "form", "A dialog, from a worker"),
        Binding("d", "did", "Done"),
    ]  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self.done = 0
        self.form: Form | None = None

    def compose(self) -> ComposeResult:
        yield Label("here")
        yield Input(id="field")
        yield Input(id="other")

    def on_mount(self) -> None:
        self.query_one("#other", Input).display = False
        self.query_one("#field", Input).display = False

    def action_open(self) -> None:
        field = self.query_one("#field", Input)
        field.display = True
        field.focus()

    def action_form(self) -> None:
        async def work() -> None:
            await asyncio.sleep(0)
            self.form = Form()
            await self.push_screen_wait(self.form)

        self.run_worker(work())

    def action_did(self) -> None:
        self.done += 1


def together(app: Desk, *keys: str) -> None:
    """As the driver posts what one read of the terminal held."""
    for key in keys:
        app.post_message(events.Key(key, key if len(key) == 1 else "/" if key == "slash" else None))


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0.01)


async def test_what_is_typed_behind_a_key_goes_where_that_leads() -> None:
    app = Desk()
    async with app.run_test():
        together(app, "d", "slash", *"dport=80", "d")
        await until(lambda: app.query_one("#field", Input).value == "dport=80d")
        assert app.done == 1


async def test_a_dialog_and_its_fields() -> None:
    app = Desk()
    async with app.run_test():
        together(app, "B", *"one", "tab", *"two", "escape", "d", "slash", "x")
        await until(lambda: app.query_one("#field", Input).value == "x")
        assert app.form is not None
        assert app.done == 1


async def test_fields_of_a_dialog_get_their_own() -> None:
    app = Desk()
    async with app.run_test():
        together(app, "B", *"one", "tab", *"two")
        await until(lambda: app.form is not None and app.form.query_one("#two", Input).value == "two")
        assert app.form is not None and app.form.query_one("#one", Input).value == "one"


async def test_a_widget_that_goes_takes_no_key_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message behind a key can be lost with the widget it was sent to."""
    monkeypatch.setattr(typing_order, "LOST_S", 0.05)
    app = Desk()
    async with app.run_test() as pilot:
        lost = app.query_one("#other", Input)
        lost.display = True
        lost.focus()
        await pilot.pause()
        post = Input.post_message
        monkeypatch.setattr(
            Input, "post_message", lambda self, m: not isinstance(m, Behind) and post(self, m)
        )
        together(app, "x")
        await pilot.pause()
        app.screen.set_focus(None)
        together(app, "d", "d")
        await until(lambda: app.done == 2)
