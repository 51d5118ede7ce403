"""The link: questions and actions of several tasks on one pipe."""

import asyncio

import pytest

from cttui.client import targets
from cttui.client.link import Link
from cttui.model.messages import Ask, Rules

pytestmark = pytest.mark.kernel


def test_actions_and_questions_of_several_tasks_find_their_answers() -> None:
    async def run() -> None:
        link = await Link.open(targets.sandbox())
        try:

            async def act() -> None:
                for _ in range(10):
                    done = await link.do(Rules(lines=["iptables -t mangle -Z"]))
                    await link.finish(done.job)

            async def ask() -> None:
                for _ in range(50):
                    seq = link.next_seq()
                    # Numbers are taken before the pipe is free: an action's must not be mistaken for one.
                    await asyncio.sleep(0)
                    assert (await link.ask(Ask(seq=seq))).seq == seq

            async with asyncio.timeout(60):
                await asyncio.gather(act(), ask(), act(), ask())
        finally:
            await link.close()

    asyncio.run(run())
