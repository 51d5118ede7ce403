"""In which order the messages of one receive batch are applied."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cttui.flows.batch import DESTROY, Batch

Picks = NDArray[np.int64]


def rounds(
    batches: Sequence[Batch], keys: Sequence[NDArray[np.uint64]]
) -> tuple[list[tuple[int, Picks | None]], int]:
    """([(batch number, which of its messages or None for all)], DESTROYs left out).

    Applied one after the other, these parts keep each flow's messages in the order of the buffer, and no
    part names a flow twice. Left out is what can't matter any more: all but the last message of a flow
    that is gone at the end, and of one flow and layout all but the latest.
    """
    numbers = np.repeat(np.arange(len(batches)), [len(batch) for batch in batches])
    inside = np.concatenate([np.arange(len(batch)) for batch in batches])
    every = np.concatenate(keys)
    kinds = np.concatenate([batch.kinds for batch in batches])
    positions = np.concatenate([batch.positions for batch in batches])
    n = len(every)

    order = np.lexsort((positions, every))
    same = _same_as_next(every[order])
    if not same.any():
        return [(number, None) for number in range(len(batches))], 0
    last = np.ones(n, np.bool_)
    last[:-1] = ~same
    flow = np.zeros(n, np.int64)
    np.cumsum(last[:-1], out=flow[1:])
    gone = (kinds[order][last] == DESTROY)[flow]
    needed = np.zeros(n, np.bool_)
    needed[order] = last | ~gone

    layouts = np.concatenate(
        [
            np.full(len(batch), -1 - number) if batch.layouts is None else batch.layouts
            for number, batch in enumerate(batches)
        ]
    )
    by_layout = np.lexsort((positions, layouts, every))
    again = _same_as_next(every[by_layout]) & _same_as_next(layouts[by_layout])
    # A DESTROY only gives way to a later DESTROY: the row it ends is not the one a NEW after it begins.
    again &= (kinds[by_layout[:-1]] != DESTROY) | (kinds[by_layout[1:]] == DESTROY)
    needed[by_layout[:-1][again]] = False

    kept = order[needed[order]]
    starts = np.ones(len(kept), np.bool_)
    starts[1:] = ~_same_as_next(every[kept])
    places = np.arange(len(kept))
    rank = places - np.maximum.accumulate(np.where(starts, places, 0))
    parts: list[tuple[int, Picks | None]] = []
    for turn in range(int(rank.max()) + 1):
        at = kept[rank == turn]
        parts += [(number, inside[at[numbers[at] == number]]) for number in np.unique(numbers[at]).tolist()]
    left_out = int(np.count_nonzero(kinds == DESTROY) - np.count_nonzero(kinds[kept] == DESTROY))
    return parts, left_out


def _same_as_next(values: NDArray[np.uint64] | NDArray[np.int64]) -> NDArray[np.bool_]:
    same: NDArray[np.bool_] = values[1:] == values[:-1]
    return same
