"""The way of one traced packet: its messages in words, and a mark for each stage."""

from collections.abc import Iterable

import msgspec

from cttui.kernel import trace as t
from cttui.kernel.trace_table import Place
from cttui.model.packet import Journey, JourneyStep
from cttui.probe.journey_words import (
    End,
    Evidence,
    LastStep,
    end_of,
    in_conntrack,
    state_words,
    verdict_words,
)
from cttui.probe.rule_book import (
    CONFIRM,
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

CONNTRACK = "conntrack"
_POINTS = {"prerouting_after_conntrack": CONNTRACK, "output_after_conntrack": CONNTRACK} | END_POINTS
"""Points of ours that are stages → what they are called."""


class Ways:
    """Made for one reading. `places` and `jumps` are the names by which messages go, `seen` the places that some
    packet met, `families` the NFPROTO numbers of the packets."""

    def __init__(
        self,
        table: str,
        book: RuleBook,
        evidence: Evidence,
        places: list[Place],
        jumps: list[str],
        seen: set[Place],
        families: set[int],
    ) -> None:
        self._table, self._book, self._evidence = table, book, evidence
        self._places, self._jumps = places, jumps
        self.stages = self._stages(seen, families)
        """Labels and places of the columns."""

    def _stages(self, seen: set[Place], families: set[int]) -> list[tuple[str, Place]]:
        """Base chains that traced packets can meet, along the path."""
        hooks = {position.hook for place in seen if (position := self._book.position(place)) is not None}
        if "prerouting" in hooks and "forward" not in hooks:
            hooks.add("input")
        if "forward" in hooks or "output" in hooks:
            hooks.add("postrouting")
        mine = {"inet"} | {name for number, name in ((2, "ip"), (10, "ip6")) if number in families}
        stages = [
            (in_order(chain), chain_label(place), place)
            for place, chain in self._book.base.items()
            if chain.hook in hooks and place[0] in mine and not is_ours(place) and not is_counting(place)
        ]
        for name, label in _POINTS.items():
            place = ("inet", self._table, name)
            position = self._book.position(place)
            if position is not None and position.hook in hooks:
                stages.append((in_order(position), label, place))
        return [(label, place) for _, label, place in sorted(stages)]

    def journey(
        self, packet: TracedPacket, messages: Iterable[Step], key: int, *, under_way: bool
    ) -> Journey:
        """One packet with its steps in words; `key` is that of its flow."""
        steps: list[JourneyStep] = []
        visited: set[Place] = set()
        state, flow_id, hook = "", None, ""
        last = packet.last
        assert last is not None  # the message that began the journey, if nothing else
        unconfirmed = last.place[2] == CONFIRM
        for step in messages:
            place = self._places[step.place]
            if unconfirmed and is_end_point(place):
                continue
            visited.add(place)
            position = self._book.position(place)
            hook = position.hook if position is not None else hook
            if step.has_ct and not step.ct_status & t.TEMPLATE:
                state, flow_id = state_words(step.ct_state, step.ct_dir), step.ct_id
            made = self._step(step, place, hook, state)
            if made is not None:
                steps.append(made)
        end = End("under way", False, "passed") if under_way else end_of(last, self._book, self._evidence)
        if end.mark == "refused":  # past the last hook, where its socket was looked for
            steps[-1] = msgspec.structs.replace(steps[-1], verdict="refused")
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
            cells=self._cells(last, visited, end),
            flow_id=flow_id,
            flow_key=key,
            data=packet.head,
        )

    def _step(self, step: Step, place: Place, hook: str, state: str) -> JourneyStep | None:
        """One message in words; of our own points only those that say something are shown."""
        time_ns = step.time_ns
        if is_ours(place):
            if place[2] not in _POINTS:
                return None
            return JourneyStep(
                time_ns=time_ns, family="", table="", chain=_POINTS[place[2]], kind="stage", verdict="passed",
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
            rule=self._book.rule(place, step.handle) if kind == "rule" else "",
            hook=hook,
            ct_state=state,
        )

    def _cells(self, last: LastStep, visited: set[Place], end: End) -> list[str]:
        """A mark for every stage."""
        position = self._book.position(last.base)
        assert position is not None
        hooks = {at.hook for place in visited if (at := self._book.position(place)) is not None}
        suspects = self._book.silent_between(position, last.family) if end.mark == "vanished" else []
        came_to = min((self._book.base[place].priority for place in suspects), default=position.priority)
        lost_in_conntrack = end.mark == "vanished" and in_conntrack(last.base, self._book)
        cells = []
        beyond = "unknown" if end.mark == "unknown" else "not reached"
        for label, place in self.stages:
            if place in visited:
                ended_here = end.mark in ("dropped", "refused") and place == last.base
                cells.append(end.mark if ended_here else "passed")
                continue
            at = self._book.position(place)
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
