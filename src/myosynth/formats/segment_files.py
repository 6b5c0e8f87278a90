"""Files that hold sets of segments, one entry a format: CSV and folders of recordings are here."""

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from myosynth.errors import FormatError, InputError
from myosynth.formats.bids_writing import write_bids
from myosynth.formats.edf_writing import write_edf
from myosynth.formats.hdf5 import hdf5_arrays
from myosynth.formats.kinds import kind_of
from myosynth.formats.matlab import matlab_arrays
from myosynth.formats.names import bids_label, volts_per_unit
from myosynth.formats.numpy_files import npz_names
from myosynth.formats.parquet import all_parquet_columns
from myosynth.formats.segment_arrays import (
    read_hdf5_set,
    read_mat_set,
    read_npz_set,
    write_hdf5,
    write_mat,
    write_npz,
)
from myosynth.formats.segment_parquet import read_parquet_set, write_parquet
from myosynth.formats.targets import stated_fs, target_file
from myosynth.formats.tsv import number
from myosynth.formats.wfdb_files import write_wfdb
from myosynth.recordings import Annotation, FloatArray, Recording, SegmentSet
from myosynth.storage import atomic_directory, atomic_file

__all__ = ["SET_READERS", "WRITERS", "SegmentsWriter", "SetReader", "is_set_file"]

_CSV_COLUMNS = ("segment", "task", "time_s", "fs_hz")


def write_csv(segments: SegmentSet, out: Path, *, overwrite: bool = False) -> Path:
    """Write one long CSV: segment, task, time_s, fs_hz and a column ``<channel> [V]`` each.

    Nine digits hold a float32 exactly. What else is known of a segment is not in it.
    """
    path = target_file(out, ".csv", overwrite)
    channels = [f"{name} [V]" for name in segments.channel_names]
    times = [f"{i / segments.fs:.9g}" for i in range(segments.n_times)]
    with atomic_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*_CSV_COLUMNS, *channels])
        for index in range(len(segments)):
            head = (index, segments.task[index])
            samples = segments.read([index])[0].T.tolist()
            writer.writerows(
                (*head, time, repr(segments.fs), *(f"{value:.9g}" for value in row))
                for time, row in zip(times, samples, strict=True)
            )
    return path


def _read_csv(path: Path, fs: float | None) -> SegmentSet:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file)
            header = [name.strip() for name in next(rows, [])]
            names, scale = _csv_channels(path, header)
            lengths: dict[str, int] = {}
            tasks: list[str] = []
            rates: set[str] = set()
            samples = _csv_samples(path, header, rows, lengths, tasks, rates)
            flat: FloatArray = np.fromiter(samples, dtype=np.dtype((np.float64, len(names))))
    except (UnicodeDecodeError, csv.Error) as error:
        raise FormatError(f"{path} is not a UTF-8 CSV file ({error})") from error
    if not lengths:
        raise FormatError(f"{path} has a header and no samples")
    n_times = next(iter(lengths.values()))
    if odd := [name for name, length in lengths.items() if length != n_times]:
        raise FormatError(
            f"{path}: segment {odd[0]} has {lengths[odd[0]]} samples and the first has {n_times}"
        )
    if len(rates) > 1:
        raise FormatError(f"{path} holds segments of two sampling rates: {sorted(rates)}")
    rate = number(path, 2, "fs_hz", rates.pop()) if rates else None
    signals = (flat * scale).reshape(len(lengths), n_times, len(names)).transpose(0, 2, 1)
    return SegmentSet(
        np.ascontiguousarray(signals, dtype=np.float32),
        stated_fs(path, rate, fs),
        np.array(tasks),
        channel_names=names,
    )


def _csv_channels(path: Path, header: Sequence[str]) -> tuple[list[str], FloatArray]:
    if missing := [name for name in ("segment", "task") if name not in header]:
        raise FormatError(
            f"{path} lacks the column {missing[0]!r}, so it is no set of segments; "
            "read other tables through a mapping file"
        )
    channels = [name for name in header if name not in _CSV_COLUMNS]
    if not channels:
        raise FormatError(f"{path} has no channel column, such as 'EMG1 [V]'")
    pairs = [name.removesuffix("]").rpartition(" [") for name in channels]
    scale = [volts_per_unit(unit if name else "", f"{path}, column {name or unit!r} (write it as "
                            "'EMG1 [V]')") for name, _, unit in pairs]  # fmt: skip
    return [name for name, _, _ in pairs], np.array(scale)


def _csv_samples(
    path: Path,
    header: Sequence[str],
    rows: Iterator[list[str]],
    lengths: dict[str, int],
    tasks: list[str],
    rates: set[str],
) -> Iterator[tuple[float, ...]]:
    at = {name: header.index(name) for name in ("segment", "task", "fs_hz") if name in header}
    used = [(i, name) for i, name in enumerate(header) if name not in _CSV_COLUMNS]
    last = ""
    for line, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise FormatError(f"{path}, line {line}: {len(row)} cells for {len(header)} columns")
        segment = row[at["segment"]]
        if segment != last or not lengths:
            if segment in lengths:
                raise FormatError(f"{path}, line {line}: segment {segment} goes on after another")
            tasks.append(row[at["task"]])
            lengths[segment], last = 0, segment
        lengths[segment] += 1
        if "fs_hz" in at:
            rates.add(row[at["fs_hz"]])
        try:
            yield tuple([float(row[i]) for i, _ in used])
        except ValueError:
            for i, name in used:  # says which one it is
                number(path, line, name, row[i])
            raise


def write_edf_folder(
    segments: SegmentSet, out: Path, *, overwrite: bool = False, suffix: str = ".edf"
) -> Path:
    """Write one file per segment: ``sub-syn001_task-pull_emg.edf`` and so on."""
    with atomic_directory(out, overwrite=overwrite) as folder:
        for recording in _as_recordings(segments):
            write_edf(recording, folder / f"{_stem(recording)}{suffix}")
    return Path(out)


def write_bdf_folder(segments: SegmentSet, out: Path, *, overwrite: bool = False) -> Path:
    """As `write_edf_folder`, in 24 bits."""
    return write_edf_folder(segments, out, overwrite=overwrite, suffix=".bdf")


def write_wfdb_folder(segments: SegmentSet, out: Path, *, overwrite: bool = False) -> Path:
    """Write one WFDB record per segment: ``sub-syn001_task-pull_emg.hea`` and ``.dat``."""
    with atomic_directory(out, overwrite=overwrite) as folder:
        for recording in _as_recordings(segments):
            write_wfdb(recording, folder / f"{_stem(recording)}.hea")
    return Path(out)


def _stem(recording: Recording) -> str:
    return f"sub-{recording.subject}_task-{bids_label(recording.task, 'task')}_emg"


def write_bids_segments(segments: SegmentSet, out: Path, *, overwrite: bool = False) -> Path:
    """Write an EMG-BIDS dataset, a participant per segment, labelled synthetic throughout."""
    counts = ", ".join(f"{np.sum(segments.task == task)} {task}" for task in segments.tasks)
    write_bids(
        _as_recordings(segments),
        out,
        name="Synthetic surface EMG",
        dataset_type="derivative",
        source_datasets=segments.metadata.get("source_datasets"),
        readme=(
            "Synthetic surface EMG\n\nThis dataset is synthetic. No person was recorded for it: a "
            "generative model (myosynth) made\nevery signal. Each sub-syn… is one independent "
            f"segment of {segments.duration_s:g} s and stands for no person.\n"
            f"Segments: {counts}.\n"
        ),
        acquisition="synthetic",
        overwrite=overwrite,
        check_duplicates=False,
    )
    return Path(out)


def _as_recordings(segments: SegmentSet) -> Iterator[Recording]:
    digits = max(3, len(str(len(segments))))
    for index in range(len(segments)):
        task = str(segments.task[index])
        if not task:
            raise InputError(f"segment {index} has no task, which EDF and BIDS names need; name it")
        # a task that the file name cannot spell is kept as an annotation
        spelled = task == bids_label(task, "task")
        whole = Annotation(0.0, segments.duration_s, task)
        yield Recording(
            segments.read([index])[0],
            segments.fs,
            segments.channel_names,
            subject=f"syn{index + 1:0{digits}d}",
            muscles=segments.muscles,
            task=task,
            annotations=() if spelled else (whole,),
            metadata={"synthetic": True},
        )


SegmentsWriter = Callable[..., Path]

WRITERS: dict[str, SegmentsWriter] = {
    "npz": write_npz,
    "csv": write_csv,
    "edf": write_edf_folder,
    "bdf": write_bdf_folder,
    "bids": write_bids_segments,
    "hdf5": write_hdf5,
    "mat": write_mat,
    "parquet": write_parquet,
    "wfdb": write_wfdb_folder,
}
"""By format: ``function(segments, out, *, overwrite=False)``, which returns what it wrote. Where
`out` ends in the format's suffix (.npz, .csv, .h5, .mat, .parquet) that file is written, otherwise
`out` is a folder."""


SetReader = Callable[[Path, float | None], SegmentSet]

SET_READERS: dict[str, SetReader] = {
    ".npz": read_npz_set,
    ".csv": _read_csv,
    ".h5": read_hdf5_set,
    ".hdf5": read_hdf5_set,
    ".mat": read_mat_set,
    ".parquet": read_parquet_set,
}
"""By suffix: ``function(path, fs)`` for the formats that hold a whole set in one file."""


def is_set_file(path: Path) -> bool:
    """Whether a file holds a set of segments (or is a damaged one that may), not a recording."""
    if path.suffix.lower() not in SET_READERS or not path.is_file():
        return False
    kind = kind_of(path)
    if kind not in _HELD:
        return kind == "text" and _csv_header(path)[:1] == ["segment"]
    try:
        return "signals" in _HELD[kind](path)
    except FormatError:
        return True  # its reader says what is wrong


def _csv_header(path: Path) -> list[str]:
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        return [name.strip() for name in next(csv.reader([file.readline()]), [])]


_HELD: dict[str, Callable[[Path], Iterable[str]]] = {
    "hdf5": lambda path: hdf5_arrays(path).shapes,
    "matlab": lambda path: matlab_arrays(path).shapes,
    "npz": npz_names,
    "parquet": all_parquet_columns,
}
"""By kind: the names in a file, of which a set has ``signals``."""
