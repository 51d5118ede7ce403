"""A burst in one sentence. Needs no scapy."""

import itertools
from ipaddress import ip_address, summarize_address_range

from cttui.lab.layers import ComposeError, Layer, Spread
from cttui.lab.notation import parse

_FLAGS = {"F": "FIN", "S": "SYN", "R": "RST", "P": "PSH", "A": "ACK", "U": "URG", "E": "ECE", "C": "CWR"}
_ICMP = {0: "echo reply", 3: "unreachable", 8: "echo request", 11: "time exceeded"}
_CLIENT = {"IP": "198.51.100.2", "IPv6": "2001:db8:1::2"}
_SERVER = {"IP": "192.0.2.1", "IPv6": "2001:db8::1"}
_PORTS = {"TCP": (20, 80), "UDP": (53, 53), "UDPLite": (53, 53), "SCTP": (0, 0)}


def describe(text: str, count: int, rate: float) -> str:
    """ "10 × TCP SYN 198.51.100.2:10000–10009 → 192.0.2.1:80, 100/s (0.1 s)"; of a faulty notation its error."""
    try:
        stack = parse(text)
    except ComposeError as e:
        return e.message
    network, *rest = stack.layers
    # What a tunnel carries, or an ICMP error quotes, is another packet.
    inner = list(itertools.takewhile(lambda layer: layer.name not in _CLIENT, rest))
    last = next((x for x in reversed(inner) if x.name not in ("Raw", "IPv6ExtHdrFragment")), None)
    transport = next((x for x in inner if x.name in _PORTS), None)
    source = _span(network.fields.get("src", _CLIENT[network.name]))
    target = _span(network.fields.get("dst", _SERVER[network.name]))
    if transport is not None:
        sport, dport = _PORTS[transport.name]
        v6 = network.name == "IPv6"
        source = _with_port(source, transport.fields.get("sport", sport), v6)
        target = _with_port(target, transport.fields.get("dport", dport), v6)
    pace = "at full speed"
    if rate > 0:
        seconds = _number(max(count - 1, 0) / rate)
        pace = f"{_number(rate)}/s ({seconds} s)" if rate >= 1 else f"one every {1 / rate:g} s ({seconds} s)"
    pieces = f" in fragments of {stack.fragment} bytes" if stack.fragment else ""
    what = _what(last, transport) if last is not None else network.name
    if network.name == "IPv6" and not what.startswith("ICMPv6"):
        what = f"{what} over IPv6"
    return f"{count:,} × {what} {source} → {target}{pieces}, {pace}"


def _number(value: float) -> str:
    """Three digits at most behind the first, and never an exponent: `0.09`, `99.9`, `300,000`."""
    if 0 < value < 0.01:
        return "under 0.01"
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"


def _what(last: Layer, transport: Layer | None) -> str:
    if last.name == "TCP":
        flags = last.fields.get("flags", "S")
        if isinstance(flags, str) and flags and all(f in _FLAGS for f in flags):
            return "TCP " + "+".join(_FLAGS[f] for f in flags)
        return f"TCP with flags {_span(flags)}"
    if last.name == "ICMP":
        kind = last.fields.get("type", 8)
        return (
            f"ICMP {_ICMP[kind]}" if isinstance(kind, int) and kind in _ICMP else f"ICMP type {_span(kind)}"
        )
    if last.name in ("ICMPv6EchoRequest", "ICMPv6EchoReply"):
        return "ICMPv6 echo request" if last.name.endswith("Request") else "ICMPv6 echo reply"
    if transport is not None and last is not transport:
        return f"{transport.name} {last.name}"
    return last.name


def _with_port(address: str, port: object, v6: bool) -> str:
    if v6:
        address = f"[{address}]"
    return f"{address}:{_span(port)}"


def _span(value: object) -> str:
    """A value in a few words."""
    if not isinstance(value, Spread):
        return str(value)
    if value.kind == "cycle":
        shown = "|".join(str(v) for v in value.values[:3])
        return shown if len(value.values) <= 3 else f"{shown}|… ({len(value.values)} values)"
    first, last = str(value.present(value.first)), str(value.present(value.last))
    span = f"{first}–{last}"
    if value.version:
        nets = list(summarize_address_range(ip_address(first), ip_address(last)))
        if len(nets) == 1:
            span = str(nets[0])
    if value.kind == "random":
        whole = value.first == 0 and value.last in (0xFF, 0xFFFF, 0xFFFFFFFF, (1 << 64) - 1, (1 << 128) - 1)
        return "random" if whole else f"random in {span}"
    return first if value.first == value.last else span
