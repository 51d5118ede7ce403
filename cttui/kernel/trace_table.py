"""The nftables table that marks packets for tracing, and that dies with the probe.

An inet table with `flags owner` (see kernel.stages): base chains just before raw send matching packets to a
chain that counts them and sets `nftrace` for the first N; further base chains that accept everything are points that a traced
packet reports when it passes. No `ct` expression: tracing does not switch connection tracking on.
"""

import os
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from cttui.kernel import nft_netlink as nl

TABLE_PREFIX = "cttui_trace_"
START_PRIORITY = -350
"""Behind defragmentation (−400), before raw (−300)."""
MARKER = "mark"
"""Name of the chain that sets nftrace."""
FIRST, LAST = -0x7FFFFFFF, 0x7FFFFFFE
"""The first place, and the last one before confirm (INT_MAX)."""

POINTS: dict[str, tuple[str, int]] = {
    "prerouting_before_conntrack": ("prerouting", -201), "prerouting_after_conntrack": ("prerouting", -199),
    "output_before_conntrack": ("output", -201), "output_after_conntrack": ("output", -199),
    "input_start": ("input", FIRST), "forward_start": ("forward", FIRST), "postrouting_start": ("postrouting", FIRST),
    "input_end": ("input", LAST), "forward_end": ("forward", LAST), "postrouting_end": ("postrouting", LAST),
}  # fmt: skip
"""Chain name → (hook, priority) of the points that every traced packet reports."""

_HOOKS = {name: number for number, name in enumerate(nl.HOOK_NAMES["inet"])}
_DAY = 86400  # the limit's unit: it gives one packet a day back
MOST_PACKETS = 100_000  # tokens are nanoseconds in 64 bits: a day times this still fits (nft_limit_init)
_REG_VERDICT, _REG = 0, 1
_NF_ACCEPT, _NFT_JUMP = 1, -3
_META_IIFTYPE, _META_NFPROTO, _META_L4PROTO, _META_NFTRACE = 8, 15, 16, 12
_ARPHRD_LOOPBACK = 772
EQ, NEQ = 0, 1


class Test(NamedTuple):
    """One match of a rule: bytes at a place lie in an inclusive range, or outside of it if `negated`.

    `base` is "nfproto" or "l4proto" (one byte, no offset), "network" or "transport".
    """

    base: str
    offset: int
    low: bytes
    high: bytes
    negated: bool = False


def _expression(name: str, *data: bytes) -> bytes:
    return nl.nested(1, nl.text(1, name), nl.nested(2, *data))


def _value(kind: int, value: bytes) -> bytes:
    return nl.nested(kind, nl.attr(1, value))  # NFTA_DATA_VALUE


def _test(test: Test) -> list[bytes]:
    """Load and compare: nft_meta or nft_payload, then nft_cmp or nft_range."""
    if test.base in ("nfproto", "l4proto"):
        key = _META_NFPROTO if test.base == "nfproto" else _META_L4PROTO
        load = _expression("meta", nl.u32(1, _REG), nl.u32(2, key))
    else:
        base = 1 if test.base == "network" else 2
        load = _expression(
            "payload", nl.u32(1, _REG), nl.u32(2, base), nl.u32(3, test.offset), nl.u32(4, len(test.low))
        )
    operator = nl.u32(2, NEQ if test.negated else EQ)
    if test.low == test.high:
        return [load, _expression("cmp", nl.u32(1, _REG), operator, _value(3, test.low))]
    return [load, _expression("range", nl.u32(1, _REG), operator, _value(3, test.low), _value(4, test.high))]


def _verdict(code: int, chain: str = "") -> bytes:
    parts = [nl.u32(1, code)] + ([nl.text(2, chain)] if chain else [])
    return _expression("immediate", nl.u32(1, _REG_VERDICT), nl.nested(2, nl.nested(2, *parts)))


class TraceTable:
    """The armed table. `alternatives` are conjunctions of tests: a packet that meets one of them is traced.

    An empty conjunction takes every packet. At most `packets` are marked, over all hooks.
    """

    def __init__(self, name: str = "") -> None:
        self.name = name or f"{TABLE_PREFIX}{os.getpid()}"
        self._socket: nl.NftSocket | None = None

    @property
    def armed(self) -> bool:
        """Whether the table is there (unless someone flushed the rule set)."""
        return self._socket is not None

    def arm(
        self,
        packets: int,
        alternatives: Sequence[Sequence[Test]] = ((),),
        hooks: Sequence[str] = ("prerouting",),
    ) -> None:
        """Make the table in one transaction. `hooks`: prerouting, output or both.

        Raises OSError: EPERM without CAP_NET_ADMIN, EOPNOTSUPP before Linux 5.12, EEXIST.
        """
        if not 0 < packets <= MOST_PACKETS:
            raise ValueError(f"between 1 and {MOST_PACKETS} packets can be traced")
        self.disarm()
        sock = nl.NftSocket()
        try:
            sock.transact(self._transaction(packets, alternatives, hooks))
        except OSError:
            sock.close()
            raise
        self._socket = sock

    def _transaction(
        self, packets: int, alternatives: Sequence[Sequence[Test]], hooks: Sequence[str]
    ) -> list[tuple[int, int, int, bytes]]:
        family, table = nl.FAMILY_NUMBERS["inet"], nl.text(1, self.name)
        create = nl.NLM_F_CREATE | 0x200  # NLM_F_EXCL
        parts = [(nl.NFT_MSG_NEWTABLE, create, family, table + nl.u32(2, nl.NFT_TABLE_F_OWNER))]

        def chain(name: str, hook: str = "", priority: int = 0) -> None:
            body = table + nl.text(3, name)
            if hook:
                body += nl.nested(4, nl.u32(1, _HOOKS[hook]), nl.u32(2, priority)) + nl.u32(5, _NF_ACCEPT)
                body += nl.text(7, "filter")
            parts.append((nl.NFT_MSG_NEWCHAIN, nl.NLM_F_CREATE, family, body))

        def rule(name: str, *expressions: bytes) -> None:
            body = table + nl.text(2, name) + nl.nested(4, *expressions)
            parts.append((nl.NFT_MSG_NEWRULE, nl.NLM_F_CREATE | nl.NLM_F_APPEND, family, body))

        chain(MARKER)
        rule(MARKER, _expression("counter"))
        rate = (nl.attr(1, struct.pack(">Q", 1)), nl.attr(2, struct.pack(">Q", _DAY)), nl.u32(3, packets))
        rule(
            MARKER,
            _expression("limit", *rate, nl.u32(4, 0), nl.u32(5, 0)),
            _expression("immediate", nl.u32(1, _REG), _value(2, b"\1")),
            _expression("meta", nl.u32(2, _META_NFTRACE), nl.u32(3, _REG)),
            _verdict(_NF_ACCEPT),  # ends the base chain: the trace begins with one message
        )
        for hook in hooks:
            chain(f"start_{hook}", hook, START_PRIORITY)
            if hook == "prerouting" and "output" in hooks:
                # What comes in by lo was marked on its way out and still is: marked again, it would count twice.
                loopback = _value(3, _ARPHRD_LOOPBACK.to_bytes(2, sys.byteorder))
                rule(
                    f"start_{hook}",
                    _expression("meta", nl.u32(1, _REG), nl.u32(2, _META_IIFTYPE)),
                    _expression("cmp", nl.u32(1, _REG), nl.u32(2, EQ), loopback),
                    _verdict(_NF_ACCEPT),
                )
            for tests in alternatives:
                rule(
                    f"start_{hook}", *[part for t in tests for part in _test(t)], _verdict(_NFT_JUMP, MARKER)
                )
        for name, (hook, priority) in POINTS.items():
            chain(name, hook, priority)
            rule(name, _verdict(_NF_ACCEPT))  # one message a packet; an empty chain sends two
        return parts

    def matched(self) -> int:
        """Packets that met the filter since arming, marked or not. Raises OSError; ENOENT: flushed away."""
        if self._socket is None:
            return 0
        data = self._socket.dump(
            nl.NFT_MSG_GETRULE, nl.FAMILY_NUMBERS["inet"], nl.text(1, self.name) + nl.text(2, MARKER)
        )
        for _, _, start, end in nl.messages(data, len(data)):
            for kind, value, stop in nl.attributes(data, start + 20, end):
                if kind != 4:  # NFTA_RULE_EXPRESSIONS
                    continue
                (_, element, element_end), *_ = nl.attributes(data, value, stop)
                for inner, at, inner_end in nl.attributes(data, element, element_end):
                    for which, number, _ in nl.attributes(data, at, inner_end) if inner == 2 else ():
                        if which == 2:  # NFTA_COUNTER_PACKETS
                            return int(struct.unpack_from(">Q", data, number)[0])
        raise FileNotFoundError(2, "The trace is gone: the rule set was flushed.")

    def disarm(self) -> None:
        """Remove the table by closing its owner."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


@dataclass(frozen=True, slots=True)
class BaseChain:
    """Where a chain is registered."""

    hook: str
    priority: int


Place = tuple[str, str, str]
"""Family, table and chain."""


def base_chains(sock: nl.NftSocket) -> dict[Place, BaseChain]:
    """Every base chain of this namespace, iptables-nft's included. Raises OSError."""
    chains: dict[Place, BaseChain] = {}
    data = _dump(sock, nl.NFT_MSG_GETCHAIN)
    for _, _, start, end in nl.messages(data, len(data)):
        family = nl.FAMILIES.get(data[start + 16], "")
        names = {1: "", 3: ""}
        hook, priority = -1, 0
        for kind, value, stop in nl.attributes(data, start + 20, end):
            if kind in names:  # NFTA_CHAIN_TABLE, NFTA_CHAIN_NAME
                names[kind] = data[value : stop - 1].decode("utf-8", "backslashreplace")
            elif kind == 4:  # NFTA_CHAIN_HOOK
                for inner, at, _ in nl.attributes(data, value, stop):
                    if inner == 1:
                        hook = struct.unpack_from(">I", data, at)[0]
                    elif inner == 2:
                        priority = struct.unpack_from(">i", data, at)[0]
        hooks = nl.HOOK_NAMES.get(family, ())
        if 0 <= hook < len(hooks):
            chains[family, names[1], names[3]] = BaseChain(hooks[hook], priority)
    return chains


def rule_numbers(sock: nl.NftSocket) -> dict[tuple[str, str, str, int], int]:
    """(family, table, chain, handle) → position of the rule in its chain, from 1. Raises OSError.

    The position is also the rule's number in `iptables -L --line-numbers` of iptables-nft.
    """
    numbers: dict[tuple[str, str, str, int], int] = {}
    seen: dict[Place, int] = {}
    data = _dump(sock, nl.NFT_MSG_GETRULE)
    for _, _, start, end in nl.messages(data, len(data)):
        family = nl.FAMILIES.get(data[start + 16], "")
        table = chain = ""
        handle = 0
        for kind, value, stop in nl.attributes(data, start + 20, end):
            if kind == 1:
                table = data[value : stop - 1].decode("utf-8", "backslashreplace")
            elif kind == 2:
                chain = data[value : stop - 1].decode("utf-8", "backslashreplace")
            elif kind == 3:
                handle = struct.unpack_from(">Q", data, value)[0]
        place = (family, table, chain)
        seen[place] = seen.get(place, 0) + 1
        numbers[(*place, handle)] = seen[place]
    return numbers


def _dump(sock: nl.NftSocket, kind: int) -> bytes:
    """A dump of all families, again where the rules changed meanwhile."""
    for _ in range(8):
        try:
            return sock.dump(kind, nl.AF_UNSPEC)
        except InterruptedError:
            continue
    raise InterruptedError(4, "The rule set changes faster than it can be read.")
