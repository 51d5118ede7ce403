"""Start of the dashboard: the probe is spawned first, then the widgets are imported while it gets going."""

import asyncio
import gc
import os
import signal
import sys
import threading

from cttui.client.options import Options
from cttui.client.recording import ReplayLink
from cttui.ui.session import Session

LEAVING_S = 10.0
"""How long a signalled program may take to leave in order."""


def run(options: Options) -> int:
    """Run the dashboard until it is left; the exit code.

    128 + n after signal n, as a shell would say. The terminal is restored and every probe has ended. Raises
    FaultError for a recording that can't be played.
    """
    if options.replay is not None:
        ReplayLink(options.replay)  # raises while there is still a shell to say it in
    # Read once, at Textual's import: no animation is worth its bytes over SSH.
    os.environ.setdefault("TEXTUAL_ANIMATIONS", "none")
    gc.disable()  # until the first frame is out: nothing made before it is garbage
    code = asyncio.run(_run(options))
    if len(threading.enumerate()) > 1:
        # Textual's input thread is no daemon, and on a terminal that is gone it neither reads nor ends: the
        # interpreter would wait for it for ever, at a third of a core. Everything of ours has ended by now.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


async def _run(options: Options) -> int:
    session = Session(options)
    session.open_early()
    await session.greeted()
    from cttui.ui.program import Program

    app = Program(options, session)
    ended: list[int] = []

    def end(number: int) -> None:
        ended.append(number)
        # Should leaving hang on a terminal that is gone: SIGALRM's default ends us, and with us every probe.
        signal.setitimer(signal.ITIMER_REAL, LEAVING_S)
        app.exit(return_code=128 + number)

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        loop.add_signal_handler(number, end, number)
    try:
        await app.run_async(mouse=options.mouse)
    finally:
        await session.close()
    if ended:
        return 128 + ended[0]
    return app.return_code or 0
