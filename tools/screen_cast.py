"""A terminal recording of the real program, as asciicast v2 (docs.asciinema.org/manual/asciicast/v2)."""

import codecs
import fcntl
import json
import os
import pty
import select
import signal
import struct
import sys
import termios
import time
from pathlib import Path

WIDTH, HEIGHT = 110, 32
STORY: tuple[tuple[float, str, str], ...] = (
    (3.0, "b", "10 SYNs into an empty table"),
    (3.0, "R", "a new sandbox: in this one the same SYNs would meet their entries"),
    (1.5, "y", "yes"),
    (2.5, "t", "the settings"),
    (1.5, "\r", "free slots"),
    (1.2, "\r", "7, as suggested"),
    (3.5, "\x1b", "back"),
    (1.5, "b", "the same 10 SYNs, 7 slots"),
    (4.0, "\x1bOS", "F4: explained"),
    (6.0, "\x1b", "back"),
    (1.0, "q", "leave"),
)
"""Seconds to wait, what is typed, why."""


def record(path: Path, story: tuple[tuple[float, str, str], ...] = STORY) -> None:
    """Run `cttui --sandbox` in a pseudo-terminal, type, and write all that it sent with its times."""
    environ = {
        **os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", "LC_ALL": "C.UTF-8",
        "XDG_CONFIG_HOME": "/nonexistent", "XDG_STATE_HOME": "/nonexistent",
    }  # fmt: skip
    child, master = pty.fork()
    if child == 0:
        os.execve(sys.executable, [sys.executable, "-P", "-m", "cttui", "--sandbox"], environ)
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", HEIGHT, WIDTH, 0, 0))
    events: list[str] = []
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    began = time.monotonic()
    try:
        for wait_s, typed, _ in story:
            until = time.monotonic() + wait_s
            while (left := until - time.monotonic()) > 0:
                if text := _read(master, decode, left):
                    events.append(
                        json.dumps([round(time.monotonic() - began, 3), "o", text], ensure_ascii=False)
                    )
            os.write(master, typed.encode())
        while text := _read(master, decode, 5.0):
            events.append(json.dumps([round(time.monotonic() - began, 3), "o", text], ensure_ascii=False))
    finally:
        os.close(master)
        _end(child)
    header = {
        "version": 2, "width": WIDTH, "height": HEIGHT, "title": "cttui: ten SYNs, seven slots",
        "env": {"TERM": "xterm-256color"},
    }  # fmt: skip
    path.write_text("\n".join([json.dumps(header), *events]) + "\n", "utf-8")


def _read(master: int, decode: object, wait_s: float) -> str:
    """What the program sent, "" when nothing came in time or it has ended."""
    if not select.select([master], [], [], wait_s)[0]:
        return ""
    try:
        return decode(os.read(master, 65536))  # type: ignore[operator,no-any-return]
    except OSError:  # EIO: the other end is closed
        return ""


def _end(child: int) -> None:
    """Wait for the program; one that does not leave is told to."""
    for _ in range(50):
        if os.waitpid(child, os.WNOHANG)[0]:
            return
        time.sleep(0.1)
    os.kill(child, signal.SIGTERM)
    os.waitpid(child, 0)
