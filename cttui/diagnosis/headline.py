"""The one sentence of the banner: what is being lost now. F4 tells the rest."""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from cttui.diagnosis import network
from cttui.diagnosis.finding import fitting
from cttui.diagnosis.findings import (
    VERBS,
    alarming,
    dropped_before,
    going_on,
    is_full,
    is_full_at_times,
    packets,
    suspect,
    verb,
)
from cttui.model.hooks import Loss
from cttui.model.jobs import Result
from cttui.model.path import place_name
from cttui.model.safe import clean
from cttui.model.table import TableReading

EVICTION_TRIES = 16
"""A new flow finds an entry to evict with P = 1 − exp(−16 · evictable / buckets), measured; 5 in there is 99 %."""


def headline(
    table: TableReading,
    losses: Sequence[Loss],
    result: Result | None,
    network_rates: Mapping[str, float] = MappingProxyType({}),
) -> str:
    """The one sentence on what is being lost now, "" where nothing is."""
    full = is_full(table)
    real = alarming(losses)
    if full and all((x.over or network.knocks(x.source)) and "table full" not in x.cause for x in real):
        real = []  # what is over, or knocked at a closed port, is nothing beside that
    if real:
        worst = max(real, key=lambda x: (not x.over, not network.knocks(x.source), x.packets))
        total = sum(x.packets for x in real)
        more = f" (of {total:,} lost)" if total > worst.packets else ""
        going = ", none now" if worst.over else f", {going_on(worst)}" if worst.pps else ""
        cause = clean(worst.cause)
        brief = re.split("[:;,(]", cause)[0].rstrip()
        if cause == "unknown" and suspect(worst):
            cause = brief = f"lost, perhaps by {suspect(worst)}"
        elif cause == "unknown":
            brief = "lost, cause unknown"
            where = clean(place_name(worst.after))
            cause = f"lost {where if where.startswith('after ') else f'behind “{where}”'}, cause unknown"
        elif (worst.source.startswith("drop ") and full) or "table full" in cause:
            brief = "lost in conntrack: table full"
            cause = brief if going or more else f"{brief} (no rule dropped them)"
        elif not cause.startswith(VERBS):
            cause, brief = f"{verb(worst)}: {cause.partition(': ')[0]}", f"{verb(worst)}: {brief}"
        many = packets(worst.packets)
        return fitting(
            f"{many} {cause}{more}{going}", f"{many} {brief}{more}{going}", f"{many} {brief}{going}"
        )
    rate = dropped_before(table)
    if rate > 0:
        said = f"conntrack drops {rate:,.0f} packets/s"
        if full or is_full_at_times(table):
            return fitting(f"{said}: table full (no rule dropped them)", f"{said}: table full")
        return f"{said}, no rule does: see statistics"
    if result is not None and (n := result.stats.get("drop", 0)):
        said = f"{packets(n)} lost in conntrack" + (": table full" if full else "")
        return fitting(f"{said} (no rule dropped them)", said)
    failed = table.rates.get("insert_failed", 0.0)
    if failed > 0:
        return f"{failed:,.0f} packets/s lost at confirmation: DNS race or no SNAT port"
    if full and table.buckets and table.evictable * EVICTION_TRIES >= 5 * table.buckets:
        return "table full: new flows push out entries that are not ASSURED"
    if full:
        return "table full: conntrack drops new flows before any filter rule"
    return network.headline(network_rates)
