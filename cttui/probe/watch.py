"""Keeps the store equal to the kernel's table: events for freshness, dumps to reconcile.

The interval between dumps adapts: it keeps the cost under DUTY of one core, doubles while dumps find
nothing new, and falls back as soon as they do, or as soon as the kernel's own count says that the store
is behind (a change that sent no event).
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from cttui.flows.columns import Interned
from cttui.flows.store import Store
from cttui.kernel import ctnetlink
from cttui.kernel.ctfilter import kernel_family, kernel_filter
from cttui.model import filters
from cttui.probe.counters import read_number

DUTY = 0.10
SHORTEST_S = 1.0
LONGEST_S = 12.0
"""A change that neither sends an event nor moves the count is on screen within this and one dump."""


class Watch:
    """The store, its dumps and its events. One per probe."""

    def __init__(self) -> None:
        self.interned = Interned()
        self.decoder = ctnetlink.Decoder(self.interned)
        self.store = Store(self.interned)
        self.events: ctnetlink.Events | None = None
        self.dumped_at: float | None = None
        self.dumped = asyncio.Event()
        """Set once there has been a whole dump."""
        self.dump_cost_s: float | None = None
        self.interval_s = SHORTEST_S
        self.resyncs = 0
        self.events_total = 0
        self.lost_total = 0
        self.running = False
        """Whether the store is being kept up to date."""
        self._wake = asyncio.Event()
        self._dumping = asyncio.Lock()
        self._filling = False
        self._gap = 0

    # ------------------------------------------------------------ events

    def attach_events(self) -> None:
        """Listen to NEW, UPDATE and DESTROY, then resync: what happened before was not heard."""
        if self.events is None:
            self.events = ctnetlink.Events(self.decoder)
            self.store.events_attached = True
            asyncio.get_running_loop().add_reader(self.events.fileno(), self.receive_events)
            self._wake.set()

    def detach_events(self) -> None:
        """Stop listening: a listener costs the host part of its rate of new flows."""
        if self.events is not None:
            asyncio.get_running_loop().remove_reader(self.events.fileno())
            self.events.close()
            self.events = None
            self.store.events_attached = False

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
            self.store.lost()
            self.resyncs += 1
            self._wake.set()
        if batches:
            self.store.apply(batches, time.monotonic())
        return bool(batches)

    def drain_events(self, batches: int = 4) -> None:
        """Apply waiting events, bounded, so that a dump slice never overtakes them."""
        for _ in range(batches):
            if not self.receive_events():
                return

    # ------------------------------------------------------------ dumps

    async def dump(self, attributes: bytes = b"", family: int = 0) -> None:
        """One whole dump in bounded slices, then reconcile. `attributes` and `family`: the kernel's part of a filter."""
        async with self._dumping:
            dump = ctnetlink.Dump(self.decoder, filter=attributes, family=family)
            cost, complete = 0.0, False
            self.store.reserve((read_number("nf_conntrack_count") or 0) * 9 // 8)
            self.store.begin_dump()
            try:
                dump.start()
                while not (
                    self._filling and self.running
                ):  # a fill makes a dump outdated, a dump makes it slow
                    self.drain_events()
                    t = time.perf_counter()
                    batches = dump.step()
                    if batches is None:
                        complete = not dump.interrupted
                        break
                    self.store.put_dump(batches, time.monotonic())
                    cost += time.perf_counter() - t
                    await asyncio.sleep(0)
            finally:
                dump.close()
                found = self.store.end_dump(time.monotonic(), complete=complete)
            self.dumped_at = time.monotonic()
            self.dumped.set()
            self.dump_cost_s = cost
            if found.again:
                self._wake.set()
            quiet = found.ghosts == 0 and (self.events is not None or found.added + found.ended == 0)
            shortest = max(SHORTEST_S, cost / DUTY - cost)
            longest = max(LONGEST_S, shortest)
            self.interval_s = (
                min(self.interval_s * 2, longest) if quiet else max(self.interval_s / 2, shortest)
            )
            self.interval_s = min(max(self.interval_s, shortest), longest)

    async def dump_filtered(self, text: str) -> bool:
        """One dump for a script; whether the kernel did part of the filter and only that part is held.

        Only before `run`: afterwards the store holds everything, and a full dump keeps it so.
        """
        attributes, family = b"", 0
        if text and not self.running:
            node = filters.parse(text)
            family = kernel_family(node)
            attributes, _ = kernel_filter(node, family)
        await self.dump(attributes, family)
        return bool(attributes or family)

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
            cost = self.dump_cost_s or 0.0
            shortest = max(SHORTEST_S, cost / DUTY - cost)
            await asyncio.sleep(shortest)
            try:
                async with asyncio.timeout(max(0.0, self.interval_s - shortest)):
                    await self._wake.wait()
            except TimeoutError:
                pass

    def compare_count(self, count: int | None) -> None:
        """Called with each sample of the kernel's count: a new difference to the store asks for a dump.

        The difference itself may be lasting (unconfirmed and dying entries count, but are not dumped).
        """
        if count is None or self._dumping.locked():
            return
        gap = count - len(self.store)
        if gap != self._gap:
            self._gap = gap
            self._wake.set()

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
