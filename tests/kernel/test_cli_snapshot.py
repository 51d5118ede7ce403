"""`cttui snapshot` as a script calls it, beside what conntrack and iptables print; names and comments that would be obeyed."""

import collections
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command_line import cttui, oracle
from sandboxed import python_for_nobody

pytestmark = pytest.mark.kernel

INVALID = """
import socket, struct
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
for port in range(7):
    s.sendto(struct.pack("!HHIIBBHHH", 2000 + port, 9, 0, 0, 0x50, 0x01, 1000, 0, 0), ("127.0.0.1", 0))
"""


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
from cttui.model.actions import Fire
from cttui.model.messages import Ask
from cttui.model.views import HookView
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


HOSTILE = "\x1b[31m[/foo]\u202eevil"


def test_a_hostile_rule_comment_reaches_nobody(netns: Any) -> None:
    netns.run("iptables", "-t", "raw", "-A", "OUTPUT", "-m", "comment", "--comment", HOSTILE, "-j", "CT")
    for words in (("snapshot",), ("snapshot", "--json"), ("flows",)):
        done = cttui(*words, "--pid", str(netns.pid))
        assert "\x1b" not in done.stdout + done.stderr, words
        assert "\u202e" not in done.stdout + done.stderr, words
        assert words != ("snapshot",) or "\\x1b[31m[/foo]\\u202eevil" in done.stdout


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
