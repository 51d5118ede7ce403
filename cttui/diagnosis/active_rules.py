"""Rules that take packets away right now → findings. Known by their own counters, without stages."""

import re
from collections.abc import Iterable, Sequence

from cttui.diagnosis.finding import INFO, WARNING, Finding
from cttui.model.hooks import ActiveRule
from cttui.model.safe import clean

_INVALID = re.compile(r"(?<!! )(?:--ctstate|--state|ct state) (?:\{ )?[\w, ]*invalid", re.IGNORECASE)
INVALID_REMEDY = (
    "Typical: answers that take another way or come in another CT zone, connections whose beginning was not "
    "seen (failover, restart: nf_conntrack_tcp_loose=1 takes them up), segments out of the window. "
    "nf_conntrack_log_invalid=255 logs each with its reason."
)


def name(rule: ActiveRule) -> str:
    """`filter FORWARD rule 1`, `the policy of filter FORWARD`: as a loss calls it."""
    chain = f"{clean(rule.table)} {clean(rule.chain)}"
    return f"{chain} rule {rule.number}" if rule.number else f"the policy of {chain}"


def named(rule: ActiveRule) -> str:
    """How the cause of a loss ends that this rule dropped: its name, and its text."""
    return f"by {name(rule)}" + (f": {clean(rule.text)}" if rule.text else "")


def drops_invalid(rule: ActiveRule) -> bool:
    """Whether conntrack's opinion is what these packets die of."""
    return takes(rule) and _INVALID.search(rule.text) is not None


def takes(rule: ActiveRule) -> bool:
    """Whether it ends packets."""
    return rule.does in ("drops", "rejects")


def findings(rules: Iterable[ActiveRule], told: Sequence[str] = ()) -> list[Finding]:
    """One of each rule. `told`: causes of losses that are told of anyway, with their rules."""
    listed = list(rules)
    out = []
    for rule in listed:
        title, pps = name(rule), f"{rule.pps:,.1f} packets/s"
        text = (clean(rule.text),) if rule.text else ()
        if drops_invalid(rule):
            out.append(
                Finding(
                    WARNING, f"{title} {rule.does} {pps} that conntrack calls INVALID.",
                    (*text, "They fit no connection that conntrack knows here, in the state it knows."), INVALID_REMEDY,
                )
            )  # fmt: skip
        elif takes(rule) and not any(cause.endswith(named(rule)) for cause in told):
            subject = title if rule.number else title.replace("the", "The", 1)
            out.append(Finding(INFO, f"{subject} {rule.does} {pps}.", text))
        elif rule.does == "does not track" and any(takes(other) for other in listed):
            out.append(
                Finding(
                    INFO, f"{title} keeps {pps} out of tracking.",
                    (*text, "They have no entry: they are never NEW or ESTABLISHED, NAT leaves them alone, and of all "
                     "states they match UNTRACKED only."),
                    "Something here drops packets: exempt both directions, and accept UNTRACKED where states are asked for.",
                )
            )  # fmt: skip
    return out
