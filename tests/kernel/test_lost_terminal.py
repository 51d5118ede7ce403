"""A terminal that goes away takes the program with it, whoever closed it and how."""

import contextlib
import os
import pty
import select
import signal
import sys
import time

import pytest

pytestmark = pytest.mark.kernel


@pytest.mark.parametrize(
    "how", ["closed", "terminated", "terminated and closed", "suspended, resumed and closed"]
)
def test_the_program_ends_with_its_terminal(how: str) -> None:
    pid, fd = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm-256color"
        os.execv(sys.executable, [sys.executable, "-P", "-m", "cttui", "--sandbox"])
    seen, end = b"", time.monotonic() + 30
    while b"262,144" not in seen and time.monotonic() < end:
        if select.select([fd], [], [], 0.2)[0]:
            seen += os.read(fd, 65536)
    assert b"262,144" in seen
    if how.startswith("terminated"):
        os.kill(pid, signal.SIGTERM)
    if how.startswith("suspended"):
        os.write(fd, b"\x1a")
        os.waitpid(pid, os.WUNTRACED)
        os.kill(pid, signal.SIGCONT)
        again, end = b"", time.monotonic() + 20
        while b"262,144" not in again and time.monotonic() < end:
            if select.select([fd], [], [], 0.2)[0]:
                again += os.read(fd, 65536)
    if how.endswith("closed"):
        os.close(fd)
    end, ended = time.monotonic() + 20, 0
    while not ended and time.monotonic() < end:
        ended = os.waitpid(pid, os.WNOHANG)[0]
        if how == "terminated" and select.select([fd], [], [], 0.05)[0]:
            with contextlib.suppress(OSError):  # EIO: it has let go of its terminal
                os.read(fd, 65536)
        time.sleep(0.05)
    if not ended:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert ended
