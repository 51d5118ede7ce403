"""Reading pcap and pcapng files, whoever wrote them, as rows of the packet log.

The file is indexed once (8 bytes a packet in memory) and mapped; rows are made for what is shown. Byte order,
time resolution and link type are the file's; link types: Ethernet, raw IP, Linux cooked v1 and v2, BSD
loopback.
"""

import mmap
import os
import shutil
import stat
import struct
import tempfile
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from cttui.model.packet import PacketRow
from cttui.model.safe import clean
from cttui.model.words import counted

_PCAP_MAGIC = {0xA1B2C3D4: 1000, 0xA1B23C4D: 1}
"""Magic number → nanoseconds a unit of its second timestamp field."""
_SECTION, _INTERFACE, _OLD_PACKET, _SIMPLE, _ENHANCED = 0x0A0D0D0A, 1, 2, 3, 6
_MOST_BLOCK = 16 << 20
_DIRECTIONS = {0: "in", 1: "broadcast", 2: "multicast", 3: "other", 4: "out"}

NULL, ETHERNET, RAW_OLD, RAW, LOOP, SLL, RAW_BSD, IPV4, IPV6, SLL2 = (
    0,
    1,
    12,
    101,
    108,
    113,
    14,
    228,
    229,
    276,
)
LINK_TYPES = {
    NULL: "BSD loopback", ETHERNET: "Ethernet", RAW_OLD: "raw IP", RAW_BSD: "raw IP", RAW: "raw IP",
    LOOP: "OpenBSD loopback", SLL: "Linux cooked", IPV4: "raw IPv4", IPV6: "raw IPv6", SLL2: "Linux cooked v2",
}  # fmt: skip


class CaptureFileError(Exception):
    """A file that can't be read as a capture: a sentence."""


class _Interface(NamedTuple):
    name: str
    link_type: int
    unit_ns: float
    """Nanoseconds of one unit of its timestamps."""
    offset_s: int
    snaplen: int


@dataclass
class _Section:
    """A pcapng section (or a whole pcap file) from `start` on, and the interfaces it has described."""

    start: int
    order: str
    interfaces: list[_Interface] = field(default_factory=list)


class _Frame(NamedTuple):
    """A packet as the file has it."""

    interface: _Interface
    time_ns: int
    start: int
    captured: int
    length: int
    flags: int
    comment: str


class CaptureFile:
    """An opened capture; `len()` packets, numbered from 0. Raises CaptureFileError, OSError.

    `path` may be a descriptor, which is closed. What is no regular file (a pipe) is read to its end first.
    """

    def __init__(self, path: str | os.PathLike[str] | int) -> None:
        self._offsets = array("Q")
        self._sections: list[_Section] = []
        self.notes: list[str] = []
        """Sentences on what is wrong with the file (cut short, damaged block)."""
        with open(path, "rb") as file, tempfile.TemporaryFile() as copy:
            descriptor = file.fileno()
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                shutil.copyfileobj(file, copy, 1 << 20)
                copy.flush()
                descriptor = copy.fileno()
            size = os.fstat(descriptor).st_size
            if size < 8:
                raise CaptureFileError(
                    "The file is too short to be a capture." if size else "The file is empty."
                )
            self._map = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
        self._size = size
        magic = struct.unpack_from("<I", self._map)[0]
        swapped = struct.unpack_from(">I", self._map)[0]
        if magic == _SECTION:
            self.kind = "pcapng"
            self._index_pcapng()
        elif magic in _PCAP_MAGIC or swapped in _PCAP_MAGIC:
            self.kind = "pcap"
            order, number = ("<", magic) if magic in _PCAP_MAGIC else (">", swapped)
            self._index_pcap(order, _PCAP_MAGIC[number])
        else:
            raise CaptureFileError("The file is neither pcap nor pcapng.")

    def __len__(self) -> int:
        return len(self._offsets)

    def close(self) -> None:
        """Unmap the file."""
        self._map.close()

    def rows(self, first: int = 0, count: int | None = None) -> Iterator[PacketRow]:
        """Packets from `first` on, oldest first as in the file; `seq` counts from 1."""
        last = len(self) if count is None else min(first + count, len(self))
        for number in range(max(first, 0), last):
            yield self.row(number)

    def row(self, number: int) -> PacketRow:
        """One packet. Raises IndexError."""
        frame = self._frame(self._offsets[number])
        data = self._map[frame.start : frame.start + frame.captured]
        link = _strip(frame.interface.link_type, data)
        direction = link.direction
        if frame.flags & 3:
            direction = {0b01101: "broadcast", 0b01001: "multicast", 0b10001: "other"}.get(
                frame.flags & 0b11111, "in" if frame.flags & 1 else "out"
            )
        return PacketRow(
            seq=number + 1,
            time_ns=frame.time_ns,
            interface=frame.interface.name,
            direction=direction,
            ethertype=link.ethertype,
            length=max(frame.length - link.header, 0),
            data=data[link.header :],
            vlan=link.vlan,
            fate=clean(frame.comment.partition("\n")[0], 200),
        )

    # ---------------------------------------------------------------- pcap

    def _index_pcap(self, order: str, unit_ns: int) -> None:
        if self._size < 24:
            raise CaptureFileError("The pcap header is cut short.")
        snaplen, network = struct.unpack_from(f"{order}II", self._map, 16)
        self._check(network & 0xFFFF)
        section = _Section(0, order, [_Interface("", network & 0xFFFF, unit_ns, 0, snaplen)])
        self._sections.append(section)
        header = struct.Struct(f"{order}IIII")
        at, append = 24, self._offsets.append
        while at + 16 <= self._size:
            captured = header.unpack_from(self._map, at)[2]
            if captured > _MOST_BLOCK or at + 16 + captured > self._size:
                self._note_end(at)
                return
            append(at)
            at += 16 + captured
        if at < self._size:
            self._note_end(at)

    # ---------------------------------------------------------------- pcapng

    def _index_pcapng(self) -> None:
        at = 0
        while at + 12 <= self._size:
            if self._map[at : at + 4] == b"\x0a\x0d\x0d\x0a":
                order = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}.get(self._map[at + 8 : at + 12])
                if order is None:
                    self._note_end(at)
                    return
                self._sections.append(_Section(at, order))
            section = self._sections[-1]
            kind, length = struct.unpack_from(f"{section.order}II", self._map, at)
            if length < 12 or length % 4 or length > _MOST_BLOCK or at + length > self._size:
                self._note_end(at)
                return
            if kind == _INTERFACE and length >= 20:
                interface = self._interface(at, length, section.order)
                self._check(interface.link_type)
                section.interfaces.append(interface)
            elif kind in (_ENHANCED, _OLD_PACKET) and length >= 32:
                number = struct.unpack_from(
                    f"{section.order}{'I' if kind == _ENHANCED else 'H'}", self._map, at + 8
                )[0]
                captured = struct.unpack_from(f"{section.order}I", self._map, at + 20)[0]
                if number < len(section.interfaces) and 28 + captured + 4 <= length:
                    self._offsets.append(at)
            elif kind == _SIMPLE and length >= 16 and section.interfaces:
                self._offsets.append(at)
            at += length
        if at < self._size:
            self._note_end(at)

    def _interface(self, at: int, length: int, order: str) -> _Interface:
        link_type, _, snaplen = struct.unpack_from(f"{order}HHI", self._map, at + 8)
        name, unit_ns, offset_s = "", 1000.0, 0
        for code, value in self._options(at + 16, at + length - 4, order):
            if code == 2:
                name = clean(value, 40)
            elif code == 9 and value:
                exponent = value[0] & 127
                unit_ns = 1e9 / (2**exponent if value[0] & 128 else 10**exponent)
            elif code == 14 and len(value) == 8:
                offset_s = struct.unpack(f"{order}q", value)[0]
        return _Interface(name, link_type, unit_ns, offset_s, snaplen)

    def _options(self, at: int, end: int, order: str) -> Iterator[tuple[int, bytes]]:
        while at + 4 <= end:
            code, length = struct.unpack_from(f"{order}HH", self._map, at)
            if code == 0 or at + 4 + length > end:
                return
            yield code, self._map[at + 4 : at + 4 + length]
            at += 4 + (length + 3 & ~3)

    # ---------------------------------------------------------------- packets

    def _frame(self, at: int) -> _Frame:
        section = self._sections[bisect_right(self._sections, at, key=lambda s: s.start) - 1]
        order = section.order
        if self.kind == "pcap":
            seconds, part, captured, length = struct.unpack_from(f"{order}IIII", self._map, at)
            interface = section.interfaces[0]
            time_ns = seconds * 1_000_000_000 + part * int(interface.unit_ns)
            return _Frame(interface, time_ns, at + 16, captured, length, 0, "")
        kind, size = struct.unpack_from(f"{order}II", self._map, at)
        if kind == _SIMPLE:
            length = struct.unpack_from(f"{order}I", self._map, at + 8)[0]
            interface = section.interfaces[0]
            captured = min(length, size - 16, interface.snaplen or length)
            return _Frame(interface, 0, at + 12, captured, length, 0, "")
        if kind == _ENHANCED:
            number, high, low, captured, length = struct.unpack_from(f"{order}IIIII", self._map, at + 8)
        else:
            number, _, high, low, captured, length = struct.unpack_from(f"{order}HHIIII", self._map, at + 8)
        interface = section.interfaces[number]
        stamp = high << 32 | low
        whole = interface.unit_ns == int(interface.unit_ns)
        time_ns = stamp * int(interface.unit_ns) if whole else int(stamp * interface.unit_ns)
        flags, comment = 0, ""
        for code, value in self._options(at + 28 + (captured + 3 & ~3), at + size - 4, order):
            if code == 1:
                comment = value.decode("utf-8", "replace")
            elif code == 2 and len(value) == 4:
                flags = struct.unpack(f"{order}I", value)[0]
        return _Frame(
            interface, time_ns + interface.offset_s * 1_000_000_000, at + 28, captured, length, flags, comment
        )

    def _check(self, link_type: int) -> None:
        if link_type not in LINK_TYPES:
            known = ", ".join(dict.fromkeys(LINK_TYPES.values()))
            raise CaptureFileError(f"Packets of link type {link_type} can't be read, only {known}.")

    def _note_end(self, at: int) -> None:
        self.notes.append(
            f"The file is cut short or damaged at byte {at:,}: {counted(len(self), 'packet')} before that."
        )


class _Link(NamedTuple):
    """What stood before the network header."""

    header: int
    ethertype: int
    direction: str = ""
    vlan: int | None = None


def _strip(link_type: int, data: bytes) -> _Link:
    """The link header of a packet; a packet shorter than it has ethertype 0."""
    if link_type == ETHERNET:
        return _ethernet(data)
    if link_type == SLL:
        if len(data) < 16:
            return _Link(len(data), 0)
        kind, ethertype = struct.unpack_from(">H", data)[0], struct.unpack_from(">H", data, 14)[0]
        return _tagged(data, 16, ethertype, _DIRECTIONS.get(kind, ""))
    if link_type == SLL2:
        if len(data) < 20:
            return _Link(len(data), 0)
        return _tagged(data, 20, struct.unpack_from(">H", data)[0], _DIRECTIONS.get(data[10], ""))
    if link_type in (NULL, LOOP):
        if len(data) < 4:
            return _Link(len(data), 0)
        families = {int.from_bytes(data[:4], "big"), int.from_bytes(data[:4], "little")}
        # AF_INET is 2 everywhere; AF_INET6 is 10, 24, 28 or 30 by system
        return _Link(4, 0x0800 if 2 in families else 0x86DD if families & {10, 24, 28, 30} else 0)
    if link_type == IPV4:
        return _Link(0, 0x0800)
    if link_type == IPV6:
        return _Link(0, 0x86DD)
    return _Link(0, 0x86DD if data[:1] and data[0] >> 4 == 6 else 0x0800)


def _ethernet(data: bytes) -> _Link:
    if len(data) < 14:
        return _Link(len(data), 0)
    direction = "broadcast" if data[:6] == b"\xff" * 6 else "multicast" if data[0] & 1 else ""
    ethertype = struct.unpack_from(">H", data, 12)[0]
    if ethertype < 0x600:  # IEEE 802.3: a length, then LLC
        return _Link(14, 0x0004, direction)
    return _tagged(data, 14, ethertype, direction)


def _tagged(data: bytes, header: int, ethertype: int, direction: str) -> _Link:
    """One VLAN tag goes to the metadata, as the kernel does it; a second one stays."""
    if ethertype in (0x8100, 0x88A8) and len(data) >= header + 4:
        tag, inner = struct.unpack_from(">HH", data, header)
        return _Link(header + 4, inner, direction, tag & 0xFFF)
    return _Link(header, ethertype, direction)
