"""Flows in words: the lines of `conntrack`, JSON, and sentences for people.

Byte for byte what conntrack-tools 1.4.7 prints (libnetfilter_conntrack, src/conntrack/snprintf_default.c).
"""

import socket
import struct
import time
from typing import Any

from cttui.model.flow import (
    AF_INET,
    ASSURED,
    DST_NAT,
    DYING,
    EXPECTED,
    FIXED_TIMEOUT,
    HW_OFFLOAD,
    IPPROTO_DCCP,
    IPPROTO_GRE,
    IPPROTO_ICMP,
    IPPROTO_ICMPV6,
    IPPROTO_SCTP,
    IPPROTO_TCP,
    IPPROTO_UDP,
    IPPROTO_UDPLITE,
    OFFLOAD,
    PROTOCOLS,
    SCTP_STATES,
    SEEN_REPLY,
    SEQ_ADJUST,
    SRC_NAT,
    STATUS_BITS,
    TCP_DATA_UNACKNOWLEDGED,
    TCP_STATES,
    TEMPLATE,
    UNTRACKED,
    Flow,
    state_name,
)
from cttui.model.safe import clean

_PORTS = (IPPROTO_TCP, IPPROTO_UDP, IPPROTO_DCCP, IPPROTO_SCTP, IPPROTO_UDPLITE)
_ICMP = (IPPROTO_ICMP, IPPROTO_ICMPV6)

# -------------------------------------------------------------------- small words


def address(packed: bytes) -> str:
    """`192.0.2.1` or `2001:db8::1`; "" for no address."""
    if len(packed) == 4:
        return socket.inet_ntop(socket.AF_INET, packed)
    return socket.inet_ntop(socket.AF_INET6, packed) if len(packed) == 16 else ""


def endpoint(packed: bytes, port: int, proto: int) -> str:
    """Address and port, `[…]:80` for IPv6; the address alone where the protocol has no ports."""
    text = address(packed)
    if proto not in _PORTS:
        return text
    return f"[{text}]:{port}" if len(packed) == 16 else f"{text}:{port}"


def protocol(number: int) -> str:
    """Name as conntrack prints it; the number where it has none."""
    return PROTOCOLS.get(number, str(number))


def duration(seconds: float) -> str:
    """`119s`, `5m07s`, `2h03m`, `4d23h`: two units at most."""
    s = max(0, int(seconds))
    if s < 120:
        return f"{s}s"
    if s < 3600:
        return f"{s // 60}m{s % 60:02}s"
    if s < 86400:
        return f"{s // 3600}h{s % 3600 // 60:02}m"
    return f"{s // 86400}d{s % 86400 // 3600:02}h"


def count(n: int) -> str:
    """`262,144`."""
    return f"{n:,}"


def counted(n: int, one: str, many: str = "") -> str:
    """`1 packet`, `2,000 packets`; `many` where the plural is not `one` with an s."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def are(n: int) -> str:
    """The verb to go with a number."""
    return "is" if n == 1 else "are"


def times(n: int) -> str:
    """`once`, `2,000 times`."""
    return "once" if n == 1 else f"{n:,} times"


def si(n: float) -> str:
    """At most three digits and a decimal unit: `999`, `1.2k`, `12.3M`, `123G`."""
    if abs(n) < 999.5:
        return f"{n:.0f}"
    for unit in "kMGTPE":
        n /= 1000
        if abs(n) < 999.5 or unit == "E":
            return f"{n:.1f}{unit}" if abs(n) < 99.95 else f"{n:.0f}{unit}"
    return ""


def flags_words(flow: Flow) -> str:
    """What the status bits say beyond the ordinary, as words of the filter language."""
    status = flow.status
    out = [
        "unreplied" if not status & SEEN_REPLY else "assured" if status & ASSURED else "replied",
    ]
    for bit, word in (
        (SRC_NAT, "snat"), (DST_NAT, "dnat"), (EXPECTED, "expected"), (HW_OFFLOAD, "hw-offload"),
        (OFFLOAD, "offload"), (SEQ_ADJUST, "seq-adjust"), (FIXED_TIMEOUT, "fixed-timeout"), (DYING, "dying"),
        (TEMPLATE, "template"), (UNTRACKED, "untracked"),
    ):  # fmt: skip
        if status & bit and not (bit == OFFLOAD and status & HW_OFFLOAD):
            out.append(word)
    return " ".join(out)


# -------------------------------------------------------------------- conntrack's lines


def _tuple_line(proto: int, src: bytes, dst: bytes, sport: int, dport: int) -> str:
    text = f"src={address(src)} dst={address(dst)} "
    if proto in _PORTS:
        return f"{text}sport={sport} dport={dport} "
    if proto == IPPROTO_GRE:
        return f"{text}srckey=0x{sport:x} dstkey=0x{dport:x} "
    if proto in _ICMP:
        return f"{text}type={dport >> 8} code={dport & 0xFF} id={sport} "
    return text


def _state_word(flow: Flow) -> str:
    if flow.state is None:
        return ""
    names = TCP_STATES if flow.proto == IPPROTO_TCP else SCTP_STATES if flow.proto == IPPROTO_SCTP else ()
    return (names[flow.state] if flow.state < len(names) else "NONE") if names else ""


def conntrack_line(
    flow: Flow, *, extended: bool = True, with_id: bool = True, now_s: float | None = None, event: str = ""
) -> str:
    """The line of `conntrack -L -o extended,id`, without its newline.

    `event` new, update or destroy: what `conntrack -E` prints after the kind, without what events don't carry.
    `now_s` is the time since the epoch from which `delta-time` is counted (default: now), present where
    `nf_conntrack_timestamp` was on. Flows in a flowtable have neither timeout nor state
    (ctnetlink_fill_info). Labels are left out, as conntrack does without `-o labels`.
    """
    counted = flow.orig_packets is not None and flow.orig_bytes is not None
    counted_reply = flow.reply_packets is not None and flow.reply_bytes is not None
    out = []
    if extended:
        out.append("ipv4     2 " if flow.family == AF_INET else "ipv6     10 ")
    out.append(f"{PROTOCOLS.get(flow.proto, 'unknown'):<8} {flow.proto} ")
    if not flow.status & OFFLOAD:
        if event != "destroy" or flow.timeout_s:
            out.append(f"{flow.timeout_s} ")
        state = _state_word(flow)
        if state:
            out.append(f"{state} ")
    out.append(_tuple_line(flow.proto, flow.orig_src, flow.orig_dst, flow.orig_sport, flow.orig_dport))
    if flow.zone and flow.zone_dir == 1:
        out.append(f"zone-orig={flow.zone} ")
    if counted:
        out.append(f"packets={flow.orig_packets} bytes={flow.orig_bytes} ")
    if not flow.status & SEEN_REPLY:
        out.append("[UNREPLIED] ")
    out.append(_tuple_line(flow.proto, flow.reply_src, flow.reply_dst, flow.reply_sport, flow.reply_dport))
    if flow.zone and flow.zone_dir == 2:
        out.append(f"zone-reply={flow.zone} ")
    if counted_reply:
        out.append(f"packets={flow.reply_packets} bytes={flow.reply_bytes} ")
    if flow.status & HW_OFFLOAD:
        out.append("[HW_OFFLOAD] ")
    elif flow.status & OFFLOAD:
        out.append("[OFFLOAD] ")
    elif flow.status & ASSURED:
        out.append("[ASSURED] ")
    if flow.mark or not event:
        out.append(f"mark={flow.mark} ")
    if flow.secctx:
        out.append(f"secctx={clean(flow.secctx)} ")
    if flow.zone and flow.zone_dir == 0:
        out.append(f"zone={flow.zone} ")
    if flow.start_ns:
        out.append(f"delta-time={_delta_s(flow, now_s)} ")
    if flow.helper:
        out.append(f"helper={clean(flow.helper)} ")
    if not event:
        out.append(f"use={flow.use} ")
    if with_id:
        out.append(f"id={flow.id} ")
    return "".join(out)[:-1]


def _delta_s(flow: Flow, now_s: float | None) -> int:
    """Whole seconds as the library counts them: both ends cut first."""
    stop = flow.stop_ns // 10**9 if flow.stop_ns else int(time.time() if now_s is None else now_s)
    return stop - (flow.start_ns or 0) // 10**9


def conntrack_delete_command(flow: Flow) -> str:
    """A `conntrack -D` line that selects this flow: its original tuple and zone, which are unique.

    To conntrack 1.4.7 `-w 0` means every entry that no zone was given for both directions, those of other
    original zones too; `--orig-zone 0` alone means every `-w` zone as well.
    """
    words = [
        "conntrack",
        "-D",
        "-p",
        protocol(flow.proto),
        "-s",
        address(flow.orig_src),
        "-d",
        address(flow.orig_dst),
    ]
    if flow.proto == IPPROTO_DCCP and not flow.orig_sport and not flow.orig_dport:
        pass  # a kernel that knows DCCP by number only: it has no ports to compare
    elif flow.proto in _PORTS:
        words += ["--sport", str(flow.orig_sport), "--dport", str(flow.orig_dport)]
    elif flow.proto in _ICMP:
        name = "icmp" if flow.proto == IPPROTO_ICMP else "icmpv6"
        words += [f"--{name}-type", str(flow.orig_dport >> 8), f"--{name}-code", str(flow.orig_dport & 0xFF)]
        words += [f"--{name}-id", str(flow.orig_sport)]
    elif flow.proto == IPPROTO_GRE:
        words += ["--srckey", hex(flow.orig_sport), "--dstkey", hex(flow.orig_dport)]
    if flow.family != AF_INET:
        words[2:2] = ["-f", "ipv6"]
    if flow.zone:
        words += [{0: "-w", 1: "--orig-zone", 2: "--reply-zone"}[flow.zone_dir], str(flow.zone)]
    else:
        words += ["-w", "0", "--orig-zone", "0"]
    return " ".join(words)


# -------------------------------------------------------------------- JSON


def _tuple_dict(proto: int, src: bytes, dst: bytes, sport: int, dport: int) -> dict[str, Any]:
    out: dict[str, Any] = {"src": address(src), "dst": address(dst)}
    if proto in _PORTS:
        out |= {"sport": sport, "dport": dport}
    elif proto == IPPROTO_GRE:
        out |= {"srckey": sport, "dstkey": dport}
    elif proto in _ICMP:
        out |= {"type": dport >> 8, "code": dport & 0xFF, "icmp-id": sport}
    return out


def flow_dict(flow: Flow, now_s: float | None = None) -> dict[str, Any]:
    """Every attribute under conntrack's own names, for JSON; None where it is not known.

    The original direction stands at the top, as the line begins with it; the other under `reply`. An ICMP
    echo id is `icmp-id`, as `id` is conntrack's own. `start` and `stop` are seconds since the epoch, `rate`
    bits/s, labels bit numbers. Text is cleaned.
    """
    return {
        "family": "ipv4" if flow.family == AF_INET else "ipv6",
        "proto": PROTOCOLS.get(flow.proto, "unknown"),
        "protonum": flow.proto,
        "timeout": None if flow.status & OFFLOAD else flow.timeout_s,
        "state": state_name(flow.proto, flow.state) or None,
        **_tuple_dict(flow.proto, flow.orig_src, flow.orig_dst, flow.orig_sport, flow.orig_dport),
        "packets": flow.orig_packets,
        "bytes": flow.orig_bytes,
        "reply": {
            **_tuple_dict(flow.proto, flow.reply_src, flow.reply_dst, flow.reply_sport, flow.reply_dport),
            "packets": flow.reply_packets,
            "bytes": flow.reply_bytes,
        },
        "status": [name for bit, name in STATUS_BITS.items() if flow.status & bit],
        "unreplied": not flow.status & SEEN_REPLY,
        "assured": bool(flow.status & ASSURED),
        "mark": flow.mark,
        "secctx": clean(flow.secctx) or None,
        "zone": flow.zone,
        "zone-dir": ("both", "orig", "reply")[flow.zone_dir],
        "delta-time": _delta_s(flow, now_s) if flow.start_ns else None,
        "start": flow.start_ns / 1e9 if flow.start_ns else None,
        "stop": flow.stop_ns / 1e9 if flow.stop_ns else None,
        "helper": clean(flow.helper) or None,
        "labels": label_bits(flow.labels),
        "tcp": None
        if flow.tcp_wscale_orig is None and flow.tcp_flags_orig is None
        else {
            "wscale-orig": flow.tcp_wscale_orig,
            "wscale-reply": flow.tcp_wscale_reply,
            "flags-orig": flow.tcp_flags_orig,
            "flags-reply": flow.tcp_flags_reply,
        },
        "master": master_dict(flow.master),
        "rate": flow.rate_bps,
        "use": flow.use,
        "id": flow.id,
    }


def label_bits(labels: bytes) -> list[int]:
    """Numbers of the connection labels that are set (CTA_LABELS is a bitmap of native u32 words)."""
    value = int.from_bytes(labels, "little")
    return [bit for bit in range(len(labels) * 8) if value >> bit & 1]


def _attributes(data: bytes) -> dict[int, bytes]:
    """Netlink attributes by type; what does not fit is dropped."""
    out = {}
    at = 0
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        if length < 4 or at + length > len(data):
            break
        out[kind & 0x3FFF] = data[at + 4 : at + length]
        at += (length + 3) & ~3
    return out


def master_dict(master: bytes) -> dict[str, Any] | None:
    """The original tuple of the flow that expected this one (CTA_TUPLE_MASTER: CTA_TUPLE_IP, CTA_TUPLE_PROTO)."""
    outer = _attributes(master)
    addresses, proto = _attributes(outer.get(1, b"")), _attributes(outer.get(2, b""))
    src, dst = addresses.get(1) or addresses.get(3, b""), addresses.get(2) or addresses.get(4, b"")
    if not src or not proto.get(1):
        return None
    number = proto[1][0]
    sport, dport = (int.from_bytes(proto.get(kind, b""), "big") for kind in (2, 3))
    if number in _ICMP:
        first = 4 if number == IPPROTO_ICMP else 7
        echo, kind, code = (proto.get(first + n, b"") for n in range(3))
        sport, dport = int.from_bytes(echo, "big"), int.from_bytes(kind + code, "big")
    return {"proto": protocol(number), **_tuple_dict(number, src, dst, sport, dport)}


# -------------------------------------------------------------------- sentences


def nat_words(flow: Flow) -> list[str]:
    """NAT explained, a sentence for each kind; empty where nothing is translated."""
    out = []
    client = endpoint(flow.orig_src, flow.orig_sport, flow.proto)
    if flow.status & DST_NAT:
        dialled = endpoint(flow.orig_dst, flow.orig_dport, flow.proto)
        server = endpoint(flow.reply_src, flow.reply_sport, flow.proto)
        out.append(f"DNAT: client dialled {dialled}, answered by {server}")
    if flow.status & SRC_NAT:
        seen = endpoint(flow.reply_dst, flow.reply_dport, flow.proto)
        out.append(f"SNAT: client {client} is seen by the server as {seen}")
    return out


_TIMEOUTS: dict[int, str] = {
    IPPROTO_ICMP: "nf_conntrack_icmp_timeout",
    IPPROTO_ICMPV6: "nf_conntrack_icmpv6_timeout",
}


def timeout_sysctl(flow: Flow) -> str:
    """The setting under /proc/sys/net/netfilter that gave this flow its timeout; "" where there is none.

    From the protocol trackers (nf_conntrack_proto_*.c) and nf_conntrack_standalone.c: UDP's stream timeout goes
    with ASSURED, GRE's with a reply; UDPlite uses UDP's; SYN_SENT2 has none of its own. An established
    connection whose data nobody acknowledges has minutes instead of days, and so has one that was picked up in its
    middle and not answered yet (measured on 6.18).
    """
    if flow.status & OFFLOAD:
        return {IPPROTO_TCP: "nf_flowtable_tcp_timeout", IPPROTO_UDP: "nf_flowtable_udp_timeout"}.get(
            flow.proto, ""
        )
    if flow.proto in (IPPROTO_TCP, IPPROTO_SCTP):
        state = state_name(flow.proto, flow.state)
        if state in ("", "NONE", "SYN_SENT2") or state.startswith("state-"):
            return ""
        flags = (flow.tcp_flags_orig or 0) | (flow.tcp_flags_reply or 0)
        if flow.proto == IPPROTO_TCP and state == "ESTABLISHED":
            if not flow.status & SEEN_REPLY:
                return "nf_conntrack_tcp_timeout_max_retrans"
            if flags & TCP_DATA_UNACKNOWLEDGED:
                return "nf_conntrack_tcp_timeout_unacknowledged"
        return f"nf_conntrack_{protocol(flow.proto)}_timeout_{state.lower()}"
    if flow.proto in (IPPROTO_UDP, IPPROTO_UDPLITE):
        return "nf_conntrack_udp_timeout_stream" if flow.status & ASSURED else "nf_conntrack_udp_timeout"
    if flow.proto == IPPROTO_GRE:
        return "nf_conntrack_gre_timeout_stream" if flow.status & SEEN_REPLY else "nf_conntrack_gre_timeout"
    return _TIMEOUTS.get(flow.proto, "nf_conntrack_generic_timeout")
