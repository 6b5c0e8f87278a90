"""Fingerprints of segments, and how alike two of them are whatever the disguise.

Each fingerprint keeps the fine detail that chance does not repeat and drops what segments of one
task share (level, colour, mains lines, rhythm): a copy stands far above, another recording of the
same person does not. Similarities are correlations: 0 nothing alike, 1 the same.

- waveform: phase correlation, best lag, time forward and reversed. Spectra are whitened bin by bin,
  so that neither gain nor colour nor mains hum makes two segments alike. Source: Knapp & Carter
  (1976), doi:10.1109/TASSP.1976.1162830.
- periodogram: log magnitude of the whole segment minus its local mean over frequency.
- stft: log magnitude minus its local mean over time and frequency, best lag, at three window
  lengths, since a copied magnitude survives new phases only near the window it was copied with.
- envelope: log power in eight bands without what all bands share, best lag: finds an envelope that
  was copied under a new carrier. So little detail gives hints, not copies (`HINTS`).

All are blind to gain and sign. Lags are circular.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import ifft, irfft, next_fast_len, rfft
from scipy.ndimage import uniform_filter1d

__all__ = ["FINGERPRINTS", "HINTS", "Fingerprint", "block_similarity", "fingerprints"]

Complex = NDArray[np.complex64]
Real32 = NDArray[np.float32]

MAX_CHANNELS = 8
"""Of more channels (grids), this many evenly spaced ones are compared."""
LOW_HZ, HIGH_SHARE = 15.0, 0.45
_WAVE_BINS = 256  # per channel: 15–100 Hz of three seconds, where EMG has most of its power
_PERIODOGRAM_BINS = 1200
_STFT_HIGH_HZ = 450.0
_STFT_WINDOWS_S = (0.045, 0.128, 0.36)
_HOPS = 3  # per window
_ENVELOPE_BANDS, _ENVELOPE_WINDOW_S = 8, 0.128
_DETAIL_LIMIT = 3.0  # in ln power: one line or one zero must not decide a correlation


@dataclass(frozen=True)
class Fingerprint:
    """One kind of fingerprint of many segments.

    Parameters
    ----------
    values : array, (n_lag_bins, n_segments, n_columns)
        Fourier transform over lag; real with one lag bin where there is no lag to search.
    n_lags : int
        How many lags are tried.
    both_ways : bool
        Whether reversed time is tried too.
    """

    values: Any
    n_lags: int = 1
    both_ways: bool = False

    def __len__(self) -> int:
        return int(self.values.shape[1])

    def take(self, rows: slice) -> "Fingerprint":
        return Fingerprint(self.values[:, rows], self.n_lags, self.both_ways)


def fingerprints(name: str, signals: NDArray[Any], fs: float) -> list[Fingerprint]:
    """The fingerprints of the attack `name`, a key of `FINGERPRINTS`.

    Parameters
    ----------
    name : str
        ``stft``, ``periodogram`` or ``waveform``.
    signals : array, (n_segments, n_channels, n_times)
        Volts; finite.
    fs : float
        Sampling rate, Hz.
    """
    n_channels = signals.shape[1]
    chosen = np.unique(np.linspace(0, n_channels - 1, min(n_channels, MAX_CHANNELS)).astype(int))
    # float32 sums of microvolts underflow when squared: centre, then scale by the peak
    centred = signals[:, chosen] - signals[:, chosen].mean(axis=-1, keepdims=True, dtype=np.float64)
    peak = np.abs(centred).max(axis=-1, keepdims=True)
    peak[np.ptp(signals[:, chosen], axis=-1, keepdims=True) == 0] = np.inf  # not even rounding
    scaled = (centred / peak).astype(np.float32)
    return FINGERPRINTS[name](scaled, fs)


def _waveform(signals: Real32, fs: float) -> list[Fingerprint]:
    first, last = _bins(signals.shape[-1], fs, _WAVE_BINS)
    spectrum = rfft(signals, axis=-1)[..., first:last]
    magnitude = np.abs(spectrum)
    level = np.sqrt(np.mean(magnitude**2, axis=-1, keepdims=True))
    # whitening leaves the phase; bins far below the rest are rounding and stay small
    white = spectrum / np.maximum(magnitude, np.maximum(1e-3 * level, 1e-30))
    n_bins = last - first
    n_lags = next_fast_len(2 * n_bins)
    white *= np.sqrt(n_lags / (n_bins * signals.shape[1]))
    values = np.ascontiguousarray(white.transpose(2, 0, 1), dtype=np.complex64)
    return [Fingerprint(values, n_lags, both_ways=True)]


def _periodogram(signals: Real32, fs: float) -> list[Fingerprint]:
    first, last = _bins(signals.shape[-1], fs, _PERIODOGRAM_BINS)
    power = np.abs(rfft(signals, axis=-1)[..., first:last]) ** 2
    detail = np.log(power + 1e-4 * power.mean(axis=-1, keepdims=True) + 1e-30)
    detail -= uniform_filter1d(detail, 31, axis=-1, mode="nearest")
    flat = detail.clip(-2 * _DETAIL_LIMIT, _DETAIL_LIMIT).reshape(len(detail), -1)
    return [Fingerprint(_unit(flat)[None])]


def _stft(signals: Real32, fs: float) -> list[Fingerprint]:
    without_lines = _without_lines(signals)
    return [_map(without_lines, fs, window_s) for window_s in _STFT_WINDOWS_S]


def _map(signals: Real32, fs: float, window_s: float) -> Fingerprint:
    n_segments, n_channels, n_times = signals.shape
    index, window = _frames(n_times, fs, window_s)
    n_fft = index.shape[1]
    first, last = _bins(n_fft, fs, round(_STFT_HIGH_HZ * n_fft / fs))
    maps = np.empty((n_segments, len(index), n_channels * (last - first)), dtype=np.float32)
    for signal, into in zip(signals, maps, strict=True):
        power = np.abs(rfft(signal[:, index] * window, axis=-1)[..., first:last]) ** 2
        into[:] = _detail(power).transpose(1, 0, 2).reshape(len(index), -1)
    return _over_lag(maps)


def _envelope(signals: Real32, fs: float) -> list[Fingerprint]:
    n_segments, n_channels, n_times = signals.shape
    index, window = _frames(n_times, fs, _ENVELOPE_WINDOW_S)
    n_fft = index.shape[1]
    first, last = _bins(n_fft, fs, round(_STFT_HIGH_HZ * n_fft / fs))
    edges = np.unique(np.geomspace(first, last, _ENVELOPE_BANDS + 1).round().astype(int))
    maps = np.empty((n_segments, len(index), n_channels * (len(edges) - 1)), dtype=np.float32)
    for signal, into in zip(_without_lines(signals), maps, strict=True):
        power = np.abs(rfft(signal[:, index] * window, axis=-1)) ** 2
        band = np.add.reduceat(power, edges, axis=-1)[..., :-1]
        level = np.log(band + 1e-3 * band.mean(axis=1, keepdims=True) + 1e-30)
        level -= level.mean(axis=1, keepdims=True)
        level -= level.mean(axis=2, keepdims=True)
        level /= level.std(axis=1, keepdims=True) + 0.05
        into[:] = level.transpose(1, 0, 2).reshape(len(index), -1)
    return [_over_lag(maps)]


def _frames(n_times: int, fs: float, window_s: float) -> tuple[NDArray[np.intp], Real32]:
    """Positions (n_frames, n_fft) and taper; circular, so that a rolled copy is a rolled map."""
    n_fft = max(16, min(round(window_s * fs), n_times // 4))
    n_frames = max(4, round(_HOPS * n_times / n_fft))
    starts = np.round(np.arange(n_frames) * n_times / n_frames).astype(int)
    window = np.hanning(n_fft + 1)[:-1].astype(np.float32)
    return (starts[:, None] + np.arange(n_fft)) % n_times, window


def _over_lag(maps: Real32) -> Fingerprint:
    flat = _unit(maps.reshape(len(maps), -1)).reshape(maps.shape)
    spectrum = rfft(flat, axis=1).transpose(1, 0, 2)
    return Fingerprint(np.ascontiguousarray(spectrum, dtype=np.complex64), maps.shape[1])


def _without_lines(signals: Real32) -> Real32:
    """Mains hum beats with a rhythm in the same way in every segment: lines are cut to three times
    the local level of the whole segment's spectrum."""
    spectrum = rfft(signals, axis=-1)
    log_magnitude = np.log(np.abs(spectrum) + 1e-12)
    local = uniform_filter1d(log_magnitude, 31, axis=-1, mode="nearest")
    spectrum *= np.exp(np.minimum(0, local + np.log(3) - log_magnitude))
    return np.asarray(irfft(spectrum, signals.shape[-1], axis=-1), dtype=np.float32)


def _detail(power: Real32) -> Real32:
    """(n_channels, n_frames, n_bins) of power to what is particular to each place in the map."""
    local = _local_mean(power)
    detail = np.log(power + 0.3 * local + 1e-30)  # the depth of a zero is chance
    detail -= _local_mean(detail)
    detail -= detail.mean(axis=1, keepdims=True)  # lines that last
    detail -= detail.mean(axis=2, keepdims=True)  # the rhythm
    clipped: Real32 = detail.clip(-_DETAIL_LIMIT, _DETAIL_LIMIT)
    return clipped


def _local_mean(maps: Real32) -> Real32:
    over_time = uniform_filter1d(maps, 2 * _HOPS + 1, axis=1, mode="wrap")
    mean: Real32 = uniform_filter1d(over_time, 5, axis=2, mode="nearest")
    return mean


FINGERPRINTS: dict[str, Callable[[Real32, float], list[Fingerprint]]] = {
    "stft": _stft,
    "periodogram": _periodogram,
    "waveform": _waveform,
    "envelope": _envelope,
}
"""Attack → function of (signals, fs); the attack's score is the best over its fingerprints."""

HINTS = ("envelope",)
"""Those that are shown but never decide a verdict."""


def block_similarity(one: Fingerprint, two: Fingerprint, n_jobs: int = 1) -> Real32:
    """Similarity of every segment of `one` with every one of `two`: (n_one, n_two).

    Memory is n_one × n_two × n_lags: pass a block at a time.
    """
    right = two.values.transpose(0, 2, 1)
    if one.n_lags == 1:
        plain: Real32 = one.values[0] @ right[0]
        return plain
    cross = one.values @ right.conj()
    if not one.both_ways:
        best: Real32 = irfft(cross, one.n_lags, axis=0, workers=n_jobs).max(axis=0)
        return best
    # conjugation reverses time
    reverse = _largest_modulus(one.values @ right, one.n_lags, n_jobs)
    return np.maximum(_largest_modulus(cross, one.n_lags, n_jobs), reverse)


def _largest_modulus(cross: Complex, n_lags: int, n_jobs: int) -> Real32:
    """Over lag; blind to the sign and to the band's place in the spectrum."""
    by_lag = ifft(cross, n_lags, axis=0, overwrite_x=True, workers=n_jobs)
    power = np.square(by_lag.real)
    power += np.square(by_lag.imag)
    best: Real32 = np.sqrt(power.max(axis=0), dtype=np.float32)
    return best


def _bins(n_times: int, fs: float, most: int) -> tuple[int, int]:
    first = max(1, round(LOW_HZ * n_times / fs))
    last = min(first + most, int(HIGH_SHARE * n_times) + 1)
    return first, max(last, first + 2)


def _unit(flat: Real32) -> Real32:
    """Rows of norm one; a row without detail (silence, and its rounding) becomes zero."""
    norm = np.linalg.norm(flat, axis=1, keepdims=True)
    norm[norm < 1e-3 * np.sqrt(flat.shape[1])] = np.inf
    return np.asarray(flat / norm, dtype=np.float32)
