"""Rule sets and stage counters: what a packet meets, in its order."""

import msgspec

HOOKS = ("ingress", "prerouting", "input", "forward", "output", "postrouting")
PRIORITIES: dict[str, int] = {
    "raw before defrag": -450, "defrag": -400, "raw": -300, "selinux first": -225, "conntrack": -200,
    "mangle": -150, "nat dst": -100, "filter": 0, "security": 50, "nat src": 100, "selinux last": 225,
    "helper": 300, "confirm": 2147483647,
}  # fmt: skip
"""enum nf_ip_hook_priorities, include/uapi/linux/netfilter_ipv4.h."""


class Rule(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """One rule. Counters are None where an nft rule has no counter; text is hostile, print via `safe`."""

    text: str
    number: int
    """Position in its chain from 1."""
    packets: int | None = None
    bytes: int | None = None
    pps: float | None = None
    """Packets/s over the last interval; None until two readings, or after a counter reset."""
    verdict: str = ""
    """ACCEPT, DROP, REJECT, a chain jumped to, or "" where the rule only matches."""
    conntrack: str = ""
    """Why this rule needs conntrack ("ctstate", "CT", "NOTRACK", "nat", …), "" where it does not."""
    handle: int | None = None


class Chain(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """One chain of one backend. Base chains have hook and priority, others are reached by jumps."""

    backend: str
    """`iptables-nft`, `iptables-legacy` or `nft`."""
    family: str
    """`ip`, `ip6`, `inet`, `bridge`, `netdev`, `arp`."""
    table: str
    chain: str
    hook: str = ""
    priority: int = 0
    device: str = ""
    policy: str = ""
    policy_packets: int | None = None
    policy_bytes: int | None = None
    policy_pps: float | None = None
    rules: list[Rule] = []
    rules_total: int = 0
    """Rules in the chain; more than `len(rules)` where the answer was cut to the view."""
    ours: bool = False


class Stage(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """A point on the packet's path that the probe counts itself (table `cttui_<pid>`, flags owner)."""

    family: str
    """`ip` or `ip6`."""
    hook: str
    priority: int
    label: str
    """What the packet has just passed: "in", "raw", "conntrack", …"""
    packets: int
    bytes: int
    pps: float | None = None


class Loss(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """Packets that one stage counted and the next did not, since the counters' baseline."""

    family: str
    hook: str
    after: str
    before: str
    packets: int
    cause: str
    """A sentence with the counter that says so, or "unknown"."""
    source: str = ""
    """The counter's name, e.g. "drop +3"."""
    is_loss: bool = True
    """False for packets that were merged (reassembly), or were meant for nobody here (multicast)."""
    pps: float = 0.0
    """How fast it grows, once it grew between three regular readings; one burst has no rate."""
    over: bool = False
    """It hasn't grown for a minute."""


class ActiveRule(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """A rule or policy that takes packets away right now, by its own counter."""

    family: str
    table: str
    chain: str
    number: int = 0
    """Position in its chain from 1; 0 is the policy."""
    text: str = ""
    does: str
    """`drops`, `rejects` or `does not track`."""
    pps: float


class HooksReading(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """Every chain in the order of the path, stage counts, and the losses between them."""

    chains: list[Chain] = []
    stages: list[Stage] = []
    losses: list[Loss] = []
    stages_armed: bool = False
    rules_total: int = 0
    missing: list[str] = []
    """Sentences on what could not be read, e.g. "nft is not installed: native nftables rules are not shown"."""
    network: dict[str, int] = {}
    """IP, TCP and UDP counters that explain losses (IPReversePathFilter, ListenDrops, …), totals."""
    network_rates: dict[str, float] = {}
    active_rules: list[ActiveRule] = []
    """Known without stages; the busiest first, and only some of them."""
