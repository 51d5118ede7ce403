"""The log against a plain list of everything that was appended to it."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from packet_samples import SEEDS, records, tcp

from cttui.kernel.packet_columns import SNAP, decode_headers
from cttui.kernel.ring import PacketBatch
from cttui.model.pcapng import head_of
from cttui.model.views import PacketView
from cttui.probe.packet_log import Alike, PacketLog, PacketTuple, Place, left_out_sentence

A, B = b"\xc6\x33\x64\x02", b"\xc0\0\2\1"


class Flows:
    """A store with one flow: from A port 1005 to B port 80."""

    pair: tuple[PacketTuple, ...] = ((2, 6, A, B, 1005, 80), (2, 6, B, A, 80, 1005))

    def of_packets(self, tuples: list[PacketTuple]) -> list[tuple[int, str]]:
        return [(99, "SYN_SENT [UNREPLIED]") if t in self.pair else (0, "") for t in tuples]

    def tuples_of(self, key: int) -> list[PacketTuple]:
        return list(self.pair) if key == 99 else []


def batch(packets: list[tuple[int, bytes]]) -> PacketBatch:
    rows = records(packets)
    return PacketBatch(rows, decode_headers(rows))


def syns(first: int, count: int) -> list[tuple[int, bytes]]:
    return [(0x0800, tcp(1000 + i)) for i in range(first, first + count)]


def page(log: PacketLog, now: float = 1.0, **view: object):  # type: ignore[no-untyped-def]
    return log.page(PacketView(**view), Flows(), now, names={7: "tun0"})  # type: ignore[arg-type]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(1, 30), max_size=12), st.integers(1, 25), st.integers(-1, 60), st.integers(0, 12),
    st.booleans(), st.integers(0, 120),
)  # fmt: skip
def test_windows_equal_those_of_a_list(
    sizes: list[int], capacity: int, first: int, count: int, filtered: bool, anchor: int
) -> None:
    log, all_ports = PacketLog(capacity), []
    for size in sizes:
        log.append(batch(syns(len(all_ports), size)), 0.0)
        all_ports += range(1000 + len(all_ports), 1000 + len(all_ports) + size)
    kept = [(seq, port) for seq, port in enumerate(all_ports, 1) if seq > len(all_ports) - capacity]
    shown = [(seq, port) for seq, port in kept if not filtered or 1003 <= port <= 1040]
    got = page(log, filter="sport=1003-1040" if filtered else "", first=first, count=count, anchor=anchor)
    latest = max(len(shown) - count, 0)
    if anchor:
        begin = min(max(sum(seq < anchor for seq, _ in shown) + first, 0), latest)
    else:
        begin = latest if first < 0 else min(first, latest)
    assert (got.total, got.kept, got.matched, got.first) == (len(all_ports), len(kept), len(shown), begin)
    assert [(r.seq, int.from_bytes(r.data[20:22], "big")) for r in got.rows] == shown[begin : begin + count]


def test_rows_know_their_flow_and_a_flow_its_rows() -> None:
    log = PacketLog(100)
    log.append(batch([*syns(0, 10), (0x0800, tcp(80, 1005, 0x12, B, A)), (0x0806, b"x")]), 0.0)
    rows = page(log, count=12).rows
    assert [r.flow_key for r in rows] == [0] * 5 + [99] + [0] * 4 + [99, 0]
    assert (
        rows[5].ct_state == "SYN_SENT [UNREPLIED]"
        and rows[5].interface == "tun0"
        and rows[5].direction == "in"
    )
    of_flow = page(log, count=12, flow_key=99)
    assert [r.seq for r in of_flow.rows] == [6, 11] and of_flow.matched == 2
    assert page(log, count=12, flow_key=98).rows == []
    (alone,) = page(log, seq=6).rows
    assert alone == rows[5]
    assert page(log, seq=60).rows == []


def test_a_filter_that_is_none_is_said_and_shows_everything() -> None:
    log = PacketLog(10)
    log.append(batch(syns(0, 3)), 0.0)
    got = page(log, count=5, filter="state=SYN_SENT")
    assert "state" in got.error and got.matched == 3
    assert "column" in page(log, count=5, filter="dport=").error
    assert page(log, count=5, filter="dport=80").error == ""


def test_rate_counts_the_last_second_and_falls_to_nothing() -> None:
    log = PacketLog(10)
    assert log.rate_pps(0.0) == 0
    for tenth in range(30):
        log.append(batch(syns(0, 5)), tenth / 10)
    assert log.rate_pps(2.9) == pytest.approx(50, abs=5)
    assert log.rate_pps(3.4) == pytest.approx(25, abs=5)
    assert log.rate_pps(4.5) == 0


def test_the_aggregate_counts_kinds_and_says_of_how_many() -> None:
    log = PacketLog(1000)
    log.append(batch([*syns(0, 300), *[(0x0800, tcp(80, 1005, 0x14, B, A))] * 100, *[SEEDS[22]] * 7]), 0.0)
    got = page(log, now=0.1, count=10)
    assert got.top_of == 407
    assert got.top == [
        ("tcp 198.51.100.2 > 192.0.2.1 [S]", 300), ("tcp 192.0.2.1 > 198.51.100.2 [R.]", 100),
        ("tcp 2001:db8::2 > 2001:db8::1 [S]", 7),
    ]  # fmt: skip
    assert page(log, now=9.0, count=10).top == []


def test_a_frozen_log_shows_its_moment_while_it_goes_on() -> None:
    log = PacketLog(10)
    log.append(batch(syns(0, 8)), 0.0)
    log.freeze()
    log.append(batch(syns(100, 9)), 0.1)
    assert [r.seq for r in page(log, count=3).rows] == [6, 7, 8]
    log.thaw()
    assert [r.seq for r in page(log, count=3).rows] == [15, 16, 17]


def test_the_connection_left_out_is_named() -> None:
    assert "192.0.2.9:50000" in left_out_sentence(("192.0.2.9", 50000, "192.0.2.1", 22))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(0, 2), max_size=30), st.integers(1, 30), st.integers(0, 30),
    st.lists(st.sampled_from(SEEDS), min_size=3, max_size=3, unique=True),
)  # fmt: skip
@example([2, 0], 2, 0, [SEEDS[0], SEEDS[1], (SEEDS[0][0], SEEDS[0][1][:24])])
def test_equal_packets_are_counted_in_their_order(
    kinds: list[int], capacity: int, since: int, seeds: list[tuple[int, bytes]]
) -> None:
    log = PacketLog(capacity)
    packets = [(seeds[kind][0], seeds[kind][1] + bytes([at])) for at, kind in enumerate(kinds)]
    log.append(batch(packets), 0.0)
    since_ns = 1_700_000_000_000_000_000 + since
    places: list[Place | None] = []

    def note(time_ns: int, data: bytes, alike: Alike) -> str:
        places.append(alike(since_ns))
        return ""

    log.page(PacketView(first=0, count=40), Flows(), 1.0, names={}, fate=note)
    heads = [head_of(data[:SNAP]) for _, data in packets]
    gone = len(packets) - log.kept
    for at, place in zip(range(gone, len(packets)), places, strict=True):
        like = [i for i in range(since, len(packets)) if heads[i] == heads[at]]
        if gone and since < gone:
            assert place is None, "packets of that time have left the log"
        elif at in like:
            assert place == Place(like.index(at), len(like))
