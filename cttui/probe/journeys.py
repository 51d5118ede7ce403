"""Journeys: trace messages put together, packet by packet.

A trace id is made of the packet's memory address and flow hash (nft_trace_init), so it comes again soon: a
journey begins with each message of our own marking rule and takes what follows under its id until the next.
"""

import time
from collections import Counter
from collections.abc import Container

import numpy as np
from numpy.typing import NDArray

from cttui.kernel import trace as t
from cttui.kernel.trace_table import MARKER, Place
from cttui.model.messages import JourneyView
from cttui.model.packet import Journey, JourneysReading, JourneyStep, may_be_traced
from cttui.model.pcapng import head_of
from cttui.probe.journey_words import (
    End,
    Evidence,
    LastStep,
    end_of,
    in_conntrack,
    is_final,
    state_words,
    verdict_words,
)
from cttui.probe.packet_log import Alike, FlowLookup
from cttui.probe.rule_book import (
    CONFIRM,
    DELIVERED,
    END_POINTS,
    RuleBook,
    chain_label,
    in_order,
    is_counting,
    is_end_point,
    is_ours,
    silent,
)
from cttui.probe.traced_packet import Step, TracedPacket

UNDER_WAY_NS = 200_000_000
"""A packet passes the hooks in microseconds; its messages may be in two of our reads."""
CONNTRACK = "conntrack"


class Journeys:
    """The packets of one armed trace, at most `packets` of them; `book` is the rule set it runs through."""

    def __init__(self, table: str, packets: int, book: RuleBook, why: str = "") -> None:
        self.table, self.most, self.book, self.why = table, packets, book, why
        self.evidence = Evidence()
        """To be kept current by the owner: differences since the trace was armed."""
        self.since_ns, self.until_ns = time.time_ns(), 1 << 63
        """When packets were marked, as the ring tells times."""
        self.matched = 0
        """Packets that met the filter, marked or not; kept current by the owner."""
        self._refused = 0
        self._packets: list[TracedPacket] = []
        self._open: dict[int, int] = {}
        self._by_head: dict[bytes, list[int]] = {}
        self._batches: list[NDArray[np.void]] = []
        self._places: list[Place] = []
        self._jumps: list[str] = []
        self._base: NDArray[np.bool_] = np.zeros(0, bool)
        self._counting: NDArray[np.bool_] = np.zeros(0, bool)
        self._marker = self._entrance = -1
        self._last: Counter[LastStep] = Counter()
        self._recent: set[int] = set()
        self._seen_places: set[int] = set()

    def __len__(self) -> int:
        return len(self._packets)

    def append(self, batch: t.TraceBatch, places: list[Place], jumps: list[str]) -> None:
        """Sort messages to their packets; those of other traces are left out."""
        self._learn(places, jumps)
        steps, heads = batch.steps, batch.heads
        # Every chain that comes to its end sends a message of no rule before that of its policy.
        useful = ((steps["handle"] != 0) | (steps["kind"] != t.RULE)) & ~self._counting[steps["place"]]
        steps, heads = steps[useful], heads[useful]
        if not len(steps):
            return
        ids, place = steps["trace_id"], steps["place"]
        begins = place == self._marker
        again = (place == self._entrance) & (steps["kind"] == t.RULE)
        cut = np.ones(len(steps), bool)
        cut[1:] = (ids[1:] != ids[:-1]) | begins[1:] | again[1:]
        starts = np.flatnonzero(cut)
        stops = np.append(starts[1:], len(steps))
        base_at = np.maximum.accumulate(np.where(self._base[place], np.arange(len(steps)), -1))
        number = len(self._batches)
        self._batches.append(steps)
        self._seen_places.update(np.unique(place).tolist())
        self._recent.clear()
        rows = zip(
            starts.tolist(), stops.tolist(), begins[starts].tolist(), again[starts].tolist(), steps[starts].tolist(),
            steps[stops - 1].tolist(), base_at[stops - 1].tolist(), strict=True,
        )  # fmt: skip
        for start, stop, begin, back, first, last, base in rows:
            step = Step._make(first)
            if back:
                self._come_back(step, heads[start].tobytes())
            at = self._begin(step, heads[start].tobytes()) if begin else self._open.get(step.trace_id)
            if at is None:
                continue
            packet = self._packets[at]
            packet.runs.append((number, start, stop))
            self._end(packet, Step._make(last), self._places[place[base]] if base >= start else None)
            if packet.last is not None and not is_final(packet.last):
                self._recent.add(at)

    def _end(self, packet: TracedPacket, step: Step, base: Place | None) -> None:
        """Take note of the last message so far; `base` is the base chain it belongs to where that is new."""
        if packet.last is not None:
            self._last[packet.last] -= 1
            base = base or packet.last.base
        packet.last = LastStep(
            base or packet.start,
            self._places[step.place],
            step.kind,
            step.verdict,
            step.handle,
            packet.family,
        )
        packet.seen_ns = step.time_ns
        self._last[packet.last] += 1

    def _learn(self, places: list[Place], jumps: list[str]) -> None:
        """Take over new names, and which of them are base chains."""
        self._jumps = jumps
        if len(places) == len(self._places):
            return
        self._places = list(places)
        self._base = np.array([self.book.position(place) is not None for place in places])
        self._counting = np.array([is_counting(place) for place in places])
        mark = ("inet", self.table, MARKER)
        self._marker = places.index(mark) if mark in places else -1
        entrance = ("inet", self.table, "start_prerouting")
        self._entrance = places.index(entrance) if entrance in places else -1

    def _begin(self, step: Step, head: bytes) -> int | None:
        """A new packet; None where the cap is reached."""
        if len(self._packets) >= self.most:
            self._refused += 1
            self._open.pop(step.trace_id, None)
            return None
        data = step.quoted(head)
        # What came in has a device it came in by; the rest is ours.
        start = ("inet", self.table, "start_prerouting" if step.iif else "start_output")
        at = len(self._packets)
        self._packets.append(TracedPacket(step.trace_id, step.time_ns, step.nfproto, data, start))
        self._open[step.trace_id] = at
        self._by_head.setdefault(data, []).append(at)
        return at

    def _come_back(self, step: Step, head: bytes) -> None:
        """A packet that we marked on its way out comes in by lo, under another id: its journey goes on."""
        found = self._by_head.get(step.quoted(head))
        if found:
            self._open[step.trace_id] = found[-1]
        else:
            self._open.pop(step.trace_id, None)

    def settle(self) -> None:
        """No message is missing any more: no packet is under way, and none is traced from now on."""
        self._recent.clear()
        self.until_ns = min(self.until_ns, time.time_ns())

    def unconfirmed(self, confirmed: Container[int]) -> None:
        """Say of packets with an entry that is none of `confirmed` that conntrack dropped them at confirmation.

        Confirmation is the last hook of all (INT_MAX), so its drops come after our last point, without a message.
        To be called where every entry made since arming is known, and some were not inserted.
        """
        for packet in self._packets:
            if packet.last is None or not is_end_point(packet.last.place):
                continue
            batch, _, stop = packet.runs[-1]
            step = Step._make(self._batches[batch][stop - 1].tolist())
            if step.has_ct and not step.ct_status & t.CONFIRMED and step.ct_id not in confirmed:
                self._last[packet.last] -= 1
                packet.last = packet.last._replace(place=("inet", self.table, CONFIRM))
                self._last[packet.last] += 1

    def forget_ways(self) -> None:
        """Keep only where packets ended: `fate` goes on, `reading` does not."""
        self._batches.clear()

    # ---------------------------------------------------------------- answers

    def reading(self, view: JourneyView, flows: FlowLookup, now_ns: int, *, armed: bool) -> JourneysReading:
        """A window of the journeys, oldest first (`first` −1: the newest), and how all of them ended."""
        first = max(len(self._packets) - view.count, 0) if view.first < 0 else view.first
        chosen = range(first, min(first + view.count, len(self._packets)))
        stages = self._stages()
        keys = flows.of_packets([self._packets[at].tuple for at in chosen]) if chosen else []
        return JourneysReading(
            armed=armed,
            why=self.why,
            stages=[label for label, _ in stages],
            journeys=[
                self._journey(at, stages, key, now_ns) for at, (key, _) in zip(chosen, keys, strict=True)
            ],
            total=len(self._packets),
            lost=self.evidence.lost,
            capped=max(self.matched - self.most, self._refused),
            first=first,
            ends=self.ends(now_ns),
        )

    def ends(self, now_ns: int) -> list[tuple[str, int]]:
        """How many packets ended where, most first."""
        counts: Counter[str] = Counter()
        for last, n in self._last.items():
            if n:
                counts[end_of(last, self.book, self.evidence).sentence] += n
        for at in self._recent:
            packet = self._packets[at]
            if packet.last is not None and now_ns - packet.seen_ns < UNDER_WAY_NS:
                counts[end_of(packet.last, self.book, self.evidence).sentence] -= 1
                counts["under way"] += 1
        return [(sentence, n) for sentence, n in counts.most_common() if n]

    def fate(self, time_ns: int, data: bytes, alike: Alike) -> str:
        """Where the packet of the log with these bytes ended, "" if it was not traced or that can't be told.

        Of packets that are equal to the last header bit the first ones captured since `since_ns` are the traced
        ones, in that order; `alike` says which of them this is.
        """
        found = self._by_head.get(head_of(data))
        if not found or not self.since_ns <= time_ns <= self.until_ns:
            return ""
        at = found[0]
        if len(found) > 1 or len(self) >= self.most:
            place = None if self.evidence.lost else alike(self.since_ns)
            if place is None or place.among < len(found):  # some of them are not there to be counted
                ends = {self._end_of(at).sentence for at in found}
                return ends.pop() if place is not None and len(ends) == 1 else ""
            if place.number >= len(found):
                return ""
            at = found[place.number]
        if not may_be_traced(time_ns, self._packets[at].time_ns):
            return ""
        return self._end_of(at).sentence

    def _end_of(self, at: int) -> End:
        """Where a packet ended, by its last message."""
        last = self._packets[at].last
        assert last is not None
        return end_of(last, self.book, self.evidence)

    def _stages(self) -> list[tuple[str, Place]]:
        """Labels and places of the columns, along the path: base chains that traced packets can meet."""
        seen = {self._places[number] for number in self._seen_places}
        hooks = {position.hook for place in seen if (position := self.book.position(place)) is not None}
        if "prerouting" in hooks and "forward" not in hooks:
            hooks.add("input")
        if "forward" in hooks or "output" in hooks:
            hooks.add("postrouting")
        families = {2: "ip", 10: "ip6"}
        mine = {"inet"} | {families[p.family] for p in self._packets[:1000] if p.family in families}
        stages = [
            (in_order(chain), chain_label(place), place)
            for place, chain in self.book.base.items()
            if chain.hook in hooks and place[0] in mine and not is_ours(place) and not is_counting(place)
        ]
        for name, label in (
            ("prerouting_after_conntrack", CONNTRACK), ("output_after_conntrack", CONNTRACK),
            ("input_end", DELIVERED), ("postrouting_end", "sent"),
        ):  # fmt: skip
            place = ("inet", self.table, name)
            position = self.book.position(place)
            if position is not None and position.hook in hooks:
                stages.append((in_order(position), label, place))
        return [(label, place) for _, label, place in sorted(stages)]

    def _journey(self, at: int, stages: list[tuple[str, Place]], key: int, now_ns: int) -> Journey:
        """One packet with its steps in words."""
        packet = self._packets[at]
        steps: list[JourneyStep] = []
        visited: set[Place] = set()
        state, flow_id, hook = "", None, ""
        last = packet.last
        assert last is not None  # the message that began the journey, if nothing else
        unconfirmed = last.place[2] == CONFIRM
        for batch, start, stop in packet.runs:
            for values in self._batches[batch][start:stop].tolist():
                step = Step._make(values)
                place = self._places[step.place]
                if unconfirmed and is_end_point(place):
                    continue
                visited.add(place)
                position = self.book.position(place)
                hook = position.hook if position is not None else hook
                if step.has_ct and not step.ct_status & t.TEMPLATE:
                    state, flow_id = state_words(step.ct_state, step.ct_dir), step.ct_id
                made = self._step(step, place, hook, state)
                if made is not None:
                    steps.append(made)
        end = end_of(last, self.book, self.evidence)
        if at in self._recent and now_ns - packet.seen_ns < UNDER_WAY_NS:
            end = End("under way", False, "passed")
        if end.mark == "vanished":
            steps.append(
                JourneyStep(
                    time_ns=packet.seen_ns,
                    family="",
                    table="",
                    chain="",
                    kind="vanished",
                    verdict=end.sentence,
                    hook=hook,
                    ct_state=state,
                )
            )
        return Journey(
            trace_id=packet.trace_id,
            line=packet.line,
            steps=steps,
            end=end.sentence,
            ended_ok=end.ok,
            cells=self._cells(last, stages, visited, end),
            flow_id=flow_id,
            flow_key=key,
            data=packet.head,
        )

    def _step(self, step: Step, place: Place, hook: str, state: str) -> JourneyStep | None:
        """One message in words; of our own points only those that say something are shown."""
        time_ns = step.time_ns
        if is_ours(place):
            label = {
                "prerouting_after_conntrack": CONNTRACK,
                "output_after_conntrack": CONNTRACK,
            } | END_POINTS
            if place[2] not in label:
                return None
            return JourneyStep(
                time_ns=time_ns, family="", table="", chain=label[place[2]], kind="stage", verdict="passed",
                hook=hook, ct_state=state,
            )  # fmt: skip
        kind = {t.RULE: "rule", t.POLICY: "policy", t.RETURN: "return"}.get(step.kind, "rule")
        return JourneyStep(
            time_ns=time_ns,
            family=place[0],
            table=place[1],
            chain=place[2],
            kind=kind,
            verdict=verdict_words(step.verdict, self._jumps[step.jump]),
            rule=self.book.rule(place, step.handle) if kind == "rule" else "",
            hook=hook,
            ct_state=state,
        )

    def _cells(
        self, last: LastStep, stages: list[tuple[str, Place]], visited: set[Place], end: End
    ) -> list[str]:
        """A mark for every stage."""
        position = self.book.position(last.base)
        assert position is not None
        hooks = {at.hook for place in visited if (at := self.book.position(place)) is not None}
        suspects = self.book.silent_between(position, last.family) if end.mark == "vanished" else []
        came_to = min((self.book.base[place].priority for place in suspects), default=position.priority)
        lost_in_conntrack = end.mark == "vanished" and in_conntrack(last.base, self.book)
        cells = []
        beyond = "unknown" if end.mark == "unknown" else "not reached"
        for label, place in stages:
            if place in visited:
                cells.append("dropped" if end.mark == "dropped" and place == last.base else "passed")
                continue
            at = self.book.position(place)
            assert at is not None
            if silent(place):
                # It sends no messages: a packet was there if it came further.
                left = at.hook in hooks and (at.hook != position.hook or at.priority < came_to)
                cells.append("passed" if left else "vanished" if place in suspects else beyond)
                continue
            lost = (
                label == CONNTRACK if lost_in_conntrack else last.place[2] == CONFIRM and is_end_point(place)
            )
            cells.append("vanished" if lost and at.hook == position.hook else beyond)
        return cells
