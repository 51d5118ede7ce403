"""Real traffic of every kind conntrack knows, over lo of a fresh namespace, and the recording of its entries.

    unshare --net python tests/kernel/ct_traffic.py tests/data

writes ct_plain and ct_counted (.bin: the dump's messages, .txt: what conntrack printed of the same table)
and ct_events.bin (the events that led there).
"""

import contextlib
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from cttui.kernel import sysctl
from cttui.kernel.ctdecode import CT_GET
from cttui.kernel.netlink import NLM_F_DUMP, NLM_F_REQUEST, Netlink, message

RULES = """\
*raw
-A OUTPUT -p udp --dport 1005 -j CT --zone 5
-A OUTPUT -p udp --dport 1006 -j CT --zone-orig 6
-A OUTPUT -p tcp --dport 21 -j CT --helper ftp
-A OUTPUT -j CT
COMMIT
*mangle
-A OUTPUT -p udp --dport 1007 -j CONNMARK --set-mark 0x1007
COMMIT
*nat
-A OUTPUT -p tcp --dport 1080 -j DNAT --to-destination {own}:{port}
-A POSTROUTING -p udp --dport 1008 -j SNAT --to-source {other}
COMMIT
"""
LABELS = """\
table inet labels {
  chain c {
    type filter hook output priority 0
    udp dport 1009 ct label set 3
  }
}
"""


def sh(line: str, text: str = "") -> str:
    """Standard output of a shell command that must succeed."""
    done = subprocess.run(line, shell=True, input=text, capture_output=True, text=True)
    assert done.returncode == 0, (line, done.stderr)
    return done.stdout


@contextlib.contextmanager
def traffic(counted: bool = False) -> Iterator[None]:
    """Flows of all kinds; while the block runs their connections stay open."""
    sysctl.write("nf_conntrack_checksum", "0")  # hand-made packets have none
    for name in ("nf_conntrack_acct", "nf_conntrack_timestamp"):
        sysctl.write(name, "1" if counted else "0")
    sh("ip link set lo up; ip addr replace 127.9.9.9/32 dev lo; ip -6 addr replace fd00::9/128 dev lo nodad")
    held: list[socket.socket] = []
    servers = {}
    for family, own in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        server = socket.create_server((own, 0), family=family)
        servers[own] = server
        held.append(server)
    ftp = socket.create_server(("127.0.0.1", 21))
    held.append(ftp)
    for tool, own, other in (("iptables", "127.0.0.1", "127.9.9.9"), ("ip6tables", "::1", "fd00::9")):
        port = servers[own].getsockname()[1]
        rules = RULES.format(own=f"[{own}]" if ":" in own else own, other=other, port=port)
        if tool == "ip6tables":
            rules = rules.replace("-A OUTPUT -p tcp --dport 21 -j CT --helper ftp\n", "")
        sh(f"{tool}-restore", rules)
    sh("nft -f -", LABELS)
    for own, server in servers.items():
        for port in (server.getsockname()[1], 1080):  # plain, and through DNAT
            held.append(socket.create_connection((own, port)))
            held.append(server.accept()[0])
            held[-2].sendall(b"hello")
            assert held[-1].recv(5) == b"hello"
    _passive_ftp(ftp, held)
    for own in servers:
        family = socket.AF_INET6 if ":" in own else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as sender:
            for port in (1004, 1005, 1006, 1007, 1008, 1009):
                with contextlib.suppress(ConnectionRefusedError):  # nobody listens: an ICMP error comes back
                    sender.sendto(b"x", (own, port))
        ports = struct.pack("!HH", 4321, 99)
        init = ports + struct.pack("!IIBBHIIHHI", 0, 0, 1, 0, 20, 1, 65535, 1, 1, 1)
        raw = {
            132: init,
            136: ports + struct.pack("!HH", 0, 0xABCD) + b"data",
            47: bytes.fromhex("00000800"),
            89: b"ospf",
        }
        raw[33] = ports + bytes(12)
        if family == socket.AF_INET:
            raw[1] = _echo(8)
        else:
            raw[58] = _echo(128)
        for proto, data in raw.items():
            with socket.socket(family, socket.SOCK_RAW, proto) as sender:
                sender.sendto(data, (own, 0))
    try:
        yield
    finally:
        for one in held:
            one.close()


def _echo(kind: int) -> bytes:
    """An echo request with its checksum (ICMPv6: the kernel fills it in)."""
    data = struct.pack("!BBHHH", kind, 0, 0, 77, 1)
    total = sum(struct.unpack("!4H", data))
    return struct.pack("!BBHHH", kind, 0, ~(total + (total >> 16)) & 0xFFFF, 77, 1)


def _passive_ftp(server: socket.socket, held: list[socket.socket]) -> None:
    """A control connection that makes the helper expect two data connections; one of them comes."""
    client = socket.create_connection(("127.0.0.1", 21))
    control = server.accept()[0]
    # The helper looks only at lines that follow one it has seen the end of (find_nl_seq).
    control.sendall(b"220 ready\r\n")
    client.recv(100)
    client.sendall(b"USER x\r\n")
    control.recv(100)
    with socket.create_server(("127.0.0.1", 0)) as data:
        port = data.getsockname()[1]
        control.sendall(f"227 Entering Passive Mode (127,0,0,1,{port >> 8},{port & 255}).\r\n".encode())
        client.recv(100)
        held += [client, control, socket.create_connection(("127.0.0.1", port)), data.accept()[0]]
    client.sendall(b"PORT 127,0,0,1,200,1\r\n")
    control.recv(100)


def entries() -> list[str]:
    """What conntrack prints of both families."""
    return [
        line
        for family in ("ipv4", "ipv6")
        for line in sh(f"conntrack -L -f {family} -o extended,id").splitlines()
    ]


def record(folder: Path) -> None:
    """Write the recordings."""
    listener = Netlink((1, 2, 3))
    for name, counted in (("ct_plain", False), ("ct_counted", True)):
        sh("nft flush ruleset; conntrack -F")
        with traffic(counted):
            socket_ = Netlink()
            socket_.send(message(CT_GET, NLM_F_REQUEST | NLM_F_DUMP, b""))
            messages = [one for data in socket_.receive() for one in _whole(data)]
            (folder / f"{name}.bin").write_bytes(b"".join(messages[:-1]))  # without NLMSG_DONE
            (folder / f"{name}.txt").write_text("".join(line + "\n" for line in entries()))
            socket_.close()
    (folder / "ct_events.bin").write_bytes(b"".join(listener.receive()))
    listener.close()


def _whole(data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        (length,) = struct.unpack_from("=I", data, at)
        yield data[at : at + length]
        at += length


if __name__ == "__main__":
    record(Path(sys.argv[1]))
