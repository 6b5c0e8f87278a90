"""EMG features by segment and channel: what fidelity, utility and the exposure tools look at.

Amplitudes, band shares, the envelope's variation and both kurtoses are natural logarithms: they
are positive, skewed and vary by factors between people, so that only their logarithm has a
meaningful standard deviation. Rates, frequencies and correlations stay as they are.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import next_fast_len, rfft, rfftfreq
from scipy.ndimage import uniform_filter1d

from myosynth.errors import InputError
from myosynth.recordings import FloatArray, SignalArray

__all__ = [
    "FEATURES",
    "FEATURE_GROUPS",
    "Feature",
    "Views",
    "band_limits",
    "envelope",
    "feature_table",
    "mean_psd",
    "segment_psd",
]

Array = NDArray[np.float64]

FEATURE_GROUPS = ("time", "spectral", "envelope", "higher_order")
N_BANDS = 6
LOW_HZ, HIGH_HZ = 10.0, 500.0
RATE_HZ = (0.5, 4.0)
_FLOOR_V = 1e-12  # a picovolt, below the noise of any electrode: keeps the logarithm finite
_BLOCK_SAMPLES = 1 << 19  # 4 MiB of float64 at a time stays in the cache and bounds the memory
_ENVELOPE_FS = 50.0
_ENVELOPE_TOP_HZ = 10.0  # a 100-ms window passes nothing above its first zero at 10 Hz


@dataclass(frozen=True)
class Feature:
    """One column of `feature_table`.

    Parameters
    ----------
    group : str
        One of `FEATURE_GROUPS`.
    unit : str
        Of the value; ``ln V`` means the natural logarithm of volts.
    function : callable
        From `Views` to (n_rows,).
    """

    group: str
    unit: str
    function: "Callable[[Views], Array]"


def band_limits(fs: float) -> Array:
    """Edges of the `N_BANDS` bands: geometric from 10 Hz to 500 Hz, or 0.45 fs where it is lower.

    Raises
    ------
    InputError
        If `fs` leaves no band above 10 Hz.
    """
    top = min(HIGH_HZ, 0.45 * fs)
    if top < 2 * LOW_HZ:
        raise InputError(f"EMG features need a sampling rate of at least 45 Hz, not {fs:.7g} Hz")
    return np.geomspace(LOW_HZ, top, N_BANDS + 1)


def envelope(signals: FloatArray, fs: float, window_s: float = 0.1) -> Array:
    """Moving RMS along the last axis, mirrored at the ends.

    Parameters
    ----------
    signals : array, (…, n_times)
        In volts.
    fs : float
        Sampling rate, Hz.
    window_s : float
        Length of the sliding window, seconds.

    Returns
    -------
    array, (…, n_times)
        In volts, ≥ 0.
    """
    size = max(1, round(window_s * fs))
    power = uniform_filter1d(np.square(signals, dtype=np.float64), size, axis=-1, mode="reflect")
    # the running sum of the filter can end a hair below zero
    root: Array = np.sqrt(np.maximum(power, 0.0, out=power), out=power)
    return root


def segment_psd(signals: FloatArray, fs: float) -> tuple[Array, Array]:
    """Welch power spectral density along the last axis: Hann taper of about 0.25 s, half overlap.

    Parameters
    ----------
    signals : array, (…, n_times)
        In volts.
    fs : float
        Sampling rate, Hz.

    Returns
    -------
    frequencies : array, (n_frequencies,)
        Hz.
    psd : array, (…, n_frequencies)
        V²/Hz, one-sided.

    Source: Welch (1967), doi:10.1109/TAU.1967.1161901.
    """
    n_times = signals.shape[-1]
    n_fft = min(2 * next_fast_len(round(0.125 * fs)), n_times // 2 * 2)  # always even
    hop = max(1, n_fft // 2)
    window = np.hanning(n_fft + 2)[1:-1]
    frames = np.lib.stride_tricks.sliding_window_view(signals, n_fft, axis=-1)[..., ::hop, :]
    centred = frames - frames.mean(axis=-1, keepdims=True, dtype=np.float64)
    spectrum = rfft(centred * window, axis=-1)
    psd = np.mean(spectrum.real**2 + spectrum.imag**2, axis=-2) / (fs * np.sum(window**2))
    psd[..., 1:-1] *= 2
    return rfftfreq(n_fft, 1 / fs), psd


def mean_psd(signals: SignalArray, fs: float) -> tuple[Array, Array]:
    """Mean over segments of `segment_psd`, a block of segments at a time.

    Parameters
    ----------
    signals : array, (n_segments, n_channels, n_times)
        In volts.
    fs : float
        Sampling rate, Hz.

    Returns
    -------
    frequencies : array, (n_frequencies,)
        Hz.
    psd : array, (n_channels, n_frequencies)
        V²/Hz, one-sided.
    """
    _check(signals)
    total: Any = 0.0
    frequencies = np.empty(0)
    for block in _blocks(signals):
        frequencies, psd = segment_psd(signals[block], fs)
        total = total + psd.sum(axis=0)
    return frequencies, total / signals.shape[0]


class Views:
    """Signals of one block and what several features share, computed when first asked for.

    Parameters
    ----------
    x : array, (n_rows, n_times)
        In volts, one row per segment and channel.
    fs : float
        Sampling rate, Hz.
    """

    def __init__(self, x: Array, fs: float) -> None:
        self.x = x
        self.fs = fs

    @cached_property
    def rms(self) -> Array:
        root: Array = np.sqrt(np.mean(self.x**2, axis=-1))
        return root

    @cached_property
    def psd(self) -> tuple[Array, Array]:
        """Frequencies and density inside the band, with a trace of power so that none is empty."""
        frequencies, psd = segment_psd(self.x, self.fs)
        edges = band_limits(self.fs)
        inside = (frequencies >= edges[0]) & (frequencies <= edges[-1])
        return frequencies[inside], psd[:, inside] + _FLOOR_V**2

    @cached_property
    def envelope(self) -> Array:
        return envelope(self.x, self.fs)

    @cached_property
    def crossings(self) -> NDArray[np.bool_]:
        """Where the sign changes to the next sample, (n_rows, n_times − 1)."""
        positive = self.x >= 0
        changed: NDArray[np.bool_] = positive[:, 1:] != positive[:, :-1]
        return changed

    @cached_property
    def rhythm(self) -> tuple[Array, Array]:
        """Frequencies (Hz) and power of the envelope's slow variation, up to 10 Hz."""
        step = max(1, round(self.fs / _ENVELOPE_FS))
        n_kept = self.envelope.shape[-1] // step
        slow = self.envelope[:, : n_kept * step].reshape(-1, n_kept, step).mean(axis=-1)
        slow = slow - slow.mean(axis=-1, keepdims=True)
        slow *= np.hanning(n_kept + 2)[1:-1]
        n_fft = next_fast_len(8 * n_kept)  # zero padding: a fine grid to find the peak on
        spectrum = rfft(slow, n_fft, axis=-1)
        frequencies = rfftfreq(n_fft, step / self.fs)
        keep = (frequencies > 0) & (frequencies <= _ENVELOPE_TOP_HZ)
        return frequencies[keep], np.abs(spectrum[:, keep]) ** 2

    @cached_property
    def rhythm_peak(self) -> tuple[Array, Array]:
        """Rate of the strongest rhythm within `RATE_HZ` and its share of the power around it."""
        frequencies, power = self.rhythm
        inside = (frequencies >= RATE_HZ[0]) & (frequencies <= RATE_HZ[1])
        if not inside.any():
            return np.zeros(len(power)), np.zeros(len(power))
        rate = frequencies[inside][np.argmax(power[:, inside], axis=-1)]
        resolution = self.fs / self.x.shape[-1]
        near = np.abs(frequencies - rate[:, None]) <= resolution
        total = power.sum(axis=-1)
        share = np.where(near, power, 0.0).sum(axis=-1) / np.where(total > 0, total, 1.0)
        return rate, share


def _log_volts(value: Array) -> Array:
    result: Array = np.log(np.maximum(value, _FLOOR_V))
    return result


def _waveform_length(views: Views) -> Array:
    return _log_volts(np.mean(np.abs(np.diff(views.x, axis=-1)), axis=-1) * views.fs)


def _zero_crossings(views: Views) -> Array:
    rate: Array = views.crossings.mean(axis=-1) * views.fs
    return rate


def _slope_sign_changes(views: Views) -> Array:
    rising = np.diff(views.x, axis=-1) >= 0
    rate: Array = np.mean(rising[:, 1:] != rising[:, :-1], axis=-1) * views.fs
    return rate


def _mean_frequency(views: Views) -> Array:
    frequencies, psd = views.psd
    mean: Array = psd @ frequencies / psd.sum(axis=-1)
    return mean


def _median_frequency(views: Views) -> Array:
    """Interpolated between bins, or its values would lie on a grid of 4 Hz."""
    frequencies, psd = views.psd
    cumulative = np.cumsum(psd, axis=-1)
    half = cumulative[:, -1] / 2
    bin_ = np.argmax(cumulative >= half[:, None], axis=-1)
    rows = np.arange(len(psd))
    below = cumulative[rows, bin_] - psd[rows, bin_]
    step = frequencies[1] - frequencies[0]
    median: Array = frequencies[bin_] + step * ((half - below) / psd[rows, bin_] - 0.5)
    return median


def _band_share(index: int) -> Callable[[Views], Array]:
    def share(views: Views) -> Array:
        frequencies, psd = views.psd
        edges = band_limits(views.fs)
        # a bin counts by the part of it that lies in the band: narrow bands are never empty
        step = frequencies[1] - frequencies[0]
        low = np.maximum(frequencies - step / 2, edges[index])
        high = np.minimum(frequencies + step / 2, edges[index + 1])
        result: Array = np.log(psd @ np.clip(high - low, 0.0, None) / (psd.sum(axis=-1) * step))
        return result

    return share


def _envelope_variation(views: Views) -> Array:
    mean = views.envelope.mean(axis=-1)
    variation = views.envelope.std(axis=-1) / np.maximum(mean, _FLOOR_V)
    result: Array = np.log(np.maximum(variation, 1e-6))
    return result


def _log_kurtosis(x: Array) -> Array:
    """ln of the fourth standardised moment: ln 3 for Gaussian noise, 0 for a square wave."""
    square = (x - x.mean(axis=-1, keepdims=True)) ** 2
    variance = square.mean(axis=-1)
    fourth = np.mean(square**2, axis=-1)
    usable = variance > _FLOOR_V**2
    ratio = np.where(usable, fourth / np.where(usable, variance**2, 1.0), 1.0)
    result: Array = np.log(np.maximum(ratio, 1.0))
    return result


def _local_kurtosis(views: Views) -> Array:
    floor = 1e-6 * views.rms[:, None] + _FLOOR_V
    return _log_kurtosis(views.x / np.maximum(views.envelope, floor))


def _amp_freq_corr(views: Views) -> Array:
    """Correlation over time; 0 where one of the two does not vary."""
    size = max(1, round(0.1 * views.fs))
    rate = uniform_filter1d(views.crossings.astype(np.float64), size, axis=-1, mode="reflect")
    amplitude = views.envelope[:, :-1]
    rate = rate - rate.mean(axis=-1, keepdims=True)
    amplitude = amplitude - amplitude.mean(axis=-1, keepdims=True)
    norm = np.sqrt(np.sum(rate**2, axis=-1) * np.sum(amplitude**2, axis=-1))
    result: Array = np.sum(rate * amplitude, axis=-1) / np.maximum(norm, 1e-20)
    return result


FEATURES: dict[str, Feature] = {
    "rms": Feature("time", "ln V", lambda views: _log_volts(views.rms)),
    "mav": Feature("time", "ln V", lambda views: _log_volts(np.mean(np.abs(views.x), axis=-1))),
    "wl": Feature("time", "ln V/s", _waveform_length),
    "zc": Feature("time", "1/s", _zero_crossings),
    "ssc": Feature("time", "1/s", _slope_sign_changes),
    "peak": Feature("time", "ln V", lambda views: _log_volts(np.max(np.abs(views.x), axis=-1))),
    "mnf": Feature("spectral", "Hz", _mean_frequency),
    "mdf": Feature("spectral", "Hz", _median_frequency),
    **{
        f"band_{i + 1}": Feature("spectral", "ln share of power", _band_share(i))
        for i in range(N_BANDS)
    },
    "env_cv": Feature("envelope", "ln ratio", _envelope_variation),
    "env_rate": Feature("envelope", "Hz", lambda views: views.rhythm_peak[0]),
    "env_rate_share": Feature("envelope", "0-1", lambda views: views.rhythm_peak[1]),
    "kurtosis": Feature("higher_order", "ln ratio", lambda views: _log_kurtosis(views.x)),
    "local_kurtosis": Feature("higher_order", "ln ratio", _local_kurtosis),
    "amp_freq_corr": Feature("higher_order", "-1-1", _amp_freq_corr),
}
"""Name → feature, in the column order of `feature_table`.

time: log RMS, mean absolute value and peak; waveform length per second; zero crossings and slope
sign changes per second without a volt threshold, so that they do not depend on the gain.
spectral: mean and median frequency, log share of the power in the bands of `band_limits`.
envelope (100 ms): log coefficient of variation, dominant rate within 0.5–4 Hz, the share of the
envelope's power within one resolution step of it. higher order: log kurtosis; log kurtosis after
division by the envelope; correlation of the envelope and the local zero-crossing rate.

Source: Hudgins, Parker & Scott (1993), doi:10.1109/10.204774 (WL, ZC, SSC, MAV); Phinyomark et al.
(2012), doi:10.1016/j.eswa.2012.01.102 (MNF, MDF, definitions of the others).
"""


def feature_table(signals: SignalArray, fs: float) -> Array:
    """Every feature of every segment and channel.

    Parameters
    ----------
    signals : array, (n_segments, n_channels, n_times)
        In volts, band-passed; numpy or anything sliced along its first axis, read in blocks.
    fs : float
        Sampling rate, Hz.

    Returns
    -------
    array, (n_segments, n_channels, n_features)
        Finite; the last axis in the order of `FEATURES`. A constant segment has an amplitude of
        one picovolt and 0 for what is undefined.

    Raises
    ------
    InputError
        If the shape is not three-dimensional, a segment is shorter than 0.25 s, or a value is NaN
        or infinite.
    """
    _check(signals)
    n_segments, n_channels, n_times = signals.shape
    band_limits(fs)
    if n_times < 0.25 * fs:
        raise InputError(
            f"segments of {n_times / fs:.3g} s are too short for features; make them ≥ 0.25 s"
        )
    table = np.empty((n_segments, n_channels, len(FEATURES)))
    for block in _blocks(signals):
        samples = np.asarray(signals[block], dtype=np.float64)
        if not np.isfinite(samples).all():
            raise InputError(
                f"segments {block.start} to {block.stop - 1} hold NaN or infinite samples; "
                "remove those segments first"
            )
        views = Views(samples.reshape(-1, n_times), fs)
        for column, feature in enumerate(FEATURES.values()):
            table[block, :, column] = feature.function(views).reshape(-1, n_channels)
    return table


def _check(signals: SignalArray) -> None:
    if len(signals.shape) != 3:
        raise InputError(
            f"signals must be (n_segments, n_channels, n_times), not of shape {signals.shape}"
        )


def _blocks(signals: SignalArray) -> list[slice]:
    n_segments, n_channels, n_times = signals.shape
    step = max(1, _BLOCK_SAMPLES // max(1, n_channels * n_times))
    return [slice(i, min(i + step, n_segments)) for i in range(0, n_segments, step)]
