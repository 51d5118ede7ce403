"""Packets: what the capture takes without loss, and what it costs, beside tcpdump and scapy's sniffer.

Prints one JSON object a line. Everything runs in a fresh sandbox (`unshare --net`): the program's own
injector writes to its tun, the program's own capture and log take the packets, pages are asked for and packed
as the screen would have it. Needs root, tcpdump and scapy.
"""

import asyncio
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import msgspec  # noqa: E402

from cttui.model.actions import Fire, Patch, Template  # noqa: E402
from cttui.model.packet import PacketPage  # noqa: E402
from cttui.model.views import JourneyView, PacketView  # noqa: E402

PAGES_HZ = 2
SETTLE_S = 0.4


def template(sports: int = 50_000) -> Template:
    """A SYN to port 80 whose source port runs through a range."""
    import scapy.layers.inet as inet

    packet = bytes(inet.IP(src="198.51.100.2", dst="192.0.2.1") / inet.TCP(sport=1024, dport=80, flags="S"))
    patch = Patch(offset=20, width=2, kind="range", first=1024, last=1023 + sports, name="sport")
    return Template(data=packet, patches=[patch], checksums=[(36, [20])])


def cpu_s() -> float:
    """CPU seconds of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


class Bench:
    """A sandbox with injector and capture in this process."""

    def __init__(self) -> None:
        from cttui.flows.columns import Interned
        from cttui.flows.store import Store
        from cttui.probe.capture import Capture
        from cttui.probe.injector import Injector
        from cttui.probe.sandbox import open_sandbox

        self.sandbox = open_sandbox()
        self.injector = Injector(self.sandbox)
        self.capture = Capture(Store(Interned()), None)

    async def fire(self, rate_pps: float, count: int) -> tuple[int, float]:
        """Packets sent and seconds."""
        fire = Fire(templates=[template()], count=count, rate_pps=rate_pps)
        report = await self.injector.fire(fire)
        return report.sent, report.seconds

    def page(self, view: PacketView, now: float) -> PacketPage:
        """A window of the log as it is."""
        return self.capture.page(view, now, frozen=False)

    async def look(self) -> None:
        """Ask for a page as a screen does, until cancelled."""
        encoder = msgspec.msgpack.Encoder()
        while True:
            encoder.encode(self.page(PacketView(count=50), time.monotonic()))
            await asyncio.sleep(1 / PAGES_HZ)

    async def run(self, rate_pps: float, count: int) -> dict[str, Any]:
        """Capture one burst; what was sent, logged, dropped, and what it cost."""
        await self.injector.start()
        await self.capture.start(self.sandbox.device)
        logged, drops = self.capture.log.total, self.capture.drops
        looking = asyncio.create_task(self.look())
        await asyncio.sleep(0.1)
        cpu, start = cpu_s(), time.perf_counter()
        sent, seconds = await self.fire(rate_pps, count)
        cost = (cpu_s() - cpu) / (time.perf_counter() - start)
        await asyncio.sleep(SETTLE_S)
        if looking.done():
            looking.result()  # it goes on until it is cancelled: what ended it is raised here
        looking.cancel()
        out = {
            "sent": sent, "sent_pps": round(sent / seconds), "logged": self.capture.log.total - logged,
            "ring_drops": self.capture.drops - drops, "capture_percent_of_a_core": round(100 * cost, 1),
        }  # fmt: skip
        self.capture.stop()
        return out


async def capture_200k(bench: Bench, seconds: float = 10) -> dict[str, Any]:
    """200,000 packets a second: ring drops 0, log count = sent, at most 10 % of a core."""
    drop_all()
    out = await bench.run(200_000, int(200_000 * seconds))
    await bench.injector.close()
    return {"bench": "capture_200k", "seconds": seconds, **out}


async def capture_flood(bench: Bench) -> dict[str, Any]:
    """As fast as the injector can, five times: log count + drops = sent."""
    drop_all()
    runs = [await bench.run(0, 2_000_000) for _ in range(5)]
    await bench.injector.close()
    return {
        "bench": "capture_flood", "sent_pps": statistics.median(r["sent_pps"] for r in runs),
        "ring_drops": [r["ring_drops"] for r in runs],
        "all_accounted_for": all(r["logged"] + r["ring_drops"] == r["sent"] for r in runs),
        "capture_percent_of_a_core": statistics.median(r["capture_percent_of_a_core"] for r in runs),
    }  # fmt: skip


async def capture_overrun(bench: Bench) -> dict[str, Any]:
    """A loop that stands still for a second: what the ring lost is shown, and log count + drops = sent."""
    drop_all()

    def stall() -> None:
        time.sleep(1.0)

    asyncio.get_running_loop().call_later(1.0, stall)
    out = await bench.run(200_000, 600_000)
    await bench.injector.close()
    return {
        "bench": "capture_overrun", **out, "all_accounted_for": out["logged"] + out["ring_drops"] == out["sent"],
    }  # fmt: skip


async def beside_tcpdump(bench: Bench, rate_pps: int = 200_000, count: int = 1_000_000) -> dict[str, Any]:
    """The same packets at the same time for us and for `tcpdump -w`: packets each of them lost."""
    drop_all()
    with tempfile.NamedTemporaryFile(suffix=".pcap") as file:
        tcpdump = await asyncio.create_subprocess_exec(
            "tcpdump", "-i", bench.sandbox.device, "-n", "-s", "96", "-w", file.name, "-Z", "root",
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert tcpdump.stderr is not None
        while b"listening on" not in await tcpdump.stderr.readline():
            pass
        out = await bench.run(rate_pps, count)
        await asyncio.sleep(1.5)  # libpcap hands a block over after a second at the latest
        tcpdump.terminate()
        words = (await tcpdump.stderr.read()).decode()
        await tcpdump.wait()
        stored = (Path(file.name).stat().st_size - 24) // (16 + 40)
    await bench.injector.close()
    dropped = [int(line.split()[0]) for line in words.splitlines() if "dropped by kernel" in line]
    return {
        "bench": "beside_tcpdump", **out, "tcpdump_stored": stored, "tcpdump_dropped": dropped[0] if dropped else None,
    }  # fmt: skip


SNIFF = """
import sys, time, logging
logging.getLogger("scapy").setLevel(logging.CRITICAL)
from scapy.all import AsyncSniffer
n = [0]
def count(packet):
    n[0] += 1
sniffer = AsyncSniffer(iface=sys.argv[1], prn=count, store=False, started_callback=lambda: print("ready", flush=True))
sniffer.start()
sys.stdin.readline()
time.sleep(0.5)
sniffer.stop()
print(n[0], flush=True)
"""


async def beside_scapy(bench: Bench) -> dict[str, Any]:
    """The highest rate that scapy's sniffer takes without loss for two seconds, and ours at 40 times that."""
    drop_all()
    lossless, steps = 0, []
    for rate in (1000, 2000, 3000, 4000, 5000, 6000, 8000, 10_000):
        sniffer = await asyncio.create_subprocess_exec(
            sys.executable, "-c", SNIFF, bench.sandbox.device,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert sniffer.stdin is not None and sniffer.stdout is not None
        await sniffer.stdout.readline()
        sent, _ = await bench.fire(rate, rate * 2)
        got = int((await sniffer.communicate(b"\n"))[0])
        steps.append((rate, sent - got))
        if got < sent:
            break
        lossless = rate
    ours = await bench.run(lossless * 40, lossless * 40 * 3)
    await bench.injector.close()
    return {"bench": "beside_scapy", "scapy_lossless_pps": lossless, "scapy_lost": steps, "at_40_times": ours}


async def journeys(bench: Bench, rate_pps: int = 5000, count: int = 10_000) -> dict[str, Any]:
    """Traced packets at 5,000 a second through the sandbox's rules: every message read, every packet ended."""
    from cttui.kernel.rules import Reader
    from cttui.probe.traces import Traces

    await bench.injector.start()
    traces = Traces(bench.capture.lookup, Reader().read)
    await traces.arm(count)
    cpu, start = cpu_s(), time.perf_counter()
    sent, seconds = await bench.fire(rate_pps, count)
    cost = (cpu_s() - cpu) / (time.perf_counter() - start)
    traces.finish()
    begin = time.perf_counter()
    reading = traces.reading(JourneyView(first=-1, count=40))
    page_ms = (time.perf_counter() - begin) * 1000
    await bench.injector.close()
    return {
        "bench": "journeys", "sent": sent, "pps": round(sent / seconds), "journeys": reading.total,
        "lost_messages": reading.lost, "capped": reading.capped, "ends": reading.ends,
        "percent_of_a_core": round(100 * cost, 1), "page_ms": round(page_ms, 2),
    }  # fmt: skip


async def pages(bench: Bench) -> dict[str, Any]:
    """Pages of a full log, milliseconds, medians of 5: followed, filtered, of one flow, with the aggregate."""
    drop_all()
    await bench.injector.start()
    await bench.capture.start(bench.sandbox.device)
    await bench.fire(0, 300_000)
    await asyncio.sleep(SETTLE_S)
    views = {
        "follow": PacketView(count=50),
        "filter": PacketView(count=50, filter="dport=80 sport<30000"),
        "network": PacketView(count=50, filter="src=198.51.100.0/24 or host=2001:db8::/32", first=0),
    }
    out: dict[str, Any] = {"bench": "packet_pages", "kept": bench.capture.log.kept}
    for name, view in views.items():
        out[f"{name}_ms"] = median_ms(partial(bench.page, view, time.monotonic()))
    out["follow_quiet_ms"] = median_ms(lambda: bench.page(views["follow"], time.monotonic() + 10))
    bench.capture.stop()
    await bench.injector.close()
    return out


def words(rows: int = 20_000) -> dict[str, Any]:
    """Lines of packets, microseconds each."""
    from cttui.model.packet import PacketRow
    from cttui.model.packet_words import packet_fields, packet_line

    data = template().data
    row = PacketRow(
        seq=1,
        time_ns=time.time_ns(),
        interface="tun0",
        direction="in",
        ethertype=0x800,
        length=len(data),
        data=data,
    )
    line_ms = median_ms(lambda: [packet_line(row) for _ in range(rows)])
    fields_ms = median_ms(lambda: [packet_fields(row) for _ in range(rows)])
    return {
        "bench": "packet_words", "line_us": round(line_ms * 1000 / rows, 2), "fields_us": round(fields_ms * 1000 / rows, 2)
    }  # fmt: skip


class NoFlows:
    """A store without flows."""

    def of_packets(self, tuples: list[Any]) -> list[tuple[int, str]]:
        """None has one."""
        return [(0, "")] * len(tuples)

    def tuples_of(self, key: int) -> list[Any]:
        """None."""
        return []


def mutants(packets: int, seed: int) -> Iterator[tuple[int, bytes]]:
    """Ethertype and bytes: half of them random, half of them those of the tests with bytes changed or cut off."""
    source = random.Random(seed)
    seeds = [bytes.fromhex(line) for line in (ROOT / "tests/data/packets_seeds.hex").read_text().split()]
    kinds = (0x0800, 0x86DD, 0x0806, 0x8100, 0x88A8, 0x1234)
    for i in range(packets):
        if i % 2:
            kind, data = kinds[i % len(kinds)], source.randbytes(source.randrange(97))
            if data and i % 4 == 1:  # random, but of a known version
                data = bytes([(0x45, 0x60)[kind == 0x86DD]]) + data[1:]
            yield kind, data
            continue
        whole = seeds[source.randrange(len(seeds))]
        data = whole[2 : 2 + source.randrange(len(whole) - 1)] if i % 3 == 0 else whole[2:]
        mutated = bytearray(data)
        for _ in range(source.randrange(1, 6)):
            if mutated:
                mutated[source.randrange(len(mutated))] = source.randrange(256)
        yield int.from_bytes(whole[:2], "big"), bytes(mutated)


def fuzz(
    packets: int = 1_000_000, seed: int = 1, batch: int = 5_000, dissect_one_in: int = 100
) -> dict[str, Any]:
    """Random and mutated packets through the log's columns, its filter, every row's words and, one in a hundred,
    the dissection: nothing raised, nothing but printable characters."""
    import numpy as np

    from cttui.kernel.packet_columns import NO_VLAN, PACKET, SNAP, decode_headers
    from cttui.kernel.ring import PacketBatch
    from cttui.lab.dissect import dissect
    from cttui.model.packet_words import packet_fields, packet_line
    from cttui.probe.packet_log import PacketLog

    log, bad, shown, dissected = PacketLog(batch), 0, 0, 0
    found = mutants(packets, seed)
    while chunk := list(islice(found, batch)):
        records = np.zeros(len(chunk), PACKET)
        records["vlan"] = NO_VLAN
        for record, (kind, data) in zip(records, chunk, strict=True):
            snap = data[:SNAP]
            record["time_ns"], record["ethertype"], record["length"] = shown, kind, len(data)
            record["caplen"] = len(snap)
            record["data"][: len(snap)] = np.frombuffer(snap, np.uint8)
        log.append(PacketBatch(records, decode_headers(records)), 0.0)
        log.page(
            PacketView(count=9, filter="host=10.0.0.0/8 or dport<1024 or not proto=6"),
            NoFlows(),
            0.1,
            names={},
        )
        page = log.page(PacketView(count=batch, first=0), NoFlows(), 0.1, names={})
        assert len(page.rows) == len(chunk) and page.top, "every packet is in the log"
        for row in page.rows:
            words = [packet_line(row), *map(str, packet_fields(row))]
            if shown % dissect_one_in == 0:
                found_in = dissect(row)
                words += found_in.hexdump
                words += [text for layer in found_in.layers for pair in layer.fields for text in pair]
                dissected += 1
            bad += sum(not word.isprintable() for word in words)
            shown += 1
    return {"bench": "packet_fuzz", "packets": shown, "dissected": dissected, "not_printable": bad}


def median_ms(work: Callable[[], object], times: int = 5) -> float:
    """Median time of a call."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        taken.append((time.perf_counter() - start) * 1000)
    return round(statistics.median(taken), 2)


def drop_all() -> None:
    """A rule that ends every packet early: the injector then reaches its full rate."""
    subprocess.run(["iptables", "-t", "raw", "-I", "PREROUTING", "-j", "DROP"], check=True)


IN_SANDBOX = {
    f.__name__: f
    for f in (capture_200k, capture_flood, capture_overrun, beside_tcpdump, beside_scapy, journeys, pages)
}
OUTSIDE = {f.__name__: f for f in (words, fuzz)}


def run(name: str) -> dict[str, Any]:
    """One benchmark, in a namespace of its own where it needs one."""
    if name in OUTSIDE:
        return OUTSIDE[name]()
    done = subprocess.run(
        ["unshare", "--net", "--pid", "--fork", "--kill-child=KILL", "--mount-proc",
         sys.executable, __file__, "--inside", name],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def main(argv: list[str]) -> int:
    """`bench_packets.py [NAME …]`: the named benchmarks, or all of them."""
    if argv[:1] == ["--inside"]:
        bench = Bench()  # outside the loop: the library that sets up links wants to run its own
        print(json.dumps(asyncio.run(IN_SANDBOX[argv[1]](bench))))
        return 0
    for name in argv or [*IN_SANDBOX, *OUTSIDE]:
        print(json.dumps(run(name)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
