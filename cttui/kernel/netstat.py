"""IP, ICMP, TCP and UDP counters of the current namespace, as `nstat` names them.

Read from /proc/thread-self/net: after setns in a thread /proc/net would show the leader's namespace.
"""

from pathlib import Path

NET = Path("/proc/thread-self/net")

EXPLAINS: dict[str, str] = {
    "IpExtInNoRoutes": "no route back or onward",
    "IpInAddrErrors": "not for this machine, and not forwarded",
    "IpInHdrErrors": "bad header or TTL used up",
    "IpExtInTruncatedPkts": "shorter than their header says",
    "IpExtInCsumErrors": "bad checksum",
    "IpInDiscards": "no memory",
    "IpInUnknownProtos": "no such protocol here",
    "IpOutNoRoutes": "no route out",
    "IpOutDiscards": "not sent: no memory or a neighbour that does not answer",
    "IpFragFails": "too big to send and not allowed to fragment",
    "IpReasmReqds": "fragments taken for reassembly",
    "IpReasmOKs": "datagrams reassembled",
    "IpReasmFails": "reassembly given up",
    "TcpExtIPReversePathFilter": "reverse path filter: the answer would leave another way",
    "TcpExtListenOverflows": "the listener's queue of finished connections is full",
    "TcpExtListenDrops": "a listener dropped a SYN",
    "TcpExtTCPReqQFullDrop": "the SYN queue is full",
    "TcpExtTCPReqQFullDoCookies": "the SYN queue is full: SYN cookies",
    "TcpExtSyncookiesSent": "SYN cookies sent",
    "TcpExtSyncookiesFailed": "bad SYN cookies",
    "TcpExtTCPBacklogDrop": "the socket's backlog is full",
    "TcpInErrs": "bad TCP segments",
    "TcpInCsumErrors": "bad TCP checksum",
    "TcpOutRsts": "RSTs sent",
    "TcpAttemptFails": "connections that failed",
    "UdpNoPorts": "no socket on that port",
    "UdpInErrors": "UDP datagrams that no socket could take",
    "UdpRcvbufErrors": "the socket's receive buffer is full",
    "UdpInCsumErrors": "bad UDP checksum",
    "Udp6NoPorts": "no socket on that port (IPv6)",
    "Udp6InErrors": "UDP datagrams that no socket could take (IPv6)",
    "Udp6RcvbufErrors": "the socket's receive buffer is full (IPv6)",
    "Udp6InCsumErrors": "bad UDP checksum (IPv6)",
    "Ip6InNoRoutes": "no route (IPv6)",
    "Ip6InAddrErrors": "not for this machine, and not forwarded (IPv6)",
    "Ip6InHdrErrors": "bad header or hop limit used up (IPv6)",
    "Ip6InDiscards": "no memory (IPv6)",
    "Ip6InTruncatedPkts": "shorter than their header says (IPv6)",
    "Ip6InUnknownProtos": "no such protocol here (IPv6)",
    "Ip6InTooBigErrors": "too big for the way onward (IPv6)",
    "Ip6OutNoRoutes": "no route out (IPv6)",
    "Ip6OutDiscards": "not sent (IPv6)",
    "Ip6ReasmReqds": "fragments taken for reassembly (IPv6)",
    "Ip6ReasmOKs": "datagrams reassembled (IPv6)",
    "Ip6ReasmFails": "reassembly given up (IPv6)",
}
"""The counters that explain where a packet went, and what each says. Names as in `nstat`."""

TRAFFIC = (
    "IpInReceives", "IpInDelivers", "IpForwDatagrams", "IpOutRequests", "IpOutTransmits",
    "Ip6InReceives", "Ip6InDelivers", "Ip6OutForwDatagrams", "Ip6OutRequests", "Ip6OutTransmits",
    "TcpInSegs", "TcpOutSegs", "TcpRetransSegs", "UdpInDatagrams", "UdpOutDatagrams",
)  # fmt: skip
"""How much passes at all."""


def parse_pairs(text: str) -> dict[str, int]:
    """`Ip: A B` / `Ip: 1 2` line pairs (snmp, netstat) → {"IpA": 1, "IpB": 2}; lines that do not fit are left out."""
    out: dict[str, int] = {}
    lines = text.splitlines()
    for names, values in zip(lines[::2], lines[1::2], strict=False):
        prefix, _, rest = names.partition(":")
        other, _, numbers = values.partition(":")
        if prefix == other:
            for name, number in zip(rest.split(), numbers.split(), strict=False):
                out[prefix + name] = int(number)
    return out


def parse_lines(text: str) -> dict[str, int]:
    """`Ip6InReceives 12` lines (snmp6)."""
    return {name: int(value) for name, value in (line.split() for line in text.splitlines())}


def read() -> dict[str, int]:
    """The counters of EXPLAINS and TRAFFIC that this kernel has. snmp6 is absent where IPv6 is off."""
    found = parse_pairs((NET / "snmp").read_text()) | parse_pairs((NET / "netstat").read_text())
    try:
        found |= parse_lines((NET / "snmp6").read_text())
    except FileNotFoundError:
        pass
    return {name: found[name] for name in (*EXPLAINS, *TRAFFIC) if name in found}


def delta(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """What moved, forwards only."""
    return {name: value - before.get(name, 0) for name, value in after.items() if value > before.get(name, 0)}
