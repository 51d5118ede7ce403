"""Runs a tale through a link and compares what was predicted with what the kernel did.

`run` is an async generator of events: it does nothing until the next event is asked for, so a screen that
goes step by step just doesn't ask. The link must lead to a fresh sandbox; what the tale did stays in it.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

from cttui.client.filling import Permission
from cttui.client.recording import AnyLink
from cttui.lab.moves import LASTING, STIMULI, Burst, Commands, Empty, FillTo, Forget, Move, Wait
from cttui.lab.predictions import holds, shown
from cttui.lab.readings import Measured, Unreadable, Value
from cttui.lab.tale import Expectation, Step, Tale
from cttui.model.actions import Action, Delete, Fire, Unfill
from cttui.model.faults import FaultError
from cttui.model.jobs import Result
from cttui.model.messages import Ask
from cttui.model.views import HookView
from cttui.model.words import counted

TAKEN_S = 60.0
"""How long to wait for another full sandbox on this machine to end."""
CARRIED_OUT = "the experiment can be carried out"
"""The row of a tale that a fault ended."""
POLL_S = 0.5
ATTEMPTS, SHIFT = 3, 2000
"""How often a disturbed step is tried, and how far its source ports move each time."""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table. `ok` is None and `measured` is None until it is measured."""

    what: str
    predicted: Value
    measured: Value | None = None
    ok: bool | None = None
    source: str = ""


@dataclass(frozen=True, slots=True)
class StepStarted:
    """A step is about to begin; its rows hold only predictions. Moves begin with the next event."""

    number: int
    steps: int
    step: Step
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Moving:
    """A move begins: number `number` of its step. A repeated step begins with its first fill or burst again."""

    move: Move
    number: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """Something takes its time; the words say what."""

    words: str


@dataclass(frozen=True, slots=True)
class RowMeasured:
    """Row `index` of the step has its measurement. An index past the step's predictions is a row of its own
    ("reclaimed by gc", CARRIED_OUT); a row that could not be read is not reported, but noted."""

    number: int
    index: int
    row: Row


@dataclass(frozen=True, slots=True)
class StepDone:
    """A step is over: its last stimulus's result, for screens that show more of it."""

    number: int
    result: Result


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a tale ended. `ok` is None where it was skipped; `skipped` then says why."""

    tale: str
    ok: bool | None
    kernel: str
    skipped: str = ""
    rows: tuple[Row, ...] = ()
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, object]:
        """For `--json`: tale, ok, skipped, kernel, rows [{what, predicted, measured, ok}], notes."""
        return {
            "tale": self.tale,
            "ok": self.ok,
            "skipped": self.skipped or None,
            "kernel": self.kernel,
            "rows": [
                {"what": r.what, "predicted": r.predicted, "measured": r.measured, "ok": r.ok}
                for r in self.rows
            ],
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event."""

    outcome: Outcome


Event = StepStarted | Moving | Waiting | RowMeasured | StepDone | Finished


class _Skip(Exception):
    """This tale can't be told here; the words say why."""


def predicted(expectation: Expectation, measured: Measured | None = None) -> Row:
    """The row of an expectation before its measurement."""
    return Row(expectation.what, shown(expectation.predicted, measured), source=expectation.reading.source)


def compile_fire(notation: str, count: int, rate_pps: float) -> Fire:
    """A burst's packets. Imports scapy on first use (0.2 s)."""
    from cttui.lab import compose

    return Fire(templates=compose.compile(notation, count), count=count, rate_pps=rate_pps)


@dataclass
class _Run:
    tale: Tale
    link: AnyLink
    permission: Permission | None
    confirmed: bool = False
    """Whether somebody has said yes to filling."""
    limit: int = 0
    buckets: int = 0
    evictable: int = 0
    """Fillers that are not ASSURED."""
    step: int = 1
    missing: set[str] = field(default_factory=set)
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    measured: Measured | None = None
    """Of the last stimulus."""
    waits_for_taken: float = TAKEN_S
    in_force: set[tuple[int, int]] = field(default_factory=set)
    """Step and index of moves that a repetition leaves out: their effect has stayed."""

    async def events(self) -> AsyncIterator[Event]:
        self._check_needs()
        await self._read_limits()
        steps = self.tale.steps
        for number, step in enumerate(steps, 1):
            self.step = number
            rows = tuple(predicted(e) for e in step.expect if e.needs not in self.missing or not e.needs)
            yield StepStarted(number, len(steps), step, rows)
            notes: list[str] = []
            for attempt in range(ATTEMPTS):
                last = attempt == ATTEMPTS - 1
                try:
                    async for event in self._moves(step, attempt):
                        yield event
                    assert self.measured is not None, "a step without a stimulus"
                    rows, notes = self._compare(step, self.measured)
                    came_true = all(row.ok for row in rows)
                    changed = not came_true and await self._limit_changed()
                    taken = self._taken(step, self.measured.result)
                    if last or changed or taken <= 0 or (came_true and not step.undisturbed):
                        break
                    why = (
                        f"the garbage collector took {counted(taken, 'entry', 'entries')} from the full table"
                    )
                except FaultError as e:
                    if e.fault.code != "fill" or last:
                        raise
                    why = "the garbage collector was faster than the fill"
                self.notes.append(f"Step {number} was repeated: {why}.")
                yield Waiting(f"{why}: once more, from other ports")
                await self._clear()
            assert self.measured is not None
            self.notes += notes
            for index, row in enumerate(rows):
                self.rows.append(row)
                yield RowMeasured(number, index, row)
            yield StepDone(number, self.measured.result)

    async def _moves(self, step: Step, attempt: int) -> AsyncIterator[Event]:
        for index, move in enumerate(step.moves):
            if (self.step, index) in self.in_force:
                continue
            yield Moving(move, index + 1)
            match move:
                case FillTo():
                    async for waiting in self._fill(move):
                        yield waiting
                case Wait():
                    assert self.measured is not None, "a Wait comes after a stimulus"
                    self.measured = await self._wait(move, self.measured)
                case Forget():
                    assert self.measured is not None, "a Forget comes after a stimulus"
                    await self._job(Delete(flows=self.measured.result.new_flows))
                case _:
                    again = attempt * SHIFT
                    result = await self._do(
                        move.shifted(again) if isinstance(move, Burst) and again else move
                    )
                    if isinstance(move, STIMULI):
                        self.measured = Measured(
                            result, self.limit, self.buckets, self.evictable, family=self.tale.family
                        )
            if isinstance(move, LASTING):
                self.in_force.add((self.step, index))

    async def _limit_changed(self) -> bool:
        """Whether somebody has changed the limit, which is one for the whole machine; that is noted."""
        before = self.limit
        await self._read_limits()
        if self.limit == before:
            return False
        self.notes.append(f"Somebody changed nf_conntrack_max meanwhile: {before:,} → {self.limit:,}.")
        return True

    def _taken(self, step: Step, r: Result) -> int:
        """Entries of the table that the step filled which neither a new flow nor early_drop explains: above 95 %
        the collector takes what is not ASSURED, and packets then find slots that should not be there."""
        fills = [move for move in step.moves if isinstance(move, FillTo)]
        if not fills:
            return 0
        return self.limit - fills[-1].slots(self.limit) + r.new - r.stats.get("early_drop", 0) - r.count_after

    async def _clear(self) -> None:
        """Room for another attempt: without its fillers and flows, which the collector would go on to take."""
        if self.measured is not None and self.measured.result.new_flows:
            await self._job(Delete(flows=self.measured.result.new_flows))
        self.measured = None
        await self._job(Unfill())
        self.evictable = 0

    def _check_needs(self) -> None:
        welcome = self.link.welcome
        for need in self.tale.needs:
            if need not in welcome.can:
                raise _Skip(welcome.cannot.get(need, f"This sandbox has no {need}."))
        tools = ("iptables",) if self.tale.family == "ip" else ("ipv6", "ip6tables")
        for tool in tools:
            if tool in welcome.cannot:
                raise _Skip(welcome.cannot[tool])

    async def _read_limits(self) -> None:
        answer = await self.link.ask(Ask(seq=self.link.next_seq()))
        self.limit, self.buckets = answer.table.maximum or 0, answer.table.buckets or 0

    async def _job(self, action: Action) -> Result:
        job = await self.link.finish((await self.link.do(action)).job)
        if job.state == "cancelled" or job.result is None:
            raise FaultError("cancelled", f"{job.kind} was cancelled.")
        return job.result

    async def _do(self, move: Move) -> Result:
        assert not isinstance(move, FillTo | Wait | Forget)
        # scapy's import and the building of packets: off the loop, which a screen may share
        action = await asyncio.to_thread(move.messages, compile_fire)
        try:
            result = await self._job(action)
        except FaultError as e:
            if not isinstance(move, Commands) or not move.lacks:
                raise
            if not move.optional:
                raise _Skip(f"No {move.lacks} here: {e.fault.sentence}") from None
            if move.lacks not in self.missing:
                self.missing.add(move.lacks)
                self.notes.append(f"No {move.lacks} here: {e.fault.sentence}")
            return Result()
        if isinstance(move, Empty):
            self.evictable = 0
        if isinstance(move, Commands) and move.optional and move.lacks not in self.missing:
            await self._check_reads(move.lacks)
        return result

    async def _check_reads(self, backend: str) -> None:
        """Whether the probe reads this backend's chains: /proc/net/ip_tables_names, which the legacy tools need,
        is closed to ordinary users."""
        answer = await self.link.ask(Ask(seq=self.link.next_seq(), hooks=HookView(), fresh=True))
        if answer.hooks is None or not any(c.backend == backend for c in answer.hooks.chains):
            self.missing.add(backend)
            self.notes.append(f"{backend} took the rule, but its counters can't be read by this user.")

    async def _fill(self, move: FillTo) -> AsyncIterator[Waiting]:
        told = False
        while True:
            try:
                result = await self._job(move.fill(self.limit, self.confirmed))
                break
            except FaultError as e:
                if e.fault.code == "fill-taken" and self.waits_for_taken > 0:
                    if not told:
                        told = True
                        yield Waiting("another sandbox on this machine is full, waiting for it to end")
                    self.waits_for_taken -= POLL_S
                    await asyncio.sleep(POLL_S)
                    continue
                if not e.fault.code.startswith("fill-"):
                    raise
                if self.confirmed or self.permission is None or not await self.permission(e.fault):
                    raise _Skip(f"{e.fault.sentence} {e.fault.remedy}".strip()) from None
                self.confirmed = True
                self.notes += [self.permission.lowered] if self.permission.lowered else []
                await self._read_limits()
        if not move.assured:
            self.evictable += result.filled

    async def _wait(self, move: Wait, m: Measured) -> Measured:
        """Watch nf_conntrack_count, which costs the sandbox nothing, against what it was before the burst."""
        before = m.result.count_before
        stats = (await self._table())[1]
        began = time.monotonic()
        while True:
            count, now = await self._table()
            waited = time.monotonic() - began
            if waited >= move.seconds or (move.gone and count <= before + m.result.new - move.gone):
                break
            await asyncio.sleep(POLL_S)
        moved = {name: now.get(name, 0) - value for name, value in stats.items() if now.get(name, 0) != value}
        return replace(m, waited_s=waited, left=count - before, stats_while_waiting=moved)

    async def _table(self) -> tuple[int, dict[str, int]]:
        table = (await self.link.ask(Ask(seq=self.link.next_seq()))).table
        return table.count or 0, table.stats

    def _compare(self, step: Step, m: Measured) -> tuple[tuple[Row, ...], list[str]]:
        """The step's rows, and notes on what could not be measured."""
        rows, notes = [], []
        for e in step.expect:
            if e.needs and e.needs in self.missing:
                continue
            try:
                value = e.reading.read(m)
            except Unreadable as why:
                notes.append(f"{e.what}: not measured, {why}.")
                continue
            rows.append(replace(predicted(e, m), measured=value, ok=holds(e.predicted, value, m)))
        if m.result.reclaimed and not step.forgets:
            rows.append(
                Row("reclaimed by gc meanwhile", "any", m.result.reclaimed, True, "conntrack -E -e DESTROY")
            )
        return tuple(rows), notes


async def run(tale: Tale, link: AnyLink, permission: Permission | None = None) -> AsyncIterator[Event]:
    """Tell a tale in the link's sandbox; the last event is Finished. A fault is a failed row, not raised.

    Without `permission` nobody is asked: a fill that needs a yes is skipped by name and reason.
    """
    runner = _Run(tale, link, permission)
    kernel = link.welcome.kernel
    try:
        async for event in runner.events():
            yield event
    except _Skip as why:
        yield Finished(Outcome(tale.name, None, kernel, str(why), tuple(runner.rows), tuple(runner.notes)))
        return
    except FaultError as e:
        words = f"{e.fault.sentence} {e.fault.remedy}".strip()
        row = Row(CARRIED_OUT, "yes", words, False)
        runner.rows.append(row)
        yield RowMeasured(runner.step, len(tale.steps[runner.step - 1].expect), row)
    ok = all(row.ok for row in runner.rows)
    yield Finished(Outcome(tale.name, ok, kernel, "", tuple(runner.rows), tuple(runner.notes)))


__all__ = [
    "Event", "Finished", "Moving", "Outcome", "Row", "RowMeasured", "StepDone", "StepStarted", "Waiting",
    "compile_fire", "predicted", "run",
]  # fmt: skip
