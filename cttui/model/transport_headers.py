"""Transport headers in tcpdump's words (print-tcp.c, print-udp.c, print-sctp.c)."""

import struct
from typing import NamedTuple


class Payload(NamedTuple):
    """A transport header. `length` bytes are said to be there, `data` may have fewer."""

    proto: str
    text: str
    sport: int | None = None
    dport: int | None = None
    flags: str = ""
    length: int | None = None
    info: str | None = None


_TCP_FLAGS = "FSRP.UEWe"
"""tcpdump's letters for the flag bits from FIN up: print-tcp.c, tcp_flag_values."""


def u16(data: bytes, at: int) -> int:
    """Big-endian 16 bits; the caller has checked that they are there."""
    return data[at] << 8 | data[at + 1]


def u32(data: bytes, at: int) -> int:
    """Big-endian 32 bits."""
    return int.from_bytes(data[at : at + 4], "big")


def tcp(data: bytes, length: int) -> Payload:
    """A TCP segment: ports, flags, absolute sequence numbers, window, options, length of its payload."""
    if len(data) < 14:
        ports = (u16(data, 0), u16(data, 2)) if len(data) >= 4 else (None, None)
        return Payload("tcp", "[|tcp]", *ports)
    sport, dport, sequence, acknowledged = struct.unpack_from("!HHII", data)
    size, bits = (data[12] >> 4) * 4, data[13] | (data[12] & 1) << 8
    flags = "".join(letter for i, letter in enumerate(_TCP_FLAGS) if bits >> i & 1)
    if size < 20:
        bad = f"tcp {length - size} [bad hdr length {size} - too short, < 20]"
        return Payload("tcp", bad, sport, dport, flags, None, bad)
    words = f"Flags [{flags or 'none'}]"
    if size > length:
        bad = f"[bad hdr length {size} - too long, > {length}]"
        return Payload("tcp", f"{words} {bad}", sport, dport, flags, None, bad)
    payload = length - size
    parts = []
    if payload or bits & 7:
        parts.append(f"seq {sequence}" + (f":{(sequence + payload) & 0xFFFFFFFF}" if payload else ""))
    if bits & 16:
        parts.append(f"ack {acknowledged}")
    if len(data) >= 16:
        parts.append(f"win {u16(data, 14)}")
    if len(data) < 20:
        parts.append("[|tcp]")
    else:
        if bits & 32:
            parts.append(f"urg {u16(data, 18)}")
        if size > 20:
            parts.append(f"options [{_tcp_options(data[20:size], size - 20)}]")
    info = ", ".join(parts)
    return Payload("tcp", ", ".join([words, *parts, f"length {payload}"]), sport, dport, flags, payload, info)


def _tcp_options(data: bytes, size: int) -> str:
    """Options as print-tcp.c words them; `size` bytes are announced, the snap length may have cut some."""
    words = []
    at = 0
    while at < len(data):
        kind = data[at]
        if kind in (0, 1):
            words.append(("eol", "nop")[kind])
            at += 1
            if kind == 0:
                return ",".join(words)
            continue
        length = data[at + 1] if at + 1 < len(data) else 0
        if length < 2 or at + length > len(data):
            break
        value = data[at + 2 : at + length]
        if kind == 2 and length == 4:
            words.append(f"mss {u16(value, 0)}")
        elif kind == 3 and length == 3:
            words.append(f"wscale {value[0]}")
        elif kind == 4 and length == 2:
            words.append("sackOK")
        elif kind == 5 and length > 2 and (length - 2) % 8 == 0:
            blocks = "".join(f"{{{u32(value, i)}:{u32(value, i + 4)}}}" for i in range(0, len(value), 8))
            words.append(f"sack {len(value) // 8} {blocks}")
        elif kind == 8 and length == 10:
            words.append(f"TS val {u32(value, 0)} ecr {u32(value, 4)}")
        else:
            words.append(f"option-{kind}" + (f" {value.hex()}" if value else ""))
        at += length
    if at < size:
        words.append("[|tcp]" if len(data) < size else "bad option")
    return ",".join(words)


def udp(data: bytes, length: int, fragment: bool = False, name: str = "UDP") -> Payload:
    """A UDP or UDPlite datagram: ports and length of its payload, by its own header."""
    proto = name.lower()
    if len(data) < 4:
        return Payload(proto, f"[|{proto}]")
    sport, dport = u16(data, 0), u16(data, 2)
    if length < 8:
        return Payload(proto, f"truncated-{proto} {length}", sport, dport)
    if len(data) < 6:
        return Payload(proto, f"[|{proto}]", sport, dport)
    said = u16(data, 4) if name == "UDP" else length  # the field is the checksum coverage in UDPlite
    if said < 8:
        return Payload(proto, f"truncated-{proto}length {said}", sport, dport)
    payload = said - 8
    bad = f"bad length {payload} > {length - 8}" if said > length and not fragment else ""
    return Payload(proto, f"{name}, {bad or f'length {payload}'}", sport, dport, "", payload, bad)


_SCTP_CHUNKS = {
    0: "DATA", 1: "INIT", 2: "INIT ACK", 3: "SACK", 4: "HB REQ", 5: "HB ACK", 6: "ABORT", 7: "SHUTDOWN",
    8: "SHUTDOWN ACK", 9: "OP ERR", 10: "COOKIE ECHO", 11: "COOKIE ACK", 12: "ECNE", 13: "CWR",
    14: "SHUTDOWN COMPLETE", 15: "AUTH", 0x81: "RE-CONFIG ACK", 0x82: "RE-CONFIG", 0xC0: "FORWARD TSN",
    0xC1: "ASCONF",
}  # fmt: skip
"""print-sctp.c, ChunkId."""


def sctp(data: bytes, length: int) -> Payload:
    """An SCTP packet: ports and the names of its first chunks."""
    if len(data) < 12:
        ports = (u16(data, 0), u16(data, 2)) if len(data) >= 4 else (None, None)
        return Payload("sctp", "[|sctp]", *ports)
    chunks: list[str] = []
    at = 12
    while at + 4 <= len(data) and len(chunks) < 8:
        size = u16(data, at + 2)
        chunks.append(f"({len(chunks) + 1}) [{_SCTP_CHUNKS.get(data[at], f'chunk {data[at]}')}]")
        if size < 4:
            chunks.append("[bad chunk length]")
            break
        at += (size + 3) & ~3
    flags = chunks[0].partition("[")[2].rstrip("]") if chunks else ""
    info = " ".join(chunks)
    return Payload("sctp", f"sctp {info}".strip(), u16(data, 0), u16(data, 2), flags, length, info)
