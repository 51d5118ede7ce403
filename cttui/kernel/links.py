"""Devices, addresses and routes of the namespace we are in.

rtnetlink is pyroute2's business. Its import takes 0.15 s, so only `Links` loads it, and a sandbox lets
iptables work meanwhile. Its synchronous API must not be used inside a running event loop.
"""

import errno
import fcntl
import os
import socket
import struct
from typing import Any, Self

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
IFF_UP, IFF_NOARP = 0x1, 0x80
IFA_F_NODAD = 0x02


def open_tun(name: str) -> int:
    """Descriptor of a new tun device: what is written to it arrives on the device. Raises OSError.

    The device goes when the descriptor does. Non-blocking, no packet-information header.
    """
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    except OSError:
        os.close(fd)
        raise
    return fd


def open_wire(name: str) -> int:
    """Descriptor of a packet socket that only sends, on device `name`: frames with their link header."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    try:
        sock.bind((name, 0))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 << 20)
    except OSError:
        sock.close()
        raise
    return sock.detach()


class Links:
    """The namespace's devices; every method raises OSError with the kernel's errno (pyroute2's NetlinkError
    is translated: its `code` is the errno)."""

    def __init__(self) -> None:
        from pyroute2 import IPRoute

        self._route = IPRoute()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._route.close()

    def _do(self, what: str, method: str, *args: str, **fields: Any) -> None:
        from pyroute2.netlink.exceptions import NetlinkError

        try:
            getattr(self._route, method)(*args, **fields)
        except NetlinkError as e:
            raise OSError(e.code, f"{what}: {os.strerror(e.code)}") from None

    def up(self, name: str, *, arp: bool = True) -> None:
        """Bring a device up; without `arp` it asks for no neighbour, IPv4 or IPv6."""
        flags = IFF_UP | (0 if arp else IFF_NOARP)
        index = socket.if_nametoindex(name)
        self._do(f"{name} up", "link", "set", index=index, flags=flags, change=IFF_UP | IFF_NOARP)

    def add_veth(self, name: str, peer: str, mac: bytes, peer_mac: bytes, mtu: int) -> None:
        """Create the pair `name`, `peer`, with these link addresses."""
        other = {"ifname": peer, "address": peer_mac.hex(":"), "mtu": mtu}
        self._do(
            f"veth pair {name}, {peer}", "link", "add",
            ifname=name, kind="veth", address=mac.hex(":"), mtu=mtu, peer=other,
        )  # fmt: skip

    def add_address(self, name: str, address: str) -> None:
        """Give a device an address with its prefix length; IPv6 without duplicate address detection."""
        index = socket.if_nametoindex(name)
        self._do(
            f"address {address} on {name}", "addr", "add", index=index, address=address, flags=IFA_F_NODAD
        )

    def add_default_route(self, name: str, family: int, mtu: int) -> None:
        """Send everything without a better route out of this device, with no gateway."""
        self._do(
            f"default route through {name}", "route", "add",
            dst="default", family=family, oif=socket.if_nametoindex(name), scope="universe",
            metrics={"mtu": mtu},
        )  # fmt: skip


def link_counters(name: str) -> dict[str, int]:
    """rx_packets, rx_dropped, tx_packets, tx_dropped of a device. Raises OSError for no such device.

    From /proc/thread-self/net/dev: /sys still shows the devices of the namespace it was mounted in, and
    /proc/net the leader's of a thread that has changed namespace.
    """
    with open("/proc/thread-self/net/dev", encoding="ascii") as lines:
        for line in lines:
            device, _, numbers = line.partition(":")
            if device.strip() == name:
                n = [int(word) for word in numbers.split()]
                return {"rx_packets": n[1], "rx_dropped": n[3], "tx_packets": n[9], "tx_dropped": n[11]}
    raise OSError(errno.ENODEV, f"no device {name}")
