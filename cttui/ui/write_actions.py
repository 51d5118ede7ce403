"""Changes to the table of a target: deleting flows and counting their packets, each behind a question.

What was confirmed is what is done: the flows of a confirmation are collected first, and those are deleted,
each by tuple, zone and id, whatever matches the filter by then.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from cttui.client.recording import AnyLink
from cttui.model.actions import Delete, Set, Undo
from cttui.model.faults import FaultError
from cttui.model.flow import Flow
from cttui.model.jobs import Job, Result
from cttui.model.messages import Ask
from cttui.model.safe import clean
from cttui.model.views import FlowView
from cttui.model.words import conntrack_line
from cttui.ui import questions
from cttui.ui.dialogs import Button, Confirm

if TYPE_CHECKING:
    from cttui.ui.program import Program

MOST_DELETED = 100_000
"""Flows that one confirmation may delete."""
PAGE = 5_000
"""Flows in one answer: the most that a probe gives."""
CHUNK = 10_000
"""Flows in one Delete: up to 300 bytes each, where a frame holds 8 MiB."""
POLL_S = 0.05


class WriteActions:
    """Handlers of `delete`, `delete-set` and `accounting`."""

    def __init__(self, app: "Program") -> None:
        self.app = app
        self._deleting = False
        self.reading = False
        """Flows are being read that will be asked about."""
        self._stop = False

    @property
    def _sandbox(self) -> bool:
        return self.app.session.state.target.kind == "sandbox"

    def _need_writes(self) -> None:
        welcome = self.app.session.state.welcome
        if welcome is not None and not welcome.writes:
            why = welcome.cannot.get("write", "This target is looked at without the right to change it.")
            raise FaultError("read-only", clean(why))

    def _link(self) -> AnyLink:
        link = self.app.session.link
        if link is None:
            raise FaultError("no-probe", "There is no probe here to do that.")
        return link

    # ------------------------------------------------------------ deleting

    async def delete(self) -> None:
        """Delete the flow under the cursor."""
        self._need_writes()
        flow = self.app.dashboard.flows.selected
        if flow is None:
            self.app.say("There is no flow under the cursor.", "warning")
            return
        title, paragraphs = questions.delete_question(flow, conntrack_line(flow), sandbox=self._sandbox)
        await self._confirmed(self._link(), title, paragraphs, "delete", [flow])

    async def delete_set(self) -> None:
        """Delete the flows of the filter: those that are counted in the question."""
        self._need_writes()
        if self._deleting:
            raise FaultError("busy", "Flows are still being deleted.")
        view, link = self.app.view, self._link()
        shown = self.app.dashboard.flows.page.matched
        if shown > 4 * PAGE:  # half a second and more
            n = min(shown, MOST_DELETED)
            self.app.say(f"Reading the {n:,} flows to ask about … {self.app.key('back')} drops it.")
        self.reading, self._stop = True, False
        try:
            flows, matched = await collect(
                link,
                view.whole_filter,
                fillers=view.fillers,
                at=self.app.session.moment,
                stop=lambda: self._stop,
            )
        finally:
            self.reading = False
        if self._stop:
            self.app.say("Nothing was deleted.")
            return
        # A question that comes up over something else would be answered by a key that was meant for that.
        board = self.app.dashboard
        if self.app.screen is not board or board.typing or self.app.session.link is not link:
            again = self.app.key("delete-set")
            self.app.say(
                f"Nothing was deleted: you were elsewhere when the flows were read. {again} asks again."
            )
            return
        if not flows:
            raise FaultError("nothing", "There is no flow to delete here.")
        self.app.clear_notifications()
        title, paragraphs = questions.delete_set_question(
            flows, matched, view.whole_filter, most=MOST_DELETED, sandbox=self._sandbox
        )
        await self._confirmed(link, title, paragraphs, "delete them", flows)

    async def _confirmed(
        self, link: AnyLink, title: str, paragraphs: questions.Paragraphs, label: str, flows: list[Flow]
    ) -> None:
        if self._deleting:
            raise FaultError("busy", "Flows are still being deleted.")
        button = Button("delete", "y", label, "error-text")
        if await self.app.push_screen_wait(Confirm(title, paragraphs, [button], danger=True)):
            # In a worker of its own: the next question must not cut it short.
            self.app.run_worker(self._delete(link, flows), group="delete")

    async def _delete(self, link: AnyLink, flows: list[Flow]) -> None:
        board = self.app.dashboard

        def tell(job: Job) -> None:
            board.burst = job
            board.say()

        self._deleting, self._stop = True, False
        try:
            tell(await delete(link, flows, tell, stop=lambda: self._stop))
        except FaultError as e:
            self.app.say_fault(e.fault)
        finally:
            self._deleting = False
            self.app.session.poke()

    def stop(self) -> bool:
        """Delete no more than what is on its way, ask about nothing; False where neither was under way."""
        self._stop = True
        return self._deleting or self.reading

    # ------------------------------------------------------------ counting

    async def accounting(self) -> None:
        """Count packets and bytes of flows that begin from now on, or stop that."""
        self._need_writes()
        link = self._link()
        answer = await link.ask(Ask(seq=link.next_seq(), tunables=True))
        found = next((t for t in answer.tunables or [] if t.name == "nf_conntrack_acct"), None)
        if found is None:
            raise FaultError("no-accounting", "This kernel has no nf_conntrack_acct.")
        if not found.writable:
            raise FaultError("not-writable", f"nf_conntrack_acct can't be changed here: {clean(found.why)}")
        if found.reverts_to:
            await self.app.session.settle(Undo(name=found.name))
            self.app.say("Accounting is as it was: new flows are no longer counted.")
            return
        new = "0" if found.value == "1" else "1"
        if not self._sandbox:
            title, paragraphs = questions.set_question(found, new, 0)
            buttons = [Button("change", "y", "change it", "error-text")]
            if await self.app.push_screen_wait(Confirm(title, paragraphs, buttons, danger=True)) is None:
                return
        await self.app.session.settle(Set(name=found.name, value=new, expected_old=found.value, keep_s=0))
        columns = self.app.key("columns")
        self.app.say(
            f"Flows that begin from now on are counted. {columns} adds the columns packets, bytes and rate."
            if new == "1"
            else "New flows are no longer counted."
        )


async def collect(
    link: AnyLink,
    text: str,
    *,
    fillers: bool,
    at: float | None = None,
    most: int = MOST_DELETED,
    page: int = PAGE,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[list[Flow], int]:
    """The flows that match now, or at the frozen moment `at`: each once, at most `most`, and how many matched.

    Oldest first, page after page behind the last flow of the one before: flows that begin or end meanwhile
    shift no row out of sight. `stop` is asked before each page. Raises FaultError for a filter that can't be read.
    """
    rows: dict[int, Flow] = {}
    before: list[Flow] = []
    matched, back = -1, 1
    while len(rows) < most and not stop():
        anchor = before[-back].key if before else 0
        answer = await link.ask(
            Ask(
                seq=link.next_seq(),
                at=at,
                flows=FlowView(filter=text, sort="newest", descending=False, first=1 if anchor else 0, count=page,
                               fillers=fillers, refresh=False, follow_key=anchor, anchored=bool(anchor)),
            )
        )  # fmt: skip
        got = answer.flows
        if got is None or got.error:
            raise FaultError(
                "filter", clean(got.error) if got is not None else "The flows can't be read here."
            )
        if matched < 0:
            matched = got.matched
        if anchor and got.follow_at < 0:  # it has ended meanwhile: behind one before it
            if back < len(before):
                back = min(2 * back, len(before))
                continue
            before, back = [], 1
            if not any(flow.key not in rows for flow in got.rows):
                break
        fresh = [flow for flow in got.rows if not flow.ended]
        rows.update({flow.key: flow for flow in fresh})
        if not got.rows or got.first + len(got.rows) >= got.matched:
            break
        before, back = got.rows, 1
    return list(rows.values())[:most], max(matched, len(rows))


async def delete(
    link: AnyLink,
    flows: list[Flow],
    tell: Callable[[Job], None],
    *,
    stop: Callable[[], bool] = lambda: False,
    chunk: int = CHUNK,
) -> Job:
    """Delete exactly these, in as many actions as frames ask for; the outcome of all of them as one job.

    `tell` hears of the progress; after each action `stop` may end it: a chunk takes a quarter of a second, and what
    it did is known. Raises FaultError where the probe refuses or is gone.
    """
    total = Job(id=0, kind="delete", state="running", total=len(flows))
    tell(total)
    deleted, gone, spared = 0, 0, 0
    for first in range(0, len(flows), chunk):
        done = await link.do(Delete(flows=flows[first : first + chunk]))
        while True:
            answer = await link.ask(Ask(seq=link.next_seq()))
            job = next((j for j in answer.jobs if j.id == done.job), None)
            if job is None:
                raise FaultError("lost", "The probe forgot what it was to delete.")
            if job.state != "running":
                break
            tell(msgspec.structs.replace(total, done=first + job.done))
            await asyncio.sleep(POLL_S)
        if job.fault is not None:
            raise FaultError.of(job.fault)
        if job.result is not None:
            deleted += job.result.deleted
            gone += job.result.numbers.get("gone", 0)
            spared += job.result.numbers.get("spared", 0)
        if stop():
            break
    words = questions.deleted_words(deleted, gone, spared, left=len(flows) - deleted - gone - spared)
    return msgspec.structs.replace(
        total, state="done", done=deleted + gone + spared, sentence=words,
        result=Result(deleted=deleted, answer=words, numbers={"gone": gone, "spared": spared}),
    )  # fmt: skip
