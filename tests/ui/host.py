"""A screen with one widget on it, for tests of what the widget says."""

from typing import Any

from textual.app import App, ComposeResult
from textual.message import Message

from cttui.ui import theme
from cttui.ui.cells import Cells
from cttui.ui.lines import width_of


class Host(App[None]):
    """One widget on the screen; keeps its messages."""

    ENABLE_COMMAND_PALETTE = False
    AUTO_FOCUS = None

    def __init__(self, widget: Cells) -> None:
        super().__init__()
        self.widget = widget
        self.said: list[Message] = []

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return theme.variable_defaults()

    def compose(self) -> ComposeResult:
        self.widget.styles.height = "100%"
        yield self.widget

    def keep(self, message: Message) -> None:
        self.said.append(message)

    on_rows_window_wanted = on_groups_drilled = on_groups_sort_wanted = keep
    on_packet_log_opened = on_hook_path_opened = keep


async def shown(widget: Any, reading: Any, size: tuple[int, int]) -> list[str]:
    """The widget's lines at a size, checked for width and control characters."""
    app = Host(widget)
    async with app.run_test(size=size) as pilot:
        widget.show(reading)
        await pilot.pause()
        lines: list[str] = widget.as_text().split("\n")
    assert len(lines) <= size[1] and all(width_of(line) <= size[0] for line in lines)
    assert all(line.isprintable() for line in lines)
    return lines


async def markdown(widget: Any, reading: Any, size: tuple[int, int] = (80, 24)) -> str:
    """What the widget gives as Markdown."""
    app = Host(widget)
    async with app.run_test(size=size) as pilot:
        widget.show(reading)
        await pilot.pause()
        return str(widget.as_markdown())
