"""Dump, decode and memory against the kernel: JSON lines, ratios inside one run, medians.

    python tools/bench_ct.py [NAME …]        as root; each part in a namespace of its own

Parts: dump, mix, mixed, pyroute2, memory, fill, growth (raises nf_conntrack_max to hold a million entries and puts it
back).
"""

import gc
import os
import statistics
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from bench_parts import Held, Line, Part, main, run_part

from cttui.kernel import ctnetlink
from cttui.kernel.ctencode import address, create_message
from cttui.kernel.ctfill import Filler
from cttui.kernel.netlink import Netlink
from cttui.model.flow import ASSURED, SEEN_REPLY, Flow

RUNS = 7
FULL = 262_144
MAXIMUM = Path("/proc/sys/net/netfilter/nf_conntrack_max")
FILLER = Filler()
"""One for all fills of a process: it never makes the same tuple twice."""


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


def growth() -> Iterator[Line]:
    """262,144 and 1,000,000 entries; run from the first namespace, where alone the limit can be raised."""
    old = MAXIMUM.read_text()
    try:
        MAXIMUM.write_text("1100000")
        yield from run_part("_growth")
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


PARTS: dict[str, Part] = {
    "dump": dump, "mix": mix, "mixed": mixed, "pyroute2": pyroute2, "memory": memory, "fill": fill, "growth": growth,
    "_growth": growth_inside,
}  # fmt: skip

if __name__ == "__main__":
    main(PARTS, outside=("growth",))
