"""Recordings: written frame by frame, played to their end even if the writer was killed."""

from pathlib import Path

import pytest

from cttui.client.recording import MAGIC, RecordingLink, ReplayLink, frames
from cttui.client.targets import Target
from cttui.model.messages import (
    Action,
    Answer,
    Ask,
    Cancel,
    Done,
    FaultError,
    FlowPage,
    Job,
    Keep,
    Unfill,
    Welcome,
)  # fmt: skip
from cttui.model.table import Health, TableReading


class Counting:
    """A link whose answers count its questions."""

    def __init__(self) -> None:
        self.target = Target("sandbox", "SANDBOX")
        self.welcome = Welcome(
            protocol=1, app="x", target="sandbox", netns=1, kernel="6", user="root", writes=True
        )
        self.seq = 0
        self.closed = 0

    async def ask(self, ask: Ask) -> Answer:
        table = TableReading(count=ask.seq, maximum=10, buckets=4, active=True)
        return Answer(seq=ask.seq, at=0.0, table=table, health=Health(), flows=FlowPage(matched=ask.seq))

    async def do(self, action: Action) -> Done:
        if isinstance(action, Keep):
            raise FaultError("nothing-pending", "Nothing is pending.")
        return Done(seq=1, job=7)

    async def finish(self, job: int, poll_s: float = 0.0) -> Job:
        return Job(id=job, kind="unfill", state="done")

    def next_seq(self) -> int:
        self.seq += 1
        return self.seq

    async def close(self) -> None:
        self.closed += 1


async def record(path: Path) -> Counting:
    inner = Counting()
    link = RecordingLink(inner, path)
    for _ in range(2):
        await link.ask(Ask(seq=link.next_seq()))
    assert (await link.do(Unfill())).job == 7
    await link.ask(Ask(seq=link.next_seq()))
    with pytest.raises(FaultError):
        await link.do(Keep(name="x"))
    await link.ask(Ask(seq=link.next_seq()))
    await link.close()
    await link.close()
    return inner


async def count(link: ReplayLink) -> int | None:
    return (await link.ask(Ask(seq=link.next_seq()))).table.count


async def test_plays_in_order_and_waits_for_the_action(tmp_path: Path) -> None:
    inner = await record(tmp_path / "r")
    assert inner.closed == 2
    link = ReplayLink(tmp_path / "r")
    assert link.welcome == inner.welcome and "RECORDING" in link.target.label
    assert [await count(link) for _ in range(4)] == [1, 2, 2, 2]
    with pytest.raises(FaultError, match="recording"):
        await link.do(Cancel(job=1))
    assert (await link.do(Unfill())).job == 7
    first = await count(link)
    assert first is not None and first > 2
    with pytest.raises(FaultError, match="Nothing is pending"):
        await link.do(Keep(name="x"))
    assert await count(link) != first
    with pytest.raises(FaultError, match="recording"):
        await link.do(Unfill())


async def test_a_killed_writer_leaves_what_it_wrote(tmp_path: Path) -> None:
    path = tmp_path / "r"
    await record(path)
    whole = list(frames(path))
    data = path.read_bytes()
    for cut in range(len(MAGIC), len(data)):
        path.write_bytes(data[:cut])
        part = list(frames(path))
        assert part == whole[: len(part)]


def test_what_is_no_recording(tmp_path: Path) -> None:
    path = tmp_path / "r"
    with pytest.raises(FaultError, match="No such file"):
        ReplayLink(path)
    path.write_bytes(b"\x7fELF")
    with pytest.raises(FaultError, match="no recording"):
        ReplayLink(path)
    path.write_bytes(MAGIC + b"garbage")
    with pytest.raises(FaultError, match="damaged"):
        ReplayLink(path)
    path.write_bytes(MAGIC)
    with pytest.raises(FaultError, match="greeting"):
        ReplayLink(path)
