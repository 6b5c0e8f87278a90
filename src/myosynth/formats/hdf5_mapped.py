"""HDF5 arrays that no filter has packed: their bytes lie in the file and are mapped from there.

Source
------
https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html (contiguous and chunked layout)
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from myosynth.formats.arrays import Part
from myosynth.formats.isolation import isolated
from myosynth.formats.lazy import Pages, StoredSamples

__all__ = ["mapped_samples"]

_SMALL_BYTES = 4 << 20  # below, a reading costs less than to ask where the numbers lie


class _MappedSamples(StoredSamples):
    """Channels of arrays whose chunks are mapped; an array that is not chunked is one chunk."""

    def __init__(
        self,
        path: Path,
        parts: Sequence[Part],
        n_times: int,
        places: Mapping[str, Mapping[str, Any]],
    ) -> None:
        super().__init__(len(parts), n_times)
        self._parts, self._places = parts, places
        self._file = np.memmap(path, np.uint8, "r")
        self._pages = Pages([self._file])
        self.is_single = all(place["dtype"] in ("<f4", ">f4") for place in places.values())

    def numbers(self, rows: NDArray[np.intp], low: int, high: int) -> NDArray[Any]:
        kinds = [self._places[self._parts[row].array]["dtype"] for row in rows]
        numbers = np.empty((len(rows), high - low), np.result_type(*kinds))
        for line, row in zip(numbers, rows, strict=True):
            self._fill(line, self._parts[row], low, high)
        self._pages.were_read(numbers.nbytes)
        return numbers

    def _fill(self, line: NDArray[Any], part: Part, low: int, high: int) -> None:
        place = self._places[part.array]
        chunk, offsets = place["chunk"], place["offsets"]
        along = _time_axis(part, place["shape"])
        step = chunk[along]
        at = 0 if part.position is None else part.position
        for number in range(low // step, -(-high // step)):
            start = number * step
            first, last = max(low, start), min(high, start + step)
            where = [at // n for n in chunk]
            inside: list[Any] = [at % n for n in chunk]
            where[along], inside[along] = number, slice(first - start, last - start)
            values: NDArray[Any] = np.ndarray(
                chunk, place["dtype"], self._file, int(offsets[tuple(where)])
            )
            line[first - low : last - low] = values[tuple(inside)]


def _time_axis(part: Part, shape: Sequence[int]) -> int:
    if part.position is None:
        return int(np.argmax(shape))
    return 0 if part.times_first else 1


def mapped_samples(
    path: Path, parts: Sequence[Part], n_times: int, shapes: Mapping[str, Sequence[int]]
) -> StoredSamples | None:
    """Channels of HDF5 arrays, mapped; None where they are packed, or are hardly worth it."""
    names = sorted({part.array for part in parts})
    if 4 * n_times * len(parts) < _SMALL_BYTES or any(len(shapes[name]) > 2 for name in names):
        return None
    places = isolated("hdf5_places", path, names=names)
    size = path.stat().st_size
    for name in names:
        place = places.get(name)
        if place is None:
            return None
        place["shape"], place["chunk"] = shapes[name], tuple(place["chunk"])
        n_bytes = int(np.prod(place["chunk"])) * np.dtype(place["dtype"]).itemsize
        if place["offsets"].min() < 0 or place["offsets"].max() > size - n_bytes:
            return None
    return _MappedSamples(path, parts, n_times, places)
