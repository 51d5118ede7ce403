"""Devices, addresses and routes of the namespace we are in.

Five rtnetlink(7) requests by hand: a library for them takes longer to import than a sandbox to set up.
"""

import errno
import fcntl
import os
import socket
import struct
from typing import Self

from cttui.kernel.netlink import (
    HEADER,
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REQUEST,
    NLMSG_ERROR,
    attribute,
    error_of,
    nested,
    split,
)

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
IFF_UP, IFF_NOARP = 0x1, 0x80
IFA_F_NODAD = 0x02

NETLINK_ROUTE = 0
RTM_NEWLINK, RTM_NEWADDR, RTM_NEWROUTE = 16, 20, 24
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINKINFO = 1, 3, 4, 18
IFLA_INFO_KIND, IFLA_INFO_DATA, VETH_INFO_PEER = 1, 2, 1
IFA_ADDRESS, IFA_LOCAL = 1, 2
RTA_OIF, RTA_METRICS, RTAX_MTU = 4, 8, 2
RT_TABLE_MAIN, RTPROT_STATIC, RT_SCOPE_UNIVERSE, RTN_UNICAST = 254, 4, 0, 1
"""linux/rtnetlink.h, if_link.h, if_addr.h, veth.h."""
IFINFOMSG = struct.Struct("=BxHiII")
"""family, device type, index, flags, which flags to change."""
IFADDRMSG = struct.Struct("=BBBBI")
"""family, prefix length, flags, scope, index."""
RTMSG = struct.Struct("=BBBBBBBBI")
"""family, destination and source prefix length, TOS, table, protocol, scope, type, flags."""


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
    """The namespace's devices; every method raises OSError with the kernel's errno."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_ROUTE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def _do(self, what: str, kind: int, flags: int, body: bytes) -> None:
        """One request; the kernel has acknowledged it when `send` returns."""
        self._socket.send(
            HEADER.pack(HEADER.size + len(body), kind, flags | NLM_F_REQUEST | NLM_F_ACK, 1, 0) + body
        )
        for got, _, _, payload in split(self._socket.recv(1 << 16)):
            if got == NLMSG_ERROR and (code := error_of(payload)):
                raise OSError(code, f"{what}: {os.strerror(code)}")

    def up(self, name: str, *, arp: bool = True) -> None:
        """Bring a device up; without `arp` it asks for no neighbour, IPv4 or IPv6."""
        flags = IFF_UP | (0 if arp else IFF_NOARP)
        body = IFINFOMSG.pack(socket.AF_UNSPEC, 0, socket.if_nametoindex(name), flags, IFF_UP | IFF_NOARP)
        self._do(f"{name} up", RTM_NEWLINK, 0, body)

    def add_veth(self, name: str, peer: str, mac: bytes, peer_mac: bytes, mtu: int) -> None:
        """Create the pair `name`, `peer`, with these link addresses."""
        mine, other = (
            IFINFOMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
            + attribute(IFLA_IFNAME, end.encode() + b"\0")
            + attribute(IFLA_ADDRESS, address)
            + attribute(IFLA_MTU, struct.pack("=I", mtu))
            for end, address in ((name, mac), (peer, peer_mac))
        )
        kind = attribute(IFLA_INFO_KIND, b"veth\0")
        data = nested(IFLA_INFO_DATA, attribute(VETH_INFO_PEER, other))
        body = mine + nested(IFLA_LINKINFO, kind, data)
        self._do(f"veth pair {name}, {peer}", RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body)

    def add_address(self, name: str, address: str) -> None:
        """Give a device an address with its prefix length; IPv6 without duplicate address detection."""
        text, _, length = address.partition("/")
        family = socket.AF_INET6 if ":" in text else socket.AF_INET
        packed = socket.inet_pton(family, text)
        body = IFADDRMSG.pack(family, int(length), IFA_F_NODAD, 0, socket.if_nametoindex(name))
        body += attribute(IFA_LOCAL, packed) + attribute(IFA_ADDRESS, packed)
        self._do(f"address {address} on {name}", RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, body)

    def add_default_route(self, name: str, family: int, mtu: int) -> None:
        """Send everything without a better route out of this device, with no gateway."""
        body = RTMSG.pack(family, 0, 0, 0, RT_TABLE_MAIN, RTPROT_STATIC, RT_SCOPE_UNIVERSE, RTN_UNICAST, 0)
        body += attribute(RTA_OIF, struct.pack("=I", socket.if_nametoindex(name)))
        body += nested(RTA_METRICS, attribute(RTAX_MTU, struct.pack("=I", mtu)))
        self._do(f"default route through {name}", RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, body)


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
