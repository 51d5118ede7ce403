"""ctnetlink messages → columns.

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

from cttui.flows.batch import DESTROY, NEW, UPDATE, Batch
from cttui.flows.columns import SCHEMA, Columns, Interned
from cttui.kernel.netlink import HEADER, NFGENMSG, NLA_TYPE_MASK, NLM_F_CREATE, NLM_F_EXCL

NFNL_SUBSYS_CTNETLINK = 1
IPCTNL_MSG_CT_NEW, IPCTNL_MSG_CT_DELETE = 0, 2

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
    (20, 1): ("start_ns", ">u8"), (20, 2): ("stop_ns", ">u8"),
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
_WORDS = ("0", "1", "2", "3")
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


class Layout:
    """One arrangement of attributes: how to recognise it, and a structured type that reads it."""

    __slots__ = ("blobs", "heads", "pairs", "record", "words", "zone_dir")

    def __init__(self, data: bytes, heads: list[int], fields: Fields) -> None:
        self.heads = np.array(sorted(heads), np.int64) >> 2
        self.words = np.frombuffer(data, np.uint32)[self.heads].copy()
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

    def matches(self, rows: NDArray[np.uint32]) -> NDArray[np.bool_]:
        """Which of the messages (u4[n, words]) have this layout."""
        found: NDArray[np.bool_] = (rows.take(self.heads, axis=1) == self.words).all(axis=1)
        return found

    def columns(self, rows: NDArray[np.uint32], interned: Interned) -> Columns:
        """Columns of contiguous messages of this layout: views of `rows`, which must be ours to keep."""
        records = rows.view(self.record)[:, 0]
        columns: Columns = {name: records[name] for name in self.record.names or ()}
        if self.pairs or self.blobs:
            octets = rows.view(np.uint8)
            for column, (high, low) in self.pairs.items():
                columns[column] = octets[:, high].astype(np.uint16) << np.uint16(8) | octets[:, low]
            for column, (at, length) in self.blobs.items():
                columns[column] = _intern_column(interned, column, octets[:, at : at + length])
        if self.zone_dir:
            columns["zone_dir"] = np.full(len(rows), self.zone_dir, np.uint8)
        return columns


def _intern_column(interned: Interned, column: str, octets: NDArray[np.uint8]) -> NDArray[Any]:
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


def offsets_in(buffer: NDArray[np.uint8], start: int, end: int) -> NDArray[np.int64]:
    """Offsets of the messages that stand one behind the other in buffer[start:end]; stops at damage.

    A table of one kind of flow has messages of one length: then they are found without a loop.
    """
    words = buffer[: len(buffer) & ~3].data.cast("B").cast("I")
    if end - start >= FIRST:
        length = words[start >> 2]
        n = (end - start) // length if length >= FIRST else 0
        if n > 8 and not length % 4 and n * length == end - start:
            lengths = buffer[start:end].view(np.uint32)[:: length >> 2]
            if (lengths == length).all():
                return np.arange(start, end, length, dtype=np.int64)
    offsets: list[int] = []
    at = start
    while at + HEADER.size <= end:
        length = words[at >> 2]
        if length < HEADER.size or at + length > end:
            break
        offsets.append(at)
        at += (length + 3) & ~3
    return np.array(offsets, np.int64)


LAYOUTS_PER_LENGTH = 32
LENGTHS = 256
ROUNDS = 48
"""Bounds for a kernel (or a forger) that never repeats a layout: beyond them messages decode one by one."""


class Decoder:
    """Buffers of ctnetlink messages → batches. `undecoded` counts messages that name no flow."""

    def __init__(self, interned: Interned) -> None:
        self.interned = interned
        self.undecoded = 0
        self._layouts: dict[int, list[Layout]] = {}

    def decode(self, buffer: NDArray[np.uint8], offsets: NDArray[np.int64]) -> list[Batch]:
        """Batches of the messages at these offsets (multiples of 4); others than conntrack's are skipped."""
        words = buffer[: len(buffer) & ~3].view(np.uint32)
        inside = (offsets >= 0) & (offsets <= len(buffer) - FIRST) & (offsets & 3 == 0)
        positions = np.arange(len(offsets), dtype=np.int64)
        if not inside.all():
            self.undecoded += int(np.count_nonzero(~inside))
            offsets, positions = offsets[inside], positions[inside]
        starts = offsets >> 2
        lengths = words[starts].astype(np.int64)
        tops = words[starts + 1]
        kinds = _kinds(tops)
        sound = (lengths >= FIRST) & (offsets + lengths <= len(buffer))
        ours = kinds <= DESTROY
        keep = sound & ours
        if not keep.all():
            self.undecoded += int(np.count_nonzero(ours & ~sound))
            starts, lengths, kinds, positions = starts[keep], lengths[keep], kinds[keep], positions[keep]
        if not len(starts):
            return []
        first = int(lengths[0])
        if (lengths == first).all():
            return self._decode_length(words, first, starts, kinds, positions)
        batches: list[Batch] = []
        for length in np.unique(lengths).tolist():
            at = lengths == length
            batches += self._decode_length(words, length, starts[at], kinds[at], positions[at])
        return batches

    def _decode_length(
        self,
        words: NDArray[np.uint32],
        length: int,
        starts: NDArray[np.int64],
        kinds: NDArray[np.uint8],
        positions: NDArray[np.int64],
    ) -> list[Batch]:
        """Batches of messages of one length."""
        width = (length + 3) >> 2
        if length % 4 or int(starts[-1]) + width > len(words) or int(starts.max()) + width > len(words):
            octets = words.view(np.uint8)
            loose = [octets[at * 4 : at * 4 + length].tobytes() for at in starts.tolist()]
            return self._decode_singly(loose, kinds, positions)
        # All windows of this width over the buffer, without a copy; picking some copies each as one run.
        windows = np.ndarray((len(words) - width + 1, width), np.uint32, words, strides=(4, 4))
        rows: NDArray[np.uint32] = windows[starts]
        batches: list[Batch] = []
        known = self._layouts.get(length, [])
        for layout in known:
            match = layout.matches(rows)
            if match.all():
                batches.append(Batch(kinds, positions, layout.columns(rows, self.interned)))
                return batches
            if match.any():
                batches.append(
                    Batch(kinds[match], positions[match], layout.columns(rows[match], self.interned))
                )
                rest = ~match
                rows, kinds, positions = rows[rest], kinds[rest], positions[rest]
        for _ in range(ROUNDS):
            data = rows[0].tobytes()
            leaves, heads, sound = walk(data)
            fields = fields_of(leaves)
            if not sound or not fields.identifies:
                batches += self._decode_singly([data], kinds[:1], positions[:1])
                rows, kinds, positions = rows[1:], kinds[1:], positions[1:]
            else:
                layout = self._remember(length, Layout(data, heads, fields))
                match = layout.matches(rows)
                batches.append(
                    Batch(kinds[match], positions[match], layout.columns(rows[match], self.interned))
                )
                rest = ~match
                rows, kinds, positions = rows[rest], kinds[rest], positions[rest]
            if not len(rows):
                return batches
        return batches + self._decode_singly([row.tobytes() for row in rows], kinds, positions)

    def _remember(self, length: int, layout: Layout) -> Layout:
        """Keep a layout for the next buffer, within bounds."""
        known = self._layouts.get(length)
        if known is None:
            if len(self._layouts) >= LENGTHS:
                self._layouts.clear()
            known = self._layouts[length] = []
        if len(known) >= LAYOUTS_PER_LENGTH:
            known.pop(0)
        known.append(layout)
        return layout

    def _decode_singly(
        self, messages: list[bytes], kinds: NDArray[np.uint8], positions: NDArray[np.int64]
    ) -> list[Batch]:
        """Batches of messages decoded one by one, put together by the columns they carry."""
        groups: dict[tuple[str, ...], tuple[list[int], list[dict[str, int]]]] = {}
        for number, data in enumerate(messages):
            values = decode_one(data, self.interned)
            if values is None:
                self.undecoded += 1
                continue
            numbers, flows = groups.setdefault(tuple(sorted(values)), ([], []))
            numbers.append(number)
            flows.append(values)
        return [
            Batch(
                kinds[numbers],
                positions[numbers],
                {name: np.array([flow[name] for flow in flows], SCHEMA[name]) for name in names},
            )
            for names, (numbers, flows) in groups.items()
        ]


_OTHER = 255


def _kinds(tops: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """NEW, UPDATE, DESTROY of messages by type and flags (the second word of each); 255: not conntrack's."""
    pairs = tops.view(np.uint16).reshape(-1, 2)  # struct nlmsghdr: type, then flags, whatever the byte order
    types, flags = pairs[:, 0], pairs[:, 1]
    made = flags & np.uint16(NLM_F_CREATE | NLM_F_EXCL) == NLM_F_CREATE | NLM_F_EXCL
    kinds = np.where(made, np.uint8(NEW), np.uint8(UPDATE))
    kinds[types == NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE] = DESTROY
    other = types >> np.uint16(8) != NFNL_SUBSYS_CTNETLINK
    other |= (types & np.uint16(0xFF) != IPCTNL_MSG_CT_NEW) & (
        types & np.uint16(0xFF) != IPCTNL_MSG_CT_DELETE
    )
    kinds[other] = _OTHER
    return kinds
