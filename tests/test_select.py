"""Vectorised selection equals the definition, flow by flow."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from query_strategies import NOW, WALL_S, columns_of, flows_of, nodes

from cttui.flows.select import select
from cttui.flows.table import FlowTable
from cttui.model import filter_ast as ast
from cttui.model.filters import matches, parse, unparse
from cttui.model.flow import FILLER_MARK, FILLER_ZONE


@given(st.integers(0, 1 << 30), st.integers(0, 40), nodes)
@settings(max_examples=250, deadline=None)
def test_select_equals_matches(seed: int, n: int, node: ast.Node) -> None:
    columns, interned = columns_of(seed, n)
    expected = [i for i, flow in enumerate(flows_of(columns, interned)) if matches(node, flow, WALL_S)]
    rows = np.arange(n)
    assert select(node, columns, rows, NOW, interned, WALL_S).tolist() == expected, unparse(node)


@given(st.integers(0, 1 << 30), st.lists(st.integers(0, 39), max_size=60), nodes)
@settings(max_examples=80, deadline=None)
def test_any_rows_in_their_order(seed: int, picked: list[int], node: ast.Node) -> None:
    """Few rows, most rows, repeated and unordered ones take different ways to the same answer."""
    columns, interned = columns_of(seed, 40)
    good = set(select(node, columns, np.arange(40), NOW, interned, WALL_S).tolist())
    rows = np.array(picked, np.int64)
    assert select(node, columns, rows, NOW, interned, WALL_S).tolist() == [r for r in picked if r in good]


def test_nothing_selects_everything() -> None:
    columns, interned = columns_of(1, 10)
    assert select(None, columns, np.arange(10), NOW, interned).tolist() == list(range(10))


@given(nodes)
@settings(max_examples=60, deadline=None)
def test_rows_that_are_no_flow_any_more_do_no_harm(node: ast.Node) -> None:
    """A store's free rows hold what was there before, numbers of texts long forgotten included."""
    columns, interned = columns_of(7, 40)
    rows = np.arange(20, 40)
    expected = select(node, columns, rows, NOW, interned, WALL_S).tolist()
    for name in ("labels", "secctx", "helper"):
        columns[name][:20] = np.iinfo(columns[name].dtype).max
    assert select(node, columns, rows, NOW, interned, WALL_S).tolist() == expected


def test_the_filter_knows_fillers_as_the_table_does() -> None:
    columns, interned = columns_of(2, 50)
    columns["zone"][:25] = FILLER_ZONE
    columns["mark"][10:40] = FILLER_MARK
    columns["zone"][25:] = 0
    columns["mark"][40:] = 0
    columns["mark"][:10] = 0
    rows = np.arange(50)
    table = FlowTable(columns, np.ones(50, np.bool_), np.zeros(50, np.bool_), interned)
    assert np.flatnonzero(table.fillers).tolist() == [*range(10, 25)]
    assert select(parse("filler"), columns, rows, NOW, interned).tolist() == [*range(10, 25)]
