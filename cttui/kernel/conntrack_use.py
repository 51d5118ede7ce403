"""Whether conntrack is on in this namespace, and which rule switched it on (nf_ct_netns_get)."""

from cttui.kernel.ruleset import RuleSet

_FAMILIES = {"ip": ("ip", "inet"), "ip6": ("ip6", "inet")}
_WORDS = {"ip": " for IPv4", "ip6": " for IPv6"}


def conntrack_active(rules: RuleSet, family: str = "", *, alone: bool = False) -> tuple[bool | None, str]:
    """Whether conntrack is on, for `ip`, `ip6` or any family, and why, in a sentence.

    True: a rule registers its hooks. Otherwise None, because something else could have (IPVS, Open vSwitch, tc)
    and the kernel lists its hooks to few; False where there is nothing else: `alone`, in a sandbox.
    """
    word = _WORDS.get(family, "")
    untracked = ""
    for chain, meaning in rules.needing_conntrack():
        if family and chain.family not in _FAMILIES[family]:
            continue
        where = f"{chain.backend} {chain.family} {chain.table} {chain.chain}: {meaning.text}"
        if meaning.conntrack != "NOTRACK":
            return True, f"Conntrack is on{word} because of {where}"
        untracked = untracked or where
    nothing = f"No rule of this namespace switches conntrack on{word}"
    if untracked:
        nothing += f"; one only exempts packets from it ({untracked})"
    if rules.unread:
        return None, f"Unknown{word}: not every rule of this namespace could be read."
    if alone:
        return False, f"{nothing}, and in a sandbox nothing else does."
    return None, f"{nothing}. Something else may (IPVS, Open vSwitch, tc): entries would then appear."
