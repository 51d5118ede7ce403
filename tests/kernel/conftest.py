"""Kernel tests: each in a network namespace of its own that is gone when its holder is."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from query_flows import create


@dataclass(frozen=True)
class Netns:
    """A namespace held by a sleeping process; `prefix` runs a command inside it."""

    pid: int
    prefix: tuple[str, ...]

    def run(self, *argv: str, check: bool = True, **kw: object) -> str:
        """Standard output of a command in the namespace."""
        done = subprocess.run([*self.prefix, *argv], capture_output=True, text=True, timeout=60, **kw)  # type: ignore[call-overload]
        assert not check or done.returncode == 0, f"{argv}: {done.stderr}"
        return str(done.stdout)

    def popen(self, *argv: str, **kw: object) -> "subprocess.Popen[bytes]":
        """A running command in the namespace."""
        return subprocess.Popen([*self.prefix, *argv], **kw)  # type: ignore[call-overload,no-any-return]


@pytest.fixture
def netns() -> Iterator[Netns]:
    """A fresh network namespace with lo up; everything in it dies with the fixture, also when a test fails."""
    if os.geteuid() != 0:
        pytest.skip("needs root to make a network namespace")
    # The holder reads its stdin: EOF ends it should this process die in any way.
    holder = subprocess.Popen(
        ["unshare", "--net", "--pid", "--fork", "--kill-child=KILL", "--mount-proc",
         "sh", "-c", "ip link set lo up && echo ready && exec cat"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert holder.stdout is not None and holder.stdin is not None
    assert holder.stdout.readline() == b"ready\n"
    child = subprocess.run(
        ["pgrep", "-P", str(holder.pid)], capture_output=True, text=True, check=True
    ).stdout.split()[0]
    try:
        yield Netns(
            int(child), ("nsenter", f"--net=/proc/{child}/ns/net", f"--pid=/proc/{child}/ns/pid", "--")
        )
    finally:
        holder.kill()
        holder.stdin.close()
        holder.stdout.close()
        holder.wait(timeout=10)


HOLD_TRAFFIC = """
import sys
from ct_traffic import traffic
with traffic(True):
    print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def busy(netns: Netns) -> Iterator[Netns]:
    """A namespace with flows of every protocol, by packets (helper, NAT, zones, marks, counted) and by hand."""
    holder = netns.popen(
        sys.executable, "-c", HOLD_TRAFFIC, env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert holder.stdout.readline() == b"ready\n"
        create(netns)
        yield netns
    finally:
        holder.stdin.close()
        holder.wait(timeout=20)
        holder.stdout.close()
