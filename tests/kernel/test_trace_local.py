"""Journeys of packets that a machine sends to itself: out, through lo, and in again is one journey."""

import pytest
import sandboxed

pytestmark = pytest.mark.kernel

WORKER = """
from cttui.kernel.rules import Reader
from cttui.probe.traces import Traces
import socket
class NoFlows:
    def of_packets(self, tuples): return [(0, "")] * len(tuples)
    def tuples_of(self, key): return []
async def main(box):
    sh("ip link set lo up")
    sh("iptables -A INPUT -p udp --dport 9001 -j DROP")
    traces = Traces(NoFlows(), Reader().read)
    await traces.arm(100, "proto=udp host=127.0.0.1,::1", hooks=("prerouting", "output"))
    kept = []
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        listener = socket.socket(family, socket.SOCK_DGRAM); listener.bind((address, 9000))
        sender = socket.socket(family, socket.SOCK_DGRAM)
        for _ in range(3):
            sender.sendto(b"x", (address, 9000))
        for _ in range(3):
            listener.recv(10)
        kept += [listener, sender]
        if family == socket.AF_INET:
            sender.sendto(b"x", (address, 9001))
    traces.finish()
    r = traces.reading(JourneyView(count=20))
    report(ends=r.ends, total=r.total, capped=r.capped, stages=r.stages,
           hooks=[[s.hook for s in j.steps if s.kind == "stage"] for j in r.journeys], lines=[j.line for j in r.journeys])
asyncio.run(main(open_sandbox()))
"""


def test_a_packet_through_lo_is_one_journey() -> None:
    got = sandboxed.run(WORKER)
    assert got["total"] == 7 and got["capped"] == 0
    assert dict(map(tuple, got["ends"])) == {
        "delivered": 6,
        "dropped by filter INPUT rule 1: -p udp -m udp --dport 9001 -j DROP": 1,
    }
    assert all("9000" in line or "9001" in line for line in got["lines"])
    assert got["hooks"][0] == ["output", "postrouting", "prerouting", "input"]
