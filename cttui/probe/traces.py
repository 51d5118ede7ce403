"""The trace: armed, listened to, put together, disarmed. One at a time."""

import asyncio
import errno
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from cttui.kernel import ctnetlink, netstat, sysctl
from cttui.kernel.nft_netlink import NftSocket
from cttui.kernel.ruleset import RuleSet
from cttui.kernel.trace import SLOTS, Trace
from cttui.kernel.trace_table import MOST_PACKETS, TraceTable, base_chains, rule_numbers
from cttui.model.jobs import Result
from cttui.model.packet import JourneysReading
from cttui.model.views import JourneyView
from cttui.model.words import counted
from cttui.probe.journey_words import Evidence
from cttui.probe.journeys import Journeys
from cttui.probe.packet_log import Alike, FlowLookup
from cttui.probe.rule_book import RuleBook
from cttui.probe.trace_filter import alternatives

MOST_BURST, MOST_AT_ONCE = 10_000, 1_000
"""Packets of a burst that are traced, and of one faster than LOSSLESS_PPS."""
BYTES_A_PACKET = 48 << 10
"""What one packet's messages take of a receive buffer: 13 to 16 of them, 2.7 to 3.1 kB each with their skb."""
LOSSLESS_PPS = 5_000.0
MOST_PAST = 20_000
"""Packets of earlier traces whose ends the log still shows."""
GATHER_S, GATHERED = 0.1, 1 / 4
"""How long messages wait, and how much of the buffer they take meanwhile at LOSSLESS_PPS, at most."""
_NEARLY_FULL = 0.95
"""From here on the garbage collector frees entries (gc_worker): a table that was full may be a little below."""

ReadRules = Callable[[], Awaitable[RuleSet]]


class Share(NamedTuple):
    """How many packets are traced at most; `at_once`: no more than the listener's buffer holds."""

    packets: int
    at_once: bool = False


def share_of_burst(count: int, rate_pps: float) -> Share:
    """How many packets of a burst are traced, so that no message is lost and a fast one stays fast.

    Of one slower than LOSSLESS_PPS messages are read as they come; the others' have to fit the buffer, which is
    small where its size can't be forced (an ordinary user's sandbox).
    """
    slow = 0 < rate_pps <= LOSSLESS_PPS
    return Share(min(count, MOST_BURST if slow else MOST_AT_ONCE), not slow)


class Traces:
    """`rules` reads the rules of this namespace, for their texts."""

    def __init__(self, flows: FlowLookup, rules: ReadRules) -> None:
        self._flows = flows
        self._rules = rules
        self._table = TraceTable()
        self._listener: Trace | None = None
        self._journeys: Journeys | None = None
        self._past: deque[Journeys] = deque()
        """Those before, for the fates of packets that are still in the log."""
        self._stats: dict[str, int] = {}
        self._network: dict[str, int] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._gather: asyncio.TimerHandle | None = None
        self._gather_s = GATHER_S

    @property
    def armed(self) -> bool:
        """Whether packets are being marked."""
        return self._table.armed

    async def arm(
        self,
        packets: int,
        filter: str = "",
        seconds: float = 0.0,
        hooks: Sequence[str] = ("prerouting",),
        *,
        at_once: bool = False,
    ) -> None:
        """Trace the next `packets` (at most MOST_PACKETS) that match, for `seconds` (0: until disarmed).

        `at_once`: they come faster than their messages are read.

        The journeys before give way. Raises FaultError, OSError (EPERM, EOPNOTSUPP before Linux 5.12).
        """
        tests = alternatives(filter)
        packets = max(1, min(packets, MOST_PACKETS))
        rules = await self._rules()
        self.disarm()
        sock = NftSocket()
        try:
            book = RuleBook(base_chains(sock), rule_numbers(sock), rules)
        finally:
            sock.close()
        self._listener = Trace()
        try:
            self._stats, self._network = self._counters()
            held = self._listener.buffer // BYTES_A_PACKET
            self._gather_s = min(GATHER_S, held / LOSSLESS_PPS * GATHERED)
            if at_once:
                packets = max(1, min(packets, held))
            self._table.arm(packets, tests, hooks)
        except OSError:
            self._close_listener()
            raise
        self._put_away()
        self._journeys = Journeys(self._table.name, packets, book, self._why(filter, packets, seconds))
        loop = asyncio.get_running_loop()
        loop.add_reader(self._listener.fileno(), self._readable)
        if seconds:
            self._timer = loop.call_later(seconds, self.disarm)

    def _put_away(self) -> None:
        """Keep what is known of packets traced before, as far as there is room."""
        if self._journeys is not None and len(self._journeys):
            self._journeys.forget_ways()
            self._past.append(self._journeys)
        while sum(map(len, self._past)) > MOST_PAST:
            self._past.popleft()

    @staticmethod
    def _why(text: str, packets: int, seconds: float) -> str:
        what = f"packets that match {text}" if text.strip() else "every packet"
        until = f" or {seconds:g} s" if seconds else ""
        return f"tracing {what}, until {counted(packets, 'packet')}{until}"

    def _readable(self) -> None:
        """Let messages gather: decoding a dozen costs almost as much as decoding a thousand."""
        if self._listener is not None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._listener.fileno())
            self._gather = loop.call_later(self._gather_s, self._gathered)

    def _gathered(self) -> None:
        """Take what has gathered, a batch a turn of the loop, then wait for more."""
        self._gather = None
        if self._listener is None:
            return
        loop = asyncio.get_running_loop()
        if self.receive() >= SLOTS:
            self._gather = loop.call_later(0, self._gathered)
        else:
            loop.add_reader(self._listener.fileno(), self._readable)

    def receive(self) -> int:
        """Take waiting messages, a step of them; how many there were."""
        if self._listener is None or self._journeys is None:
            return 0
        batch = self._listener.step()
        if batch is None:
            return 0
        self._journeys.append(batch, self._listener.places, self._listener.jumps)
        return len(batch.steps)

    def finish(self, result: Result | None = None) -> None:
        """The burst is over: disarm, as `disarm` does.

        `result` is the burst's: a table it saw full counts as full, whatever was freed since; where entries were
        not inserted, it names those that were; its losses name rules that send no trace messages, and say of what was
        delivered that no socket was there.
        """
        self.disarm()
        journeys = self._journeys
        if journeys is None or result is None:
            return
        full = journeys.evidence.full or self._is_full(result.count_before + result.new)
        journeys.evidence = replace(journeys.evidence, full=full)
        journeys.explain(result.losses)
        if journeys.evidence.stats.get("insert_failed") and len(result.new_flows) >= result.new:
            journeys.unconfirmed({flow.id for flow in result.new_flows})

    def disarm(self) -> None:
        """Stop marking, take the messages still waiting, stop listening; the journeys stay."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._table.armed:
            self._read_matched()
            self._table.disarm()
            while self.receive():
                pass
            self._read_evidence()
        if self._journeys is not None:
            self._journeys.settle()
        self._close_listener()

    def _close_listener(self) -> None:
        if self._gather is not None:
            self._gather.cancel()
            self._gather = None
        if self._listener is None:
            return
        try:
            asyncio.get_running_loop().remove_reader(self._listener.fileno())
        except RuntimeError:
            pass  # no loop any more
        self._listener.close()
        self._listener = None

    def reading(self, view: JourneyView) -> JourneysReading:
        """The window of journeys that `view` asks for; empty before the first trace."""
        if self._journeys is None:
            return JourneysReading()
        if self._table.armed:
            self._read_matched()
            self._read_evidence()
        return self._journeys.reading(view, self._flows, time.time_ns(), armed=self.armed)

    def fate(self, time_ns: int, data: bytes, alike: Alike) -> str:
        """Where a packet of the log ended, "" if it was not traced: PacketLog's `fate`."""
        if self._journeys is None:
            return ""
        for journeys in (self._journeys, *self._past):
            if end := journeys.fate(time_ns, data, alike):
                return end
        return ""

    # ---------------------------------------------------------------- evidence

    @staticmethod
    def _counters() -> tuple[dict[str, int], dict[str, int]]:
        return ctnetlink.stats(), netstat.read()

    def _read_matched(self) -> None:
        """How many packets met the filter, and whether the table is still there."""
        if self._journeys is None:
            return
        try:
            self._journeys.matched = self._table.matched()
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise
            self._table.disarm()
            self._journeys.why = "The trace ended early: the rule set was flushed."

    def _read_evidence(self) -> None:
        """What moved since arming."""
        if self._journeys is None:
            return
        stats, network = self._counters()
        self._journeys.evidence = Evidence(
            stats=_moved(self._stats, stats),
            network=_moved(self._network, network),
            full=self._journeys.evidence.full or self._is_full(),
            lost=self._listener.lost if self._listener is not None else self._journeys.evidence.lost,
        )

    @staticmethod
    def _is_full(count: int | None = None) -> bool:
        """Whether the table is at its limit, or `count` would be; False where it can't be read."""
        try:
            most = int(sysctl.read("nf_conntrack_max"))
            count = int(sysctl.read("nf_conntrack_count")) if count is None else count
        except (OSError, ValueError):
            return False
        return most > 0 and count >= _NEARLY_FULL * most


def _moved(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    return {
        name: value - before.get(name, 0) for name, value in after.items() if value != before.get(name, 0)
    }
