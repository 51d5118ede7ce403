"""The packet log: the last packets of the capture, and windows of them.

Packets are kept as the ring decoded them, 160 bytes each, oldest overwritten first. Rows for the screen,
and the flows they belong to, are made for what is visible only.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from cttui.kernel.packet_columns import HEADERS, NO_VLAN, PACKET, PKTTYPES, Records
from cttui.kernel.ring import PacketBatch
from cttui.model.faults import FaultError
from cttui.model.packet import PacketPage, PacketRow
from cttui.model.packet_words import aggregate_line
from cttui.model.pcapng import head_of
from cttui.model.views import PacketView
from cttui.probe.packet_filter import Matcher, matcher_of

CAPACITY = 100_000
TOP = 5
"""Lines of the aggregate."""
TOP_OF = 16_384
"""Packets that the aggregate counts at most: 2 ms."""
READABLE_PPS = 40
"""More than this a second can't be read: the page then has an aggregate."""
_SAMPLE_S = 0.05
_RATE_WINDOW_S = 1.0

PacketTuple = tuple[int, int, bytes, bytes, int, int]
"""Family, protocol, source, destination, source port, destination port, as a packet shows them."""


class Place(NamedTuple):
    """Which of the packets with equal headers this is, from 0, and how many of them there are."""

    number: int
    among: int


Alike = Callable[[int], Place | None]
"""Time (ns since the epoch) → a packet's place among those alike on its interface since then, itself included;
None where the log does not go back so far."""
Fate = Callable[[int, bytes, Alike], str]
"""Time (ns since the epoch) and bytes of a packet, and its like → where it ended, "" where nothing is known."""


class FlowLookup(Protocol):
    """What the log asks the flow store; zone 0 is meant where several zones have the tuple."""

    def of_packets(self, tuples: list[PacketTuple]) -> list[tuple[int, str]]:
        """Key (0: no flow) and state words of the flow with each tuple, in either direction."""

    def tuples_of(self, key: int) -> list[PacketTuple]:
        """What packets of this flow look like: original and reply tuple; empty for an unknown key."""


@dataclass(frozen=True, slots=True)
class _Held:
    """The log at one moment: packet `seq` stands in slot (seq - 1) % len(packets)."""

    packets: Records
    headers: Records
    total: int

    @property
    def kept(self) -> int:
        return min(self.total, len(self.packets))

    @property
    def oldest(self) -> int:
        """Number of the oldest packet kept."""
        return self.total - self.kept + 1

    def slots(self, first: int, last: int) -> NDArray[np.int64]:
        """Slots of the packets numbered `first` to `last`."""
        return (np.arange(first, last + 1) - 1) % len(self.packets)

    def in_order(self, mask: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Slots whose mask is set (mask over the first `kept` slots), oldest packet first."""
        slots = np.flatnonzero(mask)
        head = self.total % len(self.packets) if self.total > len(self.packets) else 0
        turn = int(np.searchsorted(slots, head))
        return np.concatenate((slots[turn:], slots[:turn]))

    def seqs(self, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        """Numbers of the packets in these slots."""
        size = len(self.packets)
        return self.oldest + (slots - (self.oldest - 1)) % size


class PacketLog:
    """The last `capacity` packets. Packets are numbered from 1 in the order of their capture."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.total = 0
        self.left_out = ""
        """A sentence on what the capture leaves out on purpose; goes to every page."""
        self._packets = np.zeros(capacity, PACKET)  # pages are touched as packets come
        self._headers = np.zeros(capacity, HEADERS)
        self._samples: deque[tuple[float, int]] = deque()
        self._frozen: _Held | None = None

    @property
    def capacity(self) -> int:
        """How many packets are kept."""
        return len(self._packets)

    @property
    def kept(self) -> int:
        """Packets still in the log."""
        return min(self.total, self.capacity)

    def append(self, batch: PacketBatch, now: float) -> None:
        """Copy a batch in. `now` is monotonic seconds, for the rate."""
        size = self.capacity
        packets, headers = batch.packets[-size:], batch.headers[-size:]
        n = len(packets)
        at = (self.total + len(batch) - n) % size
        first = min(n, size - at)
        for kept, new in ((self._packets, packets), (self._headers, headers)):
            _copy(kept[at : at + first], new[:first])
            _copy(kept[: n - first], new[first:])
        self.total += len(batch)
        if self._samples and now - self._samples[-1][0] < _SAMPLE_S:
            self._samples[-1] = (self._samples[-1][0], self.total)
        else:
            self._samples.append((now, self.total))
        self._prune(now)

    def rate_pps(self, now: float) -> float:
        """Packets a second over the last second."""
        self._prune(now)
        samples = self._samples
        before = samples[0][1] if samples and samples[0][0] <= now - _RATE_WINDOW_S else 0
        return (self.total - before) / _RATE_WINDOW_S

    def _prune(self, now: float) -> None:
        """Drop samples older than the newest one that is a second old."""
        while len(self._samples) > 1 and self._samples[1][0] <= now - _RATE_WINDOW_S:
            self._samples.popleft()

    def freeze(self) -> None:
        """Let pages show this moment until `thaw`, however far the log goes on meanwhile."""
        if self._frozen is None:
            self._frozen = _Held(self._packets.copy(), self._headers.copy(), self.total)

    def thaw(self) -> None:
        """Let pages show the present again."""
        self._frozen = None

    def page(
        self,
        view: PacketView,
        flows: FlowLookup,
        now: float,
        *,
        names: Mapping[int, str],
        fate: Fate | None = None,
        capturing: bool = True,
        dropped: int = 0,
    ) -> PacketPage:
        """The window that `view` asks for; a filter that can't be one is said in `error`."""
        held = self._frozen or _Held(self._packets, self._headers, self.total)
        rate = self.rate_pps(now)
        error, matcher = "", None
        try:
            matcher = matcher_of(view.filter)
        except FaultError as fault:
            error = fault.fault.sentence
        if view.seq:
            there = held.oldest <= view.seq <= held.total
            slots = held.slots(view.seq, view.seq) if there else np.empty(0, np.int64)
            matched, first = len(slots), 0
        elif matcher is None and not view.flow_key:
            matched = held.kept
            first = _window(view, matched, max(view.anchor - held.oldest, 0))
            last = min(first + view.count, matched)
            slots = held.slots(held.oldest + first, held.oldest + last - 1)
        else:
            found = held.in_order(self._mask(held, view, flows, matcher))
            matched = len(found)
            at = int(np.searchsorted(held.seqs(found), view.anchor)) if view.anchor else 0
            first = _window(view, matched, at)
            slots = found[first : first + view.count]
        top, top_of = self._top(held) if rate > READABLE_PPS and view.count > 0 else ([], 0)
        return PacketPage(
            capturing=capturing,
            total=held.total,
            kept=held.kept,
            matched=matched,
            dropped=dropped,
            rate_pps=rate,
            rows=self._rows(held, slots, flows, names, fate),
            first=first,
            left_out=self.left_out,
            error=error,
            top=top,
            top_of=top_of,
        )

    @staticmethod
    def _mask(held: _Held, view: PacketView, flows: FlowLookup, matcher: Matcher | None) -> NDArray[np.bool_]:
        """Which of the kept slots match filter and flow."""
        packets, headers = held.packets[: held.kept], held.headers[: held.kept]
        mask = matcher(packets, headers) if matcher is not None else np.ones(len(packets), bool)
        if view.flow_key:
            mask = mask & _of_tuples(headers, flows.tuples_of(view.flow_key))
        return mask

    @staticmethod
    def _rows(
        held: _Held, slots: NDArray[np.int64], flows: FlowLookup, names: Mapping[int, str], fate: Fate | None
    ) -> list[PacketRow]:
        """Rows of a window, each with its flow."""
        if not len(slots):
            return []
        packets, headers = held.packets[slots], held.headers[slots]
        joined = flows.of_packets(_tuples(headers))
        twins = _Twins(held)
        rows = []
        columns = zip(
            held.seqs(slots).tolist(), packets["time_ns"].tolist(), packets["ifindex"].tolist(),
            packets["length"].tolist(), packets["ethertype"].tolist(), packets["vlan"].tolist(),
            packets["caplen"].tolist(), packets["pkttype"].tolist(), packets["data"], joined, strict=True,
        )  # fmt: skip
        for seq, time_ns, ifindex, length, ethertype, vlan, caplen, pkttype, data, (key, state) in columns:
            snap = data[:caplen].tobytes()
            rows.append(
                PacketRow(
                    seq=seq,
                    time_ns=time_ns,
                    interface=names.get(ifindex, f"if{ifindex}"),
                    direction=PKTTYPES[pkttype] if pkttype < len(PKTTYPES) else "other",
                    ethertype=ethertype,
                    length=length,
                    data=snap,
                    vlan=None if vlan == NO_VLAN else vlan,
                    flow_key=key,
                    ct_state=state,
                    fate=fate(time_ns, snap, partial(twins.place, seq)) if fate else "",
                )
            )
        return rows

    @staticmethod
    def _top(held: _Held) -> tuple[list[tuple[str, int]], int]:
        """The most frequent kinds of packet among the newest of the last second, and how many those are."""
        if not held.kept:
            return [], 0
        slots = held.slots(max(held.oldest, held.total - TOP_OF + 1), held.total)
        times = held.packets["time_ns"][slots].astype("i8")
        slots = slots[times > times[-1] - 1_000_000_000]
        keys = _kind_hash(held, slots)
        kinds, counts = np.unique(keys, return_counts=True)
        best = np.argsort(counts)[::-1][:TOP]
        out = []
        for kind, count in zip(kinds[best], counts[best].tolist(), strict=True):
            packet = held.packets[slots[np.argmax(keys == kind)]]
            data = packet["data"][: int(packet["caplen"])].tobytes()
            out.append((aggregate_line(int(packet["ethertype"]), data, int(packet["length"])), count))
        return out, len(slots)


class _Twins:
    """Packets with equal headers, found once a page."""

    def __init__(self, held: _Held) -> None:
        self._held = held
        self._found: dict[tuple[bytes, int, int, int], NDArray[np.int64]] = {}

    def place(self, seq: int, since_ns: int) -> Place | None:
        """An `Alike` of the packet with this number."""
        held = self._held
        packet = held.packets[held.slots(seq, seq)[0]]
        if (
            held.total > held.kept
            and held.packets["time_ns"][held.slots(held.oldest, held.oldest)[0]] > since_ns
        ):
            return None
        snap = packet["data"][: int(packet["caplen"])].tobytes()
        key = (head_of(snap), int(packet["ifindex"]), int(packet["pkttype"]), since_ns)
        seqs = self._found.get(key)
        if seqs is None:
            seqs = self._found[key] = self._like(seq, len(key[0]), since_ns)
        return Place(int(np.searchsorted(seqs, seq)), len(seqs))

    def _like(self, seq: int, size: int, since_ns: int) -> NDArray[np.int64]:
        """Numbers of the packets with the same `size` bytes of network and transport header, and no more of them."""
        held = self._held
        slots = held.slots(held.oldest, held.total)
        slots = slots[held.packets["time_ns"][slots] >= since_ns]
        at = held.slots(seq, seq)[0]
        for records, names in (
            (held.packets, ("ifindex", "pkttype")),
            (held.headers, ("sport", "dport", "dst0")),
        ):
            for name in names:
                slots = slots[records[name][slots] == records[name][at]]
        data = held.packets["data"]
        network = int(data[at, 0] & 15) * 4 if data[at, 0] >> 4 == 4 else 40
        columns = np.r_[: min(network, 40), network : network + 20][:size]
        columns = columns[columns < data.shape[1]]
        captured = held.packets["caplen"][slots].astype(np.int64)
        heads = np.minimum(captured, min(network, 40)) + np.clip(captured - network, 0, 20)
        slots = slots[heads == size]
        slots = slots[(data[slots[:, None], columns] == data[at, columns]).all(axis=1)]
        return held.seqs(slots)


def _copy(to: Records, source: Records) -> None:
    """Copy whole records as bytes: numpy takes seven times as long for records field by field."""
    to.view(np.uint8)[:] = np.ascontiguousarray(source).view(np.uint8)


def left_out_sentence(connection: tuple[str, int, str, int]) -> str:
    """What the log says about the connection it doesn't show."""
    client, client_port, server, server_port = connection
    return (
        f"left out: the SSH connection you watch through ({client}:{client_port} to {server}:{server_port})"
    )


def _window(view: PacketView, matched: int, anchor_at: int) -> int:
    """First row of the window: the newest ones, or `first` counted from the anchor or from the oldest."""
    latest = max(matched - view.count, 0)
    if view.anchor:
        return min(max(anchor_at + view.first, 0), latest)
    return latest if view.first < 0 else min(view.first, latest)


def _tuples(headers: Records) -> list[PacketTuple]:
    """The tuple of each packet, as the flow store keys them."""
    out: list[PacketTuple] = []
    for family, proto, _, _, sport, dport, *words in headers.tolist():
        size = 4 if family == 2 else 16
        source = b"".join(word.to_bytes(4, "big") for word in words[:4])[:size]
        destination = b"".join(word.to_bytes(4, "big") for word in words[4:])[:size]
        out.append((family, proto, source, destination, sport, dport))
    return out


def _of_tuples(headers: Records, tuples: list[PacketTuple]) -> NDArray[np.bool_]:
    """Which packets have one of these tuples."""
    mask = np.zeros(len(headers), bool)
    for family, proto, source, destination, sport, dport in tuples:
        one = (headers["proto"] == proto) & (headers["family"] == family)
        for name, value in (("src", source), ("dst", destination)):
            for word in range(len(value) // 4):
                one &= headers[f"{name}{word}"] == int.from_bytes(value[4 * word : 4 * word + 4], "big")
        mask |= one & (headers["sport"] == sport) & (headers["dport"] == dport)
    return mask


_MIX = np.uint64(0x9E3779B97F4A7C15)


def _kind_hash(held: _Held, slots: NDArray[np.int64]) -> NDArray[np.uint64]:
    """64 bits over what a line without ports shows: addresses, protocol, TCP flags, ethertype."""
    headers = held.headers

    def column(records: Records, name: str) -> NDArray[np.uint64]:
        return records[name][slots].astype("u8")

    hashed = column(headers, "tcp_flags") << np.uint64(24) | column(headers, "proto") << np.uint64(16)
    hashed |= column(held.packets, "ethertype")
    words = ["src0", "dst0"]
    if (headers["family"][slots] == 10).any():
        words += ["src1", "src2", "src3", "dst1", "dst2", "dst3"]
    for name in words:
        hashed = (hashed ^ column(headers, name)) * _MIX
        hashed ^= hashed >> np.uint64(29)
    return hashed
