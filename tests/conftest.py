"""Shared fixtures. Kernel tests have theirs in tests/kernel/conftest.py, terminals in tests/tmux/conftest.py."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before numpy: no thread pool for linear algebra that nobody uses.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


@pytest.fixture
def full_table() -> Iterator[None]:
    """The right to fill a table: one test at a time, on the whole machine.

    The program itself refuses a second full sandbox; tests, and test runs beside each other, wait instead.
    """
    with Path(tempfile.gettempdir(), "cttui-fill.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
