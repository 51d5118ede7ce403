"""The conversation with the probes: who is asked, how often, and what happens when one dies.

One Ask is outstanding at a time. `poke` asks again at once (a key was pressed); pokes while an answer is
on its way become one question. A frozen picture is asked for only when poked, and always of the moment it was
frozen at: it can be scrolled, sorted and filtered, and stands still. Each target keeps its own link, so host and sandbox both go on running
while the other is looked at.
"""

import asyncio
import enum
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import msgspec

from cttui.client.link import Link
from cttui.client.options import Options
from cttui.client.recording import AnyLink, RecordingLink, ReplayLink
from cttui.client.targets import Target
from cttui.model.actions import Action
from cttui.model.faults import Fault, FaultError
from cttui.model.jobs import Job
from cttui.model.messages import Answer, Ask, Done, Welcome
from cttui.ui.actions import Situation

OPENING_S = 5.0
"""How long an action waits for its probe to start."""
BUSY_HZ = 10.0
"""While a job is young: its progress is being watched."""
BUSY_SHARE = 0.2
"""Of the time then spent waiting for answers, at most: a key that needs rows waits behind a question."""
YOUNG_S = 3.0
"""A job that runs for longer is looked at twice as often as the table without it, no more: over SSH a minute's
burst at BUSY_HZ would be two megabytes."""
SLOW_S = 10.0
"""Between readings while the terminal has no focus."""
LEAST_GAP_S = 1 / 60
"""Between two questions, however fast keys repeat."""


class Phase(enum.Enum):
    """What the session is doing."""

    OPENING = "opening"
    LIVE = "live"
    FROZEN = "frozen"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class State:
    """What the screen says about the session."""

    phase: Phase
    target: Target
    hz: float
    welcome: Welcome | None = None
    fault: Fault | None = None
    focused: bool = True
    recording: bool = False
    other: Target | None = None
    next_action: str = ""
    """Of a recording: the action that it goes on with."""

    @property
    def situation(self) -> Situation:
        """What decides which actions can work."""
        return Situation(
            sandbox=self.target.kind == "sandbox",
            alive=self.phase is not Phase.DEAD,
            frozen=self.phase is Phase.FROZEN,
            other=self.other is not None,
            can=frozenset(self.welcome.can) if self.welcome is not None else None,
            recording=self.recording,
            next_action=self.next_action,
        )


class Session:
    """Links by target, and the loop that asks. `heard` and `changed` are called on the event loop."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self._links: dict[str, AnyLink] = {}
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._opening: asyncio.Task[AnyLink] | None = None
        self._greeted = asyncio.Event()
        self._busy_until = 0.0
        self._running_jobs = False
        self._only_jobs = False
        """The next question is asked for the sake of a job that goes on under a frozen picture."""
        self._answered_at = 0.0
        self._took_s = 0.0
        self._moment = 0.0
        self._held: Answer | None = None
        self.waiting_since: float | None = None
        """When the question now on its way was asked (time.monotonic); None: none is."""
        # Every reading repaints what moved: half as many, half as much for a slow line.
        hz = options.hz / 2 if options.low_bandwidth else options.hz
        self.state = State(
            Phase.OPENING,
            options.target,
            hz,
            recording=options.replay is not None,
            other=options.other_target if options.replay is None else None,
        )
        self.compose: Callable[[int], Ask] = lambda seq: Ask(seq=seq)
        self.heard: Callable[[Answer], None] = lambda answer: None
        self.changed: Callable[[State], None] = lambda state: None

    # ------------------------------------------------------------------ life

    def open_early(self) -> None:
        """Start the first probe before there is a screen: it gets going while the widgets are imported."""
        self._opening = asyncio.create_task(self._open(self.state.target))
        self._opening.add_done_callback(lambda _task: self._greeted.set())

    async def greeted(self) -> None:
        """Wait until the first probe was started and greeted, which takes a few turns of the loop and no time.

        From then on it works on its own, however long this loop does something else.
        """
        await self._greeted.wait()

    def start(self) -> None:
        """Begin asking."""
        self._task = asyncio.create_task(self._run(), name="session")
        self._task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        """A mistake of ours must not look like a quiet network."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self._set(
                phase=Phase.DEAD,
                fault=Fault(
                    "bug",
                    f"The conversation with the probe ended: {type(error).__name__}: {error}.",
                    "Please report it.",
                ),
            )

    async def close(self) -> None:
        """End every probe. What was changed on a host and not kept is put back by its warden."""
        for task in (self._task, self._opening):
            if task is not None and not task.done():
                task.cancel()
        await asyncio.gather(
            *(t for t in (self._task, self._opening) if t is not None), return_exceptions=True
        )
        links = list(self._links.values())
        if self._opening is not None and not self._opening.cancelled() and self._opening.exception() is None:
            early = self._opening.result()
            if early not in links:
                links.append(early)
        self._links.clear()
        await asyncio.gather(*(link.close() for link in links), return_exceptions=True)

    async def _open(self, target: Target) -> AnyLink:
        options = self.options
        if options.replay is not None:
            return ReplayLink(options.replay)
        link: AnyLink = await Link.open(target, read_only=options.read_only, greeted=self._greeted)
        if options.record is not None and target == options.target:
            link = RecordingLink(link, options.record)
        return link

    # ------------------------------------------------------------------ asking

    async def _run(self) -> None:
        asked_at = 0.0
        while True:
            target = self.state.target
            link = self._links.get(target.label)
            if link is None and self.state.phase is not Phase.DEAD:
                link = await self._connect(target)
            if link is not None and self.state.phase in (Phase.LIVE, Phase.FROZEN):
                gap = asked_at + LEAST_GAP_S - time.monotonic()
                if gap > 0:
                    await asyncio.sleep(gap)
                    if self.state.target != target or self.state.phase not in (Phase.LIVE, Phase.FROZEN):
                        continue  # things changed meanwhile
                self._wake.clear()  # this question answers every poke so far
                asked_at = time.monotonic()
                await self._ask_once(link, target)
            await self._pause(asked_at)

    async def _connect(self, target: Target) -> AnyLink | None:
        self._set(phase=Phase.OPENING, welcome=None, fault=None)
        try:
            opening, self._opening = self._opening, None
            link = await (opening if opening is not None else self._open(target))
        except FaultError as e:
            if self.state.target == target:
                self._set(phase=Phase.DEAD, fault=e.fault)
            return None
        if self.state.recording and self.state.target == target and target.kind != link.welcome.target:
            # Whatever the command line would look at: what is on screen is what was recorded.
            kind = link.welcome.target
            target = Target(kind, kind.upper())
            self._set(target=target, other=None)
        if self._links.setdefault(target.label, link) is not link:  # opened `beside` meanwhile
            await link.close()
            link = self._links[target.label]
        if self.state.target != target:
            return None
        self._set(phase=Phase.LIVE, welcome=link.welcome, fault=None, next_action=_next_action(link))
        return link

    async def _ask_once(self, link: AnyLink, target: Target) -> None:
        self.waiting_since = time.monotonic()
        ask = msgspec.structs.replace(self.compose(link.next_seq()), at=self.moment)
        try:
            answer = await link.ask(ask)
        except FaultError as e:
            self._lost(target, e.fault)
            return
        finally:
            self._took_s = time.monotonic() - self.waiting_since
            self.waiting_since = None
        only_jobs, self._only_jobs = self._only_jobs, False
        before, now = self._running_jobs, time.monotonic()
        self._running_jobs = any(job.state == "running" for job in answer.jobs)
        if self._running_jobs and not before:
            self._busy_until = now + YOUNG_S
        elif not self._running_jobs:
            self._busy_until = min(self._busy_until, now + 1.0)
        if self.state.target != target or ask.at != self.moment:
            return  # of another target, or asked before the picture was frozen or let go
        if self.state.phase is Phase.FROZEN:
            if only_jobs and self._running_jobs:
                return  # nobody asked for another look: only the job's end is told
            self._held = answer = _still(self._held, answer)
        elif self.state.phase is not Phase.LIVE:
            return
        self._answered_at = answer.at
        self.heard(answer)

    def _lost(self, target: Target, fault: Fault) -> None:
        link = self._links.pop(target.label, None)
        if link is not None:
            closing = asyncio.create_task(link.close())
            closing.add_done_callback(lambda task: task.cancelled() or task.exception())
        if self.state.target == target:
            self._set(phase=Phase.DEAD, fault=fault)

    async def _pause(self, asked_at: float) -> None:
        """Until the next reading is due, or someone pokes."""
        wait: float | None = None
        if self.state.phase is Phase.LIVE:
            if not self.state.focused and self.options.unfocused != "live":
                wait = SLOW_S if self.options.unfocused == "slow" else None
            else:
                wait = 1 / (2 * self.state.hz if self._running_jobs else self.state.hz)
                if not self.options.low_bandwidth and time.monotonic() < self._busy_until:
                    wait = min(wait, max(1 / BUSY_HZ, self._took_s / BUSY_SHARE))
            if wait is not None:
                wait = max(0.0, asked_at + wait - time.monotonic())
        elif self._running_jobs and self.state.phase is Phase.FROZEN:
            # The picture stands still, the job goes on.
            wait = max(0.0, asked_at + 1 / self.state.hz - time.monotonic())
            self._only_jobs = True
        try:
            async with asyncio.timeout(wait):
                await self._wake.wait()
                self._wake.clear()
                self._only_jobs = False
        except TimeoutError:
            pass

    # ------------------------------------------------------------------ what others call

    def poke(self) -> None:
        """Ask again at once."""
        self._wake.set()

    async def once(self, ask_with: Callable[[int], Ask]) -> Answer:
        """The answer to one question of one's own (a list, a detail), of the moment on screen. Raises FaultError."""
        link = self._link()
        return await link.ask(msgspec.structs.replace(ask_with(link.next_seq()), at=self.moment))

    async def do(self, action: Action) -> Done:
        """Have the probe do something, then watch it closely. Raises FaultError if it is refused."""
        end = time.monotonic() + OPENING_S
        while self.state.phase is Phase.OPENING and time.monotonic() < end:
            await asyncio.sleep(0.02)  # a key pressed while the probe starts is meant for it
        link = self._link()
        return await self._follow(link, link.do(action))

    async def go_on(self) -> Done:
        """Have a recording go on with the action that comes next in it. Raises FaultError as that did."""
        link = self._link()
        assert isinstance(link, ReplayLink)
        return await self._follow(link, link.go_on())

    async def _follow(self, link: AnyLink, doing: Awaitable[Done]) -> Done:
        try:
            done = await doing
        finally:
            self._set(next_action=_next_action(link))
        self._busy_until = time.monotonic() + YOUNG_S
        self.poke()
        return done

    async def settle(self, action: Action) -> Job:
        """Have it done and wait until it is. Raises FaultError where it is refused or fails."""
        link = self._link()
        job = await link.finish((await self.do(action)).job)
        self.poke()
        return job

    def _link(self) -> AnyLink:
        link = self._links.get(self.state.target.label)
        if link is None:
            raise FaultError(
                "no-probe",
                "There is no probe here to do that.",
                "Wait until it has started, or start a new one.",
            )
        return link

    @property
    def link(self) -> AnyLink | None:
        """The link to the target on screen."""
        return self._links.get(self.state.target.label)

    @property
    def moment(self) -> float | None:
        """The moment at which the picture is frozen, None while it is live."""
        return self._moment if self.state.phase is Phase.FROZEN else None

    async def beside(self, target: Target) -> AnyLink:
        """A link to a target that need not be on screen; it ends with the others. Raises FaultError."""
        if target.label not in self._links:
            link = await self._open(target)
            if self._links.setdefault(target.label, link) is not link:
                await link.close()
        return self._links[target.label]

    def freeze(self, frozen: bool) -> None:
        """Hold the picture of this moment, or go on; the probe goes on collecting."""
        if self.state.phase in (Phase.LIVE, Phase.FROZEN):
            self._moment, self._held = self._answered_at, None
            self._set(phase=Phase.FROZEN if frozen else Phase.LIVE)
            self.poke()

    def focus(self, focused: bool) -> None:
        """The terminal got or lost the focus."""
        if focused != self.state.focused:
            self._set(focused=focused)
            self.poke()

    def rate(self, hz: float) -> None:
        """Readings a second from now on."""
        self._set(hz=hz)
        self.poke()

    def switch(self) -> bool:
        """Look at the other target; False where there is none."""
        other = self.state.other
        if other is None:
            return False
        link = self._links.get(other.label)
        self._running_jobs = False
        self._set(
            target=other,
            other=self.state.target,
            phase=Phase.LIVE if link is not None else Phase.OPENING,
            welcome=link.welcome if link is not None else None,
            fault=None,
        )
        self.poke()
        return True

    async def restart(self) -> None:
        """A new probe for this target. A sandbox is thereby a new one."""
        link = self._links.pop(self.state.target.label, None)
        self._running_jobs = False
        self._set(phase=Phase.OPENING, welcome=None, fault=None)
        if link is not None:
            await link.close()
        self.poke()

    def _set(self, **changes: object) -> None:
        new = replace(self.state, **changes)  # type: ignore[arg-type]
        if new != self.state:
            self.state = new
            self.changed(new)


def _next_action(link: AnyLink) -> str:
    return link.next_action if isinstance(link, ReplayLink) else ""


def _still(held: Answer | None, answer: Answer) -> Answer:
    """A frozen picture after another look at its moment: only windows move, and jobs go on."""
    if held is None:
        return answer
    parts = ("flows", "groups", "packets", "journeys", "tunables", "jobs", "notices")
    seen = {name: value for name in parts if (value := getattr(answer, name)) not in (None, [])}
    if held.hooks is None:
        seen["hooks"] = answer.hooks
    return msgspec.structs.replace(held, seq=answer.seq, **seen)
