"""Windows of flows, groups and events, as the probe answers with them.

Structs are array-like: fields are only ever appended, with defaults (see model.messages).
"""

import msgspec

from cttui.model.flow import Flow


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
    newest: int = 0
    """Number of the last event there is by now."""
    at_ns: int = 0
    """When that was, by the clock of the events."""
