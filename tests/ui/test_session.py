"""The session: one question at a time, pokes coalesced, targets kept, deaths survived."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cttui.client.link import Link
from cttui.client.options import Options
from cttui.client.targets import Target
from cttui.model.actions import Action, Cancel
from cttui.model.faults import FaultError
from cttui.model.jobs import Job
from cttui.model.messages import Answer, Ask, Done, Welcome
from cttui.model.table import Health, TableReading
from cttui.ui.session import Phase, Session, State

SANDBOX, HOST = Target("sandbox", "SANDBOX"), Target("host", "HOST")


class Probe:
    """A link that can be slow and can die."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.welcome = Welcome(
            protocol=1, app="x", target=target.kind, netns=1, kernel="6", user="root", writes=True
        )
        self.asked = 0
        self.moments: list[float | None] = []
        self.outstanding = 0
        self.most = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.dead = False
        self.closed = False
        self.jobs: list[Job] = []

    async def ask(self, ask: Ask) -> Answer:
        self.asked += 1
        self.moments.append(ask.at)
        self.outstanding += 1
        self.most = max(self.most, self.outstanding)
        await self.gate.wait()
        self.outstanding -= 1
        if self.dead:
            raise FaultError("probe-died", "The probe ended by signal 9.", "Start it again.")
        table = TableReading(count=self.asked, maximum=0, buckets=0, active=None)
        return Answer(seq=ask.seq, at=100.0 + self.asked, table=table, health=Health(), jobs=self.jobs)

    async def do(self, action: Action) -> Done:
        return Done(seq=1, job=3)

    async def finish(self, job: int) -> Job:
        raise AssertionError

    def next_seq(self) -> int:
        return self.asked + 1

    async def close(self) -> None:
        self.closed = True


class World:
    """A session whose probes are ours."""

    def __init__(self) -> None:
        self.probes: list[Probe] = []
        self.refuse: FaultError | None = None
        self.heard: list[Answer] = []

    async def open(self, target: Target, **_kw: Any) -> Probe:
        if self.refuse is not None:
            raise self.refuse
        self.probes.append(Probe(target))
        return self.probes[-1]

    async def until(self, true: Callable[[], Any]) -> None:
        async with asyncio.timeout(10):
            while not true():
                await asyncio.sleep(0.002)


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    monkeypatch.setattr(Link, "open", world.open)
    return world


def make(world: World, **options: Any) -> Session:
    session = Session(Options(target=SANDBOX, other_target=HOST, hz=0.1, **options))
    session.heard = world.heard.append
    return session


async def test_opens_asks_and_closes(world: World) -> None:
    session = make(world)
    session.open_early()
    session.start()
    await world.until(lambda: world.heard)
    assert session.state.phase is Phase.LIVE and session.state.welcome is not None
    await session.close()
    assert world.probes[0].closed


async def test_pokes_while_an_answer_is_on_its_way_become_one(world: World) -> None:
    session = make(world)
    session.start()
    await world.until(lambda: world.heard)
    probe = world.probes[0]
    probe.gate.clear()
    session.poke()
    await world.until(lambda: probe.outstanding == 1)
    asked = probe.asked
    for _ in range(100):
        session.poke()
        await asyncio.sleep(0)
    assert probe.asked == asked and session.waiting_since is not None
    probe.gate.set()
    await world.until(lambda: probe.asked == asked + 1 and probe.outstanding == 0)
    await asyncio.sleep(0.1)
    assert probe.asked == asked + 1 and probe.most == 1
    await session.close()


async def test_a_frozen_picture_is_asked_for_when_poked_and_of_its_moment(world: World) -> None:
    session = make(world)
    session.start()
    await world.until(lambda: world.heard)
    probe, live = world.probes[0], world.heard[-1]
    session.freeze(True)
    await world.until(lambda: len(world.heard) > 1)
    held = world.heard[-1]
    assert probe.moments[-1] == live.at == session.moment
    asked = probe.asked
    await asyncio.sleep(0.1)
    assert probe.asked == asked, "nobody poked"
    session.poke()
    await world.until(lambda: len(world.heard) > 2)
    assert probe.moments[-1] == live.at and world.heard[-1].table == held.table
    await session.once(lambda seq: Ask(seq=seq))
    assert probe.moments[-1] == live.at, "a question beside it is of the same moment"
    session.freeze(False)
    await world.until(lambda: probe.moments[-1] is None and world.heard[-1].table.count == probe.asked)
    await session.close()


async def test_an_answer_from_before_the_freeze_is_not_shown(world: World) -> None:
    session = make(world)
    session.start()
    await world.until(lambda: world.heard)
    probe, heard = world.probes[0], len(world.heard)
    probe.gate.clear()
    session.poke()
    await world.until(lambda: probe.outstanding == 1)
    session.freeze(True)
    probe.gate.set()
    await world.until(lambda: len(world.heard) > heard)
    assert probe.moments[-1] is not None and world.heard[heard].table.count == probe.asked
    await session.close()


async def test_both_targets_go_on_running(world: World) -> None:
    session = make(world)
    session.start()
    await world.until(lambda: world.heard)
    assert session.switch()
    await world.until(lambda: len(world.probes) == 2 and session.state.phase is Phase.LIVE)
    assert session.state.target == HOST and session.state.other == SANDBOX
    assert session.switch()
    assert session.state.phase is Phase.LIVE, "its link is still there"
    asked = world.probes[0].asked
    await world.until(lambda: world.probes[0].asked > asked)
    assert len(world.probes) == 2 and not any(p.closed for p in world.probes)
    await session.close()
    assert all(p.closed for p in world.probes)


async def test_an_answer_of_the_other_target_is_not_shown(world: World) -> None:
    session = make(world)
    session.start()
    await world.until(lambda: world.heard)
    world.probes[0].gate.clear()
    session.poke()
    await world.until(lambda: world.probes[0].outstanding == 1)
    session.switch()
    heard = len(world.heard)
    world.probes[0].gate.set()
    await world.until(lambda: len(world.heard) > heard)
    assert world.heard[-1].table.count == 1, "the host's first answer"
    await session.close()


async def test_death_and_restart(world: World) -> None:
    states: list[State] = []
    session = make(world)
    session.changed = states.append
    session.start()
    await world.until(lambda: world.heard)
    world.probes[0].dead = True
    session.poke()
    await world.until(lambda: session.state.phase is Phase.DEAD)
    assert session.state.fault is not None and "signal 9" in session.state.fault.sentence
    with pytest.raises(FaultError):
        await session.do(Cancel(job=1))
    for _ in range(50):  # a dead session sleeps, however often it is poked
        session.poke()
        await asyncio.sleep(0)
    await session.restart()
    await world.until(lambda: session.state.phase is Phase.LIVE)
    assert len(world.probes) == 2 and world.probes[0].closed
    await session.close()


async def test_a_probe_that_never_starts(world: World) -> None:
    world.refuse = FaultError(
        "no-userns", "This system does not let ordinary users make a sandbox.", "Run as root."
    )
    session = make(world)
    session.open_early()
    session.start()
    await world.until(lambda: session.state.phase is Phase.DEAD)
    session.switch()
    await world.until(lambda: session.state.phase is Phase.DEAD and session.state.target == HOST)
    world.refuse = None
    await session.restart()
    await world.until(lambda: session.state.phase is Phase.LIVE)
    await session.close()


async def test_a_recording_is_of_what_was_recorded(world: World) -> None:
    recording = Path(__file__).parents[1] / "data" / "ten-syns.rec"
    session = Session(Options(target=HOST, other_target=SANDBOX, replay=recording))
    session.heard = world.heard.append
    session.start()
    await world.until(lambda: world.heard)
    assert (session.state.target.kind, session.state.other) == ("sandbox", None)
    await session.close()


async def test_our_own_mistake_is_said(world: World) -> None:
    session = make(world)

    def broken(seq: int) -> Ask:
        raise ZeroDivisionError("oops")

    session.compose = broken
    session.start()
    await world.until(lambda: session.state.phase is Phase.DEAD)
    assert session.state.fault is not None and "ZeroDivisionError" in session.state.fault.sentence
    await session.close()


async def test_running_jobs_are_watched_closely(world: World) -> None:
    session = make(world)
    session.start()
    await world.until(lambda: world.heard)
    probe = world.probes[0]
    probe.jobs = [Job(id=3, kind="fire", state="running")]
    session.poke()
    asked = probe.asked
    await world.until(lambda: probe.asked >= asked + 4)  # at 0.1 Hz this would take 40 s
    await session.close()


async def test_closing_while_a_probe_starts(world: World) -> None:
    session = make(world)
    session.open_early()
    await asyncio.sleep(0)
    await session.close()
    assert all(p.closed for p in world.probes)
