"""Flows in words. The lines themselves are compared with the tool in tests/kernel/test_conntrack_lines.py."""

import json
import socket
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from query_strategies import WALL_S, columns_of, flows_of

from cttui.kernel.ctencode import tuple_parts
from cttui.model import flow as f
from cttui.model import words
from cttui.model.filters import matches, parse
from cttui.model.flow import Flow


def flow(**changes: object) -> Flow:
    """A TCP flow, with changes."""
    base: dict[str, object] = {
        "id": 7, "family": f.AF_INET, "proto": 6, "orig_src": bytes([192, 0, 2, 1]), "orig_dst": bytes([203, 0, 113, 5]),
        "orig_sport": 40000, "orig_dport": 80, "reply_src": bytes([203, 0, 113, 5]), "reply_dst": bytes([192, 0, 2, 1]),
        "reply_sport": 80, "reply_dport": 40000, "status": f.SEEN_REPLY | f.ASSURED | f.CONFIRMED, "timeout_s": 100, "state": 3,
    }  # fmt: skip
    return Flow(**{**base, **changes})  # type: ignore[arg-type]


def test_line() -> None:
    tail = "src=192.0.2.1 dst=203.0.113.5 sport=40000 dport=80 src=203.0.113.5 dst=192.0.2.1 sport=80 dport=40000 [ASSURED] mark=0 use=1"
    assert words.conntrack_line(flow()) == f"ipv4     2 tcp      6 100 ESTABLISHED {tail} id=7"
    assert words.conntrack_line(flow(), extended=False, with_id=False) == f"tcp      6 100 ESTABLISHED {tail}"


def test_line_of_an_offloaded_flow_has_neither_timeout_nor_state() -> None:
    assert words.conntrack_line(flow(status=f.SEEN_REPLY | f.ASSURED | f.OFFLOAD, state=None)).startswith(
        "ipv4     2 tcp      6 src="
    )
    assert "[OFFLOAD] mark" in words.conntrack_line(flow(status=f.SEEN_REPLY | f.OFFLOAD))
    assert "[HW_OFFLOAD] mark" in words.conntrack_line(flow(status=f.OFFLOAD | f.HW_OFFLOAD))


def test_line_with_age_and_security_context() -> None:
    line = words.conntrack_line(
        flow(start_ns=10**18 + 999_999_999, secctx="u:r:t:s0", zone=3), now_s=10**9 + 61.5
    )
    assert "mark=0 secctx=u:r:t:s0 zone=3 delta-time=61 use=1" in line
    assert "delta-time=5 " in words.conntrack_line(flow(start_ns=10**18, stop_ns=10**18 + 5 * 10**9))


def test_hostile_text_is_escaped() -> None:
    evil = flow(helper="\x1b]0;x\x07", secctx="a\nb\u202e")
    line = words.conntrack_line(evil)
    assert line.isprintable()
    assert "helper=\\x1b]0;x\\x07" in line
    assert words.flow_dict(evil)["secctx"] == "a\\nb\\u202e"


@given(st.integers(0, 1 << 30))
@settings(max_examples=60, deadline=None)
def test_a_line_typed_as_a_filter_selects_its_flow(seed: int) -> None:
    """Whatever conntrack prints can be pasted into the filter."""
    columns, interned = columns_of(seed, 6)
    for entry in flows_of(columns, interned):
        if entry.state is not None and entry.state > 8 and entry.proto == 6:
            continue  # a state beyond the tool's names is printed as NONE
        for extended in (False, True):
            line = words.conntrack_line(entry, extended=extended, now_s=WALL_S)
            assert matches(parse(line), entry, WALL_S), line


@given(st.integers(0, 1 << 30))
@settings(max_examples=30, deadline=None)
def test_json_holds_everything(seed: int) -> None:
    columns, interned = columns_of(seed, 4)
    names = set()
    for entry in flows_of(columns, interned):
        said = json.loads(json.dumps(words.flow_dict(entry, WALL_S)))
        names.add(frozenset(said) - {"sport", "dport", "srckey", "dstkey", "type", "code", "icmp-id"})
        assert said["id"] == entry.id
        assert said["reply"]["bytes"] == entry.reply_bytes
        assert len(said["status"]) == entry.status.bit_count()
    assert len(names) == 1  # the same keys for every flow


def test_json_of_one_flow() -> None:
    said = words.flow_dict(
        flow(labels=b"\x02" + bytes(14) + b"\x80", mark=5, zone=2, zone_dir=1, tcp_wscale_orig=7)
    )
    assert (said["family"], said["proto"], said["protonum"], said["state"]) == (
        "ipv4",
        "tcp",
        6,
        "ESTABLISHED",
    )
    assert (said["src"], said["dport"], said["reply"]["src"]) == ("192.0.2.1", 80, "203.0.113.5")
    assert said["labels"] == [1, 127]
    assert (said["zone"], said["zone-dir"]) == (2, "orig")
    assert said["status"] == ["SEEN_REPLY", "ASSURED", "CONFIRMED"]
    assert said["tcp"]["wscale-orig"] == 7
    assert said["bytes"] is None
    assert said["master"] is None


def test_master_of_an_expected_flow() -> None:
    raw = tuple_parts(f.AF_INET, 6, bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2]), 40000, 21)
    assert words.master_dict(raw) == {
        "proto": "tcp",
        "src": "10.0.0.1",
        "dst": "10.0.0.2",
        "sport": 40000,
        "dport": 21,
    }
    six = tuple_parts(f.AF_INET6, 58, bytes(15) + b"\x01", bytes(15) + b"\x02", 77, 128 << 8 | 1)
    assert words.master_dict(six) == {
        "proto": "icmpv6",
        "src": "::1",
        "dst": "::2",
        "type": 128,
        "code": 1,
        "icmp-id": 77,
    }


@given(st.binary(max_size=80))
def test_master_of_garbage(raw: bytes) -> None:
    words.master_dict(raw)


def test_nat() -> None:
    assert words.nat_words(flow()) == []
    dnat = flow(status=f.DST_NAT, reply_src=bytes([10, 0, 0, 7]), reply_sport=8080)
    assert words.nat_words(dnat) == ["DNAT: client dialled 203.0.113.5:80, answered by 10.0.0.7:8080"]
    both = flow(
        status=f.DST_NAT | f.SRC_NAT,
        reply_src=bytes([10, 0, 0, 7]),
        reply_dst=bytes([10, 0, 0, 254]),
        reply_dport=1024,
    )
    assert words.nat_words(both)[1] == "SNAT: client 192.0.2.1:40000 is seen by the server as 10.0.0.254:1024"


def test_flags() -> None:
    assert words.flags_words(flow()) == "assured"
    assert words.flags_words(flow(status=f.CONFIRMED)) == "unreplied"
    assert words.flags_words(flow(status=f.SEEN_REPLY | f.DST_NAT)) == "replied dnat"
    assert (
        words.flags_words(flow(status=f.SEEN_REPLY | f.ASSURED | f.OFFLOAD | f.HW_OFFLOAD))
        == "assured hw-offload"
    )
    for status in range(1 << 12, 1 << 16, 257):
        entry = flow(status=status)
        assert matches(
            parse(words.flags_words(entry)), entry
        )  # each of them is a word of the filter language


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "nf_conntrack_tcp_timeout_established"),
        ({"state": 1}, "nf_conntrack_tcp_timeout_syn_sent"),
        ({"tcp_flags_orig": 0x33, "tcp_flags_reply": 0x23}, "nf_conntrack_tcp_timeout_unacknowledged"),
        ({"status": f.CONFIRMED, "tcp_flags_orig": 0x0A}, "nf_conntrack_tcp_timeout_max_retrans"),
        ({"tcp_flags_reply": 0x33, "state": 7}, "nf_conntrack_tcp_timeout_time_wait"),
        ({"state": 9}, ""),
        ({"state": None}, ""),
        ({"proto": 17}, "nf_conntrack_udp_timeout_stream"),
        ({"proto": 17, "status": f.SEEN_REPLY}, "nf_conntrack_udp_timeout"),
        ({"proto": 136, "status": 0}, "nf_conntrack_udp_timeout"),
        ({"proto": 1, "state": None}, "nf_conntrack_icmp_timeout"),
        ({"proto": 58, "state": None}, "nf_conntrack_icmpv6_timeout"),
        ({"proto": 47, "status": 0}, "nf_conntrack_gre_timeout"),
        ({"proto": 47}, "nf_conntrack_gre_timeout_stream"),
        ({"proto": 132, "state": 4}, "nf_conntrack_sctp_timeout_established"),
        ({"proto": 89}, "nf_conntrack_generic_timeout"),
        ({"status": f.OFFLOAD}, "nf_flowtable_tcp_timeout"),
    ],
)
def test_which_setting_gave_the_timeout(changes: dict[str, object], name: str) -> None:
    assert words.timeout_sysctl(flow(**changes)) == name


def test_the_settings_exist() -> None:
    folder = Path("/proc/sys/net/netfilter")
    if not (folder / "nf_conntrack_max").exists():
        pytest.skip("no conntrack here")
    for proto in (1, 6, 17, 47, 58, 89, 132, 136):
        for state in range(9):
            for status in (0, f.SEEN_REPLY | f.ASSURED):
                for flags in (0, f.TCP_DATA_UNACKNOWLEDGED):
                    entry = flow(
                        proto=proto,
                        state=state if proto in (6, 132) else None,
                        status=status,
                        tcp_flags_orig=flags,
                    )
                    name = words.timeout_sysctl(entry)
                    assert not name or (folder / name).exists(), name


def test_small_words() -> None:
    assert [words.duration(s) for s in (0, 119.9, 120, 307, 7380, 431999, -3)] == [
        "0s",
        "119s",
        "2m00s",
        "5m07s",
        "2h03m",
        "4d23h",
        "0s",
    ]
    assert [words.si(n) for n in (0, 999, 999.6, 1234, 12345, 99949, 99951, 123456, 999_600, 1.5e9)] == [
        "0", "999", "1.0k", "1.2k", "12.3k", "99.9k", "100k", "123k", "1.0M", "1.5G",
    ]  # fmt: skip
    assert words.count(262144) == "262,144"
    assert words.endpoint(bytes([10, 0, 0, 1]), 80, 6) == "10.0.0.1:80"
    assert words.endpoint(bytes(15) + b"\x01", 80, 17) == "[::1]:80"
    assert words.endpoint(bytes([10, 0, 0, 1]), 2048, 1) == "10.0.0.1"
    assert words.address(b"") == ""


@given(st.binary(min_size=16, max_size=16))
def test_addresses_are_printed_as_the_c_library_does(packed: bytes) -> None:
    assert words.address(packed) == socket.inet_ntop(socket.AF_INET6, packed)
