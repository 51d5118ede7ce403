"""Shared fixtures. Kernel tests have theirs in tests/kernel/conftest.py."""

import os

# Before numpy: no thread pool for linear algebra that nobody uses.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
