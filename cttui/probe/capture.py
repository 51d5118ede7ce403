"""The capture: a ring on the loop, the log it fills, and the pages of the log."""

import asyncio
import time

import msgspec

from cttui.flows.store import Store
from cttui.kernel import bpf
from cttui.kernel.ring import PacketBatch, Ring
from cttui.model.packet import PacketPage
from cttui.model.views import PacketView
from cttui.probe.flow_lookup import StoreLookup
from cttui.probe.packet_filter import Matcher, capture_filter
from cttui.probe.packet_log import Fate, PacketLog, left_out_sentence

Connection = tuple[str, int, str, int]


class Capture:
    """One ring and one log per probe. The log stays when the ring goes."""

    def __init__(self, store: Store, leave_out: Connection | None) -> None:
        self.log = PacketLog()
        self.fate: Fate | None = None
        self.lookup = StoreLookup(store)
        self._leave_out = leave_out
        self._ring: Ring | None = None
        self._drops = 0
        self._matcher: Matcher | None = None
        self._names: dict[int, str] = {}
        self._started_s = 0.0
        self._stop: asyncio.TimerHandle | None = None
        self._most = 0

    @property
    def capturing(self) -> bool:
        """Whether a ring is open."""
        return self._ring is not None

    @property
    def drops(self) -> int:
        """Packets the rings of this probe had no room for."""
        return self._drops + (self._ring.drops if self._ring is not None else 0)

    @property
    def age_s(self) -> float | None:
        """Seconds since a packet could last have been seen: 0 while capturing, None before the first capture."""
        return 0.0 if self.capturing else (time.monotonic() - self._started_s if self._started_s else None)

    async def start(
        self, interface: str = "", text: str = "", packets: int = 0, seconds: float = 0.0
    ) -> None:
        """Open the ring; `text` are filter words, or `pcap:` and an expression. Caps of 0 mean none. Raises OSError, FaultError "bad-filter"."""
        self.stop()
        wanted = await capture_filter(text)
        self._matcher = wanted.matcher
        self._ring = Ring(interface, bpf.build(wanted.program, self._leave_out))
        self.log.left_out = left_out_sentence(self._leave_out) if self._leave_out else ""
        self._started_s = time.monotonic()
        self._most = self.log.total + packets if packets else 0
        loop = asyncio.get_running_loop()
        loop.add_reader(self._ring.fileno(), self.receive)
        if seconds:
            self._stop = loop.call_later(seconds, self.stop)

    def receive(self) -> bool:
        """Take waiting blocks into the log; whether there were any."""
        if self._ring is None:
            return False
        batch = self._ring.step()
        if batch is None:
            return False
        if self._matcher is not None:
            mask = self._matcher(batch.packets, batch.headers)
            batch = PacketBatch(batch.packets[mask], batch.headers[mask])
        self.log.append(batch, time.monotonic())
        self._names.update(self._ring.names)
        if self._most and self.log.total >= self._most:
            self.stop()
        return True

    def stop(self) -> None:
        """Close the ring; what it has stays in the log."""
        if self._stop is not None:
            self._stop.cancel()
            self._stop = None
        if self._ring is not None:
            ring, self._ring = self._ring, None
            asyncio.get_running_loop().remove_reader(ring.fileno())
            self._drops += ring.drops
            ring.close()

    def page(self, view: PacketView, now: float, *, frozen: bool) -> PacketPage:
        """The window of the log that `view` asks for; `frozen` holds the log at its present until it isn't."""
        self.log.freeze() if frozen else self.log.thaw()
        page = self.log.page(
            view,
            self.lookup,
            now,
            names=self._names,
            fate=self.fate,
            capturing=self.capturing,
            dropped=self.drops,
        )
        if not self.capturing:
            return page
        left_s = self._stop.when() - asyncio.get_running_loop().time() if self._stop is not None else None
        left_packets = max(0, self._most - self.log.total) if self._most else None
        return msgspec.structs.replace(page, left_s=left_s, left_packets=left_packets)
