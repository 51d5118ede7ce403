"""What a burst is made of: the headers that may be named, their fields, and what differs from packet to packet."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address

_INET = (
    "IP TCP UDP ICMP IPOption IPOption_EOL IPOption_NOP IPOption_Security IPOption_RR IPOption_LSRR IPOption_SSRR"
    " IPOption_Stream_Id IPOption_MTU_Probe IPOption_MTU_Reply IPOption_Traceroute IPOption_Timestamp"
    " IPOption_Address_Extension IPOption_Router_Alert IPOption_SDBM IPerror TCPerror UDPerror ICMPerror"
)
_INET6 = (
    "IPv6 IPv6ExtHdrHopByHop IPv6ExtHdrDestOpt IPv6ExtHdrRouting IPv6ExtHdrSegmentRouting IPv6ExtHdrFragment"
    " IPerror6 Pad1 PadN RouterAlert Jumbo HBHOptUnknown"
    " ICMPv6Unknown ICMPv6DestUnreach ICMPv6PacketTooBig ICMPv6TimeExceeded ICMPv6ParamProblem ICMPv6EchoRequest"
    " ICMPv6EchoReply ICMPv6MLQuery ICMPv6MLReport ICMPv6MLDone ICMPv6MLReport2 ICMPv6MLDMultAddrRec ICMPv6ND_RS"
    " ICMPv6ND_RA ICMPv6ND_NS ICMPv6ND_NA ICMPv6ND_Redirect ICMPv6NDOptSrcLLAddr ICMPv6NDOptDstLLAddr"
    " ICMPv6NDOptPrefixInfo ICMPv6NDOptMTU"
)
_SCTP = (
    "SCTP SCTPChunkInit SCTPChunkInitAck SCTPChunkData SCTPChunkSACK SCTPChunkHeartbeatReq SCTPChunkHeartbeatAck"
    " SCTPChunkAbort SCTPChunkShutdown SCTPChunkShutdownAck SCTPChunkShutdownComplete SCTPChunkCookieEcho"
    " SCTPChunkCookieAck SCTPChunkError"
)
LAYERS: dict[str, str] = {
    **dict.fromkeys(_INET.split(), "scapy.layers.inet"),
    **dict.fromkeys(_INET6.split(), "scapy.layers.inet6"),
    **dict.fromkeys(_SCTP.split(), "scapy.layers.sctp"),
    **dict.fromkeys(("DNS", "DNSQR", "DNSRR", "DNSRROPT"), "scapy.layers.dns"),
    "GRE": "scapy.layers.l2", "Raw": "scapy.packet", "UDPLite": "cttui.lab.udplite",
}  # fmt: skip
"""Layer → module it comes from. What is not here does not exist for the parser."""


class ComposeError(ValueError):
    """What is wrong with a notation, and in which column (from 0) it stands."""

    def __init__(self, message: str, column: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.column = column


@dataclass(frozen=True, slots=True)
class Spread:
    """A field that differs from packet to packet, like messages.Patch but before it has a place.

    `kind` is `range`, `random` (both first..last) or `cycle` (values). `version` 4 or 6: the numbers are
    addresses; 0: plain numbers, or with `cycle` anything a field takes.
    """

    kind: str
    first: int = 0
    last: int = 0
    values: tuple[object, ...] = ()
    version: int = 0

    @property
    def size(self) -> int:
        """How many packets until it repeats; 1 for random."""
        if self.kind == "random":
            return 1
        return len(self.values) if self.kind == "cycle" else self.last - self.first + 1

    def start(self) -> object:
        """The first value, as a field takes it."""
        return self.values[0] if self.kind == "cycle" else self.present(self.first)

    def at(self, step: int) -> object:
        """The value at a step of a range or cycle, as a field takes it."""
        if self.kind == "cycle":
            return self.values[step % len(self.values)]
        return self.present(self.first + step % self.size)

    def present(self, number: int) -> object:
        """A number as a field takes it: an address as text."""
        if self.version:
            return str(ip_address(number.to_bytes(4 if self.version == 4 else 16, "big")))
        return number


@dataclass(slots=True)
class Layer:
    """One header (or a part of one, as a value): its fields, and the column of each for errors."""

    name: str
    column: int
    fields: dict[str, object] = field(default_factory=dict)
    columns: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Stack:
    """Headers from the outermost inwards; `fragment` is the payload size to cut it to, 0: whole."""

    layers: list[Layer]
    fragment: int = 0


def nearest(name: str, names: Iterable[str]) -> str:
    """ " Did you mean …?" where something is near, else ""."""
    names = list(names)
    lower = {n.lower(): n for n in names}
    if name.lower() in lower:
        return f" Did you mean {lower[name.lower()]}?"
    close = difflib.get_close_matches(name, names, 1, 0.6)
    return f" Did you mean {close[0]}?" if close else ""
