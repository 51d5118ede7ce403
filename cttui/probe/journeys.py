"""Journeys: trace messages put together, packet by packet.

A trace id is made of the packet's memory address and flow hash (nft_trace_init), so it comes again soon: a
journey begins with each message of our own marking rule and takes what follows under its id until the next.
"""

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cttui.kernel import trace as t
from cttui.kernel.trace_table import MARKER, Place
from cttui.model.messages import JourneyView
from cttui.model.packet import Journey, JourneysReading, JourneyStep, may_be_traced
from cttui.model.packet_headers import ETH_IPV4, ETH_IPV6, Headers, line_of, read_headers
from cttui.probe.journey_words import (
    DELIVERED,
    End,
    Evidence,
    LastStep,
    RuleBook,
    chain_label,
    end_of,
    in_conntrack,
    in_order,
    is_counting,
    is_final,
    is_ours,
    state_words,
    verdict_words,
)  # fmt: skip
from cttui.probe.packet_log import FlowLookup, PacketTuple

UNDER_WAY_NS = 200_000_000
"""A packet passes the hooks in microseconds; its messages may be in two of our reads."""
CONNTRACK = "conntrack"
_TERMINAL_LABELS = {"input_end": DELIVERED, "postrouting_end": "sent"}


class _Step(NamedTuple):
    """A STEP record (kernel.trace) as Python numbers, in its order."""

    trace_id: int
    place: int
    jump: int
    kind: int
    has_ct: int
    ct_dir: int
    network: int
    transport: int
    nfproto: int
    verdict: int
    ct_id: int
    ct_status: int
    ct_state: int
    iif: int
    oif: int
    handle: int
    time_ns: int


@dataclass(slots=True)
class _Packet:
    """One traced packet: where its messages are, and its last one."""

    trace_id: int
    time_ns: int
    family: int
    head: bytes
    start: Place
    """The chain that marked it."""
    runs: list[tuple[int, int, int]] = field(default_factory=list)
    """(batch, first, one past the last)."""
    last: LastStep | None = None
    seen_ns: int = 0


class Journeys:
    """The packets of one armed trace, at most `packets` of them; `book` is the rule set it runs through."""

    def __init__(self, table: str, packets: int, book: RuleBook, why: str = "") -> None:
        self.table, self.most, self.book, self.why = table, packets, book, why
        self.evidence = Evidence()
        """To be kept current by the owner: differences since the trace was armed."""
        self.refused = 0
        """Marked packets beyond the cap."""
        self._packets: list[_Packet] = []
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
            step = _Step._make(first)
            if back:
                self._come_back(step, heads[start].tobytes())
            at = self._begin(step, heads[start].tobytes()) if begin else self._open.get(step.trace_id)
            if at is None:
                continue
            packet = self._packets[at]
            packet.runs.append((number, start, stop))
            self._end(packet, _Step._make(last), self._places[place[base]] if base >= start else None)
            if packet.last is not None and not is_final(packet.last):
                self._recent.add(at)

    def _end(self, packet: _Packet, step: _Step, base: Place | None) -> None:
        """Take note of the last message so far; `base` is the base chain it belongs to where that is new."""
        if packet.last is not None:
            self._last[packet.last] -= 1
            base = base or packet.last.base
        packet.last = LastStep(
            base or packet.start, self._places[step.place], step.kind, step.verdict, step.handle
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

    def _begin(self, step: _Step, head: bytes) -> int | None:
        """A new packet; None where the cap is reached."""
        if len(self._packets) >= self.most:
            self.refused += 1
            self._open.pop(step.trace_id, None)
            return None
        data = _data(step, head)
        # What came in has a device it came in by; the rest is ours.
        start = ("inet", self.table, "start_prerouting" if step.iif else "start_output")
        at = len(self._packets)
        self._packets.append(_Packet(step.trace_id, step.time_ns, step.nfproto, data, start))
        self._open[step.trace_id] = at
        self._by_head.setdefault(data, []).append(at)
        return at

    def _come_back(self, step: _Step, head: bytes) -> None:
        """A packet that we marked on its way out comes in by lo, under another id: its journey goes on."""
        found = self._by_head.get(_data(step, head))
        if found:
            self._open[step.trace_id] = found[-1]
        else:
            self._open.pop(step.trace_id, None)

    def settle(self) -> None:
        """No message is missing any more: no packet is under way."""
        self._recent.clear()

    # ---------------------------------------------------------------- answers

    def reading(
        self, view: JourneyView, flows: FlowLookup, now_ns: int, *, armed: bool, lost: int, capped: int
    ) -> JourneysReading:
        """A window of the journeys, oldest first (`first` −1: the newest), and how all of them ended.

        `lost` is the listener's, `capped` what the table matched but did not mark.
        """
        first = max(len(self._packets) - view.count, 0) if view.first < 0 else view.first
        chosen = range(first, min(first + view.count, len(self._packets)))
        stages = self._stages()
        keys = flows.of_packets([_tuple(self._packets[at]) for at in chosen]) if chosen else []
        return JourneysReading(
            armed=armed,
            why=self.why,
            stages=[label for label, _ in stages],
            journeys=[
                self._journey(at, stages, key, now_ns) for at, (key, _) in zip(chosen, keys, strict=True)
            ],
            total=len(self._packets),
            lost=lost,
            capped=capped + self.refused,
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

    def fate(self, time_ns: int, data: bytes) -> str:
        """Where the packet of the log with these bytes ended, "" if it was not traced."""
        at = self._find(time_ns, data)
        last = None if at is None else self._packets[at].last
        return "" if last is None else end_of(last, self.book, self.evidence).sentence

    def of_packet(self, time_ns: int, data: bytes, flows: FlowLookup, now_ns: int) -> Journey | None:
        """The journey of a packet of the log, None if it was not traced."""
        at = self._find(time_ns, data)
        if at is None:
            return None
        key, _ = flows.of_packets([_tuple(self._packets[at])])[0]
        return self._journey(at, self._stages(), key, now_ns)

    def _find(self, time_ns: int, data: bytes) -> int | None:
        """The traced packet with the same headers whose messages were read next after this time."""
        if len(data) < 20:
            return None
        network = (data[0] & 15) * 4 if data[0] >> 4 == 4 else 40
        found = self._by_head.get(
            data[: min(network, t.HEAD_NETWORK)] + data[network : network + t.HEAD_TRANSPORT]
        )
        # They stand in the order of their reading. Others with the same headers may not have been traced.
        at = bisect_left(found or [], time_ns, key=lambda at: self._packets[at].time_ns)
        if not found or at == len(found) or not may_be_traced(time_ns, self._packets[found[at]].time_ns):
            return None
        return found[at]

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
        for batch, start, stop in packet.runs:
            for values in self._batches[batch][start:stop].tolist():
                step = _Step._make(values)
                place = self._places[step.place]
                visited.add(place)
                position = self.book.position(place)
                hook = position.hook if position is not None else hook
                if step.has_ct and not step.ct_status & t.TEMPLATE:
                    state, flow_id = state_words(step.ct_state, step.ct_dir), step.ct_id
                made = self._step(step, place, hook, state)
                if made is not None:
                    steps.append(made)
        assert packet.last is not None
        end = end_of(packet.last, self.book, self.evidence)
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
            line=line_of(_headers(packet)),
            steps=steps,
            end=end.sentence,
            ended_ok=end.ok,
            cells=self._cells(packet.last, stages, visited, end),
            flow_id=flow_id,
            flow_key=key,
            data=packet.head,
        )

    def _step(self, step: _Step, place: Place, hook: str, state: str) -> JourneyStep | None:
        """One message in words; of our own points only those that say something are shown."""
        time_ns = step.time_ns
        if is_ours(place):
            label = {
                "prerouting_after_conntrack": CONNTRACK,
                "output_after_conntrack": CONNTRACK,
            } | _TERMINAL_LABELS
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
        lost_in_conntrack = end.mark == "vanished" and in_conntrack(last.base, self.book)
        hook = self.book.position(last.base)
        cells = []
        beyond = "unknown" if end.mark == "unknown" else "not reached"
        for label, place in stages:
            if place in visited:
                cells.append("dropped" if end.mark == "dropped" and place == last.base else "passed")
                continue
            position = self.book.position(place)
            here = position is not None and hook is not None and position.hook == hook.hook
            cells.append("vanished" if lost_in_conntrack and label == CONNTRACK and here else beyond)
        return cells


def _ethertype(packet: _Packet) -> int:
    return ETH_IPV6 if packet.family == 10 else ETH_IPV4


def _length(packet: _Packet) -> int:
    """Length of the packet by its own header."""
    head = packet.head
    if packet.family == 10:
        return int.from_bytes(head[4:6], "big") + 40 if len(head) >= 6 else len(head)
    return int.from_bytes(head[2:4], "big") if len(head) >= 4 else len(head)


def _data(step: _Step, head: bytes) -> bytes:
    """Network and transport header as a message quotes them."""
    return head[: step.network] + head[t.HEAD_NETWORK : t.HEAD_NETWORK + step.transport]


def _headers(packet: _Packet) -> Headers:
    return read_headers(_ethertype(packet), packet.head, _length(packet))


def _tuple(packet: _Packet) -> PacketTuple:
    """The packet's tuple as the flow store keys it."""
    head = packet.head
    if packet.family == 10 and len(head) >= 40:
        return _with_ports(10, head[6], head[8:24], head[24:40], head[40:])
    if packet.family == 2 and len(head) >= 20:
        return _with_ports(2, head[9], head[12:16], head[16:20], head[(head[0] & 15) * 4 :])
    return (0, 0, b"", b"", 0, 0)


def _with_ports(family: int, proto: int, source: bytes, destination: bytes, rest: bytes) -> PacketTuple:
    """ICMP as conntrack has it: echo id, type << 8 | code."""
    first, second, third = (int.from_bytes(rest[i : i + 2], "big") for i in (0, 2, 4))
    if proto in (1, 58):
        return (family, proto, source, destination, third, first)
    if proto in (6, 17, 33, 132, 136):
        return (family, proto, source, destination, first, second)
    return (family, proto, source, destination, 0, 0)
