"""To look for a socket's processes keeps nobody waiting."""

import asyncio
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from cttui.kernel.sock_diag import Socket
from cttui.model.flow import Flow
from cttui.probe import owners
from cttui.probe.owners import SLICE_S, Owners

MANY = 20_000
LOCAL = socket.inet_pton(socket.AF_INET, "127.0.0.1")
FLOW = Flow(
    id=1, family=2, proto=6, orig_src=LOCAL, orig_sport=1, orig_dst=LOCAL, orig_dport=2, reply_src=LOCAL, reply_sport=2,
    reply_dst=LOCAL, reply_dport=1, status=0, timeout_s=1,
)  # fmt: skip


def test_a_process_with_many_descriptors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "77/fd"
    folder.mkdir(parents=True)
    (tmp_path / "77/comm").write_text("proxy\n")
    for n in range(MANY):
        (folder / str(n)).symlink_to(f"socket:[{n + 1}]")
    found = Socket(inode=MANY, uid=0, listening=False)
    monkeypatch.setattr(owners, "find_socket", lambda *_: found)
    turns = 0

    async def look() -> list[Any]:
        nonlocal turns
        asked = Owners(tmp_path)
        end = time.monotonic() + 30
        while not asked.of(FLOW) and time.monotonic() < end:
            await asyncio.sleep(0)
            turns += 1
        return asked.of(FLOW)

    began = time.monotonic()
    said = asyncio.run(look())
    assert [(owner.program, owner.pids) for owner in said] == [("proxy", [77])] * 2
    assert turns > (time.monotonic() - began) / SLICE_S / 10, "others had no turn meanwhile"
