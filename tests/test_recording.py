"""Recordings: written frame by frame, played to their end even if the writer was killed."""

from pathlib import Path

import msgspec
import pytest

from cttui.client.recording import MAGIC, RecordingLink, ReplayLink, frames
from cttui.client.targets import Target
from cttui.model.actions import Action, Cancel, Keep, Unfill
from cttui.model.faults import FaultError
from cttui.model.jobs import Job
from cttui.model.messages import Answer, Ask, Done, Welcome
from cttui.model.packet import Journey, JourneysReading
from cttui.model.pages import FlowPage
from cttui.model.table import Health, TableReading
from cttui.model.views import JourneyView  # fmt: skip


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

    async def finish(self, job: int) -> Job:
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


class Tracing(Counting):
    """A link whose burst ends with the third answer; three packets were traced."""

    async def ask(self, ask: Ask) -> Answer:
        answer = await super().ask(ask)
        jobs = [Job(id=1, kind="fire", state="done" if ask.seq >= 3 else "running")]
        if (view := ask.journey) is None:
            return msgspec.structs.replace(answer, jobs=jobs)
        ways = [Journey(trace_id=i, line="", steps=[], end="", ended_ok=True) for i in range(3)]
        window = ways[view.first :][: view.count]
        reading = JourneysReading(why="a burst", total=3, first=view.first, journeys=window)
        return msgspec.structs.replace(answer, jobs=jobs, journeys=reading)


async def test_journeys_are_written_down_though_nobody_looks_at_them(tmp_path: Path) -> None:
    recorded = RecordingLink(Tracing(), tmp_path / "r")
    for _ in range(5):
        await recorded.ask(Ask(seq=recorded.next_seq()))
    await recorded.close()
    link = ReplayLink(tmp_path / "r")

    async def ways(view: JourneyView) -> list[int] | None:
        answer = await link.ask(Ask(seq=link.next_seq(), journey=view))
        return None if answer.journeys is None else [j.trace_id for j in answer.journeys.journeys]

    assert [await ways(JourneyView(count=9)) for _ in range(4)] == [None, None, None, [0, 1, 2]]
    assert await ways(JourneyView(first=1, count=1)) == [1]
    assert await ways(JourneyView(first=-1, count=2)) == [1, 2]
    assert (await link.ask(Ask(seq=9))).table.count == 6, "the question for journeys shows nothing else"


async def test_pages_of_journeys_are_put_together(tmp_path: Path) -> None:
    recorded = RecordingLink(Tracing(), tmp_path / "r")
    await recorded.ask(Ask(seq=1))
    for first in (0, 2):
        await recorded.ask(Ask(seq=2, journey=JourneyView(first=first, count=2)))
    await recorded.close()
    link = ReplayLink(tmp_path / "r")
    await link.ask(Ask(seq=1))
    answer = await link.ask(Ask(seq=2, journey=JourneyView(count=9)))
    assert answer.journeys is not None and [j.trace_id for j in answer.journeys.journeys] == [0, 1, 2]


async def test_a_killed_writer_leaves_what_it_wrote(tmp_path: Path) -> None:
    path = tmp_path / "r"
    await record(path)
    whole = list(frames(path))
    data = path.read_bytes()
    for cut in range(len(MAGIC), len(data)):
        path.write_bytes(data[:cut])
        part = list(frames(path))
        assert part == whole[: len(part)]
        if part:
            link = ReplayLink(path)
            try:
                while await link.do(Unfill()):
                    pass
            except FaultError as refused:  # also where the action was written and its outcome was not
                assert refused.fault.code in ("recording", "nothing-pending")


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
