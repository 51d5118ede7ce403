"""The protocol between client and probe: pull only, one Ask outstanding.

Structs are array-like: fields are only ever appended, with defaults. PROTOCOL counts incompatible changes;
both sides must have the same (the Fault names both).
"""

import msgspec

from cttui.model.flow import Flow
from cttui.model.hooks import Chain, HooksReading, Loss, Stage
from cttui.model.packet import JourneysReading, PacketPage
from cttui.model.table import Health, TableReading
from cttui.model.tunables import Tunable

PROTOCOL = 1

HOST_COUNT_FD = 9
"""Descriptor on which a sandbox's probe finds the host's nf_conntrack_count, opened outside of it."""

# ---------------------------------------------------------------- client → probe: questions


class Hello(msgspec.Struct, array_like=True, frozen=True, tag="hello"):
    """First frame. `read_only` removes every write from what the probe will do."""

    protocol: int
    app: str
    read_only: bool = False
    leave_out: tuple[str, int, str, int] | None = None
    """The connection we are watched through (SSH_CONNECTION): client, port, server, port."""


class FlowView(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """A window of the filtered, sorted flows. `sort` is a column of model.filters.SORT_KEYS."""

    filter: str = ""
    sort: str = "newest"
    descending: bool = True
    first: int = 0
    count: int = 0
    fillers: bool = False
    follow_key: int = 0
    """The flow under the cursor: the page answers at which row it stands now (`FlowPage.follow_at`)."""
    keys: list[int] = []
    """Only these flows, whatever the filter (detail pane)."""
    refresh: bool = True
    """Refresh the window with single GETs so that timeouts and counters are live."""
    anchored: bool = False
    """`first` (which may be negative) counts from the followed flow, so that its row stays put on the screen
    however many flows come before it; where that flow is gone, from the top."""


class GroupView(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """Flows of `filter` grouped by one or more of model.filters.GROUP_KEYS."""

    by: list[str]
    filter: str = ""
    sort: str = "count"
    descending: bool = True
    first: int = 0
    count: int = 20
    fillers: bool = False


class PacketView(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """A window of the packet log; `first` -1 follows the newest."""

    filter: str = ""
    first: int = -1
    count: int = 0
    seq: int = 0
    """Only the packet with this number, whole (packet detail); 0: the window."""
    flow_key: int = 0
    """Only packets of this flow; 0: all."""
    anchor: int = 0
    """Number of a packet: `first` (which may be negative) then counts matching rows from it, so that a window
    scrolled back stays put while the log turns over. 0: `first` counts from the oldest packet kept."""


class HookView(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """How many rules of each chain to answer with; `order` is `path` or `hottest`."""

    rules_per_chain: int = 200
    order: str = "path"


class JourneyView(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """A window of the traced packets."""

    first: int = 0
    count: int = 20


class EventView(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """Events after the one with number `after`. The first question begins the log.

    `kinds`: indexes of EVENT_TYPES; [] all.
    """

    filter: str = ""
    kinds: list[int] = []
    after: int = 0
    count: int = 1000
    flow_key: int = 0
    """Only of this flow; 0: all."""


class Ask(msgspec.Struct, array_like=True, frozen=True, kw_only=True, tag="ask"):
    """One question for everything the screen shows; None: not wanted this time."""

    seq: int
    at: float | None = None
    """A past moment for flows, groups and packets: the `at` of an earlier Answer. The probe keeps one moment,
    from the first question that names it until one names another or none. None: the present."""
    flows: FlowView | None = None
    groups: list[GroupView] = []
    packets: PacketView | None = None
    hooks: HookView | None = None
    tunables: bool = False
    journey: JourneyView | None = None
    history: int = 0
    """How many samples of history lines to answer with."""
    fresh: bool = False
    """Take a complete reading (counters, whole dump, rules) before answering: for scripts, not for screens."""
    events: EventView | None = None


# ---------------------------------------------------------------- client → probe: actions


class Patch(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """A header field that differs from packet to packet: `width` bytes (1, 2, 4, 8, 16) at `offset`.

    `kind` `cycle`: values[i % n]; `range`: first + i % (last - first + 1); `random`: uniform in first..last.
    Values are unsigned, network order; for 16-byte fields only the low 8 bytes vary. `stride` slows a
    range down: the value changes every `stride` packets, which makes combinations of ranges.
    """

    offset: int
    width: int
    kind: str
    first: int = 0
    last: int = 0
    values: list[int] = []
    stride: int = 1
    name: str = ""


class Template(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """Bytes of one packet from its network header, and what to change in it.

    `checksums` are (offset of the 16-bit checksum, names of the patches that it covers by offset): the
    injector patches them incrementally (RFC 1624). A UDP checksum of 0 (none) stays 0.
    """

    data: bytes
    patches: list[Patch] = []
    checksums: list[tuple[int, list[int]]] = []
    """(checksum offset, offsets of the patches it covers)."""
    summary: str = ""
    zero_is_none: list[int] = []
    """Offsets of the UDP checksums: there 0 means "none" (it stays 0) and a computed 0 is written 0xffff."""


class Fire(msgspec.Struct, array_like=True, frozen=True, kw_only=True, tag="fire"):
    """A burst into the sandbox: packet i is templates[i % n] at index i // n. rate_pps 0: full speed."""

    templates: list[Template]
    count: int
    rate_pps: float = 0.0
    seed: int = 0
    trace: bool = True
    """Trace the burst's packets (journeys); capped by the probe."""
    settle_s: float = 0.25
    """How long to go on reading events after the last write before the result is taken."""


class Fill(msgspec.Struct, array_like=True, frozen=True, kw_only=True, tag="fill"):
    """Fill the sandbox's table until `free` slots are left. `assured` False makes evictable fillers."""

    free: int
    assured: bool = True
    ask_above_bytes: int = 256_000_000
    """Kernel memory above which it is refused, "fill-confirm", unless `confirmed`."""
    confirmed: bool = False


class Unfill(msgspec.Struct, array_like=True, frozen=True, tag="unfill"):
    """Remove the fillers."""


class Rules(msgspec.Struct, array_like=True, frozen=True, kw_only=True, tag="rules"):
    """iptables/ip6tables/nft command lines for the sandbox, run in order, without a shell."""

    lines: list[str]


class Delete(msgspec.Struct, array_like=True, frozen=True, kw_only=True, tag="delete"):
    """Delete exactly these entries (tuple, zone and id each; never a filter)."""

    flows: list[Flow]


class Set(msgspec.Struct, array_like=True, frozen=True, kw_only=True, tag="set"):
    """Write a sysctl of model.tunables, or in the sandbox any net.* one. Refused if the value is no longer
    `expected_old`. On a host it is put back after `keep_s` seconds (0: no deadline), or at exit, unless kept."""

    name: str
    value: str
    expected_old: str
    keep_s: float = 60.0


class Keep(msgspec.Struct, array_like=True, frozen=True, kw_only=True, tag="keep"):
    """Keep a written value: the warden forgets the old one."""

    name: str


class Undo(msgspec.Struct, array_like=True, frozen=True, kw_only=True, tag="undo"):
    """Put the old value back now."""

    name: str


class Arm(msgspec.Struct, array_like=True, frozen=True, kw_only=True, tag="arm"):
    """Switch on `events`, `capture`, `stages` or `trace`, until disarmed, capped by packets and seconds."""

    what: str
    filter: str = ""
    packets: int = 0
    seconds: float = 0.0
    interface: str = ""


class Disarm(msgspec.Struct, array_like=True, frozen=True, kw_only=True, tag="disarm"):
    """Switch it off."""

    what: str


class Listen(msgspec.Struct, array_like=True, frozen=True, kw_only=True, tag="listen"):
    """Open a TCP or UDP listener in the sandbox on `address`:`port` until the probe ends."""

    protocol: str
    address: str
    port: int
    backlog: int = 1


class Send(msgspec.Struct, array_like=True, frozen=True, kw_only=True, tag="send"):
    """Send from inside the sandbox through a socket and report what the application sees.

    `how` is `udp` (sendto), `raw` (raw-socket IP packet `data`) or `connect` (TCP connect). The result is an
    errno name, "sent", "connected" or "hangs".
    """

    how: str
    address: str
    port: int
    data: bytes = b""
    timeout_s: float = 1.0


class Hold(msgspec.Struct, array_like=True, frozen=True, kw_only=True, tag="hold"):
    """Fire `burst` while NFQUEUE number `queue` holds its packets, then release them together."""

    queue: int
    burst: Fire


class Cancel(msgspec.Struct, array_like=True, frozen=True, kw_only=True, tag="cancel"):
    """Stop a running job at its next step."""

    job: int


Action = (
    Fire | Fill | Unfill | Rules | Delete | Set | Keep | Undo | Arm | Disarm | Listen | Send | Hold | Cancel
)


class Do(msgspec.Struct, array_like=True, frozen=True, kw_only=True, tag="do"):
    """Carry out an action. Answered by Done with a job number or a fault."""

    seq: int
    action: Action


# ---------------------------------------------------------------- probe → client


class Fault(msgspec.Struct, array_like=True, frozen=True, tag="fault"):
    """What went wrong in a sentence, and what to do about it in another. `code` is stable, for programs."""

    code: str
    sentence: str
    remedy: str = ""
    limit: int = 0
    """The nf_conntrack_max with which a refused fill would be possible; 0: none would help."""


class FaultError(Exception):
    """A Fault on its way up."""

    def __init__(self, code: str, sentence: str, remedy: str = "") -> None:
        super().__init__(sentence)
        self.fault = Fault(code, sentence, remedy)

    @classmethod
    def of(cls, fault: Fault) -> "FaultError":
        """To raise what somebody else has found, whole."""
        error = cls(fault.code, fault.sentence)
        error.fault = fault
        return error


class Welcome(msgspec.Struct, array_like=True, frozen=True, kw_only=True, tag="welcome"):
    """The probe's first frame: where it is and what it may do."""

    protocol: int
    app: str
    target: str
    """`host` or `sandbox`."""
    netns: int
    """Inode of the network namespace."""
    kernel: str
    user: str
    """`root`, `user namespace` or `no privilege`."""
    writes: bool
    can: list[str] = []
    """Of: ctnetlink, events, capture, rules, stages, trace, fire, fill, write, kmsg."""
    cannot: dict[str, str] = {}
    """capability → sentence why not, with what to do."""
    device: str = ""
    """Injection device of a sandbox (tun0 or veth)."""


class GroupRow(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """One group; `key` are the words to show, `filter` the words that select exactly this group."""

    key: list[str]
    filter: str
    count: int
    share: float
    unreplied: int = 0
    assured: int = 0
    packets: int | None = None
    bytes: int | None = None
    rate_bps: float | None = None


class GroupPage(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """A window of groups. `total` groups over `flows` flows."""

    by: list[str]
    total: int = 0
    flows: int = 0
    first: int = 0
    rows: list[GroupRow] = []
    error: str = ""


class Owner(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """Whose socket one end of a flow is. `end`: source or destination."""

    end: str
    program: str
    """The name of the first of `pids`, which are those of the probe's PID namespace; "": none that it may see."""
    pids: list[int]
    user: str
    listening: bool = False


class FlowPage(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """A window of flows: rows [first, first + len(rows)) of `matched`, out of `total` held."""

    total: int = 0
    matched: int = 0
    first: int = 0
    rows: list[Flow] = []
    fillers_hidden: int = 0
    follow_at: int = -1
    error: str = ""
    ended: int = 0
    """Matched flows that have just ended and are shown for a moment more: not in `total`."""
    expectations: dict[int, int] = {}
    """Of flows asked for by key that have a helper: how many connections it expects, by key."""
    owners: list[Owner] = []
    """Of a flow asked for alone by its key: whose sockets its ends are, as far as it is known yet."""
    rare: dict[str, int] = {}
    """Of a flow asked for alone: attributes that few carry (kernel.ctrare.NAMES)."""


class CounterDelta(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """How far one rule's or policy's counter moved. `rule` 0 is the policy."""

    backend: str
    family: str
    table: str
    chain: str
    rule: int
    text: str
    packets: int
    bytes: int = 0
    hook: str = ""
    priority: int = 0


class Result(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """What a job did, from counters read before its first and after its last write.

    A flow counts as new by its NEW event; `new_by_state` is each new flow's state when the result was
    taken (by its last event). `reclaimed` are new flows that a DESTROY took meanwhile.
    """

    sent: int = 0
    send_errors: dict[str, int] = {}
    """errno name → packets."""
    seconds: float = 0.0
    count_before: int = 0
    count_after: int = 0
    new: int = 0
    new_by_state: dict[str, int] = {}
    new_flows: list[Flow] = []
    """The first 64."""
    reclaimed: int = 0
    events_lost: int = 0
    stats: dict[str, int] = {}
    network: dict[str, int] = {}
    counters: list[CounterDelta] = []
    stages: list[Stage] = []
    losses: list[Loss] = []
    kernel_log: list[str] | None = None
    """Lines since the baseline; None where the log can't be read."""
    answer: str = ""
    """For Send: what the application saw. For Fill and Delete: a sentence."""
    numbers: dict[str, int] = {}
    """Anything else that was counted, by name."""
    filled: int = 0
    deleted: int = 0


class Job(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """A running or finished action. `state`: running, done, failed, cancelled."""

    id: int
    kind: str
    state: str
    done: int = 0
    total: int = 0
    sentence: str = ""
    fault: Fault | None = None
    result: Result | None = None

    @property
    def of_packets(self) -> Result | None:
        """The result of a job that sends packets: a fill's or a deletion's tells of none."""
        return self.result if self.kind in ("fire", "hold") else None


class Notice(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """Something the person should know. `level`: info, warning, error."""

    seq: int
    level: str
    sentence: str
    remedy: str = ""


EVENT_TYPES = ("new", "update", "destroy")
"""By EventRow.kind."""


class EventRow(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """An event. `time_ns`, since the epoch: when it happened, where the kernel says so, else when it was read."""

    kind: int
    time_ns: int
    flow: Flow

    @property
    def type(self) -> str:
        """new, update or destroy."""
        return EVENT_TYPES[self.kind]


class EventPage(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """Events in the order of the kernel. `last`: number of the last of them, for the next question."""

    rows: list[EventRow] = []
    last: int = 0
    skipped: int = 0
    """Events that were forgotten before they were asked for."""
    error: str = ""


class Answer(msgspec.Struct, array_like=True, frozen=True, kw_only=True, tag="answer"):
    """The answer to the Ask of the same `seq`; parts not asked for are None."""

    seq: int
    at: float
    table: TableReading
    health: Health
    flows: FlowPage | None = None
    groups: list[GroupPage] = []
    packets: PacketPage | None = None
    hooks: HooksReading | None = None
    tunables: list[Tunable] | None = None
    journeys: JourneysReading | None = None
    jobs: list[Job] = []
    """Running jobs and the last few finished ones."""
    notices: list[Notice] = []
    events: EventPage | None = None


class Done(msgspec.Struct, array_like=True, frozen=True, kw_only=True, tag="done"):
    """The probe took the action of this `seq` as job `job`, or says why not."""

    seq: int
    job: int = 0
    fault: Fault | None = None


ToProbe = Hello | Ask | Do
ToClient = Welcome | Answer | Done | Fault

__all__ = [
    "EVENT_TYPES",
    "PROTOCOL",
    "Action",
    "Answer",
    "Arm",
    "Ask",
    "Cancel",
    "Chain",
    "CounterDelta",
    "Delete",
    "Disarm",
    "Do",
    "Done",
    "EventPage",
    "EventRow",
    "EventView",
    "Fault",
    "FaultError",
    "Fill",
    "Fire",
    "FlowPage",
    "FlowView",
    "GroupPage",
    "GroupRow",
    "GroupView",
    "Hello",
    "Hold",
    "HookView",
    "Job",
    "JourneyView",
    "Keep",
    "Listen",
    "Notice",
    "PacketView",
    "Patch",
    "Result",
    "Rules",
    "Send",
    "Set",
    "Template",
    "ToClient",
    "ToProbe",
    "Undo",
    "Unfill",
    "Welcome",
]  # fmt: skip
