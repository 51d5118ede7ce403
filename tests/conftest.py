"""Shared fixtures. Kernel tests have theirs in tests/kernel/conftest.py, terminals in tests/tmux/conftest.py."""

import fcntl
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before numpy: no thread pool for linear algebra that nobody uses.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# Under nohup, or in the background of a script, these are ignored, and every child would inherit that: programs
# under test would be deaf to them. What is handled is reset when a child begins.
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, lambda *_: None)


@pytest.fixture
def full_table() -> Iterator[None]:
    """The right to fill a table: one test at a time, on the whole machine.

    The program itself refuses a second full sandbox; tests, and test runs beside each other, wait instead.
    """
    with Path(tempfile.gettempdir(), "cttui-fill.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _wait_for_the_programs_own_lock()
        yield


def _wait_for_the_programs_own_lock(seconds: float = 120.0) -> None:
    """A sandbox that somebody else filled (a dashboard, a tale): wait until it is gone, then let the test try."""
    module = Path("/sys/module/nf_conntrack")
    if not module.is_dir():
        return
    end = time.monotonic() + seconds
    folder = os.open(module, os.O_RDONLY | os.O_DIRECTORY)
    try:
        while time.monotonic() < end:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                time.sleep(0.1)
            else:
                return
    finally:
        os.close(folder)
