"""Every packet that the injector reports as sent is one that raw PREROUTING counted."""

import pytest
import sandboxed

from cttui.lab.compose import compile
from cttui.lab.presets import PRESETS
from cttui.model.actions import Fire, Patch, Template

both = pytest.mark.parametrize("user", [False, True], ids=["root", "user"])

FIRE = """
import msgspec
from cttui.probe.injector import Injector
box = open_sandbox()
def fires():
    return [msgspec.msgpack.decode(f, type=Fire) for f in ARGS["fires"]]
"""


def _packed(*fires: Fire) -> list[bytes]:
    import msgspec

    return [msgspec.msgpack.encode(fire) for fire in fires]


def _fire(notation: str, count: int, rate: float = 0, seed: int = 0) -> Fire:
    return Fire(templates=compile(notation, count), count=count, rate_pps=rate, seed=seed)


@pytest.mark.kernel
@both
def test_presets_are_counted_packet_by_packet_and_valid(user: bool) -> None:
    """All presets: sent = counted, and conntrack finds no checksum wrong (it would count `invalid` or `error`)."""
    wrong = ("ack", "rst", "xmas", "syn-ack")  # INVALID by what they are (a bare ACK only if loose is off)
    chosen = [p for p in PRESETS if p.name.rstrip("6") not in wrong]
    fires = [_fire(p.notation, min(p.count, 2000), 0, p.seed) for p in chosen]
    got = sandboxed.run(
        FIRE
        + """
async def main():
    injector = Injector(box)
    out = []
    for fire in fires():
        before = [counters(f)["raw PREROUTING"][0] for f in ("iptables", "ip6tables")]
        done = await injector.fire(fire)
        after = [counters(f)["raw PREROUTING"][0] for f in ("iptables", "ip6tables")]
        out.append((done.sent, sum(after) - sum(before), done.errors))
    await injector.close()
    report(out=out, stats=stats())
asyncio.run(main())
""",
        user=user,
        fires=_packed(*fires),
    )
    for p, fire, (sent, counted, errors) in zip(chosen, fires, got["out"], strict=True):
        assert (sent, errors) == (fire.count, {}), p.name
        # conntrack reassembles first (priority -400): raw sees the first fragment of each datagram's three
        assert counted in ((sent, sent // 3) if "fragments" in p.name else (sent,)), p.name
    assert got["stats"]["invalid"] == got["stats"]["error"] == got["stats"]["drop"] == 0


@pytest.mark.kernel
@both
def test_full_speed_loses_nothing(user: bool) -> None:
    """200,000 distinct packets as fast as they go, interleaved from three templates of different length."""
    base = compile('IP()/TCP(sport=(1024,65535),dport=80,flags="S")')[0]
    longer = compile('IP()/UDP(sport=(1024,65535),dport=9)/"xyz"')[0]
    fire = Fire(templates=[base, longer, compile("IP()/ICMP(id=(1,65535))")[0]], count=200_000)
    got = sandboxed.run(
        FIRE
        + """
sh("iptables -t raw -I PREROUTING -j DROP")
async def main():
    injector = Injector(box)
    seen = []
    done = await injector.fire(fires()[0], lambda p: seen.append(p.sent))
    await injector.close()
    report(sent=done.sent, errors=done.errors, seen=seen, counted=counters()["raw PREROUTING"][0])
asyncio.run(main())
""",
        user=user,
        fires=_packed(fire),
    )
    assert got["sent"] == got["counted"] == 200_000
    assert got["errors"] == {}
    assert got["seen"] == sorted(got["seen"])


@pytest.mark.kernel
def test_pace_cancel_and_the_next_burst() -> None:
    """A slow burst is on schedule, a cancelled one ends and says how far it came, and the next one is only itself."""
    slow = _fire("IP()/TCP(sport=(1,1000))", 1000, rate=200)
    paced = _fire("IP()/TCP(sport=(1,50))", 50, rate=500)
    got = sandboxed.run(
        FIRE
        + """
async def main():
    injector = Injector(box)
    slow, paced = fires()
    first = asyncio.Event()
    sent = []
    def progress(so_far):
        sent.append(so_far.sent)
        first.set()
    task = asyncio.create_task(injector.fire(slow, progress))
    await first.wait()
    try:
        await injector.fire(paced)
        busy = ""
    except FaultError as e:
        busy = e.fault.code
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    counted = counters()["raw PREROUTING"][0]
    done = await injector.fire(paced)
    both = counters()["raw PREROUTING"][0]
    await injector.close()
    report(busy=busy, cancelled=task.cancelled(), sent=sent[-1], counted=counted,
           paced=done.sent, both=both, seconds=done.seconds)
asyncio.run(main())
""",
        fires=_packed(slow, paced),
    )
    assert got["busy"] == "burst-busy"
    assert got["cancelled"] and 0 < got["sent"] < 1000 and got["counted"] == got["sent"]
    assert got["paced"] == 50 and got["seconds"] >= 49 / 500
    assert got["both"] == got["counted"] + 50


@pytest.mark.kernel
def test_same_seed_same_bytes_on_the_wire() -> None:
    """Twice the same seed and once another, as the receiving end captures them."""
    text = 'IP(src=RandIP("198.18.0.0/15"))/UDP(sport=RandShort(),dport=9)/"x"'
    fires = [_fire(text, 300, seed=seed) for seed in (7, 7, 8)]
    got = sandboxed.run(
        FIRE
        + """
import hashlib, socket
async def main():
    injector = Injector(box)
    sums = []
    for fire in fires():
        listener = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
        listener.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)  # SO_RCVBUFFORCE
        listener.bind((box.device, 3))
        listener.settimeout(5)
        await injector.fire(fire)
        packets = []
        while len(packets) < fire.count:
            data, address = listener.recvfrom(65536)
            if address[2] == 0:
                packets.append(data)
        sums.append((hashlib.sha256(b"".join(packets)).hexdigest(), len(set(packets))))
    await injector.close()
    report(sums=sums)
asyncio.run(main())
""",
        fires=_packed(*fires),
    )
    (one, n), (two, _), (three, _) = got["sums"]
    assert one == two != three
    assert n == 300


@pytest.mark.kernel
def test_refusals_are_counted_and_said() -> None:
    """A packet that is none, a device that is down, a template that does not fit, an injector that was killed."""
    bad = Fire(templates=[Template(data=b"\\x00" * 20)], count=3)
    good = _fire("IP()/TCP()", 5)
    misfit = Fire(
        templates=[Template(data=bytes(20), patches=[Patch(offset=30, width=2, kind="range")])], count=1
    )
    got = sandboxed.run(
        FIRE
        + """
import signal
async def main():
    injector = Injector(box)
    bad, good, misfit = fires()
    out = {}
    out["bad"] = (await injector.fire(bad)).errors
    sh("ip link set tun0 down")
    out["down"] = (await injector.fire(good)).errors
    sh("ip link set tun0 up")
    try:
        await injector.fire(misfit)
    except FaultError as e:
        out["misfit"] = e.fault.code
    injector._process.kill()
    try:
        await injector.fire(good)
        await injector.fire(good)
    except FaultError as e:
        out["killed"] = e.fault.code
    out["again"] = (await injector.fire(good)).sent
    await injector.close()
    report(**out)
asyncio.run(main())
""",
        fires=_packed(bad, good, misfit),
    )
    assert got["bad"] == {"EINVAL": 3}
    assert got["down"] == {"EIO": 5}
    assert got["misfit"] == "bad-template"
    assert got.get("killed", "injector-died") == "injector-died"
    assert got["again"] == 5
