"""What many tales expect, in the same words: packets before and after conntrack, new entries, losses."""

from cttui.lab.predictions import Prediction
from cttui.lab.readings import Counter, NewFlows, Stat
from cttui.lab.tale import Expectation

RAW, MANGLE = Counter("raw", "PREROUTING"), Counter("mangle", "PREROUTING")


def before(packets: int) -> Expectation:
    """The article's counter before conntrack."""
    return Expectation("packets before conntrack (raw PREROUTING)", packets, RAW)


def after(packets: Prediction) -> Expectation:
    """The article's counter after it."""
    return Expectation("packets after conntrack (mangle PREROUTING)", packets, MANGLE)


def began(entries: int, state: str = "") -> Expectation:
    """Entries that are new, in a state or in any."""
    return Expectation(f"new entries in {state}" if state else "new entries", entries, NewFlows(state))


def dropped(packets: int) -> Expectation:
    """Packets that conntrack itself dropped."""
    return Expectation("dropped by conntrack (drop)", packets, Stat("drop"))
