"""Filling the sandbox's table until so many slots are left, and emptying it again."""

import asyncio
import time
from typing import TYPE_CHECKING

from cttui.kernel import sysctl
from cttui.model.actions import Fill
from cttui.model.faults import FaultError
from cttui.model.jobs import Result
from cttui.model.words import are, counted
from cttui.probe import headroom
from cttui.probe.jobs import Progress

if TYPE_CHECKING:
    from cttui.probe.engine import Engine

FILL_ROUNDS = 8
"""How often what came or went meanwhile is made up for."""


def check(engine: "Engine", wanted: Fill) -> None:
    """Raise FaultError unless the table may be filled like this; take the right to be the one full sandbox."""
    limit = int(sysctl.read("nf_conntrack_max"))
    if wanted.free < 0 or wanted.free > limit > 0:
        raise FaultError("fill", f"{wanted.free:,} free slots of {limit:,} is not possible.")
    entries = max(0, limit - wanted.free - int(sysctl.read("nf_conntrack_count")))
    assert engine.host_count is not None
    fault = headroom.check(engine.host_count, entries)
    if fault is not None:
        raise FaultError.of(fault)
    each = headroom.entry_bytes()
    if entries * each > wanted.ask_above_bytes and not wanted.confirmed:
        raise FaultError(
            "fill-confirm",
            f"Filling takes {entries:,} entries, {entries * each / 1e6:,.0f} MB of kernel memory ({each} B each).",
            "That much is filled only after a yes (cttui tale --yes).",
        )
    if (fault := engine.full_table.take()) is not None:
        raise FaultError.of(fault)


async def fill(engine: "Engine", wanted: Fill, progress: Progress) -> Result:
    """Create fillers until exactly `free` slots are left; a surplus of fillers is removed."""
    started = time.monotonic()
    limit = int(sysctl.read("nf_conntrack_max"))
    made = 0
    removed = 0
    progress.total = limit - wanted.free
    async with engine.watch.filling():
        for _ in range(FILL_ROUNDS):
            count = int(sysctl.read("nf_conntrack_count"))
            missing = limit - wanted.free - count
            if missing == 0:
                break
            if missing < 0:
                removed += await _empty(engine)
                continue
            progress.sentence = (
                f"filling the table until {counted(wanted.free, 'slot')} {are(wanted.free)} left"
            )
            for filled in engine.filler.fill(missing, assured=wanted.assured):
                progress.done = count + filled.done
                await asyncio.sleep(0)
            made += filled.done
        seconds = time.monotonic() - started
    count = int(sysctl.read("nf_conntrack_count"))
    if count != limit - wanted.free:
        raise FaultError(
            "fill",
            f"The table holds {count:,} entries instead of {limit - wanted.free:,}.",
            "Something else fills or empties it; try again.",
        )
    return Result(
        filled=made,
        deleted=removed,
        seconds=seconds,
        count_after=count,
        answer=f"{count:,} of {limit:,} slots taken, {wanted.free:,} free.",
    )


async def unfill(engine: "Engine") -> Result:
    """Remove the fillers; another sandbox may then be the full one."""
    async with engine.watch.filling():
        removed = await _empty(engine)
    engine.full_table.give()
    return Result(deleted=removed, answer=f"{counted(removed, 'filler')} removed.")


async def _empty(engine: "Engine") -> int:
    """Remove every filler; how many there were."""
    removed = 0
    for filled in engine.filler.unfill():
        removed = filled.done
        await asyncio.sleep(0)
    return removed
