"""Which flow a packet belongs to: the packet log's question to the flow store."""

import numpy as np
from numpy.typing import NDArray

from cttui.flows.columns import Columns
from cttui.flows.store import Store
from cttui.model.flow import AF_INET, SEEN_REPLY, state_name
from cttui.probe.packet_log import PacketTuple

_A, _B = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)


def _mix(src: NDArray[np.uint64], dst: NDArray[np.uint64], ports: NDArray[np.uint64]) -> NDArray[np.uint64]:
    h = src * _A ^ dst * _B ^ ports * (_A ^ _B)
    mixed: NDArray[np.uint64] = h ^ (h >> np.uint64(29))
    return mixed


def _hashes(columns: Columns, rows: NDArray[np.int64], end: str) -> NDArray[np.uint64]:
    """One hash a flow of its original or reply tuple; equal tuples are checked afterwards."""

    def fold(side: str) -> NDArray[np.uint64]:
        total = np.zeros(len(rows), np.uint64)
        for word in range(4):
            total = total * np.uint64(31) + columns[f"{end}_{side}{word}"][rows].astype(np.uint64)
        return total

    ports = columns[f"{end}_sport"][rows].astype(np.uint64) << np.uint64(24)
    ports |= columns[f"{end}_dport"][rows].astype(np.uint64) << np.uint64(8)
    return _mix(fold("src"), fold("dst"), ports | columns["proto"][rows].astype(np.uint64))


def _hash_of(t: PacketTuple) -> int:
    _, proto, src, dst, sport, dport = t

    def fold(packed: bytes) -> int:
        total = 0
        for word in range(4):
            part = (
                int.from_bytes(packed[4 * word : 4 * word + 4], "big") if len(packed) >= 4 * word + 4 else 0
            )
            total = (total * 31 + part) & 0xFFFFFFFFFFFFFFFF
        return total

    one = np.array([fold(src)], np.uint64), np.array([fold(dst)], np.uint64)
    return int(_mix(*one, np.array([sport << 24 | dport << 8 | proto], np.uint64))[0])


class StoreLookup:
    """Flows of the store by tuple, in either direction.

    No index: under churn it would be out of date at every question. Two passes over the ports leave so few
    flows that hashing these takes no time, and where all ports are equal it costs what an index would.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def _candidates(self, end: str, tuples: list[PacketTuple]) -> NDArray[np.int64]:
        """Rows whose original or reply tuple is very likely one of these."""
        columns = self._store.columns
        sports, dports = np.zeros((2, 1 << 16), np.bool_)
        for _, _, _, _, sport, dport in tuples:
            sports[sport] = dports[dport] = True
        rows = np.flatnonzero(sports[columns[f"{end}_sport"]])
        rows = rows[dports[columns[f"{end}_dport"][rows]]]
        rows = rows[self._store.live[rows] | self._store.ended[rows]]
        wanted = np.array([_hash_of(t) for t in dict.fromkeys(tuples)], np.uint64)
        return rows[np.isin(_hashes(columns, rows, end), wanted)]

    def of_packets(self, tuples: list[PacketTuple]) -> list[tuple[int, str]]:
        """Key and state words of the flow with each tuple; (0, "") where the store has none."""
        if not tuples:
            return []
        found: dict[PacketTuple, tuple[int, str]] = {}
        columns = self._store.columns
        for end in ("orig", "reply"):
            for row in self._candidates(end, tuples).tolist():
                words = self._state(columns, row)
                for t in self._tuples(columns, row):
                    if t not in found or columns["zone"][row] == 0:
                        found[t] = (int(columns["key"][row]), words)
        return [found.get(t, (0, "")) for t in tuples]

    def tuples_of(self, key: int) -> list[PacketTuple]:
        """Original and reply tuple of a flow; empty for an unknown key."""
        row = self._store.row_of(key)
        return [] if row is None else self._tuples(self._store.columns, row)

    @staticmethod
    def _state(columns: Columns, row: int) -> str:
        status, proto, state = (
            int(columns["status"][row]),
            int(columns["proto"][row]),
            int(columns["state"][row]),
        )
        parts = [state_name(proto, None if state == 255 else state)]
        if not status & SEEN_REPLY:
            parts.append("[UNREPLIED]")
        return " ".join(p for p in parts if p)

    @staticmethod
    def _tuples(columns: Columns, row: int) -> list[PacketTuple]:
        family, proto = int(columns["family"][row]), int(columns["proto"][row])
        size = 4 if family == AF_INET else 16

        def packed(end: str) -> bytes:
            return b"".join(int(columns[f"{end}{w}"][row]).to_bytes(4, "big") for w in range(4))[:size]

        return [
            (
                family,
                proto,
                packed(f"{end}_src"),
                packed(f"{end}_dst"),
                int(columns[f"{end}_sport"][row]),
                int(columns[f"{end}_dport"][row]),
            )
            for end in ("orig", "reply")
        ]
