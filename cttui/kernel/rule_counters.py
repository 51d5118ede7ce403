"""The counters in a dump of rules, and where they stand, remembered from reading to reading.

Rules that nobody changed are dumped as the same bytes but for their counters. So the messages of a datagram are
walked in Python once; from then on what must be the same (headers, names, handles, the headers of counters) is compared
in one numpy operation, and the counters are gathered: a fifth of what walking 100,000 rules costs.

Numbers of attributes: include/uapi/linux/netfilter/nf_tables.h; their order: nf_tables_fill_rule_info.
"""

import errno
import re
import struct
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from cttui.kernel import nft_netlink as nl

RuleKey = tuple[int, bytes, bytes]
"""(number of the family, table, chain) of a rule, names as the kernel writes them, with a NUL."""
_COUNTER = re.compile(
    # NFTA_LIST_ELEM (44 bytes, kernel-made, so without the nested flag) of "counter": bytes, packets
    rb"\x2c\x00\x01\x00\x0c\x00\x01\x00counter\x00\x1c\x00\x02\x00\x0c\x00\x01\x00.{8}\x0c\x00\x02\x00.{8}",
    re.DOTALL,
)
_VALUES = 24
"""Offset in it of the bytes' 64 bits; those of the packets follow behind another header of 4 bytes."""
_HEADERS = (*range(0, _VALUES, 4), _VALUES + 8)
_FAMILY = np.frombuffer(b"\xff\xff\0\0", np.uint32)[0]
"""Of struct nfgenmsg: behind family and version stands the generation, which any change of any rule moves."""
_HANDLE = struct.Struct(">Q")


class RulePart:
    """One datagram of a dump of rules: what is the same in it each time, and where its counters stand."""

    __slots__ = (
        "_at",
        "_counted",
        "_expected",
        "_fixed",
        "_mask",
        "_seqs",
        "_size",
        "done",
        "handles",
        "runs",
    )

    def __init__(self, data: memoryview, seq: int) -> None:
        """Walk a datagram of the dump `seq`. Raises OSError; InterruptedError: the rules changed."""
        found, end_at = nl.messages_of(data, seq)
        self.done = end_at is not None
        """Whether the dump ends with it."""
        self.handles: list[int] = []
        self.runs: list[tuple[RuleKey, int]] = []
        """(chain, index of its last rule here + 1), in order."""
        starts = [start for start, _ in found]
        fixed: list[int] = []
        counters: list[int] = []
        counted: list[int] = []
        for start, end in found:
            key, handle_at, counter = _rule(data, start, end)
            fixed += [start, start + 4, *range(start + 20, handle_at + 8, 4)]
            if counter >= 0:
                fixed += [counter + at for at in _HEADERS]
                counters.append(counter + _VALUES)
                counted.append(len(self.handles))
            self.handles.append(_HANDLE.unpack_from(data, handle_at)[0])
            if self.runs and self.runs[-1][0] == key:
                self.runs[-1] = key, len(self.handles)
            else:
                self.runs.append((key, len(self.handles)))
        families = [start + 16 for start in starts]
        if end_at is not None:
            starts.append(end_at)
            fixed += [end_at, end_at + 4]
        self._size = len(data)
        self._seqs = _words([start + 8 for start in starts])
        self._fixed = _words(fixed + families)
        self._mask = np.full(len(self._fixed), 0xFFFFFFFF, np.uint32)
        self._mask[len(fixed) :] = _FAMILY
        self._expected = np.frombuffer(data, np.uint32)[self._fixed] & self._mask
        self._at = _words([at + word for at in counters for word in (0, 4, 12, 16)])
        self._counted = np.array(counted, np.int16)

    def fits(self, data: memoryview, seq: int) -> bool:
        """Whether this datagram of the dump `seq` has the same rules at the same places."""
        if len(data) != self._size:
            return False
        words = np.frombuffer(data, np.uint32)
        same = words.take(self._fixed) & self._mask == self._expected
        return bool(same.all() and (words.take(self._seqs) == seq).all())

    def counts(self, data: memoryview) -> tuple[list[int], list[int]]:
        """(packets, bytes) of each rule in a datagram that fits; -1 where it has no counter."""
        read = np.frombuffer(data, np.uint32).take(self._at).reshape(-1, 4).view(">u8")
        if len(read) == len(self.handles):
            return read[:, 1].tolist(), read[:, 0].tolist()
        values = np.full((len(self.handles), 2), -1, np.int64)
        values[self._counted] = read
        return values[:, 1].tolist(), values[:, 0].tolist()

    def of_chains(self, data: memoryview) -> Iterator[tuple[RuleKey, list[int], list[int], list[int]]]:
        """(chain, handles, packets, bytes) of each run of rules of one chain."""
        packets, sizes = self.counts(data)
        first = 0
        for key, last in self.runs:
            yield key, self.handles[first:last], packets[first:last], sizes[first:last]
            first = last


def counts_of_one(data: bytes) -> tuple[int, int]:
    """(packets, bytes) of the one rule whose message this is; -1 without a counter."""
    counter = _rule(data, 0, len(data))[2]
    if counter < 0:
        return -1, -1
    size, packets = struct.unpack_from(">Q4xQ", data, counter + _VALUES)
    return packets, size


def _end(data: memoryview) -> int:
    """Where the message stands that ends the dump."""
    return next(start for kind, _, start, _ in nl.messages(data, len(data)) if kind == nl.NLMSG_DONE)


def _words(offsets: list[int]) -> NDArray[np.int16]:
    """Offsets in words: a datagram has at most 32 KiB."""
    return (np.array(offsets, np.int32) >> 2).astype(np.int16)


def _rule(data: bytes | memoryview, start: int, end: int) -> tuple[RuleKey, int, int]:
    """(chain, offset of the handle, offset of the last counter, which stands next to the verdict, or -1).

    Raises OSError for what is no rule.
    """
    table = chain = b""
    handle_at = counter = -1
    for kind, at, stop in nl.attributes(data, start + 20, end):
        if kind == 1:  # NFTA_RULE_TABLE
            table = bytes(data[at:stop])
        elif kind == 2:  # NFTA_RULE_CHAIN
            chain = bytes(data[at:stop])
        elif kind == 3:  # NFTA_RULE_HANDLE
            handle_at = at
        elif kind == 4:  # NFTA_RULE_EXPRESSIONS
            found = [m.start() for m in _COUNTER.finditer(data, at, stop) if m.start() % 4 == 0]
            counter = found[-1] if found else -1
            break
    if handle_at < 0:
        raise OSError(errno.EPROTO, "a rule without a handle")
    return (data[start + 16], table, chain), handle_at, counter
