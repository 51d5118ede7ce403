"""What all tests share. Kernel tests have fixtures in tests/kernel/conftest.py, terminals in tests/tmux/conftest.py."""

import contextlib
import fcntl
import os
import signal
import tempfile
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import NamedTuple

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
    """Of several workers one runs all tests that fill a table: none of the others waits for its turn.

    Those that have to be alone come last, when the other workers have least to do.
    """
    for item in items:
        if item.get_closest_marker("fills"):
            item.add_marker(pytest.mark.xdist_group("fills"))
    items.sort(key=lambda item: _claims(item).alone)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Where pytest-xdist makes no groups all workers wait for one table, and nothing else says so."""
    if getattr(item.config.option, "loadgroup", False) and item.get_closest_marker("fills"):
        assert item.nodeid.endswith("@fills"), "this pytest-xdist makes no groups with this pytest"


class Claims(NamedTuple):
    """What a test may do to the machine that tests beside it share, in other workers and other test runs."""

    fills: bool
    """One full table at a time. The program itself refuses a second one; tests wait instead."""
    alone: bool
    """It changes a setting of the whole machine, so no other test runs meanwhile."""


def _claims(item: pytest.Item | None) -> Claims:
    marked = [item is not None and item.get_closest_marker(name) is not None for name in Claims._fields]
    return Claims(*marked)


_held = contextlib.ExitStack()
_held_for = Claims(False, False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, object, object]:
    """A test runs under its locks, and waits for them outside its own time.

    They stay over several tests in a row that want to be alone: the other workers come to rest only once.
    """
    global _held_for
    claims = _claims(item)
    try:
        if not claims.alone or _held_for != claims:
            if claims.fills:
                _held.enter_context(_locked("cttui-fill.lock"))
            with _locked("cttui-door.lock"):  # nobody comes in while somebody waits to be alone
                _held.enter_context(
                    _locked("cttui-machine.lock", fcntl.LOCK_EX if claims.alone else fcntl.LOCK_SH)
                )
            _held_for = claims
        if claims.fills:
            _wait_for_the_programs_own_lock()
        return (yield)
    finally:
        if not claims.alone or _claims(nextitem) != claims:
            _held.close()
            _held_for = Claims(False, False)


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
