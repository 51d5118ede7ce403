"""Bytes that the widgets send to the terminal, counted in a pty: `python tools/bench_ui_bytes.py [ticks]`.

Prints a JSON line a case: bytes a tick (median), bytes in all, milliseconds of CPU a tick. The readings are
made up and change from tick to tick as recorded ones do (timeouts fall, counters rise, the log moves on);
they exist to be counted, nothing here looks at a kernel. Exit code 1 where a bar of the project is missed.
"""

import asyncio
import fcntl
import json
import os
import pty
import select
import socket
import statistics
import struct
import sys
import termios
import time
from pathlib import Path

from textual.app import App, ComposeResult
from textual.containers import Horizontal, Vertical

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cttui.model import flow as f
from cttui.model.flow import Flow
from cttui.model.hooks import Chain, HooksReading, Rule, Stage
from cttui.model.packet import PacketPage, PacketRow
from cttui.model.pages import FlowPage, GroupPage, GroupRow
from cttui.model.table import STATISTICS, Series, TableReading
from cttui.ui import chops, theme
from cttui.ui.dialogs import Read
from cttui.ui.widgets.breakdown import Breakdown
from cttui.ui.widgets.flow_table import FlowTable
from cttui.ui.widgets.gauge import Gauge
from cttui.ui.widgets.groups import Groups
from cttui.ui.widgets.history import Rates
from cttui.ui.widgets.hook_path import HookPath
from cttui.ui.widgets.packet_log import PacketLog
from cttui.ui.widgets.statistics import Statistics

CASES: tuple[tuple[str, int, int, str, int | None], ...] = (
    ("unchanged", 160, 50, "none", 0),
    ("unchanged", 80, 24, "none", 0),
    ("three cells", 160, 50, "few", 400),
    ("three cells, whole rows", 160, 50, "few-rows", None),
    ("every row", 160, 50, "all", 8192),
    ("every row", 80, 24, "all", 8192),
    ("every row, behind a dialog", 160, 50, "all-dialog", 8192),
    ("unchanged, behind a dialog", 160, 50, "none-dialog", 0),
    ("every row, stock Textual", 160, 50, "all-stock", None),
    ("every row, plain refresh", 160, 50, "all-refresh", None),
)
"""(name, columns, lines, what changes, most bytes a tick)."""
PERIOD_S = 0.15


def _ip(*parts: int) -> bytes:
    return bytes(parts)


def flows(tick: int, n: int, every: bool) -> FlowPage:
    """The page at this tick."""
    rows = []
    for i in range(n):
        moved = tick if every or i in (2, 9, 17) else 0
        rows.append(
            Flow(id=7_000_000 + i, key=i + 1, family=f.AF_INET, proto=f.IPPROTO_TCP, orig_src=_ip(192, 168, i % 250, 17),
                 orig_dst=_ip(203, 0, 113, i % 200), orig_sport=30000 + i, orig_dport=443, reply_src=_ip(203, 0, 113, i % 200),
                 reply_dst=_ip(192, 168, i % 250, 17), reply_sport=443, reply_dport=30000 + i, status=14, state=3,
                 timeout_s=100 - moved % 90, orig_packets=1000 + 17 * moved * (i + 1), orig_bytes=100_000 + 1500 * moved * (i + 1),
                 reply_packets=900 + 13 * moved, reply_bytes=90_000 + 1400 * moved, rate_bps=1e5 + 999.0 * moved * (i + 1), born_s=100.0)
        )  # fmt: skip
    return FlowPage(total=262_144, matched=262_144, rows=rows)


def table(tick: int) -> TableReading:
    """Gauge, rates and history."""
    past = [Series(name, [float((k * 7919 + len(name)) % 100) for k in range(tick, tick + 60)], True)
            for name in ("entries", "new", "ended", "drop", "early_drop", "insert_failed", "invalid")]  # fmt: skip
    return TableReading(
        count=200_000 + 37 * tick, maximum=262_144, buckets=262_144, active=True, held=200_000,
        by_protocol={"tcp": 190_000 + 31 * tick, "udp": 10_000 + 6 * tick}, by_state={"ESTABLISHED": 180_000 + tick, "SYN_SENT": 10_000 + tick},
        assured=180_000 + tick, evictable=20_000 + 36 * tick, stats=dict.fromkeys(STATISTICS, tick * 3),
        rates={series.name: series.values[-1] for series in past}, history=past,
    )  # fmt: skip


def hooks(tick: int) -> HooksReading:
    """Twenty rules, every counter moving."""
    chains = [
        Chain(backend="iptables-nft", family="ip", table=name, chain=hook.upper(), hook=hook, priority=priority, policy="ACCEPT",
              policy_packets=1000 + 7 * tick, rules_total=5,
              rules=[Rule(text=f"-p tcp -m tcp --dport {8000 + k}", number=k + 1, packets=5000 + (k + 3) * tick, pps=float(k * tick % 97)) for k in range(5)])
        for name, hook, priority in (("raw", "prerouting", -300), ("mangle", "prerouting", -150), ("nat", "prerouting", -100), ("filter", "input", 0))
    ]  # fmt: skip
    stages = [Stage(family="ip", hook="prerouting", priority=p, label=label, packets=9000 + 11 * tick, bytes=0, pps=float(tick % 50))
              for p, label in ((-9999, "in"), (-201, "raw"), (-199, "conntrack"))]  # fmt: skip
    return HooksReading(chains=chains, stages=stages, stages_armed=True, rules_total=20)


def packets(tick: int, n: int) -> PacketPage:
    """The tail of the log, ten packets further each tick."""
    rows = []
    for i in range(10 * tick, 10 * tick + n):
        data = (
            bytes.fromhex("45000028000100004006")
            + b"\0\0"
            + _ip(192, 168, i % 250, 17)
            + _ip(203, 0, 113, i % 200)
        )
        data += (
            (20000 + i % 40000).to_bytes(2, "big")
            + (443).to_bytes(2, "big")
            + bytes(8)
            + bytes.fromhex("5002200000000000")
        )
        rows.append(PacketRow(seq=i, time_ns=10**18 + i * 11_000_000, interface="eth0", direction="in", ethertype=0x800, length=40,
                              data=data, ct_state="ESTABLISHED [ASSURED]"))  # fmt: skip
    total = 10 * tick + n
    return PacketPage(
        capturing=True, total=total, kept=total, matched=total, rows=rows, first=10 * tick, rate_pps=10.0
    )


def groups(tick: int) -> GroupPage:
    """Ten groups, every figure moving."""
    rows = [GroupRow(key=[f"203.0.113.{i}"], filter="", count=20_000 - 900 * i + 13 * tick, share=0.2 - 0.01 * i, unreplied=tick % 100,
                     assured=5000, bytes=10**9 + 10**7 * tick, rate_bps=1e6 + 1e4 * tick) for i in range(10)]  # fmt: skip
    return GroupPage(by=["dst"], total=10, flows=200_000, rows=rows)


class Dashboard(App[None]):
    """All panels, as the program arranges them at this size."""

    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #left { width: 2fr; } #right { width: 1fr; }
    #packets { height: 10; } .low #packets { height: 4; } #groups { height: 12; } #statistics { height: 11; }
    .low #hooks { height: 2; }
    Dialog { align: center middle; background: transparent; } Dialog > .dialog { width: 100; height: 24; }
    """

    def __init__(self, change: str, wide: bool, ticks: int, phase: int) -> None:
        super().__init__()
        self.change, self.wide, self.ticks, self.phase = change, wide, ticks, phase
        themes, _ = theme.load_themes(theme.theme_folder())
        for each in themes:
            self.register_theme(each)
        self.theme = "dark"

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return theme.variable_defaults()

    def compose(self) -> ComposeResult:
        yield Gauge()
        yield Rates()
        yield Breakdown()
        if self.wide:
            with Horizontal():
                with Vertical(id="left"):
                    yield FlowTable()
                    yield PacketLog(id="packets")
                with Vertical(id="right"):
                    yield Groups(id="groups")
                    yield Statistics(id="statistics")
                    yield HookPath(id="hooks")
        else:
            with Vertical(classes="low"):
                yield FlowTable()
                yield HookPath(id="hooks")
                yield PacketLog(id="packets")

    def on_mount(self) -> None:
        self.query_one(FlowTable).focus()
        self.board = self.screen
        if self.change.endswith("-dialog"):
            self.push_screen(Read("Help", ["A dialog."]))
        self.run_worker(self.work())

    def show(self, tick: int) -> None:
        every = self.change.startswith("all")
        few = tick if every else 0
        at = 0 if self.change.startswith("none") else tick
        reading = table(few)
        self.board.query_one(FlowTable).show(flows(at, 60, every), now=0.0)
        for widget in (
            self.board.query_one(Gauge),
            self.board.query_one(Rates),
            self.board.query_one(Breakdown),
        ):
            widget.show(reading)
        self.board.query_one(HookPath).show(hooks(few))
        log = self.board.query_one(PacketLog)
        log.show(packets(few, log.question()[1]))
        if self.wide:
            self.board.query_one(Groups).show(groups(few))
            self.board.query_one(Statistics).show(reading)
        if self.change == "all-refresh":
            for widget in self.board.query(
                "FlowTable, Gauge, Rates, Breakdown, HookPath, PacketLog, Groups, Statistics"
            ):
                widget.refresh()

    async def work(self) -> None:
        for _ in range(3):  # the first before the layout is known, the last when nothing moves any more
            self.show(0)
            await asyncio.sleep(0.5)
        os.write(self.phase, b"begin\n")
        cpu = time.process_time()
        for tick in range(1, self.ticks + 1):
            self.show(tick)
            await asyncio.sleep(PERIOD_S)
            os.write(self.phase, b"tick\n")
        cpu = time.process_time() - cpu
        os.write(self.phase, f"end {1000 * cpu / self.ticks:.2f}\n".encode())
        await asyncio.sleep(PERIOD_S)  # the last mark is read before what leaving sends
        self.exit()


def child(change: str, wide: bool, ticks: int, phase: int) -> None:
    """In the pty: run the app."""
    if change in ("all-stock", "few-rows"):
        pass
    elif not chops.install():
        raise SystemExit("the patch does not fit this Textual")
    Dashboard(change, wide, ticks, phase).run()


def measure(columns: int, lines: int, change: str, ticks: int) -> tuple[list[int], float]:
    """Bytes of each tick and CPU milliseconds a tick."""
    reader, writer = socket.socketpair()
    os.set_inheritable(writer.fileno(), True)
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ |= {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": "C.UTF-8"}
        os.execv(
            sys.executable,
            [
                sys.executable,
                __file__,
                "--child",
                change,
                str(int(columns >= 120)),
                str(ticks),
                str(writer.fileno()),
            ],
        )
    writer.close()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    per_tick: list[int] = []
    said, sent, cpu, begun = b"", 0, 0.0, False
    deadline = time.monotonic() + 60 + ticks
    while time.monotonic() < deadline:
        ready, _, _ = select.select([terminal, reader], [], [], 1.0)
        if terminal in ready:
            try:
                sent += len(os.read(terminal, 1 << 16))
            except OSError:  # EIO: the child has closed its side
                break
        elif reader in ready:  # what was sent before the mark is counted before it
            part = reader.recv(4096)
            if not part:
                break
            said += part
            *whole, said = said.split(b"\n")
            for word in whole:
                if word == b"begin":
                    begun = True
                elif word == b"tick" and begun:
                    per_tick.append(sent)
                elif word.startswith(b"end"):
                    cpu = float(word.split()[1])
                sent = 0
    os.waitpid(pid, 0)
    os.close(terminal)
    reader.close()
    return per_tick, cpu


def main() -> int:
    """All cases; 1 where a bar is missed."""
    ticks = int(sys.argv[1]) if len(sys.argv) > 1 else 12
    missed = 0
    for name, columns, lines, change, bar in CASES:
        per_tick, cpu = measure(columns, lines, change, ticks)
        median = statistics.median(per_tick) if per_tick else None
        if median is None or (bar is not None and median > bar) or (bar == 0 and sum(per_tick)):
            missed = 1
        print(json.dumps({"bench": "ui bytes", "case": name, "size": f"{columns}x{lines}", "bytes_a_tick": median,
                          "bytes": sum(per_tick), "ticks": len(per_tick), "cpu_ms_a_tick": cpu, "bar": bar}), flush=True)  # fmt: skip
    return missed


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], sys.argv[3] == "1", int(sys.argv[4]), int(sys.argv[5]))
    else:
        raise SystemExit(main())
