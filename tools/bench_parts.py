"""What the benchmarks of the table share: a store and what feeds it, and parts run in namespaces of their own."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from cttui.flows.arena import keep_freed_memory
from cttui.flows.columns import Interned
from cttui.flows.store import Store
from cttui.kernel import ctnetlink

Line = dict[str, object]
Part = Callable[[], Iterator[Line]]
NAMESPACES = ("unshare", "--net", "--pid", "--fork", "--kill-child=KILL", "--mount-proc")
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


class Held:
    """A store and what feeds it."""

    def __init__(self) -> None:
        interned = Interned()
        self.decoder = ctnetlink.Decoder(interned)
        self.store = Store(interned)
        self.longest_s = 0.0

    def dump(self, between: Callable[[], None] = lambda: None) -> float:
        """One dump into the store; seconds."""
        begin = time.perf_counter()
        running = ctnetlink.Dump(self.decoder)
        self.store.reserve(ctnetlink.stats_global()["entries"] * 9 // 8)  # as probe/watch.py does
        self.store.begin_dump()
        running.start()
        while True:
            between()
            step = time.perf_counter()
            batches = running.step()
            if batches is None:
                break
            self.store.put_dump(batches, time.monotonic())
            self.longest_s = max(self.longest_s, time.perf_counter() - step)
        running.close()
        self.found = self.store.end_dump(time.monotonic(), complete=not running.interrupted)
        return time.perf_counter() - begin

    def receive(self) -> float:
        """The same dump, nothing decoded; seconds."""
        begin = time.perf_counter()
        running = ctnetlink.Dump(self.decoder)
        running.start()
        while running.receive():
            pass
        running.close()
        return time.perf_counter() - begin


def run_part(name: str, prefix: tuple[str, ...] = (*NAMESPACES, sys.executable)) -> Iterator[Line]:
    """The lines of one part of this command, run in namespaces of its own."""
    argv = [*prefix, str(Path(sys.argv[0]).resolve()), "--inside", name]
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True)
    yield from map(json.loads, done.stdout.splitlines())
    if done.returncode:
        yield {"what": name, "failed": done.returncode}


def as_nobody() -> tuple[str, ...]:
    """A Python an ordinary user may start, with the modules of this one, as root of namespaces of its own."""
    path = os.pathsep.join(part for part in (str(Path(__file__).resolve().parents[1]), *sys.path) if part)
    for python in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}", "/usr/bin/python3"):
        argv = (*NOBODY, "env", f"PYTHONPATH={path}", python)
        tried = subprocess.run([*argv, "-c", "import numpy, msgspec, cttui"], capture_output=True, cwd="/")
        if tried.returncode == 0:
            return (*argv[:-1], NAMESPACES[0], "--user", "--map-root-user", *NAMESPACES[1:], python)
    raise SystemExit("no Python with our modules is readable to an ordinary user here")


def main(parts: dict[str, Part], outside: tuple[str, ...] = (), nobody: tuple[str, ...] = ()) -> None:
    """Print the lines of the parts named on the command line, default: of all that don't begin with an underscore.

    Each runs in namespaces of its own, those in `nobody` as an ordinary user; `outside`: where this process is.
    """
    if sys.argv[1:2] == ["--inside"]:
        keep_freed_memory()  # as the probe does
        lines = parts[sys.argv[2]]()
    else:
        lines = _lines(parts, sys.argv[1:], outside, nobody)
    for line in lines:
        print(json.dumps(line), flush=True)


def _lines(
    parts: dict[str, Part], names: list[str], outside: tuple[str, ...], nobody: tuple[str, ...]
) -> Iterator[Line]:
    for name in names or [name for name in parts if not name.startswith("_")]:
        if name in outside:
            yield from parts[name]()
        elif name in nobody:
            yield from run_part(name, as_nobody())
        else:
            yield from run_part(name)
