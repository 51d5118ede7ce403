"""Tales of floods: what helps a table under attack, and what does not."""

from cttui.lab.moves import Burst, Commands, FillTo, Serve, Setting
from cttui.lab.readings import Counter, Network
from cttui.lab.tale import Expectation, Step, Tale
from cttui.lab.tales.expect import RAW, after, before, began, dropped

SPOOFED = Burst(src="198.51.100.0/28", sports=(10000, 10000))

_SYN_ACKS = Commands(
    (
        "iptables -t raw -D OUTPUT 1",
        "iptables -t raw -A OUTPUT -p tcp --tcp-flags SYN,ACK SYN,ACK",
    )
)
"""Let answers out and count the SYN+ACKs among them."""

SYN_FLOOD = Tale(
    name="syn-flood",
    title="SYN cookies don't help",
    summary="A listener that answers every SYN with a cookie: 7 free slots are 7 answers, 3 SYNs are lost.",
    story=(
        "SYN cookies let a server survive a SYN flood without remembering half-open connections. So a flood should not "
        "matter to it.",
        "A listener waits on port 80 and tcp_syncookies is 2: every SYN is answered by a cookie. Ten SYNs come from ten spoofed addresses.",
        "Cookies are made by TCP. Conntrack stands before TCP, and the table has seven free slots.",
    ),
    steps=(
        Step(
            "A listener with cookies, 7 free slots, ten spoofed SYNs",
            (Setting("net/ipv4/tcp_syncookies", "2", "1"), Serve(), _SYN_ACKS, FillTo(7), SPOOFED),
            (
                before(10),
                after(7),
                Expectation("SYN+ACKs sent (raw OUTPUT)", 7, Counter("raw", "OUTPUT")),
                Expectation("SYN cookies sent (TcpExtSyncookiesSent)", 7, Network("TcpExtSyncookiesSent")),
                began(7, "SYN_RECV"),
                dropped(3),
            ),
        ),
    ),
    explanation="Each SYN gets its entry before TCP sees it; the SYN+ACK moves it to SYN_RECV, for 60 seconds. TCP forgets the "
    "connection at once, conntrack does not. When the table is full, three SYNs never reach the listener.",
    production="Against SYN floods keep SYNs out of conntrack: `-j CT --notrack` for ports that need no tracking, SYNPROXY for "
    "those that do, or a limit in raw PREROUTING. See the tales notrack, synproxy and rate-limit.",
    since_2020="no difference. With tcp_syncookies=1 and a short queue no cookie may be sent at all, which is why the tale sets 2.",
    has_twin=True,
)

NOTRACK = Tale(
    name="notrack",
    title="Not tracked, not lost",
    summary="SYNs exempted by CT --notrack pass a full table untouched.",
    story=(
        "The table has no free slot, and every SYN so far was lost in it.",
        "Now a rule in raw PREROUTING, before conntrack, says that packets to port 80 are not to be tracked.",
        "Ten SYNs arrive.",
    ),
    steps=(
        Step(
            "No free slot, port 80 not tracked, ten SYNs",
            (
                Commands(("iptables -t raw -I PREROUTING -p tcp --dport 80 -j CT --notrack",)),
                FillTo(0),
                Burst(),
            ),
            (
                Expectation("not tracked (raw PREROUTING rule 1)", 10, RAW),
                after(10),
                dropped(0),
                began(0),
            ),
        ),
    ),
    explanation="A packet that already has a tracking state when it comes to conntrack is left alone, and `--notrack` gives it one: "
    "UNTRACKED. It needs no slot, so it does not matter how many are left.",
    production="Exempt what needs no state in both directions, also the answers in raw OUTPUT. A rule that lets only "
    "ESTABLISHED in must then also let UNTRACKED in, and NAT is not possible for these packets.",
    since_2020="no difference.",
    has_twin=True,
)

RATE_LIMIT = Tale(
    name="rate-limit",
    title="A limit before conntrack",
    summary="Three SYNs pass a limit in raw PREROUTING, seven are dropped there: 3 entries.",
    story=(
        "Not everything can go untracked. But how fast new connections may come can be decided before conntrack.",
        "A rule in raw PREROUTING lets three SYNs pass at once and then one a minute; the next one drops the rest.",
        "Ten SYNs arrive within a tenth of a second.",
    ),
    steps=(
        Step(
            "A limit with burst 3, ten SYNs",
            (
                Commands(
                    (
                        "iptables -t raw -I PREROUTING 1 -p tcp --syn -m limit --limit 1/minute --limit-burst 3 -j ACCEPT",
                        "iptables -t raw -I PREROUTING 2 -p tcp --syn -j DROP",
                    )
                ),
                Burst(),
            ),
            (
                Expectation("passed the limit (raw PREROUTING rule 1)", 3, RAW),
                Expectation(
                    "dropped by the rule (raw PREROUTING rule 2)", 7, Counter("raw", "PREROUTING", 2)
                ),
                after(3),
                began(3, "SYN_SENT"),
                dropped(0),
            ),
        ),
    ),
    explanation="Dropped before conntrack, a SYN costs neither an entry nor a slot for a moment, and the drop has a counter of "
    "its own. The same rules in INPUT keep the table from filling too, but stop working once it is full.",
    production="`-m limit` treats all clients as one: an attacker uses up the share of the others. `-m hashlimit` counts by "
    "source. Against spoofed sources neither helps; SYNPROXY does.",
    since_2020="no difference.",
    has_twin=True,
)

SYNPROXY = Tale(
    name="synproxy",
    title="SYNPROXY answers first",
    summary="SYNPROXY answers 10 spoofed SYNs with cookies: 10 SYN+ACKs, no entry. In a full table its answers get lost.",
    story=(
        "SYN cookies come too late because TCP stands behind conntrack. SYNPROXY makes them in netfilter.",
        "SYNs to port 80 go untracked to the SYNPROXY target, which answers each with a cookie. Only the client that sends "
        "the right ACK gets an entry.",
        "Ten SYNs come from ten spoofed addresses: once with room in the table, once with none.",
    ),
    steps=(
        Step(
            "SYNPROXY for port 80, ten spoofed SYNs",
            (
                Setting("nf_conntrack_tcp_loose", "0", "1"),
                _SYN_ACKS,
                Commands(("iptables -t mangle -A POSTROUTING -p tcp --tcp-flags SYN,ACK SYN,ACK",)),
                Commands(
                    (
                        "iptables -t raw -I PREROUTING 1 -p tcp --dport 80 --syn -j CT --notrack",
                        "iptables -A INPUT -p tcp --dport 80 -m conntrack --ctstate INVALID,UNTRACKED "
                        "-j SYNPROXY --sack-perm --timestamp --wscale 7 --mss 1460",
                        "iptables -A INPUT -m conntrack --ctstate INVALID -j DROP",
                    ),
                    lacks="SYNPROXY",
                ),
                SPOOFED,
            ),
            (
                Expectation("taken by SYNPROXY (INPUT rule 1)", 10, Counter("filter", "INPUT")),
                Expectation("SYN+ACKs sent (mangle POSTROUTING)", 10, Counter("mangle", "POSTROUTING")),
                began(0),
                dropped(0),
            ),
        ),
        Step(
            "The same with no free slot",
            (FillTo(0), SPOOFED),
            (
                Expectation("SYN+ACKs made (raw OUTPUT)", 10, Counter("raw", "OUTPUT")),
                Expectation("SYN+ACKs sent (mangle POSTROUTING)", 0, Counter("mangle", "POSTROUTING")),
                dropped(10),
            ),
        ),
        Step(
            "No free slot, the answers not tracked either",
            (
                Commands(
                    (
                        "iptables -t raw -A OUTPUT -p tcp --sport 80 --tcp-flags SYN,ACK SYN,ACK -j CT --notrack",
                    )
                ),
                FillTo(0),
                SPOOFED,
            ),
            (
                Expectation("SYN+ACKs sent (mangle POSTROUTING)", 10, Counter("mangle", "POSTROUTING")),
                began(0),
                dropped(0),
            ),
        ),
    ),
    explanation="An untracked SYN needs no entry. Its answer makes none either, but it is a packet of its own, and conntrack in "
    "OUTPUT wants a slot before it judges it: with none left SYNPROXY's answers are lost unless they are exempted too. "
    "The ACK that comes back is INVALID for conntrack (tcp_loose=0), which is how it gets to SYNPROXY; if its cookie is "
    "right, SYNPROXY opens the connection to the server for the client, and only then is there an entry.",
    production="SYNPROXY keeps SYNs from filling the table; it does not work in a table that something else has filled. Exempt its "
    "answers in raw OUTPUT where the server is another machine (on the server itself the rule would hide the server's own "
    "SYN+ACK from SYNPROXY). Its mss, window scale and timestamps must not promise more than the server keeps.",
    since_2020="no difference known: the article does not try SYNPROXY. What a full table does to its answers was measured on 6.18.",
)

TALES = (SYN_FLOOD, NOTRACK, RATE_LIMIT, SYNPROXY)
