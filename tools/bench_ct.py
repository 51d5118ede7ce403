"""Dump, decode, events and memory against the kernel: JSON lines, ratios inside one run, medians.

    python tools/bench_ct.py [NAME …]        as root; each part in a namespace of its own

Parts: dump, mix, mixed, pyroute2, memory, fill, events, user-events, soak (60 s), growth (raises
nf_conntrack_max to hold a million entries and puts it back).
"""

import gc
import json
import os
import select
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from cttui.flows.arena import keep_freed_memory
from cttui.flows.columns import Interned
from cttui.flows.store import Store
from cttui.kernel import ctnetlink
from cttui.kernel.ctencode import address, create_message
from cttui.kernel.ctfill import Filler
from cttui.kernel.netlink import Netlink
from cttui.model.flow import ASSURED, SEEN_REPLY, Flow
from cttui.model.messages import Fire, Patch, Template
from cttui.model.words import conntrack_line
from cttui.probe.watch import REST_S, ROOMY

Line = dict[str, object]
RUNS = 7
FULL = 262_144
MAXIMUM = Path("/proc/sys/net/netfilter/nf_conntrack_max")
NAMESPACES = ("unshare", "--net", "--pid", "--fork", "--kill-child=KILL", "--mount-proc")
FILLER = Filler()
"""One for all fills of a process: it never makes the same tuple twice."""
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


class Held:
    """A store and what feeds it."""

    def __init__(self) -> None:
        interned = Interned()
        self.decoder = ctnetlink.Decoder(interned)
        self.store = Store(interned)
        self.longest_s = 0.0

    def dump(self, between: Callable[[], None] = lambda: None) -> float:
        """One dump into the store; seconds."""
        begin = time.perf_counter()
        running = ctnetlink.Dump(self.decoder)
        self.store.reserve(ctnetlink.stats_global()["entries"] * 9 // 8)  # as probe/watch.py does
        self.store.begin_dump()
        running.start()
        while True:
            between()
            step = time.perf_counter()
            batches = running.step()
            if batches is None:
                break
            self.store.put_dump(batches, time.monotonic())
            self.longest_s = max(self.longest_s, time.perf_counter() - step)
        running.close()
        self.found = self.store.end_dump(time.monotonic(), complete=not running.interrupted)
        return time.perf_counter() - begin

    def receive(self) -> float:
        """The same dump, nothing decoded; seconds."""
        begin = time.perf_counter()
        running = ctnetlink.Dump(self.decoder)
        running.start()
        while running.receive():
            pass
        running.close()
        return time.perf_counter() - begin


def _conntrack() -> float:
    begin = time.perf_counter()
    subprocess.run(["conntrack", "-L"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begin


def _fill(n: int) -> float:
    begin = time.perf_counter()
    done = 0
    for filled in FILLER.fill(n):
        done = filled.done
    if done < n:
        raise SystemExit(f"only {done} of {n} entries could be made: is another table full?")
    return time.perf_counter() - begin


def _compare(rows: int, of: str) -> Iterator[Line]:
    """Dump and decode beside receiving alone and beside `conntrack -L`, alternating."""
    held = Held()
    first = held.dump()
    ours, theirs, bare, cpu = [], [], [], []
    for _ in range(RUNS):
        used = [time.process_time()]
        for seconds, run in ((bare, held.receive), (ours, held.dump)):
            seconds.append(run())
            used.append(time.process_time())
        cpu.append((used[2] - used[1]) / (used[1] - used[0]))
        theirs.append(_conntrack())
    yield {
        "what": f"dump and decode into the store, {of}", "rows": rows, "held": len(held.store),
        "median_s": round(statistics.median(ours), 4), "first_s": round(first, 4),
        "of_conntrack": round(statistics.median(a / b for a, b in zip(ours, theirs, strict=True)), 3),
        "bar_of_conntrack": 0.75,
        "of_receiving": round(statistics.median(a / b for a, b in zip(ours, bare, strict=True)), 3),
        "bar_of_receiving": 1.35, "cpu_of_receiving": round(statistics.median(cpu), 3), "longest_step_ms": round(held.longest_s * 1000, 1),
    }  # fmt: skip


def dump() -> Iterator[Line]:
    """Tables of TCP entries of three sizes."""
    for rows in (1_000, 20_000, FULL):
        _fill(rows - ctnetlink.stats_global()["entries"])
        yield from _compare(rows, "one kind")


def mix() -> Iterator[Line]:
    """A table as a server has it: TCP in three states, UDP, IPv4, in the order of the hash."""
    _create([_usual(n) for n in range(FULL)])
    yield from _compare(ctnetlink.stats_global()["entries"], "TCP and UDP, shuffled by the hash")


def mixed() -> Iterator[Line]:
    """A table of everything: both families, TCP, UDP, ICMP, SCTP, GRE, NAT, zones, marks; with accounting."""
    for name in ("acct", "timestamp"):
        Path(f"/proc/sys/net/netfilter/nf_conntrack_{name}").write_text("1")
    _create([_some(n) for n in range(FULL)])
    yield from _compare(ctnetlink.stats_global()["entries"], "every kind, shuffled by the hash")


def _create(flows: list[Flow]) -> None:
    netlink = Netlink()
    for first in range(0, len(flows), 400):
        batch = [create_message(flow, 0, ack=False) for flow in flows[first : first + 400]]
        netlink.send(b"".join(data + bytes(-len(data) % 4) for data in batch))
        for _ in netlink.receive():
            pass
    netlink.close()


def _usual(n: int) -> Flow:
    proto, state = [(6, 3), (17, None), (6, 7), (6, 3), (6, 1)][n % 5]
    client, server, sport = struct.pack("!I", 0x0A000000 + n), address("192.0.2.1"), 1000 + n % 60_000
    return Flow(
        id=0, family=2, proto=proto, orig_src=client, orig_dst=server, orig_sport=sport, orig_dport=443,
        reply_src=server, reply_dst=client, reply_sport=443, reply_dport=sport, timeout_s=3600, state=state,
        status=ASSURED | SEEN_REPLY if state != 1 else 0,
    )  # fmt: skip


def _some(n: int) -> Flow:
    kind = n % 8
    six = n % 3 == 0
    src = address(f"2001:db8::{n >> 16:x}:{n & 0xFFFF:x}") if six else struct.pack("!I", 0x0A000000 + n)
    dst = address("2001:db8:1::1") if six else address("192.0.2.1")
    proto, state, ports = [(6, 3, 1), (6, 1, 1), (17, None, 1), (17, None, 1), (132, 4, 1), (47, None, 1),
                           (58 if six else 1, None, 0), (6, 7, 1)][kind]  # fmt: skip
    sport, dport = (1000 + n % 60_000, 443) if ports else (n & 0xFFFF, (128 if six else 8) << 8)
    reply = (443, sport) if ports else (sport, (129 if six else 0) << 8)
    natted = src[:-1] + bytes((src[-1] ^ 1,)) if kind == 3 else src
    return Flow(
        id=0, family=10 if six else 2, proto=proto, orig_src=src, orig_dst=dst, orig_sport=sport, orig_dport=dport,
        reply_src=dst, reply_dst=natted, reply_sport=reply[0], reply_dport=reply[1], timeout_s=3600, state=state,
        status=SEEN_REPLY | (ASSURED if n % 5 else 0), mark=n % 4, zone=7 if n % 11 == 0 else 0,
    )  # fmt: skip


def pyroute2() -> Iterator[Line]:
    """20,000 entries beside pyroute2's dump."""
    from pyroute2 import NFCTSocket

    _fill(20_000)
    held = Held()
    held.dump()
    ours = statistics.median(held.dump() for _ in range(RUNS))
    with NFCTSocket() as other:
        begin = time.perf_counter()
        count = sum(1 for _ in other.dump())
        theirs = time.perf_counter() - begin
    yield {"what": "dump beside pyroute2", "rows": 20_000, "theirs_rows": count, "median_s": round(ours, 4),
           "theirs_s": round(theirs, 2), "times_faster": round(theirs / ours, 1), "bar_times_faster": 25}  # fmt: skip


def memory() -> Iterator[Line]:
    """Resident memory of a process that holds a full table after several dumps."""
    _fill(FULL - ctnetlink.stats_global()["entries"])
    held = Held()
    before = _resident_mb()
    for _ in range(4):
        held.dump()
    gc.collect()
    yield {"what": "memory of the store's process", "rows": len(held.store), "resident_mb": _resident_mb(),
           "without_flows_mb": before, "bar_mb": 150}  # fmt: skip


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)


def fill() -> Iterator[Line]:
    """Filling and emptying the table."""
    spans = {}
    for name, steps in (
        ("fill", FILLER.fill(FULL - ctnetlink.stats_global()["entries"])),
        ("unfill", FILLER.unfill()),
    ):
        begin = last = time.perf_counter()
        longest = 0.0
        done = 0
        for filled in steps:
            now = time.perf_counter()
            longest, last, done = max(longest, now - last), now, filled.done
        spans[name] = {
            "entries": done,
            "per_s": round(done / (last - begin)),
            "longest_step_ms": round(longest * 1e3, 1),
        }
    yield {"what": "fill and unfill", **spans, "bar_fill_per_s": 300_000}


# ------------------------------------------------------------ events


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
        drain()
        if events.receive_buffer >= ROOMY:
            time.sleep(REST_S)  # as the probe does
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


def growth() -> Iterator[Line]:
    """262,144 and 1,000,000 entries; run from the first namespace, where alone the limit can be raised."""
    old = MAXIMUM.read_text()
    try:
        MAXIMUM.write_text("1100000")
        yield from _run("growth-inside", (*NAMESPACES, sys.executable))
    finally:
        MAXIMUM.write_text(old)


def growth_inside() -> Iterator[Line]:
    """Time of a dump at both sizes, in one process."""
    held = Held()
    spans, bare = {}, {}
    for rows in (FULL, 1_000_000):
        _fill(rows - ctnetlink.stats_global()["entries"])
        held.dump()
        pairs = [(held.dump(), held.receive()) for _ in range(5)]
        spans[rows] = statistics.median(ours for ours, _ in pairs)
        bare[rows] = statistics.median(theirs for _, theirs in pairs)
    times = 1_000_000 / FULL
    linear = spans[1_000_000] / spans[FULL] / times
    kernel = bare[1_000_000] / bare[FULL] / times
    yield {"what": "growth to a million", "rows": len(held.store), "median_s": {k: round(v, 3) for k, v in spans.items()},
           "of_linear": round(linear, 3), "bar_of_linear": 1.1, "receiving_alone_of_linear": round(kernel, 3),
           "ours_against_receiving": round(spans[1_000_000] / bare[1_000_000], 3), "resident_mb": _resident_mb(),
           "longest_step_ms": round(held.longest_s * 1e3, 1)}  # fmt: skip


PARTS: dict[str, Callable[[], Iterator[Line]]] = {
    "dump": dump, "mix": mix, "mixed": mixed, "pyroute2": pyroute2, "memory": memory, "fill": fill, "events": events,
    "soak": soak, "user-events": user_events, "growth": growth,
}  # fmt: skip
_INSIDE = {**PARTS, "growth-inside": growth_inside}


def _run(name: str, prefix: tuple[str, ...]) -> Iterator[Line]:
    """The lines of one part, run by this command in namespaces of its own."""
    argv = [*prefix, str(Path(__file__).resolve()), "--inside", name]
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True)
    yield from map(json.loads, done.stdout.splitlines())
    if done.returncode:
        yield {"what": name, "failed": done.returncode}


def _as_nobody() -> tuple[str, ...]:
    """A Python an ordinary user may start, with the modules of this one, as root of namespaces of its own."""
    path = os.pathsep.join(part for part in (str(Path(__file__).resolve().parents[1]), *sys.path) if part)
    for python in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}", "/usr/bin/python3"):
        argv = (*NOBODY, "env", f"PYTHONPATH={path}", python)
        tried = subprocess.run([*argv, "-c", "import numpy, msgspec, cttui"], capture_output=True, cwd="/")
        if tried.returncode == 0:
            return (*argv[:-1], NAMESPACES[0], "--user", "--map-root-user", *NAMESPACES[1:], python)
    raise SystemExit("no Python with our modules is readable to an ordinary user here")


def lines(names: list[str] | None = None) -> Iterator[Line]:
    """All lines of the named parts (default: all but growth, which changes the machine's limit)."""
    for name in names or [name for name in PARTS if name != "growth"]:
        if name == "growth":
            yield from growth()
        elif name == "user-events":
            yield from _run(name, _as_nobody())
        else:
            yield from _run(name, (*NAMESPACES, sys.executable))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        keep_freed_memory()  # as the probe does
        for one in _INSIDE[sys.argv[2]]():
            print(json.dumps(one), flush=True)
    else:
        for one in lines(sys.argv[1:]):
            print(json.dumps(one), flush=True)
