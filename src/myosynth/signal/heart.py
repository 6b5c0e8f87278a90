"""Heart beats in surface EMG: where they are, and whether they are heart beats at all."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d
from scipy.signal import butter, find_peaks, sosfiltfilt

from myosynth.recordings import FloatArray

__all__ = ["HeartBeats", "find_heart_beats", "qrs_wave"]

Array = NDArray[np.float64]

_DETECTION_BAND_HZ = (5.0, 15.0)  # Pan & Tompkins 1985
_WAVE_BAND_HZ = (5.0, 40.0)  # holds a QRS complex
_INTEGRATION_S = 0.150  # ibid.
_REFRACTORY_S = 0.33  # no heart beats faster than 180 per minute at work
_SEARCH_BACK = 1.66  # mean intervals without a beat before a smaller peak is taken, ibid.
_HALF_QRS_S = 0.10
_WORKING_FS = 500.0  # Hz; plenty for waves below 40 Hz
_RATE_BPM = (40.0, 150.0)
_LARGEST_RR_CV = 0.12
_LEAST_SIGN_Z = 3.2  # one in a thousand by chance; takes eleven beats
_LEAST_LIKENESS = 0.7


@dataclass(frozen=True)
class HeartBeats:
    """What looks like a heart in one channel.

    Parameters
    ----------
    times_s : array, (n_beats,)
        R peaks in seconds from the first sample.
    rate_bpm : float
        Beats per minute, from the median interval; NaN below two beats.
    rr_cv : float
        Robust relative spread of the intervals (1.4826 MAD / median).
    polarity : float
        Share of the beats that fit the mean of the others with their own sign, 0–1. A QRS complex
        keeps its sign; a burst of EMG is as often up as down.
    likeness : float
        Median correlation of a beat with the mean of the others, −1 to 1.
    height_v : float
        Height of the mean QRS complex, 5–40 Hz, in V.
    """

    times_s: Array
    rate_bpm: float
    rr_cv: float
    polarity: float
    likeness: float
    height_v: float

    @property
    def are_heart_beats(self) -> bool:
        """Whether rate, regularity, sign and shape are those of a heart."""
        sign_z = (2 * self.polarity - 1) * np.sqrt(len(self.times_s))
        return bool(
            sign_z >= _LEAST_SIGN_Z
            and _RATE_BPM[0] <= self.rate_bpm <= _RATE_BPM[1]
            and self.rr_cv <= _LARGEST_RR_CV
            and self.likeness >= _LEAST_LIKENESS
        )


def qrs_wave(samples: FloatArray, fs: float) -> Array:
    """One channel in the band of the QRS complex, 5–40 Hz, zero phase; (n_times,) in V."""
    return _band(samples, fs, _WAVE_BAND_HZ)


def find_heart_beats(samples: FloatArray, fs: float) -> HeartBeats:
    """Find R peaks in one channel.

    Band-pass 5–15 Hz, slope, square, 150-ms integration and running thresholds with search-back
    after Pan & Tompkins 1985 (doi 10.1109/TBME.1985.325532); the peaks are then put on the largest
    deflection of their sign within 5–40 Hz.

    Parameters
    ----------
    samples : array, (n_times,)
        One channel, finite, V.
    fs : float
        Sampling rate in Hz, ≥ 100.

    Returns
    -------
    HeartBeats
        Whatever was found; `HeartBeats.are_heart_beats` tells whether to believe it.
    """
    step = max(1, int(fs / _WORKING_FS))
    rate = fs / step
    half = round(_HALF_QRS_S * rate)
    margin = 3 * half  # beats at the ends have a window too
    wave = np.pad(qrs_wave(samples, fs)[::step], margin)
    slope = np.gradient(np.pad(_band(samples, fs, _DETECTION_BAND_HZ)[::step], margin))
    energy = uniform_filter1d(slope**2, max(1, round(_INTEGRATION_S * rate)), mode="nearest")
    peaks = _accepted(energy, rate)
    peaks = peaks[(peaks >= margin) & (peaks < len(wave) - margin)]
    if len(peaks) < 4:
        return HeartBeats((peaks - margin) / rate, np.nan, np.nan, 0.5, 0.0, 0.0)
    around = wave[peaks[:, None] + np.arange(-half, half + 1)]
    largest = np.take_along_axis(around, np.abs(around).argmax(axis=1)[:, None], axis=1)[:, 0]
    sign = 1.0 if np.sum(largest > 0) >= len(peaks) / 2 else -1.0
    places = _aligned(wave, peaks - half + (sign * around).argmax(axis=1), half)
    beats = wave[places[:, None] + np.arange(-half, half + 1)]
    intervals = np.diff(places) / rate
    middle = float(np.median(intervals))
    spread = 1.4826 * float(np.median(np.abs(intervals - middle)))
    return HeartBeats(
        times_s=np.clip((places - margin) / rate, 0, (len(samples) - 1) / fs),
        rate_bpm=60.0 / middle if middle > 0 else np.nan,
        rr_cv=spread / middle if middle > 0 else np.nan,
        polarity=_polarity(wave, peaks, places, half),
        likeness=_likeness(beats),
        height_v=float(np.ptp(beats.mean(axis=0))),
    )


def _band(samples: FloatArray, fs: float, edges_hz: tuple[float, float]) -> Array:
    sos = butter(2, edges_hz, btype="bandpass", fs=fs, output="sos")
    padding = min(round(fs), len(samples) - 1)
    return np.asarray(sosfiltfilt(sos, samples, padlen=padding), dtype=np.float64)


def _accepted(energy: Array, fs: float) -> NDArray[np.intp]:
    """Peaks above the running threshold, with search-back where a beat seems to be missing."""
    candidates, _ = find_peaks(energy, distance=max(1, round(_REFRACTORY_S * fs)))
    if len(candidates) == 0:
        return candidates
    heights = energy[candidates]
    signal, noise = float(np.percentile(heights, 75)), float(np.percentile(heights, 10))
    beats: list[int] = []
    intervals: list[int] = []
    waiting: list[int] = []  # rejected since the last beat
    for place, height in zip(candidates.tolist(), heights.tolist(), strict=True):
        threshold = noise + 0.25 * (signal - noise)
        late = beats and intervals and place - beats[-1] > _SEARCH_BACK * np.mean(intervals[-8:])
        if height > threshold and late and waiting:
            missed = max(waiting, key=lambda each: energy[each])
            if energy[missed] > 0.5 * threshold:
                intervals.append(missed - beats[-1])
                beats.append(missed)
        if height > threshold:
            if beats:
                intervals.append(place - beats[-1])
            beats.append(place)
            signal = 0.125 * height + 0.875 * signal
            waiting = []
        else:
            waiting.append(place)
            noise = 0.125 * height + 0.875 * noise
    return np.asarray(beats, dtype=np.intp)


def _aligned(wave: Array, places: NDArray[np.intp], half: int) -> NDArray[np.intp]:
    """Shift each beat, a fifth of its window at most, to where it fits the median beat best."""
    shifts = np.arange(-(half // 5), half // 5 + 1)
    span = np.arange(-half, half + 1)
    for _ in range(2):
        template = np.median(wave[places[:, None] + span], axis=0)
        shifted = wave[places[:, None, None] + shifts[:, None] + span]
        places = places + shifts[(shifted @ template).argmax(axis=1)]
        # the template must not wander off the R peak
        places = places + int(np.abs(template).argmax()) - half if len(places) > 1 else places
        places = np.clip(places, 2 * half, len(wave) - 2 * half - 1)
    return places


def _polarity(wave: Array, peaks: NDArray[np.intp], places: NDArray[np.intp], half: int) -> float:
    """Share of the beats that fit the mean of the other half best with its own sign.

    The place of the best fit, up or down, is looked for around the peak of energy, which knows no
    sign; a mean of random bursts would be fitted as often by their negative.
    """
    span = np.arange(-half, half + 1)
    shifts = np.arange(-half, half + 1)[:, None] + span
    positive = 0
    for part in (0, 1):
        template = wave[places[1 - part :: 2, None] + span].mean(axis=0)
        fits = wave[peaks[part::2, None, None] + shifts] @ template
        best = np.abs(fits).argmax(axis=1)
        positive += int(np.sum(fits[np.arange(len(fits)), best] > 0))
    return positive / len(peaks)


def _likeness(beats: Array) -> float:
    """Median correlation of each row with the mean of the other rows."""
    centred = beats - beats.mean(axis=1, keepdims=True)
    others = (centred.sum(axis=0) - centred) / (len(centred) - 1)
    norms = np.linalg.norm(centred, axis=1) * np.linalg.norm(others, axis=1)
    return float(np.median(np.sum(centred * others, axis=1) / np.maximum(norms, 1e-300)))
