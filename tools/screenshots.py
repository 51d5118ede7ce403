"""Pictures for README and docs, made from real runs in the sandbox: screenshots/*.svg, *.png, *.cast.

    python tools/screenshots.py                 # all of them
    python tools/screenshots.py full tale       # scenes by name

Each scene is the dashboard itself, driven by the keys a person would press, with a real probe behind it.
SVG → PNG by rsvg-convert (Debian: librsvg2-bin) with DejaVu Sans Mono. Scenes with a full table hold one
for some seconds.
"""

import argparse
import asyncio
import contextlib
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import screen_svg
from screen_cast import record
from stage import LARGE, MIDDLE, SMALL, TURN_S, Stage, words

from cttui.ui.fields import Field
from cttui.ui.lab import TaleScreen
from cttui.ui.telling import BEFORE, OVER

FOLDER = Path(__file__).resolve().parents[1] / "screenshots"
FILM_SIZE = (100, 30)
FILM = "ten-syns-moving"
THEMES = ("light", "high-contrast", "colour-blind", "ansi16", "paper")


class Shots(Stage):
    """A run whose pictures are named for what they show, and for their size."""

    async def picture(self, name: str, *sizes: tuple[int, int]) -> None:
        """Take the screen at these sizes. A notice goes by itself after seconds; here at once."""
        for size in sizes:
            await self.resize(size)
            self.app.clear_notifications()
            await self.pilot.pause()
            self.write(f"{name}-{words(size)}.svg", self.drawn(f"{name}, {words(size)}"))

    def write(self, name: str, text: str) -> None:
        """A file in the folder of the pictures."""
        (self.folder / name).write_text(text, "utf-8")

    async def themes(self, name: str, size: tuple[int, int]) -> None:
        """The screen in all other themes."""
        usual = self.app.theme
        for theme in THEMES:
            self.app.theme = theme
            await self.pilot.pause()
            await self.picture(f"{name}-{theme}", size)
        self.app.theme = usual


async def _film(s: Shots) -> None:
    """The two bursts as one moving picture: what changes is drawn from the screens themselves."""
    s.app.dashboard.burst = None
    await s.pilot.resize_terminal(*FILM_SIZE)
    await s.readings(2)
    frames = [(screen_svg.frame(s.app), 2.0)]

    async def shot(seconds: float) -> None:
        s.app.clear_notifications()
        await s.pilot.pause()
        frames.append((screen_svg.frame(s.app), seconds))

    await s.burst()
    await shot(3.0)
    # In this sandbox the same SYNs would meet their entries: nothing new, nothing lost.
    await s.press("R")
    await shot(1.2)
    await s.pilot.press("y")
    await s.until(lambda: (a := s.app.dashboard.answer) is not None and a.table.count == 0)
    await s.readings(2)
    await shot(1.5)
    await s.press("t")
    await shot(1.2)
    await s.press("enter")
    await shot(1.2)
    for attempt in range(100):
        await s.pilot.press(*(("enter",) if attempt == 0 else ("enter", "enter")))
        with contextlib.suppress(TimeoutError):
            await s.until(lambda: (a := s.app.dashboard.answer) is not None and a.table.filler > 0, 3.0)
            break
    await s.readings(2)
    await shot(1.5)
    await s.press("escape")
    await shot(1.0)
    await s.burst()
    await s.until(lambda: "table full" in s.app.dashboard.hooks.as_text())
    await shot(4.0)
    await s.press("f4")
    await shot(5.0)
    s.write(
        f"{FILM}.svg", screen_svg.moving(frames, "cttui: ten SYNs into an empty table, then into seven slots")
    )


@dataclass(frozen=True, slots=True)
class Scene:
    """A run: whether its table is filled, and what is done and pictured."""

    play: Callable[[Shots], Awaitable[None]]
    free: int | None = None


async def _first(s: Shots) -> None:
    await s.picture("first", SMALL, MIDDLE, LARGE)
    await s.press("question_mark")
    await s.picture("help", MIDDLE)


async def _syns(s: Shots) -> None:
    await s.burst()
    await s.picture("ten-syns", SMALL, MIDDLE, LARGE)
    await s.press("enter")
    await s.picture("detail", MIDDLE)
    await s.press("escape", "escape", "3", "3")
    await s.picture("packets", MIDDLE)
    await s.press("enter")
    await s.picture("packet", MIDDLE)
    await s.press("escape", "z", "2", "2")
    await s.picture("hooks", MIDDLE)
    await s.press("z", "slash", *"sport<10003")
    await s.picture("filter", SMALL)
    await s.press("enter", "escape", "B")
    await s.picture("composer", MIDDLE)


async def _full(s: Shots) -> None:
    await s.burst()
    await s.until(lambda: "table full" in s.app.dashboard.hooks.as_text())
    await s.picture("full", SMALL, MIDDLE, LARGE)
    await s.themes("full", MIDDLE)
    await s.press("f4")
    await s.picture("explain", MIDDLE)
    await s.press("escape", "3", "3")
    await s.picture("lost-packets", MIDDLE)
    await s.press("z", "J", "end")
    await s.picture("journeys", MIDDLE)
    await s.press("escape", "t")
    await s.picture("tunables", MIDDLE)
    await s.press("escape", "f9")
    await s.picture("presenter", MIDDLE)


async def _groups(s: Shots) -> None:
    await s.press("B")
    for field, text in (("line", MIXED), ("count", "3000"), ("rate", "0"), ("seed", "7")):
        s.app.screen.query_one(f"#{field}", Field).value = text
    await s.pilot.pause()
    s.app.dashboard.burst = None
    await s.pilot.press("f5")
    await s.settled()
    await s.press("escape", "g")
    await s.choose("src")
    await s.press("enter", "4")
    await s.picture("groups", MIDDLE)
    await s.press("4")
    await s.pilot.resize_terminal(*SMALL)
    await s.press("5")
    await s.picture("statistics", SMALL)


MIXED = 'IP(src=RandIP("198.51.100.0/28"),dst="192.0.2.1")/UDP(sport=RandNum(20000,60000),dport=[53,123,443])'


async def _tale(s: Shots) -> None:
    await s.press("T")
    await s.picture("tales", MIDDLE)
    await s.choose("table-full")
    await s.press("enter")
    screen = s.app.screen
    assert isinstance(screen, TaleScreen)
    async with asyncio.timeout(TURN_S):
        # Skipped while another sandbox is full: again until it is our turn.
        while screen.telling.outcome is None or screen.telling.outcome.ok is None:
            await s.pilot.press("r")
            await asyncio.sleep(1.0)
            await s.until(lambda: screen.telling.phase in (BEFORE, OVER))
    s.app.session.poke()
    await asyncio.sleep(1.2)
    await s.picture("tale", MIDDLE)


SCENES: dict[str, Scene] = {
    "first": Scene(_first),
    "syns": Scene(_syns),
    "groups": Scene(_groups),
    "full": Scene(_full, free=7),
    "tale": Scene(_tale),
    "film": Scene(_film),
}


async def play(names: list[str], folder: Path) -> None:
    """Play scenes, one after another, each in a sandbox of its own."""
    for name in names:
        async with Shots.open(folder, SCENES[name].free) as it:
            await SCENES[name].play(it)
        print(name, flush=True)


def main(argv: list[str]) -> int:
    """Take the pictures named, or all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("scenes", nargs="*", metavar="SCENE", help=", ".join([*SCENES, "cast"]))
    parser.add_argument("--to", type=Path, default=FOLDER, metavar="FOLDER")
    args = parser.parse_args(argv)
    if shutil.which("rsvg-convert") is None:
        print("rsvg-convert is missing: apt-get install librsvg2-bin fonts-dejavu-core", file=sys.stderr)
        return 1
    args.to.mkdir(parents=True, exist_ok=True)
    before = {path: path.stat().st_mtime_ns for path in args.to.glob("*.svg")}
    wanted = args.scenes or [*SCENES, "cast"]
    asyncio.run(play([name for name in wanted if name != "cast"], args.to))
    if "cast" in wanted:
        record(args.to / "ten-syns.cast")
    for path in sorted(args.to.glob("*.svg")):
        if before.get(path) != path.stat().st_mtime_ns and path.stem != FILM:
            subprocess.run(["rsvg-convert", "--output", path.with_suffix(".png"), path], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
