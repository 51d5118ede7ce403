"""Memory that is asked for again and again stays with the process.

Every question makes arrays of a few megabytes. By default glibc gives such memory back at once (mmap above a
threshold, trimming the heap), so each array is paid for again in page faults: on a busy machine that doubles the time
of a question.
"""

import ctypes

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
"""malloc.h of glibc; see mallopt(3)."""
_LARGEST_MMAP_THRESHOLD = 32 << 20
"""DEFAULT_MMAP_THRESHOLD_MAX: mallopt refuses more."""


def keep_freed_memory(up_to_bytes: int = 64 << 20) -> bool:
    """Let freed memory stay with the process, up to `up_to_bytes` at the end of the heap. Call it once, early.

    False where the C library has no mallopt (musl): nothing changes then.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    wanted = (
        (_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD), (_M_TRIM_THRESHOLD, up_to_bytes), (_M_TOP_PAD, 4 << 20),
    )  # fmt: skip
    return all(mallopt(option, value) == 1 for option, value in wanted)
