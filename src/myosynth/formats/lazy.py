"""Samples that stay in their file until they are sliced."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from myosynth.recordings import FloatArray, SignalArray

__all__ = ["LazySamples", "scaled", "stacked"]


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


class _Stacked(LazySamples):
    def __init__(self, lines: Sequence[NDArray[Any]], n_times: int) -> None:
        super().__init__(len(lines), n_times)
        self._lines = lines

    def block(self, rows: NDArray[np.intp], low: int, high: int) -> FloatArray:
        return np.stack([self._lines[row][low:high] for row in rows]).astype(np.float64)


def stacked(lines: Sequence[NDArray[Any]], n_times: int) -> SignalArray:
    """Channels (n_times or more,) as samples; those that are mapped to a file stay there."""
    if any(isinstance(line, np.memmap) for line in lines):
        return _Stacked(lines, n_times)
    return np.stack([line[:n_times] for line in lines])


def scaled(samples: SignalArray, factors: Sequence[float]) -> SignalArray:
    """`samples` with each channel times its factor: at once in memory, on slicing otherwise."""
    numbers = np.asarray(factors, dtype=np.float64)
    if isinstance(samples, LazySamples):
        return samples.rescaled(numbers)
    return np.ascontiguousarray(np.asarray(samples) * numbers[:, None])
