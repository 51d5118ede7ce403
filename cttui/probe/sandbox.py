"""The sandbox: a device to inject into, quiet links, addresses, and the article's rules.

Called once in a fresh process inside `unshare [--user --map-root-user] --net --pid --fork
--kill-child=KILL --mount-proc`. All of it belongs to the namespace and is gone when that is.

With tun a packet written to the descriptor arrives on the device, and netfilter has counted it when the
write returns. Where /dev/net/tun is closed to us it is a veth pair: frames are sent by a packet socket on
`wire0`, which bypasses netfilter, and arrive on `veth0`. veth0 asks for no neighbours (NOARP), so what the
sandbox answers leaves with veth0's own link address as destination; wire0 takes that for somebody else's
packet and drops it before any hook (ip_rcv_core, PACKET_OTHERHOST). Each packet meets PREROUTING once.
"""

import os
import shutil
import socket
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from cttui.kernel import sysctl
from cttui.kernel.links import Links, open_tun, open_wire
from cttui.probe.headroom import HostCount

OWN_V4, OWN_V6 = "192.0.2.1", "2001:db8::1"
"""Packets to these are delivered locally (RFC 5737, RFC 3849)."""

MAC, PEER_MAC = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")

VETH_MTU, ROUTE_MTU = 65535, 1500
"""A tun takes packets of any size; the pair must, too. What the sandbox sends is as on any Ethernet."""

RULES = """\
*raw
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A PREROUTING -j CT
-A OUTPUT -p tcp -m tcp --sport 80 -j DROP
COMMIT
*mangle
:PREROUTING ACCEPT [0:0]
-A PREROUTING
COMMIT
"""
"""`-j CT` switches conntrack on, the empty rule counts what it let through; without the last, the closed
port 80 answers RST, which deletes the entry ("Conntrack tales", 2020)."""

QUIET: tuple[tuple[str, str], ...] = (
    # inherited from the host's defaults: with rp_filter on, spoofed sources are lost after mangle
    ("net/ipv4/conf/all/rp_filter", "0"), ("net/ipv4/conf/default/rp_filter", "0"),
    ("net/ipv4/ip_forward", "0"),
    # no router solicitations, no link-local addresses (and so no MLD reports), no address probing
    ("net/ipv6/conf/all/forwarding", "0"),
    ("net/ipv6/conf/default/accept_ra", "0"), ("net/ipv6/conf/default/autoconf", "0"),
    ("net/ipv6/conf/default/router_solicitations", "0"), ("net/ipv6/conf/default/accept_dad", "0"),
    ("net/ipv6/conf/default/addr_gen_mode", "1"), ("net/ipv6/conf/default/disable_ipv6", "0"),
    # no log lines about spoofed sources in the host's kernel log
    ("net/ipv4/conf/all/log_martians", "0"), ("net/ipv4/conf/default/log_martians", "0"),
)  # fmt: skip

SEARCH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin", "/usr/local/sbin"))
"""Ordinary users rarely have sbin in PATH; iptables lives there."""


@dataclass(slots=True)
class Sandbox:
    """What was opened. `fd` is the device's descriptor and keeps it alive; children inherit it."""

    device: str
    """Where packets arrive: capture here, incoming only."""
    fd: int
    kind: str
    """`tun` or `veth`."""
    link_header: bytes
    """Destination and source link address that go before each packet (ethertype follows); b"" for tun."""
    wire: str = ""
    """The sending end of the veth pair, "" for tun."""
    host_count: HostCount | None = None
    """For headroom.check; made before conntrack was switched on here."""
    problems: dict[str, str] = field(default_factory=dict)
    """What could not be set up (`tun`, `ipv6`, `iptables`, `ip6tables`, …) → a sentence that says why."""

    def close(self) -> None:
        """Let the device go (tests; otherwise the end of the process does it)."""
        os.close(self.fd)


@dataclass(slots=True)
class Opening:
    """The part of opening that takes long and needs nobody to wait: iptables at work (30–60 ms, most of it
    the kernel switching conntrack on), and the host's count as it was before."""

    host_count: HostCount
    restores: "dict[str, subprocess.Popen[bytes] | None]"


def begin() -> Opening:
    """Start installing the rules. Before the heavy imports of a probe, these run beside it."""
    os.environ["PATH"] = SEARCH
    os.environ.setdefault("XTABLES_LOCKFILE", private_lock())
    host_count = HostCount()  # before the rules load conntrack
    return Opening(
        host_count, {name: _start_restore(name) for name in ("iptables-restore", "ip6tables-restore")}
    )


def open_sandbox(opening: Opening | None = None) -> Sandbox:
    """Set up everything in the present, fresh namespace. Raises OSError if there can be no device at all."""
    opening = opening or begin()
    problems: dict[str, str] = {}
    for name, value in QUIET:
        try:
            sysctl.write(name, value)
        except OSError as e:
            if name.startswith("net/ipv6") and not Path("/proc/sys/net/ipv6").is_dir():
                problems["ipv6"] = "This kernel runs without IPv6."
            else:
                problems[name] = f"{name} could not be set to {value}: {os.strerror(e.errno or 0)}."
    with Links() as links:
        links.up("lo")
        sandbox = _device(links, problems)
        sandbox.host_count = opening.host_count
        for address, family in ((f"{OWN_V4}/24", socket.AF_INET), (f"{OWN_V6}/64", socket.AF_INET6)):
            if family == socket.AF_INET6 and "ipv6" in problems:
                continue
            links.add_address(sandbox.device, address)
            links.add_default_route(sandbox.device, family, ROUTE_MTU)
    for name, process in opening.restores.items():
        _finish_restore(name, process, problems)
    return sandbox


def _device(links: Links, problems: dict[str, str]) -> Sandbox:
    try:
        fd = open_tun("tun0")
    except OSError as e:
        problems["tun"] = (
            f"/dev/net/tun could not be used ({os.strerror(e.errno or 0)}): a veth pair stands in."
        )
    else:
        links.up("tun0", arp=False)
        return Sandbox("tun0", fd, "tun", b"", problems=problems)
    links.add_veth("veth0", "wire0", MAC, PEER_MAC, VETH_MTU)
    for end in ("veth0", "wire0"):
        links.up(end, arp=False)
    return Sandbox("veth0", open_wire("wire0"), "veth", MAC + PEER_MAC, wire="wire0", problems=problems)


def private_lock() -> str:
    """A path for XTABLES_LOCKFILE: iptables-legacy insists on locking a file, ordinary users can't write
    its usual one, and in a namespace of our own there is nobody to lock out. A memfd leaves no file.

    Our number is asked of /proc, which may be that of an outer PID namespace."""
    fd = os.memfd_create("xtables.lock", os.MFD_CLOEXEC)
    return f"/proc/{Path('/proc/self').readlink()}/fd/{fd}"


def _start_restore(name: str) -> "subprocess.Popen[bytes] | None":
    if shutil.which(name) is None:
        return None
    process = subprocess.Popen(
        [name], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stdin is not None
    try:
        process.stdin.write(RULES.encode())
        process.stdin.close()
    except BrokenPipeError:  # it ended already: its words say why
        pass
    return process


def _finish_restore(name: str, process: "subprocess.Popen[bytes] | None", problems: dict[str, str]) -> None:
    family = name.removesuffix("-restore")
    if process is None:
        problems[family] = (
            f"{family} is not installed: no rules, so conntrack may stay off. Install iptables."
        )
        return
    assert process.stderr is not None
    said = process.stderr.read().decode("utf-8", "replace").strip()
    process.stderr.close()
    if process.wait() != 0:
        last = said.splitlines()[-1] if said else f"exit status {process.returncode}"
        problems[family] = f"{family} could not install the sandbox's rules: {last}"
