"""The guided tour: the full-table experiment in five captions over the live dashboard."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical

from cttui.model.messages import FaultError
from cttui.ui import faults
from cttui.ui.dialogs import Button, Buttons, Dialog
from cttui.ui.prose import Prose
from cttui.ui.questions import Paragraphs
from cttui.ui.session import Phase

if TYPE_CHECKING:
    from cttui.ui.program import Program

WAIT_S = 60.0
FREE = 7


@dataclass(frozen=True, slots=True)
class Stop:
    """A caption, what Enter does, and what the key line calls it."""

    title: str
    words: Callable[[], Paragraphs]
    enter: str
    act: Callable[[], Awaitable[None]] | None = None


class Tour(Dialog[None]):
    """Captions at the bottom; the dashboard goes on above them."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter,space,n", "next", "Next", show=False)]

    def __init__(self, program: "Program") -> None:
        super().__init__(classes="tour")
        self._program = program
        self._at = 0
        self._stops = (
            Stop("1 of 5: an empty table", self._empty, "fire ten SYNs", self._fire),
            Stop("2 of 5: ten SYNs, ten flows", self._ten, f"leave {FREE} slots free", self._fill),
            Stop("3 of 5: predict", self._predict, "fire ten SYNs again", self._fire),
            Stop("4 of 5: three packets are missing", self._missing, "what to do about it"),
            Stop("5 of 5: on a host of yours", self._host, "end of the tour"),
        )

    def compose(self) -> ComposeResult:
        stop = self._stops[0]
        with Vertical(classes="dialog") as box:
            box.border_title = stop.title
            yield Prose(stop.words())
            yield Buttons(self._buttons(stop.enter))

    def _buttons(self, enter: str) -> list[Button]:
        return [Button("next", "Enter", enter), Button("", "Esc", "leave the tour")]

    # ------------------------------------------------------------ the captions

    def _empty(self) -> Paragraphs:
        return [
            "This is a sandbox: a network of its own, gone when you leave. The bar at the top is the conntrack "
            "table of this kernel, with room for as many connections as the figure says. Below: the flows in it, "
            "the hooks a packet passes, and the packets themselves.",
        ]

    def _ten(self) -> Paragraphs:
        return [
            (self._burst(), "value"),
            "Each SYN of an unknown connection made an entry: SYN_SENT, unreplied, kept for two minutes. raw counts "
            "packets before conntrack, mangle after it. Both saw all ten.",
        ]

    def _predict(self) -> Paragraphs:
        return [
            f"A fresh sandbox, filled until {FREE} slots are free. The same ten SYNs come again. How many flows will "
            "there be? How many packets will mangle count? And which rule will say where the rest went?",
        ]

    def _missing(self) -> Paragraphs:
        return [
            (self._burst(), "value"),
            "Conntrack had no entry for the last packets and dropped them itself, between raw and mangle. No "
            "rule counted that. The statistic `drop` is the only witness, and the kernel log says “table full”.",
        ]

    def _host(self) -> Paragraphs:
        k = self._program.key
        return [
            f"On a host: {k('group')} shows what fills the table, {k('filter')} filters it, {k('tunables')} shows the limit, "
            f"{k('explain')} says in words what is lost. {k('target')} changes between host and sandbox, {k('tales')} lists "
            f"more experiments, {k('help')} explains the panel you are in.",
        ]

    def _burst(self) -> str:
        job = self._program.dashboard.burst
        return faults.summary(job) if job is not None else ""

    # ------------------------------------------------------------ going on

    async def _fire(self) -> None:
        self._program.dashboard.burst = None
        await self._program.doing.fire()
        await self._settled()

    async def _fill(self) -> None:
        session = self._program.session
        self._program.dashboard.burst = None
        await session.restart()
        async with asyncio.timeout(WAIT_S):
            while session.state.phase is Phase.OPENING:
                await asyncio.sleep(0.02)
        await self._program.doing.fill(FREE)
        await self._settled()

    async def _settled(self) -> None:
        board = self._program.dashboard
        async with asyncio.timeout(WAIT_S):
            while board.burst is None or board.burst.state == "running":
                await asyncio.sleep(0.02)
        if board.burst.fault is not None:
            fault = board.burst.fault
            raise FaultError.of(fault)

    def action_next(self) -> None:
        """Do what the caption offers, then the next caption."""
        self.run_worker(self._next(), exclusive=False, group="tour")

    async def _next(self) -> None:
        if self._busy:
            return
        self._busy = True
        try:
            act = self._stops[self._at].act
            if act is not None:
                await act()
        except FaultError as e:
            self._program.say_fault(e.fault)
            return
        except TimeoutError:
            self._program.say("It took too long; Enter tries again.", "warning")
            return
        finally:
            self._busy = False
        self._at += 1
        if self._at >= len(self._stops):
            self.dismiss(None)
            return
        stop = self._stops[self._at]
        self.query_one(Vertical).border_title = stop.title
        self.query_one(Prose).show(stop.words())
        self.query_one(Buttons).show(self._buttons(stop.enter))

    _busy = False

    def on_buttons_pressed(self, event: Buttons.Pressed) -> None:
        if event.button:
            self.action_next()
        else:
            self.dismiss(None)
