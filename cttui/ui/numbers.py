"""Numbers as people type them."""

MOST_DIGITS = 19
"""Of any number asked for here; int() refuses some thousands of them with an error."""


def whole(text: str) -> int | None:
    """The whole number, not below 0, that a text is; None for any other text ("²" and "٣" are digits to Python)."""
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS else None
