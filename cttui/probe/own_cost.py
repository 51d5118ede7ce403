"""What the probe itself takes: share of a core, memory."""

import os
import resource
import time
from pathlib import Path


class OwnCost:
    """Measured between two calls of `count`; the first interval begins with the process and its imports."""

    def __init__(self) -> None:
        self._cpu_s = 0.0
        self._at = time.monotonic() - _process_age_s()
        self.cpu_percent = 0.0

    def count(self) -> None:
        """Once a sample."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        cpu_s, now = used.ru_utime + used.ru_stime, time.monotonic()
        if now > self._at:
            self.cpu_percent = 100 * (cpu_s - self._cpu_s) / (now - self._at)
        self._cpu_s, self._at = cpu_s, now

    @property
    def rss_bytes(self) -> int:
        """Resident memory now."""
        pages = Path("/proc/self/statm").read_text().split()[1]
        return int(pages) * resource.getpagesize()


def _process_age_s() -> float:
    """Seconds since this process began (proc(5): starttime is in clock ticks since boot)."""
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    return max(0.01, uptime - ticks / os.sysconf("SC_CLK_TCK"))
