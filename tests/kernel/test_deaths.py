"""Nothing is left behind, however the program ends: {UI, probe, unshare, both} × {KILL, TERM, HUP}."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from leftovers import fresh_mark, host_state, inside, marked, wait_until
from sandboxed import python_for_nobody

from cttui.client import targets
from cttui.model import framing
from cttui.model.messages import PROTOCOL, Ask, Hello

pytestmark = pytest.mark.kernel

CLIENT = """
import asyncio, sys
from cttui.client import targets
from cttui.client.link import Link
from cttui.lab import compose
from cttui.model.actions import Arm, Fire
from cttui.model.messages import Ask
from cttui.model.views import FlowView, HookView
async def main():
    link = await Link.open(targets.sandbox())
    line = 'IP(src="198.51.100.2",dst="192.0.2.1")/TCP(sport=(10000,10009),dport=80,flags="S")'
    done = await link.do(Fire(templates=compose.compile(line), count=10))
    await link.finish(done.job)
    # a long burst: every child of the probe is at work when death comes
    done = await link.do(Fire(templates=compose.compile(line), count=100000, rate_pps=50))
    print("ready", flush=True)
    while True:
        await link.ask(Ask(seq=link.next_seq(), flows=FlowView(count=20), hooks=HookView()))
        await asyncio.sleep(0.05)
asyncio.run(main())
"""


@dataclass(frozen=True)
class Session:
    """A client with a busy sandbox probe."""

    client: "subprocess.Popen[str]"
    mark: str
    """In the environment of all its processes."""
    host: int
    """PID of a process in the namespace that is its host."""


@pytest.fixture(params=["root", "user"])
def session(request: pytest.FixtureRequest, netns: Any) -> Iterator[Session]:
    argv = [sys.executable] if request.param == "root" else python_for_nobody()
    netns.run(
        "iptables", "-t", "raw", "-A", "PREROUTING", "-j", "CT"
    )  # rules of its own, conntrack and its settings
    mark = fresh_mark()
    client = subprocess.Popen(
        [*inside(netns.pid), "env", mark, *argv, "-c", CLIENT],
        stdout=subprocess.PIPE, text=True, cwd="/", start_new_session=True,
    )  # fmt: skip
    assert client.stdout is not None
    try:
        said = client.stdout.readline()
        assert said == "ready\n", f"the client said {said}"
        yield Session(client, mark, netns.pid)
    finally:
        client.kill()
        client.wait()
        client.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP], ids=lambda s: s.name)
@pytest.mark.parametrize("victim", ["ui", "probe", "unshare", "both"])
def test_nothing_is_left(session: Session, victim: str, number: signal.Signals) -> None:
    client = session.client
    before = host_state(session.host)
    everyone = marked(session.mark)
    unshare = [pid for pid, line in everyone.items() if "unshare" in line.split(" ")[0]]
    probes = [pid for pid, line in everyone.items() if "cttui probe " in line and pid not in unshare]
    assert unshare and probes and client.pid in everyone

    victims = {"ui": [client.pid], "probe": probes, "unshare": unshare, "both": [client.pid, *probes]}
    for pid in victims[victim]:
        os.kill(pid, number)
    if victim == "unshare" and number == signal.SIGTERM:
        # unshare(1) ignores SIGTERM while its child runs: nothing dies, and the end comes another way.
        assert {client.pid, *unshare, *probes} <= marked(session.mark).keys()
        client.terminate()

    # A client whose probe dies is told so by a FaultError, which ends this one; a signal ends it, too.
    assert client.wait(timeout=30) != 0
    wait_until(lambda: not marked(session.mark))
    assert marked(session.mark) == {}
    assert host_state(session.host) == before


def test_sandboxes_in_a_row_leave_nothing(netns: Any) -> None:
    """Resets are new probes."""
    code = """
import asyncio
from cttui.client import targets
from cttui.client.link import Link
from cttui.model.messages import Ask
async def main():
    for _ in range(8):
        link = await Link.open(targets.sandbox())
        answer = await link.ask(Ask(seq=link.next_seq()))
        assert answer.table.count == 0
        print(link.welcome.netns)
        await link.close()
asyncio.run(main())
"""
    netns.run("iptables", "-t", "raw", "-A", "PREROUTING", "-j", "CT")
    before = host_state(netns.pid)
    mark = fresh_mark()
    done = subprocess.run(
        [*inside(netns.pid), "env", mark, sys.executable, "-c", code],
        check=True, timeout=170, cwd="/", stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert len(done.stdout.split()) == 8
    wait_until(lambda: not marked(mark))
    assert marked(mark) == {}
    assert host_state(netns.pid) == before


@pytest.mark.parametrize("after", ["hello", "welcome", "answer"])
def test_a_probe_ends_with_its_client_however_early(after: str) -> None:
    """Also while it starts children: asyncio would wait for ever for one cancelled between fork and pipes."""
    probes = []
    for _ in range(4):
        probe = subprocess.Popen(
            targets.sandbox().argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert probe.stdin is not None and probe.stdout is not None
        os.write(probe.stdin.fileno(), framing.encode(Hello(PROTOCOL, "test")))
        if after != "hello":
            assert os.read(probe.stdout.fileno(), 1 << 16)
        if after == "answer":
            os.write(probe.stdin.fileno(), framing.encode(Ask(seq=1)))
            assert os.read(probe.stdout.fileno(), 1 << 16)
        probe.stdin.close()
        probes.append(probe)
    for probe in probes:
        try:
            assert probe.wait(timeout=20) == 0
        finally:
            probe.kill()
            probe.wait()
            probe.stdout.close()
