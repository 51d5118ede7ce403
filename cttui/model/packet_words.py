"""A captured packet as a line, as columns and as a line of the aggregate."""

import time
from typing import NamedTuple

from cttui.model.packet import PacketRow
from cttui.model.packet_headers import Headers, line_of, read_headers


class PacketFields(NamedTuple):
    """One packet for a table. `length` is the wire length from the network header, `info` the rest of the line."""

    time: str
    interface: str
    direction: str
    source: str
    destination: str
    proto: str
    flags: str
    length: int
    info: str


def headers_of(row: PacketRow) -> Headers:
    """What the packet's bytes say."""
    return read_headers(row.ethertype, row.data, row.length)


def packet_fields(
    row: PacketRow, *, time_format: str = "absolute", previous_ns: int | None = None
) -> PacketFields:
    """The columns of one packet; see `time_words` for the times."""
    headers = headers_of(row)
    info = headers.info
    if row.vlan is not None:
        info = f"vlan {row.vlan} {info}".rstrip()
    return PacketFields(
        time_words(row.time_ns, time_format, previous_ns),
        _plain(row.interface),
        row.direction,
        endpoint(headers.source, headers.sport),
        endpoint(headers.destination, headers.dport),
        headers.proto,
        headers.flags,
        row.length,
        info,
    )


def packet_line(
    row: PacketRow, *, time_format: str = "absolute", previous_ns: int | None = None, where: bool = True
) -> str:
    """One line as a tcpdump reader expects it; `where` False leaves out interface and direction.

    For example `16:02:11.104321 tun0 in IP 198.51.100.2.10000 > 192.0.2.1.80: Flags [S], seq 0, …, length 0`.
    """
    parts = [time_words(row.time_ns, time_format, previous_ns)]
    if where:
        parts += [_plain(row.interface), row.direction]
    if row.vlan is not None:
        parts.append(f"vlan {row.vlan}")
    parts.append(line_of(headers_of(row)))
    return " ".join(part for part in parts if part)


def aggregate_line(ethertype: int, data: bytes, length: int) -> str:
    """What packets that differ in ports and numbers only have in common: `tcp 198.51.100.2 > 192.0.2.1 [S]`."""
    headers = read_headers(ethertype, data, length)
    if not headers.source:
        return headers.label
    flags = f" [{headers.flags}]" if headers.flags else ""
    return f"{headers.proto} {headers.source} > {headers.destination}{flags}"


def time_words(time_ns: int, time_format: str, previous_ns: int | None = None) -> str:
    """A packet's time: `absolute` local time of day, `delta` seconds since the packet before, `none`, `epoch`.

    Microseconds, as tcpdump prints them.
    """
    if time_format == "none":
        return ""
    seconds, rest = divmod(time_ns, 1_000_000_000)
    if time_format == "epoch":
        return f"{seconds}.{rest // 1000:06d}"
    if time_format == "delta":
        if previous_ns is None:
            return "0.000000"
        delta = time_ns - previous_ns
        sign = "-" if delta < 0 else ""
        return f"{sign}{abs(delta) // 1_000_000_000}.{abs(delta) % 1_000_000_000 // 1000:06d}"
    try:
        clock = time.localtime(seconds)
    except (OverflowError, OSError, ValueError):  # a file may say any time
        return f"{seconds}.{rest // 1000:06d}"
    return f"{clock.tm_hour:02d}:{clock.tm_min:02d}:{clock.tm_sec:02d}.{rest // 1000:06d}"


def endpoint(address: str, port: int | None) -> str:
    """`192.0.2.1:80`, `[2001:db8::1]:80`, or the address alone."""
    if port is None:
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _plain(name: str) -> str:
    """An interface name: the kernel allows control characters in it."""
    return "".join(char if char.isprintable() else "?" for char in name)
