"""Whether a loss is going on, and how fast."""

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from cttui.model.hooks import Loss

OVER_S = 60.0


@dataclass(frozen=True, slots=True)
class _Known:
    packets: int
    grew_at: float
    rate: float = 0.0
    """Packets/s between the last two regular readings."""
    rate_before: float = 0.0


class LossRates:
    """Regular readings of losses, one after another."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], _Known] = {}
        self._at = 0.0

    def take(self, losses: Iterable[Loss], now: float) -> None:
        """A regular reading at `now`, monotonic seconds."""
        span, self._at = now - self._at, now
        known = {}
        for loss in losses:
            was = self._known.get(_key(loss), _Known(0, now))
            grown = loss.packets - was.packets
            rate = max(grown, 0) / span if span > 0 else 0.0
            known[_key(loss)] = _Known(loss.packets, now if grown > 0 else was.grew_at, rate, was.rate)
        self._known = known

    def told(self, loss: Loss) -> Loss:
        """The loss with its rate."""
        known = self._known.get(_key(loss))
        if known is None:
            return loss
        lasting = known.rate if known.rate_before else 0.0
        return msgspec.structs.replace(loss, pps=lasting, over=self._at - known.grew_at > OVER_S)


def _key(loss: Loss) -> tuple[str, ...]:
    return loss.family, loss.hook, loss.after, loss.before, loss.cause
