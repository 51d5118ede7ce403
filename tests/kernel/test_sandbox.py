"""A sandbox is complete, quiet, the same for root and user, and gone when its process is."""

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest
import sandboxed
from bursts import packets

both = pytest.mark.parametrize("user", [False, True], ids=["root", "user"])


@pytest.mark.kernel
@both
def test_fresh_sandbox_is_silent_and_complete(user: bool) -> None:
    """Nothing moves for three seconds (router solicitations, MLD and DAD would come in the first two)."""
    got = sandboxed.run(
        """
box = open_sandbox()
time.sleep(3)
from cttui.kernel.links import link_counters
report(kind=box.kind, problems=box.problems, rules={f: counters(f) for f in ("iptables", "ip6tables")},
       devices={d: link_counters(d) for d in ("lo", box.device)}, tracked=sh("conntrack -C").strip(),
       routes=[sh("ip -4 route show default"), sh("ip -6 route show default")])
""",
        user=user,
    )
    assert got["kind"] == ("veth" if user and not os.access("/dev/net/tun", os.R_OK) else got["kind"])
    assert set(got["problems"]) <= {"tun"}
    for family in ("iptables", "ip6tables"):
        assert got["rules"][family] == {"raw PREROUTING": [0], "raw OUTPUT": [0], "mangle PREROUTING": [0]}
    for device, numbers in got["devices"].items():
        assert set(numbers.values()) == {0}, device
    assert got["tracked"] == "0"
    assert all("default dev" in route for route in got["routes"])


@pytest.mark.kernel
@both
def test_each_packet_is_counted_once_and_captured_once(user: bool) -> None:
    """Also where the sandbox answers: the RST of a closed port must not come back in."""
    got = sandboxed.run(
        """
from cttui.probe.injector import Injector
box = open_sandbox()
for family in ("iptables", "ip6tables"):
    sh(family + " -t raw -D OUTPUT -p tcp --sport 80 -j DROP")
import socket
def heard_on(device):
    listener = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
    listener.bind((device, 3))
    listener.setblocking(False)
    return listener
def incoming(listener):
    n = 0
    while True:
        try:
            _, address = listener.recvfrom(65536)
        except BlockingIOError:
            return n
        n += address[2] == 0  # PACKET_HOST: for us, coming in
listener = heard_on(box.device)
tcpdump = None
if os.readlink("/proc/self/ns/user") == ARGS["first_user_namespace"]:  # in a user namespace tcpdump fails to give up its groups
    tcpdump = subprocess.Popen(["tcpdump", "-Z", "root", "-Qin", "-lnpi", box.device],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while "listening" not in (tcpdump.stderr.readline() or sys.exit("no tcpdump")):
        pass
async def main():
    injector = Injector(box)
    for data, l4 in ((ARGS["v4"], 20), (ARGS["v6"], 40)):
        sums = [(l4 + 16, [l4])]
        fire = Fire(templates=[Template(data=data, patches=[Patch(offset=l4, width=2, kind="range", first=10000, last=10009)], checksums=sums)], count=10)
        assert (await injector.fire(fire)).sent == 10
    await injector.close()
asyncio.run(main())
heard = ""
if tcpdump:
    for _ in range(20):
        tcpdump.stdout.readline()
    time.sleep(0.2)  # more, if there were more: a block of its ring is handed over after a tenth of a second
    tcpdump.terminate()
    heard = tcpdump.communicate()[1]
report(heard=heard, incoming=incoming(listener), v4=counters(), v6=counters("ip6tables"), resets=sh("nstat -asz TcpOutRsts"), stats=stats())
""",
        user=user,
        first_user_namespace=str(Path("/proc/self/ns/user").readlink()),
        v4=SYN4,
        v6=SYN6,
    )
    assert got["incoming"] == 20
    assert user or "20 packets captured" in got["heard"]
    for family in ("v4", "v6"):
        assert got[family]["raw PREROUTING"] == [10] and got[family]["mangle PREROUTING"] == [10]
    assert got["resets"].split()[-2] == "20"
    assert got["stats"]["invalid"] == 0


def _syn(source: str, target: str) -> bytes:
    layer = "IPv6" if ":" in source else "IP"
    return packets(f'{layer}(src="{source}",dst="{target}")/TCP(sport=10000,dport=80,flags="S")')[0]


SYN4 = _syn("198.51.100.2", "192.0.2.1")
SYN6 = _syn("2001:db8:1::2", "2001:db8::1")


@pytest.mark.kernel
def test_what_is_missing_is_said() -> None:
    """Without iptables the sandbox opens, and says in a sentence that it has no rules."""
    got = sandboxed.run(
        """
from cttui.probe import sandbox
sandbox.SEARCH = "/nonexistent"
box = sandbox.open_sandbox()
report(device=box.device, problems=box.problems)
"""
    )
    assert got["device"] == "tun0"
    assert "Install iptables" in got["problems"]["iptables"] and "ip6tables" in got["problems"]


@pytest.mark.kernel
def test_host_settings_are_not_touched() -> None:
    """What the sandbox sets is its own."""
    names = ("net/ipv4/conf/all/rp_filter", "net/ipv4/ip_forward", "net/ipv6/conf/default/addr_gen_mode")

    def read() -> list[str]:
        return [Path(f"/proc/sys/{name}").read_text() for name in names]

    before = read()
    sandboxed.run("box = open_sandbox(); report(ok=True)")
    assert read() == before


@pytest.mark.kernel
def test_nothing_is_left_when_unshare_is_killed() -> None:
    """The device and the injector go with the namespace."""
    argv = ["unshare", *sandboxed.NAMESPACES, sys.executable, "-c", sandboxed.PRELUDE + """
from cttui.probe.injector import Injector
box = open_sandbox()
async def main():
    await Injector(box).start()
    print(os.readlink("/proc/self/ns/net"), flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""]  # fmt: skip
    process = subprocess.Popen(
        argv, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(sandboxed.REPOSITORY)}
    )
    assert process.stdout is not None
    namespace = process.stdout.readline().strip()
    assert namespace.startswith("net:")
    inside = _processes_in(namespace)
    assert len(inside) >= 2
    watched = [os.pidfd_open(int(pid)) for pid in inside]
    process.kill()
    process.wait()
    for fd in watched:
        assert select.select([fd], [], [], 10)[0]
        os.close(fd)
    process.stdout.close()
    assert not _processes_in(namespace)


def _processes_in(namespace: str) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str((process / "ns/net").readlink()) == namespace:
                found.append(process.name)
        except OSError:
            continue
    return found
