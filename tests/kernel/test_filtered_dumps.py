"""Dumps of what a filter shows, picked out by the kernel between whole dumps: what they may conclude and when they run."""

import json
import subprocess
import sys
from typing import Any

import pytest
from live import live

from cttui.client import targets
from cttui.kernel.ctfilter import kernel_part
from cttui.model.filters import parse, unparse

pytestmark = pytest.mark.kernel

PARTS = """
import asyncio, json, subprocess, sys
from cttui.kernel.ctfilter import kernel_part
from cttui.model.filters import parse
from cttui.probe.watch import Watch

def flow(verb, src, *more):
    subprocess.run(["conntrack", verb, "-s", src, "-d", "192.0.2.1", "-p", "udp", "--sport", "9", "--dport", "9", *more],
                   check=True, capture_output=True)

async def main():
    watch, said = Watch(), []
    async def after(text):
        await watch.dump(kernel_part(parse(text)) if text else None)
        columns = watch.store.columns
        said.append(sorted(columns["orig_src0"][watch.store.rows()].tolist()))
    for last in (1, 2, 3):
        flow("-I", f"10.0.0.{last}", "-t", "600")
    await after("")
    flow("-I", "10.0.0.4", "-t", "600"); flow("-I", "10.0.0.5", "-t", "600", "-m", "7")
    flow("-D", "10.0.0.1"); flow("-D", "10.0.0.2")
    await after("src=10.0.0.1"); await after("src=10.0.0.4")
    flow("-U", "10.0.0.3", "-m", "7")
    await after("mark=7")
    flow("-U", "10.0.0.3", "-m", "8")
    await after("mark=7")
    await after("")
    print(json.dumps(said))
asyncio.run(main())
"""


def test_a_part_says_nothing_about_the_rest(netns: Any) -> None:
    one, two, three, four, five = (0x0A000000 + n for n in range(1, 6))
    assert json.loads(netns.run(sys.executable, "-c", PARTS)) == [
        [one, two, three],
        [two, three],  # of those asked for one has ended; of the others nothing is known
        [two, three, four],
        [two, three, four, five],
        [two, three, four, five],  # another mark is no end
        [three, four, five],
    ]


@pytest.mark.parametrize(
    ("text", "scope", "lasting"),
    [
        ("src=10.0.0.1 bytes>1M", "src=10.0.0.1 family=ipv4", True),
        ("src=10.0.0.0/8", "family=ipv4", True),
        ("zone=7 mark=5", "zone=7 mark=5", False),
        ("unreplied tcp", "unreplied", False),
    ],
)
def test_what_the_kernel_judges(text: str, scope: str, lasting: bool) -> None:
    part = kernel_part(parse(text))
    assert part is not None and unparse(part.scope) == scope and part.lasting == lasting


def test_nothing_for_the_kernel() -> None:
    assert kernel_part(parse("tcp dport=443")) is None and kernel_part(None) is None


FILL = "from cttui.kernel.ctfill import Filler\nfor _ in Filler(zone=0, mark=0).fill(60_000): pass"


async def test_the_screen_says_who_filters(netns: Any) -> None:
    """A table worth it, a filter the kernel can do: it does. With events attached there is no need."""
    netns.run(sys.executable, "-c", FILL)
    create = [
        "conntrack",
        "-I",
        "-s",
        "203.0.113.7",
        "-d",
        "192.0.2.1",
        "-p",
        "udp",
        "--dport",
        "9",
        "-t",
        "600",
    ]
    netns.run(*create, "--sport", "1")
    async with live(targets.host(pid=netns.pid), (120, 40)) as d:
        await d.until("60,001")
        await d.press("slash", *"src=203.0.113.7", "enter")
        await d.until("filter in kernel")
        netns.run(*create, "--sport", "2")
        await d.until("203.0.113.7:2")
        assert "2 of 60,002" in d.text
        await d.press("f4")
        await d.until("picked out by the kernel")
        await d.press("escape", "slash", *[" "], *"port=1", "enter")
        await d.until("1 of 60,002")
        await d.press("escape", "slash", *"udp sport=1", "enter")
        await d.until("filter in cttui")
        await d.press("escape", "slash", *"src=203.0.113.7", "enter")
        await d.until("filter in kernel")
        await d.press("e")
        await d.until("filter in cttui")
        netns.run(
            "conntrack", "-D", "-s", "203.0.113.7", "-p", "udp", "--sport", "1", stdin=subprocess.DEVNULL
        )
        await d.until("1 of 60,001")
