"""Cut a recording into segments of equal length, and reject those that cannot be used."""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from myosynth.errors import InputError
from myosynth.recordings import Annotation, FloatArray, Recording, SegmentSet

__all__ = [
    "REJECTIONS",
    "Span",
    "clipped_samples",
    "mark_clipped",
    "segment_recording",
    "task_spans",
]

Span = tuple[str, float, float]
"""A name (a task or a split), its start and its end in seconds."""

REJECTIONS = ("nan", "flat", "clipped", "too_short")

_CLIPPED = "BAD_clipped"
_PLATEAU = 3
"""Samples in a row at a channel's largest or smallest value that make it clipped: one is the
signal's own peak, two happen by chance where the steps of the converter are coarse."""
_FLAT_SHARE = 1e-6
"""A channel is flat in a segment where its RMS is below this share of its RMS in the recording."""


def task_spans(recording: Recording) -> list[Span]:
    """The timed tasks of a recording, or the whole of it where none is timed.

    Returns
    -------
    list of (task, start_s, stop_s)
        In order of time.

    Raises
    ------
    InputError
        If two timed tasks overlap, so that a segment would belong to both.
    """
    end = recording.duration_s
    timed = sorted(
        (a.onset_s, min(a.onset_s + a.duration_s, end), a.description)
        for a in recording.annotations
        if not a.is_bad and a.onset_s < end
    )
    for (_, stop, one), (start, _, two) in pairwise(timed):
        if start < stop - 0.5 / recording.fs:
            raise InputError(
                f"in {recording.name} the tasks {one} and {two} overlap at {start:g} s; "
                "mend the annotations so that one ends before the next begins"
            )
    return [(task, start, stop) for start, stop, task in timed] or [(recording.task, 0.0, end)]


def clipped_samples(data: FloatArray) -> NDArray[np.bool_]:
    """Where any channel stays at its own largest or smallest value for three samples or more.

    Parameters
    ----------
    data : array, (n_channels, n_times)
        As recorded: a filter hides the plateaus.

    Returns
    -------
    array of bool, (n_times,)
    """
    clipped = np.zeros(data.shape[1], dtype=bool)
    for samples in data:
        if np.all(np.isnan(samples)):
            continue
        low, high = np.nanmin(samples), np.nanmax(samples)
        if low == high:  # flat, not clipped
            continue
        for extreme in (low, high):
            for start, stop in _runs(samples == extreme):
                if stop - start >= _PLATEAU:
                    clipped[start:stop] = True
    return clipped


def mark_clipped(recording: Recording) -> Recording:
    """The recording with a ``BAD_clipped`` annotation on every plateau; call it before filtering.

    A recording whose source already marked its clipped spans is returned as it is.
    """
    if any(_is_clipped(annotation) for annotation in recording.annotations):
        return recording
    spans = [
        Annotation(start / recording.fs, (stop - start) / recording.fs, _CLIPPED)
        for start, stop in _runs(clipped_samples(recording.load()))
    ]
    return recording.replace(annotations=[*recording.annotations, *spans]) if spans else recording


def segment_recording(
    recording: Recording,
    *,
    seconds: float = 3.0,
    overlap: float = 0.5,
    max_clipped: float = 0.01,
    spans: Sequence[Span] | None = None,
) -> tuple[SegmentSet, dict[str, int]]:
    """Slide a window over each task and keep the segments that can be used.

    A segment never crosses the boundary of a task, of a split or of a bad span. Spans whose name
    begins with ``BAD_clipped`` are not boundaries: clipping comes in many short plateaus, so a
    segment is rejected where they (and plateaus found in the data) exceed `max_clipped` of it.

    Parameters
    ----------
    recording : Recording
        Filtered or not; loaded whole.
    seconds : float
        Length of a segment, > 0.
    overlap : float
        Share of a segment that the next one repeats, 0 ≤ `overlap` < 1.
    max_clipped : float
        Largest share of clipped samples in a segment, 0 to 1.
    spans : sequence of (split, start_s, stop_s), optional
        Parts of the recording to use and the split each belongs to (`assign_splits`); all of it,
        in no split, where left out.

    Returns
    -------
    segments : SegmentSet
        With task, subject, session, recording, split and start_s; possibly empty.
    counts : dict
        ``kept``, ``nan``, ``flat``, ``clipped`` segments (each rejected one counts once, in this
        order) and ``too_short``: 1 where no usable stretch holds a segment.
    """
    n_times, hop = _grid(recording.fs, seconds, overlap, max_clipped)
    data = np.asarray(recording.load(), dtype=np.float32)
    clipped = clipped_samples(data) | _mask(recording, _is_clipped)
    barred = _mask(recording, lambda a: a.is_bad and not _is_clipped(a))
    n_clipped = np.concatenate([[0], np.cumsum(clipped)])
    flat_below = _FLAT_SHARE * np.sqrt(np.nanmean(np.square(data, dtype=np.float64), axis=1))
    counts = {"kept": 0, **dict.fromkeys(REJECTIONS, 0)}
    starts: list[int] = []
    tasks: list[str] = []
    splits: list[str] = []
    n_windows = 0
    for split, task, first, last in _stretches(recording, barred, spans):
        for start in range(first, last - n_times + 1, hop):
            n_windows += 1
            share = (n_clipped[start + n_times] - n_clipped[start]) / n_times
            reason = _reason(data[:, start : start + n_times], share > max_clipped, flat_below)
            counts[reason] += 1
            if reason == "kept":
                starts.append(start)
                tasks.append(task)
                splits.append(split)
    counts["too_short"] = int(n_windows == 0)
    signals = np.empty((len(starts), recording.n_channels, n_times), dtype=np.float32)
    for row, start in enumerate(starts):
        signals[row] = data[:, start : start + n_times]
    segments = SegmentSet(
        signals,
        recording.fs,
        tasks,
        subject=recording.subject,
        session=recording.session,
        recording=recording.name,
        split=splits,
        start_s=np.asarray(starts, dtype=np.float64) / recording.fs,
        channel_names=recording.channel_names,
        muscles=recording.muscles,
    )
    return segments, counts


def _grid(fs: float, seconds: float, overlap: float, max_clipped: float) -> tuple[int, int]:
    n_times = round(seconds * fs) if np.isfinite(seconds) else 0
    if n_times < 2:
        raise InputError(f"a segment of {seconds} s at {fs:.7g} Hz holds no signal; make it longer")
    if not 0 <= overlap < 1:
        raise InputError(f"overlap is a share of a segment, 0 ≤ overlap < 1, not {overlap}")
    if not 0 <= max_clipped <= 1:
        raise InputError(f"max_clipped is a share of a segment, 0 to 1, not {max_clipped}")
    return n_times, max(1, round(n_times * (1 - overlap)))


def _reason(segment: FloatArray, too_clipped: bool, flat_below: NDArray[np.float64]) -> str:
    if not np.all(np.isfinite(segment)):
        return "nan"
    centred = segment - segment.mean(axis=1, keepdims=True, dtype=np.float64)
    if np.any(np.sqrt(np.mean(centred**2, axis=1)) <= flat_below):
        return "flat"
    return "clipped" if too_clipped else "kept"


def _stretches(
    recording: Recording, barred: NDArray[np.bool_], spans: Sequence[Span] | None
) -> Iterable[tuple[str, str, int, int]]:
    """(split, task, first sample, sample after the last) of what may be used, in order."""
    everything: Sequence[Span] = [("", 0.0, recording.duration_s)]
    for task, task_start, task_stop in task_spans(recording):
        for split, start, stop in everything if spans is None else spans:
            first = _sample(max(start, task_start), recording.fs, np.ceil)
            last = min(_sample(min(stop, task_stop), recording.fs, np.floor), recording.n_times)
            if last > first:
                for begin, end in _runs(~barred[first:last]):
                    yield split, task, first + begin, first + end


def _sample(time_s: float, fs: float, rounding: np.ufunc) -> int:
    return int(rounding(round(time_s * fs, 6)))  # 29.999999999 is sample 30


def _is_clipped(annotation: Annotation) -> bool:
    return annotation.description.upper().startswith(_CLIPPED.upper())


def _mask(recording: Recording, chosen: Callable[[Annotation], bool]) -> NDArray[np.bool_]:
    mask = np.zeros(recording.n_times, dtype=bool)
    for annotation in recording.annotations:
        if chosen(annotation):
            first = _sample(max(annotation.onset_s, 0.0), recording.fs, np.floor)
            stop = annotation.onset_s + annotation.duration_s
            mask[first : _sample(stop, recording.fs, np.ceil)] = True
    return mask


def _runs(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First position and position after the last of every run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
