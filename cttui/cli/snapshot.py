"""`cttui snapshot`: one reading of a target, for scripts and tests."""

import json
from typing import Any

import msgspec

from cttui import __version__
from cttui.cli.reading import with_link
from cttui.client.link import Link
from cttui.client.targets import Target
from cttui.model.messages import Answer, Ask, HookView, Welcome

_ALL_RULES = 1_000_000


def snapshot(welcome: Welcome, answer: Answer) -> dict[str, Any]:
    """The reading as a JSON object; keys as documented in docs/snapshot.md."""
    table, hooks = answer.table, answer.hooks
    rows: list[dict[str, Any]] = []
    for chain in (c for c in hooks.chains if not c.ours) if hooks else ():
        base = {
            "backend": chain.backend,
            "family": chain.family,
            "table": chain.table,
            "chain": chain.chain,
            "hook": chain.hook or None,
            "priority": chain.priority if chain.hook else None,
        }
        rows.extend({**base, "rule": r.text, "packets": r.packets, "bytes": r.bytes} for r in chain.rules)
        if chain.policy:
            rows.append(
                {**base, "policy": chain.policy, "packets": chain.policy_packets, "bytes": chain.policy_bytes}
            )
    return {
        "version": __version__,
        "netns": welcome.netns,
        "kernel": welcome.kernel,
        "target": welcome.target,
        "privilege": welcome.user,
        "active": table.active,
        "active_why": table.active_why,
        "count": table.count,
        "max": table.maximum,
        "buckets": table.buckets,
        "stats": table.stats,
        "by_protocol": table.by_protocol,
        "by_state": table.by_state,
        "assured": table.assured,
        "evictable": table.evictable,
        "hooks": rows,
        "stages": [msgspec.structs.asdict(s) for s in hooks.stages] if hooks else [],
        "tunables": {t.name: t.value for t in answer.tunables or []},
        "missing": (hooks.missing if hooks else []) + list(welcome.cannot.values()),
        "health": msgspec.structs.asdict(answer.health),
    }


def run(target: Target, as_json: bool) -> None:
    """Print one reading. Raises FaultError."""

    async def work(link: Link) -> dict[str, Any]:
        view = HookView(rules_per_chain=_ALL_RULES)
        answer = await link.ask(Ask(seq=link.next_seq(), hooks=view, tunables=True, fresh=True))
        return snapshot(link.welcome, answer)

    reading = with_link(target, work)
    if as_json:
        print(json.dumps(reading, indent=1))
        return
    for name, value in reading.items():
        if name == "hooks":
            for h in value:
                what = h.get("rule") if "rule" in h else f"policy {h['policy']}"
                packets = "" if h["packets"] is None else h["packets"]
                print(f"{h['family']} {h['table']} {h['chain']:<16} {packets:>10}  {what}")
        elif isinstance(value, dict):
            print(f"{name}: " + " ".join(f"{k}={v}" for k, v in value.items()))
        elif isinstance(value, list):
            for line in value:
                print(f"{name}: {line}")
        else:
            print(f"{name}: {value}")
