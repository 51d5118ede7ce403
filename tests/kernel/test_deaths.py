"""Nothing is left behind, however the program ends: {UI, probe, unshare, both} × {KILL, TERM, HUP}."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
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
from cttui.model.messages import Ask, Arm, Fire, FlowView, HookView
async def main():
    link = await Link.open(targets.sandbox())
    line = 'IP(src="198.51.100.2",dst="192.0.2.1")/TCP(sport=(10000,10009),dport=80,flags="S")'
    done = await link.do(Fire(templates=compose.compile(line), count=10))
    await link.finish(done.job)
    # a long burst: every child of the probe is at work when death comes
    done = await link.do(Fire(templates=compose.compile(line), count=100000, rate_pps=50))
    print("ready", link.welcome.netns, flush=True)
    while True:
        await link.ask(Ask(seq=link.next_seq(), flows=FlowView(count=20), hooks=HookView()))
        await asyncio.sleep(0.05)
asyncio.run(main())
"""


def descendants(pid: int) -> list[int]:
    """Every process below `pid`, itself included."""
    out, new = [], [pid]
    while new:
        out += new
        found = subprocess.run(
            ["pgrep", "-P", ",".join(map(str, new))], capture_output=True, text=True, check=False
        )
        new = [int(word) for word in found.stdout.split()]
    return out


def alive(pids: list[int]) -> list[str]:
    """Those of the processes that still run, with their command lines."""
    out = []
    for pid in pids:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            if state not in "ZX":
                out.append(
                    f"{pid}: " + Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
                )
        except OSError:
            pass
    return out


def namespaces() -> set[int]:
    """Inodes of the network namespaces that any process is in."""
    out = set()
    for entry in Path("/proc").glob("[0-9]*/ns/net"):
        try:
            out.add(entry.stat().st_ino)
        except OSError:
            pass
    return out


def marked(mark: str) -> set[int]:
    """Processes that began with this in their environment."""
    out = set()
    for entry in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in entry.read_bytes().split(b"\0"):
                out.add(int(entry.parent.name))
        except OSError:
            pass
    return out


def wait_until(condition: "object", seconds: float = 10.0) -> None:
    """Poll until `condition()` holds; the assertion that follows says what did not."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not condition():  # type: ignore[operator]
        time.sleep(0.02)


def host_state() -> dict[str, str]:
    """What a death must not change on the host."""
    sysctls = {
        str(p): p.read_text()
        for p in sorted(Path("/proc/sys/net/netfilter").glob("nf_conntrack_*"))
        if "count" not in p.name
    }
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    tables = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
    named = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    return {**sysctls, "links": links, "tables": tables, "netns": named}


@pytest.fixture(params=["root", "user"])
def session(request: pytest.FixtureRequest) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A client with a busy sandbox probe; its namespace's inode."""
    if os.geteuid() != 0:
        pytest.skip("needs root to look into every namespace")
    argv = [sys.executable] if request.param == "root" else python_for_nobody()
    process = subprocess.Popen(
        [*argv, "-c", CLIENT], stdout=subprocess.PIPE, text=True, cwd="/", start_new_session=True
    )
    assert process.stdout is not None
    try:
        words = process.stdout.readline().split()
        assert words and words[0] == "ready", f"the client said {words}"
        yield process, int(words[1])
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP], ids=lambda s: s.name)
@pytest.mark.parametrize("victim", ["ui", "probe", "unshare", "both"])
def test_nothing_is_left(
    session: tuple[subprocess.Popen[str], int], victim: str, number: signal.Signals
) -> None:
    process, netns = session
    before = host_state()
    everyone = descendants(process.pid)
    commands = {
        pid: Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode() for pid in everyone
    }
    unshare = [pid for pid, line in commands.items() if "unshare" in line.split(" ")[0]]
    probes = [pid for pid, line in commands.items() if "cttui probe " in line and pid not in unshare]
    assert unshare and probes and netns in namespaces()

    victims = {"ui": [process.pid], "probe": probes, "unshare": unshare, "both": [process.pid, *probes]}[
        victim
    ]
    for pid in victims:
        os.kill(pid, number)
    if victim == "unshare" and number == signal.SIGTERM:
        # unshare(1) ignores SIGTERM while its child runs: nothing dies, and the end comes another way.
        assert not set(everyone) - {int(line.split(":")[0]) for line in alive(everyone)}
        process.terminate()

    rest = [pid for pid in everyone if pid != process.pid]
    wait_until(lambda: not alive(rest))
    assert alive(rest) == []
    wait_until(lambda: netns not in namespaces())
    assert netns not in namespaces()
    # A client whose probe dies is told so by a FaultError, which ends this one; a signal ends it, too.
    assert process.wait(timeout=10) != 0
    assert host_state() == before


def test_a_hundred_sandboxes_leave_nothing() -> None:
    """Resets are new probes: a hundred in a row."""
    if os.geteuid() != 0:
        pytest.skip("needs root to look into every namespace")
    code = """
import asyncio
from cttui.client import targets
from cttui.client.link import Link
from cttui.model.messages import Ask
async def main():
    for _ in range(100):
        link = await Link.open(targets.sandbox())
        answer = await link.ask(Ask(seq=link.next_seq()))
        assert answer.table.count == 0
        print(link.welcome.netns)
        await link.close()
asyncio.run(main())
"""
    before = host_state()
    mark = f"CTTUI_TEST_MARK={uuid.uuid4()}"  # numbers of namespaces are given again: others may have ours by now
    done = subprocess.run(
        ["env", mark, sys.executable, "-c", code],
        check=True, timeout=170, cwd="/", stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert len(done.stdout.split()) == 100
    wait_until(lambda: not marked(mark))
    assert not marked(mark), "a namespace lives as long as a process is in it"
    assert host_state() == before


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
