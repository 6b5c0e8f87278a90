"""Segments of equal length from many recordings, in memory or in a zarr folder."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from myosynth.errors import FormatError, InputError
from myosynth.recordings.recording import (
    FloatArray,
    SignalArray,
    checked_channels,
    checked_fs,
    checked_muscles,
)
from myosynth.storage import atomic_directory

__all__ = ["SPLITS", "SegmentSet", "SegmentWriter"]

SPLITS = ("train", "holdout", "validation", "unseen")
"""train: members; holdout: the same subjects, other recordings or parts; validation: other
subjects, for model selection; unseen: other subjects, opened by the evaluation protocol alone."""

_FORMAT = "myosynth-segments"
_FORMAT_VERSION = 1
_TEXT_COLUMNS = ("task", "subject", "session", "recording", "split")
_CHUNK_BYTES = 1 << 20


class SegmentSet:
    """Segments of equal length from many recordings, with where each one came from.

    Parameters
    ----------
    signals : array, (n_segments, n_channels, n_times)
        In volts; a numpy array or a zarr array that is read piece by piece.
    fs : float
        Sampling rate in Hz.
    task : sequence of str, (n_segments,)
        The task of each segment; one string stands for all.
    subject, session, recording : sequence of str, (n_segments,)
        Where each segment came from.
    split : sequence of str, (n_segments,)
        One of `SPLITS`, or empty (not split, or synthetic).
    start_s : sequence of float, (n_segments,)
        Start of each segment in its recording, seconds.
    channel_names, muscles : sequence of str
        As in `Recording`; names default to ``EMG1``, ``EMG2``, …
    columns : mapping of str to (n_segments,)
        Further conditions: text (categorical, empty = missing) or float (numeric, NaN = missing).
    metadata : mapping
        JSON-able facts about the whole set (filters, segmentation, source).

    Raises
    ------
    InputError
        If shapes do not fit together.
    """

    def __init__(
        self,
        signals: SignalArray,
        fs: float,
        task: str | Sequence[str] | NDArray[Any] = "",
        *,
        subject: str | Sequence[str] | NDArray[Any] = "",
        session: str | Sequence[str] | NDArray[Any] = "",
        recording: str | Sequence[str] | NDArray[Any] = "",
        split: str | Sequence[str] | NDArray[Any] = "",
        start_s: float | Sequence[float] | NDArray[Any] = 0.0,
        channel_names: Sequence[str] = (),
        muscles: Sequence[str] = (),
        columns: Mapping[str, Sequence[Any] | NDArray[Any]] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        if len(signals.shape) != 3:
            raise InputError(
                "segments must be (n_segments, n_channels, n_times), "
                f"not of shape {tuple(signals.shape)}"
            )
        n_segments, n_channels, _ = signals.shape
        self.signals = signals
        self.fs = checked_fs(fs)
        names = channel_names or [f"EMG{i + 1}" for i in range(n_channels)]
        self.channel_names = checked_channels(names, n_channels)
        self.muscles = checked_muscles(muscles, n_channels)
        self.task = _text_column("task", task, n_segments)
        self.subject = _text_column("subject", subject, n_segments)
        self.session = _text_column("session", session, n_segments)
        self.recording = _text_column("recording", recording, n_segments)
        self.split = _text_column("split", split, n_segments)
        unknown = sorted(set(self.split) - {*SPLITS, ""})
        if unknown:
            raise InputError(f"split must be one of {', '.join(SPLITS)}, got {unknown}")
        self.start_s = _float_column("start_s", start_s, n_segments)
        self.columns = {
            name: _any_column(name, values, n_segments) for name, values in (columns or {}).items()
        }
        self.metadata = dict(metadata or {})

    def __len__(self) -> int:
        return int(self.signals.shape[0])

    def __repr__(self) -> str:
        return (
            f"SegmentSet({len(self)} segments × {self.n_channels} channels × {self.n_times} times, "
            f"fs={self.fs:.7g} Hz, tasks={list(self.tasks)}, subjects={len(set(self.subject))})"
        )

    @property
    def n_channels(self) -> int:
        return int(self.signals.shape[1])

    @property
    def n_times(self) -> int:
        return int(self.signals.shape[2])

    @property
    def duration_s(self) -> float:
        """Length of one segment in seconds."""
        return self.n_times / self.fs

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks in the set, sorted."""
        return tuple(sorted(set(self.task.tolist())))

    @property
    def subjects(self) -> tuple[str, ...]:
        """The subjects in the set, sorted."""
        return tuple(sorted(set(self.subject.tolist())))

    def read(self, index: Any = slice(None)) -> FloatArray:
        """Samples of the chosen segments in memory, (n_chosen, n_channels, n_times) in volts.

        Parameters
        ----------
        index : slice, or array of int or bool
            Which segments; the order of an int array is kept.
        """
        if isinstance(index, slice):
            return np.asarray(self.signals[index])
        rows = _rows(index, len(self))
        if isinstance(self.signals, np.ndarray):
            return np.asarray(self.signals[rows])
        # zarr reads each chunk once when the rows are sorted
        order = np.argsort(rows, kind="stable")
        loaded = np.empty((len(rows), *self.signals.shape[1:]), dtype=np.float32)
        if len(rows):
            loaded[order] = self.signals.oindex[rows[order]]  # type: ignore[attr-defined]
        return loaded

    def __getitem__(self, index: Any) -> "SegmentSet":
        """The chosen segments as a set in memory; `index` as in `read`."""
        rows = np.arange(len(self))[index] if isinstance(index, slice) else _rows(index, len(self))
        return SegmentSet(
            self.read(rows),
            self.fs,
            channel_names=self.channel_names,
            muscles=self.muscles,
            start_s=self.start_s[rows],
            columns={name: values[rows] for name, values in self.columns.items()},
            metadata=self.metadata,
            **{name: getattr(self, name)[rows] for name in _TEXT_COLUMNS},
        )

    def rows(
        self, *, task: str | None = None, subject: str | None = None, split: str | None = None
    ) -> NDArray[np.intp]:
        """Positions of the segments that match every given value."""
        chosen = np.ones(len(self), dtype=bool)
        for name, value in (("task", task), ("subject", subject), ("split", split)):
            if value is not None:
                chosen &= getattr(self, name) == value
        return np.flatnonzero(chosen)

    def where(
        self, *, task: str | None = None, subject: str | None = None, split: str | None = None
    ) -> "SegmentSet":
        """The segments that match every given value, as a set in memory."""
        return self[self.rows(task=task, subject=subject, split=split)]

    def to_numpy(
        self, *, groups: str = "subject"
    ) -> tuple[FloatArray, NDArray[np.str_], NDArray[np.str_]]:
        """Samples, tasks and groups as scikit-learn takes them.

        Parameters
        ----------
        groups : {"subject", "session", "recording", "split"}
            What must not be on both sides of a split.

        Returns
        -------
        X : array, (n_segments, n_channels, n_times)
            In volts; ``X.reshape(len(X), -1)`` where two dimensions are wanted.
        y : array of str, (n_segments,)
            The tasks.
        groups : array of str, (n_segments,)
            For `sklearn.model_selection.LeaveOneGroupOut` and its like.
        """
        if groups not in _TEXT_COLUMNS[1:]:
            raise InputError(f"groups must be one of {', '.join(_TEXT_COLUMNS[1:])}, not {groups}")
        return self.read(), self.task, getattr(self, groups)

    def to_torch(self) -> Any:
        """A torch Dataset of ``(X, y, metainfo)``; see `myosynth.bridges.with_torch`."""
        from myosynth.bridges.with_torch import SegmentDataset

        return SegmentDataset(self)

    def to_pandas(self) -> Any:
        """A DataFrame of what is known about each segment, one row each; no samples."""
        from myosynth.bridges import segments_to_pandas

        return segments_to_pandas(self)

    def to_xarray(self) -> Any:
        """A DataArray (segment, channel, time) in volts."""
        from myosynth.bridges import segments_to_xarray

        return segments_to_xarray(self)

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the set as a zarr folder, atomically, a few segments at a time."""
        with SegmentSet.writer(path, like=self, overwrite=overwrite) as writer:
            step = max(1, _CHUNK_BYTES * 16 // (4 * self.n_channels * self.n_times))
            for start in range(0, len(self), step):
                writer.append(self[start : start + step])

    @staticmethod
    @contextmanager
    def writer(
        path: str | Path,
        *,
        like: "SegmentSet",
        overwrite: bool = False,
    ) -> Iterator["SegmentWriter"]:
        """Open a folder for appending sets that share `like`'s rate, channels and length.

        Yields
        ------
        SegmentWriter
            Call its ``append(segment_set)``; ``metadata`` may be changed until the block ends.
            The folder appears at `path` when the block ends well, and not at all otherwise.
        """
        with atomic_directory(path, overwrite=overwrite) as partial:
            writer = SegmentWriter(partial, like)
            yield writer
            writer.close()

    @classmethod
    def open(cls, path: str | Path) -> "SegmentSet":
        """Open a zarr folder written by `save`; samples stay on disk until they are read.

        Raises
        ------
        FormatError
            If the folder is not a segment set, or is damaged.
        """
        path = Path(path)
        if not (path / "zarr.json").is_file():
            raise FormatError(
                f"{path} is not a segment set (no zarr.json in it); make one with: myosynth prepare"
            )
        try:
            group: Any = zarr.open_group(str(path), mode="r")
            attributes: dict[str, Any] = dict(group.attrs)
            if attributes.get("format") != _FORMAT:
                raise FormatError(f"{path} is a zarr folder but not a myosynth segment set")
            if attributes["version"] > _FORMAT_VERSION:
                raise FormatError(f"{path} was written by a newer myosynth; update this one")
            return cls(
                group["signals"],
                attributes["fs"],
                channel_names=attributes["channel_names"],
                muscles=attributes["muscles"],
                metadata=attributes["metadata"],
                start_s=group["start_s"][:],
                columns={
                    name: _read_column(group, f"column_{name}", attributes["vocabularies"])
                    for name in attributes["columns"]
                },
                **{
                    name: _read_column(group, name, attributes["vocabularies"])
                    for name in _TEXT_COLUMNS
                },
            )
        except (KeyError, ValueError, TypeError, OSError, IndexError) as error:
            if isinstance(error, InputError):
                raise
            raise FormatError(
                f"{path} is a damaged segment set ({type(error).__name__}: {error}); "
                "make it again with: myosynth prepare --overwrite"
            ) from error

    @classmethod
    def concatenate(cls, sets: Iterable["SegmentSet"]) -> "SegmentSet":
        """Join sets of the same rate, channels and length into one in memory.

        Raises
        ------
        InputError
            If there is none, or they differ.
        """
        parts = list(sets)
        if not parts:
            raise InputError("there is no segment set to join")
        first = parts[0]
        for part in parts[1:]:
            _check_alike(first, part)
        names = [name for name in first.columns if all(name in part.columns for part in parts)]
        return cls(
            np.concatenate([part.read() for part in parts]),
            first.fs,
            channel_names=first.channel_names,
            muscles=first.muscles,
            start_s=np.concatenate([part.start_s for part in parts]),
            columns={name: np.concatenate([p.columns[name] for p in parts]) for name in names},
            metadata=first.metadata,
            **{
                name: np.concatenate([getattr(part, name) for part in parts])
                for name in _TEXT_COLUMNS
            },
        )


class SegmentWriter:
    """Appends segment sets to a zarr folder; made by `SegmentSet.writer`."""

    def __init__(self, folder: Path, like: SegmentSet) -> None:
        self._like = like
        self._group = zarr.open_group(str(folder), mode="w")
        bytes_each = 4 * like.n_channels * like.n_times
        per_chunk = max(1, _CHUNK_BYTES // bytes_each)
        self._signals = self._group.create_array(
            "signals",
            shape=(0, like.n_channels, like.n_times),
            chunks=(per_chunk, like.n_channels, like.n_times),
            dtype="float32",
        )
        self._columns: dict[str, list[NDArray[Any]]] = {
            name: [] for name in (*_TEXT_COLUMNS, "start_s", *map(_column_key, like.columns))
        }
        # whole chunks are written once: a rest waits here for the next append
        self._waiting: list[FloatArray] = []
        self._per_chunk = per_chunk
        self.metadata = dict(like.metadata)
        self.n_segments = 0

    def append(self, segments: SegmentSet) -> None:
        """Add segments; they must share the rate, channels, length and columns of the others.

        Raises
        ------
        InputError
            If they differ.
        """
        _check_alike(self._like, segments)
        if set(segments.columns) != set(self._like.columns):
            raise InputError(
                f"further columns differ: {sorted(self._like.columns)} and "
                f"{sorted(segments.columns)}; give every recording the same ones"
            )
        for name in (*_TEXT_COLUMNS, "start_s"):
            self._columns[name].append(getattr(segments, name))
        for name, values in segments.columns.items():
            self._columns[_column_key(name)].append(values)
        self._waiting.append(np.asarray(segments.read(), dtype=np.float32))
        self.n_segments += len(segments)
        self._flush(final=False)

    def _flush(self, *, final: bool) -> None:
        n_waiting = sum(len(block) for block in self._waiting)
        n_write = n_waiting if final else n_waiting - n_waiting % self._per_chunk
        if n_write == 0:
            return
        block = np.concatenate(self._waiting)
        start = self._signals.shape[0]
        self._signals.resize((start + n_write, *self._signals.shape[1:]))
        self._signals[start:] = block[:n_write]
        self._waiting = [block[n_write:]] if n_write < n_waiting else []

    def close(self) -> None:
        self._flush(final=True)
        vocabularies: dict[str, list[str]] = {}
        for name, parts in self._columns.items():
            values = np.concatenate(parts) if parts else np.empty(0, dtype="<U1")
            if values.dtype.kind == "U":
                vocabulary, codes = np.unique(values, return_inverse=True)
                vocabularies[name] = vocabulary.tolist()
                values = codes.astype(np.int32)
            self._group.create_array(name, data=values)
        self._group.attrs.update(
            {
                "format": _FORMAT,
                "version": _FORMAT_VERSION,
                "fs": self._like.fs,
                "channel_names": list(self._like.channel_names),
                "muscles": list(self._like.muscles),
                "columns": list(self._like.columns),
                "vocabularies": vocabularies,
                "metadata": self.metadata,
            }
        )


def _column_key(name: str) -> str:
    return f"column_{name}"


def _read_column(group: Any, name: str, vocabularies: Mapping[str, list[str]]) -> NDArray[Any]:
    values: NDArray[Any] = group[name][:]
    if name not in vocabularies:
        return values
    return np.asarray(vocabularies[name], dtype=str)[values] if len(values) else values.astype(str)


def _rows(index: Any, n_segments: int) -> NDArray[np.intp]:
    array = np.atleast_1d(np.asarray(index))
    if array.dtype == bool:
        if len(array) != n_segments:
            raise InputError(f"a mask over {n_segments} segments cannot have {len(array)} values")
        return np.flatnonzero(array)
    return np.arange(n_segments)[array.astype(np.intp)]


def _text_column(name: str, values: Any, n_segments: int) -> NDArray[np.str_]:
    array = np.full(n_segments, values) if isinstance(values, str) else np.asarray(values)
    if array.size == 0:
        array = array.astype(str)
    if array.shape != (n_segments,) or array.dtype.kind not in "UO":
        raise InputError(f"{name} must be {n_segments} texts, got {array.dtype} {array.shape}")
    return array.astype(str)


def _float_column(name: str, values: Any, n_segments: int) -> NDArray[np.float64]:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} must be {n_segments} numbers ({error})") from error
    array = np.full(n_segments, float(array)) if array.ndim == 0 else array
    if array.shape != (n_segments,):
        raise InputError(f"{name} must be {n_segments} numbers, got {array.shape}")
    return array


def _any_column(name: str, values: Any, n_segments: int) -> NDArray[Any]:
    array = np.asarray(values)
    return (
        _text_column(name, array, n_segments)
        if array.dtype.kind in "UO"
        else _float_column(name, array, n_segments)
    )


def _check_alike(first: SegmentSet, other: SegmentSet) -> None:
    for what, one, two in (
        ("sampling rates", first.fs, other.fs),
        ("channels", first.channel_names, other.channel_names),
        ("lengths in samples", first.n_times, other.n_times),
    ):
        if one != two:
            raise InputError(
                f"segments of different {what} cannot be in one set: {one} and {two}; "
                "resample, rename or segment them alike first"
            )
