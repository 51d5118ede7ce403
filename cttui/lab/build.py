"""scapy builds the packets of a parsed notation. Imported on first use only (0.2 s)."""

import functools
import importlib
import logging
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import Any

from cttui.lab.layers import LAYERS, ComposeError, Layer, Spread, Stack, nearest

CLIENT = {4: "198.51.100.2", 6: "2001:db8:1::2"}
SERVER = {4: "192.0.2.1", 6: "2001:db8::1"}
"""Source and destination where the notation names none: a client of the sandbox, and the sandbox. (scapy
would ask the routing table of this machine, which is not where the packet goes.)"""

Dim = tuple[int, str]
"""A field that spreads: index of its layer, and its name."""
Build = Callable[[Mapping[Dim, object]], list[bytes]]
"""Value of each spread → the packet, as one piece or as its fragments."""


@functools.cache
def layer_class(name: str) -> Any:
    """scapy's class of a whitelisted layer."""
    logging.getLogger("scapy").setLevel(logging.ERROR)  # it warns about this machine's interfaces
    return getattr(importlib.import_module(LAYERS[name]), name)


def prepare(stack: Stack) -> Stack:
    """Check the stack, put its fields in header order, and give addresses where there are none.

    Raises ComposeError at the column of the layer or field that is wrong.
    """
    layers = list(stack.layers)
    six = layers[0].name == "IPv6"
    if stack.fragment and six and not any(layer.name == "IPv6ExtHdrFragment" for layer in layers):
        layers.insert(1, Layer("IPv6ExtHdrFragment", layers[0].column))
    out: list[Layer] = []
    for layer in layers:
        _check(layer)
        given: dict[str, object] = dict(layer.fields)
        if layer.name in ("IP", "IPv6"):
            version = 4 if layer.name == "IP" else 6
            given = {"src": CLIENT[version], "dst": SERVER[version], **given}
        if layer.name == "IPv6ExtHdrFragment":
            given = {"id": 1, **given}  # scapy's default is drawn anew for every packet
        order = [f.name for f in layer_class(layer.name).fields_desc]
        ordered = {name: given[name] for name in sorted(given, key=order.index)}
        out.append(Layer(layer.name, layer.column, ordered, layer.columns))
    return Stack(out, stack.fragment)


def _check(layer: Layer) -> None:
    cls = layer_class(layer.name)
    known = {f.name: f for f in cls.fields_desc}
    for name, value in layer.fields.items():
        column = layer.columns.get(name, layer.column)
        if name not in known:
            raise ComposeError(f"{layer.name} has no field {name}.{nearest(name, known)}", column)
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, Layer):
                _check(part)
                if any(isinstance(v, Spread) for v in part.fields.values()):
                    raise ComposeError(
                        "Inside another field nothing can differ from packet to packet.", column
                    )
        version = _address_version(known[name])
        samples = [value]
        if isinstance(value, Spread):
            if version and not value.version and value.kind != "cycle":
                raise ComposeError(
                    f"{layer.name}.{name} is an address: write a net, a list or RandIP().", column
                )
            samples = (
                list(value.values)
                if value.kind == "cycle"
                else [value.present(value.first), value.present(value.last)]
            )
        for sample in samples if version else ():
            # scapy would take any other text for a host name, and resolve it
            if not _is_address(sample, version):
                raise ComposeError(f"{layer.name}.{name}: {sample!r} is no IPv{version} address.", column)
        for sample in (samples[0], samples[-1]):
            try:
                bytes(cls(**{name: _plain(sample)}))
            except Exception as e:
                raise ComposeError(f"{layer.name}.{name} can't be {sample!r}.{_because(e)}", column) from None


def _because(error: Exception) -> str:
    """scapy's reason as a sentence, "" where it is only about its own insides."""
    text = str(error).strip().splitlines()
    if (
        not text
        or isinstance(error, KeyError | AttributeError | TypeError)
        or "While building field" in text[0]
        or text[0] == "substring not found"
    ):
        return ""
    return f" {text[0].rstrip('.')}."


def _address_version(field: Any) -> int:
    kind = type(getattr(field, "fld", field)).__name__  # Emph(…) wraps a field
    if kind in ("IPField", "SourceIPField", "DestIPField"):
        return 4
    return 6 if kind in ("IP6Field", "SourceIP6Field", "DestIP6Field") else 0


def _is_address(value: object, version: int) -> bool:
    try:
        return isinstance(value, str) and ip_address(value).version == version
    except ValueError:
        return False


def _plain(value: object) -> object:
    """A value as scapy takes it."""
    if isinstance(value, Layer):
        return layer_class(value.name)(**{k: _plain(v) for k, v in value.fields.items()})
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return value


def builder(stack: Stack) -> Build:
    """A function that builds a prepared stack with given values for its spreads. It raises ComposeError."""

    def build(values: Mapping[Dim, object]) -> list[bytes]:
        try:
            packet: Any = None
            for i, layer in enumerate(stack.layers):
                fields = {
                    name: values[i, name] if isinstance(value, Spread) else _plain(value)
                    for name, value in layer.fields.items()
                }
                part = layer_class(layer.name)(**fields)
                packet = part if packet is None else packet / part
            if stack.fragment and stack.layers[0].name == "IP":
                cut = importlib.import_module("scapy.layers.inet").fragment
                made = [bytes(piece) for piece in cut(packet, stack.fragment)]
            else:
                made = [bytes(packet)]
        except Exception as e:
            raise ComposeError(f"scapy can't build this.{_because(e)}", stack.layers[0].column) from None
        if stack.fragment and stack.layers[0].name == "IPv6":
            made = _fragment6(made[0], stack.fragment)
        if any(len(data) > 65535 for data in made):
            raise ComposeError("The packet is longer than 65,535 bytes.", stack.layers[0].column)
        return made

    return build


def _fragment6(data: bytes, size: int) -> list[bytes]:
    """Cut an IPv6 packet that holds a fragment header into fragments of `size` payload bytes (RFC 8200, 4.5)."""
    at = next(offset for name, offset in layers_of(data) if name == "IPv6ExtHdrFragment")
    head, header, payload = data[:at], data[at : at + 8], data[at + 8 :]
    size -= size % 8
    out = []
    for start in range(0, max(len(payload), 1), size):
        chunk = payload[start : start + size]
        more = start + size < len(payload)
        out.append(
            head[:4] + (at - 40 + 8 + len(chunk)).to_bytes(2, "big") + head[6:]
            + header[:2] + (start | more).to_bytes(2, "big") + header[4:] + chunk
        )  # fmt: skip
    return out


def layers_of(data: bytes) -> list[tuple[str, int]]:
    """Names of the headers that scapy sees in a packet, and the offset at which each begins."""
    packet = layer_class("IPv6" if data[0] >> 4 == 6 else "IP")(data)
    out = []
    while packet and packet.name != "Padding":
        out.append((type(packet).__name__, len(data) - len(packet.original)))
        packet = packet.payload
    return out


_CHECKSUM_AT = {
    "IP": 10, "TCP": 16, "UDP": 6, "UDPLite": 6, "ICMP": 2, "IPerror": 10, "UDPerror": 6, "ICMPerror": 2,
}  # fmt: skip


def checksums_of(data: bytes) -> dict[int, bool]:
    """Offsets of the 16-bit checksums in a packet → whether a 0 there means none (UDP)."""
    found: dict[int, bool] = {}
    for name, at in layers_of(data):
        where = 2 if name.startswith("ICMPv6") else _CHECKSUM_AT.get(name)
        if name == "GRE" and data[at] & 0x80:
            where = 4
        if where is not None and at + where + 2 <= len(data):
            found[at + where] = name.startswith("UDP")
    return found
