"""100,000 rules looked at once a second: share of a core, ages of the counters on screen and off it.

    python tools/bench_hooks.py [NAME …]        as root; each rule set in a namespace of its own

Names: native, native-hottest, iptables-nft, native-1000-chains, iptables-nft-1000-chains, legacy, set. Measured
after the first reading of counters and texts, whose cost is told beside it. WATCH_S in the environment: for how long.
"""

import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from cttui.kernel import ctnetlink, netstat
from cttui.kernel.ruleset import ChainRules
from cttui.model.views import HookView
from cttui.probe.counters import Counters
from cttui.probe.hook_watch import HookWatch

RULES = 100_000
ROWS = 30
"""Rules of a chain on a screen of 120×40."""
WATCH_S = float(os.environ.get("WATCH_S", "120"))
SETTLE_S = 120.0
"""Texts of 100,000 rules have come long before."""


def _address(i: int) -> str:
    return f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}"


def _native(chains: int) -> str:
    """A table whose base chain holds all rules, or jumps to chains that do."""
    rules = [f"ip saddr {_address(i)} tcp dport {i % 65000 + 1} counter drop" for i in range(RULES)]
    if chains == 1:
        return "\n".join(["table ip t {", "chain c { type filter hook input priority 0;", *rules, "}", "}"])
    lines = ["table ip t {"]
    for n in range(chains):
        lines += [f"chain c{n} {{", *rules[n::chains], "}"]
    jumps = [f"tcp dport {n + 1} jump c{n}" for n in range(chains)]
    return "\n".join([*lines, "chain c { type filter hook input priority 0;", *jumps, "}", "}"])


def _iptables(chains: int) -> str:
    """What iptables-restore takes."""
    names = ["INPUT"] if chains == 1 else [f"C{n}" for n in range(chains)]
    head = ["*filter"] + [f":{name} -" for name in names if name != "INPUT"]
    rules = [
        f"-A {names[i % chains]} -s {_address(i)}/32 -p tcp -m tcp --dport {i % 65000 + 1} -j DROP" for i in range(RULES)
    ]  # fmt: skip
    return "\n".join([*head, *rules, "COMMIT", ""])


def _set() -> str:
    elements = ", ".join(map(_address, range(RULES)))
    return (
        f"table ip t {{ set a {{ type ipv4_addr; elements = {{ {elements} }} }}\n"
        "chain c { type filter hook input priority 0;\nip saddr @a counter drop\n}\n}"
    )


NFT, NFT_RESTORE, LEGACY_RESTORE = ["nft", "-f"], ["iptables-nft-restore"], ["iptables-legacy-restore"]
CASES = {
    "native": (NFT, lambda: _native(1), "path"),
    "native-hottest": (NFT, lambda: _native(1), "hottest"),
    "iptables-nft": (NFT_RESTORE, lambda: _iptables(1), "path"),
    "native-1000-chains": (NFT, lambda: _native(1000), "path"),
    "iptables-nft-1000-chains": (NFT_RESTORE, lambda: _iptables(1000), "path"),
    "legacy": (LEGACY_RESTORE, lambda: _iptables(1), "path"),
    "set": (NFT, _set, "path"),
}


def _cpu_s() -> float:
    """CPU of this process and of the children it waited for."""
    return sum(sum(resource.getrusage(of)[:2]) for of in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def _ages(chain: ChainRules, shown: list[int], read_at_s: float, now: float) -> tuple[float, float]:
    """(oldest counter on screen, oldest of the others), seconds."""
    whole = chain.read_at_s or read_at_s
    on_screen = max((now - max(chain.fresh.get(i, whole), whole) for i in shown), default=0.0)
    return on_screen, now - whole if len(shown) < len(chain.packets) else 0.0


async def _watch(order: str) -> dict[str, object]:
    watch = HookWatch(Counters(ctnetlink.stats, netstat.read), alone=False)
    view = HookView(rules_per_chain=ROWS, order=order)
    running = asyncio.create_task(watch.run())
    began = time.monotonic()
    while time.monotonic() - began < SETTLE_S and (not watch.first_read.is_set() or watch.rules.unread):
        watch.reading(view)
        await asyncio.sleep(1.0)
    first = {"first_s": round(time.monotonic() - began, 1), "first_cpu_s": round(_cpu_s(), 1)}
    for _ in range(3):  # new texts cost once more, and the first readings find out what is dear
        read_at = watch.read_at
        while watch.read_at == read_at:
            watch.reading(view)
            await asyncio.sleep(0.5)
    cpu, began = _cpu_s(), time.monotonic()
    on_screen = others = 0.0
    while time.monotonic() - began < WATCH_S:
        reading = watch.reading(view)
        now = time.monotonic()
        shown = {
            (c.backend, c.family, c.table, c.chain): [r.number - 1 for r in c.rules] for c in reading.chains
        }
        for chain in watch.rules.columns:
            ages = _ages(chain, shown.get(chain.key, []), watch.read_at or 0.0, now)
            on_screen, others = max(on_screen, ages[0]), max(others, ages[1])
        await asyncio.sleep(1.0)
    share = 100 * (_cpu_s() - cpu) / (time.monotonic() - began)
    running.cancel()
    total = watch.rules.total
    watch.close()
    return {"rules": total, "cpu_percent": round(share, 1), "bar_cpu_percent": 10, "oldest_on_screen_s": round(on_screen, 1),
            "bar_oldest_s": 10, "oldest_of_others_s": round(others, 1), **first}  # fmt: skip


def inside(name: str) -> dict[str, object]:
    """One rule set in this namespace, watched."""
    command, text, order = CASES[name]
    with tempfile.TemporaryDirectory(prefix="cttui-bench-") as folder:
        file = Path(folder) / "rules"
        file.write_text(text())
        subprocess.run([*command, str(file)], check=True)
    return {"what": f"hooks, {name}", **asyncio.run(_watch(order))}


def lines(names: list[str]) -> Iterator[dict[str, object]]:
    """A line a rule set, each in a process and namespace of its own."""
    for name in names or CASES:
        argv = ["unshare", "--net", sys.executable, str(Path(__file__).resolve()), "--inside", name]
        done = subprocess.run(argv, stdout=subprocess.PIPE, text=True)
        yield (
            json.loads(done.stdout)
            if done.returncode == 0
            else {"what": f"hooks, {name}", "failed": done.returncode}
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        print(json.dumps(inside(sys.argv[2])))
    else:
        for line in lines(sys.argv[1:]):
            print(json.dumps(line), flush=True)
