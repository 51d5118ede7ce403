"""The filter language: what people type, what it means, and what is said where it can't be read."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from query_strategies import columns_of, flows_of, nodes

from cttui.model import filter_ast as ast
from cttui.model.filter_words import flag_of, key_of
from cttui.model.filters import (
    GROUP_KEYS,
    SORT_KEYS,
    FilterError,
    complete,
    matches,
    parse,
    unparse,
)


@pytest.mark.parametrize(
    ("typed", "meaning"),
    [
        # words of conntrack -L
        ("src=10.0.0.0/8 dport=443 state=SYN_SENT", "src=10.0.0.0/8 dport=443 state=SYN_SENT"),
        ("[UNREPLIED]", "unreplied"),
        ("[ASSURED] [OFFLOAD]", "assured offload"),
        ("ipv6", "family=ipv6"),
        ("tcp 6 120", "proto=tcp"),
        (
            "tcp      6 431999 ESTABLISHED src=192.0.2.1 dst=10.0.0.1 sport=1234 dport=80 packets=1 bytes=2 "
            "src=10.0.0.1 dst=192.0.2.1 sport=80 dport=1234 packets=3 bytes=4 [ASSURED] mark=0 delta-time=7 use=1 id=5",
            "proto=tcp state=ESTABLISHED src=192.0.2.1 dst=10.0.0.1 sport=1234 dport=80 reply-src=10.0.0.1 "
            "reply-dst=192.0.2.1 reply-sport=80 reply-dport=1234 assured mark=0 id=5",
        ),
        (
            "    [NEW] ipv4     2 icmp     1 30 src=10.0.0.1 dst=10.0.0.2 type=8 code=0 id=77 [UNREPLIED] "
            "src=10.0.0.2 dst=10.0.0.1 type=0 code=0 id=77",
            "family=ipv4 proto=icmp src=10.0.0.1 dst=10.0.0.2 type=8 code=0 id=77 unreplied reply-src=10.0.0.2 "
            "reply-dst=10.0.0.1 id=77",
        ),
        ("unknown  89 599 src=192.0.2.1 dst=192.0.2.2", "proto=89 src=192.0.2.1 dst=192.0.2.2"),
        (
            "src=127.0.0.1 dst=127.0.0.1 sport=1 dport=2 src=127.0.0.1 dst=127.0.0.1 sport=2 dport=1",
            "src=127.0.0.1 dst=127.0.0.1 sport=1 dport=2 reply-src=127.0.0.1 reply-dst=127.0.0.1 reply-sport=2 reply-dport=1",
        ),
        # a second src= that is no pasted line narrows
        ("src=10.0.0.0/24 dst=192.0.2.1 src=10.0.0.7", "src=10.0.0.0/24 and dst=192.0.2.1 and src=10.0.0.7"),
        # options of conntrack
        ("-p tcp -s 10.0.0.1 --dport 443", "proto=tcp src=10.0.0.1 dport=443"),
        (
            "-f ipv6 -u ASSURED,SEEN_REPLY -m 0x10/0xf0 -w 3",
            "family=ipv6 assured replied mark=0x10/0xf0 zone=3",
        ),
        (
            "-r 10.0.0.1 -q 10.0.0.2 --state TIME_WAIT",
            "reply-src=10.0.0.1 reply-dst=10.0.0.2 state=TIME_WAIT",
        ),
        ("-n -g", "snat dnat"),
        ("-g 10.0.0.7", "dnat reply-src=10.0.0.7"),
        ("snat=192.0.2.1", "snat reply-dst=192.0.2.1"),
        ("--orig-port-dst=80", "dport=80"),
        # comparisons, ranges, sets
        ("dport!=80,443", "dport!=80,443"),
        ("dport != 80, 443", "dport!=80,443"),
        ("dport in (80, 443)", "dport=80,443"),
        ("tcp dport { 80, 443 }", "proto=tcp dport=80,443"),
        ("dport not in 80,443", "dport!=80,443"),
        ("dport=1000-2000", "dport=1000-2000"),
        ("dports 1000:2000", "dport=1000-2000"),
        ("port=60000-", "port=60000-65535"),
        ("bytes>1M packets>=1.5k rate>1Mbit", "bytes>1000000 packets>=1500 rate>1000000"),
        ("bytes>1Mi", "bytes>1048576"),
        ("age>1h30m timeout<10", "age>5400 timeout<10"),
        ("mark=0x10/0xf0", "mark=0x10/0xf0"),
        ("mark", "mark!=0"),
        ("not zone", "zone=0"),
        ("id=5 use>1 helper=ftp label=3", "id=5 use>1 helper=ftp label=3"),
        ('helper="a b"', 'helper="a b"'),
        # addresses
        ("src=10.0.0.5/8", "src=10.0.0.0/8"),
        ("src=10.0.0.0/255.255.0.0", "src=10.0.0.0/16"),
        ("src=10.1.*", "src=10.1.0.0/16"),
        ("dst=10.0.0.3-10.0.0.9", "dst=10.0.0.3-10.0.0.9"),
        ("dst=2001:db8::/32,::1", "dst=2001:db8::/32,::1"),
        ("reply-src=10.0.0.1 rdst=10.0.0.2", "reply-src=10.0.0.1 reply-dst=10.0.0.2"),
        ("src=10.0.0.1:80", "src=10.0.0.1 sport=80"),
        ("dst=[::1]:80", "dst=::1 dport=80"),
        # tcpdump, iptables, nft
        ("host 10.0.0.1 and port 80", "host=10.0.0.1 port=80"),
        ("src host 10.0.0.1 and dst port 80", "src=10.0.0.1 dport=80"),
        ("src net 10.0.0.0/8", "src=10.0.0.0/8"),
        ("dst port 80 or 443", "dport=80 or dport=443"),
        ("src 10.0.0.1 or 10.0.0.2", "src=10.0.0.1 or src=10.0.0.2"),
        ("ip saddr 10.0.0.0/8", "family=ipv4 src=10.0.0.0/8"),
        ("! -s 10.0.0.0/8", "src!=10.0.0.0/8"),
        ("dport https", "dport=443"),
        ("-s ! 10.0.0.1 --dport ! 80", "src!=10.0.0.1 dport!=80"),
        ("host not 10.0.0.1 and !tcp", "host!=10.0.0.1 proto!=tcp"),
        ("src or dst port 53", "sport=53 or dport=53"),
        ("src and dst net 10.0.0.0/8", "src=10.0.0.0/8 dst=10.0.0.0/8"),
        ("net 192.168.1", "host=192.168.1.0/24"),
        ("src net 10.1", "src=10.1.0.0/16"),
        ("-p tcp -m tcp --dport :1023", "proto=tcp proto=tcp dport=0-1023"),
        ("-m multiport --dports 80,443", "dport=80,443"),
        ("-m conntrack --ctstate NEW", "unreplied not expected"),
        ("-m state --state ESTABLISHED,RELATED", "replied or (unreplied expected)"),
        ("--state ESTABLISHED", "state=ESTABLISHED"),
        (
            "ct state new ct mark 0x10 meta l4proto tcp th dport 53",
            "unreplied not expected mark=16 proto=tcp dport=53",
        ),
        ("conntrack -L -p tcp --dport 80 -o extended", "proto=tcp dport=80"),
        ("sudo conntrack -D -s 10.0.0.1", "src=10.0.0.1"),
        ("dnat to 10.0.0.7:8080", "dnat reply-src=10.0.0.7 reply-sport=8080"),
        ("--src-nat 192.0.2.1:5", "snat reply-dst=192.0.2.1 reply-dport=5"),
        ("10.0.0.1:5 > 10.0.0.2:80:", "src=10.0.0.1 sport=5 dst=10.0.0.2 dport=80"),
        ("10.0.0.1 → 10.0.0.2 or ::1 -> ::2", "(src=10.0.0.1 dst=10.0.0.2) or (src=::1 dst=::2)"),
        ("ESTABLISHED,TIME_WAIT tcp,udp", "(state=ESTABLISHED or state=TIME_WAIT) (proto=tcp or proto=udp)"),
        ("dport=80,", "dport=80"),
        (":1023", "port=0-1023"),
        ("rate>1.2Mb/s", "rate>1200000"),
        ("rate>1MB/s", "rate>8000000"),
        # logic
        ("tcp && (assured || unreplied)", "proto=tcp (assured or unreplied)"),
        ("not tcp and not not udp", "proto!=tcp proto=udp"),
        ("!(tcp or udp)", "not (proto=tcp or proto=udp)"),
        ("tcp udp or icmp", "(proto=tcp proto=udp) or proto=icmp"),
        ("assured or unreplied and tcp", "assured or (unreplied proto=tcp)"),
        # bare words by their type
        ("10.0.0.1", "host=10.0.0.1"),
        ("2001:db8::/32", "host=2001:db8::/32"),
        ("443", "port=443"),
        ("80,443", "port=80,443"),
        ("syn_sent", "state=SYN_SENT"),
        ("udplite", "proto=udplite"),
        ("ftp", "helper=ftp"),
        ("https", "port=443"),
        ("nat", "nat"),
        ("filler", "zone=65535 mark=3191"),
        ("state!=*", "state!=*"),
    ],
)
def test_what_people_type(typed: str, meaning: str) -> None:
    assert unparse(parse(typed)) == meaning
    assert parse(meaning) == parse(typed)


def test_nothing_typed_is_everything() -> None:
    assert parse("") is None
    assert parse("  \t") is None
    assert unparse(None) == ""


@pytest.mark.parametrize(
    ("typed", "column", "suggestion"),
    [
        ("sc=10.0.0.1", 0, "src"),
        ("tcp dprt=80", 4, "dport"),
        ("state=ESTABLISHD", 6, "ESTABLISHED"),
        ("tcp ESTABLISHD", 4, "ESTABLISHED"),
        ("asured", 0, "assured"),
        ("dport=1,2,99999", 10, ""),
        ("src=10.0.0.1,10.0.0.300", 13, "src=10.0.0.0/8"),
        ("dport=htps", 6, "https"),
        ("proto=tpc", 6, "tcp"),
        ("10.0.0.0/33", 0, "/32"),
        ("dport=20-10", 6, "10-20"),
        ("(tcp or udp", 0, ")"),
        ("tcp)", 3, ""),
        ("tcp or", 6, ""),
        ("and tcp", 0, ""),
        ("src=", 4, "src=10.0.0.0/8"),
        ("tcp src", 7, "src=10.0.0.0/8"),
        ("assured=1", 7, ""),
        ("mark=0x100/0xf0", 5, "mark=0x0/0xf0"),
        ("bytes>lots", 6, "bytes>1M"),
        ("age>1y", 4, "age>1h30m"),
        ("state<3", 6, "state=3"),
        ("--dprt 5", 0, "dport"),
        ("label=500", 6, "label=1"),
        ("dport<1,2", 6, ""),
        ("src=10.0.0.9-10.0.0.1", 4, "10.0.0.1-10.0.0.9"),
        ("src=10.0.0.0/255.0.255.0", 4, ""),
        ("unknown 999", 0, ""),
        ("dport={80", 6, "}"),
        ("EST", 0, "ESTABLISHED"),
        ("tcp unre", 4, "unreplied"),
        ("NEW", 0, "unreplied"),
        ("state=NEW", 6, "ctstate=NEW"),
        ("-l 5 -L", 5, "label"),
        ("443/tcp", 0, "tcp 443"),
        ("port:443", 0, "port=443"),
        ("10.0.0.1.443", 0, "10.0.0.1:443"),
        ("10.0.0.300", 0, ""),
        ("example.com", 0, ""),
        ("type=echo-request", 5, "type=8"),
    ],
)
def test_errors_point_and_suggest(typed: str, column: int, suggestion: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse(typed)
    assert (caught.value.column, caught.value.suggestion) == (column, suggestion)
    assert str(caught.value).startswith(f"column {column + 1}: ")


def test_an_example_is_no_guess() -> None:
    with pytest.raises(FilterError, match=r"'dprt' is no word.*Did you mean dport\?"):
        parse("dprt=80")
    with pytest.raises(FilterError, match=r"src needs a value\. Try src=10\.0\.0\.0/8$"):
        parse("src")


def test_the_whole_conntrack_table_is_no_filter() -> None:
    assert parse("conntrack -L") is None


@pytest.mark.parametrize(
    "text", ["(" * 3000, "!" * 8000 + "tcp", "not " * 2000, "a" * 100_000, "1," * 4000, '",' * 4000]
)
def test_absurd_text_is_refused_or_read(text: str) -> None:
    try:
        parse(text)
    except FilterError as error:
        assert 0 <= error.column <= len(text)


WORDS = """
src dst host net port = != < > >= in not and or ! ( ) { } , tcp 6 10.0.0.1 ::1/64 443 1-2 state ESTABLISHED assured
[ASSURED] ct meta th -m -o -> > sudo conntrack -L ctstate NEW mark 0x1/0x3 bytes 1M age 1h -p -n -u unknown helper ftp label * 10.* " [start=x] ip ip6
"""
words = st.sampled_from([*WORDS.split(), "\x1b"])


@given(st.lists(words, max_size=12).map(" ".join) | st.text(max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_text_parses_or_says_where_not(text: str) -> None:
    try:
        node = parse(text)
    except FilterError as error:
        assert 0 <= error.column <= len(text)
        assert error.message
    else:
        assert parse(unparse(node)) == node


@given(nodes)
@settings(max_examples=200, deadline=None)
def test_unparse_then_parse_is_the_same_tree(node: ast.Node) -> None:
    assert parse(unparse(node)) == node


@given(nodes, st.integers(0, 1000))
@settings(max_examples=100, deadline=None)
def test_not_is_the_complement(node: ast.Node, seed: int) -> None:
    columns, interned = columns_of(seed, 12)
    for flow in flows_of(columns, interned):
        assert matches(node, flow) is not matches(ast.negated(node), flow)


def test_completion() -> None:
    assert complete("sta", 3) == ["state=", "status="]
    assert complete("tcp state=SYN", 13) == ["state=SYN_SENT", "state=SYN_RECV", "state=SYN_SENT2"]
    assert complete("dport=80,htt", 12) == ["dport=80,http", "dport=80,https", "dport=80,http-alt"]
    assert complete("tcp ", 4) == []
    assert "unreplied" in complete("(un", 3)
    assert "src=" in complete("src", 3)


@given(st.text(max_size=30), st.integers(0, 30))
def test_completion_never_fails(text: str, cursor: int) -> None:
    for word in complete(text, min(cursor, len(text))):
        assert word


def test_examples_of_the_manual_are_filters() -> None:
    manual = (Path(__file__).parent.parent / "docs" / "filters.md").read_text()
    examples = re.findall(r"```filter\n(.*?)```", manual, re.DOTALL)
    assert len(examples) == 4
    for line in "".join(examples).splitlines():
        typed, _, meaning = (part.strip() for part in line.partition("  #"))
        assert parse(typed) is not None
        if re.fullmatch(r"[a-z]+=\S+", meaning):
            assert parse(typed) == parse(meaning)
    rows = re.findall(r"^\| (`.*?) \|.*\|(.*?)\|$", manual, re.MULTILINE)
    told = " ".join(first for first, _ in rows)
    keys = set(re.findall(r"`([a-z-]+)`", told))
    assert keys >= {*ast.ADDRESS_KEYS, *ast.NUMBER_KEYS, "state", "status", "helper", "secctx", "label"}
    for alias in re.findall(r"`([^` ]+)`", " ".join(last for _, last in rows)):
        assert key_of(alias.rstrip("=")) or flag_of(alias), alias


def test_every_key_has_a_label() -> None:
    assert all(SORT_KEYS.values())
    assert all(GROUP_KEYS.values())
