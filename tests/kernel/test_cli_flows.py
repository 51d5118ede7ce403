"""`cttui flows` as a script calls it, beside what conntrack prints."""

import collections
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import CTTUI, cttui, oracle

pytestmark = pytest.mark.kernel

MANY_FLOWS = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for n in range(int(sys.argv[1])):
    try:
        s.sendto(b"x", (f"127.0.{n // 10000}.1", 1 + n % 10000))
    except ConnectionRefusedError:  # the answer to an earlier one; this one was not sent
        s.sendto(b"x", (f"127.0.{n // 10000}.1", 1 + n % 10000))
"""


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
    """Every key by itself; that any order can be turned round and cut off is the windows' test."""
    before = read_json(busy)
    got = {key: read_json(busy, "--sort", key) for key in VALUES}
    rising = read_json(busy, "--sort", "dport", "--ascending")
    three = read_json(busy, "--sort", "mark", "--limit", "3")
    none = read_json(busy, "--limit", "0")
    lasting = {f["id"] for f in before} & {f["id"] for f in read_json(busy)}
    for key, value in VALUES.items():
        falling = [n for f in got[key] if (n := value(f)) is not None]
        assert falling == sorted(falling, reverse=True), key
        assert len(set(falling)) > 1, key
        assert sorted(ids(got[key], lasting)) == sorted(lasting), key
    ports = [n for f in rising if (n := VALUES["dport"](f)) is not None]
    assert ports == sorted(ports) and sorted(ids(rising, lasting)) == sorted(lasting)
    assert [f["mark"] for f in three] == [f["mark"] for f in got["mark"]][:3]
    assert none == []
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
