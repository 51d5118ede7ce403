"""What a step of a tale does: rules, fills, bursts, sockets. Each is data, and words for people.

The runner makes messages of them (`messages`), the script generator bash (lab.script), the screens words.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from cttui.model.actions import Action, Fill, Fire, Hold, Listen, Rules, Send, Set, Unfill
from cttui.model.words import are, counted

OWN_V4, OWN_V6 = "192.0.2.1", "2001:db8::1"
CLIENT_V4, CLIENT_V6 = "198.51.100.2", "2001:db8:1::2"
"""As in probe.sandbox (RFC 5737, RFC 3849): this end of the device, and somebody behind it."""
TWIN = {
    OWN_V4: OWN_V6, CLIENT_V4: CLIENT_V6, "198.51.100.0/28": "2001:db8:1::/124", "127.0.0.1": "::1",
    "198.51.100.53": "2001:db8:1::53",
}  # fmt: skip
"""IPv4 address → the one that plays its part in the IPv6 twin of a tale."""

Compile = Callable[[str, int, float], Fire]
"""(scapy notation, packets, packets a second) → Fire."""


@dataclass(frozen=True, slots=True)
class Commands:
    """iptables command lines, run in order. `lacks` names what a kernel without it can't do: there the tale
    is skipped (or, with `optional`, the expectations that need it)."""

    lines: tuple[str, ...]
    lacks: str = ""
    optional: bool = False

    def messages(self, compile_: Compile) -> Action:
        """The rules to write."""
        return Rules(lines=list(self.lines))

    @property
    def words(self) -> tuple[str, ...]:
        """The command lines themselves."""
        return self.lines

    def twin(self) -> "Commands":
        """The same for ip6tables."""
        return replace(self, lines=tuple(line.replace("iptables", "ip6tables", 1) for line in self.lines))


@dataclass(frozen=True, slots=True)
class FillTo:
    """Fill the table until `free` slots are left, or until a share of the limit (parts in 10,000) is free.

    Fillers are ASSURED and stay; without `assured` they are what a full table may evict.
    """

    free: int = 0
    share: int = 0
    assured: bool = True

    def slots(self, limit: int) -> int:
        """Slots to leave free under a limit."""
        return limit * self.share // 10_000 if self.share else self.free

    def fill(self, limit: int, confirmed: bool) -> Fill:
        """The fill for a table of `limit` entries; `confirmed`: however much memory it takes."""
        return Fill(free=self.slots(limit), assured=self.assured, confirmed=confirmed)

    @property
    def words(self) -> tuple[str, ...]:
        """As a comment among commands."""
        slots = f"{counted(self.free, 'slot')} {are(self.free)}"
        left = f"{self.share / 100:g} % of the table is" if self.share else slots
        kind = "entries" if self.assured else "entries that may be evicted (not ASSURED)"
        return (f"# fill the table with {kind} until {left} free",)

    def twin(self) -> "FillTo":
        """Fillers have no family that matters."""
        return self


@dataclass(frozen=True, slots=True)
class Empty:
    """Remove the fillers."""

    def messages(self, compile_: Compile) -> Action:
        """Unfill."""
        return Unfill()

    @property
    def words(self) -> tuple[str, ...]:
        """As a comment among commands."""
        return ("# remove the fillers",)

    def twin(self) -> "Empty":
        """The same."""
        return self


@dataclass(frozen=True, slots=True)
class Forget:
    """Delete the entries that the last burst made."""

    @property
    def words(self) -> tuple[str, ...]:
        """As a comment among commands."""
        return ("# delete the entries made so far",)

    def twin(self) -> "Forget":
        """The same."""
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst:
    """Packets that arrive on the device. `src` may be a net: then each packet comes from another address.

    `sports`: first and last source port; `rate_pps` 0: as fast as it goes.
    """

    proto: str = "tcp"
    flags: str = "S"
    src: str = CLIENT_V4
    dst: str = OWN_V4
    sports: tuple[int, int] = (10000, 10009)
    dport: int = 80
    count: int = 10
    rate_pps: float = 100.0

    @property
    def notation(self) -> str:
        """In scapy's notation, which lab.compose reads and people may copy."""
        ip = "IPv6" if ":" in self.dst else "IP"
        first, last = self.sports
        sport = str(first) if first == last else f"({first},{last})"
        upper = f'TCP(sport={sport},dport={self.dport},flags="{self.flags}")'
        if self.proto == "udp":
            upper = f'UDP(sport={sport},dport={self.dport})/Raw(b"tale")'
        return f'{ip}(src="{self.src}",dst="{self.dst}")/{upper}'

    def fire(self, compile_: Compile) -> Fire:
        """Its packets, built once."""
        return compile_(self.notation, self.count, self.rate_pps)

    def messages(self, compile_: Compile) -> Action:
        """The burst to fire."""
        return self.fire(compile_)

    @property
    def words(self) -> tuple[str, ...]:
        """As a comment among commands."""
        pace = f"{1000 / self.rate_pps:g} ms apart" if self.rate_pps else "at full speed"
        many = f"# {self.count} packets, {pace}:" if self.count > 1 else "# one packet:"
        return (many, f"#   {self.notation}")

    def shifted(self, ports: int) -> "Burst":
        """The same from other source ports, so that its tuples are new."""
        first, last = self.sports
        return replace(self, sports=(first + ports, last + ports))

    def twin(self) -> "Burst":
        """The same over IPv6."""
        return replace(self, src=TWIN[self.src], dst=TWIN[self.dst])


@dataclass(frozen=True, slots=True)
class Held:
    """Let NFQUEUE hold the packets of a burst before conntrack confirms them, then release them together."""

    queue: int
    burst: Burst

    def messages(self, compile_: Compile) -> Action:
        """The burst and the queue that holds it."""
        return Hold(queue=self.queue, burst=self.burst.fire(compile_))

    @property
    def words(self) -> tuple[str, ...]:
        """As comments among commands."""
        return (*self.burst.words, f"# queue {self.queue} holds them until all are there, then releases them")

    def twin(self) -> "Held":
        """The same over IPv6."""
        return replace(self, burst=self.burst.twin())


@dataclass(frozen=True, slots=True)
class App:
    """A program in the sandbox sends: `how` is `udp` (sendto), `connect` (TCP) or `raw` (a SYN it built)."""

    how: str
    address: str
    port: int

    def messages(self, compile_: Compile) -> Action:
        """The call to make; what it returns is the result."""
        data = b""
        if self.how == "raw":
            # From and to the same address: what a raw socket on loopback would send.
            syn = Burst(src=self.address, dst=self.address, sports=(10000, 10000), dport=self.port, count=1)
            data = syn.fire(compile_).templates[0].data
        return Send(how=self.how, address=self.address, port=self.port, data=data)

    @property
    def words(self) -> tuple[str, ...]:
        """As a comment among commands."""
        call = {
            "udp": "UDP socket: sendto",
            "connect": "TCP socket: connect",
            "raw": "raw socket: a SYN, sendto",
        }[self.how]
        return (f"# {call} {self.address} port {self.port}",)

    def twin(self) -> "App":
        """The same over IPv6."""
        return replace(self, address=TWIN[self.address])


@dataclass(frozen=True, slots=True)
class Serve:
    """A listener in the sandbox, until the end."""

    protocol: str = "tcp"
    address: str = OWN_V4
    port: int = 80
    backlog: int = 1

    def messages(self, compile_: Compile) -> Action:
        """The listener to open."""
        return Listen(protocol=self.protocol, address=self.address, port=self.port, backlog=self.backlog)

    @property
    def words(self) -> tuple[str, ...]:
        """As a comment among commands."""
        return (f"# listen on {self.protocol} {self.address} port {self.port}, backlog {self.backlog}",)

    def twin(self) -> "Serve":
        """The same over IPv6."""
        return replace(self, address=TWIN[self.address])


@dataclass(frozen=True, slots=True)
class Setting:
    """A sysctl of the sandbox. `was` is what a new namespace begins with."""

    name: str
    value: str
    was: str

    def messages(self, compile_: Compile) -> Action:
        """The value to write."""
        return Set(name=self.name, value=self.value, expected_old=self.was)

    @property
    def path(self) -> str:
        """Below /proc/sys."""
        return self.name if "/" in self.name else f"net/netfilter/{self.name}"

    @property
    def words(self) -> tuple[str, ...]:
        """As a command line."""
        return (f"sysctl -w {self.path.replace('/', '.')}={self.value}",)

    def twin(self) -> "Setting":
        """Settings that matter here hold for both families."""
        return self


@dataclass(frozen=True, slots=True)
class Wait:
    """Watch the number of entries until `gone` of those that the last burst made are gone, or time is up."""

    gone: int
    seconds: int

    @property
    def words(self) -> tuple[str, ...]:
        """As a comment among commands."""
        if self.gone:
            gone = f"{counted(self.gone, 'entry', 'entries')} {are(self.gone)} gone"
            return (f"# wait until {gone}, at most {self.seconds} s",)
        return (f"# wait {self.seconds} s",)

    def twin(self) -> "Wait":
        """The same."""
        return self


Move = Commands | FillTo | Empty | Forget | Burst | Held | App | Serve | Setting | Wait
STIMULI = (Burst, Held, App)
"""Moves after which something is read: counters are remembered just before."""
LASTING = (Commands, Forget, Serve, Setting)
"""Moves whose effect stays: a step that is repeated does not repeat them."""
