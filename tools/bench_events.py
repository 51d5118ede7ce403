"""Events from the injector's packets to the store: JSON lines.

    python tools/bench_events.py [NAME …]        as root; each part in a namespace of its own

Parts: events, user-events, follow, soak (a minute or two).
"""

import asyncio
import json
import os
import select
import struct
import subprocess
import sys
import time
from collections.abc import Iterator

import msgspec
from bench_parts import Held, Line, Part, main

from cttui.kernel import ctnetlink
from cttui.kernel.ctencode import address
from cttui.model.actions import Fire, Patch, Template
from cttui.model.words import conntrack_line
from cttui.probe.watch import Watch, rest_s


def _packet(src: str, dst: str, sport: int, dport: int, flags: int) -> bytes:
    """A TCP packet whose checksums the injector completes as it patches: they start right for these fields."""
    tcp = struct.pack("!HHIIBBHHH", sport, dport, 0, 0, 0x50, flags, 8192, 0, 0)
    ends = address(src) + address(dst)
    tcp = tcp[:16] + _sum(ends + struct.pack("!BBH", 0, 6, 20) + tcp) + tcp[18:]
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 40, 1, 0, 64, 6, 0) + ends
    return ip[:10] + _sum(ip) + ip[12:] + tcp


def _sum(data: bytes) -> bytes:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", ~total & 0xFFFF)


_SERVER = "192.0.2.1"
_CHURNING, _STAYING = "198.18.0.0", "198.19.0.0"


def _client(data: bytes, address_at: int, port_at: int, clients: int) -> Template:
    """The template with its client (address and port) running through `clients` pairs."""
    ports = min(clients, 50_000)
    start = int.from_bytes(data[address_at : address_at + 4], "big")
    patches = [
        Patch(offset=address_at, width=4, kind="range", first=start, last=start + clients // ports - 1, stride=ports),
        Patch(offset=port_at, width=2, kind="range", first=1024, last=1024 + ports - 1),
    ]  # fmt: skip
    return Template(data=data, patches=patches, checksums=[(10, [address_at]), (36, [address_at, port_at])])


SYN, RST, SYN_ACK, ACK = 0x02, 0x14, 0x12, 0x10


def refused(clients: int) -> list[Template]:
    """Each client's SYN to a closed port, whose RST ends the entry it made: two events a packet."""
    return [_client(_packet(_CHURNING, _SERVER, 1024, 81, SYN), 12, 20, clients)]


def churn(clients: int) -> list[Template]:
    """Each client's SYN, then a RST to it, which deletes the fresh entry: a NEW and a DESTROY."""
    return [
        _client(_packet(_CHURNING, _SERVER, 1024, 80, SYN), 12, 20, clients),
        _client(_packet(_SERVER, _CHURNING, 80, 1024, RST), 16, 22, clients),
    ]


def handshakes(clients: int) -> list[Template]:
    """SYN, SYN-ACK, ACK: a NEW and UPDATEs, of flows that stay."""
    return [
        _client(_packet(_STAYING, _SERVER, 1024, 80, SYN), 12, 20, clients),
        _client(_packet(_SERVER, _STAYING, 80, 1024, SYN_ACK), 16, 22, clients),
        _client(_packet(_STAYING, _SERVER, 1024, 80, ACK), 12, 20, clients),
    ]


def inject(fires: list[Fire]) -> "subprocess.Popen[bytes]":
    """The injector of the sandbox, carrying out these bursts."""
    from cttui.probe.sandbox import open_sandbox

    box = open_sandbox()
    child = subprocess.Popen(
        [sys.executable, "-m", "cttui.probe.injector", "--fd", str(box.fd),
         "--link-header", box.link_header.hex(), "--wire", box.wire],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=(box.fd,),
    )  # fmt: skip
    assert child.stdin is not None and child.stdout is not None
    for fire in fires:
        body = msgspec.msgpack.encode(fire)
        child.stdin.write(struct.pack("<I", len(body)) + body)
    child.stdin.close()
    os.set_blocking(child.stdout.fileno(), False)
    return child


def _watch(held: Held, child: "subprocess.Popen[bytes]", dump_every_s: float) -> Line:
    """Apply events, and dump at intervals, until the injector has ended and nothing comes any more."""
    events = ctnetlink.Events(held.decoder)
    store = held.store
    store.events_attached = True
    poll = select.poll()
    poll.register(events.fileno(), select.POLLIN)
    longest = 0.0
    lost = 0
    resync = False

    def drain() -> None:
        nonlocal longest, lost, resync
        while True:
            begin = time.perf_counter()
            batches = events.receive()
            if events.lost != lost:
                lost = events.lost
                store.lost()
                resync = True
            if not batches:
                return
            store.apply(batches, time.monotonic())
            longest = max(longest, time.perf_counter() - begin)

    begin = time.perf_counter()
    cpu = time.process_time()
    next_dump = begin + dump_every_s
    dumps = ghosts = 0
    out = b""
    assert child.stdout is not None
    while True:
        poll.poll(20)
        before = events.count
        drain()
        time.sleep(rest_s(events.count - before, events.receive_buffer))  # as the probe does
        if time.perf_counter() >= next_dump or resync:
            resync = False
            held.dump(drain)
            dumps += 1
            ghosts += held.found.ghosts
            resync = resync or held.found.again
            next_dump = time.perf_counter() + dump_every_s
        out += child.stdout.read() or b""
        if child.poll() is not None:
            break
    drain()
    while resync:
        resync = False
        held.dump(drain)
        resync = held.found.again
    span = time.perf_counter() - begin
    used = time.process_time() - cpu
    reports = [json.loads(line) for line in out.splitlines()]
    seconds = sum(report["seconds"] for report in reports if report["done"])
    packets = sum(report["sent"] for report in reports if report["done"])
    line = {
        "packets": packets, "packets_per_s": round(packets / seconds), "events": events.count,
        "events_per_s": round(events.count / seconds), "lost": events.lost, "receive_buffer": events.receive_buffer,
        "cpu_us_per_event": round(used / max(events.count, 1) * 1e6, 2), "longest_event_step_ms": round(longest * 1e3, 1),
        "longest_dump_step_ms": round(held.longest_s * 1e3, 1), "dumps": dumps, "ghosts": ghosts, "seconds": round(span, 1),
        "undecoded": held.decoder.undecoded,
    }  # fmt: skip
    line |= _equal(held)
    events.close()
    return line


def _equal(held: Held) -> Line:
    """The store beside what conntrack prints now, flow by flow, and once more if something moved meanwhile."""
    for _ in range(5):
        printed = subprocess.run(
            ["conntrack", "-L", "-o", "extended,id"], capture_output=True, text=True, check=True
        ).stdout
        theirs = {_steady(line) for line in printed.splitlines()}
        rows = held.store.rows()
        ours = {_steady(conntrack_line(flow)) for flow in held.store.flows(rows, time.monotonic())}
        if ours == theirs:
            break
        held.dump()
    return {"flows": len(ours), "only_ours": len(ours - theirs), "only_theirs": len(theirs - ours)}


def _steady(line: str) -> str:
    words = line.split()
    del words[4]  # the timeout
    return " ".join(word for word in words if not word.startswith("use="))


def events() -> Iterator[Line]:
    """The injector at full speed beside a store that applies every event; the median of five runs of each traffic.

    A refused connection is two events a packet, churn is one: there the injector's own speed may be the limit.
    """
    for name, templates, packets in (
        ("refused", refused(500_000), 500_000),
        ("churn", churn(500_000), 1_000_000),
    ):
        runs = []
        for _ in range(5):
            runs.append(_watch(Held(), inject([Fire(templates=templates, count=packets)]), 5.0))
            subprocess.run(["ip", "link", "del", "tun0"], check=False, stderr=subprocess.DEVNULL)
        middle = sorted(runs, key=lambda run: int(str(run["events_per_s"])))[2]
        lost = sum(int(str(run["lost"])) for run in runs)
        yield {"what": "events applied, injector at full speed", "traffic": name, **middle, "lost": lost,
               "bar_events_per_s": 100_000, "bar_lost": 0}  # fmt: skip


def user_events() -> Iterator[Line]:
    """The same as an ordinary user: what is lost is counted and made good."""
    line = _watch(Held(), inject([Fire(templates=churn(500_000), count=1_000_000)]), 5.0)
    yield {"what": "events applied, ordinary user", **line}


def soak() -> Iterator[Line]:
    """A minute of churn and handshakes at full rate under dumps; ends equal to conntrack, flow by flow.

    SOAK_ROUNDS and SOAK_PACKETS (a round) in the environment make it shorter.
    """
    packets = int(os.environ.get("SOAK_PACKETS", "800000"))
    fires = []
    for _ in range(int(os.environ.get("SOAK_ROUNDS", "16"))):
        fires += [
            Fire(templates=churn(500_000), count=packets),
            Fire(templates=handshakes(50_000), count=min(packets // 4, 150_000)),
        ]
    yield {"what": "soak", **_watch(Held(), inject(fires), 1.0), "bar_only": 0}


def follow() -> Iterator[Line]:
    """CPU of a probe's watch that follows a trickle of refused connections, at rates a busy server has."""
    for rate in (100, 1_000, 10_000):
        child = inject([Fire(templates=refused(500_000), count=5 * rate, rate_pps=rate)])
        line = asyncio.run(_followed(child))
        subprocess.run(["ip", "link", "del", "tun0"], check=False, stderr=subprocess.DEVNULL)
        yield {"what": "following new flows, CPU of the watch", "new_flows_per_s": rate, **line}


async def _followed(child: "subprocess.Popen[bytes]") -> Line:
    watch = Watch()
    watch.attach_events()
    await asyncio.sleep(1)
    began, cpu, count = time.perf_counter(), time.process_time(), watch.events_total
    await asyncio.sleep(3)
    span = time.perf_counter() - began
    line: Line = {
        "events_per_s": round((watch.events_total - count) / span),
        "percent_of_a_core": round(100 * (time.process_time() - cpu) / span, 1),
        "lost": watch.lost_total,
    }
    while child.poll() is None:
        await asyncio.sleep(0.1)
    watch.detach_events()
    return line


PARTS: dict[str, Part] = {"events": events, "user-events": user_events, "follow": follow, "soak": soak}

if __name__ == "__main__":
    main(PARTS, nobody=("user-events",))
