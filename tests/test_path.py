"""The order of the path."""

from hypothesis import given
from hypothesis import strategies as st

from cttui.model.hooks import Chain, Rule
from cttui.model.path import HOOK_ORDER, chain_order, name, reached_from


def base(table, hook, priority, family="ip", backend="nft", chain=None, **kw):
    return Chain(backend=backend, family=family, table=table, chain=chain or hook.upper(), hook=hook, priority=priority, **kw)  # fmt: skip


def test_among_equals_the_last_listed_comes_first():
    chains = [base("t", "input", 0, chain=c) for c in ("first", "second")]
    assert [c.chain for c in chain_order(chains)] == ["second", "first"]


@given(st.lists(st.tuples(st.sampled_from(["prerouting", "input", "forward", "output", "postrouting", ""]), st.integers(-400, 400))))  # fmt: skip
def test_every_chain_appears_once_by_hook_and_priority(places):
    chains = [base("t", hook, p, chain=str(i)) for i, (hook, p) in enumerate(places)]
    ordered = chain_order(chains)
    assert sorted(c.chain for c in ordered) == sorted(c.chain for c in chains)
    hooks = [*HOOK_ORDER, ""]
    ranks = [(hooks.index(c.hook), c.priority if c.hook else 0) for c in ordered]
    assert ranks == sorted(ranks)


def test_chains_reached_by_jumps_loops_and_maps():
    jump = Rule(text="", number=1, verdict="a")
    back = Rule(text="", number=1, verdict="goto input")
    chains = [
        base("t", "input", 0, chain="input", rules=[jump]),
        base("t", "output", 0, chain="output", rules=[Rule(text="", number=1, verdict="VMAP")]),
        Chain(backend="nft", family="ip", table="t", chain="a", rules=[back]),
        Chain(backend="nft", family="ip", table="u", chain="a"),
    ]
    reached = reached_from(chains)
    assert {c.chain for c in reached[name(chains[2])]} == {"input", "output"}
    assert reached[name(chains[3])] == []
