"""Classic BPF for the capture ring: what to take, how much of it, and what to leave out.

Programs are arrays of struct sock_filter (linux/filter.h) for a SOCK_DGRAM packet socket: offset 0 is the
network header, which is what pcap calls DLT_RAW. `tcpdump -y RAW -ddd` compiles expressions; with `-i any`
it would use offsets of SLL2, wrong here. Programs that fall through can be put one before another, because
all jumps are relative and forward.
"""

import asyncio
import ipaddress
import shutil
import struct
from dataclasses import dataclass, field

from cttui.kernel.packet_columns import SNAP
from cttui.model.faults import FaultError

_LD_W, _LD_H, _LD_B, _LD_LEN = 0x20, 0x28, 0x30, 0x80
_LDX_MSH, _LD_H_IND = 0xB1, 0x48
_JEQ, _JGE, _JSET = 0x15, 0x35, 0x45
_AND, _RET_K = 0x54, 0x06
_AD_PKTTYPE, _AD_IFINDEX = 0xFFFFF004, 0xFFFFF008  # SKF_AD_OFF + …, linux/filter.h
_LOOPBACK_INDEX = 1  # lo is the first device of every namespace
_OUTGOING = 4
_TCP = 6
_MAX_INSTRUCTIONS = 4096  # BPF_MAXINSNS

Connection = tuple[str, int, str, int]
"""Client address and port, server address and port, as in SSH_CONNECTION."""


@dataclass
class _Assembler:
    """Instructions with named jump targets, resolved at the end; a target None is the next instruction."""

    code: list[tuple[int, str | None, str | None, int]] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)

    def op(self, code: int, k: int = 0) -> None:
        self.code.append((code, None, None, k))

    def jump(self, code: int, k: int, true: str | None = None, false: str | None = None) -> None:
        self.code.append((code, true, false, k))

    def label(self, name: str) -> None:
        self.labels[name] = len(self.code)

    def bytes(self) -> bytes:
        out = bytearray()
        for at, (code, true, false, k) in enumerate(self.code):
            jt, jf = (self.labels[x] - at - 1 if x else 0 for x in (true, false))
            out += struct.pack("=HBBI", code, jt, jf, k)
        return bytes(out)


def accept_all(snap: int = SNAP) -> bytes:
    """Take the first `snap` bytes of every packet."""
    return struct.pack("=HBBI", _RET_K, 0, 0, snap)


def build(program: bytes = b"", leave_out: Connection | None = None, snap: int = SNAP) -> bytes:
    """The whole program: once per packet on lo, without the connection left out, then `program` or everything."""
    head = _once_on_loopback() + (_without(leave_out) if leave_out else b"")
    return head + (snapped(program, snap) if program else accept_all(snap))


def snapped(program: bytes, snap: int = SNAP) -> bytes:
    """The program with every accepting return giving `snap`."""
    out = bytearray(program)
    for at in range(0, len(out), 8):
        code, jt, jf, k = struct.unpack_from("=HBBI", out, at)
        if code == _RET_K and k:
            struct.pack_into("=HBBI", out, at, code, jt, jf, snap)
    return bytes(out)


def _once_on_loopback() -> bytes:
    """lo shows each packet twice, going out and coming in: leave the first."""
    a = _Assembler()
    a.op(_LD_W, _AD_IFINDEX)
    a.jump(_JEQ, _LOOPBACK_INDEX, None, "end")
    a.op(_LD_W, _AD_PKTTYPE)
    a.jump(_JEQ, _OUTGOING, None, "end")
    a.op(_RET_K, 0)
    a.label("end")
    return a.bytes()


def _without(connection: Connection) -> bytes:
    """Reject both directions of one TCP connection; any other packet falls through.

    Every load is preceded by a length check: a load past the end would reject the packet.
    """
    client, client_port, server, server_port = connection
    ends = [_address(client), _address(server)]
    v6 = len(ends[0]) == 16
    if len(ends[0]) != len(ends[1]):
        return b""
    a = _Assembler()
    a.op(_LD_LEN)
    a.jump(_JGE, 44 if v6 else 24, None, "end")
    a.op(_LD_B, 0)
    a.op(_AND, 0xF0)
    a.jump(_JEQ, 0x60 if v6 else 0x40, None, "end")
    a.op(_LD_B, 6 if v6 else 9)
    a.jump(_JEQ, _TCP, None, "end")
    if not v6:
        a.op(_LD_H, 6)
        a.jump(_JSET, 0x1FFF, "end", None)  # a later fragment has no ports
    size, source, destination = (16, 8, 24) if v6 else (4, 12, 16)
    for name, (first, second), (sport, dport) in (
        ("back", (ends[0], ends[1]), (client_port, server_port)),
        ("end", (ends[1], ends[0]), (server_port, client_port)),
    ):
        for offset, address in ((source, first), (destination, second)):
            for word in range(0, size, 4):
                a.op(_LD_W, offset + word)
                a.jump(_JEQ, int.from_bytes(address[word : word + 4], "big"), None, name)
        if v6:
            a.op(_LD_H, 40)
        else:
            a.op(_LDX_MSH, 0)
            a.op(_LD_H_IND, 0)
        a.jump(_JEQ, sport, None, name)
        if v6:
            a.op(_LD_H, 42)
        else:
            a.op(_LD_H_IND, 2)
        a.jump(_JEQ, dport, None, name)
        a.op(_RET_K, 0)
        a.label(name)
    return a.bytes()


def _address(text: str) -> bytes:
    """Packed address; a v4-mapped one as IPv4, a scope (fe80::1%eth0) without its interface."""
    address = ipaddress.ip_address(text.split("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.packed


async def compile_pcap(expression: str) -> bytes:
    """Compile a pcap expression with tcpdump. FaultError where tcpdump is missing or refuses it."""
    tcpdump = shutil.which("tcpdump") or shutil.which("tcpdump", path="/usr/sbin:/sbin:/usr/bin")
    if tcpdump is None:
        raise FaultError(
            "no-tcpdump", "tcpdump, which compiles pcap expressions, is not installed.",
            "Install tcpdump, or use the filter words of the flow table.",
        )  # fmt: skip
    child = await asyncio.create_subprocess_exec(
        tcpdump, "-y", "RAW", "-ddd", "--", expression,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        out, err = await asyncio.wait_for(child.communicate(), 10)
    except TimeoutError:
        child.kill()
        raise FaultError("bad-filter", "tcpdump took too long to compile the expression.") from None
    if child.returncode != 0:
        lines = [line for line in err.decode(errors="replace").splitlines() if line.startswith("tcpdump:")]
        why = lines[-1].removeprefix("tcpdump: ") if lines else f"tcpdump ended with {child.returncode}"
        raise FaultError("bad-filter", f"tcpdump: {why}.", "man 7 pcap-filter describes the expressions.")
    return parse_ddd(out.decode())


def parse_ddd(text: str) -> bytes:
    """Output of `tcpdump -ddd` (a count, then `code jt jf k` a line) as a program. ValueError if it is not."""
    lines = text.split("\n")
    count = int(lines[0])
    if not 0 < count <= _MAX_INSTRUCTIONS:
        raise ValueError(f"{count} instructions")
    out = bytearray()
    for line in lines[1 : count + 1]:
        code, jt, jf, k = (int(word) for word in line.split())
        out += struct.pack("=HBBI", code, jt, jf, k)
    if len(out) != 8 * count:
        raise ValueError("fewer instructions than announced")
    return bytes(out)
