"""The composer reads scapy's notation, evaluates nothing, and says where it is wrong."""

import sys

import pytest
from bursts import packets
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cttui.lab.build import layer_class
from cttui.lab.compose import check, compile
from cttui.lab.form import FORM, TRANSPORTS, Fields, from_notation, to_notation
from cttui.lab.layers import LAYERS, ComposeError
from cttui.lab.notation import parse
from cttui.lab.presets import PRESETS
from cttui.lab.summary import describe
from cttui.lab.twin import twin

ARTICLE = 'IP(src="198.51.100.2",dst="192.0.2.1")/TCP(sport=(10000,10009),dport=80,flags="S")'


def test_the_articles_burst() -> None:
    """One template, one patch, and the ports 10000 to 10009."""
    (template,) = compile(ARTICLE)
    assert len(template.patches) == 1
    ports = [int.from_bytes(p[20:22], "big") for p in packets(ARTICLE, 10)]
    assert ports == list(range(10000, 10010))


ERRORS = (
    ("IP()/TPC()", "Did you mean TCP?", 5),
    ("ip()/TCP()", "Did you mean IP?", 0),
    ("IP()/TCP(dprt=80)", "Did you mean dport?", 14),
    ("IP()/TCP", "needs brackets", 5),
    ("IP()/TCP(dport=80", "", 8),
    ('IP(dst="example.com")', "IP.dst: 'example.com' is no IPv4 address", 7),
    ('IPv6(dst="192.0.2.1")', "is no IPv6 address", 9),
    ('IP(src=["192.0.2.1","x"])', "is no IPv4 address", 7),
    ("IP(ttl=300)", "can't be 300", 7),
    ('IP()/TCP(dport="nosuch")', "can't be 'nosuch'", 15),
    ("IP()/TCP(sport=(9,1))", "first not above last", 15),
    ("IP(src=(1,5))", "is an address", 7),
    ("TCP()/IP()", "begins with IP() or IPv6()", 0),
    ("IP(ttl=1.5)", "not part of the notation", 7),
    ("IP(ttl=x)", "no value", 7),
    ("IP(**{})", "**", 3),
    ("IP(4)", "by name", 3),
    ("IP(ttl=1,ttl=2)", "", None),
    ('IP(src=RandIP("x"))', "takes a net", 7),
    ('IP()/Raw("é"*70000)', "at most", 9),
    ("fragment(IP(),fragsize=4)", "8 to 65528", 23),
    ('IP()/UDP()/DNS(qd=DNSQR(qtype=(1,5)))', "nothing can differ", 18),
    ("IP(len=RandShort())/TCP(dataofs=RandNum(5,15),reserved=RandNum(0,7))", "can't be random", None),
    ('"é"/IP(nosuch=1)', "", 0),
    ('IP()/"é"/TCP(nosuch=1)', "no field nosuch", 20),
    ("", "Nothing to send", 0),
    ("IP()\x00", "", None),
)  # fmt: skip


@pytest.mark.parametrize(("text", "words", "column"), ERRORS)
def test_errors_name_the_place(text: str, words: str, column: int | None) -> None:
    with pytest.raises(ComposeError) as e:
        compile(text)
    assert words in e.value.message
    assert column is None or e.value.column == column


@pytest.mark.parametrize(
    "text",
    ["IP()/TCP(nosuch=1)", 'IP(src="256.1.1.1")', "IP(ttl=256)", "IP()/UDP()/DNS(id=65536)", "IP(ttl=x)"],
)
def test_what_is_wrong_with_a_header_is_known_without_building_packets(text: str) -> None:
    with pytest.raises(ComposeError) as built:
        compile(text)
    with pytest.raises(ComposeError) as seen:
        check(text)
    assert (seen.value.message, seen.value.column) == (built.value.message, built.value.column)
    check(ARTICLE)


HOSTILE = (
    '__import__("os").system("touch /tmp/pwned")',
    'IP(src=__import__("os").getcwd())',
    "IP(ttl=open)",
    "IP(ttl=(lambda: 1)())",
    "[IP() for _ in range(9)]",
    'IP(src=f"{1}")',
    "IP().__class__",
    "IP.build()",
    "conf.route",
    "IP(ttl=1 if True else 2)",
    "IP()/Ether()",
    'IP(src="192.0.2.1".__class__)',
    "(x := IP())",
    "IP(ttl=-" + "-" * 3000 + "1)",
    "IP()/" * 3000 + "TCP()",
    "(" * 500 + ")" * 500,
    'IP()/("x"*10**9)',
)


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_is_evaluated(text: str) -> None:
    with pytest.raises(ComposeError):
        compile(text)


def test_names_are_never_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    """scapy would ask the resolver for a host name."""
    import socket

    def refuse(*_: object) -> None:
        raise AssertionError("asked the resolver")

    for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "gethostbyaddr"):
        monkeypatch.setattr(socket, name, refuse)
    for text in (
        'IP(dst="localhost")',
        'IP(dst="www.example.com/24")',
        'IPv6(src="ip6-localhost")',
        'IP()/ICMP(gw="router")',
    ):
        with pytest.raises(ComposeError):
            compile(text)


@given(st.text(alphabet="IPTCUD6()/=,\"'[]srcdpotflag80:.*- RandShortNet\n", max_size=60))
@settings(max_examples=400, deadline=None)
def test_any_text_is_read_or_refused(text: str) -> None:
    """Never another exception, and the column is inside the text."""
    try:
        parse(text)
    except ComposeError as e:
        assert 0 <= e.column <= len(text)
    describe(text, 10, 100)


@given(st.lists(st.sampled_from(ARTICLE), max_size=5), st.integers(0, len(ARTICLE)), st.integers(0, 6))
@settings(max_examples=200, deadline=None)
def test_edits_of_a_good_text_never_crash(inserted: list[str], at: int, cut: int) -> None:
    """What a person passes through while typing."""
    try:
        compile(ARTICLE[:at] + "".join(inserted) + ARTICLE[at + cut :])
    except ComposeError as e:
        assert e.message


def test_a_list_of_flags_is_a_choice() -> None:
    """As in every other field; scapy itself would add them up."""
    flags = [p[33] for p in packets('IP()/TCP(flags=["S","A","FPU"])', 3)]
    assert flags == [0x02, 0x10, 0x29]


def test_fragments_are_templates_that_agree() -> None:
    """Three fragments a datagram, the address patched in each, the ports in the first alone."""
    text = 'fragment(IP(src="198.51.100.0/30",dst="192.0.2.1")/UDP(sport=(1,5))/("x"*3000),fragsize=1480)'
    made = compile(text)
    assert len(made) == 3
    assert [len(t.patches) for t in made] == [2, 1, 1]
    from scapy.layers.inet import IP

    datagrams = packets(text, 3 * 20)
    assert len(set(datagrams[::3])) == 20
    for group in range(0, 60, 3):
        first, *rest = (IP(p) for p in datagrams[group : group + 3])
        assert all(p.src == first.src for p in rest)
        assert [p.frag * 8 for p in (first, *rest)] == [0, 1480, 2960]


def test_ipv6_fragments_join_to_the_datagram() -> None:
    (whole,) = packets('IPv6()/IPv6ExtHdrFragment(id=9)/UDP(sport=5)/("x"*3000)')
    text = 'fragment(IPv6()/IPv6ExtHdrFragment(id=9)/UDP(sport=5)/("x"*3000),fragsize=1000)'
    pieces = packets(text, 4)
    assert len(compile(text)) == 4
    assert b"".join(p[48:] for p in pieces) == whole[48:]
    offsets = [int.from_bytes(p[42:44], "big") for p in pieces]
    assert offsets == [0 | 1, 1000 | 1, 2000 | 1, 3000]
    assert all(int.from_bytes(p[4:6], "big") == len(p) - 40 for p in pieces)


def test_twins_map_addresses_by_net() -> None:
    assert (
        twin(ARTICLE)
        == 'IPv6(src="2001:db8:1::2",dst="2001:db8::1")/TCP(sport=(10000,10009),dport=80,flags="S")'
    )
    assert (
        twin('IP(src=RandIP("198.18.0.0/15"),ttl=(1,3))/UDP()/"x"')
        == 'IPv6(src=RandIP6("2001:db8:2::/111"),hlim=(1,3))/UDP()/"x"'
    )
    assert twin('IP(src=["198.51.100.1","8.8.8.8"])/ICMP(id=7)') == (
        'IPv6(src=["2001:db8:1::1","2001:db8:ffff::808:808"])/ICMPv6EchoRequest(id=7)'
    )
    assert twin('IP(flags="MF",id=5)/UDP()') == "IPv6()/IPv6ExtHdrFragment(m=1,id=5)/UDP()"
    for text in ("IPv6()/TCP()", "IP(options=[])/TCP()", "IP()/ICMP(type=13)"):
        with pytest.raises(ComposeError):
            twin(text)


@pytest.mark.parametrize("p", PRESETS, ids=lambda p: p.name)
def test_presets_compile_and_describe_themselves(p: object) -> None:
    from cttui.lab.presets import Preset

    assert isinstance(p, Preset)
    made = packets(p.notation, p.count, p.seed)
    version = 6 if p.name.endswith("6") else 4
    assert {data[0] >> 4 for data in made} == {version}
    assert describe(p.notation, p.count, p.rate_pps).startswith(f"{p.count:,} × ")
    try:
        assert to_notation(from_notation(p.notation)) == p.notation
    except ComposeError as e:
        assert "edit the line" in e.message


VALUES = st.sampled_from(("5", "1-5", "1, 2, 3", "random", "0x1f", "RandNum(1,5)", "(1,9,2)"))
ADDRESSES = st.sampled_from(
    ("198.51.100.7", "198.51.100.0/24", "random", "random 198.18.0.0/15", "192.0.2.1, 192.0.2.2")
)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_form_and_line_say_the_same(data: st.DataObject) -> None:
    """Form → line → form → line ends at the same line, and it can be read."""
    form = Fields(
        network="IP", transport=data.draw(st.sampled_from([t for t in TRANSPORTS if "v6" not in t]))
    )
    for layer, line, _ in form.lines():
        if line.name in ("options", "flags"):
            continue
        kind = ADDRESSES if line.name in ("src", "dst", "gw") else VALUES
        text = data.draw(st.one_of(st.just(""), kind))
        if text:
            form.values[f"{layer}.{line.name}"] = text
    form.payload = data.draw(st.sampled_from(("", "hello", '"x"*100', 'a "quoted" \x1b', "1", "b'\\x00'")))
    text = to_notation(form)
    again = to_notation(from_notation(text))
    assert [(x.name, x.fields) for x in parse(again).layers] == [
        (x.name, x.fields) for x in parse(text).layers
    ]
    assert to_notation(from_notation(again)) == again


@given(
    st.text(max_size=12) | st.text("0123456789xXaf-, ()[]{}\"'randomIP./:", max_size=12),
    st.sampled_from(("TCP.sport", "IP.src")),
)
@example("010", "TCP.sport")
@example("9" * 5000, "TCP.sport")
@settings(max_examples=300, deadline=None)
def test_any_text_in_the_form_is_read_or_refused(text: str, line: str) -> None:
    try:
        parse(to_notation(Fields(values={line: text}, payload=text)))
    except ComposeError as e:
        assert e.message


def test_the_hint_of_a_line_is_about_what_it_takes() -> None:
    hints = {(layer, line.name): line.hint for layer, lines in FORM.items() for line in lines}
    assert hints["IP", "src"].startswith("An address;") and "192.0.2.0/24" in hints["IP", "src"]
    assert hints["IPv6", "dst"].startswith("An address;") and "2001:db8::/64" in hints["IPv6", "dst"]
    assert hints["TCP", "flags"].startswith("Letters") and "Empty: S." in hints["TCP", "flags"]
    assert hints["TCP", "dport"].startswith("A number;") and "Empty: 80." in hints["TCP", "dport"]
    for text in ("192.0.2.0/24", "192.0.2.1, 192.0.2.9", "random 198.18.0.0/15", "random"):
        check(to_notation(Fields(values={"IP.src": text})))
    for text in ("2001:db8::/64", "2001:db8::1, 2001:db8::9", "random 2001:db8::/64", "random"):
        check(to_notation(Fields(network="IPv6", values={"IPv6.src": text})))
    for text in ("SA", "S, A", "random"):
        check(to_notation(Fields(values={"TCP.flags": text})))


def test_zeros_before_a_number_are_left_out() -> None:
    fields = Fields(values={"TCP.sport": "0080", "TCP.dport": "1-010"})
    assert to_notation(fields) == "IP()/TCP(sport=80,dport=(1,10))"


def test_every_line_of_the_form_is_a_field() -> None:
    fields = {layer: {f.name for f in layer_class(layer).fields_desc} for layer in FORM}
    for layer, lines in FORM.items():
        assert {line.name for line in lines} <= fields[layer], layer
    for layer in ("IP", "IPv6", "TCP", "UDP"):
        assert {line.name for line in FORM[layer]} == fields[layer]


@pytest.mark.parametrize(
    ("line", "said", "at"),
    [
        ("IP(dst=192.0.2.1)/TCP()", 'An address stands in quotes: "192.0.2.1".', 7),
        ("IPv6(dst=2001:db8::1)/TCP()", 'An address stands in quotes: "2001:db8::1".', 9),
        ("IP()/TCP(dport=80-90)", "A range is written (80,90), a list [80,443].", 15),
        (
            "IP()/TCP(dport=range(80,90))",
            "There is no layer range here. A range is written (80,90), a list [80,443].",
            15,
        ),
        ("IP()/TCP(dport=RandNum(90,80))", "RandNum takes two numbers, the smaller first.", 15),
        ("IP()/TCP(dport=80", "Not readable from here: '(' was never closed.", 8),
    ],
)
def test_what_beginners_write_is_answered_with_what_to_write(line: str, said: str, at: int) -> None:
    with pytest.raises(ComposeError) as e:
        parse(line)
    assert (e.value.message, e.value.column) == (said, at)


@pytest.mark.parametrize(
    ("count", "rate", "pace"),
    [(10, 300_000, "300,000/s (under 0.01 s)"), (20_001, 2, "2/s (10,000 s)"), (10, 100, "100/s (0.09 s)")],
)
def test_how_long_it_takes_has_no_exponent(count: int, rate: float, pace: str) -> None:
    assert describe("IP()/TCP()", count, rate).endswith(pace)


def test_a_carried_packet_is_not_the_one_that_is_described() -> None:
    gre = 'IP(src="198.51.100.2",dst="192.0.2.1")/GRE()/IP(src="203.0.113.1")/UDP(sport=1,dport=9)'
    assert describe(gre, 4, 10).startswith("4 × GRE 198.51.100.2 → 192.0.2.1,")
    assert describe("IP()/ICMP(type=3,code=3)/IP()/UDP()", 1, 0).startswith(
        "1 × ICMP unreachable 198.51.100.2 →"
    )


@pytest.mark.parametrize("name", LAYERS)
def test_every_whitelisted_layer_exists(name: str) -> None:
    assert layer_class(name).__name__ == name


def test_reading_needs_no_scapy() -> None:
    """The UI's first frame shows presets and their sentence; scapy comes with the first compile."""
    import subprocess

    code = (
        "import sys; from cttui.lab import compose, form, presets, summary;"
        "summary.describe(presets.DEFAULT.notation, 10, 100); form.from_notation(presets.DEFAULT.notation); assert not {'scapy', 'numpy'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
