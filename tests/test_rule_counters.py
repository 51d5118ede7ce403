"""Counters of rules out of dumps whose layout is remembered, and how long to wait until the next reading."""

import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cttui.kernel import nft_netlink as nl
from cttui.kernel.rule_counters import RulePart, counts_of_one
from cttui.probe.hook_watch import MOST_DUTY, OLDEST_S, SHORTEST_S, pause

SEQ = 7
MULTI = 2


def expression(name: str, *data: bytes) -> bytes:
    """As the kernel writes an expression: nests without the nested flag."""
    return nl.attr(1, nl.attr(1, name.encode() + b"\0") + nl.attr(2, b"".join(data)))


def counter(packets: int, size: int) -> bytes:
    return expression("counter", nl.attr(1, struct.pack(">Q", size)), nl.attr(2, struct.pack(">Q", packets)))


def rule(handle: int, *counts: tuple[int, int], chain: str = "c", comment: bytes = b"", flags: int = MULTI, seq: int = SEQ, family: int = 2, generation: int = 1) -> bytes:  # fmt: skip
    body = nl.text(1, "t") + nl.text(2, chain) + nl.attr(3, struct.pack(">Q", handle))
    body += nl.attr(
        4, b"".join([expression("meta", b""), *(counter(*c) for c in counts), expression("immediate")])
    )
    if comment:
        body += nl.attr(7, comment)
    data = nl.message(nl.NFT_MSG_NEWRULE, flags, seq, family, body, res_id=generation)
    return data + bytes(-len(data) % 4)


def done(seq: int = SEQ) -> bytes:
    return struct.pack("=IHHIIi", 20, nl.NLMSG_DONE, MULTI, seq, 0, 0)


def taken(part: RulePart, data: bytes):
    return [(key[2], *values) for key, *values in part.of_chains(memoryview(data))]


counts = st.tuples(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1))
shapes = st.lists(
    st.tuples(st.sampled_from(["c", "forward"]), st.lists(counts, max_size=2), st.binary(max_size=9)),
    max_size=9,
)


@given(shapes, st.data(), st.booleans())
def test_a_layout_walked_once_reads_every_later_dump(shape, data, last):
    def dump(seq, values):
        end = done(seq) if last else b""
        rules = [rule(i + 1, *v, chain=chain, comment=note, seq=seq) for i, ((chain, _, note), v) in enumerate(zip(shape, values, strict=True))]  # fmt: skip
        return b"".join(rules) + end

    first = dump(SEQ, [v for _, v, _ in shape])
    if not first:
        return
    part = RulePart(memoryview(first), SEQ)
    assert part.done is last
    later = [data.draw(st.tuples(*[counts] * len(v))) for _, v, _ in shape]
    again = dump(SEQ + 1, later)
    assert part.fits(memoryview(again), SEQ + 1) and not part.fits(memoryview(again), SEQ)
    wanted = []
    for i, ((chain, _, _), v) in enumerate(zip(shape, later, strict=True)):
        packets, size = v[-1] if v else (-1, -1)
        if not wanted or wanted[-1][0] != chain:
            wanted.append((chain, [], [], []))
        for column, value in zip(wanted[-1][1:], (i + 1, packets, size), strict=True):
            column.append(value)
    got = [(key.rstrip(b"\0").decode(), h, p, s) for key, h, p, s in taken(part, again)]
    assert got == wanted


@pytest.mark.parametrize("other", [
    rule(1, (1, 2)) + rule(3, (3, 4)),
    rule(1, (1, 2)) + rule(2),
    rule(1, (1, 2)) + rule(2, (3, 4), chain="d"),
    rule(1, (1, 2)) + rule(2, (3, 4), family=10),
    rule(1, (1, 2)) + rule(2, (3, 4)) + done(),
    rule(1, (1, 2)) + rule(2, (3, 4), flags=MULTI | nl.NLM_F_DUMP_INTR),
    rule(1, (1, 2)),
    b"",
], ids=["another handle", "no counter", "another chain", "another family", "the end", "rules changed", "fewer", "nothing"])  # fmt: skip
def test_what_differs_in_more_than_counters_does_not_fit(other):
    part = RulePart(memoryview(rule(1, (1, 2)) + rule(2, (3, 4))), SEQ)
    assert part.fits(memoryview(rule(1, (5, 6)) + rule(2, (7, 8), generation=2)), SEQ)
    assert not part.fits(memoryview(other), SEQ)


def test_a_comment_is_no_counter():
    forged = counter(10**6, 10**6)
    data = rule(1, (5, 6), comment=forged) + rule(2, comment=forged)
    assert taken(RulePart(memoryview(data), SEQ), data) == [(b"c\0", [1, 2], [5, -1], [6, -1])]
    assert counts_of_one(rule(1, (5, 6), comment=forged)) == (5, 6)
    assert counts_of_one(rule(2, comment=forged)) == (-1, -1)


def test_a_dump_that_was_interrupted_or_failed_says_so():
    with pytest.raises(InterruptedError):
        RulePart(memoryview(rule(1) + rule(2, flags=MULTI | nl.NLM_F_DUMP_INTR)), SEQ)
    error = struct.pack("=IHHIIi", 36, nl.NLMSG_ERROR, 0, SEQ, 0, -errno.EPERM) + bytes(16)
    with pytest.raises(PermissionError):
        RulePart(memoryview(error), SEQ)


@given(st.floats(0, 30), st.floats(0, 30), st.booleans())
def test_no_counter_gets_too_old_unless_the_share_of_a_core_forbids_it(cost, wall, dear):
    left = pause(cost, wall, dear=dear)
    assert left >= SHORTEST_S
    old, share = left + 2 * wall, cost / (left + wall)
    assert old <= max(OLDEST_S, 2 * wall + SHORTEST_S) + 1e-9 or share >= MOST_DUTY - 1e-9
    assert share <= MOST_DUTY + 1e-9 or left <= OLDEST_S
