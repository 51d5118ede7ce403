"""What this process may do in its namespace, and in which words it says what it may not."""

import socket
from pathlib import Path

from cttui.kernel import ctnetlink
from cttui.kernel.kmsg import KernelLog
from cttui.model.as_root import as_root
from cttui.model.faults import FaultError


class Rights:
    """`can` and `cannot` (what → sentence) as the greeting tells them; both may change until it is sent."""

    def __init__(self, *, sandbox: bool, read_only: bool, log: KernelLog, problems: dict[str, str]) -> None:
        """Raises FaultError where the kernel has no conntrack or no ctnetlink. `problems`: of the sandbox."""
        self.privileged = may_use_ctnetlink()
        self.writes = self.privileged and not read_only
        self.can = ["counters"]
        self.cannot = dict(problems)
        for what, name in (("ctnetlink", "table"), ("events", "events"), ("rules", "rules")):
            self._know(
                what,
                self.privileged,
                f"The {name} can be read only with CAP_NET_ADMIN here: run {as_root()}, or look at the sandbox.",
            )
        self._know("capture", _has_net_raw(), f"Capturing packets needs CAP_NET_RAW here: run {as_root()}.")
        self._know("kmsg", log.readable, log.why)
        self._know(
            "write",
            self.writes,
            "cttui runs with --read-only: nothing is changed here. Start it without --read-only."
            if read_only
            else f"Changing anything needs CAP_NET_ADMIN here: run {as_root()}.",
        )
        if sandbox:
            self.can += ["fire", "fill"]
        for what in ("stages", "trace"):
            if self.privileged:
                self._know(
                    what,
                    sandbox or not read_only,
                    f"cttui runs with --read-only: no {what}, which needs a table of ours in nftables.",
                )

    def _know(self, what: str, able: bool, why_not: str) -> None:
        if able:
            self.can.append(what)
        else:
            self.cannot[what] = why_not

    def fails(self, what: str, why: str) -> None:
        """It should have been possible, and was tried."""
        self.cannot[what] = why
        if what in self.can:
            self.can.remove(what)

    @property
    def who(self) -> str:
        """Whose rights these are."""
        if not self.privileged:
            return "no privilege"
        # In the first user namespace the map is the identity over the whole range (user_namespaces(7)).
        first = Path("/proc/self/uid_map").read_text().split()[:3] == ["0", "0", "4294967295"]
        return "root" if first else "user namespace"


def may_use_ctnetlink() -> bool:
    """Whether ctnetlink answers us. Raises FaultError where the kernel has no conntrack or no ctnetlink."""
    if not Path("/proc/sys/net/netfilter/nf_conntrack_max").exists():
        raise FaultError(
            "no-conntrack",
            "This kernel has no connection tracking, or its module is not loaded.",
            "As root: modprobe nf_conntrack nf_conntrack_netlink. Without that module there is nothing to show.",
        )
    try:
        ctnetlink.stats()
    except PermissionError:
        return False
    except OSError as e:
        raise FaultError(
            "no-ctnetlink",
            f"This kernel does not answer ctnetlink ({e.strerror}).",
            "As root: modprobe nf_conntrack_netlink (CONFIG_NF_CT_NETLINK).",
        ) from None
    return True


def _has_net_raw() -> bool:
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0).close()
    except OSError:
        return False
    return True
