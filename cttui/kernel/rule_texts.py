"""Texts of nf_tables rules, from `iptables-nft-save` and `nft -j -t`; read again only where rules changed.

Rules are known by their handles, which the kernel never uses twice in a table, so that a text once read stays
right however late it is read.
"""

import json
import re
import time
from collections.abc import Iterable

import msgspec

from cttui.kernel import iptables_save, nft_rules
from cttui.kernel.iptables_save import SavedChain
from cttui.kernel.rule_commands import ChildFailedError, Meter, Tools
from cttui.kernel.ruleset import NOT_READ, Texts

DUTY = 0.02
"""Share of a core for reading texts: a listing of 100,000 rules takes nft eight seconds."""
CHEAP_S = 0.3

Key = tuple[str, str, str]


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


def _plain(name: str) -> bool:
    """Whether a name can be an argument of nft."""
    return re.fullmatch(r"[\w/.-]+", name, re.ASCII) is not None


class RuleTexts:
    """The texts of every chain of nf_tables. `failed` says, by command, why its last run failed."""

    def __init__(self) -> None:
        self.failed: dict[str, str] = {}
        self._texts: dict[Key, dict[int, str]] = {}
        """Chain → handle → text (iptables) or JSON (nft)."""
        self._backend: dict[tuple[str, str], str] = {}
        self._handles: dict[Key, list[int]] = {}
        """Chain → its rules when its texts were read."""
        self._assembled: dict[Key, tuple[list[int], Texts]] = {}
        self._cost_s = 0.0
        self._read_at_s = float("-inf")

    def stale(self, chains: nft_rules.Chains) -> list[Key]:
        """Chains whose rules are not those that were read; [] while a dear reading has yet to be paid for."""
        if time.monotonic() - self._read_at_s < self._cost_s / DUTY:
            return []
        return [key for key, c in chains.items() if c.handles != self._handles.get(key)]

    async def read(self, tools: Tools, shown: nft_rules.Chains, stale: list[Key]) -> None:
        """Read the texts of the tables that hold stale chains. Nothing is taken over where a command fails."""
        meter = Meter()
        for key in [k for k in self._texts if k not in shown]:
            del self._texts[key]
            self._assembled.pop(key, None)
        tables = {key[:2] for key in stale}
        xt_rules = await self._iptables(tools, shown, tables, meter)
        native = sorted(t for t in tables if self.backend(*t) == "nft")
        if native and tools.nft is not None:
            # `list ruleset` would print iptables' tables again; with many rules there, one table at a time. A
            # name that is no text makes nft fail for everything.
            named = [t for t in native if _plain(t[1])]
            if xt_rules > 2000 or named != native:
                commands = [["list", "table", *table] for table in named]
            else:
                commands = [["list", "ruleset"]]
            for command in commands:
                try:
                    out = await meter.run(tools.nft, "-j", "-t", *command)
                    await self._take_json(out, set(native), meter)
                # ValueError: bytes that are no text, or no JSON
                except (OSError, ChildFailedError, msgspec.DecodeError, ValueError) as e:
                    self.failed["nft"] = f"Rules of native nftables have no text: {e}."
                    continue
                self.failed.pop("nft", None)
        self._cost_s = meter.spent_s if meter.spent_s > CHEAP_S else 0.0
        self._read_at_s = time.monotonic()
        for key in stale:
            self._handles[key] = shown[key].handles
            self._assembled.pop(key, None)

    def forget(self, keys: Iterable[Key]) -> None:
        """The rules moved while these chains' texts were read: read them again."""
        for key in keys:
            self._handles.pop(key, None)

    def backend(self, family: str, table: str) -> str:
        """`iptables-nft` or `nft`."""
        return self._backend.get((family, table), "nft")

    async def of(self, chain: nft_rules.RawChain, meter: Meter) -> Texts:
        """The texts of a chain in the order of its rules; those not read yet say so."""
        backend = self.backend(chain.family, chain.table)
        known = self._assembled.get(chain.key)
        if known is not None and known[1].backend == backend and known[0] == chain.handles:
            return known[1]
        texts = self._texts.get(chain.key, {})
        # An empty text is a rule of iptables: one that only counts.
        unread = "" if backend == "nft" else NOT_READ
        found = Texts(backend, [texts.get(handle, unread) for handle in chain.handles])
        for _ in found.scan():
            await meter.give_way()
        self._assembled[chain.key] = chain.handles, found
        return found

    async def _iptables(self, tools: Tools, shown: nft_rules.Chains, tables: set[tuple[str, str]], meter: Meter) -> int:  # fmt: skip
        """Texts of what iptables-nft can show; marks those tables as its own. Returns how many rules."""
        count = 0
        for family in ("ip", "ip6"):
            wanted = {t for t in tables if t[0] == family and t[1] in iptables_save.TABLES}
            if not wanted:
                continue
            command = tools.nft_save.get(family)
            chains: list[SavedChain] = []
            if command is not None:
                try:
                    chains = await iptables_save.read(await meter.run(command), meter)
                    self.failed.pop(command, None)
                except (OSError, ChildFailedError) as e:
                    self.failed[command] = f"Rules of iptables are shown as nft sees them: {e}."
            for table in wanted:
                saved = [c for c in chains if c.table == table[1]]
                if self._match(family, table[1], saved, shown):
                    self._backend[table] = "iptables-nft"
                    count += sum(len(c.texts) for c in saved)
                else:
                    self._backend.pop(table, None)
        return count

    def _match(self, family: str, table: str, saved: list[SavedChain], shown: nft_rules.Chains) -> bool:
        """Give the rules of a saved table to the kernel's by position; False where the two differ.

        They differ when the table holds what iptables can't say: it then leaves the table out. nft's own
        listing, which has handles, is right then.
        """
        by_name = {c.chain: c for c in saved}
        chains = {k: c for k, c in shown.items() if k[:2] == (family, table)}
        for key, chain in chains.items():
            if key[2] not in by_name or len(by_name[key[2]].texts) != len(chain.handles):
                return False
        for key, chain in chains.items():
            self._texts[key] = dict(zip(chain.handles, by_name[key[2]].texts, strict=True))
        return True

    async def _take_json(self, out: bytes, native: set[tuple[str, str]], meter: Meter) -> None:
        """Sort the rules of an `nft -j` listing to their chains, half a megabyte at a time."""
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
        self._texts |= fresh
