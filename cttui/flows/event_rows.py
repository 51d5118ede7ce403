"""Events as whole flows, for those who want each of them rather than what became of the table."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cttui.flows.batch import NEW, Batch, keys_of
from cttui.flows.columns import EVENT_COLUMNS, KERNEL_COLUMNS, Columns, empty
from cttui.flows.store import Store

ABSENT_IS_NONE = ("mark", "timeout_s", *EVENT_COLUMNS)
"""What an event leaves out only where it is 0 (ctnetlink_conntrack_event)."""


def event_rows(store: Store, batches: Sequence[Batch], now: float) -> tuple[NDArray[np.uint8], Columns]:
    """(kinds u1[n], columns of length n) of one receive batch that is not yet applied, in the order of its messages.

    A NEW tells everything; other messages tell what happened and leave out the rest, which is taken from what the store
    knows of the flow. Where it knows nothing, columns hold their defaults, and so they do in ABSENT_IS_NONE.
    """
    n = sum(len(batch) for batch in batches)
    columns = empty(n)
    columns["event_ns"] = np.zeros(n, EVENT_COLUMNS["event_ns"])
    columns["rate_bps"][:] = np.nan
    columns["read_s"][:] = columns["born_s"][:] = now
    told_here = {name: np.ones(n, np.bool_) for name in KERNEL_COLUMNS if name not in ABSENT_IS_NONE}
    first = 0
    for batch in batches:
        here = slice(first, first + len(batch))
        columns["key"][here] = keys = keys_of(batch.columns)
        rows = store.find(keys)
        known = (rows >= 0) & (batch.kinds != NEW)
        columns["born_s"][here][known] = store.columns["born_s"][rows[known]]
        for name in (*KERNEL_COLUMNS, *EVENT_COLUMNS):
            target, told = columns[name][here], known
            if name in batch.columns:
                target[:] = batch.columns[name]
                if name not in batch.partial:
                    continue
                told = known & ~batch.partial[name]
            if name not in ABSENT_IS_NONE:
                target[told] = store.columns[name][rows[told]]
                told_here[name][here] = batch.partial.get(name, False) if name in batch.columns else False
        first += len(batch)
    order = np.argsort(np.concatenate([batch.positions for batch in batches]), kind="stable")
    kinds = np.concatenate([batch.kinds for batch in batches])[order]
    columns = {name: column[order] for name, column in columns.items()}
    _hand_on(columns, {name: told[order] for name, told in told_here.items()}, kinds)
    return kinds, columns


def _hand_on(columns: Columns, told: Columns, kinds: NDArray[np.uint8]) -> None:
    """What a message leaves out and one before it about the same flow has told, which the store does not know yet."""
    by_key = np.argsort(columns["key"], kind="stable")
    keys = columns["key"][by_key]
    begins = np.concatenate([[True], keys[1:] != keys[:-1]]) | (kinds[by_key] == NEW)
    if begins.all():
        return
    numbers = np.arange(len(keys))
    for name, said in told.items():
        last = np.maximum.accumulate(np.where(begins | said[by_key], numbers, 0))
        columns[name][by_key] = columns[name][by_key[last]]
