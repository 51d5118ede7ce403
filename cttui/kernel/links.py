"""Devices, addresses and routes of the namespace we are in, by plain rtnetlink (rtnetlink(7), netdevice(7)).

A dozen messages at the start of a sandbox: written out here they cost a millisecond, importing a netlink
library 146.
"""

import errno
import fcntl
import os
import socket
import struct
from ipaddress import ip_interface

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
IFF_UP, IFF_NOARP = 0x1, 0x80

NETLINK_ROUTE = 0
RTM_NEWLINK, RTM_NEWADDR, RTM_NEWROUTE = 16, 20, 24
NLM_F_REQUEST, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL = 0x1, 0x4, 0x400, 0x200
NLMSG_ERROR = 2
NLA_F_NESTED = 0x8000
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINKINFO = 1, 3, 4, 18
IFLA_INFO_KIND, IFLA_INFO_DATA, VETH_INFO_PEER = 1, 2, 1
IFA_ADDRESS, IFA_LOCAL, IFA_F_NODAD = 1, 2, 0x02
RTA_OIF, RTA_METRICS, RTAX_MTU = 4, 8, 2
RT_TABLE_MAIN, RTPROT_STATIC, RT_SCOPE_UNIVERSE, RTN_UNICAST = 254, 4, 0, 1


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


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def _link(index: int = 0, flags: int = 0, change: int = 0) -> bytes:
    return struct.pack("=BxHiII", socket.AF_UNSPEC, 0, index, flags, change)


class Links:
    """An rtnetlink socket; every method raises OSError with the kernel's errno."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_ROUTE)
        self._seq = 0

    def __enter__(self) -> "Links":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def _do(self, what: str, kind: int, body: bytes, flags: int = 0) -> None:
        self._seq += 1
        header = struct.pack("=IHHII", 16 + len(body), kind, NLM_F_REQUEST | NLM_F_ACK | flags, self._seq, 0)
        self._socket.send(header + body)
        answer = self._socket.recv(65536)
        _, kind_back, _, seq, _, code = struct.unpack_from("=IHHIIi", answer)
        if kind_back != NLMSG_ERROR or seq != self._seq:
            raise OSError(errno.EPROTO, f"{what}: unexpected answer from rtnetlink")
        if code:
            raise OSError(-code, f"{what}: {os.strerror(-code)}")

    def up(self, name: str, *, arp: bool = True) -> None:
        """Bring a device up; without `arp` it asks for no neighbour, IPv4 or IPv6."""
        flags = IFF_UP | (0 if arp else IFF_NOARP)
        body = _link(socket.if_nametoindex(name), flags, IFF_UP | IFF_NOARP)
        self._do(f"{name} up", RTM_NEWLINK, body)

    def add_veth(self, name: str, peer: str, mac: bytes, peer_mac: bytes, mtu: int) -> None:
        """Create the pair `name`, `peer`, with these link addresses and this MTU."""
        size = _attribute(IFLA_MTU, struct.pack("=I", mtu))
        other = (
            _link()
            + _attribute(IFLA_IFNAME, peer.encode() + b"\0")
            + _attribute(IFLA_ADDRESS, peer_mac)
            + size
        )
        data = _attribute(IFLA_INFO_DATA | NLA_F_NESTED, _attribute(VETH_INFO_PEER | NLA_F_NESTED, other))
        info = _attribute(IFLA_LINKINFO | NLA_F_NESTED, _attribute(IFLA_INFO_KIND, b"veth\0") + data)
        body = (
            _link()
            + _attribute(IFLA_IFNAME, name.encode() + b"\0")
            + _attribute(IFLA_ADDRESS, mac)
            + size
            + info
        )
        self._do(f"veth pair {name}, {peer}", RTM_NEWLINK, body, NLM_F_CREATE | NLM_F_EXCL)

    def add_address(self, name: str, address: str) -> None:
        """Give a device an address with its prefix length; IPv6 without duplicate address detection."""
        interface = ip_interface(address)
        family = socket.AF_INET if interface.version == 4 else socket.AF_INET6
        packed = interface.ip.packed
        body = struct.pack(
            "=BBBBI", family, interface.network.prefixlen, IFA_F_NODAD, 0, socket.if_nametoindex(name)
        )
        body += _attribute(IFA_LOCAL, packed) + _attribute(IFA_ADDRESS, packed)
        self._do(f"address {address} on {name}", RTM_NEWADDR, body, NLM_F_CREATE | NLM_F_EXCL)

    def add_default_route(self, name: str, family: int, mtu: int) -> None:
        """Send everything without a better route out of this device, with no gateway, in packets of `mtu`."""
        body = struct.pack(
            "=BBBBBBBBI",
            family, 0, 0, 0, RT_TABLE_MAIN, RTPROT_STATIC, RT_SCOPE_UNIVERSE, RTN_UNICAST, 0,
        )  # fmt: skip
        body += _attribute(RTA_OIF, struct.pack("=I", socket.if_nametoindex(name)))
        body += _attribute(RTA_METRICS | NLA_F_NESTED, _attribute(RTAX_MTU, struct.pack("=I", mtu)))
        self._do(f"default route through {name}", RTM_NEWROUTE, body, NLM_F_CREATE | NLM_F_EXCL)


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
