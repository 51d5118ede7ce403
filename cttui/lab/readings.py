"""Where a tale reads whether its predictions came true.

A reading names a source: a rule's counter, a statistic of conntrack, NEW events, a network counter, the
kernel log, what a program was told. All are differences over the step's stimulus.
"""

from dataclasses import dataclass, field

from cttui.model.jobs import Result
from cttui.model.words import times

Value = int | str


@dataclass(frozen=True, slots=True)
class Measured:
    """What a step has to read from."""

    result: Result
    limit: int
    buckets: int
    fillers_evictable: int = 0
    """Fillers that were not ASSURED when the burst came."""
    family: str = "ip"
    waited_s: float = 0.0
    left: int = 0
    """Entries that a Wait found left over."""
    stats_while_waiting: dict[str, int] = field(default_factory=dict)


class Unreadable(Exception):
    """The source can't be read here; the words say why."""


@dataclass(frozen=True, slots=True)
class Counter:
    """Packets that a rule counted: number `rule` of its chain, 0 for the policy.

    A rule or chain that does not exist has counted nothing. `backend` "" takes whichever has the chain.
    """

    table: str
    chain: str
    rule: int = 1
    backend: str = ""

    def read(self, m: Measured) -> Value:
        """Packets since just before the stimulus."""
        place = (m.family, self.table, self.chain, self.rule)
        return sum(
            c.packets
            for c in m.result.counters
            if (c.family, c.table, c.chain, c.rule) == place and c.backend.startswith(self.backend)
        )

    @property
    def source(self) -> str:
        """Where a person finds it."""
        tool = self.backend or "iptables"
        return f"{tool} -t {self.table} -nvxL {self.chain}"


@dataclass(frozen=True, slots=True)
class Stat:
    """A statistic of conntrack, summed over CPUs."""

    name: str

    def read(self, m: Measured) -> Value:
        """Its growth."""
        return m.result.stats.get(self.name, 0)

    source = "conntrack -S"


@dataclass(frozen=True, slots=True)
class StatsWhileWaiting:
    """Everything that moved in conntrack's statistics while a Wait lasted."""

    def read(self, m: Measured) -> Value:
        """Names and growth, or "none"."""
        moved = [f"{name} +{n}" for name, n in sorted(m.stats_while_waiting.items()) if n]
        return ", ".join(moved) or "none"

    source = "conntrack -S"


@dataclass(frozen=True, slots=True)
class NewFlows:
    """Flows that began, by their NEW events; with a state, those whose last event named it.

    What the garbage collector has taken meanwhile began too; its state is taken to be the one asked for, and
    a row of its own says how many these are.
    """

    state: str = ""

    def read(self, m: Measured) -> Value:
        """How many."""
        if m.result.events_lost:
            raise Unreadable(f"events were lost {times(m.result.events_lost)}: flows can't be counted")
        if not self.state:
            return m.result.new
        return m.result.new_by_state.get(self.state, 0) + m.result.reclaimed

    source = "conntrack -E -e NEW"


@dataclass(frozen=True, slots=True)
class Grown:
    """How many more entries the table holds afterwards than before."""

    def read(self, m: Measured) -> Value:
        """The difference of nf_conntrack_count."""
        return m.result.count_after - m.result.count_before

    source = "nf_conntrack_count"


@dataclass(frozen=True, slots=True)
class Entries:
    """Entries in the table afterwards."""

    def read(self, m: Measured) -> Value:
        """nf_conntrack_count."""
        return m.result.count_after

    source = "nf_conntrack_count"


@dataclass(frozen=True, slots=True)
class Network:
    """A counter of the network stack, by nstat's name."""

    name: str

    def read(self, m: Measured) -> Value:
        """Its growth."""
        return m.result.network.get(self.name, 0)

    source = "nstat -asz"


@dataclass(frozen=True, slots=True)
class Told:
    """What the program in the sandbox was told."""

    def read(self, m: Measured) -> Value:
        """An errno name, "sent", "connected" or "hangs"."""
        return m.result.answer

    source = "the program"


@dataclass(frozen=True, slots=True)
class LogSays:
    """Whether the kernel log got a line with these words.

    Such lines are limited to ten in five seconds for the whole machine (net.core.message_burst): one that is
    there is evidence, one that is missing is none.
    """

    words: str

    def read(self, m: Measured) -> Value:
        """Yes, or unreadable."""
        if m.result.kernel_log is None:
            raise Unreadable("the kernel log can't be read here")
        if not any(self.words in line for line in m.result.kernel_log):
            raise Unreadable(
                "there is no such line, which proves nothing: the kernel writes ten in five seconds for all namespaces"
            )
        return "yes"

    source = "dmesg"


@dataclass(frozen=True, slots=True)
class WaitedS:
    """Seconds until the entries that a Wait watched were gone."""

    def read(self, m: Measured) -> Value:
        """Whole seconds."""
        return round(m.waited_s)

    source = "nf_conntrack_count"


@dataclass(frozen=True, slots=True)
class Left:
    """Entries of the last burst that were left after a Wait."""

    def read(self, m: Measured) -> Value:
        """How many."""
        return m.left

    source = "nf_conntrack_count"


Reading = (
    Counter
    | Stat
    | StatsWhileWaiting
    | NewFlows
    | Grown
    | Entries
    | Network
    | Told
    | LogSays
    | WaitedS
    | Left
)
