"""Scenes of the gallery: questions, choices and forms over the dashboard of a sandbox."""

import asyncio

from gallery_panels import LONG
from gallery_stage import Gallery, Scene

from cttui.client.filling import Question
from cttui.client.memory import SavedBurst
from cttui.lab.presets import PRESETS
from cttui.model.actions import Fill
from cttui.model.faults import FaultError
from cttui.ui.fields import Field


async def _choices(s: Gallery) -> None:
    await s.burst()
    for key, name in (("s", "sort"), ("c", "columns"), ("y", "copy-flow"), ("f2", "themes"), ("d", "delete"), ("D", "delete-all")):  # fmt: skip
        await s.go(key)
        await s.picture(name)
        await s.home()
    await s.go("2")
    while s.app.dashboard.hooks.selected is None:
        await s.press("down")
    await s.press("y")
    await s.picture("copy-rule")
    await s.home()
    await s.go("3", "y")
    await s.picture("copy-packet")
    await s.home()
    await s.go("J", "y")
    await s.picture("copy-journey")
    await s.home()
    await s.go("c", "down", "space", "K", "greater_than_sign")
    await s.picture("columns-changed")
    await s.home()
    await s.burst()  # the first one's flows have ended meanwhile
    await s.go("R")
    await s.picture("reset")
    await s.home()
    await s.burst()
    await s.go("3", "E")
    await s.picture("export")
    s.app.screen.query_one(Field).value = "/proc/nowhere/log.pcapng"
    await s.press("enter")
    await s.picture("export-error")
    await s.home()
    await s.go("ctrl+p")
    await asyncio.sleep(0.5)
    await s.picture("palette")
    await s.type("rate")
    await asyncio.sleep(1.0)
    await s.picture("palette-search")


async def _composer(s: Gallery) -> None:
    s.app.memory.bursts["our DNS"] = SavedBurst(PRESETS[4].notation, 250, 50)
    await s.go("B")
    await s.picture("composer")
    field = s.app.screen.query_one("#line", Field)
    field.value = 'IP(dst="192.0.2.1")/TCP(sport=(10000,10009),dprot=80)'
    await s.pilot.pause()
    await s.picture("composer-error")
    field.value = LONG
    await s.pilot.pause()
    await s.press("tab")
    await s.picture("composer-count")
    await s.press("tab", "tab", "tab", "down", "down", "down", "down")
    await s.picture("composer-presets")
    await s.press("enter", "tab", "down", "down", "down")
    await s.picture("composer-fields")
    await s.press("enter")
    await s.type("256.1.1.1")
    await s.picture("composer-field-error")
    await s.press("escape", "home", "enter")
    await s.picture("composer-network")
    await s.press("escape", "ctrl+s")
    await s.picture("composer-save")
    await s.press("escape")
    field.value = next(p.notation for p in PRESETS if p.name == "fragments")
    await s.pilot.pause()
    await s.picture("composer-long-line")
    field.value = 'IP(dst="192.0.2.1")/TCP()/DNS()/ARP()'
    await s.pilot.pause()
    await s.press("f5")
    await asyncio.sleep(1.0)
    await s.picture("composer-refused")


async def _settings(s: Gallery) -> None:
    await s.burst()
    await s.go("t")
    await s.picture("tunables")
    await s.press("enter")
    await s.type("999999999")
    await s.picture("tunables-fill-error")
    await s.press("escape", "end", "enter")
    await s.type("x")
    await s.picture("tunables-set-error")
    await s.home()
    try:
        await s.app.do(Fill(free=7, ask_above_bytes=1))
    except FaultError as e:
        fault = e.fault
        s.app.start(s.app.probe_actions.permission(fault))
        await s.readings(2)
        await s.picture("fill-question")
        await s.home()
        lower = Question(
            "Lower the host's limit?",
            (
                "4,194,304 entries take 1,611 MB of kernel memory, more than 10% of what is available (7,912 MB).",
                "nf_conntrack_max  4,194,304  →  262,144",
                "Affects every network namespace of this machine, containers too: one that holds more gets no new "
                "connections meanwhile. The host's own holds 12,345; others can't be seen from here.",
                "It goes back by itself when this program ends in any way.",
            ),
            "lower it",
            of_host=True,
        )
        s.app.start(s.app.probe_actions._answer(lower))
        await s.readings(2)
        await s.picture("fill-lower-limit")


async def _notices(s: Gallery) -> None:
    for key, name in (("f", "fillers"), ("e", "events"), ("a", "accounting"), ("l", "its-flow"), ("d", "nothing-to-delete"), ("x", "nothing-runs")):  # fmt: skip
        await s.go(key)
        await asyncio.sleep(0.3)
        await s.picture(f"notice-{name}", notice=True)
        await s.home()


SCENES = {
    "choices": Scene(_choices),
    "composer": Scene(_composer),
    "settings": Scene(_settings),
    "notices": Scene(_notices),
}
