"""One conntrack entry, and the names and numbers of its attributes.

Numbers and names follow include/uapi/linux/netfilter/nf_conntrack_*.h and what `conntrack -L` prints.
"""

import msgspec

IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_DCCP, IPPROTO_GRE = 1, 6, 17, 33, 47
IPPROTO_ICMPV6, IPPROTO_SCTP, IPPROTO_UDPLITE = 58, 132, 136

PROTOCOLS: dict[int, str] = {
    1: "icmp", 6: "tcp", 17: "udp", 33: "dccp", 47: "gre", 58: "icmpv6", 132: "sctp", 136: "udplite",
}  # fmt: skip
"""Names as `conntrack` prints them; others are shown as `unknown` with their number."""

TCP_STATES = (
    "NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE",
    "SYN_SENT2",
)  # fmt: skip
"""enum tcp_conntrack, nf_conntrack_tcp.h."""
TCP_DATA_UNACKNOWLEDGED = 0x10
TCP_FLAGS: dict[int, str] = {
    0x01: "window scale", 0x02: "SACK", 0x04: "closing", 0x08: "be liberal", TCP_DATA_UNACKNOWLEDGED: "data not acknowledged",
    0x20: "largest ack known", 0x40: "challenge ack", 0x80: "simultaneous open",
}  # fmt: skip
"""IP_CT_TCP_FLAG_*, nf_conntrack_tcp.h: bits of `tcp_flags_*`."""
SCTP_STATES = (
    "NONE", "CLOSED", "COOKIE_WAIT", "COOKIE_ECHOED", "ESTABLISHED", "SHUTDOWN_SENT", "SHUTDOWN_RECD",
    "SHUTDOWN_ACK_SENT", "HEARTBEAT_SENT",
)  # fmt: skip
"""enum sctp_conntrack, nf_conntrack_sctp.h."""

# enum ip_conntrack_status, nf_conntrack_common.h
EXPECTED, SEEN_REPLY, ASSURED, CONFIRMED = 1 << 0, 1 << 1, 1 << 2, 1 << 3
SRC_NAT, DST_NAT, SEQ_ADJUST = 1 << 4, 1 << 5, 1 << 6
SRC_NAT_DONE, DST_NAT_DONE, DYING, FIXED_TIMEOUT = 1 << 7, 1 << 8, 1 << 9, 1 << 10
TEMPLATE, UNTRACKED, HELPER, OFFLOAD, HW_OFFLOAD = 1 << 11, 1 << 12, 1 << 13, 1 << 14, 1 << 15
STATUS_BITS: dict[int, str] = {
    EXPECTED: "EXPECTED", SEEN_REPLY: "SEEN_REPLY", ASSURED: "ASSURED", CONFIRMED: "CONFIRMED",
    SRC_NAT: "SRC_NAT", DST_NAT: "DST_NAT", SEQ_ADJUST: "SEQ_ADJUST", SRC_NAT_DONE: "SRC_NAT_DONE",
    DST_NAT_DONE: "DST_NAT_DONE", DYING: "DYING", FIXED_TIMEOUT: "FIXED_TIMEOUT", TEMPLATE: "TEMPLATE",
    UNTRACKED: "UNTRACKED", HELPER: "HELPER", OFFLOAD: "OFFLOAD", HW_OFFLOAD: "HW_OFFLOAD",
}  # fmt: skip

FILLER_ZONE = 65535
FILLER_MARK = 0xC77
"""Entries that only occupy slots of a sandbox: a zone no packet of ours matches, and a mark to dump by."""

AF_INET, AF_INET6 = 2, 10


class Flow(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """One conntrack entry as read from ctnetlink.

    Addresses are packed network-order bytes (4 for IPv4, 16 for IPv6). For ICMP and ICMPv6 `*_sport` is
    the echo id and `*_dport` is `type << 8 | code`; for GRE they are the call ids (`srckey`, `dstkey`);
    for protocols without ports 0. Counters are None where `nf_conntrack_acct` was off when the flow was
    born; `start_ns`/`stop_ns` (since the epoch) are None without `nf_conntrack_timestamp`.
    """

    id: int
    family: int
    proto: int
    orig_src: bytes
    orig_dst: bytes
    orig_sport: int
    orig_dport: int
    reply_src: bytes
    reply_dst: bytes
    reply_sport: int
    reply_dport: int
    status: int
    timeout_s: int
    state: int | None = None
    """TCP or SCTP state number (see TCP_STATES, SCTP_STATES), None for other protocols."""
    mark: int = 0
    zone: int = 0
    zone_dir: int = 0
    """Which direction the zone applies to: 0 both, 1 original, 2 reply (NF_CT_ZONE_DIR_*)."""
    use: int = 1
    orig_packets: int | None = None
    orig_bytes: int | None = None
    reply_packets: int | None = None
    reply_bytes: int | None = None
    start_ns: int | None = None
    stop_ns: int | None = None
    helper: str = ""
    labels: bytes = b""
    secctx: str = ""
    tcp_wscale_orig: int | None = None
    tcp_wscale_reply: int | None = None
    tcp_flags_orig: int | None = None
    tcp_flags_reply: int | None = None
    master: bytes = b""
    """Raw CTA_TUPLE_MASTER of an expected flow, empty otherwise."""
    key: int = 0
    """The store's key: unsigned 64 bits over (id, zone, original tuple); 0 outside a store."""
    rate_bps: float | None = None
    """Bits per second, both directions, since the last two readings; None without accounting."""
    rate_over_s: float = 0.0
    """The time over which `rate_bps` was measured."""
    born_s: float = 0.0
    """Seconds since the probe first saw this flow (not its age in the kernel, see `start_ns`)."""
    ended: bool = False
    """The flow has just ended and stays on screen for a moment."""


def state_name(proto: int, state: int | None) -> str:
    """The state as `conntrack` prints it, "" where the protocol has none."""
    if state is None:
        return ""
    names = TCP_STATES if proto == IPPROTO_TCP else SCTP_STATES if proto == IPPROTO_SCTP else ()
    return names[state] if 0 <= state < len(names) else f"state-{state}"
