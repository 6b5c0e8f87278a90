"""What a sample is conditioned on: task, effort and further columns, as numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from sklearn.mixture import GaussianMixture

from myosynth.errors import InputError
from myosynth.recordings import SegmentSet

__all__ = ["Conditions", "EffortDensity", "columns_of", "overall_effort"]

Array = NDArray[np.float64]

_MOST_COMPONENTS = 8
_SEGMENTS_PER_COMPONENT = 12
_LEAST_VARIANCE = 1e-4  # one percent of amplitude: narrower is not a density but a list


def overall_effort(effort: Array) -> Array:
    """Log RMS over all channels, ln V, from that of each channel (…, n_channels)."""
    result: Array = 0.5 * np.log(np.mean(np.exp(2 * effort), axis=-1))
    return result


@dataclass(frozen=True)
class EffortDensity:
    """How effort is distributed within a task: a mixture of Gaussians over channels.

    Parameters
    ----------
    weights : array, (K,)
        Sum to 1.
    means : array, (K, n_channels)
        ln V.
    factors : array, (K, n_channels, n_channels)
        Lower Cholesky factors of the covariances.
    low, high : float
        Smallest and largest overall effort seen in training, ln V.
    """

    weights: Array
    means: Array
    factors: Array
    low: float
    high: float

    @staticmethod
    def fit(efforts: Array, seed: int) -> "EffortDensity":
        """Fit on the training segments of a task, (n, n_channels); BIC chooses the components."""
        overall = overall_effort(efforts)
        most = min(_MOST_COMPONENTS, 1 + len(efforts) // _SEGMENTS_PER_COMPONENT)
        low, high = float(overall.min()), float(overall.max())
        if most == 1:
            covariance: Array = _LEAST_VARIANCE * np.eye(efforts.shape[1])
            if len(efforts) > 1:
                covariance += np.atleast_2d(np.cov(efforts.T))
            factor = np.asarray(np.linalg.cholesky(covariance), dtype=np.float64)
            return EffortDensity(np.ones(1), efforts.mean(0)[None], factor[None], low, high)
        fits = [
            GaussianMixture(
                k, reg_covar=_LEAST_VARIANCE, random_state=seed, n_init=2, max_iter=500, tol=1e-2
            ).fit(efforts)
            for k in range(1, most + 1)
        ]
        best = min(fits, key=lambda fit: fit.bic(efforts))
        factors = np.linalg.cholesky(best.covariances_)
        return EffortDensity(best.weights_, best.means_, factors, low, high)

    def draw(self, rng: np.random.Generator, place: Array | None = None) -> Array:
        """One effort vector (n_channels,) within the range seen in training.

        `place` (1 + n_channels,), within 0 to 1, says where in the density to draw from; what lies
        outside the range is drawn again at random.
        """
        for _ in range(100):
            if place is None:
                place = rng.random(1 + self.means.shape[1])
            k = min(int(np.searchsorted(np.cumsum(self.weights), place[0])), len(self.weights) - 1)
            effort: Array = self.means[k] + self.factors[k] @ ndtri(place[1:])
            if self.low <= overall_effort(effort) <= self.high:
                return effort
            place = None
        middle: Array = self.means[np.argmax(self.weights)]
        return middle

    def draw_at(self, overall: float, rng: np.random.Generator) -> Array:
        """One effort vector of the given overall effort: balance between channels drawn near it."""
        # of a handful of draws, the nearest one is moved the least
        drawn = np.stack([self.draw(rng) for _ in range(8)])
        at = overall_effort(drawn)
        nearest = int(np.argmin(np.abs(at - overall)))
        result: Array = drawn[nearest] + (overall - at[nearest])
        return result

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "weights": self.weights.tolist(),
            "means": self.means.tolist(),
            "factors": self.factors.tolist(),
            "low": self.low,
            "high": self.high,
        }

    @staticmethod
    def from_dict(content: Mapping[str, Any]) -> "EffortDensity":
        arrays = {name: np.array(content[name]) for name in ("weights", "means", "factors")}
        return EffortDensity(**arrays, low=float(content["low"]), high=float(content["high"]))


@dataclass(frozen=True)
class Conditions:
    """The vocabulary of conditions, fitted on the train split.

    Parameters
    ----------
    tasks : tuple of str
        Position is the task_id; the length stands for the null task.
    effort_mean, effort_std : array, (n_channels,)
        Of the training efforts over all tasks, ln V.
    efforts : dict of str to EffortDensity
        By task.
    columns : dict of str to list
        Further conditions: the categories (list of str), or [mean, std] of a number.
    """

    tasks: tuple[str, ...]
    effort_mean: Array
    effort_std: Array
    efforts: Mapping[str, EffortDensity]
    columns: Mapping[str, list[Any]]

    @staticmethod
    def fit(
        segments: SegmentSet,
        rows: NDArray[np.intp],
        efforts: Array,
        columns: Sequence[str],
        seed: int,
    ) -> "Conditions":
        """Fit on training rows and their efforts (n_rows, n_channels).

        Raises
        ------
        InputError
            If a column is not in the set, or holds no value.
        """
        task = segments.task[rows]
        tasks = tuple(sorted(set(task.tolist())))
        spread = np.maximum(efforts.std(axis=0), 0.05)
        densities = {name: EffortDensity.fit(efforts[task == name], seed) for name in tasks}
        fitted = {name: _fit_column(name, _column(segments, name)[rows]) for name in columns}
        return Conditions(tasks, efforts.mean(axis=0), spread, densities, fitted)

    @property
    def n_features(self) -> int:
        """Length of the vector that `features` makes."""
        extra = sum(2 if _is_number(spec) else len(spec) for spec in self.columns.values())
        return len(self.effort_mean) + extra

    def features(
        self,
        effort: Array,
        values: Mapping[str, NDArray[Any]] | None = None,
        *,
        strict: bool = True,
    ) -> NDArray[np.float32]:
        """Standardised efforts, then each column as one-hot or (value, 1); all 0 where missing.

        Parameters
        ----------
        effort : array, (n, n_channels)
            ln V.
        values : mapping of str to array, (n,)
            Values of the columns; those not given are missing.
        strict : bool
            Refuse a category that was not seen in training, instead of taking it as missing.

        Raises
        ------
        InputError
            If a category was not seen in training.
        """
        parts = [(effort - self.effort_mean) / self.effort_std]
        for name, spec in self.columns.items():
            given = (values or {}).get(name)
            width = 2 if _is_number(spec) else len(spec)
            block = np.zeros((len(effort), width))
            if given is not None:
                if _is_number(spec):
                    _fill_number(spec, given, block)
                else:
                    _fill_category(name, spec, given, block, strict)
            parts.append(block)
        return np.concatenate(parts, axis=1).astype(np.float32)

    def known(self, features: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Which numbers of feature vectors (n, n_features) are not missing."""
        known = np.ones(features.shape, dtype=bool)
        for where in self.slices():
            known[:, where] = features[:, where].any(axis=1, keepdims=True)
        return known

    def slices(self) -> list[slice]:
        """Where each further column lies in the feature vector."""
        at, found = len(self.effort_mean), []
        for spec in self.columns.values():
            width = 2 if _is_number(spec) else len(spec)
            found.append(slice(at, at + width))
            at += width
        return found

    def task_id(self, task: str | None) -> int:
        """Position of a task; the null task for None.

        Raises
        ------
        InputError
            If the model never saw the task.
        """
        if task is None:
            return len(self.tasks)
        if task not in self.tasks:
            raise InputError(f"the model knows the tasks {', '.join(self.tasks)}, not {task!r}")
        return self.tasks.index(task)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "tasks": list(self.tasks),
            "effort_mean": self.effort_mean.tolist(),
            "effort_std": self.effort_std.tolist(),
            "efforts": {name: density.to_dict() for name, density in self.efforts.items()},
            "columns": dict(self.columns),
        }

    @staticmethod
    def from_dict(content: Mapping[str, Any]) -> "Conditions":
        return Conditions(
            tuple(content["tasks"]),
            np.array(content["effort_mean"]),
            np.array(content["effort_std"]),
            {name: EffortDensity.from_dict(each) for name, each in content["efforts"].items()},
            dict(content["columns"]),
        )


def columns_of(segments: SegmentSet) -> dict[str, NDArray[Any]]:
    """What a model may be conditioned on: the subject, the session and further columns."""
    own = {"subject": segments.subject, "session": segments.session}
    return own | segments.columns | own  # a further column of the same name does not count


def _column(segments: SegmentSet, name: str) -> NDArray[Any]:
    has = columns_of(segments)
    if name not in has:
        known = ", ".join(has)
        raise InputError(f"the segments have no column {name!r} to condition on; they have {known}")
    return has[name]


def _is_number(spec: Sequence[Any]) -> bool:
    return bool(spec) and not isinstance(spec[0], str)


def _fit_column(name: str, values: NDArray[Any]) -> list[Any]:
    if values.dtype.kind == "f":
        known = values[np.isfinite(values)]
        if not len(known):
            raise InputError(f"column {name!r} holds no number in the train split")
        return [float(known.mean()), max(float(known.std()), 1e-9)]
    categories = sorted(set(values.tolist()) - {""})
    if not categories:
        raise InputError(f"column {name!r} holds no value in the train split")
    return categories


def _fill_number(spec: Sequence[Any], given: NDArray[Any], block: Array) -> None:
    numbers = np.asarray(given, dtype=np.float64)
    known = np.isfinite(numbers)
    block[known, 0] = (numbers[known] - spec[0]) / spec[1]
    block[known, 1] = 1.0


def _fill_category(
    name: str, spec: Sequence[Any], given: NDArray[Any], block: Array, strict: bool
) -> None:
    unknown = sorted(set(given.tolist()) - {*spec, ""})
    if unknown and strict:
        raise InputError(
            f"condition {name}: {unknown[0]!r} was not seen in training; take one of "
            f"{', '.join(spec)}"
        )
    for position, category in enumerate(spec):
        block[given == category, position] = 1.0
