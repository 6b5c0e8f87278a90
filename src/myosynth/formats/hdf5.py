"""HDF5: OpenSignals files say all about themselves, others and MATLAB 7.3 need a mapping."""

import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from myosynth.formats.arrays import ArrayFile, Part, array_signals
from myosynth.formats.handover import Handover
from myosynth.formats.hdf5_mapped import mapped_samples
from myosynth.formats.isolation import isolated
from myosynth.formats.lazy import StoredSamples
from myosynth.formats.mapping import FileMapping
from myosynth.formats.opensignals import OpenSignalsChannel
from myosynth.formats.sources import Signals

__all__ = ["hdf5_arrays", "read_hdf5", "read_matlab73"]

_FIRST_BYTES = 2 << 20  # of a stretch; the next ones are twice as long each time,
_MOST_BYTES = 64 << 20  # up to this
_MOST_CHUNK_BYTES = 256 << 20


class _Hdf5Samples(StoredSamples):
    """Channels of HDF5 arrays, read stretch by stretch."""

    def __init__(
        self, path: Path, parts: Sequence[Part], n_times: int, held: Mapping[str, Any]
    ) -> None:
        super().__init__(len(parts), n_times)
        self._path, self._parts = path, parts
        self._key = object()  # shared with rescaled copies
        self._per_chunk = max(_times_per_chunk(part, held) for part in parts)
        self.is_single = all(held["types"][part.array] in ("<f4", ">f4") for part in parts)

    def numbers(self, rows: NDArray[np.intp], low: int, high: int) -> NDArray[Any]:
        with _WINDOW.lock:
            lines = _WINDOW.lines(self, self._key, [int(row) for row in rows], low, high)
            return np.stack(lines)

    def stretch(self, rows: Sequence[int], low: int, n_bytes: int) -> tuple[int, int]:
        """About `n_bytes` of times from `low` on, whole chunks where they are not too long."""
        per_time = 8 * sum(last - first + 1 for first, last in self._places(rows).values())
        n_times, step = max(1, n_bytes // per_time), self._per_chunk
        if step * per_time > _MOST_CHUNK_BYTES:
            step = 1
        start = low // step * step
        return start, min(-(-(low + n_times) // step) * step, self.shape[1])

    def read(
        self, rows: Sequence[int], low: int, high: int, handover: Handover
    ) -> dict[int, NDArray[Any]]:
        """By row: its numbers, in a file that is mapped."""
        places = self._places(rows)
        told = isolated(
            "hdf5_block",
            self._path,
            n_bytes=8.0 * sum(last - first + 1 for first, last in places.values()) * (high - low),
            parts=[
                [part.array, *(places[part.array] if part.position is not None else (None, None)),
                 part.times_first]
                for part in {self._parts[row].array: self._parts[row] for row in rows}.values()
            ],
            low=low,
            high=high,
            into=handover.path,
        )  # fmt: skip
        arrays = dict(zip(places, map(handover.array, told), strict=True))
        return {row: self._line(row, arrays, places) for row in rows}

    def _line(
        self, row: int, arrays: Mapping[str, NDArray[Any]], places: Mapping[str, tuple[int, int]]
    ) -> NDArray[Any]:
        part = self._parts[row]
        array = arrays[part.array]
        if part.position is None:
            return array.reshape(-1)
        at = part.position - places[part.array][0]
        return array[:, at] if part.times_first else array[at]

    def _places(self, rows: Sequence[int]) -> dict[str, tuple[int, int]]:
        """By array: the first and the last channel of `rows` in it."""
        places: dict[str, tuple[int, int]] = {}
        for part in (self._parts[row] for row in rows):
            at = part.position or 0
            first, last = places.get(part.array, (at, at))
            places[part.array] = min(first, at), max(last, at)
        return places


def _times_per_chunk(part: Part, held: Mapping[str, Any]) -> int:
    shape, chunks = held["shapes"][part.array], held["chunks"][part.array]
    if part.position is None:
        return int(chunks[int(np.argmax(shape))]) if shape else 1
    return int(chunks[0 if part.times_first else 1])


class _Window:
    """The stretch that was read last; there is one, so that many open files take no more room."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._key: object = None
        self._low = self._high = self._n_bytes = 0
        self._lines: dict[int, NDArray[Any]] = {}
        self._handover: Handover | None = None
        self._owner = 0

    def lines(
        self, samples: _Hdf5Samples, key: object, rows: Sequence[int], low: int, high: int
    ) -> list[NDArray[Any]]:
        """Numbers of `samples`, which are gone when others are asked for."""
        is_same = key is self._key and self._owner == os.getpid() and {*rows} <= {*self._lines}
        if not (is_same and self._low <= low and high <= self._high):
            goes_on = is_same and self._low <= low <= self._high
            self._fill(samples, key, rows, low, high, goes_on=goes_on)
        return [self._lines[row][low - self._low : high - self._low] for row in rows]

    def _fill(
        self,
        samples: _Hdf5Samples,
        key: object,
        rows: Sequence[int],
        low: int,
        high: int,
        *,
        goes_on: bool,
    ) -> None:
        if self._handover is None or self._owner != os.getpid():
            self._handover, self._owner = Handover(), os.getpid()
        self._key, self._lines = None, {}
        self._n_bytes = min(2 * self._n_bytes, _MOST_BYTES) if goes_on else _FIRST_BYTES
        start, stop = samples.stretch(rows, low, self._n_bytes)
        stop = max(stop, high)
        self._lines = samples.read(rows, start, stop, self._handover)
        self._key, self._low, self._high = key, start, stop


_WINDOW = _Window()


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
        return _opensignals(path, channels, held)
    return array_signals(_arrays(path, held, flipped=False), plan)


def read_matlab73(path: Path, plan: FileMapping | None = None) -> Signals:
    """Open a MATLAB file of version 7.3; the mapping names its variables, as in `read_matlab`."""
    return array_signals(hdf5_arrays(path, flipped=True), plan)


def _opensignals(
    path: Path, channels: Sequence[OpenSignalsChannel], held: Mapping[str, Any]
) -> Signals:
    def pick(rows: Sequence[int]) -> StoredSamples:
        chosen = [channels[row] for row in rows]
        n_times = min(int(np.prod(held["shapes"][channel.array])) for channel in chosen)
        parts = [Part(channel.array) for channel in chosen]
        mapped = mapped_samples(path, parts, n_times, held["shapes"])
        samples = mapped or _Hdf5Samples(path, parts, n_times, held)
        samples.offsets = np.array([channel.offset for channel in chosen])
        samples.factors = np.array([channel.gain for channel in chosen])
        return samples

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
    return _arrays(path, isolated("hdf5_inventory", path), flipped=flipped)


def _arrays(path: Path, held: Mapping[str, Any], *, flipped: bool) -> ArrayFile:
    stored = held["shapes"].items()
    shapes = {name: tuple(shape[::-1] if flipped else shape) for name, shape in stored}

    def read(parts: Sequence[Part]) -> StoredSamples:
        first = shapes[parts[0].array]
        turned = [Part(p.array, p.position, p.times_first != flipped) for p in parts]
        n_times = int(np.prod(first))
        if parts[0].position is not None:
            n_times = first[0] if parts[0].times_first else first[1]
        mapped = mapped_samples(path, turned, n_times, held["shapes"])
        return mapped or _Hdf5Samples(path, turned, n_times, held)

    def number(name: str) -> float:
        return float(isolated("hdf5_number", path, name=name))

    return ArrayFile(path, shapes, read, number)
