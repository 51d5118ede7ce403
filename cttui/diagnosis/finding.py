"""What a diagnosis is made of."""

from dataclasses import dataclass

ERROR, WARNING, INFO = "error", "warning", "info"


@dataclass(frozen=True, slots=True)
class Finding:
    """`what` in one sentence, `why` behind it, `remedy` where there is one. `level`: error, warning, info."""

    level: str
    what: str
    why: tuple[str, ...] = ()
    remedy: str = ""
