"""Actions: each checked here, beside the device and the namespace, whatever the client believes.

Fire, Fill, Rules, Listen, Send and Hold exist only in a sandbox. Writes to a host go through the warden.
"""

import asyncio
import shlex
import shutil
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import msgspec

from cttui.kernel import ctnetlink, sysctl
from cttui.kernel.nfqueue import Queue
from cttui.model.messages import (
    Action,
    Arm,
    Cancel,
    Delete,
    Disarm,
    FaultError,
    Fill,
    Fire,
    Hold,
    Keep,
    Listen,
    Result,
    Rules,
    Send,
    Set,
    Undo,
    Unfill,
)
from cttui.model.tunables import TUNABLES
from cttui.model.words import are, counted
from cttui.probe import headroom, sandbox, stimuli
from cttui.probe.injector import FireReport
from cttui.probe.jobs import Progress
from cttui.probe.traces import Share, share_of_burst
from cttui.probe.warden import WardenError

if TYPE_CHECKING:
    from cttui.probe.engine import Engine

_T = TypeVar("_T")
RULE_TOOLS = frozenset(
    f"{name}{kind}" for name in ("iptables", "ip6tables") for kind in ("", "-nft", "-legacy")
) | {"nft"}
"""Commands that Rules may run."""
COMMAND_S = 20.0
FILL_ROUNDS = 8
MOST_OF_SEND = Share(100)
"""Packets that are traced while an application sends: its own, what comes of them, and what is sent again."""
HOLD_S = 1.0
"""How long a burst may take to reach its queue."""


class Actions:
    """Carries out what a client may ask for. Methods raise FaultError before anything has changed."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    def do(self, action: Action) -> int:
        """Start the action; its job's number."""
        e = self._engine
        match action:
            case Cancel():
                e.jobs.cancel(action.job)
                return action.job
            case Fire():
                self._sandbox_only("fires a burst")
                return e.jobs.start("fire", lambda p: self._fire(action, p), action.count)
            case Hold():
                self._sandbox_only("holds packets")
                return e.jobs.start("hold", lambda p: self._hold(action, p), action.burst.count)
            case Fill():
                self._sandbox_only("fills the table")
                self._check_fill(action)
                return e.jobs.start("fill", lambda p: self._fill(action, p))
            case Unfill():
                self._sandbox_only("removes fillers")
                return e.jobs.start("unfill", self._unfill)
            case Rules():
                self._sandbox_only("changes rules")
                lines = [self._rule(line) for line in action.lines]
                return e.jobs.start("rules", lambda p: self._rules(lines, p), len(lines))
            case Listen():
                self._sandbox_only("opens a listener")
                return e.jobs.start("listen", lambda p: self._listen(action))
            case Send():
                self._sandbox_only("sends")
                return e.jobs.start("send", lambda p: self._send(action))
            case Delete():
                self._writes("delete entries")
                return e.jobs.start("delete", lambda p: self._delete(action, p), len(action.flows))
            case Set():
                self._writes(f"set {action.name}")
                return e.jobs.start("set", lambda p: self._set(action))
            case Keep() | Undo():
                return e.jobs.start(type(action).__name__.lower(), lambda p: self._settle(action))
            case Arm(what="stages" | "trace") if e.sandbox is None:
                self._writes(f"put a table of its own into nftables, as {action.what} needs")
                return e.jobs.start("arm", lambda p: self._arm(action))
            case Arm() | Disarm():
                return e.jobs.start(type(action).__name__.lower(), lambda p: self._arm(action))
        raise FaultError("unknown-action", f"This probe does not know {type(action).__name__}.")

    # ------------------------------------------------------------ who may what

    def _sandbox_only(self, what: str) -> None:
        if self._engine.sandbox is None:
            raise FaultError(
                "sandbox-only",
                f"cttui {what} only in its sandbox, never on a host.",
                "Press h for the sandbox, or start cttui --sandbox.",
            )

    def _writes(self, what: str) -> None:
        e = self._engine
        if e.read_only:
            raise FaultError(
                "read-only",
                f"cttui runs with --read-only: it does not {what}.",
                "Start it without --read-only.",
            )
        if e.sandbox is None and not e.privileged:
            raise FaultError(
                "no-privilege", f"To {what} needs CAP_NET_ADMIN here.", "Run as root: sudo cttui …"
            )

    # ------------------------------------------------------------ the sandbox's own

    async def _fire(self, fire: Fire, progress: Progress) -> Result:
        injector = self._engine.injector
        assert injector is not None
        await injector.start()

        def report(done: FireReport) -> None:
            progress.done = done.sent

        async def send() -> FireReport:
            try:
                return await injector.fire(fire, report)
            except asyncio.CancelledError:
                injector.cancel()
                raise

        done, result = await self._measured(send, fire.settle_s, _share(fire))
        report(done)
        return msgspec.structs.replace(result, sent=done.sent, send_errors=done.errors, seconds=done.seconds)

    async def _hold(self, hold: Hold, progress: Progress) -> Result:
        injector = self._engine.injector
        assert injector is not None
        await injector.start()
        with Queue(hold.queue) as queue:

            async def send() -> tuple[FireReport, int]:
                done = await injector.fire(hold.burst)
                deadline = time.monotonic() + HOLD_S
                while queue.collect() < done.sent and time.monotonic() < deadline:
                    await asyncio.sleep(0.002)
                return done, queue.release()

            (done, held), result = await self._measured(send, hold.burst.settle_s, _share(hold.burst))
        progress.done = done.sent
        return msgspec.structs.replace(
            result, sent=done.sent, send_errors=done.errors, seconds=done.seconds, numbers={"held": held}
        )

    async def _measured(
        self,
        send: Callable[[], Awaitable[_T]],
        settle_s: float,
        traced: Share,
        hooks: Sequence[str] = ("prerouting",),
    ) -> tuple[_T, Result]:
        """What `send` returned and what it changed; a share of its packets is traced."""
        e = self._engine
        armed = traced.packets > 0 and await self._trace(traced, hooks)
        try:
            before = await e.measure.baseline()
            done = await send()
            result = await e.measure.result(before, settle_s)
            if armed:
                e.traces.finish(result)
        finally:
            if armed:
                e.traces.disarm()
        return done, result

    async def _trace(self, share: Share, hooks: Sequence[str]) -> bool:
        """Arm the trace of what is sent. Where the kernel has none (before Linux 5.12), that goes without."""
        try:
            await self._engine.traces.arm(share.packets, hooks=hooks, at_once=share.at_once)
        except OSError as error:
            self._engine.notice("warning", f"The burst was not traced: {error.strerror}.")
            return False
        return True

    def _check_fill(self, fill: Fill) -> None:
        e = self._engine
        limit = int(sysctl.read("nf_conntrack_max"))
        if fill.free < 0 or fill.free > limit > 0:
            raise FaultError("fill", f"{fill.free:,} free slots of {limit:,} is not possible.")
        entries = max(0, limit - fill.free - int(sysctl.read("nf_conntrack_count")))
        assert e.host_count is not None
        fault = headroom.check(e.host_count, entries)
        if fault is not None:
            raise FaultError.of(fault)
        each = headroom.entry_bytes()
        if entries * each > fill.ask_above_bytes and not fill.confirmed:
            raise FaultError(
                "fill-confirm",
                f"Filling takes {entries:,} entries, {entries * each / 1e6:,.0f} MB of kernel memory ({each} B each).",
                "That much is filled only after a yes (cttui tale --yes).",
            )
        if (fault := e.full_table.take()) is not None:
            raise FaultError.of(fault)

    async def _fill(self, fill: Fill, progress: Progress) -> Result:
        """Create fillers until exactly `free` slots are left; a surplus of fillers is removed."""
        e = self._engine
        started = time.monotonic()
        limit = int(sysctl.read("nf_conntrack_max"))
        made = 0
        removed = 0
        progress.total = limit - fill.free
        async with e.watch.filling():
            for _ in range(FILL_ROUNDS):
                count = int(sysctl.read("nf_conntrack_count"))
                wanted = limit - fill.free - count
                if wanted == 0:
                    break
                if wanted < 0:
                    removed += await self._empty()
                    continue
                progress.sentence = (
                    f"filling the table until {counted(fill.free, 'slot')} {are(fill.free)} left"
                )
                for filled in e.filler.fill(wanted, assured=fill.assured):
                    progress.done = count + filled.done
                    await asyncio.sleep(0)
                made += filled.done
            seconds = time.monotonic() - started
        count = int(sysctl.read("nf_conntrack_count"))
        if count != limit - fill.free:
            raise FaultError(
                "fill",
                f"The table holds {count:,} entries instead of {limit - fill.free:,}.",
                "Something else fills or empties it; try again.",
            )
        return Result(
            filled=made,
            deleted=removed,
            seconds=seconds,
            count_after=count,
            answer=f"{count:,} of {limit:,} slots taken, {fill.free:,} free.",
        )

    async def _unfill(self, progress: Progress) -> Result:
        e = self._engine
        async with e.watch.filling():
            removed = await self._empty()
        e.full_table.give()
        return Result(deleted=removed, answer=f"{counted(removed, 'filler')} removed.")

    async def _empty(self) -> int:
        """Remove every filler; how many there were."""
        removed = 0
        for filled in self._engine.filler.unfill():
            removed = filled.done
            await asyncio.sleep(0)
        return removed

    @staticmethod
    def _rule(line: str) -> list[str]:
        try:
            argv = shlex.split(line)
        except ValueError as error:
            raise FaultError("rule", f"{line!r} can't be read: {error}.") from None
        if not argv or argv[0] not in RULE_TOOLS:
            raise FaultError(
                "rule", f"{line!r} is not a rule command.", "It begins with iptables, ip6tables or nft."
            )
        path = shutil.which(argv[0], path=sandbox.SEARCH)
        if path is None:
            raise FaultError(
                "no-tool",
                f"`{argv[0]}` is not installed here.",
                f"Install the package that brings {argv[0]}.",
            )
        return [path, *argv[1:]]

    async def _rules(self, lines: list[list[str]], progress: Progress) -> Result:
        for argv in lines:
            process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
            )
            try:
                async with asyncio.timeout(COMMAND_S):
                    _, said = await process.communicate()
            except TimeoutError:
                process.kill()
                await process.wait()
                raise FaultError(
                    "rule", f"`{shlex.join(argv)}` did not end within {COMMAND_S:.0f} s."
                ) from None
            if process.returncode != 0:
                words = said.decode("utf-8", "replace").strip().splitlines()
                raise FaultError(
                    "rule",
                    f"`{shlex.join([argv[0].rsplit('/', 1)[-1], *argv[1:]])}`: {words[0] if words else 'failed'}",
                )
            progress.done += 1
        self._engine.hooks.invalidate()
        return Result(answer=f"{counted(len(lines), 'rule command')} done.")

    async def _listen(self, listen: Listen) -> Result:
        self._engine.keep_open(stimuli.listen(listen))
        return Result(answer=f"Listening on {listen.address} port {listen.port}/{listen.protocol}.")

    async def _send(self, send: Send) -> Result:
        answer, result = await self._measured(
            lambda: stimuli.send(send), 0.1, MOST_OF_SEND, ("prerouting", "output")
        )
        return msgspec.structs.replace(result, sent=1, answer=answer)

    # ------------------------------------------------------------ writes

    async def _delete(self, delete: Delete, progress: Progress) -> Result:
        e = self._engine
        deleted, gone, spared = 0, 0, 0
        for n, flow in enumerate(delete.flows):
            if e.watched_through(flow):
                spared += 1
                continue
            if ctnetlink.delete(flow):
                deleted += 1
            else:
                gone += 1
            progress.done = n + 1
            if n % 64 == 63:
                await asyncio.sleep(0)
        words = [f"{counted(deleted, 'entry', 'entries')} deleted"]
        if gone:
            words.append(f"{gone:,} were gone already")
        if spared:
            words.append(f"{spared} spared: you are connected through it")
        e.watch.resync()
        return Result(
            deleted=deleted, answer="; ".join(words) + ".", numbers={"gone": gone, "spared": spared}
        )

    async def _set(self, action: Set) -> Result:
        e = self._engine
        old = sysctl.read(action.name)
        if not sysctl.same(old, action.expected_old):
            raise FaultError(
                "changed",
                f"{action.name} is {old} now, no longer {action.expected_old}.",
                "Look at the new value and decide again.",
            )
        if e.sandbox is not None:
            if TUNABLES.get(action.name, ("netns", ""))[0] == "machine":
                raise FaultError(
                    "machine-wide",
                    f"{action.name} is one value for the whole machine.",
                    "Fill the table instead.",
                )
            sysctl.write(action.name, action.value)
        else:
            if action.name not in TUNABLES:
                raise FaultError("unknown-tunable", f"cttui does not change {action.name} on a host.")
            try:
                e.warden.guard(action.name, old, action.value, action.keep_s)
            except WardenError as error:
                raise FaultError("no-warden", f"{error} Nothing was written.") from None
            try:
                sysctl.write(action.name, action.value)
            except OSError as error:
                e.warden.keep(action.name)
                raise FaultError(
                    "write", f"{action.name} could not be set to {action.value}: {error.strerror}."
                ) from None
        return Result(answer=f"{action.name}: {old} → {sysctl.read(action.name)}")

    async def _settle(self, action: Keep | Undo) -> Result:
        e = self._engine
        pending = e.warden.pending()
        if action.name not in pending:
            raise FaultError("nothing-pending", f"Nothing of {action.name} is waiting to be put back.")
        if isinstance(action, Keep):
            e.warden.keep(action.name)
            return Result(answer=f"{action.name} keeps {sysctl.read(action.name)}.")
        e.warden.undo(action.name)
        return Result(answer=f"{action.name} is {sysctl.read(action.name)} again.")

    async def _arm(self, action: Arm | Disarm) -> Result:
        await self._engine.switch(action)
        words = "on" if isinstance(action, Arm) else "off"
        return Result(answer=f"{action.what}: {words}.")


def _share(fire: Fire) -> Share:
    """How much of a burst is traced."""
    return share_of_burst(fire.count, fire.rate_pps) if fire.trace else Share(0)
