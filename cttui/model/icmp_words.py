"""ICMP and ICMPv6 messages in tcpdump's words (print-icmp.c, print-icmp6.c)."""

import ipaddress
from typing import Protocol


class Quoted(Protocol):
    """The packet that an error message is about (packet_headers.Headers)."""

    @property
    def destination(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def proto(self) -> str: ...
    @property
    def dport(self) -> int | None: ...


ERRORS = (3, 4, 5, 11, 12)
"""ICMP types that quote a packet."""
ERRORS6 = (1, 2, 3, 4)

_UNREACHABLE = {
    0: "net {dst} unreachable", 1: "host {dst} unreachable", 5: "{dst} unreachable - source route failed",
    6: "net {dst} unreachable - unknown", 7: "host {dst} unreachable - unknown", 8: "{dst} unreachable - source host isolated",
    9: "net {dst} unreachable - admin prohibited", 10: "host {dst} unreachable - admin prohibited",
    11: "net {dst} unreachable - tos prohibited", 12: "host {dst} unreachable - tos prohibited",
    13: "host {dst} unreachable - admin prohibited filter", 14: "host {dst} unreachable - host precedence violation",
    15: "host {dst} unreachable - precedence cutoff",
}  # fmt: skip
_REDIRECT = {0: "net", 1: "host", 2: "tos and net", 3: "tos and host"}
_SIMPLE = {4: "source quench", 9: "router advertisement", 10: "router solicitation", 15: "information request",
           16: "information reply"}  # fmt: skip


def _u16(data: bytes, at: int) -> int:
    return data[at] << 8 | data[at + 1] if len(data) >= at + 2 else 0


def _echo(kind: str, data: bytes) -> str:
    return f"{kind}, id {_u16(data, 4)}, seq {_u16(data, 6)}" if len(data) >= 8 else f"{kind} [|icmp]"


def icmp(data: bytes, quoted: Quoted | None) -> str:
    """The message, without its length. `quoted` is the packet in an error, None where it is cut off."""
    if len(data) < 2:
        return "[|icmp]"
    kind, code = data[0], data[1]
    if kind in (0, 8):
        return _echo("echo request" if kind else "echo reply", data)
    if kind in (13, 14):
        word = "query" if kind == 13 else "reply"
        return f"time stamp {word} id {_u16(data, 4)} seq {_u16(data, 6)}"
    if kind in (17, 18):
        return "address mask request" if kind == 17 else "address mask reply"
    if kind in _SIMPLE:
        return _SIMPLE[kind]
    if kind == 11:
        return {0: "time exceeded in-transit", 1: "ip reassembly time exceeded"}.get(
            code, f"time exceeded-#{code}"
        )
    if kind == 12:
        return f"parameter problem - octet {data[4]}" if len(data) > 4 else "parameter problem"
    if kind == 5 and len(data) >= 8:
        target = quoted.destination if quoted else "?"
        gateway = ".".join(map(str, data[4:8]))
        return f"redirect {target} to {_REDIRECT.get(code, f'code {code}')} {gateway}"
    if kind == 3:
        return _unreachable(code, data, quoted)
    return f"type-#{kind}"


def _unreachable(code: int, data: bytes, quoted: Quoted | None) -> str:
    """Destination unreachable, by code."""
    target = quoted.destination if quoted and quoted.destination else "?"
    proto = quoted.proto if quoted else "?"
    if code == 2:
        return f"{target} protocol {proto} unreachable"
    if code == 3:
        port = quoted.dport if quoted and quoted.dport is not None else "?"
        return f"{target} {proto} port {port} unreachable"
    if code == 4:
        mtu = _u16(data, 6)
        return f"{target} unreachable - need to frag" + (f" (mtu {mtu})" if mtu else "")
    return _UNREACHABLE.get(code, f"{{dst}} unreachable - #{code}").format(dst=target)


_UNREACHABLE6 = {
    0: "unreachable route {dst}", 1: "unreachable prohibited {dst}", 2: "beyond scope {dst}, source address {src}",
    3: "unreachable address {dst}", 5: "source address failed policy {dst}", 6: "reject route {dst}",
}  # fmt: skip
_SIMPLE6 = {
    130: "multicast listener query", 131: "multicast listener report", 132: "multicast listener done",
    133: "router solicitation", 134: "router advertisement", 137: "redirect", 143: "multicast listener report v2",
}  # fmt: skip


def icmpv6(data: bytes, quoted: Quoted | None, destination: str) -> str:
    """The message, without its length. `destination` stands in where an error quotes nothing."""
    if len(data) < 2:
        return "[|icmp6]"
    kind, code = data[0], data[1]
    if kind in (128, 129):
        return _echo("echo request" if kind == 128 else "echo reply", data)
    if kind in (135, 136):
        words = "neighbor solicitation, who has" if kind == 135 else "neighbor advertisement, tgt is"
        return f"{words} {_address6(data[8:24])}" if len(data) >= 24 else f"{words} [|icmp6]"
    if kind == 2:
        mtu = int.from_bytes(data[4:8], "big")
        return f"packet too big, mtu {mtu}"
    target = quoted.destination if quoted and quoted.destination else destination
    if kind == 1:
        if code == 4:
            port = quoted.dport if quoted and quoted.dport is not None else "?"
            return f"destination unreachable, unreachable port, {target} {quoted.proto if quoted else '?'} port {port}"
        words = _UNREACHABLE6.get(code, f"unreachable code-#{code} {{dst}}")
        source = quoted.source if quoted else "?"
        return f"destination unreachable, {words.format(dst=target, src=source)}"
    if kind == 3:
        return f"time exceeded {'in-transit' if code == 0 else 'in reassembly'} for {target}"
    if kind == 4:
        return f"parameter problem, code-#{code}"
    if kind == 143 and len(data) >= 8:
        return f"multicast listener report v2, {_u16(data, 6)} group record(s)"
    return _SIMPLE6.get(kind, f"type-#{kind}")


def igmp(data: bytes, length: int) -> str:
    """An IGMP message of at least 8 bytes (print-igmp.c)."""
    group = ".".join(map(str, data[4:8]))
    kind = data[0]
    if kind == 0x11:
        version = "v3" if length >= 12 else "v2" if data[1] else "v1"
        return f"query {version}" + (f" [gaddr {group}]" if any(data[4:8]) else "")
    if kind == 0x22:
        return f"v3 report, {_u16(data, 6)} group record(s)"
    return {0x12: f"v1 report {group}", 0x16: f"v2 report {group}", 0x17: f"leave {group}"}.get(
        kind, f"type-{kind:#04x}"
    )


def _address6(data: bytes) -> str:
    return str(ipaddress.IPv6Address(data))
