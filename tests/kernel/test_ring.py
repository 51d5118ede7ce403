"""The ring on real interfaces, with tcpdump beside it; losses made certain by not reading."""

import pytest
import sandboxed

pytestmark = pytest.mark.kernel

WORKER = """
import select, socket, struct
from cttui.kernel import bpf
from cttui.kernel.ring import Ring
from cttui.probe.packet_filter import capture_filter
from cttui.probe.packet_log import PacketLog
from cttui.model.views import PacketView
from cttui.model.packet_words import packet_line
sys.path.insert(0, ARGS["tests"])
from packet_samples import SEEDS, tcp
class NoFlows:
    def of_packets(self, tuples): return [(0, "")] * len(tuples)
    def tuples_of(self, key): return []
def collect(ring, log, expected):
    \"\"\"Read until `expected` packets are logged or dropped; every block is retired within 50 ms.\"\"\"
    deadline = time.monotonic() + 10
    while ring.count + ring.drops < expected and time.monotonic() < deadline:
        select.select([ring], [], [], 0.5)
        while (batch := ring.step()) is not None:
            log.append(batch, time.monotonic())
    return log.page(PacketView(count=expected), NoFlows(), time.monotonic(), names=ring.names).rows
def lines(rows):
    return [packet_line(r, time_format="none", where=False) for r in rows]
def quiet_veth():
    sh("ip link add va type veth peer name vb")
    for name in ("va", "vb"):
        sh(f"sysctl -qw net.ipv6.conf.{name}.disable_ipv6=1")
        sh(f"ip link set {name} arp off up")
def sender(name):
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    s.bind((name, 0))
    return s
"""


def run(code: str, **args: object):  # type: ignore[no-untyped-def]
    return sandboxed.run(WORKER + code, tests=str(sandboxed.REPOSITORY / "tests"), **args)


def test_every_kind_of_packet_equals_tcpdumps_capture() -> None:
    got = run("""
from test_packet_words import same_in_both, tcpdump
from pathlib import Path
quiet_veth()
file = "/tmp/cttui-test-%d.pcap" % time.time_ns()
dump = subprocess.Popen(["tcpdump", "-i", "vb", "-U", "-s", "2000", "-w", file, "-Z", "root", "--immediate-mode"], stderr=subprocess.PIPE, text=True)
while "listening" not in dump.stderr.readline(): pass
ring, log = Ring("vb", bpf.build()), PacketLog()
out = sender("va")
frames = [b"\\2" + bytes(11) + kind.to_bytes(2, "big") + data for kind, data in SEEDS]
frames += [b"\\2" + bytes(11) + b"\\x81\\0\\0\\7" + kind.to_bytes(2, "big") + data for kind, data in SEEDS[:10]]
frames += [b"\\2" + bytes(11) + b"\\x08\\0" + tcp(1) + bytes(n) for n in range(0, 1400, 100)]
for frame in frames:
    out.send(frame)
rows = collect(ring, log, len(frames))
for _ in range(200):
    if os.path.getsize(file) >= 24 + sum(16 + len(f) for f in frames): break
    select.select([], [], [], 0.02)
dump.terminate(); dump.wait()
theirs = tcpdump(Path(file))
os.unlink(file)
wrong = [(a, b) for a, b in zip(theirs, lines(rows)) if same_in_both(a, b)]
report(theirs=len(theirs), ours=len(rows), sent=len(frames), wrong=wrong, vlans=[r.vlan for r in rows if r.vlan],
       lengths=[r.length for r in rows[-14:]], snapped=max(len(r.data) for r in rows), where={(r.interface, r.direction) for r in rows}.pop())
""")
    assert got["theirs"] == got["ours"] == got["sent"]
    assert got["wrong"] == []
    assert got["vlans"].count(7) == 10
    assert got["lengths"] == [40 + n for n in range(0, 1400, 100)] and got["snapped"] == 96
    assert got["where"] == ["vb", "other"]  # to another MAC address


def test_many_packets_of_changing_length_arrive_whole_and_in_order() -> None:
    """Blocks are passed several times, most of them by chasing offsets; ports number the packets."""
    got = run("""
quiet_veth()
ring, log = Ring("vb", bpf.build(), blocks=8), PacketLog(200_000)
out, seen = sender("va"), []
for first in range(0, 60_000, 1000):
    for port in range(first, first + 1000):
        out.send(b"\\2" + bytes(11) + b"\\x08\\0" + tcp(port) + bytes((port % 7) * (port // 20_000) * 8))
    while (batch := ring.step()) is not None:
        seen += batch.headers["sport"].tolist(); log.append(batch, 0.0)
while ring.count < 60_000 and select.select([ring], [], [], 1)[0]:
    while (batch := ring.step()) is not None:
        seen += batch.headers["sport"].tolist(); log.append(batch, 0.0)
report(right=seen == list(range(60_000)), n=len(seen), drops=ring.drops, total=ring.seen)
""")
    assert got == {"right": True, "n": 60_000, "drops": 0, "total": 60_000}


def test_what_the_ring_has_no_room_for_is_counted_as_the_kernel_counts_it() -> None:
    got = run("""
quiet_veth()
ring, log = Ring("vb", bpf.build(), blocks=2), PacketLog()
out = sender("va")
for i in range(10_000):
    out.send(b"\\2" + bytes(11) + b"\\x08\\0" + tcp(i))
collect(ring, log, 10_000)
report(logged=log.total, drops=ring.drops, seen=ring.seen)
""")
    assert got["drops"] > 1000 and got["logged"] + got["drops"] == 10_000 == got["seen"]


def test_filters_act_in_the_kernel_and_one_connection_can_be_left_out() -> None:
    got = run("""
quiet_veth()
async def program(text): return (await capture_filter(text)).program
A, B = socket.inet_aton("192.0.2.7"), socket.inet_aton("192.0.2.1")
A6, B6 = socket.inet_pton(socket.AF_INET6, "2001:db8::7"), socket.inet_pton(socket.AF_INET6, "2001:db8::1")
frame = lambda data: b"\\2" + bytes(11) + (b"\\x86\\xdd" if data[0] >> 4 == 6 else b"\\x08\\0") + data
packets = [tcp(50000, 22, src=A, dst=B), tcp(22, 50000, src=B, dst=A), tcp(50001, 22, src=A, dst=B), tcp(50000, 22, src=B, dst=A),
           tcp(50000, 22, src=A6, dst=B6), tcp(22, 50000, src=B6, dst=A6), tcp(50000, 80, src=A6, dst=B6)]
arp = b"\\2" + bytes(11) + b"\\x08\\6" + bytes(28)
def captured(program, leave_out):
    ring, log, out = Ring("vb", bpf.build(program, leave_out)), PacketLog(), sender("va")
    for data in packets: out.send(frame(data))
    out.send(arp); out.send(frame(b"\\x45"))
    last = tcp(7, 80, src=A, dst=B); out.send(frame(last))
    deadline = time.monotonic() + 5; got = []
    while time.monotonic() < deadline and (not got or got[-1][:4] != [2, 6, 7, 80]):
        select.select([ring], [], [], 0.2)
        while (batch := ring.step()) is not None:
            got += [[int(h["family"]), int(h["proto"]), int(h["sport"]), int(h["dport"])] for h in batch.headers]
    ring.close()
    return got
report(all=captured(b"", None), v4=captured(b"", ("192.0.2.7", 50000, "192.0.2.1", 22)),
       mapped=captured(b"", ("::ffff:192.0.2.7", 50000, "::ffff:192.0.2.1", 22)),
       v6=captured(b"", ("2001:db8::7", 50000, "2001:db8::1", 22)),
       words=captured(asyncio.run(program("dport=80")), ("192.0.2.7", 50000, "192.0.2.1", 22)))
""")
    four = [[2, 6, 50000, 22], [2, 6, 22, 50000], [2, 6, 50001, 22], [2, 6, 50000, 22]]
    six = [[10, 6, 50000, 22], [10, 6, 22, 50000], [10, 6, 50000, 80]]
    rest = [[0, 0, 0, 0], [0, 0, 0, 0], [2, 6, 7, 80]]
    assert got["all"] == four + six + rest
    assert got["v4"] == got["mapped"] == four[2:] + six + rest
    assert got["v6"] == four + six[2:] + rest
    assert got["words"] == [[10, 6, 50000, 80], [2, 6, 7, 80]]


def test_lo_shows_each_packet_once() -> None:
    got = run("""
sh("ip link set lo up")
ring, log = Ring("", bpf.build()), PacketLog()
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); bound.bind(("127.0.0.1", 0))
for _ in range(5):
    out.sendto(b"x", bound.getsockname())
rows = collect(ring, log, 5)
report(n=len(rows), seen=ring.seen, where=[(r.interface, r.direction) for r in rows])
""")
    assert got["n"] == got["seen"] == 5 and got["where"] == [["lo", "in"]] * 5


def test_an_ordinary_user_captures_in_a_sandbox() -> None:
    got = sandboxed.run(
        WORKER.split("sys.path")[0]
        + """
from cttui.probe.packet_log import PacketLog
box = open_sandbox()
ring = Ring(box.device, bpf.build())
from cttui.probe.wire import Tun
data = bytes.fromhex(ARGS["packet"])
for _ in range(10):
    os.write(box.fd, (box.link_header + b"\\x08\\0" if box.wire else b"") + data)
n = 0
while n < 10 and select.select([ring], [], [], 2)[0]:
    while (batch := ring.step()) is not None:
        n += len(batch)
report(n=n, drops=ring.drops)
""",
        user=True,
        packet="450000280001000040068e98c6336402c0000201271000500000000000000000500220007c4b0000",
    )
    assert got == {"n": 10, "drops": 0}
