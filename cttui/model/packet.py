"""Packets as captured, and the journey of traced ones."""

import msgspec


class PacketRow(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """One captured packet: metadata of the ring, the first bytes, and what conntrack thinks of it.

    `data` starts at the network header. `time_ns` is since the epoch.
    """

    seq: int
    time_ns: int
    interface: str
    direction: str
    """`in`, `out`, `host`, `broadcast`, `multicast` or `other` (sll_pkttype)."""
    ethertype: int
    length: int
    """Bytes on the wire from the network header on; more than `len(data)` where the snap length cut it."""
    data: bytes
    vlan: int | None = None
    flow_key: int = 0
    """Key of the flow in the store whose tuple this is, 0 where there is none."""
    ct_state: str = ""
    """State of that flow for the log's last column ("SYN_SENT [UNREPLIED]"), "" where there is none."""
    fate: str = ""
    """Where the packet ended, when the probe knows it ("lost in conntrack: table full", "filter INPUT rule 1")."""


class PacketPage(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """A window of the log; `total` counts every captured packet, `kept` those still in the ring of the log."""

    capturing: bool = False
    total: int = 0
    kept: int = 0
    matched: int = 0
    dropped: int = 0
    """PACKET_STATISTICS tp_drops, summed: packets the ring had no room for."""
    rate_pps: float = 0.0
    rows: list[PacketRow] = []
    first: int = 0
    left_out: str = ""
    """A sentence where something is left out on purpose (the SSH connection we are watched through)."""
    top: list[tuple[str, int]] = []
    """Most frequent (line without ports, count) when there is more than can be read."""
    error: str = ""
    """Why the filter is none; the page then is unfiltered."""
    top_of: int = 0
    """How many packets `top` counts: the newest ones of the last second, at most 16,384."""
    left_s: float | None = None
    """Seconds and packets after which a capture with caps ends by itself."""
    left_packets: int | None = None


class JourneyStep(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """One thing a traced packet met: a chain, a rule, a policy, or its end."""

    time_ns: int
    family: str
    table: str
    chain: str
    kind: str
    """`rule`, `policy`, `return`, `stage` (conntrack or the end of the path, passed), or `vanished`."""
    verdict: str
    rule: str = ""
    hook: str = ""
    ct_state: str = ""


class Journey(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """The way of one traced packet. `end` is a sentence: delivered, dropped by which rule, vanished where."""

    trace_id: int
    line: str
    steps: list[JourneyStep]
    end: str
    ended_ok: bool
    cells: list[str] = []
    """One mark a stage of JourneysReading.stages: "passed", "dropped", "refused", "not reached", "vanished", "unknown"."""
    flow_id: int | None = None
    flow_key: int = 0
    data: bytes = b""


class JourneysReading(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """Journeys of an armed trace. `lost` counts ENOBUFS on the trace socket, `capped` packets not traced."""

    armed: bool = False
    why: str = ""
    stages: list[str] = []
    journeys: list[Journey] = []
    total: int = 0
    lost: int = 0
    capped: int = 0
    first: int = 0
    """Index of the first of `journeys` among all."""
    ends: list[tuple[str, int]] = []
    """End sentences of all traced packets and how many ended so, most first."""


MOST_LATE_NS = 2_000_000_000
"""Trace messages carry no time: theirs is that of their reading, this much after the packet's at most."""


def may_be_traced(captured_ns: int, traced_ns: int) -> bool:
    """Whether a packet captured at one time can be that of a trace message read at another, given equal headers."""
    return captured_ns <= traced_ns <= captured_ns + MOST_LATE_NS
