"""The link: questions and actions of several tasks on one pipe."""

import asyncio
import gc

import pytest

from cttui.client import targets
from cttui.client.link import Link
from cttui.model.actions import Rules
from cttui.model.faults import FaultError
from cttui.model.messages import Ask

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


def test_a_probe_dead_before_the_greeting_is_a_fault_and_no_traceback() -> None:
    unheard: list[str] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: unheard.append(str(context)))
        process = await asyncio.create_subprocess_exec(
            "true",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        link = Link(targets.sandbox(), process)
        assert process.stdin is not None
        process.stdin.write(b"x" * (1 << 17))  # more than a pipe holds: it breaks when the other side ends
        with pytest.raises(FaultError, match="ended with exit code 0"):
            await link.ask(Ask(seq=link.next_seq()))
        await link.close()
        del link, process
        gc.collect()

    asyncio.run(run())
    assert not unheard
