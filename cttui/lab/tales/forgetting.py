"""Tales of entries that end before their time, and of packets that race for one."""

from cttui.lab.moves import Burst, Commands, Empty, FillTo, Forget, Held, Wait
from cttui.lab.predictions import Bound, LimitAnd, Passing
from cttui.lab.readings import (
    Counter,
    Entries,
    Grown,
    Left,
    NewFlows,
    Stat,
    StatsWhileWaiting,
    WaitedS,
)
from cttui.lab.tale import Expectation, Step, Tale
from cttui.lab.tales.expect import after, began, dropped

EARLY_DROP = Tale(
    name="early-drop",
    title="A full table makes room",
    summary="A table full of entries that are not ASSURED: new flows evict old ones, and none is lost.",
    story=(
        "A full table is not always a full table. Before conntrack drops a packet it looks for a victim: an entry that is "
        "not ASSURED, because no full handshake was seen.",
        "It looks into eight hash buckets only. How likely that is to succeed depends on how many such entries there are for each bucket.",
        "First the table is full of them, and ten SYNs arrive. Then only one slot in sixteen holds one, and a thousand arrive.",
    ),
    steps=(
        Step(
            "A table full of evictable entries, ten SYNs",
            (FillTo(0, assured=False), Burst(rate_pps=0.0)),
            (
                after(10),
                dropped(0),
                Expectation("entries evicted (early_drop)", Bound("≥", 10), Stat("early_drop")),
                Expectation("entries afterwards (limit + 10 − early_drop)", LimitAnd(10), Entries()),
            ),
            forgets=True,
            undisturbed=True,
        ),
        Step(
            "One slot in sixteen evictable, a thousand SYNs",
            (
                Empty(),
                FillTo(share=625),
                FillTo(0, assured=False),
                Burst(sports=(20000, 20999), count=1000, rate_pps=0.0),
            ),
            (after(Passing(1000, 8)),),
            forgets=True,
            undisturbed=True,
        ),
    ),
    explanation="early_drop takes the entries of the first bucket, out of eight, that holds one which is not ASSURED. The chance to "
    "find one is 1 − e^(−16·evictable/buckets): an entry stands in two buckets, one for each direction. With as many "
    "evictable entries as buckets it is practically 1; with one in sixteen it is 63 %.",
    production="A table full of half-open connections looks healthy: no drop, and real handshakes that take their time are "
    "thrown out. `early_drop` rising is the first sign. Established TCP connections are ASSURED and stay.",
    since_2020="no difference: Linux 5.4 looks into eight buckets as well. The article does not go into it.",
)

GC_OVER_95 = Tale(
    name="gc-over-95",
    title="Forgotten after the first loss",
    summary="Once a packet was lost, half-open entries above 95 % vanish within a minute, and no statistic moves (3 minutes).",
    story=(
        "An entry in SYN_SENT lives 120 seconds. In a table that has just lost its first packet it does not.",
        "Ten SYNs arrive at seven free slots, three are lost; then nothing is done but to look how many entries are left.",
        "After that the same with seven SYNs: at 90 % after a loss, and at 96 % with no loss before.",
    ),
    steps=(
        Step(
            "7 free slots, ten SYNs, three of them lost",
            (FillTo(7), Burst(), Wait(7, 110)),
            (
                dropped(3),
                began(7, "SYN_SENT"),
                Expectation("seconds until all of them are gone", Bound("≤", 110), WaitedS()),
                Expectation("statistics that moved meanwhile", "none", StatsWhileWaiting()),
            ),
        ),
        Step(
            "One packet lost, then 90 % full, seven SYNs, 75 seconds",
            (
                FillTo(0),
                Burst(sports=(20000, 20000), count=1),
                Empty(),
                FillTo(share=1000),
                Burst(sports=(20001, 20007), count=7),
                Wait(0, 75),
            ),
            (
                began(7, "SYN_SENT"),
                Expectation("of these left after 75 s", 7, Left()),
            ),
        ),
        Step(
            "96 % full, nothing lost for a minute, seven SYNs, 75 seconds",
            (Forget(), FillTo(share=400), Burst(sports=(20011, 20017), count=7), Wait(0, 75)),
            (
                began(7, "SYN_SENT"),
                Expectation("of these left after 75 s", 7, Left()),
            ),
        ),
    ),
    explanation="When conntrack drops a packet because the table is full and nothing can be evicted, it tells the garbage "
    "collector. On its next walk through the table, once in up to a minute, that deletes what is not ASSURED, and TCP "
    "connections that are closing even if they are, in every namespace that is at 95 % of the limit or more. It counts this "
    "nowhere. The client notices when its handshake goes on: its ACK is then INVALID, or picked up as a new connection.",
    production="Alert at 80 %, not at 100 %. One dropped packet costs every half-open connection of a table above 95 %, and one "
    "namespace's loss costs the others theirs: limit and collector are shared by all containers of the machine.",
    since_2020="no difference: the garbage collector of Linux 5.4 does the same. The article does not mention it.",
    slow=True,
)

RST_FORGETS = Tale(
    name="rst-forgets",
    title="A RST takes the entry along",
    summary="Without the article's rule in raw OUTPUT a closed port answers RST, and every entry is gone at once.",
    story=(
        "The article's script has a rule that looks out of place: everything from port 80 is dropped in raw OUTPUT.",
        "Here it is replaced by one that only counts RSTs. Nobody listens on port 80.",
        "Ten SYNs arrive.",
    ),
    steps=(
        Step(
            "Let answers out, ten SYNs to a closed port",
            (
                Commands(
                    ("iptables -t raw -D OUTPUT 1", "iptables -t raw -A OUTPUT -p tcp --tcp-flags RST RST")
                ),
                Burst(),
            ),
            (
                Expectation("entries made (NEW events)", 10, NewFlows()),
                Expectation("RSTs sent (raw OUTPUT)", 10, Counter("raw", "OUTPUT")),
                Expectation("entries left of them", 0, Grown()),
            ),
            forgets=True,
        ),
    ),
    explanation="A RST in answer to a SYN ends the connection before it began, and conntrack deletes the entry on the spot. "
    "Without the rule the article would have counted 0 flows instead of 10.",
    production="A closed port that answers RST is kind to the table. `-j DROP` in OUTPUT or a host that does not answer leaves "
    "every SYN's entry for two minutes: prefer REJECT with tcp-reset for ports you close.",
    since_2020="no difference.",
    has_twin=True,
)

DNS_RACE = Tale(
    name="dns-race",
    title="Two packets, one tuple",
    summary="Two packets of one new flow at the same moment: TCP loses one, UDP resolves the clash (the DNS 5 s delay).",
    story=(
        "A resolver asks for A and AAAA from one socket, at the same moment, on two CPUs. Both packets are new, both get an "
        "entry of their own, and only one of them can be put into the table.",
        "A race cannot be relied on. Here NFQUEUE holds both packets after their entries were made and before one is "
        "confirmed, and then releases them.",
        "First two UDP packets of one tuple, then two SYNs.",
    ),
    steps=(
        Step(
            "Two UDP packets of one tuple",
            (
                Commands(("iptables -A INPUT -j NFQUEUE --queue-num 7",), lacks="NFQUEUE"),
                Held(7, Burst(proto="udp", dport=53, sports=(10000, 10000), count=2, rate_pps=0.0)),
            ),
            (
                began(1),
                Expectation("clashes resolved (clash_resolve)", 1, Stat("clash_resolve")),
                dropped(0),
            ),
        ),
        Step(
            "Two SYNs of one tuple",
            (Held(7, Burst(sports=(10000, 10000), count=2, rate_pps=0.0)),),
            (
                began(1),
                Expectation("entries that lost the race (insert_failed)", 1, Stat("insert_failed")),
                dropped(1),
            ),
        ),
    ),
    explanation="The second packet finds the tuple taken when its entry is confirmed. For UDP the kernel gives it the winner's entry "
    "and lets it pass. For TCP, and for UDP when NAT has given the two different translations, it is dropped: the "
    "resolver waits 5 seconds and asks again.",
    production="`insert_failed` rising on a Kubernetes node is this race. Use a DNS cache on the node, `single-request-reopen` in "
    "resolv.conf, or leave DNS untracked.",
    since_2020="UDP clashes have been resolved since 2016, those of flows that NAT has changed since Linux 5.6. Until 5.10, which "
    "brought the counter clash_resolve, a resolved clash counted as insert_failed, too.",
)

TALES = (EARLY_DROP, GC_OVER_95, RST_FORGETS, DNS_RACE)
