"""`cttui events`: what conntrack says as it happens, a line an event, until enough has been seen."""

import asyncio
import json
import sys
import time
from collections.abc import Callable

from cttui.cli.flows import checked, flow_line
from cttui.cli.reading import need, with_link
from cttui.client.link import Link
from cttui.client.targets import Target
from cttui.model import words
from cttui.model.actions import Arm
from cttui.model.faults import FaultError
from cttui.model.messages import Answer, Ask
from cttui.model.pages import EVENT_TYPES, EventRow
from cttui.model.views import EventView, FlowView

POLL_S, PAGE = 0.1, 2_000


def _table_line(event: EventRow) -> str:
    clock = time.strftime("%H:%M:%S", time.localtime(event.time_ns // 1_000_000_000))
    milliseconds = event.time_ns // 1_000_000 % 1_000
    timed = event.type != "destroy" or event.flow.timeout_s > 0
    return f"{clock}.{milliseconds:03} {event.type:<7} {flow_line(event.flow, timed=timed)}"


def _conntrack_line(event: EventRow) -> str:
    seconds, rest = divmod(event.time_ns, 1_000_000_000)
    line = words.conntrack_line(event.flow, extended=False, event=event.type)
    return f"[{seconds}.{rest // 1000:06}]\t{f'[{event.type.upper()}]':>9} {line}"


def _json_line(event: EventRow) -> str:
    flow = words.flow_dict(event.flow, now_s=event.time_ns / 1e9)
    return json.dumps({"event": event.type, "time": round(event.time_ns / 1e9, 6), **flow})


FORMATS: dict[str, Callable[[EventRow], str]] = {
    "table": _table_line,
    "conntrack": _conntrack_line,
    "json": _json_line,
}


def run(
    target: Target, filter_text: str, types: str, count: int | None, seconds: float | None, output: str
) -> None:
    """Print events as they come, until `count` of them or for `seconds`, else until interrupted.

    Events that were lost or skipped are told on stderr where they are missing. Raises FaultError: "filter", "usage",
    "events-off" when the probe stopped listening because the host's table was nearly full, and what links raise.
    """
    wanted = [word for word in types.split(",") if word]
    if not wanted or not set(wanted) <= set(EVENT_TYPES):
        raise FaultError(
            "usage", f"--type {types}: events are {', '.join(EVENT_TYPES)}, more than one with commas."
        )
    if count is not None and count < 0:
        raise FaultError("usage", f"--count {count} is below 0.")
    if seconds is not None and not seconds >= 0:
        raise FaultError("usage", f"--seconds {seconds:g} is below 0.")
    checked(filter_text)
    kinds = [EVENT_TYPES.index(word) for word in wanted]

    async def work(link: Link) -> None:
        need(link, "events")
        line, out = FORMATS[output], sys.stdout
        after = shown = lost = 0
        ends = time.monotonic() + seconds if seconds is not None else float("inf")
        listening = False
        until: int | None = None
        """The last event that is waited for, once time is over: a flood would go on for ever."""
        while True:
            left = PAGE if count is None else min(PAGE, count - shown)
            left = left if until is None else min(left, until - after)
            view = EventView(filter=filter_text, kinds=kinds, after=after, count=left)
            # A question about flows that need no reading: the table is not dumped for events.
            over = time.monotonic() >= ends
            answer = await link.ask(
                Ask(
                    seq=link.next_seq(),
                    flows=FlowView(count=0, refresh=False),
                    events=view,
                    tunables=not listening,
                )
            )
            if any(t.name == "nf_conntrack_events" and t.value == "0" for t in answer.tunables or []):
                _tell("nf_conntrack_events is 0 here: flows that begin now make no events")
            page = answer.events
            assert page is not None
            if page.error:
                raise FaultError("filter", page.error)
            if answer.health.events_lost > lost:
                lost = answer.health.events_lost
                _tell("here the kernel's buffer was full: events are missing")
            if page.skipped:
                _tell(f"here {words.counted(page.skipped, 'event')} came faster than they were taken")
            for event in page.rows:
                out.write(f"{line(event)}\n")
            out.flush()
            after, shown = page.last, shown + len(page.rows)
            if over and until is None:
                until = page.newest
            if shown == count or (until is not None and after >= until):
                return
            if not listening:
                await link.do(Arm(what="events"))
                listening = True
            elif not answer.health.events_attached:
                raise _off(answer)
            if len(page.rows) < left:
                await asyncio.sleep(min(POLL_S, max(0.0, ends - time.monotonic())))

    with_link(target, work)


def _tell(sentence: str) -> None:
    print(f"cttui: {sentence}.", file=sys.stderr, flush=True)


def _off(answer: Answer) -> FaultError:
    """Why nobody listens any more."""
    notice = next(reversed(answer.notices), None)
    if notice is None:
        return FaultError("events-off", "The probe no longer listens to events.")
    return FaultError("events-off", notice.sentence, "Start it again if you need them: they then stay on.")
