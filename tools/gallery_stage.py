"""What a scene of the gallery has: a run of the dashboard, pictured in every theme at every size."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from stage import SIZES, Stage, words
from textual.pilot import Pilot
from textual.screen import SystemModalScreen

from cttui.client.options import Options
from cttui.ui.filter_bar import FilterBar
from cttui.ui.program import Program


class Gallery(Stage):
    """A run whose pictures go to THEME/SIZE/NAME.svg."""

    def __init__(self, app: Program, pilot: Pilot[None], folder: Path) -> None:
        super().__init__(app, pilot, folder)
        self.wanted_themes: Sequence[str] = ()
        self.wanted_sizes: Sequence[str] = ()
        self.taken: dict[str, type] = {}
        """Picture → class of the screen it shows."""
        self.files: list[Path] = []
        # A notice goes by itself after seconds; here it stays until its pictures are taken.
        app.notify = lambda *said, **how: Program.notify(app, *said, **(how | {"timeout": 600}))  # type: ignore[method-assign]

    async def picture(
        self, name: str, *, notice: bool = False, sizes: Sequence[tuple[int, int]] = SIZES
    ) -> None:
        """Take the screen; `notice`: with the one that stands over it."""
        usual = self.app.theme
        self.taken[name] = type(self.app.screen)
        if not notice:
            self.app.clear_notifications()
        for size in sizes:
            if words(size) not in self.wanted_sizes and size in SIZES:
                continue
            await self.resize(size)
            for theme in self.wanted_themes:
                self.app.theme = theme
                await self._painted()
                if isinstance(self.app.screen, SystemModalScreen):  # Textual's own palette keeps its colours
                    self.app.stylesheet.update(self.app.screen)
                    await self._painted()
                path = self.folder / theme / words(size) / f"{name}.svg"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(self.drawn(f"{name}, {theme}, {words(size)}"), "utf-8")
                self.files.append(path)
            self.app.theme = usual
            await self._painted()

    async def _painted(self) -> None:
        """Wait until the screen has been painted; Pilot.pause would wait for the rest of the machine too."""
        for _ in range(2):
            done = asyncio.Event()
            self.app.screen.call_after_refresh(done.set)
            await done.wait()

    async def type(self, text: str) -> None:
        """Type a text into the field in focus, over what is selected there."""
        await self.press(*text)

    async def go(self, *keys: str) -> None:
        """Press keys at the middle size, where every panel is on screen."""
        await self.resize(SIZES[1])
        await self.press(*keys)

    async def home(self) -> None:
        """Back to the dashboard as it begins: all panels, the flows in focus, no filter."""
        while self.app.screen is not self.app.dashboard or self.app.dashboard.query_one(FilterBar).has_class(
            "open"
        ):
            await self.press("escape")
        await self.resize(SIZES[1])
        board = self.app.dashboard
        if board.zoomed:
            board.zoom()
        self.app.view.filter = ""
        self.app.view.trail.clear()
        board.packets.narrow(filter_text="", flow_key=0)
        board.go_to("flows")
        if board.zoomed:
            board.zoom()
        await self.readings(2)


@contextlib.contextmanager
def _as_usual() -> Iterator[Options | None]:
    yield None


@dataclass(frozen=True, slots=True)
class Scene:
    """A run: what is done and pictured, in which surroundings; `fills`: a table is full meanwhile."""

    play: Callable[[Gallery], Awaitable[None]]
    free: int | None = None
    surroundings: Callable[[], contextlib.AbstractContextManager[Options | None]] = _as_usual
    filling: bool = False

    @property
    def fills(self) -> bool:
        """Whether a table is full meanwhile: only one of a machine may be."""
        return self.free is not None or self.filling
