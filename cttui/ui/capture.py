"""What is asked before something that costs is switched on: a packet log, a trace, stage counters."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Input

from cttui.model import filters
from cttui.model.actions import Arm
from cttui.model.faults import FaultError
from cttui.model.packet_match import parse_packets
from cttui.ui.dialogs import Button, Buttons, Dialog
from cttui.ui.fields import Field, Label, Says
from cttui.ui.numbers import whole
from cttui.ui.prose import Prose
from cttui.ui.questions import Paragraphs

CAPTURE_PACKETS, CAPTURE_S = 200_000, 600
"""On a host, what is armed ends by itself."""
TRACE_PACKETS, TRACE_S = 1_000, 30
MOST_TRACED, MOST_TRACE_S = 5_000, 600
MOST_CAPTURED, MOST_CAPTURE_S = 100_000_000, 86_400
PCAP = "pcap:"
LABEL = 12
"""Cells of the words before a field."""

CAPTURE_COST: Paragraphs = [
    "The first 96 bytes of each packet are read through a packet socket, for at most so many packets and seconds. "
    "At 200,000 packets a second that takes about 4 % of a core; what doesn't fit the ring is counted and said.",
]
TRACE_COST: Paragraphs = [
    (
        "Tracing slows the traced path: one listener can cost the kernel two thirds of its packet rate.",
        "level-warn",
    ),
    "Meanwhile there is an nftables table of our own, cttui_trace_<pid>; an administrator's `nft -f` of a saved rule "
    "set fails beside it. Where rules of iptables-legacy exist, each traced packet also writes TRACE lines to the "
    "kernel log. It ends by itself after so many packets or seconds, with x, and when this program ends in any way.",
]
STAGES_COST: Paragraphs = [
    "Counters before and after each step of the path, in two nftables tables of our own, cttui_<pid> (IPv4 and IPv6).",
    "",
    ("While they exist, an administrator's `nft -f` of a saved rule set fails as a whole.", "level-warn"),
    "They change no packet and don't switch conntrack on. The kernel removes them when this program ends in any way, "
    "and the program does after a minute in which nobody looked at the hooks.",
]


def judge(words: str, *, pcap: bool) -> tuple[str, int]:
    """(what is wrong with a packet filter, at which column); "" and -1 where it is right."""
    if words.startswith(PCAP):
        if not pcap:
            return "A trace takes filter words only, no pcap expression.", 0
        return (
            ("", -1)
            if words.removeprefix(PCAP).strip()
            else ("An expression as tcpdump takes it.", len(PCAP))
        )
    try:
        filters.parse(words)
        parse_packets(words)
    except filters.FilterError as e:
        return f"{e.message}. {e.hint}".rstrip(), e.column
    except FaultError as e:
        return e.fault.sentence, 0
    return "", -1


def number_between(text: str, least: int, most: int) -> str:
    """What is wrong with a whole number, "" where nothing is."""
    number = whole(_plain(text))
    if number is None or not least <= number <= most:
        return f"A whole number from {least:,} to {most:,}."
    return ""


def _plain(text: str) -> str:
    return text.replace(",", "").replace("_", "")


def _int(text: str) -> int:
    return int(_plain(text))


@dataclass(frozen=True, slots=True)
class FormField:
    """A field of the form: `check` says what is wrong with its text, or ""."""

    id: str
    label: str
    value: str
    check: Callable[[str], str]
    hint: str
    placeholder: str = ""


class Form(Dialog[dict[str, str] | None]):
    """Labelled fields below a text; Enter in any field is the answer where all fields are right."""

    DEFAULT_CSS = "Form Horizontal { height: 1; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "app.focus_next", "Next field", show=False),
        Binding("up", "app.focus_previous", "Field before", show=False),
    ]

    def __init__(
        self,
        title: str,
        about: Paragraphs,
        fields: Sequence[FormField],
        go: str,
        notes: Sequence[str | tuple[str, str]] = (),
    ) -> None:
        super().__init__()
        self.title_text = title
        self._about, self._fields, self._go, self._notes = about, fields, go, notes

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = self.title_text
            prose = Prose([*self._about, "", *self._notes] if self._notes else [*self._about, ""])
            prose.can_focus = False
            yield prose
            for field in self._fields:
                with Horizontal():
                    yield Label(field.label, LABEL)
                    yield Field(field.value, placeholder=field.placeholder, id=field.id)
            yield Says()
            yield Buttons([Button("go", "Enter", self._go), Button("", "Esc", "cancel")])

    def on_mount(self) -> None:
        self.query(Field).first().focus()

    def _problem(self) -> tuple[str, str]:
        """(field, what is wrong) of the first wrong field."""
        for field in self._fields:
            wrong = field.check(self.query_one(f"#{field.id}", Field).value)
            if wrong:
                return field.id, wrong
        return "", ""

    def _say(self) -> None:
        _, wrong = self._problem()
        if wrong:
            self.query_one(Says).say(wrong, "error-text")
            return
        focused = self.focused
        hint = next((f.hint for f in self._fields if focused is not None and f.id == focused.id), "")
        self.query_one(Says).say(hint)

    def on_input_changed(self) -> None:
        self._say()

    def on_descendant_focus(self) -> None:
        self._say()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self._done()

    def on_buttons_pressed(self, event: Buttons.Pressed) -> None:
        if event.button:
            self._done()
        else:
            self.dismiss(None)

    def _done(self) -> None:
        wrong, _ = self._problem()
        if wrong:
            self.query_one(f"#{wrong}", Field).focus()
            self.app.bell()
            return
        self.dismiss({f.id: self.query_one(f"#{f.id}", Field).value.strip() for f in self._fields})


def _caps(packets: int, seconds: int, most_packets: int, most_seconds: int) -> list[FormField]:
    return [
        FormField("packets", "packets", f"{packets:,}", lambda t: number_between(t, 1, most_packets), "It ends after so many packets."),
        FormField("seconds", "seconds", f"{seconds}", lambda t: number_between(t, 1, most_seconds), "It ends after so many seconds."),
    ]  # fmt: skip


def capture_form(left_out: bool, filter_: str = "") -> Form:
    """Before the packet log is switched on on a host."""
    notes: Paragraphs = (
        ["The SSH connection you watch through is left out: the log would show itself."] if left_out else []
    )
    return Form(
        "Switch the packet log on?",
        CAPTURE_COST,
        [
            FormField("filter", "filter", filter_, lambda t: judge(t, pcap=True)[0],
                  "dport=443 src=10.0.0.0/8, or  pcap: tcp[tcpflags] & tcp-syn != 0", "every packet"),
            FormField("interface", "interface", "", _interface, "One interface, or empty for all of them.", "all interfaces"),
            *_caps(CAPTURE_PACKETS, CAPTURE_S, MOST_CAPTURED, MOST_CAPTURE_S),
        ],
        "switch it on",
        notes,
    )  # fmt: skip


def trace_form(filter_: str = "") -> Form:
    """Before packets are traced."""
    return Form(
        "Trace packets?",
        TRACE_COST,
        [
            FormField("filter", "filter", filter_, lambda t: judge(t, pcap=False)[0],
                  "As narrow as you can: src=203.0.113.7 dport=443", "every packet"),
            *_caps(TRACE_PACKETS, TRACE_S, MOST_TRACED, MOST_TRACE_S),
        ],
        "arm the trace",
    )  # fmt: skip


def _interface(text: str) -> str:
    return (
        "" if len(text.strip()) <= 15 and "/" not in text else "Interface names have at most 15 characters."
    )


def arm(what: str, answers: dict[str, str]) -> Arm:
    """The action for what was typed."""
    return Arm(
        what=what,
        filter=answers.get("filter", ""),
        interface=answers.get("interface", ""),
        packets=_int(answers["packets"]),
        seconds=float(_int(answers["seconds"])),
    )
