"""Tables, chains and rule counters of nf_tables, read over netlink: cheap, and the same for iptables-nft.

Texts are not read here. A rule set of 100,000 rules costs `nft -j` eight seconds and this file a few tenths
where the rules are spread over many chains.
"""

import asyncio
import re
import struct
import time
from dataclasses import dataclass, field

from cttui.kernel import nft_netlink as nl

_U64 = struct.Struct(">Q")
_COUNTER = re.compile(
    # NFTA_LIST_ELEM (44 bytes, kernel-made, so without the nested flag) of "counter": bytes, packets
    rb"\x2c\x00\x01\x00\x0c\x00\x01\x00counter\x00\x1c\x00\x02\x00\x0c\x00\x01\x00(.{8})\x0c\x00\x02\x00(.{8})",
    re.DOTALL,
)
WHOLE_DUMP_RULES = 5000
"""Up to here one dump for everything; above, one a chain: the kernel's walk is quadratic in what it dumps."""
LONG_CHAIN_RULES = 20_000
"""A chain this long costs 0.1 s and more a reading (100,000 rules: 2.1 to 2.9 s, all of it in the kernel)."""
LONG_CHAIN_DUTY = 0.07
"""Share of a core for the counters of each long chain; in between its last reading stands, with its age."""


@dataclass(slots=True)
class RawChain:
    """One chain as the kernel has it. `packets` -1: a rule without a counter."""

    family: str
    table: str
    chain: str
    hook: str = ""
    priority: int = 0
    device: str = ""
    policy: str = ""
    policy_packets: int | None = None
    policy_bytes: int | None = None
    table_handle: int = 0
    read_at_s: float = 0.0
    """Monotonic time of its rules' counters."""
    cost_s: float = 0.0
    handles: list[int] = field(default_factory=list)
    packets: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)

    @property
    def key(self) -> tuple[str, str, str]:
        """(family, table, chain)."""
        return self.family, self.table, self.chain


Chains = dict[tuple[str, str, str], RawChain]


class NftRules:
    """Reads the rule set's structure and counters. `cost_s` is the CPU time of the last read, the kernel's included."""

    def __init__(self) -> None:
        self._socket = nl.NftSocket()
        self._last_total = 0
        self._last: Chains = {}
        self._since = 0.0
        self._unfinished = False
        self.cost_s = 0.0

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    async def read(self) -> tuple[int, Chains]:
        """(generation, chains). Raises OSError: EPERM without CAP_NET_ADMIN in the namespace's user namespace.

        A read that a transaction falls into is taken again; after five times InterruptedError.
        """
        self.cost_s = 0.0
        self._since = time.thread_time()
        for _ in range(5):
            if self._unfinished:
                # A dump cut short goes on arriving; a new socket is cheaper than taking the rest.
                self._socket.close()
                self._socket = nl.NftSocket()
            self._unfinished = True
            before = self._socket.generation()
            try:
                chains = await self._chains()
                await self._rules(chains)
            except InterruptedError:
                continue
            after = self._socket.generation()
            self._unfinished = False
            if after == before:
                self._last_total = sum(len(c.handles) for c in chains.values())
                self._last = chains
                self.cost_s += time.thread_time() - self._since
                return before, chains
        raise InterruptedError(4, "The rule set changes faster than it can be read.")

    async def _chains(self) -> Chains:
        tables: dict[tuple[str, str], int] = {}
        for part in await self._dump(nl.NFT_MSG_GETTABLE, nl.AF_UNSPEC, b""):
            for _, _, start, end in nl.messages(part, len(part)):
                table, handle = "", 0
                for kind, at, stop in nl.attributes(part, start + 20, end):
                    if kind == 1:  # NFTA_TABLE_NAME
                        table = _string(part, at, stop)
                    elif kind == 4:  # NFTA_TABLE_HANDLE
                        (handle,) = _U64.unpack_from(part, at)
                tables[nl.FAMILIES.get(part[start + 16], ""), table] = handle
        out: Chains = {}
        data = await self._dump(nl.NFT_MSG_GETCHAIN, nl.AF_UNSPEC, b"")
        for part in data:
            for _, _, start, end in nl.messages(part, len(part)):
                chain = _chain(part, start, end)
                chain.table_handle = tables.get(chain.key[:2], 0)
                out[chain.key] = chain
        return out

    async def _rules(self, chains: Chains) -> None:
        now = time.monotonic()
        if self._last_total <= WHOLE_DUMP_RULES:
            for chain in chains.values():
                chain.read_at_s = now
            await self._dump(nl.NFT_MSG_GETRULE, nl.AF_UNSPEC, b"", chains)
            return
        for key, chain in chains.items():
            last = self._last.get(key)
            if last is not None and len(last.handles) > LONG_CHAIN_RULES and last.table_handle == chain.table_handle and now - last.read_at_s < last.cost_s / LONG_CHAIN_DUTY:  # fmt: skip
                chain.handles, chain.packets, chain.sizes = last.handles, last.packets, last.sizes
                chain.read_at_s, chain.cost_s = last.read_at_s, last.cost_s
                continue
            chain.read_at_s = now
            before = self.cost_s - self._since + time.thread_time()
            body = nl.text(1, chain.table) + nl.text(2, chain.chain)
            await self._dump(nl.NFT_MSG_GETRULE, nl.FAMILY_NUMBERS[chain.family], body, chains)
            chain.cost_s = self.cost_s - self._since + time.thread_time() - before

    async def _dump(self, kind: int, family: int, body: bytes, into: Chains | None = None) -> list[bytes]:
        """Datagrams of a dump; with `into`, rules are taken from each at once and nothing is kept."""
        out: list[bytes] = []
        seq = self._socket.start_dump(kind, family, body)
        more = True
        while more:
            got: list[bytes] = []
            more = self._socket.receive(seq, got)
            for part in got:
                if into is None:
                    out.append(part)
                else:
                    _take_rules(part, into)
            if time.thread_time() - self._since > 0.004:
                self.cost_s += time.thread_time() - self._since
                await asyncio.sleep(0)
                self._since = time.thread_time()
        return out


def _string(data: bytes, start: int, end: int) -> str:
    return data[start:end].rstrip(b"\0").decode("utf-8", "surrogateescape")


def _chain(data: bytes, start: int, end: int) -> RawChain:
    family = nl.FAMILIES.get(data[start + 16], str(data[start + 16]))
    chain = RawChain(family, "", "")
    for kind, at, stop in nl.attributes(data, start + 20, end):
        if kind == 1:  # NFTA_CHAIN_TABLE
            chain.table = _string(data, at, stop)
        elif kind == 3:  # NFTA_CHAIN_NAME
            chain.chain = _string(data, at, stop)
        elif kind == 4:  # NFTA_CHAIN_HOOK
            names = nl.HOOK_NAMES.get(family, ())
            for inner, value, value_end in nl.attributes(data, at, stop):
                if inner == 1:  # NFTA_HOOK_HOOKNUM
                    (number,) = struct.unpack_from(">I", data, value)
                    chain.hook = names[number] if number < len(names) else f"hook {number}"
                elif inner == 2:  # NFTA_HOOK_PRIORITY
                    (chain.priority,) = struct.unpack_from(">i", data, value)
                elif inner == 3:  # NFTA_HOOK_DEV
                    chain.device = _string(data, value, value_end)
                elif inner == 4:  # NFTA_HOOK_DEVS: NFTA_DEVICE_NAME each
                    names_of = [_string(data, a, b) for _, a, b in nl.attributes(data, value, value_end)]
                    chain.device = ", ".join(names_of)
        elif kind == 5:  # NFTA_CHAIN_POLICY
            chain.policy = "ACCEPT" if struct.unpack_from(">I", data, at)[0] else "DROP"
        elif kind == 8:  # NFTA_CHAIN_COUNTERS
            for inner, value, _ in nl.attributes(data, at, stop):
                if inner == 1:  # NFTA_COUNTER_BYTES
                    (chain.policy_bytes,) = _U64.unpack_from(data, value)
                elif inner == 2:  # NFTA_COUNTER_PACKETS
                    (chain.policy_packets,) = _U64.unpack_from(data, value)
    return chain


_HEAD = struct.Struct("=I")
_LENGTH = struct.Struct("=H")


def _take_rules(data: bytes, into: Chains) -> None:
    """Append the rules of one datagram to their chains.

    A rule's message begins with table, chain and handle, in this order (nf_tables_fill_rule_info).
    """
    start, size = 0, len(data)
    last_key: bytes | None = None
    chain: RawChain | None = None
    while start + 20 < size:
        (length,) = _HEAD.unpack_from(data, start)
        end = start + length
        at = start + 20
        at += (_LENGTH.unpack_from(data, at)[0] + 3) & ~3
        at += (_LENGTH.unpack_from(data, at)[0] + 3) & ~3
        key = data[start + 16 : start + 17] + data[start + 20 : at]
        if key != last_key:
            last_key, chain = key, into.get(_rule_key(data, start, end))
        if chain is not None:
            chain.handles.append(_U64.unpack_from(data, at + 4)[0])
            found = _COUNTER.search(data, at, end)
            if found is None:
                chain.packets.append(-1)
                chain.sizes.append(-1)
            else:
                later = _COUNTER.search(data, found.end(), end)
                while later is not None:
                    found, later = later, _COUNTER.search(data, later.end(), end)
                chain.sizes.append(int.from_bytes(found[1], "big"))
                chain.packets.append(int.from_bytes(found[2], "big"))
        start = (end + 3) & ~3


def _rule_key(data: bytes, start: int, end: int) -> tuple[str, str, str]:
    table = chain = ""
    for kind, at, stop in nl.attributes(data, start + 20, end):
        if kind == 1:  # NFTA_RULE_TABLE
            table = _string(data, at, stop)
        elif kind == 2:  # NFTA_RULE_CHAIN
            chain = _string(data, at, stop)
            break
    return nl.FAMILIES.get(data[start + 16], str(data[start + 16])), table, chain
