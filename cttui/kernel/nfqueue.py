"""A netfilter queue: packets wait in it until they are let go together (nfnetlink_queue.h).

Two packets of one flow held before conntrack confirms them make the race over that entry certain.
The queue, and what it holds, is gone with the socket: held packets are then dropped.
"""

import errno
import os
import select
import socket
import struct
import time

NETLINK_NETFILTER = 12
_SUBSYS_QUEUE = 3
_PACKET, _VERDICT, _CONFIG = 0, 1, 2  # enum nfqnl_msg_types
_CFG_CMD, _CFG_PARAMS, _CFG_QUEUE_MAXLEN = 1, 2, 3
_CMD_BIND, _COPY_META = 1, 1
_PACKET_HDR, _VERDICT_HDR = 1, 2
NF_ACCEPT = 1
NLM_F_REQUEST, NLM_F_ACK = 1, 4
NLMSG_ERROR = 2
NFNETLINK_V0 = 0


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


class Queue:
    """One bound queue. Raises OSError: EPERM without CAP_NET_ADMIN, EBUSY if another program has it,
    EOPNOTSUPP/EINVAL where the kernel has no nfnetlink_queue."""

    def __init__(self, number: int, length: int = 4096) -> None:
        self._number = number
        self._seq = 0
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, NETLINK_NETFILTER
        )
        try:
            self._socket.bind((0, 0))
            self._configure(_attribute(_CFG_CMD, struct.pack("!BxH", _CMD_BIND, 0)))
            # only the packet's number is wanted: its metadata does, its bytes stay in the kernel
            self._configure(
                _attribute(_CFG_PARAMS, struct.pack("!IB", 0, _COPY_META))
                + _attribute(_CFG_QUEUE_MAXLEN, struct.pack("!I", length))
            )
        except OSError:
            self._socket.close()
            raise
        self.held: list[int] = []
        """Numbers of the packets that wait, in order of arrival."""

    def __enter__(self) -> "Queue":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fileno(self) -> int:
        """For the loop: readable when packets have come."""
        return self._socket.fileno()

    def close(self) -> None:
        """Unbind; packets still held are dropped by the kernel."""
        self._socket.close()

    def collect(self) -> int:
        """Take note of the packets that have come; how many are held now. Never blocks."""
        while True:
            try:
                data = self._socket.recv(1 << 16)
            except BlockingIOError:
                return len(self.held)
            except OSError as e:
                if e.errno == errno.ENOBUFS:  # numbers were lost: those packets go when the queue does
                    continue
                raise
            self.held += packet_ids(data)

    def wait(self, packets: int, timeout_s: float) -> int:
        """Wait until so many are held; how many are. Blocks: for tests and children, not for the loop."""
        deadline = time.monotonic() + timeout_s
        while self.collect() < packets:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._socket], [], [], left)[0]:
                break
        return len(self.held)

    def release(self) -> int:
        """Let all held packets go, in order, in one send; how many."""
        out = b"".join(
            self._message(_VERDICT, _attribute(_VERDICT_HDR, struct.pack("!II", NF_ACCEPT, number)))
            for number in self.held
        )
        n, self.held = len(self.held), []
        if out:
            self._socket.send(out)
        return n

    def _message(self, kind: int, body: bytes, flags: int = 0) -> bytes:
        self._seq += 1
        head = struct.pack(
            "=IHHIIBBH", 20 + len(body), _SUBSYS_QUEUE << 8 | kind, NLM_F_REQUEST | flags, self._seq, 0,
            socket.AF_UNSPEC, NFNETLINK_V0, socket.htons(self._number),
        )  # fmt: skip
        return head + body

    def _configure(self, body: bytes) -> None:
        self._socket.send(self._message(_CONFIG, body, NLM_F_ACK))
        select.select([self._socket], [], [], 5)
        answer = self._socket.recv(1 << 16)
        kind, code = struct.unpack_from("=4xH10xi", answer)
        if kind == NLMSG_ERROR and code:
            raise OSError(-code, f"netfilter queue {self._number}: {os.strerror(-code)}")


def packet_ids(data: bytes) -> list[int]:
    """Packet numbers in a datagram of queue messages."""
    out = []
    at = 0
    while at + 20 <= len(data):
        length, kind = struct.unpack_from("=IH", data, at)
        if length < 16:
            break
        if kind == _SUBSYS_QUEUE << 8 | _PACKET:
            attribute, end = at + 20, min(at + length, len(data))
            while attribute + 8 <= end:
                size, name = struct.unpack_from("=HH", data, attribute)
                if name & 0x3FFF == _PACKET_HDR:
                    out.append(struct.unpack_from("!I", data, attribute + 4)[0])
                attribute += max((size + 3) & ~3, 4)
        at += (length + 3) & ~3
    return out
