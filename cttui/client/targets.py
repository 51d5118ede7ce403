"""Targets: which namespace a probe runs in, as an argv prefix.

No Python of ours calls setns or unshare: `nsenter` and `unshare` (util-linux) do, so that a probe is one
process whose death ends everything it made. The PID namespace makes that sure: when its first process
ends, the kernel kills the rest.
"""

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from cttui.model.as_root import as_root
from cttui.model.faults import FaultError
from cttui.model.messages import HOST_COUNT_FD
from cttui.model.safe import clean

NETNS_FOLDER = Path("/run/netns")
MOST_NAMES = 12
"""Of namespaces, in the sentence about one that is not there."""
HOST_COUNT = (
    "sh", "-c",
    f'f=/proc/sys/net/netfilter/nf_conntrack_count; [ ! -r $f ] || exec {HOST_COUNT_FD}<$f; exec "$@"',
    "cttui",
)  # fmt: skip
"""Goes before `unshare …`: a descriptor on which the sandbox's probe goes on reading the host's count."""


@dataclass(frozen=True, slots=True)
class Target:
    """A namespace to look at: `kind` is `host` or `sandbox`, `label` what the header shows."""

    kind: str
    label: str
    prefix: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()

    @property
    def argv(self) -> tuple[str, ...]:
        """The command that starts this target's probe."""
        # -P: a folder named cttui in the working directory must not shadow the program.
        return (*self.prefix, sys.executable, "-P", "-m", "cttui", "probe", *self.arguments)


def _tool(name: str) -> str:
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if path is None:
        raise FaultError(
            "no-tool", f"`{name}` is not installed.", f"Install util-linux, which brings {name}."
        )
    return path


def sandbox() -> Target:
    """A network namespace of its own, gone when its probe is.

    Root needs no user namespace, and without one keeps what it may do: read the kernel log, size receive
    buffers past rmem_max, open /dev/net/tun. Everyone else gets one.
    """
    user = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    return Target(
        "sandbox",
        "SANDBOX",
        (*HOST_COUNT, _tool("unshare"), *user, "--net", "--pid", "--fork", "--kill-child=KILL", "--"),
        ("--sandbox",),
    )


def host(netns: str | None = None, pid: int | None = None) -> Target:
    """The current network namespace, or another by name, path or process.

    Raises FaultError "no-netns" or "no-pid" with a sentence when it does not exist or may not be entered.
    """
    if netns is None and pid is None:
        return Target("host", "HOST")
    if pid is not None:
        path = Path(f"/proc/{pid}/ns/net")
        label = f"PID {pid}"
        if not Path(f"/proc/{pid}").exists():
            raise FaultError(
                "no-pid", f"There is no process {pid}.", "`pgrep -a NAME` lists processes by name."
            )
    else:
        assert netns is not None
        path = Path(netns) if "/" in netns else NETNS_FOLDER / netns
        label = f"NETNS {clean(path.name if '/' not in netns else netns)}"
        if not path.exists():
            known = sorted(p.name for p in NETNS_FOLDER.iterdir()) if NETNS_FOLDER.is_dir() else []
            some = ", ".join(known[:MOST_NAMES]) + (", …" if len(known) > MOST_NAMES else "")
            remedy = f"`ip netns list` lists the named ones; here: {some or 'none'}."
            raise FaultError("no-netns", f"There is no network namespace {netns}.", remedy)
    if not os.access(path, os.R_OK):
        raise FaultError(
            "no-privilege",
            f"The network namespace of {label} may not be opened by this user.",
            f"Run as root: {as_root()} …",
        )
    return Target("host", label, (_tool("nsenter"), f"--net={path}", "--"))
