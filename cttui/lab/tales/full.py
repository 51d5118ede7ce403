"""Tales of the full table: what is lost, what is told, and to whom."""

from cttui.lab.moves import App, Burst, Commands, Empty, FillTo, Setting
from cttui.lab.readings import Counter, LogSays, Stat, Told
from cttui.lab.tale import Expectation, Step, Tale
from cttui.lab.tales.expect import after, before, began, dropped

TABLE_FULL = Tale(
    name="table-full",
    title="Seven slots for ten SYNs",
    summary="10 SYNs into a table with 7 free slots: 7 entries, 3 packets lost that no rule dropped.",
    story=(
        "The table is filled until seven slots are left. Then ten SYNs arrive.",
        "Both counters stand where they stood before: one before conntrack, one after it.",
        "No rule drops any of them. Watch the difference between the two.",
    ),
    steps=(
        Step(
            "Fill to 7 free slots, fire ten SYNs",
            (FillTo(7), Burst()),
            (
                before(10),
                after(7),
                began(7, "SYN_SENT"),
                dropped(3),
                Expectation('the kernel log says "table full"', "yes", LogSays("table full")),
            ),
        ),
    ),
    explanation="A packet that needs an entry and gets none is dropped inside conntrack, between raw and mangle. No rule's "
    "counter shows it. What does: `drop` in `conntrack -S`, and a line in the kernel log, a few a second at most.",
    production="Watch nf_conntrack_count against nf_conntrack_max and alert on `drop`. Raise nf_conntrack_max (384 bytes an "
    "entry) and the number of buckets with it; shorten timeouts of protocols you don't need tracked for long; take "
    "what needs no tracking out with `-j CT --notrack`.",
    since_2020="the article set nf_conntrack_max to 7. The limit is one for the whole machine, and since Linux 5.13 (and stable "
    "kernels since May 2021) other namespaces can only read it: before, what root wrote in one held for all. So here the "
    "table is filled instead. The line in the log names the namespace since Linux 6.17.",
    has_twin=True,
)

STRAY_ACK_LOOSE = Tale(
    name="stray-ack-loose",
    title="A stray ACK is picked up",
    summary="With tcp_loose=1, 10 ACKs of no known connection make entries as SYNs do: 7 fit, 3 are lost.",
    story=(
        "Ten bare ACKs arrive that belong to no connection conntrack knows: after a restart of the firewall, from a peer "
        "that has been idle for days, or from somebody who floods ACKs.",
        "nf_conntrack_tcp_loose is 1, the default.",
        "The table has seven free slots.",
    ),
    steps=(
        Step(
            "Fill to 7 free slots, fire ten ACKs",
            (FillTo(7), Burst(flags="A")),
            (
                before(10),
                after(7),
                began(7, "ESTABLISHED"),
                dropped(3),
                Expectation("counted as invalid", 0, Stat("invalid")),
            ),
        ),
    ),
    explanation="In loose mode conntrack assumes that it has missed the beginning: a bare ACK makes an ESTABLISHED entry, "
    "[UNREPLIED], with 300 seconds to live. SYN+ACK, FIN and RST of unknown connections are INVALID even so.",
    production="tcp_loose=1 lets connections survive a restart of the firewall or a failover. It also lets anyone fill the table "
    "with ACKs, past every rule that looks for SYNs.",
    since_2020="no difference.",
    has_twin=True,
)

_INVALID = Commands(("iptables -t mangle -A PREROUTING -m conntrack --ctstate INVALID",))
_STRICT = Setting("nf_conntrack_tcp_loose", "0", "1")

STRAY_ACK_STRICT = Tale(
    name="stray-ack-strict",
    title="A stray ACK is INVALID",
    summary="With tcp_loose=0, 10 stray ACKs make no entry: all pass, marked INVALID.",
    story=(
        "The same ten ACKs, the same seven free slots, but nf_conntrack_tcp_loose is 0.",
        "A rule in mangle PREROUTING counts what conntrack calls INVALID.",
        "INVALID is a mark, not a verdict: the packets pass unless a rule says otherwise.",
    ),
    steps=(
        Step(
            "tcp_loose=0, 7 free slots, ten ACKs",
            (_STRICT, _INVALID, FillTo(7), Burst(flags="A")),
            (
                after(10),
                Expectation("of these INVALID", 10, Counter("mangle", "PREROUTING", 2)),
                began(0),
                Expectation("counted as invalid", 10, Stat("invalid")),
                dropped(0),
            ),
        ),
    ),
    explanation="Conntrack takes a slot for each packet, looks at it, calls it INVALID and gives the slot back. Ten packets one "
    "after the other need one free slot.",
    production="For a server that terminates connections itself tcp_loose=0 with a rule that drops INVALID is the better "
    "choice. Behind asymmetric routing or with failover without state sync it breaks connections.",
    since_2020="no difference.",
    has_twin=True,
)

STRAY_ACK_STRICT_FULL = Tale(
    name="stray-ack-strict-full",
    title="A stray ACK in a full table",
    summary="With tcp_loose=0 and no free slot, 10 ACKs are lost although none would have made an entry.",
    story=(
        "tcp_loose is 0, so a stray ACK makes no entry. One could think that it does not matter to it how full the table is.",
        "Now the table has not a single free slot.",
        "The same ten ACKs arrive.",
    ),
    steps=(
        Step(
            "tcp_loose=0, no free slot, ten ACKs",
            (_STRICT, FillTo(0), Burst(flags="A")),
            (
                before(10),
                after(0),
                began(0),
                dropped(10),
            ),
        ),
    ),
    explanation="The slot is needed before the packet is judged: without one conntrack cannot find out that it is INVALID, and "
    "drops it. The same goes for packets with a wrong checksum.",
    production="A full table harms everything that is not already in it, also what would never have got in. Only `-j CT "
    "--notrack` keeps packets out of its way.",
    since_2020="no difference.",
    has_twin=True,
)

DROPPED_IN_INPUT = Tale(
    name="dropped-in-input",
    title="Dropped in INPUT",
    summary="A packet that a rule drops leaves no entry, yet it needs a free slot on its way to that rule.",
    story=(
        "A rule drops everything in INPUT. Do dropped SYNs fill the table?",
        "First ten SYNs arrive while the table is empty.",
        "Then it is filled to the last slot, and the same ten arrive again.",
    ),
    steps=(
        Step(
            "An empty table, everything dropped in INPUT",
            (Commands(("iptables -A INPUT -j DROP",)), Burst()),
            (
                after(10),
                Expectation("dropped by the rule in INPUT", 10, Counter("filter", "INPUT")),
                began(0),
            ),
        ),
        Step(
            "No free slot",
            (FillTo(0), Burst()),
            (
                after(0),
                Expectation("dropped by the rule in INPUT", 0, Counter("filter", "INPUT")),
                dropped(10),
            ),
        ),
    ),
    explanation="An entry is made before the rules and put into the table after the last one: a packet that a rule drops takes "
    "its unconfirmed entry with it. While it is under way it counts toward the limit all the same.",
    production="Rules in INPUT protect the table from filling. Once it is full no new packet gets as far as to them: what must "
    "work then has to be decided before conntrack, in raw PREROUTING or by XDP.",
    since_2020="no difference.",
    has_twin=True,
)

SENDTO_EPERM = Tale(
    name="sendto-eperm",
    title="sendto: Operation not permitted",
    summary="What programs on the machine are told while the table is full, and how to tell that from a rule.",
    story=(
        "A full table does not only concern what arrives. Whatever the machine itself sends needs an entry too.",
        "Three programs try: a UDP sendto, a SYN by a raw socket on lo, a TCP connect.",
        "Then there is room again, and a rule drops everything in OUTPUT. The UDP program is told the same. Two counters tell the cases apart.",
    ),
    steps=(
        Step(
            "No free slot: UDP sendto",
            (FillTo(0), App("udp", "198.51.100.53", 53)),
            (
                Expectation("sendto was told", "EPERM", Told()),
                dropped(1),
            ),
        ),
        Step(
            "No free slot: a raw socket's SYN on lo",
            (FillTo(0), App("raw", "127.0.0.1", 80)),
            (
                Expectation("sendto was told", "EPERM", Told()),
                dropped(1),
            ),
        ),
        Step(
            "No free slot: TCP connect",
            (FillTo(0), App("connect", "127.0.0.1", 80)),
            (Expectation("connect within a second", "hangs", Told()),),
        ),
        Step(
            "Room again, but OUTPUT drops: UDP sendto",
            (Empty(), Commands(("iptables -A OUTPUT -j DROP",)), App("udp", "198.51.100.53", 53)),
            (
                Expectation("sendto was told", "EPERM", Told()),
                Expectation("dropped by the rule in OUTPUT", 1, Counter("filter", "OUTPUT")),
                dropped(0),
            ),
        ),
    ),
    explanation="A packet that netfilter drops on its way out is EPERM for the caller of sendto, whoever dropped it. TCP sends "
    "its SYN itself, later, and takes the loss for a loss in the network: connect waits and tries again. `drop` in "
    "`conntrack -S` rises in the first case, the rule's counter in the second.",
    production='"Operation not permitted" from a resolver, ntpd or ping on a busy machine is a full table more often than a '
    "permission. Look at `conntrack -S` first.",
    since_2020="no difference.",
)

TALES = (TABLE_FULL, STRAY_ACK_LOOSE, STRAY_ACK_STRICT, STRAY_ACK_STRICT_FULL, DROPPED_IN_INPUT, SENDTO_EPERM)
