"""Each event as it was told, in order, by pages; what a slow reader missed is counted."""

import tracemalloc

import ct_messages as m
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_store import Bench, flow

from cttui.flows.batch import DESTROY, NEW, UPDATE
from cttui.model.filters import matches, parse
from cttui.model.flow import ASSURED, Flow
from cttui.model.pages import EventPage
from cttui.model.views import EventView
from cttui.probe import event_log
from cttui.probe.event_log import EventLog


class LoggedBench(Bench):
    """A store whose events are logged first, as probe/watch.py does it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.log = EventLog(self.store)
        self.page()

    def events(self, *messages: bytes) -> None:
        batches = self.decoder.decode(*m.buffer_of(list(messages)))
        self.log.append(batches, self.now)
        self.store.apply(batches, self.now)

    def page(self, **view: object) -> EventPage:
        return self.log.page(EventView(**view))  # type: ignore[arg-type]


MAKE = {NEW: m.new_event, UPDATE: m.update_event, DESTROY: m.destroy_event}
EVENTS = st.lists(
    st.tuples(
        st.sampled_from([NEW, UPDATE, DESTROY]),
        st.integers(0, 3),
        st.integers(0, 2),
        st.sampled_from([1, 3, 7]),
    ),
    max_size=12,
)


@given(
    st.lists(EVENTS, max_size=4),
    st.sampled_from(["", "mark=1", "state=ESTABLISHED or mark=2"]),
    st.integers(1, 5),
)
def test_every_event_that_matches_once_and_in_order(
    received: list[list[tuple[int, int, int, int]]], text: str, count: int
) -> None:
    bench = LoggedBench()
    bench.page(filter=text)
    told: list[tuple[int, Flow]] = []
    for events in received:
        flows = [(kind, flow(n, mark=mark, state=state)) for kind, n, mark, state in events]
        if flows:
            bench.events(*(MAKE[kind](one) for kind, one in flows))
        told += flows
    node = parse(text)
    wanted = [(kind, one) for kind, one in told if node is None or matches(node, one)]

    got, after = [], 0
    while rows := (page := bench.page(filter=text, after=after, count=count)).rows:
        assert page.skipped == 0 and len(rows) <= count
        got += [(row.kind, row.flow.id, row.flow.mark, row.flow.state, row.flow.orig_src) for row in rows]
        after = page.last
    assert got == [(kind, one.id, one.mark, one.state, one.orig_src) for kind, one in wanted]


def test_what_a_message_leaves_out_is_what_is_known_of_the_flow() -> None:
    bench = LoggedBench()
    one = flow(1, state=3, status=ASSURED, mark=5, helper="ftp")
    bench.events(m.new_event(one))
    bench.events(m.update_event(msgspec.structs.replace(one, mark=6), protoinfo=False))
    bench.events(m.destroy_event(msgspec.structs.replace(one, mark=6)))
    new, update, destroy = (row.flow for row in bench.page().rows)
    assert (new.state, new.mark, new.helper) == (3, 5, "ftp")
    assert (update.state, update.mark, update.helper) == (3, 6, "ftp")
    assert (destroy.state, destroy.helper) == (3, "ftp")


def test_what_a_message_leaves_out_was_told_by_the_one_before_it() -> None:
    """All in one receive batch: the store knows nothing of it yet."""
    bench = LoggedBench()
    bench.events(
        m.new_event(flow(1, state=1, helper="ftp")),
        m.update_event(flow(1, state=3)),
        m.new_event(flow(2, state=1)),
        m.update_event(flow(1, state=3, mark=7), protoinfo=False),
        m.update_event(flow(2, state=1, mark=8), protoinfo=False),
    )
    bench.events(
        m.update_event(flow(1, state=7, mark=7)), m.update_event(flow(1, state=7, mark=9), protoinfo=False)
    )
    rows = bench.page().rows
    assert [(row.flow.state, row.flow.mark) for row in rows] == [
        (1, 0),
        (3, 0),
        (1, 0),
        (3, 7),
        (1, 8),
        (7, 7),
        (7, 9),
    ]


def test_only_some_kinds() -> None:
    bench = LoggedBench()
    bench.page(kinds=[DESTROY])
    bench.events(m.new_event(flow(1)), m.new_event(flow(2)), m.destroy_event(flow(1)))
    assert [row.kind for row in bench.page(kinds=[DESTROY]).rows] == [DESTROY]


def test_only_one_flow() -> None:
    bench = LoggedBench()
    key = bench.key(flow(2))
    bench.page(flow_key=key)
    bench.events(
        m.new_event(flow(1)), m.new_event(flow(2)), m.update_event(flow(2, state=3)), m.destroy_event(flow(1))
    )
    assert [(row.flow.key, row.flow.state) for row in bench.page(flow_key=key).rows] == [(key, 1), (key, 3)]


def test_a_slow_reader_is_told_what_it_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log, "MOST_WAITING", 4)
    monkeypatch.setattr(event_log, "TOGETHER", 1)
    bench = LoggedBench()
    for n in range(9):
        bench.events(m.new_event(flow(n)))
    page = bench.page(after=0)
    assert page.skipped == 9 - len(page.rows) and page.last == 9
    assert [row.flow.id for row in page.rows] == list(range(page.skipped + 1, 10))
    assert 4 <= len(page.rows) <= 5
    assert bench.page(after=page.last).rows == []


def test_events_one_by_one_take_no_more_than_events_at_once() -> None:
    # A paused `cttui events | less` had the probe keep 10 kB an event: 1 GB before the oldest were skipped.
    bench = LoggedBench()
    messages = [m.new_event(flow(n)) for n in range(500)]
    tracemalloc.start()
    bench.events(*messages)
    at_once, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    bench = LoggedBench()
    batches = [bench.decoder.decode(*m.buffer_of([message])) for message in messages]
    tracemalloc.start()
    for batch in batches:
        bench.now += 1
        bench.log.append(batch, bench.now)
    singly, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert singly < 3 * at_once
    rows = bench.page().rows
    assert [row.flow.orig_src for row in rows] == [flow(n).orig_src for n in range(500)]
    assert {(row.flow.born_s, row.flow.timeout_s) for row in rows} == {(0.0, flow(1).timeout_s)}


def test_a_flow_that_nobody_looks_at_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = LoggedBench()
    key = bench.key(flow(1))
    bench.page(flow_key=key)
    bench.events(m.new_event(flow(1)))
    monkeypatch.setattr(event_log, "ASKED_S", -1.0)
    asked = []
    monkeypatch.setattr(event_log, "event_rows", lambda *args: asked.append(args))
    bench.events(m.update_event(flow(1, state=3)))
    assert not asked, "each batch would be looked through for ever"
    monkeypatch.undo()
    bench.page(flow_key=key)
    bench.events(m.update_event(flow(1, state=4)))
    assert [row.flow.state for row in bench.page(flow_key=key).rows] == [4]


def test_numbers_of_a_probe_before_this_one() -> None:
    bench = LoggedBench()
    bench.events(m.new_event(flow(1)))
    page = bench.page(after=500)  # a detail stays open when the probe is started anew
    assert (page.rows, page.skipped, page.last) == ([], 0, 1)
    bench.events(m.update_event(flow(1, state=3)))
    page = bench.page(after=page.last)
    assert [row.flow.state for row in page.rows] == [3] and page.newest == 2


def test_a_filter_that_cannot_be_read() -> None:
    assert "no port" in LoggedBench().page(filter="dport=no").error


def test_nothing_is_kept_before_somebody_asks() -> None:
    bench = Bench()
    log = EventLog(bench.store)
    log.append(bench.decoder.decode(*m.buffer_of([m.new_event(flow(1))])), 1.0)
    assert log.page(EventView()).rows == []
