"""nf_tables over raw netlink: batches, dumps, and the counters in them.

Numbers are those of include/uapi/linux/netfilter/nf_tables.h and nfnetlink.h; all integers inside attributes
are big-endian.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator

NETLINK_NETFILTER = 12
NFNL_SUBSYS_NFTABLES = 10
NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END = 16, 17
NFT_MSG_NEWTABLE, NFT_MSG_GETTABLE = 0, 1
NFT_MSG_NEWCHAIN, NFT_MSG_GETCHAIN = 3, 4
NFT_MSG_NEWRULE, NFT_MSG_GETRULE = 6, 7
NFT_MSG_GETGEN = 16
NFT_TABLE_F_OWNER = 2

NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP_INTR, NLM_F_DUMP = 0x1, 0x4, 0x10, 0x300
NLM_F_CREATE, NLM_F_APPEND = 0x400, 0x800

AF_UNSPEC = 0
FAMILIES: dict[int, str] = {1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}
"""NFPROTO_* as nft writes them."""
FAMILY_NUMBERS = {name: number for number, name in FAMILIES.items()}

_INET_HOOKS = ("prerouting", "input", "forward", "output", "postrouting", "ingress")
HOOK_NAMES: dict[str, tuple[str, ...]] = {
    "inet": _INET_HOOKS, "ip": _INET_HOOKS, "ip6": _INET_HOOKS, "bridge": _INET_HOOKS,
    "arp": ("input", "output", "forward"), "netdev": ("ingress", "egress"),
}  # fmt: skip
"""Hook numbers differ by family: NF_INET_*, NF_BR_*, NF_ARP_*, NF_NETDEV_*."""

_HEADER = struct.Struct("=IHHIIBBH")
_ATTR = struct.Struct("=HH")
_U32 = struct.Struct(">I")
RECEIVE_BYTES = 1 << 16
"""The kernel fills at most 32 KiB of a dump at a time (netlink_recvmsg, max_recvmsg_len)."""


def attr(kind: int, value: bytes) -> bytes:
    """One attribute, padded."""
    return _ATTR.pack(4 + len(value), kind) + value + bytes(-len(value) % 4)


def nested(kind: int, *values: bytes) -> bytes:
    """An attribute that holds attributes."""
    return attr(kind | 0x8000, b"".join(values))


def u32(kind: int, value: int) -> bytes:
    """A big-endian number; negative ones as two's complement (hook priorities)."""
    return attr(kind, _U32.pack(value & 0xFFFFFFFF))


def text(kind: int, value: str) -> bytes:
    """A NUL-terminated name; bytes that are no text come back as they came."""
    return attr(kind, value.encode("utf-8", "surrogateescape") + b"\0")


def message(kind: int, flags: int, seq: int, family: int, body: bytes = b"", subsys: int = NFNL_SUBSYS_NFTABLES, res_id: int = 0) -> bytes:  # fmt: skip
    """One nfnetlink message."""
    return (
        _HEADER.pack(20 + len(body), subsys << 8 | kind, flags, seq, 0, family, 0, socket.htons(res_id))
        + body
    )


def attributes(buffer: bytes | bytearray | memoryview, start: int, end: int) -> Iterator[tuple[int, int, int]]:  # fmt: skip
    """(kind without flags, first byte of the value, end of the value) of each attribute in [start, end)."""
    while start + 4 <= end:
        length, kind = _ATTR.unpack_from(buffer, start)
        if length < 4 or start + length > end:
            return
        yield kind & 0x3FFF, start + 4, start + length
        start += (length + 3) & ~3


def messages(buffer: bytes | bytearray | memoryview, end: int) -> Iterator[tuple[int, int, int, int]]:
    """(type, flags, start, end) of each netlink message in buffer[:end]."""
    start = 0
    while start + 16 <= end:
        length, kind, flags = struct.unpack_from("=IHH", buffer, start)
        if length < 16 or start + length > end:
            return
        yield kind, flags, start, start + length
        start += (length + 3) & ~3


def messages_of(data: memoryview, seq: int) -> tuple[list[tuple[int, int]], int | None]:
    """((start, end) of each message of the dump `seq` in a datagram, start of the one that ends it, if it is there).

    Raises OSError with the kernel's errno; InterruptedError: the rules changed during the dump.
    """
    found: list[tuple[int, int]] = []
    for kind, flags, start, end in messages(data, len(data)):
        if struct.unpack_from("=I", data, start + 8)[0] != seq:
            continue
        if flags & NLM_F_DUMP_INTR:
            raise InterruptedError(errno.EINTR, "rules changed during the dump")
        if kind == NLMSG_ERROR:
            code = -struct.unpack_from("=i", data, start + 16)[0]
            raise OSError(code, os.strerror(code))
        if kind == NLMSG_DONE:
            return found, start
        found.append((start, end))
    return found, None


class NftSocket:
    """A netlink socket to nf_tables. Tables made through it with NFT_TABLE_F_OWNER live as long as it does."""

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER
        )
        self._socket.bind((0, 0))
        # The kernel answers at once; a bound in case it does not, after which receiving raises EAGAIN.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", 5, 0))
        self._seq = 0
        self._buffer = bytearray(RECEIVE_BYTES)

    def close(self) -> None:
        """Close; the kernel removes the tables this socket owns."""
        self._socket.close()

    def _next(self) -> int:
        self._seq = (self._seq + 1) & 0x7FFFFFFF
        return self._seq

    def transact(self, parts: list[tuple[int, int, int, bytes]]) -> None:
        """Carry out (message, flags, family, body) as one transaction. Raises OSError with the first error."""
        begin = message(
            NFNL_MSG_BATCH_BEGIN, NLM_F_REQUEST, self._next(), AF_UNSPEC, subsys=0, res_id=NFNL_SUBSYS_NFTABLES
        )  # fmt: skip
        body = [
            message(kind, NLM_F_REQUEST | NLM_F_ACK | flags, self._next(), family, payload)
            for kind, flags, family, payload in parts
        ]
        end = message(
            NFNL_MSG_BATCH_END, NLM_F_REQUEST, self._next(), AF_UNSPEC, subsys=0, res_id=NFNL_SUBSYS_NFTABLES
        )  # fmt: skip
        self._drain()
        self._socket.send(begin + b"".join(body) + end)
        left, failed = len(body), 0
        while left > 0:
            n = self._socket.recv_into(self._buffer)
            for kind, _, start, _ in messages(self._buffer, n):
                if kind != NLMSG_ERROR:
                    continue
                left -= 1
                code = -struct.unpack_from("=i", self._buffer, start + 16)[0]
                failed = failed or code
                if code == errno.EPERM:
                    left = 0  # without CAP_NET_ADMIN the batch as a whole gets one answer
        if failed:
            raise OSError(failed, os.strerror(failed))

    def _drain(self) -> None:
        try:
            while True:
                self._socket.recv_into(self._buffer, 0, socket.MSG_DONTWAIT)
        except BlockingIOError:
            pass

    def receive(self) -> memoryview:
        """One datagram of a dump, good until the next call. Raises OSError.

        The kernel walks the rules from the first one for every datagram (nf_tables_dump_rules): a late one of
        100,000 in a chain costs it 2.6 ms.
        """
        n = self._socket.recv_into(self._buffer)
        return memoryview(self._buffer)[:n]

    def start_dump(self, kind: int, family: int, body: bytes = b"") -> int:
        """Ask for a dump; take it with `receive` and know it by the sequence number returned."""
        self._drain()
        seq = self._next()
        self._socket.send(message(kind, NLM_F_REQUEST | NLM_F_DUMP, seq, family, body))
        return seq

    def dump(self, kind: int, family: int, body: bytes = b"") -> bytes:
        """All messages of a dump, for small ones. Raises OSError; InterruptedError: the rules changed meanwhile."""
        seq = self.start_dump(kind, family, body)
        out: list[bytes] = []
        end = None
        while end is None:
            data = self.receive()
            found, end = messages_of(data, seq)
            out += [bytes(data[start:stop]) for start, stop in found]
        return b"".join(out)

    def get(self, kind: int, family: int, body: bytes = b"") -> bytes:
        """The one message that answers a question. Raises OSError with the kernel's errno."""
        self._drain()
        seq = self._next()
        self._socket.send(message(kind, NLM_F_REQUEST, seq, family, body))
        n = self._socket.recv_into(self._buffer)
        for got, _, start, end in messages(self._buffer, n):
            if struct.unpack_from("=I", self._buffer, start + 8)[0] != seq:
                continue
            if got == NLMSG_ERROR:
                code = -struct.unpack_from("=i", self._buffer, start + 16)[0]
                raise OSError(code, os.strerror(code))
            return bytes(self._buffer[start:end])
        raise OSError(errno.EPROTO, "no answer in what the kernel sent")

    def generation(self) -> int:
        """The rule set's generation: it moves with every transaction, never with packets."""
        data = self.get(NFT_MSG_GETGEN, AF_UNSPEC)
        for which, value, _ in attributes(data, 20, len(data)):
            if which == 1:  # NFTA_GEN_ID
                return int(_U32.unpack_from(data, value)[0])
        raise OSError(errno.EPROTO, "no generation in the kernel's answer")
