"""What goes wrong on a real machine, each made honestly: a sentence, what to do, exit code 1 or 2, no traceback."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from sandboxed import NO_CONNTRACK, NO_FIREWALL_TOOLS, python_for_nobody, without_user_namespaces

pytestmark = [pytest.mark.kernel, pytest.mark.skipif(os.geteuid() != 0, reason="needs root to break things")]

CTTUI = [sys.executable, "-P", "-m", "cttui"]


def run(
    *argv: str, prefix: tuple[str, ...] = (), cttui: list[str] = CTTUI
) -> subprocess.CompletedProcess[str]:
    """A run without a terminal, from another folder."""
    done = subprocess.run(
        [*prefix, *cttui, *argv],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
        cwd="/",
    )
    assert "Traceback" not in done.stderr + done.stdout, done.stderr
    return done


def fault(done: subprocess.CompletedProcess[str], code: int) -> str:
    """The words of a fault: it is on stderr as a sentence and a remedy, stdout is empty."""
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    first, *rest = done.stderr.splitlines()
    assert first.startswith("cttui: ")
    assert all(line.startswith("       ") for line in rest)
    return " ".join(done.stderr.split())


@pytest.mark.parametrize("words", [("snapshot",), ("snapshot", "--json"), ("flows",)], ids=" ".join)
def test_kernel_without_conntrack(words: tuple[str, ...]) -> None:
    text = fault(run(*words, prefix=NO_CONNTRACK), 1)
    assert "no connection tracking" in text
    assert "modprobe nf_conntrack" in text


def test_no_firewall_tools() -> None:
    """Without them there are no rules: what needs rules says so, what doesn't goes on."""
    tale = run("tale", "ten-syns", prefix=NO_FIREWALL_TOOLS)
    assert tale.returncode == 1
    assert "iptables is not installed" in " ".join(tale.stdout.split())
    assert "Install iptables" in " ".join(tale.stdout.split())
    reading = json.loads(run("snapshot", "--sandbox", "--json", prefix=NO_FIREWALL_TOOLS).stdout)
    assert any("iptables is not installed" in sentence for sentence in reading["missing"])
    assert reading["max"]


@pytest.mark.parametrize(
    "words", [("snapshot", "--sandbox"), ("flows", "--sandbox"), ("tale", "ten-syns")], ids=" ".join
)
def test_user_namespaces_forbidden(words: tuple[str, ...]) -> None:
    before = Path("/proc/sys/user/max_user_namespaces").read_text()
    text = fault(run(*words, cttui=[*without_user_namespaces(python_for_nobody()), "-P", "-m", "cttui"]), 1)
    assert "does not let ordinary users make a sandbox" in text
    for cure in (
        "user.max_user_namespaces",
        "kernel.unprivileged_userns_clone",
        "kernel.apparmor_restrict_unprivileged_userns",
    ):
        assert cure in text
    assert Path("/proc/sys/user/max_user_namespaces").read_text() == before


def test_no_privilege_for_the_target() -> None:
    nobody = [*python_for_nobody(), "-P", "-m", "cttui"]
    text = fault(run("flows", cttui=nobody), 1)
    assert "CAP_NET_ADMIN" in text and "sudo" in text and "sandbox" in text
    text = fault(run("snapshot", "--pid", str(os.getpid()), cttui=nobody), 1)
    assert f"PID {os.getpid()}" in text and "Run as root: sudo " in text


def test_unknown_names() -> None:
    text = fault(run("flows", "--netns", "no-such-name"), 2)
    assert "no network namespace no-such-name" in text and "ip netns" in text
    text = fault(run("snapshot", "--netns", "/nowhere/ns"), 2)
    assert "/nowhere/ns" in text
    text = fault(run("snapshot", "--pid", "4194305"), 2)  # over PID_MAX_LIMIT
    assert "no process 4194305" in text
    for path in ("/etc/passwd", "/proc/self/ns/mnt"):
        text = fault(run("snapshot", "--netns", path), 2)
        assert "is no network namespace" in text


@pytest.mark.parametrize("words", [(), ("--sandbox",), ("--netns", "x"), ("tour",)], ids=" ".join)
def test_no_terminal(words: tuple[str, ...]) -> None:
    text = fault(run(*words), 2)
    assert "needs a terminal" in text and "cttui snapshot" in text


def test_a_probe_that_has_ended_says_its_last_words() -> None:
    """The probe is killed while a script waits: the machine's OOM killer does that."""
    script = """
import asyncio, os, signal, sys
from pathlib import Path
from cttui.cli import faults
from cttui.client import targets
from cttui.client.link import Link
from cttui.model.faults import FaultError
from cttui.model.messages import Ask
async def main():
    link = await Link.open(targets.sandbox() if sys.argv[1] == "sandbox" else targets.host())
    me = os.getpid()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = (stat.parent / "cmdline").read_bytes().split(b"\\0")
            status = os.readlink(stat.parent / "ns/net")
        except OSError:
            continue
        if b"probe" in words and str(link.welcome.netns) in status and b"python" in words[0]:
            if below(int(stat.parent.name), me):
                os.kill(int(stat.parent.name), signal.SIGKILL)
    try:
        while True:
            await link.ask(Ask(seq=link.next_seq()))
    except FaultError as e:
        sys.exit(faults.report(e.fault))
    finally:
        await link.close()
def below(pid, ancestor):
    while pid > 1:
        if pid == ancestor:
            return True
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return False
asyncio.run(main())
"""
    for target, how in (("host", "by signal 9"), ("sandbox", "by a signal")):
        done = run("-c", script, target, cttui=[sys.executable, "-P"])
        text = fault(done, 1)
        assert f"The probe ended {how}" in text or "The probe ended with exit code" in text
        assert "sigprocmask" not in text
        assert "Start it again" in text
