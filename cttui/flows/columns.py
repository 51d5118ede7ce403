"""The columns of the flow store: one numpy array an attribute, one row a flow.

Names match model.flow.Flow. Addresses are four u32 words in host order (word 0 is the most significant;
an IPv4 address stands in word 0, the others are 0), so comparing words compares addresses. Times are
seconds of the probe's monotonic clock unless the name says ns.
"""

import os
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # no linear algebra here: spares threads and 30 MB

import numpy as np
from numpy.typing import NDArray

Columns = dict[str, NDArray[Any]]

NO_STATE = 255
NO_WSCALE = 255  # also "no TCP flags"
NO_COUNTER = np.uint64(0xFFFFFFFFFFFFFFFF)

SCHEMA: dict[str, str] = {
    # what the kernel says
    "id": "u4", "family": "u1", "proto": "u1",
    "orig_src0": "u4", "orig_src1": "u4", "orig_src2": "u4", "orig_src3": "u4",
    "orig_dst0": "u4", "orig_dst1": "u4", "orig_dst2": "u4", "orig_dst3": "u4",
    "reply_src0": "u4", "reply_src1": "u4", "reply_src2": "u4", "reply_src3": "u4",
    "reply_dst0": "u4", "reply_dst1": "u4", "reply_dst2": "u4", "reply_dst3": "u4",
    "orig_sport": "u2", "orig_dport": "u2", "reply_sport": "u2", "reply_dport": "u2",
    "status": "u4", "timeout_s": "u4", "state": "u1", "mark": "u4", "zone": "u2", "zone_dir": "u1", "use": "u4",
    "orig_packets": "u8", "orig_bytes": "u8", "reply_packets": "u8", "reply_bytes": "u8",
    "start_ns": "u8", "stop_ns": "u8",
    "helper": "u2",      # index into Interned.helpers, 0: none
    "labels": "u4",      # index into Interned.blobs, 0: none
    "secctx": "u4",      # index into Interned.blobs, 0: none
    "master": "u4",      # index into Interned.blobs, 0: none
    "wscale_orig": "u1", "wscale_reply": "u1", "tcpflags_orig": "u1", "tcpflags_reply": "u1",
    # what the store adds
    "key": "u8",         # see store: (CTA_ID, hash of zone and original tuple)
    "born_s": "f8",      # when the probe first saw it
    "read_s": "f8",      # when the row was last written (a timeout shown is timeout_s - (now - read_s))
    "order": "u8",       # serial number of first sight: sort key "newest"
    "rate_bps": "f4",    # NaN: unknown
    "rate_over_s": "f4",
}  # fmt: skip

EVENT_COLUMNS: dict[str, str] = {"event_ns": "u8"}
"""Of an event rather than of a flow: when it happened, nanoseconds since the epoch (CTA_TIMESTAMP_EVENT, Linux 6.14,
where `nf_conntrack_timestamp` is on). The store passes them over."""
KERNEL_COLUMNS = [
    name for name in SCHEMA if name not in ("key", "born_s", "read_s", "order", "rate_bps", "rate_over_s")
]
DEFAULTS: dict[str, int] = {
    "state": NO_STATE, "wscale_orig": NO_WSCALE, "wscale_reply": NO_WSCALE,
    "tcpflags_orig": NO_WSCALE, "tcpflags_reply": NO_WSCALE,
    "orig_packets": int(NO_COUNTER), "orig_bytes": int(NO_COUNTER),
    "reply_packets": int(NO_COUNTER), "reply_bytes": int(NO_COUNTER), "use": 1,
}  # fmt: skip
"""What a column holds where a message had no such attribute; 0 for the others."""


class Interned:
    """Values that don't fit a number: helper names and opaque bytes, each stored once."""

    def __init__(self) -> None:
        self.helpers: list[str] = [""]
        self.blobs: list[bytes] = [b""]
        self._helper_index: dict[str, int] = {"": 0}
        self._blob_index: dict[bytes, int] = {b"": 0}

    def helper(self, name: str) -> int:
        """Number of this helper name."""
        at = self._helper_index.get(name)
        if at is None:
            if len(self.helpers) > 0xFFFF:
                return 0  # more helpers than the column can number: no kernel has them
            at = self._helper_index[name] = len(self.helpers)
            self.helpers.append(name)
        return at

    def blob(self, value: bytes) -> int:
        """Number of these bytes."""
        at = self._blob_index.get(value)
        if at is None:
            at = self._blob_index[value] = len(self.blobs)
            self.blobs.append(value)
        return at

    def frozen(self) -> "Interned":
        """These values as they are now; what is added or forgotten later doesn't touch it."""
        copy = Interned()
        copy.helpers, copy.blobs = self.helpers, self.blobs  # only appended to, or replaced as a whole
        return copy

    def forget(self, used: NDArray[np.bool_]) -> NDArray[np.uint32]:
        """Keep only the blobs marked in `used` (bool[len(blobs)]); old number → new number."""
        used[0] = True
        numbers = np.cumsum(used, dtype=np.uint32) - np.uint32(1)
        self.blobs = [self.blobs[at] for at in np.flatnonzero(used).tolist()]
        self._blob_index = {value: at for at, value in enumerate(self.blobs)}
        return np.where(used, numbers, np.uint32(0))


def empty(n: int) -> Columns:
    """Columns of `n` rows, each with its default."""
    return {name: np.full(n, DEFAULTS.get(name, 0), dtype=kind) for name, kind in SCHEMA.items()}
