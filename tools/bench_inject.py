"""Injection rates in one run: scapy's `send` against the injector, into the sandbox's device.

Run as root or as an ordinary user: `python tools/bench_inject.py`. It makes its own namespaces. Every rate
is the median of five; `counted` is raw PREROUTING's own count, `entries` what conntrack then holds.
"""

import asyncio
import json
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cttui.probe.sandbox import Sandbox

ROUNDS = 5
SCAPY_PACKETS, PACKETS = 300, 20_000  # 100,000 entries in all: far from a full table


def _iptables(*argv: str) -> str:
    return subprocess.run(["iptables", *argv], capture_output=True, text=True, check=True).stdout


def _counted() -> int:
    """Packets of the first rule of raw PREROUTING."""
    save = subprocess.run(
        ["iptables-save", "-c", "-t", "raw"], capture_output=True, text=True, check=True
    ).stdout
    found = re.search(r"\[(\d+):\d+\] -A PREROUTING", save)
    return int(found[1]) if found else 0


def _entries() -> int:
    return int(Path("/proc/sys/net/netfilter/nf_conntrack_count").read_text())


def _scapy_rate(device: str) -> float:
    """scapy's `send`, a packet built and sent at a time, as the article does it."""
    from scapy.config import conf
    from scapy.layers.inet import IP, TCP
    from scapy.layers.tuntap import TunTapInterface
    from scapy.sendrecv import send, sendp

    conf.verb = 0
    started = time.perf_counter()
    if device == "tun":
        wire = TunTapInterface("scapy0", mode_tun=True)
        subprocess.run(["ip", "link", "set", "scapy0", "up"], check=True)
        started = time.perf_counter()
        for i in range(SCAPY_PACKETS):
            send(
                IP(src="198.51.100.9", dst="192.0.2.1") / TCP(sport=1024 + i, dport=80, flags="S"),
                socket=wire,
            )
        seconds = time.perf_counter() - started
        wire.close()
        return SCAPY_PACKETS / seconds
    from scapy.layers.l2 import Ether

    wire = conf.L2socket(iface="wire0")
    started = time.perf_counter()
    for i in range(SCAPY_PACKETS):
        packet = IP(src="198.51.100.9", dst="192.0.2.1") / TCP(sport=1024 + i, dport=80, flags="S")
        sendp(Ether(dst="02:00:00:00:00:01") / packet, socket=wire)
    seconds = time.perf_counter() - started
    wire.close()
    return SCAPY_PACKETS / seconds


async def _inside(box: "Sandbox", opened: float) -> dict[str, object]:
    from cttui.lab.compose import compile
    from cttui.model.actions import Fire
    from cttui.probe.injector import Injector

    scapy = [_scapy_rate(box.kind) for _ in range(ROUNDS)]
    injector = Injector(box)
    await injector.start()
    kept, dropped = [], []
    base, held, sent = _counted(), _entries(), 0
    for round_ in range(ROUNDS):
        text = f'IP(src="10.9.{round_}.1",dst="192.0.2.1")/TCP(sport=(1024,65535),dport=80,flags="S")'
        report = await injector.fire(Fire(templates=compile(text), count=PACKETS))
        kept.append(report.sent / report.seconds)
        sent += report.sent
    counted, entries = _counted() - base, _entries() - held
    _iptables("-t", "raw", "-I", "PREROUTING", "-j", "DROP")
    for _ in range(ROUNDS):
        report = await injector.fire(
            Fire(templates=compile("IP()/TCP(sport=(1024,65535))"), count=PACKETS * 4)
        )
        dropped.append(report.sent / report.seconds)
    await injector.close()
    return {
        "device": box.kind, "open_s": opened, "scapy_pps": statistics.median(scapy),
        "kept_pps": statistics.median(kept), "dropped_pps": statistics.median(dropped),
        "sent": sent, "counted": counted, "entries": entries,
    }  # fmt: skip


def main() -> int:
    """Print the rates and their ratio; exit 1 if a packet was not counted or the ratio is below 100."""
    if "--inside" in sys.argv:
        from cttui.probe.sandbox import open_sandbox

        started = time.perf_counter()
        box = open_sandbox()  # before there is a loop: pyroute2 brings its own
        print(json.dumps(asyncio.run(_inside(box, time.perf_counter() - started))))
        return 0
    user = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    argv = ["unshare", *user, "--net", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"]
    done = subprocess.run(
        [*argv, sys.executable, __file__, "--inside"], stdout=subprocess.PIPE, text=True, check=True
    )
    got = json.loads(done.stdout.splitlines()[-1])
    ratio = got["kept_pps"] / got["scapy_pps"]
    print(f"sandbox open ({got['device']})                 {got['open_s'] * 1000:11.0f} ms")
    print(f"scapy send                         {got['scapy_pps']:11,.0f} packets/s")
    print(f"injector, distinct flows kept      {got['kept_pps']:11,.0f} packets/s   {ratio:,.0f} × scapy")
    print(f"injector, dropped in raw           {got['dropped_pps']:11,.0f} packets/s")
    print(
        f"sent {got['sent']:,}, counted by raw PREROUTING {got['counted']:,}, new entries {got['entries']:,}"
    )
    return 0 if got["sent"] == got["counted"] == got["entries"] and ratio >= 100 else 1


if __name__ == "__main__":
    sys.exit(main())
