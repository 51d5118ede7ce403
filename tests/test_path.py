"""The order of the path."""

from hypothesis import given
from hypothesis import strategies as st

from cttui.model.hooks import Chain, Rule, Stage
from cttui.model.path import HOOKS_OF, chain_order, name, path, priority_name, reached_from


def base(table, hook, priority, family="ip", backend="nft", chain=None, **kw):
    return Chain(backend=backend, family=family, table=table, chain=chain or hook.upper(), hook=hook, priority=priority, **kw)  # fmt: skip


def test_in_path_with_every_backend_and_stage_in_its_place():
    chains = [
        base("filter", "input", 0), base("mangle", "prerouting", -150, backend="iptables-nft"),
        base("raw", "prerouting", -300, backend="iptables-legacy"), base("t", "prerouting", -450, family="inet"),
        base("six", "prerouting", -300, family="ip6"), base("cttui_7", "prerouting", -201, ours=True),
        base("nd", "ingress", 0, family="netdev"), base("x", "output", 0),
    ]  # fmt: skip
    stages = [
        Stage(family="ip", hook="prerouting", priority=p, label=w, packets=1, bytes=1)
        for p, w in ((-201, "raw"), (-199, "conntrack"))
    ]
    found = [(p.kind, p.label) for p in path(chains, stages, "ip", "in")]
    assert found == [
        ("start", "network"), ("chain", "nd INGRESS"), ("chain", "t PREROUTING"), ("defrag", "defrag"),
        ("chain", "raw PREROUTING"), ("stage", "raw"), ("conntrack", "conntrack"), ("stage", "conntrack"),
        ("chain", "mangle PREROUTING"), ("routing", "routing"), ("chain", "filter INPUT"), ("confirm", "confirm"),
        ("end", "local process"),
    ]  # fmt: skip
    assert "conntrack" not in [p.kind for p in path(chains, stages, "ip", "in", conntrack=False)]


def test_forward_and_out():
    kinds = [(p.kind, p.hook) for p in path([base("f", "forward", 0), base("p", "postrouting", 100)], [], "ip", "forward")]  # fmt: skip
    assert kinds.index(("routing", "forward")) < kinds.index(("chain", "forward")) < kinds.index(("chain", "postrouting"))  # fmt: skip
    assert [p.kind for p in path([], [], "ip6", "out")] == ["start", "defrag", "conntrack", "routing", "confirm", "end"]  # fmt: skip


def test_among_equals_the_last_listed_comes_first():
    chains = [base("t", "input", 0, chain=c) for c in ("first", "second")]
    assert [c.chain for c in chain_order(chains)] == ["second", "first"]


@given(st.lists(st.tuples(st.sampled_from(["prerouting", "input", "forward", "output", "postrouting", ""]), st.integers(-400, 400))))  # fmt: skip
def test_every_base_chain_appears_once_on_its_paths(places):
    chains = [base("t", hook, p, chain=str(i)) for i, (hook, p) in enumerate(places)]
    assert sorted(c.chain for c in chain_order(chains)) == sorted(c.chain for c in chains)
    for direction, hooks in HOOKS_OF.items():
        on_it = [p.chain.chain for p in path(chains, [], "ip", direction) if p.chain is not None]
        assert sorted(on_it) == sorted(c.chain for c in chains if c.hook in hooks)


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


def test_names_of_priorities():
    assert (
        priority_name(-300) == "raw"
        and priority_name(-199) == "conntrack + 1"
        and priority_name(7) == "filter + 7"
    )
    assert priority_name(-0x7FFFFFFF) == "first" and priority_name(150) == "150"
