"""Writing pcapng: what is in the packet log, for Wireshark and tcpdump.

Blocks and options are those of draft-ietf-opsawg-pcapng. Packets begin at their network header, so each
gets a Linux cooked header (LINKTYPE_LINUX_SLL), which keeps ethertype and direction; the interface is named
in its own block. tcpdump insists on one link type and one snap length in a file.
"""

import struct
from collections.abc import Callable, Iterable
from typing import BinaryIO

from cttui.model.packet import Journey, PacketRow, may_be_traced
from cttui.model.safe import clean

LINUX_SLL = 113
_SNAPLEN = 262_144
_SECTION, _INTERFACE, _ENHANCED = 0x0A0D0D0A, 1, 6
_BYTE_ORDER = 0x1A2B3C4D
_COMMENT, _HARDWARE, _OS, _APPLICATION = 1, 2, 3, 4
_IF_NAME, _IF_TSRESOL, _EPB_FLAGS = 2, 9, 2
_ARPHRD_NONE = 0xFFFE
_ETH_VLAN = 0x8100
_SLL_TYPES = {"in": 0, "host": 0, "broadcast": 1, "multicast": 2, "other": 3, "out": 4}
_FLAGS = {"in": 0b00101, "broadcast": 0b01101, "multicast": 0b01001, "other": 0b10001, "out": 0b00010}
"""epb_flags: bits 0–1 inbound or outbound, bits 2–4 unicast, multicast, broadcast, promiscuous."""
_LONGEST_COMMENT = 60_000  # the option's length has 16 bits


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)


def _block(kind: int, body: bytes, options: bytes = b"") -> bytes:
    if options:
        options += _option(0, b"")
    length = 12 + len(body) + len(options)
    return struct.pack("<II", kind, length) + body + options + struct.pack("<I", length)


class Writer:
    """A pcapng file being written: one section, an interface block at each interface's first packet."""

    def __init__(self, stream: BinaryIO, application: str = "cttui") -> None:
        self._stream = stream
        self._interfaces: dict[str, int] = {}
        self.count = 0
        stream.write(
            _block(
                _SECTION,
                struct.pack("<IHHq", _BYTE_ORDER, 1, 0, -1),
                _option(_OS, b"Linux") + _option(_APPLICATION, application.encode()),
            )
        )

    def write(self, row: PacketRow, comment: str = "") -> None:
        """One packet, with a comment where there is something to say about it."""
        interface = self._interfaces.get(row.interface)
        if interface is None:
            interface = self._interfaces[row.interface] = len(self._interfaces)
            self._stream.write(
                _block(
                    _INTERFACE,
                    struct.pack("<HHI", LINUX_SLL, 0, _SNAPLEN),
                    _option(_IF_NAME, row.interface.encode("utf-8", "replace"))
                    + _option(_IF_TSRESOL, b"\x09"),
                )
            )
        ethertype, tag = row.ethertype, b""
        if row.vlan is not None:
            ethertype, tag = _ETH_VLAN, struct.pack(">HH", row.vlan, row.ethertype)
        header = (
            struct.pack(">HHH8sH", _SLL_TYPES.get(row.direction, 0), _ARPHRD_NONE, 0, b"", ethertype) + tag
        )
        data = header + row.data
        body = struct.pack(
            "<IIIII",
            interface,
            row.time_ns >> 32,
            row.time_ns & 0xFFFFFFFF,
            len(data),
            len(header) + row.length,
        )
        options = b""
        if comment:
            options += _option(_COMMENT, comment.encode("utf-8", "replace")[:_LONGEST_COMMENT])
        if row.direction in _FLAGS:
            options += _option(_EPB_FLAGS, struct.pack("<I", _FLAGS[row.direction]))
        self._stream.write(_block(_ENHANCED, body + data + bytes(-len(data) % 4), options))
        self.count += 1


def write_pcapng(
    stream: BinaryIO,
    rows: Iterable[PacketRow],
    comment: Callable[[PacketRow], str] | None = None,
    application: str = "cttui",
) -> int:
    """Write rows as a whole file; how many. `comment` gives each packet's comment, "" for none."""
    writer = Writer(stream, application)
    for row in rows:
        writer.write(row, comment(row) if comment is not None else "")
    return writer.count


class JourneyComments:
    """Comments for the packets whose journeys are known; call it with the rows, oldest first.

    Which packets were traced, and how they ended, is for the log to say (`fate`): of packets that are equal to the
    last bit, not all need have been. A journey is told once an interface.
    """

    def __init__(self, journeys: Iterable[Journey]) -> None:
        self._found: dict[tuple[bytes, str], list[Journey]] = {}
        self._next: dict[tuple[bytes, str, str], int] = {}
        """Head, end and interface → the first journey not told yet."""
        for journey in journeys:
            self._found.setdefault((journey.data, journey.end), []).append(journey)

    def __call__(self, row: PacketRow) -> str:
        """The journey of a packet in words, where its way is not known its fate, "" where it was not traced."""
        head = head_of(row.data)
        found = self._found.get((head, row.fate))
        if not row.fate or not found:
            return row.fate
        at = self._next.get((head, row.fate, row.interface), 0)
        while at < len(found) and _read_ns(found[at]) < row.time_ns:
            at += 1
        told = at < len(found) and may_be_traced(row.time_ns, _read_ns(found[at]))
        self._next[head, row.fate, row.interface] = at + told
        return journey_text(found[at]) if told else row.fate


def _read_ns(journey: Journey) -> int:
    """When its messages were read."""
    return journey.steps[0].time_ns if journey.steps else 0


def head_of(data: bytes) -> bytes:
    """What a trace message quotes of this packet: at most 40 bytes of network and 20 of transport header."""
    if not data:
        return b""
    network = (data[0] & 15) * 4 if data[0] >> 4 == 4 else 40
    return data[: min(network, 40)] + data[network : network + 20]


def journey_text(journey: Journey) -> str:
    """A journey as lines: where it ended, then a line a step."""
    lines = [f"{journey.end}" + (f" (conntrack id {journey.flow_id})" if journey.flow_id is not None else "")]
    for step in journey.steps:
        if step.kind == "vanished":
            continue
        where = " ".join(part for part in (step.family, step.table, step.chain) if part)
        what = {"rule": step.rule, "policy": "policy", "return": "end of chain"}.get(step.kind, "")
        parts = [where, what, step.verdict, f"[{step.ct_state}]" if step.ct_state else ""]
        lines.append(
            ": ".join(part for part in parts[:2] if part) + " → " + " ".join(p for p in parts[2:] if p)
        )
    return "\n".join(clean(line) for line in lines)
