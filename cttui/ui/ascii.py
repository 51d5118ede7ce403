"""Terminals without Unicode: which they are, and what they show instead."""

import re
from collections.abc import Mapping

from rich.cells import cell_len

_ASCII = str.maketrans({
    "─": "-", "━": "=", "│": "|", "┃": "#", "┌": "+", "└": "+", "├": "+", "┤": "+", "╷": "|", "╵": "|",
    "▶": ">", "◀": "<", "→": ">", "←": "<", "↑": "^", "↓": "v", "▲": "^", "▼": "v", "▸": ">", "▾": "v",
    "…": "~", "·": ".", "−": "-", "–": "-", "—": "-", "≥": ">", "≤": "<", "×": "x", "∞": "-", "≈": "~",
    "▁": "_", "▂": ".", "▃": ":", "▄": "-", "▅": "=", "▆": "+", "▇": "*", "█": "#",
    "▏": " ", "▎": " ", "▍": "-", "▌": "-", "▋": "=", "▊": "=", "▉": "#", "░": ".", "▒": "+", "▓": "#",
    "✓": "v", "✗": "x", "●": "*", "○": "o", "◆": "*", "▀": "#", "▔": "-", "“": '"', "”": '"', "’": "'", "║": "|",
})  # fmt: skip
"""One cell for one cell, so that a layout made for Unicode holds without it."""
_NOT_ASCII = re.compile(r"[^\x20-\x7e]")


def ascii_only(environ: Mapping[str, str]) -> bool:
    """Whether the terminal's character set has to be taken for plain ASCII.

    LC_ALL, LC_CTYPE, LANG in that order, as setlocale(3) reads them. Python itself sets LC_CTYPE=C.UTF-8
    where the locale was C (PEP 538), so that value does not outvote a LANG that says C. The fonts of the
    Linux console have no eighth blocks and few arrows.
    """
    if environ.get("TERM") == "linux":
        return True
    lc_all, lc_ctype, lang = (environ.get(name, "") for name in ("LC_ALL", "LC_CTYPE", "LANG"))
    if not lc_all and lc_ctype == "C.UTF-8" and lang in ("C", "POSIX"):
        return True
    said = lc_all or lc_ctype or lang
    return bool(said) and "utf" not in said.lower()


def to_ascii(text: str) -> str:
    """The text in as many cells of printable ASCII; what has no counterpart becomes "?"."""
    if text.isascii():
        return text
    return _NOT_ASCII.sub(lambda found: "?" * cell_len(found[0]), text.translate(_ASCII))
