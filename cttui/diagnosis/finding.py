"""What a diagnosis is made of."""

from dataclasses import dataclass

ERROR, WARNING, INFO = "error", "warning", "info"
ROOM = 64
"""Cells of a headline in 80 columns, beside its mark at the left and a key at the right."""


def fitting(*sentences: str) -> str:
    """The first that has room as a headline, otherwise the last."""
    return next((said for said in sentences if len(said) <= ROOM), sentences[-1])


@dataclass(frozen=True, slots=True)
class Finding:
    """`what` in one sentence, `why` behind it, `remedy` where there is one. `level`: error, warning, info."""

    level: str
    what: str
    why: tuple[str, ...] = ()
    remedy: str = ""
