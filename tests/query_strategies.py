"""Random flows and filters from small pools of values, so that filters hit and miss."""

import numpy as np
from hypothesis import strategies as st

from cttui.flows.columns import NO_COUNTER, NO_STATE, Columns, Interned, empty
from cttui.flows.table import FlowTable
from cttui.model import filter_ast as ast
from cttui.model import flow as f
from cttui.model.flow import Flow

NOW = 5000.25
WALL_S = 1_700_000_000.5

V4 = [0x0A000001, 0x0A0000FF, 0x0A000100, 0xC0000201, 0x7F000001, 0, 0xFFFFFFFF]
V6 = [
    0x20010DB8 << 96 | 1, 0x20010DB8 << 96 | 2, 0x20010DB8 << 96 | 1 << 64 | 1, 0x20010DB9 << 96, 1,
    0x0A000001 << 96, (1 << 128) - 1, 0x20010DB8 << 96 | 0xFFFFFFFF << 32, 0x20010DB8 << 96 | 5 << 32 | 7,
]  # fmt: skip
PORTS = [0, 22, 80, 443, 1024, 8080, 40000, 65535, 8 << 8, 128 << 8]
PROTOS = [1, 6, 17, 33, 47, 58, 89, 132, 136]
STATUS = [
    0,
    8,
    10,
    14,
    14 | f.SRC_NAT,
    14 | f.DST_NAT,
    10 | f.SRC_NAT | f.DST_NAT,
    14 | f.OFFLOAD,
    9,
    14 | f.DYING,
]
MARKS = [0, 1, 0x10, 0x30, 0xC77, 0xFFFFFFFF]
ZONES = [0, 1, 7, 65535]
IDS = [1, 80, 40000, 0xFFFFFFFF]
COUNTS = [0, 1, 99, 1000, 1_000_000, 5_000_000_000]
RATES = [0.0, 0.1, 999.5, 1e6, 1e9]
HELPERS = ["", "ftp", "sip"]
BLOBS = [
    b"",
    b"\x01" + bytes(15),
    b"\x00\x80" + bytes(14),
    bytes(16),
    b"system_u:object_r:a_t:s0:c0,c5",
    b"\xff" * 16,
]
STATES = [*f.TCP_STATES, *f.SCTP_STATES]


def columns_of(seed: int, n: int) -> tuple[Columns, Interned]:
    """`n` flows, each attribute from its pool."""
    rng = np.random.default_rng(seed)
    interned = Interned()
    helpers = [interned.helper(name) for name in HELPERS]
    blobs = [interned.blob(blob) for blob in BLOBS]
    columns = empty(n)
    six = rng.random(n) < rng.choice([0.0, 0.3, 1.0])
    columns["family"][:] = np.where(six, f.AF_INET6, f.AF_INET)
    for end in ("orig_src", "orig_dst", "reply_src", "reply_dst"):
        for i in range(n):
            if six[i]:
                value = V6[rng.integers(len(V6))]
                for word in range(4):
                    columns[f"{end}{word}"][i] = value >> (96 - 32 * word) & 0xFFFFFFFF
            else:
                columns[f"{end}0"][i] = V4[rng.integers(len(V4))]
    for name, pool in {
        "proto": PROTOS, "orig_sport": PORTS, "orig_dport": PORTS, "reply_sport": PORTS, "reply_dport": PORTS,
        "status": STATUS, "mark": MARKS, "zone": ZONES, "id": IDS, "use": [1, 2], "timeout_s": [0, 5, 10, 120, 432000],
        "helper": helpers, "labels": blobs[:4] + blobs[5:], "secctx": [blobs[0], blobs[4]],
    }.items():  # fmt: skip
        columns[name][:] = rng.choice(pool, n)
    proto = columns["proto"]
    columns["state"][:] = np.where(
        proto == 6, rng.integers(0, 11, n), np.where(proto == 132, rng.integers(0, 9, n), NO_STATE)
    )
    for name in ("orig_packets", "orig_bytes", "reply_packets", "reply_bytes"):
        columns[name][:] = np.where(rng.random(n) < 0.3, NO_COUNTER, rng.choice(COUNTS, n).astype(np.uint64))
    columns["start_ns"][:] = np.where(
        rng.random(n) < 0.5, 0, int(WALL_S) * 10**9 - rng.integers(-2, 7200 * 10**9, n)
    ).astype(np.uint64)
    columns["born_s"][:] = NOW - rng.choice([-1.0, 0.0, 59.9, 60.0, 3600.5], n)
    columns["read_s"][:] = NOW - rng.choice([0.0, 0.9, 1.0, 7.5, 300.0], n)
    columns["rate_bps"][:] = np.where(rng.random(n) < 0.4, np.nan, rng.choice(RATES, n))
    columns["order"][:] = rng.permutation(n)
    columns["key"][:] = np.arange(1, n + 1)
    return columns, interned


def flows_of(columns: Columns, interned: Interned) -> list[Flow]:
    """The same flows one by one."""
    n = len(columns["id"])
    table = FlowTable(columns, np.ones(n, np.bool_), np.zeros(n, np.bool_), interned)
    return table.flows(np.arange(n), NOW)


def _span(draw: st.DrawFn) -> ast.Span:
    six = draw(st.booleans())
    pool, bits = (V6, 128) if six else (V4, 32)
    a, b = draw(st.sampled_from(pool)), draw(st.sampled_from(pool))
    kind = draw(st.integers(0, 2))
    family = f.AF_INET6 if six else f.AF_INET
    if kind == 0:
        return ast.Span(family, a, a)
    if kind == 1:
        host = (1 << draw(st.integers(0, bits))) - 1
        return ast.Span(family, a & ~host, a | host)
    return ast.Span(family, min(a, b), max(a, b))


spans = st.composite(_span)()

POOLS: dict[str, list[int | float]] = {
    **dict.fromkeys(ast.PORT_KEYS, PORTS), "proto": PROTOS, "family": [2, 10], "type": [0, 8, 128], "code": [0, 3],
    "icmp-id": PORTS, "srckey": PORTS, "dstkey": PORTS, "mark": MARKS, "zone": ZONES, "id": IDS, "use": [1, 2],
    "timeout": [0, 4, 5, 9, 120, 431992], "age": [0, 1, 59, 60, 3600, 0.5], "rate": [0, 0.1, 1, 1000000, 999.5],
    **{f"{side}{what}": [*COUNTS, 198] for side in ("", "orig-", "reply-") for what in ("bytes", "packets")},
}  # fmt: skip


@st.composite
def _number(draw: st.DrawFn) -> ast.Node:
    key = draw(st.sampled_from(sorted(POOLS)))
    pool = st.sampled_from(POOLS[key])
    if key not in ("proto", "family") and draw(st.booleans()):
        return ast.Than(key, draw(st.sampled_from(["<", "<=", ">", ">="])), draw(pool))
    ranges = []
    for _ in range(draw(st.integers(1, 3))):
        a, b = draw(pool), draw(pool)
        ranges.append((a, a) if key == "family" or draw(st.booleans()) else (min(a, b), max(a, b)))
    return ast.Number(key, tuple(ranges))


def _some(pool: list[str]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(pool), min_size=1, max_size=3).map(tuple)


@st.composite
def _masked(draw: st.DrawFn) -> ast.Node:
    mask = draw(st.sampled_from([0xF0, 0xFFFFFFFF, 1, 0x30]))
    return ast.Masked(draw(st.sampled_from(MARKS)) & mask, mask)


leaves: st.SearchStrategy[ast.Node] = st.one_of(
    st.builds(
        ast.Address,
        st.sampled_from(sorted(ast.ADDRESS_KEYS)),
        st.lists(spans, min_size=1, max_size=3).map(tuple),
    ),
    _number(),
    _masked(),
    st.builds(ast.State, _some([*STATES, "state-10", "state-77"])),
    st.builds(ast.Status, st.sampled_from(sorted(set(ast.FLAGS.values())))),
    st.builds(ast.Text, st.just("helper"), _some(["ftp", "sip", "tftp"])),
    st.builds(ast.Text, st.just("secctx"), _some([BLOBS[4].decode(), "x y"])),
    st.builds(ast.Label, st.lists(st.sampled_from([0, 1, 15, 127]), min_size=1, max_size=3).map(tuple)),
    st.builds(ast.Known, st.sampled_from([*sorted(ast.NUMBER_KEYS), "state", "helper", "secctx", "label"])),
)


def _grow(inner: st.SearchStrategy[ast.Node]) -> st.SearchStrategy[ast.Node]:
    several = st.lists(inner, min_size=2, max_size=4)
    return st.one_of(inner.map(ast.negated), several.map(ast.all_of), several.map(ast.any_of))


nodes: st.SearchStrategy[ast.Node] = st.recursive(leaves, _grow, max_leaves=8)
"""Any filter in the form that parsing makes."""
