"""One flow, packet or rule with everything that is known of it."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import msgspec
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical

from cttui.model import flow as f
from cttui.model import packet_words, words
from cttui.model.flow import Flow
from cttui.model.hooks import Chain, Rule
from cttui.model.messages import Answer, Ask
from cttui.model.packet import PacketPage, PacketRow
from cttui.model.pages import Owner
from cttui.model.rare_words import rare_words
from cttui.model.safe import clean
from cttui.model.views import EventView, FlowView, PacketView
from cttui.ui.dialogs import Button, Buttons, Dialog, Read
from cttui.ui.journey_text import fate_words
from cttui.ui.pasts import Pasts, Seen
from cttui.ui.prose import Prose
from cttui.ui.questions import Paragraphs

if TYPE_CHECKING:
    from cttui.lab.dissect import Dissection

LABEL = 11


def _pair(label: str, text: str, style: str = "") -> str | tuple[str, str]:
    line = f"{label:<{LABEL}}{text}"
    return (line, style) if style else line


def owner_words(owner: Owner) -> str:
    """Whose socket an end of a flow is: `source: curl (4711), alice`."""
    first, more = owner.pids[:1], len(owner.pids) - 1
    pids = f" ({first[0]}{f' and {more} more' if more > 0 else ''})" if first else ""
    program = clean(owner.program) or ("a process" if first else "a process that can't be seen")
    return f"{owner.end}: {program}{pids}, {clean(owner.user)}{', listening' if owner.listening else ''}"


def flow_paragraphs(
    flow: Flow,
    past: Seen | None,
    packets: PacketPage | None = None,
    gone: bool = False,
    expected: int | None = None,
    owners: Sequence[Owner] = (),
    rare: Mapping[str, int] = {},
) -> Paragraphs:
    """Every attribute, both directions, NAT in words, the timeout's setting, the past, and the commands.

    `expected`: how many connections the flow's helper expects, None where that was not asked. `owners`: whose sockets
    its ends are. `rare`: attributes that few entries carry, by name.
    """
    proto = words.protocol(flow.proto)
    state = f.state_name(flow.proto, flow.state)
    out: Paragraphs = [(f"{proto} {state}".rstrip() + f"   {words.flags_words(flow)}", "value")]
    if gone:
        out.append(("This flow has ended; below is the last that was seen of it.", "level-warn"))
    out += [
        _pair("original", f"{words.endpoint(flow.orig_src, flow.orig_sport, flow.proto)}  →  {words.endpoint(flow.orig_dst, flow.orig_dport, flow.proto)}{_counted(flow.orig_packets, flow.orig_bytes)}"),
        _pair("reply", f"{words.endpoint(flow.reply_src, flow.reply_sport, flow.proto)}  →  {words.endpoint(flow.reply_dst, flow.reply_dport, flow.proto)}{_counted(flow.reply_packets, flow.reply_bytes)}"),
    ]  # fmt: skip
    if flow.proto in (f.IPPROTO_ICMP, f.IPPROTO_ICMPV6):
        out.append(
            _pair("icmp", f"type {flow.orig_dport >> 8}, code {flow.orig_dport & 0xFF}, id {flow.orig_sport}")
        )
    if flow.proto == f.IPPROTO_GRE:
        out.append(_pair("gre", f"source key {flow.orig_sport:#x}, destination key {flow.orig_dport:#x}"))
    out += [_pair("nat", sentence, "flow-changed") for sentence in words.nat_words(flow)] or [
        _pair("nat", "none: the reply is the original turned round")
    ]
    sysctl = words.timeout_sysctl(flow)
    left = "kept by a flowtable" if flow.status & f.OFFLOAD else f"{words.duration(flow.timeout_s)} left"
    if sysctl.endswith("_unacknowledged"):
        sysctl += ", or by …_max_retrans after repeats"  # how often is not told
    out.append(_pair("timeout", left + (f", set by {sysctl}" if sysctl else "")))
    status = " ".join(name for bit, name in f.STATUS_BITS.items() if flow.status & bit)
    out.append(_pair("status", f"{status} ({flow.status:#x})"))
    directions = ("", " (original direction)", " (reply direction)")
    out.append(
        _pair(
            "zone",
            f"{flow.zone}{directions[flow.zone_dir]}   mark {flow.mark:#x}   id {flow.id}   use {flow.use}",
        )
    )
    out += [_pair("process", owner_words(owner)) for owner in owners]
    if flow.zone == f.FILLER_ZONE and flow.mark == f.FILLER_MARK:
        out.append(_pair("filler", "only occupies a slot of this sandbox", "muted"))
    if flow.rate_bps is not None:
        out.append(_pair("rate", f"{words.si(flow.rate_bps)}bit/s over the last {flow.rate_over_s:.1f} s"))
    if flow.orig_packets is None:
        out.append(_pair("counters", "– : nf_conntrack_acct was off when this flow began", "muted"))
    if flow.start_ns:
        out.append(
            _pair(
                "began",
                _clock(flow.start_ns / 1e9) + f", {words.duration(time.time() - flow.start_ns / 1e9)} ago",
            )
        )
    if flow.helper:
        expects = "" if expected is None else f", expects {words.counted(expected, 'connection')}"
        out.append(_pair("helper", clean(flow.helper) + expects))
    if any(flow.labels):
        out.append(_pair("labels", ", ".join(map(str, words.label_bits(flow.labels)))))
    if flow.secctx:
        out.append(_pair("secctx", clean(flow.secctx)))
    if flow.tcp_wscale_orig is not None or flow.tcp_flags_orig is not None:
        ends = (
            ("original", flow.tcp_wscale_orig, flow.tcp_flags_orig),
            ("reply", flow.tcp_wscale_reply, flow.tcp_flags_reply),
        )
        out += [
            _pair("tcp", f"{end}: window scale {_or(scale)}, {_tcp_flags(flags)}")
            for end, scale, flags in ends
        ]
    out += [_pair(label, text) for label, text in rare_words(rare)]
    master = words.master_dict(flow.master)
    if master is not None:
        out.append(_pair("expected by", " ".join(f"{k}={v}" for k, v in master.items())))
    if past is not None:
        out += ["", ("While watched", "heading"), f"  {_clock(past.first)}  first seen"]
        out += [f"  {_clock(when)}  {clean(what)}" for when, what in past.changes[-12:]]
    if packets is not None and packets.rows:
        out += ["", (f"Packets ({packets.matched:,})", "heading")]
        out += [
            (
                f"  {packet_words.packet_line(row)}" + (f"   {clean(row.fate)}" if row.fate else ""),
                "fate-lost" if "lost" in row.fate or "drop" in row.fate else "",
            )
            for row in packets.rows[-8:]
        ]
    out += [
        "",
        ("As conntrack says it", "heading"),
        "  " + words.conntrack_line(flow),
        "",
        ("The command that deletes it", "heading"),
        "  " + words.conntrack_delete_command(flow),
    ]
    return out


def _counted(packets: int | None, bytes_: int | None) -> str:
    if packets is None or bytes_ is None:
        return ""
    return f"   {words.counted(packets, 'packet')}, {bytes_:,} bytes"


def _or(value: int | None) -> str:
    return "–" if value is None else str(value)


def _tcp_flags(flags: int | None) -> str:
    """What conntrack noted of one end of a connection, as words and as a number."""
    if flags is None:
        return "flags –"
    named = ", ".join(name for bit, name in f.TCP_FLAGS.items() if flags & bit)
    return f"flags {flags:#x}" + (f" ({named})" if named else "")


def _clock(seconds: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(seconds)) + f".{int(seconds * 1000) % 1000:03d}"


def rule_paragraphs(chain: Chain, rule: Rule) -> Paragraphs:
    """One rule: where it stands, what it counted, how it is written."""
    where = f"{chain.family} {chain.table} {chain.chain}, rule {rule.number} ({chain.backend})"
    out: Paragraphs = [(where, "value")]
    if chain.hook:
        out.append(_pair("hook", f"{chain.hook}, priority {chain.priority}"))
    else:
        out.append(_pair("hook", "none: reached by a jump"))
    counted = (
        "no counter in this rule"
        if rule.packets is None
        else f"{words.counted(rule.packets, 'packet')}, {rule.bytes or 0:,} bytes"
    )
    rate = f", {rule.pps:,.1f} packets/s" if rule.pps is not None else ""
    out += [
        _pair("counted", counted + rate),
        _pair("verdict", clean(rule.verdict) or "none: it only counts or marks"),
    ]
    if rule.conntrack:
        out.append(
            _pair(
                "conntrack",
                f"needs it ({clean(rule.conntrack)}), and so switches it on in this namespace",
                "hook-conntrack",
            )
        )
    out += ["", "  " + rule_command(chain, rule)]
    return out


def rule_command(chain: Chain, rule: Rule) -> str:
    """The rule as a command that would make it."""
    if chain.backend == "nft":
        return f"nft add rule {chain.family} {clean(chain.table)} {clean(chain.chain)} {clean(rule.text)}"
    program = "ip6tables" if chain.family == "ip6" else "iptables"
    text = clean(rule.text)
    if not text.startswith("-A "):
        text = f"-A {clean(chain.chain)} {text}"
    return f"{program} -t {clean(chain.table)} {text}"


def packet_paragraphs(packet: PacketRow, dissection: "Dissection | None" = None) -> Paragraphs:
    """One packet: its line, what became of it, its layers once they are dissected, its bytes."""
    out: Paragraphs = [(packet_words.packet_line(packet), "value"), ""]
    if packet.fate:
        out.append(_pair("ended", *fate_words(packet.fate)))
    if packet.ct_state:
        out.append(_pair("conntrack", clean(packet.ct_state)))
    kept = f", {len(packet.data):,} kept" if len(packet.data) < packet.length else ""
    out.append(_pair("length", f"{packet.length:,} bytes{kept}"))
    if dissection is not None:
        for layer in dissection.layers:
            out += ["", (layer.name, "heading")]
            out += [f"  {clean(name):<14} {clean(value)}" for name, value in layer.fields]
        if dissection.note:
            out += ["", (dissection.note, "level-warn")]
        out += ["", ("In scapy's notation", "heading"), "  " + clean(dissection.scapy)]
        out += ["", ("Bytes", "heading"), *((f"  {line}", "muted") for line in dissection.hexdump)]
    return out


class PacketDetail(Read):
    """A packet with its layers and bytes; scapy takes it apart in a thread."""

    def __init__(self, packet: PacketRow) -> None:
        super().__init__("Packet", packet_paragraphs(packet))
        self._packet = packet

    def on_mount(self) -> None:
        self.run_worker(self._dissect())

    async def _dissect(self) -> None:
        from cttui.lab.dissect import dissect

        dissection = await asyncio.to_thread(dissect, self._packet)
        if self.is_mounted:
            self.query_one(Prose).show(packet_paragraphs(self._packet, dissection))


class FlowDetail(Dialog[None]):
    """A flow, kept up to date while it is looked at."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "dismiss_none", "Close", show=False),
        Binding("y", "copy_line", "Copy the line", show=False),
        Binding("Y", "copy_command", "Copy the command that deletes it", show=False),
        Binding("L", "packets", "Its packets in the log", show=False),
    ]

    def __init__(
        self,
        flow: Flow,
        watch: Pasts,
        copy: Callable[[str, str], None],
        packets_of: Callable[[int], None] | None = None,
    ) -> None:
        super().__init__()
        self._packets_of = packets_of
        self.flow = flow
        self._watch = watch
        self._copy = copy
        self._gone = False
        self._packets: PacketPage | None = None
        self._expected: int | None = None
        self._owners: list[Owner] = []
        self._rare: dict[str, int] = {}
        self._events_read = 0

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog wide tall") as box:
            box.border_title = "Flow"
            yield Prose(self._paragraphs())
            yield Buttons(
                [Button("packets", "L", "its packets"), Button("y", "y", "copy line"), Button("Y", "Y", "copy delete command"),
                 Button("", "Esc", "close")]
            )  # fmt: skip

    def _paragraphs(self) -> Paragraphs:
        past = self._watch.past(self.flow.key)
        return flow_paragraphs(
            self.flow, past, self._packets, self._gone, self._expected, self._owners, self._rare
        )

    def amend(self, ask: Ask) -> Ask:
        """Only this flow, its packets, and every event of it, where events are heard at all.

        Not of a frozen moment: they came after it, and its flow would look like a change back.
        """
        return msgspec.structs.replace(
            ask,
            flows=FlowView(keys=[self.flow.key], count=1, fillers=True),
            events=EventView(flow_key=self.flow.key, after=self._events_read) if ask.at is None else None,
            packets=PacketView(flow_key=self.flow.key, count=8) if ask.packets is not None else None,
        )

    def heard(self, answer: Answer) -> bool:
        """Take the flow out of the answer; True: its rows are not for the table behind."""
        if answer.flows is not None:
            found = next((x for x in answer.flows.rows if x.key == self.flow.key), None)
            self._gone = found is None or found.ended
            if found is not None:
                self.flow = found
            self._expected = answer.flows.expectations.get(self.flow.key)
            # A recording may answer about another flow.
            self._owners = answer.flows.owners if found is not None else []
            self._rare = answer.flows.rare or self._rare  # a flow that has ended had them
        if answer.events is not None:  # told by the Pasts we show
            self._events_read = answer.events.last
        if answer.packets is not None:
            # A recording answers with the packets of its own question.
            mine = [row for row in answer.packets.rows if row.flow_key == self.flow.key]
            whole = len(mine) == len(answer.packets.rows)
            matched = answer.packets.matched if whole else len(mine)
            self._packets = msgspec.structs.replace(answer.packets, rows=mine, matched=matched)
        self.query_one(Prose).show(self._paragraphs())
        return True

    def action_packets(self) -> None:
        """Close, and narrow the log to this flow."""
        self.dismiss(None)
        if self._packets_of is not None:
            self._packets_of(self.flow.key)

    def action_copy_line(self) -> None:
        """As `conntrack -L` prints it."""
        self._copy(words.conntrack_line(self.flow), "flow")

    def action_copy_command(self) -> None:
        """The command that deletes it."""
        self._copy(words.conntrack_delete_command(self.flow), "command")

    def on_buttons_pressed(self, event: Buttons.Pressed) -> None:
        match event.button:
            case "packets":
                self.action_packets()
            case "y":
                self.action_copy_line()
            case "Y":
                self.action_copy_command()
            case _:
                self.dismiss(None)
