"""Repairs that a user asks for by name; each is noted in `Recording.filters`."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, sosfiltfilt

from myosynth.errors import InputError, NotEnoughDataError
from myosynth.recordings import FloatArray, Recording
from myosynth.signal.heart import find_heart_beats

__all__ = ["EcgMethod", "highpass", "remove_ecg", "shows_heart", "subtract_template"]

Array = NDArray[np.float64]
EcgMethod = Literal["template", "highpass", "template+highpass"]

_HIGHPASS_HZ = 30.0  # Drake & Callaghan 2006
_BEFORE_S, _AFTER_S = 0.25, 0.45  # P wave to T wave
_TAPER_S = 0.05
_BASELINE_HZ = 0.5
_TEMPLATE_TOP_HZ = 60.0  # next to nothing of an ECG lies above, but EMG does
_N_NEIGHBOURS = 60
_SCALE = (0.3, 1.7)
_LEAST_BEATS = 10


def remove_ecg(
    recording: Recording,
    *,
    method: EcgMethod = "template",
    beats_s: FloatArray | None = None,
    highpass_hz: float = _HIGHPASS_HZ,
) -> Recording:
    """Remove heart beats from every channel.

    ``template`` subtracts the mean of the neighbouring beats from each beat and leaves the rest of
    the signal, its spectrum too, as it was; the published comparison finds it, with a moderate
    high-pass, the best compromise. ``highpass`` is the usual 30-Hz filter: simple, and it takes
    the EMG below 30 Hz with it. ``template+highpass`` does one after the other.

    Parameters
    ----------
    recording : Recording
        Finite samples, V. Wide band, or high-passed at 10 Hz.
    method : {"template", "highpass", "template+highpass"}
    beats_s : array, (n_beats,), optional
        R peaks in seconds from an ECG channel or elsewhere; found in the channel that shows them
        most clearly where not given.
    highpass_hz : float
        Edge of the high-pass, 5–60 Hz.

    Returns
    -------
    Recording
        Float32, with an entry ``ecg`` in its filters that holds the method, the number of beats
        and the channel that they were found in.

    Raises
    ------
    InputError
        If the method is unknown, samples are not finite, or no heart beats are found.

    Notes
    -----
    Sources: Drake & Callaghan 2006, doi 10.1016/j.jelekin.2005.07.003 (30-Hz fourth-order
    Butterworth, template subtraction); Xu et al. 2020, doi 10.3390/s20174890 (comparison).
    """
    if method not in ("template", "highpass", "template+highpass"):
        raise InputError(f"method must be template, highpass or template+highpass, not {method!r}")
    data: FloatArray = np.asarray(recording.load(), dtype=np.float64)
    if not np.isfinite(data).all():
        raise InputError(
            f"{recording.name} holds samples that are not numbers; interpolate them "
            "(filter_recording, on_nan interpolate) before the heart beats are removed"
        )
    entry: dict[str, Any] = {"name": "ecg", "method": method}
    if method != "highpass":
        if beats_s is None:
            beats_s, entry["beats_from"] = _clearest(recording, data)
        entry["n_beats"] = len(beats_s)
        data = np.stack([subtract_template(row, recording.fs, beats_s) for row in data])
    if method != "template":
        data = highpass(data, recording.fs, highpass_hz)
        entry |= {"highpass_hz": highpass_hz, "order": 4, "zero_phase": True}
    return recording.replace(data=data.astype(np.float32), filters=[*recording.filters, entry])


def shows_heart(recording: Recording) -> bool:
    """Whether heart beats are found in any channel (`find_heart_beats`); NaN counts as zero."""
    data: FloatArray = np.nan_to_num(np.asarray(recording.load(), dtype=np.float64))
    return any(find_heart_beats(row, recording.fs).are_heart_beats for row in data)


def _clearest(recording: Recording, data: FloatArray) -> tuple[FloatArray, str]:
    """The beats of the channel that shows them most clearly, and its name."""
    found = [
        (find_heart_beats(row, recording.fs), name)
        for row, name in zip(data, recording.channel_names, strict=True)
    ]
    believed = [each for each in found if each[0].are_heart_beats]
    if not believed:
        raise InputError(
            f"no heart beats are found in {recording.name}: nothing needs to be removed, or pass "
            "beats_s from an ECG channel, or use method highpass"
        )
    heart, name = max(believed, key=lambda each: each[0].likeness)
    return heart.times_s, name


def highpass(data: FloatArray, fs: float, hz: float, order: int = 4) -> FloatArray:
    """Zero-phase Butterworth high-pass along the last axis; −6 dB at `hz` (runs both ways).

    Parameters
    ----------
    data : array, (..., n_times)
        Finite.
    fs : float
        Hz.
    hz : float
        Edge, 0 < `hz` < fs / 2.
    order : int
        Of one pass.

    Raises
    ------
    InputError
        If the edge is out of range.
    """
    if not 0 < hz < fs / 2:
        raise InputError(f"a high-pass at {fs:.7g} Hz needs an edge of 0–{fs / 2:g} Hz, not {hz:g}")
    sos = butter(order, hz, btype="highpass", fs=fs, output="sos")
    padding = min(round(3 * fs / hz), data.shape[-1] - 1)
    filtered: FloatArray = sosfiltfilt(sos, data, axis=-1, padlen=padding)
    return filtered


def subtract_template(samples: FloatArray, fs: float, beats_s: FloatArray) -> Array:
    """Subtract from each beat the weighted mean of its neighbours, scaled to fit.

    The template of a beat is the mean of the 60 beats nearest to it, each weighted by the inverse
    power of the EMG around it, low-passed at 60 Hz; its size is fitted to the beat by least
    squares within 0.3–1.7.

    Parameters
    ----------
    samples : array, (n_times,)
        One channel, V.
    fs : float
        Hz.
    beats_s : array, (n_beats,)
        R peaks, s.

    Returns
    -------
    array, (n_times,)

    Raises
    ------
    NotEnoughDataError
        If there are fewer than ten beats to make a template of.
    """
    before, after = round(_BEFORE_S * fs), round(_AFTER_S * fs)
    beats = np.rint(np.asarray(beats_s) * fs).astype(int)
    beats = beats[(beats >= 0) & (beats < len(samples))]
    if len(beats) < _LEAST_BEATS:
        raise NotEnoughDataError(
            f"{len(beats)} heart beats are too few for a template, {_LEAST_BEATS} are needed; "
            "use method highpass"
        )
    low = _lowpassed(highpass(samples, fs, _BASELINE_HZ, order=2), fs)
    rest = samples - low
    padded = np.pad(low, (before, after))
    windows = padded[beats[:, None] + np.arange(before + after)]
    weights = 1 / np.maximum(_power_around(rest, beats, before, after), 1e-30)
    whole = (beats >= before) & (beats + after <= len(samples))
    cleaned: Array = np.array(samples, dtype=np.float64)
    for i, beat in enumerate(beats.tolist()):
        near = np.argsort(np.abs(np.arange(len(beats)) - i), kind="stable")
        near = near[whole[near]][:_N_NEIGHBOURS]
        template = np.average(windows[near], axis=0, weights=weights[near])
        # a beat ends where the next one begins
        length = min(after, beats[i + 1] - before - beat) if i + 1 < len(beats) else after
        first, last = max(0, beat - before), min(len(samples), beat + max(length, before // 2))
        piece = template[first - beat + before : last - beat + before]
        size = float(np.dot(low[first:last], piece) / max(float(np.dot(piece, piece)), 1e-300))
        taper = _taper(len(piece), round(_TAPER_S * fs))
        cleaned[first:last] -= np.clip(size, *_SCALE) * piece * taper
    return cleaned


def _lowpassed(samples: FloatArray, fs: float) -> Array:
    sos = butter(4, min(_TEMPLATE_TOP_HZ, 0.4 * fs), fs=fs, output="sos")
    return np.asarray(sosfiltfilt(sos, samples))


def _power_around(rest: Array, beats: NDArray[np.int_], before: int, after: int) -> Array:
    """Mean power above the template's band around each beat."""
    total = np.concatenate([[0.0], np.cumsum(rest**2)])
    first = np.maximum(beats - before, 0)
    last = np.minimum(beats + after, len(rest))
    return np.asarray((total[last] - total[first]) / np.maximum(last - first, 1))


def _taper(length: int, edge: int) -> Array:
    """Ones with half-cosine ends, so that a beat is taken away without steps."""
    distance = np.minimum(np.arange(length), np.arange(length)[::-1]) + 0.5
    return np.asarray(0.5 - 0.5 * np.cos(np.pi * np.minimum(distance / edge, 1.0)))
