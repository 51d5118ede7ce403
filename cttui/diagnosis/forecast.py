"""When a table that fills up will be full: the last thing worth knowing while nothing is lost yet."""

import itertools
import math

from cttui.model.table import TableReading

SAMPLES = 6
"""So many readings of the count say whether it grows, or only had a burst."""
SOON_S = 300.0
"""Later than that what ends by its timeout (120 s of a SYN_SENT) has changed the rate."""


def full_in_s(table: TableReading) -> tuple[float, float] | None:
    """(seconds until no slot is left, entries more a second), None where that isn't soon or can't be told.

    From the history of the count, which holds what ended as well. One jump is no trend, fillers are no traffic.
    """
    counts = next((line.values for line in table.history if line.name == "entries"), [])
    counts = [n for n in counts[-12:] if not math.isnan(n)]
    if not table.maximum or table.count is None or table.filler or len(counts) < SAMPLES:
        return None
    steps = [b - a for a, b in itertools.pairwise(counts)]
    grown = sum(steps)
    steady = grown > 0 and max(steps) <= grown / 2 and sum(step > 0 for step in steps) >= 2 * len(steps) / 3
    if not steady:
        return None
    rate = grown / (len(steps) * table.history_interval_s)
    left_s = (table.maximum - table.count) / rate
    return (left_s, rate) if 0 < left_s <= SOON_S else None


def words(table: TableReading) -> str:
    """`table full in 2 min 40 s if it goes on growing by 1,490 a second`, "" where it isn't."""
    found = full_in_s(table)
    if found is None:
        return ""
    left_s, rate = found
    minutes, seconds = divmod(int(left_s), 60)
    time = f"{minutes} min {10 * (seconds // 10)} s" if minutes else f"{max(1, seconds)} s"
    return f"table full in {time} if it goes on growing by {rate:,.0f} a second"
