"""Flows of every kind this kernel tracks, made in a test's namespace."""

import json
import sys
from pathlib import Path
from typing import Any

WORKER = Path(__file__).with_name("query_worker.py")

CREATED = """
-p tcp -s 10.0.0.1 -d 10.0.0.2 --sport 1 --dport 2 --state ESTABLISHED -u ASSURED,SEEN_REPLY
-p tcp -s 10.0.0.1 -d 10.0.0.2 --sport 3 --dport 2 --state SYN_SENT2 -u SEEN_REPLY
-p tcp -s 10.0.0.1 -d 10.0.0.2 --sport 4 --dport 443 --state TIME_WAIT -u ASSURED,SEEN_REPLY -m 0x15
-p tcp -s fd00::1 -d fd00::2 --sport 1 --dport 443 --state SYN_RECV -u SEEN_REPLY
-p tcp -s fd00::1 -d fd00::3 --sport 1 --dport 443 --state CLOSE -m 0xffffffff
-p tcp -s 10.0.0.1 -d 10.0.0.2 --sport 9 --dport 2 --state SYN_SENT --dst-nat 10.0.0.3:80
-p tcp -s 10.0.0.1 -d 10.0.0.2 --sport 10 --dport 2 --state SYN_SENT --src-nat 10.0.0.9
-p tcp -s 10.0.0.1 -d 10.0.0.2 --sport 11 --dport 2 --state SYN_SENT --src-nat 10.0.0.9 --dst-nat 10.0.0.3
-p udp -s 10.0.0.1 -d 10.0.0.2 --sport 1 --dport 2 -w 7 -m 5
-p udp -s 10.0.0.1 -d 10.0.0.2 --sport 1 --dport 2 -u ASSURED,SEEN_REPLY
-p udp -s 10.0.0.1 -d 10.0.0.2 --sport 3 --dport 2 --orig-zone 9
-p udp -s 10.0.0.1 -d 10.0.0.2 --sport 3 --dport 2 --reply-zone 11
-p udp -s 10.0.0.1 -d 10.0.0.2 --sport 5 --dport 53 -w 65535
-p udp -s ::ffff:1.2.3.4 -d ::1.2.3.4 --sport 5 --dport 53
-p udp -s 2001:db8:0:0:1:0:0:1 -d fe80::1 --sport 5 --dport 53 -u FIXED_TIMEOUT
-p icmp -s 10.0.0.1 -d 10.0.0.2 --icmp-type 8 --icmp-code 0 --icmp-id 77
-p icmp -s 10.0.0.1 -d 10.0.0.2 --icmp-type 13 --icmp-code 0 --icmp-id 78
-p icmpv6 -s fd00::1 -d fd00::2 --icmpv6-type 128 --icmpv6-code 0 --icmpv6-id 77
-p sctp -s 10.0.0.1 -d 10.0.0.2 --sport 5 --dport 6 --state ESTABLISHED --orig-vtag 1 --reply-vtag 2
-p sctp -s 10.0.0.1 -d 10.0.0.2 --sport 7 --dport 2 --state COOKIE_WAIT --orig-vtag 1 --reply-vtag 2
-p gre -s 10.0.0.1 -d 10.0.0.2 --srckey 0x10 --dstkey 0x20
-p dccp -s 10.0.0.1 -d 10.0.0.2 --sport 5 --dport 6 --state OPEN --role client
-p udplite -s 10.0.0.1 -d 10.0.0.2 --sport 5 --dport 6
-p 89 -s 10.0.0.1 -d 10.0.0.2
-p 50 -s fd00::5 -d fd00::6
""".strip().splitlines()


def ask(netns: Any, what: str, stdin: str = "") -> Any:
    """What the worker answers in the namespace."""
    return json.loads(netns.run(sys.executable, str(WORKER), what, input=stdin))


def create(netns: Any) -> int:
    """Make all of CREATED; how many."""
    commands = "\n".join(f"conntrack -I -t 300 {options} || exit 1" for options in CREATED)
    netns.run("sh", "-ec", f"exec 2>/dev/null\n{commands}")
    return len(CREATED)


def switch_on(netns: Any, *, accounting: bool) -> None:
    """Accounting and timestamps for flows from now on, NAT and a helper for traffic."""
    # Closed connections last as long as the others: a busy machine needs more than ten seconds for a test.
    settings = {"acct": int(accounting), "timestamp": int(accounting), "udp_timeout": 300}
    settings |= {
        f"tcp_timeout_{s}": 300 for s in ("close", "time_wait", "last_ack", "close_wait", "fin_wait")
    }
    netns.run(
        "sysctl", "-qw", *(f"net.netfilter.nf_conntrack_{name}={value}" for name, value in settings.items())
    )
    for tool in ("iptables", "ip6tables"):
        netns.run(
            tool, "-t", "raw", "-A", "OUTPUT", "-p", "tcp", "--dport", "21", "-j", "CT", "--helper", "ftp"
        )
        netns.run(tool, "-A", "INPUT", "-m", "conntrack", "--ctstate", "NEW")
    netns.run(
        "iptables",
        "-t",
        "nat",
        "-A",
        "OUTPUT",
        "-p",
        "tcp",
        "-d",
        "127.0.0.2",
        "-j",
        "DNAT",
        "--to",
        "127.0.0.1:8080",
    )
    netns.run(
        "iptables",
        "-t",
        "nat",
        "-A",
        "POSTROUTING",
        "-p",
        "tcp",
        "--dport",
        "8080",
        "-j",
        "SNAT",
        "--to",
        "127.0.0.9",
    )
