"""The words of the filter language: what people type, and the name it stands for."""

import re
from collections.abc import Iterable

from cttui.model import flow as f
from cttui.model.filter_ast import ADDRESS_KEYS, FLAGS, NUMBER_KEYS, PORT_KEYS, TEXT_KEYS

ALIASES: dict[str, str] = {
    # conntrack's options
    "s": "src", "orig-src": "src", "d": "dst", "orig-dst": "dst", "r": "reply-src", "q": "reply-dst",
    "p": "proto", "protonum": "proto", "protocol": "proto", "f": "family", "m": "mark", "w": "zone",
    "n": "src-nat", "snat": "src-nat", "g": "dst-nat", "dnat": "dst-nat", "j": "any-nat", "nat": "any-nat",
    "l": "label", "u": "status", "i": "id", "t": "timeout", "orig-port-src": "sport", "orig-port-dst": "dport",
    "reply-port-src": "reply-sport", "reply-port-dst": "reply-dport", "icmp-type": "type", "icmp-code": "code",
    "icmpv6-type": "type", "icmpv6-code": "code", "icmpv6-id": "icmp-id", "orig-zone": "zone",
    "reply-zone": "zone",
    # conntrack's output
    "zone-orig": "zone", "zone-reply": "zone", "delta-time": "age", "labels": "label",
    # tcpdump, iptables, nftables, habits
    "source": "src", "destination": "dst", "dest": "dst", "saddr": "src", "daddr": "dst", "ip": "host",
    "addr": "host", "address": "host", "net": "host", "l3proto": "family", "l4proto": "proto", "ct-mark": "mark",
    "connmark": "mark", "rsrc": "reply-src", "rdst": "reply-dst", "replysrc": "reply-src",
    "replydst": "reply-dst", "rsport": "reply-sport", "rdport": "reply-dport", "spt": "sport", "dpt": "dport",
    "source-port": "sport", "destination-port": "dport", "dest-port": "dport", "sports": "sport",
    "dports": "dport", "ports": "port", "portrange": "port", "tcp-state": "state", "ctstate": "ctstate",
    "ctstatus": "status", "bps": "rate", "expires": "timeout", "expiration": "timeout", "ttl": "timeout", "pkts": "packets",
    "icmp-id": "icmp-id", "echo-id": "icmp-id",
}  # fmt: skip
KEYS: tuple[str, ...] = (
    *ADDRESS_KEYS, *NUMBER_KEYS, "state", "status", *TEXT_KEYS, "label", "any-nat", "src-nat", "dst-nat",
)  # fmt: skip
"""Every key that takes a value. The last three take an address, as conntrack's -j, -n and -g do."""
NAT_KEYS = ("any-nat", "src-nat", "dst-nat")
ALWAYS_VALUED: tuple[str, ...] = (*ADDRESS_KEYS, *PORT_KEYS, "proto", "family", "ctstate")
"""Keys that never stand alone."""

COMMAND = ("sudo", "conntrack", "-L", "--dump", "-E", "--event", "-D", "--delete", "-G", "--get")
"""How a pasted `conntrack` command begins: what it does with the flows is nothing that selects them."""
MODULES = ("state", "conntrack", "multiport")
"""iptables' -m with one of these says nothing, the option behind it does."""
NFT_PREFIXES = ("ct", "meta", "th")
"""nft: `ct mark 5`, `meta l4proto tcp`, `th dport 53`."""
ARROWS = ("->", "→", ">")
"""`10.0.0.1:5 -> 10.0.0.2:80`, as packet logs write it."""
PACKET_STATES: dict[str, tuple[tuple[int, bool], ...]] = {
    "new": ((f.SEEN_REPLY, False), (f.EXPECTED, False)), "established": ((f.SEEN_REPLY, True),),
    "related": ((f.SEEN_REPLY, False), (f.EXPECTED, True)),
}  # fmt: skip
"""What iptables' --ctstate and nft's `ct state` would say of the next packet of a flow: (status bit, set)."""
HINTS: dict[str, str] = {
    "new": "unreplied", "invalid": "unreplied", "masquerade": "snat", "masqueraded": "snat", "ping": "icmp",
}  # fmt: skip
"""What may be meant by words that are none."""

FLAG_ALIASES: dict[str, str] = {
    "seen-reply": "replied", "seenreply": "replied", "related": "expected", "natted": "nat", "src-nat": "snat",
    "dst-nat": "dnat", "any-nat": "nat", "n": "snat", "g": "dnat", "j": "nat", "offloaded": "offload",
    "hwoffload": "hw-offload", "seqadj": "seq-adjust",
}  # fmt: skip
NEGATED_FLAGS: dict[str, str] = {
    "unreplied": "replied", "unassured": "assured", "evictable": "assured", "unset": "replied",
}  # fmt: skip

FAMILIES: dict[str, int] = {
    "ipv4": f.AF_INET, "inet": f.AF_INET, "ip4": f.AF_INET, "v4": f.AF_INET, "4": f.AF_INET, "2": f.AF_INET,
    "ipv6": f.AF_INET6, "inet6": f.AF_INET6, "ip6": f.AF_INET6, "v6": f.AF_INET6, "6": f.AF_INET6,
    "10": f.AF_INET6,
}  # fmt: skip
PROTOCOL_NUMBERS: dict[str, int] = {
    **{name: number for number, name in f.PROTOCOLS.items()},
    "icmp6": 58, "ipv6-icmp": 58, "udp-lite": 136, "esp": 50, "ah": 51, "igmp": 2, "ospf": 89, "vrrp": 112,
    "ipip": 4, "sit": 41, "pim": 103, "l2tp": 115,
}  # fmt: skip
STATES: tuple[str, ...] = tuple(dict.fromkeys(f.TCP_STATES + f.SCTP_STATES))
SERVICES: dict[str, int] = {
    "ftp": 21, "ssh": 22, "telnet": 23, "smtp": 25, "dns": 53, "domain": 53, "dhcp": 67, "tftp": 69, "http": 80,
    "kerberos": 88, "pop3": 110, "ntp": 123, "imap": 143, "snmp": 161, "bgp": 179, "irc": 194, "ldap": 389,
    "https": 443, "smb": 445, "syslog": 514, "ldaps": 636, "imaps": 993, "pop3s": 995, "nfs": 2049,
    "mysql": 3306, "rdp": 3389, "sip": 5060, "postgres": 5432, "postgresql": 5432, "redis": 6379,
    "http-alt": 8080,
}  # fmt: skip
"""The same on every machine, unlike /etc/services, which minimal systems lack."""
HELPERS: tuple[str, ...] = (
    "ftp", "tftp", "sip", "irc", "pptp", "amanda", "sane", "snmp", "netbios-ns", "h323", "RAS", "Q.931", "H.245",
)  # fmt: skip
"""struct nf_conntrack_helper .name of the kernel's own helpers."""


def _plain(word: str) -> str:
    """Lower case, no leading dashes; "" for a single letter without its dash, or a capital with it: -L is no -l."""
    name = word.lstrip("-").lower().replace("_", "-")
    return name if len(name) > 1 or (word.startswith("-") and word.islower()) else ""


def key_of(word: str) -> str | None:
    """The key that this word names, None if none."""
    name = _plain(word)
    return name if name in KEYS else ALIASES.get(name)


def flag_of(word: str) -> tuple[int, bool] | None:
    """(status bits, negated) for a flag's name, with or without brackets; None if it is none."""
    name = _plain(word.strip("[]"))
    name = FLAG_ALIASES.get(name, name)
    if name in NEGATED_FLAGS:
        return FLAGS[NEGATED_FLAGS[name]], True
    return (FLAGS[name], False) if name in FLAGS else None


def state_of(word: str) -> str | None:
    """The state's canonical name, None if there is none such."""
    name = word.upper().replace("-", "_")
    if name in STATES:
        return name
    if re.fullmatch(r"STATE_\d{1,3}", name):  # what the words call a state that this program has no name for
        return f"state-{int(name[6:])}"
    return None


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that this one begins, or that is most like it; "" if none is."""
    from difflib import get_close_matches  # only wanted when something is wrong

    by_lower = {k.lower(): k for k in known}
    begun = [k for k in by_lower if k.startswith(word.lower())] if len(word) > 2 else []
    if begun:
        return by_lower[min(begun, key=len)]
    found = get_close_matches(word.lower(), list(by_lower), 1, 0.6)
    return by_lower[found[0]] if found else ""
