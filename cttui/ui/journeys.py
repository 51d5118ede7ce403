"""The journeys screen: traced packets × stages, and the way of the one under the cursor."""

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.screen import Screen

from cttui.model.messages import Answer, Ask
from cttui.model.packet import JourneysReading, PacketRow
from cttui.model.safe import clean
from cttui.model.views import JourneyView
from cttui.model.words import counted
from cttui.ui import faults
from cttui.ui import journey_text as text
from cttui.ui.bars import Header, KeyBar
from cttui.ui.cells import Cells
from cttui.ui.dialogs import Choose, Entry
from cttui.ui.lines import Line, clip
from cttui.ui.prose import Prose, wrap
from cttui.ui.traced import all_journeys, journey_of, packet_of
from cttui.ui.widgets.journey_table import JourneyTable

if TYPE_CHECKING:
    from cttui.ui.packet_actions import PacketActions
    from cttui.ui.program import Program

MOST_COPIED = 1_000


class About(Cells):
    """Where the packets ended, and what is not among the journeys."""

    DEFAULT_CSS = "About { height: auto; max-height: 4; }"

    def __init__(self) -> None:
        super().__init__(id="journeys-about")
        self._said: list[tuple[str, str]] = []

    def say(self, said: list[tuple[str, str]]) -> None:
        """(sentence, style) a paragraph."""
        if said != self._said:
            self._said = said
            self.refresh(layout=True)
            self.paint()

    def get_content_height(self, container: object, viewport: object, width: int) -> int:
        """Lines it takes."""
        return len(self.lay_out(width, 4))

    def lay_out(self, width: int, height: int) -> list[Line]:
        lines: list[Line] = []
        for said, style in self._said:
            wrapped = wrap(f" {said}", width, style)
            if len(wrapped) > 2:  # the rest is in the table
                wrapped = [wrapped[0], ((clip(f"{wrapped[1][0][0]}" + "…" * width, width), style),)]
            lines += wrapped
        return lines[:height]


class JourneysScreen(Screen[None]):
    """See the module. `near`: the packet of the log at whose journey to begin."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,J", "leave", "Back to the dashboard", show=False),
        Binding("l", "flow", "Its flow", show=False),
        Binding("y", "copy", "Copy", show=False),
        Binding("a", "arm", "Trace packets of a filter", show=False),
        Binding("x", "stop", "Stop the trace", show=False),
        Binding("space", "freeze", "Freeze", show=False),
    ]

    def __init__(
        self, program: "Program", packet_actions: "PacketActions", near: PacketRow | None = None
    ) -> None:
        super().__init__(id="journeys")
        self._program = program
        self._packet_actions = packet_actions
        self._near = near
        self.reading: JourneysReading | None = None

    def compose(self) -> ComposeResult:
        yield Header(self._program.session.state)
        yield About()
        with Container(id="journeys-both"):
            yield JourneyTable(id="journeys-table")
            yield Prose([], heading="The way of this packet", id="journeys-way", indent=1)
        yield KeyBar(self._footer)

    @property
    def table(self) -> JourneyTable:
        """Packets × stages."""
        return self.query_one(JourneyTable)

    def _footer(self) -> list[tuple[str, str, str]]:
        armed = self.reading is not None and self.reading.armed
        switch = [("stop", "x", "stop tracing")] if armed else [("arm", "a", "trace a filter")]
        of_packet = [("packet", "Enter", "packet"), ("flow", "l", "its flow"), ("copy", "y", "copy")]
        return [
            *(of_packet if self.reading is not None and self.reading.total else []),
            *(switch if self._can_trace else []),
            ("help", self._program.key("help"), "help"),
            ("leave", "Esc", "back"),
        ]

    @property
    def _can_trace(self) -> bool:
        here = self._program.session.state.situation
        return not here.recording and (here.can is None or "trace" in here.can)

    def on_mount(self) -> None:
        self.table.focus()
        self._arrange()
        self._say()
        if self._near is not None:
            self.run_worker(self._program.guarded(self._go_to(self._near)), group="journeys")
        self._want()
        self.set_interval(1.0, self._say)

    def on_resize(self) -> None:
        self._arrange()
        self._want()

    def _want(self) -> None:
        """Have what is in view asked for."""
        self._program.session.poke()

    def _arrange(self) -> None:
        self.set_class(self.app.size.width >= 180, "wide")

    # ------------------------------------------------------------ asking

    def amend(self, ask: Ask) -> Ask:
        """Journeys, and the losses that the dashboard asks for: F4 tells of them right after this screen."""
        first, count = self.table.question()
        return msgspec.structs.replace(
            ask,
            flows=None,
            groups=[],
            packets=None,
            journey=JourneyView(first=first, count=count),
        )

    def heard(self, answer: Answer) -> bool:
        """Show the journeys; True: nothing else was asked for."""
        self.query_one(Header).show(self._program.session.state)
        # A recording knows only what was asked for when it was made.
        if answer.journeys is not None:
            self.reading = answer.journeys
            self.table.show(answer.journeys)
        self._say()
        self._show_way()
        self.query_one(KeyBar).show(self._footer())
        return True

    def _say(self) -> None:
        reading = self.reading
        said: list[tuple[str, str]] = []
        if reading is not None and (reading.total or reading.armed):
            left = self._packet_actions.trace_left_s
            until = f", {left:.0f} s left" if reading.armed and left else ""
            why = (
                clean(reading.why)
                if reading.armed
                else f"last trace: {clean(reading.why).removeprefix('tracing ')}"
            )
            said.append((f"{why}{until}", "level-warn" if reading.armed else "muted"))
            said.append((text.traced_words(reading), "value"))
            if limits := text.limits_words(reading):
                said.append((limits, "level-warn"))
        self.query_one(About).say(said)
        self.table.empty = self._empty()
        if reading is None or not reading.total:
            self.table.paint()

    def _empty(self) -> list[str]:
        if self.reading is not None and self.reading.armed:
            return ["Waiting for a packet that matches."]
        fire = self._program.key("fire")
        if self._program.session.state.recording and self.reading is None:
            return ["This recording holds no journeys."]
        if self._program.probe_actions.sandbox:
            return [f"No packet was traced yet. Every burst is: {fire} on the dashboard fires one."]
        how = "a traces packets of a filter: their way through every chain and rule."
        if not self._can_trace:
            how = faults.cannot(self._program.session.state.welcome, "trace")
        return ["No packet was traced yet.", how]

    def _show_way(self) -> None:
        journey = self.table.selected
        way = self.query_one("#journeys-way", Prose)
        way.show([] if journey is None else text.timeline(journey, "l"))

    async def _go_to(self, packet: PacketRow) -> None:
        """Put the cursor on the journey of a packet of the log."""
        found = await journey_of(self._program.session, packet)
        if isinstance(found, str):
            self._program.say(found)
            return
        self.reading, at = found
        self.table.show(self.reading)
        self.table.go(at)
        self._want()

    # ------------------------------------------------------------ messages

    def on_journey_table_moved(self) -> None:
        self._show_way()

    def on_rows_window_wanted(self) -> None:
        self._want()

    def on_journey_table_opened(self) -> None:
        self._start(self._packet())

    def on_key_bar_pressed(self, event: KeyBar.Pressed) -> None:
        match event.action:
            case "packet":
                self.on_journey_table_opened()
            case "flow" | "copy" | "arm" | "stop" | "leave":
                getattr(self, f"action_{event.action}")()
            case _:
                self._program.act(event.action)

    # ------------------------------------------------------------ actions

    def _start(self, work: Coroutine[Any, Any, object]) -> None:
        """Run a dialogue of this screen: it ends with it."""
        self.run_worker(self._program.guarded(work), exclusive=True, group="dialogue")

    def action_leave(self) -> None:
        """Back to the dashboard; a trace that is armed goes on to its caps."""
        self.dismiss(None)

    def action_freeze(self) -> None:
        """Hold the picture, or go on."""
        self._program.act("freeze")

    async def _packet(self) -> None:
        """The packet under the cursor, whole where the log still has it."""
        journey = self.table.selected
        if journey is None:
            return
        from cttui.ui.detail import PacketDetail

        self.app.push_screen(PacketDetail(await packet_of(self._program.session, journey)))

    def action_flow(self) -> None:
        """The flow of the packet under the cursor."""
        journey = self.table.selected
        if journey is not None:
            self._start(self._packet_actions.open_flow(journey.flow_key))

    def action_arm(self) -> None:
        """Ask for what to trace."""
        self._start(self._packet_actions.arm_trace())

    def action_stop(self) -> None:
        """End the trace now."""
        self._start(self._packet_actions.stop_trace())

    def action_copy(self) -> None:
        """Copy journeys as text or Markdown."""
        self._start(self._copy())

    async def _copy(self) -> None:
        journey = self.table.selected
        if journey is None:
            self._program.say("There is no journey to copy.")
            return
        total = self.reading.total if self.reading is not None else 0
        many = (
            f"the first {MOST_COPIED:,} packets" if total > MOST_COPIED else f"all {counted(total, 'packet')}"
        )
        entries = [
            Entry("text", "this packet's way as text", clip(text.packet_label(journey), 40)),
            Entry("markdown", "this packet's way as Markdown"),
            Entry("all-text", "packets × stages in words", many),
            Entry("all-markdown", "packets × stages as Markdown", many),
        ]
        chosen = await self.app.push_screen_wait(Choose("Copy", entries))
        match chosen:
            case "text":
                self._program.copy_text(text.journey_text(journey), "journey")
            case "markdown":
                self._program.copy_text(text.journey_markdown(journey), "journey")
            case "all-text" | "all-markdown":
                whole = await all_journeys(self._program.session, MOST_COPIED)
                make = text.as_text if chosen == "all-text" else text.as_markdown
                self._program.copy_text(await asyncio.to_thread(make, whole), "journeys")
