"""Memory that is asked for again and again stays with the process.

Every question makes arrays of a few megabytes. By default glibc gives such memory back at once (mmap above a
threshold, trimming the heap), so each array is paid for again in page faults: on a busy machine that doubles the time
of a question.
"""

import ctypes
import mmap
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
"""malloc.h of glibc; see mallopt(3)."""
_OWN_MAPPING = 4 << 20
"""From this size on an array gets a mapping of its own: the columns of a large store, which live long."""


def keep_freed_memory(up_to_bytes: int = 32 << 20) -> bool:
    """Let freed memory stay with the process, up to `up_to_bytes` at the end of the heap. Call it once, early.

    False where the C library has no mallopt (musl): nothing changes then.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    wanted = (
        (_M_MMAP_THRESHOLD, _OWN_MAPPING), (_M_TRIM_THRESHOLD, up_to_bytes), (_M_TOP_PAD, 4 << 20),
    )  # fmt: skip
    return all(mallopt(option, value) == 1 for option, value in wanted)


def zeros(n: int, kind: DTypeLike) -> NDArray[Any]:
    """Like numpy.zeros, in a mapping of its own: pages are resident only once something is written there.

    With freed memory kept, calloc hands out pages that were touched before, and a store that doubles would
    pay for rows that it does not have.
    """
    dtype = np.dtype(kind)
    if n * dtype.itemsize < mmap.PAGESIZE:
        return np.zeros(n, dtype)
    return np.frombuffer(mmap.mmap(-1, n * dtype.itemsize), dtype)
