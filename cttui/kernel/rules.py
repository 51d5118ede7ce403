"""The rule sets of every backend: iptables-nft, iptables-legacy, ip6tables, native nftables.

nf_tables (which holds iptables-nft too) gives structure and counters over netlink; texts come from
`iptables-nft-save` and `nft -j -t`, read again only for tables whose rules changed. Legacy tables come whole
from `iptables-legacy-save -c`. Nothing here waits for the xtables lock, loads a module or makes a table.
"""

import asyncio
import re
from pathlib import Path

from cttui.kernel import iptables_save, nft_rules
from cttui.kernel.iptables_save import BUILTIN, SavedChain
from cttui.kernel.rule_commands import ChildFailedError, Meter, Tools, find_tools
from cttui.kernel.rule_texts import RuleTexts
from cttui.kernel.ruleset import ChainRules, RuleSet, Texts

OURS = re.compile(r"cttui_(?:trace_)?\d+\Z")
BIG_RULES = 5000
"""Above, texts are read beside the counters and may come later."""


class Reader:
    """Reads a namespace's rules again and again. Keep one: it remembers texts, and asks again what changed."""

    def __init__(self) -> None:
        self.watched: nft_rules.Watched = {}
        """Rules on screen: their counters are read each time, whatever the rest costs."""
        self._tools: Tools | None = None
        self._nft: nft_rules.NftRules | None = None
        self._texts = RuleTexts()
        self._reading_texts: asyncio.Task[None] | None = None
        self._legacy: dict[tuple[str, str, str], Texts] = {}

    def close(self) -> None:
        """Close the netlink socket."""
        if self._reading_texts is not None:
            self._reading_texts.cancel()
        if self._nft is not None:
            self._nft.close()
            self._nft = None

    async def read(self, whole: bool = False) -> RuleSet:
        """Every chain of every backend, with counters. Never raises for a tool that is missing or fails.

        `whole`: with every counter and text, whatever that costs. Otherwise chains that are dear to read are
        read more rarely, and the texts of a large rule set come when they are there.
        """
        if self._tools is None:
            self._tools = await find_tools()
        meter = Meter()
        missing: list[str] = []
        chains = await self._read_nft(self._tools, meter, missing, whole)
        dear_s = self._nft.dear_s if self._nft is not None else 0.0
        chains += await self._read_legacy(self._tools, meter, missing)
        dear = any(c.dear_s for c in chains)
        return RuleSet(chains, missing, meter.spent_s - dear_s, dear)

    # -------------------------------------------------------------------------------------- nf_tables

    async def _read_nft(self, tools: Tools, meter: Meter, missing: list[str], whole: bool) -> list[ChainRules]:  # fmt: skip
        try:
            if self._nft is None:
                self._nft = nft_rules.NftRules()
            generation, raw = await self._nft.read(meter, self.watched, whole)
        except OSError as e:
            missing.append(f"nf_tables rules (nftables, iptables-nft) can't be read: {e.strerror or e}.")
            return []
        shown = {key: c for key, c in raw.items() if not OURS.match(c.table)}
        total = sum(len(c.handles) for c in shown.values())
        idle = self._reading_texts is None or self._reading_texts.done()
        if idle and (stale := self._texts.stale(shown)):
            work = self._read_texts(tools, shown, stale, generation)
            self._reading_texts = asyncio.create_task(work, name="rule texts")
        if self._reading_texts is not None and (whole or total <= BIG_RULES):
            await meter.outside(self._reading_texts)
        if self._reading_texts is not None and not self._reading_texts.done():
            missing.append(f"The texts of {total:,} rules are being read; their counters are here already.")
        missing += self._texts.failed.values()
        missing += self._not_installed(tools, [c for c in shown.values() if c.handles])
        out = []
        for chain in raw.values():
            out.append(_nft_chain(chain, await self._texts.of(chain, meter)))
            await meter.give_way()
        return out

    async def _read_texts(self, tools: Tools, shown: nft_rules.Chains, stale: list[tuple[str, str, str]], generation: int) -> None:  # fmt: skip
        await self._texts.read(tools, shown, stale)
        # iptables' texts are told from each other by their position only.
        try:
            same = self._nft is not None and self._nft.generation() == generation
        except OSError:
            same = False
        if not same:
            self._texts.forget(stale)

    def _not_installed(self, tools: Tools, chains: list[nft_rules.RawChain]) -> list[str]:
        """What is not shown for want of a command, only where there is something to show."""
        native = [c for c in chains if self._texts.backend(c.family, c.table) == "nft"]
        out = []
        for family, name in (("ip", "iptables"), ("ip6", "ip6tables")):
            if family not in tools.nft_save and any(c.family == family and c.table in iptables_save.TABLES for c in native):  # fmt: skip
                out.append(f"{name}-nft-save is not installed: rules of {name} are shown as nft sees them.")
        if native and tools.nft is None:
            out.append("nft is not installed: native rules are counted, their text is not shown.")  # fmt: skip
        return out

    # ----------------------------------------------------------------------------------------- legacy

    async def _read_legacy(self, tools: Tools, meter: Meter, missing: list[str]) -> list[ChainRules]:
        out: list[ChainRules] = []
        unread: dict[str, list[str]] = {}
        for family, proc in (("ip", "ip_tables_names"), ("ip6", "ip6_tables_names")):
            names = Path("/proc/thread-self/net") / proc
            try:
                if not names.read_text().strip():
                    continue
            except FileNotFoundError:
                continue  # the kernel has no legacy tables at all
            except OSError as e:
                unread.setdefault(e.strerror or str(e), []).append(family)
                continue
            command = tools.legacy_save.get(family)
            if command is None:
                word = "iptables" if family == "ip" else "ip6tables"
                missing.append(
                    f"{word}-legacy-save is not installed, but legacy tables are in use: they are not shown."
                )
                continue
            try:
                listing = await meter.run(command, "-c")
            except (OSError, ChildFailedError) as e:
                missing.append(f"{e}.")
                continue
            for saved in await iptables_save.read(listing, meter):
                before = self._legacy.get((family, saved.table, saved.chain))
                if before is None or before.lines != saved.texts:
                    before = Texts("iptables-legacy", saved.texts)
                    for _ in before.scan():
                        await meter.give_way()
                    self._legacy[family, saved.table, saved.chain] = before
                out.append(_legacy_chain(family, saved, before))
        missing += [f"Legacy tables ({', '.join(of)}) can't be read: {why}." for why, of in unread.items()]
        return out


def _sayable(name: str) -> str:
    """A name of any bytes as text that can be sent: `\\xff`."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _nft_chain(chain: nft_rules.RawChain, texts: Texts) -> ChainRules:
    return ChainRules(
        backend=texts.backend,
        family=chain.family,
        table=_sayable(chain.table),
        chain=_sayable(chain.chain),
        texts=texts,
        packets=chain.packets,
        sizes=chain.sizes,
        hook=chain.hook,
        priority=chain.priority,
        device=_sayable(chain.device),
        policy=chain.policy if chain.hook else "",
        policy_packets=chain.policy_packets,
        policy_bytes=chain.policy_bytes,
        ours=OURS.match(chain.table) is not None,
        handles=chain.handles,
        table_handle=chain.table_handle,
        read_at_s=chain.read_at_s,
        fresh=chain.fresh,
        dear_s=chain.cost_s if chain.dear else 0.0,
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
