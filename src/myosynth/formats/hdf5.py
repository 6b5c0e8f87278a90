"""HDF5: OpenSignals files say all about themselves, others and MATLAB 7.3 need a mapping."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from myosynth.formats.arrays import ArrayFile, Part, array_signals
from myosynth.formats.isolation import isolated
from myosynth.formats.lazy import LazySamples
from myosynth.formats.mapping import FileMapping
from myosynth.formats.opensignals import OpenSignalsChannel
from myosynth.formats.sources import Signals
from myosynth.recordings import FloatArray

__all__ = ["hdf5_arrays", "read_hdf5", "read_matlab73"]


class _Hdf5Samples(LazySamples):
    """Channels of HDF5 arrays plus an offset each, read block by block."""

    def __init__(
        self, path: Path, parts: Sequence[Part], n_times: int, offsets: Sequence[float] = ()
    ) -> None:
        super().__init__(len(parts), n_times)
        self._path, self._parts = path, parts
        self._offsets = np.array(offsets or [0.0] * len(parts))[:, None]

    def block(self, rows: NDArray[np.intp], low: int, high: int) -> FloatArray:
        parts = [self._parts[row] for row in rows]
        block = isolated(
            "hdf5_block",
            self._path,
            n_bytes=8.0 * len(self._parts) * (high - low) + 1,
            parts=[[part.array, part.position, part.times_first] for part in parts],
            low=low,
            high=high,
        )
        return np.asarray(np.add(block, self._offsets[rows], dtype=np.float64))


def read_hdf5(path: Path, plan: FileMapping | None = None) -> Signals:
    """Open an HDF5 file: one of OpenSignals, or any whose arrays the mapping names.

    Raises
    ------
    FormatError
        If the file is damaged or lacks what the mapping names.
    """
    held = isolated("hdf5_inventory", path)
    if held["channels"] and not (plan and plan.samples):
        channels = [OpenSignalsChannel(**channel) for channel in held["channels"]]
        return _opensignals(path, channels, held["shapes"])
    return array_signals(_arrays(path, held["shapes"], flipped=False), plan)


def read_matlab73(path: Path, plan: FileMapping | None = None) -> Signals:
    """Open a MATLAB file of version 7.3; the mapping names its variables, as in `read_matlab`."""
    return array_signals(hdf5_arrays(path, flipped=True), plan)


def _opensignals(
    path: Path, channels: Sequence[OpenSignalsChannel], shapes: dict[str, Any]
) -> Signals:
    def pick(rows: Sequence[int]) -> LazySamples:
        chosen = [channels[row] for row in rows]
        n_times = min(int(np.prod(shapes[channel.array])) for channel in chosen)
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
    return _arrays(path, isolated("hdf5_inventory", path)["shapes"], flipped=flipped)


def _arrays(path: Path, stored: dict[str, Any], *, flipped: bool) -> ArrayFile:
    shapes = {name: tuple(shape[::-1] if flipped else shape) for name, shape in stored.items()}

    def read(parts: Sequence[Part]) -> LazySamples:
        first = shapes[parts[0].array]
        turned = [Part(p.array, p.position, p.times_first != flipped) for p in parts]
        n_times = int(np.prod(first))
        if parts[0].position is not None:
            n_times = first[0] if parts[0].times_first else first[1]
        return _Hdf5Samples(path, turned, n_times)

    def number(name: str) -> float:
        return float(isolated("hdf5_number", path, name=name))

    return ArrayFile(path, shapes, read, number)
