"""One packet of a burst as the injector will make it, without numpy: for previews, checks and tests.

The rules are those of messages.Patch and Template; the injector's own, faster code is held to these by a
property test.
"""

from cttui.model.actions import Patch, Template

_M64 = (1 << 64) - 1


def patch_value(patch: Patch, index: int, seed: int = 0) -> int:
    """What a patch holds at an index. Random values are splitmix64 of seed, offset and index."""
    step = index // max(patch.stride, 1)
    if patch.kind == "cycle":
        return patch.values[step % len(patch.values)]
    span = patch.last - patch.first + 1
    if patch.kind == "range":
        return patch.first + step % span
    start = ((seed & _M64) * 0x9E3779B97F4A7C15 + (patch.offset + 1) * 0xD1B54A32D192ED03) & _M64
    x = (start + step * 0x9E3779B97F4A7C15) & _M64
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & _M64
    x = (x ^ x >> 27) * 0x94D049BB133111EB & _M64
    x ^= x >> 31
    return patch.first + x % span


def patched(template: Template, index: int, seed: int = 0) -> bytes:
    """The packet at an index of a template."""
    data = bytearray(template.data)
    moved: dict[int, int] = {}
    for patch in template.patches:
        width = min(patch.width, 8)
        at = patch.offset + patch.width - width
        new = patch_value(patch, index, seed).to_bytes(width, "big")
        moved[patch.offset] = sum(
            (after - before) << (0 if (at + i) % 2 else 8)
            for i, (after, before) in enumerate(zip(new, data[at : at + width], strict=True))
        )
        data[at : at + width] = new
    for at, covered in template.checksums:
        old = int.from_bytes(template.data[at : at + 2], "big")
        none = at in template.zero_is_none
        if none and old == 0:
            continue
        total = (0xFFFF - old + sum(moved[offset] for offset in covered)) % 0xFFFF or 0xFFFF
        new_sum = 0xFFFF - total
        data[at : at + 2] = (0xFFFF if none and new_sum == 0 else new_sum).to_bytes(2, "big")
    return bytes(data)


def packet(templates: list[Template], i: int, seed: int = 0) -> bytes:
    """Packet `i` of a burst of these templates."""
    return patched(templates[i % len(templates)], i // len(templates), seed)
