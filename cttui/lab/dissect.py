"""One packet in full: scapy's dissection as a tree, a hex dump, and an expression that makes it again.

scapy is imported on first use (0.2 s). Its dissectors meet hostile bytes here: whatever they raise, the
answer is the layers that could be read and the rest as bytes.
"""

import struct
from functools import cache
from typing import Any, NamedTuple

from cttui.model.packet import PacketRow
from cttui.model.safe import clean

ETH_IPV4, ETH_ARP, ETH_IPV6, ETH_VLAN, ETH_QINQ = 0x0800, 0x0806, 0x86DD, 0x8100, 0x88A8
_LONGEST_VALUE = 200
_MOST_LAYERS = 16
_WIDTH = 16


class Layer(NamedTuple):
    """One protocol layer: its name, its first byte in the packet, and (field, value) in their order."""

    name: str
    offset: int
    fields: list[tuple[str, str]]


class Dissection(NamedTuple):
    """A packet in full. `note` says what is missing of it, "" for nothing."""

    layers: list[Layer]
    hexdump: list[str]
    scapy: str
    note: str = ""


def dissect(row: PacketRow) -> Dissection:
    """Everything about one packet of the log."""
    note = ""
    if row.length > len(row.data):
        note = f"{row.length - len(row.data)} of {row.length} bytes were not captured."
    layers, problem = layers_of(row)
    return Dissection(
        layers, hex_lines(row.data), as_scapy(row), " ".join(part for part in (note, problem) if part)
    )


def layers_of(row: PacketRow) -> tuple[list[Layer], str]:
    """The layers from the network header on, and a sentence where scapy could not go on."""
    layers = [Layer("VLAN", 0, [("vlan", str(row.vlan))])] if row.vlan is not None else []
    try:
        packet = _parse(row)
    except Exception as error:  # a dissector's bug, met by hostile bytes
        return [*layers, _raw(row.data)], _problem(error)
    offset = 0
    while packet is not None and type(packet).__name__ != "NoPayload" and len(layers) < _MOST_LAYERS:
        try:
            layers.append(Layer(clean(packet.name, 60), offset, _fields(packet)))
            offset += len(packet.original or b"") - len(packet.payload.original or b"")
            packet = packet.payload
        except Exception as error:
            return [*layers, _raw(row.data[offset:], offset)], _problem(error)
    return layers, ""


def _problem(error: Exception) -> str:
    if isinstance(error, struct.error):
        return "A header is cut short."
    return f"Scapy could not dissect it ({type(error).__name__})."


def _raw(data: bytes, offset: int = 0) -> Layer:
    return Layer("Bytes", offset, [("load", _bytes_text(data))])


def _fields(packet: Any) -> list[tuple[str, str]]:
    """The fields that were in the bytes, in words; empty ones are left out."""
    out = []
    for description in packet.fields_desc:
        name = description.name
        value = packet.fields.get(name)
        if value is not None and value != [] and value != b"":
            out.append((clean(str(name), 40), _value(packet, description, value)))
    return out


def _value(packet: Any, description: Any, value: Any) -> str:
    """One value: the number, and scapy's word for it where it has one."""
    if isinstance(value, bytes):
        return _bytes_text(value)
    try:
        words = str(description.i2repr(packet, value))
    except Exception:
        words = repr(value)
    if isinstance(value, int) and words.strip("'\"") != str(value) and not words.startswith("0x"):
        words = f"{value} ({words})"
    return clean(words, _LONGEST_VALUE)


def _bytes_text(value: bytes) -> str:
    """Bytes as hexadecimal with what is readable beside it."""
    shown = value[:32]
    text = "".join(chr(b) if 32 <= b < 127 else "." for b in shown)
    more = f" … {len(value)} bytes" if len(value) > len(shown) else ""
    return f"{shown.hex(' ')}  {text}{more}" if value else ""


def hex_lines(data: bytes) -> list[str]:
    """Offset, sixteen bytes, and their ASCII characters, as `tcpdump -X` has them."""
    lines = []
    for at in range(0, len(data), _WIDTH):
        part = data[at : at + _WIDTH]
        pairs = " ".join(part[i : i + 2].hex() for i in range(0, len(part), 2))
        text = "".join(chr(b) if 32 <= b < 127 else "." for b in part)
        lines.append(f"0x{at:04x}:  {pairs:<39}  {text}")
    return lines


def as_scapy(row: PacketRow) -> str:
    """An expression that builds this packet's captured bytes in scapy, for copying."""
    data = row.data
    try:
        packet = _parse(row)
        # scapy adds a router alert to IGMP, and may do as much to others
        name = type(packet).__name__ if bytes(packet) == data else "Raw"
    except Exception:  # a header cut short, a dissector's bug
        return f"Raw(bytes.fromhex('{data.hex()}'))"
    return _command(packet, data) or f"{name}(bytes.fromhex('{data.hex()}'))"


def _command(packet: Any, data: bytes) -> str:
    """scapy's command() where its fields give these very bytes, else ""."""
    try:
        return clean(str(packet.command())) if _rebuilt(packet) == data else ""
    except Exception:  # a dissector's bug, as above
        return ""


def _rebuilt(packet: Any) -> bytes:
    """What the expression would build: every layer made anew of its fields, empty lists left to its defaults."""
    built: Any = None
    layer = packet
    while type(layer).__name__ != "NoPayload":
        made = type(layer)(**{name: value for name, value in layer.fields.items() if value != []})
        built = made if built is None else built / made
        layer = layer.payload
    return bytes(built)


def _parse(row: PacketRow) -> Any:
    """scapy's packet of the captured bytes."""
    scapy = _scapy()
    kind = {
        ETH_IPV4: scapy.IP, ETH_IPV6: scapy.IPv6, ETH_ARP: scapy.ARP, ETH_VLAN: scapy.Dot1Q, ETH_QINQ: scapy.Dot1AD,
    }.get(row.ethertype, scapy.Raw)  # fmt: skip
    return kind(row.data)


class _Scapy(NamedTuple):
    IP: Any
    IPv6: Any
    ARP: Any
    Dot1Q: Any
    Dot1AD: Any
    Raw: Any


@cache
def _scapy() -> _Scapy:
    """The layers that a packet can begin with, and those found inside."""
    import logging

    logging.getLogger("scapy").setLevel(logging.CRITICAL)  # it warns on standard error about odd packets
    from scapy.layers import dhcp, dns, inet6, l2, ntp, sctp  # noqa: F401 (importing binds them to their ports)
    from scapy.layers.inet import IP
    from scapy.layers.inet6 import IPv6
    from scapy.layers.l2 import ARP, Dot1AD, Dot1Q
    from scapy.packet import Raw

    return _Scapy(IP, IPv6, ARP, Dot1Q, Dot1AD, Raw)
