"""Where a field stands in the bytes: found by comparing what scapy builds for different values.

No table of headers is needed, options and extension headers move nothing, and a checksum covers a field
exactly if it changes with it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cttui.lab.layers import Spread
from cttui.model.actions import Patch

SAMPLED = 1024
"""Values of a list that are each built to learn their bytes; a longer list of plain numbers needs no more."""

At = Callable[[object], list[bytes]]
"""The packet (its fragments) with a value in this field, all else the same."""
Sums = Sequence[dict[int, bool]]
"""By fragment: offsets of checksums (build.checksums_of)."""
_HALF = 1 << 64


@dataclass(slots=True)
class Place:
    """By fragment: the patches that make the field's values, and the checksums that change with them."""

    patches: list[list[Patch]]
    covered: list[set[int]]


def locate(spread: Spread, name: str, stride: int, at: At, sums: Sums) -> Place | None:
    """Where a spread stands, or None where it can't be patched: it moves or changes other bytes, too."""
    numbers = spread.kind != "cycle"
    if not numbers and len(spread.values) > SAMPLED:
        return None
    if numbers:
        # the next number changes the lowest byte, the last one the highest
        others = sorted({min(spread.first + 1, spread.last), spread.last})
        built = [at(spread.present(v)) for v in (spread.first, *others)]
    else:
        built = [at(value) for value in spread.values]
    first = built[0]
    if any([len(x) for x in other] != [len(x) for x in first] for other in built):
        return None
    place = Place([], [])
    for part, known in enumerate(sums):
        pieces = [packets[part] for packets in built]
        changed, covered = _changes(pieces, known)
        made: list[Patch] | None = []
        if changed:
            made = (
                _number(spread, name, stride, pieces[0], pieces[-1], changed)
                if numbers
                else _list(pieces, name, stride, changed)
            )
        if made is None or (covered and not made):  # the checksum is here, what it covers in another fragment
            return None
        place.patches.append(made)
        place.covered.append(covered)
    return place


def _changes(pieces: list[bytes], sums: dict[int, bool]) -> tuple[set[int], set[int]]:
    """Offsets that differ between the pieces outside checksums, and the checksums that differ."""
    first = pieces[0]
    changed = {i for piece in pieces[1:] if piece != first for i in range(len(first)) if piece[i] != first[i]}
    in_sums = {at for at in sums if at in changed or at + 1 in changed}
    return changed - {i for at in in_sums for i in (at, at + 1)}, in_sums


def _number(
    spread: Spread, name: str, stride: int, first: bytes, last: bytes, changed: set[int]
) -> list[Patch] | None:
    """Patches for a field that holds the number itself in its low bits, at any width."""
    end = max(changed) + 1
    distance = spread.last - spread.first
    if distance >= _HALF:
        if spread.kind == "random":
            return _wide_random(spread, name, stride, end, min(changed))
        distance = _HALF - 1 - spread.first % _HALF  # no burst gets further
    for width in (1, 2, 4, 8):
        at = end - width
        if at < 0 or (min(changed) < at and spread.last - spread.first < _HALF):
            continue
        low = int.from_bytes(first[at:end], "big")
        high = low + distance
        if high >= 1 << 8 * width:
            continue
        if int.from_bytes(last[at:end], "big") == high:
            return [
                Patch(
                    offset=at, width=width, kind=spread.kind, first=low, last=high, stride=stride, name=name
                )
            ]
    return None


def _wide_random(spread: Spread, name: str, stride: int, end: int, lowest: int) -> list[Patch] | None:
    """A net wider than the 64 bits of a patch: its halves are drawn apart."""
    begin = end - 16
    if begin < 0 or lowest < begin or spread.first % _HALF or spread.last % _HALF != _HALF - 1:
        return None
    halves = ((begin, spread.first >> 64, spread.last >> 64), (end - 8, 0, _HALF - 1))
    return [
        Patch(offset=at, width=8, kind="random", first=low, last=high, stride=stride, name=name)
        for at, low, high in halves
    ]


def _list(pieces: list[bytes], name: str, stride: int, changed: set[int]) -> list[Patch] | None:
    """Patches that copy the bytes of each value; at most the two halves of an address."""
    out: list[Patch] = []
    while changed:
        end = max(changed) + 1
        width = next((w for w in (1, 2, 4, 8) if min(changed) >= end - w), 8)
        begin = end - width
        if begin < 0 or len(out) == 2:
            return None
        values = [int.from_bytes(piece[begin:end], "big") for piece in pieces]
        out.append(Patch(offset=begin, width=width, kind="cycle", values=values, stride=stride, name=name))
        changed = {i for i in changed if i < begin}
    return out
