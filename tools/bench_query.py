"""Time filters, windows and groups over made-up columns: JSON lines, medians of several runs.

    python tools/bench_query.py [ROWS …]

No kernel is involved, so sizes are free; the default is the limit most kernels have, and a million.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from cttui.flows.arena import keep_freed_memory
from cttui.flows.columns import NO_STATE, Columns, Interned, empty
from cttui.flows.groups import group
from cttui.flows.select import select
from cttui.flows.window import position_of, sort_values, window
from cttui.model.filters import GROUP_KEYS, SORT_KEYS, parse
from cttui.model.flow import AF_INET, AF_INET6, ASSURED, CONFIRMED, FILLER_MARK, FILLER_ZONE, SEEN_REPLY

RUNS = 7


def table(n: int, six: float = 0.1, accounted: bool = True) -> Columns:
    """Columns of `n` flows as a busy server has them: many clients, few services, some IPv6."""
    rng = np.random.default_rng(1)
    columns = empty(n)
    family6 = rng.random(n) < six
    columns["family"][:] = np.where(family6, AF_INET6, AF_INET)
    for end in ("orig_src", "reply_dst"):
        columns[f"{end}0"][:] = np.where(family6, 0x20010DB8, 0x0A000000 + rng.integers(0, 60000, n))
        columns[f"{end}3"][:] = np.where(family6, rng.integers(0, 5000, n), 0)
    for end in ("orig_dst", "reply_src"):
        columns[f"{end}0"][:] = np.where(family6, 0x20010DB8, 0xC0000200 + rng.integers(0, 200, n))
        columns[f"{end}3"][:] = np.where(family6, rng.integers(0, 50, n), 0)
    columns["proto"][:] = rng.choice([6, 17, 1], n, p=[0.8, 0.18, 0.02])
    columns["state"][:] = np.where(
        columns["proto"] == 6, rng.choice([1, 3, 7], n, p=[0.1, 0.7, 0.2]), NO_STATE
    )
    columns["orig_sport"][:] = columns["reply_dport"][:] = rng.integers(1024, 65536, n)
    columns["orig_dport"][:] = columns["reply_sport"][:] = rng.choice([80, 443, 53, 22, 8080], n)
    columns["status"][:] = np.where(columns["state"] == 3, SEEN_REPLY | ASSURED | CONFIRMED, CONFIRMED)
    columns["timeout_s"][:] = rng.integers(1, 432000, n)
    columns["id"][:] = rng.integers(1, 1 << 32, n)
    columns["order"][:] = rng.permutation(n)
    columns["born_s"][:] = rng.random(n) * 900
    columns["read_s"][:] = 999.0
    columns["rate_bps"][:] = np.where(rng.random(n) < 0.5, np.nan, rng.random(n) * 1e6)
    if accounted:
        for name in ("orig_packets", "reply_packets", "orig_bytes", "reply_bytes"):
            columns[name][:] = rng.integers(0, 1 << 30, n)
    return columns


def report(what: str, n: int, run: Callable[[], object]) -> None:
    """Print the median times of `run`; on a busy machine only that of the CPU says something."""
    run()
    wall, cpu = [], []
    for _ in range(RUNS):
        begin, used = time.perf_counter(), time.process_time()
        run()
        wall.append((time.perf_counter() - begin) * 1000)
        cpu.append((time.process_time() - used) * 1000)
    median, used = round(statistics.median(wall), 2), round(statistics.median(cpu), 2)
    print(json.dumps({"what": what, "rows": n, "median_ms": median, "cpu_ms": used}), flush=True)


def bench(n: int) -> None:
    """Every question a screen asks, at `n` flows."""
    columns, interned, now = table(n), Interned(), 1000.0
    alive = np.ones(n, np.bool_)
    alive[:: max(1, n // 50)] = False  # a store has holes
    rows = np.flatnonzero(alive)
    fillers = (columns["zone"] == FILLER_ZONE) & (columns["mark"] == FILLER_MARK)
    three = parse("tcp dport=443 assured")
    report("parse three terms", 1, lambda: parse("src=10.0.0.0/8 dport=443 state=SYN_SENT"))
    report("fillers left out", n, lambda: rows[~fillers[rows]])
    for text in (
        "tcp dport=443 assured", "src=10.0.0.0/8 dport=443 state=SYN_SENT", "src=2001:db8::/64 udp",
        "host 10.0.1.7", "bytes>1M age>5m timeout<100000", "not (tcp or udp)",
    ):  # fmt: skip
        node = parse(text)
        report(f"select {text}", n, partial(select, node, columns, rows, now, interned, 0.0))

    def place(key: str, first: int) -> None:
        window(sort_values(columns, rows, key, now, interned), first, 50, True)

    for key in SORT_KEYS:
        for first in (0, len(rows) // 2):
            report(f"sort {key} window at {first}", n, partial(place, key, first))

    def screen(text: str, key: str) -> None:
        chosen = select(parse(text), columns, rows[~fillers[rows]], now, interned, 0.0)
        values = sort_values(columns, chosen, key, now)
        window(values, 0, 50, True)
        position_of(values, len(chosen) // 3, True)

    for text, key in (
        ("tcp", "bytes"),
        ("", "newest"),
        ("assured", "src"),
        ("tcp dport=443 assured", "timeout"),
    ):
        report(
            f"screen: filter {text!r}, sort {key}, 50 rows, cursor",
            n,
            partial(screen, text, key),
        )
    for key in GROUP_KEYS:
        report(f"group by {key}", n, partial(group, columns, rows, [key], interned=interned))
    report("group by src, by bytes", n, lambda: group(columns, rows, ["src"], "bytes", interned=interned))
    report(
        "group by dst dport proto",
        n,
        lambda: group(columns, rows, ["dst", "dport", "proto"], interned=interned),
    )
    only4 = select(parse("ipv4"), columns, rows, now, interned, 0.0)
    report("group IPv4 by src", n, lambda: group(columns, only4, ["src"], interned=interned))
    report("select three terms of a few", n, lambda: select(three, columns, rows[:1000], now, interned, 0.0))


if __name__ == "__main__":
    keep_freed_memory()
    for size in [int(a) for a in sys.argv[1:]] or [262_144, 1_000_000]:
        bench(size)
