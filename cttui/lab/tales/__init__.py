"""Every tale, in the order in which they are told. To add one, add a literal to a theme's module."""

import difflib

from cttui.lab.tale import Tale, twin
from cttui.lab.tales import first, flood, forgetting, full
from cttui.model.faults import FaultError

_TOLD = {tale.name: tale for theme in (first, full, flood, forgetting) for tale in theme.TALES}
_ORDER = (
    "ten-syns", "conntrack-by-use", "table-full", "stray-ack-loose", "stray-ack-strict",
    "stray-ack-strict-full", "dropped-in-input", "sendto-eperm", "syn-flood", "notrack", "rate-limit",
    "synproxy", "early-drop", "gc-over-95", "rst-forgets", "policy-counters", "raw-vs-tun", "dns-race",
)  # fmt: skip

TALES: tuple[Tale, ...] = tuple(_TOLD[name] for name in _ORDER)
TWINS: tuple[Tale, ...] = tuple(twin(tale) for tale in TALES if tale.has_twin)
"""The same over IPv6, named `…-v6`."""
ALL: tuple[Tale, ...] = TALES + TWINS


def find(name: str) -> Tale:
    """The tale of this name. Raises FaultError "no-tale" with the nearest name."""
    names = {tale.name: tale for tale in ALL}
    if name in names:
        return names[name]
    near = difflib.get_close_matches(name, names, 1)
    raise FaultError(
        "no-tale",
        f"There is no tale {name}.",
        f"Did you mean {near[0]}?" if near else "`cttui tale` lists them.",
    )
