"""The dashboard on a real probe: a sandbox, or a host that is a namespace of the test's own."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from textual.pilot import Pilot

from cttui.client.options import Options
from cttui.client.targets import Target
from cttui.ui.program import Program
from cttui.ui.session import Session


class Live:
    """A running program and its pilot; waits are for text on the screen, with a deadline."""

    def __init__(self, app: Program, pilot: Pilot[Any]) -> None:
        self.app = app
        self.pilot = pilot

    @property
    def text(self) -> str:
        """What is on screen, line by line."""
        strips = self.app.screen._compositor.render_strips()
        return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips)

    async def press(self, *keys: str) -> None:
        """Keys, as a person presses them."""
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def until(self, true: Callable[[], bool] | str, seconds: float = 30.0) -> None:
        """Wait until a text is on screen, or a condition holds."""
        condition = true if callable(true) else lambda: true in self.text
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    self.app.session.poke()
                    await self.pilot.pause(0.05)
        except TimeoutError:
            pytest.fail(f"never: {true}\n{self.text}")


@asynccontextmanager
async def live(target: Target, size: tuple[int, int] = (120, 40), **more: Any) -> AsyncIterator[Live]:
    """A program on `target` that has its first answer; `more` goes to its Options."""
    options = Options(target=target, **{"remember": False, **more})
    session = Session(options)
    app = Program(options, session)
    try:
        async with app.run_test(size=size, notifications=True) as pilot:
            run = Live(app, pilot)
            await run.until(lambda: app.dashboard.answer is not None)
            yield run
            app.exit()  # as a person leaves: what is heard from now on is for nobody
    finally:
        await session.close()
