"""The packet log with the dashboard open: 200,000 packets a second for ten seconds, as a person sees it.

`python tools/bench_packets_ui.py [seconds] [packets a second]`. A terminal of 160×50 runs `cttui --sandbox`, the
packet log in focus and following; its own `b` fires the burst, which a rule in raw PREROUTING ends. Then once more
with a probe that stands still for two seconds, so that the ring overflows: what it lost has to be on screen, and
log count + drops = sent. The figures are those of the readings that the dashboard got (`--record`) and of /proc.
Prints a JSON object a run; exit code 1 where a bar is missed. Needs root, tmux and iptables.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from cttui.client.recording import frames  # noqa: E402
from cttui.model.jobs import Result  # noqa: E402
from cttui.model.messages import Answer  # noqa: E402

COLUMNS, LINES = 160, 50
MOST_PERCENT = 10.0
STALL_S = 2.0
LINE = 'IP(src="198.51.100.2",dst="192.0.2.1")/TCP(sport=(1024,51023),dport=80,flags="S")'
TICKS = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """CPU seconds of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def below(pid: int) -> dict[int, str]:
    """Every process below `pid`, with its command line."""
    found: dict[int, str] = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found[int(child)] = Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        found |= below(int(child))
    return found


class Dashboard:
    """The program in a terminal, and the readings it got."""

    def __init__(self, folder: Path, count: int, rate_pps: float) -> None:
        self._tmux = ["tmux", "-S", str(folder / "tmux"), "-f", "/dev/null"]
        self._recording = folder / "run.rec"
        config = folder / "config.toml"
        config.write_text(f"[burst]\nline = {LINE!r}\ncount = {count}\nrate_pps = {rate_pps}\n")
        environment = ("env", "-u", "COLUMNS", "-u", "LINES", f"HOME={folder}", "LC_ALL=C.UTF-8")
        program = (
            sys.executable,
            "-P",
            "-m",
            "cttui",
            "--sandbox",
            "--config",
            config,
            "--record",
            self._recording,
        )
        words = [str(word) for word in (*environment, f"PYTHONPATH={ROOT}", *program)]
        self._run("new-session", "-d", "-x", str(COLUMNS), "-y", str(LINES), *words)
        self.pid = int(self._run("display-message", "-p", "#{pane_pid}"))

    def _run(self, *words: str) -> str:
        return subprocess.run([*self._tmux, *words], capture_output=True, text=True, check=True).stdout

    def press(self, key: str) -> None:
        """A key."""
        self._run("send-keys", key)

    def screen(self) -> str:
        """What is on screen."""
        return self._run("capture-pane", "-p")

    def close(self) -> None:
        """End the program and its terminal."""
        subprocess.run([*self._tmux, "kill-server"], capture_output=True, check=False)

    def answers(self) -> list[Answer]:
        """Every reading so far."""
        if not self._recording.exists():
            return []
        return [frame for frame in frames(self._recording) if isinstance(frame, Answer)]

    def fired(self, deadline_s: float) -> Result:
        """What the burst did, once a reading says so."""
        end = time.monotonic() + deadline_s
        while time.monotonic() < end:
            for job in self.answers()[-1].jobs:
                if job.kind == "fire" and job.result is not None:
                    return job.result
            time.sleep(0.5)
        raise TimeoutError(self.screen())

    def wait_for(self, text: str, deadline_s: float) -> str:
        """The first screen with this text."""
        end = time.monotonic() + deadline_s
        while text not in (screen := self.screen()):
            if time.monotonic() > end:
                raise TimeoutError(f"{text!r} did not appear:\n{screen}")
            time.sleep(0.2)
        return screen


def measure(seconds: float, rate_pps: float, *, stall: bool) -> dict[str, Any]:
    """One burst; `stall`: the probe is stopped in the middle of it."""
    count = int(seconds * rate_pps)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        board = Dashboard(Path(folder), count, rate_pps)
        try:
            board.wait_for("fire", 30)
            processes = {"ui": board.pid}
            while "injector" not in processes:  # it is started half a second after the first answer
                for pid, command in below(board.pid).items():
                    if "cttui probe" in command and "unshare" not in command:
                        processes["probe"] = pid
                    elif "injector" in command:
                        processes["injector"] = pid
                time.sleep(0.1)
            drop = ["iptables", "-t", "raw", "-I", "PREROUTING", "-j", "DROP"]
            subprocess.run(["nsenter", f"--net=/proc/{processes['probe']}/ns/net", *drop], check=True)
            board.press("3")
            before = {name: cpu_s(pid) for name, pid in processes.items()}
            began = time.monotonic()
            board.press("b")
            if stall:
                board.wait_for(" pps, ", 20)
                os.kill(processes["probe"], signal.SIGSTOP)
                time.sleep(STALL_S)
                os.kill(processes["probe"], signal.SIGCONT)
            fired = board.fired(seconds * 3 + 30)
            took = time.monotonic() - began
            screen = board.screen()
            cost = {
                f"{n}_percent": round(100 * (cpu_s(p) - before[n]) / took, 1) for n, p in processes.items()
            }
            answers = board.answers()
        finally:
            board.close()
    pages = [answer.packets for answer in answers if answer.packets is not None]
    last = pages[-1]
    return {
        "bench": "packets_ui_stalled" if stall else "packets_ui", "seconds": round(fired.seconds, 2), "sent": fired.sent,
        "sent_pps": round(fired.sent / fired.seconds), "logged": last.total,
        "ring_drops": last.dropped, **cost, "readings": len(pages),
        "most_pps_on_screen": round(max(page.rate_pps for page in pages)),
        "screen": next(line.replace("━", "") for line in screen.splitlines() if "3 Packets" in line),
    }  # fmt: skip


def main(argv: list[str]) -> int:
    """Measure and judge."""
    seconds, rate_pps = ([float(a) for a in argv] + [10.0, 200_000.0][len(argv) :])[:2]
    steady = measure(seconds, rate_pps, stall=False)
    print(json.dumps(steady, ensure_ascii=False), flush=True)
    held_up = measure(seconds, rate_pps, stall=True)
    print(json.dumps(held_up, ensure_ascii=False), flush=True)
    good = steady["ring_drops"] == 0 and steady["probe_percent"] <= MOST_PERCENT
    for run in (steady, held_up):
        good &= run["logged"] + run["ring_drops"] == run["sent"]
    good &= f"DROPPED {held_up['ring_drops']:,} by the ring" in held_up["screen"]
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
