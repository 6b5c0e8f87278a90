"""C3D: the analog channels of motion-capture files; samples stay on disk until they are sliced.

Source
------
The C3D File Format, https://www.c3d.org/HTML/Documents/; analog values are
(integer − ANALOG:OFFSET) · ANALOG:SCALE · ANALOG:GEN_SCALE.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from myosynth.errors import FormatError
from myosynth.formats.lazy import StoredSamples
from myosynth.formats.mapping import FileMapping
from myosynth.formats.names import unique
from myosynth.formats.sources import Signals
from myosynth.recordings import FloatArray

__all__ = ["read_c3d"]

_BLOCK = 512
_LONGEST_HEADER = 2 * 255 * _BLOCK  # header and parameters
_INTEL, _DEC, _MIPS = 84, 85, 86
_TYPES = {-1: "S1", 1: "u1", 2: "i2", 4: "f4"}

Parameters = Mapping[tuple[str, str], NDArray[Any]]


@dataclass(frozen=True)
class _Layout:
    path: Path
    dtype: np.dtype[Any]
    is_dec_float: bool
    start: int  # byte of the first frame
    n_frames: int
    n_point_values: int  # per frame
    n_channels: int
    per_frame: int  # analog samples per channel and frame

    @property
    def n_values(self) -> int:
        return self.n_point_values + self.n_channels * self.per_frame


class _AnalogSamples(StoredSamples):
    """Analog channels as (value − offset) · scale."""

    def __init__(
        self, layout: _Layout, channels: Sequence[int], offset: FloatArray, scale: FloatArray
    ) -> None:
        n_times = layout.n_frames * layout.per_frame
        super().__init__(len(channels), n_times, -offset, scale)
        self._layout, self._channels = layout, np.asarray(channels, dtype=np.intp)

    def numbers(self, rows: NDArray[np.intp], low: int, high: int) -> NDArray[Any]:
        layout, n = self._layout, self._layout.per_frame
        shape = (layout.n_frames, layout.n_values)
        stored = np.memmap(layout.path, layout.dtype, "r", layout.start, shape)
        first = low // n
        frames = np.ascontiguousarray(stored[first : -(-high // n), layout.n_point_values :])
        values = frames.reshape(-1, layout.n_channels)[low - first * n : high - first * n]
        chosen = np.stack([values[:, channel] for channel in self._channels[rows]])
        return _dec_floats(chosen) if layout.is_dec_float else chosen


def read_c3d(path: Path, plan: FileMapping | None = None) -> Signals:
    """Open the analog channels of a C3D file.

    Channels of force plates are known not to be EMG. Whether a unit V is at the electrode or behind
    an amplifier the file does not say; `scale` in a mapping divides by a gain.

    Raises
    ------
    FormatError
        If the file is damaged, or holds no analog channels.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_LONGEST_HEADER)
        layout, parameters = _layout(path, content)
        return _signals(path, layout, parameters)
    except FormatError:
        raise
    except (ValueError, IndexError, KeyError, OverflowError, OSError) as error:
        raise FormatError(f"{path} is not a sound C3D file ({error}); export it again") from error


def _signals(path: Path, layout: _Layout, parameters: Parameters) -> Signals:
    n = layout.n_channels
    names = [name or f"Analog {i + 1}" for i, name in enumerate(_texts(parameters, "LABELS", n))]
    overall = float(_values(parameters, "GEN_SCALE", 1, 1.0)[0])
    scale = _values(parameters, "SCALE", n, 1.0) * overall
    offset = _values(parameters, "OFFSET", n, 0.0)
    if layout.dtype.kind == "u":
        offset = np.where(offset < 0, offset + 65536, offset)
    if not np.all(np.isfinite(scale) & np.isfinite(offset)):
        raise FormatError(f"{path} is damaged: an analog scale or offset is not a finite number")
    rate = float(str(np.float32(parameters["ANALOG", "RATE"].flat[0])))
    if not 0 < rate < 1e9:
        raise FormatError(f"{path} is damaged: it states an analog rate of {rate:.7g} Hz")
    plates = parameters.get(("FORCE_PLATFORM", "CHANNEL"), np.empty(0)).ravel().astype(int)

    def pick(rows: Sequence[int]) -> StoredSamples:
        at = np.asarray(rows, dtype=np.intp)
        return _AnalogSamples(layout, rows, offset[at], scale[at])

    return Signals(
        names=unique(names, longest=None),
        units=_texts(parameters, "UNITS", n),
        rates=[rate] * n,
        pick=pick,
        may_be_emg=[i + 1 not in plates for i in range(n)],
    )


def _layout(path: Path, content: bytes) -> tuple[_Layout, Parameters]:
    if len(content) < 2 * _BLOCK or content[1] != 0x50 or content[0] < 2:
        raise ValueError("its header is not that of C3D")
    at = (content[0] - 1) * _BLOCK
    processor = content[at + 3]
    if processor not in (_INTEL, _DEC, _MIPS):
        raise ValueError(f"processor type {processor} is not known")
    order = ">" if processor == _MIPS else "<"
    parameters = _parameters(content[at : at + (content[at + 2] or 255) * _BLOCK], processor)
    words = np.frombuffer(content[:_BLOCK], dtype=f"{order}u2").astype(int)
    n_points, n_analog = int(words[1]), int(words[2])
    per_frame = int(words[9])
    n_channels = n_analog // per_frame if per_frame else 0
    if not n_channels or ("ANALOG", "RATE") not in parameters:
        raise FormatError(f"{path} holds no analog channels, so no EMG")
    if n_channels * per_frame != n_analog:
        raise ValueError(f"{n_analog} analog values per frame for {per_frame} samples")
    point_scale = parameters.get(("POINT", "SCALE"), np.array([1.0])).flat[0]
    kind = "f4" if point_scale < 0 else "i2"
    if kind == "i2" and _texts(parameters, "FORMAT", 1)[0].upper() == "UNSIGNED":
        kind = "u2"
    layout = _Layout(
        path,
        np.dtype(f"{order}{kind}"),
        processor == _DEC and kind == "f4",
        (int(words[8]) - 1) * _BLOCK,
        _n_frames(parameters, int(words[3]), int(words[4])),
        4 * n_points,
        n_channels,
        per_frame,
    )
    n_bytes = layout.n_frames * layout.n_values * layout.dtype.itemsize
    if layout.n_frames < 1 or layout.start < _BLOCK:
        raise ValueError(f"it claims {layout.n_frames} frames")
    if layout.start + n_bytes > path.stat().st_size:
        raise FormatError(
            f"{path} is truncated: its header promises {layout.n_frames} frames; copy or export "
            "it again"
        )
    return layout, parameters


def _n_frames(parameters: Parameters, first: int, last: int) -> int:
    # 16 bits of the header do not hold long recordings: newer parameters do
    ends = [
        parameters.get(("TRIAL", f"ACTUAL_{end}_FIELD"), np.empty(0)).ravel()
        for end in ("START", "END")
    ]
    if all(len(end) == 2 for end in ends):
        start, stop = (int(e[0]) % 65536 + (int(e[1]) % 65536) * 65536 for e in ends)
        if stop - start >= last - first:
            return stop - start + 1
    frames = parameters.get(("POINT", "FRAMES"), np.empty(0)).ravel()
    stated = int(frames[0]) if len(frames) else 0
    if stated < 0:
        stated += 65536
    return max(last - first + 1, stated) if last == 65535 or last < first else last - first + 1


def _parameters(section: bytes, processor: int) -> Parameters:
    order = ">" if processor == _MIPS else "<"
    groups: dict[int, str] = {}
    waiting: list[tuple[int, str, NDArray[Any]]] = []
    at = 4
    while at + 2 < len(section):
        length = abs(int(np.int8(section[at] - 256 if section[at] > 127 else section[at])))
        group = section[at + 1] - 256 if section[at + 1] > 127 else section[at + 1]
        if length == 0 or group == 0:
            break
        name = section[at + 2 : at + 2 + length].decode("latin-1").strip().upper()
        at += 2 + length
        step = int(np.frombuffer(section[at : at + 2], dtype=f"{order}i2")[0])
        if group < 0:
            groups[-group] = name
        else:
            waiting.append((group, name, _parameter(section[at + 2 :], order, processor)))
        if step < 2:
            break
        at += step
    return {(groups.get(group, ""), name): value for group, name, value in waiting}


def _parameter(data: bytes, order: str, processor: int) -> NDArray[Any]:
    kind = data[0] - 256 if data[0] > 127 else data[0]
    n_dimensions = data[1]
    shape = [int(n) for n in data[2 : 2 + n_dimensions]]
    if kind not in _TYPES or n_dimensions > 7 or len(shape) != n_dimensions:
        raise ValueError(f"a parameter of type {kind} with {n_dimensions} dimensions")
    count = int(np.prod(shape)) if shape else 1
    dtype = np.dtype(f"{order}{_TYPES[kind]}" if kind in (2, 4) else _TYPES[kind])
    start = 2 + n_dimensions
    values = np.frombuffer(data[start : start + count * dtype.itemsize], dtype=dtype)
    if len(values) < count:
        raise ValueError("a parameter is cut off")
    if kind == 4 and processor == _DEC:
        values = _dec_floats(values)
    # dimensions are stored with the fastest first
    return values.reshape(shape[::-1]) if shape else values


def _dec_floats(values: NDArray[Any]) -> NDArray[np.float32]:
    """VAX F floats: the two words of each number swapped, the exponent two higher."""
    words = values.astype("<f4", copy=False).view("<u2").reshape(*values.shape, 2)
    swapped = np.ascontiguousarray(words[..., ::-1]).view("<f4").reshape(values.shape)
    return np.asarray(swapped / np.float32(4))


def _texts(parameters: Parameters, name: str, count: int) -> list[str]:
    found: list[str] = []
    for part in ("", "2", "3", "4"):
        value = parameters.get(("ANALOG", name + part))
        if value is not None and value.dtype.kind == "S" and value.size:
            rows = value.reshape(-1, value.shape[-1]) if value.ndim else value.reshape(1, 1)
            found += [row.tobytes().decode("latin-1").strip(" \0") for row in rows]
    return (found + [""] * count)[:count]


def _values(parameters: Parameters, name: str, count: int, default: float) -> FloatArray:
    parts = [parameters.get(("ANALOG", name + part)) for part in ("", "2", "3", "4")]
    stated = [np.ravel(part).astype(np.float64) for part in parts if part is not None]
    found = np.full(count, default)
    values = np.concatenate(stated)[:count] if stated else np.empty(0)
    found[: len(values)] = values
    return found
