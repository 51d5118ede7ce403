"""What flows did while they were on screen: changes of state with their times."""

import time
from collections import OrderedDict
from dataclasses import dataclass, field

from cttui.model import flow as f
from cttui.model.flow import Flow
from cttui.model.messages import Answer

MOST_FLOWS = 2_000
MOST_CHANGES = 40


@dataclass(slots=True)
class Seen:
    """One flow's past: (time of day in seconds since the epoch, what changed)."""

    first: float
    last: Flow
    changes: list[tuple[float, str]] = field(default_factory=list)


class Pasts:
    """Pasts by flow key, the longest unseen forgotten first."""

    def __init__(self) -> None:
        self._seen: OrderedDict[int, Seen] = OrderedDict()

    def see(self, answer: Answer, now: float | None = None) -> None:
        """Compare the flows of an answer with what was seen of them before."""
        if answer.flows is None:
            return
        now = time.time() if now is None else now
        for flow in answer.flows.rows:
            past = self._seen.get(flow.key)
            if past is None:
                self._seen[flow.key] = Seen(now, flow)
            else:
                past.changes = (past.changes + [(now, words) for words in changes(past.last, flow)])[
                    -MOST_CHANGES:
                ]
                past.last = flow
                self._seen.move_to_end(flow.key)
        while len(self._seen) > MOST_FLOWS:
            self._seen.popitem(last=False)

    def past(self, key: int) -> Seen | None:
        """What is known of a flow's past."""
        return self._seen.get(key)


def changes(before: Flow, after: Flow) -> list[str]:
    """What became different, in words; counters and the timeout running down are no news."""
    out = []
    if before.state != after.state:
        was, now = f.state_name(before.proto, before.state), f.state_name(after.proto, after.state)
        out.append(f"{was or 'no state'} → {now or 'no state'}")
    gained, lost = after.status & ~before.status, before.status & ~after.status
    out += [f"+{name}" for bit, name in f.STATUS_BITS.items() if gained & bit]
    out += [f"-{name}" for bit, name in f.STATUS_BITS.items() if lost & bit]
    if before.mark != after.mark:
        out.append(f"mark {before.mark:#x} → {after.mark:#x}")
    if before.helper != after.helper:
        out.append(f"helper {before.helper or 'none'} → {after.helper or 'none'}")
    if (before.reply_src, before.reply_dst) != (after.reply_src, after.reply_dst):
        out.append("translated differently (NAT)")
    if after.timeout_s > before.timeout_s + 1:
        out.append(f"timeout set to {after.timeout_s} s")
    if after.ended and not before.ended:
        out.append("ended")
    return out
