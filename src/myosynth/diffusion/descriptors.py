"""What a segment is like as a whole, in a few numbers: drawn first, and its map then given them."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import logsumexp
from torch import Tensor, nn

__all__ = ["Descriptors"]

Array = NDArray[np.float64]
Index = NDArray[np.intp]

_RATIO = 1.4  # of neighbouring edges of the modulation bands
_POWER_FLOOR = 1e-3
_LEAST_VARIANCE = 1e-3  # of conditions within a group: a category is constant in most
_LEAST_STD = 0.1  # of a descriptor within a group; narrower is not a density but a list
_TO_NONE = 0.2  # how far correlations are drawn to none: what others of the same people fit best
_SEGMENTS_PER_GROUP = 4  # fewer on average say nothing of a group: then all are one
_MOST_FACTORS = 64


class Descriptors(nn.Module):
    """Measures descriptors on an envelope map, and holds how they are distributed.

    The descriptors of a segment and channel are the mean of each row of its envelope map (levels of
    the bands, and the texture) and the modulation spectrum: log power of the level over all bands
    by modulation frequency. Within a task those of a group (a subject) are normally distributed
    about the group's mean, which moves along a slope with the efforts and further conditions.
    Groups share slope and spread, and all tasks their correlations, kept as at most 64 factors and
    a variance of its own for each descriptor. So a draw is as varied within and between people as
    training segments are, which a network that was trained for some minutes does not reach.

    Parameters
    ----------
    n_channels, n_bands, n_rows, n_frames : int
        Channels, bands, rows and frames of the envelope map.
    n_features : int
        Length of the vector of conditions, efforts first.
    n_tasks : int
        Tasks.
    n_groups : int
        Groups of all tasks together; `fit` finds them.
    """

    mean: Tensor
    std: Tensor
    group_task: Tensor
    group_share: Tensor
    group_features: Tensor
    group_mean: Tensor
    covariance: Tensor
    slope: Tensor
    spread: Tensor
    factors: Tensor
    rest: Tensor

    def __init__(
        self,
        *,
        n_channels: int,
        n_bands: int,
        n_rows: int,
        n_frames: int,
        n_features: int,
        n_tasks: int,
        n_groups: int = 0,
    ) -> None:
        super().__init__()
        self.n_channels, self.n_bands, self.n_rows = n_channels, n_bands, n_rows
        self.n_features, self.n_tasks = n_features, n_tasks
        self.edges = _edges(n_frames // 2 + 1)
        self.n = n_channels * (n_rows + len(self.edges) - 1)
        self.register_buffer("mean", torch.zeros(self.n))
        self.register_buffer("std", torch.ones(self.n))
        n_factors = min(self.n, _MOST_FACTORS)
        self.register_buffer("covariance", torch.zeros(n_tasks, n_features, n_features))
        self.register_buffer("slope", torch.zeros(n_tasks, n_features, self.n))
        self.register_buffer("spread", torch.zeros(n_tasks, self.n))
        self.register_buffer("factors", torch.zeros(self.n, n_factors))
        self.register_buffer("rest", torch.zeros(self.n))
        self._set_groups(n_groups)

    def _set_groups(self, n_groups: int) -> None:
        device = self.mean.device
        self.register_buffer("group_task", torch.zeros(n_groups, dtype=torch.long, device=device))
        self.register_buffer("group_share", torch.zeros(n_groups, device=device))
        self.register_buffer(
            "group_features", torch.zeros(n_groups, self.n_features, device=device)
        )
        self.register_buffer("group_mean", torch.zeros(n_groups, self.n, device=device))

    @property
    def n_groups(self) -> int:
        return len(self.group_task)

    # -- measured

    def measure(self, envelope: Tensor) -> Tensor:
        """Envelope map (B, C, n_rows, n_frames) → standardised descriptors (B, n)."""
        return (self._measured(envelope) - self.mean) / self.std

    def _measured(self, envelope: Tensor) -> Tensor:
        level = envelope[:, :, : self.n_bands].mean(2)
        power = torch.fft.rfft(level - level.mean(-1, keepdim=True)).abs().square()
        bands = zip(self.edges[:-1], self.edges[1:], strict=True)
        modulation = torch.stack([power[..., low:high].mean(-1) for low, high in bands], dim=-1)
        return torch.cat([envelope.mean(-1), (modulation + _POWER_FLOOR).log()], -1).flatten(1)

    def texture(self, descriptors: Tensor, n_frames: int) -> Tensor:
        """Standardised descriptors (B, n) → the map's rows below its bands, (B, C, ·, n_frames)."""
        plain = (descriptors * self.std + self.mean).reshape(len(descriptors), self.n_channels, -1)
        return plain[:, :, self.n_bands : self.n_rows, None].expand(-1, -1, -1, n_frames)

    # -- fitted

    def fit(
        self,
        envelopes: Iterator[Tensor],
        features: NDArray[np.float32],
        known: NDArray[np.bool_],
        task_id: Index,
        group: NDArray[np.str_],
    ) -> None:
        """Fit all on training segments.

        Parameters
        ----------
        envelopes : iterator of Tensor
            Their envelope maps, block by block.
        features, known : array, (n_segments, n_features)
            Conditions, and which of them are known.
        task_id, group : array, (n_segments,)
            Task and group (subject) of each.
        """
        measured = torch.cat([self._measured(each) for each in envelopes])
        self.mean.copy_(measured.mean(0))
        self.std.copy_(measured.std(0, correction=0).clamp_min(1e-3))
        descriptors = ((measured - self.mean) / self.std).double().cpu().numpy()
        parts, left = [], []
        for task in range(self.n_tasks):
            rows = np.flatnonzero(task_id == task)
            member = _members(group[rows])
            given = _filled(features[rows].astype(np.float64), known[rows], member)
            parts.append((task, member, given, descriptors[rows]))
            left.append(self._fit_task(task, member, given, descriptors[rows]))
        self._fit_correlations(np.concatenate(left))
        self._set_groups(sum(int(member.max()) + 1 for _, member, _, _ in parts))
        at = 0
        for task, member, given, own in parts:
            for k in range(int(member.max()) + 1):
                here = member == k
                self.group_task[at], self.group_share[at] = task, float(here.mean())
                self.group_features[at] = torch.from_numpy(given[here].mean(0))
                self.group_mean[at] = torch.from_numpy(own[here].mean(0))
                at += 1

    def _fit_task(self, task: int, member: Index, given: Array, descriptors: Array) -> Array:
        """Slope and spread of a task; gives what they leave of each segment, in spreads."""
        free = max(1, len(member) - int(member.max()) - 1)
        off, own = _centred(given, member), _centred(descriptors, member)
        covariance = off.T @ off / free + _LEAST_VARIANCE * np.eye(off.shape[1])
        slope = np.linalg.solve(covariance, off.T @ own / free)
        left = own - off @ slope
        spread = np.maximum(np.sqrt(np.square(left).sum(0) / free), _LEAST_STD)
        for name, value in (("covariance", covariance), ("slope", slope), ("spread", spread)):
            getattr(self, name)[task] = torch.from_numpy(value)
        scaled: Array = left / spread
        return scaled

    def _fit_correlations(self, left: Array) -> None:
        size = np.sqrt(np.square(left).mean(0)).clip(1e-6)
        correlation = (left / size).T @ (left / size) / len(left)
        correlation = (1 - _TO_NONE) * correlation + _TO_NONE * np.eye(self.n)
        values, vectors = np.linalg.eigh(correlation)
        n_factors = self.factors.shape[1]
        factors = vectors[:, -n_factors:] * np.sqrt(values[-n_factors:].clip(0))
        self.factors.copy_(torch.from_numpy(factors))
        self.rest.copy_(torch.from_numpy((1 - np.square(factors).sum(1)).clip(0)))

    # -- drawn

    def draw(
        self,
        task_id: int,
        features: NDArray[np.float32],
        known: NDArray[np.bool_],
        rng: np.random.Generator,
    ) -> Array:
        """Descriptors (n,) for conditions (n_features,); the null task is all tasks mixed."""
        given = features.astype(np.float64)
        places, odds = self._odds(task_id, given, known)
        place = int(rng.choice(places, p=odds))
        task = int(self.group_task[place])
        covariance, away = _plain(self.covariance[task]), given - _plain(self.group_features[place])
        if not known.all():
            inner = covariance[np.ix_(known, known)]
            cross = covariance[np.ix_(~known, known)]
            gain = cross @ np.linalg.inv(inner)
            spread = covariance[np.ix_(~known, ~known)] - gain @ cross.T
            away[~known] = rng.multivariate_normal(gain @ away[known], spread)
        mean = _plain(self.group_mean[place]) + away @ _plain(self.slope[task])
        factors, rest = _plain(self.factors), _plain(self.rest)
        chance = factors @ rng.standard_normal(factors.shape[1])
        chance += np.sqrt(rest) * rng.standard_normal(self.n)
        drawn: Array = mean + _plain(self.spread[task]) * chance
        return drawn

    def surprise(
        self,
        task_id: Index,
        features: NDArray[np.float32],
        known: NDArray[np.bool_],
        descriptors: Tensor,
    ) -> Array:
        """−2 ln of the density of descriptors (B, n) up to a constant of the task, (B,), ≥ 0.

        `task_id` is (B,), without the null task, and `features` and `known` are (B, n_features).
        """
        given, own = features.astype(np.float64), _plain(descriptors)
        factors = _plain(self.factors)
        precision = np.linalg.inv(factors @ factors.T + np.diag(_plain(self.rest)))
        result = np.empty(len(own))
        for task in set(task_id.tolist()):
            rows = np.flatnonzero(task_id == task)
            spread = _plain(self.spread[task])
            places = np.flatnonzero(self.group_task.cpu().numpy() == task)
            odds = np.stack([self._odds(task, given[row], known[row])[1] for row in rows])
            distances = np.empty(odds.shape)
            for k, place in enumerate(places):
                away = np.where(known[rows], given[rows] - _plain(self.group_features[place]), 0.0)
                left = own[rows] - _plain(self.group_mean[place]) - away @ _plain(self.slope[task])
                left /= spread
                distances[:, k] = np.einsum("bi,ij,bj->b", left, precision, left, optimize=True)
            result[rows] = -2 * logsumexp(-0.5 * distances, b=odds, axis=1)
        return result.clip(0)

    def _odds(self, task_id: int, given: Array, known: NDArray[np.bool_]) -> tuple[Index, Array]:
        """Groups that the conditions may come from, and the probability of each."""
        tasks = self.group_task.cpu().numpy()
        places = np.flatnonzero((tasks == task_id) | (task_id == self.n_tasks))
        logs = np.empty(len(places))
        for number, place in enumerate(places):
            inner = _plain(self.covariance[tasks[place]])[np.ix_(known, known)]
            away = (given - _plain(self.group_features[place]))[known]
            distance = away @ np.linalg.solve(inner, away)
            logs[number] = -0.5 * (distance + np.linalg.slogdet(inner)[1])
        logs += np.log(_plain(self.group_share)[places])
        odds = np.exp(logs - logs.max())
        return places, odds / odds.sum()


def _edges(n_lines: int) -> list[int]:
    """First lines of modulation bands, from the first above 0 to the highest, and one beyond."""
    edges, at = [1], 1.0
    while (at := at * _RATIO) < n_lines:
        if round(at) > edges[-1] and round(at) < n_lines:
            edges.append(round(at))
    return [*edges, n_lines] if n_lines > 1 else edges


def _members(group: NDArray[np.str_]) -> Index:
    """Group of each segment as a number; all in one where groups are too small to tell apart."""
    names, member = np.unique(group, return_inverse=True)
    if len(group) < _SEGMENTS_PER_GROUP * len(names):
        return np.zeros(len(group), dtype=np.intp)
    return member.astype(np.intp)


def _filled(given: Array, known: NDArray[np.bool_], member: Index) -> Array:
    """Missing conditions are taken to be as in the rest of the group, or of the task."""
    filled = given.copy()
    for column in range(given.shape[1]):
        there = known[:, column]
        if not there.all():
            filled[~there, column] = given[there, column].mean() if there.any() else 0.0
            for k in set(member[~there].tolist()):
                own = there & (member == k)
                if own.any():
                    filled[~there & (member == k), column] = given[own, column].mean()
    return filled


def _centred(values: Array, member: Index) -> Array:
    """Off the mean of the group."""
    counts = np.bincount(member)
    sums = np.zeros((len(counts), values.shape[1]))
    np.add.at(sums, member, values)
    centred: Array = values - (sums / counts[:, None])[member]
    return centred


def _plain(tensor: Tensor) -> Array:
    plain: Array = tensor.double().cpu().numpy()
    return plain
