"""The protocol between client and probe: pull only, one Ask outstanding.

Structs are array-like: fields are only ever appended, with defaults. PROTOCOL counts incompatible changes;
both sides must have the same (the Fault names both).
"""

import msgspec

from cttui.model.actions import Action
from cttui.model.faults import Fault
from cttui.model.hooks import HooksReading
from cttui.model.jobs import Job, Notice
from cttui.model.packet import JourneysReading, PacketPage
from cttui.model.pages import EventPage, FlowPage, GroupPage
from cttui.model.table import Health, TableReading
from cttui.model.tunables import Tunable
from cttui.model.views import EventView, FlowView, GroupView, HookView, JourneyView, PacketView

PROTOCOL = 1


HOST_COUNT_FD = 9
"""Descriptor on which a sandbox's probe finds the host's nf_conntrack_count, opened outside of it."""


class Hello(msgspec.Struct, array_like=True, frozen=True, tag="hello"):
    """First frame. `read_only` removes every write from what the probe will do."""

    protocol: int
    app: str
    read_only: bool = False
    leave_out: tuple[str, int, str, int] | None = None
    """The connection we are watched through (SSH_CONNECTION): client, port, server, port."""


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


class Do(msgspec.Struct, array_like=True, frozen=True, kw_only=True, tag="do"):
    """Carry out an action. Answered by Done with a job number or a fault."""

    seq: int
    action: Action


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
