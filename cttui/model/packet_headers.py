"""What the first bytes of a packet say, in tcpdump's words (`tcpdump -nS`).

Everything returned is made of numbers and words of this module: no byte of a packet reaches the text.
Whatever the bytes are, nothing is raised; what is cut short ends in `[|tcp]` and the like, as in tcpdump.
"""

import ipaddress
from typing import NamedTuple

from cttui.model import icmp_words
from cttui.model.transport_headers import Payload, sctp, tcp, u16, u32, udp


class Headers(NamedTuple):
    """One packet. `label` is IP, IP6, ARP, …; ports are None where the protocol has none or they are cut off.

    `text` is what tcpdump prints behind the addresses; `info` the same without flags and length. `length` is
    the one tcpdump prints (payload of TCP and UDP, message of ICMP), None where it prints none.
    """

    label: str
    source: str = ""
    destination: str = ""
    sport: int | None = None
    dport: int | None = None
    proto: str = ""
    flags: str = ""
    length: int | None = None
    text: str = ""
    info: str = ""


ETH_IPV4, ETH_ARP, ETH_IPV6, ETH_VLAN, ETH_QINQ = 0x0800, 0x0806, 0x86DD, 0x8100, 0x88A8
_MAX_DEPTH = 3
"""Packets within packets that are followed (GRE, IP in IP, ICMP errors)."""


def address4(data: bytes) -> str:
    """Dotted quad of four bytes."""
    return ".".join(map(str, data))


def address6(data: bytes) -> str:
    """IPv6 address as inet_ntop prints it (v4-mapped ones in dots)."""
    address = ipaddress.IPv6Address(data)
    mapped = address.ipv4_mapped
    return f"::ffff:{mapped}" if mapped is not None else str(address)


def read_headers(ethertype: int, data: bytes, length: int, depth: int = 0) -> Headers:
    """The headers of a packet that begins at its network header; `length` is its length on the wire."""
    if ethertype == ETH_IPV4:
        return _ipv4(data, length, depth)
    if ethertype == ETH_IPV6:
        return _ipv6(data, length, depth)
    if ethertype == ETH_ARP:
        return _arp(data, length)
    if ethertype in (ETH_VLAN, ETH_QINQ) and len(data) >= 4 and depth < _MAX_DEPTH:
        inner = read_headers(u16(data, 2), data[4:], max(length - 4, 0), depth + 1)
        return inner._replace(label=f"vlan {u16(data, 0) & 0xFFF} {inner.label}")
    name = _ETHERTYPES.get(ethertype, f"ethertype {ethertype:#06x}")
    return Headers(name, proto=name.split()[-1].lower(), length=length, text=f"length {length}")


_ETHERTYPES = {
    0x0001: "802.3", 0x0004: "802.2", 0x8847: "MPLS", 0x8863: "PPPoE-D", 0x8864: "PPPoE", 0x888E: "EAPOL",
    0x88CC: "LLDP", 0x88F7: "PTP", 0x9000: "loopback",
}  # fmt: skip
"""Of packets that are not IP; below 0x0600 those of linux/if_ether.h for 802.3 frames."""


def _ipv4(data: bytes, length: int, depth: int) -> Headers:
    if len(data) < 20:
        return Headers("IP", proto="ip", text="[|ip]", info="[|ip]")
    version, size = data[0] >> 4, (data[0] & 15) * 4
    if version != 4:
        return Headers(
            "IP", proto="ip", text=f"version {version} (invalid)", info=f"version {version} (invalid)"
        )
    source, destination = address4(data[12:16]), address4(data[16:20])
    total = u16(data, 2) or length  # 0: to be segmented by the device, the length is that of the packet
    proto, fragment = data[9], u16(data, 6)
    if size < 20 or total < size:
        bad = f"bad-hlen {size}" if size < 20 else f"bad-len {total}"
        return Headers("IP", source, destination, proto=_protocol(proto), text=bad, info=bad)
    missing = f"truncated-ip - {total - length} bytes missing! " if total > length else ""
    if fragment & 0x1FFF:
        where = f"ip-proto-{proto} (fragment at {(fragment & 0x1FFF) * 8})"
        return Headers(
            "IP",
            source,
            destination,
            proto=_protocol(proto),
            length=total - size,
            text=missing + where,
            info=where,
        )
    payload = _transport(proto, data[size:total], total - size, depth, destination, bool(fragment & 0x2000))
    info = payload.info if payload.info is not None else payload.text
    if fragment & 0x2000:
        info = f"{info} (first fragment)".strip()
    return Headers(
        "IP", source, destination, payload.sport, payload.dport, payload.proto, payload.flags, payload.length,
        missing + payload.text, missing + info,
    )  # fmt: skip


_EXTENSIONS = {0: "HBH", 43: "srcrt", 60: "DSTOPT", 135: "mobility", 51: "AH", 44: "frag"}


def _ipv6(data: bytes, length: int, depth: int) -> Headers:
    if len(data) < 40:
        return Headers("IP6", proto="ip6", text="[|ip6]", info="[|ip6]")
    if data[0] >> 4 != 6:
        wrong = f"version {data[0] >> 4} (invalid)"
        return Headers("IP6", proto="ip6", text=wrong, info=wrong)
    source, destination = address6(data[8:24]), address6(data[24:40])
    total = u16(data, 4) + 40 if u16(data, 4) else length
    missing = f"truncated-ip6 - {total - length} bytes missing! " if total > length else ""
    words: list[str] = []
    following, at = data[6], 40
    while following in _EXTENSIONS and len(words) < 8:
        if len(data) < at + 8:
            return Headers(
                "IP6", source, destination, proto=_protocol(following),
                text=f"{missing}[|{_EXTENSIONS[following].lower()}]", info=f"[|{_EXTENSIONS[following].lower()}]",
            )  # fmt: skip
        word, extension = _EXTENSIONS[following], following
        following = data[at]
        if extension == 44:
            offset = u16(data, at + 2) & 0xFFF8
            at += 8
            words.append(f"frag ({offset}|{max(total - at, 0)})")
            if offset:
                text = " ".join(words)
                return Headers(
                    "IP6", source, destination, proto=_protocol(following), length=max(total - at, 0),
                    text=missing + text, info=text,
                )  # fmt: skip
        else:
            at += (data[at + 1] + 2) * 4 if extension == 51 else (data[at + 1] + 1) * 8
            words.append(word)
    before = " ".join(words) + " " if words else ""
    payload = _transport(following, data[at:total], max(total - at, 0), depth, destination, "frag" in before)
    info = payload.info if payload.info is not None else payload.text
    return Headers(
        "IP6", source, destination, payload.sport, payload.dport, payload.proto, payload.flags, payload.length,
        missing + before + payload.text, missing + before + info,
    )  # fmt: skip


def _arp(data: bytes, length: int) -> Headers:
    if len(data) < 8:
        return Headers("ARP", proto="arp", length=length, text="[|arp]", info="[|arp]")
    hardware, protocol, operation = data[4], data[5], u16(data, 6)
    name = {1: "Request", 2: "Reply"}.get(operation, f"operation {operation}")
    if hardware != 6 or protocol != 4 or u16(data, 2) != ETH_IPV4 or len(data) < 28:
        info = (
            name
            if len(data) < 28
            else f"{name}, hardware address {hardware} bytes, protocol address {protocol} bytes"
        )
        return Headers("ARP", proto="arp", length=length, text=f"{info}, length {length}", info=info)
    sender, target = address4(data[14:18]), address4(data[24:28])
    mac = data[8:14].hex(":")
    if operation == 1:
        asked = f" ({data[18:24].hex(':')})" if any(data[18:24]) else ""
        info = f"Request who-has {target}{asked} tell {sender}"
    else:
        info = f"Reply {sender} is-at {mac}" if operation == 2 else f"{name} {sender} ({mac}) > {target}"
    return Headers(
        "ARP", sender, target, proto="arp", length=length, text=f"{info}, length {length}", info=info
    )


def _gre(data: bytes, length: int, depth: int) -> Payload:
    if len(data) < 4:
        return Payload("gre", "[|gre]")
    bits, kind = u16(data, 0), u16(data, 2)
    version = bits & 7
    if version > 1:
        return Payload("gre", f"GREv{version} (unknown version), length {length}", length=length)
    parts, at = [f"GREv{version}"], 4
    if version == 1:
        if len(data) >= 8:
            parts.append(f"call {u16(data, 6)}")
        at = 8
        for bit, word in ((0x1000, "seq"), (0x0080, "ack")):
            if bits & bit:
                if len(data) >= at + 4:
                    parts.append(f"{word} {u32(data, at)}")
                at += 4
        return Payload("gre", ", ".join([*parts, f"length {length}"]), length=length, info=", ".join(parts))
    if bits & 0x8000 or bits & 0x4000:
        at += 4
    if bits & 0x2000:
        if len(data) >= at + 4:
            parts.append(f"key={u32(data, at):#x}")
        at += 4
    if bits & 0x1000:
        if len(data) >= at + 4:
            parts.append(f"seq {u32(data, at)}")
        at += 4
    inner = _inner(kind, data[at:], max(length - at, 0), depth, f"gre-proto-{kind:#x}")
    return Payload(
        "gre",
        f"{', '.join([*parts, f'length {length}'])}: {inner}",
        length=length,
        info=f"{', '.join(parts)}: {inner}",
    )


def _inner(ethertype: int, data: bytes, length: int, depth: int, otherwise: str) -> str:
    """A packet within a packet as a line, `otherwise` where it is none of ours or too deep."""
    if ethertype not in (ETH_IPV4, ETH_IPV6) or depth >= _MAX_DEPTH:
        return otherwise
    return line_of(read_headers(ethertype, data, length, depth + 1))


def _transport(
    proto: int, data: bytes, length: int, depth: int, destination: str, fragment: bool = False
) -> Payload:
    """The payload of an IP packet: `length` bytes are announced, `data` are those captured."""
    if proto == 17:
        return udp(data, length, fragment)
    if proto in (6, 132):
        return (tcp if proto == 6 else sctp)(data, length)
    if proto in (1, 58):
        quoted = _quoted(proto, data, length, depth)
        words = icmp_words.icmp(data, quoted) if proto == 1 else icmp_words.icmpv6(data, quoted, destination)
        name, prefix = ("icmp", "ICMP ") if proto == 1 else ("icmpv6", "ICMP6, ")
        return Payload(name, f"{prefix}{words}, length {length}", length=length, info=words)
    if proto == 47:
        return _gre(data, length, depth)
    if proto in (4, 41):
        inner = _inner(
            ETH_IPV4 if proto == 4 else ETH_IPV6, data, length, depth, f"ip-proto-{proto} {length}"
        )
        return Payload("ipip" if proto == 4 else "sit", inner, length=length)
    if proto == 136:
        return udp(data, length, fragment, "UDPlite")
    if proto == 33 and len(data) >= 4:
        return Payload("dccp", f"DCCP, length {length}", u16(data, 0), u16(data, 2), "", length, "")
    if proto == 50 and len(data) >= 8:
        words = f"ESP(spi={u32(data, 0):#010x},seq={u32(data, 4):#x})"
        return Payload("esp", f"{words}, length {length}", length=length, info=words)
    if proto == 51 and len(data) >= 12 and depth < _MAX_DEPTH:
        size = (data[1] + 2) * 4
        inside = _transport(data[0], data[size:], max(length - size, 0), depth + 1, destination)
        words = f"AH(spi={u32(data, 4):#010x},seq={u32(data, 8):#x},icv=0x{data[12:size].hex()}): "
        info = inside.info if inside.info is not None else inside.text
        return inside._replace(text=words + inside.text, info=words + info)
    if proto == 2 and len(data) >= 8:
        words = f"igmp {icmp_words.igmp(data, length)}"
        return Payload("igmp", words, info=words.removeprefix("igmp "))
    if proto == 59:
        return Payload("none", "no next header", length=length)
    return Payload(_protocol(proto), f"ip-proto-{proto} {length}", length=length, info="")


def _quoted(proto: int, data: bytes, length: int, depth: int) -> Headers | None:
    """The packet that an ICMP error is about."""
    errors = icmp_words.ERRORS if proto == 1 else icmp_words.ERRORS6
    if len(data) < 9 or data[0] not in errors or depth >= _MAX_DEPTH:
        return None
    # The quoted packet is cut short by design: its own length says how long it was.
    kind = ETH_IPV4 if proto == 1 else ETH_IPV6
    return read_headers(kind, data[8:], 65535, depth + 1)


def _protocol(number: int) -> str:
    """Name of an IP protocol for a column."""
    return _NAMES.get(number, f"proto {number}")


_NAMES = {
    1: "icmp", 2: "igmp", 4: "ipip", 6: "tcp", 17: "udp", 33: "dccp", 41: "sit", 47: "gre", 50: "esp", 51: "ah",
    58: "icmpv6", 89: "ospf", 103: "pim", 112: "vrrp", 132: "sctp", 136: "udplite",
}  # fmt: skip


def line_of(headers: Headers) -> str:
    """The packet as tcpdump prints it, without its time."""
    if headers.label == "ARP" or not headers.source:
        return (
            f"{headers.label}, {headers.text}"
            if headers.label == "ARP"
            else f"{headers.label} {headers.text}"
        )
    source = headers.source if headers.sport is None else f"{headers.source}.{headers.sport}"
    destination = headers.destination if headers.dport is None else f"{headers.destination}.{headers.dport}"
    return f"{headers.label} {source} > {destination}: {headers.text}"
