"""Journeys of real packets, traced in a sandbox; rules by name, losses by cause."""

import subprocess
import sys
from pathlib import Path

import pytest
import sandboxed

pytestmark = pytest.mark.kernel

WORKER = """
from cttui.kernel.ctfill import Filler
from cttui.kernel.rules import Reader
from cttui.model.packet import JourneysReading
from cttui.probe.injector import Injector
from cttui.probe.traces import Traces
class NoFlows:
    def of_packets(self, tuples): return [(0, "")] * len(tuples)
    def tuples_of(self, key): return []
def syns(count, first=10000, src="198.51.100.2", dst="192.0.2.1"):
    import struct
    out = []
    for i in range(count):
        header = struct.pack(">BBHHHBBH", 0x45, 0, 40, 0, 0, 64, 6, 0) + bytes(map(int, src.split("."))) + bytes(map(int, dst.split(".")))
        total = sum(struct.unpack(">10H", header)); total = (total & 0xFFFF) + (total >> 16)
        header = header[:10] + struct.pack(">H", ~total & 0xFFFF) + header[12:]
        segment = struct.pack(">HHIIBBHHH", first + i, 80, 0, 0, 0x50, 2, 8192, 0, 0)
        pseudo = header[12:20] + struct.pack(">BBH", 0, 6, 20) + segment
        total = sum(struct.unpack(">16H", pseudo))
        while total >> 16: total = (total & 0xFFFF) + (total >> 16)
        out.append(header + segment[:16] + struct.pack(">H", ~total & 0xFFFF) + segment[18:])
    return out
def told(reading):
    return dict(
        ends=reading.ends, stages=reading.stages, total=reading.total, lost=reading.lost, capped=reading.capped, armed=reading.armed,
        cells=[j.cells for j in reading.journeys], ids=[j.flow_id for j in reading.journeys], lines=[j.line for j in reading.journeys],
        steps=[[(s.table, s.chain, s.kind, s.verdict, s.rule, s.ct_state) for s in j.steps] for j in reading.journeys],
    )
async def main(box):
    for line in ARGS["rules"]:
        sh(line)
    if ARGS["free"] is not None:
        top = int(sysctl.read("nf_conntrack_max")) - int(sysctl.read("nf_conntrack_count"))
        for _ in Filler().fill(top - ARGS["free"]):
            pass
    traces = Traces(NoFlows(), Reader().read)
    await traces.arm(ARGS["packets"], ARGS["text"])
    tables = sh("nft list tables")
    for packet in syns(ARGS["count"]):
        os.write(box.fd, (box.link_header + b"\\x08\\0" if box.wire else b"") + packet)
    traces.finish()
    out = told(traces.reading(JourneyView(count=20)))
    out["flows"] = sh("conntrack -L -o id 2>/dev/null") if ARGS["free"] is None else ""
    out["tables"], out["left"] = tables, sh("nft list tables")
    report(**out)
asyncio.run(main(open_sandbox()))
"""


def trace(
    *rules: str,
    count: int = 10,
    packets: int = 100,
    text: str = "",
    free: int | None = None,
    user: bool = False,
):  # type: ignore[no-untyped-def]
    return sandboxed.run(
        WORKER, user=user, rules=list(rules), count=count, packets=packets, text=text, free=free
    )


@pytest.mark.parametrize("user", [False, True])
def test_every_packet_is_delivered_and_knows_its_flow(user: bool) -> None:
    got = trace(user=user)
    assert got["ends"] == [["delivered", 10]] and got["lost"] == 0 == got["capped"]
    assert got["stages"] == ["raw PREROUTING", "conntrack", "mangle PREROUTING", "delivered"]
    assert got["cells"] == [["passed"] * 4] * 10
    ids = {line.split("id=")[1].split()[0]: line for line in got["flows"].splitlines() if "id=" in line}
    for flow_id, line in zip(got["ids"], got["lines"], strict=True):
        port = line.split(" > ")[0].rsplit(".", 1)[1]
        assert f"sport={port} " in ids[str(flow_id)]
    assert got["steps"][0][:2] == [
        ["raw", "PREROUTING", "rule", "continue", "rule 1: -j CT", ""], ["raw", "PREROUTING", "policy", "accept", "", ""],
    ]  # fmt: skip
    assert "cttui_trace_" in got["tables"] and "cttui_trace_" not in got["left"]


@pytest.mark.fills
def test_the_full_table_takes_three_of_ten() -> None:
    got = trace(free=7)
    assert got["ends"] == [["delivered", 7], ["in conntrack: table full", 3]]
    assert got["cells"][:7] == [["passed"] * 4] * 7
    assert got["cells"][7:] == [["passed", "vanished", "not reached", "not reached"]] * 3


def test_a_rule_drops_ten_by_name() -> None:
    got = trace("iptables -A INPUT -p udp -j ACCEPT", "iptables -A INPUT -j DROP")
    assert got["ends"] == [["dropped by filter INPUT rule 2: -j DROP", 10]]
    assert got["cells"] == [["passed", "passed", "passed", "dropped", "not reached"]] * 10


@pytest.mark.parametrize(
    ("rules", "end"),
    [
        (["iptables -P INPUT DROP"], "dropped by the policy of filter INPUT"),
        (["iptables -N X", "iptables -A X -p tcp -j REJECT", "iptables -A INPUT -j X"],
         "dropped by filter X rule 1: -p tcp -j REJECT --reject-with icmp-port-unreachable"),
        (["nft add table inet t", "nft 'add chain inet t c { type filter hook input priority 5; }'", "nft add rule inet t c tcp dport 80 counter drop"],
         "dropped by inet t c rule 1: tcp dport 80 counter drop"),
        (["iptables -t raw -I PREROUTING -j DROP"], "dropped by raw PREROUTING rule 1: -j DROP"),
        (["sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.tun0.rp_filter=1", "ip route add unreachable 198.51.100.0/24"],
         "in routing: reverse path filter: the answer would leave another way (TcpExtIPReversePathFilter +10)"),
        (["iptables-legacy -t mangle -A INPUT -j DROP"],
         "lost in mangle INPUT: by a rule of iptables-legacy? They can't be traced"),
    ],
)  # fmt: skip
def test_other_ends(rules: list[str], end: str) -> None:
    got = trace(*rules)
    assert (got["total"], got["ends"]) == (10, [[end, 10]])


def test_only_what_matches_is_traced_and_no_more_than_asked() -> None:
    got = trace(text="sport=10003-10008 tcp", packets=4)
    assert (got["total"], got["capped"]) == (4, 2)
    assert [line.split(" > ")[0][-5:] for line in got["lines"]] == ["10003", "10004", "10005", "10006"]
    assert trace(text="udp or src=198.51.100.3")["total"] == 0
    assert trace(text="dst=192.0.2.0/24 not sport=10000-10004")["total"] == 5


def test_the_table_dies_with_its_owner(netns) -> None:  # type: ignore[no-untyped-def]
    code = (
        "from cttui.kernel.trace_table import TraceTable; import os, sys\n"
        "t = TraceTable(); t.arm(10, hooks=('prerouting', 'output')); print(os.getpid(), flush=True); sys.stdin.read()"
    )
    root = str(Path(__file__).resolve().parents[2])
    process = netns.popen(
        "env", f"PYTHONPATH={root}", sys.executable, "-c", code, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    pid = process.stdout.readline().strip().decode()
    assert "cttui_trace_" in netns.run("nft", "list", "tables")
    netns.run("kill", "-KILL", pid)
    process.wait()  # nsenter ends when its child has: all of the child's files are closed
    process.stdin.close()
    process.stdout.close()
    assert "cttui_trace_" not in netns.run("nft", "list", "tables")


def test_looking_does_not_switch_conntrack_on(netns) -> None:  # type: ignore[no-untyped-def]
    code = (
        "from cttui.kernel.trace_table import TraceTable; import socket\n"
        "t = TraceTable(); t.arm(10)\n"
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9)); print(t.matched())\n"
        "print(open('/proc/sys/net/netfilter/nf_conntrack_count').read())"
    )
    root = str(Path(__file__).resolve().parents[2])
    assert netns.run("env", f"PYTHONPATH={root}", sys.executable, "-c", code).split() == ["2", "0"]
