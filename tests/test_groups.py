"""Groups equal what counting flow by flow gives, and their filters select exactly them."""

from collections import Counter, defaultdict
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from query_strategies import NOW, columns_of, flows_of

from cttui.flows.groups import SORTS, group
from cttui.flows.partition import Partition, partition
from cttui.flows.select import select
from cttui.model.filters import GROUP_KEYS, parse
from cttui.model.flow import AF_INET, ASSURED, DST_NAT, SEEN_REPLY, SRC_NAT, Flow, state_name


def naive(key: str, flow: Flow) -> object:
    """Something equal for flows of one group."""
    ends = {"src": flow.orig_src, "dst": flow.orig_dst, "rsrc": flow.reply_src, "rdst": flow.reply_dst}
    if key in ends:
        return ends[key]
    if key in ("src/24", "dst/24"):
        return flow.family, ends[key[:3]][: 3 if flow.family == AF_INET else 8]
    if key in ("sport", "dport"):
        return getattr(flow, f"orig_{key}") if flow.proto in (6, 17, 33, 132, 136) else None
    if key == "state":
        return state_name(flow.proto, flow.state)
    if key == "nat":
        kind = flow.status & DST_NAT or flow.status & SRC_NAT
        return kind, flow.reply_src if kind == DST_NAT else flow.reply_dst if kind else b""
    return getattr(flow, key)


keys = st.lists(st.sampled_from(sorted(GROUP_KEYS)), min_size=1, max_size=3, unique=True)


@given(st.integers(0, 1 << 30), st.integers(1, 40), keys, st.sampled_from(SORTS), st.booleans())
@settings(max_examples=100, deadline=None)
def test_groups_equal_counting(seed: int, n: int, by: list[str], sort: str, descending: bool) -> None:
    columns, interned = columns_of(seed, n)
    members: dict[tuple[object, ...], list[int]] = defaultdict(list)
    flows = flows_of(columns, interned)
    for i, flow in enumerate(flows):
        members[tuple(naive(key, flow) for key in by)].append(i)
    page = group(columns, np.arange(n), by, sort, descending, 0, n, interned)
    assert page.total == len(members) == len(page.rows)
    assert page.flows == n
    assert Counter(row.count for row in page.rows) == Counter(map(len, members.values()))
    found = {}
    for row in page.rows:
        chosen = select(parse(row.filter), columns, np.arange(n), NOW, interned).tolist()
        found[tuple(chosen)] = row
        assert len(row.key) == len(by)
    assert set(found) == {tuple(m) for m in members.values()}
    for chosen, row in found.items():
        mine = [flows[i] for i in chosen]
        assert row.count == len(mine)
        assert row.share == pytest.approx(len(mine) / n)
        assert row.assured == sum(bool(f.status & ASSURED) for f in mine)
        assert row.unreplied == sum(not f.status & SEEN_REPLY for f in mine)
        for name in ("bytes", "packets"):
            told = [
                getattr(f, f"orig_{name}") + getattr(f, f"reply_{name}")
                for f in mine
                if getattr(f, f"orig_{name}") is not None and getattr(f, f"reply_{name}") is not None
            ]
            assert getattr(row, name) == (sum(told) if told else None)
        rates = [f.rate_bps for f in mine if f.rate_bps is not None]
        assert row.rate_bps == (pytest.approx(sum(rates)) if rates else None)
    if sort != "key":
        shown = [getattr(row, {"rate": "rate_bps"}.get(sort, sort)) for row in page.rows]
        told = [value for value in shown if value is not None]
        assert shown[: len(told)] == told  # groups without the number come last
        assert all((a >= b) if descending else (a <= b) or a == pytest.approx(b) for a, b in pairwise(told))


@given(st.integers(0, 1 << 30), keys)
@settings(max_examples=30, deadline=None)
def test_pages_join_to_the_whole(seed: int, by: list[str]) -> None:
    columns, interned = columns_of(seed, 40)
    rows = np.arange(40)
    whole = group(columns, rows, by, count=40, interned=interned).rows
    pages = [
        group(columns, rows, by, first=first, count=3, interned=interned).rows for first in range(0, 42, 3)
    ]
    assert [row for page in pages for row in page] == whole


def exactly(parted: Partition) -> set[tuple[int, ...]]:
    ends = [*parted.starts[1:].tolist(), len(parted.order)]
    return {
        tuple(sorted(parted.order[a:b].tolist())) for a, b in zip(parted.starts.tolist(), ends, strict=True)
    }


def test_a_hash_collision_falls_back_to_the_exact_way(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    parts = [(rng.integers(0, 3, 200).astype(np.uint32), 32) for _ in range(4)]
    expected = exactly(partition(parts))
    monkeypatch.setattr("cttui.flows.partition._hashed", lambda words: np.zeros(len(words[0]), np.uint64))
    assert exactly(partition(parts)) == expected


def test_nothing_to_group() -> None:
    columns, interned = columns_of(1, 5)
    for sort in SORTS:
        page = group(columns, np.zeros(0, np.int64), ["src"], sort, interned=interned)
        assert (page.total, page.rows) == (0, [])
    with pytest.raises(KeyError):
        group(columns, np.arange(5), ["colour"], interned=interned)
    with pytest.raises(ValueError, match="group by what"):
        group(columns, np.arange(5), [], interned=interned)
    with pytest.raises(ValueError, match="sorted by"):
        group(columns, np.arange(5), ["src"], "colour", interned=interned)
