"""Our own packet counters along the netfilter path, in tables that die with the probe.

A table with `flags owner` belongs to the netlink socket that made it: the kernel removes it when that socket
closes, however the process ends (nft_rcv_nl_event), and nobody else can change it. Needs Linux 5.12. The chains
hold a `counter`, a few a second one of multicast: no `ct` expression, so that looking does not switch tracking on.
"""

import os
import struct

from cttui.kernel import nft_netlink as nl
from cttui.model.hooks import Stage

FIRST, LAST = -0x7FFFFFFF, 0x7FFFFFFE
"""Outside of every other hook, but before confirm, which holds the highest priority there is (INT_MAX)."""
BEFORE_CONNTRACK, AFTER_CONNTRACK = -201, -199
AFTER_DEFRAG, AFTER_MANGLE, AFTER_DNAT, AFTER_FILTER, AFTER_SNAT = -390, -140, -90, 10, 110

POINTS: tuple[tuple[str, tuple[tuple[int, str], ...]], ...] = (
    ("prerouting", ((FIRST, "in"), (AFTER_DEFRAG, "defrag"), (BEFORE_CONNTRACK, "raw"), (AFTER_CONNTRACK, "conntrack"),
                    (AFTER_MANGLE, "mangle"), (AFTER_DNAT, "nat"), (LAST, "prerouting"))),
    ("input", ((FIRST, "routed in"), (AFTER_MANGLE, "mangle"), (AFTER_FILTER, "filter"), (LAST, "input"))),
    ("forward", ((FIRST, "routed on"), (AFTER_MANGLE, "mangle"), (AFTER_FILTER, "filter"), (LAST, "forward"))),
    ("output", ((FIRST, "local"), (AFTER_DEFRAG, "defrag"), (BEFORE_CONNTRACK, "raw"), (AFTER_CONNTRACK, "conntrack"),
                (AFTER_MANGLE, "mangle"), (AFTER_DNAT, "nat"), (AFTER_FILTER, "filter"), (LAST, "output"))),
    ("postrouting", ((FIRST, "routed out"), (AFTER_MANGLE, "mangle"), (AFTER_SNAT, "nat"), (LAST, "postrouting"))),
)  # fmt: skip
"""Where packets are counted: (hook, ((priority, what they have just passed), …))."""

FRAGMENTS = "Ip6FragmentsSeen"
"""IPv6 fragments that came in. Conntrack reassembles them without counting (nf_conntrack_reasm.c), so we do."""
_FRAGMENT_CHAIN = "prerouting_fragments"
MULTICAST = {
    "ip": ("IpMulticastSeen", "IpMulticastTaken"),
    "ip6": ("Ip6MulticastSeen", "Ip6MulticastTaken"),
}
"""Multicast that left PREROUTING, and that came to INPUT or FORWARD: between them the kernel drops without counting what
no socket and no router of this machine has joined (ip_route_input, ip6_mc_input)."""
_WITH_MULTICAST = {("prerouting", LAST): 0, ("input", FIRST): 1, ("forward", FIRST): 1}
"""Where it is counted, and as which of the two."""

_HOOKNUM = {name: number for number, name in enumerate(nl.HOOK_NAMES["ip"])}
_PAIR = struct.Struct(">Q4xQ")


def _names() -> dict[str, tuple[str, int, str]]:
    """Chain name → (hook, priority, label); names are what `nft list` shows an administrator."""
    return {
        f"{hook}_{number}_{label.replace(' ', '_')}": (hook, priority, label)
        for hook, points in POINTS
        for number, (priority, label) in enumerate(points, 1)
    }


class Stages:
    """Stage counters of this namespace: armed, read, disarmed. Not shared between namespaces."""

    def __init__(self) -> None:
        self.table = f"cttui_{os.getpid()}"
        self.armed = False
        self.kinds: dict[str, int] = {}
        """FRAGMENTS and MULTICAST at the last read."""
        self._socket: nl.NftSocket | None = None
        self._names = _names()

    def arm(self) -> None:
        """Make the tables (one for IPv4, one for IPv6) in a single transaction; nothing if already armed.

        Raises OSError: EPERM without CAP_NET_ADMIN, EOPNOTSUPP before Linux 5.12, EEXIST where another probe
        with our process id (of another PID namespace) counts here already.
        """
        if self.armed:
            return
        sock = nl.NftSocket()
        try:
            sock.transact(self._transaction())
        except OSError:
            sock.close()
            raise
        self._socket = sock
        self.armed = True

    def _transaction(self) -> list[tuple[int, int, int, bytes]]:
        parts: list[tuple[int, int, int, bytes]] = []
        for family in (nl.FAMILY_NUMBERS["ip"], nl.FAMILY_NUMBERS["ip6"]):
            table = nl.text(1, self.table)
            parts.append(
                (
                    nl.NFT_MSG_NEWTABLE,
                    nl.NLM_F_CREATE | 0x200,  # NLM_F_EXCL
                    family,
                    table + nl.u32(2, nl.NFT_TABLE_F_OWNER),
                )
            )
            for name, (hook, priority, _) in self._names.items():
                parts += _counting_chain(family, table, name, hook, priority)
                if (hook, priority) in _WITH_MULTICAST:
                    parts.append(_counting_rule(family, table, name, _IS_MULTICAST[family]))
        parts += _counting_chain(
            nl.FAMILY_NUMBERS["ip6"],
            nl.text(1, self.table),
            _FRAGMENT_CHAIN,
            "prerouting",
            FIRST + 1,
            _IS_FRAGMENT,
        )
        return parts

    def disarm(self) -> None:
        """Remove the tables by closing their owner."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self.armed = False
        self.kinds = {}

    def read(self) -> list[Stage]:
        """The counts of every stage in path order, IPv4 then IPv6; [] when not armed.

        Raises OSError; ENOENT where an administrator flushed the rule set: the tables are gone and `armed` is
        False.
        """
        if self._socket is None:
            return []
        counts: list[tuple[str, str, int, int]] = []
        for family in ("ip", "ip6"):
            found, kinds = self._read(family)
            counts += [(family, name, *found[name]) for name in self._names if name in found]
            if _FRAGMENT_CHAIN in kinds:
                self.kinds[FRAGMENTS] = kinds.pop(_FRAGMENT_CHAIN)
            both = [0, 0]
            for name, packets in kinds.items():
                hook, priority, _ = self._names[name]
                both[_WITH_MULTICAST[hook, priority]] += packets
            self.kinds |= zip(MULTICAST[family], both, strict=True)
        if len(counts) < 2 * len(self._names):
            self.disarm()
            raise FileNotFoundError(2, "The stage counters are gone: the rule set was flushed.")
        out = []
        for family, name, n, size in counts:
            hook, priority, label = self._names[name]
            out.append(Stage(family=family, hook=hook, priority=priority, label=label, packets=n, bytes=size))
        return out

    def _read(self, family: str) -> tuple[dict[str, tuple[int, int]], dict[str, int]]:
        """Chain name → (packets, bytes), and chain name → packets that met the condition of a second rule there."""
        assert self._socket is not None
        number = nl.FAMILY_NUMBERS[family]
        for _ in range(8):
            try:
                data = self._socket.dump(nl.NFT_MSG_GETRULE, number, nl.text(1, self.table))
                break
            except InterruptedError:
                continue  # someone else's transaction; ours never changes
        else:
            raise InterruptedError(4, "The rule set changes faster than it can be read.")
        out: dict[str, tuple[int, int]] = {}
        kinds: dict[str, int] = {}
        for _, _, start, end in nl.messages(data, len(data)):
            name = ""
            for kind, value, stop in nl.attributes(data, start + 20, end):
                if kind == 2:  # NFTA_RULE_CHAIN
                    name = data[value : stop - 1].decode()
                elif kind == 4:  # NFTA_RULE_EXPRESSIONS: the last one is "counter", its data: bytes, packets
                    *condition, (_, element, element_end) = nl.attributes(data, value, stop)
                    for inner, at, _ in nl.attributes(data, element, element_end):
                        if inner == 2:
                            size, packets = _PAIR.unpack_from(data, at + 4)
                            if condition:
                                kinds[name] = packets
                            else:
                                out[name] = packets, size
        return out, kinds


_IS_FRAGMENT = nl.nested(
    1, nl.text(1, "exthdr"),
    # NFTA_EXTHDR_DREG, TYPE (44: fragment), OFFSET, LEN: loads a byte, or ends the rule where there is none.
    nl.nested(2, nl.u32(1, 1), nl.attr(2, bytes([44])), nl.u32(3, 0), nl.u32(4, 1)),
)  # fmt: skip


def _first_octet(offset: int, low: int, high: int) -> bytes:
    """NFTA_PAYLOAD_DREG, BASE (network header), OFFSET, LEN; NFTA_RANGE_SREG, OP (in), FROM, TO."""
    load = nl.nested(2, nl.u32(1, 1), nl.u32(2, 1), nl.u32(3, offset), nl.u32(4, 1))
    ends = [nl.nested(kind, nl.attr(1, bytes([octet]))) for kind, octet in ((3, low), (4, high))]
    within = nl.nested(2, nl.u32(1, 1), nl.u32(2, 0), *ends)
    return nl.nested(1, nl.text(1, "payload"), load) + nl.nested(1, nl.text(1, "range"), within)


_IS_MULTICAST = {
    nl.FAMILY_NUMBERS["ip"]: _first_octet(16, 224, 239), nl.FAMILY_NUMBERS["ip6"]: _first_octet(24, 0xFF, 0xFF),
}  # fmt: skip
"""By the destination address: 224.0.0.0/4, ff00::/8."""


def _counting_chain(family: int, table: bytes, name: str, hook: str, priority: int, condition: bytes = b"") -> list[tuple[int, int, int, bytes]]:  # fmt: skip
    """The messages for a base chain that counts the packets that meet the condition."""
    chain = (
        table
        + nl.text(3, name)
        + nl.nested(4, nl.u32(1, _HOOKNUM[hook]), nl.u32(2, priority))
        + nl.u32(5, 1)  # NFTA_CHAIN_POLICY: NF_ACCEPT
        + nl.text(7, "filter")
    )
    return [
        (nl.NFT_MSG_NEWCHAIN, nl.NLM_F_CREATE, family, chain),
        _counting_rule(family, table, name, condition),
    ]


def _counting_rule(family: int, table: bytes, chain: str, condition: bytes) -> tuple[int, int, int, bytes]:
    counter = nl.nested(1, nl.text(1, "counter"), nl.nested(2))
    rule = table + nl.text(2, chain) + nl.nested(4, condition, counter)
    return nl.NFT_MSG_NEWRULE, nl.NLM_F_CREATE | nl.NLM_F_APPEND, family, rule
