"""Figures about a recording that quality rules judge, taken in two passes in bounded memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, sosfiltfilt
from scipy.stats import theilslopes

from myosynth.recordings import Recording
from myosynth.signal.heart import HeartBeats, find_heart_beats

__all__ = ["ChannelFigures", "Hum", "Rails", "Trend", "measure"]

Array = NDArray[np.float64]

LOW_EDGE_HZ = 20.0  # motion lies below, EMG above (De Luca et al. 2010)
HIGH_EDGE_HZ = 450.0
MAINS_HZ = (50.0, 60.0)
N_HARMONICS = 5
_BLOCK_S = 32.0
_FRAME_S = 2.0
_LEVEL_S = 0.25
_FLAT_S = 0.1
_N_HEART_BLOCKS = 10
_NEAR_RAIL = 0.05
_N_LEVELS = 6
_LEAST_STUCK = 4
_TREND_BIN_S = 5.0
_MAX_TREND_BINS = 40
_MIN_TREND_BINS = 6
_ACTIVE = 0.3
_N_PREVIEW = 600


@dataclass(frozen=True)
class Hum:
    """The mains line and its harmonics against the spectrum around them.

    Parameters
    ----------
    hz : float
        50 or 60, whichever stands higher.
    height_db : float
        Of the highest line; −inf where the rate holds none.
    rms_v : float
        All lines together, V.
    chance_db : float
        Standard deviation of `height_db` where there is no hum: the estimate's roughness.
    """

    hz: float
    height_db: float
    rms_v: float
    chance_db: float


@dataclass(frozen=True)
class Rails:
    """Samples stuck at the extremes: their share, 0–1, and the limits in V (NaN where none)."""

    share: float
    low_v: float
    high_v: float


@dataclass(frozen=True)
class Trend:
    """Median frequency over time.

    Parameters
    ----------
    minutes, mdf_hz : arrays, (n_bins,)
        Middle of each bin and the median of the frames in it that hold a contraction.
    slope, low, high : float
        Theil–Sen slope and its 95 % interval, share of the start's frequency per minute; NaN where
        the recording is too short.
    """

    minutes: Array
    mdf_hz: Array
    slope: float
    low: float
    high: float


@dataclass(frozen=True)
class ChannelFigures:
    """What was measured in one channel; amplitudes in V, shares 0–1.

    Parameters
    ----------
    name, muscle : str
    nan_share, flat_share : float
        Samples that are not numbers; time in which the signal does not move.
    mean_v, rms_v, peak_v : float
        Mean, standard deviation, largest distance from the mean.
    level_v : float
        95th percentile of the 250-ms RMS above 20 Hz: how strong a contraction is.
    quiet_v : float
        5th percentile of the same.
    snr_db : float
        At least this much: the larger of level over quiet, and of the power within 20–450 Hz over
        that of white noise at the height of the lowest stretch of the spectrum.
    low_share : float
        Power below 20 Hz, share of all.
    drift_share : float
        Power below 5 Hz, share of all.
    mdf_hz : float
        Median frequency above 20 Hz.
    hum : Hum
    rails : Rails
    heart : HeartBeats
        The most believable of up to ten blocks.
    trend : Trend
    psd : array, (n_frequencies,)
        Mean power spectral density, V²/Hz, at `psd_hz`.
    psd_hz : array, (n_frequencies,)
    preview : array, (n_pieces, 2)
        Lowest and highest sample of up to 600 equal pieces, V: the signal at a glance.
    """

    name: str
    muscle: str
    nan_share: float
    flat_share: float
    mean_v: float
    rms_v: float
    peak_v: float
    level_v: float
    quiet_v: float
    snr_db: float
    low_share: float
    drift_share: float
    mdf_hz: float
    hum: Hum
    rails: Rails
    heart: HeartBeats
    trend: Trend
    psd: Array
    psd_hz: Array
    preview: Array


def measure(recording: Recording, band_hz: tuple[float, float]) -> list[ChannelFigures]:
    """Measure every channel of a recording, half a minute at a time.

    Parameters
    ----------
    recording : Recording
        At least 0.5 s; in volts.
    band_hz : tuple of float
        Where the spectrum is untouched by filters: noise is looked for inside.

    Returns
    -------
    list of ChannelFigures
    """
    channels = [_Channel(recording.fs, recording.n_times) for _ in range(recording.n_channels)]
    for _, _, block in _blocks(recording):
        for channel, samples in zip(channels, block, strict=True):
            channel.look(samples)
    n_blocks = int(np.ceil(recording.duration_s / _BLOCK_S))
    heart_blocks = set(np.linspace(0, n_blocks - 1, min(n_blocks, _N_HEART_BLOCKS)).astype(int))
    for number, start, block in _blocks(recording):
        for channel, samples in zip(channels, block, strict=True):
            channel.add(samples, start, with_heart=number in heart_blocks)
    return [
        channel.figures(name, muscle, band_hz)
        for channel, name, muscle in zip(
            channels, recording.channel_names, recording.muscles, strict=True
        )
    ]


def _blocks(recording: Recording) -> Iterator[tuple[int, int, Array]]:
    """Number, first sample and samples, (n_channels, n_block), of pieces of half a minute."""
    size = max(2, round(_BLOCK_S * recording.fs))
    edges = [*range(0, recording.n_times, size), recording.n_times]
    if len(edges) > 2 and edges[-1] - edges[-2] < size // 8:  # too short to stand alone
        del edges[-2]
    for number, (start, stop) in enumerate(pairwise(edges)):
        yield number, start, np.asarray(recording.data[:, start:stop], dtype=np.float64)


class _Channel:
    """Sums of one channel over the blocks of a recording."""

    def __init__(self, fs: float, n_times: int) -> None:
        self.fs = fs
        self.n_times = n_times
        self.n_nan = 0
        self.low, self.high, self.sum = np.inf, -np.inf, 0.0
        self.squares = 0.0
        self.counts: tuple[dict[float, int], dict[float, int]] = ({}, {})
        self.n_flat = 0
        self.n_fft = min(round(_FRAME_S * fs), n_times) // 2 * 2
        self.window = np.hanning(self.n_fft + 2)[1:-1]
        self.hz: Array = np.fft.rfftfreq(self.n_fft, 1 / fs).astype(np.float64)
        self.psd = np.zeros(len(self.hz))
        self.log_psd = np.zeros(len(self.hz))
        self.n_frames = 0
        self.frames: list[Array] = []  # (n, 2): RMS above 20 Hz, median frequency
        self.levels: list[Array] = []
        self.heart: HeartBeats | None = None
        n_pieces = min(_N_PREVIEW, n_times)
        self.pieces = np.linspace(0, n_times, n_pieces + 1).astype(int)
        self.preview = np.stack([np.full(n_pieces, np.inf), np.full(n_pieces, -np.inf)], axis=1)

    def look(self, samples: Array) -> None:
        """First pass: what the second needs to know."""
        good = samples[np.isfinite(samples)]
        self.n_nan += len(samples) - len(good)
        if len(good):
            self.low = min(self.low, float(good.min()))
            self.high = max(self.high, float(good.max()))
            self.sum += float(good.sum())

    @property
    def mean(self) -> float:
        return self.sum / max(1, self.n_times - self.n_nan)

    def add(self, samples: Array, start: int, *, with_heart: bool) -> None:
        """Second pass; `start` is the block's first sample."""
        good = np.isfinite(samples)
        if not good.any():
            return
        self._add_rails(samples[good])
        if not good.all():
            places = np.flatnonzero(good)
            samples = np.interp(np.arange(len(samples)), places, samples[places])
        centred = samples - self.mean
        self.squares += float(np.sum(centred[good] ** 2))
        self._add_flat(samples)
        self._add_preview(samples, start)
        if len(samples) < self.n_fft or self.high == self.low:
            return
        self._add_frames(centred)
        edges = [LOW_EDGE_HZ, min(HIGH_EDGE_HZ, 0.45 * self.fs)]
        sos = butter(2, edges, btype="bandpass", fs=self.fs, output="sos")
        above = sosfiltfilt(sos, centred, padlen=min(len(centred) - 1, round(self.fs / 4)))
        size = max(1, round(_LEVEL_S * self.fs))
        n = len(above) // size
        self.levels.append(np.sqrt(np.mean(above[: n * size].reshape(n, size) ** 2, axis=1)))
        if with_heart:
            found = find_heart_beats(centred, self.fs)
            if self.heart is None or _belief(found) > _belief(self.heart):
                self.heart = found

    def _add_rails(self, samples: Array) -> None:
        reach = _NEAR_RAIL * (self.high - self.low)
        if reach <= 0:
            return
        for side, (limit, sign) in enumerate(((self.low, -1.0), (self.high, 1.0))):
            near = samples[sign * (samples - limit) >= -reach]
            values, counts = np.unique(near, return_counts=True)
            known = self.counts[side]
            for value, count in zip(values.tolist(), counts.tolist(), strict=True):
                known[value] = known.get(value, 0) + count
            for value in sorted(known, key=lambda v: -sign * v)[_N_LEVELS:]:
                del known[value]

    def _add_flat(self, samples: Array) -> None:
        size = max(2, round(_FLAT_S * self.fs))
        n = len(samples) // size
        if n:
            pieces = samples[: n * size].reshape(n, size)
            self.n_flat += size * int(np.sum(pieces.max(axis=1) == pieces.min(axis=1)))

    def _add_preview(self, samples: Array, start: int) -> None:
        first = int(np.searchsorted(self.pieces, start, side="right")) - 1
        last = int(np.searchsorted(self.pieces, start + len(samples), side="left"))
        places = np.maximum(self.pieces[first:last] - start, 0)
        known = self.preview[first:last]
        known[:, 0] = np.minimum(known[:, 0], np.minimum.reduceat(samples, places))
        known[:, 1] = np.maximum(known[:, 1], np.maximum.reduceat(samples, places))

    def _add_frames(self, centred: Array) -> None:
        frames = np.lib.stride_tricks.sliding_window_view(centred, self.n_fft)
        frames = frames[:: max(1, self.n_fft // 2)]
        frames = frames - frames.mean(axis=1, keepdims=True)
        power = np.abs(np.fft.rfft(frames * self.window, axis=1)) ** 2
        power *= 2 / (self.fs * np.sum(self.window**2))
        self.psd += power.sum(axis=0)
        self.log_psd += np.log(np.maximum(power, 1e-40)).sum(axis=0)
        self.n_frames += len(power)
        inside = (self.hz >= LOW_EDGE_HZ) & (self.hz <= HIGH_EDGE_HZ)
        band = power[:, inside]
        total = band.sum(axis=1)
        cumulative = np.cumsum(band, axis=1)
        middle = (cumulative < 0.5 * total[:, None]).sum(axis=1)
        median = self.hz[inside][np.minimum(middle, band.shape[1] - 1)]
        self.frames.append(np.stack([np.sqrt(total * self.hz[1]), median], axis=1))

    def figures(self, name: str, muscle: str, band_hz: tuple[float, float]) -> ChannelFigures:
        n_good = max(1, self.n_times - self.n_nan)
        psd = self.psd / max(1, self.n_frames)
        total = max(float(psd.sum()), 1e-300)
        levels = np.concatenate(self.levels) if self.levels else np.zeros(1)
        level, quiet = np.percentile(levels, [95, 5])
        empty = HeartBeats(np.empty(0), np.nan, np.nan, 0.5, 0.0, 0.0)
        numbers = self.n_nan < self.n_times
        return ChannelFigures(
            name=name,
            muscle=muscle,
            nan_share=self.n_nan / self.n_times,
            flat_share=1.0 if self.high == self.low else self.n_flat / self.n_times,
            mean_v=self.mean,
            rms_v=float(np.sqrt(self.squares / n_good)),
            peak_v=max(self.high - self.mean, self.mean - self.low) if numbers else 0.0,
            level_v=float(level),
            quiet_v=float(quiet),
            snr_db=_snr_db(self.hz, psd, float(level), float(quiet), band_hz),
            low_share=float(psd[self.hz < LOW_EDGE_HZ].sum() / total),
            drift_share=float(psd[self.hz < 5.0].sum() / total),
            mdf_hz=_median_hz(self.hz, psd),
            hum=_hum(self.hz, np.exp(self.log_psd / max(1, self.n_frames)), self.fs, self.n_frames),
            rails=self._rails(),
            heart=self.heart or empty,
            trend=_trend(self.frames),
            psd=psd,
            psd_hz=self.hz,
            preview=self.preview[np.isfinite(self.preview).all(axis=1)],
        )

    def _rails(self) -> Rails:
        """A limit is a value that the signal takes again and again and far oftener than its like.

        A converter's coarse steps make equal extremes too, but not more of them at the last step
        than at the ones before it.
        """
        stuck, limits = 0, [np.nan, np.nan]
        for side, limit in enumerate((self.low, self.high)):
            others = [count for value, count in self.counts[side].items() if value != limit]
            usual = float(np.mean(others)) if others else 1.0
            n_at_limit = self.counts[side].get(limit, 0)
            if n_at_limit >= _LEAST_STUCK and n_at_limit > 3 * usual:
                stuck += n_at_limit
                limits[side] = limit
        return Rails(stuck / self.n_times, limits[0], limits[1])


def _belief(heart: HeartBeats) -> tuple[bool, float]:
    return heart.are_heart_beats, heart.likeness


def _median_hz(hz: Array, psd: Array) -> float:
    inside = (hz >= LOW_EDGE_HZ) & (hz <= HIGH_EDGE_HZ)
    cumulative = np.cumsum(psd[inside])
    if len(cumulative) == 0 or cumulative[-1] <= 0:
        return float("nan")
    return float(np.interp(0.5 * cumulative[-1], cumulative, hz[inside]))


def _snr_db(
    hz: Array, psd: Array, level: float, quiet: float, band_hz: tuple[float, float]
) -> float:
    contrast = 20 * np.log10(max(level, 1e-30) / max(quiet, 1e-30)) if level > 0 else 0.0
    low = max(LOW_EDGE_HZ, band_hz[0])
    inside = (hz >= low) & (hz <= min(HIGH_EDGE_HZ, band_hz[1], 0.45 * 2 * hz[-1]))
    n_smooth = max(1, round(10.0 / max(hz[1], 1e-9)))
    if inside.sum() <= 2 * n_smooth or psd.sum() <= 0:
        return float(contrast)
    smooth = np.convolve(psd[inside], np.ones(n_smooth) / n_smooth, mode="valid")
    floor = max(float(smooth.min()), 1e-40)
    return float(max(contrast, 10 * np.log10(psd[inside].mean() / floor)))


def _hum(hz: Array, psd: Array, fs: float, n_frames: int) -> Hum:
    """The mains frequency with the higher fundamental, and the highest of its lines."""
    # the logarithm of a periodogram spreads by 5.6 dB; half of the overlapping frames are new
    chance = 5.6 / np.sqrt(max(1.0, 0.6 * n_frames))
    found = []
    for mains in MAINS_HZ:
        heights, power = [-np.inf], 0.0
        for order in range(1, N_HARMONICS + 1):
            distance = np.abs(hz - order * mains)
            around = psd[(distance >= 3.0) & (distance <= 8.0)]
            if order * mains + 8.0 > 0.48 * fs or len(around) < 4:
                continue
            line = distance <= 1.0
            background = max(float(np.median(around)), 1e-40)
            heights.append(10 * np.log10(max(float(psd[line].max()), 1e-40) / background))
            power += max(0.0, float((psd[line] - background).sum()) * hz[1])
        hum = Hum(mains, float(max(heights)), float(np.sqrt(power)), float(chance))
        found.append((max(heights[:2]), hum))
    return max(found, key=lambda each: each[0])[1]


def _trend(frames: list[Array]) -> Trend:
    """Median frequency by bin of time, over the frames that hold a contraction."""
    nothing = Trend(np.empty(0), np.empty(0), np.nan, np.nan, np.nan)
    if not frames:
        return nothing
    rms, mdf = np.concatenate(frames).T
    seconds = np.arange(len(rms)) * _FRAME_S / 2
    duration = float(seconds[-1] + _FRAME_S)
    n_bins = min(_MAX_TREND_BINS, int(duration / _TREND_BIN_S))
    if n_bins < _MIN_TREND_BINS:
        return nothing
    active = rms >= _ACTIVE * np.percentile(rms, 75)
    bins = np.minimum((seconds / duration * n_bins).astype(int), n_bins - 1)
    kept = [b for b in range(n_bins) if np.sum(active & (bins == b)) >= 2]
    if len(kept) < _MIN_TREND_BINS:
        return nothing
    minutes = (np.array(kept) + 0.5) * duration / n_bins / 60
    medians = np.array([np.median(mdf[active & (bins == b)]) for b in kept])
    slope, intercept, low, high = theilslopes(medians, minutes, 0.95)
    start = max(float(intercept), 1e-9)
    return Trend(minutes, medians, float(slope) / start, float(low) / start, float(high) / start)
