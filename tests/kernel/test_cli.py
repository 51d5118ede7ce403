"""`cttui flows` and `cttui snapshot` as a script calls them, beside what conntrack and iptables print."""

import collections
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from query_flows import create
from sandboxed import python_for_nobody

pytestmark = pytest.mark.kernel

HERE = Path(__file__).parent
CTTUI = [sys.executable, "-P", "-m", "cttui"]
HOLD_TRAFFIC = """
import sys
from ct_traffic import traffic
with traffic(True):
    print("ready", flush=True)
    sys.stdin.read()
"""
MANY_FLOWS = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for n in range(int(sys.argv[1])):
    try:
        s.sendto(b"x", (f"127.0.{n // 10000}.1", 1 + n % 10000))
    except ConnectionRefusedError:  # the answer to an earlier one; this one was not sent
        s.sendto(b"x", (f"127.0.{n // 10000}.1", 1 + n % 10000))
"""
INVALID = """
import socket, struct
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
for port in range(7):
    s.sendto(struct.pack("!HHIIBBHHH", 2000 + port, 9, 0, 0, 0x50, 0x01, 1000, 0, 0), ("127.0.0.1", 0))
"""


def cttui(*argv: str, check: bool = True, prefix: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """A run of the program from another folder."""
    done = subprocess.run([*prefix, *CTTUI, *argv], capture_output=True, text=True, timeout=120, cwd="/")
    assert "Traceback" not in done.stderr, done.stderr
    assert not check or done.returncode == 0, done.stderr
    return done


@pytest.fixture
def busy(netns: Any) -> Iterator[Any]:
    """A namespace with flows of every protocol, by packets (helper, NAT, zones, marks, counted) and by hand."""
    holder = netns.popen(
        sys.executable, "-c", HOLD_TRAFFIC, env={**os.environ, "PYTHONPATH": str(HERE)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert holder.stdout.readline() == b"ready\n"
        create(netns)
        yield netns
    finally:
        holder.stdin.close()
        holder.wait(timeout=20)
        holder.stdout.close()


def oracle(netns: Any) -> list[str]:
    """What conntrack prints of both families."""
    out: str = netns.run("conntrack", "-L", "-o", "extended,id")
    return out.splitlines()


# -------------------------------------------------------------------- flows

_TICKING = re.compile(r"^(ipv[46]\s+\d+ \S+\s+\d+ )(\d+) ")
_AGE = re.compile(r" delta-time=(\d+)")


def still(line: str) -> str:
    """A line without what the clock changes."""
    return _AGE.sub(" delta-time=~", _TICKING.sub(r"\1~ ", line))


def ticking(lines: list[str]) -> dict[str, tuple[int, int]]:
    """For each line without what ticks: its timeout and its age."""
    out = {}
    for line in lines:
        timeout, age = _TICKING.match(line), _AGE.search(line)
        out[still(line)] = (int(timeout[2]) if timeout else 0, int(age[1]) if age else 0)
    return out


def same_table(read: Callable[[], list[str]], netns: Any) -> list[str]:
    """Our lines, asserted to be conntrack's: equal, and times between those read before and after.

    A flow that the kernel removed or changed meanwhile (closing TCP) is reason to read again.
    """
    for _ in range(10):
        before = oracle(netns)
        ours = read()
        after = oracle(netns)
        if {still(line) for line in before} == {still(line) for line in after}:
            break
    assert sorted(map(still, ours)) == sorted(map(still, after))
    first, mine, last = ticking(before), ticking(ours), ticking(after)
    for line, (timeout, age) in mine.items():
        assert first[line][0] + 1 >= timeout >= last[line][0] - 1, line
        assert first[line][1] <= age <= last[line][1], line
    return ours


def test_lines_are_conntracks(busy: Any, tmp_path: Path) -> None:
    """The line set through every way to name a namespace: PID, path, name."""
    pid = str(busy.pid)
    ways: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
        "pid": ((), ("--pid", pid)),
        "path": ((), ("--netns", f"/proc/{pid}/ns/net")),
        # `ip netns` in a mount namespace of its own: the machine's list of names stays as it is
        "name": (
            ("unshare", "--mount", "sh", "-ec",
             'mkdir -p /run/netns; mount -t tmpfs none /run/netns; ip netns attach blue "$0"; exec "$@"', pid),
            ("--netns", "blue"),
        ),
    }  # fmt: skip
    for prefix, target in ways.values():
        lines = same_table(
            lambda p=prefix, t=target: (  # type: ignore[misc]
                cttui("flows", *t, "--output", "conntrack", prefix=p).stdout.splitlines()
            ),
            busy,
        )
        text = "\n".join(lines)
        for word in ("tcp      6", "udp      17", "icmp     1", "icmpv6   58", "sctp     132", "gre      47", "udplite  136",
                     "unknown  89", "ipv4     2", "ipv6     10", "zone=5", "zone-orig=6", "mark=4103", "packets=", "helper=ftp",
                     "dport=1080", "[ASSURED]", "[UNREPLIED]"):  # fmt: skip
            assert word in text, word


def fields(line: str) -> dict[str, Any]:
    """A line of conntrack taken apart: the words before the first `src=`, then two tuples, then the rest."""
    head, *rest = line.split()[0:1], *line.split()[1:]
    family, words = head[0], rest
    out: dict[str, Any] = {"family": family, "proto": words[1], "protonum": int(words[2])}
    at = 3
    if words[at].isdigit():
        out["timeout"] = int(words[at])
        at += 1
    if "=" not in words[at]:
        out["state"] = words[at]
        at += 1
    tuples: list[dict[str, str]] = []
    flags = []
    for word in words[at:]:
        if word.startswith("["):
            flags.append(word.strip("[]").lower())
            continue
        name, _, value = word.partition("=")
        if name == "src":
            tuples.append({})
        if name in tuples[-1]:  # an echo's id, then the entry's own
            name = f"{name}'"
        tuples[-1][name] = value
    out["orig"], out["reply"], out["flags"] = tuples[0], tuples[1], flags
    return out


def test_json_has_the_same_fields(busy: Any) -> None:
    before = {still(line) for line in oracle(busy)}
    flows = json.loads(cttui("flows", "--pid", str(busy.pid), "--output", "json").stdout)
    lines = [line for line in oracle(busy) if still(line) in before]
    by_id = collections.Counter(flow["id"] for flow in flows)
    assert len(lines) >= 30
    for line in lines:
        told = fields(line)
        number = int(re.findall(r" id=(\d+)", line)[-1])
        assert by_id[number] == 1
        (flow,) = (flow for flow in flows if flow["id"] == number)
        assert (flow["family"], flow["proto"], flow["protonum"]) == (
            told["family"],
            told["proto"],
            told["protonum"],
        )
        assert flow["state"] == told.get("state")
        assert flow["timeout"] >= told["timeout"] - 1
        assert flow["unreplied"] is ("unreplied" in told["flags"])
        assert flow["assured"] is ("assured" in told["flags"])
        for side, ours in ((told["orig"], flow), (told["reply"], flow["reply"])):
            assert (ours["src"], ours["dst"]) == (side["src"], side["dst"])
            for name in ("sport", "dport", "type", "code", "packets", "bytes"):
                if name in side:
                    assert ours[name] == int(side[name]), (name, line)
            for name in ("srckey", "dstkey"):
                if name in side:
                    assert ours[name] == int(side[name], 16)
            if "type" in side:
                assert ours["icmp-id"] == int(side["id"])
        rest = told["reply"]
        assert flow["mark"] == int(rest["mark"])
        assert flow["use"] == int(rest["use"])
        assert flow["zone"] == int(rest.get("zone", told["orig"].get("zone-orig", rest.get("zone-reply", 0))))
        assert flow["zone-dir"] == (
            "orig" if "zone-orig" in told["orig"] else "reply" if "zone-reply" in rest else "both"
        )
        assert flow["helper"] == rest.get("helper")
        assert (flow["packets"] is None) is ("packets" not in told["orig"])


FILTERS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "proto=udp": lambda f: f["proto"] == "udp",
    "tcp dport=1080": lambda f: f["proto"] == "tcp" and f["dport"] == 1080,
    "state=ESTABLISHED": lambda f: f["state"] == "ESTABLISHED",
    "family=ipv6": lambda f: f["family"] == "ipv6",
    "zone=5": lambda f: f["zone"] == 5,
    "mark=0x1007": lambda f: f["mark"] == 0x1007,
    "mark=5/7": lambda f: f["mark"] & 7 == 5,
    "assured": lambda f: f["assured"],
    "unreplied udp": lambda f: f["unreplied"] and f["proto"] == "udp",
    "not tcp and not udp": lambda f: f["proto"] not in ("tcp", "udp"),
    "dnat": lambda f: "DST_NAT" in f["status"],
    "src=10.0.0.0/8": lambda f: f["src"].startswith("10."),
    "dst=fd00::/16 or icmp": lambda f: f["dst"].startswith("fd00:") or f["proto"] == "icmp",
    "proto=gre": lambda f: f["protonum"] == 47,
    "helper=ftp": lambda f: f["helper"] == "ftp",
    "state!=ESTABLISHED": lambda f: f["state"] != "ESTABLISHED",
    "dport=4321": lambda f: False,
}  # fmt: skip


def read_json(netns: Any, *words: str) -> list[dict[str, Any]]:
    """The flows as `--output json` tells them, each once."""
    out: list[dict[str, Any]] = json.loads(
        cttui("flows", "--pid", str(netns.pid), "--output", "json", *words).stdout
    )
    assert len({f["id"] for f in out}) == len(out)
    return out


def ids(flows: list[dict[str, Any]], of: set[int]) -> list[int]:
    """Their ids in order, without those that came or went meanwhile (an INIT of SCTP lives for seconds)."""
    return [f["id"] for f in flows if f["id"] in of]


def test_filters_select_what_they_say(busy: Any) -> None:
    """Each filter in a run of its own, where the kernel does its part of it, beside everything unfiltered."""
    before = read_json(busy)
    got = {text: read_json(busy, text) for text in FILTERS}
    lasting = {f["id"] for f in before} & {f["id"] for f in read_json(busy)}
    for text, wanted in FILTERS.items():
        assert sorted(ids(got[text], lasting)) == sorted(ids([f for f in before if wanted(f)], lasting)), text
        assert bool(got[text]) is (text != "dport=4321"), (
            f"{text}: a filter without a flow here shows nothing"
        )


VALUES: dict[str, Callable[[dict[str, Any]], int | None]] = {
    "dport": lambda f: f.get("dport", 0) if f["protonum"] in (6, 17, 132, 136, 33) else None,
    "bytes": lambda f: f["bytes"] + f["reply"]["bytes"] if f["bytes"] is not None else None,
    "mark": lambda f: f["mark"],
    "zone": lambda f: f["zone"],
}


def test_sort_and_limit(busy: Any) -> None:
    before = read_json(busy)
    got = {
        (key, *more): read_json(busy, "--sort", key, *more)
        for key in VALUES
        for more in ((), ("--ascending",), ("--limit", "3"))
    }
    lasting = {f["id"] for f in before} & {f["id"] for f in read_json(busy)}
    for key, value in VALUES.items():
        falling = [n for f in got[(key,)] if (n := value(f)) is not None]
        rising = [n for f in got[(key, "--ascending")] if (n := value(f)) is not None]
        assert falling == sorted(falling, reverse=True), key
        assert rising == sorted(rising), key
        assert len(set(falling)) > 1, key
        for rows in (got[(key,)], got[(key, "--ascending")]):
            assert sorted(ids(rows, lasting)) == sorted(lasting)
        assert [value(f) for f in got[(key, "--limit", "3")]] == falling[:3], key
    assert read_json(busy, "--limit", "0") == []
    assert cttui("flows", "--limit", "-1", check=False).returncode == 2
    wrong = cttui("flows", "--sort", "colour", check=False)
    assert wrong.returncode == 2
    assert wrong.stdout == ""
    assert "timeout" in wrong.stderr


@pytest.mark.parametrize("flows", [5000, 10_000, 12_345])
def test_pages_have_neither_holes_nor_duplicates(netns: Any, flows: int) -> None:
    """More flows than fit a page, and exactly full pages, where the last one could be read twice."""
    netns.run("iptables", "-t", "raw", "-A", "OUTPUT", "-p", "udp", "-j", "CT")
    netns.run("iptables", "-t", "raw", "-A", "OUTPUT", "-p", "icmp", "-j", "NOTRACK")
    netns.run("sysctl", "-qw", "net.netfilter.nf_conntrack_udp_timeout=3600")
    netns.run(sys.executable, "-c", MANY_FLOWS, str(flows))
    lines = cttui("flows", "--pid", str(netns.pid), "--output", "conntrack").stdout.splitlines()
    assert len(lines) == flows
    assert sorted(map(still, lines)) == sorted(map(still, oracle(netns)))
    limited = cttui(
        "flows", "--pid", str(netns.pid), "--sort", "dport", "--limit", "4999", "--output", "conntrack"
    ).stdout.splitlines()
    ports = [int(re.findall(r"dport=(\d+)", line)[0]) for line in limited]
    every = sorted((int(re.findall(r"dport=(\d+)", line)[0]) for line in lines), reverse=True)
    assert ports == every[:4999]


def test_a_reader_that_goes_away_is_no_fault(netns: Any) -> None:
    netns.run("iptables", "-t", "raw", "-A", "OUTPUT", "-p", "udp", "-j", "CT")
    netns.run(sys.executable, "-c", MANY_FLOWS, "3000")
    words = " ".join([*CTTUI, "flows", "--pid", str(netns.pid)])
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {words} | head -2; echo ${{PIPESTATUS[0]}}"],
        capture_output=True, text=True, timeout=60, cwd="/",
    )  # fmt: skip
    assert done.stderr == ""
    heading, _, code = done.stdout.splitlines()
    assert heading.split()[:2] == ["PROTO", "STATE"]
    assert code == "0"


# -------------------------------------------------------------------- snapshot

KEYS = {
    "version", "netns", "kernel", "active", "count", "max", "buckets", "stats", "by_protocol", "by_state", "hooks",
    "tunables",
}  # fmt: skip
HOOK_KEYS = {"family", "table", "chain", "hook", "priority", "packets", "bytes"}


def statistics(text: str) -> dict[str, int]:
    """Sum over the CPUs of `conntrack -S`."""
    total: collections.Counter[str] = collections.Counter()
    for line in text.splitlines():
        total.update({name: int(n) for name, n in re.findall(r"(\w+)=(\d+)", line) if name != "cpu"})
    return dict(total)


def rule_counters(text: str) -> dict[str, list[tuple[int, int]]]:
    """`iptables -nvxL`: chain → (packets, bytes) of its rules in order, then of its policy under `chain policy`."""
    out: dict[str, list[tuple[int, int]]] = {}
    chain = ""
    for line in text.splitlines():
        if found := re.match(r"Chain (\S+) \(policy \S+ (\d+) packets, (\d+) bytes\)", line):
            chain = found[1]
            out[f"{chain} policy"] = [(int(found[2]), int(found[3]))]
        elif found := re.match(r"\s*(\d+)\s+(\d+)\s", line):
            out.setdefault(chain, []).append((int(found[1]), int(found[2])))
    return out


def our_counters(hooks: list[dict[str, Any]], family: str, table: str) -> dict[str, list[tuple[int, int]]]:
    """The same from a snapshot."""
    out: dict[str, list[tuple[int, int]]] = {}
    for h in hooks:
        if (h["family"], h["table"]) == (family, table):
            name = h["chain"] if "rule" in h else f"{h['chain']} policy"
            out.setdefault(name, []).append((h["packets"], h["bytes"]))
    return out


def test_snapshot_is_what_the_tools_say(busy: Any) -> None:
    busy.run(sys.executable, "-c", INVALID)
    reading = json.loads(cttui("snapshot", "--json", "--pid", str(busy.pid)).stdout)
    assert reading.keys() >= KEYS
    assert reading["netns"] == os.stat(f"/proc/{busy.pid}/ns/net").st_ino
    assert reading["kernel"] == os.uname().release
    assert reading["active"] is True
    assert "CT" in reading["active_why"] or "nat" in reading["active_why"].lower()
    assert reading["count"] == int(busy.run("conntrack", "-C"))
    assert reading["max"] == int(busy.run("sysctl", "-n", "net.netfilter.nf_conntrack_max"))
    assert reading["buckets"] == int(busy.run("sysctl", "-n", "net.netfilter.nf_conntrack_buckets"))
    told = statistics(busy.run("conntrack", "-S"))
    assert {name: n for name, n in reading["stats"].items() if name in told} == {
        name: n for name, n in told.items() if name in reading["stats"]
    }
    assert {"drop", "early_drop", "insert_failed", "invalid", "error", "search_restart"} <= reading[
        "stats"
    ].keys()
    assert reading["stats"]["invalid"] >= 7
    lines = oracle(busy)
    by_protocol = collections.Counter(line.split()[2] for line in lines)
    assert sum(reading["by_protocol"].values()) == len(lines)
    for name in ("tcp", "udp", "icmp", "icmpv6", "sctp", "gre", "udplite"):
        assert reading["by_protocol"][name] == by_protocol[name], name
    states = collections.Counter(
        w for line in lines for w in line.split()[4:6] if re.fullmatch(r"[A-Z][A-Z_0-9]+", w)
    )
    assert {name: reading["by_state"].get(name) for name in states} == dict(states)
    assured = sum("[ASSURED]" in line for line in lines)
    assert (reading["assured"], reading["evictable"]) == (assured, len(lines) - assured)
    for row in reading["hooks"]:
        assert row.keys() >= HOOK_KEYS
        assert ("rule" in row) != ("policy" in row)
    for name, value in reading["tunables"].items():
        assert busy.run("sysctl", "-n", f"net.netfilter.{name}").strip() == value
    assert_counters(busy, reading["hooks"])


def assert_counters(netns: Any, hooks: list[dict[str, Any]]) -> None:
    """Every rule's and policy's packets and bytes as `iptables -nvxL` prints them, both families."""
    compared = 0
    for tool, family in (("iptables", "ip"), ("ip6tables", "ip6")):
        for table in ("raw", "mangle", "nat", "filter"):
            ours = our_counters(hooks, family, table)
            if not ours:
                continue
            told = rule_counters(netns.run(tool, "-t", table, "-nvxL"))
            # iptables-nft prints 0 for a policy that does not count, and chains that do not exist yet.
            counted = {name: [(p or 0, b or 0) for p, b in rows] for name, rows in ours.items()}
            assert {name: told.get(name, []) for name in counted} == counted, (tool, table)
            assert not any(rows != [(0, 0)] for name, rows in told.items() if name not in counted), (
                tool,
                table,
            )
            compared += sum(packets for rows in counted.values() for packets, _ in rows)
    assert compared > 0


BURST = """
import asyncio, json, sys
from cttui.cli.snapshot import snapshot
from cttui.client import targets
from cttui.client.link import Link
from cttui.lab import compose
from cttui.model.messages import Ask, Fire, HookView
V4 = 'IP(src="198.51.100.2",dst="192.0.2.1")/TCP(sport=(10000,10009),dport=80,flags="S")'
V6 = 'IPv6(src="2001:db8:1::2",dst="2001:db8::1")/UDP(sport=(10000,10004),dport=53)'
async def main():
    link = await Link.open(targets.sandbox())
    for line, count in ((V4, 10), (V6, 5)):
        done = await link.do(Fire(templates=compose.compile(line), count=count))
        await link.finish(done.job)
    ask = Ask(seq=link.next_seq(), hooks=HookView(), tunables=True, fresh=True)
    print(json.dumps(snapshot(link.welcome, await link.ask(ask))), flush=True)
    sys.stdin.read()
    await link.close()
asyncio.run(main())
"""


@pytest.mark.parametrize("who", ["root", "user"])
def test_snapshot_of_a_sandbox_after_a_burst(who: str) -> None:
    python = [sys.executable] if who == "root" else python_for_nobody()
    with subprocess.Popen(
        [*python, "-P", "-c", BURST], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/"
    ) as client:
        assert client.stdin is not None and client.stdout is not None
        reading = json.loads(client.stdout.readline())
        sandbox = Inside(reading["netns"])
        try:
            assert reading["by_state"]["SYN_SENT"] == 10
            assert reading["by_protocol"]["udp"] == 5
            assert (reading["count"], reading["active"]) == (15, True)
            packets = {
                (h["family"], h["table"]): h["packets"]
                for h in reading["hooks"]
                if h["chain"] == "PREROUTING" and "rule" in h
            }
            assert packets == {
                ("ip", "raw"): 10,
                ("ip", "mangle"): 10,
                ("ip6", "raw"): 5,
                ("ip6", "mangle"): 5,
            }
            assert reading["stats"]["drop"] == 0
            assert_counters(sandbox, reading["hooks"])
        finally:
            client.stdin.close()
            client.wait(timeout=20)


class Inside:
    """Runs the oracles in a namespace found by its inode (a sandbox has no name)."""

    def __init__(self, inode: int) -> None:
        for entry in Path("/proc").glob("[0-9]*/ns/net"):
            try:
                if entry.stat().st_ino == inode:
                    self._path = entry
                    return
            except OSError:
                pass
        raise AssertionError(f"no process is in namespace {inode}")

    def run(self, *argv: str) -> str:
        """Standard output of a command there."""
        return subprocess.run(
            ["nsenter", f"--net={self._path}", "--", *argv],
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        ).stdout


def test_a_fresh_sandbox_is_quiet() -> None:
    reading = json.loads(cttui("snapshot", "--sandbox", "--json").stdout)
    assert (reading["target"], reading["count"], reading["active"]) == ("sandbox", 0, True)
    assert {h["packets"] for h in reading["hooks"] if "rule" in h} == {0}


def test_what_a_snapshot_does_without_it_does_not_miss(netns: Any) -> None:
    for target in (("--pid", str(netns.pid)), ("--sandbox",)):
        assert json.loads(cttui("snapshot", "--json", *target).stdout)["missing"] == []


def test_an_ordinary_user_reads_counters_and_is_told_the_rest() -> None:
    python = python_for_nobody()
    done = subprocess.run(
        [*python, "-P", "-m", "cttui", "snapshot", "--json"],
        capture_output=True,
        text=True,
        timeout=60,
        cwd="/",
    )
    assert done.returncode == 0, done.stderr
    reading = json.loads(done.stdout)
    limit = int(Path("/proc/sys/net/netfilter/nf_conntrack_max").read_text())
    assert reading["max"] == limit
    assert isinstance(reading["count"], int)
    assert reading["stats"].keys() >= {"drop", "early_drop", "insert_failed", "invalid"}
    for unread in ("by_protocol", "by_state", "assured", "evictable", "hooks", "stages"):
        assert reading[unread] is None, unread
    assert any("CAP_NET_ADMIN" in sentence and "sudo" in sentence for sentence in reading["missing"])
    assert len(set(reading["missing"])) == len(reading["missing"])
    told = subprocess.run(
        [*python, "-P", "-m", "cttui", "flows"], capture_output=True, text=True, timeout=60, cwd="/"
    )
    assert (told.returncode, told.stdout) == (1, "")
    assert "CAP_NET_ADMIN" in told.stderr and "sandbox" in told.stderr


# -------------------------------------------------------------------- hostile text

HOSTILE = "\x1b[31m[/foo]\u202eevil"


def test_a_hostile_rule_comment_reaches_nobody(netns: Any) -> None:
    netns.run("iptables", "-t", "raw", "-A", "OUTPUT", "-m", "comment", "--comment", HOSTILE, "-j", "CT")
    for words in (("snapshot",), ("snapshot", "--json"), ("flows",)):
        done = cttui(*words, "--pid", str(netns.pid))
        assert "\x1b" not in done.stdout + done.stderr, words
        assert "\u202e" not in done.stdout + done.stderr, words
    text = cttui("snapshot", "--pid", str(netns.pid)).stdout
    assert "\\x1b[31m[/foo]\\u202eevil" in text


@pytest.mark.parametrize("name", [HOSTILE, "two\nlines", "[bold]x[/bold]"])
def test_hostile_names_reach_nobody(name: str) -> None:
    for words in (
        ("snapshot", "--netns", name),
        ("flows", name),
        ("packets", f"/nowhere/{name}"),
        ("tale", name),
        (name,),
    ):
        done = cttui(*words, check=False)
        assert done.returncode in (1, 2), words
        assert "\x1b" not in done.stderr and "\u202e" not in done.stderr, words
        assert not any(line.startswith("lines") for line in done.stderr.splitlines()), words
