"""Packets that are equal to the last bit, not all of them traced, on a real probe: each shows its own fate or none."""

from collections import Counter

import pytest

from cttui.client import targets
from cttui.client.link import Link
from cttui.lab.compose import compile
from cttui.model.actions import Fire, Rules
from cttui.model.messages import Ask
from cttui.model.packet import JourneysReading, PacketRow
from cttui.model.views import JourneyView, PacketView
from cttui.probe.traces import MOST_AT_ONCE

pytestmark = pytest.mark.kernel

LINE = 'IP(src="198.51.100.2",dst="192.0.2.1")/TCP(sport=10000,dport=80,flags="S")'
RULE = "iptables -A INPUT -m statistic --mode nth --every 3 --packet 0 -j DROP"


async def fire(link: Link, count: int) -> tuple[list[PacketRow], JourneysReading]:
    """The newest `count` packets that came in, and the journeys."""
    before = await link.ask(Ask(seq=link.next_seq(), packets=PacketView()))
    await link.finish((await link.do(Fire(templates=compile(LINE, count), count=count))).job)
    while True:
        answer = await link.ask(
            Ask(seq=link.next_seq(), journey=JourneyView(), packets=PacketView(count=4000, first=0))
        )
        assert answer.packets is not None and before.packets is not None and answer.journeys is not None
        rows = [r for r in answer.packets.rows if r.seq > before.packets.total and r.direction == "in"]
        if len(rows) == count:
            return rows, answer.journeys


async def test_equal_packets_have_their_own_fates() -> None:
    link = await Link.open(targets.sandbox())
    try:
        await link.finish((await link.do(Rules(lines=[RULE]))).job)
        many, journeys = await fire(link, 2 * MOST_AT_ONCE)
        assert (journeys.total, journeys.capped, journeys.lost) == (MOST_AT_ONCE, MOST_AT_ONCE, 0)
        assert [bool(row.fate) for row in many] == [True] * MOST_AT_ONCE + [False] * MOST_AT_ONCE
        assert Counter(row.fate for row in many[:MOST_AT_ONCE]) == dict(journeys.ends)
        dropped = [row.fate.startswith("dropped by filter INPUT rule 1") for row in many[:MOST_AT_ONCE]]
        assert dropped == [at % 3 == dropped.index(True) for at in range(MOST_AT_ONCE)]
        few, journeys = await fire(link, 12)
        assert Counter(row.fate for row in few) == dict(journeys.ends) and journeys.total == 12
        answer = await link.ask(Ask(seq=link.next_seq(), packets=PacketView(seq=many[0].seq)))
        assert answer.packets is not None and answer.packets.rows[0].fate == many[0].fate, "as before"
    finally:
        await link.close()
