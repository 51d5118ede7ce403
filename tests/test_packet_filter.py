"""Filter words on packets: the columns against pcap's own idea of the same words, and against plain Python."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packet_samples import SEEDS, raw_pcap, records, tcp

from cttui.kernel.packet_columns import decode_headers
from cttui.model.faults import FaultError
from cttui.model.packet_match import parse_packets
from cttui.probe.packet_filter import capture_filter, matcher_of, pcap_expression
from cttui.probe.trace_filter import alternatives

IP = [
    (kind, data)
    for kind, data in SEEDS
    if kind in (0x0800, 0x86DD) and len(data) >= 48 and data[0] >> 4 in (4, 6)
]
OTHER_PORTS = {33, 136}
PACKETS = [
    (0x86DD if data[0] >> 4 == 6 else kind, data)
    for kind, data in IP
    # pcap's ports know neither DCCP and UDPlite nor IPv6 behind extension headers
    if not (data[0] >> 4 == 4 and data[9] in OTHER_PORTS)
    and not (data[0] >> 4 == 6 and data[6] in (0, 44, 60))
] + [(0x0800, tcp(p, 443, src=bytes([10, 0, p % 5, 1]))) for p in range(1000, 1040)]

words = st.sampled_from([
    "src=198.51.100.2", "dst=192.0.2.0/24", "host=2001:db8::1", "src=10.0.1.0-10.0.3.255", "src=2001:db8::/32",
    "host=10.0.2.1,192.0.2.1", "sport=1000-1015", "dport=443", "port=80", "port=1,2,4-6", "proto=tcp", "udp", "icmp",
    "proto=132", "ipv6", "ipv4", "type=8", "type=128-136", "code=3", "icmp-id=1-3", "bytes>60", "bytes<=44", "bytes=60-90",
    "sport=*", "type=*", "icmp-id=*", "icmp-id=0", "proto=40-60",
])  # fmt: skip
filters = st.recursive(
    words,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda t: f"({t[0]} and {t[1]})"),
        st.tuples(inner, inner).map(lambda t: f"({t[0]} or {t[1]})"),
        inner.map(lambda t: f"not ({t})"),
    ),
    max_leaves=5,
)


@settings(max_examples=60, deadline=None)
@given(filters)
def test_columns_and_tcpdump_agree(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    rows = records(PACKETS)
    rows["length"] = [len(data) for _, data in PACKETS]
    matcher = matcher_of(text)
    node = parse_packets(text)
    assert matcher is not None and node is not None
    mine = matcher(rows, decode_headers(rows))
    expression = pcap_expression(node)
    if expression is None:
        assert "icmp-id" in text
        return
    path = tmp_path_factory.mktemp("pcap") / "all"
    path.write_bytes(raw_pcap([data for _, data in PACKETS]))
    done = subprocess.run(["tcpdump", "-nttr", str(path), expression], capture_output=True, text=True)
    if "rejects all packets" in done.stderr:  # tcpdump has proved it
        assert not mine.any()
        return
    assert done.returncode == 0, (text, expression, done.stderr)
    theirs = [int(line.split()[0].split(".")[1]) for line in done.stdout.splitlines() if line[0].isdigit()]
    assert [i for i, hit in enumerate(mine) if hit] == theirs, expression


@pytest.mark.parametrize(
    "text",
    ["state=ESTABLISHED", "assured", "mark=1", "zone=3", "helper=ftp", "reply-src=1.2.3.4", "not timeout>4"],
)
def test_what_only_flows_have_is_refused_by_name(text: str) -> None:
    with pytest.raises(FaultError) as caught:
        matcher_of(text)
    assert caught.value.fault.code == "bad-filter"


async def test_captures_take_words_expressions_and_nothing() -> None:
    assert await capture_filter("  ") == (b"", None)
    program, left = await capture_filter("dport=80 or udp")
    assert program and left is None
    assert (await capture_filter("pcap: tcp[13] & 2 != 0")).program
    with pytest.raises(FaultError):
        await capture_filter("pcap: tcp[")
    with pytest.raises(FaultError):
        matcher_of("pcap: tcp")


async def test_without_tcpdump_the_columns_do_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    program, matcher = await capture_filter("dport=443")
    assert program == b"" and matcher is not None
    rows = records(PACKETS)
    assert matcher(rows, decode_headers(rows)).sum() == 40
    with pytest.raises(FaultError) as caught:
        await capture_filter("pcap: tcp")
    assert "not installed" in caught.value.fault.sentence


def passes(tests: tuple, kind: int, data: bytes) -> bool:  # type: ignore[type-arg]
    """What nf_tables makes of a rule's tests."""
    six = kind == 0x86DD
    at = 40 if six else (data[0] & 15) * 4
    fields = {
        "nfproto": bytes([10 if six else 2]),
        "l4proto": data[6:7] if six else data[9:10],
        "network": data,
        "transport": data[at:],
    }
    for test in tests:
        value = fields[test.base][test.offset : test.offset + len(test.low)]
        if len(value) < len(test.low) or (test.low <= value <= test.high) == test.negated:
            return False
    return True


@settings(max_examples=100, deadline=None)
@given(filters.filter(lambda t: "bytes" not in t and "type=*" not in t and "icmp-id=*" not in t))
def test_rules_of_a_trace_take_what_the_columns_take(text: str) -> None:
    try:
        rules = alternatives(text)
    except FaultError as fault:
        assert "rules to trace" in fault.fault.sentence
        return
    matcher = matcher_of(text)
    assert matcher is not None
    whole = [(k, d) for k, d in PACKETS if not (k == 0x0800 and (d[6] & 0x3F or d[7]))]
    rows = records(whole)
    mine = matcher(rows, decode_headers(rows)).tolist()
    assert [any(passes(tests, *packet) for tests in rules) for packet in whole] == mine


def test_a_trace_is_armed_for_everything_or_refused() -> None:
    assert alternatives("") == [()]
    with pytest.raises(FaultError, match="rules to trace"):
        alternatives("port=1,3,5,7,9,11,13 host=1.1.1.1,2.2.2.2")
    with pytest.raises(FaultError, match="armed by bytes"):
        alternatives("bytes>5")


def test_paths_are_files(tmp_path: Path) -> None:
    """raw_pcap writes what tcpdump takes for raw IP."""
    path = tmp_path / "x"
    path.write_bytes(raw_pcap([PACKETS[0][1]]))
    done = subprocess.run(["tcpdump", "-nr", str(path)], capture_output=True, text=True, check=True)
    assert "198.51.100.2.10000 > 192.0.2.1.80" in done.stdout
