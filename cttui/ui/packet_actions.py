"""Actions around packets: their log, its export, journeys, traces, and the way between packets and flows."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from cttui.client.ssh import watched_through
from cttui.model.actions import Action, Arm, Disarm
from cttui.model.as_root import as_root
from cttui.model.faults import FaultError
from cttui.model.messages import Answer, Ask
from cttui.model.packet import PacketRow
from cttui.model.safe import clean
from cttui.model.views import FlowView, HookView, JourneyView, PacketView
from cttui.model.words import counted
from cttui.ui import capture, faults
from cttui.ui.dialogs import Button, Confirm
from cttui.ui.session import Phase

if TYPE_CHECKING:
    from cttui.ui.program import Program


class PacketActions:
    """Handlers by action id."""

    def __init__(self, app: "Program") -> None:
        self.app = app
        self.session = app.session
        self.dashboard = app.dashboard
        self._trace_until = 0.0
        self._trace_target = ""

    def handlers(self) -> dict[str, Callable[[], None]]:
        """Action id → what to call."""
        start = self.app.start
        return {
            "journeys": self.journeys,
            "export": lambda: start(self.export()),
            "its-packets": self.its_packets,
            "its-flow": lambda: start(self.its_flow()),
            "capture": lambda: start(self.capture()),
            "stages": lambda: start(self.stages()),
            "packets-filtered": self.filtered,
        }

    @property
    def trace_left_s(self) -> float:
        """Seconds until an armed trace ends by itself; 0 where none was armed from here."""
        if self._trace_target != self.session.state.target.label:
            return 0.0
        return max(0.0, self._trace_until - time.monotonic())

    # ------------------------------------------------------------ switches

    async def _now(self) -> Answer:
        """What is switched on."""
        return await self.session.once(
            lambda seq: Ask(
                seq=seq, packets=PacketView(), hooks=HookView(rules_per_chain=0), journey=JourneyView(count=0)
            )
        )

    async def _carry_out(self, action: Action) -> None:
        """Do it and wait for its end. Raises FaultError where it fails."""
        if self.session.state.phase is Phase.FROZEN:
            self.session.freeze(False)  # what is switched must be seen to change
        await self.session.settle(action)

    def _can(self, what: str, name: str) -> None:
        welcome = self.session.state.welcome
        if welcome is not None and what not in welcome.can:
            why = welcome.cannot.get(what, "") or f"{name} needs CAP_NET_ADMIN here: run {as_root()}."
            raise FaultError("cannot", clean(why))

    async def capture(self) -> None:
        """The packet log on or off; on a host a dialog comes first."""
        now = await self._now()
        if now.packets is not None and now.packets.capturing:
            await self._carry_out(Disarm(what="capture"))
            self.app.say("Packet log off. What it holds stays.")
            return
        self._can("capture", "Capturing")
        if self.app.probe_actions.sandbox:
            await self._carry_out(Arm(what="capture"))
            self.app.say("Packet log on.")
            return
        left_out = watched_through() is not None
        answers = await self.app.push_screen_wait(
            capture.capture_form(left_out, self.dashboard.packets.filter_text)
        )
        if answers is None:
            return
        action = capture.arm("capture", answers)
        await self._carry_out(action)
        self.app.say(
            f"Packet log on, for at most {action.seconds:,.0f} s or {counted(action.packets, 'packet')}."
        )

    async def stages(self) -> None:
        """Stage counters on or off; on a host a question comes first."""
        now = await self._now()
        if now.hooks is not None and now.hooks.stages_armed:
            await self._carry_out(Disarm(what="stages"))
            self.app.say("Stage counters off: their tables are gone.")
            return
        self._can("stages", "Counting stages")
        if not self.app.probe_actions.sandbox:
            question = Confirm(
                "Count the stages of the path?", capture.STAGES_COST, [Button("on", "y", "switch them on")]
            )
            if await self.app.push_screen_wait(question) is None:
                return
        await self._carry_out(Arm(what="stages"))
        self.app.say("Stage counters on. Losses are counted from now.")

    async def arm_trace(self) -> None:
        """Trace packets of a filter, after a dialog that says what it costs."""
        self._can("trace", "Tracing")
        answers = await self.app.push_screen_wait(capture.trace_form(self.dashboard.packets.filter_text))
        if answers is None:
            return
        action = capture.arm("trace", answers)
        await self._carry_out(action)
        self._trace_until = time.monotonic() + action.seconds
        self._trace_target = self.session.state.target.label
        self.dashboard.tracing = True

    async def stop_trace(self) -> None:
        """Disarm; the journeys stay."""
        await self._carry_out(Disarm(what="trace"))
        self._trace_until = 0.0

    # ------------------------------------------------------------ packets, flows, journeys

    def journeys(self) -> None:
        """The journeys; of the packet under the cursor, where the log is in focus and held still."""
        from cttui.ui.journeys import JourneysScreen

        board = self.dashboard
        near: PacketRow | None = None
        if board.panel == "packets" and not board.packets.following:
            near = board.packets.selected
        self.app.push_screen(JourneysScreen(self.app, self, near))

    def its_packets(self) -> None:
        """Only the packets of the flow under the cursor, in the log."""
        flow = self.dashboard.flows.selected
        if flow is None:
            self.app.say("There is no flow under the cursor.", "warning")
            return
        self.show_packets_of(flow.key)

    def show_packets_of(self, flow_key: int) -> None:
        """The log, narrowed to one flow; Escape widens it again."""
        board = self.dashboard
        while self.app.screen is not board:
            self.app.pop_screen()
        board.packets.narrow(flow_key=flow_key)
        if board.panel != "packets":
            board.go_to("packets")
        self.session.poke()

    async def its_flow(self) -> None:
        """The flow of the packet under the cursor."""
        packet = self.dashboard.packets.selected
        if packet is None:
            self.app.say("There is no packet under the cursor.", "warning")
            return
        await self.open_flow(packet.flow_key)

    async def open_flow(self, key: int) -> None:
        """One flow, whole."""
        from cttui.ui.detail import FlowDetail

        answer = None
        if key:
            answer = await self.session.once(
                lambda seq: Ask(seq=seq, flows=FlowView(keys=[key], count=1, fillers=True))
            )
        rows = answer.flows.rows if answer is not None and answer.flows is not None else []
        flow = next((row for row in rows if row.key == key), None)
        if flow is None:
            self.app.say(faults.no_flow(answer or self.dashboard.answer), "warning")
            return
        self.app.push_screen(FlowDetail(flow, self.app.pasts, self.app.copy_text, self.show_packets_of))

    def filtered(self) -> None:
        """A filter of the log was typed to its end."""
        if self.dashboard.packets.filter_text:
            self.app.memory.add_filter(self.dashboard.packets.filter_text)
            self.app.save_memory()

    async def export(self) -> None:
        """Write the log, as far as it is shown, to a pcapng file."""
        from cttui.ui.export import Export

        log = self.dashboard.packets
        view = PacketView(filter=log.filter_text, flow_key=log.flow_key)
        answer = await self.session.once(lambda seq: Ask(seq=seq, packets=view))
        n = answer.packets.matched if answer.packets is not None else 0
        if not n:
            raise FaultError("nothing", "There is no packet to export.")
        which = f" that match `{clean(log.filter_text)}`" if log.filter_text else ""
        which += " of one flow" if log.flow_key else ""
        what = f"{'Every packet' if not which else 'The packets'} in the log{which}: {n:,}"
        done = await self.app.push_screen_wait(Export(self.session, view, what))
        if done is not None:
            self.app.say(done.sentence)
