"""EMG as filtered noise under a slow envelope: few numbers, measured and drawn."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d
from scipy.signal import lfilter

__all__ = ["NAMES", "ORDER", "draw", "measure", "public_centre", "public_half_width"]

Array = NDArray[np.float64]

ORDER = 12
NAMES = (
    "log_rms",
    "log_rms_spread",
    "log_envelope_cv",
    "log_envelope_rate",
    *(f"atanh_k{i}" for i in range(1, ORDER + 1)),
)
"""ln V; ln of its standard deviation; ln of the envelope's coefficient of variation and of its
mean crossings (ln Hz); inverse hyperbolic tangents of the reflection coefficients."""

_ENVELOPE_S = 0.2
_BURN_IN = 500
_RIDGE = 1e-6


def measure(signals: NDArray[Any], fs: float) -> Array:
    """The parameters of each segment but for the spread, which takes several.

    Parameters
    ----------
    signals : array, (n, n_channels, n_times)
        In volts.
    fs : float
        Hz.

    Returns
    -------
    array, (n, n_channels, 4 + ORDER)
        In the order of `NAMES`; ``log_rms_spread`` is 0.
    """
    signals = np.asarray(signals, dtype=np.float64)
    rms = np.maximum(np.sqrt(np.mean(signals**2, axis=-1)), 1e-12)
    shape = signals / rms[..., None]
    found = np.zeros((*signals.shape[:2], len(NAMES)))
    found[..., 0] = np.log(rms)
    cv, rate = _envelope_facts(shape, fs)
    found[..., 2], found[..., 3] = np.log(cv), np.log(rate)
    found[..., 4:] = np.arctanh(_reflections(_autocorrelation(shape)))
    return found


def _envelope_facts(shape: Array, fs: float) -> tuple[Array, Array]:
    power = uniform_filter1d(shape**2, max(1, round(_ENVELOPE_S * fs)), axis=-1, mode="nearest")
    envelope = np.sqrt(np.maximum(power, 0))
    mean = np.maximum(envelope.mean(axis=-1), 1e-9)
    above = envelope > mean[..., None]
    crossings = (above[..., 1:] != above[..., :-1]).sum(axis=-1)
    rate: Array = (crossings + 1) * fs / (2 * shape.shape[-1])
    return np.maximum(envelope.std(axis=-1) / mean, 1e-3), rate


def _autocorrelation(shape: Array) -> Array:
    n = shape.shape[-1]
    power = np.abs(np.fft.rfft(shape, 2 * n, axis=-1)) ** 2
    lags: Array = np.fft.irfft(power, axis=-1)[..., : ORDER + 1] / n
    lags[..., 0] = lags[..., 0] * (1 + _RIDGE) + 1e-12
    return lags


def _reflections(lags: Array) -> Array:
    """Reflection coefficients by the Levinson–Durbin recursion (…, ORDER), within ±0.9999.

    Source: Durbin 1960, The fitting of time-series models.
    """
    a = np.zeros(lags.shape)
    a[..., 0] = 1.0
    error = lags[..., 0].copy()
    found = np.zeros((*lags.shape[:-1], ORDER))
    for m in range(1, ORDER + 1):
        k = -np.sum(a[..., :m] * lags[..., m:0:-1], axis=-1) / error
        found[..., m - 1] = k
        a[..., : m + 1] = a[..., : m + 1] + k[..., None] * a[..., m::-1]
        error = np.maximum(error * (1 - k**2), 1e-12)
    return np.clip(found, -0.9999, 0.9999)


def _denominator(reflections: Array) -> Array:
    a = np.zeros(ORDER + 1)
    a[0] = 1.0
    for m, k in enumerate(reflections, start=1):
        a[: m + 1] = a[: m + 1] + k * a[m::-1]
    return a


def public_centre(fs: float, band_hz: tuple[float, float]) -> Array:
    """What the parameters of any surface EMG are near, known without looking at the data.

    The spectrum is f_h⁴ f² / ((f² + f_l²)(f² + f_h²)²) with f_l = 60 Hz and f_h = 120 Hz within the
    pass band (Shwedyk et al. 1977, Stulen & De Luca 1981); 300 µV RMS (clipped at 9 µV and 10 mV).
    """
    f = np.linspace(0, fs / 2, 1025)
    spectrum = 120.0**4 * f**2 / ((f**2 + 60.0**2) * (f**2 + 120.0**2) ** 2)
    spectrum *= np.where((f >= band_hz[0]) & (f <= band_hz[1]), 1.0, 1e-3)
    lags = np.fft.irfft(spectrum)[: ORDER + 1]
    lags = lags / lags[0]
    lags[0] += _RIDGE
    return np.array([np.log(3e-4), np.log(0.3), np.log(0.4), 0.5, *np.arctanh(_reflections(lags))])


def public_half_width() -> Array:
    """How far from the centre a parameter may lie; beyond it is clipped."""
    return np.array([3.5, 1.5, 1.5, 1.5, *[1.0] * 4, *[0.5] * (ORDER - 4)])


def draw(parameters: Array, n_times: int, fs: float, rng: np.random.Generator) -> Array:
    """One channel of one segment, (n_times,) in volts.

    Parameters
    ----------
    parameters : array, (4 + ORDER,)
        In the order of `NAMES`.
    """
    log_rms, log_spread, log_cv, log_rate = parameters[:4]
    reflections = np.tanh(parameters[4:])
    carrier = _carrier(reflections, n_times, rng)
    # the envelope of steady noise varies too: only what is beyond that is modulation
    steady = _carrier(reflections, round(30 * fs), np.random.default_rng(0))
    cv_steady = float(_envelope_facts(steady[None, None], fs)[0][0, 0])
    excess = max(np.exp(2 * log_cv) - cv_steady**2, 0.0)
    signal = carrier * np.exp(
        np.sqrt(np.log1p(excess)) * _slow(n_times, float(np.exp(log_rate)), fs, rng)
    )
    level = log_rms + np.exp(log_spread) * rng.standard_normal()
    result: Array = signal * (np.exp(level) / np.sqrt(np.mean(signal**2)))
    return result


def _carrier(reflections: Array, n_times: int, rng: np.random.Generator) -> Array:
    scale = np.sqrt(np.prod(1 - reflections**2))
    white = scale * rng.standard_normal(n_times + _BURN_IN)
    out: Array = lfilter([1.0], _denominator(reflections), white)[_BURN_IN:]
    return out


def _slow(n_times: int, rate: float, fs: float, rng: np.random.Generator) -> Array:
    """A Gaussian process of unit variance that rises through its mean `rate` times a second.

    Its spectrum is a Gaussian of width `rate` (Rice 1945).
    """
    n = 2 * n_times + round(4 * fs / rate)  # twice as long as wanted: the ends do not meet
    gain = np.exp(-((np.fft.rfftfreq(n, 1 / fs) / rate) ** 2) / 4)
    made = np.fft.irfft(np.fft.rfft(rng.standard_normal(n)) * gain, n)
    norm = np.sqrt((2 * np.sum(gain**2) - gain[0] ** 2) / n)
    result: Array = made[:n_times] / norm
    return result
