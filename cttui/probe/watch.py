"""Keeps the store equal to the kernel's table: events for freshness, dumps to reconcile.

The interval between dumps adapts: it keeps the cost under DUTY of one core, doubles while dumps find
nothing new, and falls back as soon as they do, or as soon as the kernel's own count says that the store
is behind (a change that sent no event).

Without events, and where a whole dump is costly, a filter that the kernel can do is dumped in between: what is
looked at is then read every second, at the cost of the rest, which is read half as often.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from cttui.flows.columns import Interned
from cttui.flows.select import View, mask_of
from cttui.flows.store import Reconciled, Store
from cttui.kernel import ctnetlink
from cttui.kernel.ctfilter import Part, kernel_part
from cttui.model import filters
from cttui.probe.counters import read_number
from cttui.probe.event_log import EventLog

DUTY = 0.10
SHORTEST_S = 1.0
COSTLY_S = 0.05
"""A whole dump that takes longer is worth a filtered one beside it."""
REST_S, FEW_REST_S, FEW = 0.01, 0.05, 64
"""Rest after a batch of events, and after one of a few. A batch costs 0.8 ms before its first event, so that to
follow 1,000 new flows a second one by one takes 70 % of a core, and with rests 6 %. Whoever asks meanwhile drains
first, at most 1,024 events (`drain_events`): after longer rests a key would wait for that."""
FLOOD_PER_S, EVENT_BYTES = 250_000, 1_280
"""Events that may come at once, and what one takes of the receive buffer (its skb)."""
SHORTEST_REST_S = 0.001
LONGEST_S = 12.0
"""A change that neither sends an event nor moves the count is on screen within this and one dump."""


def rest_s(read: int, buffer: int) -> float:
    """Seconds of rest after a batch of `read` events; 0 after a full one, and where a flood would fill the buffer.

    A flood that begins meanwhile may take a quarter of the receive buffer's bytes.
    """
    if read >= ctnetlink.Events.SLOTS:
        return 0.0
    rest = min(FEW_REST_S if read < FEW else REST_S, buffer / EVENT_BYTES / FLOOD_PER_S / 4)
    return rest if rest >= SHORTEST_REST_S else 0.0


class Watch:
    """The store, its dumps and its events. One per probe."""

    def __init__(self) -> None:
        self.interned = Interned()
        self.decoder = ctnetlink.Decoder(self.interned)
        self.store = Store(self.interned)
        self.events: ctnetlink.Events | None = None
        self.event_log = EventLog(self.store)
        self.dumped_at: float | None = None
        self.dumped = asyncio.Event()
        """Set once there has been a whole dump."""
        self.dump_cost_s: float | None = None
        self.interval_s = SHORTEST_S
        self.resyncs = 0
        self.events_total = 0
        self.lost_total = 0
        self.lost_at: float | None = None
        self.running = False
        """Whether the store is being kept up to date."""
        self._wake = asyncio.Event()
        self._dumping = asyncio.Lock()
        self._filling = False
        self._rest: asyncio.TimerHandle | None = None
        self._gap = self._gap_before = 0
        self._looked = ""
        self._part: Part | None = None
        self._part_set = asyncio.Event()
        self.filtered = False
        """Whether the kernel picks out what is looked at."""

    # ------------------------------------------------------------ events

    def attach_events(self) -> None:
        """Listen to NEW, UPDATE and DESTROY, then resync: what happened before was not heard."""
        if self.events is None:
            self.events = ctnetlink.Events(self.decoder)
            self.store.events_attached = True
            self._listen()
            self._wake.set()

    def detach_events(self) -> None:
        """Stop listening: a listener costs the host part of its rate of new flows."""
        if self.events is not None:
            if self._rest is not None:
                self._rest.cancel()
                self._rest = None
            asyncio.get_running_loop().remove_reader(self.events.fileno())
            self.events.close()
            self.events = None
            self.store.events_attached = False

    def _listen(self) -> None:
        self._rest = None
        if self.events is not None:
            asyncio.get_running_loop().add_reader(self.events.fileno(), self._read_events)

    def _read_events(self) -> None:
        """Called when events wait: a batch of them, then a rest."""
        events = self.events
        if events is None:
            return
        before = events.count
        self.receive_events()
        rest = rest_s(events.count - before, events.receive_buffer)
        if rest:
            loop = asyncio.get_running_loop()
            loop.remove_reader(events.fileno())
            self._rest = loop.call_later(rest, self._listen)

    def receive_events(self) -> bool:
        """Apply one batch of events, at most 512; whether there was one."""
        if self.events is None:
            return False
        lost = self.events.lost
        count = self.events.count
        batches = self.events.receive()
        self.events_total += self.events.count - count
        if self.events.lost != lost:
            self.lost_total += self.events.lost - lost
            self.lost_at = time.monotonic()
            self.store.lost()
            self.resyncs += 1
            self._wake.set()
        if batches:
            now = time.monotonic()
            self.event_log.append(batches, now)
            self.store.apply(batches, now)
        return bool(batches)

    def drain_events(self, batches: int = 4) -> None:
        """Apply waiting events, bounded, so that a dump slice never overtakes them."""
        for _ in range(batches):
            if not self.receive_events():
                return

    # ------------------------------------------------------------ dumps

    async def dump(self, part: Part | None = None) -> float:
        """One dump in bounded slices, then reconcile; its cost in seconds. `part`: of these flows only."""
        async with self._dumping:
            dump = ctnetlink.Dump(
                self.decoder, filter=part.attributes if part else b"", family=part.family if part else 0
            )
            cost, complete = 0.0, False
            if part is None:
                self.store.reserve((read_number("nf_conntrack_count") or 0) * 9 // 8)
            self.store.begin_dump()
            try:
                begun = time.perf_counter()
                dump.start()  # the kernel already fills the first buffer
                cost = time.perf_counter() - begun
                while not (
                    self._filling and self.running
                ):  # a fill makes a dump outdated, a dump makes it slow
                    self.drain_events()
                    begun = time.perf_counter()
                    batches = dump.step()
                    if batches is None:
                        complete = not dump.interrupted
                        break
                    self.store.put_dump(batches, time.monotonic())
                    cost += time.perf_counter() - begun
                    await asyncio.sleep(0)
            finally:
                dump.close()
                found = self._reconcile(part, complete)
            if part is None:
                self._whole(cost, found)
            return cost

    def _reconcile(self, part: Part | None, complete: bool) -> Reconciled:
        now = time.monotonic()
        if part is None:
            return self.store.end_dump(now, complete=complete)
        return self.store.end_dump(
            now,
            complete=complete and part.lasting,
            scope=lambda columns: mask_of(part.scope, View(columns, now, self.interned)),
        )

    def _whole(self, cost: float, found: Reconciled) -> None:
        """After a whole dump: when the next one is due."""
        self.dumped_at = time.monotonic()
        self.dumped.set()
        self.dump_cost_s = cost
        if found.again:
            self._wake.set()
        quiet = found.ghosts == 0 and (self.events is not None or found.added + found.ended == 0)
        shortest = self._shortest()
        longest = max(LONGEST_S, shortest)
        self.interval_s = min(self.interval_s * 2, longest) if quiet else max(self.interval_s / 2, shortest)
        self.interval_s = min(max(self.interval_s, shortest), longest)

    def _shortest(self) -> float:
        """Seconds from a whole dump to the next that keep the cost of all dumps under DUTY."""
        share = DUTY if self._part is None else DUTY / 2
        cost = self.dump_cost_s or 0.0
        return max(SHORTEST_S, cost / share - cost)

    async def dump_filtered(self, text: str) -> None:
        """One dump for a script, of what the kernel's part of the filter leaves.

        Only before `run`: afterwards the store holds everything, and a full dump keeps it so.
        """
        part = kernel_part(filters.parse(text)) if text and not self.running else None
        await self.dump(part)
        self.filtered = part is not None

    # ------------------------------------------------------------ what is looked at

    def look_at(self, text: str) -> None:
        """A screen shows the flows of this filter: they are to be fresh, if the kernel can pick them out."""
        if text == self._looked:
            return
        self._looked, self.filtered = text, False
        try:
            self._part = kernel_part(filters.parse(text))
        except filters.FilterError:
            self._part = None
        if self._part is not None:
            self._part_set.set()
        else:
            self._part_set.clear()

    async def run_filtered(self) -> None:
        """Dump what is looked at, for ever, while that is cheaper than dumping everything."""
        while True:
            await self._part_set.wait()
            part, whole = self._part, self.dump_cost_s or 0.0
            pause = SHORTEST_S
            if part is not None and self.events is None and not self._filling and whole > COSTLY_S:
                cost = await self.dump(part)
                if part is self._part and cost > whole / 2:
                    self._part, self.filtered = None, False  # nearly everything matches
                    self._part_set.clear()
                elif part is self._part:
                    self.filtered = True
                pause = max(SHORTEST_S, cost / (DUTY / 2) - cost)
            else:
                self.filtered = False
            await asyncio.sleep(pause)

    async def run(self) -> None:
        """Dump for ever, at the adaptive interval."""
        self.running = True
        while True:
            self._wake.clear()
            if not self._filling:
                await self.dump()
            while self.events is not None and self.events.behind:
                # Until its queue has run empty the kernel drops every event: a dump now would be outdated.
                self.drain_events()
                await asyncio.sleep(0)
            shortest = self._shortest()
            await asyncio.sleep(shortest)
            try:
                async with asyncio.timeout(max(0.0, self.interval_s - shortest)):
                    await self._wake.wait()
            except TimeoutError:
                pass

    def compare_count(self, count: int | None) -> None:
        """Called with each sample of the kernel's count: a new difference to the store asks for a dump.

        It has to stand in two samples: between the last event and the count there is always time for another. And it
        may be lasting (unconfirmed and dying entries count, but are not dumped).
        """
        if count is None or self._dumping.locked():
            return
        gap = count - len(self.store)
        if gap == self._gap_before and gap != self._gap:
            self._gap = gap
            self._wake.set()
        self._gap_before = gap

    @contextlib.asynccontextmanager
    async def filling(self) -> AsyncIterator[None]:
        """While fillers are made or removed: by the hundred thousand they are not worth an event each.

        No events and no dumps inside; one dump at the end.
        """
        self._filling = True
        self.detach_events()
        try:
            yield
        finally:
            self.attach_events()
            self._filling = False
            self._wake.clear()
        await self.dump()

    def resync(self) -> None:
        """Ask for a dump as soon as the duty allows."""
        self._wake.set()
