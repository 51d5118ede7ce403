"""Bursts to start from: those of the article and the usual suspects, each with its IPv6 twin where it has one."""

from dataclasses import dataclass

from cttui.lab.twin import twin


@dataclass(frozen=True, slots=True)
class Preset:
    """A burst by name. `count` packets at `rate_pps` (0: full speed); `seed` makes random fields repeatable."""

    name: str
    summary: str
    notation: str
    count: int
    rate_pps: float
    seed: int = 0


SPOOFED = 'RandIP("198.18.0.0/15")'
"""Sources that the kernel routes like any other: all of 0.0.0.0/0 has martians in it, which it drops after
PREROUTING (RFC 2544 sets this net aside for tests)."""

_V4 = (
    Preset("syn", "10 SYN from ports 10000–10009, 10 ms apart: the article's burst",
           'IP(src="198.51.100.2",dst="192.0.2.1")/TCP(sport=(10000,10009),dport=80,flags="S")', 10, 100),
    Preset("ack", "10 stray ACK: picked up as ESTABLISHED, or INVALID, by nf_conntrack_tcp_loose",
           'IP(src="198.51.100.2",dst="192.0.2.1")/TCP(sport=(10000,10009),dport=80,flags="A",seq=1,ack=1)', 10, 100),
    Preset("syn-flood", "10,000 SYN from random sources and ports, at full speed",
           f'IP(src={SPOOFED},dst="192.0.2.1")/TCP(sport=RandNum(1024,65535),dport=80,flags="S",seq=RandInt())', 10_000, 0),
    Preset("udp", "10 UDP datagrams to port 9999",
           'IP(src="198.51.100.2",dst="192.0.2.1")/UDP(sport=(20000,20009),dport=9999)/"cttui"', 10, 100),
    Preset("dns", "10 DNS queries with random ids",
           'IP(src="198.51.100.2",dst="192.0.2.1")/UDP(sport=(30000,30009),dport=53)'
           '/DNS(id=RandShort(),rd=1,qd=DNSQR(qname="www.example.com"))', 10, 100),
    Preset("ping", "5 ICMP echo requests of one identifier",
           'IP(src="198.51.100.2",dst="192.0.2.1")/ICMP(type=8,id=7,seq=(1,5))/"cttui"', 5, 10),
    Preset("fragments", "10 UDP datagrams of 3,000 bytes, in 3 fragments each: reassembled before conntrack",
           'fragment(IP(src="198.51.100.2",dst="192.0.2.1",id=1)/UDP(sport=(40000,40009),dport=9999)/("x"*3000),fragsize=1400)',
           30, 0),
    Preset("rst", "10 RST to connections that don't exist: INVALID",
           'IP(src="198.51.100.2",dst="192.0.2.1")/TCP(sport=(10000,10009),dport=80,flags="R")', 10, 100),
    Preset("xmas", "10 packets with FIN, PSH and URG: INVALID",
           'IP(src="198.51.100.2",dst="192.0.2.1")/TCP(sport=(10000,10009),dport=80,flags="FPU")', 10, 100),
    Preset("syn-ack", "10 SYN+ACK out of the blue: INVALID",
           'IP(src="198.51.100.2",dst="192.0.2.1")/TCP(sport=(10000,10009),dport=80,flags="SA")', 10, 100),
    Preset("sctp", "4 SCTP INIT",
           'IP(src="198.51.100.2",dst="192.0.2.1")/SCTP(sport=(10000,10003),dport=80,tag=0)'
           '/SCTPChunkInit(init_tag=1,a_rwnd=65536,n_out_streams=1,n_in_streams=1)', 4, 10),
    Preset("gre", "4 packets of GRE, one flow",
           'IP(src="198.51.100.2",dst="192.0.2.1")/GRE()/IP(src="203.0.113.1",dst="203.0.113.2")/UDP(sport=(1,4),dport=9)', 4, 10),
)  # fmt: skip

_NO_TWIN = ("gre",)  # an IPv4 packet inside: the twin would need one of both kinds

PRESETS: tuple[Preset, ...] = (
    *_V4,
    *(
        Preset(f"{p.name}6", f"{p.summary}, over IPv6", twin(p.notation), p.count, p.rate_pps, p.seed)
        for p in _V4
        if p.name not in _NO_TWIN
    ),
)
DEFAULT = PRESETS[0]
"""What the burst key fires until something else is composed."""
