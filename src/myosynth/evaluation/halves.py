"""How far a figure would move with other people: halves of the subjects and their complements.

Each draw splits the subjects into two halves and looks at a metric T on either one. No segment is
repeated, which a bootstrap would do and neighbours would notice, and segments are not drawn again
within a subject, which would count their scatter twice. Of the halves' values T₁ and T₂

- L = mean of ((T₁ − T₂) / 2)² estimates the variance of T on all subjects, wherever it falls like
  one over their number: T₁ and T₂ come from other people, at half the number;
- Q = variance of (T₁ + T₂) / 2 over the draws is what does not add up over subjects. It is near
  zero where the samples differ, and large for distances near zero. There L rises and falls with
  the value itself, so that small values would get too short an interval.

The variance used is L + Q / 2 for distances, which cannot fall below zero (L + Q / 4 for the
largest difference of distributions), and L for MMD², shares and areas under a curve, which are not
bent there (areas and shares get more: `fidelity`). The share of Q was chosen by simulation:
benchmarks/calibration.py shows how often the intervals hold the truth.
Intervals are those of Student's t with degrees of freedom between those of one side's subjects and
of both.

Sources: McCarthy (1969), doi:10.2307/1402116, balanced half-samples and their complements; Efron
(1982), The jackknife, the bootstrap and other resampling plans, chapter 8; Davison & Hinkley
(1997), Bootstrap methods and their application, section 3.8, on resampling whole clusters.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student_t

__all__ = ["SubjectHalves", "spread_of"]

Array = NDArray[np.float64]
Index = NDArray[np.intp]
Text = NDArray[np.str_]

_NORMAL = 1.959964


class SubjectHalves:
    """Splits of the subjects into halves: the same for every sample of one task.

    Parameters
    ----------
    subject : array of str
        Of the real segments.
    n_pairs : int
        How many splits.
    rng : Generator
        Draws them.
    """

    def __init__(self, subject: Text, n_pairs: int, rng: np.random.Generator) -> None:
        self._names = np.unique(subject)
        self._n_pairs, self._rng = n_pairs, rng
        self._first = self._split(len(self._names))

    def rows(self, subject: Text) -> Index:
        """(2, n_pairs, n // 2) rows of the first halves and of their complements.

        A sample whose subjects are not the real ones (most synthetic sets) is split by its own
        subjects where it names several, and else by segment.
        """
        names, which = np.unique(subject, return_inverse=True)
        n = len(subject)
        if len(names) > 1 and np.isin(names, self._names).all():
            inside = self._first[:, np.searchsorted(self._names, names)][:, which]
        elif len(names) > 1:
            inside = self._split(len(names))[:, which]
        else:
            inside = self._split(n)
        lone = inside.all(axis=1) | ~inside.any(axis=1)
        inside[lone] = self._split(n)[lone]  # all of its subjects in one half
        size = max(1, n // 2)
        return np.stack([
            np.stack([_evenly(np.flatnonzero(row), size) for row in side])
            for side in (inside, ~inside)
        ])  # fmt: skip

    def _split(self, n: int) -> NDArray[np.bool_]:
        first = np.arange(n) < n // 2
        result: NDArray[np.bool_] = self._rng.permuted(np.tile(first, (self._n_pairs, 1)), axis=1)
        return result


def _evenly(rows: Index, size: int) -> Index:
    """`size` of the rows, from all along them; equal sizes keep distances on one scale."""
    result: Index = rows[((np.arange(size) + 0.5) * len(rows) / size).astype(np.intp)]
    return result


def spread_of(
    one: Array,
    two: Array,
    degrees: float,
    rng: np.random.Generator,
    *,
    beyond: float = 0.5,
    least_sd: float = 0.0,
) -> Array:
    """Deviations of a metric from its value, as other people would make them.

    Parameters
    ----------
    one, two : array, (n_pairs,)
        The metric on the halves and on their complements.
    degrees : float
        Of freedom, ≥ 1: one less than the subjects on the side with fewer, or more.
    rng : Generator
        Of what the halves do not show.
    beyond : float
        The share of Q that counts.
    least_sd : float
        The least standard deviation.

    Returns
    -------
    array, (2 · n_pairs,)
        Symmetric about zero; with their 2.5 and 97.5 % quantiles at those of Student's t.
    """
    odd, even = (one - two) / 2, (one + two) / 2
    seen = float(np.mean(odd**2))
    wanted = max(seen + beyond * float(np.var(even)), least_sd**2)
    odd = odd + np.sqrt(wanted - seen) * rng.standard_normal(len(odd))
    heavier = float(student_t.ppf(0.975, degrees)) / _NORMAL
    return np.concatenate([odd, -odd]) * heavier
