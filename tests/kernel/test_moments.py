"""A past moment stays what it was, while the table goes on."""

import asyncio

import pytest

from cttui.client import targets
from cttui.client.link import Link
from cttui.lab import compose
from cttui.model.messages import Ask, Fire, FlowView, GroupView, PacketView

pytestmark = pytest.mark.kernel
LINE = 'IP(src="198.51.100.2",dst="192.0.2.1")/TCP(sport=({},{}),dport=80,flags="S")'


async def _fire(link: Link, first: int) -> None:
    templates = compose.compile(LINE.format(first, first + 9))
    done = await link.do(Fire(templates=templates, count=10))
    await link.finish(done.job)


def test_a_moment_is_kept_until_another_is_named() -> None:
    async def run() -> None:
        link = await Link.open(targets.sandbox())
        try:

            async def look(at: float | None) -> tuple[int, int, int, float]:
                answer = await link.ask(
                    Ask(
                        seq=link.next_seq(),
                        at=at,
                        flows=FlowView(count=50),
                        groups=[GroupView(by=["src"])],
                        packets=PacketView(count=50),
                    )
                )
                assert answer.flows is not None and answer.packets is not None
                return answer.flows.matched, answer.groups[0].flows, answer.packets.total, answer.at

            await _fire(link, 10000)
            assert (await look(None))[:2] == (10, 10)
            *_, moment = await look(None)
            before = (await look(moment))[:3]
            await _fire(link, 20000)
            assert (await look(moment))[:3] == before
            assert (await look(None))[:2] == (20, 20)
            # Another moment is another look at the table.
            assert (await look(moment + 1))[:2] == (20, 20)
        finally:
            await link.close()

    asyncio.run(run())
