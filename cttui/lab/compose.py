"""The burst composer's compiler: scapy's notation → templates with patches.

scapy builds the bytes of one packet and of as few others as it takes to see where each varying field stands
(places); the injector patches copies. What can't be patched (a field that moves others, an SCTP checksum) is
written out as one template a value. Every result is compared with what scapy builds for a sample of packets
before it is used.

scapy is imported on first use (0.2 s): call `compile` off the UI's loop.
"""

import math
import random
from collections.abc import Iterator, Mapping

from cttui.lab.build import Build, Dim, builder, checksums_of, prepare
from cttui.lab.layers import ComposeError, Spread, Stack
from cttui.lab.notation import parse
from cttui.lab.places import locate
from cttui.lab.preview import patch_value, patched
from cttui.model.actions import Patch, Template

MAX_TEMPLATES = 4096
"""Packets that may be written out one by one."""
VERIFIED = 16
"""Of those, how many are each compared with scapy at several indices: they are of one kind."""


class _NotPatchable(Exception):
    def __init__(self, dim: Dim) -> None:
        super().__init__(dim)
        self.dim = dim


def check(text: str) -> None:
    """Raise ComposeError for what `compile` would refuse of single headers: unknown fields, values that don't fit."""
    prepare(parse(text))


def compile(text: str, count: int | None = None) -> list[Template]:
    """Templates of a notation: packet i of the burst is template i % n at index i // n (see messages.Fire).

    With ranges and lists only, the first packets are those that scapy makes of the notation, in its order
    (unless some, but not all, fields had to be written out). `count`, where given, spares what a burst of so
    many packets never reaches. Raises ComposeError.
    """
    stack = prepare(parse(text))
    # fastest first, as scapy runs through them: inner layers before outer, and in header order
    spreads: dict[Dim, Spread] = {
        (i, name): value
        for i, layer in reversed(list(enumerate(stack.layers)))
        for name, value in layer.fields.items()
        if isinstance(value, Spread)
    }
    build = builder(stack)
    written: set[Dim] = set()
    while True:
        try:
            return _attempt(stack, spreads, build, written, count)
        except _NotPatchable as e:
            written.add(e.dim)


def _attempt(
    stack: Stack, spreads: dict[Dim, Spread], build: Build, written: set[Dim], count: int | None
) -> list[Template]:
    """Templates with the `written` spreads written out. Raises _NotPatchable for one more of them."""
    total = math.prod(s.size for s in spreads.values())
    if (
        written
        and all(s.kind != "random" for s in spreads.values())
        and min(total, count or total) <= MAX_TEMPLATES
    ):
        written = set(spreads)  # then scapy's order is kept, too
    for dim in written:
        if spreads[dim].kind == "random":
            raise ComposeError(
                f"{dim[1]} can't be random: it changes more than its own bytes.", _column(stack, dim)
            )
    patched_ = {dim: spread for dim, spread in spreads.items() if dim not in written}
    steps = total // math.prod(s.size for s in patched_.values())
    if count:
        steps = min(steps, count)  # then each template is sent at most once
    if steps > MAX_TEMPLATES:
        dim = next(dim for dim in spreads if dim in written)
        raise ComposeError(
            f"{dim[1]} changes more than its own bytes: at most {MAX_TEMPLATES:,} such packets.",
            _column(stack, dim),
        )
    out: list[Template] = []
    for step, fixed in enumerate(_values({dim: s for dim, s in spreads.items() if dim in written}, steps)):
        out += _templates(patched_, build, fixed, verify=step < VERIFIED)
    return out


def _values(spreads: Mapping[Dim, Spread], steps: int) -> Iterator[dict[Dim, object]]:
    """The combinations of spreads, the first spread fastest."""
    for step in range(steps):
        out: dict[Dim, object] = {}
        for dim, spread in spreads.items():
            out[dim] = spread.at(step)
            step //= spread.size
        yield out


def _column(stack: Stack, dim: Dim) -> int:
    layer = stack.layers[dim[0]]
    return layer.columns.get(dim[1], layer.column)


def _templates(
    spreads: dict[Dim, Spread], build: Build, fixed: Mapping[Dim, object], verify: bool
) -> list[Template]:
    """The templates (one a fragment) of one packet whose `spreads` are patched."""
    base = {**fixed, **{dim: spread.start() for dim, spread in spreads.items()}}
    pieces = build(base)
    sums = [checksums_of(data) for data in pieces]
    out = [
        Template(data=data, zero_is_none=[at for at, udp in known.items() if udp])
        for data, known in zip(pieces, sums, strict=True)
    ]
    made_by: dict[Dim, list[list[Patch]]] = {}
    stride = 1
    for dim, spread in spreads.items():
        place = locate(spread, dim[1], stride, lambda v, dim=dim: build({**base, dim: v}), sums)  # type: ignore[misc]
        if place is None:
            raise _NotPatchable(dim)
        made_by[dim] = place.patches
        stride = min(stride * spread.size, 1 << 62)  # a burst gets nowhere near
        for part, made in enumerate(place.patches):
            before = out[part]
            taken = {i for p in before.patches for i in range(p.offset, p.offset + p.width)}
            if any(i in taken for p in made for i in range(p.offset, p.offset + p.width)):
                raise _NotPatchable(dim)  # shares a byte with another: bit fields
            covers = {at: list(over) for at, over in before.checksums}
            for at in sorted(place.covered[part]):
                covers.setdefault(at, []).extend(p.offset for p in made)
            out[part] = _with(before, [*before.patches, *made], list(covers.items()))
    if verify:
        _verify(out, spreads, made_by, build, base)
    return out


def _with(template: Template, patches: list[Patch], checksums: list[tuple[int, list[int]]]) -> Template:
    return Template(
        data=template.data, patches=patches, checksums=checksums, zero_is_none=template.zero_is_none
    )


def _verify(
    templates: list[Template],
    spreads: dict[Dim, Spread],
    made_by: dict[Dim, list[list[Patch]]],
    build: Build,
    base: Mapping[Dim, object],
) -> None:
    """Compare some packets with scapy's. A difference means that a spread must be written out after all."""
    if not spreads:
        return
    total = min(math.prod(s.size for s in spreads.values()), 1 << 62)
    chance = random.Random(total)
    for index in {0, 1, total - 1, *(chance.randrange(max(total, 1000)) for _ in range(4))}:
        values = dict(base)
        stride = 1
        for dim, spread in spreads.items():
            if spread.kind == "random":
                values[dim] = _drawn(spread, next((made for made in made_by[dim] if made), []), index)
            else:
                values[dim] = spread.at(index // stride)
            stride *= spread.size
        if [patched(template, index) for template in templates] != build(values):
            raise _NotPatchable(next(iter(spreads)))


def _drawn(spread: Spread, made: list[Patch], index: int) -> object:
    """The value that a random spread's patches take at an index."""
    if len(made) == 2:
        return spread.present(patch_value(made[0], index) << 64 | patch_value(made[1], index))
    return spread.present(spread.first + sum(patch_value(p, index) - p.first for p in made))
