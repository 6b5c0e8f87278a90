"""Distances between two samples of segments of one task, and their bootstrap.

Every distance here depends on the sample sizes when the two samples are alike (a Wasserstein
distance shrinks like 1/√n, a classifier gains from more examples), so that the two samples of a
comparison, and all comparisons on one axis, must have the same size n.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft
from scipy.spatial.distance import cdist
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.model_selection import StratifiedKFold

from myosynth.recordings import SignalArray
from myosynth.signal.features import FEATURES, band_limits, envelope, feature_table, segment_psd

__all__ = [
    "METRICS",
    "Comparison",
    "Metric",
    "Sample",
    "Scale",
    "c2st_auc",
    "compare",
    "coverage",
    "describe",
    "effort_response",
    "mmd_permutation",
    "recall",
]

Array = NDArray[np.float64]
Index = NDArray[np.intp]
Key = tuple[str, str]
"""(group, metric) of a row."""

K_NEAREST = 5
N_LAGS = 64
MMD_WIDTHS = (0.25, 1.0, 4.0)
C2ST_GROUPS = ("all", "time", "higher_order")
N_TREES = 60
_KNN_BLOCK = 512


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


# ---- distances of equal samples; a and b are standardised tables (n, d) ----


def _w1(a: Array, b: Array) -> Array:
    """1-Wasserstein distance of each column; equal sizes make it a mean over sorted pairs."""
    result: Array = np.mean(np.abs(np.sort(a, axis=0) - np.sort(b, axis=0)), axis=0)
    return result


def _ks(a: Array, b: Array) -> float:
    both = np.concatenate([a, b])
    order = np.argsort(both, axis=0, kind="stable")
    ordered = np.take_along_axis(both, order, axis=0)
    steps = np.cumsum(np.where(order < len(a), 1.0, -1.0), axis=0) / len(a)
    # inside a run of equal values the difference is not defined
    last = np.concatenate([ordered[1:] != ordered[:-1], np.ones((1, a.shape[1]), dtype=bool)])
    return float(np.max(np.abs(steps) * last, axis=0).mean())


def _lsd(one: Array, two: Array, frequencies: Array, fs: float) -> float:
    top = min(450.0, float(band_limits(fs)[-1]))
    inside = (frequencies >= 20.0) & (frequencies <= top)
    decibels = 10 * np.log10((one[:, inside] + 1e-24) / (two[:, inside] + 1e-24))
    return float(np.sqrt(np.mean(decibels**2, axis=-1)).mean())


def _acd(one: Array, two: Array) -> float:
    """Autocorrelations by the Wiener–Khinchin theorem from the mean spectra."""
    difference = _autocorrelation(one) - _autocorrelation(two)
    return float(np.sqrt(np.sum(difference**2, axis=-1)).mean())


def _autocorrelation(psd: Array) -> Array:
    two_sided = psd.copy()
    two_sided[..., 1:] /= 2
    r = irfft(two_sided, axis=-1)
    result: Array = r[..., :N_LAGS] / np.maximum(r[..., :1], 1e-300)
    return result


def _kernel(both: Array) -> Array:
    """Mean of three Gaussian kernels whose widths are multiples of the median distance.

    Source: Gretton et al. (2012), Journal of Machine Learning Research 13, 723–773.
    """
    squares = cdist(both, both, "sqeuclidean")
    median = max(float(np.median(squares[np.triu_indices(len(both), 1)])), 1e-12)
    kernels = [np.exp(-squares / (2 * width**2 * median)) for width in MMD_WIDTHS]
    result: Array = np.mean(kernels, axis=0)
    np.fill_diagonal(result, 0.0)
    return result


def _mmd2(kernel: Array, left: Array, right: Array) -> Array:
    """Unbiased MMD² for rows of weights (n_draws, n_both); the kernel's diagonal is zero.

    Gretton et al. (2012), eq. 3, with weights instead of ones.
    """

    def mean(u: Array, v: Array, same: bool) -> Array:
        total = np.sum((u @ kernel) * v, axis=1)
        pairs = u.sum(axis=1) * v.sum(axis=1) - (np.sum(u * v, axis=1) if same else 0.0)
        # a resample of one single segment has no pairs and no distances either
        result: Array = total / np.maximum(pairs, 1.0)
        return result

    result: Array = mean(left, left, True) + mean(right, right, True) - 2 * mean(left, right, False)
    return result


def mmd_permutation(a: Array, b: Array, rng: np.random.Generator, n: int = 199) -> float:
    """Permutation p-value of MMD² = 0 for standardised tables; uniform when both are alike."""
    kernel = _kernel(np.concatenate([a, b]))
    return _permutation_p(kernel, len(a), rng, n)


def _permutation_p(kernel: Array, n_left: int, rng: np.random.Generator, n: int = 199) -> float:
    left = np.zeros((n + 1, len(kernel)))
    left[0, :n_left] = 1
    left[1:] = rng.permuted(np.broadcast_to(left[0], (n, len(kernel))), axis=1)
    values = _mmd2(kernel, left, 1 - left)
    return float(np.mean(values >= values[0] - 1e-15))


def _radii(points: Array) -> Array:
    k = min(K_NEAREST, len(points) - 1)
    return np.concatenate([np.partition(cdist(b, points), k)[:, k] for b in _blocks(points)])


def recall(real: Array, synthetic: Array) -> NDArray[np.bool_]:
    """Whether each real point lies in the 5-neighbour ball of a synthetic one.

    Source: Kynkäänniemi et al. (2019), arXiv:1904.06991.
    """
    radii = _radii(synthetic)
    blocks = [np.any(cdist(block, synthetic) <= radii, axis=1) for block in _blocks(real)]
    return np.concatenate(blocks)


def coverage(real: Array, synthetic: Array) -> NDArray[np.bool_]:
    """Whether each real point has a synthetic one within its own 5-neighbour ball.

    Source: Naeem et al. (2020), arXiv:2002.09797.
    """
    nearest = np.concatenate([cdist(b, synthetic).min(axis=1) for b in _blocks(real)])
    result: NDArray[np.bool_] = nearest <= _radii(real)
    return result


def _blocks(points: Array) -> list[Array]:
    return [points[i : i + _KNN_BLOCK] for i in range(0, len(points), _KNN_BLOCK)]


def _c2st_scores(a: Array, b: Array, seed: int, n_jobs: int) -> tuple[Array, Array]:
    x = np.concatenate([a, b])
    y = np.r_[np.zeros(len(a), dtype=int), np.ones(len(b), dtype=int)]
    scores = np.empty(len(x))
    folds = StratifiedKFold(min(5, len(a), len(b)), shuffle=True, random_state=seed)
    for train, test in folds.split(x, y):
        forest = ExtraTreesClassifier(N_TREES, min_samples_leaf=2, random_state=seed, n_jobs=n_jobs)
        scores[test] = forest.fit(x[train], y[train]).predict_proba(x[test])[:, 1]
    return scores[: len(a)], scores[len(a) :]


def _wins(a: Array, b: Array) -> Array:
    """(n_a, n_b): 1 where b scores above a, ½ at ties; its mean is the AUC."""
    result: Array = (b[None, :] > a[:, None]) + 0.5 * (b[None, :] == a[:, None])
    return result


def c2st_auc(a: Array, b: Array, *, seed: int, n_jobs: int = 1) -> float:
    """Classifier two-sample test: AUC of a forest over 5 folds.

    Source: Lopez-Paz & Oquab (2017), arXiv:1610.06545.
    """
    return float(_wins(*_c2st_scores(a, b, seed, n_jobs)).mean())


# ---- one comparison: value, and its bootstrap ----


@dataclass(frozen=True)
class Comparison:
    """Metrics of `b` against the reference `a`.

    Parameters
    ----------
    values : dict of Key to float
        The metrics.
    draws : dict of Key to array, (n_bootstrap,)
        The same on resampled segments; empty without `index`.
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
    index: tuple[Index, Index] | None = None,
    n_jobs: int = 1,
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
    index : two arrays of int, (n_bootstrap, n)
        Resampled rows of `a` and of `b`.
    n_jobs : int
        Threads of the forest.
    c2st : bool
        Whether to train the classifiers, the slow part.
    """
    left, right = scale.apply(a.table), scale.apply(b.table)
    frequencies = np.linspace(0.0, scale.fs / 2, a.psd.shape[-1])

    def cheap(ra: Index | slice, rb: Index | slice) -> dict[Key, float]:
        distances = _w1(left[ra], right[rb])
        values = {
            (g, "w1"): float(distances[c].mean()) for g, c in scale.groups.items() if g != "all"
        }
        values["all", "ks"] = _ks(left[ra][:, every], right[rb][:, every])
        mean_a, mean_b = a.psd[ra].mean(axis=0), b.psd[rb].mean(axis=0)
        values["spectral", "lsd"] = _lsd(mean_b, mean_a, frequencies, scale.fs)
        values["spectral", "acd"] = _acd(mean_b, mean_a)
        return values

    every = scale.groups["all"]
    values = cheap(slice(None), slice(None))
    draws: dict[Key, Array] = {}
    if index is not None:
        drawn = [cheap(ra, rb) for ra, rb in zip(*index, strict=True)]
        draws = {key: np.array([one[key] for one in drawn]) for key in values}
    counts = None if index is None else (_counts(index[0], len(a)), _counts(index[1], len(b)))
    # segments that name nobody are each their own
    n_subjects = len(np.unique(a.subject)) if np.any(a.subject != "") else len(a)
    joint = left[:, every], right[:, every]
    p = _add_joint(*joint, seed, counts, n_subjects, values, draws)
    if c2st:
        for group in C2ST_GROUPS:
            columns = scale.groups.get(group)
            if columns is None:
                continue
            wins = _wins(*_c2st_scores(left[:, columns], right[:, columns], seed, n_jobs))
            values[group, "c2st"] = float(wins.mean())
            if counts is not None:
                wa, wb = counts[0] / len(a), counts[1] / len(b)
                draws[group, "c2st"] = np.sum((wa @ wins) * wb, axis=1)
    return Comparison(values, draws, p)


def _add_joint(
    left: Array,
    right: Array,
    seed: int,
    counts: tuple[Array, Array] | None,
    n_subjects: int,
    values: dict[Key, float],
    draws: dict[Key, Array],
) -> float:
    """MMD², recall and coverage; returns the permutation p of the first.

    Recall and coverage are resampled on the real side only: repeated synthetic points would
    shrink their neighbour balls to nothing.
    """
    kernel = _kernel(np.concatenate([left, right]))
    ones = np.r_[np.ones(len(left)), np.zeros(len(right))][None]
    values["all", "mmd2"] = float(_mmd2(kernel, ones, 1 - ones)[0])
    inside = {"recall": recall(left, right), "coverage": coverage(left, right)}
    for name, hits in inside.items():
        values["all", name] = float(hits.mean())
    if counts is not None:
        zeros = np.zeros_like
        draws["all", "mmd2"] = _mmd2(
            kernel,
            np.concatenate([counts[0], zeros(counts[1])], axis=1),
            np.concatenate([zeros(counts[0]), counts[1]], axis=1),
        )
        rng = np.random.default_rng([seed, 1])
        for name, hits in inside.items():
            draws["all", name] = _shares(counts[0] @ hits / len(left), n_subjects, rng)
    return _permutation_p(kernel, len(left), np.random.default_rng(seed))


def _shares(drawn: Array, n_subjects: int, rng: np.random.Generator) -> Array:
    """Resampled shares, each with the spread that one person more or less inside would make.

    Resampling alone gives a share of 0 or 1 no spread at all, and knows nothing of the synthetic
    side. Source: Jeffreys' prior, as in Brown et al. (2001), doi:10.1214/ss/1009213286.
    """
    result: Array = rng.beta(n_subjects * drawn + 0.5, n_subjects * (1 - drawn) + 0.5)
    return result


def _counts(index: Index, n: int) -> Array:
    result: Array = np.stack([np.bincount(rows, minlength=n) for rows in index]).astype(float)
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
