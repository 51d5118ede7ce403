"""Counters of IP, TCP and UDP that say where a packet went, named as in `nstat`: what a loss is called by each.

Which counter moves where: ip_input.c and ip6_input.c, udp.c, tcp_ipv4.c.
"""

ROUTING_IN = {
    "ip": {
        "TcpExtIPReversePathFilter": "reverse path filter: an answer would leave another way",
        "IpExtInNoRoutes": "no route",
        "IpInAddrErrors": "not for this machine, and not forwarded",
        "IpInHdrErrors": "bad header or TTL used up",
        "IpInDiscards": "no memory",
        "IpExtInTruncatedPkts": "shorter than its header says",
        "IpFragFails": "too big for the way onward, and not to be fragmented",
    },
    "ip6": {
        "Ip6InNoRoutes": "no route",
        "Ip6InAddrErrors": "not for this machine, and not forwarded",
        "Ip6InHdrErrors": "bad header or hop limit used up",
        "Ip6InDiscards": "no memory",
        "Ip6InTruncatedPkts": "shorter than its header says",
        "Ip6InTooBigErrors": "too big for the way onward",
    },
}
ROUTING_OUT = {
    "ip": {"IpOutDiscards": "discarded on the way out", "IpOutNoRoutes": "no route out"},
    "ip6": {"Ip6OutDiscards": "discarded on the way out", "Ip6OutNoRoutes": "no route out"},
}
SOCKET = {
    "ip": {"UdpNoPorts": "no socket on that port", "UdpRcvbufErrors": "socket's receive buffer full",
           "UdpInCsumErrors": "bad UDP checksum"},
    "ip6": {"Udp6NoPorts": "no socket on that port", "Udp6RcvbufErrors": "socket's receive buffer full",
            "Udp6InCsumErrors": "bad UDP checksum"},
    "": {"TcpExtListenDrops": "a listener dropped the SYN", "TcpInErrs": "bad TCP segment",
         "TcpExtTCPBacklogDrop": "socket's backlog full"},
}  # fmt: skip


def short(name: str) -> str:
    """The counter's name as in the kernel's files, without the group that nstat puts before it."""
    for group in ("TcpExt", "IpExt", "Ip6", "Ip"):
        if name.startswith(group):
            return name.removeprefix(group)
    return name
