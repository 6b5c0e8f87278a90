"""HDF5: OpenSignals files say all about themselves, others and MATLAB 7.3 need a mapping."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from myosynth.errors import FormatError, MissingExtraError, MyosynthError
from myosynth.formats.arrays import ArrayFile, Part, array_signals, check_claim
from myosynth.formats.lazy import LazySamples
from myosynth.formats.mapping import FileMapping
from myosynth.formats.opensignals import is_opensignals, opensignals_channels
from myosynth.formats.sources import Signals
from myosynth.recordings import FloatArray

__all__ = ["hdf5_arrays", "open_hdf5", "read_hdf5", "read_matlab73"]

_NO_NUMBERS = (b"char", b"cell", b"struct", b"function_handle")
_MOST_OBJECTS = 100_000


@contextmanager
def open_hdf5(path: Path) -> Iterator[Any]:
    """Open an HDF5 file for reading; whatever h5py raises inside becomes a `FormatError`.

    Raises
    ------
    MissingExtraError
        If h5py is not installed.
    FormatError
        If the file is damaged.
    """
    try:
        import h5py
    except ImportError as error:
        raise MissingExtraError("h5py", "hdf5", f"reading {path}") from error
    try:
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except MyosynthError:
        raise
    except Exception as error:
        said = str(error) or type(error).__name__
        raise FormatError(f"{path} is not a sound HDF5 file ({said}); save it again") from error


class _Hdf5Samples(LazySamples):
    """Channels of HDF5 arrays plus an offset each; the file is open only while a block is read."""

    def __init__(
        self, path: Path, parts: Sequence[Part], n_times: int, offsets: Sequence[float] = ()
    ) -> None:
        super().__init__(len(parts), n_times)
        self._path, self._parts, self._offsets = path, parts, offsets or [0.0] * len(parts)

    def block(self, rows: NDArray[np.intp], low: int, high: int) -> FloatArray:
        block = np.empty((len(rows), high - low))
        with open_hdf5(self._path) as file:
            held: dict[tuple[str, int | None], NDArray[Any]] = {}
            for samples, row in zip(block, rows, strict=True):
                part = self._parts[row]
                samples[:] = self._line(file[part.array], part, low, high, held)
                samples += self._offsets[row]
        return block

    @staticmethod
    def _line(
        array: Any,
        part: Part,
        low: int,
        high: int,
        held: dict[tuple[str, int | None], NDArray[Any]],
    ) -> NDArray[Any]:
        if part.position is None:
            along = int(np.argmax(array.shape)) if array.shape else 0
            return np.ravel(array[(slice(None),) * along + (slice(low, high),)])
        if not part.times_first:
            return np.asarray(array[part.position, low:high])
        if (part.array, None) not in held:  # one reading serves every channel
            held[part.array, None] = array[low:high]
        return held[part.array, None][:, part.position]


def read_hdf5(path: Path, plan: FileMapping | None = None) -> Signals:
    """Open an HDF5 file: one of OpenSignals, or any whose arrays the mapping names.

    Raises
    ------
    FormatError
        If the file is damaged or lacks what the mapping names.
    """
    with open_hdf5(path) as file:
        if not (plan and plan.samples) and is_opensignals(file):
            return _opensignals(path, file)
    return array_signals(hdf5_arrays(path), plan)


def read_matlab73(path: Path, plan: FileMapping | None = None) -> Signals:
    """Open a MATLAB file of version 7.3; the mapping names its variables, as in `read_matlab`."""
    return array_signals(hdf5_arrays(path, flipped=True), plan)


def _opensignals(path: Path, file: Any) -> Signals:
    channels = opensignals_channels(path, file)
    lengths = {channel.array: int(np.prod(file[channel.array].shape)) for channel in channels}
    for name, length in lengths.items():
        check_claim(path, float(length), name)

    def pick(rows: Sequence[int]) -> LazySamples:
        chosen = [channels[row] for row in rows]
        n_times = min(lengths[channel.array] for channel in chosen)
        parts = [Part(channel.array) for channel in chosen]
        counts = _Hdf5Samples(path, parts, n_times, [channel.offset for channel in chosen])
        return counts.rescaled(np.array([channel.gain for channel in chosen]))

    return Signals(
        names=[channel.name for channel in channels],
        units=[channel.unit for channel in channels],
        rates=[channel.fs for channel in channels],
        pick=pick,
        may_be_emg=[channel.is_emg for channel in channels],
        metadata={"sidecar": {"Manufacturer": "PLUX"}},
    )


def hdf5_arrays(path: Path, *, flipped: bool = False) -> ArrayFile:
    """What an HDF5 file holds.

    MATLAB writes arrays column by column, so that HDF5 sees their axes in the opposite order:
    `flipped` gives them as MATLAB does.
    """
    with open_hdf5(path) as file:
        shapes = {
            name: shape[::-1] if flipped else shape
            for name, shape in _numeric_arrays(path, file).items()
        }

    def read(parts: Sequence[Part]) -> LazySamples:
        first = shapes[parts[0].array]
        turned = [Part(p.array, p.position, p.times_first != flipped) for p in parts]
        n_times = int(np.prod(first))
        if parts[0].position is not None:
            n_times = first[0] if parts[0].times_first else first[1]
        return _Hdf5Samples(path, turned, n_times)

    def number(name: str) -> float:
        with open_hdf5(path) as file:
            return float(np.ravel(file[name][()])[0])

    return ArrayFile(path, shapes, read, number)


def _numeric_arrays(path: Path, file: Any) -> dict[str, tuple[int, ...]]:
    import h5py

    found: dict[str, tuple[int, ...]] = {}
    seen = 0

    def visit(name: str, item: Any) -> bool | None:
        nonlocal seen
        seen += 1
        if seen > _MOST_OBJECTS:
            return True
        if not isinstance(item, h5py.Dataset) or name.startswith("#") or item.shape is None:
            return None
        if item.dtype.kind in "fiu" and item.attrs.get("MATLAB_class") not in _NO_NUMBERS:
            n_bytes = float(np.prod([float(n) for n in item.shape])) * item.dtype.itemsize
            check_claim(path, n_bytes, name)
            found[name] = tuple(item.shape)
        return None

    file.visititems(visit)
    return found
