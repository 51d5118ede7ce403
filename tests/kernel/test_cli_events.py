"""`cttui events` beside `conntrack -E`, on the same traffic."""

import itertools
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from command_line import CTTUI, cttui

pytestmark = pytest.mark.kernel

TRAFFIC = """
import socket
s = socket.socket(); s.bind(("127.0.0.1", 7001)); s.listen()
c = socket.create_connection(("127.0.0.1", 7001)); a, _ = s.accept()
c.send(b"x"); a.recv(1); c.close(); a.close()
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.sendto(b"x", ("127.0.0.1", 9))
"""
KERNEL = tuple(map(int, os.uname().release.split(".")[:2]))
SIGN = 1
"""UDP source port of the flow that comes and goes until every listener has heard of it."""
STARTED_S = 40.0


def _flow(netns: Any, verb: str, *words: str) -> None:
    netns.run("conntrack", verb, "-s", "10.0.0.1", "-d", "192.0.2.1", "-p", "udp", "--dport", "9", *words)


@contextmanager
def listening(netns: Any, folder: Path, *commands: list[str]) -> Iterator[list[Path]]:
    """The commands run with their output in files, and each has heard an event; ended on leaving."""
    netns.run("iptables", "-A", "INPUT", "-m", "conntrack", "--ctstate", "INVALID", "-j", "DROP")
    files = [folder / f"{n}.txt" for n in range(len(commands))]
    running = []
    try:
        for file, command in zip(files, commands, strict=True):
            with file.open("wb") as out:
                running.append(netns.popen(*command, stdout=out, stderr=subprocess.DEVNULL))
        end = time.monotonic() + STARTED_S
        while not all(file.read_bytes() for file in files):
            assert time.monotonic() < end, f"{commands} do not hear"
            _flow(netns, "-I", "--sport", str(SIGN), "-t", "600")
            _flow(netns, "-D", "--sport", str(SIGN))
            time.sleep(0.1)
        yield files
    finally:
        for process in running:
            process.terminate()
            process.wait(timeout=20)


def _events(file: Path) -> list[str]:
    """Lines of conntrack's form without times, without who did it, and without the flows that were signs."""
    lines = [
        re.sub(r"^\[[\d.]+\]\t *| \[USERSPACE\].*| mark=0\b", "", line)
        for line in file.read_text().splitlines()
    ]
    return [line for line in lines if f"sport={SIGN} " not in line]


def _wait_for(text: str, *files: Path) -> None:
    end = time.monotonic() + 20
    while not all(text in file.read_text() for file in files):
        assert time.monotonic() < end, [file.read_text() for file in files]
        time.sleep(0.05)


def test_the_same_lines_as_conntrack(netns: Any, tmp_path: Path) -> None:
    ours = [*CTTUI, "events", "--output", "conntrack"]
    theirs = ["stdbuf", "-oL", "conntrack", "-E", "-o", "timestamp,id"]
    with listening(netns, tmp_path, ours, theirs) as files:
        _flow(netns, "-I", "--sport", "999", "-t", "600")
        _flow(netns, "-U", "--sport", "999", "-m", "7")
        _flow(netns, "-D", "--sport", "999")
        netns.run(sys.executable, "-c", TRAFFIC)
        _flow(netns, "-I", "--sport", "1000", "-t", "600")
        _wait_for("sport=1000 ", *files)
        mine, known = map(_events, files)
    assert mine == known
    assert [line.split()[0] for line in mine[:3]] == ["[NEW]", "[UPDATE]", "[DESTROY]"]
    assert any("ESTABLISHED" in line for line in mine) and any("TIME_WAIT" in line for line in mine)


def test_a_filter_kinds_and_an_end(netns: Any, tmp_path: Path) -> None:
    chosen = [*CTTUI, "events", "--output", "json", "--type", "destroy", "mark=7"]
    everything = [*CTTUI, "events"]
    with listening(netns, tmp_path, everything) as (heard,):
        one = netns.popen(*chosen, "--count", "1", stdout=subprocess.PIPE)
        end, ports = time.monotonic() + STARTED_S, itertools.count(2000)
        while one.poll() is None and time.monotonic() < end:  # until the second listens, too
            port = str(next(ports))
            for verb, *words in (("-I", "-t", "600"), ("-U", "-m", "7"), ("-D",)):
                _flow(netns, verb, "--sport", port, *words)
            time.sleep(0.1)
        told = one.communicate(timeout=20)[0]
        _wait_for(f"10.0.0.1:{port}", heard)
    assert one.returncode == 0
    (event,) = map(json.loads, told.splitlines())
    assert event["event"] == "destroy" and event["mark"] == 7 and event["src"] == "10.0.0.1"
    assert abs(event["time"] - time.time()) < 60
    kinds = [line.split()[1] for line in heard.read_text().splitlines() if f":{event['sport']} " in line]
    assert kinds == ["new", "update", "destroy"]


def test_the_kernel_tells_when(netns: Any, tmp_path: Path) -> None:
    netns.run("sh", "-c", "echo 1 > /proc/sys/net/netfilter/nf_conntrack_timestamp")
    with listening(netns, tmp_path, [*CTTUI, "events", "--output", "json"]) as (file,):
        made = []
        for port in range(3001, 3007):  # one may be read before its command has ended, but not all
            before = time.time()
            _flow(netns, "-I", "--sport", str(port), "-t", "600")
            made.append((port, before, time.time()))
        _wait_for('"sport": 3006', file)
        told = {event["sport"]: event["time"] for event in map(json.loads, file.read_text().splitlines())}
    if KERNEL < (6, 14):
        pytest.skip("events carry no times before Linux 6.14 (CTA_TIMESTAMP_EVENT)")
    assert all(before <= told[port] <= after for port, before, after in made)


def test_for_some_time_only(netns: Any) -> None:
    done = cttui("events", "--seconds", "0.2", prefix=netns.prefix)
    assert done.stdout == done.stderr == ""


def test_it_says_so_where_there_are_none(netns: Any) -> None:
    netns.run("sh", "-c", "echo 0 > /proc/sys/net/netfilter/nf_conntrack_events")
    done = cttui("events", "--seconds", "0.2", prefix=netns.prefix)
    assert done.stdout == "" and done.stderr.count("nf_conntrack_events is 0 here") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--type", "gone"), "events are new, update, destroy"),
        (("--count", "-1"), "--count -1 is below 0"),
        (("--seconds", "-1"), "--seconds -1 is below 0"),
        (("dport=no",), "dport"),
    ],
    ids=" ".join,
)
def test_what_it_refuses(words: tuple[str, ...], said: str) -> None:
    done = cttui("events", *words, check=False)
    assert done.returncode == 2 and said in done.stderr and done.stdout == ""
