"""Layouts of ctnetlink messages: where in a message each attribute stands.

Messages whose attribute headers (length and type of every attribute, nested ones too) are equal have
equal layouts: each value stands at the same offset in all of them. So the headers of one message are
walked in Python, the others are compared with it in one numpy operation, and every attribute of all of
them becomes a strided view. What fits no sound layout is decoded one by one, so that nothing is lost.

Attribute numbers: include/uapi/linux/netfilter/nfnetlink_conntrack.h; which message carries what:
ctnetlink_fill_info and ctnetlink_conntrack_event in net/netfilter/nf_conntrack_netlink.c.
"""

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cttui.flows.columns import SCHEMA, Columns, Interned
from cttui.kernel.netlink import HEADER, NFGENMSG, NLA_TYPE_MASK

Path = tuple[int, ...]
FIRST = HEADER.size + NFGENMSG.size
"""Offset of the first attribute in a message."""


def _tuple_leaves(direction: int, prefix: str) -> dict[Path, tuple[str, str]]:
    """Path → (column, big-endian type) of the plain numbers in CTA_TUPLE_ORIG or CTA_TUPLE_REPLY."""
    return {
        (direction, 1, 1): (f"{prefix}_src0", ">u4"), (direction, 1, 2): (f"{prefix}_dst0", ">u4"),
        (direction, 2, 2): (f"{prefix}_sport", ">u2"), (direction, 2, 3): (f"{prefix}_dport", ">u2"),
        (direction, 2, 4): (f"{prefix}_sport", ">u2"), (direction, 2, 7): (f"{prefix}_sport", ">u2"),
    }  # fmt: skip


NUMBERS: dict[Path, tuple[str, str]] = {
    **_tuple_leaves(1, "orig"), **_tuple_leaves(2, "reply"), (1, 2, 1): ("proto", "u1"),
    (3,): ("status", ">u4"), (7,): ("timeout_s", ">u4"), (8,): ("mark", ">u4"),
    (11,): ("use", ">u4"), (12,): ("id", ">u4"), (18,): ("zone", ">u2"),
    (1, 3): ("zone", ">u2"), (2, 3): ("zone", ">u2"),  # CTA_TUPLE_ZONE: a zone of one direction
    (9, 1): ("orig_packets", ">u8"), (9, 2): ("orig_bytes", ">u8"),
    (10, 1): ("reply_packets", ">u8"), (10, 2): ("reply_bytes", ">u8"),
    (20, 1): ("start_ns", ">u8"), (20, 2): ("stop_ns", ">u8"), (27,): ("event_ns", ">u8"),
    (4, 1, 1): ("state", "u1"), (4, 2, 1): ("state", "u1"), (4, 3, 1): ("state", "u1"),  # TCP, DCCP, SCTP
    (4, 1, 2): ("wscale_orig", "u1"), (4, 1, 3): ("wscale_reply", "u1"),
    (4, 1, 4): ("tcpflags_orig", "u1"), (4, 1, 5): ("tcpflags_reply", "u1"),  # struct nf_ct_tcp_flags: flags, mask
}  # fmt: skip
_WIDTHS = {"u1": (1,), ">u2": (2,), ">u4": (4,), ">u8": (8,)}
_FLAG_PAIRS = {(4, 1, 4), (4, 1, 5)}
ADDRESSES6: dict[Path, str] = {
    (1, 1, 3): "orig_src", (1, 1, 4): "orig_dst", (2, 1, 3): "reply_src", (2, 1, 4): "reply_dst",
}  # fmt: skip
ICMP: dict[tuple[Path, Path], str] = {
    ((1, 2, 5), (1, 2, 6)): "orig_dport", ((2, 2, 5), (2, 2, 6)): "reply_dport",
    ((1, 2, 8), (1, 2, 9)): "orig_dport", ((2, 2, 8), (2, 2, 9)): "reply_dport",
}  # fmt: skip
"""Type and code, shown as one number: type << 8 | code."""
HELPER_NAME: Path = (5, 1)
BLOBS: dict[Path, str] = {(19, 1): "secctx", (22,): "labels", (14,): "master"}
NESTS: frozenset[Path] = frozenset(
    {
        (1,),
        (2,),
        (1, 1),
        (1, 2),
        (2, 1),
        (2, 2),
        (4,),
        (4, 1),
        (4, 2),
        (4, 3),
        (5,),
        (9,),
        (10,),
        (19,),
        (20,),
    }
)
_HEAD = struct.Struct("=HH")


def walk(data: bytes) -> tuple[dict[Path, tuple[int, int]], list[int], bool]:
    """(path → (offset, length) of each value, offsets of all attribute headers, whether it is sound).

    Whatever is out of bounds ends its nest: what stands before it is still good.
    """
    leaves: dict[Path, tuple[int, int]] = {}
    heads: list[int] = []
    sound = True
    todo: list[tuple[int, int, Path]] = [(FIRST, len(data), ())]
    while todo:
        at, end, path = todo.pop()
        while at < end:
            if at + 4 > end:
                sound = False
                break
            length, kind = _HEAD.unpack_from(data, at)
            if length < 4 or at + length > end:
                sound = False
                break
            heads.append(at)
            here = (*path, kind & NLA_TYPE_MASK)
            if here in NESTS:
                todo.append((at + 4, at + length, here))
            else:
                leaves[here] = (at + 4, length - 4)
            at += (length + 3) & ~3
    return leaves, heads, sound


@dataclass(frozen=True, slots=True)
class Fields:
    """Where the values of a layout stand."""

    numbers: dict[str, tuple[int, str]]
    """column → (offset, type)."""
    pairs: dict[str, tuple[int, int]]
    """column → offsets of the high and the low byte."""
    blobs: dict[str, tuple[int, int]]
    """column → (offset, length) of what is interned."""
    zone_dir: int

    @property
    def identifies(self) -> bool:
        """Whether there is enough to tell which flow this is."""
        return "id" in self.numbers and "orig_src0" in self.numbers and "orig_dst0" in self.numbers


def fields_of(leaves: dict[Path, tuple[int, int]]) -> Fields:
    """The values of the schema among a message's leaves; one of an unexpected length is left out."""
    numbers: dict[str, tuple[int, str]] = {"family": (HEADER.size, "u1")}
    pairs: dict[str, tuple[int, int]] = {}
    blobs: dict[str, tuple[int, int]] = {}
    zone_dir = 0
    for path, (at, length) in leaves.items():
        if path in NUMBERS:
            column, kind = NUMBERS[path]
            if length in _WIDTHS[kind] or (path in _FLAG_PAIRS and length == 2):
                numbers[column] = (at, kind)
                if column == "zone":
                    zone_dir = path[0] if len(path) == 2 else 0
        elif path in ADDRESSES6:
            if length == 16:
                for word in range(4):
                    numbers[f"{ADDRESSES6[path]}{word}"] = (at + 4 * word, ">u4")
        elif path == HELPER_NAME:
            blobs["helper"] = (at, length)
        elif path in BLOBS:
            blobs[BLOBS[path]] = (at, length)
    for (high, low), column in ICMP.items():
        if leaves.get(high, (0, 0))[1] == 1 and leaves.get(low, (0, 0))[1] == 1:
            pairs[column] = (leaves[high][0], leaves[low][0])
    return Fields(numbers, pairs, blobs, zone_dir)


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("utf-8", "replace")


def _intern(interned: Interned, column: str, raw: bytes) -> int:
    if column == "helper":
        return interned.helper(_text(raw))
    return interned.blob(raw.rstrip(b"\0") if column == "secctx" else raw)


_TILE, _MANY = 16, 256
_ONES = 0xFFFFFFFF


class Layout:
    """One arrangement of attributes: how to recognise it, and a structured type that reads it."""

    __slots__ = (
        "blobs", "heads", "length", "mask", "numbers", "pairs", "record", "tile", "width", "zone_dir",
    )  # fmt: skip

    def __init__(self, data: bytes, heads: list[int], fields: Fields) -> None:
        words = np.frombuffer(data, np.uint32)
        self.length = len(data)
        self.width = len(words)
        self.mask = np.zeros(len(words), np.uint32)
        """All ones where an attribute header stands."""
        self.mask[np.array(heads, np.int64) >> 2] = _ONES
        self.heads = words & self.mask
        """The headers, zero between them: a message of this layout xor this has zeros for headers."""
        self.heads[0] = words[0] ^ np.uint32(
            _ONES
        )  # and ones for its length: defaults that columns start from
        self.tile = np.tile(self.heads, _TILE)
        self.numbers = fields.numbers
        self.pairs = fields.pairs
        self.blobs = fields.blobs
        self.zone_dir = fields.zone_dir
        self.record = np.dtype(
            {
                "names": list(fields.numbers),
                "formats": [kind for _, kind in fields.numbers.values()],
                "offsets": [at for at, _ in fields.numbers.values()],
                "itemsize": len(data),
            }
        )

    def blank(self, rows: NDArray[np.uint32], into: NDArray[np.uint32]) -> bool:
        """Copy messages (u4[n, words], contiguous) with their headers blanked; whether all have this layout.

        One pass copies and compares. Many messages are taken several at a time as one long row, because numpy
        spends its time on starting rows: a third of what copying, then comparing row by row would take.
        """
        n, width = rows.shape
        even = n - n % _TILE if n >= _MANY else 0
        differing = np.zeros(width, np.uint32)
        if even:
            tiled = into[:even].reshape(-1, _TILE * width)
            np.bitwise_xor(rows[:even].reshape(-1, _TILE * width), self.tile, out=tiled)
            differing |= np.bitwise_or.reduce(
                np.bitwise_or.reduce(tiled, axis=0).reshape(_TILE, width), axis=0
            )
        if even < n:
            np.bitwise_xor(rows[even:], self.heads, out=into[even:])
            differing |= np.bitwise_or.reduce(into[even:], axis=0)
        return not np.count_nonzero(differing & self.mask)

    def matches(self, rows: NDArray[np.uint32]) -> NDArray[np.bool_]:
        """Which of the messages have this layout."""
        found: NDArray[np.bool_] = np.logical_not(((rows ^ self.heads) & self.mask).any(axis=1))
        return found

    def columns(self, rows: NDArray[np.uint32], interned: Interned) -> Columns:
        """Columns of contiguous messages of this layout: views of `rows`, which must be ours to keep."""
        records = rows.view(self.record)[:, 0]
        columns: Columns = {name: records[name] for name in self.record.names or ()}
        columns |= self.others(rows, interned)
        return columns

    def others(self, rows: NDArray[np.uint32], interned: Interned) -> Columns:
        """The columns of these messages that are no plain numbers in them."""
        columns: Columns = {}
        octets = rows.view(np.uint8)
        for column, (high, low) in self.pairs.items():
            columns[column] = octets[:, high].astype(np.uint16) << np.uint16(8) | octets[:, low]
        for column, (at, length) in self.blobs.items():
            columns[column] = intern_column(interned, column, octets[:, at : at + length])
        if self.zone_dir:
            columns["zone_dir"] = np.full(len(rows), self.zone_dir, np.uint8)
        return columns


def gather(words: NDArray[np.uint32], starts: NDArray[np.int64], length: int) -> NDArray[np.uint32]:
    """A copy of messages of one length (a multiple of 4) that start at these words: u4[n, words]."""
    # All windows of this length over the buffer. As opaque values each is copied as one run.
    window = np.dtype((np.void, length))
    windows = np.ndarray((len(words) - (length >> 2) + 1,), window, words, strides=(4,))
    rows: NDArray[np.uint32] = windows[starts].view(np.uint32).reshape(-1, length >> 2)
    return rows


def intern_column(interned: Interned, column: str, octets: NDArray[np.uint8]) -> NDArray[Any]:
    """Numbers of the values in octets (u1[n, length]). All equal is the common case: one helper, one label."""
    n, length = octets.shape
    if not length or (octets == octets[0]).all():
        return np.full(n, _intern(interned, column, octets[0].tobytes()), SCHEMA[column])
    raw = np.ascontiguousarray(octets).tobytes()
    known: dict[bytes, int] = {}
    numbers = np.empty(n, SCHEMA[column])
    for row in range(n):
        value = raw[row * length : (row + 1) * length]
        number = known.get(value)
        if number is None:
            number = known[value] = _intern(interned, column, value)
        numbers[row] = number
    return numbers


def decode_one(data: bytes, interned: Interned) -> dict[str, int] | None:
    """One message in plain Python: column → value, or None where it doesn't say which flow it is about."""
    if len(data) < FIRST:
        return None
    fields = fields_of(walk(data)[0])
    if not fields.identifies:
        return None
    values = {
        column: int.from_bytes(data[at : at + int(kind[-1])], "big")
        for column, (at, kind) in fields.numbers.items()
    }
    for column, (high, low) in fields.pairs.items():
        values[column] = data[high] << 8 | data[low]
    for column, (at, length) in fields.blobs.items():
        values[column] = _intern(interned, column, data[at : at + length])
    if fields.zone_dir:
        values["zone_dir"] = fields.zone_dir
    return values
