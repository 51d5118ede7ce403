"""The dashboard on a recording of a real run, driven by Pilot."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from cttui.client.options import Options
from cttui.client.targets import Target
from cttui.ui.cells import Cells
from cttui.ui.program import Program
from cttui.ui.session import Session

DATA = Path(__file__).resolve().parents[1] / "data"


class Driver:
    """A running program and its pilot."""

    def __init__(self, app: Program, pilot: Pilot[Any]) -> None:
        self.app = app
        self.pilot = pilot

    @property
    def text(self) -> str:
        """What is on screen, line by line."""
        width, height = self.app.size
        strips = self.app.screen._compositor.render_strips()
        lines = ["".join(segment.text for segment in strip) for strip in strips]
        return "\n".join(line[:width].rstrip() for line in lines[:height])

    async def press(self, *keys: str) -> None:
        """Keys, as a person presses them."""
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def until(self, true: Callable[[], bool] | str, *, asking: bool = True) -> None:
        """Wait until a text is on screen, or a condition holds; `asking` plays the recording on meanwhile."""
        condition = true if callable(true) else lambda: true in self.text
        try:
            async with asyncio.timeout(20):
                while not condition():
                    if asking:
                        self.app.session.poke()
                    await self.pilot.pause(0.01)
        except TimeoutError:
            pytest.fail(f"never: {true}\n{self.text}")


Play = Callable[..., Any]


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    """`async with play("ten-syns", size=(80, 24)) as d:`; `term` is TERM, other keywords go to Options."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name in ("LC_ALL", "LC_CTYPE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LANG", "C.UTF-8")

    @asynccontextmanager
    async def start(name: str, size: tuple[int, int] = (80, 24), **options: Any) -> AsyncIterator[Driver]:
        kind = "host" if name.startswith("host") else "sandbox"
        options.setdefault("remember", False)
        monkeypatch.setenv("TERM", options.pop("term", "xterm-256color"))
        chosen = Options(target=Target(kind, kind.upper()), replay=DATA / f"{name}.rec", **options)
        session = Session(chosen)
        app = Program(chosen, session)
        try:
            async with app.run_test(size=size, notifications=True) as pilot:
                yield Driver(app, pilot)
                app.exit()  # as a person leaves: what is heard from now on is for nobody
        finally:
            await session.close()

    return start


@pytest.fixture(autouse=True)
def _unicode_again() -> Iterator[None]:
    """A test of a locale without Unicode leaves nothing to those after it."""
    yield
    Cells.ascii = False
