"""Windows equal slices of a stable sort."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from query_strategies import NOW, WALL_S, columns_of, flows_of

from cttui.flows.window import SortValues, position_of, sort_values, window
from cttui.model.filters import SORT_KEYS, numbers
from cttui.model.flow import OFFLOAD, PROTOCOLS, Flow, state_name


def stable(keys: list[object], unknown: list[bool], descending: bool) -> list[int]:
    known = [i for i in range(len(keys)) if not unknown[i]]
    return sorted(known, key=lambda i: keys[i], reverse=descending) + [
        i for i in range(len(keys)) if unknown[i]
    ]  # type: ignore[arg-type,return-value]


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_window_is_a_slice_of_a_stable_sort(data: st.DataObject) -> None:
    n = data.draw(st.integers(0, 60))
    depth = data.draw(st.integers(1, 3))
    kinds = data.draw(st.lists(st.sampled_from(["u1", "u2", "u4", "u8"]), min_size=depth, max_size=depth))
    most = data.draw(st.sampled_from([0, 1, 3, 200]))
    words = tuple(
        np.array(data.draw(st.lists(st.integers(0, most), min_size=n, max_size=n)), kind) for kind in kinds
    )
    gaps = data.draw(st.lists(st.booleans(), min_size=n, max_size=n)) if data.draw(st.booleans()) else None
    values = SortValues(words, None if gaps is None else np.array(gaps, np.bool_))
    descending = data.draw(st.booleans())
    first, count = data.draw(st.integers(0, n + 2)), data.draw(st.integers(0, n + 2))
    keys: list[object] = [tuple(int(w[i]) for w in words) for i in range(n)]
    order = stable(keys, gaps or [False] * n, descending)
    assert window(values, first, count, descending).tolist() == order[first : first + count]
    for i in range(n):
        assert order[position_of(values, i, descending)] == i


def test_one_array_will_do() -> None:
    assert window(np.array([3, 1, 2], np.uint32), 0, 2).tolist() == [1, 2]
    assert window(np.array([3, 1, 2], np.uint32), 0, 2, True).tolist() == [0, 2]


def test_the_largest_and_the_smallest_number_keep_their_places() -> None:
    edge = np.array([0, 2**64 - 1, 5, 0, 2**64 - 1], np.uint64)
    assert window(edge, 0, 5).tolist() == [0, 3, 2, 1, 4]
    assert window(edge, 0, 5, True).tolist() == [1, 4, 2, 0, 3]


def naive(key: str, flow: Flow, order: int) -> tuple[object, bool]:
    """(comparable, unknown) of one flow."""
    addresses = {"src": flow.orig_src, "dst": flow.orig_dst, "rsrc": flow.reply_src, "rdst": flow.reply_dst}
    if key in addresses:
        return (flow.family, addresses[key]), False
    if key in ("sport", "dport", "rsport", "rdport"):
        found = numbers(key.replace("rsport", "reply-sport").replace("rdport", "reply-dport"), flow)
        return (found or (0,))[0], not found
    match key:
        case "newest":
            return order, False
        case "proto":
            return (flow.proto not in PROTOCOLS, PROTOCOLS.get(flow.proto, ""), flow.proto), False
        case "state":
            return state_name(flow.proto, flow.state), flow.state is None
        case "timeout":
            return flow.timeout_s, bool(flow.status & OFFLOAD)
        case "flags":
            return flow.status, False
        case "helper":
            return flow.helper, not flow.helper
        case "rate":
            return flow.rate_bps or 0.0, flow.rate_bps is None
    found = numbers(key, flow, WALL_S)
    return (found or (0,))[0], not found


@pytest.mark.parametrize("key", SORT_KEYS)
@pytest.mark.parametrize("descending", [False, True])
def test_every_sort_key(key: str, descending: bool) -> None:
    for seed in range(6):
        columns, interned = columns_of(seed, 80)
        values = sort_values(columns, np.arange(80), key, NOW, interned, WALL_S)
        pairs = [
            naive(key, flow, int(columns["order"][i])) for i, flow in enumerate(flows_of(columns, interned))
        ]
        expected = stable([p[0] for p in pairs], [p[1] for p in pairs], descending)
        assert window(values, 0, 80, descending).tolist() == expected
        assert window(values, 30, 7, descending).tolist() == expected[30:37]


def test_rate_sorts_as_numbers() -> None:
    columns, interned = columns_of(3, 5)
    columns["rate_bps"][:] = [3.5, math.nan, 0.0, 1e9, 3.5]
    values = sort_values(columns, np.arange(5), "rate", NOW, interned)
    assert window(values, 0, 5).tolist() == [2, 0, 4, 3, 1]
    assert window(values, 0, 5, True).tolist() == [3, 0, 4, 2, 1]


def test_rows_are_a_choice() -> None:
    columns, interned = columns_of(4, 20)
    rows = np.array([7, 3, 19])
    columns["mark"][rows] = [5, 1, 3]
    assert rows[window(sort_values(columns, rows, "mark", NOW, interned), 0, 3)].tolist() == [3, 19, 7]


def test_unknown_key() -> None:
    columns, interned = columns_of(4, 2)
    with pytest.raises(KeyError):
        sort_values(columns, np.arange(2), "colour", NOW, interned)
