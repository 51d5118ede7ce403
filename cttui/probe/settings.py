"""Settings: writing a sysctl, on a host with the warden holding its old value; keeping it or putting it back."""

from typing import TYPE_CHECKING

from cttui.kernel import sysctl
from cttui.model.actions import Keep, Set, Undo
from cttui.model.faults import FaultError
from cttui.model.jobs import Result
from cttui.model.tunables import TUNABLES
from cttui.probe.warden import WardenError

if TYPE_CHECKING:
    from cttui.probe.engine import Engine


async def write(engine: "Engine", action: Set) -> Result:
    """Write it, unless its value is no longer the expected one. Raises FaultError."""
    old = sysctl.read(action.name)
    if not sysctl.same(old, action.expected_old):
        raise FaultError(
            "changed",
            f"{action.name} is {old} now, no longer {action.expected_old}.",
            "Look at the new value and decide again.",
        )
    if engine.sandbox is not None:
        if not sysctl.of_network(action.name):
            raise FaultError(
                "machine-wide", f"{action.name} is the machine's: a sandbox changes none of these."
            )
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
            engine.warden.guard(action.name, old, action.value, action.keep_s)
        except WardenError as error:
            raise FaultError("no-warden", f"{error} Nothing was written.") from None
        try:
            sysctl.write(action.name, action.value)
        except OSError as error:
            engine.warden.keep(action.name)
            raise FaultError(
                "write", f"{action.name} could not be set to {action.value}: {error.strerror}."
            ) from None
    return Result(answer=f"{action.name}: {old} → {sysctl.read(action.name)}")


async def settle(engine: "Engine", action: Keep | Undo) -> Result:
    """Keep what was written, or put the old value back. Raises FaultError where nothing is pending."""
    pending = engine.warden.pending()
    if action.name not in pending:
        raise FaultError("nothing-pending", f"Nothing of {action.name} is waiting to be put back.")
    if isinstance(action, Keep):
        engine.warden.keep(action.name)
        return Result(answer=f"{action.name} keeps {sysctl.read(action.name)}.")
    engine.warden.undo(action.name)
    return Result(answer=f"{action.name} is {sysctl.read(action.name)} again.")
