"""Between the packet log and the journeys: all of these in pages, and which of them is which packet."""

import ipaddress

import msgspec

from cttui.model.faults import FaultError
from cttui.model.messages import Ask
from cttui.model.packet import Journey, JourneysReading, PacketRow, may_be_traced
from cttui.model.packet_match import facts
from cttui.model.pcapng import head_of
from cttui.model.safe import clean
from cttui.model.views import JourneyView, PacketView
from cttui.ui import journey_text
from cttui.ui.session import Session

PAGE = 1_000
"""Journeys asked for at once: about 1.5 MB."""
MOST_SEARCHED = 100_000
NEARBY = 2_000
"""Packets of the log that are searched for the one that was traced."""


async def all_journeys(session: Session, most: int) -> JourneysReading:
    """The first `most` journeys in one reading. Raises FaultError."""
    whole: JourneysReading | None = None
    first = 0
    while True:
        count = min(PAGE, most - first)
        answer = await session.once(
            lambda seq, first=first, count=count: Ask(  # type: ignore[misc]
                seq=seq, journey=JourneyView(first=first, count=count)
            )
        )
        page = answer.journeys
        if page is None:
            return whole or JourneysReading()
        whole = (
            page
            if whole is None
            else msgspec.structs.replace(page, first=0, journeys=[*whole.journeys, *page.journeys])
        )
        first += len(page.journeys)
        if not page.journeys or first >= min(page.total, most):
            return whole


async def journey_of(session: Session, packet: PacketRow) -> tuple[JourneysReading, int] | str:
    """The journeys and which of them is that of a packet of the log, or a sentence where none is. Raises FaultError.

    Whether it was traced is for the probe to say: others may have the same headers.
    """
    answer = await session.once(lambda seq: Ask(seq=seq, packets=PacketView(seq=packet.seq, count=1)))
    rows = answer.packets.rows if answer.packets is not None else []
    row = next((row for row in rows if row.seq == packet.seq), packet)
    if not row.fate:
        return "This packet was not traced."
    whole = await all_journeys(session, MOST_SEARCHED)
    found = [
        i
        for i, journey in enumerate(whole.journeys)
        if journey.end == row.fate and _same(journey, row)
        and may_be_traced(row.time_ns, journey_text.packet_of(journey).time_ns)
    ]  # fmt: skip
    if not found:
        return f"Its way has made room for those of a later trace. It ended: {clean(row.fate)}."
    return whole, found[0]


async def packet_of(session: Session, journey: Journey) -> PacketRow:
    """The packet of a journey as captured; without a capture, what the trace quotes of it."""
    quoted = journey_text.packet_of(journey)
    try:
        answer = await session.once(
            lambda seq: Ask(seq=seq, packets=PacketView(filter=_filter_of(quoted), count=NEARBY))
        )
    except FaultError:
        return quoted
    rows = answer.packets.rows if answer.packets is not None and not answer.packets.error else []
    same = [row for row in rows if _same(journey, row) and may_be_traced(row.time_ns, quoted.time_ns)]
    return max(same, key=lambda row: row.time_ns, default=quoted)


def _same(journey: Journey, row: PacketRow) -> bool:
    """Whether a trace message quotes such a packet."""
    return bool(journey.data) and journey.data == head_of(row.data)


def _filter_of(packet: PacketRow) -> str:
    """Filter words that select packets with the same addresses, protocol and ports."""
    found = facts(packet)
    if found.family is None:
        return ""
    address = ipaddress.IPv4Address if found.family == 2 else ipaddress.IPv6Address
    words = [f"src={address(found.src)}", f"dst={address(found.dst)}", f"proto={found.proto}"]
    if found.sport is not None:
        words += [f"sport={found.sport}", f"dport={found.dport}"]
    return " ".join(words)
