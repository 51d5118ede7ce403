"""Flows grouped by one or more keys, with what each group holds."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cttui.flows.columns import NO_COUNTER, Columns, Interned
from cttui.flows.group_keys import GROUP_BY
from cttui.flows.partition import Partition, Rows, partition
from cttui.flows.select import View
from cttui.flows.window import SortValues, window
from cttui.model.flow import ASSURED, SEEN_REPLY
from cttui.model.pages import GroupPage, GroupRow

SORTS = ("count", "bytes", "packets", "rate", "unreplied", "assured", "key")


class _Totals:
    """Sums over groups. Reads a column only when a sum over it is asked for."""

    def __init__(self, view: View, parted: Partition) -> None:
        self._view = view
        self._parted = parted
        self._flags: dict[str, NDArray[np.uint32]] = {}
        self._values: dict[str, tuple[NDArray[Any], NDArray[np.bool_] | None]] = {}

    def _sum(self, values: NDArray[Any]) -> NDArray[Any]:
        """Of `values`, a number each position, per group."""
        total: NDArray[Any] = np.add.reduceat(values[self._parted.order], self._parted.starts)
        return total

    def values(self, sort: str) -> SortValues:
        """All groups by one of SORTS except `key`."""
        if sort == "count" or not len(self._parted.starts):
            return SortValues((self._parted.counts.view(np.uint64),))
        if sort in ("unreplied", "assured"):
            return SortValues((self._sum(self._flagged(sort)),))
        values, known = self._known(sort)
        unknown = None if known is None else self._sum(known.astype(np.uint32)) == 0
        total = self._sum(values)
        if sort == "rate":  # not negative, so the bits sort like the number
            return SortValues((total.view(np.uint64),), unknown)
        return SortValues((total,), unknown)

    def of(self, number: int) -> dict[str, Any]:
        """The sums of one group, named as in GroupRow."""
        start = self._parted.starts[number]
        end = (
            self._parted.starts[number + 1]
            if number + 1 < len(self._parted.starts)
            else len(self._parted.order)
        )
        members = self._parted.order[start:end]
        sums: dict[str, Any] = {
            name: int(np.count_nonzero(self._flagged(name)[members])) for name in ("unreplied", "assured")
        }
        for name, kind in (("packets", int), ("bytes", int), ("rate", float)):
            values, known = self._known(name)
            told = known is None or bool(known[members].any())
            sums[name] = kind(values[members].sum()) if told else None
        sums["rate_bps"] = sums.pop("rate")
        return sums

    def _flagged(self, name: str) -> NDArray[np.uint32]:
        """1 where the flow is `assured` or `unreplied`, else 0."""
        if name not in self._flags:
            status = self._view["status"]
            bit = np.uint32(ASSURED if name == "assured" else SEEN_REPLY)
            set_ = (status & bit) // bit
            self._flags[name] = set_ if name == "assured" else np.uint32(1) - set_
        return self._flags[name]

    def _known(self, name: str) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Values of `bytes`, `packets` or `rate`, 0 where there is none, and where there are any (None: all)."""
        if name not in self._values:
            values = self._view["rate_bps"].astype(np.float64) if name == "rate" else self._view[name]
            known = ~np.isnan(values) if name == "rate" else values != NO_COUNTER
            if bool(known.all()):
                self._values[name] = values, None
            else:
                self._values[name] = np.where(known, values, values.dtype.type(0)), known
        return self._values[name]


def group(
    columns: Columns,
    rows: Rows,
    by: list[str],
    sort: str = "count",
    descending: bool = True,
    first: int = 0,
    count: int = 20,
    interned: Interned | None = None,
) -> GroupPage:
    """A window of the groups of `rows`. `sort` is one of SORTS; groups without counters come last.

    Bytes, packets and rate are sums over the members that have them, None where no member has. Raises
    KeyError for a key that is not in model.filters.GROUP_KEYS, ValueError for no key or an unknown sort.
    """
    if not by:
        raise ValueError("group by what?")
    if sort not in SORTS:
        raise ValueError(f"groups can't be sorted by {sort!r}")
    keys = [GROUP_BY[name] for name in by]
    view = View(columns, 0.0, interned or Interned(), 0.0, rows)
    parts = [part for key in keys for part in key.parts(view)]
    parted = partition(parts)
    totals = _Totals(view, parted)
    if sort == "key":
        leaders = parted.order[parted.starts]
        values = SortValues(tuple(array[leaders] for array, _ in parts))
    else:
        values = totals.values(sort)
    total = len(parted.starts)
    counts = parted.counts
    out = []
    for number in window(values, first, count, descending).tolist():
        leader = int(parted.order[parted.starts[number]])
        shown, selects = zip(*(key.words(view, leader) for key in keys), strict=True)
        members = int(counts[number])
        out.append(
            GroupRow(
                key=list(shown),
                filter=" and ".join(selects) if len(keys) > 2 else " ".join(selects),
                count=members,
                share=members / len(rows),
                **totals.of(number),
            )
        )
    return GroupPage(by=by, total=total, flows=len(rows), first=max(0, min(first, total)), rows=out)
