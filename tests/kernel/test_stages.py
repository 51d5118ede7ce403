"""Stage counters: exact, without a trace when their owner dies, and without switching conntrack on."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hook_worker import run_worker

pytestmark = pytest.mark.kernel

ROOT = Path(__file__).parents[2]
HOLD = (
    "import sys,time; from cttui.kernel.stages import Stages; s=Stages(); s.arm(); "
    "print(s.table, flush=True); sys.stdin.read()"
)


def stage(got, hook, label, family="ip"):
    (found,) = [s for s in got["stages"] if (s["family"], s["hook"], s["label"]) == (family, hook, label)]
    return found["packets"]


@pytest.mark.parametrize("count", [1, 10, 1000, 100_000])
def test_bursts_are_counted_exactly_by_stages_rules_and_policies(netns, count):
    got = run_worker(
        netns,
        {
            "setup": [
                "iptables-nft -t raw -A PREROUTING -p udp --dport 9", "iptables-nft -P INPUT ACCEPT",
                "iptables-legacy -t mangle -A PREROUTING -p udp --dport 9", "iptables-nft -A INPUT -p udp -j DROP",
            ],
            "nft": "table ip own {\n chain c { type filter hook prerouting priority -5;\n udp dport 9 counter\n}\n}\n",
            "bursts": [{"count": count, "kind": "udp", "port": 9}],
            "oracle": ["iptables-nft -t raw -nvxL PREROUTING", "iptables-legacy -t mangle -nvxL PREROUTING",
                       "nft list chain ip own c", "iptables-nft -nvxL INPUT"],
        },
    )  # fmt: skip
    for hook, label in [("prerouting", "in"), ("prerouting", "conntrack"), ("prerouting", "prerouting"), ("input", "mangle")]:  # fmt: skip
        assert stage(got, hook, label) == count
    assert stage(got, "input", "filter") == 0
    ours = {(c["backend"], c["table"], c["chain"]): c for c in got["chains"]}
    raw, mangle, own, filtered = got["oracle"].values()
    for key, text in [
        (("iptables-nft", "raw", "PREROUTING"), raw), (("iptables-legacy", "mangle", "PREROUTING"), mangle),
        (("iptables-nft", "filter", "INPUT"), filtered),
    ]:  # fmt: skip
        packets, size = text.splitlines()[2].split()[:2]
        (rule,) = ours[key]["rules"]
        assert (rule["packets"], rule["bytes"]) == (int(packets), int(size)) and int(packets) == count
    (rule,) = ours["nft", "own", "c"]["rules"]
    assert f"counter packets {rule['packets']} bytes {rule['bytes']}" in own and rule["packets"] == count
    assert ours["iptables-nft", "filter", "INPUT"]["policy_packets"] == 0


def test_looking_does_not_switch_conntrack_on(netns):
    got = run_worker(netns, {"bursts": [{"count": 10}]})
    assert got["active"]["ip"][0] is None and got["stats"].get("invalid", 0) == 0
    assert netns.run("conntrack", "-C").strip() == "0"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, None])
def test_tables_die_with_their_owner_and_the_rules_stay_the_same(netns, number):
    netns.run("iptables-nft", "-A", "INPUT", "-p", "tcp", "-j", "DROP")
    netns.run("iptables-legacy", "-A", "INPUT", "-p", "udp", "-j", "DROP")
    netns.run("nft", "add table inet mine; add chain inet mine c { type filter hook input priority 0; }")

    def rules():
        saves = [netns.run(c) for c in ("iptables-nft-save", "iptables-legacy-save", "ip6tables-nft-save")]
        text = "".join(saves) + netns.run("nft", "-a", "list", "ruleset")
        return [line for line in text.splitlines() if not line.startswith("#")]

    before = rules()
    # exec: the signal must meet the owner, not nsenter's parent
    owner = netns.popen(sys.executable, "-c", HOLD, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
    table = owner.stdout.readline().decode().strip()
    assert f"table ip {table}" in netns.run("nft", "list", "tables")
    refused = subprocess.run([*netns.prefix, "nft", "delete", "table", "ip", table], capture_output=True)
    assert refused.returncode != 0
    if number is None:
        owner.stdin.close()
    else:
        inside = subprocess.run(
            ["pgrep", "-P", str(owner.pid)], capture_output=True, text=True
        ).stdout.split()
        for pid in inside or [str(owner.pid)]:
            subprocess.run(["kill", f"-{int(number)}", pid], check=True)
    owner.wait(timeout=10)
    owner.stdout.close()
    if number is not None:
        owner.stdin.close()
    assert rules() == before


def test_a_flushed_rule_set_is_noticed(netns):
    code = (
        "import subprocess,time; from cttui.kernel.stages import Stages; s=Stages(); s.arm(); s.read()\n"
        "subprocess.run(['nft','flush','ruleset'],check=False)\n"
        "try: print(len(s.read()))\nexcept OSError as e: print('gone', s.armed)\n"
        "s.arm(); print(len(s.read()))"
    )
    done = subprocess.run([*netns.prefix, sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=30)  # fmt: skip
    assert done.stdout.split("\n")[-2] == "54", done.stderr


def test_arming_without_privilege_says_no(netns):
    code = "from cttui.kernel.stages import Stages\ntry: Stages().arm()\nexcept OSError as e: print(e.errno)"
    argv = [*netns.prefix, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-c", code]  # fmt: skip
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.stdout.strip() == "1", done.stderr
