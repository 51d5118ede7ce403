"""Events are read in batches with rests between them, where the socket has room for what comes meanwhile."""

import json
import sys
from typing import Any

import pytest

from cttui.probe.watch import FEW_REST_S, REST_S, rest_s

RESTS = """
import asyncio, json, subprocess, sys
from cttui.probe import watch as module
from cttui.probe.watch import Watch

module.FEW_REST_S, module.FLOOD_PER_S = float(sys.argv[1]), float(sys.argv[2])

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


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("rest_s", "flood_per_s", "seen"),
    [
        # the second and third wait until the rest is over, or until somebody wants to know
        pytest.param(60, 1, [1, 1, 3, 4], id="room"),
        pytest.param(0.002, 1, [1, 3, 3, 4], id="rest over"),
        pytest.param(60, 1e12, [1, 3, 3, 4], id="no room"),
    ],
)
def test_rests(netns: Any, rest_s: float, flood_per_s: float, seen: list[int]) -> None:
    assert json.loads(netns.run(sys.executable, "-c", RESTS, str(rest_s), str(flood_per_s))) == seen


def test_a_rest_fits_the_buffer() -> None:
    large, user, small = 128 << 20, 8 << 20, 425_984
    assert rest_s(512, large) == 0
    assert rest_s(511, large) == REST_S and rest_s(1, large) == FEW_REST_S
    assert 0 < rest_s(1, user) == rest_s(511, user) < REST_S
    assert rest_s(1, small) == 0
