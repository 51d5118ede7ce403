"""What a slow line and a person who walks about with it need: silence where nothing is to be seen, and a whole
screen again after resizing, detaching and suspending."""

import fcntl
import os
import pty
import re
import select
import shlex
import signal
import struct
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.tmux,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]
CTTUI = [sys.executable, "-P", "-m", "cttui", "--sandbox"]
FRESH = "fire 10 SYNs"
CHURN = """
[burst]
line = 'IP(src="198.18.0.0/15",dst="192.0.2.1")/UDP(sport=RandShort(),dport=53)'
count = 60000
rate_pps = 500
"""
CHURNS = "198.18."
"""What is on screen once that burst runs; the word itself stands beside its key from the start."""


class Line:
    """The program at the far end of a line of which every byte is counted."""

    def __init__(
        self, argv: list[str], home: Path, columns: int = 160, rows: int = 50, **environment: str
    ) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            for name in ("COLUMNS", "LINES", "TMUX"):
                os.environ.pop(name, None)
            os.environ.update({"HOME": str(home), "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"})
            os.environ.update(environment)
            os.execvp(argv[0], argv)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self, seconds: float) -> bytes:
        """What comes within `seconds`, b"" for nothing."""
        if not select.select([self.fd], [], [], seconds)[0]:
            return b""
        try:
            return os.read(self.fd, 1 << 18)
        except OSError:
            return b""

    def until(self, text: str, deadline: float = 60.0) -> bytes:
        """Read until `text` has come; what was read."""
        seen, end = b"", time.monotonic() + deadline
        while text.encode() not in seen:
            seen = (seen + self.read(0.1))[-400_000:]
            assert time.monotonic() < end, f"{text!r} did not come"
        return seen

    def paints(self) -> bool:
        """Whether anything comes, however slow the machine is."""
        return bool(self.read(60))

    def count(self, seconds: float) -> int:
        """Bytes that come within `seconds`."""
        n, end = 0, time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            n += len(self.read(left))
        return n

    def falls_silent(self, deadline: float = 60.0) -> bool:
        """Whether 3 s without a byte come before the deadline."""
        end = time.monotonic() + deadline
        while time.monotonic() < end:
            if not self.read(3):
                return True
        return False

    def settle(self) -> None:
        """Read until a painting has ended."""
        while self.read(0.3):
            pass

    def press(self, keys: str) -> None:
        """Write to the program."""
        os.write(self.fd, keys.encode())

    def close(self) -> None:
        """End the program."""
        os.kill(self.pid, signal.SIGTERM)
        end = time.monotonic() + 10
        while os.waitpid(self.pid, os.WNOHANG)[0] == 0:
            self.read(0.05)
            if time.monotonic() > end:
                os.kill(self.pid, signal.SIGKILL)
        os.close(self.fd)


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    """A sandbox's dashboard, its first reading on the screen."""
    config = tmp_path / "config.toml"
    config.write_text(CHURN)
    one = Line([*CTTUI, "--config", str(config)], tmp_path)
    try:
        one.until("free")
        yield one
    finally:
        one.close()


DIALOGS = {"help": "?", "explained": "\x1bOS", "commands": "\x10", "filter": "/", "composer": "B"}


def test_an_empty_table_sends_nothing_nor_does_a_dialog_over_it(line: Line) -> None:
    assert line.falls_silent()
    for dialog, key in DIALOGS.items():
        line.press(key)
        assert line.paints(), dialog
        assert line.falls_silent(), dialog
        line.press("\x1b")
        assert line.paints(), dialog
        line.settle()


def test_a_dialog_over_a_busy_table_costs_no_more_than_the_table(line: Line) -> None:
    """A reading is 8 kB at most, dialog or not; while a burst runs there are two a second."""
    line.press("b")
    line.until(CHURNS)
    for dialog in ("?", "\x1bOS", "\x10"):
        line.press(dialog)
        line.count(1)  # its own painting
        assert line.count(3) < 3 * 2 * 8192
        assert line.paints()
        line.press("\x1b")
        line.count(0.5)


def test_sixteen_colours_are_the_terminals_own(tmp_path: Path) -> None:
    """Yellow is SGR 33 and the ground nobody's: mapped to true colours and back they were red on black."""
    one = Line(CTTUI, tmp_path, 80, 24, TERM="screen", COLORTERM="")
    try:
        seen = one.until("free")
        one.press("b")
        seen += one.until("SYN_SENT") + one.read(1)
        # In its column, that is: the packet log says the word too, muted, until it knows where a packet ended.
        before = set(re.findall(rb"\x1b\[([0-9;]*)m ?SYN_SENT  ", seen))
        assert before and all(b"33" in sgr.split(b";") for sgr in before), before
        assert not re.search(rb"\x1b\[(?:[0-9;]*;)?40m", seen)
    finally:
        one.close()


def test_a_frozen_view_and_an_unfocused_terminal_send_nothing_while_flows_come(line: Line) -> None:
    line.press("b")
    line.until(CHURNS)
    assert line.paints()
    line.press(" ")
    line.until("FROZEN")
    assert line.falls_silent(10)
    line.press(" ")
    assert line.paints()
    line.press("\x1b[O")
    line.until("unfocused")
    assert line.falls_silent(10)
    line.press("\x1b[I")
    assert line.paints()


# ---------------------------------------------------------------- what a terminal goes through


def _whole(tmux: Any) -> str:
    """The screen, once a full repaint changes nothing of it: then no stale cell was left on it."""
    end = time.monotonic() + 30
    while True:
        before = tmux.screen()
        tmux.keys("C-l")
        time.sleep(0.3)
        after: str = tmux.screen()
        if before == after and FRESH in after:
            return after
        assert time.monotonic() < end, f"before the repaint:\n{before}\nafter it:\n{after}"


def test_a_storm_of_resizes_leaves_a_whole_screen(tmux: Any) -> None:
    tmux.start(CTTUI, 160, 50)
    tmux.wait_for(FRESH)
    for n in range(40):
        tmux.resize(60 + 37 * n % 140, 12 + 13 * n % 48)
    tmux.resize(20, 5)
    tmux.resize(120, 40)
    screen = _whole(tmux)
    assert "Traceback" not in screen
    assert "q quit" in screen.splitlines()[-1]
    assert len(screen.splitlines()) == 40


def test_detached_and_attached_it_is_where_it_was(tmux: Any, tmp_path: Path) -> None:
    tmux.start(CTTUI, 100, 30)
    tmux.wait_for(FRESH)
    for key, text in (("", "SANDBOX"), ("b", "SYN_SENT")):
        client = Line([*tmux.command, "attach-session"], tmp_path, 100, 30)
        try:
            client.until(text)
            if not key:
                tmux.detach()
                tmux.keys("b")
                tmux.wait_for("SYN_SENT 10")
        finally:
            tmux.detach()
            client.close()
    assert "raw +10" in tmux.screen()


def test_suspended_and_resumed(tmux: Any) -> None:
    # A shell with job control: its own group is not the program's, which may therefore be stopped.
    tmux.start(["bash", "--norc", "--noprofile", "-i"], 120, 40)
    tmux.type(shlex.join(CTTUI))
    tmux.wait_for(FRESH)
    tmux.keys("C-z")
    tmux.wait_for("Stopped")
    assert tmux.modes()["alternate_on"] == "0"
    tmux.type("fg")
    tmux.wait_for(FRESH, "q quit")
    assert tmux.modes()["alternate_on"] == "1"
    assert "Traceback" not in _whole(tmux)
    tmux.keys("b")
    tmux.wait_for("raw +10", "SYN_SENT 10")
    tmux.keys("q")
    tmux.wait_for("fg")
    assert tmux.modes()["alternate_on"] == "0"
