"""Whether a sandbox may be filled: its table is its own, but hash, collector, limit and memory are the host's.

The host's count can't be read from inside the sandbox's namespace. It comes through a descriptor that was
opened outside, before unshare: reads of it go on answering for the opener's namespace (proc_sysctl binds a
file to the namespace at open). The target's argv begins with a shell that opens it (client/targets.py).
"""

import fcntl
import os
from pathlib import Path

from cttui.kernel import sysctl
from cttui.model.faults import Fault
from cttui.model.messages import HOST_COUNT_FD

ENTRY_BYTES = 384
"""Memory an entry takes with its extensions, by slabinfo of a 6.18 kernel; used where it can't be read."""
HOST_SHARE, MAX_CHAIN, MEMORY_SHARE = 0.80, 8, 0.10
USUAL_LIMIT, LEAST_LIMIT = 262_144, 16_384
"""The kernel's own default with more than 4 GB (nf_conntrack_core.c), and what no offer goes below."""
_MACHINE_LOCK = (Path("/sys/module/nf_conntrack"), Path("/sys/module"))
"""What is locked: it exists on every machine that has conntrack, everybody can read it, and flock(2) on it
leaves nothing behind; the kernel releases it when the holder dies."""


class HostCount:
    """The host's number of entries, live. `None` where it is unknown, which counts as unsafe."""

    def __init__(self, fd: int | None = HOST_COUNT_FD) -> None:
        """Call before anything in this namespace loads conntrack."""
        self._fd = fd if fd is not None and self._is_count(fd) else None
        # without the module no namespace could hold an entry when we began
        self._was_absent = self._fd is None and not sysctl.path_of("nf_conntrack_max").exists()

    @staticmethod
    def _is_count(fd: int) -> bool:
        try:
            return (
                Path(f"/proc/self/fd/{fd}").readlink().name == "nf_conntrack_count"
                and os.pread(fd, 32, 0).strip().isdigit()
            )
        except OSError:
            return False

    def read(self) -> int | None:
        """Entries in the host's namespace now."""
        if self._fd is None:
            return 0 if self._was_absent else None
        try:
            return int(os.pread(self._fd, 32, 0))
        except (OSError, ValueError):
            return None


def entry_bytes() -> int:
    """Bytes of kernel memory an entry takes: its slab object and its extensions."""
    try:
        with open("/proc/slabinfo", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("nf_conntrack "):
                    return max(ENTRY_BYTES, int(line.split()[3]) + 128)  # ct_ext: one 128-byte kmalloc
    except (OSError, ValueError, IndexError):
        pass
    return ENTRY_BYTES


def memory_available() -> int | None:
    """MemAvailable in bytes, None where it can't be read."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return None


def headroom(
    host: int | None, limit: int, buckets: int | None, entries: int, available: int | None, each: int
) -> Fault | None:
    """Why `entries` more may not be made, or None if they may. The rule and nothing else: all is passed in.

    `host` entries in the host's namespace, `limit` nf_conntrack_max (0: none), `buckets` of the hash,
    `available` bytes of memory, `each` bytes an entry. Where only the limit is in the way, Fault.limit offers one.
    """
    if host is None:
        return Fault(
            "fill-host-unknown",
            "How full the host's own table is can't be read, and a full sandbox would be felt there.",
            "Run it where /proc/sys/net/netfilter/nf_conntrack_count is readable.",
        )
    if limit and host > HOST_SHARE * limit:
        return Fault(
            "fill-host-full",
            f"The host's own table holds {host:,} of {limit:,} entries: a full sandbox would cost it connections.",
            f"Try again when it is below {HOST_SHARE:.0%}, or on another machine.",
        )
    lower = reasonable_limit(host, limit, buckets, available, each)
    offer = f"Have the host's limit lowered, as root: sysctl net.netfilter.nf_conntrack_max={lower}."
    if limit == 0:
        words = "nf_conntrack_max is 0: there is no limit, so the table can't be filled."
        return Fault("fill-unlimited", words, offer if lower else "Set a limit on the host first.", lower)
    if buckets and limit / buckets > MAX_CHAIN:
        words = f"{limit:,} entries in {buckets:,} buckets would make every lookup on this machine slow."
        more = f"Raise nf_conntrack_buckets to at least {-(-limit // MAX_CHAIN):,} first."
        return Fault("fill-buckets", words, offer if lower else more, lower)
    if available is None or entries * each > MEMORY_SHARE * available:
        free = "an unknown amount" if available is None else f"{available / 1e6:,.0f} MB"
        words = (
            f"{entries:,} entries take {entries * each / 1e6:,.0f} MB of kernel memory, "
            f"more than {MEMORY_SHARE:.0%} of what is available ({free})."
        )
        return Fault("fill-memory", words, offer if lower else "Use a machine with more memory.", lower)
    return None


def reasonable_limit(host: int, limit: int, buckets: int | None, available: int | None, each: int) -> int:
    """The highest limit below the present one that may be filled, no higher than usual; 0 where there is none.

    The host's own table must be at most half as full as that: it must not feel the lower limit.
    """
    most = min(USUAL_LIMIT, int(MEMORY_SHARE * (available or 0)) // each)
    if buckets:
        most = min(most, MAX_CHAIN * buckets)
    fits = max(LEAST_LIMIT, 2 * host) <= most and (limit == 0 or most < limit)
    return most if fits else 0


class FullTable:
    """The right to be the one full sandbox of this machine; root and ordinary users share it.

    Another local user can hold it, too: that only keeps us from filling.
    """

    def __init__(self, locked: tuple[Path, ...] = _MACHINE_LOCK) -> None:
        self._locked = locked
        self._fd: int | None = None

    def take(self) -> Fault | None:
        """Take it (again: nothing happens), or say who is in the way. Released by `give` or our death."""
        if self._fd is not None:
            return None
        for path in self._locked:
            try:
                fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except OSError:
                continue
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(fd)
                return Fault(
                    "fill-taken", "Another sandbox on this machine is full already.",
                    "Close it, or wait: only one may be full at a time.",
                )  # fmt: skip
            self._fd = fd
            return None
        return Fault(
            "fill-lock", "/sys can't be read, so it can't be made sure that only one sandbox is full."
        )

    def give(self) -> None:
        """Let another sandbox have it (after the fillers are gone)."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def check(host: HostCount, entries: int) -> Fault | None:
    """The rule with everything read now: may `entries` more be made in this namespace?"""
    try:
        limit = int(sysctl.read("nf_conntrack_max"))
    except (OSError, ValueError):
        return Fault("no-conntrack", "This kernel has no conntrack loaded, so there is no table to fill.")
    try:
        buckets = int(sysctl.read("nf_conntrack_buckets"))
    except (OSError, ValueError):
        buckets = None
    return headroom(host.read(), limit, buckets, entries, memory_available(), entry_bytes())
