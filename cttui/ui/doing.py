"""Actions that have the probe do something: bursts, filling, deleting, settings, what is switched on."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from cttui.model.messages import (
    Answer,
    Arm,
    Cancel,
    Delete,
    Disarm,
    Fault,
    FaultError,
    Fill,
    FlowPage,
    FlowView,
    Job,
    Set,
)
from cttui.model.messages import Ask as Question
from cttui.model.safe import clean
from cttui.model.words import conntrack_line
from cttui.ui import questions
from cttui.ui.dialogs import Button, Confirm, Read
from cttui.ui.session import Phase, State
from cttui.ui.tunables import KEEP_S, Tunables

if TYPE_CHECKING:
    from cttui.ui.burst import Burst
    from cttui.ui.program import Program

MOST_DELETED = 10_000
"""Flows a single confirmation may delete: what a person can be asked about in one go."""
PAGE = 2_000
CAPTURE_PACKETS, CAPTURE_S = 200_000, 600.0
"""On a host, what is armed disarms itself."""


class Doing:
    """Handlers by action id, and what runs because of them."""

    def __init__(self, app: "Program") -> None:
        self.app = app
        self.session = app.session
        self.dashboard = app.dashboard
        self._job = 0
        self._filling = False
        self._fire_next = False
        """A burst was asked for while the table is being filled: it is meant for the full table."""
        self._filled: set[int] = set()
        self._burst: Burst | None = None
        self._capturing = False
        self._events = False
        self._stages = False

    def handlers(self) -> dict[str, Callable[[], None]]:
        """Action id → what to call."""
        return {
            "fire": lambda: self.start(self.fire()),
            "compose": lambda: self.start(self.compose()),
            "result": self.result,
            "cancel": lambda: self.start(self.cancel()),
            "tunables": self.tunables,
            "tales": lambda: self.start(self.tales()),
            "reset": lambda: self.start(self.reset()),
            "target": self.target,
            "delete": lambda: self.start(self.delete()),
            "delete-set": lambda: self.start(self.delete_set()),
            "accounting": lambda: self.start(self.accounting()),
            "events": lambda: self.start(self.toggle("events", self._events)),
            "capture": lambda: self.start(self.toggle("capture", self._capturing)),
            "stages": lambda: self.start(self.toggle("stages", self._stages)),
        }

    def start(self, work: object) -> None:
        """Run it beside everything else; a refusal becomes a notice."""
        self.app.run_worker(self._guarded(work), exclusive=True, group="dialogue")

    async def _guarded(self, work: object) -> None:
        try:
            await work  # type: ignore[misc]
        except FaultError as e:
            self.app.say_fault(e.fault)

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

    def _need_writes(self) -> None:
        welcome = self.session.state.welcome
        if welcome is not None and not welcome.writes:
            why = welcome.cannot.get("write", "This target is looked at without the right to change it.")
            raise FaultError("read-only", why)

    # ------------------------------------------------------------ following jobs

    def opened(self, state: State) -> None:
        """A target is live: fill a new sandbox if that was asked for on the command line."""
        free = self.app.options.free
        welcome = state.welcome
        if free is not None and welcome is not None and self.sandbox and welcome.netns not in self._filled:
            self._filled.add(welcome.netns)
            self.start(self._fill_at_start(free))

    async def _fill_at_start(self, free: int) -> None:
        try:
            await self.fill(free)
        except FaultError as e:
            # It was asked for on the command line: too important for a notice that goes by.
            self.dashboard.trouble = f"not filled: {clean(e.fault.sentence)} {clean(e.fault.remedy)}".rstrip()
            self.dashboard.say()

    def heard(self, answer: Answer) -> None:
        """Take what concerns us out of an answer."""
        self._events = answer.health.events_attached
        if answer.packets is not None:
            self._capturing = answer.packets.capturing
        if answer.hooks is not None:
            self._stages = answer.hooks.stages_armed
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
            self.start(self.fire())

    async def do(self, action: object) -> int:
        """Send an action and follow its job in the banner."""
        self._filling, self._fire_next = isinstance(action, Fill), False
        self._job = await self.app.do(action)  # type: ignore[arg-type]
        return self._job

    # ------------------------------------------------------------ bursts

    def _composer(self) -> "Burst":
        if self._burst is None:
            from cttui.ui.burst import Burst

            self._burst = Burst.usual(self.app.options.config)
        return self._burst

    async def fire(self) -> None:
        """Fire the burst as composed."""
        self._need_sandbox()
        if self._job and self._filling:
            self._fire_next = True
            self.app.say("The burst follows as soon as the table is filled.")
            return
        if self._job:
            raise FaultError("busy", "A burst is still running.", f"{self.app.key('cancel')} stops it.")
        if self.session.state.phase is Phase.FROZEN:
            self.session.freeze(False)
        burst = self._composer()
        await self.do(await burst.fire())

    async def compose(self) -> None:
        """Compose the burst; fire it at once if that is how the composer was left."""
        self._need_sandbox()
        from cttui.ui.composer import Composer

        done = await self.app.push_screen_wait(Composer(self._composer(), self.app.memory))
        self.app.save_memory()
        if done is not None:
            self._burst = done
            await self.fire()

    def result(self) -> None:
        """What the last burst did, whole."""
        job = self.dashboard.burst
        if job is None or job.result is None:
            self.app.say(f"No burst yet: {self.app.key('fire')} fires one.")
            return
        title = self._burst.line if self._burst is not None and job.kind == "fire" else ""
        self.app.push_screen(Read("What the burst did", questions.result_lines(job.result, title)))

    async def cancel(self) -> None:
        """Stop what runs."""
        if not self._job:
            self.app.say("Nothing is running.")
            return
        await self.app.do(Cancel(job=self._job))

    async def fill(self, free: int) -> None:
        """Leave `free` slots; ask where it takes much memory."""
        try:
            await self.do(Fill(free=free))
        except FaultError as e:
            if e.fault.code != "fill-confirm":
                raise
            answer = self.dashboard.answer
            if answer is None:
                raise
            title, paragraphs = questions.fill_question(free, answer.table)
            if await self.app.push_screen_wait(Confirm(title, paragraphs, [Button("fill", "y", "fill")])):
                await self.do(Fill(free=free, confirmed=True))

    async def tales(self) -> None:
        """The experiments."""
        from cttui.ui.lab import Tales

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
        self.dashboard.burst = None
        await self.session.restart()

    def tunables(self) -> None:
        """Settings."""
        welcome = self.session.state.welcome
        if welcome is None:
            return
        self.app.push_screen(
            Tunables(
                self.app.do,
                sandbox=self.sandbox,
                can_fill="fill" in welcome.can,
                read_only=not welcome.writes,
            ),
            callback=lambda _none: self._remember_pending(),
        )

    def _remember_pending(self) -> None:
        # The banner counts down what will be put back; only asking finds out whether anything is.
        if not self.sandbox:
            self.dashboard.pending = self.dashboard.pending or " "
        self.session.poke()

    async def accounting(self) -> None:
        """Count packets and bytes of flows from now on."""
        self._need_writes()
        answer = await self.session.once(lambda seq: Question(seq=seq, tunables=True))
        found = next((t for t in answer.tunables or [] if t.name == "nf_conntrack_acct"), None)
        if found is None:
            raise FaultError("no-accounting", "This kernel has no nf_conntrack_acct.")
        if not found.writable:
            raise FaultError("not-writable", f"nf_conntrack_acct can't be changed here: {clean(found.why)}")
        new = "0" if found.value == "1" else "1"
        if not self.sandbox:
            title, paragraphs = questions.set_question(found, new, KEEP_S)
            buttons = [Button("change", "y", "change it", "error-text")]
            if await self.app.push_screen_wait(Confirm(title, paragraphs, buttons, danger=True)) is None:
                return
        await self.app.do(Set(name=found.name, value=new, expected_old=found.value, keep_s=KEEP_S))
        self.app.say(
            "Flows that begin from now on are counted." if new == "1" else "New flows are no longer counted."
        )
        self._remember_pending()

    async def toggle(self, what: str, on: bool) -> None:
        """Switch events, capture or stage counters on or off."""
        if on:
            await self.app.do(Disarm(what=what))
            self.app.say(f"{what.capitalize()} off.")
            return
        welcome = self.session.state.welcome
        if welcome is not None and what not in welcome.can:
            why = welcome.cannot.get(what, f"This kernel or user has no {what}.")
            raise FaultError("cannot", clean(why))
        if self.sandbox or what == "events":
            await self.app.do(Arm(what=what))
        else:
            await self.app.do(
                Arm(what=what, packets=CAPTURE_PACKETS if what == "capture" else 0, seconds=CAPTURE_S)
            )
        self.app.say(f"{what.capitalize()} on." if self.sandbox else _COST[what])

    # ------------------------------------------------------------ deleting

    async def delete(self) -> None:
        """Delete the flow under the cursor, after a question."""
        self._need_writes()
        flow = self.dashboard.flows.selected
        if flow is None:
            return
        title, paragraphs = questions.delete_question(flow, conntrack_line(flow), sandbox=self.sandbox)
        button = Button("delete", "y", "delete", "error-text")
        if await self.app.push_screen_wait(Confirm(title, paragraphs, [button], danger=True)):
            await self.do(Delete(flows=[flow]))

    async def delete_set(self) -> None:
        """Delete the flows of the filter, after a question that counts them: those, never the filter again."""
        self._need_writes()
        page = await self._all_flows()
        if not page.rows:
            raise FaultError("nothing", "There is no flow to delete here.")
        title, paragraphs = questions.delete_set_question(
            page, self.app.view.whole_filter, most=MOST_DELETED, sandbox=self.sandbox
        )
        button = Button("delete", "y", "delete them", "error-text")
        if await self.app.push_screen_wait(Confirm(title, paragraphs, [button], danger=True)):
            await self.do(Delete(flows=page.rows))

    async def _all_flows(self) -> FlowPage:
        """The flows of the filter, page by page, each once; at most MOST_DELETED."""
        view = self.app.view
        rows: dict[int, object] = {}
        matched = 0
        for first in range(0, MOST_DELETED, PAGE):
            answer = await self.session.once(
                lambda seq, first=first: Question(  # type: ignore[misc]
                    seq=seq,
                    flows=FlowView(filter=view.whole_filter, sort="id", descending=False, first=first, count=PAGE,
                                   fillers=view.fillers, refresh=False),
                )
            )  # fmt: skip
            page = answer.flows
            if page is None or not page.rows:
                break
            matched = page.matched
            rows.update({flow.key: flow for flow in page.rows if not flow.ended})
            if first + PAGE >= page.matched:
                break
        return FlowPage(matched=max(matched, len(rows)), total=matched, rows=list(rows.values()))  # type: ignore[arg-type]


_COST = {
    "events": "Events on: new and ended flows are exact. Very busy hosts make up to 30 % fewer new flows a second meanwhile.",
    "capture": "Packet log on, for at most ten minutes.",
    "stages": "Stage counters on: a table of our own in nftables, gone when we leave. `nft -f` of a whole ruleset fails meanwhile.",
}
