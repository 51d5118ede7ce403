"""What a tale predicts: a value, a bound, or a formula over what was measured."""

import math
from dataclasses import dataclass

from cttui.lab.readings import Measured, Value


@dataclass(frozen=True, slots=True)
class Bound:
    """At least (`sign` "≥") or at most ("≤") `n`."""

    sign: str
    n: int

    def holds(self, value: Value, m: Measured) -> bool:
        """Whether the measured value keeps it."""
        return isinstance(value, int) and (value >= self.n if self.sign == "≥" else value <= self.n)

    def words(self, m: Measured | None) -> Value:
        """As shown."""
        return f"{self.sign} {self.n}"


@dataclass(frozen=True, slots=True)
class LimitAnd:
    """The limit plus `plus`, less what `early_drop` counted."""

    plus: int

    def value(self, m: Measured) -> int:
        """The number it comes to."""
        return m.limit + self.plus - m.result.stats.get("early_drop", 0)

    def holds(self, value: Value, m: Measured) -> bool:
        """Whether the measured value keeps it."""
        return value == self.value(m)

    def words(self, m: Measured | None) -> Value:
        """As shown."""
        return f"limit + {self.plus} − early_drop" if m is None else self.value(m)


@dataclass(frozen=True, slots=True)
class Passing:
    """Of `count` new flows, as many as find a victim in a full table, within `margin` parts in 100.

    P = 1 − exp(−16 · evictable / buckets): early_drop looks at 8 buckets (NF_CT_EVICTION_RANGE), and an
    entry is in two, once for each direction.
    """

    count: int
    margin: int

    def value(self, m: Measured) -> int:
        """The number it comes to."""
        return round(self.count * (1 - math.exp(-16 * m.fillers_evictable / max(m.buckets, 1))))

    def holds(self, value: Value, m: Measured) -> bool:
        """Whether the measured value keeps it."""
        return isinstance(value, int) and abs(value - self.value(m)) <= self.count * self.margin / 100

    def words(self, m: Measured | None) -> Value:
        """As shown."""
        text = f"{self.count:,} · (1 − e^(−16·evictable/buckets))"
        return text if m is None else f"{self.value(m):,} ± {self.count * self.margin // 100:,}"


Prediction = int | str | Bound | LimitAnd | Passing


def holds(prediction: Prediction, value: Value, m: Measured) -> bool:
    """Whether what was measured is what was predicted."""
    return value == prediction if isinstance(prediction, int | str) else prediction.holds(value, m)


def shown(prediction: Prediction, m: Measured | None = None) -> Value:
    """A prediction as people read it; with the measurement, formulas show what they come to."""
    return prediction if isinstance(prediction, int | str) else prediction.words(m)
