"""What flows did while they were on screen: changes of state with their times."""

import time
from collections import OrderedDict
from dataclasses import dataclass, field

import msgspec

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
    last_at: float
    changes: list[tuple[float, str]] = field(default_factory=list)


class Pasts:
    """Pasts by flow key, the longest unseen forgotten first."""

    def __init__(self) -> None:
        self._seen: OrderedDict[int, Seen] = OrderedDict()

    def see(self, answer: Answer, now: float | None = None) -> None:
        """Compare the flows of an answer with what was seen of them before, its events first: those know every change.

        An event that is older than what was seen is no news. What is seen beside events is of their clock's time: an
        answer is some time on its way, and another machine's clock differs.
        """
        page = answer.events
        for event in page.rows if page is not None else []:
            flow = msgspec.structs.replace(event.flow, ended=event.type == "destroy")
            when = event.time_ns / 1e9
            past = self._seen.get(flow.key)
            if past is None or when >= past.last_at:
                self._change(flow, when)
        now = time.time() if now is None else now
        when = page.at_ns / 1e9 if page is not None and page.at_ns else now
        for flow in answer.flows.rows if answer.flows is not None else []:
            self._change(flow, when)
        while len(self._seen) > MOST_FLOWS:
            self._seen.popitem(last=False)

    def _change(self, flow: Flow, when: float) -> None:
        past = self._seen.get(flow.key)
        if past is None:
            self._seen[flow.key] = Seen(when, flow, when)
            return
        found = [(when, words) for words in changes(past.last, flow)]
        past.changes = (past.changes + found)[-MOST_CHANGES:]
        past.last, past.last_at = flow, when
        self._seen.move_to_end(flow.key)

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
