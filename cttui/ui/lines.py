"""Lines of text cells: cut, padded and spread to a width.

A line is a tuple of runs; a run is (text, style name). Text is plain: nothing here ever parses markup.
A style name is a theme variable (`theme.VARIABLES`): `name` is the colour, `name-background` and
`name-style` are optional beside it; `name on other` takes the background of another. The empty name is the
widget's own style.
"""

import re
from collections.abc import Iterable
from functools import lru_cache

from rich.cells import cell_len, set_cell_size

_PORT = re.compile(r"^(?:[^:]+|\[.+\])(:\d+)$")
"""Of `192.0.2.1:80` and `[2001:db8::1]:80`, not of `2001:db8::1`."""

Run = tuple[str, str]
Line = tuple[Run, ...]


def width_of(text: str) -> int:
    """Cells that the text takes."""
    return len(text) if text.isascii() else cell_len(text)


def clip(text: str, width: int) -> str:
    """The text in at most `width` cells, "…" standing for what was cut."""
    if width_of(text) <= width:
        return text
    if width <= 0:
        return ""
    return (text[: width - 1] if text.isascii() else set_cell_size(text, width - 1).rstrip()) + "…"


def clip_words(text: str, width: int) -> str:
    """The text in at most `width` cells, cut between words where that leaves at least half of them."""
    if width_of(text) <= width:
        return text
    cut = clip(text, width)[:-1]
    whole = cut if text[len(cut)] == " " else cut.rpartition(" ")[0].rstrip(" ,;:·")
    return (whole if 2 * width_of(whole) >= width else cut) + "…"[:width]


def clip_middle(text: str, width: int, keep_end: int | None = None) -> str:
    """The text in at most `width` cells, cut in the middle: both ends of an address tell which it is.

    `keep_end` is how many cells at the end stay whole (a port).
    """
    length = width_of(text)
    if length <= width:
        return text
    if width <= 1:
        return "…"[:width]
    end = min(width - 1, max((width - 1) // 2, keep_end or 0))
    start = width - 1 - end
    if text.isascii():
        return text[:start] + "…" + text[length - end :]
    tail = ""
    for character in reversed(text):
        if width_of(character + tail) > end:
            break
        tail = character + tail
    return set_cell_size(text, start).rstrip() + "…" + tail


def clip_ends(source: str, destination: str, width: int) -> str:
    """`198.51.100.2:10000 > 192.0.2.1:80` in at most `width` cells: cut within addresses, as ports tell packets apart."""
    room = width - len(" > ")
    if width_of(source) + width_of(destination) > room:
        kept = min(width_of(destination), max(room // 2, room - width_of(source)))
        cells = (room - kept, kept)
        ports = [found[1] if (found := _PORT.match(end)) else "" for end in (source, destination)]
        if all(ports) and any(n < len(port) + 3 for n, port in zip(cells, ports, strict=True)):
            source, destination = ports
        else:
            source, destination = (
                clip_middle(end, n, len(port))
                for end, n, port in zip((source, destination), cells, ports, strict=True)
            )
    return clip(f"{source} > {destination}", width)


def pad(text: str, width: int, right: bool = False) -> str:
    """The text in exactly `width` cells, clipped or filled with spaces; `right` aligns to the right."""
    text = clip(text, width)
    fill = " " * (width - width_of(text))
    return fill + text if right else text + fill


def fit(line: Iterable[Run], width: int, ground: str = "") -> Line:
    """The line in exactly `width` cells: neighbours of one style merged, the end clipped or filled in `ground`."""
    return _fit(tuple(line), width, ground)


@lru_cache(maxsize=1024)  # most lines of a screen are what they were a moment ago
def _fit(line: Line, width: int, ground: str) -> Line:
    out: list[Run] = []
    used = 0
    for text, style in line:
        if not text:
            continue
        length = width_of(text)
        cut = used + length > width
        if cut:
            text = clip(text, width - used)
            length = width_of(text)
        if not text:
            break
        used += length
        if out and out[-1][1] == style:
            out[-1] = (out[-1][0] + text, style)
        else:
            out.append((text, style))
        if cut:  # also where a space before the "…" was left out
            break
    if used < width:
        fill = " " * (width - used)
        if out and out[-1][1] == ground:
            out[-1] = (out[-1][0] + fill, ground)
        else:
            out.append((fill, ground))
    return tuple(out)


def spread(left: Iterable[Run], right: Iterable[Run], width: int) -> list[Run]:
    """`left` at the left edge and `right` at the right one; `left` is clipped where both don't fit."""
    left, right = list(left), list(right)
    taken = sum(width_of(text) for text, _ in right)
    if taken >= width:
        return list(fit(right, width))
    return [*fit(left, width - taken), *right]


def keyed(text: str, style: str) -> list[Run]:
    """`  b  what it does` with its key marked as in the key line; any other text as one run."""
    key = re.match(r"  \S+(?=  )", text)
    return [(key[0], "key"), (text[key.end() :], style)] if key else [(text, style)]
