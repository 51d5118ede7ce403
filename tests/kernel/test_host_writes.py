"""What the dashboard changes on a host: named, confirmed, counted down, undone, kept, and put back however it ends.

The host is a network namespace of the test's own; the machine's settings are never touched.
"""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from leftovers import descendants, wait_until
from live import Live, live

from cttui.client import targets
from cttui.client.link import Link
from cttui.model.actions import Set
from cttui.model.messages import Ask
from cttui.ui import write_actions
from cttui.ui.session import Phase
from cttui.ui.write_actions import collect, delete

pytestmark = pytest.mark.kernel
LOOSE, ACCT = "nf_conntrack_tcp_loose", "nf_conntrack_acct"


@pytest.fixture
def host(netns: Any) -> Any:
    """A namespace with conntrack on and known settings; `target` is the dashboard's view of it."""
    netns.run(
        "sh", "-c", f"iptables -t raw -A PREROUTING -j CT; echo 1 >{_file(LOOSE)}; echo 0 >{_file(ACCT)}"
    )
    return netns


def _file(name: str) -> str:
    return f"/proc/sys/net/netfilter/{name}"


def _value(netns: Any, name: str = LOOSE) -> str:
    return str(netns.run("cat", _file(name))).strip()


def _target(netns: Any) -> targets.Target:
    return targets.host(f"/proc/{netns.pid}/ns/net")


def _create(netns: Any, first: int, count: int, dport: int = 80, *more: str) -> None:
    line = f"conntrack -I -s 198.51.100.2 -d 192.0.2.1 -p tcp --sport {{}} --dport {dport} --state ESTABLISHED -t 600 -u SEEN_REPLY,ASSURED {' '.join(more)}"
    netns.run(
        "sh", "-c", "; ".join(line.format(port) for port in range(first, first + count)) + " 2>/dev/null"
    )


def _lines(netns: Any) -> list[str]:
    """Original source ports and destination ports of the table, by conntrack itself."""
    out = []
    for line in str(netns.run("sh", "-c", "conntrack -L 2>/dev/null")).splitlines():
        sport, dport = (
            next(w[6:] for w in line.split() if w.startswith(f"{k}=")) for k in ("sport", "dport")
        )
        out.append(f"{sport}:{dport}")
    return sorted(out)


async def _to_loose(d: Live) -> None:
    """Open the settings and put the cursor on tcp_loose."""
    await d.press("t")
    await d.until(LOOSE)
    while f"▸ {LOOSE}" not in d.text:
        await d.press("j")


async def _change(d: Live) -> None:
    await _to_loose(d)
    await d.press("enter")
    await d.until(f"{LOOSE} ─")
    await d.press("backspace", "0", "enter")
    await d.until("1  →  0")


async def test_a_setting_is_named_confirmed_and_undone(host: Any) -> None:
    async with live(_target(host)) as d:
        await _change(d)
        for word in ("1  →  0", "this network namespace only", "INVALID", "after 60 s", "unless you keep it"):
            assert word in d.text, word
        await d.press("escape")
        assert _value(host) == "1", "Escape is no"
        await d.press("enter")
        await d.press("backspace", "0", "enter", "y")
        await d.until("back to 1 in")
        assert _value(host) == "0"
        await d.press("U")
        await d.until(lambda: _value(host) == "1")
        await d.until(lambda: "back to 1" not in d.text)


async def test_the_countdown_stands_on_the_dashboard_and_leaving_puts_back(host: Any) -> None:
    async with live(_target(host)) as d:
        await _change(d)
        await d.press("y")
        await d.until("back to 1 in")
        await d.press("escape")
        await d.until(f"{LOOSE} goes back to 1 in")
        assert _value(host) == "0"
    await _until_value(host, "1")


async def test_a_dead_probe_leaves_no_countdown(host: Any) -> None:
    async with live(_target(host)) as d:
        await _change(d)
        await d.press("y")
        await d.until("back to 1 in")
        await d.press("escape")
        await d.until(f"{LOOSE} goes back to 1 in")
        d.app.session._link()._process.kill()  # type: ignore[union-attr]
        await d.until(f"put back as the probe ended: {LOOSE} to 1")
        assert "goes back" not in d.text and "keep or undo" not in d.text
        await _until_value(host, "1")
        await d.press("R")
        await d.until(lambda: d.app.session.state.phase is Phase.LIVE and "put back as" not in d.text)


async def test_kept_stays_after_leaving(host: Any) -> None:
    async with live(_target(host)) as d:
        await _change(d)
        await d.press("y")
        await d.until("back to 1 in")
        await d.press("K")
        await d.until("keeps 0")
        assert "back to 1" not in d.text
    assert _value(host) == "0"


async def test_time_running_out_is_told(host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cttui.ui.tunables.KEEP_S", 1.0)
    async with live(_target(host)) as d:
        await _change(d)
        await d.press("y")
        await d.until(lambda: any("put back" in n.sentence for n in d.app.dashboard.notices))
        assert _value(host) == "1"
        await d.press("escape")
        await d.until(lambda: "goes back" not in d.text)


async def test_what_somebody_else_wrote_is_left_and_told(host: Any) -> None:
    async with live(_target(host)) as d:
        link = d.app.session

        name = "nf_conntrack_udp_timeout"
        old = _value(host, name)
        await link.do(Set(name=name, value="77", expected_old=old, keep_s=1.0))
        await d.until(lambda: _value(host, name) == "77")
        host.run("sh", "-c", f"echo 99 >{_file(name)}")
        await d.until(lambda: any("somebody else" in n.sentence for n in d.app.dashboard.notices))
        assert _value(host, name) == "99"


async def test_the_machines_limit_says_why_it_is_closed(host: Any) -> None:
    async with live(_target(host)) as d:
        await d.press("t")
        await d.until("nf_conntrack_max")
        await d.press("home", "enter")
        await d.until("can't be changed here")
        assert "only the machine's first network namespace" in " ".join(d.text.replace("│", " ").split())


async def test_read_only_refuses_every_write_in_a_sentence(host: Any) -> None:
    _create(host, 1000, 1)
    async with live(_target(host), read_only=True) as d:
        await d.until("198.51.100.2:1000")
        for key in ("d", "D", "a", "w"):
            await d.press(key)
            await d.until("--read-only")
            d.app.clear_notifications()
            await d.until(lambda: "--read-only" not in d.text)
        await _to_loose(d)
        await d.press("enter")
        await d.until("can't be changed here: cttui runs with --read-only")
    assert _value(host) == "1" and _value(host, ACCT) == "0" and len(_lines(host)) == 1


async def test_accounting_is_on_until_we_leave(host: Any) -> None:
    async with live(_target(host)) as d:
        await d.press("a")
        await d.until("0  →  1")
        assert "when this program ends in any way" in d.text and "after 0 s" not in d.text
        await d.press("y")
        await d.until(lambda: _value(host, ACCT) == "1")
        await d.until(f"{ACCT} goes back to 0 at exit")
        await d.press("a")
        await d.until(lambda: _value(host, ACCT) == "0")
        await d.press("a")
        await d.until("0  →  1")
        await d.press("y")
        await d.until(lambda: _value(host, ACCT) == "1")
    await _until_value(host, "0", ACCT)


async def _until_value(netns: Any, value: str, name: str = LOOSE) -> None:
    wait_until(lambda: _value(netns, name) == value)
    assert _value(netns, name) == value


CLIENT = """
import asyncio, sys
from cttui.client import targets
from cttui.client.link import Link
from cttui.model.actions import Set
from cttui.model.messages import Ask
async def main():
    link = await Link.open(targets.host(sys.argv[1]))
    done = await link.do(Set(name="nf_conntrack_tcp_loose", value="0", expected_old="1", keep_s=600))
    await link.finish(done.job)
    print("written", flush=True)
    while True:
        await link.ask(Ask(seq=link.next_seq()))
        await asyncio.sleep(0.05)
asyncio.run(main())
"""


@pytest.mark.parametrize("who", ["ui", "probe", "both"])
def test_a_kill_puts_back(host: Any, who: str) -> None:
    """{UI, probe, both} × KILL: the warden has outlived each, wrote the old value, and is gone itself."""
    client = subprocess.Popen(
        [sys.executable, "-c", CLIENT, f"/proc/{host.pid}/ns/net"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert client.stdout is not None
    try:
        assert client.stdout.readline() == b"written\n"
        assert _value(host) == "0"
        everyone = descendants(client.pid)
        by_name = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in everyone}
        probe = next(p for p, line in by_name.items() if line.rstrip(b"\0").endswith(b"probe"))
        warden = next(p for p, line in by_name.items() if b"warden" in line)
        for pid in {"ui": [client.pid], "probe": [probe], "both": [client.pid, probe]}[who]:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: _value(host) == "1")
        assert _value(host) == "1"
        wait_until(lambda: not Path(f"/proc/{warden}").exists())
        assert not Path(f"/proc/{warden}").exists()
    finally:
        client.kill()
        client.wait()
        client.stdout.close()


async def test_one_flow_and_no_other(host: Any) -> None:
    _create(host, 1000, 3)
    async with live(_target(host)) as d:
        await d.until("198.51.100.2:1002")
        under = d.app.dashboard.flows.selected
        assert under is not None
        await d.press("d")
        await d.until("Delete this flow?")
        assert f"sport={under.orig_sport}" in d.text
        await d.press("y")
        await d.until("1 flow deleted")
    rest = [f"{port}:80" for port in (1000, 1001, 1002) if port != under.orig_sport]
    assert _lines(host) == rest


async def test_the_set_that_was_confirmed(host: Any) -> None:
    """Others are untouched, and so is what comes to match after the question was asked."""
    _create(host, 1000, 5)
    _create(host, 2000, 3, 443)
    host.run("sh", "-c", "conntrack -I -s 198.51.100.2 -d 192.0.2.1 -p tcp --sport 3000 --dport 80 --state ESTABLISHED "
             "-t 600 -u SEEN_REPLY,ASSURED -g 10.0.0.7 2>/dev/null")  # fmt: skip
    async with live(_target(host)) as d:
        await d.until("198.51.100.2:3000")
        await d.press("slash", *"dport=80", "enter")
        await d.press("D")
        await d.until("Delete 6 flows?")
        assert "dport=80" in d.text and "1 of them are translated (NAT)" in d.text and "and 1 more" in d.text
        # Five of the six are named; which, is the order of the kernel's hash.
        named = [p for p in (*range(1000, 1005), 3000) if f"198.51.100.2:{p} → 192.0.2.1:80" in d.text]
        assert len(named) == 5
        _create(host, 4000, 2)
        host.run("sh", "-c", "conntrack -D -p tcp --orig-port-src 1003 2>/dev/null")
        await d.press("y")
        await d.until("5 flows deleted · 1 gone meanwhile")
    assert _lines(host) == ["2000:443", "2001:443", "2002:443", "4000:80", "4001:80"]


async def test_pages_and_chunks(host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flows collected in small pages while others begin and end, deleted in small actions."""
    _create(host, 1000, 40)
    monkeypatch.setenv("SSH_CONNECTION", "198.51.100.2 1007 192.0.2.1 80")
    link = await Link.open(_target(host))
    try:
        await link.ask(Ask(seq=link.next_seq(), fresh=True))
        flows, matched = await collect(link, "dport=80", fillers=False, page=7)
        assert matched == 40 and sorted(x.orig_sport for x in flows) == list(range(1000, 1040))
        some, matched = await collect(link, "dport=80", fillers=False, page=7, most=10)
        assert matched == 40 and [x.orig_sport for x in some] == [x.orig_sport for x in flows[:10]]
        told: list[int] = []
        job = await delete(link, flows, lambda j: told.append(j.done), chunk=9)
        assert (
            job.result is not None
            and job.result.deleted == 39
            and job.result.numbers == {"gone": 0, "spared": 1}
        )
        assert told == sorted(told) and job.done == 40
    finally:
        await link.close()
    assert _lines(host) == ["1007:80"], "the connection we are watched through"


async def test_a_deletion_can_be_stopped(host: Any) -> None:
    _create(host, 1000, 40)
    link = await Link.open(_target(host))
    try:
        await link.ask(Ask(seq=link.next_seq(), fresh=True))
        flows, _ = await collect(link, "dport=80", fillers=False)
        job = await delete(link, flows, lambda _job: None, chunk=9, stop=lambda: True)
        assert job.result is not None and job.result.deleted == job.done == 9
        assert "31 left: stopped" in job.sentence
    finally:
        await link.close()
    assert _lines(host) == sorted(f"{flow.orig_sport}:80" for flow in flows[9:])


async def test_a_question_is_not_asked_over_something_else(
    host: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading many flows takes seconds, in which a person goes on; `y` copies elsewhere."""
    _create(host, 1000, 3)
    read = asyncio.Event()

    async def late(*args: Any, **more: Any) -> Any:
        await read.wait()
        return await collect(*args, **more)

    monkeypatch.setattr(write_actions, "collect", late)
    async with live(_target(host)) as d:
        await d.until("198.51.100.2:1000")
        await d.press("D", "f4")
        await d.until("How far to trust")
        read.set()
        await d.until("you were elsewhere")
        assert "Delete 3 flows?" not in d.text
        await d.press("escape")
        read.clear()
        await d.press("D", "escape")
        read.set()
        await d.until("Nothing was deleted.")
        await d.press("D")
        await d.until("Delete 3 flows?")
        await d.press("escape")
    assert len(_lines(host)) == 3


MANY = "from cttui.kernel.ctfill import Filler\nfor _ in Filler(zone=0, mark=0).fill(25_000): pass"


async def test_many_thousands_are_counted_and_no_other_goes(host: Any) -> None:
    host.run(sys.executable, "-c", MANY)
    _create(host, 1000, 3, 443)
    async with live(_target(host)) as d:
        await d.until("25,003")
        await d.press("slash", *"dport!=443", "enter", "D")
        await d.until("Delete 25,000 flows?")
        assert "and 24,995 more" in d.text
        await d.press("y")
        await d.until("25,000 flows deleted")
    assert _lines(host) == ["1000:443", "1001:443", "1002:443"]
