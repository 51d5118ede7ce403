"""The packet log of a real sandbox as pcapng, read back by tcpdump and by the program itself."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from live import Live, live

from cttui.client import targets
from cttui.model.faults import FaultError
from cttui.model.views import PacketView
from cttui.ui import export as e
from cttui.ui.burst import Burst

pytestmark = pytest.mark.kernel
LINE = 'IP(src="198.51.100.2",dst="192.0.2.1")/TCP(sport=(10000,59999),dport=80,flags="S")'


def output(*argv: str) -> list[str]:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()


def tcpdump(path: Path) -> list[str]:
    return output("tcpdump", "-nr", str(path))


async def fire(d: Live, count: int) -> None:
    link = d.app.session.link
    assert link is not None
    await link.finish((await d.app.session.do(await Burst(LINE, count, 0.0).fire())).job)
    await d.until(lambda: d.app.dashboard.packets.page.total >= count)


async def test_every_packet_of_many_pages_is_written_once(tmp_path: Path) -> None:
    async with live(targets.sandbox()) as d:
        n = 2 * e.PAGE + 777
        await fire(d, n)
        told: list[tuple[int, int]] = []
        path = tmp_path / "all.pcapng"
        done = await e.export(d.app.session, path, PacketView(), lambda at, of: told.append((at, of)))
        assert (done.packets, done.missed) == (n, 0) and done.journeys == 1000
        assert told == [(e.PAGE, n), (2 * e.PAGE, n), (n, n)]
        lines = tcpdump(path)
        ports = {line.split(" > ")[0].rsplit(".", 1)[1] for line in lines}
        assert len(lines) == len(ports) == n
        assert list(tmp_path.iterdir()) == [path]

        some = await e.export(d.app.session, tmp_path / "some.pcapng", PacketView(filter="sport=10000-10999"))
        assert some.packets == 1000 == len(tcpdump(some.path))
        with pytest.raises(FaultError, match="no packet"):
            await e.export(d.app.session, tmp_path / "none.pcapng", PacketView(filter="dport=81"))

        text = output(sys.executable, "-P", "-m", "cttui", "packets", str(path))
        assert len(text) == n and sum("delivered" in line for line in text) == 1000


async def test_the_log_may_go_on_meanwhile(tmp_path: Path) -> None:
    async with live(targets.sandbox()) as d:
        await fire(d, 100)
        assert d.app.session.link is not None
        again = await Burst(LINE, 20_000, 0.0).fire()
        job = (await d.app.session.do(again)).job
        done = await e.export(d.app.session, tmp_path / "x.pcapng", PacketView())
        assert len(tcpdump(done.path)) == done.packets >= 100
        await d.app.session.link.finish(job)


async def test_it_asks_for_a_path_and_never_overwrites_unasked(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    async with live(targets.sandbox(), (80, 24)) as d:
        await d.press("3", "E")
        await d.until("There is no packet to export.")
        await d.press("b")
        await d.until("traced 10")
        await d.press("E")
        await d.until("Every packet in the log: 10")
        await d.press("ctrl+u", *"nowhere/x", "enter")
        await d.until("There is no folder nowhere")
        await d.press("ctrl+u", *"x.pcapng")
        (tmp_path / "x.pcapng").write_text("mine")
        await d.press("enter")
        await d.until("Enter again overwrites it")
        assert (tmp_path / "x.pcapng").read_text() == "mine"
        await d.press(*"2", "enter")
        await d.until("10 packets, 10 of them with their journey written to")
        assert len(tcpdump(tmp_path / "x.pcapng2")) == 10 and (tmp_path / "x.pcapng").read_text() == "mine"
        await d.press("E", "ctrl+u", *"x.pcapng", "enter")
        await d.until("Enter again overwrites it")
        await d.press("enter")
        await d.until(lambda: (tmp_path / "x.pcapng").read_bytes()[:4] == b"\x0a\x0d\x0d\x0a")
        await d.until(lambda: len(d.app.screen_stack) == 1)
        await d.press("slash", *"sport=10003", "enter", "E")
        await d.until("match `sport=10003`: 1")
        await d.press("ctrl+u", *"one", "enter")
        await d.until("written to one")
        assert [".10003 >" in line for line in tcpdump(tmp_path / "one")] == [True]


async def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    assert e.judge_path("") and e.judge_path(str(tmp_path)).endswith("is a folder.")
    assert "There is no folder" in e.judge_path(str(tmp_path / "a" / "b"))
    assert e.judge_path("/dev/null").endswith("is no ordinary file.")
    assert e.judge_path(str(tmp_path / "a")) == ""
