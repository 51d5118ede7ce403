"""The screens around packets on real probes: journeys, the log, what is asked before it costs a host anything."""

import asyncio
import sys
from typing import Any

import pytest
from live import Live, live

from cttui.client import targets
from cttui.model.actions import Arm, Rules
from cttui.model.faults import FaultError
from cttui.model.messages import Ask
from cttui.model.views import JourneyView
from cttui.ui.burst import Burst
from cttui.ui.session import Phase

pytestmark = pytest.mark.kernel


async def test_a_burst_is_traced_and_its_packets_lead_to_their_flows(monkeypatch: pytest.MonkeyPatch) -> None:
    async with live(targets.sandbox(), (120, 40)) as d:
        copied: list[str] = []
        monkeypatch.setattr(d.app, "copy_text", lambda text, what: copied.append(text))
        await d.press("b")
        await d.until("traced 10: 10 delivered")
        await d.press("v")
        await d.until("J  each packet's way")
        await d.press("escape", "J")
        await d.until("10 packets traced: 10 delivered")
        assert "mangle PREROUTING  rule 1" in d.text and "raw PREROUTING     rule 1: -j CT" in d.text
        await d.press("down")
        await d.until("198.51.100.2:10001 > 192.0.2.1:80 [S]\n")
        await d.press("enter")
        await d.until("In scapy's notation")
        assert "tun0" in d.text or "veth" in d.text, "the packet as captured, not only what the trace quotes"
        await d.press("escape", "y", "enter")
        await d.until(lambda: bool(copied))
        assert copied[0].startswith("198.51.100.2:10001 > 192.0.2.1:80 [S]\nend         delivered\n")
        await d.press("y", "down", "down", "down", "enter")
        await d.until(lambda: len(copied) == 2)
        assert copied[1].count("| delivered |") >= 10
        await d.press("l")
        await d.until("As conntrack says it")
        assert "sport=10001" in " ".join(d.text.split())
        await d.press("L")
        await d.until("1 of 10 packets")
        assert len(d.app.screen_stack) == 1 and "one flow" in d.text
        await d.press("l")
        await d.until("As conntrack says it")
        await d.press("escape", "escape")
        await d.until(lambda: "one flow" not in d.text and "10 packets" in d.text)


async def test_a_rule_that_drops_is_named() -> None:
    async with live(targets.sandbox(), (80, 24)) as d:
        await d.app.do(Rules(lines=["iptables -A INPUT -p tcp --dport 80 -j DROP"]))
        await d.until(lambda: all(job.state == "done" for job in d.app.dashboard.answer.jobs))  # type: ignore[union-attr]
        await d.press("b")
        await d.until("traced 10: 10 dropped by filter INPUT rule 1")
        await d.press("J")
        await d.until("✗")
        assert "end dropped by filter INPUT rule 1: -p tcp -m tcp --dport 80 -j DROP" in " ".join(
            d.text.split()
        )


async def test_a_rule_of_iptables_legacy_is_named_by_its_counter() -> None:
    """It sends no trace messages: its chain is a stage all the same."""
    async with live(targets.sandbox(), (120, 40)) as d:
        rule = "iptables-legacy -A INPUT -p tcp --dport 80 -j DROP"
        await d.app.do(Rules(lines=[rule, "iptables-legacy -t mangle -P FORWARD ACCEPT"]))
        await d.until(lambda: all(job.state == "done" for job in d.app.dashboard.answer.jobs))  # type: ignore[union-attr]
        await d.press("b")
        await d.until("traced 10: 10 dropped by filter INPUT rule 1")
        await d.press("J")
        await d.until("IN leg.")
        journeys = d.app.screen.reading  # type: ignore[attr-defined]
        marks = dict(zip(journeys.stages, journeys.journeys[0].cells, strict=True))
        assert marks == {
            "raw PREROUTING": "passed", "conntrack": "passed", "legacy mangle PREROUTING": "passed",
            "mangle PREROUTING": "passed", "legacy mangle INPUT": "passed", "legacy filter INPUT": "vanished",
            "delivered": "not reached",
        }  # fmt: skip
        assert journeys.ends == [
            (
                "dropped by filter INPUT rule 1: -p tcp -m tcp --dport 80 -j DROP (iptables-legacy, by its counter)",
                10,
            )
        ]
        await d.press("escape")
        await d.app.do(Rules(lines=["iptables-legacy -F INPUT"]))
        await d.press("b")
        await d.until("traced 10: 10 delivered")


@pytest.mark.timeout(600)
@pytest.mark.fills
async def test_the_full_table() -> None:
    async with live(targets.sandbox(), (80, 24)) as d:
        d.app.start(d.app.probe_actions.fill(7))
        await d.until(" 7 free", 120)
        await d.press("b")
        await d.until("traced 10: 7 delivered, 3 in conntrack: table full", 60)
        await d.press("J", "end")
        await d.until("? ")
        assert "10 packets traced: 7 delivered, 3 in conntrack: table full" in d.text
        assert "none: no entry was made for it" in d.text


@pytest.mark.timeout(600)
@pytest.mark.fills
async def test_a_tale_leads_to_the_way_of_its_packets() -> None:
    async with live(targets.sandbox(), (80, 24), tale="table-full") as d:
        await d.until("r run  n step by step")
        await d.press("r")
        await d.until("Everything as predicted", 120)
        for back in (("escape", "p"), ("escape",)):  # over the tale, and when playing on
            await d.press("J")
            await d.until("10 packets traced: 7 delivered, 3 in conntrack: table full")
            await d.press(*back)
        assert len(d.app.screen_stack) == 1


async def test_so_does_each_step_of_a_tale() -> None:
    async with live(targets.sandbox(), (80, 24), tale="dropped-in-input") as d:
        await d.until("r run  n step by step")
        await d.press("n")
        await d.until("n next step")
        await d.press("n")
        await d.until("Step 2 of 2")
        await d.press("J")
        await d.until("10 packets traced: 10 dropped by filter INPUT rule 1: -j DROP")


@pytest.fixture
def host(netns: Any) -> Any:
    """A namespace with a rule, as a host to look at."""
    netns.run(
        "iptables",
        "-A",
        "INPUT",
        "-p",
        "udp",
        "--dport",
        "9",
        "-m",
        "comment",
        "--comment",
        "discard",
        "-j",
        "DROP",
    )
    return netns


def send(netns: Any, n: int, port: int = 9) -> None:
    code = f"""
import socket
for _ in range({n}):
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", {port}))
"""
    netns.run(sys.executable, "-c", code)


async def armed(d: Live) -> bool:
    answer = await d.app.session.once(lambda seq: Ask(seq=seq, journey=JourneyView(count=0)))
    return answer.journeys is not None and answer.journeys.armed


async def test_a_trace_on_a_host_is_armed_only_after_its_question(host: Any) -> None:
    async with live(targets.host(pid=host.pid), (80, 24)) as d:
        await d.press("J", "a")
        await d.until("two")
        said = " ".join(d.text.replace("│", " ").split())
        assert "one listener can cost the kernel two thirds of its packet rate" in said
        assert "cttui_trace_<pid>" in said and "TRACE lines to the kernel log" in said
        assert "cttui_trace" not in host.run("nft", "list", "tables")
        await d.press(*"state=SYN_SENT", "enter")
        await d.until("A packet has no state")
        await d.press("escape")
        assert not await armed(d) and "cttui_trace" not in host.run("nft", "list", "tables")
        await d.press(
            "a",
            *"udp dport=9",
            "tab",
            *["backspace"] * 6,
            *"2",
            "enter",
        )
        await d.until("left")
        assert "cttui_trace" in host.run("nft", "list", "tables")
        send(host, 3)
        await d.until("2 packets traced")
        await d.until("capped at 2: 1 more packet")
        assert "dropped by filter INPUT rule 1" in d.text and "discard" in " ".join(d.text.split())
        await d.press("x")
        await d.until("a trace a filter")
        assert "cttui_trace" not in host.run("nft", "list", "tables")
        await d.press("escape")
        await d.until("traced 2 of 3")
        await d.press("escape")
        await d.until(lambda: "traced 2 of 3" not in d.text)


async def test_the_log_of_a_host_is_asked_for_filtered_and_narrowed(
    host: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with live(targets.host(pid=host.pid), (120, 40)) as d:
        monkeypatch.setenv("SSH_CONNECTION", "192.0.2.9 40000 192.0.2.1 22")
        await d.press("3", "P")
        await d.until("The SSH connection you watch through is left out")
        await d.press(*"pcap: udp dst port 9", "enter")
        await d.until("Packet log on")
        send(host, 4)
        send(host, 2, port=10)
        send(host, 1)
        await d.until("5 packets")
        assert "127.0.0.1:9" in d.text
        await d.press("slash", *"dport=10", "enter")
        await d.until("None of 5 packets in the log matches dport=10")
        await d.press("escape")
        await d.until("5 packets")
        await d.press("slash", *"unreplied")
        await d.until("A packet has no")
        await d.press("escape", "slash", *"pcap:tcp")
        await d.until("what is shown is chosen by filter words")
        await d.press("escape", "P")
        await d.until("Packet log off")


TALK = """
import socket
server = socket.create_server(("127.0.0.1", 22))
with socket.create_connection(("127.0.0.1", 22), source_address=("127.0.0.1", 40000)) as client:
    other, _ = server.accept()
    for _ in range(20):
        client.sendall(b"keys"); other.recv(100); other.sendall(b"screen"); client.recv(100)
"""


async def test_the_connection_that_we_are_watched_through_is_left_out_of_the_log(
    host: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSH_CONNECTION", "127.0.0.1 40000 127.0.0.1 22")
    async with live(targets.host(pid=host.pid), (120, 40)) as d:
        await d.press("3", "P")
        await d.until("The SSH connection you watch through is left out")
        await d.press("enter")
        await d.until("Packet log on")
        host.run(sys.executable, "-c", TALK)
        send(host, 2)
        await d.until("2 packets")
        assert "left out: the SSH connection you watch through (127.0.0.1:40000 to 127.0.0.1:22)" in d.text
        await d.until("on for 10 min, P stops")
        await d.press("P")
        await d.until(lambda: "P stops" not in d.text)
    async with live(targets.sandbox(), (120, 40)) as d:
        await d.press("b")
        await d.until("10 packets")
        assert "left out" not in d.text, "there is no such connection in a sandbox"


async def test_stage_counters_of_a_host_are_asked_for(host: Any) -> None:
    async with live(targets.host(pid=host.pid), (80, 24)) as d:
        await d.press("w")
        await d.until("saved rule set fails")
        assert "cttui_" not in host.run("nft", "list", "tables")
        await d.press("escape", "w", "y")
        await d.until("Stage counters on")
        assert "table ip cttui_" in host.run("nft", "list", "tables")
        await d.press("w")
        await d.until("Stage counters off")
        assert "cttui_" not in host.run("nft", "list", "tables")


async def test_read_only_adds_no_table(host: Any) -> None:
    async with live(targets.host(pid=host.pid), (80, 24), read_only=True) as d:
        for keys, what in ((("w",), "stages"), (("J", "a"), "trace")):
            await d.press(*keys)
            await d.until(f"--read-only: no {what}")
            with pytest.raises(FaultError, match="--read-only"):
                await d.app.session.do(Arm(what=what))
        assert host.run("nft", "list", "tables").count("cttui") == 0


async def test_an_interface_that_is_not_there_is_said(host: Any) -> None:
    async with live(targets.host(pid=host.pid), (80, 24)) as d:
        await d.press("3", "P")
        await d.until("Switch the packet log on?")
        await d.press("tab", *"nope0", "enter")
        await d.until("capture nope0: no interface with this name")
        assert "sudo" not in d.text


async def test_a_frozen_log_can_be_read_back() -> None:
    async with live(targets.sandbox(), (80, 24)) as d:
        await d.press("b")
        await d.until("traced 10")
        await d.press("3", "space")
        await d.until("FROZEN")
        log = d.app.dashboard.packets
        assert "198.51.100.2:10009 >" in d.text and "198.51.100.2:10000 >" not in d.text.split("3 Packets")[1]
        await d.press("home")
        await d.until(lambda: "198.51.100.2:10000 >" in d.text.split("3 Packets")[1])
        assert "FROZEN" in d.text and not log.following and log.selected is not None and log.selected.seq == 1


async def test_a_freeze_asked_for_behind_a_burst_holds() -> None:
    """Keys that come together: the burst is fired beside, and its worker comes to run after the freeze."""
    async with live(targets.sandbox(), (80, 24)) as d:
        d.app.act("fire")
        d.app.act("freeze")
        await d.until("sent 10")
        assert d.app.session.state.phase is Phase.FROZEN and "0 / 262,144" in d.text
        await d.press("b")
        await d.until(lambda: d.app.session.state.phase is Phase.LIVE)
        await d.until("sent 10")
        await d.until("10 / 262,144")


async def test_a_job_is_followed_to_its_end_while_the_picture_is_frozen() -> None:
    async with live(targets.sandbox(), (80, 24)) as d:
        d.app.act("fire")
        d.app.act("freeze")
        async with asyncio.timeout(20):
            while d.app.dashboard.burst is None or d.app.dashboard.burst.state == "running":
                await d.pilot.pause(0.05)  # unlike `until`, without asking
        assert d.app.session.state.phase is Phase.FROZEN


async def test_what_no_socket_took_is_said_alike_of_loss_and_journeys() -> None:
    async with live(targets.sandbox(), (80, 24)) as d:
        d.app.probe_actions._burst = Burst('IP()/UDP(sport=(20000,20009),dport=9999)/"cttui"')
        await d.press("b")
        await d.until("10 packets refused: no socket on that port")
        await d.until("traced 10: 10 refused by UDP: no socket on that port")
        await d.press("v")
        await d.until("10 refused by UDP: no socket on that port")
        await d.press("escape", "J")
        await d.until("10 packets traced: 10 refused by UDP: no socket on that port")
