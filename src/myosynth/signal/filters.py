"""Zero-phase filters, resampling, and what happens to samples that are not numbers."""

from fractions import Fraction
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, iirnotch, resample_poly, sosfiltfilt, tf2sos

from myosynth.errors import InputError, NotEnoughDataError
from myosynth.recordings import FloatArray, Recording

__all__ = ["OnNan", "band_edges", "bandpass", "filter_recording", "notch", "resample"]

OnNan = Literal["raise", "interpolate", "keep"]
"""raise: refuse; interpolate: draw a line across; keep: filter across the line and put NaN back,
so that segmentation rejects, and counts, the segments it falls in."""

UPPER_SHARE = 0.45
"""Highest upper band edge as a share of the sampling rate: 0.9 of the Nyquist frequency."""

_NOTCH_Q = 30.0
_RATIO_TOLERANCE = 1e-9
_LARGEST_RATIO = 20_000  # beyond it a polyphase filter bank outgrows the signal
_HALF_TAPS = 32
_N_PHASES = 2048


def band_edges(fs: float, low_hz: float = 10.0, high_hz: float = 500.0) -> tuple[float, float]:
    """The band that exists at this rate: ``(low_hz, min(high_hz, 0.45 * fs))``.

    At 1000 Hz the Nyquist frequency is 500 Hz, so that a 10–500 Hz band-pass does not exist; its
    upper edge becomes 450 Hz.

    Parameters
    ----------
    fs : float
        Sampling rate in Hz.
    low_hz, high_hz : float
        The band asked for, 0 < `low_hz` < `high_hz`.

    Returns
    -------
    tuple of float
        Lower and upper edge in Hz.

    Raises
    ------
    InputError
        If no band is left.
    """
    if not 0 < low_hz < high_hz:
        raise InputError(f"a band needs 0 < low_hz < high_hz, got {low_hz:g} to {high_hz:g} Hz")
    used = min(high_hz, UPPER_SHARE * fs)
    if used <= low_hz:
        raise InputError(
            f"at {fs:.7g} Hz the band must end by {UPPER_SHARE * fs:.7g} Hz, which is not above "
            f"its lower edge of {low_hz:g} Hz; lower low_hz or use a recording of a higher rate"
        )
    return low_hz, used


def bandpass(
    data: FloatArray, fs: float, low_hz: float, high_hz: float, order: int = 4
) -> FloatArray:
    """Zero-phase Butterworth band-pass along the last axis.

    `order` is that of the low-pass prototype, as scipy and MATLAB take it: order 4 gives a
    band-pass of 8 poles, a slope of 4th order at either edge. The filter runs forward and
    backward, so that its phase is zero and its magnitude is squared: −6 dB instead of −3 dB at
    both edges, and the slopes of a filter of twice the order.

    Parameters
    ----------
    data : array, (..., n_times)
        Samples, finite.
    fs : float
        Sampling rate in Hz.
    low_hz, high_hz : float
        Band edges in Hz, inside (0, fs / 2).
    order : int
        Order of the prototype, 1 to 12.

    Returns
    -------
    array, (..., n_times)

    Raises
    ------
    InputError
        If the order is outside its range, or there are fewer than two samples.

    Notes
    -----
    Source: Butterworth, Experimental Wireless 7 (1930); run both ways: Gustafsson,
    doi 10.1109/78.492552 (the ends are extended by odd reflection instead).
    """
    if not 1 <= order <= 12:
        raise InputError(f"the filter order must be 1 to 12, not {order}")
    sos = butter(order, [low_hz, high_hz], btype="bandpass", fs=fs, output="sos")
    return _both_ways(sos, data, round(3 * fs / low_hz))


def notch(data: FloatArray, fs: float, hz: float, q: float = _NOTCH_Q) -> FloatArray:
    """Zero-phase second-order notch at `hz` along the last axis; −3 dB width about hz / q × 1.6."""
    return _both_ways(tf2sos(*iirnotch(hz, q, fs=fs)), data, round(q * fs / hz))


def _both_ways(sos: Any, data: FloatArray, n_pad: int) -> FloatArray:
    if data.shape[-1] < 2:
        raise NotEnoughDataError(f"{data.shape[-1]} samples are too few to filter")
    filtered: FloatArray = sosfiltfilt(sos, data, axis=-1, padlen=min(n_pad, data.shape[-1] - 1))
    return filtered


def resample(data: FloatArray, fs: float, target_fs: float) -> FloatArray:
    """Resample along the last axis, with an anti-aliasing filter, to any rate.

    A ratio of small whole numbers (26 / 27 for 2000 → 1925.926 Hz, within 1e-9) goes through a
    polyphase filter; any other ratio through a windowed sinc evaluated at the exact times.

    Parameters
    ----------
    data : array, (..., n_times)
        Samples, finite.
    fs, target_fs : float
        Rates in Hz.

    Returns
    -------
    array, (..., round(n_times * target_fs / fs))
    """
    if fs == target_fs:
        return data
    n_out = round(data.shape[-1] * target_fs / fs)
    if n_out < 1:
        raise NotEnoughDataError(f"{data.shape[-1]} samples leave none at {target_fs:.7g} Hz")
    ratio = _rational(target_fs / fs)
    if max(ratio.numerator, ratio.denominator) > _LARGEST_RATIO:
        return _sinc_resample(data, target_fs / fs, n_out)
    out: FloatArray = resample_poly(
        data, ratio.numerator, ratio.denominator, axis=-1, padtype="line"
    )[..., :n_out]
    missing = n_out - out.shape[-1]
    return out if missing <= 0 else np.concatenate([out, out[..., [-1] * missing]], axis=-1)


def _rational(value: float) -> Fraction:
    """The simplest fraction within 1e-9 of `value`, found along powers of two of denominators."""
    exact = Fraction(value)
    largest = 1
    while True:
        fraction = exact.limit_denominator(largest)
        if fraction > 0 and abs(fraction / exact - 1) <= _RATIO_TOLERANCE:
            return fraction
        largest *= 2


def _sinc_resample(data: FloatArray, ratio: float, n_out: int) -> FloatArray:
    """Kaiser-windowed sinc interpolation; its cut-off is the lower of the two Nyquist rates."""
    cutoff = min(1.0, ratio)
    half = int(np.ceil(_HALF_TAPS / cutoff))
    offsets = np.arange(-half + 1, half + 1)
    phases = np.arange(_N_PHASES + 1)[:, None] / _N_PHASES
    distance = offsets - phases
    inside = np.clip(1 - (distance / half) ** 2, 0, None)
    table = cutoff * np.sinc(cutoff * distance) * np.i0(8.0 * np.sqrt(inside)) / np.i0(8.0)
    table /= table.sum(axis=1, keepdims=True)
    ends = [(0, 0)] * (data.ndim - 1) + [(half, half + 1)]
    padded = np.pad(data, ends, mode="reflect" if data.shape[-1] > half + 1 else "edge")
    out = np.empty((*data.shape[:-1], n_out))
    for start in range(0, n_out, 1 << 14):  # bounds the table of taps in memory
        times = np.arange(start, min(start + (1 << 14), n_out)) / ratio
        whole = np.minimum(times.astype(np.intp), data.shape[-1] - 1)
        place = (times - whole) * _N_PHASES
        row = np.minimum(place.astype(np.intp), _N_PHASES - 1)
        part = (place - row)[:, None]
        taps = table[row] * (1 - part) + table[row + 1] * part
        around = padded[..., whole[:, None] + offsets + half]
        out[..., start : start + len(times)] = np.einsum("...nk,nk->...n", around, taps)
    return out


def filter_recording(
    recording: Recording,
    *,
    low_hz: float = 10.0,
    high_hz: float = 500.0,
    order: int = 4,
    notch_hz: float | None = None,
    notch_harmonics: int = 3,
    target_fs: float | None = None,
    on_nan: OnNan = "raise",
) -> Recording:
    """Band-pass, optionally notch and resample a recording, channel by channel, in zero phase.

    Parameters
    ----------
    recording : Recording
        In volts; loaded one channel at a time.
    low_hz, high_hz, order
        As in `bandpass`. The upper edge is lowered to 0.45 of the rate, or of `target_fs` where
        that is lower (`band_edges`); the record keeps the edge asked for and the one used.
    notch_hz : float, optional
        Mains frequency, 50 or 60 Hz.
    notch_harmonics : int
        How many multiples of `notch_hz`, itself included, are notched below the upper edge.
    target_fs : float, optional
        The rate to resample to, Hz.
    on_nan : {"raise", "interpolate", "keep"}
        What to do with samples that are not numbers; see `OnNan`.

    Returns
    -------
    Recording
        Float32, with what was done appended to `Recording.filters`.

    Raises
    ------
    InputError
        If the band does not exist at this rate, or samples are not finite.
    """
    if on_nan not in ("raise", "interpolate", "keep"):
        raise InputError(f"on_nan must be raise, interpolate or keep, not {on_nan!r}")
    fs_out = recording.fs if target_fs is None else float(target_fs)
    if not (np.isfinite(fs_out) and fs_out > 0):
        raise InputError(f"target_fs must be a positive number of hertz, not {target_fs!r}")
    low, high = band_edges(min(recording.fs, fs_out), low_hz, high_hz)
    notches = [notch_hz * k for k in range(1, notch_harmonics + 1)] if notch_hz else []
    notches = [hz for hz in notches if hz < high]
    n_out = round(recording.n_times * fs_out / recording.fs)
    out = np.empty((recording.n_channels, n_out), dtype=np.float32)
    n_bad = 0
    for channel, name in enumerate(recording.channel_names):
        samples = np.asarray(recording.data[channel, :], dtype=np.float64)
        bad = ~np.isfinite(samples)
        if bad.any():
            n_bad += int(bad.sum())
            samples = _bridge(samples, bad, on_nan, f"channel {name} of {recording.name}")
        filtered = bandpass(samples, recording.fs, low, high, order)
        for hz in notches:
            filtered = notch(filtered, recording.fs, hz)
        out[channel] = resample(filtered, recording.fs, fs_out)
        if on_nan == "keep" and bad.any():
            times = np.arange(n_out) * (recording.fs / fs_out)
            last = recording.n_times - 1
            near = [np.minimum(f(times).astype(np.intp), last) for f in (np.floor, np.ceil)]
            out[channel, bad[near[0]] | bad[near[1]]] = np.nan
    records: list[dict[str, Any]] = []
    if n_bad:
        records.append({"name": "nan", "rule": on_nan, "n_samples": n_bad})
    records.append(
        {
            "name": "bandpass",
            "family": "butterworth",
            "order": order,
            "zero_phase": True,
            "low_hz": low,
            "high_hz": high,
            "requested_high_hz": high_hz,
        }
    )
    if notches:
        records.append({"name": "notch", "hz": notches, "q": _NOTCH_Q, "zero_phase": True})
    if fs_out != recording.fs:
        records.append({"name": "resample", "from_fs": recording.fs, "to_fs": fs_out})
    return recording.replace(data=out, fs=fs_out, filters=[*recording.filters, *records])


def _bridge(
    samples: NDArray[np.float64], bad: NDArray[np.bool_], on_nan: OnNan, where: str
) -> NDArray[np.float64]:
    if on_nan == "raise":
        raise InputError(
            f"{where} holds {int(bad.sum())} samples that are not numbers (NaN or infinite), the "
            f"first at sample {int(np.argmax(bad))}; mend the recording, or choose "
            "on_nan interpolate (draw a line across) or keep (reject those segments)"
        )
    if bad.all():
        raise InputError(f"{where} holds no number at all; leave the channel out")
    good = np.flatnonzero(~bad)
    bridged: NDArray[np.float64] = np.interp(np.arange(len(samples)), good, samples[good])
    return bridged
