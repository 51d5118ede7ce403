"""Hostile text made harmless: what the terminal would obey becomes what a person can read."""

import re

_DANGEROUS = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # C0, DEL, C1: U+009B alone starts a control sequence on some terminals
    "\u00ad\u061c\u180e"  # soft hyphen, Arabic letter mark, Mongolian vowel separator
    "\u200b-\u200f"  # zero-width characters, left-to-right and right-to-left marks
    "\u2028-\u202e"  # line and paragraph separators, bidi embeddings and overrides
    "\u2060-\u206f"  # word joiner, invisible operators, bidi isolates, deprecated format characters
    "\ufeff\ufff9-\ufffb"  # byte order mark, interlinear annotation
    "\ud800-\udfff"  # surrogates: half characters, or bytes that were no UTF-8
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"  # shorthand, musical, tag characters
)
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    code = ord(character)
    if character in _SHORT:
        return _SHORT[character]
    if 0xDC80 <= code <= 0xDCFF:  # os.fsdecode and surrogateescape: a byte in hiding
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def clean(text: str | bytes, limit: int | None = None) -> str:
    """The text with control, bidi, invisible and half characters as visible escapes (`\\x1b`, `\\u202e`).

    Nothing else changes: markup characters stay, as whoever paints must not parse markup at all. Bytes are
    read as UTF-8, bytes that are none become `\\xNN`. `limit` is the most characters to return; a cut ends
    in "…".
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")
    if limit is not None and len(text) > limit:
        text = text[: limit + 1]  # escapes only grow, so the rest can't be seen
    if not (text.isascii() and text.isprintable()):
        text = _DANGEROUS.sub(_escape, text)
    if limit is not None and len(text) > limit:
        text = text[: max(0, limit - 1)] + "…" if limit > 0 else ""
    return text
