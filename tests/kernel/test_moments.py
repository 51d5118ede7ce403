"""A past moment stays what it was, while the table goes on; so does the picture that was frozen at it."""

import asyncio

import pytest
from live import Live, live

from cttui.client import targets
from cttui.client.link import Link
from cttui.lab import compose
from cttui.model.actions import Fire
from cttui.model.messages import Ask
from cttui.model.views import FlowView, GroupView, PacketView

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


async def _more(d: Live, first: int) -> None:
    """Ten more flows while the picture stands still; they are there when this returns."""
    link = d.app.session.link
    assert isinstance(link, Link)
    await _fire(link, first)


async def test_a_frozen_table_is_scrolled_sorted_filtered_and_deleted_as_it_was() -> None:
    async with live(targets.sandbox(), (80, 24)) as d:
        table = d.app.dashboard.flows
        for first in range(10000, 10040, 10):
            await _more(d, first)
        await d.until(lambda: table.page.matched == 40 and table.page.rows[0].orig_sport == 10039)
        await d.press("space")
        await d.until("FROZEN")
        await _more(d, 20000)
        assert table.visible_rows < 40
        await d.press("end")
        await d.until(lambda: table.selected is not None and table.selected.orig_sport == 10000)
        assert table.page.matched == 40 and "198.51.100.2:10000" in d.text
        await d.press("home", "i")
        await d.until(lambda: not table.descending and table.page.rows[0].orig_sport == 10000)
        assert table.page.matched == 40 and d.app.dashboard.answer is not None
        before = d.app.dashboard.answer.table
        await d.press("slash", *"sport=10030-20005", "enter")
        await d.until(lambda: table.page.matched == 10)
        assert d.app.dashboard.answer.table == before, "the gauges stand still, too"
        await d.press("D")
        await d.until("Delete 10 flows?")
        await d.press("y")
        await d.until("10 flows deleted")
        await d.press("space", "escape", "escape")
        await d.until(lambda: "FROZEN" not in d.text and table.page.matched == 40)
        await d.press("end")
        await d.until(lambda: table.selected is not None and table.selected.orig_sport == 20009)
