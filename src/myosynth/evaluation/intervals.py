"""How sure a figure is, and the axis between the floors."""

import numpy as np
from numpy.typing import NDArray

from myosynth.evaluation.fidelity import METRICS, Comparison, Key

__all__ = ["Axis", "interval_of"]

Array = NDArray[np.float64]
_NORMAL = 1.959964


def interval_of(value: float, spread: Array) -> tuple[float, float]:
    """95 % interval of a metric from its deviations (`halves.spread_of`)."""
    half = _NORMAL * float(np.sqrt(np.mean(spread**2)))
    return value - half, value + half


class Axis:
    """From a metric's value to z, with the uncertainty of both floors."""

    def __init__(
        self,
        key: Key,
        same: Comparison,
        new: list[float],
        n_subjects: int,
        rng: np.random.Generator,
    ) -> None:
        self.same = same.values[key]
        self.new = float(np.mean(new)) if new else None
        worse = -1.0 if METRICS[key[1]].better == "higher" else 1.0
        self.given = False
        if len(new) < 2:
            return
        draws = same.draws[key]
        # N subjects hold N − 1 independent contrasts, however often they are split
        picks = rng.choice(new, size=(len(draws), max(1, min(n_subjects - 1, len(new)))))
        width = worse * (picks.mean(axis=1) - self.same - draws)
        gap = worse * float(np.mean(new) - self.same)
        self.given = gap > 0 and float(np.quantile(width, 0.025)) > 0
        # a ratio has no variance where its divisor can vanish: bounded at a fifth of the gap
        self._same_draws = self.same + draws
        self._widths = worse * np.maximum(width, 0.2 * gap)

    def z(self, value: float) -> float | None:
        if not self.given or self.new is None:
            return None
        return (value - self.same) / (self.new - self.same)

    def interval(self, draws: Array) -> tuple[float | None, float | None]:
        if not self.given:
            return None, None
        low, high = np.quantile((draws - self._same_draws) / self._widths, [0.025, 0.975])
        return float(low), float(high)
