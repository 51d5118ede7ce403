"""A burst as composed: a line in scapy's notation, how many, how fast, and the bytes made of it."""

import asyncio
import functools
import secrets
from dataclasses import dataclass

from cttui.client.config import Config
from cttui.lab.presets import DEFAULT
from cttui.lab.summary import describe
from cttui.model.actions import Fire, Template
from cttui.model.faults import FaultError

RANDOM = -1


@dataclass(frozen=True, slots=True)
class Burst:
    """What `b` fires. `rate_pps` 0: as fast as possible; the same seed gives the same packets, RANDOM others each
    time."""

    line: str
    count: int = 10
    rate_pps: float = 100.0
    seed: int = 0

    @property
    def sentence(self) -> str:
        """What it is, in one sentence."""
        return describe(self.line, self.count, self.rate_pps)

    @classmethod
    def usual(cls, config: Config) -> "Burst":
        """The first burst of a run: as configured, otherwise the article's."""
        return cls(
            config["burst.line"] or DEFAULT.notation,
            int(config["burst.count"]),
            float(config["burst.rate_pps"]),
            int(config["burst.seed"]),
        )

    async def fire(self) -> Fire:
        """The action, its bytes built in a thread. Raises FaultError with the column of what is wrong."""
        try:
            templates = await asyncio.to_thread(built, self.line, self.count)
        except ValueError as e:
            column = getattr(e, "column", None)
            where = f" (column {column + 1})" if isinstance(column, int) else ""
            raise FaultError("notation", f"{e}{where}") from e
        seed = secrets.randbelow(1 << 32) if self.seed == RANDOM else self.seed
        return Fire(templates=templates, count=self.count, rate_pps=self.rate_pps, seed=seed)


@functools.lru_cache(maxsize=16)
def built(line: str, count: int) -> list[Template]:
    """Templates of a line; scapy is imported here, on first use. Raises ValueError (ComposeError)."""
    from cttui.lab.compose import compile

    return compile(line, count)


def checked(line: str) -> None:
    """Raise ComposeError for what is wrong with a line, as far as its headers tell; scapy is imported here, too."""
    from cttui.lab.compose import check

    check(line)
