"""The conntrack table through ctnetlink: dump, events, single entries, statistics.

Needs CAP_NET_ADMIN in the user namespace that owns the network namespace; PermissionError without.
"""

import errno
import socket
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cttui.flows.batch import DESTROY, NEW, UPDATE, Batch, keys_of
from cttui.flows.columns import Columns
from cttui.kernel import ctencode
from cttui.kernel.ctdecode import CT_GET, Decoder, offsets_in
from cttui.kernel.netlink import (
    HEADER,
    NFGENMSG,
    NLM_F_DUMP,
    NLM_F_DUMP_INTR,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    Netlink,
    Receiver,
    attributes,
    error_of,
    message,
    os_error,
    split,
)
from cttui.model.flow import Flow

__all__ = [
    "DESTROY", "NEW", "UPDATE", "Batch", "Decoder", "Dump", "Events", "Got", "create", "delete",
    "expectations", "get_many", "stats", "stats_from_proc", "stats_global",
]  # fmt: skip

NFNLGRP_CONNTRACK_NEW, NFNLGRP_CONNTRACK_UPDATE, NFNLGRP_CONNTRACK_DESTROY = 1, 2, 3
_CT_GET_STATS_CPU, _CT_GET_STATS = 1 << 8 | 4, 1 << 8 | 5
_EXP_GET = 2 << 8 | 1

_CHUNK = 1 << 16
"""Room offered to each recv of a dump: the kernel fills at most 32 KiB (af_netlink.c: netlink_recvmsg)."""
SLICE = 1 << 20
"""Bytes decoded at a time, 8 ms of receiving and decoding. numpy's start-up for each slice is what decoding
costs: of a mixed table 0.23 of the CPU time of receiving it, more in smaller slices; larger ones fall out of the cache.
"""


class Dump:
    """A dump of the table in bounded steps, as often as wanted. `filter` are packed attributes (CTA_*)."""

    def __init__(self, decoder: Decoder, *, filter: bytes = b"", family: int = 0) -> None:
        self.decoder = decoder
        self.filter = filter
        self.family = family
        self.interrupted = False
        """The kernel said that the table changed shape under the dump: entries may be missing."""
        self.received = 0
        """Bytes of this dump so far."""
        self._socket: Netlink | None = None
        self._buffer: NDArray[np.uint8] = np.zeros(SLICE + _CHUNK, np.uint8)
        self._view = self._buffer.data
        self._running = False

    def start(self) -> None:
        """Ask the kernel; a dump still running is given up."""
        if self._running:
            self.close()
        if self._socket is None:
            self._socket = Netlink()
        request = message(
            CT_GET,
            NLM_F_REQUEST | NLM_F_DUMP,
            self.filter,
            family=self.family,
            seq=self._socket.next_seq(),
        )
        self._socket.send(request)
        self._running = True
        self.interrupted = False
        self.received = 0

    def step(self) -> list[Batch] | None:
        """Receive and decode one slice; None when the dump is complete. Raises OSError with the kernel's errno."""
        filled = self.receive()
        if not filled:
            return [] if self._running else None
        offsets = offsets_in(self._buffer, 0, filled)
        batches = self.decoder.decode(self._buffer[:filled], offsets)
        last = int(offsets[-1]) if len(offsets) else 0
        if (
            HEADER.unpack_from(self._view, last)[1] == NLMSG_DONE
        ):  # may share a datagram with the last entries
            self._end(bytes(self._view[last + HEADER.size : filled]))
        return batches

    def receive(self) -> int:
        """Receive one slice into the buffer; bytes, 0 when nothing is left."""
        if not self._running or self._socket is None:
            return 0
        receive_into = self._socket.socket.recv_into
        filled = 0
        while filled < SLICE:
            try:
                got = receive_into(self._view[filled:], _CHUNK)
            except BlockingIOError:
                break
            except OSError:
                self.close()
                raise
            _, kind, flags, _, _ = HEADER.unpack_from(self._view, filled)
            if flags & NLM_F_DUMP_INTR:
                self.interrupted = True
            if kind in (NLMSG_DONE, NLMSG_ERROR):
                self._end(bytes(self._view[filled + HEADER.size : filled + got]))
                break
            filled += got
        self.received += filled
        return filled

    def _end(self, payload: bytes) -> None:
        self._running = False
        code = error_of(payload) if payload else 0
        if code:
            raise os_error(code)

    def close(self) -> None:
        """Give the dump up."""
        self._running = False
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class Events:
    """NEW, UPDATE and DESTROY on one socket, so that their order is the kernel's.

    `count`: messages received. `lost`: times the kernel ran out of room (ENOBUFS), each hiding an unknown
    number of events. From then until its queue has run empty it drops everything (af_netlink.c: a socket
    is CONGESTED until drained). `behind` is True meanwhile, and `lost` counts when it is over: a resync
    is worth something only then.

    NETLINK_BROADCAST_ERROR stays off: with it a stalled listener pins dying entries in the kernel.
    """

    SLOTS, SLOT_BYTES = 512, 1024
    """An IPv6 entry with helper, labels, master, timestamps and synproxy takes about 700 bytes."""

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder
        self._netlink = Netlink((NFNLGRP_CONNTRACK_NEW, NFNLGRP_CONNTRACK_UPDATE, NFNLGRP_CONNTRACK_DESTROY))
        self._receiver = Receiver(self.SLOTS, self.SLOT_BYTES)
        self._words = self._receiver.buffer.view(np.uint32)
        self.count = 0
        self.lost = 0
        self.behind = False

    @property
    def socket(self) -> socket.socket:
        """The socket itself, for its options."""
        return self._netlink.socket

    @property
    def receive_buffer(self) -> int:
        """Bytes of socket memory the kernel granted."""
        return self._netlink.receive_buffer

    def fileno(self) -> int:
        """Readable when events wait."""
        return self._netlink.fileno()

    def receive(self) -> list[Batch]:
        """What one recvmmsg brings, at most 512 messages; [] when nothing waits."""
        receiver = self._receiver
        n = 0
        for _ in range(2):  # ENOBUFS is told once, ahead of the events that did arrive
            try:
                n = receiver.receive(self._netlink.fileno())
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self.behind = True
        if self.behind and n < receiver.slots:
            self.behind = False
            self.lost += 1
        if not n:
            return []
        offsets = receiver.offsets[:n]
        lengths = receiver.lengths(n)
        told = self._words[offsets >> 2]
        if (told != lengths).any():
            cut = receiver.truncated(n)
            if cut:
                self.lost += 1
            starts = offsets.tolist()
            ends = np.minimum(lengths, receiver.slot_bytes).tolist()
            offsets = np.concatenate(
                [offsets_in(receiver.buffer, at, at + size) for at, size in zip(starts, ends, strict=True)]
            )
        self.count += len(offsets)
        return self.decoder.decode(receiver.buffer, offsets)

    def close(self) -> None:
        """Leave the groups: the kernel stops making events for us."""
        self._netlink.close()


@dataclass(frozen=True, slots=True)
class Got:
    """Answers to get_many."""

    batches: list[Batch]
    gone: list[int]
    """Keys of entries the kernel no longer has."""
    refused: int
    """Requests answered by another error than ENOENT."""


GETS = 64
"""Entries asked for at a time: their answers fit the smallest socket buffer."""


def get_many(decoder: Decoder, columns: Columns, rows: NDArray[np.int64] | Sequence[int]) -> Got:
    """Read some entries of the store again, each by original tuple and zone; under 1 ms for 40."""
    wanted = columns["key"][rows].tolist()
    entries = ctencode.identities(columns, rows)
    batches: list[Batch] = []
    unsure: set[int] = set()
    refused = 0
    netlink = Netlink()
    try:
        for first in range(0, len(entries), GETS):
            part = entries[first : first + GETS]
            netlink.send(
                b"".join(_padded(ctencode.get_message(entry, first + n + 1)) for n, entry in enumerate(part))
            )
            data = b"".join(netlink.receive())
            for kind, _, seq, payload in split(data):
                if kind == NLMSG_ERROR and error_of(payload) not in (0, errno.ENOENT):
                    refused += 1
                    if 0 < seq <= len(wanted):
                        unsure.add(wanted[seq - 1])
            buffer = np.frombuffer(data, np.uint8)
            batches += decoder.decode(buffer, offsets_in(buffer, 0, len(buffer)))
    finally:
        netlink.close()
    for batch in batches:
        if "use" in batch.columns:  # without the reference of this very question (nf_conntrack_find_get)
            use = batch.columns["use"].astype(np.uint32)
            batch.columns["use"] = np.maximum(use, 2) - np.uint32(1)
    answered = {key for batch in batches for key in keys_of(batch.columns).tolist()}
    gone = [key for key in wanted if key not in answered and key not in unsure]
    return Got(batches, gone, refused)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _ask(kind: int, flags: int = 0) -> list[bytes]:
    netlink = Netlink()
    try:
        return netlink.request(kind, flags)
    finally:
        netlink.close()


def _do(data: bytes) -> None:
    """Send one message that asks for an acknowledgement; OSError with the kernel's errno."""
    netlink = Netlink()
    try:
        netlink.send(data)
        for answer in netlink.receive():
            for kind, _, _, payload in split(answer):
                if kind == NLMSG_ERROR:
                    code = error_of(payload)
                    if code:
                        raise os_error(code)
                    return
        raise os_error(errno.EPROTO)
    finally:
        netlink.close()


def delete(flow: Flow) -> bool:
    """Delete exactly this entry, by original tuple, zone and id; False when the kernel no longer has it."""
    try:
        _do(ctencode.delete_message(ctencode.identity(flow), 1))
    except FileNotFoundError:
        return False
    return True


def create(
    flow: Flow,
    *,
    nat_src: tuple[bytes, int | None] | None = None,
    nat_dst: tuple[bytes, int | None] | None = None,
) -> None:
    """Create one entry (see ctencode.create_message). EEXIST, ENOMEM (table full), EINVAL as OSError."""
    _do(ctencode.create_message(flow, 1, nat_src=nat_src, nat_dst=nat_dst))


_STATISTICS = {
    2: "found", 4: "invalid", 8: "insert", 9: "insert_failed", 10: "drop", 11: "early_drop", 12: "error",
    13: "search_restart", 14: "clash_resolve", 15: "chaintoolong",
}  # fmt: skip
"""enum ctattr_stats_cpu: those that current kernels fill (ctnetlink_ct_stat_cpu_fill_info)."""


def stats() -> dict[str, int]:
    """Statistics summed over CPUs, names as in model.table.STATISTICS; wrap at 2³² a CPU."""
    total = dict.fromkeys(_STATISTICS.values(), 0)
    for payload in _ask(_CT_GET_STATS_CPU, NLM_F_DUMP):
        for kind, value in attributes(payload[NFGENMSG.size :]):
            if kind in _STATISTICS and len(value) == 4:
                total[_STATISTICS[kind]] += int.from_bytes(value, "big")
    return total


def stats_global() -> dict[str, int]:
    """`entries` of this namespace and `max`, the limit (absent before Linux 5.13)."""
    names = {1: "entries", 2: "max"}
    return {
        names[kind]: int.from_bytes(value, "big")
        for payload in _ask(_CT_GET_STATS)
        for kind, value in attributes(payload[NFGENMSG.size :])
        if kind in names
    }


_PROC_NAMES = {"icmp_error": "error", "clashres": "clash_resolve", "chainlength": "chaintoolong"}


def stats_from_proc(path: str = "/proc/thread-self/net/stat/nf_conntrack") -> dict[str, int]:
    """The same without privilege, from hexadecimal columns, a line a CPU; plus `entries`. OSError if absent."""
    with open(path, encoding="ascii") as file:
        names = [_PROC_NAMES.get(name, name) for name in file.readline().split()]
        total: Counter[str] = Counter(dict.fromkeys(_STATISTICS.values(), 0))
        entries = 0
        for line in file:
            values = dict(zip(names, (int(value, 16) for value in line.split()), strict=False))
            entries = values.pop("entries", 0)  # each line repeats the namespace's count
            total.update({name: value for name, value in values.items() if name in total})
    return {**total, "entries": entries}


def expectations(flows: Iterable[Flow]) -> dict[int, int]:
    """How many connections the helper of each flow expects, by the flow's key; those without a helper left out.

    An expectation names its master by the original tuple only, so flows of one tuple in several zones share theirs.
    """
    masters = {flow.key: ctencode.original_tuple(flow) for flow in flows if flow.helper}
    if not masters:
        return {}
    found: Counter[bytes] = Counter()
    for payload in _ask(_EXP_GET, NLM_F_DUMP):
        for kind, value in attributes(payload[NFGENMSG.size :]):
            if kind == 1:  # CTA_EXPECT_MASTER
                found[value] += 1
    return {key: found[master] for key, master in masters.items()}
