"""Whose sockets a flow's ends are: asked of the kernel, found among the descriptors of real processes."""

import json
import sys
from typing import Any

import pytest

pytestmark = pytest.mark.kernel

OWNERS = """
import asyncio, json, os, socket, sys
from cttui.model.flow import Flow
from cttui.model.pages import Owner
from cttui.probe.owners import Owners

def flow(proto, family, source, destination, dialled=None):
    # `dialled`: what the source calls a destination that is translated
    pack = lambda end: socket.inet_pton(family, end[0])
    dialled = dialled or destination
    return Flow(id=1, family=2 if family == socket.AF_INET else 10, proto=proto, orig_src=pack(source), orig_sport=source[1],
                orig_dst=pack(dialled), orig_dport=dialled[1], reply_src=pack(destination), reply_sport=destination[1],
                reply_dst=pack(source), reply_dport=source[1], status=0, timeout_s=1)

async def owners_of(owners, one):
    for _ in range(200):
        found = owners.of(one)
        if found:
            break
        await asyncio.sleep(0.01)
    return [[x.end, x.program, x.pids, x.user, x.listening] for x in found]

async def main():
    owners, said = Owners(), {}
    for name, family, host in (("tcp4", socket.AF_INET, "127.0.0.1"), ("tcp6", socket.AF_INET6, "::1")):
        server = socket.socket(family); server.bind((host, 0)); server.listen()
        client = socket.create_connection(server.getsockname()[:2]); accepted, _ = server.accept()
        ends = client.getsockname()[:2], server.getsockname()[:2]
        said[name] = await owners_of(owners, flow(6, family, *ends))
        said[name + " half-open"] = await owners_of(owners, flow(6, family, (host, 1), ends[1]))
        if name == "tcp4":  # a child that holds all of them, too
            child = os.fork()
            if child == 0:
                import time; time.sleep(30); os._exit(0)
            said["shared"] = await owners_of(Owners(), flow(6, family, *ends))
            os.kill(child, 9); os.waitpid(child, 0)
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); udp.bind(("", 0))
    port = udp.getsockname()[1]
    said["udp"] = await owners_of(owners, flow(17, socket.AF_INET, ("127.0.0.1", port), ("192.0.2.1", 53)))
    said["translated"] = await owners_of(owners, flow(17, socket.AF_INET, ("192.0.2.9", 9), ("127.0.0.1", port), ("192.0.2.1", 5)))
    said["through"] = owners.of(flow(17, socket.AF_INET, ("192.0.2.9", port), ("192.0.2.1", port)))
    said["nobody"] = owners.of(flow(17, socket.AF_INET, ("127.0.0.1", 1), ("127.0.0.1", 2)))
    said["icmp"] = owners.of(flow(1, socket.AF_INET, ("127.0.0.1", 1), ("127.0.0.1", 2)))
    said["me"] = [open("/proc/self/comm").read().strip(), [int(os.readlink("/proc/self"))], "root"]
    print(json.dumps(said))
asyncio.run(main())
"""


def test_owners(netns: Any) -> None:
    said = json.loads(netns.run(sys.executable, "-c", OWNERS))
    program, pids, user = said["me"]
    mine = [program, pids, user, False]
    for name in ("tcp4", "tcp6"):
        assert said[name] == [["source", *mine], ["destination", *mine]]
        assert said[f"{name} half-open"] == [["destination", program, pids, user, True]]
    for _, name, holders, _, _ in said["shared"]:
        assert name == program and len(holders) == 2 and set(pids) < set(holders)
    assert said["udp"] == [["source", *mine]]
    assert said["translated"] == [["destination", *mine]]
    assert said["through"] == said["nobody"] == said["icmp"] == [], (
        "a socket of that port is not of this flow"
    )
