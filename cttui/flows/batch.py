"""A batch: conntrack messages of one layout as columns, on their way from the kernel to the store."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cttui.flows.columns import Columns

NEW, UPDATE, DESTROY = 0, 1, 2
"""What a message says. A dump's messages are UPDATEs: only an event carries NLM_F_CREATE|NLM_F_EXCL."""


Masks = dict[str, NDArray[np.bool_]]


@dataclass(frozen=True, slots=True)
class Batch:
    """Some messages of one buffer as columns.

    `kinds` u1[n]: NEW, UPDATE or DESTROY. `positions` i8[n]: the order inside the buffer they came in,
    comparable between batches of one buffer. `columns`: names as in flows.columns.SCHEMA, only those that
    messages carry; arrays of length n, possibly strided or big-endian, never sharing the receive buffer.
    `partial`: for a column that only some messages carry, which ones; the others hold its default.
    `layouts` i8[n]: messages of one number carry the same attributes; None: all do.
    """

    kinds: NDArray[np.uint8]
    positions: NDArray[np.int64]
    columns: Columns
    partial: Masks = field(default_factory=dict)
    layouts: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.kinds)


# Odd constants of a multilinear hash (Lemire & Kaser, "Strongly universal string hashing is fast"): the
# high half of a sum of products. A column that is absent counts as 0, which is what the store holds for it.
_FACTORS: dict[str, np.uint64] = {
    name: np.uint64(factor)
    for name, factor in {
        "orig_src0": 0x9E3779B97F4A7C15, "orig_src1": 0xC2B2AE3D27D4EB4F,
        "orig_src2": 0x165667B19E3779F9, "orig_src3": 0x27D4EB2F165667C5,
        "orig_dst0": 0xD6E8FEB86659FD93, "orig_dst1": 0xA0761D6478BD642F,
        "orig_dst2": 0xE7037ED1A0B428DB, "orig_dst3": 0x8EBC6AF09C88C6E3,
        "orig_sport": 0x589965CC75374CC3, "orig_dport": 0x1D8E4E27C47D124F,
        "proto": 0xEB44ACCAB455D165, "family": 0x9FB21C651E98DF25,
        "zone": 0xB8FE6C3923A44BBF, "zone_dir": 0x7C01812CF721AD1D,
    }.items()
}  # fmt: skip
_LOW = np.uint64(0xFFFFFFFF)


def keys_of(columns: Columns) -> NDArray[np.uint64]:
    """The store's keys, u8[n]: CTA_ID below, a hash of zone and original tuple above.

    CTA_ID alone is not unique (262,138 ids for 262,144 entries were seen), and a NEW may reuse one.
    """
    total: NDArray[Any] | None = None
    for name, factor in _FACTORS.items():
        value = columns.get(name)
        if value is None:
            continue
        term = value.astype(np.uint64)
        term *= factor
        total = term if total is None else np.add(total, term, out=total)
    ids = columns["id"].astype(np.uint64)
    if total is None:
        return ids
    total &= ~_LOW
    total |= ids
    total[total == 0] = np.uint64(1 << 32)  # 0 means "no key"
    return total
