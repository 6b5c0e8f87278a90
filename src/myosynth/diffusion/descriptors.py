"""What a segment is like as a whole, in a few numbers: drawn first, and its map then given them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.extmath import randomized_svd
from torch import Tensor, nn

from myosynth.diffusion.density import DescriptorDensity, plain
from myosynth.diffusion.relative import RelativeMap
from myosynth.errors import InputError

__all__ = ["Descriptors"]

Array = NDArray[np.float64]
Index = NDArray[np.intp]
Known = NDArray[np.bool_]

_RATIO = 1.4  # of neighbouring edges of the modulation bands
_VARIANCE_FLOOR = 1e-5
# the fourth root of a χ² number is nearly normal (Hawkins & Wixley 1986, Am. Stat. 40: 296)
_TO_NORMAL = 0.25
_FARTHEST = 4.0  # standard deviations of the spread that is drawn: it is the exponent of a map
_LEAST_VARIANCE = 1e-3  # of conditions within a group: a category is constant in most
_LEAST_GROUP = 4  # segments; a person with fewer is described together with others
_PRIOR_SEGMENTS = 10  # worth of the spread of all tasks in that of one
_RIDGE = 0.3  # for each condition, how far they have to vary (sum of squares) to be followed
_TO_NONE = 0.2  # how far correlations are drawn to none: what others of the same people fit best
_MOST_FACTORS, _MOST_EXACT = 64, 512


class Descriptors(nn.Module):
    """Measures descriptors on an envelope map, and holds how they are distributed.

    The descriptors of a segment and channel are the mean of each row of its envelope map (levels of
    the bands, and the texture), the *spread*, log standard deviation of the level over all bands,
    and the modulation spectrum: the share of each band of modulation frequencies in the level's
    variance, its fourth root. What is left of the bands is drawn relative to means and spread; see
    `RelativeMap`. Within a task the descriptors of a group (a subject) are normally distributed
    about the group's mean, which moves along a slope with the efforts and further conditions.
    Groups share slope and spread, and all tasks their correlations, kept as at most 64 factors and
    a variance of its own for each descriptor; a person with less than four segments of a task is
    put together with others. So a draw is as varied within and between people as
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
        self.n_features, self.n_tasks, self.n_frames = n_features, n_tasks, n_frames
        self.edges = _edges(n_frames // 2 + 1)
        self.n = n_channels * (n_rows + len(self.edges))  # of which one is the spread
        self.map = RelativeMap(n_channels, n_bands)
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
        """Envelope map (B, C, n_rows, n_frames) → standardised descriptors (B, n).

        Raises
        ------
        InputError
            If the map is longer or shorter than those of training.
        """
        if envelope.shape[-1] != self.n_frames:
            raise InputError(
                "descriptors can be measured on segments of the length of training alone; prepare "
                "segments of that length"
            )
        return (self._measured(envelope) - self.mean) / self.std

    def _measured(self, envelope: Tensor) -> Tensor:
        level = envelope[:, :, : self.n_bands].mean(2)
        off = level - level.mean(-1, keepdim=True)
        variance = off.square().mean(-1, keepdim=True) + _VARIANCE_FLOOR
        power = torch.fft.rfft(off).abs().square() / (self.n_frames * variance)
        bands = zip(self.edges[:-1], self.edges[1:], strict=True)
        modulation = torch.stack([power[..., low:high].mean(-1) for low, high in bands], dim=-1)
        parts = [envelope.mean(-1), 0.5 * variance.log(), modulation.pow(_TO_NORMAL)]
        return torch.cat(parts, -1).flatten(1)

    def _raw(self, descriptors: Tensor) -> Tensor:
        """Standardised descriptors (B, n) → as they are measured, (B, n)."""
        return descriptors * self.std + self.mean

    def _by_channel(self, raw: Tensor) -> Tensor:
        return raw.reshape(len(raw), self.n_channels, -1)

    # -- what is left of a map

    def _levels(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Means of the bands (B, C, n_bands), and standard deviation of their level (B, C)."""
        parts = self._by_channel(raw)
        return parts[..., : self.n_bands], parts[..., self.n_rows].exp()

    def texture(self, descriptors: Tensor, n_frames: int) -> Tensor:
        """Standardised descriptors (B, n) → the map's rows below its bands, (B, C, ·, n_frames)."""
        rows = self._by_channel(self._raw(descriptors))[:, :, self.n_bands : self.n_rows, None]
        return rows.expand(-1, -1, -1, n_frames)

    def relative(self, bands: Tensor, descriptors: Tensor) -> Tensor:
        """Bands (B, C, n_bands, n_frames) → what is to be drawn given their descriptors (B, n)."""
        return self.map.relative(bands, *self._levels(self._raw(descriptors)))

    def absolute(self, components: Tensor, descriptors: Tensor) -> Tensor:
        """The inverse of `relative` for any number of frames and a spread as in training."""
        mean, _ = self._levels(self._raw(descriptors))
        _, spread = self._levels(self._raw(descriptors.clamp(-_FARTHEST, _FARTHEST)))
        return self.map.absolute(components, mean, spread)

    # -- fitted

    def fit(
        self,
        envelopes: Iterator[Tensor],
        features: NDArray[np.float32],
        known: Known,
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
        blocks, squares = [], []
        for envelope in envelopes:
            blocks.append(self._measured(envelope))
            bands = envelope[:, :, : self.n_bands]
            squares.append(self.map.squares(bands, *self._levels(blocks[-1])))
        self.map.fit(torch.cat(squares).mean(0))
        measured = torch.cat(blocks)
        self.mean.copy_(measured.mean(0))
        self.std.copy_(measured.std(0, correction=0).clamp_min(1e-3))
        descriptors = plain((measured - self.mean) / self.std)
        parts = []
        for task in range(self.n_tasks):
            rows = np.flatnonzero(task_id == task)
            member = _members(group[rows])
            given = _filled(features[rows].astype(np.float64), known[rows], member)
            parts.append(_Part(member, given, descriptors[rows]))
        slopes, left = zip(*(part.slope() for part in parts), strict=True)
        # over all tasks, and one more of the variance of the whole set
        squares = sum(np.square(each).sum(0) for each in left) + 1.0
        common = squares / (sum(part.free for part in parts) + 1)
        scaled = []
        for task, (part, slope, each) in enumerate(zip(parts, slopes, left, strict=True)):
            variance = np.square(each).sum(0) + _PRIOR_SEGMENTS * common
            spread = np.sqrt(variance / (part.free + _PRIOR_SEGMENTS))
            for name, value in (
                ("covariance", part.covariance()), ("slope", slope), ("spread", spread),
            ):  # fmt: skip
                getattr(self, name)[task] = torch.from_numpy(value)
            scaled.append(each / spread)
        self._fit_correlations(np.concatenate(scaled))
        self._fit_groups(parts)

    def _fit_groups(self, parts: list["_Part"]) -> None:
        self._set_groups(sum(part.n_groups for part in parts))
        at = 0
        for task, part in enumerate(parts):
            for k in range(part.n_groups):
                here = part.member == k
                self.group_task[at], self.group_share[at] = task, float(here.mean())
                self.group_features[at] = torch.from_numpy(part.given[here].mean(0))
                self.group_mean[at] = torch.from_numpy(part.descriptors[here].mean(0))
                at += 1

    def _fit_correlations(self, left: Array) -> None:
        scaled = left / np.sqrt(np.square(left).mean(0)).clip(1e-6)
        scaled /= np.sqrt(len(left))
        n_factors = self.factors.shape[1]
        if self.n <= _MOST_EXACT:
            _, size, lines = np.linalg.svd(scaled, full_matrices=False)
        else:
            _, size, lines = randomized_svd(scaled, n_factors, random_state=0)
        size, lines = size[:n_factors], lines[:n_factors]
        factors = np.zeros((self.n, n_factors))
        factors[:, : len(size)] = lines.T * size * np.sqrt(1 - _TO_NONE)
        self.factors.copy_(torch.from_numpy(factors))
        # at least what is drawn to none
        self.rest.copy_(torch.from_numpy((1 - np.square(factors).sum(1)).clip(_TO_NONE)))

    def density(self) -> "DescriptorDensity":
        """What was fitted, ready to draw from."""
        return DescriptorDensity(
            self.group_task.cpu().numpy(),
            *(
                plain(each)
                for each in (
                    self.group_share, self.group_features, self.group_mean, self.covariance,
                    self.slope, self.spread, self.factors, self.rest,
                )
            ),
        )  # fmt: skip


@dataclass(frozen=True)
class _Part:
    """Training segments of one task: group, conditions and descriptors of each."""

    member: Index
    given: Array
    descriptors: Array

    @property
    def n_groups(self) -> int:
        return int(self.member.max()) + 1

    @property
    def free(self) -> float:
        """Segments beyond what groups and slope take."""
        squares = np.linalg.svd(_centred(self.given, self.member), compute_uv=False) ** 2
        taken = self.n_groups + float((squares / (squares + self._ridge)).sum())
        return float(max(1.0, len(self.member) - taken))

    @property
    def _ridge(self) -> float:
        return _RIDGE * int(self.given.shape[1])

    def covariance(self) -> Array:
        """Of the conditions within groups."""
        off = _centred(self.given, self.member)
        free = max(1, len(self.member) - self.n_groups)
        result: Array = off.T @ off / free + _LEAST_VARIANCE * np.eye(off.shape[1])
        return result

    def slope(self) -> tuple[Array, Array]:
        """(n_features, n), and what it leaves of each segment within its group."""
        off, own = _centred(self.given, self.member), _centred(self.descriptors, self.member)
        inner = off.T @ off + self._ridge * np.eye(off.shape[1])
        slope = np.asarray(np.linalg.solve(inner, off.T @ own), dtype=np.float64)
        return slope, own - off @ slope


def _edges(n_lines: int) -> list[int]:
    """First lines of modulation bands, from the first above 0 to the highest, and one beyond."""
    edges, at = [1], 1.0
    while (at := at * _RATIO) < n_lines:
        if round(at) > edges[-1] and round(at) < n_lines:
            edges.append(round(at))
    return [*edges, n_lines] if n_lines > 1 else edges


def _members(group: NDArray[np.str_]) -> Index:
    """Group of each segment as a number; those too small to describe are one, or in the largest."""
    _, member, counts = np.unique(group, return_inverse=True, return_counts=True)
    few = counts < _LEAST_GROUP
    target = int(few.argmax()) if counts[few].sum() >= _LEAST_GROUP else int(counts.argmax())
    joined = np.where(few[member], target, member)
    return np.unique(joined, return_inverse=True)[1].astype(np.intp)


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
