"""Rule texts: nft's syntax from its JSON, iptables-save, verdicts, why conntrack is needed; rates and changes."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cttui.kernel import iptables_save, nft_json, rules
from cttui.kernel.conntrack_use import conntrack_active
from cttui.kernel.rates import Rates
from cttui.kernel.rule_commands import Meter, Tools
from cttui.kernel.ruleset import NOT_READ, ChainRules, RuleSet, Texts, changes, explain, moved
from cttui.model.hooks import Stage
from cttui.probe.active_rules import active_rules

DATA = Path(__file__).parent / "data"
NFT = [o["rule"] for o in json.loads((DATA / "rules_nft.json").read_text())["nftables"] if "rule" in o]
SAID = (DATA / "rules_nft.txt").read_text().splitlines()


@pytest.mark.parametrize(("rule", "said"), list(zip(NFT, SAID, strict=True)), ids=SAID)
def test_nft_json_is_said_as_nft_says_it(rule, said):
    assert nft_json.explain(rule).text == said


def test_unknown_expressions_stay_visible():
    rule = {
        "expr": [
            {"brand new": {"key": 1}},
            {"match": {"op": "==", "left": {"odd": 2}, "right": 3}},
            {"drop": None},
        ]
    }
    meaning = nft_json.explain(rule)
    assert "brand new" in meaning.text and '{"odd":2} 3' in meaning.text and meaning.text.endswith("drop")
    assert meaning.verdict == "DROP"


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.sampled_from(["match", "op", "left", "right", "set", "vmap", "key", "data", "ct", "limit", "log", "snat", "reject", "counter", "concat", "prefix", "jump", "queue", "xt", "elem"]), x)))  # fmt: skip
def test_no_json_breaks_the_renderer(value):
    assert isinstance(nft_json.explain({"expr": value if isinstance(value, list) else [value]}).text, str)


@pytest.mark.parametrize(("expr", "verdict", "counted"), [
    ([{"counter": {"packets": 1, "bytes": 1}}, {"drop": None}], "DROP", True),
    ([{"counter": {"packets": 1, "bytes": 1}}, {"log": None}, {"reject": None}], "REJECT", True),
    ([{"counter": {"packets": 1, "bytes": 1}}, {"limit": {"rate": 1, "per": "second"}}, {"drop": None}], "DROP", False),
    ([{"counter": "named"}, {"drop": None}], "DROP", False),
    ([{"drop": None}], "DROP", False),
    ([{"jump": {"target": "DROP"}}], "jump DROP", False),
    ([{"goto": {"target": "web"}}], "web", False),
])  # fmt: skip
def test_a_counter_speaks_for_its_verdict_only_where_nothing_stands_between(expr, verdict, counted):
    meaning = nft_json.explain({"expr": expr})
    assert (meaning.verdict, meaning.counted) == (verdict, counted)


def saved():
    *_, chains = iptables_save.parse((DATA / "rules_iptables_save.txt").read_text())
    return {(c.table, c.chain): c for c in chains}


def test_iptables_save_with_a_comment_that_pretends_to_be_a_rule():
    chains = saved()
    chain = chains["filter", "INPUT"]
    assert (chain.policy, chain.policy_packets, chain.policy_bytes) == ("DROP", 3, 120)
    assert chain.packets == [7, 1] and chain.sizes == [280, 40]
    assert iptables_save.verdict(chain.texts[0]) == "DROP"
    assert chain.texts[1] == "-g FOO" and iptables_save.verdict("-g FOO") == "FOO"
    assert chains["filter", "FOO"].policy == "" and chains["filter", "FOO"].texts == [""]
    assert chains["raw", "PREROUTING"].texts == ["-j CT"]


@pytest.mark.parametrize(("text", "why"), [
    ("-m conntrack --ctstate INVALID -j DROP", "ctstate"), ("-j CT", "CT"), ("-j CT --zone 3", "CT"),
    ("-j CT --notrack", "NOTRACK"), ("-j NOTRACK", "NOTRACK"), ("-m state --state NEW", "state"),
    ("-j CONNMARK --save-mark", "CONNMARK"), ("-p tcp -m connlimit --connlimit-above 3 -j DROP", "connlimit"),
    ("-o eth0 -j MASQUERADE", "nat"), ("-p tcp -j DNAT --to-destination 1.2.3.4", "nat"), ("-j SYNPROXY", "SYNPROXY"),
    ("-m comment --comment \"-j CT --ctstate \" -j DROP", ""), ("-j CTX", ""), ("", ""),
])  # fmt: skip
def test_why_iptables_rules_need_conntrack(text, why):
    assert iptables_save.conntrack(text) == why


def chain(packets, texts=None, handles=None, table_handle=1, **kw):
    texts = texts or [f"-s 10.0.0.{i}/32 -j DROP" for i in range(len(packets))]
    return ChainRules(
        backend="iptables-nft" if handles else "iptables-legacy", family="ip", table="filter", chain="INPUT",
        texts=Texts("iptables", texts), packets=packets, sizes=[40 * p for p in packets], hook="input",
        policy="ACCEPT", policy_packets=5, policy_bytes=200, handles=handles, table_handle=table_handle, **kw,
    )  # fmt: skip


def test_rates_are_none_before_two_readings_and_after_a_reset():
    rates = Rates()
    rates.take(RuleSet([chain([0, 10, -1])]), [], 1.0)
    assert rates.of(chain([0, 10, -1])) == [None, None, None]
    again = chain([10, 3, -1])
    rates.take(RuleSet([again]), [], 3.0)
    assert rates.of(again) == [5.0, None, None]
    assert rates.policy(again) == 0.0


def test_what_takes_packets_away_now_is_named_the_busiest_first():
    def reading(at):
        texts = [
            "-j ACCEPT",
            "-s 10.0.0.1/32 -j DROP",
            "-p tcp -j REJECT",
            "-j CT --notrack",
            "-p udp -j DROP",
        ]
        found = chain([100 * at, 10 * at, 20 * at, 5 * at, 7], texts=texts)
        found.policy, found.policy_packets = "DROP", 3 * at
        nft = ChainRules("nft", "inet", "fw", "in", Texts("nft", [
            json.dumps({"expr": [{"counter": {"packets": 1, "bytes": 1}}, {"drop": None}]}),
            json.dumps({"expr": [{"counter": {"packets": 1, "bytes": 1}}, {"limit": {"rate": 1, "per": "second"}}, {"drop": None}]}),
        ]), [50 * at, 60 * at], [0, 0], handles=[1, 2])  # fmt: skip
        return RuleSet([found, nft])

    rates = Rates()
    rates.take(reading(1), [], 1.0)
    assert active_rules(reading(1), rates) == []
    rates.take(reading(3), [], 3.0)
    assert [(x.table, x.number, x.does, x.pps) for x in active_rules(reading(3), rates)] == [
        ("fw", 1, "drops", 50.0), ("filter", 3, "rejects", 20.0), ("filter", 2, "drops", 10.0),
        ("filter", 4, "does not track", 5.0), ("filter", 0, "drops", 3.0),
    ]  # fmt: skip


def test_rules_are_known_by_handle_or_by_text():
    assert moved(chain([5, 7], handles=[1, 2]), chain([1, 9], handles=[3, 2])) == [None, 2]
    assert moved(chain([5, 7], handles=[1, 2]), chain([9, 9], handles=[1, 2], table_handle=2)) == [None, None]
    before = chain([5, 7, 1], texts=["a", "b", "a"])
    assert moved(before, chain([6, 9, 2], texts=["a", "a", "c"])) == [1, 8, None]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 50)), max_size=12), st.lists(st.tuples(st.integers(0, 3), st.integers(0, 50)), max_size=12))  # fmt: skip
def test_no_reload_gives_a_negative_or_absurd_rate(a, b):
    before = chain([n for _, n in a], texts=[str(t) for t, _ in a] or None)
    after = chain([n for _, n in b], texts=[str(t) for t, _ in b] or None)
    for d, now in zip(moved(before, after), after.packets, strict=True):
        assert d is None or 0 <= d <= now


def test_hottest_first_and_answers_are_bounded():
    big = chain(list(range(10_000)))
    rules = RuleSet([big])
    view = rules.view(None, 3, "hottest")
    assert [r.number for r in view[0].rules] == [10_000, 9_999, 9_998] and view[0].rules_total == 10_000
    assert sum(len(c.rules) for c in rules.view(None, 100_000)) == 4000


def test_changes_keep_what_moved_and_what_leads_on():
    before = chain([1, 1, 1], texts=["-j DROP", "-j FOO", "-s 1.1.1.1/32"])
    after = chain([3, 1, 1], texts=["-j DROP", "-j FOO", "-s 1.1.1.1/32"])
    list(after.texts.scan())
    (found,) = changes(RuleSet([before]), RuleSet([after]))
    assert [(r.number, r.packets, r.verdict) for r in found.rules] == [(1, 2, "DROP"), (2, 0, "FOO")]
    assert found.policy_packets == 0


@pytest.mark.parametrize(("texts", "family", "active", "alone"), [
    (["-j CT"], "ip", True, True), (["-j CT"], "ip6", None, False), (["-j CT --notrack"], "ip", None, None),
    (["-j DROP"], "", None, False), (["-j CT --notrack", "-m conntrack --ctstate NEW"], "", True, True),
])  # fmt: skip
def test_which_rule_switched_conntrack_on(texts, family, active, alone):
    columns = [chain([0] * len(texts), texts=texts)]
    for c in columns:
        list(c.texts.scan())
    answer, why = conntrack_active(RuleSet(columns), family)
    assert answer is active and (why.endswith(f"INPUT: {texts[-1]}") if active else why.endswith("appear."))
    assert ("exempts packets from it (iptables-legacy ip filter INPUT: -j CT --notrack)" in why) == (texts == ["-j CT --notrack"])  # fmt: skip
    # In a sandbox nothing but a rule can have done it; where rules can't be read nobody knows.
    assert conntrack_active(RuleSet(columns), family, alone=True)[0] in (alone, False)
    assert conntrack_active(RuleSet(columns, ["x"]), family, alone=True)[0] is active


def test_rules_that_could_not_be_read_may_switch_conntrack_on():
    columns = [chain([0, 0], texts=["-j DROP", NOT_READ])]
    list(columns[0].texts.scan())
    answer, why = conntrack_active(RuleSet(columns), alone=True)
    assert answer is None and why.startswith("Unknown: not every rule")


def test_text_that_could_not_be_read_is_said():
    assert explain("nft", "").text == "(text not read)"


def test_a_long_chain_keeps_its_rates_until_it_is_read_again():
    rates = Rates()
    rates.take(RuleSet([chain([0], read_at_s=1.0)]), [], 1.0)
    second = chain([60], read_at_s=31.0)
    rates.take(RuleSet([second]), [], 32.0)
    assert rates.of(second) == [2.0]
    rates.take(RuleSet([second]), [], 42.0)
    assert rates.of(second) == [2.0]


def test_rules_on_screen_have_rates_of_their_own_in_a_dear_chain():
    rates = Rates()
    handles = [7, 8, 9]

    def reading(packets, at, fresh=None):
        return chain(packets, handles=handles, read_at_s=at, fresh=fresh or {}, dear_s=1.0)

    rates.take(RuleSet([reading([0, 0, 0], 10.0)]), [], 10.0)
    first = reading([100, 0, 50], 20.0)
    rates.take(RuleSet([first]), [], 20.0)
    assert rates.of(first) == [10.0, 0.0, 5.0]
    second = reading([100, 8, 50], 20.0, {1: 24.0})
    rates.take(RuleSet([second]), [], 24.0)
    assert rates.of(second) == [10.0, 2.0, 5.0]
    third = reading([160, 9, 50], 40.0)  # read whole: the second rule's 1 packet came within 16 s
    rates.take(RuleSet([third]), [], 40.0)
    assert rates.of(third) == [3.0, 1 / 16, 0.0]


def test_stages_and_rules_have_rates_over_the_same_time():
    rates = Rates()

    def stage(packets):
        return Stage(family="ip", hook="input", priority=1, label="input", packets=packets, bytes=0)

    rates.take(RuleSet([chain([0])]), [stage(0)], 1.0)
    assert rates.of_stages([stage(0)])[0].pps is None
    now = chain([10])
    rates.take(RuleSet([now]), [stage(10)], 3.0)
    assert rates.of_stages([stage(12)])[0].pps == rates.of(now)[0] == 5.0
    rates.take(RuleSet([now]), [stage(2)], 4.0)  # armed anew
    assert rates.of_stages([stage(0)])[0].pps is None


async def test_legacy_tables_that_only_root_may_read_are_one_sentence(monkeypatch):
    def refuse(_path: Path) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)
    missing: list[str] = []
    assert await rules.Reader()._read_legacy(Tools(), Meter(), missing) == []
    assert missing == ["Legacy tables (ip, ip6) can't be read: Permission denied."]
