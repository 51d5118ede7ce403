"""Which socket here has this end of a connection: one exact question to sock_diag(7), as `ss` asks for many.

struct inet_diag_req_v2 and inet_diag_msg of include/uapi/linux/inet_diag.h.
"""

import socket
import struct
from dataclasses import dataclass

from cttui.model.flow import AF_INET, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE

_NETLINK_SOCK_DIAG, _BY_FAMILY = 4, 20
_HEADER = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=BBBBI")
_PORTS = struct.Struct(">HH")
_ANYWHERE = struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)
"""No interface, and INET_DIAG_NOCOOKIE."""
_STATE, _OWNER = 1, 64
"""Offsets in inet_diag_msg of the state and of uid and inode."""
_LISTEN, _EVERY_STATE = 10, 0xFFFFFFFF
ANSWER_S = 0.05
"""The kernel answers within the system call; this bounds what a broken one could cost."""

PROTOCOLS = (IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE)


@dataclass(frozen=True, slots=True)
class Socket:
    """A socket: its inode (0: of no process any more) and its owner's user id."""

    inode: int
    uid: int
    listening: bool


def find_socket(proto: int, local: tuple[bytes, int], remote: tuple[bytes, int]) -> Socket | None:
    """The socket that a packet from `remote` to `local` (packed address, port) would meet in this namespace.

    None where there is none, and where the kernel has no sock_diag for the protocol. Found are unconnected sockets
    too, whatever address they are bound to: ask `is_local` first.
    """
    if proto not in PROTOCOLS:
        return None
    # udp_dump_one takes source and destination the other way round, "for historical reasons"
    ends = (local, remote) if proto == IPPROTO_TCP else (remote, local)
    (one, one_port), (two, two_port) = ends
    family = socket.AF_INET if len(one) == 4 else socket.AF_INET6
    request = (
        _REQUEST.pack(family, proto, 0, 0, _EVERY_STATE)
        + _PORTS.pack(one_port, two_port)
        + one.ljust(16, b"\0")
        + two.ljust(16, b"\0")
        + _ANYWHERE
    )
    with socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG
    ) as netlink:
        netlink.settimeout(ANSWER_S)
        netlink.send(_HEADER.pack(_HEADER.size + len(request), _BY_FAMILY, 1, 1, 0) + request)
        try:
            answer = netlink.recv(4096)
        except TimeoutError:
            return None
    if _HEADER.unpack_from(answer)[1] != _BY_FAMILY or len(answer) < _HEADER.size + _OWNER + 8:
        return None
    uid, inode = struct.unpack_from("=II", answer, _HEADER.size + _OWNER)
    return Socket(inode, uid, proto == IPPROTO_TCP and answer[_HEADER.size + _STATE] == _LISTEN)


def is_local(family: int, address: bytes) -> bool:
    """Whether an address is one of this namespace's: whether a socket may be bound to it (nothing is sent)."""
    version = socket.AF_INET if family == AF_INET else socket.AF_INET6
    with socket.socket(version, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as probe:
        try:
            probe.bind((socket.inet_ntop(version, address), 0))
        except OSError:
            return False
    return True
