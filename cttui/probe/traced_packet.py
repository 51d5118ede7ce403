"""One traced packet: where its messages are, and what they quote of its bytes."""

from dataclasses import dataclass, field
from typing import NamedTuple

from cttui.kernel import trace as t
from cttui.kernel.trace_table import Place
from cttui.model.packet_headers import ETH_IPV4, ETH_IPV6, line_of, read_headers
from cttui.probe.journey_words import LastStep
from cttui.probe.packet_log import PacketTuple

_WITH_PORTS = frozenset((6, 17, 33, 132, 136))
"""TCP, UDP, DCCP, SCTP, UDP-Lite."""


class Step(NamedTuple):
    """A STEP record (kernel.trace) as Python numbers, in its order."""

    trace_id: int
    place: int
    jump: int
    kind: int
    has_ct: int
    ct_dir: int
    network: int
    transport: int
    nfproto: int
    verdict: int
    ct_id: int
    ct_status: int
    ct_state: int
    iif: int
    oif: int
    handle: int
    time_ns: int

    def quoted(self, head: bytes) -> bytes:
        """Network and transport header, of the row of `heads` that came with it."""
        return head[: self.network] + head[t.HEAD_NETWORK : t.HEAD_NETWORK + self.transport]


@dataclass(slots=True)
class TracedPacket:
    """Its headers as quoted, and its last message."""

    trace_id: int
    time_ns: int
    family: int
    head: bytes
    start: Place
    """The chain that marked it."""
    runs: list[tuple[int, int, int]] = field(default_factory=list)
    """(batch, first, one past the last)."""
    last: LastStep | None = None
    seen_ns: int = 0

    @property
    def line(self) -> str:
        """As tcpdump would print it."""
        six = self.family == 10
        return line_of(read_headers(ETH_IPV6 if six else ETH_IPV4, self.head, self._length))

    @property
    def _length(self) -> int:
        """Length of the packet by its own header."""
        head = self.head
        if self.family == 10:
            return int.from_bytes(head[4:6], "big") + 40 if len(head) >= 6 else len(head)
        return int.from_bytes(head[2:4], "big") if len(head) >= 4 else len(head)

    @property
    def tuple(self) -> PacketTuple:
        """As the flow store keys it."""
        head = self.head
        if self.family == 10 and len(head) >= 40:
            return _with_ports(10, head[6], head[8:24], head[24:40], head[40:])
        if self.family == 2 and len(head) >= 20:
            return _with_ports(2, head[9], head[12:16], head[16:20], head[(head[0] & 15) * 4 :])
        return (0, 0, b"", b"", 0, 0)


def _with_ports(family: int, proto: int, source: bytes, destination: bytes, rest: bytes) -> PacketTuple:
    """ICMP as conntrack has it: echo id, type << 8 | code."""
    first, second, third = (int.from_bytes(rest[i : i + 2], "big") for i in (0, 2, 4))
    if proto in (1, 58):
        return (family, proto, source, destination, third, first)
    if proto in _WITH_PORTS:
        return (family, proto, source, destination, first, second)
    return (family, proto, source, destination, 0, 0)
