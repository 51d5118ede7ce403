"""The columns a flow table can show: what each says of a flow, how wide, sorted by which key."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from cttui.model import flow as f
from cttui.model import words
from cttui.model.flow import Flow
from cttui.model.safe import clean


@dataclass(frozen=True, slots=True)
class Column:
    """One column. Widths in cells: `least` is still useful, `usual` what it begins with; it grows with its
    content up to `most` where there is room. `middle`: too long a text is cut in its middle, so that the
    end of an address and its port stay readable."""

    id: str
    label: str
    text: Callable[[Flow], str]
    sort: str = ""
    least: int = 4
    usual: int = 6
    most: int = 12
    right: bool = False
    middle: bool = False
    style: Callable[[Flow], str] | None = None
    help: str = ""


def state_style(flow: Flow) -> str:
    """Theme variable of the flow's state; protocols without states by what was seen of them."""
    if flow.proto == f.IPPROTO_TCP and flow.state is not None:
        return _TCP_STYLES[flow.state] if flow.state < len(_TCP_STYLES) else ""
    if flow.proto == f.IPPROTO_SCTP and flow.state is not None:
        return _SCTP_STYLES[flow.state] if flow.state < len(_SCTP_STYLES) else ""
    return "state-established" if flow.status & f.SEEN_REPLY else "state-opening"


_TCP_STYLES = (
    "state-closed", "state-opening", "state-opening", "state-established", "state-closing", "state-closing",
    "state-closing", "state-closing", "state-closed", "state-opening",
)  # fmt: skip
_SCTP_STYLES = (
    "state-closed", "state-closed", "state-opening", "state-opening", "state-established", "state-closing",
    "state-closing", "state-closing", "state-opening",
)  # fmt: skip


def _nat(flow: Flow) -> str:
    kinds = [name for bit, name in ((f.SRC_NAT, "SNAT"), (f.DST_NAT, "DNAT")) if flow.status & bit]
    return "+".join(kinds)


def _sum(one: int | None, two: int | None) -> str:
    return "–" if one is None and two is None else words.si((one or 0) + (two or 0))


def _rate(flow: Flow) -> str:
    return "–" if flow.rate_bps is None else words.si(flow.rate_bps) + "b/s"


def _timeout(flow: Flow) -> str:
    return "–" if flow.status & f.OFFLOAD else words.duration(flow.timeout_s)  # a flowtable's is not told


def _age(flow: Flow) -> str:
    if flow.start_ns is not None:
        return words.duration(max(0.0, time.time() - flow.start_ns / 1e9))
    # Without nf_conntrack_timestamp all we know is since when we have seen it.
    return "≥" + words.duration(flow.born_s)


def _orig_src(flow: Flow) -> str:
    return words.endpoint(flow.orig_src, flow.orig_sport, flow.proto)


def _orig_dst(flow: Flow) -> str:
    return words.endpoint(flow.orig_dst, flow.orig_dport, flow.proto) + _portless(flow)


def _reply_src(flow: Flow) -> str:
    return words.endpoint(flow.reply_src, flow.reply_sport, flow.proto)


def _reply_dst(flow: Flow) -> str:
    return words.endpoint(flow.reply_dst, flow.reply_dport, flow.proto)


def _portless(flow: Flow) -> str:
    """What tells flows of one pair of hosts apart where there are no ports."""
    if flow.proto in (f.IPPROTO_ICMP, f.IPPROTO_ICMPV6):
        kind = flow.orig_dport >> 8
        return (
            f" echo {flow.orig_sport}" if kind in (0, 8, 128, 129) else f" type {kind} id {flow.orig_sport}"
        )
    return f" key {flow.orig_dport:#x}" if flow.proto == f.IPPROTO_GRE else ""


_PORTS = "address, port (ICMP: type, id)"
COLUMNS: tuple[Column, ...] = (
    Column("proto", "PROTO", lambda w: f.PROTOCOLS.get(w.proto, str(w.proto)), "proto", 5, 5, 7, help="protocol; a number where conntrack has no name"),
    Column("state", "STATE", lambda w: f.state_name(w.proto, w.state), "state", 11, 11, 17, style=state_style, help="TCP or SCTP state"),
    Column("src", "SOURCE", _orig_src, "src", 15, 18, 47, middle=True, help=f"who began it: {_PORTS}"),
    Column("dst", "DESTINATION", _orig_dst, "dst", 15, 16, 47, middle=True, help=f"whom it addressed: {_PORTS}"),
    Column("timeout", "TIMEOUT", _timeout, "timeout", 7, 7, 8, right=True, help="until it ends unless a packet renews it"),
    Column("flags", "FLAGS", lambda w: words.flags_words(w), "flags", 9, 9, 24, help="unreplied, assured, NAT, offload, …"),
    Column("reply_src", "ANSWERED BY", _reply_src, "rsrc", 15, 18, 47, middle=True, help="who answers; differs from DESTINATION under DNAT"),
    Column("reply_dst", "ANSWERED TO", _reply_dst, "rdst", 15, 18, 47, middle=True, help="where answers go; differs from SOURCE under SNAT"),
    Column("nat", "NAT", _nat, "", 4, 4, 9, help="SNAT, DNAT"),
    Column("packets", "PACKETS", lambda w: _sum(w.orig_packets, w.reply_packets), "packets", 5, 7, 8, right=True, help="both directions; – : began with accounting off"),
    Column("bytes", "BYTES", lambda w: _sum(w.orig_bytes, w.reply_bytes), "bytes", 5, 6, 8, right=True, help="both directions; – : began with accounting off"),
    Column("rate", "RATE", _rate, "rate", 6, 8, 9, right=True, help="bits per second between the last two readings"),
    Column("age", "AGE", _age, "age", 5, 6, 8, right=True, help="since it began; ≥: first seen (no timestamps)"),
    Column("mark", "MARK", lambda w: f"{w.mark:#x}" if w.mark else "", "mark", 4, 5, 10, help="connection mark"),
    Column("zone", "ZONE", lambda w: str(w.zone) if w.zone else "", "zone", 4, 4, 5, right=True, help="conntrack zone"),
    Column("helper", "HELPER", lambda w: clean(w.helper), "helper", 4, 6, 16, help="conntrack helper, e.g. ftp"),
    Column("id", "ID", lambda w: str(w.id), "id", 6, 10, 10, right=True, help="the kernel's id, as in `conntrack -L -o id`"),
    Column("use", "USE", lambda w: str(w.use), "use", 3, 3, 5, right=True, help="references the kernel holds"),
    Column("labels", "LABELS", lambda w: ",".join(map(str, words.label_bits(w.labels))), "", 6, 8, 32, help="connection labels: bits, as label=3 selects them"),
    Column("secctx", "SECCTX", lambda w: clean(w.secctx), "", 6, 12, 48, help="security context"),
)  # fmt: skip
BY_ID: dict[str, Column] = {column.id: column for column in COLUMNS}

NARROW = ("proto", "state", "src", "dst", "timeout", "flags")
MEDIUM = ("proto", "state", "src", "dst", "reply_src", "timeout", "packets", "bytes", "flags")
WIDE = (
    "proto", "state", "src", "dst", "reply_src", "reply_dst", "timeout", "packets", "bytes", "rate", "mark", "zone",
    "age", "id", "flags",
)  # fmt: skip


SMALLEST, LARGEST = 3, 99
"""Cells of a column whose width a person sets."""


def sensible(room: int, grown: dict[str, int], fixed: dict[str, int]) -> list[str]:
    """Columns for `room` cells where the person has not chosen any: as many as leave the addresses whole."""
    for ids in (WIDE, MEDIUM):
        columns = [BY_ID[id] for id in ids]
        need = sum(fixed.get(c.id) or max(c.usual, grown.get(c.id, 0) if c.middle else 0) for c in columns)
        if need + len(columns) - 1 <= room:
            return list(ids)
    return list(NARROW)


def shares(columns: list[Column], grown: dict[str, int], fixed: dict[str, int], room: int) -> list[int]:
    """Widths of the columns in `room` cells, a space between any two.

    A column has the width it was given (`fixed`), the others what their content needs (`grown`), if they all
    fit. Otherwise the widest give way, addresses after others and given widths last: first what their content
    leaves over, then down to `least`.
    Columns at the end that have no room at all get 0.
    """
    widths = [fixed.get(c.id) or max(grown.get(c.id, 0), c.usual, len(c.label)) for c in columns]
    least = [min(max(c.least, 1), width) for c, width in zip(columns, widths, strict=True)]
    filled = [fixed.get(c.id) or max(grown.get(c.id, 0), len(c.label)) for c in columns]
    kept = len(columns)
    while kept > 1 and sum(least[:kept]) + kept - 1 > room:
        kept -= 1
    over = sum(widths[:kept]) + kept - 1 - room
    for low in (filled, least):
        while over > 0:
            at = max(
                range(kept),
                key=lambda i: (
                    widths[i] > low[i],
                    columns[i].id not in fixed,
                    not columns[i].middle,
                    widths[i],
                ),
            )
            if widths[at] <= low[at]:
                break
            widths[at] -= 1
            over -= 1
    return widths[:kept] + [0] * (len(columns) - kept)
