"""How sure a figure is: resampled subjects, and the axis between the floors."""

import numpy as np
from numpy.typing import NDArray

from myosynth.evaluation.fidelity import METRICS, Comparison, Key

__all__ = ["Axis", "SubjectDraws", "centred_interval"]

Array = NDArray[np.float64]
Index = NDArray[np.intp]


def centred_interval(value: float, draws: Array) -> tuple[float, float]:
    """95 % interval of a distance from its bootstrap, whose own mean is biased upwards."""
    low, high = value + np.quantile(draws - draws.mean(), [0.025, 0.975])
    return float(low), float(high)


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
        draws = same.draws[key] - same.draws[key].mean()
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


class SubjectDraws:
    """Which subjects are drawn in each resample: the same for every sample of one task."""

    def __init__(self, subject: NDArray[np.str_], n_bootstrap: int, rng: np.random.Generator):
        self._subjects = np.unique(subject)
        n = len(self._subjects)
        self._drawn = rng.multinomial(n, np.full(n, 1 / n), size=n_bootstrap)
        self._rng = rng

    def rows(self, subject: NDArray[np.str_]) -> Index:
        """(n_bootstrap, n) rows: subjects first, then segments within them.

        A sample whose subjects are not the real ones (most synthetic sets) is drawn by its own
        subjects where it names several, and else by segment.
        """
        names, which = np.unique(subject, return_inverse=True)
        n = len(subject)
        if np.isin(names, self._subjects).all():
            column = np.searchsorted(self._subjects, names)
            times = self._drawn[:, column]
        else:
            times = self._rng.multinomial(
                len(names), np.full(len(names), 1 / len(names)), size=len(self._drawn)
            )
        weight = times[:, which].astype(float)
        # none of this sample's subjects was drawn: fall back on all of them
        weight[weight.sum(axis=1) == 0] = 1.0
        weight /= weight.sum(axis=1, keepdims=True)
        return np.stack([self._rng.choice(n, size=n, p=one) for one in weight])
