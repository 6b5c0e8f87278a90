"""Sets of segments as named arrays: npz, MATLAB (version 5) and HDF5 with the same names.

``signals`` (n_segments, n_channels, n_times) float32 in volts, ``task`` (n_segments,) text, ``fs``
in Hz, ``channel_names``; further ``muscles``, ``start_s``, ``subject``, ``session``, ``recording``,
``split``, ``column_<name>`` and ``metadata`` (JSON).
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from myosynth.errors import FormatError, InputError, MissingExtraError
from myosynth.formats.isolation import isolated
from myosynth.formats.matlab import load_variables
from myosynth.formats.numpy_files import check_npz
from myosynth.formats.targets import stated_fs, target_file
from myosynth.recordings import SegmentSet
from myosynth.storage import atomic_file

__all__ = [
    "read_hdf5_set",
    "read_mat_set",
    "read_npz_set",
    "set_of",
    "write_hdf5",
    "write_mat",
    "write_npz",
]

_TEXTS = ("subject", "session", "recording", "split")
_ALL_TEXTS = ("task", "channel_names", "muscles", "metadata", *_TEXTS)
_MOST_MAT_BYTES = 2**31 - 1
_LONGEST_MAT_NAME = 63


def _arrays_of(segments: SegmentSet) -> dict[str, NDArray[Any]]:
    return {
        "signals": np.asarray(segments.read(), dtype=np.float32),
        "task": segments.task,
        "fs": np.asarray(segments.fs, dtype=np.float64),
        "channel_names": np.array(segments.channel_names),
        "muscles": np.array(segments.muscles),
        "start_s": segments.start_s,
        "metadata": np.array(json.dumps(segments.metadata)),
        **{name: getattr(segments, name) for name in _TEXTS},
        **{f"column_{name}": values for name, values in segments.columns.items()},
    }


def set_of(path: Path, content: Mapping[str, NDArray[Any]], fs: float | None) -> SegmentSet:
    """A set from named arrays; `fs` where they do not hold it.

    Raises
    ------
    FormatError
        If ``signals`` or ``task`` is missing, or the arrays do not fit together.
    """
    for name in ("signals", "task"):
        if name not in content:
            raise FormatError(f"{path} lacks {name!r}; it holds {sorted(content)}")
    signals = content["signals"]
    if signals.ndim != 3 or signals.dtype.kind not in "fiu" or 0 in signals.shape:
        raise FormatError(
            f"{path}: signals must be numbers of shape (n_segments, n_channels, n_times) with none "
            f"of them 0, not {signals.dtype} {signals.shape}"
        )
    names: dict[str, Any] = {
        key: np.ravel(content[key]).tolist()
        for key in ("channel_names", "muscles")
        if key in content
    }
    columns: dict[str, Any] = {
        key: np.ravel(content[key]) for key in (*_TEXTS, "start_s") if key in content
    }
    try:
        return SegmentSet(
            signals.astype(np.float32, copy=False),
            stated_fs(path, float(np.ravel(content["fs"])[0]) if "fs" in content else None, fs),
            np.broadcast_to(np.ravel(content["task"]), len(signals)).astype(str),
            **names,
            **columns,
            columns={k[7:]: np.ravel(v) for k, v in content.items() if k.startswith("column_")},
            metadata=json.loads(str(np.ravel(content["metadata"])[0]))
            if "metadata" in content
            else {},
        )
    except (InputError, ValueError, TypeError, IndexError) as error:
        raise FormatError(f"{path}: {error}") from error


def write_npz(segments: SegmentSet, out: Path, *, overwrite: bool = False) -> Path:
    """Write one npz; it comes back bit by bit. No pickle is written or read."""
    path = target_file(out, ".npz", overwrite)
    with atomic_file(path) as partial, partial.open("wb") as file:
        np.savez(file, allow_pickle=False, **_arrays_of(segments))
    return path


def read_npz_set(path: Path, fs: float | None) -> SegmentSet:
    """Read a set from an npz file; see `set_of`."""
    check_npz(path)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            content = {name: stored[name] for name in stored.files}
    except Exception as error:
        raise FormatError(f"{path} is not a sound npz file without pickles ({error})") from error
    return set_of(path, content, fs)


def write_hdf5(segments: SegmentSet, out: Path, *, overwrite: bool = False) -> Path:
    """Write one HDF5 file; it comes back bit by bit."""
    try:
        import h5py
    except ImportError as error:
        raise MissingExtraError("h5py", "hdf5", "writing HDF5") from error
    suffix = ".hdf5" if Path(out).suffix.lower() == ".hdf5" else ".h5"
    path = target_file(out, suffix, overwrite)
    with atomic_file(path) as partial, h5py.File(partial, "w") as file:
        for name, values in _arrays_of(segments).items():
            if values.dtype.kind == "U":
                file.create_dataset(name, data=values.astype(object), dtype=h5py.string_dtype())
            else:
                file[name] = values
    return path


def read_hdf5_set(path: Path, fs: float | None) -> SegmentSet:
    """Read a set from an HDF5 file; see `set_of`."""
    n_bytes = float(path.stat().st_size)
    content = isolated("hdf5_content", path, n_bytes=n_bytes, texts=_ALL_TEXTS)
    return set_of(path, content, fs)


def write_mat(segments: SegmentSet, out: Path, *, overwrite: bool = False) -> Path:
    """Write one MATLAB file of version 5; texts are cell arrays.

    Raises
    ------
    InputError
        If the signals are larger than the format holds (2 GiB), or a column's name is no MATLAB
        name.
    """
    from scipy.io import savemat

    path = target_file(out, ".mat", overwrite)
    content = _arrays_of(segments)
    for name in content:
        if not name.isascii() or not name.isidentifier() or len(name) > _LONGEST_MAT_NAME:
            raise InputError(f"{name!r} is no name for MATLAB; rename the column, or write hdf5")
    if content["signals"].nbytes > _MOST_MAT_BYTES:
        raise InputError("a MATLAB file of version 5 holds at most 2 GiB; write hdf5 instead")
    cells = {
        name: values.astype(object).reshape(-1, 1)
        if values.dtype.kind == "U" and values.ndim
        else values
        for name, values in content.items()
    }
    with atomic_file(path) as partial:
        savemat(str(partial), cells, appendmat=False, oned_as="column")
    return path


def read_mat_set(path: Path, fs: float | None) -> SegmentSet:
    """Read a set from a MATLAB file of version 5; see `set_of`."""
    return set_of(path, load_variables(path), fs)
