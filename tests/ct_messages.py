"""ctnetlink messages as the kernel writes them (ctnetlink_fill_info, ctnetlink_conntrack_event), for tests."""

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from cttui.kernel.ctencode import be16, be32, tuple_parts
from cttui.kernel.netlink import attribute, message, nested
from cttui.model.flow import Flow

NEW_FLAGS, DUMP_FLAGS = 0x600, 0x2


def _be64(kind: int, value: int) -> bytes:
    return attribute(kind, value.to_bytes(8, "big"))


def _counters(kind: int, packets: int | None, octets: int | None) -> bytes:
    if packets is None or octets is None:
        return b""
    return nested(kind, _be64(1, packets), _be64(2, octets))


def body(flow: Flow, leave_out: frozenset[str] = frozenset()) -> bytes:
    """The attributes of a flow in the kernel's order, but for the named ones."""
    zone = be16(3, flow.zone)
    parts = [
        nested(
            1,
            tuple_parts(
                flow.family, flow.proto, flow.orig_src, flow.orig_dst, flow.orig_sport, flow.orig_dport
            ),
            zone if flow.zone_dir == 1 else b"",
        ),
        nested(
            2,
            tuple_parts(
                flow.family, flow.proto, flow.reply_src, flow.reply_dst, flow.reply_sport, flow.reply_dport
            ),
            zone if flow.zone_dir == 2 else b"",
        ),
        be16(18, flow.zone) if flow.zone and not flow.zone_dir else b"",
    ]
    wanted: dict[str, bytes] = {
        "status": be32(3, flow.status),
        "timeout": be32(7, flow.timeout_s),
        "counters": _counters(9, flow.orig_packets, flow.orig_bytes)
        + _counters(10, flow.reply_packets, flow.reply_bytes),
        "timestamp": nested(
            20, _be64(1, flow.start_ns or 0), _be64(2, flow.stop_ns) if flow.stop_ns is not None else b""
        )
        if flow.start_ns is not None
        else b"",
        "protoinfo": _protoinfo(flow),
        "helper": nested(5, attribute(1, flow.helper.encode() + b"\0")) if flow.helper else b"",
        "mark": be32(8, flow.mark),
        "secctx": nested(19, attribute(1, flow.secctx.encode() + b"\0")) if flow.secctx else b"",
        "labels": attribute(22, flow.labels) if flow.labels else b"",
        "id": be32(12, flow.id),
        "use": be32(11, flow.use),
        "master": nested(14, flow.master) if flow.master else b"",
    }
    return b"".join(parts) + b"".join(data for name, data in wanted.items() if name not in leave_out)


def _protoinfo(flow: Flow) -> bytes:
    if flow.state is None:
        return b""
    state = attribute(1, bytes((flow.state,)))
    if flow.proto == 132:
        return nested(4, nested(3, state, be32(2, 7), be32(3, 9)))
    if flow.tcp_wscale_orig is None:
        return nested(4, nested(1, state))
    return nested(
        4,
        nested(
            1,
            state,
            attribute(2, bytes((flow.tcp_wscale_orig,))),
            attribute(3, bytes((flow.tcp_wscale_reply or 0,))),
            attribute(4, bytes((flow.tcp_flags_orig or 0, 0))),
            attribute(5, bytes((flow.tcp_flags_reply or 0, 0))),
        ),
    )


def dumped(flow: Flow) -> bytes:
    """A flow as a dump or a GET has it."""
    return message(0x100, DUMP_FLAGS, body(flow), family=flow.family)


_QUIET = frozenset({"counters", "timestamp", "use"})


def new_event(flow: Flow) -> bytes:
    """NEW: no counters, mark only if set."""
    return message(0x100, NEW_FLAGS, body(flow, _QUIET | _unmarked(flow)), family=flow.family)


def update_event(flow: Flow, *, protoinfo: bool = True) -> bytes:
    """UPDATE: the state only if it changed."""
    out = _QUIET | _unmarked(flow) | (frozenset() if protoinfo else frozenset({"protoinfo"}))
    return message(0x100, 0, body(flow, out), family=flow.family)


def destroy_event(flow: Flow) -> bytes:
    """DESTROY: counters and timestamps, neither status nor timeout."""
    out = _unmarked(flow) | {"status", "timeout", "helper", "secctx", "labels", "use", "master"}
    return message(0x102, 0, body(flow, frozenset(out)), family=flow.family)


def _unmarked(flow: Flow) -> frozenset[str]:
    return frozenset() if flow.mark else frozenset({"mark"})


def buffer_of(messages: list[bytes]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Messages one behind the other, and their offsets."""
    data, offsets = bytearray(), []
    for one in messages:
        offsets.append(len(data))
        data += one + bytes(-len(one) % 4)
    return np.frombuffer(bytes(data), np.uint8), np.array(offsets, np.int64)


def steady(line: str) -> str:
    """A line of conntrack without what moves between two readings: timeout, use count, delta-time."""
    words = line.split()
    seconds = 4 if words[0] in ("ipv4", "ipv6") else 2
    words = words[:seconds] + words[seconds + words[seconds].isdigit() :]
    return " ".join(word for word in words if not word.startswith(("use=", "delta-time=")))


u8, u16, u32 = st.integers(0, 254), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)
u64 = st.integers(0, (1 << 64) - 2)
_NAMES = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=15)


@st.composite
def flows(draw: st.DrawFn) -> Flow:
    """Any entry the kernel could report."""
    family = draw(st.sampled_from([2, 10]))
    proto = draw(st.sampled_from([1, 6, 17, 33, 47, 58, 89, 132, 136, 255]))
    address = st.binary(min_size=4 if family == 2 else 16, max_size=4 if family == 2 else 16)
    portless = proto in (89, 255, 33)
    port = st.just(0) if portless else u16
    accounted, stamped = draw(st.booleans()), draw(st.booleans())
    state = draw(st.none() | st.integers(0, 9)) if proto in (6, 132) else None
    scaled = proto == 6 and state is not None and draw(st.booleans())
    zone_dir = draw(st.sampled_from([0, 0, 1, 2]))
    zone = draw(st.integers(1, 0xFFFF) if zone_dir else st.just(0) | u16)
    return Flow(
        id=draw(u32), family=family, proto=proto,
        orig_src=draw(address), orig_dst=draw(address), orig_sport=draw(port), orig_dport=draw(port),
        reply_src=draw(address), reply_dst=draw(address), reply_sport=draw(port), reply_dport=draw(port),
        status=draw(u32), timeout_s=draw(u32), state=state, mark=draw(st.just(0) | u32), zone=zone,
        zone_dir=zone_dir, use=draw(u32),
        orig_packets=draw(u64) if accounted else None, orig_bytes=draw(u64) if accounted else None,
        reply_packets=draw(u64) if accounted else None, reply_bytes=draw(u64) if accounted else None,
        start_ns=draw(st.integers(1, 1 << 63)) if stamped else None,
        stop_ns=draw(st.none() | st.integers(1, 1 << 63)) if stamped else None,
        helper=draw(st.just("") | _NAMES), labels=draw(st.just(b"") | st.binary(min_size=16, max_size=16)),
        secctx=draw(st.just("") | _NAMES),
        tcp_wscale_orig=draw(u8) if scaled else None, tcp_wscale_reply=draw(u8) if scaled else None,
        tcp_flags_orig=draw(u8) if scaled else None, tcp_flags_reply=draw(u8) if scaled else None,
        master=draw(st.just(b"") | st.just(tuple_parts(2, 6, b"abcd", b"efgh", 1, 21))),
    )  # fmt: skip
