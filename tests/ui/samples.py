"""Readings for widget tests: what a probe would answer, small and in full."""

import socket
from typing import Any

from cttui.model import flow as f
from cttui.model.flow import Flow
from cttui.model.hooks import Chain, HooksReading, Loss, Rule, Stage
from cttui.model.packet import PacketPage, PacketRow
from cttui.model.pages import FlowPage, GroupPage, GroupRow
from cttui.model.table import Series, TableReading

NAN = float("nan")


def ip(text: str) -> bytes:
    """Packed address."""
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


def flow(
    i: int, *, src: str = "198.51.100.2", dst: str = "192.0.2.1", proto: int = f.IPPROTO_TCP, **kw: Any
) -> Flow:
    """A half-open TCP connection from port 10000 + i, unless said otherwise."""
    sport, dport = kw.pop("sport", 10000 + i), kw.pop("dport", 80)
    defaults: dict[str, Any] = {
        "id": 1000 + i, "key": 5000 + i, "family": f.AF_INET6 if ":" in src else f.AF_INET, "proto": proto,
        "orig_src": ip(src), "orig_dst": ip(dst), "orig_sport": sport, "orig_dport": dport,
        "reply_src": ip(dst), "reply_dst": ip(src), "reply_sport": dport, "reply_dport": sport,
        "status": f.CONFIRMED, "timeout_s": 119, "born_s": 100.0,
        "state": 1 if proto in (f.IPPROTO_TCP, f.IPPROTO_SCTP) else None,
    }  # fmt: skip
    return Flow(**{**defaults, **kw})


def page(flows: list[Flow], *, first: int = 0, matched: int | None = None, **kw: Any) -> FlowPage:
    """A page of these flows."""
    n = len(flows) if matched is None else matched
    return FlowPage(rows=flows, first=first, matched=n, total=kw.pop("total", n), **kw)


def table(**kw: Any) -> TableReading:
    """The full table of the article: 262,137 fillers, seven half-open connections, three packets lost."""
    defaults: dict[str, Any] = {
        "count": 262144, "maximum": 262144, "buckets": 262144, "active": True, "active_why": "raw PREROUTING has -j CT",
        "held": 262144, "filler": 262137, "by_protocol": {"tcp": 262144},
        "by_state": {"ESTABLISHED": 262137, "SYN_SENT": 7}, "assured": 262137, "evictable": 7,
        "stats": {"found": 0, "invalid": 0, "insert": 262137, "insert_failed": 0, "drop": 3, "early_drop": 0, "error": 0,
                  "search_restart": 0, "clash_resolve": 0, "chaintoolong": 0},
        "rates": {"new": 7.0, "ended": 0.0, "drop": 3.0, "early_drop": 0.0, "insert_failed": 0.0, "invalid": 0.0},
        "history": [Series("entries", [262137.0] * 20 + [262144.0]), Series("new", [0.0] * 20 + [7.0]),
                    Series("drop", [NAN, 0.0] + [0.0] * 18 + [3.0])],
    }  # fmt: skip
    return TableReading(**{**defaults, **kw})


def hooks(**kw: Any) -> HooksReading:
    """The path of that burst: raw 10, conntrack 7, mangle 7."""
    chain = {"backend": "iptables-nft", "family": "ip"}
    ct = Rule(text="-j CT", number=1, packets=10, bytes=400, pps=10.0, verdict="CT", conntrack="CT")
    chains = [
        Chain(**chain, table="raw", chain="PREROUTING", hook="prerouting", priority=-300, policy="ACCEPT", policy_packets=0,
              policy_bytes=0, rules=[ct], rules_total=1),
        Chain(**chain, table="mangle", chain="PREROUTING", hook="prerouting", priority=-150, policy="ACCEPT", policy_packets=7,
              rules=[Rule(text="", number=1, packets=7, bytes=280, pps=7.0)], rules_total=1),
        Chain(**chain, table="filter", chain="INPUT", hook="input", priority=0, policy="ACCEPT", policy_packets=7,
              rules=[Rule(text="-p tcp --dport 22 -j LOGDROP", number=1, packets=0, verdict="LOGDROP")], rules_total=1),
        Chain(**chain, table="filter", chain="LOGDROP",
              rules=[Rule(text="-m comment --comment \"[bold red]\x1b[31mhello[/foo]\" -j DROP", number=1, packets=0, verdict="DROP")],
              rules_total=1),
        Chain(**chain, table="raw", chain="OUTPUT", hook="output", priority=-300, policy="ACCEPT", policy_packets=0,
              rules=[Rule(text="-p tcp --sport 80 -j DROP", number=1, packets=7, pps=7.0, verdict="DROP")], rules_total=1),
    ]  # fmt: skip
    counts = {
        "prerouting": [(-2**31 + 1, "in", 10), (-390, "defrag", 10), (-201, "raw", 10), (-199, "conntrack", 7),
                       (-140, "mangle", 7), (-90, "nat", 7), (2**31 - 2, "prerouting", 7)],
        "input": [(-2**31 + 1, "routed in", 7), (-140, "mangle", 7), (10, "filter", 7), (2**31 - 2, "input", 7)],
        "forward": [(-2**31 + 1, "routed on", 0), (2**31 - 2, "forward", 0)],
        "output": [(-2**31 + 1, "local", 7), (-390, "defrag", 7), (-201, "raw", 0), (-199, "conntrack", 0),
                   (2**31 - 2, "output", 0)],
        "postrouting": [(-2**31 + 1, "routed out", 0), (2**31 - 2, "postrouting", 0)],
    }  # fmt: skip
    stages = [
        Stage(family="ip", hook=hook, priority=priority, label=label, packets=n, bytes=40 * n, pps=float(n))
        for hook, points in counts.items() for priority, label, n in points
    ]  # fmt: skip
    losses = [
        Loss(family="ip", hook="prerouting", after="raw", before="conntrack", packets=3, cause="lost in conntrack: table full", source="drop +3"),
        Loss(family="ip", hook="output", after="defrag", before="raw", packets=7,
             cause="dropped by raw OUTPUT rule 1: -p tcp --sport 80 -j DROP", source="raw OUTPUT rule 1 +7"),
    ]  # fmt: skip
    defaults: dict[str, Any] = {
        "chains": chains, "stages": stages, "losses": losses, "stages_armed": True, "rules_total": 5,
    }  # fmt: skip
    return HooksReading(**{**defaults, **kw})


def packets(n: int = 10, *, lost: int = 3, **kw: Any) -> PacketPage:
    """SYNs of one burst, the last `lost` of them lost in conntrack."""
    rows = []
    for i in range(n):
        sport = (10000 + i) % 65536
        data = bytes.fromhex("45000028000100004006") + b"\0\0" + ip("198.51.100.2") + ip("192.0.2.1")
        data += (
            sport.to_bytes(2, "big") + (80).to_bytes(2, "big") + bytes(8) + bytes.fromhex("5002200000000000")
        )
        rows.append(
            PacketRow(seq=i + 1, time_ns=1_700_000_000_000_000_000 + i * 11_000_000, interface="tun0", direction="in",
                      ethertype=0x0800, length=40, data=data, flow_key=5000 + i if i < n - lost else 0,
                      ct_state="SYN_SENT [UNREPLIED]" if i < n - lost else "",
                      fate="" if i < n - lost else "lost in conntrack: table full")
        )  # fmt: skip
    defaults: dict[str, Any] = {
        "capturing": True, "total": n, "kept": n, "matched": n, "rows": rows, "rate_pps": 10.0,
    }  # fmt: skip
    return PacketPage(**{**defaults, **kw})


def groups(n: int = 8, **kw: Any) -> GroupPage:
    """Groups by source and destination port."""
    rows = [
        GroupRow(key=[f"198.51.100.{i}", "443"], filter=f"src=198.51.100.{i} dport=443", count=1000 >> i, share=0.5 ** (i + 1),
                 unreplied=(1000 >> i) // 2, assured=(1000 >> i) // 4, packets=10, bytes=123_456_789 >> i, rate_bps=1e6 / (i + 1))
        for i in range(n)
    ]  # fmt: skip
    return GroupPage(**{"by": ["src", "dport"], "total": n, "flows": 2000, "rows": rows, **kw})
