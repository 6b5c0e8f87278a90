"""Simple imitations of real segments: the bar that a generator must beat."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, rfft, rfftfreq
from scipy.linalg import solve_toeplitz
from scipy.signal import lfilter

from myosynth.errors import NotEnoughDataError
from myosynth.signal.features import envelope, segment_psd

__all__ = [
    "SURROGATES",
    "ar_noise",
    "jittered",
    "magnitude_warped",
    "modulated_noise",
    "phase_randomised",
    "task_noise",
]

Array = NDArray[np.float64]
AR_ORDER = 12


def ar_noise(real: Array, fs: float, n_segments: int, rng: np.random.Generator) -> Array:
    """AR(12) noise of one task, with the RMS of randomly chosen real segments.

    Parameters
    ----------
    real : array, (n_real, n_channels, n_times)
        Real segments of one task, volts.
    fs : float
        Sampling rate, Hz.
    n_segments : int
        How many to make.
    rng : Generator
        Source of chance.

    Returns
    -------
    array, (n_segments, n_channels, n_times)
        Volts.

    Source: Yule–Walker equations, e.g. Stoica & Moses (2005), Spectral Analysis of Signals, 3.4.
    """
    rms = _rms(real)
    own_rms = _drawn(rms, n_segments, rng)
    spectrum = np.abs(rfft(real / rms, 2 * real.shape[-1], axis=-1)) ** 2
    correlation = irfft(spectrum.mean(axis=0), axis=-1)[:, : AR_ORDER + 1]
    settle = 500
    noise = rng.standard_normal((n_segments, real.shape[1], real.shape[-1] + settle))
    for channel, r in enumerate(correlation):
        # a trace of white noise keeps the equations solvable for constant or pure-tone channels
        first = r[:-1] + np.r_[1e-9 * r[0] + 1e-300, np.zeros(AR_ORDER - 1)]
        weights = solve_toeplitz(first, r[1:])
        noise[:, channel] = lfilter([1.0], np.r_[1.0, -weights], noise[:, channel], axis=-1)
    noise = noise[..., settle:]
    result: Array = noise / _rms(noise) * own_rms
    return result


def phase_randomised(real: Array, fs: float, n_segments: int, rng: np.random.Generator) -> Array:
    """Real segments with new phases, the same for every channel; parameters as in `ar_noise`.

    Source: Prichard & Theiler (1994), doi:10.1103/PhysRevLett.73.951.
    """
    chosen = _drawn(real, n_segments, rng)
    spectrum = rfft(chosen, axis=-1)
    turn = np.exp(2j * np.pi * rng.random((n_segments, 1, spectrum.shape[-1])))
    turn[..., 0] = 1.0
    if real.shape[-1] % 2 == 0:
        turn[..., -1] = 1.0
    result: Array = irfft(spectrum * turn, real.shape[-1], axis=-1)
    return result


def task_noise(real: Array, fs: float, n_segments: int, rng: np.random.Generator) -> Array:
    """Noise with the task's mean spectrum under the envelope of randomly chosen segments.

    Parameters as in `ar_noise`.
    """
    chosen = _drawn(real, n_segments, rng)
    frequencies, psd = segment_psd(real / _rms(real), fs)
    shape = np.broadcast_to(psd.mean(axis=0), (n_segments, *psd.shape[1:]))
    return _modulated(frequencies, shape, chosen, fs, rng)


def modulated_noise(real: Array, fs: float, n_segments: int, rng: np.random.Generator) -> Array:
    """C3: each is noise with the envelope and the spectrum of one real segment.

    Parameters as in `ar_noise`. What it lacks are the motor units: within the envelope it is
    Gaussian, and its frequency does not follow its amplitude.
    """
    chosen = _drawn(real, n_segments, rng)
    floor = 1e-6 * _rms(chosen)
    # the spectrum of the demodulated segment: modulation would smear it a second time
    frequencies, psd = segment_psd(chosen / np.maximum(envelope(chosen, fs), floor), fs)
    return _modulated(frequencies, psd, chosen, fs, rng)


def jittered(real: Array, fs: float, n_segments: int, rng: np.random.Generator) -> Array:
    """Classical augmentation: noise of 5 % of the RMS on real segments; parameters as `ar_noise`.

    Source: Um et al. (2017), doi:10.1145/3136755.3136817.
    """
    chosen = _drawn(real, n_segments, rng)
    return chosen + 0.05 * _rms(chosen) * rng.standard_normal(chosen.shape)


def magnitude_warped(real: Array, fs: float, n_segments: int, rng: np.random.Generator) -> Array:
    """Classical augmentation: a smooth random gain (1 ± 0.2, four knots); as `ar_noise`.

    Source: Um et al. (2017), doi:10.1145/3136755.3136817 (piecewise linear here, not a spline).
    """
    chosen = _drawn(real, n_segments, rng)
    knots = 1 + 0.2 * rng.standard_normal((n_segments, 6))
    position = np.linspace(0, 5, real.shape[-1])
    left = np.minimum(position.astype(int), 4)
    part = position - left
    gain = knots[:, left] * (1 - part) + knots[:, left + 1] * part
    result: Array = chosen * gain[:, None, :]
    return result


Surrogate = Callable[[Array, float, int, np.random.Generator], Array]

SURROGATES: dict[str, Surrogate] = {
    "ar": ar_noise,
    "phase": phase_randomised,
    "task_psd": task_noise,
    "c3": modulated_noise,
}
"""Name → function of (real, fs, n_segments, rng)."""


def _drawn(real: Array, n_segments: int, rng: np.random.Generator) -> Array:
    if len(real) == 0:
        raise NotEnoughDataError("surrogates need at least one real segment")
    return real[rng.integers(len(real), size=n_segments)]


def _rms(signals: Array) -> Array:
    root: Array = np.sqrt(np.mean(signals**2, axis=-1, keepdims=True))
    return np.asarray(np.maximum(root, 1e-12))


def _modulated(
    frequencies: Array, psd: Array, chosen: Array, fs: float, rng: np.random.Generator
) -> Array:
    n_times = chosen.shape[-1]
    noise = rfft(rng.standard_normal(chosen.shape), axis=-1)
    grid = rfftfreq(n_times, 1 / fs) / (frequencies[1] - frequencies[0])
    left = np.minimum(grid.astype(int), len(frequencies) - 2)
    part = np.minimum(grid - left, 1.0)
    density = psd[..., left] * (1 - part) + psd[..., left + 1] * part
    shaped = irfft(noise * np.sqrt(density), n_times, axis=-1) * envelope(chosen, fs)
    result: Array = shaped / _rms(shaped) * _rms(chosen)
    return result
