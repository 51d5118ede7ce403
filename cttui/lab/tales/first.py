"""Tales of the first steps: what makes entries, what makes conntrack run at all, what counts."""

from cttui.lab.moves import App, Burst, Commands
from cttui.lab.readings import Counter, Entries, Told
from cttui.lab.tale import Expectation, Step, Tale
from cttui.lab.tales.expect import after, before, began, dropped

TEN_SYNS = Tale(
    name="ten-syns",
    title="Ten SYNs, ten flows",
    summary="10 SYNs into an empty table: 10 entries, and every hook sees all of them.",
    story=(
        "Ten SYN packets from one client, source ports 10000 to 10009, arrive at port 80. Nobody listens there, and a rule "
        "in raw OUTPUT drops the answers, as in the article.",
        "Two counters stand on their way: one in raw PREROUTING, before conntrack, one in mangle PREROUTING, after it.",
        "This is how things look while there is room. Every later tale is a deviation from it.",
    ),
    steps=(
        Step(
            "Fire ten SYNs",
            (Burst(),),
            (
                before(10),
                after(10),
                began(10, "SYN_SENT"),
                dropped(0),
            ),
        ),
    ),
    explanation="An unknown tuple makes a new entry; the first SYN puts it in SYN_SENT, [UNREPLIED], for 120 seconds. "
    "The entry counts toward the limit as soon as conntrack sees the packet, but it is in the table, and visible to "
    "`conntrack -L`, only once the packet has passed its last hook.",
    production="A SYN alone costs an entry for two minutes. 2,200 spoofed SYNs a second fill a table of 262,144.",
    since_2020="no difference.",
    has_twin=True,
)

CONNTRACK_BY_USE = Tale(
    name="conntrack-by-use",
    title="No rule, no conntrack",
    summary="Conntrack runs in a namespace only once a rule there refers to it.",
    story=(
        "On many machines conntrack is simply there. In a fresh network namespace it is not: its hooks are registered "
        "when the first rule that needs them is added.",
        "First the sandbox's `-j CT` rule is taken away and ten SYNs arrive. Then it is put back, and the same ten arrive "
        "again. At last it goes once more, and ten others arrive.",
        "`-j CT` changes nothing in a packet. That it refers to conntrack is all it does.",
    ),
    steps=(
        Step(
            "Without any rule that refers to conntrack",
            (Commands(("iptables -t raw -D PREROUTING -j CT",)), Burst()),
            (
                Expectation("packets in mangle PREROUTING", 10, Counter("mangle", "PREROUTING")),
                began(0),
            ),
        ),
        Step(
            "With one",
            (Commands(("iptables -t raw -A PREROUTING -j CT",)), Burst()),
            (
                Expectation("packets in mangle PREROUTING", 10, Counter("mangle", "PREROUTING")),
                began(10, "SYN_SENT"),
            ),
        ),
        Step(
            "And without again",
            (Commands(("iptables -t raw -D PREROUTING -j CT",)), Burst(sports=(20000, 20009))),
            (
                Expectation("packets in mangle PREROUTING", 10, Counter("mangle", "PREROUTING")),
                began(0),
                Expectation("entries in the table", 10, Entries()),
            ),
        ),
    ),
    explanation="`-m conntrack`, `-m state`, `-j CT`, `-j MASQUERADE`, everything in the nat table and nft's `ct` make the "
    "kernel register conntrack's hooks in this namespace, for the family of the rule. When the last of them goes, so "
    "do the hooks. The entries stay until their timeouts end, but no packet finds them any more.",
    production="One forgotten `-m state` rule switches conntrack on for every packet of the namespace. Before you rely on "
    "conntrack being off, look for its hooks: `nft list hooks`.",
    since_2020="no difference. Hooks have been registered by need since Linux 4.10.",
    has_twin=True,
)

_NFT, _LEGACY = "iptables-nft", "iptables-legacy"
POLICY_COUNTERS = Tale(
    name="policy-counters",
    title="Do policies count?",
    summary="Chain policy counters with and without a rule, with both iptables backends.",
    story=(
        "The article adds a rule without a target to mangle PREROUTING just to count, because, it says, the counter of a "
        "chain's policy works only if there is at least one rule in the chain.",
        "Here filter INPUT is looked at three times, each time while ten packets pass: never touched; its policy set, no "
        "rule in it; with one rule without a target.",
        "Both backends stand in the same packet's way, so their numbers can be compared.",
    ),
    steps=(
        Step(
            "Never touched: there is no such chain",
            (Burst(sports=(10000, 10009)),),
            (
                Expectation("policy of INPUT, iptables-nft", 0, Counter("filter", "INPUT", 0, _NFT)),
                Expectation("policy of INPUT, iptables-legacy", 0, Counter("filter", "INPUT", 0, _LEGACY)),
            ),
        ),
        Step(
            "Policy set, no rule",
            (
                Commands(("iptables-nft -P INPUT ACCEPT",), lacks="iptables-nft", optional=True),
                Commands(("iptables-legacy -P INPUT ACCEPT",), lacks="iptables-legacy", optional=True),
                Burst(sports=(10010, 10019)),
            ),
            (
                Expectation("policy of INPUT, iptables-nft", 10, Counter("filter", "INPUT", 0, _NFT), _NFT),
                Expectation(
                    "policy of INPUT, iptables-legacy", 10, Counter("filter", "INPUT", 0, _LEGACY), _LEGACY
                ),
            ),
        ),
        Step(
            "With a rule",
            (
                Commands(("iptables-nft -A INPUT",), lacks="iptables-nft", optional=True),
                Commands(("iptables-legacy -A INPUT",), lacks="iptables-legacy", optional=True),
                Burst(sports=(10020, 10029)),
            ),
            (
                Expectation("rule 1 of INPUT, iptables-nft", 10, Counter("filter", "INPUT", 1, _NFT), _NFT),
                Expectation("policy of INPUT, iptables-nft", 10, Counter("filter", "INPUT", 0, _NFT), _NFT),
                Expectation(
                    "rule 1 of INPUT, iptables-legacy", 10, Counter("filter", "INPUT", 1, _LEGACY), _LEGACY
                ),
                Expectation(
                    "policy of INPUT, iptables-legacy", 10, Counter("filter", "INPUT", 0, _LEGACY), _LEGACY
                ),
            ),
        ),
    ),
    explanation="With iptables-legacy a policy counts as soon as its table exists, which listing it is enough for. With "
    "iptables-nft it counts once it has been set: a chain that `-A` alone has made has no policy counter and lists 0 "
    "(1.8.9). Who lists a chain for the first time after the packets reads 0, with either backend, and would conclude that "
    "policies do not count.",
    production="Counting with a rule without a target is still the better habit: it makes the chain, it survives a change of "
    "policy, and it can be restricted to the packets meant.",
    since_2020="the article's claim does not hold here: policies count without any rule. It may have seen its first listing make "
    "the chain: since Linux 5.15 a legacy table exists in a namespace only once somebody uses it there.",
)

_RAW_RULES = (
    "iptables -t mangle -A OUTPUT -p tcp",
    "iptables -t mangle -A POSTROUTING -p tcp",
    "iptables -t mangle -A INPUT -p tcp",
)
RAW_VS_TUN = Tale(
    name="raw-vs-tun",
    title="A raw socket is not an interface",
    summary="The same SYN through a raw socket on lo and through the device: other hooks, another end.",
    story=(
        "Why go to the trouble of a tun device, when a raw socket sends any packet to 127.0.0.1 in three lines?",
        "Because a packet sent is not a packet received. It begins at OUTPUT, and conntrack sees it there; when it comes "
        "out of lo it already has its entry.",
        "The first two steps count the hooks that each meets, the others drop everything in INPUT and look who has made an entry.",
    ),
    steps=(
        Step(
            "A SYN by a raw socket on lo",
            (Commands(_RAW_RULES), App("raw", "127.0.0.1", 80)),
            (
                Expectation("the raw socket was told", "sent", Told()),
                Expectation("mangle OUTPUT", 1, Counter("mangle", "OUTPUT")),
                Expectation("mangle POSTROUTING", 1, Counter("mangle", "POSTROUTING")),
                Expectation("mangle PREROUTING", 1, Counter("mangle", "PREROUTING")),
                Expectation("mangle INPUT", 1, Counter("mangle", "INPUT")),
                began(1),
            ),
        ),
        Step(
            "The same SYN through the device",
            (Burst(count=1, sports=(10000, 10000)),),
            (
                Expectation("mangle OUTPUT", 0, Counter("mangle", "OUTPUT")),
                Expectation("mangle POSTROUTING", 0, Counter("mangle", "POSTROUTING")),
                Expectation("mangle PREROUTING", 1, Counter("mangle", "PREROUTING")),
                Expectation("mangle INPUT", 1, Counter("mangle", "INPUT")),
                began(1),
            ),
        ),
        Step(
            "Raw socket again, everything dropped in INPUT",
            (Commands(("iptables -A INPUT -j DROP",)), App("raw", "127.0.0.1", 81)),
            (
                Expectation("dropped by the rule in INPUT", 1, Counter("filter", "INPUT")),
                began(1),
            ),
        ),
        Step(
            "Device again, everything dropped in INPUT",
            (Burst(count=1, sports=(10000, 10000), dport=81),),
            (
                Expectation("dropped by the rule in INPUT", 1, Counter("filter", "INPUT")),
                began(0),
            ),
        ),
    ),
    explanation="A sent packet meets OUTPUT, conntrack, POSTROUTING, and its entry is confirmed there, before it has arrived "
    "anywhere. Through lo it carries its entry along, and conntrack leaves it alone in PREROUTING. A received packet's "
    "entry is confirmed at the end of INPUT: whatever is dropped before that leaves no entry.",
    production="Tests of a firewall that send from the machine itself test another path. Use a tun or veth device, or another machine.",
    since_2020="no difference; the article chose a tun device for this reason.",
)

TALES = (TEN_SYNS, CONNTRACK_BY_USE, POLICY_COUNTERS, RAW_VS_TUN)
