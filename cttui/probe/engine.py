"""The probe's engine: one loop, bounded steps. It wires sources to readings and answers questions."""

import asyncio
import errno
import os
import resource
import socket
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from cttui import __version__
from cttui.flows.arena import keep_freed_memory
from cttui.flows.table import Counts
from cttui.kernel import ctnetlink, netstat, sysctl
from cttui.kernel.ctfill import Filler
from cttui.kernel.kmsg import KernelLog
from cttui.kernel.ruleset import RuleSet
from cttui.model import filters
from cttui.model.flow import AF_INET, AF_INET6, Flow
from cttui.model.messages import (
    PROTOCOL,
    Action,
    Answer,
    Arm,
    Ask,
    Disarm,
    FaultError,
    Hello,
    Notice,
    Welcome,
)
from cttui.model.safe import clean
from cttui.model.table import Health, TableReading
from cttui.model.tunables import Tunable
from cttui.probe.actions import Actions
from cttui.probe.capture import Capture
from cttui.probe.counters import INTERVAL_S, Counters
from cttui.probe.headroom import FullTable
from cttui.probe.hook_watch import HookWatch
from cttui.probe.injector import Injector
from cttui.probe.jobs import Jobs
from cttui.probe.measure import Measure
from cttui.probe.queries import Queries, Remembered
from cttui.probe.sandbox import Sandbox
from cttui.probe.traces import Traces
from cttui.probe.warden import Warden, news_words
from cttui.probe.watch import Watch

FIRST_DUMP_S = 0.15
"""How long the first answer waits for the first dump: a small table is then on the first screen."""
CROWDED = 0.90
"""Share of the limit from which a host's listeners are switched off again."""
WARM_UP_S = 0.5
"""The injector is started so long after the first answer: its imports would take the second core from it."""
UNSEEN_S = 60.0
"""Stage counters on a host go when no question for hooks came for so long."""
NOTICES = 20


class Engine:
    """Everything one probe knows. Made after the client's greeting; `start` returns the Welcome."""

    def __init__(self, *, sandbox: Sandbox | None, hello: Hello) -> None:
        keep_freed_memory()
        self.sandbox = sandbox
        self.read_only = hello.read_only
        self._leave_out = hello.leave_out
        self.netns = os.stat("/proc/thread-self/ns/net").st_ino
        self.privileged = _may_use_ctnetlink()
        self.log = KernelLog()
        self.watch = Watch()
        self.queries = Queries(self.watch)
        self.counters = Counters(
            ctnetlink.stats if self.privileged else _stats_without_privilege, netstat.read
        )
        self.capture = Capture(self.watch.store, hello.leave_out)
        self.hooks = HookWatch(self.counters, alone=sandbox is not None)
        self.measure = Measure(self.watch, self.counters, self.hooks, self.capture, self.log, self.netns)
        self.injector = Injector(sandbox) if sandbox is not None else None
        self.warden = Warden()
        self.traces = Traces(self.capture.lookup, self._read_rules)
        self.capture.fate = self.traces.fate
        self.filler = Filler()
        self.host_count = sandbox.host_count if sandbox is not None else None
        self.full_table = FullTable()
        self.jobs = Jobs()
        self.actions = Actions(self)
        self._tasks: list[asyncio.Task[None]] = []
        self._listeners: list[socket.socket] = []
        self._notices: list[Notice] = []
        self._counts = Remembered[None, Counts]()
        self._watching = False
        self._answered = asyncio.Event()
        self._filter_in_kernel = False
        self._crowded = False
        # From process start on: the imports before this are part of what we cost.
        self._cpu = (0.0, time.monotonic() - _process_age_s(), 0.0)

    # ------------------------------------------------------------ life

    async def start(self) -> Welcome:
        """Begin sampling; in a sandbox everything is on, on a host what costs waits to be asked for."""
        self._spawn(self._sample(), "sample")
        can, cannot = ["counters"], dict(self.sandbox.problems) if self.sandbox else {}
        if self.privileged:
            can += ["ctnetlink", "events", "rules"]
        else:
            for what, name in (("ctnetlink", "table"), ("events", "events"), ("rules", "rules")):
                cannot[what] = (
                    f"The {name} can be read only with CAP_NET_ADMIN here: run cttui with sudo, or look at the sandbox."
                )
        if _has_net_raw():
            can.append("capture")
        else:
            cannot["capture"] = "Capturing packets needs CAP_NET_RAW here: run cttui with sudo."
        if self.log.readable:
            can.append("kmsg")
        else:
            cannot["kmsg"] = self.log.why
        if self.privileged and not self.read_only:
            can.append("write")
        else:
            cannot["write"] = (
                "cttui runs with --read-only: nothing is changed here. Start it without --read-only."
                if self.read_only
                else "Changing anything needs CAP_NET_ADMIN here: run cttui with sudo."
            )
        if self.sandbox is not None:
            can += ["fire", "fill"]
            self.watch.attach_events()
            await self._try("capture", self.capture.start(self.sandbox.device), can, cannot)
            self._spawn(self._warm_up(), "injector")
        if self.privileged and self.sandbox is None and self.read_only:
            for what in ("stages", "trace"):
                cannot[what] = (
                    f"cttui runs with --read-only: no {what}, which needs a table of ours in nftables."
                )
        elif self.privileged:
            can += ["stages", "trace"]
            if self.sandbox is not None:
                try:
                    self.hooks.arm()
                except OSError as e:
                    cannot["stages"] = f"Stages can't be counted: {e.strerror}."
                # On a host only when somebody asks; here the first answer is then the sooner ready.
                self._keep_reading()
        return Welcome(
            protocol=PROTOCOL,
            app=__version__,
            target="sandbox" if self.sandbox else "host",
            netns=self.netns,
            kernel=os.uname().release,
            user=_who(self.privileged),
            writes=self.privileged and not self.read_only,
            can=can,
            cannot={k: v for k, v in cannot.items() if k not in can},
            device=self.sandbox.device if self.sandbox else "",
        )

    def _keep_reading(self) -> None:
        """From now on: dumps and rules, at their own intervals."""
        if not self._watching:
            self._watching = True
            self._spawn(self.watch.run(), "dumps")
            self._spawn(self.hooks.run(), "hooks")

    async def _warm_up(self) -> None:
        """Have the injector ready by the time somebody presses a key."""
        assert self.injector is not None
        await self._answered.wait()
        await asyncio.sleep(WARM_UP_S)
        await self.injector.start()

    async def _try(
        self, what: str, work: Coroutine[Any, Any, None], can: list[str], cannot: dict[str, str]
    ) -> None:
        try:
            await work
        except (OSError, FaultError) as e:
            cannot[what] = f"No {what}: {e}."
            if what in can:
                can.remove(what)

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
            sample = self.counters.read(time.monotonic(), store.new_total, store.ended_total, exact)
            self.counters.take(sample)
            if self._watching:
                self.watch.compare_count(sample.count)
            self._count_cost()
            if self.sandbox is None:
                self._step_back(sample.count, sample.maximum)
                self._tell_of_settings()
                self._put_away()
            due = max(due + INTERVAL_S, time.monotonic())
            await asyncio.sleep(due - time.monotonic())

    def _count_cost(self) -> None:
        used = resource.getrusage(resource.RUSAGE_SELF)
        cpu, now = used.ru_utime + used.ru_stime, time.monotonic()
        before, then, _ = self._cpu
        self._cpu = (cpu, now, 100 * (cpu - before) / (now - then) if now > then else 0.0)

    def _step_back(self, count: int | None, maximum: int | None) -> None:
        """On a host in trouble, what was switched on before the trouble is switched off: it costs new flows."""
        crowded = (
            bool(count and maximum and count >= CROWDED * maximum) or self.counters.rates.get("drop", 0) > 0
        )
        before, self._crowded = self._crowded, crowded
        if before or not crowded:
            return
        off = []
        if self.watch.events is not None:
            self.watch.detach_events()
            off.append("events")
        if self.capture.capturing:
            self.capture.stop()
            off.append("capture")
        if self.hooks.stages.armed:
            self.hooks.disarm()
            off.append("stage counters")
        if self.traces.armed:
            self.traces.disarm()
            off.append("trace")
        if off:
            self.notice(
                "warning",
                f"The table is nearly full or dropping: {', '.join(off)} switched off to cost the host nothing.",
                "Switch them on again if you need them: they then stay on.",
            )

    def _put_away(self) -> None:
        """On a host, stage counters that nobody looks at go: an administrator's `nft -f` fails beside them."""
        if self.hooks.stages.armed and self.hooks.unseen_s > UNSEEN_S:
            self.hooks.disarm()
            self.notice(
                "info",
                f"Stage counters off: nobody looked at the hooks for {UNSEEN_S:.0f} s. Their table is gone.",
                "The same key switches them on again.",
            )

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
        now = time.monotonic()
        page = self.queries.flows(ask.flows, now, ask.at) if ask.flows is not None else None
        hooks = self.hooks.reading(ask.hooks) if ask.hooks is not None and self.privileged else None
        return Answer(
            seq=ask.seq,
            at=now,
            table=self._table(ask.history),
            health=self._health(now),
            flows=page,
            groups=[self.queries.groups(view, now, ask.at) for view in ask.groups],
            packets=self.capture.page(ask.packets, now, frozen=ask.at is not None) if ask.packets else None,
            hooks=hooks,
            journeys=self.traces.reading(ask.journey) if ask.journey is not None else None,
            tunables=self.tunables() if ask.tunables else None,
            jobs=self.jobs.readings(),
            notices=self._notices,
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
                    self._filter_in_kernel = await self.watch.dump_filtered(text)
                except filters.FilterError:
                    pass  # the flow page says what is wrong with it
            if ask.hooks is not None:
                await self.hooks.refresh(whole=True)
        self.counters.take(
            self.counters.read(time.monotonic(), store.new_total, store.ended_total, exact=False)
        )

    def _table(self, history: int) -> TableReading:
        store = self.watch.store
        # Read for this answer; the history and the rates are of the regular samples.
        sample = self.counters.read(time.monotonic(), store.new_total, store.ended_total, exact=True)
        counts = self._counts.get(None, store.counts)
        if self.privileged:
            active, why = self.hooks.active
        else:
            active, why = (
                None,
                "The rules can't be read here, so whether one switches conntrack on is unknown.",
            )
        if sample.count and active is not True:
            held = f"the table holds {sample.count:,} {'entry' if sample.count == 1 else 'entries'}"
            rules = ", though no rule of this namespace switches it on" if self.privileged else ""
            active, why = True, f"Conntrack is on, or was: {held}{rules}."
        return TableReading(
            count=sample.count,
            maximum=sample.maximum,
            buckets=sample.buckets,
            active=active,
            active_why=why,
            held=len(self.watch.store),
            filler=counts.filler,
            by_protocol=counts.by_protocol,
            by_state=counts.by_state,
            assured=counts.assured,
            evictable=counts.evictable,
            stats=sample.stats,
            rates={k: v for k, v in self.counters.rates.items() if self._known(k)},
            history_interval_s=INTERVAL_S,
            history=[line for line in self.counters.history(history) if self._known(line.name)],
        )

    def _known(self, name: str) -> bool:
        """Whether a rate has a source here: new and ended flows are seen by events and dumps only."""
        return self.privileged or name not in ("new", "ended")

    def _health(self, now: float) -> Health:
        def age(at: float | None) -> float | None:
            return None if at is None else max(0.0, now - at)

        watch = self.watch
        return Health(
            counters_age_s=0.0,
            dump_age_s=age(watch.dumped_at),
            dump_interval_s=watch.interval_s if self._watching else None,
            dump_cost_s=watch.dump_cost_s,
            hooks_age_s=age(self.hooks.read_at),
            packets_age_s=self.capture.age_s,
            events_attached=watch.events is not None,
            events=watch.events_total,
            events_lost=watch.lost_total,
            ghosts=watch.store.ghosts_total,
            resyncs=watch.resyncs,
            ring_drops=self.capture.drops,
            cpu_percent=self._cpu[2],
            rss_bytes=_rss(),
            filter_in_kernel=self._filter_in_kernel,
            clock_s=now,
        )

    # ------------------------------------------------------------ switches

    async def switch(self, action: Arm | Disarm) -> None:
        """Arm or disarm events, capture, stages, trace. Raises FaultError."""
        on = isinstance(action, Arm)
        try:
            match action.what:
                case "events":
                    self.watch.attach_events() if on else self.watch.detach_events()
                case "capture":
                    if isinstance(action, Arm):
                        interface = action.interface or (self.sandbox.device if self.sandbox else "")
                        await self.capture.start(interface, action.filter, action.packets, action.seconds)
                    else:
                        self.capture.stop()
                case "stages":
                    self.hooks.arm() if on else self.hooks.disarm()
                case "trace":
                    if isinstance(action, Arm):
                        hooks = ("prerouting", "output")
                        await self.traces.arm(
                            action.packets or 1000, action.filter, action.seconds or 30.0, hooks
                        )
                    else:
                        self.traces.disarm()
                case _:
                    raise FaultError("unknown-switch", f"There is no {action.what} to switch.")
        except OSError as e:
            if e.errno in (errno.EPERM, errno.EACCES):
                raise FaultError(
                    "no-privilege", f"{action.what}: {e.strerror}.", "Run as root: sudo cttui …"
                ) from None
            name = f" {clean(action.interface)}" if isinstance(action, Arm) and action.interface else ""
            raise FaultError("switch", f"{action.what}{name}: {e.strerror or e}.") from None

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
        if self._leave_out is None:
            return False
        client, client_port, server, server_port = self._leave_out
        try:
            packed = _packed(client), client_port, _packed(server), server_port
        except OSError:
            return False
        ends = (
            (flow.orig_src, flow.orig_sport, flow.orig_dst, flow.orig_dport),
            (flow.reply_dst, flow.reply_dport, flow.reply_src, flow.reply_sport),
        )
        return packed in ends


def _packed(address: str) -> bytes:
    return socket.inet_pton(AF_INET6 if ":" in address else AF_INET, address.split("%")[0])


def _may_use_ctnetlink() -> bool:
    """Whether ctnetlink answers us. Raises FaultError where the kernel has no conntrack or no ctnetlink."""
    if not Path("/proc/sys/net/netfilter/nf_conntrack_max").exists():
        raise FaultError(
            "no-conntrack",
            "This kernel has no connection tracking, or its module is not loaded.",
            "As root: modprobe nf_conntrack nf_conntrack_netlink. Without that module there is nothing to show.",
        )
    try:
        ctnetlink.stats()
    except PermissionError:
        return False
    except OSError as e:
        raise FaultError(
            "no-ctnetlink",
            f"This kernel does not answer ctnetlink ({e.strerror}).",
            "As root: modprobe nf_conntrack_netlink (CONFIG_NF_CT_NETLINK).",
        ) from None
    return True


def _stats_without_privilege() -> dict[str, int]:
    try:
        found = ctnetlink.stats_from_proc()
    except OSError:
        return {}
    found.pop("entries", None)
    return found


def _has_net_raw() -> bool:
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0).close()
    except OSError:
        return False
    return True


def _who(privileged: bool) -> str:
    if not privileged:
        return "no privilege"
    # In the first user namespace the map is the identity over the whole range (user_namespaces(7)).
    first = Path("/proc/self/uid_map").read_text().split()[:3] == ["0", "0", "4294967295"]
    return "root" if first else "user namespace"


def _process_age_s() -> float:
    """Seconds since this process began (proc(5): starttime is in clock ticks since boot)."""
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    return max(0.01, uptime - ticks / os.sysconf("SC_CLK_TCK"))


def _rss() -> int:
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize()
