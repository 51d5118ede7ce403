"""Losses that stay attributed when the counters that explained them are gone: rules flushed, replaced or zeroed."""

import re
from collections.abc import Iterable, Iterator

import msgspec

from cttui.kernel.ruleset import ChainRules, RuleSet
from cttui.model.hooks import Loss

_COUNTED = re.compile(r"(.+) \+\d+\Z", re.DOTALL)
MEANWHILE = "perhaps dropped by rules that were replaced meanwhile: their counters are gone"


def counters_gone(before: RuleSet, after: RuleSet) -> bool:
    """Whether a rule or policy that had counted is no more, or counts less than before."""
    known = {c.key: c for c in after.columns}
    return any(_gone(c, known.get(c.key)) for c in before.columns if not c.ours)


def _gone(was: ChainRules, now: ChainRules | None) -> bool:
    if not was.policy_packets and max(was.packets, default=0) <= 0:
        return False
    if now is None or now.table_handle != was.table_handle:
        return True
    if (was.policy_packets or 0) > (now.policy_packets or 0):
        return True
    if was.handles == now.handles and (was.handles is not None or was.texts.lines == now.texts.lines):
        return any(a > b for a, b in zip(was.packets, now.packets, strict=False))
    counts = dict(_named(now))
    return any(n > max(counts.get(name, 0), 0) for name, n in _named(was))


def _named(chain: ChainRules) -> Iterator[tuple[object, int]]:
    """A rule's handle, or its text with a number where it stands there more than once, and what it counted."""
    if chain.handles is not None:
        yield from zip(chain.handles, chain.packets, strict=False)
        return
    seen: dict[str, int] = {}
    for line, n in zip(chain.texts.lines, chain.packets, strict=False):
        seen[line] = seen.get(line, 0) + 1
        yield (line, seen[line]), n


def unexplained(loss: Loss, unknown: str) -> Loss:
    """What nothing explains while counters went away: no rule can be blamed, and none acquitted."""
    return msgspec.structs.replace(loss, cause=MEANWHILE, is_loss=False) if loss.cause == unknown else loss


def together(losses: Iterable[Loss]) -> list[Loss]:
    """Losses of one place and cause as one, in the order of their first."""
    out: dict[tuple[str, ...], Loss] = {}
    for loss in losses:
        counted = _COUNTED.match(loss.source)
        source = counted[1] if counted and "," not in counted[1] else loss.source
        key = (loss.family, loss.hook, loss.after, loss.before, loss.cause, source)
        if (known := out.get(key)) is not None:
            n = known.packets + loss.packets
            said = f"{source} +{n}" if counted and source != loss.source else source
            loss = msgspec.structs.replace(known, packets=n, source=said)
        out[key] = loss
    return list(out.values())
