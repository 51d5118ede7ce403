"""Kernel settings under /proc/sys. Names are relative to net/netfilter unless they hold a slash or a dot path.

What /proc/sys/net shows and takes is that of the *calling thread's* network namespace.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from cttui.model.as_root import as_root
from cttui.model.faults import FaultError
from cttui.model.tunables import TUNABLES, Tunable

ROOT = Path("/proc/sys")
_NAME = re.compile(r"[a-zA-Z0-9_:@-][a-zA-Z0-9_.:@-]*(/[a-zA-Z0-9_:@-][a-zA-Z0-9_.:@-]*)*")


def path_of(name: str) -> Path:
    """The file of a setting: `nf_conntrack_max`, `net/ipv4/tcp_syncookies` or `net.ipv4.tcp_syncookies`.

    Raises FaultError "bad-sysctl" for a name that could lead out of /proc/sys.
    """
    if "/" not in name and name.startswith(("net.", "kernel.", "vm.", "fs.")):
        name = name.replace(".", "/")
    if not _NAME.fullmatch(name):
        raise FaultError("bad-sysctl", f"{name!r} is not the name of a kernel setting.")
    return ROOT / name if "/" in name else ROOT / "net/netfilter" / name


def read(name: str) -> str:
    """Present value, without the newline. Raises OSError (ENOENT, EACCES, …)."""
    return path_of(name).read_text(encoding="ascii").strip()


def write(name: str, value: str) -> None:
    """Write a value. Raises OSError: EACCES/EROFS not allowed here, EINVAL not a value it takes."""
    data = value.encode("ascii", "strict") + b"\n"
    # not `open`: buffering would move the error of the write to the close, and may write in two parts
    fd = os.open(path_of(name), os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


def of_network(name: str) -> bool:
    """Whether the setting is one of /proc/sys/net: those that a network namespace shows are its own or read-only.

    All others are the machine's, and root may write them in any namespace. Raises FaultError as `path_of`.
    """
    return path_of(name).is_relative_to(ROOT / "net")


def same(a: str, b: str) -> bool:
    """Whether two values are equal as the kernel sees them (settings of several numbers use tabs)."""
    return a.split() == b.split()


def writable(name: str) -> bool:
    """Whether we may write it here (asks the kernel, which knows the namespaces; writes nothing)."""
    return os.access(path_of(name), os.W_OK, effective_ids=True)


_SANDBOX_LIMIT = (
    "One limit for the whole machine, read-only in a sandbox. Fill the table to N free slots instead."
)
_AFFECTS = {
    "machine": "Affects every network namespace on this machine.",
    "netns": "Affects this network namespace only.",
}


def _why_not(target: str, scope: str, in_first_namespace: bool | None) -> str:
    if target == "sandbox" and scope == "machine":
        return _SANDBOX_LIMIT
    if scope == "machine" and (in_first_namespace is False or (os.geteuid() == 0 and not in_first_namespace)):
        return "One limit for the whole machine: only the machine's first network namespace may change it."
    if os.geteuid() != 0:
        return f"Needs CAP_NET_ADMIN here: run {as_root()}."
    return "The kernel makes it read-only here (another namespace, or /proc/sys mounted read-only)."


def _in_first_namespace() -> bool | None:
    """Whether this is the machine's first network namespace; None where it can't be told."""
    try:
        return os.stat("/proc/self/ns/net").st_ino == os.stat("/proc/1/ns/net").st_ino
    except OSError:
        return None


def tunables(
    target: str,
    pending: Mapping[str, tuple[str, float | None]] | None = None,
    *,
    read_only: bool = False,
) -> list[Tunable]:
    """Every setting of model.tunables that this kernel has, with its value and who may write it.

    `target` is `host` or `sandbox`. `pending` is the warden's: name → (old value, seconds left). With
    `read_only` nothing is writable and the reason says so.
    """
    pending = pending or {}
    first = _in_first_namespace() if target == "host" else False
    out: list[Tunable] = []
    for name, (scope, help_) in TUNABLES.items():
        try:
            value = read(name)
        except OSError:
            continue  # not in this kernel, or conntrack is not loaded: no value, no row
        may = writable(name) and not read_only
        old, left = pending.get(name, ("", None))
        why = (
            _AFFECTS[scope]
            if may
            else "cttui runs with --read-only."
            if read_only
            else _why_not(target, scope, first)
        )
        out.append(
            Tunable(
                name=name, value=value, scope=scope, writable=may, why=why, help=help_,
                reverts_to=old, reverts_in_s=left,
            )
        )  # fmt: skip
    return out
