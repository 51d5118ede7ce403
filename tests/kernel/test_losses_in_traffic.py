"""Readings are taken while packets pass: none of these may look lost, and what rules drop must be theirs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cttui.probe.settled import MEANWHILE

pytestmark = pytest.mark.kernel

ROOT = Path(__file__).parents[2]
WATCH = """
import asyncio, json, subprocess, sys
from cttui.kernel import ctnetlink, netstat
from cttui.model.views import HookView
from cttui.probe.counters import Counters
from cttui.probe.hook_watch import HookWatch

FLOOD = '''
import socket
v4, v6 = (socket.socket(f, socket.SOCK_DGRAM) for f in (socket.AF_INET, socket.AF_INET6))
print("begun", flush=True)
while True:
    for sock, to in ((v4, ("127.0.0.1", 81)), (v6, ("::1", 81)), (v4, ("127.0.0.1", 82))):
        try:
            sock.sendto(b"x", to)
        except OSError:
            pass  # the answer to the one before
'''

async def main():
    flood = subprocess.Popen([sys.executable, "-c", FLOOD], stdout=subprocess.PIPE)
    flood.stdout.readline()
    watch = HookWatch(Counters(ctnetlink.stats, netstat.read), alone=False)
    watch.arm()
    causes, ruled, changes = set(), [], sys.argv[1:]
    for n in range(60):
        if n % 20 == 10 and changes:
            subprocess.run(changes.pop(0), shell=True, check=True)
        await watch.refresh()
        reading = watch.reading(HookView())
        causes |= {(x.hook, x.cause.partition(":")[0]) for x in reading.losses}
        ruled.append(sum(x.packets for x in reading.losses if "rule 1" in x.cause))
    flood.kill()
    flood.wait()
    end = await watch.look()
    print(json.dumps([sorted(causes), max(s.packets for s in end.stages), ruled]))

asyncio.run(main())
"""

RULES = {
    "iptables": (["iptables-nft -A INPUT -p udp --dport 81 -j DROP"], {"dropped by filter INPUT rule 1"}),
    "legacy mangle": (["iptables-legacy -t mangle -A PREROUTING -p udp --dport 81 -j DROP"], {"dropped by mangle PREROUTING rule 1"}),
    "one inet rule for both families": (
        ["nft add table inet t", "nft add chain inet t c { type filter hook input priority 0 ; }",
         "nft add rule inet t c udp dport 81 counter drop"], {"dropped by t c rule 1"}),
    "two inet rules for both families": (
        ["nft add table inet t", "nft add chain inet t c { type filter hook input priority 0 ; }",
         "nft add rule inet t c udp sport < 40000 udp dport 81 counter drop", "nft add rule inet t c udp dport 81 counter drop"],
        {"dropped by t c rule 1", "dropped by t c rule 2", "dropped by t c rule 1 or t c rule 2"}),
}  # fmt: skip


@pytest.mark.parametrize("case", RULES)
def test_packets_on_their_way_are_not_lost(netns, case):
    commands, causes = RULES[case]
    for line in commands:
        netns.run(*line.split())
    done = subprocess.run([*netns.prefix, sys.executable, "-c", WATCH], cwd=ROOT, capture_output=True, text=True, timeout=120)  # fmt: skip
    assert done.returncode == 0, done.stderr
    found, packets, _ = json.loads(done.stdout)
    said = {cause for hook, cause in found if cause != "no socket on that port"}
    assert said and said <= causes
    assert packets > 1000, "the flood was no flood"


@pytest.mark.parametrize("family", ["iptables-nft", "iptables-legacy"])
def test_what_rules_dropped_stays_theirs_when_they_are_flushed_replaced_or_zeroed(netns, family):
    rule = "INPUT -p udp --dport 81 -j DROP"
    netns.run(*f"{family} -A {rule}".split())
    steps = [f"{family} -Z", f"{family} -F INPUT && {family} -A {rule}", f"{family} -F INPUT"]
    done = subprocess.run([*netns.prefix, sys.executable, "-c", WATCH, *steps], cwd=ROOT, capture_output=True, text=True, timeout=120)  # fmt: skip
    assert done.returncode == 0, done.stderr
    found, _, dropped = json.loads(done.stdout)
    said = {cause for hook, cause in found if cause != "no socket on that port"}
    assert "dropped by filter INPUT rule 1" in said
    assert said <= {"dropped by filter INPUT rule 1", MEANWHILE.partition(":")[0]}
    assert dropped == sorted(dropped) and dropped[-1] > 100
