"""Runs inside a namespace: sets rules up, sends packets through a tun device, prints what was counted as JSON.

    python -m tests.kernel.hook_worker '{"setup": ["iptables-nft -A INPUT -j DROP"], "bursts": [{"count": 10}]}'

A write to tun returns when the packet has gone its way, so counters read afterwards are complete.
"""

import asyncio
import fcntl
import json
import os
import re
import shlex
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from cttui.kernel import ctnetlink, netstat
from cttui.kernel.conntrack_use import conntrack_active
from cttui.kernel.ctfill import Filler
from cttui.kernel.rules import Reader
from cttui.kernel.ruleset import changes
from cttui.kernel.stages import Stages
from cttui.model.hooks import Loss, Stage
from cttui.probe import losses

ROOT = Path(__file__).parents[2]
SOURCE, HERE, BEYOND = "198.51.100.2", "192.0.2.1", "203.0.113.9"
SOURCE6, HERE6, BEYOND6 = "2001:db8::2", "2001:db8:1::1", "2001:db8:2::9"


def run_worker(netns: Any, spec: dict[str, Any]) -> Any:
    """The other side, for tests: this file in the namespace, and what it printed."""
    from balance import balance

    done = subprocess.run(
        [*netns.prefix, sys.executable, "-m", "tests.kernel.hook_worker", json.dumps(spec)],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout)
    account = balance(
        [Stage(**s) for s in got["stages"]], [Loss(**x) for x in got["losses"]], spec.get("family", "ip")
    )
    return got | {"balance": [account.entered, account.arrived, account.lost, account.merged]}


def command(line: str, stdin: str = "") -> str:
    done = subprocess.run(shlex.split(line), input=stdin, capture_output=True, text=True, timeout=30)
    if done.returncode:
        raise RuntimeError(f"{line}: {done.stderr}")
    return done.stdout


def attach(name: str) -> int:
    fd = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(
        fd, 0x400454CA, struct.pack("16sH22x", name.encode(), 0x1001)
    )  # TUNSETIFF: IFF_TUN | IFF_NO_PI
    return fd


def open_second_tun() -> int:
    """The way onward, to BEYOND; what goes out there piles up unread and is then dropped by the device."""
    fd = attach("tun1")
    for line in (
        "ip link set tun1 addrgenmode none mtu 1280 up",
        f"ip route add {BEYOND}/32 dev tun1",
        f"ip -6 route add {BEYOND6}/128 dev tun1",
        "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1",
    ):
        command(line)
    return fd


def open_tun() -> int:
    fd = attach("tun0")
    for line in (
        "sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.tun0.rp_filter=0",
        "sysctl -qw net.ipv6.conf.tun0.accept_ra=0 net.ipv6.conf.tun0.accept_dad=0",
        "ip link set tun0 addrgenmode none",
        f"ip addr add {HERE}/32 dev tun0",
        f"ip addr add {HERE6}/128 dev tun0 nodad",
        "ip link set tun0 up",
        "ip route add default dev tun0",
        "ip -6 route add default dev tun0",
    ):
        command(line)
    return fd


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def packet(i: int, spec: dict[str, Any]) -> bytes:
    """Packet `i` of a burst: kind syn, ack, udp, fragments…; `same` keeps one tuple for all."""
    six = spec.get("family") == "ip6"
    family = socket.AF_INET6 if six else socket.AF_INET
    src = socket.inet_pton(family, SOURCE6 if six else SOURCE)
    if not six:
        src = src[:2] + struct.pack("!H", 1 + i // 50_000)
    dst = socket.inet_pton(family, spec.get("to", HERE6 if six else HERE))
    sport = 5000 if spec.get("same") else 10_000 + i % 50_000
    dport, kind = spec.get("port", 80), spec.get("kind", "syn")
    if kind in ("syn", "finsyn"):
        proto, flags = 6, {"syn": 0x02, "finsyn": 0x03}[kind]
        body = struct.pack("!HHIIBBHHH", sport, dport, 1, 0, 0x50, flags, 8192, 0, 0)
        at = 16
    else:
        proto, at = 17, 6
        data = b"test" * spec.get("words", 4)
        body = struct.pack("!HHHH", sport, dport, 8 + len(data), 0) + data
    pseudo = (
        src + dst + struct.pack("!II" if six else "!HH", *((len(body), proto) if six else (proto, len(body))))
    )
    if kind == "badsum":
        body = body[:at] + b"\x12\x34" + body[at + 2 :]
    else:
        body = body[:at] + struct.pack("!H", checksum(pseudo + body)) + body[at + 2 :]
    ttl = spec.get("ttl", 64)
    if six:
        return struct.pack("!IHBB", 6 << 28, len(body), proto, ttl) + src + dst + body
    whole = 0x4000 if spec.get("df") else 0
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), i & 0xFFFF, whole, ttl, proto, 0, src, dst)
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + body


def fragments(i: int, spec: dict[str, Any]) -> list[bytes]:
    """One UDP datagram of three fragments."""
    six = spec.get("family") == "ip6"
    src = socket.inet_pton(socket.AF_INET6, SOURCE6) if six else socket.inet_aton(SOURCE)
    dst = socket.inet_pton(socket.AF_INET6, HERE6) if six else socket.inet_aton(HERE)
    data = struct.pack("!HHHH", 10_000 + i, spec.get("port", 9), 72, 0) + bytes(64)
    if six:
        total = checksum(src + dst + struct.pack("!II", len(data), 17) + data)
        data = data[:6] + struct.pack("!H", total) + data[8:]
    out = []
    for n in range(3):
        part = data[n * 24 : (n + 1) * 24]
        more = n < 2
        if six:
            offset = struct.pack("!BBHI", 17, 0, n * 24 | more, i + 1)
            out.append(struct.pack("!IHBB", 6 << 28, 8 + len(part), 44, 64) + src + dst + offset + part)
            continue
        head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(part), i + 1, more << 13 | n * 3, 64, 17, 0, src, dst)  # fmt: skip
        out.append(head[:10] + struct.pack("!H", checksum(head)) + head[12:] + part)
    return out[: spec.get("only", 3)]


def send(fd: int, spec: dict[str, Any]) -> int:
    sent = 0
    for i in range(spec["count"]):
        for data in fragments(i, spec) if spec.get("kind") == "fragments" else (packet(i, spec),):
            os.write(fd, data)
            sent += 1
    return sent


def nla(kind: int, value: bytes) -> bytes:
    return struct.pack("HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


class Queue:
    """Holds the packets of NFQUEUE 0 until released (nfnetlink_queue.h)."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
        self.socket.setsockopt(socket.SOL_SOCKET, 33, 4 << 20)  # SO_RCVBUFFORCE
        self.socket.bind((0, 0))
        self.socket.settimeout(10)
        self._send(2, nla(1, struct.pack("!BBH", 1, 0, socket.AF_INET)))  # bind
        self._send(2, nla(2, struct.pack("!IB", 64, 1)))  # copy meta

    def _send(self, kind: int, body: bytes) -> None:
        self.socket.send(struct.pack("IHHIIBBH", 20 + len(body), 3 << 8 | kind, 1, 1, 0, 0, 0, 0) + body)

    def release(self, count: int) -> None:
        ids: list[int] = []
        while len(ids) < count:
            data = self.socket.recv(65536)
            length, kind = struct.unpack_from("IH", data)
            at = 20
            while kind == 3 << 8 and at < length:
                size, which = struct.unpack_from("HH", data, at)
                if which & 0x3FFF == 1:
                    ids.append(struct.unpack_from("!I", data, at + 4)[0])
                at += (size + 3) & ~3
        for number in ids:
            self._send(1, nla(2, struct.pack("!II", 1, number)))  # accept


async def experiment(spec: dict[str, Any]) -> dict[str, Any]:
    fd = open_tun()
    for line in spec.get("setup", []):
        command(line)
    if "nft" in spec:
        command("nft -f -", spec["nft"])
    stages, reader = Stages(), Reader()
    if spec.get("stages", True):
        stages.arm()
    queue = Queue() if spec.get("hold") else None
    held = [open_second_tun()] if spec.get("second") else []
    for line in spec.get("after_second", []):
        command(line)
    listener = None
    if "listen" in spec:
        kind = socket.SOCK_DGRAM if spec["listen"] == "udp" else socket.SOCK_STREAM
        listener = socket.socket(socket.AF_INET, kind)
        if kind == socket.SOCK_DGRAM:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # the kernel's least: 2,304 bytes
        listener.bind(("0.0.0.0", 80))
        if kind == socket.SOCK_STREAM:
            listener.listen(spec["listen"])
    full = None
    if "free" in spec:
        full = True
        top = int(Path("/proc/sys/net/netfilter/nf_conntrack_max").read_text())
        for _ in Filler().fill(top - spec["free"], assured=spec.get("assured", True)):
            pass
    rules0, stages0 = await reader.read(), stages.read()
    stats0, net0 = ctnetlink.stats(), netstat.read() | stages.kinds
    sent = sum(send(fd, burst) for burst in spec.get("bursts", []))
    if queue is not None:
        queue.release(sent)
    rules1, stages1 = await reader.read(), stages.read()
    entries = int(Path("/proc/sys/net/netfilter/nf_conntrack_count").read_text())
    stats1, net1 = ctnetlink.stats(), netstat.read() | stages.kinds
    oracle_stats: dict[str, int] = {}
    for name, value in re.findall(r"(\w+)=(\d+)", command("conntrack -S")):
        oracle_stats[name] = oracle_stats.get(name, 0) + int(value)
    oracle = {line: command(line) for line in spec.get("oracle", [])}
    stages.disarm()
    taken = 0
    if spec.get("listen") == "udp":
        assert listener is not None
        listener.setblocking(False)
        try:
            while listener.recv(2048):
                taken += 1
        except BlockingIOError:
            pass
    for fd in held:
        os.close(fd)
    stats = {k: v - stats0.get(k, 0) for k, v in stats1.items()}
    network = netstat.delta(net0, net1)
    grown = losses.stage_growth(stages0, stages1)
    moved = changes(rules0, rules1)
    found = losses.attribute(grown, stats, moved, network, full)
    active = {f: conntrack_active(rules1, f) for f in ("ip", "ip6")}
    return {
        "sent": sent,
        "stages": [fields(s) for s in grown],
        "losses": [fields(x) for x in found],
        "stats": stats, "stats_total": stats1, "oracle_stats": oracle_stats, "network": network,
        "chains": [fields(c) | {"rules": [fields(r) for r in c.rules]} for c in rules1.chains],
        "missing": rules1.missing, "taken": taken, "entries": entries, "oracle": oracle, "active": active,
    }  # fmt: skip


def fields(struct: msgspec.Struct) -> dict[str, Any]:
    """A struct's fields by name: on the wire they are arrays."""
    return {f: getattr(struct, f) for f in struct.__struct_fields__}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(experiment(json.loads(sys.argv[1])))))
