"""Rule commands for the sandbox: which lines are commands, and running them without a shell."""

import asyncio
import shlex
import shutil
from typing import TYPE_CHECKING

from cttui.model.faults import FaultError
from cttui.model.jobs import Result
from cttui.model.words import counted
from cttui.probe import sandbox
from cttui.probe.jobs import Progress

if TYPE_CHECKING:
    from cttui.probe.engine import Engine

RULE_TOOLS = frozenset(
    f"{name}{kind}" for name in ("iptables", "ip6tables") for kind in ("", "-nft", "-legacy")
) | {"nft"}
"""Commands that Rules may run."""
COMMAND_S = 20.0


def command(line: str) -> list[str]:
    """The argv of a line, its program by full path. Raises FaultError for what is no rule command."""
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


async def run(engine: "Engine", commands: list[list[str]], progress: Progress) -> Result:
    """Run the commands in their order; the first that fails ends it. Raises FaultError with its own words."""
    for argv in commands:
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
            raise FaultError("rule", f"`{shlex.join(argv)}` did not end within {COMMAND_S:.0f} s.") from None
        if process.returncode != 0:
            words = said.decode("utf-8", "replace").strip().splitlines()
            raise FaultError(
                "rule",
                f"`{shlex.join([argv[0].rsplit('/', 1)[-1], *argv[1:]])}`: {words[0] if words else 'failed'}",
            )
        progress.done += 1
    engine.hooks.invalidate()
    return Result(answer=f"{counted(len(commands), 'rule command')} done.")
