"""What reaches the electrodes besides the muscle: the heart, the mains, the electronics."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["electrocardiogram", "electronic_noise", "mains_hum"]

Floats = NDArray[np.float64]

# (delay from the R peak in s, width in s, height relative to R): the five Gaussian waves of
# McSharry et al. 2003 (doi 10.1109/TBME.2003.808805), table I, at 60 beats/min
_ECG_WAVES = (
    (-0.195, 0.040, 0.05),
    (-0.042, 0.0159, -0.15),
    (0.0, 0.0159, 1.0),
    (0.042, 0.0159, -0.25),
    (0.278, 0.064, 0.12),
)
_ECG_SIDES = (1.0, 0.6)  # the heart lies to the left
_RR_SD = 0.04  # standard deviation of the beat interval, relative
_MAINS_HARMONICS = {1: 1.0, 3: 0.3, 5: 0.15}  # order: height relative to the fundamental
_MAINS_DRIFT_HZ = 0.02  # standard deviation of the grid's frequency
_FLICKER_HZ = 15.0  # electrode noise equals the white noise here (Huigen et al. 2002)
_NOISE_BAND_HZ = 490.0  # the level is stated for 10–500 Hz


def electrocardiogram(
    n_times: int, fs: float, *, peak: float, heart_rate_bpm: float, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Heart beats as both electrodes pick them up.

    Parameters
    ----------
    n_times : int
    fs : float
        Hz.
    peak : float
        Height of the R peak on the left, V.
    heart_rate_bpm : float
        Mean rate, beats per minute.
    rng : Generator

    Returns
    -------
    signal : array, (2, n_times)
        V.
    beats_s : array, (n_beats,)
        Times of the R peaks, s.
    """
    mean_s, end_s = 60.0 / heart_rate_bpm, n_times / fs
    n_beats = int(1.5 * end_s / mean_s) + 8
    intervals = mean_s * np.maximum(1 + _RR_SD * rng.standard_normal(n_beats), 0.5)
    beats = np.cumsum(intervals) - mean_s * (1 + rng.uniform())
    beats = beats[beats < end_s + 1]
    signal = np.zeros(n_times)
    for delay, width, height in _ECG_WAVES:
        for centre in beats + delay:
            # beyond six widths a wave is smaller than any noise
            first = max(0, int((centre - 6 * width) * fs))
            last = max(first, min(n_times, int((centre + 6 * width) * fs) + 1))
            t = np.arange(first, last) / fs - centre
            signal[first:last] += peak * height * np.exp(-0.5 * (t / width) ** 2)
    inside = beats[(beats >= 0) & (beats < end_s)]
    return np.outer(_ECG_SIDES, signal), inside


def mains_hum(
    n_times: int, fs: float, *, amplitude: float, mains_hz: float, rng: np.random.Generator
) -> Floats:
    """Hum at the mains frequency and its odd harmonics below fs / 2.

    Parameters
    ----------
    n_times : int
    fs : float
        Hz.
    amplitude : float
        Amplitude of the fundamental, V.
    mains_hz : float
        50 or 60 Hz.
    rng : Generator

    Returns
    -------
    array, (2, n_times)
        V; each channel has its own phases.
    """
    frequency = mains_hz + _MAINS_DRIFT_HZ * rng.standard_normal()
    angle = 2 * np.pi * frequency / fs * np.arange(n_times)
    signal = np.zeros((2, n_times))
    for order, height in _MAINS_HARMONICS.items():
        phases = rng.uniform(0, 2 * np.pi, (2, 1))
        if order * frequency < fs / 2:
            signal += amplitude * height * np.sin(order * angle + phases)
    return signal


def electronic_noise(n_times: int, fs: float, *, rms: float, rng: np.random.Generator) -> Floats:
    """Amplifier noise (white up to fs / 2) and electrode noise (rising below 15 Hz).

    Parameters
    ----------
    n_times : int
    fs : float
        Hz.
    rms : float
        RMS of the white part within 10–500 Hz, V; its density does not depend on `fs`.
    rng : Generator

    Returns
    -------
    array, (2, n_times)
        V.
    """
    white = rms * np.sqrt(fs / 2 / _NOISE_BAND_HZ) * rng.standard_normal((2, n_times))
    f = np.fft.rfftfreq(n_times, 1 / fs)
    rise = np.sqrt(1 + (_FLICKER_HZ / np.maximum(f, 1.0)) ** 2)
    rise[0] = 0.0  # the amplifier is AC-coupled
    return np.asarray(np.fft.irfft(np.fft.rfft(white, axis=1) * rise, n_times, axis=1))
