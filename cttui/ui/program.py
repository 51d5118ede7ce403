"""The Textual application: wiring of session, dashboard and actions. What each does stands elsewhere."""

import gc
import os
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, ClassVar

from rich.console import RenderableType
from textual import events
from textual.app import App
from textual.binding import BindingType
from textual.command import Provider
from textual.driver import Driver
from textual.notifications import SeverityLevel
from textual.screen import Screen
from textual.timer import Timer
from textual.widgets import Input

from cttui.client import memory as memories
from cttui.client.options import Options
from cttui.model.actions import Action as ProbeAction
from cttui.model.faults import Fault, FaultError
from cttui.model.messages import Answer, Ask
from cttui.model.safe import clean
from cttui.ui import actions, chops, keymap, theme
from cttui.ui.ascii import ascii_only
from cttui.ui.cells import Cells
from cttui.ui.clipboard import copy
from cttui.ui.colours import Colours
from cttui.ui.dashboard import Dashboard
from cttui.ui.pasts import Pasts
from cttui.ui.session import Phase, Session, State
from cttui.ui.terminal import TerminalDriver
from cttui.ui.typing_order import TypingOrder
from cttui.ui.view import View

if TYPE_CHECKING:
    from cttui.ui.packet_actions import PacketActions
    from cttui.ui.probe_actions import ProbeActions

MOST_NOTICES = 30
LEVELS: dict[str, SeverityLevel] = {"error": "error", "warning": "warning"}


def _commands() -> type[Provider]:
    from cttui.ui.palette import Commands

    return Commands


class Program(TypingOrder):
    """See the module. `keys` is the person's keymap: action id → keys."""

    TITLE = "cttui"
    CSS_PATH = "dashboard.tcss"
    ENABLE_COMMAND_PALETTE = True
    COMMANDS: ClassVar[set[type[Provider] | Callable[[], type[Provider]]]] = {_commands}
    COMMAND_PALETTE_BINDING = "ctrl+underscore"  # ours is an action like the others
    BINDINGS: ClassVar[list[BindingType]] = list(keymap.bindings(actions.APP_IDS))
    probe_actions: "ProbeActions"
    packet_actions: "PacketActions"
    _painted_in: dict[str, str]

    def __init__(self, options: Options, session: Session) -> None:
        self._theme_defaults = theme.variable_defaults()
        super().__init__(ansi_color=theme.native_colours())
        chops.install()
        Cells.ascii = ascii_only(os.environ)
        self.options = options
        self.session = session
        self.memory = memories.load(memories.usual_path()) if options.remember else memories.Memory()
        config = options.config
        remembered = self.memory.sort and not config.flags & {"flows.sort", "flows.descending"}
        self.view = View(
            sort=self.memory.sort if remembered else config["flows.sort"],
            descending=self.memory.descending if remembered else config["flows.descending"],
        )
        self.keys, self._key_problems = keymap.check(config.keys)
        self.pasts = Pasts()
        self.dashboard = Dashboard(self.view, session.state, self.act, self.key, self.pasts)
        self.dashboard.lean = options.low_bandwidth
        self.colours = Colours(self)
        self._wear(self.colours.first())
        self._handlers: dict[str, Callable[[], None]] = {}
        self._ticking: Timer | None = None
        self._standing = False
        """The dashboard has its panels."""
        self._leave_with: int | None = None
        self._early: list[str] | None = []
        """Actions asked for before they could be carried out: keys pressed at the first frame."""
        self._notices_seen: dict[str, int] = {}

    # ------------------------------------------------------------ life

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Our colours, for themes that leave them out."""
        return self._theme_defaults

    def get_driver_class(self) -> type[Driver]:
        """Textual's driver without its ways to hang on a lost terminal."""
        return TerminalDriver

    def get_default_screen(self) -> Screen[None]:
        """The dashboard is the first screen."""
        return self.dashboard

    def refresh_css(self, animate: bool = True) -> None:
        """Read the style sheet again, unless it was read with these very colours: it was, at the start."""
        colours = self.get_css_variables()
        if colours != self._painted_in:
            self._painted_in = colours
            super().refresh_css(animate)

    def on_mount(self) -> None:
        self.set_class(Cells.ascii, "-ascii")
        self.set_keymap({**keymap.WIDGETS, **self.keys})
        self._handlers = {"ready": self._board_ready}
        self.session.compose = self._compose
        self.session.heard = self._heard
        self.session.changed = self._changed

    def _board_ready(self) -> None:
        self._standing = True
        if self._leave_with is not None:
            self.exit(return_code=self._leave_with)
        else:
            self.call_after_refresh(self._begin)

    async def _begin(self) -> None:
        # Only now what the first frame does without: dialogs, details, the filter's language.
        from cttui.ui.packet_actions import PacketActions
        from cttui.ui.probe_actions import ProbeActions
        from cttui.ui.view_actions import ViewActions

        self.session.start()
        self.probe_actions = ProbeActions(self)
        self.packet_actions = PacketActions(self)
        # Before the handlers: until there are any, keys wait. A `/` would look for a field that is still to come.
        await self.dashboard.furnish()
        if not self.is_running:
            return  # left again meanwhile
        self._handlers = {
            **ViewActions(self).handlers(),
            **self.probe_actions.handlers(),
            **self.packet_actions.handlers(),
            "quit": lambda: self.exit(),
            "help": self.help,
            "palette": self.action_command_palette,
            "theme": lambda: self.start(self.colours.choose()),
            "present": self.dashboard.present,
            "suspend": self.action_suspend_process,
            "redraw": self.redraw,
        }
        table = self.dashboard.flows
        table.widths = self.memory.widths
        table.columns = self.options.config.unless(self.memory.columns, "flows.columns")
        table.sort, table.descending = self.view.sort, self.view.descending
        for problem in self._key_problems:
            self.say(problem, "warning")
        self.colours.others()
        self._ticking = self.set_interval(1.0, self._tick)
        # Back from Ctrl-Z the terminal is empty; only changed cells would be painted.
        self.app_resume_signal.subscribe(self, lambda _app: self.redraw())
        gc.enable()
        gc.freeze()
        # A whole collection takes 30 ms, in which no key is answered: what is made here rarely makes cycles.
        gc.set_threshold(5_000, 20, 100)
        if self.options.tour:
            from cttui.ui.tour import Tour

            self.push_screen(Tour(self))
        if self.options.present:
            self.dashboard.present()
        if self.options.tale:
            from cttui.lab.tales import find
            from cttui.ui.lab import TaleScreen

            self.push_screen(TaleScreen(self, find(self.options.tale)))
        early, self._early = self._early or [], None
        for id_ in early:
            self.act(id_)

    def _wear(self, name: str) -> None:
        """Take on a theme before the style sheet is read: with other colours it would be read twice."""
        self.set_reactive(App.theme, name)
        # Nobody watches yet: whether the terminal's own colours stay its own was decided for another theme.
        self._refresh_truecolor_filter(self.ansi_theme)
        self._painted_in = self.get_css_variables()
        self.stylesheet.set_variables(self._painted_in)

    # ------------------------------------------------------------ actions

    def action_act(self, id_: str) -> None:
        """A key of the application."""
        self.act(id_)

    def act(self, id_: str) -> None:
        """Carry out an action, or what a widget asked for, by id."""
        handler = self._handlers.get(id_)
        if handler is None:
            if self._early is not None and id_ in actions.BY_ID:
                self._early.append(id_)
            return
        if self.dashboard.presenting and id_ in actions.BY_ID:
            self.dashboard.caption = f"{self.key(id_)}  {actions.BY_ID[id_].label}"
            self.dashboard.say()
        handler()

    def key(self, id_: str) -> str:
        """The key a person has for an action, as sentences show it."""
        return actions.shown_key(actions.BY_ID[id_], self.keys)

    def redraw(self) -> None:
        """Paint everything again: another program wrote over the screen."""
        self.screen.refresh()

    def help(self) -> None:
        """Explain the screen, or the panel in focus."""
        from cttui.ui.help import HelpScreen

        self.push_screen(HelpScreen(self.screen, self.dashboard, self.keys))

    # ------------------------------------------------------------ session

    def _compose(self, seq: int) -> Ask:
        ask = self.dashboard.question(seq)
        for screen in self.screen_stack:
            amend = getattr(screen, "amend", None)
            if amend is not None:
                ask = amend(ask)
        return ask

    def _heard(self, answer: Answer) -> None:
        self.pasts.see(answer)
        self.probe_actions.heard(answer)
        self._take_notices(answer)
        taken = False
        for screen in self.screen_stack:
            heard = getattr(screen, "heard", None)
            if heard is not None and screen is not self.dashboard and screen.is_mounted:
                taken = bool(heard(answer)) or taken
        self.dashboard.heard(answer, flows=not taken)

    def _changed(self, state: State) -> None:
        self.dashboard.changed(state)
        if state.phase is Phase.LIVE:
            self.probe_actions.opened(state)

    def _tick(self) -> None:
        since = self.session.waiting_since
        self.dashboard.tick(time.monotonic() - since if since is not None else None)

    def _take_notices(self, answer: Answer) -> None:
        target = self.session.state.target.label
        seen = self._notices_seen.get(target, 0)
        for notice in answer.notices:
            if notice.seq > seen:
                self._notices_seen[target] = notice.seq
                self.dashboard.notices = [*self.dashboard.notices, notice][-MOST_NOTICES:]
                level = LEVELS.get(notice.level, "information")
                self.say(f"{clean(notice.sentence)} {clean(notice.remedy)}".rstrip(), level)

    async def do(self, action: ProbeAction) -> int:
        """Have the probe do something; its job's number. Raises FaultError."""
        return (await self.session.do(action)).job

    def start(self, work: Coroutine[Any, Any, object]) -> None:
        """Run a dialogue beside everything else; a refusal becomes a notice."""
        self.run_worker(self.guarded(work), exclusive=True, group="dialogue")

    async def guarded(self, work: Coroutine[Any, Any, object]) -> None:
        """The work; where it is refused, why."""
        try:
            await work
        except FaultError as e:
            self.say_fault(e.fault)

    # ------------------------------------------------------------ saying

    def say(self, sentence: str, level: SeverityLevel = "information") -> None:
        """A notice that goes by itself. Plain text: nothing in it is markup, whoever wrote what it quotes."""
        self.clear_notifications()  # one at a time: they cover what they speak of
        text = "\n".join(map(clean, sentence.split("\n")))
        self.notify(text, severity=level, markup=False, timeout=6)

    def say_fault(self, fault: Fault) -> None:
        """What went wrong and what to do."""
        self.say(f"{clean(fault.sentence)} {clean(fault.remedy)}".rstrip(), "error")

    def copy_text(self, text: str, what: str) -> None:
        """Copy, and say what is known of it."""

        def work() -> None:
            self.call_from_thread(self.say, f"{what}: {copy(text, self._write, os.environ)}")

        self.run_worker(work, thread=True, group="clipboard")

    def _write(self, sequence: str) -> None:
        if self._driver is not None:
            self.call_from_thread(self._driver.write, sequence)

    def save_memory(self) -> None:
        """Keep what is remembered; where it can't be written, nothing is said: it is a comfort only."""
        if self.options.remember:
            memories.save(self.memory, memories.usual_path())

    # ------------------------------------------------------------ terminal

    def exit(self, result: None = None, return_code: int = 0, message: RenderableType | None = None) -> None:
        """Leave. What the session says from now on is for nobody: the widgets are being taken down.

        Before they stand (a signal may come at any time) it waits until they do: half built, the dashboard would
        look for parts it doesn't have.
        """
        if not self._standing:
            self._leave_with = return_code
            return
        self.session.heard = lambda answer: None
        self.session.changed = lambda state: None
        if self._ticking is not None:
            self._ticking.stop()
        super().exit(result, return_code, message)

    def on_command_palette_opened(self) -> None:
        """Its field blinks no more than ours do."""
        self.screen.query_one(Input).cursor_blink = False

    def on_app_focus(self, _event: events.AppFocus) -> None:
        self.session.focus(True)

    def on_app_blur(self, _event: events.AppBlur) -> None:
        self.session.focus(False)
