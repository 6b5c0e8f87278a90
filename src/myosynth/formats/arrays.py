"""Files that hold named arrays (MATLAB, HDF5, npz, npy): a mapping says which are EMG."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from myosynth.errors import ConfigError, FormatError
from myosynth.formats.claims import check_claim
from myosynth.formats.lazy import ColumnSamples, stacked
from myosynth.formats.mapping import FileMapping
from myosynth.formats.sources import Signals
from myosynth.recordings import SignalArray

__all__ = ["ArrayFile", "Part", "array_signals", "stack_parts"]


@dataclass(frozen=True)
class Part:
    """Where the samples of one channel lie: in a vector, or in one line of a matrix."""

    array: str
    position: int | None = None
    times_first: bool = True


@dataclass(frozen=True)
class ArrayFile:
    """What a file of arrays holds, without its samples.

    Parameters
    ----------
    path : path
    shapes : mapping of str to shape
        The arrays of numbers, as their writer sees them.
    read : function
        From parts to samples (n_channels, n_times).
    number : function
        The value of an array that holds one number.
    """

    path: Path
    shapes: Mapping[str, tuple[int, ...]]
    read: Callable[[Sequence[Part]], SignalArray]
    number: Callable[[str], float]

    def find(self, name: str) -> str:
        """The array of this name, with dots or slashes.

        Raises
        ------
        FormatError
            If there is none.
        """
        for spelled in (name, name.replace(".", "/"), name.replace("/", ".")):
            if spelled in self.shapes:
                return spelled
        raise FormatError(f"{self.path} holds no array {name!r}; it holds {self.inventory()}")

    def inventory(self) -> str:
        """What it holds, for messages: ``emg (120000 × 8), fs (1 × 1)``."""
        held = [f"{n} ({' × '.join(map(str, shape)) or '1'})" for n, shape in self.shapes.items()]
        return ", ".join(held[:12]) + (", …" if len(held) > 12 else "") or "no array of numbers"


def stack_parts(parts: Sequence[Part], read: Callable[[str], NDArray[Any]]) -> SignalArray:
    """Samples of `parts`, where `read` gives a whole array; one mapped to a file stays there."""
    held = {name: read(name) for name in {part.array: None for part in parts}}
    matrix = held[parts[0].array]
    columns = [part.position for part in parts if part.position is not None and part.times_first]
    if len(held) == 1 and len(columns) == len(parts) and isinstance(matrix, np.memmap):
        return ColumnSamples(matrix, columns)
    lines = []
    for part in parts:
        array = held[part.array]
        if part.position is None:
            lines.append(np.ravel(array))
        else:
            lines.append(array[:, part.position] if part.times_first else array[part.position])
    return stacked(lines, len(lines[0]))


def array_signals(file: ArrayFile, plan: FileMapping | None) -> Signals:
    """The channels of a file of arrays, as the mapping names them.

    Raises
    ------
    ConfigError
        If the mapping does not say which array holds the samples, or how it lies.
    FormatError
        If an array is missing or is not of the shape that the mapping says.
    """
    if plan is None or not (plan.samples or plan.columns):
        raise ConfigError(
            f"{file.path} holds {file.inventory()} and does not say which of it is EMG; give a "
            "mapping file (--mapping) with samples: (the array) and columns: (channel and unit)"
        )
    fs = _rate(file, plan)
    names, parts = _matrix(file, plan) if plan.samples else _vectors(file)

    def pick(rows: Sequence[int]) -> SignalArray:
        chosen = [parts[row] for row in rows]
        lengths = {names[row]: _n_times(file, part) for row, part in zip(rows, chosen, strict=True)}
        if len(set(lengths.values())) > 1:
            raise FormatError(f"{file.path}: channels differ in length: {lengths}")
        return file.read(chosen)

    return Signals(names=names, units=[""] * len(names), rates=[fs] * len(names), pick=pick)


def _rate(file: ArrayFile, plan: FileMapping) -> float | None:
    if not plan.fs_from:
        return None
    name = file.find(plan.fs_from)
    if int(np.prod(file.shapes[name])) != 1:
        raise FormatError(
            f"{file.path}: fs_from: {name} is of shape {file.shapes[name]}, not one number"
        )
    fs = file.number(name)
    if not 0 < fs < float("inf"):
        raise FormatError(f"{file.path}: {name} is {fs}, which is no sampling rate in Hz")
    return fs


def _matrix(file: ArrayFile, plan: FileMapping) -> tuple[list[str], list[Part]]:
    name = file.find(plan.samples)
    shape = file.shapes[name]
    if len(shape) == 1 or (len(shape) == 2 and 1 in shape):
        return [name], [Part(name)]
    if len(shape) != 2:
        raise FormatError(f"{file.path}: {name} is of shape {shape}, not times x channels")
    if plan.layout is None:
        likely = "times x channels" if shape[0] > shape[1] else "channels x times"
        raise ConfigError(
            f"{file.path}: {name} is {shape[0]} × {shape[1]}; write how it lies into the mapping "
            f"file, such as layout: {likely}"
        )
    times_first = plan.layout == "times x channels"
    n_channels = shape[1] if times_first else shape[0]
    check_claim(file.path, 16.0 * n_channels, f"{name} with {n_channels} channels")
    parts = [Part(name, i, times_first) for i in range(n_channels)]
    return [str(i + 1) for i in range(n_channels)], parts


def _vectors(file: ArrayFile) -> tuple[list[str], list[Part]]:
    names = [
        name
        for name, shape in file.shapes.items()
        if len(shape) == 1 or (len(shape) == 2 and 1 in shape)
    ]
    dotted = [name.replace("/", ".") for name in names if "/" in name]
    parts = [Part(name) for name in names] + [Part(n) for n in names if "/" in n]
    return names + dotted, parts


def _n_times(file: ArrayFile, part: Part) -> int:
    shape = file.shapes[part.array]
    if part.position is None:
        return int(np.prod(shape))
    return shape[0] if part.times_first else shape[1]
