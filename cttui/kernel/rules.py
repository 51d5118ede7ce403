"""The rule sets of every backend: iptables-nft, iptables-legacy, ip6tables, native nftables.

nf_tables (which holds iptables-nft too) gives structure and counters over netlink; texts come from
`iptables-nft-save` and `nft -j -t`, read again only for tables whose rules changed. Legacy tables come whole
from `iptables-legacy-save -c`. Nothing here waits for the xtables lock, loads a module or makes a table.
"""

import asyncio
import json
import os
import re
import resource
import shutil
import time
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import msgspec

from cttui.kernel import iptables_save, nft_rules
from cttui.kernel.iptables_save import BUILTIN, SavedChain
from cttui.kernel.ruleset import NOT_READ, ChainRules, Rates, RuleSet, Texts, changes
from cttui.model.hooks import Chain

__all__ = [
    "ChainRules", "Rates", "Reader", "RuleSet", "changes", "conntrack_active", "find_tools", "read",
]  # fmt: skip

CHILD_TIMEOUT_S = 60.0
OURS = re.compile(r"cttui_(?:trace_)?\d+\Z")
_SBIN = "/usr/local/sbin:/usr/sbin:/sbin"
"""Where the tools are for people whose PATH leaves the administrator's directories out."""

Key = tuple[str, str, str]
T = TypeVar("T")


@dataclass(slots=True)
class Tools:
    """The commands found, by what they read; None where there is none."""

    nft: str | None = None
    nft_save: dict[str, str] = field(default_factory=dict)
    """family → iptables-save of the nf_tables kind."""
    legacy_save: dict[str, str] = field(default_factory=dict)


def _which(name: str) -> str | None:
    path = os.environ.get("PATH", os.defpath)
    return shutil.which(name, path=f"{path}:{_SBIN}" if path else None)


async def find_tools() -> Tools:
    """Which commands there are. A bare `iptables-save` may be either kind: its `-V` says which."""
    tools = Tools(nft=_which("nft"))
    for family, name in (("ip", "iptables"), ("ip6", "ip6tables")):
        for kind, into in (("nft", tools.nft_save), ("legacy", tools.legacy_save)):
            found = _which(f"{name}-{kind}-save")
            if found is not None:
                into[family] = found
        plain = _which(f"{name}-save")
        if plain is not None and not (family in tools.nft_save and family in tools.legacy_save):
            try:
                version = (await run(plain, "-V", time_limit_s=5.0))[0]
            except (OSError, ChildFailedError):
                continue
            # iptables before 1.8 knows only the legacy kind and says nothing in parentheses.
            into = tools.nft_save if b"nf_tables" in version else tools.legacy_save
            into.setdefault(family, plain)
    return tools


class ChildFailedError(Exception):
    """A command ended with an error; the text is its last line."""


async def run(*argv: str, time_limit_s: float = CHILD_TIMEOUT_S) -> tuple[bytes, bytes]:
    """(stdout, stderr) of a command, without a shell. Raises ChildFailedError, OSError."""
    # Legacy tools open the lock file even to read, which an ordinary user may not.
    env = dict(os.environ, XTABLES_LOCKFILE="/dev/null", LC_ALL="C")
    child = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=env,
    )
    try:
        async with asyncio.timeout(time_limit_s):
            out, err = await child.communicate()
    except TimeoutError:
        raise ChildFailedError(f"{Path(argv[0]).name} did not answer within {time_limit_s:.0f} s") from None
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode != 0:
        last = err.decode("utf-8", "replace").strip().splitlines()[-1:] or ["no message"]
        raise ChildFailedError(f"{Path(argv[0]).name}: {last[0]}")
    return out, err


class _Meter:
    """Sums the CPU time of this reader, and not what others do while it waits."""

    def __init__(self) -> None:
        self.total_s = 0.0
        self._since = time.thread_time()

    async def give_way(self) -> None:
        """Let the loop do something else when the present step has taken 5 ms."""
        now = time.thread_time()
        if now - self._since >= 0.005:
            self.total_s += now - self._since
            await asyncio.sleep(0)
            self._since = time.thread_time()

    async def outside(self, work: Awaitable[T]) -> T:
        """Wait for something whose time is counted elsewhere."""
        self.total_s += time.thread_time() - self._since
        try:
            return await work
        finally:
            self._since = time.thread_time()


class _Head(msgspec.Struct):
    """The part of an nft rule that says whose text it is; the rest stays JSON until someone looks."""

    family: str
    table: str
    chain: str
    handle: int
    expr: msgspec.Raw
    comment: str = ""


class _Item(msgspec.Struct):
    rule: _Head | None = None


_ITEMS = msgspec.json.Decoder(list[_Item])
_BETWEEN = b', {"rule": '
"""Between two elements of nft's output; inside a JSON string the quotes would be escaped."""


class Reader:
    """Reads a namespace's rules again and again. Keep one: it remembers texts, and asks again what changed."""

    def __init__(self) -> None:
        self._tools: Tools | None = None
        self._nft: nft_rules.NftRules | None = None
        self._texts: dict[Key, dict[int, str]] = {}
        """Chain → handle → text (iptables) or JSON (nft)."""
        self._backend: dict[tuple[str, str], str] = {}
        self._handles: dict[Key, list[int]] = {}
        self._assembled: dict[Key, Texts] = {}
        self._generation: int | None = None
        self._text_cost_s = 0.0
        self._text_at_s = float("-inf")
        self._failed: dict[str, str] = {}
        """Command → why its last run failed."""
        self._legacy: dict[Key, Texts] = {}

    def close(self) -> None:
        """Close the netlink socket."""
        if self._nft is not None:
            self._nft.close()
            self._nft = None

    async def read(self) -> RuleSet:
        """Every chain of every backend, with counters. Never raises for a tool that is missing or fails."""
        if self._tools is None:
            self._tools = await find_tools()
        children = _children_cpu_s()
        meter = _Meter()
        missing: list[str] = []
        chains = await self._read_nft(self._tools, meter, missing)
        chains += await self._read_legacy(self._tools, meter, missing)
        await meter.outside(asyncio.sleep(0))
        nft_s = self._nft.cost_s if self._nft is not None else 0.0
        cost_s = meter.total_s + nft_s + _children_cpu_s() - children
        return RuleSet(chains, missing, cost_s, self._generation or 0)

    # -------------------------------------------------------------------------------------- nf_tables

    async def _read_nft(self, tools: Tools, meter: _Meter, missing: list[str]) -> list[ChainRules]:
        try:
            if self._nft is None:
                self._nft = nft_rules.NftRules()
            generation, raw = await meter.outside(self._nft.read())
        except OSError as e:
            missing.append(f"nf_tables rules (nftables, iptables-nft) can't be read: {e.strerror or e}.")
            return []
        changed = generation != self._generation
        shown = {key: c for key, c in raw.items() if not OURS.match(c.table)}
        stale = [key for key, c in shown.items() if c.handles != self._handles.get(key)]
        if changed:
            for key in [k for k in self._texts if k not in shown]:
                del self._texts[key]
        # A long text reading (seconds, for very large sets) is not repeated until it has been paid for.
        due = time.monotonic() - self._text_at_s >= 12 * self._text_cost_s
        if stale and due:
            started = time.thread_time()
            before = _children_cpu_s()
            await self._read_texts(tools, shown, stale, meter)
            self._text_cost_s = max(_children_cpu_s() - before, time.thread_time() - started)
            self._text_cost_s = self._text_cost_s if self._text_cost_s > 0.3 else 0.0
            self._text_at_s = time.monotonic()
            for key in stale:
                self._handles[key] = shown[key].handles
        self._generation = generation
        missing += _long_chains(shown.values(), time.monotonic())
        missing += self._failed.values()
        missing += _not_installed(tools, [c for c in shown.values() if c.handles], self._backend)
        out = []
        for key, chain in raw.items():
            backend = self._backend.get(key[:2], "nft")
            texts = self._assembled.get(key)
            if texts is None or texts.backend != backend or key in stale:
                known = self._texts.get(key, {})
                unread = (
                    "" if backend == "nft" else NOT_READ
                )  # an empty text is a rule of iptables: one that only counts
                texts = self._assembled[key] = Texts(
                    backend, [known.get(handle, unread) for handle in chain.handles]
                )
                for _ in texts.scan():
                    await meter.give_way()
            out.append(_nft_chain(chain, texts))
            await meter.give_way()
        return out

    async def _read_texts(self, tools: Tools, shown: nft_rules.Chains, stale: list[Key], meter: _Meter) -> None:  # fmt: skip
        """Read the texts of the tables that hold stale chains."""
        tables = {key[:2] for key in stale}
        xt_rules = await self._iptables_texts(tools, shown, tables, meter)
        native = sorted(t for t in tables if self._backend.get(t, "nft") == "nft")
        if not native or tools.nft is None:
            return
        # `list ruleset` would print iptables' tables again; with many rules there, one table at a time.
        if xt_rules > 2000:
            commands = [["list", "table", *table] for table in native]
        else:
            commands = [["list", "ruleset"]]
        for command in commands:
            try:
                out, _ = await meter.outside(run(tools.nft, "-j", "-t", *command))
            except (OSError, ChildFailedError) as e:
                self._failed["nft"] = f"Rules of native nftables have no text: {e}."
                continue
            self._failed.pop("nft", None)
            await self._take_json(out, set(native), meter)

    async def _iptables_texts(self, tools: Tools, shown: nft_rules.Chains, tables: set[tuple[str, str]], meter: _Meter) -> int:  # fmt: skip
        """Texts of what iptables-nft can show; marks those tables as its own. Returns how many rules."""
        count = 0
        for family in ("ip", "ip6"):
            wanted = {t for t in tables if t[0] == family and t[1] in iptables_save.TABLES}
            if not wanted:
                continue
            for table in wanted:
                self._backend.pop(table, None)
            command = tools.nft_save.get(family)
            if command is None:
                continue
            try:
                out, _ = await meter.outside(run(command))
            except (OSError, ChildFailedError) as e:
                self._failed[command] = f"Rules of iptables are shown as nft sees them: {e}."
                continue
            self._failed.pop(command, None)
            chains = await _parse(out, meter)
            for table in wanted:
                saved = [c for c in chains if c.table == table[1]]
                if self._match(family, table[1], saved, shown):
                    self._backend[table] = "iptables-nft"
                    count += sum(len(c.texts) for c in saved)
        return count

    def _match(self, family: str, table: str, saved: list[SavedChain], shown: nft_rules.Chains) -> bool:
        """Give the rules of a saved table to the kernel's by position; False where the two differ.

        They differ when the table holds what iptables can't say (it then leaves the table out) or when the
        rules changed in between: nft's own listing, which has handles, is right in both cases.
        """
        by_name = {c.chain: c for c in saved}
        chains = {k: c for k, c in shown.items() if k[:2] == (family, table)}
        for key, chain in chains.items():
            if key[2] not in by_name or len(by_name[key[2]].texts) != len(chain.handles):
                return False
        for key, chain in chains.items():
            self._texts[key] = dict(zip(chain.handles, by_name[key[2]].texts, strict=True))
        return True

    async def _take_json(self, out: bytes, native: set[tuple[str, str]], meter: _Meter) -> None:
        """Sort the rules of an `nft -j` listing to their chains, a megabyte at a time."""
        fresh: dict[Key, dict[int, str]] = {}
        at = out.find(_BETWEEN)
        end = out.rfind(b"]}")
        while 0 <= at < end:
            cut = out.find(_BETWEEN, min(at + (1 << 19), end), end)
            cut = end if cut < 0 else cut
            for item in _ITEMS.decode(b"[" + out[at + 2 : cut] + b"]"):
                head = item.rule
                if head is None or (head.family, head.table) not in native:
                    continue
                text = bytes(head.expr).decode()
                if head.comment:
                    text = f'{{"expr":{text},"comment":{json.dumps(head.comment)}}}'
                fresh.setdefault((head.family, head.table, head.chain), {})[head.handle] = text
            at = cut
            await meter.give_way()
        for key, texts in fresh.items():
            self._texts[key] = texts

    # ----------------------------------------------------------------------------------------- legacy

    async def _read_legacy(self, tools: Tools, meter: _Meter, missing: list[str]) -> list[ChainRules]:
        out: list[ChainRules] = []
        for family, proc in (("ip", "ip_tables_names"), ("ip6", "ip6_tables_names")):
            names = Path("/proc/thread-self/net") / proc
            try:
                if not names.read_text().strip():
                    continue
            except FileNotFoundError:
                continue  # the kernel has no legacy tables at all
            except OSError as e:
                missing.append(f"Legacy {family} tables can't be read: {e.strerror}.")
                continue
            command = tools.legacy_save.get(family)
            if command is None:
                word = "iptables" if family == "ip" else "ip6tables"
                missing.append(
                    f"{word}-legacy-save is not installed, but legacy tables are in use: they are not shown."
                )
                continue
            try:
                listing, _ = await meter.outside(run(command, "-c"))
            except (OSError, ChildFailedError) as e:
                missing.append(f"{e}.")
                continue
            for saved in await _parse(listing, meter):
                before = self._legacy.get((family, saved.table, saved.chain))
                if before is None or before.lines != saved.texts:
                    before = Texts("iptables-legacy", saved.texts)
                    for _ in before.scan():
                        await meter.give_way()
                    self._legacy[family, saved.table, saved.chain] = before
                out.append(_legacy_chain(family, saved, before))
        return out


def _long_chains(chains: Iterable[nft_rules.RawChain], now: float) -> list[str]:
    """Chains whose counters are older than this reading, because reading them is dear."""
    return [
        f"{c.family} {c.table} {c.chain}: {len(c.handles):,} rules in one chain cost the kernel {c.cost_s:.1f} s a "
        f"reading, so their counters are {now - c.read_at_s:.0f} s old."
        for c in chains
        if len(c.handles) > nft_rules.LONG_CHAIN_RULES and c.cost_s and now - c.read_at_s > 1
    ]


def _not_installed(tools: Tools, chains: list[nft_rules.RawChain], backend: dict[tuple[str, str], str]) -> list[str]:  # fmt: skip
    """What is not shown for want of a command, only where there is something to show."""
    native = [c for c in chains if backend.get(c.key[:2], "nft") == "nft"]
    out = []
    for family, name in (("ip", "iptables"), ("ip6", "ip6tables")):
        if family not in tools.nft_save and any(c.family == family and c.table in iptables_save.TABLES for c in native):  # fmt: skip
            out.append(f"{name}-nft-save is not installed: rules of {name} are shown as nft sees them.")
    if native and tools.nft is None:
        out.append("nft is not installed: rules of native nftables are counted, but their text is not shown.")
    return out


def _nft_chain(chain: nft_rules.RawChain, texts: Texts) -> ChainRules:
    return ChainRules(
        backend=texts.backend,
        family=chain.family,
        table=chain.table,
        chain=chain.chain,
        texts=texts,
        packets=chain.packets,
        sizes=chain.sizes,
        hook=chain.hook,
        priority=chain.priority,
        device=chain.device,
        policy=chain.policy if chain.hook else "",
        policy_packets=chain.policy_packets,
        policy_bytes=chain.policy_bytes,
        ours=OURS.match(chain.table) is not None,
        handles=chain.handles,
        table_handle=chain.table_handle,
        read_at_s=chain.read_at_s,
    )


def _legacy_chain(family: str, saved: SavedChain, texts: Texts) -> ChainRules:
    hook, priority = BUILTIN.get((saved.table, saved.chain), ("", 0)) if saved.policy else ("", 0)
    return ChainRules(
        backend="iptables-legacy",
        family=family,
        table=saved.table,
        chain=saved.chain,
        texts=texts,
        packets=saved.packets,
        sizes=saved.sizes,
        hook=hook,
        priority=priority,
        policy=saved.policy,
        policy_packets=saved.policy_packets,
        policy_bytes=saved.policy_bytes,
    )


async def _parse(listing: bytes, meter: _Meter) -> list[SavedChain]:
    chains: list[SavedChain] = []
    for step in iptables_save.parse(listing.decode("utf-8", "surrogateescape")):
        if step is None:
            await meter.give_way()
        else:
            chains = step
    return chains


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


async def read() -> RuleSet:
    """One reading, for callers that need only one. Keep a Reader to read again."""
    reader = Reader()
    try:
        return await reader.read()
    finally:
        reader.close()


def conntrack_active(chains: Iterable[Chain], family: str = "") -> tuple[bool | None, str]:
    """Whether rules switch conntrack on here, for `ip`, `ip6` or any family, and the rule that does.

    True: a rule or NAT chain registers it (nf_ct_netns_get). None: no rule does, and this kernel has no list
    of its hooks, so that a module (IPVS, Open vSwitch, tc) could have. Never False: that needs the list.
    """
    families = {"ip": ("ip", "inet"), "ip6": ("ip6", "inet")}.get(
        family, ("ip", "ip6", "inet", "bridge", "netdev")
    )
    word = {"ip": " for IPv4", "ip6": " for IPv6"}.get(family, "")
    untracked = ""
    for chain in chains:
        if chain.family not in families or chain.ours:
            continue
        for rule in chain.rules:
            if not rule.conntrack:
                continue
            where = f"{chain.backend} {chain.family} {chain.table} {chain.chain}: {rule.text}"
            if rule.conntrack == "NOTRACK":
                untracked = untracked or where
                continue
            return True, f"Conntrack is on{word} because of {where}"
    if untracked:
        return None, f"No rule switches conntrack on{word}; one only exempts packets from it ({untracked})."
    return (
        None,
        f"No rule here switches conntrack on{word}; the kernel does not say whether anything else did.",
    )
