"""Packets sent into the sandbox: bursts, packets held in a queue, and what an application sends; what each changed."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import msgspec

from cttui.kernel.nfqueue import Queue
from cttui.model.actions import Fire, Hold, Send
from cttui.model.jobs import Result
from cttui.probe import stimuli
from cttui.probe.injector import FireReport
from cttui.probe.jobs import Progress
from cttui.probe.traces import Share, share_of_burst

if TYPE_CHECKING:
    from cttui.probe.engine import Engine

_T = TypeVar("_T")
MOST_OF_SEND = Share(100)
"""Packets that are traced while an application sends: its own, what comes of them, and what is sent again."""
HOLD_S = 1.0
"""How long a burst may take to reach its queue."""


async def fire(engine: "Engine", burst: Fire, progress: Progress) -> Result:
    """Fire a burst; what it changed."""
    injector = engine.injector
    assert injector is not None
    await injector.start()

    def report(done: FireReport) -> None:
        progress.done = done.sent

    done, result = await _measured(
        engine, lambda: injector.fire(burst, report), burst.settle_s, _share(burst)
    )
    report(done)
    return msgspec.structs.replace(result, sent=done.sent, send_errors=done.errors, seconds=done.seconds)


async def hold(engine: "Engine", held_back: Hold, progress: Progress) -> Result:
    """Fire a burst whose packets a queue holds until they are all there; what it changed."""
    injector = engine.injector
    assert injector is not None
    await injector.start()
    with Queue(held_back.queue) as queue:

        async def send() -> tuple[FireReport, int]:
            done = await injector.fire(held_back.burst)
            deadline = time.monotonic() + HOLD_S
            while queue.collect() < done.sent and time.monotonic() < deadline:
                await asyncio.sleep(0.002)
            return done, queue.release()

        (done, held), result = await _measured(
            engine, send, held_back.burst.settle_s, _share(held_back.burst)
        )
    progress.done = done.sent
    return msgspec.structs.replace(
        result, sent=done.sent, send_errors=done.errors, seconds=done.seconds, numbers={"held": held}
    )


async def send(engine: "Engine", wanted: Send) -> Result:
    """Send through a socket, as an application does; what it saw and what that changed."""
    answer, result = await _measured(
        engine, lambda: stimuli.send(wanted), 0.1, MOST_OF_SEND, ("prerouting", "output")
    )
    return msgspec.structs.replace(result, sent=1, answer=answer)


async def _measured(
    engine: "Engine",
    send: Callable[[], Awaitable[_T]],
    settle_s: float,
    traced: Share,
    hooks: Sequence[str] = ("prerouting",),
) -> tuple[_T, Result]:
    """What `send` returned and what it changed; a share of its packets is traced."""
    armed = traced.packets > 0 and await _trace(engine, traced, hooks)
    try:
        before = await engine.measure.baseline()
        done = await send()
        result = await engine.measure.result(before, settle_s)
        if armed:
            engine.traces.finish(result)
    finally:
        if armed:
            engine.traces.disarm()
    return done, result


async def _trace(engine: "Engine", share: Share, hooks: Sequence[str]) -> bool:
    """Arm the trace of what is sent. Where the kernel has none (before Linux 5.12), that goes without."""
    try:
        await engine.traces.arm(share.packets, hooks=hooks, at_once=share.at_once)
    except OSError as error:
        engine.notice("warning", f"The burst was not traced: {error.strerror}.")
        return False
    return True


def _share(fire: Fire) -> Share:
    """How much of a burst is traced."""
    return share_of_burst(fire.count, fire.rate_pps) if fire.trace else Share(0)
