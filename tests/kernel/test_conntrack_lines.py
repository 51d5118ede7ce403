"""Our lines are byte for byte those of the conntrack tool, for every kind of flow this kernel tracks."""

import sys
from typing import Any

import pytest
from query_flows import ask, create, switch_on


@pytest.mark.kernel
@pytest.mark.parametrize("accounting", [False, True])
def test_lines_equal_conntrack(netns: Any, accounting: bool) -> None:
    switch_on(netns, accounting=accounting)
    made = create(netns)
    assert ask(netns, "traffic") > made
    answer = ask(netns, "lines")
    assert answer["ours"] == answer["conntrack"]
    text = "\n".join(answer["ours"])
    for word in ("helper=ftp", "dst=127.0.0.9", "zone-orig=9", "zone-reply=11", "zone=7", "mark=4294967295",
                 "SYN_SENT2", "srckey=0x10", "unknown  89", "[UNREPLIED]", "[ASSURED]", "ipv6     10 icmpv6   58"):  # fmt: skip
        assert word in text
    assert ("packets=" in text) is accounting
    assert ("delta-time=" in text) is accounting


@pytest.mark.kernel
def test_delete_commands_delete_exactly_their_flow(netns: Any) -> None:
    left = create(netns)
    commands = ask(netns, "deletes")
    assert len(commands) == left
    for command, number in commands:
        netns.run("sh", "-c", command)
        left -= 1
        remaining = netns.run("conntrack", "-L", "-o", "id", check=False)
        assert len(remaining.splitlines()) == left, command
        assert f"id={number}\n" not in remaining, command


@pytest.mark.kernel
def test_a_delete_command_spares_the_same_tuple_in_other_zones(netns: Any) -> None:
    tuple_ = "-p udp -s 10.0.0.1 -d 10.0.0.2 --sport 5 --dport 53"
    # Zones of one direction are for this: one network's addresses many times, told apart by their translation.
    kept = ["--orig-zone 7 --src-nat 192.0.2.1:1", "--orig-zone 8 --src-nat 192.0.2.1:2", "-w 9"]
    for more in [*kept, "--src-nat 192.0.2.1:3"]:
        netns.run("sh", "-c", f"conntrack -I -t 300 {tuple_} {more}")
    commands = [command for command, _ in ask(netns, "deletes") if " -w 0 " in command]
    assert len(commands) == 1
    netns.run("sh", "-c", commands[0])
    remaining = netns.run("conntrack", "-L").splitlines()
    assert len(remaining) == len(kept) and not any("dport=3 " in line for line in remaining)


PICKED_UP = """
import socket
from scapy.layers.inet import IP, TCP
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
def send(port, flags="A", seq=5, data=b"", back=False):
    ends = dict(src="127.0.0.1", dst="127.0.0.2"), dict(src="127.0.0.2", dst="127.0.0.1")
    ports = dict(sport=port, dport=80), dict(sport=80, dport=port)
    packet = IP(**ends[back])/TCP(**ports[back], flags=flags, window=1000, seq=9 if back else seq, ack=5 if back else 9)/data
    raw.sendto(bytes(packet), (ends[back]["dst"], 0))
send(1, "S"); send(2)
send(3); send(3, back=True); send(3)
send(4); send(4, back=True); send(4, "PA", data=b"abc")
"""


@pytest.mark.kernel
def test_the_setting_we_name_gave_the_timeout(netns: Any) -> None:
    values = {"syn_sent": 1000, "max_retrans": 2000, "established": 3000, "unacknowledged": 2500}
    netns.run(
        "sysctl", "-qw", *(f"net.netfilter.nf_conntrack_tcp_timeout_{n}={v}" for n, v in values.items())
    )
    netns.run("iptables", "-A", "INPUT", "-m", "conntrack", "--ctstate", "INVALID")
    netns.run("iptables", "-t", "raw", "-A", "OUTPUT", "-p", "tcp", "--tcp-flags", "RST", "RST", "-j", "DROP")
    netns.run(sys.executable, "-c", PICKED_UP)
    found = {name.removeprefix("nf_conntrack_tcp_timeout_"): left for name, left in ask(netns, "timeouts")}
    assert set(found) == set(values)
    assert all(values[name] - 60 <= left <= values[name] for name, left in found.items()), found
