"""The whole program in a pty: first frame, key latency, CPU and memory, bytes; beside iptstate, flowtop, watch.

    python tools/bench_app.py [start] [keys] [idle] [beside]        as root

Prints a JSON line a measurement. `keys` raises nf_conntrack_max to a million and puts it back.
"""

import contextlib
import fcntl
import json
import os
import pty
import select
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from pathlib import Path

LIMIT = Path("/proc/sys/net/netfilter/nf_conntrack_max")
CTTUI = [sys.executable, "-P", "-m", "cttui"]
TICKS = os.sysconf("SC_CLK_TCK")


def say(**what: object) -> None:
    """One JSON line."""
    print(json.dumps(what), flush=True)


class Terminal:
    """A program in a pty of its own."""

    def __init__(self, argv: list[str], columns: int = 160, lines: int = 50, **environ: str) -> None:
        self.began = time.perf_counter()
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update({"TERM": "xterm-256color", "COLORTERM": "truecolor", **environ})
            os.execvp(argv[0], argv)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.bytes = 0

    def read(self, seconds: float) -> bytes:
        """What it writes within `seconds`, b"" for nothing."""
        if not select.select([self.fd], [], [], seconds)[0]:
            return b""
        try:
            data = os.read(self.fd, 1 << 18)
        except OSError:
            return b""
        self.bytes += len(data)
        return data

    def until(self, text: bytes, seconds: float) -> float:
        """Seconds since the start until `text` was written; NaN if it never was."""
        seen = b""
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            seen = (seen + self.read(0.05))[-200_000:]
            if text in seen:
                return time.perf_counter() - self.began
        return float("nan")

    def drain(self, seconds: float) -> int:
        """Let it run for `seconds`; bytes written meanwhile."""
        before, end = self.bytes, time.perf_counter() + seconds
        while (left := end - time.perf_counter()) > 0:
            self.read(min(left, 0.1))
        return self.bytes - before

    def tree(self) -> list[int]:
        """The program's processes."""
        pids, new = [], [self.pid]
        while new:
            pids += new
            found = subprocess.run(
                ["pgrep", "-P", ",".join(map(str, new))], capture_output=True, text=True, check=False
            )
            new = [int(word) for word in found.stdout.split()]
        return pids

    def cpu_s(self) -> float:
        """CPU seconds of all its processes so far."""
        total = 0
        for pid in self.tree():
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                total += sum(int(fields[i]) for i in (11, 12, 13, 14))
        return total / TICKS

    def rss_mb(self) -> float:
        """Resident memory of all its processes, shared pages counted in each."""
        total = 0
        for pid in self.tree():
            with contextlib.suppress(OSError):
                total += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return total * os.sysconf("SC_PAGE_SIZE") / 1e6

    def close(self) -> None:
        """End it."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)
            for _ in range(40):
                self.read(0.05)
                if os.waitpid(self.pid, os.WNOHANG)[0]:
                    os.close(self.fd)
                    return
        os.close(self.fd)


@contextlib.contextmanager
def running(argv: list[str], **kw: object) -> Iterator[Terminal]:
    """A terminal that is closed at the end."""
    terminal = Terminal(argv, **kw)  # type: ignore[arg-type]
    try:
        yield terminal
    finally:
        terminal.close()


def trivial() -> list[str]:
    """A Textual application that only paints one word: what the library itself takes."""
    code = "from textual.app import App\nfrom textual.widgets import Static\nclass A(App):\n  def compose(self): yield Static('painted')\nA().run()"
    return [sys.executable, "-c", code]


def start() -> None:
    """First painted frame and first real data, beside a trivial Textual application, in one run."""
    frames, data, base = [], [], []
    for _ in range(7):
        with running(trivial()) as t:
            base.append(t.until(b"painted", 10))
        with running([*CTTUI, "--sandbox"]) as t:
            frames.append(t.until(b"cttui", 10))
            data.append(t.until(b"262,144", 10))
    median = statistics.median
    say(what="trivial Textual app, first frame", s=round(median(base), 3))
    say(
        what="first painted frame",
        s=round(median(frames), 3),
        ratio=round(median(frames) / median(base), 2),
        aim=0.30,
    )
    say(what="first real data", s=round(median(data), 3), aim=0.8)


def config(folder: str, count: int, rate: int) -> str:
    """A configuration whose `b` makes new flows at a rate."""
    path = Path(folder) / "config.toml"
    path.write_text(
        '[burst]\nline = "IP(src=\\"198.18.0.0/15\\",dst=\\"192.0.2.1\\")/UDP(sport=RandShort(),dport=53)"\n'
        f"count = {count}\nrate_pps = {rate}\n"
    )
    return str(path)


@contextlib.contextmanager
def limit_of(entries: int) -> Iterator[None]:
    """The machine's limit raised, and put back."""
    old = LIMIT.read_text()
    try:
        LIMIT.write_text(str(entries))
        yield
    finally:
        LIMIT.write_text(old)


def keys() -> None:
    """Key press to painted, 262,144 entries while 50,000 new flows a second arrive."""
    with limit_of(1_000_000), tempfile.TemporaryDirectory() as folder:
        path = config(folder, 500_000, 50_000)
        argv = [*CTTUI, "--sandbox", "--free", str(1_000_000 - 262_144), "--config", path]
        with running(argv) as t:
            t.until(b"slots taken", 60)
            t.drain(3)
            os.write(t.fd, b"b")
            t.drain(1.5)
            took = []
            for n in range(150):
                t.drain(0.02)
                began = time.perf_counter()
                os.write(t.fd, b"j" if n % 30 < 25 else b"G" if n % 2 else b"g")
                while not t.read(1.0) and time.perf_counter() - began < 2:
                    pass
                took.append(1e3 * (time.perf_counter() - began))
            took.sort()
            say(
                what="key press to painted, 262,144 entries, 50,000 new flows/s",
                p50_ms=round(took[len(took) // 2], 1),
                p99_ms=round(took[int(0.99 * len(took))], 1),
                bar_ms=50,
            )
            say(what="memory of UI and probe then", mb=round(t.rss_mb()))


def idle() -> None:
    """CPU and memory at 262,144 entries, nothing changing, 1 Hz; and an empty table's bytes."""
    with running([*CTTUI, "--sandbox", "--free", "0"]) as t:
        t.until(b"slots taken", 60)
        t.drain(20)
        cpu, sent = t.cpu_s(), t.bytes
        t.drain(30)
        say(
            what="262,144 entries, nothing changing, 1 Hz: CPU of all processes, % of a core",
            percent=round(100 * (t.cpu_s() - cpu) / 30, 1),
            bar=12,
            bytes_per_s=round((t.bytes - sent) / 30),
        )
        say(what="memory, all processes, 262,144 entries", mb=round(t.rss_mb()), bar=250)
    with running([*CTTUI, "--sandbox"]) as t:
        t.drain(8)
        say(what="empty table: bytes in 3 s", bytes=t.drain(3), bar=0)


def beside() -> None:
    """CPU and bytes beside the peers, all on the same table of 100,000 entries in one namespace."""
    code = (
        "import sys\nfrom cttui.kernel.ctfill import Filler\n"
        "for _ in Filler(zone=0, mark=0).fill(100_000): pass\nprint('filled', flush=True)\nsys.stdin.read()"
    )
    holder = subprocess.Popen(
        ["unshare", "--net", "--pid", "--fork", "--kill-child=KILL", sys.executable, "-c", code],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert holder.stdout is not None
        holder.stdout.readline()
        child = subprocess.run(
            ["pgrep", "-P", str(holder.pid)], capture_output=True, text=True, check=True
        ).stdout.split()[0]
        inside = ["nsenter", f"--net=/proc/{child}/ns/net", "--"]
        peers = {
            "cttui": [*CTTUI, "--pid", child],
            "iptstate": [*inside, "iptstate"],
            "flowtop": [*inside, "flowtop"],
            "watch conntrack -L": [*inside, "watch", "-n1", "conntrack -L 2>/dev/null | head -50"],
        }
        for name, argv in peers.items():
            tool = argv[len(inside)] if name not in ("cttui",) else argv[0]
            if shutil.which(tool) is None:
                say(what=f"beside: {name}", skipped=f"{tool} is not installed")
                continue
            rows = []
            for _ in range(3):
                with running(argv) as t:
                    t.drain(6)
                    cpu, sent = t.cpu_s(), t.bytes
                    t.drain(10)
                    rows.append((100 * (t.cpu_s() - cpu) / 10, (t.bytes - sent) / 10))
            say(
                what=f"beside: {name}, 100,000 entries",
                cpu_percent=round(statistics.median(r[0] for r in rows), 1),
                bytes_per_s=round(statistics.median(r[1] for r in rows)),
            )
    finally:
        holder.kill()
        holder.wait()


if __name__ == "__main__":
    for part in sys.argv[1:] or ["start", "keys", "idle", "beside"]:
        {"start": start, "keys": keys, "idle": idle, "beside": beside}[part]()
