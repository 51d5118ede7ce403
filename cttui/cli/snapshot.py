"""`cttui snapshot`: one reading of a target, for scripts and tests."""

import json
from collections.abc import Iterator
from typing import Any

import msgspec

from cttui import __version__
from cttui.cli.reading import with_link
from cttui.client.link import Link
from cttui.client.targets import Target
from cttui.model.messages import Answer, Ask, Welcome
from cttui.model.safe import clean
from cttui.model.views import HookView

_ALL_RULES = 1_000_000
_NEVER_ASKED = frozenset({"write", "events", "capture", "trace", "kmsg"})


def snapshot(welcome: Welcome, answer: Answer) -> dict[str, Any]:
    """The reading as a JSON object; keys as documented in docs/snapshot.md. None: it could not be read."""
    table, hooks = answer.table, answer.hooks
    flows = "ctnetlink" in welcome.can
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
        "by_protocol": table.by_protocol if flows else None,
        "by_state": table.by_state if flows else None,
        "assured": table.assured if flows else None,
        "evictable": table.evictable if flows else None,
        "hooks": rows if hooks else None,
        "stages": [msgspec.structs.asdict(s) for s in hooks.stages] if hooks else None,
        "tunables": {t.name: t.value for t in answer.tunables or []},
        "missing": list(
            dict.fromkeys(
                [
                    *(hooks.missing if hooks else []),
                    *(why for what, why in welcome.cannot.items() if what not in _not_asked(welcome)),
                ]
            )
        ),
        "health": msgspec.structs.asdict(answer.health),
    }


def _not_asked(welcome: Welcome) -> frozenset[str]:
    """What a snapshot does without, so that it does not miss it: it writes nothing, a host's stages included."""
    return _NEVER_ASKED if welcome.target == "sandbox" else _NEVER_ASKED | {"stages"}


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
    for line in lines(reading):
        print(clean(line))  # rules and sentences quote what others have written


def lines(reading: dict[str, Any]) -> Iterator[str]:
    """The reading for a person."""
    for name, value in reading.items():
        if name == "hooks" and value is not None:
            for h in value:
                what = h["rule"] or "counts only" if "rule" in h else f"policy {h['policy']}"
                packets = "–" if h["packets"] is None else h["packets"]
                where = f"{h['family']} {h['table']} {h['chain']}"
                yield f"hook: {where:<28} {packets:>10}  {what}"
        elif name == "stages" and value is not None:
            for stage in value:
                where = f"{stage['family']} {stage['hook']} {stage['priority']}"
                yield f"stage: {where:<28} {stage['packets']:>10}  {stage['label']}"
        elif isinstance(value, dict):
            words = (f"{k}={round(v, 3) if isinstance(v, float) else v}" for k, v in value.items())
            yield f"{name}: {' '.join(words) or 'none'}"
        elif isinstance(value, list):
            yield from (f"{name}: {line}" for line in value)
        else:
            yield f"{name}: {'unknown' if value is None else value}"
