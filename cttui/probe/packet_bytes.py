"""Bytes of a burst: a template repeated, its fields patched, its checksums kept right, with numpy.

Packet i of a burst of n templates is template i % n at index i // n; what a patch holds at an index depends
on the index alone (and the seed), so any batch of a burst has the same bytes, and so has its repetition.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cttui.model.actions import Patch, Template
from cttui.model.faults import FaultError

U64 = NDArray[np.uint64]
Packets = NDArray[np.uint8]

_M64 = (1 << 64) - 1
_ONES = np.uint64(8 * 0xFFFF)
"""0 modulo 0xffff, and more than any sum of eight bytes: keeps the differences below positive."""


def _mix(x: U64) -> U64:
    """The finaliser of splitmix64 (Steele, Lea, Flood 2014): a counter in, 64 even bits out."""
    x = x ^ (x >> np.uint64(30))
    x = x * np.uint64(0xBF58476D1CE4E5B9)
    x = x ^ (x >> np.uint64(27))
    x = x * np.uint64(0x94D049BB133111EB)
    out: U64 = x ^ (x >> np.uint64(31))
    return out


def stream(seed: int, offset: int) -> int:
    """Start of the random sequence of the patch at `offset`; the same for all templates of a burst, so that
    the fragments of one packet agree about a random address."""
    return ((seed & _M64) * 0x9E3779B97F4A7C15 + (offset + 1) * 0xD1B54A32D192ED03) & _M64


def values(patch: Patch, index: U64, seed: int) -> U64:
    """What a patch holds at each index (u64; of 16-byte fields the low half)."""
    step = index // np.uint64(max(patch.stride, 1))
    if patch.kind == "cycle":
        choices: U64 = np.array(patch.values, np.uint64)
        chosen: U64 = choices[step % np.uint64(len(choices))]
        return chosen
    span = patch.last - patch.first + 1
    if patch.kind == "range":
        return np.uint64(patch.first) + (step if span > _M64 else step % np.uint64(span))
    start = np.uint64(stream(seed, patch.offset))
    bits = _mix(start + step * np.uint64(0x9E3779B97F4A7C15))
    return bits if span > _M64 else np.uint64(patch.first) + bits % np.uint64(span)


def check(template: Template) -> None:
    """Refuse what could not be carried out. Raises FaultError "bad-template"."""
    size = len(template.data)
    if not 1 <= size <= 65535:
        raise FaultError("bad-template", f"A packet of {size} bytes can't be sent.")
    for patch in template.patches:
        ok = (
            patch.width in (1, 2, 4, 8, 16)
            and 0 <= patch.offset <= size - patch.width
            and patch.stride >= 1
            and (
                (patch.kind == "cycle" and len(patch.values) > 0 and min(patch.values) >= 0)
                or (patch.kind in ("range", "random") and 0 <= patch.first <= patch.last)
            )
        )
        limit = 1 << 8 * min(patch.width, 8)
        if not ok or max([patch.last, *patch.values]) >= limit:
            raise FaultError(
                "bad-template", f"The patch {patch.name or patch.offset} does not fit its field."
            )
    for at, _ in template.checksums:
        if not 0 <= at <= size - 2:
            raise FaultError("bad-template", f"There is no checksum at byte {at}.")


def _low_bytes(value: U64, width: int) -> Packets:
    """The low `width` bytes of each value in network order, shape (n, width)."""
    return value.astype(">u8").view(np.uint8).reshape(len(value), 8)[:, 8 - width :]


def _word_sum(data: Packets, offset: int) -> U64:
    """One's-complement sum contribution of the columns of `data` when they stand at `offset`: bytes at even
    offsets count 256 (headers start at even offsets)."""
    even = data[:, offset % 2 :: 2].sum(axis=1, dtype=np.uint64)
    odd = data[:, 1 - offset % 2 :: 2].sum(axis=1, dtype=np.uint64)
    out: U64 = even * np.uint64(256) + odd
    return out


def _fold(x: U64) -> U64:
    for _ in range(4):
        x = (x & np.uint64(0xFFFF)) + (x >> np.uint64(16))
    return x


def build(template: Template, first: int, count: int, seed: int = 0, pad: int = 0) -> Packets:
    """Packets at indices first … first+count-1: shape (count, pad + len(data)), `pad` bytes left zero before.

    Checksums are updated by RFC 1624 (eqn. 3): HC' = ~(~HC + ~m + m').
    """
    data = np.frombuffer(template.data, np.uint8)
    out = np.zeros((count, pad + len(data)), np.uint8)
    packets = out[:, pad:]
    packets[:] = data
    index = np.arange(first, first + count, dtype=np.uint64)
    moved: dict[int, U64] = {}
    for patch in template.patches:
        width = min(patch.width, 8)
        at = patch.offset + patch.width - width
        new = _low_bytes(values(patch, index, seed), width)
        before = data[np.newaxis, at : at + width]
        # ~m + m', as numbers modulo 0xffff
        moved[patch.offset] = _word_sum(new, at) + (_ONES - _word_sum(before, at))
        packets[:, at : at + width] = new
    for at, covered in template.checksums:
        here = [moved[offset] for offset in covered if offset in moved]
        old = int.from_bytes(template.data[at : at + 2], "big")
        may_be_none = at in template.zero_is_none
        if not here or (may_be_none and old == 0):
            continue
        total: U64 = np.full(count, 0xFFFF - old, np.uint64)
        for part in here:
            total = total + part
        new_sum = np.uint64(0xFFFF) - _fold(total)
        if may_be_none:
            new_sum = np.where(new_sum == 0, np.uint64(0xFFFF), new_sum)
        packets[:, at : at + 2] = _low_bytes(new_sum, 2)
    return out


def burst(
    templates: Sequence[Template], first: int, count: int, seed: int = 0, pad: int = 0
) -> list[Packets]:
    """Packets first … first+count-1 of a burst, by template: element t holds those i with i % n == t."""
    n = len(templates)
    out = []
    for t, template in enumerate(templates):
        begin = (first - t + n - 1) // n  # smallest index whose packet number is >= first
        end = (first + count - t + n - 1) // n
        out.append(build(template, max(begin, 0), max(end - max(begin, 0), 0), seed, pad))
    return out
