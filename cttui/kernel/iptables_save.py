"""What `iptables-save` prints: rules as a person types them, counters, policies, where each chain sits."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from cttui.kernel.rule_commands import Meter

BUILTIN: dict[tuple[str, str], tuple[str, int]] = {
    **{("raw", c): (c.lower(), -300) for c in ("PREROUTING", "OUTPUT")},
    **{("mangle", c): (c.lower(), -150) for c in ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")},
    ("nat", "PREROUTING"): ("prerouting", -100), ("nat", "OUTPUT"): ("output", -100),
    ("nat", "INPUT"): ("input", 100), ("nat", "POSTROUTING"): ("postrouting", 100),
    **{("filter", c): (c.lower(), 0) for c in ("INPUT", "FORWARD", "OUTPUT")},
    **{("security", c): (c.lower(), 50) for c in ("INPUT", "FORWARD", "OUTPUT")},
}  # fmt: skip
"""(table, chain) → (hook, priority), enum nf_ip_hook_priorities."""

TABLES = ("raw", "mangle", "nat", "filter", "security")

_COUNTERS = re.compile(r"\[(\d+):(\d+)\] ?")
_QUOTED = re.compile(r'"(?:\\.|[^"\\])*"', re.DOTALL)
_ESCAPED = re.compile(r"\\.", re.DOTALL)
_TARGET = re.compile(r"(?:^| )-[jg] (\S+)")


@dataclass(slots=True)
class SavedChain:
    """One chain; counters are None in a listing made without `-c`."""

    table: str
    chain: str
    policy: str = ""
    policy_packets: int | None = None
    policy_bytes: int | None = None
    texts: list[str] = field(default_factory=list)
    packets: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)


def _lines(text: str) -> Iterator[str]:
    """Lines, put together again where a quoted comment holds line ends."""
    pending = ""
    for line in text.split("\n"):
        if pending:
            line = pending + "\n" + line
        if '"' in line and _ESCAPED.sub("", line).count('"') % 2:
            pending = line
            continue
        pending = ""
        yield line
    if pending:
        yield pending


def parse(text: str, step: int = 2000) -> Iterator[list[SavedChain] | None]:
    """Chains of one listing. Yields None after every `step` lines, so that a caller can give way, then the list.

    Lines that are not understood (warnings, comments) are left out.
    """
    chains: dict[tuple[str, str], SavedChain] = {}
    table = ""
    for number, line in enumerate(_lines(text)):
        if number % step == step - 1:
            yield None
        counters = None
        start = line[:1]
        if start == "[":
            counters = _COUNTERS.match(line)
            if counters is None:
                continue
            line = line[counters.end() :]
            start = line[:1]
        if start == "-":
            if not line.startswith("-A "):
                continue
            name, _, rest = line[3:].partition(" ")
            chain = chains.get((table, name))
            if chain is None:
                chain = chains[table, name] = SavedChain(table, name)
            chain.texts.append(rest)
            if counters is not None:
                chain.packets.append(int(counters[1]))
                chain.sizes.append(int(counters[2]))
        elif start == "*":
            table = line[1:].strip()
        elif start == ":":
            name, policy, *rest_of = line[1:].split(" ")
            chain = chains[table, name] = SavedChain(table, name, "" if policy == "-" else policy)
            counted = _COUNTERS.match(rest_of[0]) if rest_of else None
            if counted is not None and policy != "-":
                chain.policy_packets, chain.policy_bytes = int(counted[1]), int(counted[2])
    yield list(chains.values())


async def read(listing: bytes, meter: Meter) -> list[SavedChain]:
    """Chains of one listing, giving way to others meanwhile."""
    chains: list[SavedChain] = []
    for step in parse(listing.decode("utf-8", "backslashreplace")):
        if step is None:
            await meter.give_way()
        else:
            chains = step
    return chains


def bare(text: str) -> str:
    """The rule without what stands in quotes: a comment must not look like a target."""
    return _QUOTED.sub('""', text) if '"' in text else text


def verdict(text: str) -> str:
    """The target: ACCEPT, DROP, a chain, …; "" where the rule only counts."""
    found = _TARGET.findall(bare(text))
    return found[-1] if found else ""


_NEEDS: tuple[tuple[str, str], ...] = (
    ("--ctstate ", "ctstate"), ("-m state ", "state"), ("-m conntrack ", "conntrack"),
    ("--notrack", "NOTRACK"), ("-j NOTRACK", "NOTRACK"), ("-j CT", "CT"),
    ("-j CONNMARK", "CONNMARK"), ("-m connmark ", "connmark"), ("-m connlimit ", "connlimit"),
    ("-m connbytes ", "connbytes"), ("-m connlabel ", "connlabel"), ("-m helper ", "helper"),
    ("-j CONNSECMARK", "CONNSECMARK"), ("-j SYNPROXY", "SYNPROXY"), ("-m cluster ", "cluster"),
    ("-j MASQUERADE", "nat"), ("-j DNAT", "nat"), ("-j SNAT", "nat"), ("-j REDIRECT", "nat"), ("-j NETMAP", "nat"),
)  # fmt: skip
_HINT = re.compile("|".join(re.escape(word.strip()) for word, _ in _NEEDS))


def conntrack(text: str) -> str:
    """Why the rule needs conntrack, "" where it does not. NOTRACK is said, though it needs none."""
    if _HINT.search(text) is None:
        return ""
    padded = bare(text) + " "
    for word, why in _NEEDS:
        if (word if word.endswith(" ") else word + " ") in padded:
            return why
    return ""
