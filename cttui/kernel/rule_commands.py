"""The commands that print rules: where they are, running one, and what reading costs altogether."""

import asyncio
import os
import resource
import shutil
import time
from collections.abc import Awaitable
from dataclasses import dataclass, field
from pathlib import Path

TIME_LIMIT_S = 60.0
_SBIN = "/usr/local/sbin:/usr/sbin:/sbin"
"""Where the tools are for people whose PATH leaves the administrator's directories out."""


class ChildFailedError(Exception):
    """A command ended with an error; the text is its last line."""


class Meter:
    """Sums the CPU time of one reading, its commands included, and not what others do while it waits."""

    def __init__(self) -> None:
        self._total_s = 0.0
        self._since = time.thread_time()

    @property
    def spent_s(self) -> float:
        """CPU seconds up to now."""
        return self._total_s + time.thread_time() - self._since

    async def give_way(self) -> None:
        """Let the loop do something else when the present step has taken 4 ms."""
        now = time.thread_time()
        if now - self._since >= 0.004:
            self._total_s += now - self._since
            await asyncio.sleep(0)
            self._since = time.thread_time()

    async def outside(self, work: Awaitable[None]) -> None:
        """Wait for something whose time is counted elsewhere."""
        self._total_s = self.spent_s
        try:
            await work
        finally:
            self._since = time.thread_time()

    async def run(self, *argv: str) -> bytes:
        """Standard output of a command, run without a shell. Raises ChildFailedError, OSError."""
        children = _children_cpu_s()
        self._total_s = self.spent_s
        try:
            return await run(*argv)
        finally:
            self._since = time.thread_time()
            self._total_s += _children_cpu_s() - children


async def run(*argv: str, time_limit_s: float = TIME_LIMIT_S) -> bytes:
    """Standard output of a command, run without a shell. Raises ChildFailedError, OSError."""
    # Legacy tools open the lock file even to read, which an ordinary user may not.
    env = dict(os.environ, XTABLES_LOCKFILE="/dev/null", LC_ALL="C")
    child = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=env,
    )
    try:
        async with asyncio.timeout(time_limit_s):
            out, err = await child.communicate()
    except TimeoutError:
        raise ChildFailedError(f"{Path(argv[0]).name} did not answer within {time_limit_s:.0f} s") from None
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode != 0:
        last = err.decode("utf-8", "replace").strip().splitlines()[-1:] or ["no message"]
        raise ChildFailedError(f"{Path(argv[0]).name}: {last[0]}")
    return out


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@dataclass(slots=True)
class Tools:
    """The commands found, by what they read; None where there is none."""

    nft: str | None = None
    nft_save: dict[str, str] = field(default_factory=dict)
    """family → iptables-save of the nf_tables kind."""
    legacy_save: dict[str, str] = field(default_factory=dict)


async def find_tools() -> Tools:
    """Which commands there are. A bare `iptables-save` may be either kind: its `-V` says which."""
    tools = Tools(nft=_which("nft"))
    for family, name in (("ip", "iptables"), ("ip6", "ip6tables")):
        for kind, into in (("nft", tools.nft_save), ("legacy", tools.legacy_save)):
            found = _which(f"{name}-{kind}-save")
            if found is not None:
                into[family] = found
        plain = _which(f"{name}-save")
        if plain is not None and not (family in tools.nft_save and family in tools.legacy_save):
            try:
                version = await run(plain, "-V", time_limit_s=5.0)
            except (OSError, ChildFailedError):
                continue
            # iptables before 1.8 knows only the legacy kind and says nothing in parentheses.
            into = tools.nft_save if b"nf_tables" in version else tools.legacy_save
            into.setdefault(family, plain)
    return tools


def _which(name: str) -> str | None:
    path = os.environ.get("PATH", os.defpath)
    return shutil.which(name, path=f"{path}:{_SBIN}" if path else None)
