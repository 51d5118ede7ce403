"""The whole program in a pty: first frame, key latency, CPU and memory, bytes; beside iptstate, flowtop, watch.

    python tools/bench_app.py [start] [keys] [idle] [traffic] [beside]        as root

Prints a JSON line a measurement. `keys` raises nf_conntrack_max to a million and puts it back.
"""

import atexit
import contextlib
import fcntl
import json
import os
import pty
import re
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
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIMIT = Path("/proc/sys/net/netfilter/nf_conntrack_max")
CTTUI = [sys.executable, "-P", "-m", "cttui"]
TICKS = os.sysconf("SC_CLK_TCK")


def say(**what: object) -> None:
    """One JSON line."""
    print(json.dumps(what), flush=True)


HOME = tempfile.mkdtemp(prefix="cttui-bench-")
"""No memory of earlier runs, and a place for compiled modules: installed programs have theirs."""
atexit.register(shutil.rmtree, HOME, ignore_errors=True)


_FILLED = re.compile(rb"[0-9] free\.")
"""The end of what a finished fill says; while it runs its progress has no full stop."""


class Terminal:
    """A program in a pty of its own."""

    def __init__(self, argv: list[str], columns: int = 160, lines: int = 50, **environ: str) -> None:
        self.began = time.perf_counter()
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            for name in ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "COLUMNS", "LINES", "TMUX"):
                os.environ.pop(name, None)
            os.environ.update(
                {"TERM": "xterm-256color", "COLORTERM": "truecolor", "HOME": HOME, "XDG_CONFIG_HOME": HOME,
                 "XDG_STATE_HOME": HOME, "PYTHONPYCACHEPREFIX": f"{HOME}/compiled", **environ}
            )  # fmt: skip
            os.execvp(argv[0], argv)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.bytes = 0

    def read(self, seconds: float) -> bytes:
        """What it writes within `seconds`, b"" for nothing."""
        if not select.select([self.fd], [], [], seconds)[0]:
            return b""
        try:
            data = os.read(self.fd, 1 << 18)
        except OSError:  # it has ended
            time.sleep(seconds)
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

    def fill(self, seconds: float = 90) -> None:
        """Wait until the sandbox's table is filled, saying yes where it asks first."""
        seen, asked = b"", False
        end = time.perf_counter() + seconds
        while time.perf_counter() < end and not _FILLED.search(seen):
            seen = (seen + self.read(0.05))[-200_000:]
            if not asked and b"Fill the table?" in seen:
                asked = True
                self.drain(0.3)
                os.write(self.fd, b"y")
        if not _FILLED.search(seen):
            sys.exit(f"the table was not filled: {seen[-2000:].decode('utf-8', 'replace')}")

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


def cpu_to_frame(argv: list[str], text: bytes) -> float:
    """CPU seconds of the program itself until it has written `text`."""
    terminal = Terminal(argv)
    terminal.until(text, 20)
    os.kill(terminal.pid, signal.SIGKILL)
    usage = os.wait4(terminal.pid, 0)[2]
    os.close(terminal.fd)
    return usage.ru_utime + usage.ru_stime


def start() -> None:
    """First painted frame and first real data, beside a trivial Textual application, in one run.

    Wall time, and CPU time beside it: that one holds on a busy machine, too.
    """
    ours, theirs = [*CTTUI, "--sandbox"], trivial()
    frames, data, base, cpu, base_cpu = [], [], [], [], []
    for n in range(8):
        with running(theirs) as t:
            base.append(t.until(b"painted", 20))
        with running(ours) as t:
            frames.append(t.until(b"cttui", 20))
            data.append(t.until(b"262,144", 20))
        base_cpu.append(cpu_to_frame(theirs, b"painted"))
        cpu.append(cpu_to_frame(ours, b"cttui"))
        if n == 0:  # what was compiled in the first round is there in the others
            for seen in (frames, data, base, cpu, base_cpu):
                seen.clear()
    first, rest, trivials = (statistics.median(seen) for seen in (frames, data, base))
    say(what="trivial Textual app, first frame", s=round(trivials, 3))
    say(what="first painted frame", s=round(first, 3), aim=0.30, ratio=round(first / trivials, 2),
        cpu_ratio=round(statistics.median(cpu) / statistics.median(base_cpu), 2), ratio_aim=1.45)  # fmt: skip
    say(what="first real data", s=round(rest, 3), aim=0.8, ratio=round(rest / trivials, 2), ratio_aim=3.8)


def config(folder: str, count: int, rate: int) -> str:
    """A configuration whose `b` makes new flows at a rate."""
    path = Path(folder) / "config.toml"
    path.write_text(f"[burst]\nline = '{FLOOD}'\ncount = {count}\nrate_pps = {rate}\n")
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


CURSOR = b"48;2;%d;%d;%d"
_MOVE = re.compile(rb"\x1b\[(\d+);\d+H")


def cursor_colour() -> bytes:
    """The background that the dark theme gives the row under the cursor, as the terminal gets it."""
    variables = tomllib.loads((ROOT / "themes" / "dark.toml").read_text())["variables"]
    value = int(variables["cursor-background"].removeprefix("#"), 16)
    return CURSOR % (value >> 16, value >> 8 & 255, value & 255)


def painted_at(written: bytes, colour: bytes) -> int:
    """Line on which the cursor was painted last, 0 for none. Of its text, not of a changed cell in it."""
    pieces = _MOVE.split(written)
    lines = [int(y) for y, text in zip(pieces[1::2], pieces[2::2], strict=True) if colour in text]
    return lines[-1] if lines else 0


def keys() -> None:
    """Key press to painted, 262,144 entries while 50,000 new flows a second arrive.

    A key counts as painted when the cursor stands on another line; up and down stay within the window, g and G
    go to the ends of the table, whose rows have to be asked for.
    """
    colour = cursor_colour()
    with limit_of(1_000_000), tempfile.TemporaryDirectory() as folder:
        path = config(folder, 700_000, 50_000)
        argv = [*CTTUI, "--sandbox", "--free", str(1_000_000 - 262_144), "--config", path, "--theme", "dark"]
        with running(argv) as t:
            t.fill()
            t.drain(3)
            os.write(t.fd, b"b")
            t.drain(1.5)
            os.write(t.fd, b"j")  # or the first Home would find the cursor where it goes
            t.drain(0.5)
            steps, ends, missed = [], [], 0
            home = b"\x1b[H"
            for key in 6 * [home, *9 * [b"j"], *8 * [b"k"], b"G", *9 * [b"k"], *8 * [b"j"]]:
                t.drain(0.03)
                took = ends if key in (home, b"G") else steps
                began, written = time.perf_counter(), b""
                before = getattr(t, "cursor", 0)
                os.write(t.fd, key)
                while time.perf_counter() - began < 1:
                    written += t.read(0.2)
                    at = painted_at(written, colour)
                    if at and at != before:
                        t.cursor = at  # type: ignore[attr-defined]
                        took.append(1e3 * (time.perf_counter() - began))
                        break
                else:
                    missed += 1
            for name, took in (("any", steps + ends), ("step", steps), ("to an end of the table", ends)):
                took.sort()
                say(
                    what=f"key press to painted, 262,144 entries, 50,000 new flows/s: {name}", keys=len(took),
                    p50_ms=round(took[len(took) // 2], 1), p99_ms=round(took[int(0.99 * len(took))], 1), bar_ms=50,
                )  # fmt: skip
            say(what="keys without a cursor on another line within a second", keys=missed)
            say(what="memory of all processes then", mb=round(t.rss_mb()))


def idle() -> None:
    """CPU and memory at 262,144 entries, nothing changing, 1 Hz; and an empty table's bytes."""
    with running([*CTTUI, "--sandbox", "--free", "0"]) as t:
        t.fill()
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


def silence(t: Terminal, seconds: float = 30) -> None:
    """Let it run until it has written nothing for 3 s: history lines fill up, a prompt settles."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end and t.drain(3):
        pass


FLOOD = 'IP(src="198.18.0.0/15",dst="192.0.2.1")/UDP(sport=RandShort(),dport=53)'


def traffic() -> None:
    """Bytes to the terminal: nothing where nothing is to be seen; a dashboard whose every row changes each tick."""
    with running([*CTTUI, "--sandbox"]) as t:
        t.until(b"262,144", 20)
        silence(t)
        say(what="empty table: bytes in 3 s", bytes=t.drain(3), bar=0)
    with tempfile.TemporaryDirectory() as folder:
        # Slow enough that the table lives, fast enough that each second no row is what it was.
        path = config(folder, 60_000, 1_000)
        per_second = {}
        for name, words in (("1 Hz", []), ("low bandwidth", ["--low-bandwidth"])):
            # Half a reading a second is a whole one while a burst runs.
            with running([*CTTUI, "--sandbox", "--config", path, "--hz", "0.5", *words]) as t:
                t.until(b"262,144", 20)
                t.drain(3)
                os.write(t.fd, b"b")
                t.drain(5)
                per_second[name] = round(t.drain(10) / 10)
                if not words:
                    os.write(t.fd, b"\x1b[O")
                    t.drain(1.5)
                    say(what="unfocused terminal, 1,000 new flows/s: bytes in 3 s", bytes=t.drain(3), bar=0)
                    os.write(t.fd, b"\x1b[I")
                    t.drain(1.5)
                    os.write(t.fd, b" ")
                    t.drain(1.5)
                    say(what="frozen view, 1,000 new flows/s: bytes in 3 s", bytes=t.drain(3), bar=0)
        say(
            what="160×50, whole dashboard, every row changing, a reading a second: bytes a second",
            bytes=per_second["1 Hz"], bar=8192, low_bandwidth=per_second["low bandwidth"],
            low_bandwidth_ratio=round(per_second["low bandwidth"] / per_second["1 Hz"], 2), ratio_bar=0.5,
        )  # fmt: skip


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
            "flowtop": [*inside, "flowtop", "-n", "-G"],
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
                    assert t.bytes > 0 and cpu > 0, f"{name} does not run here"
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
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was raised is put back
    for part in sys.argv[1:] or ["start", "keys", "idle", "traffic", "beside"]:
        {"start": start, "keys": keys, "idle": idle, "beside": beside, "traffic": traffic}[part]()
