"""Distances between two samples of segments of one task, and their bootstrap.

Every distance here depends on the sample sizes when the two samples are alike (a Wasserstein
distance shrinks like 1/√n, a classifier gains from more examples), so that the two samples of a
comparison, and all comparisons on one axis, must have the same size n.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from myosynth.evaluation.distances import (
    autocorrelation_distance,
    c2st_scores,
    coverage,
    gaussian_kernel,
    ks_distance,
    permutation_p,
    recall,
    spectral_distance,
    w1_distances,
    weighted_mmd2,
    wins,
)
from myosynth.evaluation.halves import spread_of
from myosynth.recordings import SignalArray
from myosynth.signal.features import FEATURES, envelope, feature_table, segment_psd

__all__ = [
    "METRICS",
    "Comparison",
    "Metric",
    "Sample",
    "Scale",
    "compare",
    "describe",
    "distances",
    "effort_response",
]

Array = NDArray[np.float64]
Index = NDArray[np.intp]
Key = tuple[str, str]
"""(group, metric) of a row."""

C2ST_GROUPS = ("all", "time", "higher_order")


@dataclass(frozen=True)
class Metric:
    """How a row is to be read: its unit and whether lower or higher is better."""

    unit: str
    better: str
    meaning: str


METRICS: dict[str, Metric] = {
    "w1": Metric("SD", "lower", "mean 1-Wasserstein distance of the features of the group"),
    "ks": Metric("0-1", "lower", "largest difference of the distributions, mean over features"),
    "lsd": Metric("dB", "lower", "difference of the mean spectra, 20-450 Hz"),
    "acd": Metric("", "lower", "difference of the autocorrelations, lags below 64 samples"),
    "mmd2": Metric("", "lower", "kernel distance of all features together, unbiased"),
    "recall": Metric("0-1", "higher", "share of real segments inside the synthetic set"),
    "coverage": Metric("0-1", "higher", "share of real segments with a synthetic one near"),
    "c2st": Metric("AUC", "lower", "how well a forest tells synthetic from real; 0.5 is best"),
    "slope": Metric("", "value", "log RMS obtained per log RMS asked; 1 is best"),
    "r2": Metric("0-1", "higher", "share of the variation of the obtained effort that was asked"),
}


@dataclass(frozen=True)
class Sample:
    """Segments of one task, described once.

    Parameters
    ----------
    table : array, (n_segments, n_columns)
        Features channel by channel, then the correlations between channels.
    psd : array, (n_segments, n_channels, n_frequencies)
        V²/Hz.
    subject : array of str, (n_segments,)
        Whose each segment is.
    """

    table: Array
    psd: Array
    subject: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.table)

    def take(self, rows: Index) -> "Sample":
        return Sample(self.table[rows], self.psd[rows], self.subject[rows])

    @staticmethod
    def join(parts: "list[Sample]") -> "Sample":
        return Sample(
            np.concatenate([part.table for part in parts]),
            np.concatenate([part.psd for part in parts]),
            np.concatenate([part.subject for part in parts]),
        )


@dataclass(frozen=True)
class Scale:
    """Fixed for one task, fitted on its real train and holdout segments.

    Parameters
    ----------
    mean, sd : array, (n_columns,)
        Of the real table; a column that does not vary there is left out by `groups`.
    groups : dict of str to array of int
        Columns of each feature group; ``channels`` with several channels; ``all`` = features.
    fs : float
        Sampling rate, Hz.
    """

    mean: Array
    sd: Array
    groups: dict[str, Index]
    fs: float

    @staticmethod
    def fit(real: Sample, n_channels: int, fs: float) -> "Scale":
        sd = real.table.std(axis=0, ddof=1)
        # rounding alone makes a constant column vary by about 1e-15 of its size
        varies = sd > 1e-9 * (1 + np.abs(real.table.mean(axis=0)))
        names = [feature.group for feature in FEATURES.values()] * n_channels
        names += ["channels"] * (real.table.shape[1] - len(names))
        columns = np.array(names)
        groups = {name: np.flatnonzero((columns == name) & varies) for name in dict.fromkeys(names)}
        groups["all"] = np.flatnonzero((columns != "channels") & varies)
        used = {name: rows for name, rows in groups.items() if len(rows)}
        return Scale(real.table.mean(axis=0), np.where(varies, sd, 1.0), used, fs)

    def apply(self, table: Array) -> Array:
        return (table - self.mean) / self.sd


def describe(signals: SignalArray, fs: float, subject: NDArray[np.str_]) -> Sample:
    """Features, channel correlations and spectra of segments, (n_segments, n_channels, n_times)."""
    n_segments, n_channels, n_times = signals.shape
    features = feature_table(signals, fs).reshape(n_segments, n_channels * len(FEATURES))
    pairs = np.triu_indices(n_channels, 1)
    between = np.empty((n_segments, 2 * len(pairs[0])))
    psd: list[Array] = []
    step = max(1, (1 << 19) // (n_channels * n_times))
    for start in range(0, max(1, n_segments), step):  # once even when empty, for the shapes
        block = np.asarray(signals[start : start + step], dtype=np.float64)
        psd.append(segment_psd(block, fs)[1])
        if n_channels > 1:
            both = [_correlations(block, pairs), _correlations(envelope(block, fs), pairs)]
            between[start : start + step] = np.concatenate(both, axis=1)
    return Sample(np.concatenate([features, between], axis=1), np.concatenate(psd), subject)


def _correlations(signals: Array, pairs: tuple[Index, Index]) -> Array:
    centred = signals - signals.mean(axis=-1, keepdims=True)
    norm = np.sqrt(np.sum(centred**2, axis=-1, keepdims=True))
    unit = centred / np.maximum(norm, 1e-20)
    result: Array = np.einsum("nct,ndt->ncd", unit, unit, optimize=True)[:, pairs[0], pairs[1]]
    return result


# ---- one comparison: value, and its bootstrap ----


@dataclass(frozen=True)
class Comparison:
    """Metrics of `b` against the reference `a`.

    Parameters
    ----------
    values : dict of Key to float
        The metrics.
    draws : dict of Key to array, (2 · n_pairs,)
        Deviations that other people would make (`spread_of`); empty without `halves`.
    p : float or None
        Permutation p-value of MMD².
    """

    values: dict[Key, float]
    draws: dict[Key, Array]
    p: float | None


def compare(
    a: Sample,
    b: Sample,
    scale: Scale,
    *,
    seed: int,
    halves: tuple[Index, Index] | None = None,
    c2st: bool = True,
) -> Comparison:
    """Every metric between two samples of equal size.

    Parameters
    ----------
    a : Sample
        The reference (real).
    b : Sample
        What is judged, as many segments as `a`.
    scale : Scale
        Real means and standard deviations of the task.
    seed : int
        For the folds, the forest and the permutations.
    halves : two arrays of int, (2, n_pairs, n // 2)
        Rows of `a` and of `b` in halves and their complements, of `SubjectHalves`.
    c2st : bool
        Whether to train the classifiers, the slow part.
    """
    left, right = scale.apply(a.table), scale.apply(b.table)
    every = scale.groups["all"]
    values, seen = _values(a, b, left, right, scale, halves)
    p = _p_of_no_difference(a, b, left[:, every], right[:, every], seed)
    if c2st:
        for group in C2ST_GROUPS:
            columns = scale.groups.get(group)
            if columns is None:
                continue
            won = wins(*c2st_scores(left[:, columns], right[:, columns], seed))
            values[group, "c2st"] = float(won.mean())
            if halves is not None:
                seen[group, "c2st"] = _areas(won, halves)
    return Comparison(values, _spreads(values, seen, a, b, seed), p)


def distances(a: Sample, b: Sample, scale: Scale) -> dict[Key, float]:
    """The values of `compare` but for its classifiers."""
    return _values(a, b, scale.apply(a.table), scale.apply(b.table), scale, None)[0]


def _values(
    a: Sample,
    b: Sample,
    left: Array,
    right: Array,
    scale: Scale,
    halves: tuple[Index, Index] | None,
) -> tuple[dict[Key, float], dict[Key, tuple[Array, Array]]]:
    """All but classifiers, of the samples and in their halves."""
    values = _one_by_one(left, right, scale) | _spectra(_mean(a.psd), _mean(b.psd), scale)
    seen = {} if halves is None else _in_halves(a, b, left, right, scale, halves)
    every = scale.groups["all"]
    _add_joint(left[:, every], right[:, every], halves, values, seen)
    return values, seen


def _degrees(a: Sample, b: Sample) -> float:
    """Degrees of freedom: those of one side, and more where the other has subjects of its own."""
    return (_BOTH_SIDES if _apart(a, b) else 1.0) * _of_one_side(a, b)


def _of_one_side(a: Sample, b: Sample) -> int:
    """Contrasts between subjects of the side with fewer; unnamed segments are each their own."""
    return max(1, min(_n_own(a), _n_own(b)) - 1)


def _apart(a: Sample, b: Sample) -> bool:
    """Whether both name several subjects, and none of them is in both."""
    one, two = (set(each.subject.tolist()) for each in (a, b))
    return min(len(one), len(two)) > 1 and not one & two


def _pairs(a: Sample, b: Sample) -> int:
    """How many pairs of people an area under a curve rests on."""
    n_contrasts = (2 if _apart(a, b) else 1) * _of_one_side(a, b)
    return min(_n_own(a) * _n_own(b), _PAIRS * n_contrasts)


def _n_own(sample: Sample) -> int:
    """Subjects, or segments where they name nobody."""
    n = len(set(sample.subject.tolist()))
    return len(sample) if n == 1 else n


def _mean(psd: Array) -> Array:
    result: Array = psd.mean(axis=0)
    return result


def _one_by_one(left: Array, right: Array, scale: Scale) -> dict[Key, float]:
    """Distances feature by feature."""
    distances = w1_distances(left, right)
    values = {(g, "w1"): float(distances[c].mean()) for g, c in scale.groups.items() if g != "all"}
    every = scale.groups["all"]
    values["all", "ks"] = ks_distance(left[:, every], right[:, every])
    return values


def _spectra(one: Array, two: Array, scale: Scale) -> dict[Key, float]:
    frequencies = np.linspace(0.0, scale.fs / 2, one.shape[-1])
    return {
        ("spectral", "lsd"): spectral_distance(two, one, frequencies, scale.fs),
        ("spectral", "acd"): autocorrelation_distance(two, one),
    }


def _in_halves(
    a: Sample, b: Sample, left: Array, right: Array, scale: Scale, halves: tuple[Index, Index]
) -> dict[Key, tuple[Array, Array]]:
    """Distances feature by feature and of spectra in each half and its complement."""
    sides: list[dict[Key, Array]] = []
    for rows_a, rows_b in zip(*halves, strict=True):
        mean_a, mean_b = (
            _counts(rows, len(each)) @ each.psd.reshape(len(each), -1) / rows.shape[1]
            for rows, each in ((rows_a, a), (rows_b, b))
        )
        shape = a.psd.shape[1:]
        drawn = [
            _one_by_one(left[ra], right[rb], scale)
            | _spectra(one.reshape(shape), two.reshape(shape), scale)
            for ra, rb, one, two in zip(rows_a, rows_b, mean_a, mean_b, strict=True)
        ]
        sides.append({key: np.array([one[key] for one in drawn]) for key in drawn[0]})
    return {key: (sides[0][key], sides[1][key]) for key in sides[0]}


def _add_joint(
    left: Array,
    right: Array,
    halves: tuple[Index, Index] | None,
    values: dict[Key, float],
    seen: dict[Key, tuple[Array, Array]],
) -> None:
    """MMD², recall and coverage."""
    n = len(left)
    kernel = gaussian_kernel(np.concatenate([left, right]))
    ones = np.r_[np.ones(n), np.zeros(len(right))][None]
    values["all", "mmd2"] = float(weighted_mmd2(kernel, ones, 1 - ones)[0])
    shares = {"recall": recall, "coverage": coverage}
    for name, inside in shares.items():
        values["all", name] = float(inside(left, right).mean())
    if halves is None:
        return
    kernels = []
    found: dict[str, list[Array]] = {name: [] for name in shares}
    for rows_a, rows_b in zip(*halves, strict=True):
        own, other = _counts(rows_a, n), _counts(rows_b, len(right))
        zeros = np.zeros_like
        kernels.append(weighted_mmd2(kernel, np.c_[own, zeros(other)], np.c_[zeros(own), other]))
        for name, inside in shares.items():
            pairs = zip(rows_a, rows_b, strict=True)
            found[name].append(np.array([inside(left[ra], right[rb]).mean() for ra, rb in pairs]))
    seen["all", "mmd2"] = kernels[0], kernels[1]
    for name, (one, two) in found.items():
        seen["all", name] = one, two


def _p_of_no_difference(a: Sample, b: Sample, left: Array, right: Array, seed: int) -> float:
    """On a scale fitted to both sides: one that fits one side better could not be permuted."""
    both = np.concatenate([left, right])
    kernel = gaussian_kernel(both / np.maximum(both.std(axis=0), 1e-12))
    rng = np.random.default_rng(seed)
    return permutation_p(kernel, len(a), rng, subject=(a.subject, b.subject))


def _areas(won: Array, halves: tuple[Index, Index]) -> tuple[Array, Array]:
    """AUC between the halves, of scores that stay as they are."""
    one, two = (
        np.einsum("ki,ij,kj->k", _counts(ra, len(won)), won, _counts(rb, won.shape[1]),
                  optimize=True) / (ra.shape[1] * rb.shape[1])
        for ra, rb in zip(*halves, strict=True)
    )  # fmt: skip
    return one, two


# The forests behind an area under a curve would be others with other people. What that adds to the
# variance is between nothing and the k / (k − 1) of Nadeau & Bengio (2003, doi
# 10.1023/A:1024068626366) for k folds. That, and on how many pairs of people to one contrast an
# area rests, were chosen by simulation (benchmarks/calibration.py --c2st).
_RETRAINED, _PAIRS = 1.15, 5


# Between one and two sides' degrees of freedom, as Satterthwaite (1946, doi 10.2307/3002019) has it
# for a sum of variances that need not be equal; chosen by the same simulation.
_BOTH_SIDES = 1.4

# An area takes half a pair of people of either kind, as Jeffreys' prior. A share of segments is
# one of people: it takes the two of either kind of Agresti & Coull (1998, doi
# 10.1080/00031305.1998.10480550), without which intervals of six people held the truth in 88 to
# 94 % (benchmarks/calibration.py).
_PRIOR = {"c2st": 0.5, "recall": 2.0, "coverage": 2.0}

# How much of what does not add up over subjects counts (`halves`): nothing where a metric is not
# bent at zero, and less for a largest difference than for a mean one.
_BEYOND = {"mmd2": 0.0, "recall": 0.0, "coverage": 0.0, "c2st": 0.0, "ks": 0.25}


def _spreads(
    values: dict[Key, float], seen: dict[Key, tuple[Array, Array]], a: Sample, b: Sample, seed: int
) -> dict[Key, Array]:
    """A share of 0 or 1 has no spread in any half: it gets what one person more or less would make.

    The area under a curve is the share of pairs of people that are told apart.

    Source: Jeffreys' prior, as in Brown et al. (2001), doi:10.1214/ss/1009213286.
    """
    rng = np.random.default_rng([seed, 1])
    degrees = _degrees(a, b)
    draws = {}
    for key, (one, two) in seen.items():
        metric, least = key[1], 0.0
        if metric in _PRIOR:
            n = _pairs(a, b) if metric == "c2st" else _of_one_side(a, b)
            share = (n * values[key] + _PRIOR[metric]) / (n + 2 * _PRIOR[metric])
            least = float(np.sqrt(share * (1 - share) / (n + 2)))
        beyond = _BEYOND.get(metric, 0.5)
        draws[key] = spread_of(one, two, degrees, rng, beyond=beyond, least_sd=least)
        if metric == "c2st":
            draws[key] *= _RETRAINED
    return draws


def _counts(rows: Index, n: int) -> Array:
    result: Array = np.stack([np.bincount(row, minlength=n) for row in rows]).astype(float)
    return result


def effort_response(asked: Array, log_rms: Array) -> tuple[float, float]:
    """Slope and R² of the log RMS obtained on the log RMS asked for.

    Parameters
    ----------
    asked, log_rms : array, (n_segments,)
        Natural logarithms of volts.
    """
    x, y = asked - asked.mean(), log_rms - log_rms.mean()
    xx, yy, xy = x @ x, y @ y, x @ y
    if xx == 0 or yy == 0:
        return float("nan"), float("nan")
    return float(xy / xx), float(xy**2 / (xx * yy))
