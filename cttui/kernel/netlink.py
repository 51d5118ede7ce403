"""Netlink sockets of the netfilter family: requests with their errors, and batched receiving.

Everything runs on one asyncio loop: requests are answered inside `send` by the kernel, so reading the
answer never waits; event and dump sockets are non-blocking and polled.
"""

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

NETLINK_NETFILTER = 12
SOL_NETLINK, NETLINK_CAP_ACK = 270, 10
SO_RCVBUFFORCE = 33

NLM_F_REQUEST, NLM_F_ACK = 0x1, 0x4
NLM_F_DUMP_INTR = 0x10
NLM_F_DUMP = 0x300
NLM_F_EXCL, NLM_F_CREATE = 0x200, 0x400
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLA_F_NESTED, NLA_TYPE_MASK = 0x8000, 0x3FFF

HEADER = struct.Struct("=IHHII")
"""struct nlmsghdr: length, type, flags, sequence, port."""
NFGENMSG = struct.Struct("=BBH")
"""struct nfgenmsg: family, version, res_id (a big-endian u16, always 0 here)."""
_ATTRIBUTE = struct.Struct("=HH")
_ERRNO = struct.Struct("=i")

EVENT_BUFFER = 64 << 20
"""About one second of events at 100,000 a second: each costs 1,280 bytes of socket memory."""
REQUEST_BUFFER = 4 << 20

_libc = ctypes.CDLL(None, use_errno=True)
_libc.recvmmsg.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p]
_libc.recvmmsg.restype = ctypes.c_int


def attribute(kind: int, payload: bytes) -> bytes:
    """One netlink attribute, padded to four bytes."""
    return _ATTRIBUTE.pack(4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


def nested(kind: int, *parts: bytes) -> bytes:
    """A nested attribute of already packed ones."""
    return attribute(kind | NLA_F_NESTED, b"".join(parts))


def message(kind: int, flags: int, body: bytes, *, family: int = 0, seq: int = 0) -> bytes:
    """One nfnetlink message: header, nfgenmsg, attributes."""
    length = HEADER.size + NFGENMSG.size + len(body)
    return HEADER.pack(length, kind, flags, seq, 0) + NFGENMSG.pack(family, 0, 0) + body


def split(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """(type, flags, sequence, payload after the header) of each message of a datagram; stops at damage."""
    at = 0
    while at + HEADER.size <= len(data):
        length, kind, flags, seq, _ = HEADER.unpack_from(data, at)
        if length < HEADER.size or at + length > len(data):
            return
        yield kind, flags, seq, data[at + HEADER.size : at + length]
        at += (length + 3) & ~3


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type without flags, payload) of each attribute; stops at damage."""
    at = 0
    while at + 4 <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < 4 or at + length > len(data):
            return
        yield kind & NLA_TYPE_MASK, data[at + 4 : at + length]
        at += (length + 3) & ~3


def error_of(payload: bytes) -> int:
    """The errno in an NLMSG_ERROR's payload, 0 for an acknowledgement."""
    return -int(_ERRNO.unpack_from(payload)[0]) if len(payload) >= _ERRNO.size else errno.EBADMSG


def os_error(code: int) -> OSError:
    """The exception for an errno: PermissionError, FileNotFoundError and so on."""
    return OSError(code, os.strerror(code))


class Netlink:
    """A NETLINK_NETFILTER socket in the namespace of the calling thread."""

    def __init__(self, groups: Iterable[int] = (), *, receive_buffer: int = 0) -> None:
        mask = 0
        for group in groups:
            mask |= 1 << (group - 1)
        self.socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER
        )
        try:
            self.receive_buffer = self._grow(receive_buffer or (EVENT_BUFFER if mask else REQUEST_BUFFER))
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, REQUEST_BUFFER)
            # Errors without a copy of the refused message: hundreds may come back for one send.
            self.socket.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
            self.socket.bind((0, mask))
            self.socket.setblocking(False)
        except OSError:
            self.socket.close()
            raise
        self._seq = 0

    def _grow(self, size: int) -> int:
        """Set the receive buffer; bytes granted. Forcing needs CAP_NET_ADMIN in the first user namespace."""
        try:
            self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, size)
        except PermissionError:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
        return self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)

    def fileno(self) -> int:
        """For polling."""
        return self.socket.fileno()

    def close(self) -> None:
        """Leave the groups and end a running dump."""
        self.socket.close()

    def next_seq(self) -> int:
        """A sequence number not used on this socket lately."""
        self._seq = self._seq % 0x7FFFFFFF + 1
        return self._seq

    def send(self, data: bytes) -> None:
        """Hand messages to the kernel, which works them off before this returns."""
        self.socket.send(data)

    def receive(self) -> Iterator[bytes]:
        """Datagrams that are here now."""
        while True:
            try:
                data = self.socket.recv(1 << 17)
            except BlockingIOError:
                return
            except InterruptedError:
                continue
            yield data

    def request(self, kind: int, flags: int, body: bytes = b"", *, family: int = 0) -> list[bytes]:
        """Ask and collect: payloads of the answers (from nfgenmsg on). Raises OSError with the kernel's errno."""
        seq = self.next_seq()
        dump = flags & NLM_F_DUMP == NLM_F_DUMP
        if not dump:
            flags |= NLM_F_ACK
        self.send(message(kind, flags | NLM_F_REQUEST, body, family=family, seq=seq))
        answers: list[bytes] = []
        for data in self.receive():
            for got, _, number, payload in split(data):
                if number != seq:
                    continue
                if got == NLMSG_DONE:
                    code = error_of(payload) if len(payload) >= _ERRNO.size else 0
                    if code > 0:
                        raise os_error(code)
                    return answers
                if got == NLMSG_ERROR:
                    code = error_of(payload)
                    if code:
                        raise os_error(code)
                    return answers
                answers.append(payload)
        raise os_error(errno.EPROTO)


_MMSGHDR = np.dtype(
    [
        ("name", "u8"), ("namelen", "u4"), ("pad0", "u4"), ("iov", "u8"), ("iovlen", "u8"),
        ("control", "u8"), ("controllen", "u8"), ("flags", "i4"), ("pad1", "u4"), ("len", "u4"), ("pad2", "u4"),
    ]
)  # fmt: skip
"""struct mmsghdr on a 64-bit kernel."""
MSG_TRUNC = 0x20


class Receiver:
    """recvmmsg into one preallocated buffer: `slots` datagrams of up to `slot_bytes` each."""

    def __init__(self, slots: int, slot_bytes: int) -> None:
        if struct.calcsize("P") != 8:
            raise os_error(errno.ENOSYS)
        self.slots, self.slot_bytes = slots, slot_bytes
        self.buffer: NDArray[np.uint8] = np.zeros(slots * slot_bytes, np.uint8)
        self._vectors = np.zeros((slots, 2), np.uint64)
        self._vectors[:, 0] = self.buffer.ctypes.data + slot_bytes * np.arange(slots, dtype=np.uint64)
        self._vectors[:, 1] = slot_bytes
        self._headers = np.zeros(slots, _MMSGHDR)
        self._headers["iov"] = self._vectors.ctypes.data + 16 * np.arange(slots, dtype=np.uint64)
        self._headers["iovlen"] = 1
        self._lengths = self._headers["len"]
        self._flags = self._headers["flags"]
        self._pointer = self._headers.ctypes.data
        self.offsets: NDArray[np.int64] = slot_bytes * np.arange(slots, dtype=np.int64)

    def receive(self, descriptor: int) -> int:
        """Datagrams received, 0 when none is here. Raises OSError, with ENOBUFS when the kernel dropped some."""
        got = int(_libc.recvmmsg(descriptor, self._pointer, self.slots, socket.MSG_DONTWAIT, None))
        if got >= 0:
            return got
        code = ctypes.get_errno()
        if code in (errno.EAGAIN, errno.EINTR):
            return 0
        raise os_error(code)

    def lengths(self, n: int) -> NDArray[np.uint32]:
        """Bytes of the first `n` datagrams."""
        lengths: NDArray[np.uint32] = self._lengths[:n]
        return lengths

    def truncated(self, n: int) -> int:
        """How many of the first `n` datagrams were longer than a slot."""
        return int(np.count_nonzero(self._flags[:n] & MSG_TRUNC))
