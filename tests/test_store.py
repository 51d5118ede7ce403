"""The store ends equal to the kernel, whatever the order in which events, dump slices and GETs arrive."""

from dataclasses import dataclass, field

import ct_messages as m
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cttui.flows.batch import keys_of
from cttui.flows.columns import Interned
from cttui.flows.index import KeyIndex
from cttui.flows.rows import COLLECT, GRAVE_S, GRAVES
from cttui.flows.store import Store
from cttui.kernel.ctdecode import Decoder
from cttui.model.flow import ASSURED, CONFIRMED, FILLER_MARK, FILLER_ZONE, SEEN_REPLY, Flow
from cttui.model.views import FlowView
from cttui.probe.queries import Queries


def flow(n: int = 0, **other: object) -> Flow:
    """A TCP flow, each `n` another."""
    src, dst = b"\n\1" + n.to_bytes(2, "big"), b"\n\2\0\1"
    given_: dict[str, object] = {
        "id": n + 1, "family": 2, "proto": 6, "orig_src": src, "orig_dst": dst, "orig_sport": 1000, "orig_dport": 80,
        "reply_src": dst, "reply_dst": src, "reply_sport": 80, "reply_dport": 1000,
        "status": CONFIRMED, "timeout_s": 120, "state": 1,
    }  # fmt: skip
    return Flow(**{**given_, **other})  # type: ignore[arg-type]


@dataclass
class Bench:
    """A store with its decoder."""

    interned: Interned = field(default_factory=Interned)
    capacity: int = 8

    def __post_init__(self) -> None:
        self.decoder = Decoder(self.interned)
        self.store = Store(self.interned, self.capacity)
        self.now = 10.0

    def events(self, *messages: bytes) -> None:
        self.store.apply(self.decoder.decode(*m.buffer_of(list(messages))), self.now)

    def dump(self, *flows: Flow) -> None:
        self.store.put_dump(self.decoder.decode(*m.buffer_of([m.dumped(one) for one in flows])), self.now)

    def got(self, *flows: Flow, gone: list[int] | None = None) -> None:
        self.store.put_get(
            self.decoder.decode(*m.buffer_of([m.dumped(one) for one in flows])), gone or [], self.now
        )

    def flows(self) -> dict[int, Flow]:
        rows = self.store.rows()
        return {one.id: one for one in self.store.flows(rows, self.now)}

    def key(self, one: Flow) -> int:
        (batch,) = self.decoder.decode(*m.buffer_of([m.dumped(one)]))
        return int(keys_of(batch.columns)[0])


# ------------------------------------------------------------ against a kernel made of a dict

TOLD = ("status", "state", "mark")
SLOTS = 6


class Kernel(RuleBasedStateMachine):
    """A table of a few slots, its event queue, and a dump that runs one buffer behind, against the store.

    A slot's flow may come back with the same id and tuple (the kernel reuses both) or with another id.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench()
        self.bench.store.events_attached = True
        self.table: dict[int, Flow] = {}
        self.queue: list[bytes] = []
        self.made = self.ended = 0
        self.dump_at: int | None = None
        self.in_flight: list[Flow] = []
        self.dropping = False

    def tell(self, message: bytes) -> None:
        if not self.dropping:
            self.queue.append(message)

    @rule(slot=st.integers(0, SLOTS - 1), other_id=st.booleans(), mark=st.integers(0, 1))
    def create(self, slot: int, other_id: bool, mark: int) -> None:
        if slot not in self.table:
            self.table[slot] = flow(slot, id=slot + 1 + 100 * other_id, mark=mark)
            self.tell(m.new_event(self.table[slot]))
            self.made += 1

    @rule(slot=st.integers(0, SLOTS - 1), what=st.sampled_from(["state", "status", "mark"]))
    def change(self, slot: int, what: str) -> None:
        if slot in self.table:
            old = self.table[slot]
            self.table[slot] = {
                "state": msgspec.structs.replace(
                    old, state=(old.state or 0) % 9 + 1, timeout_s=old.timeout_s + 7
                ),
                "status": msgspec.structs.replace(old, status=old.status ^ (SEEN_REPLY | ASSURED)),
                "mark": msgspec.structs.replace(old, mark=(old.mark + 1) % 3),
            }[what]
            self.tell(m.update_event(self.table[slot], protoinfo=what == "state"))

    @rule(slot=st.integers(0, SLOTS - 1))
    def destroy(self, slot: int) -> None:
        if slot in self.table:
            self.tell(m.destroy_event(self.table.pop(slot)))
            self.ended += 1

    @rule(count=st.integers(1, 12))
    def receive(self, count: int) -> None:
        taken, self.queue = self.queue[:count], self.queue[count:]
        self.bench.now += 0.01
        self.bench.events(*taken)
        if self.dropping and not self.queue:  # drained: the kernel delivers again, and the loss is known
            self.dropping = False
            self.bench.store.lost()

    @precondition(lambda self: self.dump_at is None)
    @rule()
    def dump_starts(self) -> None:
        self.bench.store.begin_dump()
        self.dump_at = 0
        self.in_flight = []

    @precondition(lambda self: self.dump_at is not None)
    @rule(count=st.integers(1, 3))
    def dump_goes_on(self, count: int) -> None:
        """The slice filled at the last step is received, and the next one filled."""
        assert self.dump_at is not None
        self.bench.dump(*self.in_flight)
        self.in_flight = [
            self.table[n] for n in range(self.dump_at, min(self.dump_at + count, SLOTS)) if n in self.table
        ]
        self.dump_at += count
        if self.dump_at >= SLOTS + count:
            self.bench.store.end_dump(self.bench.now)
            self.dump_at = None

    @rule(slot=st.integers(0, SLOTS - 1))
    def get(self, slot: int) -> None:
        rows = self.bench.store.rows()
        shown = [one for one in self.bench.store.flows(rows, self.bench.now) if one.orig_src[3] == slot]
        now = self.table.get(slot)
        alive = [now] if now is not None and shown else []
        keys = {self.bench.key(one) for one in alive}
        self.bench.got(*alive, gone=[one.key for one in shown if one.key not in keys])

    @invariant()
    def counts_agree(self) -> None:
        store = self.bench.store
        assert len(store) == len(store.rows()) == len(self.bench.flows())
        assert sum(store.counts().by_protocol.values()) == len(store)

    def drain(self) -> None:
        while self.queue:
            self.receive(12)
        while self.dump_at is not None:
            self.dump_goes_on(2)

    def teardown(self) -> None:
        self.drain()
        self.compare()
        store = self.bench.store
        assert (store.new_total, store.ended_total) == (self.made, self.ended)

    def compare(self) -> None:
        shown = {
            number: tuple(getattr(one, name) for name in TOLD) for number, one in self.bench.flows().items()
        }
        assert shown == {one.id: tuple(getattr(one, name) for name in TOLD) for one in self.table.values()}


class LossyKernel(Kernel):
    """The same, but at times the queue is full: then events are lost until it has been emptied."""

    @rule()
    def overflow(self) -> None:
        self.dropping = True

    def teardown(self) -> None:
        self.drain()
        self.receive(1)
        self.dump_starts()
        self.drain()
        self.compare()


TestKernel = Kernel.TestCase
TestKernel.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestLossyKernel = LossyKernel.TestCase
TestLossyKernel.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


# ------------------------------------------------------------ one rule at a time


def test_the_last_event_of_a_batch_wins() -> None:
    bench = Bench()
    one = flow()
    changed = msgspec.structs.replace(one, state=3, status=CONFIRMED | SEEN_REPLY, mark=5)
    bench.events(m.new_event(one), m.update_event(changed), m.update_event(changed, protoinfo=False))
    assert bench.flows()[1].state == 3 and bench.flows()[1].mark == 5
    bench.events(m.update_event(one), m.destroy_event(one))
    assert not bench.flows()
    bench.events(m.destroy_event(one), m.new_event(one))
    assert bench.flows()[1].state == 1
    assert (bench.store.new_total, bench.store.ended_total) == (2, 2)


def test_an_earlier_event_of_a_batch_still_tells_what_the_last_one_leaves_out() -> None:
    bench = Bench()
    one = flow(state=2)
    bench.events(m.new_event(one), m.update_event(msgspec.structs.replace(one, mark=9), protoinfo=False))
    assert bench.flows()[1].state == 2 and bench.flows()[1].mark == 9


def test_a_destroy_bars_later_slices_until_a_new() -> None:
    bench = Bench()
    one = flow()
    bench.events(m.new_event(one))
    bench.store.begin_dump()
    bench.events(m.destroy_event(one))
    bench.dump(one)
    assert not bench.flows()
    bench.events(m.new_event(one))
    bench.dump(one)
    assert bench.flows()
    assert bench.store.end_dump(11.0).ghosts == 0


def test_ghosts_are_found_counted_and_forgiven_a_late_destroy() -> None:
    bench = Bench()
    bench.store.events_attached = True
    bench.events(*(m.new_event(flow(n)) for n in range(3)))
    bench.store.begin_dump()
    bench.dump(flow(0))
    bench.events(m.update_event(flow(1)))  # touched since the dump began: not a ghost
    found = bench.store.end_dump(10.1)
    assert (found.added, found.ended, found.ghosts, found.again) == (0, 1, 1, False)
    assert set(bench.flows()) == {1, 2} and bench.store.ended_total == 1
    bench.events(m.destroy_event(flow(2)))
    assert bench.store.ended_total == 1, "its end was counted when it was missed"


def test_an_incomplete_dump_concludes_nothing_from_absence() -> None:
    bench = Bench()
    bench.events(m.new_event(flow()))
    bench.store.begin_dump()
    found = bench.store.end_dump(10.1, complete=False)
    assert found.ghosts == 0 and found.again and len(bench.store) == 1


def test_a_filtered_dump_looks_only_at_its_scope() -> None:
    bench = Bench()
    bench.events(m.new_event(flow(0, mark=1)), m.new_event(flow(1, mark=2)))
    bench.store.begin_dump()
    found = bench.store.end_dump(10.1, scope=lambda columns: columns["mark"] == 2)
    assert found.ghosts == 1 and set(bench.flows()) == {1}


def test_without_events_totals_come_from_differences() -> None:
    bench = Bench()
    for flows in ([flow(0), flow(1)], [flow(1), flow(2)]):
        bench.store.begin_dump()
        bench.dump(*flows)
        bench.store.end_dump(bench.now)
    assert (bench.store.new_total, bench.store.ended_total) == (3, 1)


def test_one_entry_twice_in_a_dump_is_one_flow() -> None:
    bench = Bench()
    bench.store.begin_dump()
    bench.dump(flow(0), flow(1), flow(0), flow(0))
    assert bench.store.end_dump(10.0).added == 2
    assert set(bench.flows()) == {1, 2} and len(bench.store) == 2


@dataclass
class Watched:
    """As much of a Watch as a question needs that reads nothing again."""

    store: Store
    running = False


def test_ended_flows_stay_a_moment() -> None:
    bench = Bench(capacity=4)
    one = flow(orig_packets=None)
    bench.events(m.new_event(one))
    counted = msgspec.structs.replace(
        one, orig_packets=3, orig_bytes=180, reply_packets=2, reply_bytes=120, start_ns=5, stop_ns=9
    )
    bench.events(m.destroy_event(counted))
    (row,) = bench.store.rows(ended=True)
    bench.events(m.new_event(flow(9)))
    page = Queries(Watched(bench.store)).flows(FlowView(count=9), bench.now)  # type: ignore[arg-type]
    assert (page.matched, page.ended, page.total) == (2, 1, 1), "the page has both, the table one"
    bench.events(m.destroy_event(flow(9)))
    last = bench.store.flow(int(row), bench.now)
    assert last.ended and last.orig_bytes == 180 and last.stop_ns == 9 and last.timeout_s == 0
    assert not len(bench.store.rows()) and bench.store.row_of(last.key) is None
    generation = bench.store.generation
    bench.store.expire(bench.now + GRAVE_S)
    assert not len(bench.store.rows(ended=True)) and bench.store.generation > generation
    bench.events(*(m.new_event(flow(n)) for n in range(20, 24)))
    assert set(bench.flows()) == {21, 22, 23, 24}, (
        "the row is used again, and nothing of the old flow is left"
    )
    assert all(one.orig_bytes is None and one.stop_ns is None for one in bench.flows().values())


def test_graves_are_bounded() -> None:
    bench = Bench(capacity=1 << 14)
    many = [flow(n) for n in range(GRAVES + 500)]
    bench.events(*map(m.new_event, many))
    for first in range(0, len(many), 500):
        bench.events(*map(m.destroy_event, many[first : first + 500]))
    bench.store.expire(bench.now)
    assert len(bench.store.rows(ended=True)) <= GRAVES


def test_rates() -> None:
    bench = Bench()

    def counted(octets: int) -> Flow:
        return flow(orig_packets=1, orig_bytes=octets, reply_packets=0, reply_bytes=0)

    for now, octets, rate, over in (
        (10.0, 1000, None, 0.0), (12.0, 2000, 4000.0, 2.0), (12.1, 9000, 4000.0, 2.0), (13.0, 2000, 0.0, 1.0),
        (14.0, 1000, None, 1.0), (15.0, 2000, 8000.0, 1.0),
    ):  # fmt: skip
        bench.now = now
        bench.got(counted(octets))
        shown = bench.flows()[1]
        assert shown.rate_bps == (None if rate is None else pytest.approx(rate)), now
        assert shown.rate_over_s == pytest.approx(over)
        assert shown.orig_bytes == octets
    bench.events(m.update_event(flow()))
    assert bench.flows()[1].orig_bytes == 2000, "an event tells no counters and changes none"


def test_a_timeout_runs_down_between_readings() -> None:
    bench = Bench()
    bench.events(m.new_event(flow(timeout_s=120)))
    bench.now += 30.5
    assert bench.flows()[1].timeout_s == 90
    bench.now += 1000
    assert bench.flows()[1].timeout_s == 0


def test_a_dump_takes_away_what_a_flow_no_longer_has() -> None:
    bench = Bench()
    bench.got(flow(helper="ftp", labels=b"\1" * 16))
    bench.store.begin_dump()
    bench.dump(flow())
    bench.store.end_dump(10.0)
    assert bench.flows()[1].helper == "" and bench.flows()[1].labels == b""


def test_counts() -> None:
    bench = Bench()
    bench.events(
        m.new_event(flow(0, state=3, status=CONFIRMED | ASSURED)), m.new_event(flow(1)),
        m.new_event(flow(2, proto=17, state=None)), m.new_event(flow(3, proto=132, state=4)),
        m.new_event(flow(4, proto=89, state=None, orig_sport=0, orig_dport=0, reply_sport=0, reply_dport=0)),
        m.new_event(flow(5, state=3, zone=FILLER_ZONE, mark=FILLER_MARK)),
    )  # fmt: skip
    counts = bench.store.counts()
    assert counts.by_protocol == {"tcp": 3, "udp": 1, "sctp": 1, "proto-89": 1}
    assert counts.by_state == {"ESTABLISHED": 3, "SYN_SENT": 1}
    assert (counts.assured, counts.evictable, counts.filler) == (1, 5, 1)
    assert bench.store.counts() is counts
    bench.events(m.destroy_event(flow(1)))
    assert bench.store.counts().by_state == {"ESTABLISHED": 3}


def test_a_snapshot_stands_still() -> None:
    bench = Bench()
    bench.events(m.new_event(flow(0, labels=b"a" * 16)), m.new_event(flow(1)))
    bench.events(m.destroy_event(flow(1)))
    before = bench.store.snapshot()
    bench.events(m.update_event(flow(0, state=3)), m.new_event(flow(2)))
    rows = before.rows()
    assert [one.state for one in before.flows(rows, bench.now)] == [1]
    assert len(before) == 1 and len(before.rows(ended=True)) == 2
    assert before.row_of(int(before.columns["key"][rows[0]])) == rows[0]
    assert before.counts().by_state == {"SYN_SENT": 1}


def test_interned_values_no_flow_has_are_forgotten() -> None:
    bench = Bench()
    kept = flow(9_999, labels=b"kept".ljust(16))
    bench.events(m.new_event(kept))
    old = bench.store.snapshot()
    for first in range(0, COLLECT + 1000, 500):
        bench.now += 5
        some = [flow(n, labels=n.to_bytes(16, "big")) for n in range(first, first + 500)]
        bench.events(*map(m.new_event, some))
        bench.events(*map(m.destroy_event, some))
        bench.store.expire(bench.now + 5)
        bench.store.begin_dump()
        bench.dump(kept)
        bench.store.end_dump(bench.now)
    assert len(bench.interned.blobs) < COLLECT
    assert bench.flows()[10_000].labels == kept.labels
    assert old.flows(old.rows(), 0.0)[0].labels == kept.labels


def test_rows_grow_shrink_and_keep_their_flows() -> None:
    bench = Bench(capacity=4)
    many = [flow(n) for n in range(3000)]
    for first in range(0, 3000, 700):
        bench.events(*map(m.new_event, many[first : first + 700]))
    assert set(bench.flows()) == {one.id for one in many}
    bench.store.begin_dump()
    bench.dump(many[5])
    bench.store.end_dump(bench.now)
    bench.now += 10
    bench.store.expire(bench.now)
    bench.store.begin_dump()
    bench.dump(many[5])
    bench.store.end_dump(bench.now)
    assert set(bench.flows()) == {6} and len(bench.store.columns["id"]) < 10


def test_a_flow_read_again_is_no_longer_barred_from_the_dump() -> None:
    bench = Bench()
    bench.store.events_attached = True
    bench.events(m.new_event(flow()))
    bench.store.begin_dump()
    bench.events(m.destroy_event(flow()))
    bench.got(flow())  # made anew, with the same id and tuple
    bench.dump(flow(orig_packets=5, orig_bytes=300, reply_packets=0, reply_bytes=0))
    assert bench.flows()[1].orig_packets == 5


def test_after_lost_events_a_dump_knows_better_than_what_was_told() -> None:
    bench = Bench()
    bench.store.events_attached = True
    bench.events(m.new_event(flow()))
    bench.store.begin_dump()
    bench.events(m.update_event(flow(state=3)))
    bench.dump(flow(state=1))
    assert bench.flows()[1].state == 3, "a slice may be older than an event"
    bench.store.lost()
    bench.dump(flow(state=5))
    assert bench.flows()[1].state == 5
    assert bench.store.end_dump(bench.now).again


def test_a_zone_of_replies_is_another_flow() -> None:
    bench = Bench()
    plain, zoned = flow(), flow(zone=3, zone_dir=2)
    assert bench.key(plain) != bench.key(zoned)


def test_empty_store() -> None:
    store = Store(Interned())
    assert store.flows(store.rows(), 0.0) == [] and store.counts().by_protocol == {} and len(store) == 0
    store.apply([], 0.0)
    store.put_get([], [77], 0.0)
    store.begin_dump()
    assert store.end_dump(0.0).ghosts == 0


# ------------------------------------------------------------ the index


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 40)), max_size=60), st.integers(0, 3))
@settings(max_examples=80, deadline=None)
def test_index_is_a_dict(steps: list[tuple[bool, int]], high: int) -> None:
    """Keys that crowd into few slots, added and removed in any order."""
    index = KeyIndex(4)
    column = np.zeros(64, np.uint64)
    truth: dict[int, int] = {}
    for add, n in steps:
        key = (n % 4 + high) << 60 | n + 1
        if add and key not in truth:
            row = next(row for row in range(64) if row not in truth.values())
            column[row] = key
            index.add(np.array([key], np.uint64), np.array([row]), column)
            truth[key] = row
        elif not add and key in truth:
            index.remove(np.array([truth.pop(key)]))
        assert len(index) == len(truth)
        asked = [(n % 4 + high) << 60 | n + 1 for n in range(41)]
        found = index.find(np.array(asked, np.uint64), column).tolist()
        assert found == [truth.get(key, -1) for key in asked]
