"""Distances of two samples of equal size, given as standardised tables (n, d) or spectra."""

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft
from scipy.spatial.distance import cdist
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.model_selection import StratifiedKFold

from myosynth.signal.features import band_limits

__all__ = [
    "autocorrelation_distance",
    "c2st_auc",
    "c2st_scores",
    "coverage",
    "gaussian_kernel",
    "ks_distance",
    "mmd_permutation",
    "permutation_p",
    "recall",
    "spectral_distance",
    "w1_distances",
    "weighted_mmd2",
    "wins",
]

Array = NDArray[np.float64]
Text = NDArray[np.str_]

K_NEAREST = 5
N_LAGS = 64
MMD_WIDTHS = (0.25, 1.0, 4.0)
N_TREES = 60
_KNN_BLOCK = 512
_MIN_CLUSTERS = 4


def w1_distances(a: Array, b: Array) -> Array:
    """1-Wasserstein distance of each column; equal sizes make it a mean over sorted pairs."""
    result: Array = np.mean(np.abs(np.sort(a, axis=0) - np.sort(b, axis=0)), axis=0)
    return result


def ks_distance(a: Array, b: Array) -> float:
    both = np.concatenate([a, b])
    order = np.argsort(both, axis=0, kind="stable")
    ordered = np.take_along_axis(both, order, axis=0)
    steps = np.cumsum(np.where(order < len(a), 1.0, -1.0), axis=0) / len(a)
    # inside a run of equal values the difference is not defined
    last = np.concatenate([ordered[1:] != ordered[:-1], np.ones((1, a.shape[1]), dtype=bool)])
    return float(np.max(np.abs(steps) * last, axis=0).mean())


def spectral_distance(one: Array, two: Array, frequencies: Array, fs: float) -> float:
    top = min(450.0, float(band_limits(fs)[-1]))
    inside = (frequencies >= 20.0) & (frequencies <= top)
    decibels = 10 * np.log10((one[:, inside] + 1e-24) / (two[:, inside] + 1e-24))
    return float(np.sqrt(np.mean(decibels**2, axis=-1)).mean())


def autocorrelation_distance(one: Array, two: Array) -> float:
    """Autocorrelations by the Wiener–Khinchin theorem from the mean spectra."""
    difference = _autocorrelation(one) - _autocorrelation(two)
    return float(np.sqrt(np.sum(difference**2, axis=-1)).mean())


def _autocorrelation(psd: Array) -> Array:
    two_sided = psd.copy()
    two_sided[..., 1:] /= 2
    r = irfft(two_sided, axis=-1)
    result: Array = r[..., :N_LAGS] / np.maximum(r[..., :1], 1e-300)
    return result


def gaussian_kernel(both: Array) -> Array:
    """Mean of three Gaussian kernels whose widths are multiples of the median distance.

    Source: Gretton et al. (2012), Journal of Machine Learning Research 13, 723–773.
    """
    squares = cdist(both, both, "sqeuclidean")
    median = max(float(np.median(squares[np.triu_indices(len(both), 1)])), 1e-12)
    kernels = [np.exp(-squares / (2 * width**2 * median)) for width in MMD_WIDTHS]
    result: Array = np.mean(kernels, axis=0)
    np.fill_diagonal(result, 0.0)
    return result


def weighted_mmd2(kernel: Array, left: Array, right: Array) -> Array:
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
    return permutation_p(gaussian_kernel(np.concatenate([a, b])), len(a), rng, n)


def permutation_p(
    kernel: Array,
    n_left: int,
    rng: np.random.Generator,
    n: int = 199,
    subject: tuple[Text, Text] | None = None,
) -> float:
    """Share of permutations whose MMD² is as large.

    Segments of one person are alike, so that people change sides as a whole where both sides name
    at least four and no one is on both (Pesarin & Salmaso 2010, section 1.4: what is permuted must
    be exchangeable); segments do otherwise.
    """
    unit = np.arange(len(kernel))
    if subject is not None:
        one, two = (set(side.tolist()) for side in subject)
        if min(len(one), len(two)) >= _MIN_CLUSTERS and not one & two:
            unit = np.unique(np.concatenate(subject), return_inverse=True)[1]
    side = np.zeros(int(unit.max()) + 1)
    side[unit[:n_left]] = 1
    sides = np.concatenate([side[None], rng.permuted(np.tile(side, (n, 1)), axis=1)])
    left = sides[:, unit]
    values = weighted_mmd2(kernel, left, 1 - left)
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


def c2st_scores(a: Array, b: Array, seed: int) -> tuple[Array, Array]:
    x = np.concatenate([a, b])
    y = np.r_[np.zeros(len(a), dtype=int), np.ones(len(b), dtype=int)]
    scores = np.empty(len(x))
    folds = StratifiedKFold(min(5, len(a), len(b)), shuffle=True, random_state=seed)
    for train, test in folds.split(x, y):
        forest = ExtraTreesClassifier(N_TREES, min_samples_leaf=2, random_state=seed)
        scores[test] = forest.fit(x[train], y[train]).predict_proba(x[test])[:, 1]
    return scores[: len(a)], scores[len(a) :]


def wins(a: Array, b: Array) -> Array:
    """(n_a, n_b): 1 where b scores above a, ½ at ties; its mean is the AUC."""
    result: Array = (b[None, :] > a[:, None]) + 0.5 * (b[None, :] == a[:, None])
    return result


def c2st_auc(a: Array, b: Array, *, seed: int) -> float:
    """Classifier two-sample test: AUC of a forest over 5 folds.

    Source: Lopez-Paz & Oquab (2017), arXiv:1610.06545.
    """
    return float(wins(*c2st_scores(a, b, seed)).mean())
