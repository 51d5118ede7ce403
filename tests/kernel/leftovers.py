"""What a program leaves behind when it ends.

A machine runs other tests and programs, too, and numbers of processes and namespaces are given again. So what is
looked for is marked in its environment, which children inherit, and the host whose state is compared is a network
namespace of the test's own. A sandbox's namespace needs no look: it lives as long as a process is in it.
"""

import subprocess
import time
import uuid
from collections.abc import Callable
from pathlib import Path


def fresh_mark() -> str:
    """A variable, NAME=value, that nothing on this machine has in its environment yet."""
    return f"CTTUI_TEST_MARK={uuid.uuid4()}"


def marked(mark: str) -> dict[int, str]:
    """PID → command line of the processes that began with this in their environment and still run."""
    out = {}
    for entry in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in entry.read_bytes().split(b"\0"):
                words = entry.with_name("cmdline").read_bytes()
                out[int(entry.parent.name)] = words.replace(b"\0", b" ").decode()
        except OSError:  # it has just ended
            pass
    return out


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
                line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
                out.append(f"{pid}: {line}")
        except OSError:
            pass
    return out


def inside(pid: int) -> list[str]:
    """The words that begin a command in a process's network namespace."""
    return ["nsenter", f"--net=/proc/{pid}/ns/net", "--"]


def host_state(pid: int) -> str:
    """Settings of conntrack, devices and tables in a process's network namespace: what an end must not change."""
    script = "ip -o link; nft list ruleset; grep -rs . /proc/sys/net/netfilter --exclude=nf_conntrack_count"
    done = subprocess.run([*inside(pid), "sh", "-c", script], capture_output=True, text=True, check=True)
    assert "lo:" in done.stdout and "nf_conntrack_max:" in done.stdout
    return done.stdout


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Poll until `condition()` holds; the assertion that follows says what did not."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not condition():
        time.sleep(0.02)
