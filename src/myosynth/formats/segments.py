"""Opening any set of segments, and cutting recordings into segments where it holds those."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from myosynth.errors import FormatError, InputError
from myosynth.formats.kinds import kind_of
from myosynth.formats.mapping import FileMapping
from myosynth.formats.readers import iterate_recordings
from myosynth.formats.segment_files import SET_READERS, is_set_file
from myosynth.formats.segment_parquet import parquet_parts, read_parquet_set
from myosynth.recordings import Recording, SegmentSet

__all__ = ["read_segments"]

_TEXTS = ("subject", "session", "recording", "split")


def read_segments(
    path: str | Path,
    *,
    seconds: float | None = None,
    mapping: str | Path | FileMapping | None = None,
    fs: float | None = None,
) -> SegmentSet:
    """Open any set of segments: a segment folder, npz, CSV, HDF5, MATLAB, Parquet, or recordings.

    Parameters
    ----------
    path : path
        A file or folder.
    seconds : float, optional
        Length of a segment in seconds. Longer signals are cut, end to end, within each task and
        around bad spans. Without it every file is one segment.
    mapping : str or path, optional
        Mapping file (or shipped name) for delimited text.
    fs : float, optional
        Sampling rate in Hz where the file cannot say.

    Returns
    -------
    SegmentSet
        In volts. The task of a file is that of its sidecars or annotations, else ``task-…`` in its
        name, else the name of its folder below `path`.

    Raises
    ------
    InputError, FormatError
        If there is nothing to read, a file is shorter than `seconds`, rates or channels differ
        between files (both are named), or a task or rate is not known.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist; check the path")
    if (path / "zarr.json").is_file():
        return _cut_set(SegmentSet.open(path), seconds, path)
    if mapping is None and path.is_dir() and parquet_parts(path):
        return _cut_set(read_parquet_set(path, fs), seconds, path)
    source = _set_file(path) if mapping is None else None
    if source is not None:
        return _cut_set(SET_READERS[source.suffix.lower()](source, fs), seconds, source)
    return _from_recordings(iterate_recordings(path, mapping=mapping, fs=fs), path, seconds)


def _set_file(path: Path) -> Path | None:
    """The one file that holds a whole set, where `path` is one or is a folder of one."""
    if path.is_file():
        # a table that is named is meant as a set: its reader says what it lacks
        is_table = path.suffix.lower() == ".csv" and kind_of(path) == "text"
        return path if is_set_file(path) or is_table else None
    sets = sorted(each for each in path.glob("*") if is_set_file(each))
    if len(sets) > 1:
        raise FormatError(
            f"{path} holds several sets ({sets[0].name}, {sets[1].name}); name one of them"
        )
    return sets[0] if sets else None


def _cut_set(segments: SegmentSet, seconds: float | None, path: Path) -> SegmentSet:
    n_times = segments.n_times if seconds is None else _n_times(seconds, segments.fs)
    if n_times == segments.n_times:
        return segments
    if n_times > segments.n_times:
        raise InputError(
            f"{path}: segments of {segments.duration_s:g} s are shorter than the {seconds:g} s "
            "asked for"
        )
    parts = segments.n_times // n_times
    cut = segments.read()[:, :, : parts * n_times]
    cut = cut.reshape(len(segments), segments.n_channels, parts, n_times).swapaxes(1, 2)
    texts = {name: np.repeat(getattr(segments, name), parts) for name in ("task", *_TEXTS)}
    shift = np.tile(np.arange(parts) * n_times / segments.fs, len(segments))
    return SegmentSet(
        cut.reshape(-1, segments.n_channels, n_times),
        segments.fs,
        channel_names=segments.channel_names,
        muscles=segments.muscles,
        start_s=np.repeat(segments.start_s, parts) + shift,
        columns={name: np.repeat(values, parts) for name, values in segments.columns.items()},
        metadata=segments.metadata,
        **texts,
    )


def _n_times(seconds: float, fs: float) -> int:
    if not seconds > 0 or round(seconds * fs) < 1:
        raise InputError(f"a segment must last more than 0 s, not {seconds:g}")
    return round(seconds * fs)


def _from_recordings(
    files: Iterable[tuple[Path, Recording]], root: Path, seconds: float | None
) -> SegmentSet:
    blocks: list[NDArray[np.float32]] = []
    texts: dict[str, list[str]] = {name: [] for name in ("task", "subject", "session", "recording")}
    starts: list[float] = []
    first: tuple[Path, Recording] | None = None
    for path, recording in files:
        first = first or (path, recording)
        n_times = _n_times(seconds, recording.fs) if seconds else first[1].n_times
        _check_alike(first, (path, recording), whole=seconds is None)
        spans = _spans(path, recording, root, n_times)
        for start, task in spans:
            samples = np.asarray(recording.data[:, start : start + n_times], dtype=np.float32)
            blocks.append(samples)
            starts.append(start / recording.fs)
            row = (task, recording.subject, recording.session, recording.name)
            for name, value in zip(texts, row, strict=True):
                texts[name].append(value)
    if first is None:
        raise FormatError(f"{root} holds no recordings")
    if not blocks:
        raise FormatError(f"{root}: nothing is left outside the bad spans")
    return SegmentSet(
        np.stack(blocks),
        first[1].fs,
        texts["task"],
        subject=texts["subject"],
        session=texts["session"],
        recording=texts["recording"],
        channel_names=first[1].channel_names,
        muscles=first[1].muscles,
        start_s=starts,
    )


def _check_alike(
    first: tuple[Path, Recording], other: tuple[Path, Recording], *, whole: bool
) -> None:
    (path_a, a), (path_b, b) = first, other
    for what, one, two, differ, mend in (
        ("sampling rates", a.fs, b.fs, a.fs != b.fs, "resample one of them"),
        ("channels", a.channel_names, b.channel_names, a.channel_names != b.channel_names,
         "leave one of them out"),
        ("lengths in samples", a.n_times, b.n_times, whole and a.n_times != b.n_times,
         "pass the length of a segment in seconds"),
    ):  # fmt: skip
        if differ:
            raise InputError(
                f"{path_a} and {path_b} differ in {what} ({one} and {two}) and cannot be in one "
                f"set; {mend}"
            )


def _spans(path: Path, recording: Recording, root: Path, n_times: int) -> list[tuple[int, str]]:
    """First sample and task of every segment that fits into a task and touches no bad span."""
    fs = recording.fs
    timed = [a for a in recording.annotations if not a.is_bad]
    bad = [
        (round(a.onset_s * fs), round((a.onset_s + a.duration_s) * fs))
        for a in recording.annotations
        if a.is_bad
    ]
    whole = recording.task or (path.parent.name if path.parent not in (root, root.parent) else "")
    if not timed and not whole:
        raise FormatError(
            f"{path} has no task; name it in the file name (task-pull) or put it into a folder of "
            "the task's name"
        )
    spans = [(a.onset_s, a.onset_s + a.duration_s, a.description) for a in timed]
    fitting = [
        (start, task)
        for begin, end, task in spans or [(0.0, recording.duration_s, whole)]
        for start in range(
            round(begin * fs), min(round(end * fs), recording.n_times) - n_times + 1, n_times
        )
    ]
    if not fitting:
        raise InputError(
            f"{path} ({recording.duration_s:g} s) has no task that lasts {n_times / fs:g} s; ask "
            "for shorter segments or leave it out"
        )
    return [
        (start, task)
        for start, task in fitting
        if not any(low < start + n_times and start < max(high, low + 1) for low, high in bad)
    ]
