"""ctnetlink against the kernel itself, with conntrack as the oracle. Each test in a namespace of its own."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import sandboxed

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import ct_messages as m

both = pytest.mark.parametrize("user", [False, True], ids=["root", "user"])

WITH = (
    f"\nsys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parents[1])]!r}\n"
    + """
from cttui.flows.columns import Interned
from cttui.flows.store import Store
from cttui.kernel import ctnetlink
from cttui.kernel.ctencode import address
from cttui.kernel.ctfill import Filler
from cttui.model.flow import *
from cttui.model.words import conntrack_line
import msgspec
interned = Interned(); decoder = ctnetlink.Decoder(interned); store = Store(interned)
def drain(events):
    while batches := events.receive():
        store.apply(batches, time.monotonic())
def dump(**how):
    running = ctnetlink.Dump(decoder, **how)
    store.begin_dump(); running.start()
    while (batches := running.step()) is not None:
        store.put_dump(batches, time.monotonic())
    running.close()
    return store.end_dump(time.monotonic(), complete=not running.interrupted)
def flows():
    return store.flows(store.rows(), time.monotonic())
def entries(options=""):
    return [line for family in ("ipv4", "ipv6")
            for line in sh(f"conntrack -L -f {family} -o extended,id {options}").splitlines()]
def entry(n=0, **other):
    src, dst = address("10.1.0.0")[:2] + n.to_bytes(2, "big"), address("192.0.2.7")
    given = dict(id=0, family=2, proto=6, orig_src=src, orig_dst=dst, orig_sport=1000, orig_dport=80,
                 reply_src=dst, reply_dst=src, reply_sport=80, reply_dport=1000,
                 status=SEEN_REPLY | ASSURED, timeout_s=1000, state=3)
    return Flow(**{**given, **other})
"""
)


@pytest.mark.kernel
@pytest.mark.parametrize("counted", [False, True], ids=["plain", "counted"])
def test_every_kind_of_flow_reads_as_conntrack_prints_it(counted: bool) -> None:
    """TCP, UDP, UDPlite, ICMP, SCTP, GRE and unknown protocols, both families, NAT, zones, marks, helper,
    expectation, labels: by events and a dump, every line equal."""
    got = sandboxed.run(
        WITH
        + f"""
import ct_messages as m
from ct_traffic import traffic, entries
events = ctnetlink.Events(decoder); store.events_attached = True
with traffic({counted}):
    drain(events)
    heard = len(store)
    found = dump()
    for _ in range(50):  # a delayed ACK may still be under way: read until nothing moves
        before = entries()
        dump()
        drain(events)
        lines = entries()
        if [m.steady(line) for line in before] == [m.steady(line) for line in lines]:
            break
    labelled = {{line.rpartition("id=")[2].split()[0] for line in sh("conntrack -L -o id,labels").splitlines() if "labels=" in line}}
    mine = flows()
report(lines=lines, mine=[conntrack_line(one) for one in mine], heard=heard,
       found=[found.added, found.changed, found.ghosts], undecoded=decoder.undecoded, lost=events.lost,
       totals=[store.new_total, store.ended_total], timeouts=[one.timeout_s for one in mine],
       labels=[[one.labels.hex(), str(one.id) in labelled] for one in mine if one.family == 2],
       expected=[bool(one.master) == bool(one.status & EXPECTED) for one in mine],
       expectations=[[one.helper, n] for one in mine for key, n in ctnetlink.expectations(mine).items() if one.key == key])
"""
    )
    assert sorted(map(m.steady, got["mine"])) == sorted(map(m.steady, got["lines"]))
    assert len(got["lines"]) == 30
    assert got["undecoded"] == got["lost"] == 0
    assert got["heard"] == 30 and got["found"] == [0, 0, 0], "events alone had told everything"
    assert got["totals"] == [30, 0]
    assert all(got["expected"])
    assert got["expectations"] == [["ftp", 1]]
    assert {bool(int(labels, 16)) if labels else False for labels, named in got["labels"] if named} <= {True}
    assert any(labels == "08" + "0" * 30 for labels, _ in got["labels"])


CREATE = """
made = [entry(0), entry(1, zone=7, mark=5), entry(2, zone=8, zone_dir=1), entry(3, zone=9, zone_dir=2),
        entry(4, proto=17, state=None), entry(5, helper="ftp", orig_dport=21, reply_sport=21)]
for one in made:
    ctnetlink.create(one)
ctnetlink.create(entry(6), nat_dst=(address("10.9.9.9"), 8080))
ctnetlink.create(entry(7, proto=17, state=None), nat_src=(address("10.8.8.8"), None))
refused = []
for bad in (entry(0), entry(8, timeout_s=1, helper="none-such")):
    try:
        ctnetlink.create(bad)
    except OSError as e:
        refused.append(e.errno)
dump()
before = flows()
lines = entries()
wrong = [ctnetlink.delete(msgspec.structs.replace(one, **other)) for one in before
         for other in ({"id": one.id ^ 1}, {"zone": one.zone + 1, "zone_dir": 0}, {"orig_sport": 9})]
after_wrong = len(entries())
first = ctnetlink.get_many(decoder, store.columns, store.rows())
outside = next(one for one in before if one.zone == 7)
sh("conntrack -D -w 7")
right = [ctnetlink.delete(one) for one in before if one is not outside]
second = ctnetlink.get_many(decoder, store.columns, store.rows())
store.put_get(second.batches, second.gone, time.monotonic())
report(lines=lines, mine=[conntrack_line(one) for one in before], wrong=wrong, after_wrong=after_wrong, right=right,
       refused=refused, first=[sum(map(len, first.batches)), first.gone, first.refused],
       use=sorted({int(n) for batch in first.batches for n in batch.columns["use"]}), gone=len(second.gone),
       left=len(store), entries=len(entries()), global_=ctnetlink.stats_global(), outside=ctnetlink.delete(outside))
"""


@pytest.mark.kernel
@both
def test_create_get_delete(user: bool) -> None:
    """An entry is made, read and deleted by what names it; another id, zone or tuple touches nothing."""
    got = sandboxed.run(WITH + CREATE, user=user)
    assert sorted(map(m.steady, got["mine"])) == sorted(map(m.steady, got["lines"]))
    assert len(got["mine"]) == 8 and got["refused"][0] == errno.EEXIST and len(got["refused"]) == 2
    assert not any(got["wrong"]) and got["after_wrong"] == 8
    assert all(got["right"]) and len(got["right"]) == 7 and got["entries"] == 0
    assert got["first"] == [8, [], 0] and got["use"] == [1]
    assert got["gone"] == 8 and got["left"] == 0 and got["outside"] is False
    assert got["global_"]["entries"] == 0 and got["global_"]["max"] > 0


@pytest.mark.kernel
@both
def test_fillers_come_and_go_alone(user: bool) -> None:
    """A fill makes exactly what was asked, a refill meets nothing of it, and only fillers are removed."""
    got = sandboxed.run(
        WITH
        + """
strangers = [entry(0), entry(1, zone=FILLER_ZONE), entry(2, mark=FILLER_MARK),
             entry(3, zone=FILLER_ZONE, zone_dir=1, mark=FILLER_MARK),
             entry(4, zone=FILLER_ZONE, mark=FILLER_MARK, proto=17, state=None)]
for one in strangers:
    ctnetlink.create(one)
filler = Filler()
first = list(filler.fill(1700))[-1]
second = list(filler.fill(300, assured=False))[-1]
dump()
counts = store.counts()
by_mark = len(sh(f"conntrack -L -w {FILLER_ZONE} -m {FILLER_MARK} 2>/dev/null").splitlines())
removed = list(filler.unfill())[-1]
found = dump()
report(first=[first.done, len(first.errors)], second=[second.done, len(second.errors)], by_mark=by_mark,
       counts=[counts.filler, counts.assured], removed=[removed.done, len(removed.errors)], ghosts=found.ghosts,
       left=sorted(one.orig_src[-1] for one in flows()), entries=len(entries()))
""",
        user=user,
    )
    assert got["first"] == [1700, 0] and got["second"] == [300, 0]
    assert got["by_mark"] in (2001, 2002) and got["counts"][0] == 2002 and got["counts"][1] == 1705
    assert got["removed"] == [2000, 0] and got["ghosts"] == 2000
    assert got["left"] == [0, 1, 2, 3, 4] and got["entries"] == 5


@pytest.mark.kernel
def test_statistics_are_those_of_conntrack() -> None:
    """Through netlink and through /proc, and the latter without any privilege."""
    got = sandboxed.run(
        WITH
        + """
for n in range(5):
    ctnetlink.create(entry(n))
report(mine=ctnetlink.stats(), proc=ctnetlink.stats_from_proc(), theirs=stats(), count=int(sh("conntrack -C")))
"""
    )
    theirs = {name: got["theirs"].get(name, 0) for name in got["mine"]}
    theirs["chaintoolong"] = got["theirs"].get("chaintoolong", got["theirs"].get("chain_toolong", 0))
    assert got["mine"] == theirs and got["mine"]["insert"] == 5
    assert got["proc"] == {**got["mine"], "entries": got["count"]}


@pytest.mark.kernel
def test_flows_older_than_the_listener_are_ghosts_for_one_dump() -> None:
    """They end without a DESTROY. The next dump finds that, and counts it.

    With nf_conntrack_events=2 that is so for flows made while nobody listened in any namespace
    (nf_ctnetlink_has_listener is one flag for all); here it is made sure with 0.
    """
    got = sandboxed.run(
        WITH
        + """
sysctl.write("nf_conntrack_events", "0")
for n in range(40):
    ctnetlink.create(entry(n))
sysctl.write("nf_conntrack_events", "2")
events = ctnetlink.Events(decoder); store.events_attached = True
dump()
for n in range(40, 50):
    ctnetlink.create(entry(n))
drain(events)
held = len(store)
sh("conntrack -F 2>/dev/null")
drain(events)
after_flush = len(store)
found = dump()
report(held=held, after_flush=after_flush, ghosts=found.ghosts, left=len(store), events=events.count,
       totals=[store.new_total, store.ended_total])
"""
    )
    assert got["held"] == 50
    assert got["after_flush"] == 40 and got["events"] == 20, (
        "only flows made while we listened told of their end"
    )
    assert got["ghosts"] == 40 and got["left"] == 0
    assert got["totals"] == [10, 50]


@pytest.mark.kernel
@both
def test_lost_events_are_noticed_and_made_good(user: bool) -> None:
    """A socket that is not read overflows; when it has been drained one loss is counted, and a dump repairs."""
    got = sandboxed.run(
        WITH
        + """
import socket
events = ctnetlink.Events(decoder); store.events_attached = True
events.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
filler = Filler()
list(filler.fill(3000))
lost, behind, short = events.lost, [], len(store)
while batches := events.receive():
    behind.append(events.behind)
    store.apply(batches, time.monotonic())
    if events.lost != lost:
        store.lost()
drained = [events.lost, events.behind, len(store)]
found = dump()
list(filler.fill(10))
drain(events)
report(behind=behind, drained=drained, added=found.added, held=len(store), lost=events.lost,
       equal=len(store) == int(sh("conntrack -C")))
""",
        user=user,
    )
    lost, behind, held = got["drained"]
    assert lost == 1 and not behind and held < 3000
    assert got["added"] == 3000 - held and got["held"] == 3010 and got["equal"] and got["lost"] == 1


@pytest.mark.kernel
def test_without_privilege_there_is_an_errno() -> None:
    got = sandboxed.run(
        WITH
        + """
ctnetlink.stats_from_proc()  # loads what Python needs while its files are readable
os.setgid(65534); os.setuid(65534)
refused = {}
for name, ask in {"stats": ctnetlink.stats, "dump": dump, "events": lambda: ctnetlink.Events(decoder),
                  "create": lambda: ctnetlink.create(entry()), "delete": lambda: ctnetlink.delete(entry())}.items():
    try:
        ask()
        refused[name] = None
    except PermissionError as e:
        refused[name] = e.errno
report(refused=refused, proc=ctnetlink.stats_from_proc())
"""
    )
    assert set(got["refused"].values()) == {errno.EPERM}, got["refused"]
    assert got["proc"]["entries"] == 0


@pytest.mark.kernel
def test_a_dump_filtered_by_the_kernel() -> None:
    """Attributes given to a dump reach the kernel."""
    got = sandboxed.run(
        WITH
        + """
from cttui.kernel.ctencode import MARK, MARK_MASK, be32
for n in range(20):
    ctnetlink.create(entry(n, mark=n % 2))
dump(filter=be32(MARK, 1) + be32(MARK_MASK, 0xFFFFFFFF))
report(marks=[one.mark for one in flows()])
"""
    )
    assert got["marks"] == [1] * 10


@pytest.mark.kernel
def test_a_short_soak_ends_equal_flow_by_flow() -> None:
    """Churn and handshakes at the injector's full rate under dumps (the minute-long one: tools/bench_events.py)."""
    tool = sandboxed.REPOSITORY / "tools" / "bench_events.py"
    done = subprocess.run(
        ["unshare", *sandboxed.NAMESPACES, sys.executable, str(tool), "--inside", "soak"],
        env=os.environ | {"SOAK_ROUNDS": "3", "SOAK_PACKETS": "40000", "PYTHONPATH": str(sandboxed.REPOSITORY)},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout)
    assert got["packets"] == 150_000 and got["flows"] == 3_334
    assert got["only_ours"] == got["only_theirs"] == got["undecoded"] == 0
