"""How descriptors of segments are distributed, given a task and conditions: in numpy, to draw."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp, ndtri
from torch import Tensor

__all__ = ["DescriptorDensity", "plain"]

Array = NDArray[np.float64]
Index = NDArray[np.intp]
Known = NDArray[np.bool_]

_FARTHEST = 3.0  # spreads of conditions within a group that a slope is followed


@dataclass(frozen=True)
class DescriptorDensity:
    """How descriptors are distributed, given a task and conditions; see `Descriptors`.

    Parameters
    ----------
    group_task, group_share : array, (n_groups,)
        Task of each group, and its share of the task.
    group_features, group_mean : array, (n_groups, n_features), (n_groups, n)
        Means of conditions and descriptors.
    covariance, slope, spread : array, (n_tasks, n_features, n_features), (…, n_features, n), (…, n)
        Within groups: covariance of conditions; what they move; and how much is left to chance.
    factors, rest : array, (n, n_factors), (n,)
        Correlations of chance: factorsᵀ, and variances beside them.
    """

    group_task: Index
    group_share: Array
    group_features: Array
    group_mean: Array
    covariance: Array
    slope: Array
    spread: Array
    factors: Array
    rest: Array

    @property
    def n_axes(self) -> int:
        """Length of the place that `draw` takes."""
        return 1 + sum(self.factors.shape)

    def draw(
        self,
        task_id: int,
        features: NDArray[np.float32],
        known: Known,
        rng: np.random.Generator,
        place: Array | None = None,
    ) -> Array:
        """Descriptors (n,) for conditions (n_features,); the null task is all tasks mixed.

        `place` (n_axes,), within 0 to 1, says where in the density to draw from; conditions that
        are missing are drawn at random.
        """
        place = rng.random(self.n_axes) if place is None else place
        groups, away, logs = self._away(task_id, features.astype(np.float64)[None], known)
        shares = np.exp(logs[0] - logsumexp(logs[0])).cumsum()
        k = min(int(np.searchsorted(shares, place[0])), len(groups) - 1)
        group, off = groups[k], away[0, k]
        task = self.group_task[group]
        if not known.all():
            _, spread = _conditional(self.covariance[task], known)
            off[~known] = rng.multivariate_normal(off[~known], spread)
        common, own = np.split(ndtri(place[1:]), [self.factors.shape[1]])
        chance = self.factors @ common + np.sqrt(self.rest) * own
        drawn: Array = self._centre(group, off) + self.spread[task] * chance
        return drawn

    def surprise(
        self, task_id: Index, features: NDArray[np.float32], known: Known, descriptors: Tensor
    ) -> Array:
        """−2 ln of the density of descriptors (B, n) up to a constant of the task, (B,), ≥ 0.

        `task_id` is (B,), without the null task, and `features` and `known` are (B, n_features).
        Conditions that are missing are taken as what the known ones let expect.
        """
        given, own = features.astype(np.float64), plain(descriptors)
        # (F Fᵀ + R)⁻¹ by Woodbury's identity, F being narrow
        narrow = self.factors / self.rest[:, None]
        inner = np.linalg.inv(np.eye(self.factors.shape[1]) + self.factors.T @ narrow)
        result = np.empty(len(own))
        patterns = np.unique(np.column_stack([task_id, known]), axis=0)
        for pattern in patterns:
            task, there = int(pattern[0]), pattern[1:].astype(bool)
            rows = np.flatnonzero((task_id == task) & (known == there).all(1))
            groups, away, logs = self._away(task, given[rows], there)
            distances = np.empty(logs.shape)
            for place, group in enumerate(groups):
                left = (own[rows] - self._centre(group, away[:, place])) / self.spread[task]
                inside = left @ narrow
                distances[:, place] = np.square(left) @ (1 / self.rest)
                distances[:, place] -= np.einsum("bi,ij,bj->b", inside, inner, inside)
            logs -= logsumexp(logs, axis=1, keepdims=True)
            result[rows] = -2 * logsumexp(logs - 0.5 * distances, axis=1)
        return result.clip(0)

    def _centre(self, group: np.intp, away: Array) -> Array:
        """Mean descriptors of a group under conditions (…, n_features) off its mean."""
        task = self.group_task[group]
        reach = _FARTHEST * np.sqrt(np.diagonal(self.covariance[task]))
        centre: Array = self.group_mean[group] + away.clip(-reach, reach) @ self.slope[task]
        return centre

    def _away(self, task_id: int, given: Array, known: Known) -> tuple[Index, Array, Array]:
        """Groups that conditions (B, n_features) may come from; how far off they are; log odds."""
        every = task_id == len(self.slope)
        groups = np.flatnonzero((self.group_task == task_id) | every)
        away = given[:, None] - self.group_features[groups]
        logs = np.log(self.group_share[groups]) * np.ones((len(given), 1))
        for task in np.unique(self.group_task[groups]):
            at = self.group_task[groups] == task
            inner = self.covariance[task][np.ix_(known, known)]
            off = away[:, at][..., known]
            distance = np.einsum("bki,ij,bkj->bk", off, np.linalg.inv(inner), off)
            logs[:, at] -= 0.5 * (distance + np.linalg.slogdet(inner)[1])
            if not known.all():
                gain, _ = _conditional(self.covariance[task], known)
                filled = away[:, at]
                filled[..., ~known] = off @ gain.T
                away[:, at] = filled
        return groups, away, logs


def _conditional(covariance: Array, known: Known) -> tuple[Array, Array]:
    """How unknown conditions follow known ones, and the covariance that is left to them."""
    inner, cross = covariance[np.ix_(known, known)], covariance[np.ix_(~known, known)]
    gain = cross @ np.linalg.inv(inner)
    return gain, covariance[np.ix_(~known, ~known)] - gain @ cross.T


def plain(tensor: Tensor) -> Array:
    """As float64 on the CPU."""
    values: Array = tensor.double().cpu().numpy()
    return values
