"""Planted copies in disguise: what an audit must find before its silence means anything."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import istft, stft

__all__ = ["DISGUISES", "POWER_SHARES", "SHARES", "Planting", "plan_planting"]

Array = NDArray[np.float64]
Index = NDArray[np.intp]

SHARES = (0.01, 0.05, 0.10)
"""Planted copies over synthetic segments."""
POWER_SHARES = (0.05, 0.10)
"""The shares at which every disguise must be found."""
NOISE_DB = 15.0
_PHASE_WINDOWS_S = (0.048, 0.384)


def with_noise(signals: Array, fs: float, rng: np.random.Generator) -> Array:
    """The segments with white noise 15 dB below them.

    Parameters
    ----------
    signals : array, (n_segments, n_channels, n_times)
        Volts.
    fs : float
        Sampling rate, Hz.
    rng : Generator
        Source of chance.
    """
    rms = np.sqrt(np.mean(signals**2, axis=-1, keepdims=True))
    noise = rng.standard_normal(signals.shape)
    noisy: Array = signals + rms * 10 ** (-NOISE_DB / 20) * noise
    return noisy


def shifted_flipped(signals: Array, fs: float, rng: np.random.Generator) -> Array:
    """The segments rolled by any lag, flipped in sign or in time, with a gain of ⅓ to 3."""
    moved = np.empty_like(signals)
    for row, signal in enumerate(signals):
        rolled = np.roll(signal, rng.integers(signal.shape[-1]), axis=-1)
        moved[row] = -rolled if rng.random() < 0.5 else rolled[:, ::-1]
    return moved * np.exp(rng.uniform(-1.1, 1.1, (len(signals), 1, 1)))


def with_new_phase(signals: Array, fs: float, rng: np.random.Generator) -> Array:
    """The segments' STFT magnitudes with random phases, resynthesised.

    The window is drawn anew for each segment (48 to 384 ms): whoever hides a copy does not tell the
    audit which one was used.
    """
    n_times = signals.shape[-1]
    made = np.empty_like(signals)
    low, high = np.log(_PHASE_WINDOWS_S)
    for row, signal in enumerate(signals):
        window = min(max(8, round(float(np.exp(rng.uniform(low, high))) * fs)), n_times // 2)
        settings: dict[str, Any] = {"fs": fs, "nperseg": window, "noverlap": window // 2}
        magnitude = np.abs(stft(signal, **settings)[2])
        turned = magnitude * np.exp(2j * np.pi * rng.random(magnitude.shape))
        resynthesised = istft(turned, **settings)[1]
        made[row] = resynthesised[:, np.arange(n_times) % resynthesised.shape[-1]]
    return made


DISGUISES: dict[str, Callable[[Array, float, np.random.Generator], Array]] = {
    "noise": with_noise,
    "shift_flip_gain": shifted_flipped,
    "new_phase": with_new_phase,
}
"""Name → function of (signals, fs, rng)."""


@dataclass(frozen=True)
class Planting:
    """Which train segments are planted, and how many of them at each share.

    Parameters
    ----------
    rows : array of int
        Positions among the train segments, in the order of planting.
    counts : dict of float to int
        Share → how many of `rows`, from the first.
    """

    rows: Index
    counts: dict[float, int]


def plan_planting(n_train: int, n_synthetic: int, rng: np.random.Generator) -> Planting:
    """Draw the train segments to plant; fewer than the share asks where there are not as many."""
    counts = {share: min(n_train, max(1, round(share * n_synthetic))) for share in SHARES}
    return Planting(rng.permutation(n_train)[: max(counts.values())], counts)
