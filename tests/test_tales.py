"""Tales as data, the runner on a link that answers from a list, the command line's words and exit codes."""

import json
import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from bursts import packets

from cttui.cli import faults
from cttui.cli import tale as command
from cttui.client.filling import Permission, Question
from cttui.client.targets import Target
from cttui.lab import moves, runner
from cttui.lab.moves import Burst, Commands, FillTo, Held
from cttui.lab.predictions import Bound, Passing
from cttui.lab.preview import packet
from cttui.lab.readings import Counter, NewFlows, Stat
from cttui.lab.script import script
from cttui.lab.tale import Expectation, Step, Tale, stimulus, twin
from cttui.lab.tales import ALL, TALES, find
from cttui.model.actions import Action, Delete, Fill, Fire, Rules, Set, Unfill
from cttui.model.faults import Fault, FaultError
from cttui.model.flow import Flow
from cttui.model.hooks import Chain, HooksReading
from cttui.model.jobs import CounterDelta, Job, Result
from cttui.model.messages import Answer, Ask, Done, Welcome
from cttui.model.table import Health, TableReading
from cttui.model.tunables import Tunable
from cttui.probe import sandbox

REPOSITORY = Path(__file__).resolve().parents[1]
OF_THE_ISSUE = [
    "ten-syns",
    "conntrack-by-use",
    "table-full",
    "stray-ack-loose",
    "stray-ack-strict",
    "stray-ack-strict-full",
    "dropped-in-input",
    "sendto-eperm",
    "syn-flood",
    "notrack",
    "rate-limit",
    "synproxy",
    "early-drop",
    "gc-over-95",
    "rst-forgets",
    "policy-counters",
    "raw-vs-tun",
    "dns-race",
]
every_tale = pytest.mark.parametrize("tale", ALL, ids=lambda tale: tale.name)


def test_every_tale_is_told_once() -> None:
    assert [tale.name for tale in TALES] == OF_THE_ISSUE
    assert len({tale.name for tale in ALL}) == len(ALL)


@every_tale
def test_a_tale_is_complete(tale: Tale) -> None:
    assert len(tale.story) == 3
    assert tale.summary.endswith(".") and len(tale.summary) < 135
    assert all((tale.title, tale.explanation, tale.production, tale.since_2020))
    for step in tale.steps:
        assert stimulus(step) is not None
        assert step.expect


def test_addresses_are_the_sandboxs() -> None:
    assert (moves.OWN_V4, moves.OWN_V6) == (sandbox.OWN_V4, sandbox.OWN_V6)


@every_tale
def test_bursts_compile_to_as_many_different_packets(tale: Tale) -> None:
    for step in tale.steps:
        for move in step.moves:
            burst = move.burst if isinstance(move, Held) else move
            if isinstance(burst, Burst):
                assert len(set(packets(burst.notation, burst.count))) == (
                    1 if isinstance(move, Held) else burst.count
                )


@pytest.mark.parametrize("tale", [t for t in TALES if t.has_twin], ids=lambda tale: tale.name)
def test_a_twin_keeps_the_predictions_and_holds_no_ipv4(tale: Tale) -> None:
    other = twin(tale)
    assert [step.expect for step in other.steps] == [step.expect for step in tale.steps]
    words = " ".join(word for step in other.steps for move in step.moves for word in move.words)
    assert not re.search(r"\d+\.\d+\.\d+\.\d+|\biptables", words)


@every_tale
def test_scripts_are_bash_and_say_every_prediction(tale: Tale) -> None:
    text = script(tale)
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)
    assert text.count("expect '") + text.count("expect ") >= sum(len(step.expect) for step in tale.steps)
    for line in tale.commands:
        assert line in text
    assert "cttui" not in text


@every_tale
def test_a_script_looks_for_the_collector_right_after_the_burst_into_a_filled_table(tale: Tale) -> None:
    """Later, in a Wait, it is meant to come."""
    for step, text in zip(tale.steps, script(tale).split("# --- Step ")[1:], strict=True):
        fills = any(isinstance(move, FillTo) for move in step.moves)
        assert text.count("the garbage collector took") == fills
        if fills and "started=$SECONDS" in text:
            assert text.index("the garbage collector took") < text.index("started=$SECONDS")


# ---------------------------------------------------------------- the runner


class ListedLink:
    """Answers every job with the next of the given results or faults."""

    def __init__(
        self,
        *results: Result | Fault,
        can: tuple[str, ...] = ("ctnetlink", "events", "fire", "rules", "fill"),
    ) -> None:
        self.target = Target("sandbox", "SANDBOX")
        self.welcome = Welcome(
            protocol=1, app="0", target="sandbox", netns=1, kernel="6.0", user="root", writes=True, can=list(can),
            cannot={} if "fill" in can else {"fill": "No filling today."},
        )  # fmt: skip
        self.actions: list[Action] = []
        self.limits = [1000]
        self._results = list(results)
        self._seq = 0

    async def ask(self, ask: Ask) -> Answer:
        limit = self.limits.pop(0) if len(self.limits) > 1 else self.limits[0]
        table = TableReading(count=0, maximum=limit, buckets=1000, active=True)
        chains = [Chain(backend="iptables-nft", family="ip", table="filter", chain="INPUT")]
        return Answer(seq=ask.seq, at=0.0, table=table, health=Health(), hooks=HooksReading(chains=chains))

    async def do(self, action: Action) -> Done:
        self.actions.append(action)
        return Done(seq=1, job=len(self.actions))

    async def finish(self, job: int) -> Job:
        result = self._results.pop(0)
        if isinstance(result, Fault):
            raise FaultError.of(result)
        return Job(id=job, kind="test", state="done", result=result)

    def next_seq(self) -> int:
        self._seq += 1
        return self._seq

    async def close(self) -> None: ...


def counted(*packets: int) -> list[CounterDelta]:
    return [
        CounterDelta(
            backend="iptables-nft", family="ip", table=table, chain="PREROUTING", rule=1, text="", packets=n
        )
        for table, n in zip(("raw", "mangle"), packets, strict=True)
    ]


async def outcome(tale: Tale, link: ListedLink, permission: Permission | None = None) -> runner.Outcome:
    async for event in runner.run(tale, link, permission):
        if isinstance(event, runner.Finished):
            return event.outcome
    raise AssertionError


FULL = Result(
    counters=counted(10, 7), new=7, new_by_state={"SYN_SENT": 7}, stats={"drop": 3}, kernel_log=["table full"]
)


async def test_a_tale_that_comes_true() -> None:
    link = ListedLink(Result(filled=993), FULL)
    got = await outcome(find("table-full"), link)
    assert got.ok is True and not got.skipped
    assert [(r["predicted"], r["measured"]) for r in got.as_dict()["rows"]] == [
        (10, 10),
        (7, 7),
        (7, 7),
        (3, 3),
        ("yes", "yes"),
    ]  # type: ignore[attr-defined]
    assert isinstance(link.actions[0], Fill) and link.actions[0].free == 7
    assert isinstance(link.actions[1], Fire) and link.actions[1].count == 10


async def test_a_failed_prediction_is_a_failed_tale() -> None:
    got = await outcome(
        find("table-full"),
        ListedLink(
            Result(),
            Result(
                count_after=1001,
                counters=counted(10, 8),
                new=8,
                new_by_state={"SYN_SENT": 8},
                stats={"drop": 2},
                kernel_log=["table full"],
            ),
        ),
    )
    assert got.ok is False
    assert [row.ok for row in got.rows] == [True, False, False, False, True]


async def test_an_unreadable_log_is_noted_not_failed() -> None:
    unreadable = Result(
        counters=FULL.counters, new=7, new_by_state={"SYN_SENT": 7}, stats={"drop": 3}, kernel_log=None
    )
    got = await outcome(find("table-full"), ListedLink(Result(), unreadable))
    assert got.ok is True and len(got.rows) == 4
    assert "kernel log can't be read" in got.notes[0]


async def test_a_line_missing_in_the_log_is_no_evidence() -> None:
    quiet = Result(
        counters=FULL.counters, new=7, new_by_state={"SYN_SENT": 7}, stats={"drop": 3}, kernel_log=[]
    )
    got = await outcome(find("table-full"), ListedLink(Result(), quiet))
    assert got.ok is True and len(got.rows) == 4 and "proves nothing" in got.notes[0]


async def test_what_the_collector_took_is_a_row() -> None:
    taken = Result(counters=FULL.counters, new=7, reclaimed=7, stats={"drop": 3}, kernel_log=["table full"])
    got = await outcome(find("table-full"), ListedLink(Result(), taken))
    assert got.ok is True
    assert (got.rows[-1].what, got.rows[-1].measured) == ("reclaimed by gc meanwhile", 7)


async def test_lost_events_leave_flows_unmeasured() -> None:
    lost = Result(counters=FULL.counters, new=2, events_lost=1, stats={"drop": 3}, kernel_log=["table full"])
    got = await outcome(find("table-full"), ListedLink(Result(), lost))
    assert got.ok is True and len(got.rows) == 4 and "events were lost" in got.notes[0]


async def test_a_refused_fill_skips_by_name_and_reason() -> None:
    got = await outcome(
        find("table-full"), ListedLink(Fault("fill-host-full", "The host's table is full.", "Wait."))
    )
    assert got.ok is None and got.skipped == "The host's table is full. Wait."
    assert got.as_dict()["skipped"] == got.skipped


async def test_a_missing_capability_skips_before_anything_is_done() -> None:
    link = ListedLink(can=("ctnetlink", "events", "fire", "rules"))
    got = await outcome(find("table-full"), link)
    assert got.ok is None and got.skipped == "No filling today." and not link.actions


async def test_a_target_this_kernel_lacks_skips() -> None:
    link = ListedLink(Result(), Result(), Result(), Fault("rule", "No chain/target/match by that name"))
    got = await outcome(find("synproxy"), link)
    assert got.ok is None and got.skipped.startswith("No SYNPROXY here: No chain")


async def test_a_missing_backend_leaves_out_its_rows_and_says_so() -> None:
    no = Fault("no-tool", "`iptables-legacy` is not installed here.")
    ten = [
        CounterDelta(
            backend="iptables-nft", family="ip", table="filter", chain="INPUT", rule=n, text="", packets=10
        )
        for n in (0, 1)
    ]
    link = ListedLink(Result(), Result(), no, Result(counters=ten), Result(), no, Result(counters=ten))
    got = await outcome(find("policy-counters"), link)
    assert got.ok is True and "No iptables-legacy here" in got.notes[0]
    assert sum("legacy" in row.what for row in got.rows) == 1


async def test_a_backend_whose_counters_are_closed_to_us_is_left_out_too() -> None:
    ten = [
        CounterDelta(
            backend="iptables-nft", family="ip", table="filter", chain="INPUT", rule=n, text="", packets=10
        )
        for n in (0, 1)
    ]
    link = ListedLink(
        Result(), Result(), Result(), Result(counters=ten), Result(), Result(), Result(counters=ten)
    )
    got = await outcome(find("policy-counters"), link)
    assert got.ok is True and got.notes == (
        "iptables-legacy took the rule, but its counters can't be read by this user.",
    )


async def test_a_fault_is_a_failed_row_not_a_traceback() -> None:
    got = await outcome(find("ten-syns"), ListedLink(Fault("probe-died", "The probe ended.")))
    assert got.ok is False and got.rows[-1].measured == "The probe ended."


def packets_of(fire: Fire) -> set[bytes]:
    return {packet(fire.templates, i, 0) for i in range(fire.count)}


FULL_OF_EVICTABLE = Tale(
    name="t", title="", summary="", story=(), explanation="", production="",
    steps=(
        Step(
            "s",
            (FillTo(0, assured=False), Burst(rate_pps=0.0)),
            (Expectation("e", Bound("≥", 10), Stat("early_drop")), Expectation("m", 10, Counter("mangle", "PREROUTING"))),
            undisturbed=True,
        ),
    ),
)  # fmt: skip


async def test_a_disturbed_step_is_repeated_from_other_ports_and_says_so() -> None:
    disturbed = Result(count_after=700, new=10, counters=counted(10, 10))
    clean = Result(count_after=998, new=10, stats={"early_drop": 12}, counters=counted(10, 10))
    link = ListedLink(Result(filled=1000), disturbed, Result(), Result(filled=1000), clean)
    got = await outcome(FULL_OF_EVICTABLE, link)
    assert got.ok is True and got.notes == (
        "Step 1 was repeated: the garbage collector took 310 entries from the full table.",
    )
    first, second = (packets_of(a) for a in link.actions if isinstance(a, Fire))
    assert not first & second


async def test_a_fill_that_the_collector_outran_is_repeated_too() -> None:
    clean = Result(count_after=998, new=10, stats={"early_drop": 12}, counters=counted(10, 10))
    outran = Fault("fill", "The table holds 900 entries instead of 1,000.")
    got = await outcome(FULL_OF_EVICTABLE, ListedLink(outran, Result(), Result(filled=1000), clean))
    assert got.ok is True and "faster than the fill" in got.notes[0]


TOO_MANY = Result(
    count_after=1000, counters=counted(10, 8), new=8, new_by_state={"SYN_SENT": 8}, stats={"drop": 2}
)
"""Of a table with 7 free slots: one of the 7 was taken by the collector, and an eighth SYN found its slot."""


async def test_what_the_collector_made_of_a_full_table_is_repeated() -> None:
    flow = Flow(
        id=1, family=2, proto=6, orig_src=b"c" * 4, orig_dst=b"s" * 4, orig_sport=1, orig_dport=2,
        reply_src=b"s" * 4, reply_dst=b"c" * 4, reply_sport=2, reply_dport=1, status=0, timeout_s=1,
    )  # fmt: skip
    disturbed = msgspec.structs.replace(TOO_MANY, new_flows=[flow])
    link = ListedLink(Result(filled=993), disturbed, Result(), Result(), Result(filled=993), FULL)
    got = await outcome(find("table-full"), link)
    assert got.ok is True and [row.measured for row in got.rows] == [10, 7, 7, 3, "yes"]
    assert got.notes == ("Step 1 was repeated: the garbage collector took 1 entry from the full table.",)
    assert [type(action) for action in link.actions] == [Fill, Fire, Delete, Unfill, Fill, Fire]
    first, second = (packets_of(a) for a in link.actions if isinstance(a, Fire))
    assert not first & second


async def test_a_repeated_step_leaves_its_rules_and_settings_alone() -> None:
    counters = [*counted(10, 10), CounterDelta(
        backend="iptables-nft", family="ip", table="mangle", chain="PREROUTING", rule=2, text="", packets=10
    )]  # fmt: skip
    strict = Result(count_after=993, counters=counters, stats={"invalid": 10})
    disturbed = msgspec.structs.replace(strict, count_after=990, stats={"invalid": 9})
    once = [Result(filled=993), disturbed, Result()]
    link = ListedLink(Result(), Result(), *once, Result(filled=993), strict)
    got = await outcome(find("stray-ack-strict"), link)
    assert got.ok is True and "took 3 entries" in got.notes[0]
    assert [type(action) for action in link.actions] == [Set, Rules, Fill, Fire, Unfill, Fill, Fire]


async def test_a_prediction_that_fails_with_nothing_taken_is_not_tried_again() -> None:
    wrong = msgspec.structs.replace(TOO_MANY, count_after=1001)
    link = ListedLink(Result(filled=993), wrong)
    got = await outcome(find("table-full"), link)
    assert got.ok is False and not got.notes[:-1]


async def test_a_step_disturbed_again_and_again_fails_truthfully() -> None:
    disturbed = Result(count_after=700, new=10, counters=counted(10, 10))
    once = [Result(filled=1000), disturbed, Result()]
    got = await outcome(FULL_OF_EVICTABLE, ListedLink(*once, *once, *once))
    assert got.ok is False


async def test_a_failed_prediction_names_a_limit_that_somebody_changed() -> None:
    link = ListedLink(Result(), Result(counters=counted(10, 10), new=10))
    link.limits = [1000, 1000_000]
    got = await outcome(find("table-full"), link)
    assert got.ok is False and "Somebody changed nf_conntrack_max meanwhile: 1,000 → 1,000,000." in got.notes


# ------------------------------------------------------------ a fill that needs a yes


BIG = Fault("fill-confirm", "Filling takes 1,000,000 entries, 384 MB.", "Only after a yes.")
HIGH = Fault("fill-buckets", "Too many for the hash.", "As root: sysctl nf_conntrack_max=262144.", 262_144)


class Host(ListedLink):
    """The machine's own namespace; `writable` as its probe says."""

    writable = True

    async def ask(self, ask: Ask) -> Answer:
        limit = Tunable(
            name="nf_conntrack_max", value="4000000", scope="machine", writable=self.writable, why=""
        )
        return msgspec.structs.replace(await super().ask(ask), tunables=[limit])


@pytest.mark.parametrize("yes", [True, False])
async def test_much_memory_takes_a_yes(yes: bool) -> None:
    asked: list[Question] = []

    async def answer(question: Question) -> bool:
        asked.append(question)
        return yes

    async def host() -> Host:
        raise AssertionError("nothing is changed on the host")

    link = ListedLink(BIG, Result(filled=993), FULL)
    got = await outcome(find("table-full"), link, Permission(answer, host))
    assert [q.title for q in asked] == ["Fill the table?"] and "384 MB" in asked[0].paragraphs[0]
    assert got.ok is (True if yes else None)
    fills = [a for a in link.actions if isinstance(a, Fill)]
    assert [f.confirmed for f in fills] == ([False, True] if yes else [False])


@pytest.mark.parametrize(("writable", "yes"), [(True, True), (True, False), (False, True)])
async def test_a_limit_that_is_too_high_is_lowered_by_a_yes_only(writable: bool, yes: bool) -> None:
    there = Host(Result())
    there.writable = writable

    async def answer(question: Question) -> bool:
        assert question.of_host and "4,000,000  →  262,144" in question.paragraphs[1]
        return yes

    async def host() -> Host:
        return there

    got = await outcome(
        find("table-full"), ListedLink(HIGH, Result(filled=993), FULL), Permission(answer, host)
    )
    if writable and yes:
        assert there.actions == [
            Set(name="nf_conntrack_max", value="262144", expected_old="4000000", keep_s=0)
        ]
        assert got.ok is True and "262,144 instead of 4,000,000 until this program ends" in got.notes[0]
    else:
        assert there.actions == [] and got.ok is None and "As root: sysctl" in got.skipped


async def test_nothing_happens_before_the_next_event_is_asked_for() -> None:
    link = ListedLink(Result(), FULL)
    events: AsyncIterator[runner.Event] = runner.run(find("table-full"), link)
    started = await anext(events)
    assert isinstance(started, runner.StepStarted) and not link.actions
    assert [row.measured for row in started.rows] == [None] * 5


def test_the_formula_at_its_ends() -> None:
    from cttui.lab.readings import Measured

    share = Passing(1000, 8)
    assert share.value(Measured(Result(), 1000, 1000, fillers_evictable=0)) == 0
    assert share.value(Measured(Result(), 1600, 1600, fillers_evictable=100)) == 632
    assert share.value(Measured(Result(), 1000, 1000, fillers_evictable=1000)) == 1000


# ---------------------------------------------------------------- the command


def run(
    *names: str, every: bool = False, slow: bool = False, as_json: bool = False, script: bool = False
) -> int:
    return command.run(names, every=every, slow=slow, as_json=as_json, step=False, script=script)


def test_the_list_names_every_tale(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == faults.OK
    out = capsys.readouterr().out
    assert all(tale.name in out for tale in TALES)
    assert max(map(len, out.splitlines())) <= 100
    assert run(as_json=True) == faults.OK
    assert {entry["tale"] for entry in json.loads(capsys.readouterr().out)} == {tale.name for tale in ALL}


def test_a_script_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("table-full", script=True) == faults.OK
    assert capsys.readouterr().out.startswith("#!/usr/bin/env bash\n# table-full: ")


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda: run("tabel-full"), "no-tale"),
        (lambda: run("ten-syns", every=True), "usage"),
        (lambda: run("ten-syns", slow=True), "usage"),
        (lambda: run("ten-syns", "table-full", script=True), "usage"),
    ],
)
def test_wrong_usage_is_a_sentence(call: object, code: str) -> None:
    with pytest.raises(FaultError) as caught:
        call()  # type: ignore[operator]
    assert caught.value.fault.code == code


def test_failures_are_words_and_exit_3(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def opened(target: Target) -> ListedLink:
        return ListedLink(Result(counters=counted(10, 9), new=9, new_by_state={"SYN_SENT": 9}))

    monkeypatch.setattr(command.Link, "open", opened)
    assert run("ten-syns") == faults.PREDICTION_FAILED
    out = capsys.readouterr().out
    assert (
        "✗ FAILED" in out and "predicted 10, the kernel did 9" in out and "FAILED: 2 of 4 predictions" in out
    )


def test_rules_lines_are_commands_the_probe_takes() -> None:
    from cttui.probe.rule_lines import RULE_TOOLS

    lines = [line for tale in ALL for line in tale.commands]
    assert {line.split()[0] for line in lines} <= RULE_TOOLS
    assert isinstance(Commands(("iptables -S",)).messages(runner.compile_fire), Rules)


def test_readings_without_events_are_named_by_their_source() -> None:
    assert NewFlows().source == "conntrack -E -e NEW"
    assert Counter("raw", "OUTPUT", 0, "iptables-legacy").source == "iptables-legacy -t raw -nvxL OUTPUT"
