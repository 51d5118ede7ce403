"""Which processes a flow belongs to, where one of its ends is here."""

import asyncio
import os
import pwd
import time
from collections.abc import Iterator
from pathlib import Path

from cttui.kernel.sock_diag import PROTOCOLS, find_socket, is_local
from cttui.model.flow import Flow
from cttui.model.pages import Owner

KEEP_S = 30.0
"""How long it is believed who holds a socket: to find out, every descriptor of every process is looked at."""
SLICE_S = 0.002
"""How long that may keep the loop from other things."""

Holder = tuple[str, list[int]]
"""A program's name and its processes that hold the socket; ("", []): none that we may see."""


class Owners:
    """Finds them in the background; asked again later, it knows."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._known: dict[int, tuple[float, Holder]] = {}
        """Inode of a socket → when it was looked for (monotonic seconds), and its holder."""
        self._wanted: set[int] = set()
        self._task: asyncio.Task[None] | None = None
        self._slice_ends = 0.0

    def of(self, flow: Flow) -> list[Owner]:
        """The owners of both ends, as far as they are known by now; [] where neither end is here."""
        owners = []
        for end, local, remote in _ends(flow):
            socket = find_socket(flow.proto, local, remote) if is_local(flow.family, local[0]) else None
            if socket is None or not socket.inode:
                continue
            holder = self._holder(socket.inode)
            if holder is not None:
                program, pids = holder
                owners.append(
                    Owner(
                        end=end,
                        program=program,
                        pids=pids,
                        user=_name(socket.uid),
                        listening=socket.listening,
                    )
                )
        return owners

    def _holder(self, inode: int) -> Holder | None:
        at, holder = self._known.get(inode, (float("-inf"), None))
        if time.monotonic() - at > KEEP_S:
            self._wanted.add(inode)
            if self._task is None or self._task.done():
                self._task = asyncio.get_running_loop().create_task(self._look())
        return holder

    async def _look(self) -> None:
        """Look for whoever holds the sockets wanted."""
        while self._wanted:
            wanted, self._wanted = self._wanted, set()
            names = {f"socket:[{inode}]": inode for inode in wanted}
            found: dict[int, list[int]] = {inode: [] for inode in wanted}
            for pid in sorted(int(name) for name in os.listdir(self._proc) if name.isdecimal()):  # noqa: PTH208
                for link in _descriptors(self._proc / str(pid) / "fd"):
                    inode = names.get(link)
                    if inode is not None and (not found[inode] or found[inode][-1] != pid):
                        found[inode].append(pid)
                    await self._give_way()  # a proxy alone may have hundreds of thousands
                await self._give_way()
            now = time.monotonic()
            self._known = {inode: known for inode, known in self._known.items() if now - known[0] < KEEP_S}
            self._known |= {inode: (now, (self._program(pids), pids)) for inode, pids in found.items()}

    async def _give_way(self) -> None:
        if time.monotonic() > self._slice_ends:
            await asyncio.sleep(0)
            self._slice_ends = time.monotonic() + SLICE_S

    def _program(self, pids: list[int]) -> str:
        for pid in pids:
            try:
                return (self._proc / str(pid) / "comm").read_text(errors="replace").rstrip("\n")
            except OSError:
                continue  # it has ended meanwhile
        return ""


def _ends(flow: Flow) -> Iterator[tuple[str, tuple[bytes, int], tuple[bytes, int]]]:
    """(which end, its address and port, those of the other) as a socket there sees them."""
    if flow.proto in PROTOCOLS:
        yield "source", (flow.orig_src, flow.orig_sport), (flow.orig_dst, flow.orig_dport)
        yield "destination", (flow.reply_src, flow.reply_sport), (flow.orig_src, flow.orig_sport)


def _descriptors(folder: Path) -> Iterator[str]:
    """What a process's descriptors are, "" of those closed by now; each is looked at when it is asked for."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    yield os.readlink(entry.path)  # noqa: PTH115
                except OSError:
                    yield ""
    except OSError:  # ended meanwhile, or not ours to see
        return


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
