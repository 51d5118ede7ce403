"""What all tests share. Kernel tests have fixtures in tests/kernel/conftest.py, terminals in tests/tmux/conftest.py."""

import contextlib
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


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of several workers one runs all tests that fill a table: none of the others waits for its turn."""
    for item in items:
        if item.get_closest_marker("fills"):
            item.add_marker(pytest.mark.xdist_group("fills"))


@pytest.fixture(autouse=True)
def _beside_others(request: pytest.FixtureRequest) -> Iterator[None]:
    """What a test may do to the machine that tests beside it share, in other workers and other test runs.

    `fills`: one full table at a time. The program itself refuses a second one; tests wait instead.
    `alone`: it changes a setting of the whole machine, so no other test runs meanwhile.
    """
    fills, alone = (request.node.get_closest_marker(name) is not None for name in ("fills", "alone"))
    with contextlib.ExitStack() as held:
        if fills:
            held.enter_context(_locked("cttui-fill.lock"))
        with _locked("cttui-door.lock"):  # nobody comes in while somebody waits to be alone
            held.enter_context(_locked("cttui-machine.lock", fcntl.LOCK_EX if alone else fcntl.LOCK_SH))
        if fills:
            _wait_for_the_programs_own_lock()
        yield


@contextlib.contextmanager
def _locked(name: str, how: int = fcntl.LOCK_EX) -> Iterator[None]:
    """A lock of the whole machine, whoever made its file."""
    path = Path(tempfile.gettempdir(), name)
    if not path.exists():
        path.touch()
    with path.open("rb") as lock:
        fcntl.flock(lock, how)
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
