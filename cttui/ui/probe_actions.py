"""Actions that have the probe do something: bursts, filling, deleting, settings, what is switched on."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from cttui.client import targets
from cttui.client.filling import Permission, Question
from cttui.model.actions import Action, Arm, Cancel, Disarm, Fill
from cttui.model.faults import Fault, FaultError
from cttui.model.jobs import Job
from cttui.model.messages import Answer
from cttui.model.safe import clean
from cttui.ui import faults, journey_text, questions
from cttui.ui.dialogs import Button, Confirm, Read
from cttui.ui.session import Phase, State
from cttui.ui.tunables import Tunables
from cttui.ui.write_actions import WriteActions

if TYPE_CHECKING:
    from cttui.ui.burst import Burst
    from cttui.ui.program import Program


class ProbeActions:
    """Handlers by action id, and what runs because of them."""

    def __init__(self, app: "Program") -> None:
        self.app = app
        self.session = app.session
        self.dashboard = app.dashboard
        self.write_actions = WriteActions(app)
        self.permission = Permission(self._answer, lambda: self.session.beside(targets.host()))
        self._job = 0
        self._filling = False
        self._fire_next = False
        """A burst was asked for while the table is being filled: it is meant for the full table."""
        self._filled: set[int] = set()
        self._burst: Burst | None = None
        self._title = ""
        """The last burst's line, and the seed that repeats it."""
        self._events = False

    def handlers(self) -> dict[str, Callable[[], None]]:
        """Action id → what to call."""
        return {
            "fire": self._press_fire,
            "compose": lambda: self.app.start(self.compose()),
            "result": self.result,
            "cancel": lambda: self.app.start(self.cancel()),
            "tunables": self.tunables,
            "tales": lambda: self.app.start(self.tales()),
            "reset": lambda: self.app.start(self.reset()),
            "target": self.target,
            "delete": lambda: self.app.start(self.write_actions.delete()),
            "delete-set": lambda: self.app.start(self.write_actions.delete_set()),
            "accounting": lambda: self.app.start(self.accounting()),
            "events": lambda: self.app.start(self.events()),
        }

    @property
    def sandbox(self) -> bool:
        """Whether the target on screen is a sandbox."""
        return self.session.state.target.kind == "sandbox"

    def _need_sandbox(self) -> None:
        if not self.sandbox:
            raise FaultError(
                "sandbox-only",
                "Packets are fired into a sandbox only, never into a host.",
                f"{self.app.key('target')} goes there.",
            )

    # ------------------------------------------------------------ following jobs

    def opened(self, state: State) -> None:
        """A target is live: fill a new sandbox if that was asked for on the command line."""
        free = self.app.options.free
        welcome = state.welcome
        if free is not None and welcome is not None and self.sandbox and welcome.netns not in self._filled:
            self._filled.add(welcome.netns)
            self.app.start(self._fill_at_start(free))

    async def _fill_at_start(self, free: int) -> None:
        try:
            await self.fill(free)
        except FaultError as e:
            # It was asked for on the command line: too important for a notice that goes by.
            self.dashboard.trouble = e.fault
            self.dashboard.say()
            self.session.poke()

    def heard(self, answer: Answer) -> None:
        """Take what concerns us out of an answer."""
        self._events = answer.health.events_attached
        for job in answer.jobs:
            if job.id == self._job:
                self._follow(job)

    def _follow(self, job: Job) -> None:
        before = self.dashboard.burst
        self.dashboard.burst = job
        if job.state == "running":
            return
        self._job = 0
        fire_next, self._fire_next = self._fire_next, False
        if before is not None and before.id == job.id and before.state != "running":
            return
        if job.fault is not None:
            self.app.say_fault(job.fault)
        elif fire_next and job.state == "done":
            self.app.clear_notifications()  # the one that said so
            self.app.start(self.fire())

    async def do(self, action: Action) -> int:
        """Send an action and follow its job in the banner."""
        self._filling, self._fire_next = isinstance(action, Fill), False
        self._job = await self.app.do(action)
        return self._job

    # ------------------------------------------------------------ bursts

    def _composer(self) -> "Burst":
        if self._burst is None:
            from cttui.ui.burst import Burst

            self._burst = Burst.usual(self.app.options.config)
        return self._burst

    def go_on(self) -> None:
        """Let go of a frozen picture: what is done now must be seen. Not in a worker, where a freeze that was asked
        for behind it would be undone."""
        if self.session.state.phase is Phase.FROZEN:
            self.session.freeze(False)

    def _press_fire(self) -> None:
        if self.sandbox:
            self.go_on()
        other = self.session.state.recording and self.session.state.next_action not in ("", "fire")
        self.app.start(self.play_on() if other else self.fire())

    async def play_on(self) -> None:
        """Of a recording: what was done next, which is no burst."""
        self._filling, self._fire_next = self.session.state.next_action == "fill", False
        self._job = (await self.session.go_on()).job

    async def fire(self) -> None:
        """Fire the burst as composed."""
        self._need_sandbox()
        if self._job and self._filling:
            self._fire_next = True
            self.app.say("The burst follows as soon as the table is filled.")
            return
        if self._job:
            raise FaultError("busy", "A burst is still running.", f"{self.app.key('cancel')} stops it.")
        burst = self._composer()
        fire = await burst.fire()
        drawn = any(patch.kind == "random" for template in fire.templates for patch in template.patches)
        self._title = f"{burst.line}  seed {fire.seed}" if drawn else burst.line
        await self.do(fire)

    async def compose(self) -> None:
        """Compose the burst; fire it at once if that is how the composer was left."""
        self._need_sandbox()
        from cttui.ui.composer import Composer

        done = await self.app.push_screen_wait(Composer(self._composer(), self.app.memory))
        self.app.save_memory()
        if done is not None:
            self._burst = done
            self.go_on()
            await self.fire()

    def result(self) -> None:
        """What the last burst did, whole."""
        job = self.dashboard.burst
        if job is None or job.result is None:
            self.app.say(f"No burst yet: {self.app.key('fire')} fires one.", "warning")
            return
        result = job.of_packets
        if result is None:
            self.app.say(faults.summary(job))
            return
        lines = questions.result_lines(result, self._title if job.kind == "fire" else "")
        offers = []
        if job.kind == "fire" and (journeys := self.dashboard.journeys) is not None and journeys.total:
            lines += journey_text.ends_lines(journeys)
            offers = [Button("journeys", self.app.key("journeys"), "each packet's way")]
        self.app.push_screen(
            Read("What the burst did", lines, offers), callback=lambda to: self.app.act(to) if to else None
        )

    def adopt(self, job: Job) -> None:
        """Take a tale's burst for the last one: what the dashboard says of the last burst it says of this."""
        self.dashboard.burst, self._title = job, ""

    async def cancel(self) -> None:
        """Stop what runs."""
        if self.write_actions.stop():
            return
        if not self._job:
            self.app.say("Nothing is running.", "warning")
            return
        await self.app.do(Cancel(job=self._job))

    async def fill(self, free: int) -> int:
        """Leave `free` slots; ask where it takes much memory, or a lower limit of the host's. The job's number."""
        try:
            return await self.do(Fill(free=free))
        except FaultError as e:
            if not await self.permission(e.fault):
                raise
        if self.permission.lowered:
            self.app.say(self.permission.lowered, "warning")
        return await self.do(Fill(free=free, confirmed=True))

    async def _answer(self, question: Question) -> bool:
        button = Button("yes", "y", question.yes, "error-text" if question.of_host else "key")
        spaced = [line for paragraph in question.paragraphs for line in (paragraph, "")][:-1]
        dialog = Confirm(question.title, spaced, [button], danger=question.of_host)
        return await self.app.push_screen_wait(dialog) is not None

    async def tales(self) -> None:
        """The experiments."""
        from cttui.ui.tale_list import Tales

        self.app.push_screen(Tales(self.app))

    # ------------------------------------------------------------ targets and settings

    def target(self) -> None:
        """Host ↔ sandbox."""
        if self._job and self.sandbox:
            self.app.say("The burst goes on in the sandbox.")
        self._job = 0
        if not self.session.switch():
            self.app.say_fault(Fault("one-target", "There is only this one target."))

    async def reset(self) -> None:
        """A new probe; a sandbox that is alive is asked about first."""
        if self.session.state.phase is not Phase.DEAD and self.sandbox:
            answer = self.dashboard.answer
            if answer is not None and (answer.table.count or 0) > 0:
                question = Confirm(
                    "A new sandbox?",
                    ["The present one goes with its flows, rules and fillers; the new one is empty."],
                    [Button("reset", "y", "new sandbox")],
                )
                if await self.app.push_screen_wait(question) is None:
                    return
        self._job = 0
        await self.session.restart()

    def tunables(self) -> None:
        """Settings."""
        welcome = self.session.state.welcome
        if welcome is None:
            dead = self.session.state.phase is Phase.DEAD
            remedy = f"{self.app.key('reset')} starts one." if dead else "It is starting."
            self.app.say_fault(Fault("no-probe", "There is no probe to read the settings.", remedy))
            return
        self.go_on()
        self.app.push_screen(
            Tunables(self.app.do, self.fill, sandbox=self.sandbox, can_fill="fill" in welcome.can),
            callback=lambda _none: self._remember_pending(),
        )
        self.app.call_after_refresh(self.session.poke)

    def _remember_pending(self) -> None:
        # The banner counts down what will be put back; only asking finds out whether anything is.
        if not self.sandbox:
            self.dashboard.pending = self.dashboard.pending or " "
        self.session.poke()

    async def accounting(self) -> None:
        """Count packets and bytes of flows, or stop that."""
        await self.write_actions.accounting()
        self._remember_pending()

    async def events(self) -> None:
        """Attach to the kernel's events, or let go of them."""
        if self._events:
            await self.session.settle(Disarm(what="events"))
            self.app.say("Events off.")
            return
        welcome = self.session.state.welcome
        if welcome is not None and "events" not in welcome.can:
            why = welcome.cannot.get("events", "This kernel or user has no events.")
            raise FaultError("cannot", clean(why))
        await self.session.settle(Arm(what="events"))
        self.app.say("Events on." if self.sandbox else _EVENTS_COST)


_EVENTS_COST = "Events on: new and ended flows are exact. Very busy hosts make up to 30 % fewer new flows a second meanwhile."
