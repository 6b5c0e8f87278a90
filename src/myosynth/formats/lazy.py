"""Samples that stay in their file until they are sliced."""

import copy
import mmap
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from myosynth.recordings import FloatArray, SignalArray

__all__ = [
    "ColumnSamples",
    "LazySamples",
    "LineSamples",
    "StoredSamples",
    "extremes",
    "pieces",
    "scaled",
    "stacked",
]

_CACHED = 1 << 18  # samples of all channels that the processor's cache holds while they are handled
_FOLDED = 256
_MAPPED_BYTES = 32 << 20


class LazySamples(ABC):
    """Samples (n_channels, n_times) as float64; a subclass reads blocks of consecutive times."""

    def __init__(self, n_channels: int, n_times: int) -> None:
        self.shape = (n_channels, n_times)

    @abstractmethod
    def block(self, rows: NDArray[np.intp], low: int, high: int) -> FloatArray:
        """Samples `low` to `high` of the channels `rows`, a new array (len(rows), high - low)."""

    def rescaled(self, factors: FloatArray) -> "LazySamples":
        """The same samples, each channel times its factor, (n_channels,)."""
        return self if np.all(factors == 1) else _Scaled(self, factors)

    def __getitem__(self, index: Any, /) -> FloatArray:
        rows, columns = index if isinstance(index, tuple) else (index, slice(None))
        chosen = np.arange(self.shape[0])[rows]
        times = np.arange(self.shape[1])[columns] if not isinstance(columns, slice) else columns
        if isinstance(times, slice):
            span = range(*times.indices(self.shape[1]))
            low, high = (min(span[0], span[-1]), max(span[0], span[-1]) + 1) if span else (0, 0)
            inner: Any = slice(None) if span.step == 1 else np.asarray(span) - low
        else:
            low, high = (int(times.min()), int(times.max()) + 1) if times.size else (0, 0)
            inner = times - low
        block = self.block(np.atleast_1d(chosen), low, high)
        return np.asarray(block[0][inner] if np.ndim(chosen) == 0 else block[:, inner])


class _Scaled(LazySamples):
    def __init__(self, samples: LazySamples, factors: FloatArray) -> None:
        super().__init__(*samples.shape)
        self._samples, self._factors = samples, factors[:, None]

    def block(self, rows: NDArray[np.intp], low: int, high: int) -> FloatArray:
        samples = self._samples.block(rows, low, high)
        samples *= self._factors[rows]
        return samples


class Pages:
    """Gives back the pages of mapped files now and then: they stay in the system's cache, but count
    no more as this process's memory."""

    def __init__(self, arrays: Sequence[NDArray[Any]]) -> None:
        maps = (getattr(array, "_mmap", None) for array in arrays)
        self._maps = {id(each): each for each in maps if each is not None}
        self._n_bytes = 0

    def were_read(self, n_bytes: int) -> None:
        """Count what was read."""
        self._n_bytes += n_bytes
        if self._n_bytes > _MAPPED_BYTES and hasattr(mmap, "MADV_DONTNEED"):
            self._n_bytes = 0
            for each in self._maps.values():
                each.madvise(mmap.MADV_DONTNEED)


class StoredSamples(LazySamples):
    """Samples that are (number + offset) · factor of the numbers in a file.

    Parameters
    ----------
    n_channels, n_times : int
    offsets, factors : array, (n_channels,), optional

    Attributes
    ----------
    is_single : bool
        Whether all of the numbers are float32.
    """

    is_single = False

    def __init__(
        self,
        n_channels: int,
        n_times: int,
        offsets: FloatArray | None = None,
        factors: FloatArray | None = None,
    ) -> None:
        super().__init__(n_channels, n_times)
        self.offsets = np.zeros(n_channels) if offsets is None else offsets
        self.factors = np.ones(n_channels) if factors is None else factors

    @abstractmethod
    def numbers(self, rows: NDArray[np.intp], low: int, high: int) -> NDArray[Any]:
        """The numbers as they are stored, of any type, (len(rows), high - low)."""

    def rescaled(self, factors: FloatArray) -> Self:
        other = copy.copy(self)
        other.factors = self.factors * factors
        return other

    def block(self, rows: NDArray[np.intp], low: int, high: int) -> FloatArray:
        return self.filled(np.empty((len(rows), max(0, high - low))), rows, low, high)

    def filled(self, block: FloatArray, rows: NDArray[np.intp], low: int, high: int) -> FloatArray:
        """As `block`, into an array of float64, or of float32 where less precision will do."""
        offsets, factors = self.offsets[rows, None], self.factors[rows, None]
        for start, stop in pieces(len(rows), low, high):
            part = block[:, start - low : stop - low]
            numbers = self.numbers(rows, start, stop)
            if offsets.any():
                numbers = np.add(numbers, offsets, dtype=np.float64)
            np.multiply(numbers, factors, out=part, dtype=part.dtype, casting="same_kind")
        return block

    def extremes(self) -> tuple[FloatArray, FloatArray]:
        """The lowest and the highest sample of each channel, NaN where any is NaN."""
        ends = [(end + self.offsets) * self.factors for end in self.stored_extremes()]
        return np.minimum(*ends), np.maximum(*ends)

    def stored_extremes(self) -> tuple[FloatArray, FloatArray]:
        """As `extremes`, of the numbers as they are stored."""
        rows = np.arange(self.shape[0])
        stretches = pieces(self.shape[0], 0, self.shape[1])
        return _extremes((self.numbers(rows, *each) for each in stretches), self.shape[0])


class LineSamples(StoredSamples):
    """Channels that are lines (n_times or more,) of arrays in memory or mapped to a file."""

    def __init__(
        self,
        lines: Sequence[NDArray[Any]],
        n_times: int,
        offsets: FloatArray | None = None,
        factors: FloatArray | None = None,
    ) -> None:
        super().__init__(len(lines), n_times, offsets, factors)
        self._lines = lines
        self._pages = Pages(lines)
        self.is_single = all(line.dtype == np.float32 for line in lines)

    def numbers(self, rows: NDArray[np.intp], low: int, high: int) -> NDArray[Any]:
        numbers = np.stack([self._lines[row][low:high] for row in rows])
        self._pages.were_read(numbers.nbytes)
        return numbers


class ColumnSamples(LineSamples):
    """Channels that are columns of a matrix (n_times, n) whose rows lie one behind the other."""

    def __init__(
        self,
        matrix: NDArray[Any],
        columns: Sequence[int],
        offsets: FloatArray | None = None,
        factors: FloatArray | None = None,
    ) -> None:
        lines = [matrix[:, column] for column in columns]
        super().__init__(lines, len(matrix), offsets, factors)
        self._matrix, self._columns = matrix, list(columns)

    def stored_extremes(self) -> tuple[FloatArray, FloatArray]:
        n = self._matrix.shape[1]
        if 2 * len(self._columns) < n:
            return super().stored_extremes()

        def blocks() -> Iterator[NDArray[Any]]:
            for low, high in pieces(n, 0, len(self._matrix), _FOLDED):
                rows = self._matrix[low:high]
                # long rows are compared many numbers at a time
                yield rows.reshape(-1, n * _FOLDED if len(rows) % _FOLDED == 0 else n).T
                self._pages.were_read(rows.nbytes)

        low, high = _extremes(blocks(), n)
        return low[self._columns], high[self._columns]


def pieces(n_channels: int, low: int, high: int, multiple: int = 1) -> Iterator[tuple[int, int]]:
    """Stretches from `low` to `high`, each small enough for the processor's cache.

    Parameters
    ----------
    n_channels, low, high : int
    multiple : int
        Of which the length of each but the last is one.

    Yields
    ------
    int, int
        Beginning and end.
    """
    step = max(1, _CACHED // (max(1, n_channels) * multiple)) * multiple
    for start in range(low, high, step):
        yield start, min(start + step, high)


def extremes(samples: SignalArray) -> tuple[FloatArray, FloatArray]:
    """The lowest and the highest sample of each channel, (n_channels,), NaN where any is NaN."""
    if isinstance(samples, StoredSamples):
        return samples.extremes()
    n_channels, n_times = samples.shape
    stretches = pieces(n_channels, 0, n_times)
    blocks = (np.asarray(samples[:, start:stop]) for start, stop in stretches)
    return _extremes(blocks, n_channels)


def _extremes(blocks: Iterable[NDArray[Any]], n_channels: int) -> tuple[FloatArray, FloatArray]:
    """Of blocks whose rows are those of `n_channels` again and again."""
    low, high = np.full(n_channels, np.inf), np.full(n_channels, -np.inf)
    for block in blocks:  # NaN survives
        low = np.minimum(low, block.min(axis=1).reshape(-1, n_channels).min(axis=0))
        high = np.maximum(high, block.max(axis=1).reshape(-1, n_channels).max(axis=0))
    return low, high


def stacked(lines: Sequence[NDArray[Any]], n_times: int) -> SignalArray:
    """Channels (n_times or more,) as samples; those that are mapped to a file stay there."""
    if any(isinstance(line, np.memmap) for line in lines):
        return LineSamples(lines, n_times)
    return np.stack([line[:n_times] for line in lines]).astype(np.float64, copy=False)


def scaled(samples: SignalArray, factors: Sequence[float]) -> SignalArray:
    """`samples` with each channel times its factor: at once in memory, on slicing otherwise."""
    numbers = np.asarray(factors, dtype=np.float64)
    if isinstance(samples, LazySamples):
        return samples.rescaled(numbers)
    return np.ascontiguousarray(np.asarray(samples) * numbers[:, None])
