"""Messages of nftables' packet tracing, decoded in batches.

Attributes are NFTA_TRACE_* of include/uapi/linux/netfilter/nf_tables.h; those about conntrack came with
Linux 6.16. A rule set produces few layouts of message (one a chain and kind), so most messages are matched
against a known layout as a whole and their fields gathered with numpy.
"""

import errno
import time
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from cttui.kernel import nft_netlink as nl
from cttui.kernel.netlink import Netlink, Receiver

_T = TypeVar("_T")

NFNLGRP_NFTRACE = 9
_TRACE = nl.NFNL_SUBSYS_NFTABLES << 8 | 17  # NFT_MSG_TRACE
BUFFER = 64 << 20
SLOTS, SLOT_BYTES = 1024, 1024
"""Messages of a step: as many as one recvmmsg takes (UIO_MAXIOV), as each layout among them costs 0.1 ms."""

POLICY, RETURN, RULE = 1, 2, 3
"""NFT_TRACETYPE_*."""
DROP, ACCEPT, STOLEN, QUEUE = 0, 1, 2, 3
CONTINUE, BREAK, JUMP, GOTO, RETURN_VERDICT = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD, 0xFFFFFFFC, 0xFFFFFFFB
CONFIRMED, TEMPLATE = 1 << 3, 1 << 11
"""IPS_CONFIRMED: in the table; IPS_TEMPLATE: the conntrack entry of `-j CT`, which is no flow."""
HEAD_NETWORK, HEAD_TRANSPORT = 40, 20

STEP = np.dtype([
    ("trace_id", "u4"), ("place", "u2"), ("jump", "u2"), ("kind", "u1"), ("has_ct", "u1"), ("ct_dir", "u1"),
    ("network", "u1"), ("transport", "u1"), ("nfproto", "u1"), ("verdict", "u4"), ("ct_id", "u4"),
    ("ct_status", "u4"), ("ct_state", "u4"), ("iif", "u4"), ("oif", "u4"), ("handle", "u8"), ("time_ns", "u8"),
])  # fmt: skip
"""One message. `network` and `transport` are the lengths of the packet's headers that came with it, 0 for none
(the first message of every base chain has them); `place` and `jump` are indexes into places and jumps."""

_NUMBERS = {
    4: "kind",
    6: "trace_id",
    10: "iif",
    12: "oif",
    15: "nfproto",
    18: "ct_id",
    20: "ct_status",
    21: "ct_state",
}
_VARIES = {*_NUMBERS, 3, 7, 8, 9, 11, 13, 14, 16, 19}


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where what stands in messages whose `fixed` words (names, attribute headers) are these."""

    fixed: NDArray[np.int64]
    words: NDArray[np.uint32]
    place: int
    jump: int
    numbers: tuple[str, ...]
    """Columns of big-endian u32 values, at the words `at`."""
    at: NDArray[np.int64]
    handle: bool
    """Whether `at` ends with the two words of a rule's handle."""
    direction: int
    network: tuple[int, int]
    transport: tuple[int, int]
    """(byte offset, length) of the packet's headers, length 0: none."""
    has_ct: bool


@dataclass(frozen=True, slots=True)
class TraceBatch:
    """Messages in the order of their arrival: STEP records, and (n, 60) bytes of headers beside them.

    A row of `heads` has the network header from 0 and the transport header from HEAD_NETWORK.
    """

    steps: NDArray[np.void]
    heads: NDArray[np.uint8]


class Trace:
    """A listener on this namespace's trace messages, whoever's they are. `lost` counts ENOBUFS.

    Raises OSError: EPERM without CAP_NET_ADMIN.
    """

    def __init__(self) -> None:
        self._netlink = Netlink((NFNLGRP_NFTRACE,), receive_buffer=BUFFER)
        self._receiver = Receiver(SLOTS, SLOT_BYTES)
        self._words = self._receiver.buffer.view("=u4")
        self._bytes = self._receiver.buffer
        self._layouts: dict[int, list[_Layout]] = {}
        self.places: list[tuple[str, str, str]] = []
        """(family, table, chain) by number."""
        self.jumps: list[str] = [""]
        """Chains jumped to, by number; 0: none."""
        self._place_index: dict[tuple[str, str, str], int] = {}
        self._jump_index: dict[str, int] = {"": 0}
        self.lost = 0
        self.count = 0
        self.unreadable = 0
        """Messages longer than a slot or of no known form."""

    def fileno(self) -> int:
        """For add_reader."""
        return self._netlink.fileno()

    @property
    def buffer(self) -> int:
        """Bytes of the receive buffer, as the kernel counts them."""
        return self._netlink.receive_buffer

    def close(self) -> None:
        """Leave the group."""
        self._netlink.close()

    def step(self) -> TraceBatch | None:
        """What is waiting, at most SLOTS messages; None when nothing is."""
        while True:
            try:
                n = self._receiver.receive(self.fileno())
                return self._decode(n) if n else None
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self.lost += 1  # told once, ahead of the messages that did arrive

    def _decode(self, n: int) -> TraceBatch:
        """The first `n` datagrams."""
        base = self._receiver.offsets[:n] >> 2
        lengths = self._words[base].astype(np.int64)
        good = (self._words[base + 1] & 0xFFFF) == _TRACE
        good &= (lengths <= self._receiver.lengths(n)) & (lengths >= 24)
        out = np.zeros(n, STEP)
        heads = np.zeros((n, HEAD_NETWORK + HEAD_TRANSPORT), np.uint8)
        out["time_ns"] = time.time_ns()
        done = np.zeros(n, bool)
        rows = np.flatnonzero(good)
        while len(rows):
            length = int(lengths[rows[0]])
            same = rows[lengths[rows] == length]
            rows = rows[lengths[rows] != length]
            while len(same):
                layout = self._layout(int(base[same[0]]), length)
                if layout is None:
                    same = same[1:]
                    continue
                fits = (self._words[base[same][:, None] + layout.fixed] == layout.words).all(axis=1)
                mine, same = same[fits], same[~fits]
                self._gather(layout, self._receiver.offsets[mine], out, heads, mine)
                done[mine] = True
        self.unreadable += n - int(np.count_nonzero(done))
        self.count += n
        return TraceBatch(out, heads) if done.all() else TraceBatch(out[done], heads[done])

    def _gather(
        self,
        layout: _Layout,
        offsets: NDArray[np.int64],
        out: NDArray[np.void],
        heads: NDArray[np.uint8],
        rows: NDArray[np.int64],
    ) -> None:
        """Fields of messages of one layout into their records."""
        piece = np.zeros(len(rows), STEP)
        piece["time_ns"] = out["time_ns"][rows]
        piece["place"], piece["jump"], piece["has_ct"] = layout.place, layout.jump, layout.has_ct
        piece["verdict"] = CONTINUE  # where the message has none
        # one row a word: the columns below are then runs of memory
        values = self._words[layout.at[:, None] + (offsets >> 2)].byteswap()
        for name, column in zip(layout.numbers, values, strict=False):
            piece[name] = column
        if layout.handle:
            piece["handle"] = values[-2].astype("u8") << np.uint64(32) | values[-1]
        if layout.direction:
            piece["ct_dir"] = self._bytes[offsets + layout.direction]
        for name, start, (at, length) in (
            ("network", 0, layout.network),
            ("transport", HEAD_NETWORK, layout.transport),
        ):
            if length:
                piece[name] = length
                heads[rows, start : start + length] = self._bytes[(offsets + at)[:, None] + np.arange(length)]
        out[rows] = piece

    def _layout(self, base: int, length: int) -> _Layout | None:
        """The known layout that the message at word `base` fits, or a new one; None for a damaged message."""
        known = self._layouts.setdefault(length, [])
        for layout in known:
            if (self._words[base + layout.fixed] == layout.words).all():
                return layout
        message = self._bytes[base * 4 : base * 4 + length].tobytes()
        made = self._learn(message, base)
        if made is not None:
            known.append(made)
        return made

    def _learn(self, message: bytes, base: int) -> _Layout | None:
        """Lay out one message: everything is fixed but the values of known attributes."""
        free = set(range(5))  # header and nfgenmsg; the family is checked with the names
        names: dict[int, str] = {}
        at: dict[int, tuple[int, int]] = {}
        jump, verdict = "", 0
        for kind, start, end in nl.attributes(message, 20, len(message)):
            at[kind] = (start, end - start)
            if kind in _VARIES:
                free.update(range(start >> 2, (end + 3) >> 2))
            elif kind in (1, 2):
                names[kind] = message[start : end - 1].decode("utf-8", "backslashreplace")
            elif kind == 5:
                for inner, value, stop in nl.attributes(message, start, end):
                    if inner == 1:
                        verdict = value
                        free.add(value >> 2)
                    elif inner == 2:
                        jump = message[value : stop - 1].decode("utf-8", "backslashreplace")
        if 1 not in names or 2 not in names or 6 not in at:
            return None
        free.discard(4)  # nfgenmsg: family, version, res_id
        if not verdict and 16 in at:  # a policy message has its verdict in NFTA_TRACE_POLICY on some kernels
            verdict = at[16][0]
        place = (nl.FAMILIES.get(message[16], str(message[16])), names[1], names[2])
        fixed = np.array([i for i in range(len(message) >> 2) if i not in free], np.int64)
        numbers = {name: at[kind][0] for kind, name in _NUMBERS.items() if at.get(kind, (0, 0))[1] == 4}
        if verdict:
            numbers["verdict"] = verdict
        handle = [at[3][0], at[3][0] + 4] if 3 in at else []
        return _Layout(
            fixed=fixed,
            words=self._words[base + fixed].copy(),
            place=_intern(place, self.places, self._place_index),
            jump=_intern(jump, self.jumps, self._jump_index),
            numbers=tuple(numbers),
            at=np.array([*numbers.values(), *handle], np.int64) >> 2,
            handle=bool(handle),
            direction=at[19][0] if 19 in at else 0,
            network=_head(at.get(8), HEAD_NETWORK),
            transport=_head(at.get(9), HEAD_TRANSPORT),
            has_ct=18 in at,
        )


def _head(where: tuple[int, int] | None, most: int) -> tuple[int, int]:
    return (where[0], min(where[1], most)) if where else (0, 0)


def _intern(value: _T, values: list[_T], index: dict[_T, int]) -> int:
    """Number of a value, a new one where it is new."""
    number = index.get(value)
    if number is None:
        number = index[value] = len(values)
        values.append(value)
    return number
