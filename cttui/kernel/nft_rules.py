"""Tables, chains and rule counters of nf_tables, read over netlink: cheap, and the same for iptables-nft.

Texts are not read here. A rule set of 100,000 rules costs `nft -j` eight seconds and this file a few tenths
where the rules are spread over many chains. A chain of very many rules is dear: for every 32 KiB of a dump the
kernel walks its rules from the first one (nf_tables_dump_rules), 100,000 rules take it 2 to 3 s. Such a chain is
read whole more rarely; in between, the rules on screen are asked for singly, at most 3.2 ms each (the 100,000th:
nft_rule_lookup walks, too).
"""

import errno
import struct
import time
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from cttui.kernel import nft_netlink as nl
from cttui.kernel.rule_commands import Meter
from cttui.kernel.rule_counters import RulePart, counts_of_one

_U64 = struct.Struct(">Q")
WHOLE_DUMP_RULES = 5000
"""Up to here one dump for everything; above, one a chain: the kernel's walk is quadratic in what it dumps."""
DEAR_S = 0.3
"""A chain that costs so much CPU a reading is dear."""
DEAR_DUTY = 0.06
"""Share of a core for whole readings of dear chains, all together."""

WATCHED_S = 0.3
"""CPU seconds a reading for the rules on screen of dear chains: the first ones in the screen's order."""

Watched = Mapping[tuple[str, str, str], Sequence[int]]
"""Chain → indices of the rules on screen."""


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
    use: int = 0
    """Its rules, and the rules that jump to it."""
    read_at_s: float = 0.0
    """Monotonic time of its rules' counters."""
    cost_s: float = 0.0
    """CPU seconds of its last whole reading; 0 where chains are read all at once."""
    fresh: dict[int, float] = field(default_factory=dict)
    """Index → monotonic time of counters that were read singly since."""
    handles: list[int] = field(default_factory=list)
    packets: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)

    @property
    def key(self) -> tuple[str, str, str]:
        """(family, table, chain)."""
        return self.family, self.table, self.chain

    @property
    def dear(self) -> bool:
        """Whether its counters are read more rarely than the rest."""
        return self.cost_s > DEAR_S


Chains = dict[tuple[str, str, str], RawChain]
Request = tuple[str, str, str] | None
"""The chain whose rules are dumped; None: all rules."""


class NftRules:
    """Reads the rule set's structure and counters."""

    def __init__(self) -> None:
        self._socket = nl.NftSocket()
        self._last: Chains = {}
        self._parts: dict[Request, list[RulePart]] = {}
        """What the last dump of these rules looked like."""
        self._unfinished = False
        self.dear_s = 0.0
        """CPU seconds of the last read that went into whole readings of dear chains."""

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    async def read(self, meter: Meter, watched: Watched, whole: bool) -> tuple[int, Chains]:
        """(generation, chains). `whole` reads dear chains, too, and not only their `watched` rules.

        Raises OSError: EPERM without CAP_NET_ADMIN in the namespace's user namespace. A read that a transaction
        falls into is taken again; after five times InterruptedError.
        """
        self.dear_s = 0.0
        for _ in range(5):
            if self._unfinished:
                # A dump cut short goes on arriving; a new socket is cheaper than taking the rest.
                self._socket.close()
                self._socket = nl.NftSocket()
            self._unfinished = True
            before = self._socket.generation()
            try:
                chains = await self._chains(meter)
                await self._rules(chains, meter, watched, whole)
            except InterruptedError:
                continue
            after = self._socket.generation()
            self._unfinished = False
            if after == before:
                self._last = chains
                return before, chains
        raise InterruptedError(errno.EINTR, "The rule set changes faster than it can be read.")

    def generation(self) -> int:
        """The rule set's generation now."""
        return self._socket.generation()

    async def _chains(self, meter: Meter) -> Chains:
        tables: dict[tuple[str, str], int] = {}
        data = await self._dump(nl.NFT_MSG_GETTABLE, meter)
        for _, _, start, end in nl.messages(data, len(data)):
            table, handle = "", 0
            for kind, at, stop in nl.attributes(data, start + 20, end):
                if kind == 1:  # NFTA_TABLE_NAME
                    table = _string(data[at:stop])
                elif kind == 4:  # NFTA_TABLE_HANDLE
                    (handle,) = _U64.unpack_from(data, at)
            tables[nl.FAMILIES.get(data[start + 16], ""), table] = handle
        out: Chains = {}
        data = await self._dump(nl.NFT_MSG_GETCHAIN, meter)
        for _, _, start, end in nl.messages(data, len(data)):
            chain = _chain(data, start, end)
            chain.table_handle = tables.get(chain.key[:2], 0)
            out[chain.key] = chain
        return out

    async def _rules(self, chains: Chains, meter: Meter, watched: Watched, whole: bool) -> None:
        now = time.monotonic()
        if sum(c.use for c in chains.values()) <= WHOLE_DUMP_RULES:
            for chain in chains.values():
                chain.read_at_s = now
            await self._dump_rules(chains, meter)
            self._forget_parts({None})
            return
        dear_s = sum(c.cost_s for c in self._last.values() if c.dear)
        singly_s = 0.0
        for key, chain in chains.items():
            last = self._last.get(key)
            dear = last is not None and last.dear and last.table_handle == chain.table_handle
            if dear and last is not None and not whole and now - last.read_at_s < dear_s / DEAR_DUTY:
                before = meter.spent_s
                await self._watched(chain, last, watched.get(key, ()), meter, WATCHED_S - singly_s)
                singly_s += meter.spent_s - before
                continue
            chain.read_at_s = time.monotonic()
            before = meter.spent_s
            await self._dump_rules(chains, meter, chain)
            chain.cost_s = meter.spent_s - before
            if dear or chain.dear:
                self.dear_s += chain.cost_s
        self._forget_parts(chains.keys())

    def _forget_parts(self, but: Set[Request]) -> None:
        for request in self._parts.keys() - but:
            del self._parts[request]

    async def _watched(self, chain: RawChain, last: RawChain, indices: Sequence[int], meter: Meter, most_s: float) -> None:  # fmt: skip
        """The chain as it was read last, with the counters of some rules as they are now."""
        end = meter.spent_s + most_s
        chain.handles, chain.packets, chain.sizes = last.handles, list(last.packets), list(last.sizes)
        chain.read_at_s, chain.cost_s, chain.fresh = last.read_at_s, last.cost_s, dict(last.fresh)
        names = _names(chain)
        for i in indices:
            if i >= len(chain.handles) or meter.spent_s > end:
                continue
            handle = nl.attr(3, _U64.pack(chain.handles[i]))
            try:
                data = self._socket.get(nl.NFT_MSG_GETRULE, nl.FAMILY_NUMBERS[chain.family], names + handle)
            except FileNotFoundError:
                continue  # deleted meanwhile: the next whole reading says so
            chain.packets[i], chain.sizes[i] = counts_of_one(data)
            chain.fresh[i] = time.monotonic()
            await meter.give_way()

    async def _dump(self, kind: int, meter: Meter) -> bytes:
        """The messages of a dump of tables or chains."""
        out: list[bytes] = []
        seq = self._socket.start_dump(kind, nl.AF_UNSPEC)
        end = None
        while end is None:
            data = self._socket.receive()
            found, end = nl.messages_of(data, seq)
            out += [bytes(data[start:stop]) for start, stop in found]
            await meter.give_way()
        return b"".join(out)

    async def _dump_rules(self, chains: Chains, meter: Meter, only: RawChain | None = None) -> None:
        """Give chains their rules, from a dump of all rules or of `only` one chain's."""
        family = nl.FAMILY_NUMBERS[only.family] if only is not None else nl.AF_UNSPEC
        seq = self._socket.start_dump(nl.NFT_MSG_GETRULE, family, _names(only) if only is not None else b"")
        known = iter(self._parts.get(only.key if only is not None else None, ()))
        parts: list[RulePart] = []
        done = False
        while not done:
            data = self._socket.receive()
            part = next(known, None)
            if part is None or not part.fits(data, seq):
                part = RulePart(data, seq)
            parts.append(part)
            for (number, table, name), handles, packets, sizes in part.of_chains(data):
                key = nl.FAMILIES.get(number, str(number)), _string(table), _string(name)
                if (chain := chains.get(key)) is not None:
                    chain.handles += handles
                    chain.packets += packets
                    chain.sizes += sizes
            done = part.done
            await meter.give_way()
        self._parts[only.key if only is not None else None] = parts


def _names(chain: RawChain) -> bytes:
    """NFTA_RULE_TABLE and NFTA_RULE_CHAIN."""
    return nl.text(1, chain.table) + nl.text(2, chain.chain)


def _string(data: bytes) -> str:
    return data.rstrip(b"\0").decode("utf-8", "surrogateescape")


def _chain(data: bytes, start: int, end: int) -> RawChain:
    family = nl.FAMILIES.get(data[start + 16], str(data[start + 16]))
    chain = RawChain(family, "", "")
    for kind, at, stop in nl.attributes(data, start + 20, end):
        if kind == 1:  # NFTA_CHAIN_TABLE
            chain.table = _string(data[at:stop])
        elif kind == 3:  # NFTA_CHAIN_NAME
            chain.chain = _string(data[at:stop])
        elif kind == 4:  # NFTA_CHAIN_HOOK
            names = nl.HOOK_NAMES.get(family, ())
            for inner, value, value_end in nl.attributes(data, at, stop):
                if inner == 1:  # NFTA_HOOK_HOOKNUM
                    (number,) = struct.unpack_from(">I", data, value)
                    chain.hook = names[number] if number < len(names) else f"hook {number}"
                elif inner == 2:  # NFTA_HOOK_PRIORITY
                    (chain.priority,) = struct.unpack_from(">i", data, value)
                elif inner == 3:  # NFTA_HOOK_DEV
                    chain.device = _string(data[value:value_end])
                elif inner == 4:  # NFTA_HOOK_DEVS: NFTA_DEVICE_NAME each
                    names_of = [_string(data[a:b]) for _, a, b in nl.attributes(data, value, value_end)]
                    chain.device = ", ".join(names_of)
        elif kind == 5:  # NFTA_CHAIN_POLICY
            chain.policy = "ACCEPT" if struct.unpack_from(">I", data, at)[0] else "DROP"
        elif kind == 6:  # NFTA_CHAIN_USE
            (chain.use,) = struct.unpack_from(">I", data, at)
        elif kind == 8:  # NFTA_CHAIN_COUNTERS
            for inner, value, _ in nl.attributes(data, at, stop):
                if inner == 1:  # NFTA_COUNTER_BYTES
                    (chain.policy_bytes,) = _U64.unpack_from(data, value)
                elif inner == 2:  # NFTA_COUNTER_PACKETS
                    (chain.policy_packets,) = _U64.unpack_from(data, value)
    return chain
