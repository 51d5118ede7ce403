"""What an application sees, and races made certain."""

import pytest
import sandboxed
from bursts import packets

SETUP = """
from cttui.probe.stimuli import listen, send
from cttui.kernel.nfqueue import Queue
box = open_sandbox()
"""


@pytest.mark.kernel
@pytest.mark.parametrize("user", [False, True], ids=["root", "user"])
def test_what_sockets_see(user: bool) -> None:
    """Sent, refused by a rule, connected, refused by a closed port, left hanging; IPv4 and IPv6."""
    got = sandboxed.run(
        SETUP
        + """
async def main():
    out = {}
    for family, address, far in (("4", "192.0.2.1", "203.0.113.9"), ("6", "2001:db8::1", "2001:db8:9::9")):
        keep = listen(Listen(protocol="tcp", address=address, port=8080))
        out["udp" + family] = await send(Send(how="udp", address=far, port=53, data=b"x"))
        out["open" + family] = await send(Send(how="connect", address=address, port=8080))
        out["closed" + family] = await send(Send(how="connect", address=address, port=81))
        out["far" + family] = await send(Send(how="connect", address=far, port=81, timeout_s=0.3))
    sh("iptables -A OUTPUT -p udp -j DROP; ip6tables -A OUTPUT -p udp -j DROP")
    for family, far in (("4", "203.0.113.9"), ("6", "2001:db8:9::9")):
        out["dropped" + family] = await send(Send(how="udp", address=far, port=53, data=b"x"))
    for family, data, address in (("4", ARGS["v4"], "127.0.0.1"), ("6", ARGS["v6"], "::1")):
        before = counters("iptables" if family == "4" else "ip6tables")["raw PREROUTING"][0]
        out["raw" + family] = await send(Send(how="raw", address=address, port=80, data=data))
        out["seen" + family] = counters("iptables" if family == "4" else "ip6tables")["raw PREROUTING"][0] - before
    for wrong in (Send(how="dance", address="192.0.2.1", port=1), Send(how="udp", address="nowhere", port=1),
                  Send(how="udp", address="192.0.2.1", port=70000)):
        try:
            await send(wrong)
        except FaultError as e:
            out.setdefault("faults", []).append(e.fault.code)
    try:
        listen(Listen(protocol="tcp", address="203.0.113.1", port=80))
    except FaultError as e:
        out["faults"].append(e.fault.code)
    report(**out)
asyncio.run(main())
""",
        user=user,
        v4=_syn("127.0.0.1"),
        v6=_syn("::1"),
    )
    for family in "46":
        assert got[f"udp{family}"] == "sent"
        assert got[f"open{family}"] == "connected"
        assert got[f"closed{family}"] == "ECONNREFUSED"
        assert got[f"far{family}"] == "hangs"
        assert got[f"dropped{family}"] == "EPERM"
        assert got[f"raw{family}"] == "sent" and got[f"seen{family}"] >= 1
    assert got["faults"] == ["bad-send", "bad-address", "bad-address", "listen-failed"]


def _syn(address: str) -> bytes:
    layer = "IPv6" if ":" in address else "IP"
    return packets(f'{layer}(src="{address}",dst="{address}")/TCP(sport=5555,dport=80,flags="S")')[0]


@pytest.mark.kernel
@pytest.mark.parametrize("user", [False, True], ids=["root", "user"])
@pytest.mark.parametrize("v6", [False, True], ids=["ipv4", "ipv6"])
def test_two_packets_of_one_flow_race_for_certain(user: bool, v6: bool) -> None:
    """TCP: the loser is dropped (insert_failed 1, drop 1). UDP: it uses the winner's entry (clash_resolve 1)."""
    layer = "IPv6" if v6 else "IP"
    tcp = packets(f'{layer}()/TCP(sport=5000,dport=80,flags="S")')[0]
    udp = packets(f'{layer}()/UDP(sport=5000,dport=53)/"x"')[0]
    got = sandboxed.run(
        SETUP
        + """
from cttui.probe.injector import Injector
iptables = "ip6tables" if ARGS["v6"] else "iptables"
sh(iptables + " -t mangle -A INPUT -j NFQUEUE --queue-num 7")
async def main():
    injector = Injector(box)
    out = {}
    for name in ("tcp", "udp"):
        before = stats()
        with Queue(7) as queue:
            await injector.fire(Fire(templates=[Template(data=ARGS[name])], count=2))
            held, released = queue.wait(2, 5), queue.release()
            while queue.wait(1, 0.05):
                pass
            after = stats()
        out[name] = (held, released, {k: after[k] - before[k] for k in after if after[k] != before[k]})
    await injector.close()
    report(**out)
asyncio.run(main())
""",
        user=user,
        v6=v6,
        tcp=tcp,
        udp=udp,
    )
    held, released, moved = got["tcp"]
    assert (held, released) == (2, 2)
    assert {k: moved.get(k) for k in ("insert_failed", "drop")} == {"insert_failed": 1, "drop": 1}
    held, released, moved = got["udp"]
    assert (held, released) == (2, 2)
    assert moved.get("clash_resolve") == 1 and "drop" not in moved


@pytest.mark.kernel
def test_queue_of_another_program_is_an_error() -> None:
    got = sandboxed.run(
        SETUP
        + """
with Queue(7):
    try:
        Queue(7)
        report(error="")
    except OSError as e:
        report(error=str(e))
"""
    )
    assert "queue 7" in got["error"]
