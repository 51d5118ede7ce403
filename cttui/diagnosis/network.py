"""Counters of IP, TCP and UDP that move right now → findings: what is lost outside conntrack and the rules."""

import re
from collections.abc import Iterable, Mapping

from cttui.diagnosis.finding import INFO, WARNING, Finding, fitting
from cttui.model.network_words import ROUTING_IN, ROUTING_OUT, SOCKET, short

REMEDIES = {
    "TcpExtIPReversePathFilter": "`ip route get SOURCE` says which way an answer would leave. Where routes are meant to be "
    "asymmetric: net.ipv4.conf.IFACE.rp_filter=2 (the larger of it and conf.all counts).",
    "TcpExtListenDrops": "`ss -lnt` shows the queue: Recv-Q at Send-Q is an application that accepts too slowly, or a backlog "
    "too small (net.core.somaxconn caps it).",
    "UdpRcvbufErrors": "The application reads too slowly: `ss -lunm` shows its buffer, net.core.rmem_max caps it.",
    "Udp6RcvbufErrors": "The application reads too slowly: `ss -lunm` shows its buffer, net.core.rmem_max caps it.",
    "IpExtInNoRoutes": "`ip route get DESTINATION from SOURCE iif IFACE` says what is missing.",
    "Ip6InNoRoutes": "`ip -6 route get DESTINATION` says what is missing.",
    "IpFragFails": 'A path with a smaller MTU: ICMP "fragmentation needed" has to get back to the sender.',
    "Ip6InTooBigErrors": 'A path with a smaller MTU: ICMPv6 "packet too big" has to get back to the sender.',
}
"""Of counters that rest on a healthy machine. Others move where strangers knock: those are INFO."""
ALARMING_PPS = 1.0

_WORDS = {name: words for part in (*ROUTING_IN.values(), *ROUTING_OUT.values(), *SOCKET.values()) for name, words in part.items()}  # fmt: skip


_KNOCKING = {
    "UdpNoPorts", "Udp6NoPorts", "UdpInCsumErrors", "Udp6InCsumErrors", "TcpInErrs", "InAddrErrors", "InHdrErrors",
    "InTruncatedPkts",
}  # fmt: skip


def knocks(source: str) -> bool:
    """Whether a loss with this source (`UdpNoPorts +3`) is what strangers cause at any machine: a closed port, a bad sum."""
    return source.rpartition(" +")[0] in _KNOCKING


def findings(rates: Mapping[str, float], told: Iterable[str] = ()) -> list[Finding]:
    """One of each counter. `told`: sources of losses, which tell of their counters anyway."""
    known = tuple(told)
    return [
        Finding(
            WARNING if name in REMEDIES and pps >= ALARMING_PPS else INFO,
            f"{pps:,.1f} packets/s: {_WORDS[name]}.",
            (f"The counter is {short(name)} (`nstat -az {name}`).",),
            REMEDIES.get(name, ""),
        )
        for name, pps in sorted(rates.items(), key=lambda pair: -pair[1])
        if pps > 0 and name in _WORDS and not any(source.startswith(f"{short(name)} ") for source in known)
    ]


def headline(rates: Mapping[str, float]) -> str:
    """The one sentence on what moves most of what should rest, "" where nothing does."""
    moving = {name: pps for name, pps in rates.items() if name in REMEDIES and pps >= ALARMING_PPS}
    if not moving:
        return ""
    name = max(moving, key=moving.__getitem__)
    said = f"{moving[name]:,.0f} packets/s lost: {re.split('[:,]', _WORDS[name])[0]}"
    return fitting(f"{said} ({short(name)})", said)
