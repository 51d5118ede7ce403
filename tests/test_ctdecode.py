"""ctnetlink messages decode to what was encoded, whatever is in them, and damage raises nothing."""

import inspect
from pathlib import Path
from typing import Any

import ct_messages as m
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cttui.flows.batch import DESTROY, NEW, UPDATE, keys_of
from cttui.flows.columns import Interned
from cttui.flows.store import Store
from cttui.kernel import ctencode, ctfill, ctnetlink
from cttui.kernel.ctdecode import Decoder, offsets_in
from cttui.kernel.ctlayout import decode_one
from cttui.kernel.netlink import attributes, split
from cttui.model.flow import FILLER_MARK, FILLER_ZONE, Flow
from cttui.model.words import conntrack_line

DATA = Path(__file__).parent / "data"


def through_store(messages: list[bytes]) -> list[Flow]:
    """What a store shows after these messages of a dump."""
    interned = Interned()
    decoder = Decoder(interned)
    store = Store(interned, capacity=8)
    store.begin_dump()
    store.put_dump(decoder.decode(*m.buffer_of(messages)), 1.0)
    assert decoder.undecoded == 0
    return store.flows(store.rows(), 1.0)


def bare(flow: Flow) -> Flow:
    """Without what the store adds."""
    return msgspec.structs.replace(flow, key=0, rate_bps=None, rate_over_s=0.0, born_s=0.0, ended=False)


@given(st.lists(m.flows(), min_size=1, max_size=6, unique_by=lambda f: f.id))
@settings(max_examples=40, deadline=None)
def test_any_flow_comes_back(flows: list[Flow]) -> None:
    got = {flow.id: bare(flow) for flow in through_store([m.dumped(flow) for flow in flows])}
    assert got == {flow.id: flow for flow in flows}


@given(st.lists(m.flows(), min_size=1, max_size=6), st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_layouts_and_plain_python_agree(flows: list[Flow], times: int) -> None:
    """The same messages by layout (many at once, tiled, gathered) and one by one."""
    messages = [m.dumped(flow) for flow in flows] * times
    interned = Interned()
    decoder = Decoder(interned)
    for _ in range(2):  # unknown layouts, then known ones
        found: dict[int, dict[str, int]] = {}
        for batch in decoder.decode(*m.buffer_of(messages)):
            values = {name: column.tolist() for name, column in batch.columns.items()}
            for n, position in enumerate(batch.positions.tolist()):
                found[position] = {
                    name: column[n]
                    for name, column in values.items()
                    if (name not in batch.partial or batch.partial[name][n])
                    and (name, column[n]) != ("zone_dir", 0)
                }
        assert found == {n: decode_one(data, interned) for n, data in enumerate(messages)}


@given(m.flows())
@settings(max_examples=30, deadline=None)
def test_kinds(flow: Flow) -> None:
    messages = [m.new_event(flow), m.update_event(flow), m.destroy_event(flow), m.dumped(flow)]
    decoder = Decoder(Interned())
    kinds = {}
    for batch in decoder.decode(*m.buffer_of(messages)):
        kinds.update(zip(batch.positions.tolist(), batch.kinds.tolist(), strict=True))
    assert kinds == {0: NEW, 1: UPDATE, 2: DESTROY, 3: UPDATE}
    keys = np.concatenate([keys_of(batch.columns) for batch in decoder.decode(*m.buffer_of(messages))])
    assert len(set(keys.tolist())) == 1, "all of them are about one flow"


@given(m.flows(), m.flows())
@settings(max_examples=40, deadline=None)
def test_other_tuples_have_other_keys(one: Flow, other: Flow) -> None:
    """Every part of the identity counts, the low words of IPv6 addresses and the zone's direction too."""
    other = msgspec.structs.replace(other, id=one.id)
    decoder = Decoder(Interned())
    a, b = (
        keys_of(decoder.decode(*m.buffer_of([m.dumped(flow)]))[0].columns).tolist()[0]
        for flow in (one, other)
    )
    assert (a == b) == (ctencode.identity(one) == ctencode.identity(other))


@given(st.lists(m.flows(), min_size=1, max_size=4), st.data())
@settings(max_examples=120, deadline=None)
def test_damage_raises_nothing(flows: list[Flow], data: st.DataObject) -> None:
    buffer, offsets = m.buffer_of([m.dumped(flow) for flow in flows] * 2)
    damaged = bytearray(buffer.tobytes())
    for _ in range(data.draw(st.integers(1, 12))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(damaged)))
    hurt = np.frombuffer(bytes(damaged[:cut]), np.uint8)
    interned = Interned()
    decoder = Decoder(interned)
    store = Store(interned, capacity=8)
    for chosen in (offsets, offsets_in(hurt, 0, len(hurt)), np.array([-4, 1, 1 << 40], np.int64)):
        store.apply(decoder.decode(hurt, chosen), 1.0)
    store.flows(store.rows(ended=True), 2.0)
    store.counts()


@given(st.binary(max_size=600))
@settings(max_examples=100, deadline=None)
def test_noise_raises_nothing(noise: bytes) -> None:
    buffer = np.frombuffer(noise, np.uint8)
    Decoder(Interned()).decode(buffer, np.arange(0, len(noise), 4, dtype=np.int64))
    decode_one(noise, Interned())


_HEAD = (2 << 16 | 0x100, 7, 99)  # flags and type, sequence number, port
_WORDS = st.sampled_from([*_HEAD, 0, 20, 24, 36, 1 << 31])
_BODY = st.lists(_WORDS, max_size=9) | st.just([0, 24, *_HEAD, 0])
_MESSAGE = st.tuples(
    _BODY,
    st.sampled_from([_HEAD, _HEAD, _HEAD, (2 << 16 | 3, 7, 99), (2 << 16 | 0x100, 0, 0)]),
    st.integers(0, 3),
)


def _walked(buffer: np.ndarray[Any, Any], start: int, end: int) -> list[int]:
    """Where messages begin, by their lengths alone."""
    found, at = [], start
    while at < end:
        length = int(buffer[at : at + 4].view("<u4")[0])
        if length < 16:
            break
        found.append(at)
        at += length + 3 & ~3
    return found[:-1] if at > end else found


@given(st.lists(_MESSAGE, max_size=24), st.integers(0, 5), st.integers(0, 40))
@settings(max_examples=400, deadline=None)
def test_messages_are_found_as_their_lengths_say(
    messages: list[tuple[list[int], tuple[int, int, int], int]], before: int, cut: int
) -> None:
    """Also where a payload looks like the header of a message, where kinds mix, and where the end is cut off."""
    words = [1] * before
    for body, head, short in messages:
        words += [max(16, 16 + 4 * len(body) - short), *head, *body]
    buffer = np.array(words, np.uint32).view(np.uint8)
    end = max(4 * before, len(buffer) - 4 * cut)
    assert offsets_in(buffer, 4 * before, end).tolist() == _walked(buffer, 4 * before, end)


def test_what_names_no_flow_is_counted() -> None:
    flow = _flow()
    whole = m.dumped(flow)
    beheaded = whole[:20] + whole[20 + 52 :]  # without CTA_TUPLE_ORIG
    beheaded = len(beheaded).to_bytes(4, "little") + beheaded[4:]
    decoder = Decoder(Interned())
    batches = decoder.decode(*m.buffer_of([whole, beheaded]))
    assert sum(map(len, batches)) == 1 and decoder.undecoded == 1


def test_a_layout_that_lies_about_its_end_is_still_read() -> None:
    """A last attribute longer than the message: what stands before it counts."""
    whole = bytearray(m.dumped(_flow()))
    whole[-8:-6] = (2000).to_bytes(2, "little")  # the length of CTA_USE
    decoder = Decoder(Interned())
    (batch,) = decoder.decode(*m.buffer_of([bytes(whole)] * 3))
    assert len(batch) == 3 and "use" not in batch.columns and batch.columns["id"].tolist() == [7, 7, 7]


def test_a_layout_that_looks_like_another_is_not_taken_for_it() -> None:
    """Same length, same first headers: the guess is wrong for one of them, and every header is compared."""
    flow = _flow()
    mark, use = m.be32(8, 5), m.be32(11, 9)
    start = m.body(flow, frozenset({"mark", "use"}))
    marked, used = (m.message(0x100, 2, start + tail, family=2) for tail in (mark + use, use + mark))
    other = m.dumped(_flow(id=8, proto=6, state=3))  # not all of one length
    decoder = Decoder(Interned())
    for _ in range(3):
        messages = [marked, used, other] * 20
        found = {}
        for batch in decoder.decode(*m.buffer_of(messages)):
            values = zip(batch.columns["mark"].tolist(), batch.columns["use"].tolist(), strict=True)
            found.update(zip(batch.positions.tolist(), values, strict=True))
        assert found == {n: (0, 1) if n % 3 == 2 else (5, 9) for n in range(60)}
    assert decoder.layouts == 3 and decoder.undecoded == 0


def test_layouts_are_bounded() -> None:
    """A thousand layouts of one length, and of many lengths: nothing is lost, nothing grows."""
    decoder = Decoder(Interned())
    for size in range(0, 1200, 40):
        messages = [
            m.message(0x100, 2, m.body(_flow()) + m.attribute(100 + n, bytes(size)), family=2)
            for n in range(50)
        ]
        assert sum(map(len, decoder.decode(*m.buffer_of(messages)))) == 50
    assert decoder.undecoded == 0
    assert decoder.layouts <= 256 * 32


def _flow(**other: object) -> Flow:
    given_: dict[str, object] = {
        "id": 7, "family": 2, "proto": 17, "orig_src": b"\n\0\0\1", "orig_dst": b"\n\0\0\2", "orig_sport": 1,
        "orig_dport": 53, "reply_src": b"\n\0\0\2", "reply_dst": b"\n\0\0\1", "reply_sport": 53,
        "reply_dport": 1, "status": 8, "timeout_s": 30,
    }  # fmt: skip
    return Flow(**{**given_, **other})  # type: ignore[arg-type]


# ------------------------------------------------------------ requests


@given(m.flows())
@settings(max_examples=40, deadline=None)
def test_a_delete_names_tuple_zone_and_id(flow: Flow) -> None:
    """Without a tuple the kernel empties the table: no flow may lead to such a message."""
    data = ctencode.delete_message(ctencode.identity(flow), 1)
    ((kind, flags, _, payload),) = split(data)
    assert kind == 0x102 and not flags & 0x300
    assert payload[0] == flow.family
    _names_one(payload, flow)


def _names_one(payload: bytes, flow: Flow) -> None:
    found = dict(attributes(payload[4:]))
    assert found.keys() == {1, 12, 18}
    inside = dict(attributes(found[1]))
    addresses = list(dict(attributes(inside[1])).values())
    assert addresses == [flow.orig_src, flow.orig_dst]
    assert dict(attributes(inside[2]))[1] == bytes((flow.proto,))
    assert int.from_bytes(found[12], "big") == flow.id
    assert int.from_bytes(found[18], "big") == (0 if flow.zone_dir == 2 else flow.zone)


@given(st.lists(st.tuples(m.u32, m.u32, m.u16, m.u16, m.u32), min_size=1, max_size=5))
@settings(max_examples=40, deadline=None)
def test_removing_fillers_names_each_of_them(entries: list[tuple[int, int, int, int, int]]) -> None:
    columns = {
        "zone": np.full(len(entries), FILLER_ZONE), "mark": np.full(len(entries), FILLER_MARK),
        "proto": np.full(len(entries), 6),
    }  # fmt: skip
    for n, name in enumerate(("orig_src0", "orig_dst0", "orig_sport", "orig_dport", "id")):
        columns[name] = np.array([entry[n] for entry in entries])
    messages = ctfill.Filler().deletions(columns)
    assert len(messages) == len(entries)
    for row, (src, dst, sport, dport, number) in zip(messages, entries, strict=True):
        ((kind, _, _, payload),) = split(row.tobytes())
        assert kind == 0x102
        named = _flow(
            proto=6, orig_src=src.to_bytes(4, "big"), orig_dst=dst.to_bytes(4, "big"), orig_sport=sport,
            orig_dport=dport, id=number, zone=FILLER_ZONE,
        )  # fmt: skip
        _names_one(payload, named)
    columns["zone_dir"] = np.arange(len(entries)) == 0  # another's, in a zone of one direction: left alone
    assert len(ctfill.Filler().deletions(columns)) == len(entries) - 1
    del columns["zone_dir"]
    columns["zone"][0] = 0  # not a filler: left alone
    assert len(ctfill.Filler().deletions(columns)) == len(entries) - 1


def test_nothing_else_builds_a_delete() -> None:
    """CT_DELETE appears in one function of the program, and that takes an Identity."""
    sources = [inspect.getsource(module) for module in (ctencode, ctnetlink, ctfill)]
    uses = sum(source.count("CT_DELETE") for source in sources)
    assert uses == 2, "one import, one use"
    assert "CT_DELETE" in inspect.getsource(ctencode.delete_message)
    assert list(inspect.signature(ctencode.delete_message).parameters) == ["entry", "seq", "ack"]
    assert list(inspect.signature(ctnetlink.delete).parameters) == ["flow"]


@given(m.flows())
@settings(max_examples=40, deadline=None)
def test_what_is_created_decodes(flow: Flow) -> None:
    """A create request carries tuples, zone, status, timeout and the rest where the kernel looks for them."""
    data = ctencode.create_message(flow, 1)
    values = decode_one(data + ctencode.be32(12, 0), Interned())
    assert values is not None
    assert values["timeout_s"] == flow.timeout_s and values.get("mark", 0) == flow.mark
    assert values.get("zone", 0) == flow.zone and values.get("zone_dir", 0) == flow.zone_dir
    assert values["status"] & 8 and not values["status"] & ~(2 | 4 | 8 | 1 << 10)
    assert values.get("state") == flow.state


# ------------------------------------------------------------ recorded on a kernel


@pytest.mark.parametrize("name", ["ct_plain", "ct_counted"])
def test_recorded(name: str) -> None:
    """What is made of a recorded dump is what conntrack printed of the same table."""
    buffer = np.fromfile(DATA / f"{name}.bin", np.uint8)
    interned = Interned()
    decoder = Decoder(interned)
    store = Store(interned, capacity=8)
    offsets = offsets_in(buffer, 0, len(buffer))
    store.begin_dump()
    store.put_dump(decoder.decode(buffer, offsets), 0.0)
    lines = (DATA / f"{name}.txt").read_text().splitlines()
    assert decoder.undecoded == 0 and len(store) == len(offsets) == len(lines)
    flows = store.flows(store.rows(), 0.0)
    assert sorted(map(m.steady, map(conntrack_line, flows))) == sorted(map(m.steady, lines))
    assert {flow.helper for flow in flows} == {"", "ftp"}
    assert any(flow.master for flow in flows) and any(flow.labels for flow in flows)


def test_recorded_events() -> None:
    """NEW, UPDATE and DESTROY of two runs: each flow is told once as new, and those flushed are gone."""
    buffer = np.fromfile(DATA / "ct_events.bin", np.uint8)
    interned = Interned()
    decoder = Decoder(interned)
    store = Store(interned, capacity=8)
    offsets = offsets_in(buffer, 0, len(buffer))
    for first in range(0, len(offsets), 16):
        store.apply(decoder.decode(buffer, offsets[first : first + 16]), 0.0)
    assert decoder.undecoded == 0
    assert store.new_total - store.ended_total == len(store)
    lines = (DATA / "ct_counted.txt").read_text().splitlines()
    assert {flow.id for flow in store.flows(store.rows(), 0.0)} == {
        int(line.rpartition("id=")[2]) for line in lines
    }
