"""Events are read in batches with rests between them, where the socket has room for what comes meanwhile."""

import json
import sys
from typing import Any

import pytest

pytestmark = pytest.mark.kernel

RESTS = """
import asyncio, json, subprocess, sys
from cttui.probe import watch as module
from cttui.probe.watch import Watch

module.REST_S, module.ROOMY = float(sys.argv[1]), int(sys.argv[2])

def flow(last):
    subprocess.run(["conntrack", "-I", "-s", f"10.0.0.{last}", "-d", "192.0.2.1", "-p", "udp", "--sport", "9",
                    "--dport", "9", "-t", "600"], check=True, capture_output=True)

async def main():
    watch, said = Watch(), []
    async def after(*flows):
        for last in flows:
            flow(last)
        for _ in range(5):
            await asyncio.sleep(0.01)
        said.append(len(watch.store))
    watch.attach_events()
    await after(1)
    await after(2, 3)
    watch.drain_events()
    said.append(len(watch.store))
    watch.detach_events()
    watch.attach_events()
    await after(4)
    watch.detach_events()
    await asyncio.sleep(0.01)
    print(json.dumps(said))

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("rest_s", "room", "seen"),
    [
        # the second and third wait until the rest is over, or until somebody wants to know
        pytest.param(60, 0, [1, 1, 3, 4], id="room"),
        pytest.param(0.001, 0, [1, 3, 3, 4], id="rest over"),
        pytest.param(60, 1 << 40, [1, 3, 3, 4], id="no room"),
    ],
)
def test_rests(netns: Any, rest_s: float, room: int, seen: list[int]) -> None:
    assert json.loads(netns.run(sys.executable, "-c", RESTS, str(rest_s), str(room))) == seen
