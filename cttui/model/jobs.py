"""Actions under way and what they did, and what else a person should know.

Structs are array-like: fields are only ever appended, with defaults (see model.messages).
"""

import msgspec

from cttui.model.faults import Fault
from cttui.model.flow import Flow
from cttui.model.hooks import Loss, Stage


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
