"""The guided tour: the full-table experiment in five captions over the live dashboard."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical

from cttui.model.faults import FaultError
from cttui.model.safe import clean
from cttui.ui import keymap
from cttui.ui.dialogs import Button, Buttons, Dialog
from cttui.ui.prose import Prose
from cttui.ui.session import Phase

if TYPE_CHECKING:
    from cttui.ui.program import Program

WAIT_S = 60.0
FREE = 7


@dataclass(frozen=True, slots=True)
class Stop:
    """A caption, what Enter does, what is said while it is done, and what the key line calls it."""

    title: str
    words: str
    enter: str
    act: Callable[[], Awaitable[None]] | None = None
    busy: str = ""


class Tour(Dialog[None]):
    """Captions in the lowest lines, of which the dashboard keeps clear."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,space,n", "next", "Next", show=False),
        Binding("b", "burst", "Fire", show=False),
        *keymap.bindings(("explain", "result", "journeys")),  # offered by the lines above and the captions
    ]

    def __init__(self, program: "Program") -> None:
        super().__init__(classes="tour")
        self._program = program
        self._at = 0
        self._busy = False
        k = program.key
        self._stops = (
            Stop(
                "1 of 5: an empty table",
                "This is a sandbox: a network of its own, gone when you leave. The bar at the top is its conntrack "
                "table: how many connections the kernel remembers, and how many it can. Below stand these flows, "
                "and under Hooks the path that a packet takes, with what each step counted.",
                "fire ten SYNs",
                self._fire,
                "firing",
            ),
            Stop(
                "2 of 5: ten SYNs, ten flows",
                "Each SYN of an unknown connection made an entry: SYN_SENT, unreplied, kept for two minutes. raw counts "
                "packets before conntrack, mangle after it: both saw ten. The answers, RSTs, would end the "
                "entries, so a rule drops them: the 10 dropped by rules.",
                f"leave {FREE} slots free",
                self._fill,
                "filling a fresh sandbox",
            ),
            Stop(
                "3 of 5: predict",
                f"This sandbox is a fresh one, filled until {FREE} slots are free. The same ten SYNs come again. How many "
                "flows will there be? How many packets will mangle count? And which rule will say where the rest "
                "went? Decide, then press Enter.",
                "fire ten SYNs again",
                self._fire,
                "firing",
            ),
            Stop(
                "4 of 5: three packets are missing",
                "raw counted ten, mangle seven: the last three found no free slot, and conntrack dropped them between "
                "the two. No rule counted that. There are two witnesses: drop in conntrack's statistics, near the "
                f"top of this screen, and “table full” in the kernel log. {k('explain')} says such things in words.",
                "what to do about it",
            ),
            Stop(
                "5 of 5: on a host of yours",
                "Raise nf_conntrack_max, shorten timeouts, or exempt what needs no tracking (-j CT --notrack). "
                f"{k('target')} goes to the host: {k('group')} shows what fills its table, {k('tunables')} the limit, "
                f"{k('explain')} what is lost. Here, {k('tales')} has more experiments, {k('help')} explains the panel "
                "you are in.",
                "end of the tour",
            ),
        )

    def compose(self) -> ComposeResult:
        stop = self._stops[0]
        with Vertical(classes="dialog") as box:
            box.border_title = stop.title
            yield Prose([stop.words])
            yield Buttons(self._buttons(stop.enter))

    def on_mount(self) -> None:
        self._program.dashboard.tour(True)

    def on_unmount(self) -> None:
        self._program.dashboard.tour(False)

    def _buttons(self, enter: str, key: str = "Enter") -> list[Button]:
        return [Button("next", key, enter), Button("", "Esc", "leave the tour")]

    def _show(self, trouble: str = "") -> None:
        stop = self._stops[self._at]
        self.query_one(Vertical).border_title = stop.title
        self.query_one(Prose).show([stop.words, *([(trouble, "error-text")] if trouble else [])])
        self.query_one(Buttons).show(self._buttons(stop.enter))

    # ------------------------------------------------------------ going on

    async def _fire(self) -> None:
        self._program.dashboard.burst = None
        await self._program.probe_actions.fire()
        await self._settled()

    async def _fill(self) -> None:
        session = self._program.session
        await session.restart()
        async with asyncio.timeout(WAIT_S):
            while session.state.phase is Phase.OPENING:
                await asyncio.sleep(0.02)
        await self._program.probe_actions.fill(FREE)
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

    def action_act(self, id_: str) -> None:
        """Something to read of the dashboard's, over the tour."""
        if not self._busy:
            self._program.act(id_)

    def action_burst(self) -> None:
        """The dashboard's key, where the caption offers the same."""
        if self._stops[self._at].act == self._fire:
            self.action_next()

    async def _next(self) -> None:
        if self._busy:
            return
        stop = self._stops[self._at]
        trouble = ""
        self._busy = True
        try:
            if stop.act is not None:
                self.query_one(Buttons).show(self._buttons(f"{stop.busy}…", "…"))
                await stop.act()
        except FaultError as e:
            trouble = f"{clean(e.fault.sentence)} {clean(e.fault.remedy)}".rstrip()
        except TimeoutError:
            trouble = "It took too long; Enter tries again."
        finally:
            self._busy = False
        if not trouble:
            self._at += 1
            if self._at == len(self._stops):
                self.dismiss(None)
                return
        self._show(trouble)

    def on_buttons_pressed(self, event: Buttons.Pressed) -> None:
        if event.button:
            self.action_next()
        else:
            self.dismiss(None)
