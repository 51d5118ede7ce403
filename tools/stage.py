"""The dashboard on a stage: a real run, driven by the keys a person would press, to take pictures of."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Self

import screen_svg
from textual.pilot import Pilot

from cttui.client import targets
from cttui.client.options import Options
from cttui.model.faults import FaultError
from cttui.ui.dialogs import Menu
from cttui.ui.program import Program
from cttui.ui.session import Phase, Session

SMALL, MIDDLE, LARGE = (80, 24), (120, 40), (200, 60)
SIZES = (SMALL, MIDDLE, LARGE)
TURN_S = 600.0
"""How long a full table waits for those of others."""


def words(size: tuple[int, int]) -> str:
    """(80, 24) → `80x24`."""
    return f"{size[0]}x{size[1]}"


class Stage:
    """One run of the dashboard, and the pictures taken of it."""

    def __init__(self, app: Program, pilot: Pilot[None], folder: Path) -> None:
        self.app, self.pilot = app, pilot
        self.folder = folder
        self.silent = False
        """The probe is not going to answer."""

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls, folder: Path, free: int | None = None, options: Options | None = None
    ) -> AsyncIterator[Self]:
        """The dashboard, by default on a new sandbox, filled if `free` says so, and settled."""
        usual = Options(target=targets.sandbox(), other_target=targets.host(), theme="dark", remember=False)
        session = Session(options or usual)
        app = Program(session.options, session)
        try:
            async with app.run_test(size=MIDDLE, notifications=True) as pilot:
                it = cls(app, pilot, folder)
                if options is None:
                    await it.live()
                    if free is not None:
                        await it.fill(free)
                    await it.readings(3)
                yield it
                app.exit()  # as a person leaves: no tick comes while the screens are taken down
        finally:
            await session.close()

    async def until(self, true: Callable[[], bool], seconds: float = 60.0) -> None:
        """Wait for a condition; raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while not true():
                await asyncio.sleep(0.05)

    async def live(self) -> None:
        """Wait for the first answer of a probe."""
        await self.until(
            lambda: self.app.session.state.phase is Phase.LIVE and self.app.dashboard.answer is not None
        )

    async def readings(self, count: int = 1) -> None:
        """Wait until so many further answers have been painted; where nobody answers, a moment."""
        if self.silent or self.app.session.state.phase not in (Phase.LIVE, Phase.FROZEN):
            await self.pilot.pause(0.3)
            return
        for _ in range(count):
            before = self.app.dashboard.answer
            self.app.session.poke()
            await self.until(lambda before=before: self.app.dashboard.answer is not before)  # type: ignore[misc]
        await self.pilot.pause()

    async def press(self, *keys: str) -> None:
        """Press keys and let their effect arrive."""
        for key in keys:
            await self.pilot.press(key)
            await self.pilot.pause()
        await self.readings(2)

    async def burst(self) -> None:
        """Fire the burst and wait for its result."""
        self.app.dashboard.burst = None
        await self.pilot.press("b")
        await self.settled()
        await self.readings(2)

    async def fill(self, free: int) -> None:
        """Leave `free` slots. Only one sandbox of a machine may be full: wait for our turn."""
        async with asyncio.timeout(TURN_S):
            while True:
                try:
                    await self.app.probe_actions.fill(free)
                    break
                except FaultError as e:
                    if e.fault.code != "fill-taken":
                        raise
                    await asyncio.sleep(0.5)
        await self.settled()

    async def settled(self) -> None:
        """Wait until the last burst or fill is over."""
        await self.until(lambda: (job := self.app.dashboard.burst) is not None and job.state != "running")

    async def choose(self, entry: str) -> None:
        """Put the cursor of the list on screen on an entry."""
        menu = self.app.screen.query_one(Menu)
        await self.pilot.press("home")
        while menu.current is not None and menu.current.id != entry:
            before = menu.cursor
            await self.pilot.press("down")
            if menu.cursor == before:
                raise LookupError(entry)

    async def resize(self, size: tuple[int, int]) -> None:
        """Another size of the terminal."""
        if self.app.size != size:
            await self.pilot.resize_terminal(*size)
            await self.readings(2)

    def drawn(self, title: str) -> str:
        """The screen as an SVG document."""
        return screen_svg.still(screen_svg.frame(self.app), f"cttui, {title}")
