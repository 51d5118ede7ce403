"""What of the flows, groups, packets, hooks, journeys and events a question is about.

Structs are array-like: fields are only ever appended, with defaults (see model.messages).
"""

import msgspec


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
