"""The list of tales, and the story of the one under the cursor."""

from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen

from cttui.lab.tales import ALL
from cttui.model.messages import Answer
from cttui.ui.bars import Header, KeyBar
from cttui.ui.dialogs import Entry, Menu
from cttui.ui.lab import TaleScreen
from cttui.ui.prose import Prose

if TYPE_CHECKING:
    from cttui.ui.program import Program


class Tales(Screen[None]):
    """The list of tales; Enter opens one."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "leave", "Back to the dashboard", show=False),
        Binding("f9", "present", "Presenter mode: what comes out is not told beforehand", show=False),
    ]

    def __init__(self, program: "Program") -> None:
        super().__init__(id="tales")
        self._program = program

    def compose(self) -> ComposeResult:
        yield Header(self._program.session.state)
        yield Menu(self._entries(), marks=False, id="tale-list")
        yield Prose([], heading="The story", id="tale-about", indent=1)
        yield KeyBar(
            lambda: [
                ("open", "Enter", "open"),
                ("present", "F9", "presenter"),
                ("help", self._program.key("help"), "help"),
                ("back", "Esc", "dashboard"),
            ]
        )

    def on_mount(self) -> None:
        menu = self.query_one(Menu)
        menu.focus()
        menu.pointed = self._about
        self._about()

    def _entries(self) -> list[Entry]:
        presenting = self._program.dashboard.presenting
        return [Entry(t.name, t.name, t.title if presenting else t.summary) for t in ALL]

    def action_present(self) -> None:
        """Presenter mode on or off: a room is not told beforehand what comes out."""
        self._program.act("present")
        self.query_one(Menu).show(self._entries())
        self._about()

    def _about(self) -> None:
        entry = self.query_one(Menu).current
        if entry is not None:
            tale = next(t for t in ALL if t.name == entry.id)
            about: list[str | tuple[str, str]] = [
                (tale.title + ("  (takes minutes)" if tale.slow else ""), "heading"),
                *([] if self._program.dashboard.presenting else [(tale.summary, "value")]),
                "",
            ]
            for paragraph in tale.story:
                about += [paragraph, ""]
            self.query_one("#tale-about", Prose).show(about)

    def heard(self, answer: Answer) -> bool:
        """Only the header says something of it here."""
        self.query_one(Header).show(self._program.session.state)
        return False

    def on_menu_chosen(self, event: Menu.Chosen) -> None:
        self.app.push_screen(TaleScreen(self._program, next(t for t in ALL if t.name == event.entry)))

    def on_key_bar_pressed(self, event: KeyBar.Pressed) -> None:
        if event.action == "back":
            self.action_leave()
        elif event.action == "open":
            self.query_one(Menu).opened()
        elif event.action == "present":
            self.action_present()
        else:
            self._program.act(event.action)

    def action_leave(self) -> None:
        """Back to the dashboard, on the sandbox as it is."""
        self.dismiss(None)
