"""Record real runs in the sandbox for the tests of the screens: tests/data/*.rec.

Needs root and, for the full table, a machine whose table nobody needs meanwhile. Each run drives the
dashboard itself, at the largest size, so that every panel's answers are in the recording.
"""

import asyncio
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from cttui.client import targets
from cttui.client.options import Options
from cttui.ui.program import Program
from cttui.ui.session import Phase, Session

DATA = Path(__file__).resolve().parents[1] / "tests" / "data"
SIZE = (200, 60)


async def record(name: str, keys: list[str], *, free: int | None = None, host: bool = False) -> None:
    """One run: open, press `keys`, wait until each burst is over, go on for two more readings."""
    target = targets.host() if host else targets.sandbox()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.rec"
        session = Session(Options(target=target, free=free, remember=False, record=path))
        app = Program(session.options, session)
        async with app.run_test(size=SIZE) as pilot:
            await until(lambda: session.state.phase is Phase.LIVE and app.dashboard.answer is not None)
            if free is not None:
                await until(lambda: settled(app))
            await asyncio.sleep(2.2)
            for key in keys:
                app.dashboard.burst = None
                await pilot.press(key)
                if key == "b":
                    await until(lambda: settled(app))
                await asyncio.sleep(1.2)
            await asyncio.sleep(2.2)
        await session.close()
        data = path.read_bytes()
    DATA.mkdir(exist_ok=True)
    (DATA / f"{name}.rec").write_bytes(data)
    print(f"{name}: {len(data):,} bytes")


def settled(app: Program) -> bool:
    """Whether the last burst or fill is over."""
    return app.dashboard.burst is not None and app.dashboard.burst.state != "running"


async def until(true: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait for a condition; raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.05)


RUNS = {
    "ten-syns": lambda: record("ten-syns", ["b"]),
    "full": lambda: record("full", ["b"], free=7),
    "journeys": lambda: record("journeys", ["b", "J"], free=7),
    "host": lambda: record("host", [], host=True),
}


async def main(names: list[str]) -> int:
    """Record the runs named, or all."""
    for name in names or RUNS:
        await RUNS[name]()
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
