"""What a client may have done: bursts, fills, rules, deletions, settings, switches.

Structs are array-like: fields are only ever appended, with defaults (see model.messages).
"""

import msgspec

from cttui.model.flow import Flow


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
