"""Which socket here has an end of a connection, and which addresses are ours: exact questions, where `ss` asks for all.

sock_diag(7): struct inet_diag_req_v2 and inet_diag_msg of include/uapi/linux/inet_diag.h; rtnetlink(7).
"""

import socket
import struct
from dataclasses import dataclass

from cttui.model.flow import AF_INET, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE

_NETLINK_SOCK_DIAG, _BY_FAMILY = 4, 20
_NLM_F_REQUEST = 1
_GETROUTE, _NEWROUTE, _RTA_DST, _RTN_LOCAL = 26, 24, 1, 2
_HEADER = struct.Struct("=IHHII")
_ROUTE = struct.Struct("=8BI")
"""struct rtmsg of rtnetlink(7): family, length of destination, …, type, flags."""
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
    answer = _ask(_NETLINK_SOCK_DIAG, _BY_FAMILY, request)
    if len(answer) < _HEADER.size + _OWNER + 8 or _HEADER.unpack_from(answer)[1] != _BY_FAMILY:
        return None
    uid, inode = struct.unpack_from("=II", answer, _HEADER.size + _OWNER)
    return Socket(inode, uid, proto == IPPROTO_TCP and answer[_HEADER.size + _STATE] == _LISTEN)


def is_local(family: int, address: bytes) -> bool:
    """Whether packets to an address are for this namespace, by its routes.

    To bind a socket would tell nothing: with ip_nonlocal_bind, which keepalived and HAProxy want, any address will do.
    """
    version = socket.AF_INET if family == AF_INET else socket.AF_INET6
    route = _ROUTE.pack(version, 8 * len(address), 0, 0, 0, 0, 0, 0, 0)
    answer = _ask(
        socket.NETLINK_ROUTE, _GETROUTE, route + struct.pack("=HH", 4 + len(address), _RTA_DST) + address
    )
    if len(answer) < _HEADER.size + _ROUTE.size or _HEADER.unpack_from(answer)[1] != _NEWROUTE:
        return False
    return bool(_ROUTE.unpack_from(answer, _HEADER.size)[7] == _RTN_LOCAL)


def _ask(protocol: int, kind: int, body: bytes) -> bytes:
    """The first message of the kernel's answer, b"" where it has none: a kernel may be built without all this."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol) as netlink:
            netlink.settimeout(ANSWER_S)
            netlink.send(_HEADER.pack(_HEADER.size + len(body), kind, _NLM_F_REQUEST, 1, 0) + body)
            return netlink.recv(4096)
    except OSError:
        return b""
