"""Flows → ctnetlink requests.

The kernel takes a DELETE without a tuple for "flush the table" and answers 0
(ctnetlink_del_conntrack → ctnetlink_flush_conntrack). So there is one way to build a DELETE here, and it
takes a whole identity: original tuple, zone and id always go together. With a wrong id the kernel
answers ENOENT and deletes nothing.
"""

import socket
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cttui.flows.columns import Columns
from cttui.kernel.ctdecode import CT_DELETE, CT_GET, CT_NEW
from cttui.kernel.netlink import (
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REQUEST,
    attribute,
    message,
    nested,
)
from cttui.model.flow import (
    AF_INET,
    ASSURED,
    CONFIRMED,
    FIXED_TIMEOUT,
    IPPROTO_GRE,
    IPPROTO_ICMP,
    IPPROTO_ICMPV6,
    IPPROTO_SCTP,
    IPPROTO_TCP,
    IPPROTO_UDP,
    IPPROTO_UDPLITE,
    SEEN_REPLY,
    Flow,
)

TUPLE_ORIG, TUPLE_REPLY, STATUS, PROTOINFO, HELP, NAT_SRC, TIMEOUT, MARK = range(1, 9)
ID, NAT_DST, TUPLE_MASTER, ZONE, MARK_MASK, LABELS = 12, 13, 14, 18, 21, 22
"""CTA_* of nfnetlink_conntrack.h."""
ZONE_DIR_REPLY = 2

_WITH_PORTS = frozenset({IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE, IPPROTO_SCTP, IPPROTO_GRE})


def _u8(kind: int, value: int) -> bytes:
    return attribute(kind, bytes((value & 0xFF,)))


def be16(kind: int, value: int) -> bytes:
    """A big-endian u16 attribute."""
    return attribute(kind, value.to_bytes(2, "big"))


def be32(kind: int, value: int) -> bytes:
    """A big-endian u32 attribute."""
    return attribute(kind, value.to_bytes(4, "big"))


def tuple_parts(family: int, proto: int, src: bytes, dst: bytes, sport: int, dport: int) -> bytes:
    """The attributes inside CTA_TUPLE_ORIG, CTA_TUPLE_REPLY or CTA_TUPLE_MASTER."""
    first = 1 if family == AF_INET else 3
    ip = nested(1, attribute(first, src), attribute(first + 1, dst))
    number = _u8(1, proto)
    if proto in (IPPROTO_ICMP, IPPROTO_ICMPV6):
        first = 4 if proto == IPPROTO_ICMP else 7
        return ip + nested(2, number, be16(first, sport), _u8(first + 1, dport >> 8), _u8(first + 2, dport))
    if proto in _WITH_PORTS or sport or dport:
        return ip + nested(2, number, be16(2, sport), be16(3, dport))
    return ip + nested(2, number)


def original_tuple(flow: Flow) -> bytes:
    """A flow's original tuple as ctnetlink packs it: what CTA_TUPLE_MASTER and CTA_EXPECT_MASTER hold."""
    return tuple_parts(
        flow.family, flow.proto, flow.orig_src, flow.orig_dst, flow.orig_sport, flow.orig_dport
    )


class Identity(NamedTuple):
    """What names one conntrack entry beyond doubt."""

    family: int
    proto: int
    src: bytes
    dst: bytes
    sport: int
    dport: int
    zone: int
    zone_dir: int
    id: int

    def lookup(self) -> bytes:
        """Original tuple, zone and id: the attributes of a GET and of a DELETE.

        CTA_ZONE is the zone of the original direction (nf_ct_zone_id): 0 for a zone of replies only.
        """
        return (
            nested(TUPLE_ORIG, tuple_parts(*self[:6]))
            + be16(ZONE, 0 if self.zone_dir == ZONE_DIR_REPLY else self.zone)
            + be32(ID, self.id)
        )


def identity(flow: Flow) -> Identity:
    """The identity of a flow."""
    return Identity(
        flow.family, flow.proto, flow.orig_src, flow.orig_dst, flow.orig_sport, flow.orig_dport,
        flow.zone, flow.zone_dir, flow.id,
    )  # fmt: skip


_PLAIN = ("family", "proto", "orig_sport", "orig_dport", "zone", "zone_dir", "id")


def identities(columns: Columns, rows: NDArray[np.int64] | Sequence[int]) -> list[Identity]:
    """The identities of some rows of the store."""
    family, proto, sport, dport, zone, zone_dir, ids = (columns[name][rows].tolist() for name in _PLAIN)
    sources, targets = (
        np.stack([columns[f"{end}{word}"][rows] for word in range(4)], axis=1).astype(">u4").tobytes()
        for end in ("orig_src", "orig_dst")
    )
    found = []
    for n, kind in enumerate(family):
        size = 4 if kind == AF_INET else 16
        src, dst = sources[16 * n : 16 * n + size], targets[16 * n : 16 * n + size]
        found.append(Identity(kind, proto[n], src, dst, sport[n], dport[n], zone[n], zone_dir[n], ids[n]))
    return found


def get_message(entry: Identity, seq: int) -> bytes:
    """Ask for one entry: answered by the entry or by an error."""
    return message(CT_GET, NLM_F_REQUEST, entry.lookup(), family=entry.family, seq=seq)


def delete_message(entry: Identity, seq: int, *, ack: bool = True) -> bytes:
    """Delete exactly this entry."""
    flags = NLM_F_REQUEST | (NLM_F_ACK if ack else 0)
    return message(CT_DELETE, flags, entry.lookup(), family=entry.family, seq=seq)


def _nat(kind: int, family: int, address: bytes, port: int | None) -> bytes:
    lowest, highest = (1, 2) if family == AF_INET else (4, 5)
    parts = [attribute(lowest, address), attribute(highest, address)]
    if port is not None:
        parts.append(nested(3, be16(1, port), be16(2, port)))
    return nested(kind, *parts)


def create_message(
    flow: Flow,
    seq: int,
    *,
    ack: bool = True,
    nat_src: tuple[bytes, int | None] | None = None,
    nat_dst: tuple[bytes, int | None] | None = None,
) -> bytes:
    """Create an entry with the flow's tuples, timeout, status, state, mark, zone, helper and labels.

    `nat_src` and `nat_dst` (address, port) make the kernel set up NAT and replace the reply tuple.
    Of the status only SEEN_REPLY, ASSURED and FIXED_TIMEOUT are taken; without CONFIRMED: EBUSY.
    """
    zoned = {1: flow.zone_dir == 1, 2: flow.zone_dir == 2}
    ends = {
        1: (flow.orig_src, flow.orig_dst, flow.orig_sport, flow.orig_dport),
        2: (flow.reply_src, flow.reply_dst, flow.reply_sport, flow.reply_dport),
    }
    parts = [
        nested(
            direction,
            tuple_parts(flow.family, flow.proto, *ends[direction]),
            be16(3, flow.zone) if zoned[direction] else b"",
        )
        for direction in (TUPLE_ORIG, TUPLE_REPLY)
    ]
    parts.append(be32(STATUS, flow.status & (SEEN_REPLY | ASSURED | FIXED_TIMEOUT) | CONFIRMED))
    parts.append(be32(TIMEOUT, flow.timeout_s))
    if flow.state is not None and flow.proto == IPPROTO_TCP:
        parts.append(nested(PROTOINFO, nested(1, _u8(1, flow.state))))
    elif flow.state is not None and flow.proto == IPPROTO_SCTP:
        # The kernel asks for both verification tags with the state (nlattr_to_sctp); 0 is as good as any.
        parts.append(nested(PROTOINFO, nested(3, _u8(1, flow.state), be32(2, 0), be32(3, 0))))
    if flow.helper:
        parts.append(nested(HELP, attribute(1, flow.helper.encode() + b"\0")))
    for kind, to in ((NAT_SRC, nat_src), (NAT_DST, nat_dst)):
        if to is not None:
            parts.append(_nat(kind, flow.family, *to))
    if flow.mark:
        parts.append(be32(MARK, flow.mark))
    if flow.zone and not flow.zone_dir:
        parts.append(be16(ZONE, flow.zone))
    if flow.labels:
        parts.append(attribute(LABELS, flow.labels))
    if flow.master:
        parts.append(nested(TUPLE_MASTER, flow.master))
    flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL | (NLM_F_ACK if ack else 0)
    return message(CT_NEW, flags, b"".join(parts), family=flow.family, seq=seq)


def address(text: str) -> bytes:
    """Packed bytes of a printed address of either family."""
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)
