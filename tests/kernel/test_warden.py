"""Host settings go back, however the probe dies. Tried on settings of a namespace of the test's own."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import sandboxed

from cttui.client.targets import HOST_COUNT
from cttui.model.faults import Fault
from cttui.probe.headroom import FullTable, headroom, reasonable_limit

NAME = "nf_conntrack_tcp_loose"
FILE = f"/proc/sys/net/netfilter/{NAME}"

# the part of the probe: writes with the warden's knowledge, says so, and waits for the test
PROBE = """
import sys, time
from cttui.kernel import sysctl
from cttui.probe.warden import Warden
warden = Warden()
def change(value, keep_s=60):
    old = sysctl.read("nf_conntrack_tcp_loose")
    warden.guard("nf_conntrack_tcp_loose", old, value, keep_s)
    sysctl.write("nf_conntrack_tcp_loose", value)
"""


def _probe(netns: object, code: str) -> "subprocess.Popen[bytes]":
    """A process in the namespace that runs `code` and then waits on stdin."""
    process: subprocess.Popen[bytes] = netns.popen(  # type: ignore[attr-defined]
        "env", f"PYTHONPATH={sandboxed.REPOSITORY}", sys.executable, "-c",
        PROBE + code + "\nimport os; print(os.getpid(), warden.pid, flush=True)\nsys.stdin.read()",
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    return process


def _pids(process: "subprocess.Popen[bytes]") -> tuple[int, int]:
    """Of the probe and its warden, in the namespace, once the change is made."""
    assert process.stdout is not None
    probe, warden = process.stdout.readline().split()
    return int(probe), int(warden)


def _value(netns: object) -> str:
    return netns.run("cat", FILE).strip()  # type: ignore[attr-defined,no-any-return]


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Let the probe go, and wait for it."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.close()
    process.stdout.close()
    process.wait(timeout=10)


def _gone(netns: object, pid: int) -> None:
    """Wait for the warden's end (an event, not a delay: pidfd)."""
    inside = f"import os, select, sys\ntry: fd = os.pidfd_open({pid})\nexcept ProcessLookupError: sys.exit()\nsys.exit(not select.select([fd], [], [], 10)[0])"
    netns.run("env", f"PYTHONPATH={sandboxed.REPOSITORY}", sys.executable, "-c", inside)  # type: ignore[attr-defined]


@pytest.fixture
def tracked(netns: object) -> object:
    """A namespace with conntrack's settings (they exist once the module is loaded) at a known value."""
    netns.run("sh", "-c", f"iptables -t raw -A PREROUTING -j CT; echo 1 >{FILE}")  # type: ignore[attr-defined]
    return netns


@pytest.mark.kernel
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, None], ids=str)
def test_goes_back_when_the_probe_dies(tracked: object, how: signal.Signals | None) -> None:
    process = _probe(tracked, "change('0')")
    probe, warden = _pids(process)
    assert _value(tracked) == "0"
    if how is not None:
        tracked.run("/bin/kill", f"-{how.value}", str(probe))  # type: ignore[attr-defined]
    _end(process)
    _gone(tracked, warden)
    assert _value(tracked) == "1"


@pytest.mark.kernel
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP], ids=str)
def test_goes_back_when_the_warden_is_told_to_end(tracked: object, how: signal.Signals) -> None:
    process = _probe(tracked, "change('0')")
    _, warden = _pids(process)
    tracked.run("/bin/kill", f"-{how.value}", str(warden))  # type: ignore[attr-defined]
    _gone(tracked, warden)
    assert _value(tracked) == "1"
    _end(process)


@pytest.mark.kernel
def test_interrupt_does_not_disturb_it(tracked: object) -> None:
    process = _probe(tracked, "change('0')")
    _, warden = _pids(process)
    tracked.run("/bin/kill", "-INT", str(warden))  # type: ignore[attr-defined]
    assert _value(tracked) == "0"
    _end(process)
    _gone(tracked, warden)
    assert _value(tracked) == "1"


@pytest.mark.kernel
def test_kept_stays(tracked: object) -> None:
    process = _probe(
        tracked, "change('0')\nassert warden.keep('nf_conntrack_tcp_loose')\nassert not warden.pending()"
    )
    _, warden = _pids(process)
    _end(process)
    _gone(tracked, warden)
    assert _value(tracked) == "0"


@pytest.mark.kernel
def test_deadline_undo_and_foreign_writes(tracked: object) -> None:
    """All within one life: the news says what happened by itself, and someone else's value is left alone."""
    code = """
import select
def wait_for_news():
    while not (news := warden.news()):
        select.select([warden._process.stdout], [], [], 10)
    return news
name = "nf_conntrack_tcp_loose"
change("0", keep_s=0.05)
assert warden.pending()[name][0] == "1"
assert wait_for_news() == [(name, "reverted")] and sysctl.read(name) == "1" and not warden.pending()
change("0"); assert warden.undo(name) and sysctl.read(name) == "1"
assert not warden.undo(name)
# two changes: the first old value is the one that comes back
name = "nf_conntrack_udp_timeout"
first = sysctl.read(name)
for value in ("41", "42"):
    warden.guard(name, sysctl.read(name), value, 60)
    sysctl.write(name, value)
assert warden.pending()[name][0] == first
assert warden.undo(name) and sysctl.read(name) == first
# announced, never written
warden.guard(name, first, "43", 60)
assert warden.undo(name) and sysctl.read(name) == first
# someone else wrote meanwhile
warden.guard(name, first, "44", 0.05)
sysctl.write(name, "45")
assert wait_for_news() == [(name, "left")] and sysctl.read(name) == "45"
"""
    process = _probe(tracked, code)
    _pids(process)
    _end(process)
    assert process.returncode == 0


@pytest.mark.kernel
def test_a_dead_warden_is_noticed(tracked: object) -> None:
    """Nothing may be written once it is gone, and what it held is reported."""
    code = """
import os, signal
from cttui.probe.warden import WardenError
change("0")
os.kill(warden.pid, signal.SIGKILL)
os.waitid(os.P_PID, warden.pid, os.WEXITED | os.WNOWAIT)
assert warden.pending() == {} and warden.news() == [("nf_conntrack_tcp_loose", "error: the warden died")]
try:
    warden.keep("nf_conntrack_tcp_loose"); raise SystemExit("kept by nobody")
except WardenError: pass
sysctl.write("nf_conntrack_tcp_loose", "1")
change("0"); assert warden.undo("nf_conntrack_tcp_loose")  # a new one
"""
    process = _probe(tracked, code)
    _pids(process)
    _end(process)
    assert process.returncode == 0


@pytest.mark.kernel
def test_host_count_is_live_in_the_sandbox(netns: object) -> None:
    """The descriptor opened outside goes on telling the opener's count, not the sandbox's."""
    code = """
import subprocess, sys
from cttui.probe.headroom import HostCount
host = HostCount()
print(host.read(), flush=True)
sys.stdin.readline()
print(host.read(), open("/proc/sys/net/netfilter/nf_conntrack_count").read().strip(), flush=True)
"""
    netns.run("iptables", "-t", "raw", "-A", "PREROUTING", "-j", "CT")  # type: ignore[attr-defined]
    process = netns.popen(  # type: ignore[attr-defined]
        "env", f"PYTHONPATH={sandboxed.REPOSITORY}", *HOST_COUNT,
        "unshare", "--user", "--map-root-user", *sandboxed.NAMESPACES, sys.executable, "-c", code,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout.readline() == b"0\n"
    create = (
        "conntrack -I -s 198.51.100.2 -d 192.0.2.1 -p tcp --sport {} --dport 80 --state SYN_SENT -t 60".format
    )
    netns.run("sh", "-c", "; ".join(create(port) for port in (1, 2, 3)))  # type: ignore[attr-defined]
    process.stdin.write(b"\n")
    process.stdin.close()
    assert process.stdout.read() == b"3 0\n"
    process.wait()


@pytest.mark.kernel
def test_one_full_sandbox_a_machine_whoever_runs_it() -> None:
    """Root holds it, an ordinary user is refused; the holder's death lets go."""
    # not the real one: somebody may well have a full sandbox, or run this test, meanwhile
    folders = sorted(str(path) for path in Path("/sys/module").iterdir() if path.name != "nf_conntrack")
    folder = folders[os.getpid() % len(folders)]
    code = """
from pathlib import Path
from cttui.probe.headroom import FullTable
fault = FullTable((Path(ARGS["folder"]),)).take()
report(code=fault.code if fault else "")
"""
    mine = FullTable((Path(folder),))
    assert mine.take() is None and mine.take() is None
    assert sandboxed.run(code, user=True, folder=folder)["code"] == "fill-taken"
    mine.give()
    assert sandboxed.run(code, user=True, folder=folder)["code"] == ""
    assert mine.take() is None
    mine.give()


RULE = [
    ({}, ""),
    ({"host": 209_716}, "fill-host-full"),
    ({"host": 209_715}, ""),
    ({"host": None}, "fill-host-unknown"),
    ({"limit": 0}, "fill-unlimited"),
    ({"buckets": 32_767}, "fill-buckets"),
    ({"buckets": 32_768}, ""),
    ({"buckets": None}, ""),
    ({"available": 262_137 * 384 * 10 - 1}, "fill-memory"),
    ({"available": None}, "fill-memory"),
]


@pytest.mark.parametrize(("change", "code"), RULE)
def test_the_rule(change: dict[str, int | None], code: str) -> None:
    """80 % of the limit, 8 entries a bucket, 10 % of the memory; unknown is unsafe."""
    usual = {
        "host": 0,
        "limit": 262_144,
        "buckets": 262_144,
        "entries": 262_137,
        "available": 262_137 * 384 * 10,
        "each": 384,
    }
    fault = headroom(**{**usual, **change})  # type: ignore[arg-type]
    assert (fault.code if isinstance(fault, Fault) else "") == code
    assert fault is None or (fault.sentence.endswith(".") and fault.remedy)


OFFERS = [
    ({"limit": 4_000_000}, 262_144),
    ({"limit": 0}, 262_144),
    ({"limit": 4_000_000, "host": 131_073}, 0),
    ({"limit": 4_000_000, "buckets": 16_384}, 131_072),
    ({"limit": 4_000_000, "available": 100_000 * 3840}, 100_000),
    ({"limit": 4_000_000, "available": 10_000 * 3840}, 0),
]


@pytest.mark.parametrize(("change", "offered"), OFFERS)
def test_a_limit_is_offered_where_only_the_limit_is_in_the_way(change: dict[str, int], offered: int) -> None:
    """The usual one, or what hash and memory allow; none that the host's own table would feel."""
    usual = {"host": 0, "limit": 262_144, "buckets": 262_144, "available": 1 << 40, "each": 384}
    values = {**usual, **change}
    assert reasonable_limit(**values) == offered
    if "available" not in change:
        values["available"] = 1 << 30  # too little for four million
    fault = headroom(**values, entries=4_000_000)
    assert fault is not None and fault.limit == offered
    assert (f"nf_conntrack_max={offered}" in fault.remedy) is (offered > 0)


def test_sysctl_names_stay_inside() -> None:
    from cttui.kernel.sysctl import path_of
    from cttui.model.faults import FaultError

    assert path_of("nf_conntrack_max") == Path("/proc/sys/net/netfilter/nf_conntrack_max")
    assert path_of("net.ipv4.tcp_syncookies") == path_of("net/ipv4/tcp_syncookies")
    for name in ("../kernel/x", "net/../../x", "/etc/passwd", "", "net//x", "a\x00b", "net/ipv4/.."):
        with pytest.raises(FaultError):
            path_of(name)


def test_tunables_tell_who_may_write(netns: object) -> None:
    """The machine's limit is read-only in a namespace; its own settings are not, unless --read-only."""
    code = "from cttui.kernel.sysctl import tunables; report(a=[(t.name,t.writable,t.why) for t in tunables('sandbox')], b=[t.writable for t in tunables('sandbox', read_only=True)])"
    got = sandboxed.run("box = open_sandbox()\n" + code, user=os.geteuid() == 0)
    by_name = {name: (writable, why) for name, writable, why in got["a"]}
    assert by_name["nf_conntrack_max"][0] is False and "free slots" in by_name["nf_conntrack_max"][1]
    assert by_name["nf_conntrack_tcp_loose"][0] is True
    assert not any(got["b"])
