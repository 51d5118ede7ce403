"""Scenes of the gallery: the list of tales, tales on their way, and the tour."""

import asyncio

from gallery_stage import Gallery, Scene
from stage import TURN_S

from cttui.ui.lab import TaleScreen
from cttui.ui.telling import BEFORE, HELD, OVER
from cttui.ui.tour import Tour


async def _open(s: Gallery, tale: str) -> TaleScreen:
    await s.go("T")
    await s.choose(tale)
    await s.press("enter")
    screen = s.app.screen
    assert isinstance(screen, TaleScreen)
    return screen


async def _told(s: Gallery, screen: TaleScreen) -> None:
    """Run it to its end: again where it was skipped because another sandbox is full."""
    async with asyncio.timeout(TURN_S):
        while screen.telling.outcome is None or screen.telling.outcome.ok is None:
            await s.pilot.press("r")
            await asyncio.sleep(1.0)
            await s.until(lambda: screen.telling.phase in (BEFORE, OVER))
    await asyncio.sleep(1.2)
    await s.readings(2)


async def _tales(s: Gallery) -> None:
    await s.go("T")
    await s.picture("tales")
    await s.press("end")
    await s.picture("tales-end")
    await s.press("escape")
    screen = await _open(s, "policy-counters")
    await s.picture("tale-before")
    await s.press("n")
    await s.until(lambda: screen.telling.phase == HELD)
    await s.readings(2)
    await s.picture("tale-held")
    await s.press("n")
    await s.until(lambda: screen.telling.phase == HELD and screen.telling.step == 2)
    await s.readings(2)
    await s.picture("tale-held-later")
    await s.press("r")
    await s.until(lambda: screen.telling.phase == OVER)
    await s.readings(2)
    await s.picture("tale-over")
    await s.press("f9")
    await s.picture("tale-presenter")
    await s.press("f9", "p")
    await s.picture("tale-played-on")
    screen = await _open(s, "ten-syns")
    await s.press("r")
    await s.picture("tale-fresh-sandbox")


async def _tale_full(s: Gallery) -> None:
    screen = await _open(s, "table-full")
    await _told(s, screen)
    await s.picture("tale-full-over")
    await s.press("end")
    await s.picture("tale-full-end")
    await s.press("f9")
    await s.picture("tale-full-presenter")


async def _tour(s: Gallery) -> None:
    screen = Tour(s.app)
    s.app.push_screen(screen)
    await s.readings(2)
    for stop in range(1, 6):
        await s.readings(2)
        await s.picture(f"tour-{stop}")
        if stop < 5:
            await s.pilot.press("enter")
            await s.until(lambda stop=stop: screen._at == stop, TURN_S)  # type: ignore[misc]


SCENES = {
    "tales": Scene(_tales),
    "tale-full": Scene(_tale_full, filling=True),
    "tour": Scene(_tour, filling=True),
}
