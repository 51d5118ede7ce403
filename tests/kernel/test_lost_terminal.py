"""A terminal that goes away takes the program with it, whoever closed it and how."""

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.kernel

CTTUI = [sys.executable, "-P", "-m", "cttui", "--sandbox"]
HUNG_UP, TERMINATED = 128 + signal.SIGHUP, 128 + signal.SIGTERM


class Terminal:
    """The program on a terminal that we hold the other end of."""

    def __init__(self, *, controlling: bool = True) -> None:
        self.fd, theirs = pty.openpty()
        self._name = os.ttyname(theirs)
        self.resize(80, 24)
        self.process = subprocess.Popen(
            ["setsid", *(["--ctty"] if controlling else []), *CTTUI],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "TERM": "xterm-256color"},
        )
        os.close(theirs)
        self.pid = self.process.pid
        self.seen = ""

    def until(self, text: str) -> None:
        """Read until `text` was painted from now on."""
        self.seen, end = "", time.monotonic() + 30
        while text not in self.seen:
            assert time.monotonic() < end, self.seen[-2000:]
            self._read(0.2)

    def _read(self, wait_s: float) -> None:
        if select.select([self.fd], [], [], wait_s)[0]:
            with contextlib.suppress(OSError):  # EIO: it has let go of its terminal
                self.seen += os.read(self.fd, 65536).decode(errors="replace")

    def resize(self, width: int, height: int) -> None:
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("4H", height, width, 0, 0))

    def stall(self) -> None:
        """From now on the terminal takes nothing."""
        theirs = os.open(self._name, os.O_RDWR | os.O_NOCTTY)
        termios.tcflow(theirs, termios.TCOOFF)
        os.close(theirs)

    def stop(self) -> None:
        """Ctrl-Z, and wait until it has stopped."""
        os.write(self.fd, b"\x1a")
        assert os.WIFSTOPPED(os.waitpid(self.pid, os.WUNTRACED)[1])

    def kill(self, number: int) -> None:
        os.kill(self.pid, number)

    def close(self) -> None:
        os.close(self.fd)
        self.fd = -1

    def code(self, *, reading: bool = False) -> int:
        """Its exit code. `reading`: the terminal takes what it writes meanwhile."""
        end = time.monotonic() + 30
        while self.process.poll() is None:
            assert time.monotonic() < end, "still running"
            if reading:
                self._read(0.0)
            time.sleep(0.02)
        return self.process.returncode

    def threads(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/task").iterdir()))

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.fd >= 0:
            self.close()


@contextlib.contextmanager
def terminal(*, controlling: bool = True, painted: bool = True) -> Iterator[Terminal]:
    """The program's; `painted`: it has shown its first reading."""
    opened = Terminal(controlling=controlling)
    try:
        if painted:
            opened.until("262,144")
        yield opened
    finally:
        opened.end()


def test_closed() -> None:
    with terminal() as it:
        it.close()
        assert it.code() == HUNG_UP


def test_closed_without_being_anybodys_controlling_terminal() -> None:
    """Nobody gets a SIGHUP then, and a frozen view writes nothing that could fail."""
    with terminal(controlling=False) as it:
        os.write(it.fd, b" ")
        it.until("FROZEN")
        it.close()
        assert it.code() == HUNG_UP


def test_terminated() -> None:
    with terminal() as it:
        it.kill(signal.SIGTERM)
        assert it.code(reading=True) == TERMINATED


def test_terminated_and_closed() -> None:
    with terminal() as it:
        it.kill(signal.SIGTERM)
        it.close()
        assert it.code() in (TERMINATED, HUNG_UP)


def test_closed_while_suspended() -> None:
    with terminal() as it:
        it.stop()
        it.close()
        assert it.code() == HUNG_UP


@pytest.mark.parametrize("after_ms", [0, 1, 2, 4, 8, 16, 32])
def test_closed_while_coming_back(after_ms: int) -> None:
    """The kernel sends a SIGCONT of its own behind the hangup's SIGHUP, wherever the first one has got to."""
    with terminal() as it:
        it.stop()
        it.kill(signal.SIGCONT)
        time.sleep(after_ms / 1000)
        it.close()
        assert it.code() == HUNG_UP


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda n: n.name)
@pytest.mark.parametrize("after_ms", [0, 150, 300, 450, 600, 900])
def test_signalled_while_starting(number: signal.Signals, after_ms: int) -> None:
    """Before there is a screen it ends at once; half built, the screen is finished and then put away."""
    with terminal(painted=False) as it:
        time.sleep(after_ms / 1000)
        it.kill(number)
        assert it.code(reading=True) in (-number, 128 + number), it.seen
        # Python itself, not yet with us, says where an interrupt found it.
        pythons_own = number == signal.SIGINT and it.seen.rstrip().endswith("KeyboardInterrupt")
        assert pythons_own or ("Traceback" not in it.seen and "Error" not in it.seen), it.seen


def test_terminated_while_the_terminal_takes_nothing() -> None:
    """A stalled line: the loop itself waits for it. Nothing can be put right on that terminal any more."""
    with terminal() as it:
        it.stall()
        width, before, since = 80, written(it.pid), time.monotonic()
        # until the queue before the writing thread is full, the loop waits, and the probe is asked nothing any more
        while time.monotonic() < since + 3:
            width = 160 - width + 80
            it.resize(width, 50)
            time.sleep(0.05)
            if (now := written(it.pid)) != before:
                before, since = now, time.monotonic()
        it.kill(signal.SIGTERM)
        assert it.code() == -signal.SIGALRM


def test_suspended_stopped_and_continued() -> None:
    """Each time the whole screen is painted again, and nothing is started twice."""
    with terminal() as it:
        it.stop()
        it.kill(signal.SIGCONT)
        it.until("262,144")
        before = it.threads()
        it.kill(signal.SIGCONT)
        it.until("262,144")
        it.kill(signal.SIGSTOP)
        assert os.WIFSTOPPED(os.waitpid(it.pid, os.WUNTRACED)[1])
        it.kill(signal.SIGCONT)
        it.until("262,144")
        assert it.threads() == before
        os.write(it.fd, b"q")
        assert it.code(reading=True) == 0


def written(pid: int) -> int:
    """Bytes that a process has written so far (proc_pid_io(5))."""
    io = Path(f"/proc/{pid}/io").read_text()
    return next(int(line.split()[1]) for line in io.splitlines() if line.startswith("wchar"))
