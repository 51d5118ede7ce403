"""Journeys: trace messages put together, packet by packet.

A trace id is made of the packet's memory address and flow hash (nft_trace_init), so it comes again soon: a
journey begins with each message of our own marking rule and takes what follows under its id until the next.
"""

import time
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cttui.kernel import trace as t
from cttui.kernel.trace_table import MARKER, Place
from cttui.model.hooks import Loss
from cttui.model.packet import JourneysReading, may_be_traced
from cttui.model.pcapng import head_of
from cttui.model.views import JourneyView
from cttui.probe.journey_ways import Ways
from cttui.probe.journey_words import End, Evidence, LastStep, end_of, is_final
from cttui.probe.packet_log import Alike, FlowLookup
from cttui.probe.rule_book import CONFIRM, DELIVERED_AT, RuleBook, is_counting, is_end_point
from cttui.probe.traced_packet import Step, TracedPacket

UNDER_WAY_NS = 200_000_000
"""A packet passes the hooks in microseconds; its messages may be in two of our reads."""


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

    def explain(self, losses: Sequence[Loss]) -> None:
        """Take the losses that a burst's counters show as evidence.

        What was delivered met no socket where one counter of its sockets accounts for every such packet.
        """
        delivered: Counter[str] = Counter()
        for last, n in self._last.items():
            if is_end_point(last.place) and last.place[2] == DELIVERED_AT:
                delivered[last.family] += n
        capped = self.matched > self.most
        unheard = {
            loss.family: f"{'refused by' if loss.cause.startswith('no socket') else 'in'} "
            f"{'UDP' if loss.source.startswith('Udp') else 'TCP'}: {loss.cause}"
            for loss in losses
            if loss.before == "socket"
            and loss.packets >= (self.matched if capped else delivered[loss.family])
        }
        self.evidence = replace(self.evidence, losses=losses, unheard=unheard)

    def forget_ways(self) -> None:
        """Keep only where packets ended: `fate` goes on, `reading` does not."""
        self._batches.clear()

    # ---------------------------------------------------------------- answers

    def reading(self, view: JourneyView, flows: FlowLookup, now_ns: int, *, armed: bool) -> JourneysReading:
        """A window of the journeys, oldest first (`first` −1: the newest), and how all of them ended."""
        first = max(len(self._packets) - view.count, 0) if view.first < 0 else view.first
        chosen = range(first, min(first + view.count, len(self._packets)))
        seen = {self._places[number] for number in self._seen_places}
        families = {packet.family for packet in self._packets[:1000]}
        ways = Ways(self.table, self.book, self.evidence, self._places, self._jumps, seen, families)
        keys = flows.of_packets([self._packets[at].tuple for at in chosen]) if chosen else []
        return JourneysReading(
            armed=armed,
            why=self.why,
            stages=[label for label, _ in ways.stages],
            journeys=[
                ways.journey(self._packets[at], self._steps(at), key, under_way=self._under_way(at, now_ns))
                for at, (key, _) in zip(chosen, keys, strict=True)
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
            if packet.last is not None and self._under_way(at, now_ns):
                counts[end_of(packet.last, self.book, self.evidence).sentence] -= 1
                counts["under way"] += 1
        return [(sentence, n) for sentence, n in counts.most_common() if n]

    def fate(self, time_ns: int, data: bytes, alike: Alike) -> str:
        """Where the packet of the log with these bytes ended, "" if it was not traced or that can't be told (yet).

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
                if any(self._under_way(at, time.time_ns()) for at in found):
                    return ""
                ends = {self._end_of(at).sentence for at in found}
                return ends.pop() if place is not None and len(ends) == 1 else ""
            if place.number >= len(found):
                return ""
            at = found[place.number]
        if not may_be_traced(time_ns, self._packets[at].time_ns) or self._under_way(at, time.time_ns()):
            return ""
        return self._end_of(at).sentence

    def _end_of(self, at: int) -> End:
        """Where a packet ended, by its last message."""
        last = self._packets[at].last
        assert last is not None
        return end_of(last, self.book, self.evidence)

    def _under_way(self, at: int, now_ns: int) -> bool:
        """Whether more of a packet's messages may come."""
        return at in self._recent and now_ns - self._packets[at].seen_ns < UNDER_WAY_NS

    def _steps(self, at: int) -> Iterator[Step]:
        """The messages of a packet, in their order."""
        for batch, start, stop in self._packets[at].runs:
            for values in self._batches[batch][start:stop].tolist():
                yield Step._make(values)
