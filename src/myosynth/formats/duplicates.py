"""Recordings that are copies of one another, found in one pass."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import uniform_filter1d

from myosynth.recordings import FloatArray, Recording

__all__ = ["DuplicateFinder", "find_duplicates"]

_BIN_S = 0.02
_MAX_BINS = 3000  # one minute tells; what is kept of a recording stays small
_MIN_BINS = 100
_CORRELATION = 0.95
_SMOOTH_BINS = 9
_FAST_CORRELATION = 0.25
_MICROVOLT = 1e-6


@dataclass(frozen=True)
class _Print:
    name: str
    digest: str
    shape: FloatArray  # (n_channels, n_bins) log RMS per bin, each channel standardised


class DuplicateFinder:
    """Compares each recording with all earlier ones; keeps a small print of each.

    Two recordings count as copies if their samples, rounded to 1 µV, are the same, or if their
    log RMS in bins of 20 ms (first minute) correlates with r ≥ 0.95 at the best lag, which a change
    of gain, offset, start, rate or a little noise does not hide. Movements in the same rhythm do
    that too: what changes faster must correlate with r ≥ 0.25 as well.
    """

    def __init__(self) -> None:
        self._prints: list[_Print] = []
        self.pairs: list[tuple[str, str]] = []

    def add(self, recording: Recording) -> str:
        """Note a recording; return the name of the earlier one that it copies, or an empty text."""
        new = _print_of(recording)
        first = next((old.name for old in self._prints if _is_copy(old, new)), "")
        if first:
            self.pairs.append((first, new.name))
        else:
            self._prints.append(new)
        return first


def find_duplicates(recordings: Iterable[Recording]) -> list[tuple[str, str]]:
    """Pairs of names (original, copy) among `recordings`, which are read once, one at a time."""
    finder = DuplicateFinder()
    for recording in recordings:
        finder.add(recording)
    return finder.pairs


def _print_of(recording: Recording) -> _Print:
    n_times = min(recording.n_times, int(_MAX_BINS * _BIN_S * recording.fs) + 1)
    samples = np.nan_to_num(np.asarray(recording.data[:, :n_times], dtype=np.float64))
    digest = _digest(samples, recording)
    edges = (np.arange(int(n_times / recording.fs / _BIN_S) + 1) * _BIN_S * recording.fs).astype(
        int
    )
    if len(edges) < 2 or edges[1] == 0:
        return _Print(recording.name, digest, np.empty((recording.n_channels, 0)))
    centred = samples - samples.mean(axis=1, keepdims=True)
    power = np.add.reduceat(centred[:, : edges[-1]] ** 2, edges[:-1], axis=1) / np.diff(edges)
    floor = 1e-6 * power.mean(axis=1, keepdims=True) + np.finfo(float).tiny
    return _Print(recording.name, digest, _standardised(np.log(power + floor)))


def _digest(samples: FloatArray, recording: Recording) -> str:
    """Of the samples rounded to 1 µV, or finer where they are small; none where all are 0."""
    peak = float(np.abs(samples).max(initial=0.0))
    if not 0 < peak < np.inf:
        return ""
    step = min(_MICROVOLT, 10.0 ** np.floor(np.log10(peak) - 2))
    rounded = np.rint(samples / step).astype(np.int64)
    said = repr((recording.n_times, rounded.shape, step)).encode()
    return hashlib.sha256(said + rounded.tobytes()).hexdigest()


def _standardised(rows: FloatArray) -> FloatArray:
    spread = rows.std(axis=1, keepdims=True)
    return np.asarray((rows - rows.mean(axis=1, keepdims=True)) / np.where(spread > 0, spread, 1))


def _is_copy(old: _Print, new: _Print) -> bool:
    if old.digest and old.digest == new.digest:
        return True
    a, b = old.shape, new.shape
    if len(a) != len(b) or min(a.shape[1], b.shape[1]) < _MIN_BINS:
        return False
    size = 1 << int(a.shape[1] + b.shape[1] - 1).bit_length()
    spectrum = np.fft.rfft(a, size) * np.conj(np.fft.rfft(b, size))
    lag = int(np.argmax(np.fft.irfft(spectrum, size).sum(axis=0)))
    lag -= size if lag > size // 2 else 0
    n = min(a.shape[1] - max(0, lag), b.shape[1] + min(0, lag))
    if n < max(_MIN_BINS, min(a.shape[1], b.shape[1]) // 2):
        return False
    one = _standardised(a[:, max(0, lag) :][:, :n])
    two = _standardised(b[:, max(0, -lag) :][:, :n])
    if float((one * two).mean()) < _CORRELATION:
        return False
    fast = (
        _standardised(each - uniform_filter1d(each, _SMOOTH_BINS, axis=1)) for each in (one, two)
    )
    return float(np.multiply(*fast).mean()) >= _FAST_CORRELATION
