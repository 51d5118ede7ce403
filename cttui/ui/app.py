"""Start of the dashboard: the probe is spawned first, then the widgets are imported while it gets going."""

import asyncio
import gc
import os
import signal

from cttui.client.options import Options
from cttui.client.recording import ReplayLink
from cttui.ui.session import Session

LEAVING_S = 5.0
"""How long a signalled program may take to leave in order."""
ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


def run(options: Options) -> int:
    """Run the dashboard until it is left; the exit code.

    128 + n after signal n, as a shell would say. The terminal is restored and every probe has ended. Raises
    FaultError for a recording that can't be played.
    """
    if options.replay is not None:
        ReplayLink(options.replay)  # raises while there is still a shell to say it in
    # Read once, at Textual's import: no animation is worth its bytes over SSH.
    os.environ.setdefault("TEXTUAL_ANIMATIONS", "none")
    # A key waits for the next frame: at Textual's 60 a second up to 17 ms. Nothing is sent that did not change.
    os.environ.setdefault("TEXTUAL_FPS", "120")
    # Until there is a screen to put away, a signal ends us at once, as it does by default, and Ctrl-C like the
    # others: asyncio can wait for ever for a probe whose start was interrupted.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _trust_the_size()
    gc.disable()  # until the first frame is out: nothing made before it is garbage
    return asyncio.run(_run(options))


def _trust_the_size() -> None:
    """Forget exported COLUMNS and LINES where the terminal itself knows its size.

    They are of the moment and the window in which a shell exported them; every library here would take them
    for the size now. A serial line knows no size: there they stay.
    """
    size = os.get_terminal_size()
    if size.columns and size.lines:
        for name in ("COLUMNS", "LINES"):
            os.environ.pop(name, None)


async def _run(options: Options) -> int:
    session = Session(options)
    session.open_early()
    await session.greeted()
    from cttui.ui.program import Program

    app = Program(options, session)
    loop = asyncio.get_running_loop()
    ended: list[int] = []

    def end(number: int, _frame: object) -> None:
        # Python's handler, not the loop's: the loop may be waiting for a terminal that reads nothing any more.
        # SIGALRM's default then ends us, and with us every probe.
        signal.setitimer(signal.ITIMER_REAL, LEAVING_S)
        ended.append(number)
        loop.call_soon_threadsafe(lambda: app.exit(return_code=128 + number))

    for number in ENDING:
        signal.signal(number, end)
    try:
        await app.run_async(mouse=options.mouse)
    finally:
        await session.close()
        for number in ENDING:
            signal.signal(number, signal.SIG_DFL)
    if ended:
        return 128 + ended[0]
    return app.return_code or 0
