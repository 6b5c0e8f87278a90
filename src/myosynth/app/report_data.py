"""What a report draws and tabulates of two sets of segments, read once, one task at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from myosynth.errors import InputError
from myosynth.recordings import FloatArray, SegmentSet
from myosynth.signal.features import FEATURES, Views, feature_table, segment_psd

__all__ = [
    "FEATURE_WORDS",
    "Side",
    "TaskView",
    "amplitude_rows",
    "task_views",
    "worst_features",
]

Array = NDArray[np.float64]

MAX_SEGMENTS = 300
"""Most segments of one task and side that are looked at; spread evenly over the set."""

FEATURE_WORDS: dict[str, tuple[str, str]] = {
    "rms": ("RMS amplitude", "ln V"),
    "mav": ("mean absolute value", "ln V"),
    "wl": ("waveform length", "ln V/s"),
    "zc": ("zero crossings", "1/s"),
    "ssc": ("slope sign changes", "1/s"),
    "peak": ("peak", "ln V"),
    "mnf": ("mean frequency", "Hz"),
    "mdf": ("median frequency", "Hz"),
    "env_cv": ("variation of the envelope", "ln ratio"),
    "env_rate": ("dominant envelope rate", "Hz"),
    "env_rate_share": ("strength of the rhythm", "0 to 1"),
    "kurtosis": ("kurtosis", "ln"),
    "local_kurtosis": ("kurtosis without the envelope", "ln"),
    "amp_freq_corr": ("amplitude–frequency correlation", "−1 to 1"),
}
"""Feature → (plain name, unit); the bands are named by their edges."""


@dataclass(frozen=True)
class Side:
    """One side (real or synthetic) of one task.

    Parameters
    ----------
    n_segments, n_subjects : int
        How many were looked at; 0 subjects where none is named.
    frequencies, psd : array, (n_frequencies,) and (n_channels, n_frequencies)
        Hz; mean power spectral density, V²/Hz.
    psd_band : array, (2, n_channels, n_frequencies), or None
        10th and 90th percentile of the subjects' means, where there are at least two subjects.
    rhythm_hz, rhythm : array, (n_rates,) and (n_channels, n_rates)
        Hz; mean share of the envelope's power per rate.
    features : array, (n_segments, n_channels, n_features)
        In the order of `FEATURES`.
    example : array, (n_channels, n_times)
        Of each channel, the segment of median RMS there, volts.
    """

    n_segments: int
    n_subjects: int
    frequencies: Array
    psd: Array
    psd_band: Array | None
    rhythm_hz: Array
    rhythm: Array
    features: Array
    example: FloatArray


@dataclass(frozen=True)
class TaskView:
    """Both sides of one task; a side without usable segments is None.

    Parameters
    ----------
    task : str
        Its name.
    fs : float
        Sampling rate, Hz.
    channel_names : tuple of str
        Of the real set.
    real, synthetic : Side or None
        Real: the holdout where there is one, else every real segment.
    """

    task: str
    fs: float
    channel_names: tuple[str, ...]
    real: Side | None
    synthetic: Side | None


def task_views(real: SegmentSet, synthetic: SegmentSet) -> list[TaskView]:
    """Look at both sets, task by task.

    Parameters
    ----------
    real, synthetic : SegmentSet
        Of the same rate and channels. Segments with NaN are passed over.

    Raises
    ------
    InputError
        If the rates or the numbers of channels differ.
    """
    if abs(real.fs - synthetic.fs) > 1e-6 * real.fs or real.n_channels != synthetic.n_channels:
        raise InputError(
            f"the real set ({real.n_channels} channels at {real.fs:.7g} Hz) and the synthetic set "
            f"({synthetic.n_channels} at {synthetic.fs:.7g} Hz) cannot be drawn side by side; "
            "bring them to one rate and the same channels first"
        )
    return [
        TaskView(
            task,
            real.fs,
            real.channel_names,
            _side(real, _reference_rows(real, task)),
            _side(synthetic, synthetic.rows(task=task)),
        )
        for task in sorted({*real.tasks, *synthetic.tasks})
    ]


def _reference_rows(real: SegmentSet, task: str) -> NDArray[np.intp]:
    held = real.rows(task=task, split="holdout")
    return held if len(held) else real.rows(task=task)


def _side(segments: SegmentSet, rows: NDArray[np.intp]) -> Side | None:
    if len(rows) > MAX_SEGMENTS:
        rows = rows[np.linspace(0, len(rows) - 1, MAX_SEGMENTS).astype(int)]
    signals = segments.read(rows)
    usable = np.isfinite(signals).all(axis=(1, 2))
    if not usable.any():
        return None
    signals, subjects = signals[usable], segments.subject[rows][usable]
    frequencies, psd = segment_psd(signals, segments.fs)
    rhythm_hz, rhythm = _rhythm(signals, segments.fs)
    named = np.unique(subjects[subjects != ""])
    means = [psd[subjects == one].mean(axis=0) for one in named]
    return Side(
        n_segments=len(signals),
        n_subjects=len(named),
        frequencies=frequencies,
        psd=psd.mean(axis=0),
        psd_band=np.quantile(means, [0.1, 0.9], axis=0) if len(named) > 1 else None,
        rhythm_hz=rhythm_hz,
        rhythm=rhythm.mean(axis=0),
        features=feature_table(signals, segments.fs),
        example=_typical(signals),
    )


def _typical(signals: FloatArray) -> FloatArray:
    """Of each channel, the segment whose RMS is the median one (the lower of two)."""
    power = np.mean(np.square(signals, dtype=np.float64), axis=-1)
    middle = np.argsort(power, axis=0, kind="stable")[(len(power) - 1) // 2]
    typical: FloatArray = signals[middle, np.arange(signals.shape[1])]
    return typical


def _rhythm(signals: FloatArray, fs: float) -> tuple[Array, Array]:
    frequencies = np.empty(0)
    parts = []
    for one in signals:
        frequencies, power = Views(one.astype(np.float64), fs).rhythm
        total = power.sum(axis=-1, keepdims=True)
        parts.append(power / np.where(total > 0, total, 1.0))
    return frequencies, np.array(parts)


def amplitude_rows(views: Sequence[TaskView]) -> list[dict[str, Any]]:
    """Per task: median RMS, dominant envelope rate and median frequency, real and synthetic.

    Returns
    -------
    list of dict
        task; rms_mv (over all channels' medians), env_rate_hz and mdf_hz, each as
        ``real_…`` and ``synthetic_…``; ratio (synthetic / real RMS). None where a side is missing.
    """
    rows = []
    for view in views:
        row: dict[str, Any] = {"task": view.task}
        for name, side in (("real", view.real), ("synthetic", view.synthetic)):
            medians = _medians(side)
            row |= {f"{name}_{key}": value for key, value in medians.items()}
        real, made = row["real_rms_mv"], row["synthetic_rms_mv"]
        row["ratio"] = made / real if real and made is not None else None
        rows.append(row)
    return rows


def _medians(side: Side | None) -> dict[str, float | None]:
    if side is None:
        return {"rms_mv": None, "env_rate_hz": None, "mdf_hz": None}
    middle = dict(zip(FEATURES, np.median(side.features, axis=0).mean(axis=0), strict=True))
    return {
        "rms_mv": 1e3 * float(np.exp(middle["rms"])),
        "env_rate_hz": float(middle["env_rate"]),
        "mdf_hz": float(middle["mdf"]),
    }


def worst_features(view: TaskView, n: int = 3) -> list[tuple[str, int, float]]:
    """The features that differ most: (feature, channel, distance), the worst first.

    The distance is the 1-Wasserstein distance over the real standard deviation, as in the scores;
    of each feature only its worst channel is given. Features that do not vary are left out.
    """
    if view.real is None or view.synthetic is None:
        return []
    found = []
    levels = (np.arange(200) + 0.5) / 200
    for column, name in enumerate(FEATURES):
        real, made = view.real.features[:, :, column], view.synthetic.features[:, :, column]
        sd = real.std(axis=0)
        gap = np.abs(np.quantile(real, levels, axis=0) - np.quantile(made, levels, axis=0))
        varies = sd > 1e-9 * (1 + np.abs(real.mean(axis=0)))
        if varies.any():
            distance = np.where(varies, gap.mean(axis=0) / np.where(varies, sd, 1.0), -1.0)
            channel = int(np.argmax(distance))
            found.append((name, channel, float(distance[channel])))
    return sorted(found, key=lambda item: -item[2])[:n]
