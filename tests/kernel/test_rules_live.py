"""Reading rule sets of every backend, whatever is installed and whatever is written in them."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hook_worker import run_worker

pytestmark = pytest.mark.kernel

ROOT = Path(__file__).parents[2]
READ = """
import asyncio, json, time
from cttui.kernel import rule_commands, rules
async def main():
    reader = rules.Reader()
    worst, last, stop = 0.0, time.perf_counter(), False
    first = await reader.read()
    out = []
    for line in {lines!r}:
        import subprocess
        subprocess.run(line, check=True, shell=True)
    again = await reader.read(whole=True)
    chains = again.chains
    print(json.dumps(dict(first=first.total, total=again.total, missing=again.missing, cost=again.cost_s, chains=[
        [c.backend, c.family, c.table, c.chain, c.hook, c.priority, c.policy, [[r.text, r.packets, r.verdict, r.conntrack] for r in c.rules]]
        for c in chains])))
asyncio.run(main())
"""


def read(netns, *lines, env=None):
    done = subprocess.run(
        [*netns.prefix, sys.executable, "-c", READ.format(lines=lines)],
        cwd=ROOT, capture_output=True, text=True, timeout=120, env=env,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def texts(got, backend):
    return [(c[1], c[2], c[3], [r[0] for r in c[7]]) for c in got["chains"] if c[0] == backend and c[7]]


def saved(netns, command, family):
    """What iptables itself lists, in the same shape."""
    table, out = "", {}
    for line in netns.run(command).splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith("-A "):
            _, chain, *rest = line.split(" ", 2)
            out.setdefault((family, table, chain), []).append(rest[0] if rest else "")
    return out


NFT = "iptables-nft -A INPUT -p tcp -m conntrack --ctstate NEW -j DROP; iptables-nft -t raw -A PREROUTING -j CT; iptables-nft -N X; iptables-nft -A X; ip6tables-nft -t mangle -A OUTPUT -j MARK --set-mark 3"  # fmt: skip
LEGACY = "iptables-legacy -A INPUT -p udp -j DROP; iptables-legacy -t nat -A POSTROUTING -j MASQUERADE; ip6tables-legacy -t raw -A PREROUTING -j CT --notrack"  # fmt: skip
NATIVE = "nft -f - <<'E'\ntable inet web {\n chain in { type filter hook input priority filter - 5;\n tcp dport { 80, 443 } ct state new counter accept comment \"[red]\"\n }\n}\ntable ip filter2 { \n chain a { type filter hook forward priority 1;\n counter drop\n }\n}\nE"  # fmt: skip


@pytest.mark.parametrize("which", ["none", "nft", "legacy", "native", "all"])
def test_every_backend_alone_and_together(netns, which):
    lines = {"none": [], "nft": [NFT], "legacy": [LEGACY], "native": [NATIVE], "all": [NFT, LEGACY, NATIVE]}[
        which
    ]
    got = read(netns, *lines)
    assert got["missing"] == [] and got["first"] == 0
    for backend, commands in (("iptables-nft", ("iptables-nft-save", "ip6tables-nft-save")), ("iptables-legacy", ("iptables-legacy-save", "ip6tables-legacy-save"))):  # fmt: skip
        want = {}
        for command, family in zip(commands, ("ip", "ip6"), strict=True):
            want |= saved(netns, command, family)
        assert {(f, t, c): rules for f, t, c, rules in texts(got, backend)} == want
    listed = netns.run("nft", "list", "ruleset")
    native = texts(got, "nft")
    assert len(native) == (2 if which in ("native", "all") else 0)
    for *_, rules in native:
        for text in rules:
            assert text in re.sub(r" packets \d+ bytes \d+", "", listed)
    bases = [(c[4], c[5]) for c in got["chains"] if c[4]]
    order = ["ingress", "prerouting", "input", "forward", "output", "postrouting"]
    assert bases == sorted(bases, key=lambda x: (order.index(x[0]), x[1]))


def test_hostile_comments_stay_with_their_rule(netns):
    evil = '\x1b[31m [/foo] " -j ACCEPT \\ \n[9:9] -A INPUT -j FAKE'
    for tool in ("iptables-nft", "iptables-legacy"):
        netns.run(tool, "-A", "INPUT", "-p", "tcp", "-m", "comment", "--comment", evil, "-j", "DROP")
        netns.run(tool, "-A", "INPUT", "-p", "udp", "-j", "RETURN")
    netns.run(
        "nft",
        "add table inet t; add chain inet t c; add rule inet t c counter drop comment \"}, {'rule': { [/b]\"",
    )
    got = read(netns)
    for backend in ("iptables-nft", "iptables-legacy"):
        (chain,) = [c for c in got["chains"] if c[0] == backend and c[7]]
        assert [r[2] for r in chain[7]] == ["DROP", "RETURN"] and "FAKE" in chain[7][0][0]
    assert texts(got, "nft") == [("inet", "t", "c", ["counter drop comment \"}, {'rule': { [/b]\""])]


NO_TEXT = """
import asyncio, msgspec
from cttui.kernel import nft_netlink as nl, rules
sock = nl.NftSocket()
table = nl.text(1, "t\\udcff")
sock.transact([(nl.NFT_MSG_NEWTABLE, nl.NLM_F_CREATE, 2, table), (nl.NFT_MSG_NEWCHAIN, nl.NLM_F_CREATE, 2, table + nl.text(3, "c\\udcfe"))])
chains = asyncio.run(rules.Reader().read(whole=True)).chains
print(msgspec.json.encode([(c.backend, c.table, c.chain, [r.text for r in c.rules]) for c in chains]).decode())
"""


def test_bytes_that_are_no_text_are_shown_as_bytes(netns):
    for tool in ("iptables-nft", "iptables-legacy"):
        netns.run(tool, "-A", "INPUT", "-m", "comment", "--comment", b"a\xff\xfeb", "-j", "ACCEPT")
    netns.run("nft", "add table ip u; add chain ip u c; add rule ip u c counter drop")
    done = subprocess.run([*netns.prefix, sys.executable, "-c", NO_TEXT], cwd=ROOT, capture_output=True, text=True, timeout=60)  # fmt: skip
    assert done.returncode == 0, done.stderr
    got = [entry for entry in json.loads(done.stdout) if entry[3] or entry[1] == "t\\xff"]
    said = ['-m comment --comment "a\\xff\\xfeb" -j ACCEPT']
    assert sorted(got) == [
        ["iptables-legacy", "filter", "INPUT", said], ["iptables-nft", "filter", "INPUT", said],
        ["nft", "t\\xff", "c\\xfe", []], ["nft", "u", "c", ["counter drop"]],
    ]  # fmt: skip


def test_rules_added_between_readings_get_their_text_and_others_keep_theirs(netns):
    netns.run("iptables-nft", "-A", "INPUT", "-p", "udp", "-j", "DROP")
    netns.run("nft", "add table ip t; add chain ip t c; add rule ip t c counter")
    got = read(netns, "iptables-nft -I INPUT -p tcp -j ACCEPT; nft add rule ip t c tcp dport 5 drop")
    assert got["first"] == 2
    assert texts(got, "iptables-nft") == [("ip", "filter", "INPUT", ["-p tcp -j ACCEPT", "-p udp -j DROP"])]
    assert texts(got, "nft") == [("ip", "t", "c", ["counter", "tcp dport 5 drop"])]


def links(tmp_path, *names):
    """A PATH with only these commands; /usr/sbin is still looked at, so it is masked by a mount."""
    for name in names:
        (tmp_path / name).symlink_to(Path("/usr/sbin") / name)


@pytest.mark.parametrize("present", [["nft"], ["iptables-nft-save", "ip6tables-nft-save"], []])
def test_missing_commands_are_said_and_counters_still_shown(netns, tmp_path, present, monkeypatch):
    netns.run("sh", "-c", NFT + ";" + LEGACY + ";" + NATIVE)
    links(tmp_path, *present)
    code = READ.format(lines=()).replace(
        "async def main", f"rule_commands._SBIN = {str(tmp_path)!r}\nasync def main"
    )
    env = dict(os.environ, PATH=str(tmp_path))
    done = subprocess.run([*_with_absolute(netns.prefix), sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, env=env)  # fmt: skip
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout)
    said = " ".join(got["missing"])
    assert ("nft is not installed" in said) == ("nft" not in present)
    assert ("iptables-nft-save is not installed" in said) == ("iptables-nft-save" not in present)
    assert "iptables-legacy-save is not installed" in said
    counted = {(c[1], c[2], c[3]): [r[1] for r in c[7]] for c in got["chains"]}
    assert counted["ip", "filter", "INPUT"] == [0] and counted["inet", "web", "in"] == [0]


def _with_absolute(prefix):
    return ["/usr/bin/nsenter", *prefix[1:]]


def test_without_privilege_a_sentence(netns):
    argv = [*netns.prefix, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-c", READ.format(lines=())]  # fmt: skip
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout)
    assert got["chains"] == [] and any("can't be read" in m for m in got["missing"])


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["legacy", "nft"])
def test_a_hundred_thousand_rules_and_set_elements(netns, tmp_path, backend):
    lines = ["*filter", ":INPUT ACCEPT [0:0]", *(f":C{n} - [0:0]" for n in range(1000))]
    lines += [f"-A INPUT -s 10.{n >> 8}.{n & 255}.0/24 -j C{n}" for n in range(1000)]
    lines += [f"-A C{i % 1000} -s 10.0.{i >> 8 & 255}.{i & 255}/32 -p tcp -m tcp --dport {i % 65000 + 1} -j DROP" for i in range(100_000)]  # fmt: skip
    rules = tmp_path / "rules"
    rules.write_text("\n".join([*lines, "COMMIT", ""]))
    netns.run("sh", "-c", f"iptables-{backend}-restore {rules}")
    elements = ", ".join(f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}" for i in range(100_000))
    (tmp_path / "set").write_text(f"table ip s {{\n set a {{ type ipv4_addr; elements = {{ {elements} }} }}\n chain c {{ type filter hook input priority 0;\n ip saddr @a counter drop\n}}\n}}\n")  # fmt: skip
    netns.run("nft", "-f", str(tmp_path / "set"))
    got = read(netns)
    assert got["total"] == 101_001 and got["missing"] == []
    assert texts(got, "nft") == [("ip", "s", "c", ["ip saddr @a counter drop"])]
    by_chain = {c[3]: c[7] for c in got["chains"] if c[0] == f"iptables-{backend}"}
    assert len(by_chain["C7"]) == 100 and by_chain["C7"][1][0].endswith("--dport 1008 -j DROP")


DEAR = """
import asyncio, json, socket, subprocess
from cttui.kernel import nft_rules, rules
nft_rules.WHOLE_DUMP_RULES, nft_rules.DEAR_S, nft_rules.DEAR_DUTY = 0, -1.0, 1e-6
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
def send():
    for port in (1, 2, 3):
        sender.sendto(b"x", ("127.0.0.1", port))
async def main():
    reader = rules.Reader()
    out = []
    async def read(whole=False):
        chain = next(c for c in (await reader.read(whole)).columns if c.chain == "c")
        out.append([chain.packets, sorted(chain.fresh), bool(chain.dear_s)])
    await read()
    reader.watched = {("inet", "t", "c"): [1, 7]}
    send()
    await read()
    subprocess.run(["nft", "delete", "rule", "inet", "t", "c", "handle", str(HANDLE)], check=True)
    reader.watched = {("inet", "t", "c"): [1, 2]}
    send()
    await read()
    await read(True)
    print(json.dumps(out))
asyncio.run(main())
"""


def test_of_a_dear_chain_the_rules_on_screen_are_read_singly(netns):
    netns.run("nft", "add table inet t; add chain inet t c { type filter hook output priority 0; }")
    for port in (1, 2, 3):
        netns.run("nft", f"add rule inet t c udp dport {port} counter accept")
    (handle,) = re.findall(
        r"dport 3 .*# handle (\d+)", netns.run("nft", "-a", "list", "chain", "inet", "t", "c")
    )
    done = subprocess.run([*netns.prefix, sys.executable, "-c", DEAR.replace("HANDLE", handle)], cwd=ROOT, capture_output=True, text=True, timeout=60)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [
        [[0, 0, 0], [], True],
        [[0, 1, 0], [1], True],
        [[0, 2, 0], [1], True],  # the third rule is gone: the next whole reading says so
        [[2, 2], [], True],
    ]


NAT = "nft add table ip n && nft add chain ip n p { type nat hook postrouting priority 100 ; }"
BASE = "nft add table ip n && nft add chain ip n i { type filter hook input priority 0 ; }"
SWITCHES = [
    ("", False), (NAT, False), ("iptables-legacy -t nat -P POSTROUTING ACCEPT", False),
    ("iptables-nft -A INPUT -p tcp -j ACCEPT", False), ("iptables-nft -t raw -A PREROUTING -p tcp -j CT --notrack", False),
    ("iptables-nft -t raw -A PREROUTING -j CT", True), ("iptables-legacy -A INPUT -m conntrack --ctstate NEW", True),
    ("iptables-legacy -t nat -A POSTROUTING -o tun9 -j MASQUERADE", True), ("iptables-nft -A INPUT -m connmark --mark 7", True),
    ("iptables-nft -A INPUT -m connbytes --connbytes 9 --connbytes-mode packets --connbytes-dir both", True),
    ("iptables-nft -A INPUT -p tcp -m connlimit --connlimit-above 9", True), ("iptables-nft -t mangle -A OUTPUT -j CONNMARK --set-mark 1", True),
    (NAT + " && nft add rule ip n p oifname tun9 masquerade", True), (BASE + " && nft add rule ip n i ct mark 7", True),
    (BASE + " && nft add rule ip n i counter", False),
]  # fmt: skip


@pytest.mark.parametrize(("rules", "on"), SWITCHES, ids=[r or "none" for r, _ in SWITCHES])
def test_conntrack_is_said_to_be_on_where_it_is(netns, rules, on):
    got = run_worker(netns, {"setup": [r for r in rules.split(" && ") if r], "bursts": [{"count": 3, "kind": "udp", "port": 9}]})  # fmt: skip
    # What the kernel does is the judge: whether three packets became entries.
    assert got["entries"] == (3 if on else 0)
    assert got["active"]["ip"][0] is (True if on else None)
    assert got["active"]["ip6"][0] is None
