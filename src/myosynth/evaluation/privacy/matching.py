"""Which real and which synthetic segments are most alike, block by block.

Similarities of each fingerprint are put on one scale, z = (similarity − centre) / spread of pairs
that cannot be copies (holdout × synthetic), so that an attack may take the best of several.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from myosynth.evaluation.privacy.fingerprints import (
    Fingerprint,
    block_similarity,
    fingerprints,
)
from myosynth.recordings import SegmentSet

__all__ = ["Best", "Matcher", "Source"]

Array = NDArray[np.float64]
Index = NDArray[np.intp]

_CHUNK_VALUES = 1 << 24  # samples whose fingerprints are held at once
_BLOCK_VALUES = 1 << 22  # pairs × lags compared at once
_N_NULL = 200


@dataclass(frozen=True)
class Source:
    """Segments that are read piece by piece.

    Parameters
    ----------
    read : callable
        From positions to signals, (n, n_channels, n_times) in volts.
    n : int
        How many there are.
    """

    read: Callable[[Index], NDArray[Any]]
    n: int

    @staticmethod
    def of(segments: SegmentSet, rows: Index) -> "Source":
        return Source(lambda index: segments.read(rows[index]), len(rows))

    @staticmethod
    def held(signals: NDArray[Any]) -> "Source":
        return Source(lambda index: signals[index], len(signals))


@dataclass
class Best:
    """Best match of each candidate and of each synthetic segment.

    Parameters
    ----------
    by_candidate, by_synthetic : array, (n_candidates,) and (n_synthetic,)
        The largest z over the other side.
    synthetic_of, candidate_of : array of int
        Where it was reached.
    usual : array, (2, n_candidates)
        Mean and standard deviation of each candidate's z over all synthetic segments, limited to
        ±4 so that copies do not count: some segments are like everything, and no copies for it.
    """

    by_candidate: Array
    synthetic_of: Index
    by_synthetic: Array
    candidate_of: Index
    usual: Array

    def standardised(self, by_candidate: Array) -> Array:
        """Scores of the candidates in units of what is usual for each."""
        result: Array = (by_candidate - self.usual[0]) / np.maximum(self.usual[1], 0.1)
        return result

    @staticmethod
    def empty(n_candidates: int, n_synthetic: int) -> "Best":
        return Best(
            np.full(n_candidates, -np.inf),
            np.zeros(n_candidates, dtype=np.intp),
            np.full(n_synthetic, -np.inf),
            np.zeros(n_synthetic, dtype=np.intp),
            np.zeros((2, n_candidates)),
        )

    def add(self, first_row: int, first_column: int, block: NDArray[Any]) -> None:
        """Take in a block of z; its corner is (`first_row`, `first_column`)."""
        rows = slice(first_row, first_row + block.shape[0])
        columns = slice(first_column, first_column + block.shape[1])
        limited = block.clip(-4, 4)
        self.usual[0, rows] += limited.sum(axis=1)
        self.usual[1, rows] += np.square(limited).sum(axis=1)
        for best, where, axis, offset in (
            (self.by_candidate[rows], self.synthetic_of[rows], 1, first_column),
            (self.by_synthetic[columns], self.candidate_of[columns], 0, first_row),
        ):
            position = block.argmax(axis=axis)
            value = block.max(axis=axis)
            better = value > best
            best[better] = value[better]
            where[better] = position[better] + offset


class Matcher:
    """The similarities of one attack on the scale of pairs that cannot be copies.

    Parameters
    ----------
    name : str
        A key of `FINGERPRINTS`.
    fs : float
        Sampling rate, Hz.
    holdout, synthetic : Source
        What the scale is fitted on: up to 200 of each.
    rng : Generator
        Chooses them.
    n_jobs : int
        Threads of the Fourier transforms.
    """

    def __init__(
        self,
        name: str,
        fs: float,
        holdout: Source,
        synthetic: Source,
        rng: np.random.Generator,
        n_jobs: int = 1,
    ) -> None:
        self.name, self.fs, self.n_jobs = name, fs, n_jobs
        sides = []
        for source in (holdout, synthetic):
            rows = np.sort(rng.permutation(source.n)[:_N_NULL])
            sides.append(fingerprints(name, source.read(rows), fs))
        self._centre, self._spread = [], []
        for one, two in zip(*sides, strict=True):
            blocks = [block for _, _, block in self._blocks([one], [two], scaled=False)]
            pairs = np.concatenate([block.ravel() for block in blocks])
            low, centre, high = np.quantile(pairs, [0.16, 0.5, 0.84])
            self._centre.append(float(centre))
            self._spread.append(max(0.5 * float(high - low), 1e-6))

    def match(
        self,
        candidates: Source,
        synthetic: Source,
        on_block: Callable[[float], None] = lambda share: None,
    ) -> Best:
        """The best match on either side; memory grows with n_candidates + n_synthetic."""
        best = Best.empty(candidates.n, synthetic.n)
        for a in self._chunks(candidates):
            one = fingerprints(self.name, candidates.read(a), self.fs)
            for b in self._chunks(synthetic):
                two = fingerprints(self.name, synthetic.read(b), self.fs)
                for i, j, block in self._blocks(one, two):
                    best.add(a[0] + i, b[0] + j, block)
                on_block((a[0] + (b[-1] + 1) / synthetic.n * len(a)) / candidates.n)
        best.usual /= synthetic.n
        best.usual[1] = np.sqrt(np.maximum(best.usual[1] - best.usual[0] ** 2, 0))
        return best

    def match_parts(
        self, candidates: Source, synthetic: Source, part: Index
    ) -> tuple[Array, Array]:
        """The best match of each candidate within each part of the synthetic segments.

        Parameters
        ----------
        candidates, synthetic : Source
            As in `match`; `synthetic` is small.
        part : array of int, (n_synthetic,)
            The part of each synthetic segment, from 0.

        Returns
        -------
        by_candidate : array, (n_parts, n_candidates)
        by_synthetic : array, (n_synthetic,)
        """
        by_candidate = np.full((int(part.max()) + 1, candidates.n), -np.inf)
        by_synthetic = np.full(synthetic.n, -np.inf)
        two = fingerprints(self.name, synthetic.read(np.arange(synthetic.n)), self.fs)
        for rows in self._chunks(candidates):
            one = fingerprints(self.name, candidates.read(rows), self.fs)
            for i, j, block in self._blocks(one, two):
                here = rows[0] + i + np.arange(block.shape[0])
                columns = np.arange(j, j + block.shape[1])
                by_synthetic[columns] = np.maximum(by_synthetic[columns], block.max(axis=0))
                for k in np.unique(part[columns]):
                    best = block[:, part[columns] == k].max(axis=1)
                    by_candidate[k, here] = np.maximum(by_candidate[k, here], best)
        return by_candidate, by_synthetic

    def similarity(self, one: NDArray[Any], two: NDArray[Any]) -> Array:
        """Largest plain similarity (0–1) of each pair of two equal stacks of segments."""
        pairs = [fingerprints(self.name, signals, self.fs) for signals in (one, two)]
        found = np.zeros(len(one))
        for a, b in zip(*pairs, strict=True):
            for row in range(len(one)):
                here = slice(row, row + 1)
                found[row] = max(found[row], block_similarity(a.take(here), b.take(here))[0, 0])
        return found.clip(0, 1)

    def _blocks(
        self, one: list[Fingerprint], two: list[Fingerprint], *, scaled: bool = True
    ) -> Iterator[tuple[int, int, NDArray[Any]]]:
        side = max(1, int(np.sqrt(_BLOCK_VALUES / max(part.n_lags for part in one))))
        for i in range(0, len(one[0]), side):
            for j in range(0, len(two[0]), side):
                rows, columns = slice(i, i + side), slice(j, j + side)
                block = None
                for k, (a, b) in enumerate(zip(one, two, strict=True)):
                    z = block_similarity(a.take(rows), b.take(columns), self.n_jobs)
                    if scaled:
                        z = (z - self._centre[k]) / self._spread[k]
                    block = z if block is None else np.maximum(block, z)
                assert block is not None
                yield i, j, block

    def _chunks(self, source: Source) -> Iterator[Index]:
        one = source.read(np.zeros(1, dtype=np.intp))
        size = max(1, _CHUNK_VALUES // max(1, one[0].size))
        for start in range(0, source.n, size):
            yield np.arange(start, min(start + size, source.n))
