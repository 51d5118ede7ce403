"""Actions: each checked here, beside the device and the namespace, whatever the client believes.

Fire, Fill, Rules, Listen, Send and Hold exist only in a sandbox. Writes to a host go through the warden.
"""

import asyncio
from typing import TYPE_CHECKING

from cttui.kernel import ctnetlink
from cttui.model.actions import (
    Action,
    Arm,
    Cancel,
    Delete,
    Disarm,
    Fill,
    Fire,
    Hold,
    Keep,
    Listen,
    Rules,
    Send,
    Set,
    Undo,
    Unfill,
)
from cttui.model.as_root import as_root
from cttui.model.faults import FaultError
from cttui.model.jobs import Result
from cttui.model.words import counted
from cttui.probe import bursts, filling, rule_lines, settings, stimuli
from cttui.probe.jobs import Progress

if TYPE_CHECKING:
    from cttui.probe.engine import Engine


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
                return e.jobs.start("fire", lambda p: bursts.fire(e, action, p), action.count)
            case Hold():
                self._sandbox_only("holds packets")
                return e.jobs.start("hold", lambda p: bursts.hold(e, action, p), action.burst.count)
            case Fill():
                self._sandbox_only("fills the table")
                filling.check(e, action)
                return e.jobs.start("fill", lambda p: filling.fill(e, action, p))
            case Unfill():
                self._sandbox_only("removes fillers")
                return e.jobs.start("unfill", lambda p: filling.unfill(e))
            case Rules():
                self._sandbox_only("changes rules")
                commands = [rule_lines.command(line) for line in action.lines]
                return e.jobs.start("rules", lambda p: rule_lines.run(e, commands, p), len(commands))
            case Listen():
                self._sandbox_only("opens a listener")
                return e.jobs.start("listen", lambda p: self._listen(action))
            case Send():
                self._sandbox_only("sends")
                return e.jobs.start("send", lambda p: bursts.send(e, action))
            case Delete():
                self._writes("delete entries")
                return e.jobs.start("delete", lambda p: self._delete(action, p), len(action.flows))
            case Set():
                self._writes(f"set {action.name}")
                return e.jobs.start("set", lambda p: settings.write(e, action))
            case Keep() | Undo():
                return e.jobs.start(type(action).__name__.lower(), lambda p: settings.settle(e, action))
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
                "no-privilege", f"To {what} needs CAP_NET_ADMIN here.", f"Run as root: {as_root()} …"
            )

    # ------------------------------------------------------------ the sandbox's own

    async def _listen(self, listen: Listen) -> Result:
        self._engine.keep_open(stimuli.listen(listen))
        return Result(answer=f"Listening on {listen.address} port {listen.port}/{listen.protocol}.")

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

    async def _arm(self, action: Arm | Disarm) -> Result:
        await self._engine.switch(action)
        words = "on" if isinstance(action, Arm) else "off"
        return Result(answer=f"{action.what}: {words}.")
