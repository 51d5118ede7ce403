"""What a rule of `nft -j` decides, whether its counter speaks for that, and why it needs conntrack."""

from typing import Any

import msgspec

from cttui.kernel import nft_words

VERDICTS = ("accept", "drop", "return", "continue", "queue", "reject", "jump", "goto")


class Meaning(msgspec.Struct, frozen=True):
    """What a rule says. `counted`: its counter counts exactly the packets that its verdict meets."""

    text: str
    verdict: str = ""
    conntrack: str = ""
    counted: bool = True


def explain(rule: dict[str, Any]) -> Meaning:
    """The meaning of one `{"rule": …}` object (or of anything with `expr`)."""
    expressions = [e for e in rule.get("expr", []) if isinstance(e, dict) and e]
    words = [nft_words.statement(e) for e in expressions]
    if rule.get("comment"):
        words.append("comment " + nft_words.quote(str(rule["comment"])))
    return Meaning(" ".join(words), _verdict(expressions), _conntrack(expressions), _counted(expressions))


def _verdict(expressions: list[dict[str, Any]]) -> str:
    for e in reversed(expressions):
        kind = nft_words.kind_of(e)
        if kind in ("jump", "goto"):
            target = str(e[kind].get("target", "")) if isinstance(e[kind], dict) else ""
            # A chain may be called DROP; the bare word must stay nft's verdict.
            return f"{kind} {target}" if target.lower() in VERDICTS else target
        if kind in VERDICTS:
            return kind.upper()
        if kind == "vmap":
            return "VMAP"
        if kind in ("snat", "dnat", "masquerade", "redirect", "synproxy", "tproxy"):
            return kind.upper()
        if kind == "xt" and isinstance(e[kind], dict) and e[kind].get("type") == "target":
            return str(e[kind].get("name", ""))
    return ""


def _counted(expressions: list[dict[str, Any]]) -> bool:
    """Whether nothing after the last counter can still let a packet go on without the verdict."""
    for e in reversed(expressions):
        kind = nft_words.kind_of(e)
        if kind == "counter":
            return isinstance(e[kind], dict)  # a named counter counts for other rules too
        if kind not in VERDICTS and kind not in ("log", "mangle", "notrack", "dup"):
            return False
    return False


_XT = {
    "CT": "CT", "CONNMARK": "CONNMARK", "connmark": "connmark", "conntrack": "conntrack", "state": "state",
    "connlimit": "connlimit", "connbytes": "connbytes", "connlabel": "connlabel", "helper": "helper",
    "SYNPROXY": "SYNPROXY", "MASQUERADE": "nat", "DNAT": "nat", "SNAT": "nat", "REDIRECT": "nat", "NETMAP": "nat",
}  # fmt: skip
"""iptables extensions as nft shows them: only the name, not what they are told (CT may be --notrack)."""


def _conntrack(expressions: list[dict[str, Any]]) -> str:
    """Why the rule needs conntrack: "ctstate", "ct mark", "NOTRACK", "nat", "connlimit", "SYNPROXY", …"""
    keys: list[str] = []

    def look(value: Any) -> None:
        if isinstance(value, dict):
            for kind, inner in value.items():
                if kind == "ct" and isinstance(inner, dict):
                    key = str(inner.get("key", ""))
                    keys.append("ctstate" if key == "state" else f"ct {key}")
                elif kind == "ct count":
                    keys.append("connlimit")
                elif kind in ("ct helper", "ct timeout", "ct expectation"):
                    keys.append(kind)
                elif kind in ("snat", "dnat", "masquerade", "redirect"):
                    keys.append("nat")
                elif kind == "synproxy":
                    keys.append("SYNPROXY")
                elif kind == "notrack":
                    keys.append("NOTRACK")
                elif kind == "xt" and isinstance(inner, dict) and inner.get("name") in _XT:
                    keys.append(_XT[inner["name"]])
                elif kind == "flow" and isinstance(inner, dict):
                    keys.append("flow offload")
                look(inner)
        elif isinstance(value, list):
            for inner in value:
                look(inner)

    look(expressions)
    # What switches conntrack on is worth more than what switches it off.
    keys.sort(key=lambda k: k == "NOTRACK")
    return keys[0] if keys else ""
