"""The tale screen: story and commands, predicted beside measured, and the sandbox live below."""

import asyncio
from typing import TYPE_CHECKING, ClassVar

import msgspec
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.screen import Screen

from cttui.lab.runner import StepStarted, run
from cttui.lab.tale import Tale
from cttui.model.messages import Answer, Ask
from cttui.model.views import FlowView, HookView, PacketView
from cttui.ui import faults
from cttui.ui.bars import Header, KeyBar
from cttui.ui.cells import Cells
from cttui.ui.dialogs import Button, Confirm
from cttui.ui.lines import Line, spread, width_of
from cttui.ui.prose import Prose
from cttui.ui.session import Phase
from cttui.ui.telling import BEFORE, HELD, OVER, RUNNING, STARTING, Telling
from cttui.ui.widgets.digits import BigDigits
from cttui.ui.widgets.flow_table import FlowTable
from cttui.ui.widgets.gauge import Gauge
from cttui.ui.widgets.hook_path import HookPath
from cttui.ui.widgets.outcomes import Outcomes
from cttui.ui.widgets.packet_log import PacketLog

if TYPE_CHECKING:
    from cttui.ui.program import Program

OPENING_S = 20.0


class Caption(Cells):
    """Presenter mode: where the tale is, and the key that was pressed."""

    DEFAULT_CSS = "Caption { height: 1; }"

    def __init__(self) -> None:
        super().__init__()
        self._said, self._key = ("", ""), ""

    def say(self, said: tuple[str, str], key: str) -> None:
        """(sentence, style) and the key."""
        self._said, self._key = said, key
        self.paint()

    def lay_out(self, width: int, height: int) -> list[Line]:
        text, style = self._said
        key = self._key
        if width_of(text) + width_of(key) + 4 > width:  # what the key is for, the line at the bottom says too
            key = key.partition(":")[0]
        return [tuple(spread([(f" {text}", style)], [(f"  {key} " if key else "", "key")], width))]


class TaleScreen(Screen[None]):
    """One tale."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "leave", "Back", show=False),
        Binding("n", "next", "Step by step: up to the next prediction", show=False),
        Binding(
            "r", "run", "Run all of it, of a tale begun with n the rest; once it is over, again", show=False
        ),
        Binding("R", "reset", "A fresh sandbox", show=False),
        Binding("p", "keep", "Keep the sandbox and play on", show=False),
        Binding("J", "journeys", "The way of each packet", show=False),
        Binding("f4", "explain", "What was lost, where, by which counter", show=False),
        Binding("f9", "present", "Presenter mode: predictions are shown once their step runs", show=False),
    ]

    def __init__(self, program: "Program", tale: Tale) -> None:
        super().__init__(id="tale")
        self._program = program
        self._tale = tale
        self.telling = Telling(tale)
        self._stepwise = False
        self._go_on = asyncio.Event()
        self._answer: Answer | None = None
        self._pressed = ("", "")
        """Presenter mode: the last key and what it was for."""

    def compose(self) -> ComposeResult:
        yield Header(self._program.session.state)
        yield Gauge(id="gauge")
        yield BigDigits(id="digits")
        yield Caption()
        with Container(id="tale-top"):
            yield Prose([], heading=self._tale.title, id="story", indent=1)
            yield Outcomes()
        with Container(id="tale-live"):
            yield FlowTable(id="tale-flows", key="")
            yield HookPath(id="tale-hooks", key="")
        yield PacketLog(id="tale-packets", key="")
        yield KeyBar(self._footer)

    def _footer(self) -> list[tuple[str, str, str]]:
        keys = {
            BEFORE: [("run", "r", "run"), ("next", "n", "step by step"), ("present", "F9", "presenter")],
            STARTING: [("", "…", "starting")],
            RUNNING: [("", "…", "running")],
            HELD: [
                ("next", "n", "next step"),
                *([("run", "r", "run the rest")] if self.telling.left else []),
                ("journeys", "J", "journeys"),
            ],
            OVER: [
                ("run", "r", "again"),
                ("next", "n", "step by step"),
                ("keep", "p", "play on"),
                ("journeys", "J", "journeys"),
                ("explain", "F4", "explain"),
                ("reset", "R", "reset"),
            ],
        }[self.telling.phase]
        return [*keys, ("help", self._program.key("help"), "help"), ("leave", "Esc", "back")]

    def on_mount(self) -> None:
        self.query_one("#story").focus()
        self.query_one("#tale-flows", FlowTable).empty = ["No flows yet."]
        self._present()
        self._paint()

    def on_key(self, event: events.Key) -> None:
        for _, key, label in self._footer():
            if event.character == key or event.key == key.lower():
                self._pressed = (key, label)
                self._say()

    def action_present(self) -> None:
        """Presenter mode on or off, here and on the dashboard."""
        self._program.act("present")
        self._present()
        self._paint()

    def _present(self) -> None:
        presenting = self._program.dashboard.presenting
        self.set_class(presenting, "presenting")
        self.query_one(Caption).display = presenting
        self._arrange()

    def _say(self) -> None:
        """Presenter mode: the step as a caption, the last key, the numbers in question."""
        if not self._program.dashboard.presenting:
            return
        key, label = self._pressed
        means = {key: label for _, key, label in self._footer()}
        # Once the tale is over, the key line says what the key is for now.
        other = self.telling.phase == OVER and means.get(key, label) != label
        pressed = f"pressed {key}" if other else f"pressed {key}: {label}"
        self.query_one(Caption).say(self.telling.caption(), pressed if key else "")
        if self._answer is not None:
            self.query_one(BigDigits).show(faults.big_numbers(self._answer, self._program.dashboard.burst))

    def on_resize(self) -> None:
        self._arrange()

    def _arrange(self) -> None:
        width, height = self.app.size
        self.set_class(width >= 116, "wide")
        # Big digits and the caption take six lines from what is told.
        self.set_class(height < (36 if self._program.dashboard.presenting else 30), "low")

    def _paint(self) -> None:
        self.set_class(self.telling.phase != BEFORE, "begun")
        story = self.query_one("#story", Prose)
        before = story.paragraphs
        presenting = self._program.dashboard.presenting
        story.show(self.telling.story("n", "r", captioned=presenting))
        if story.paragraphs[:1] != before[:1]:
            story.go(0)
        self.query_one(Outcomes).show(self.telling.lines(guessing=presenting), self.telling.at)
        self.query_one(KeyBar).show(self._footer())
        self._say()

    # ------------------------------------------------------------ asking

    def amend(self, ask: Ask) -> Ask:
        """Flows, hooks and packets for this screen's panels."""
        first, count, follow = self.query_one("#tale-flows", FlowTable).question()
        log_first, log_count = self.query_one("#tale-packets", PacketLog).question()
        return msgspec.structs.replace(
            ask,
            flows=FlowView(first=first, count=count, follow_key=follow, anchored=bool(follow)),
            packets=PacketView(first=log_first, count=log_count),
            hooks=HookView(),
        )

    def heard(self, answer: Answer) -> bool:
        """Show the sandbox live; True: the flows are not for the dashboard's table."""
        self._answer = answer
        fired = [job for job in answer.jobs if job.kind in ("fire", "hold") and job.state != "running"]
        if fired:
            self._program.probe_actions.adopt(fired[-1])
        self.query_one("#gauge", Gauge).show(answer.table)
        self._say()
        self.query_one(Header).show(self._program.session.state)
        if answer.flows is not None:
            self.query_one("#tale-flows", FlowTable).show(answer.flows)
        if answer.packets is not None:
            self.query_one("#tale-packets", PacketLog).show(answer.packets)
        if answer.hooks is not None:
            self.query_one("#tale-hooks", HookPath).show(
                answer.hooks, active=answer.table.active, why=answer.table.active_why
            )
        return True

    # ------------------------------------------------------------ telling

    def action_run(self) -> None:
        """Run it, or the rest of it, without stopping."""
        self._stepwise = False
        self._start()

    def action_next(self) -> None:
        """Up to the next step's prediction, then wait."""
        if self.telling.phase in (BEFORE, OVER):
            self._stepwise = True
        self._start()

    def _start(self) -> None:
        if self.telling.phase == HELD:
            self._go_on.set()
        elif self.telling.phase in (BEFORE, OVER):
            asks = self.telling.phase == BEFORE
            self.telling = Telling(self._tale, phase=STARTING)
            self.run_worker(self._tell(asks), exclusive=True, group="tale")

    async def _tell(self, asks: bool) -> None:
        if not await self._fresh(asks):
            self.telling = Telling(self._tale)
            self._paint()
            return
        session = self._program.session
        link = session.link
        assert link is not None
        async for event in run(self._tale, link, self._program.probe_actions.permission):
            self.telling.take(event)
            session.poke()
            if isinstance(event, StepStarted) and self._stepwise:
                self.telling.phase = HELD
                self._go_on.clear()
                self._paint()
                await self._go_on.wait()
                self.telling.phase = RUNNING
            self._paint()

    async def _fresh(self, asks: bool) -> bool:
        """A new, empty sandbox on screen; False where the person, if asked, would rather keep the present one."""
        session = self._program.session
        if session.state.target.kind != "sandbox" and not session.switch():
            self._program.say("There is no sandbox beside this target: start with --sandbox.", "error")
            return False
        table = self._answer.table if self._answer is not None else None
        if asks and table is not None and table.count:
            question = Confirm(
                "A fresh sandbox?",
                ["A tale begins with an empty sandbox: the present one goes, with its flows and rules."],
                [Button("fresh", "y", "begin")],
            )
            if await self.app.push_screen_wait(question) is None:
                return False
        self._paint()
        await session.restart()
        try:
            async with asyncio.timeout(OPENING_S):
                while session.state.phase is Phase.OPENING:
                    await asyncio.sleep(0.02)
        except TimeoutError:
            self._program.say("The sandbox did not start.", "error")
            return False
        if session.state.phase is not Phase.LIVE:
            if session.state.fault is not None:
                self._program.say_fault(session.state.fault)
            return False
        return True

    def action_keep(self) -> None:
        """Back to the dashboard, with everything as the tale left it."""
        if self.telling.phase == OVER:
            while self.app.screen is not self._program.dashboard:
                self.app.pop_screen()

    def action_journeys(self) -> None:
        """The way of each packet of the last stimulus."""
        self._program.act("journeys")

    def action_explain(self) -> None:
        """What was lost, in words."""
        self._program.act("explain")

    def action_reset(self) -> None:
        """A fresh sandbox; the tale can be told again."""
        if self.telling.phase == OVER:
            self.telling, self._answer = Telling(self._tale), None
            self._paint()
            self.run_worker(self._program.session.restart(), exclusive=True, group="tale")

    def action_leave(self) -> None:
        """Back to the list; a tale that runs is stopped where it is."""
        self.workers.cancel_group(self, "tale")
        self.dismiss(None)

    def on_key_bar_pressed(self, event: KeyBar.Pressed) -> None:
        match event.action:
            case "run":
                self.action_run()
            case "next":
                self.action_next()
            case "keep":
                self.action_keep()
            case "reset":
                self.action_reset()
            case "leave":
                self.action_leave()
            case "present":
                self.action_present()
            case _:
                self._program.act(event.action)

    def on_rows_window_wanted(self) -> None:
        self._program.session.poke()
