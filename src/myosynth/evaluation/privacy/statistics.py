"""The figures of a membership attack, and what chance alone would give."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, rankdata

__all__ = [
    "FPR",
    "Groups",
    "Gumbel",
    "area_under_curve",
    "clopper_pearson",
    "threshold_at_fpr",
    "tpr_at_fpr",
]

Array = NDArray[np.float64]

FPR = 0.01
"""False-positive rate at which true positives are counted. Source: Carlini et al. (2022),
arXiv:2112.03570: an average over all rates hides the few who are found with certainty."""


def threshold_at_fpr(non_members: Array, fpr: float = FPR) -> float:
    """The score that at most `fpr` of the non-members exceed; their largest where they are few."""
    allowed = int(np.floor(fpr * len(non_members) + 1e-9))
    return float(np.sort(non_members)[len(non_members) - 1 - allowed])


def tpr_at_fpr(members: Array, non_members: Array, fpr: float = FPR) -> float:
    """Share of members above `threshold_at_fpr`; higher scores mean members."""
    return float(np.mean(members > threshold_at_fpr(non_members, fpr)))


def area_under_curve(members: Array, non_members: Array) -> float:
    """Probability that a member scores above a non-member, ties count half (Mann–Whitney)."""
    ranks = rankdata(np.concatenate([members, non_members]))
    n, m = len(members), len(non_members)
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m))


def clopper_pearson(hits: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Exact interval of a share. Source: Clopper & Pearson (1934), doi:10.2307/2331986."""
    tail = (1 - level) / 2
    low = 0.0 if hits == 0 else float(beta.ppf(tail, hits, n - hits + 1))
    high = 1.0 if hits == n else float(beta.ppf(1 - tail, hits + 1, n - hits))
    return low, high


@dataclass(frozen=True)
class Groups:
    """What may change places when nothing leaks: the train and the holdout part of each group.

    Segments of one recording resemble each other, so that single segments must not be shuffled:
    train and holdout of one subject and task are swapped as a whole.

    Parameters
    ----------
    members, non_members : array of int
        Group of each member and of each non-member.
    """

    members: NDArray[np.intp]
    non_members: NDArray[np.intp]

    @staticmethod
    def of(members: list[NDArray[np.str_]], non_members: list[NDArray[np.str_]]) -> "Groups":
        """From the columns (subject, task) of either side."""
        labels = [np.array(["\t".join(row) for row in zip(*side, strict=True)], dtype=str)
                  for side in (members, non_members)]  # fmt: skip
        _, group = np.unique(np.concatenate(labels), return_inverse=True)
        return Groups(group[: len(labels[0])], group[len(labels[0]) :])

    @property
    def n_both(self) -> int:
        """Groups with segments on both sides."""
        return len(np.intersect1d(self.members, self.non_members))

    def null(
        self,
        statistic: Callable[[Array, Array], float],
        members: Array,
        non_members: Array,
        rng: np.random.Generator,
        n: int = 499,
    ) -> Array:
        """The statistic after `n` random swaps."""
        scores = np.concatenate([members, non_members])
        group = np.concatenate([self.members, self.non_members])
        side = np.arange(len(scores)) < len(members)
        both = np.isin(group, np.intersect1d(self.members, self.non_members))
        values = np.empty(n)
        for draw in range(n):
            swap = rng.random(group.max() + 1) < 0.5
            drawn = side ^ (swap[group] & both)
            values[draw] = statistic(scores[drawn], scores[~drawn])
        return values

    def p_value(
        self,
        statistic: Callable[[Array, Array], float],
        members: Array,
        non_members: Array,
        rng: np.random.Generator,
        n: int = 499,
    ) -> float:
        """How often chance reaches the statistic; uniform when nothing leaks."""
        observed = statistic(members, non_members)
        null = self.null(statistic, members, non_members, rng, n)
        return float((1 + np.sum(null >= observed - 1e-12)) / (n + 1))


@dataclass(frozen=True)
class Gumbel:
    """Extreme-value law of the largest of many similarities that are no copies.

    Parameters
    ----------
    location, scale : float
        Fitted by quantiles up to 90 %, so that a few true copies among them do not move it.

    Source: Coles (2001), doi:10.1007/978-1-4471-3675-0, chapter 3.
    """

    location: float
    scale: float

    @staticmethod
    def fit(maxima: Array) -> "Gumbel":
        shares = np.array([0.1, 0.25, 0.5, 0.75, 0.9])
        quantiles = np.quantile(maxima, shares)
        reduced = -np.log(-np.log(shares))
        scale, location = np.polyfit(reduced, quantiles, 1)
        return Gumbel(float(location), max(float(scale), 1e-6))

    def standardise(self, values: Array) -> Array:
        result: Array = (values - self.location) / self.scale
        return result

    def threshold(self, n: float, alpha: float) -> float:
        """What the largest of `n` such maxima exceeds with probability `alpha`."""
        return self.location + self.scale * float(np.log(n) - np.log(-np.log1p(-alpha)))
