"""The probe's engine: one loop, bounded steps. It wires sources to readings and answers questions."""

import asyncio
import os
import socket
import time
from collections.abc import Coroutine
from typing import Any

from cttui import __version__
from cttui.flows.arena import keep_freed_memory
from cttui.kernel import ctnetlink, netstat, sysctl
from cttui.kernel.ctfill import Filler
from cttui.kernel.kmsg import KernelLog
from cttui.kernel.ruleset import RuleSet
from cttui.model import filters
from cttui.model.actions import Action, Arm, Disarm
from cttui.model.faults import FaultError
from cttui.model.flow import Flow
from cttui.model.jobs import Notice
from cttui.model.messages import PROTOCOL, Answer, Ask, Hello, Welcome
from cttui.model.tunables import Tunable
from cttui.probe.actions import Actions
from cttui.probe.capture import Capture
from cttui.probe.counters import INTERVAL_S, Counters
from cttui.probe.headroom import FullTable
from cttui.probe.hook_watch import HookWatch
from cttui.probe.injector import Injector
from cttui.probe.jobs import Jobs
from cttui.probe.measure import Measure
from cttui.probe.overview import Overview, stats_without_privilege
from cttui.probe.own_connection import watched_through
from cttui.probe.own_cost import OwnCost
from cttui.probe.queries import Queries
from cttui.probe.rights import Rights
from cttui.probe.sandbox import Sandbox
from cttui.probe.switches import Switches
from cttui.probe.traces import Traces
from cttui.probe.warden import Warden, news_words
from cttui.probe.watch import Watch

FIRST_DUMP_S = 0.15
"""How long the first answer waits for the first dump: a small table is then on the first screen."""
WARM_UP_S = 0.5
"""The injector is started so long after the first answer: its imports would take the second core from it."""
NOTICES = 20


class Engine:
    """Everything one probe knows. Made after the client's greeting; `start` returns the Welcome."""

    def __init__(self, *, sandbox: Sandbox | None, hello: Hello) -> None:
        keep_freed_memory()
        self.sandbox = sandbox
        self.read_only = hello.read_only
        self.cost = OwnCost()
        self._leave_out = hello.leave_out
        self.netns = os.stat("/proc/thread-self/ns/net").st_ino
        self.log = KernelLog()
        self.rights = Rights(
            sandbox=sandbox is not None,
            read_only=hello.read_only,
            log=self.log,
            problems=sandbox.problems if sandbox is not None else {},
        )
        self.privileged = self.rights.privileged
        self.watch = Watch()
        self.queries = Queries(self.watch)
        self.counters = Counters(
            ctnetlink.stats if self.privileged else stats_without_privilege, netstat.read
        )
        self.capture = Capture(self.watch.store, hello.leave_out)
        self.hooks = HookWatch(self.counters, alone=sandbox is not None)
        self.measure = Measure(self.watch, self.counters, self.hooks, self.capture, self.log, self.netns)
        self.injector = Injector(sandbox) if sandbox is not None else None
        self.warden = Warden()
        self.traces = Traces(self.capture.lookup, self._read_rules)
        self.capture.fate = self.traces.fate
        self.switches = Switches(
            self.watch,
            self.capture,
            self.hooks,
            self.traces,
            self.counters,
            device=sandbox.device if sandbox is not None else "",
            notice=self.notice,
        )
        self.overview = Overview(
            self.watch, self.counters, self.hooks, self.capture, self.cost, privileged=self.privileged
        )
        self.filler = Filler()
        self.host_count = sandbox.host_count if sandbox is not None else None
        self.full_table = FullTable()
        self.jobs = Jobs()
        self.actions = Actions(self)
        self._tasks: list[asyncio.Task[None]] = []
        self._listeners: list[socket.socket] = []
        self._notices: list[Notice] = []
        self._watching = False
        self._answered = asyncio.Event()

    # ------------------------------------------------------------ life

    async def start(self) -> Welcome:
        """Begin sampling; in a sandbox everything is on, on a host what costs waits to be asked for."""
        self._spawn(self._sample(), "sample")
        rights = self.rights
        if self.sandbox is not None:
            self.watch.attach_events()
            try:
                await self.capture.start(self.sandbox.device)
            except (OSError, FaultError) as e:
                rights.fails("capture", f"No capture: {e}.")
            self._spawn(self._warm_up(), "injector")
            if self.privileged:
                try:
                    self.hooks.arm()
                except OSError as e:
                    rights.fails("stages", f"Stages can't be counted: {e.strerror}.")
                # On a host only when somebody asks; here the first answer is then the sooner ready.
                self._keep_reading()
        return Welcome(
            protocol=PROTOCOL,
            app=__version__,
            target="sandbox" if self.sandbox else "host",
            netns=self.netns,
            kernel=os.uname().release,
            user=rights.who,
            writes=rights.writes,
            can=rights.can,
            cannot={what: why for what, why in rights.cannot.items() if what not in rights.can},
            device=self.sandbox.device if self.sandbox else "",
        )

    def _keep_reading(self) -> None:
        """From now on: dumps and rules, at their own intervals."""
        if not self._watching:
            self._watching = True
            self._spawn(self.watch.run(), "dumps")
            self._spawn(self.watch.run_filtered(), "filtered dumps")
            self._spawn(self.hooks.run(), "hooks")

    async def _warm_up(self) -> None:
        """Have the injector ready by the time somebody presses a key."""
        assert self.injector is not None
        await self._answered.wait()
        await asyncio.sleep(WARM_UP_S)
        await self.injector.start()

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._task_ended)
        self._tasks.append(task)

    def _task_ended(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.notice(
                "error", f"{task.get_name()} stopped: {type(error).__name__}: {error}", "Restart the probe."
            )

    async def stop(self) -> None:
        """End every child and task. Sockets, and with them counters and memberships, go with the process."""
        await self.jobs.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.injector is not None:
            await self.injector.close()
        self.capture.stop()
        self.traces.disarm()
        self.watch.detach_events()
        self.hooks.close()
        for listener in self._listeners:
            listener.close()

    # ------------------------------------------------------------ sampling

    async def _sample(self) -> None:
        due = time.monotonic()
        while True:
            store = self.watch.store
            exact = self.watch.events is not None
            self.watch.drain_events()  # or events that wait would look like changes without one
            sample = self.counters.read(
                time.monotonic(), store.new_total, store.ended_total, exact, self.watch.dumped_at
            )
            self.counters.take(sample)
            if self._watching:
                self.watch.compare_count(sample.count)
            self.cost.count()
            if self.sandbox is None:
                self.switches.step_back(sample.count, sample.maximum)
                self._tell_of_settings()
                self.switches.put_away()
            due = max(due + INTERVAL_S, time.monotonic())
            await asyncio.sleep(due - time.monotonic())

    def _tell_of_settings(self) -> None:
        """What the warden did by itself: nobody asked for it just now, so it has to be said."""
        for name, what in self.warden.news():
            try:
                value = sysctl.read(name)
            except OSError:
                value = "unreadable"
            self.notice(*news_words(name, what, value))

    def notice(self, level: str, sentence: str, remedy: str = "") -> None:
        """Tell the person."""
        seq = self._notices[-1].seq + 1 if self._notices else 1
        self._notices = [*self._notices, Notice(seq=seq, level=level, sentence=sentence, remedy=remedy)][
            -NOTICES:
        ]

    # ------------------------------------------------------------ answering

    async def do(self, action: Action) -> int:
        """Start an action; its job's number. Raises FaultError."""
        return self.actions.do(action)

    async def answer(self, ask: Ask) -> Answer:
        """Everything the question names, at one moment."""
        if ask.fresh:
            await self._refresh(ask)
        elif (
            self.privileged
            and (ask.flows is None or ask.flows.refresh)
            and not (self._watching and self._answered.is_set())
        ):
            self._keep_reading()
            await self._first_readings()
        self._answered.set()
        self.watch.drain_events(2)  # what happened before the question; a flood's rest at the loop's pace
        if ask.flows is not None and ask.flows.refresh and not ask.flows.keys:
            self.watch.look_at(ask.flows.filter)
        now = time.monotonic()
        page = self.queries.flows(ask.flows, now, ask.at) if ask.flows is not None else None
        hooks = self.hooks.reading(ask.hooks) if ask.hooks is not None and self.privileged else None
        return Answer(
            seq=ask.seq,
            at=now,
            table=self.overview.table(ask.history),
            health=self.overview.health(now, watching=self._watching),
            flows=page,
            groups=[self.queries.groups(view, now, ask.at) for view in ask.groups],
            packets=self.capture.page(ask.packets, now, frozen=ask.at is not None) if ask.packets else None,
            hooks=hooks,
            journeys=self.traces.reading(ask.journey) if ask.journey is not None else None,
            tunables=self.tunables() if ask.tunables else None,
            jobs=self.jobs.readings(),
            notices=self._notices,
            events=self.watch.event_log.page(ask.events) if ask.events is not None else None,
        )

    async def _first_readings(self) -> None:
        """Wait for the first dump and the first look at the rules, or not that long."""
        first = [self.watch.dumped, self.hooks.first_read]
        await asyncio.wait([asyncio.ensure_future(event.wait()) for event in first], timeout=FIRST_DUMP_S)

    async def _refresh(self, ask: Ask) -> None:
        """A complete reading for scripts. A filter that the kernel can do is left to it."""
        store = self.watch.store
        if self.privileged:
            if ask.flows is not None or not ask.groups:
                text = ask.flows.filter if ask.flows is not None and not ask.groups else ""
                try:
                    await self.watch.dump_filtered(text)
                except filters.FilterError:
                    pass  # the flow page says what is wrong with it
            if ask.hooks is not None:
                await self.hooks.refresh(whole=True)
        self.counters.take(
            self.counters.read(time.monotonic(), store.new_total, store.ended_total, exact=False)
        )

    # ------------------------------------------------------------ switches

    # ------------------------------------------------------------ what actions use

    async def switch(self, action: Arm | Disarm) -> None:
        """Arm or disarm events, capture, stages, trace. Raises FaultError."""
        await self.switches.switch(action)

    def tunables(self) -> list[Tunable]:
        """Settings with their values and what is pending."""
        pending = self.warden.pending() if self.sandbox is None else {}
        return sysctl.tunables("sandbox" if self.sandbox else "host", pending, read_only=self.read_only)

    async def _read_rules(self) -> RuleSet:
        return (await self.hooks.look()).rules

    def keep_open(self, listener: socket.socket) -> None:
        """Hold a listener until the probe ends."""
        self._listeners.append(listener)

    def watched_through(self, flow: Flow) -> bool:
        """Whether this is the connection the person watches us through."""
        return watched_through(self._leave_out, flow)
