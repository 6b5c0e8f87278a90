"""WFDB records (PhysioNet): read through the wfdb package, written here.

Source
------
https://wfdb.io/spec/header-files.html, https://wfdb.io/spec/signal-files.html
"""

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from myosynth.errors import FormatError, MissingExtraError, MyosynthError
from myosynth.formats.claims import check_claim
from myosynth.formats.lazy import LineSamples, StoredSamples
from myosynth.formats.mapping import FileMapping
from myosynth.formats.names import entities, plain_text, unique
from myosynth.formats.sources import Signals
from myosynth.recordings import Annotation, FloatArray, Recording
from myosynth.storage import atomic_file

__all__ = ["read_wfdb", "write_wfdb"]

_BITS = {"8": 8, "16": 16, "24": 24, "32": 32, "61": 16, "80": 8, "160": 16, "212": 12, "310": 10,
         "311": 10}  # fmt: skip
_PLAIN = {"16": "<i2", "61": ">i2", "32": "<i4"}
_MISSING = {"80": -(2**7), "310": -(2**9), "311": -(2**9), "212": -(2**11), "16": -(2**15),
            "61": -(2**15), "160": -(2**15), "24": -(2**23), "32": -(2**31)}  # fmt: skip
_GAIN = re.compile(r"[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?")
_HIGHEST = 32767  # -32768 stands for a missing sample
_LONGEST_HEADER = 1 << 20
_TASK = "task:"  # begins the comment that holds what a file name cannot spell


def _wfdb(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # wfdb uses what pandas deprecates
            import wfdb
    except ImportError as error:
        raise MissingExtraError("wfdb", "wfdb", f"reading {path}") from error
    return wfdb


class _Counts(StoredSamples):
    """Counts that the wfdb package decodes; those that mark missing samples become NaN."""

    def __init__(self, path: Path, header: Any, channels: Sequence[int]) -> None:
        super().__init__(
            len(channels), int(header.sig_len), *_offsets_and_factors(header, channels)
        )
        self._path, self._channels = path, channels
        self._missing = _missing(header, channels)

    def numbers(self, rows: NDArray[np.intp], low: int, high: int) -> NDArray[Any]:
        chosen = [self._channels[row] for row in rows]
        try:
            record = _wfdb(self._path).rdrecord(
                str(self._path.with_suffix("")), sampfrom=low, sampto=high, channels=chosen,
                physical=False, return_res=32,
            )  # fmt: skip
            counts = np.asarray(record.d_signal).T
        except MyosynthError:
            raise
        except Exception as error:
            raise _damaged(self._path, error) from error
        return _without_missing(counts, self._missing[rows])


class _PlainCounts(LineSamples):
    """Counts of a whole number of bytes, which need no decoding."""

    def __init__(self, header: Any, channels: Sequence[int], lines: Sequence[NDArray[Any]]) -> None:
        n_times = int(header.sig_len)
        super().__init__(lines, n_times, *_offsets_and_factors(header, channels))
        self._missing = _missing(header, channels)

    def numbers(self, rows: NDArray[np.intp], low: int, high: int) -> NDArray[Any]:
        return _without_missing(super().numbers(rows, low, high), self._missing[rows])


def _offsets_and_factors(header: Any, channels: Sequence[int]) -> tuple[FloatArray, FloatArray]:
    at = list(channels)
    baselines = np.array(header.baseline, dtype=np.float64)[at]
    return -baselines, 1 / np.array(header.adc_gain, dtype=np.float64)[at]


def _missing(header: Any, channels: Sequence[int]) -> FloatArray:
    return np.array([[_MISSING.get(header.fmt[channel], np.nan)] for channel in channels])


def _without_missing(counts: NDArray[Any], missing: FloatArray) -> NDArray[Any]:
    if not np.any(counts.min(axis=1, initial=0) == missing[:, 0]):  # each is the lowest there is
        return counts
    return np.where(counts == missing, np.nan, counts)


def _samples(path: Path, header: Any, channels: Sequence[int]) -> StoredSamples:
    moved = [*(header.skew or ()), *(header.byte_offset or ())]
    if any(moved) or not {header.fmt[channel] for channel in channels} <= {*_PLAIN}:
        return _Counts(path, header, channels)
    names = list(header.file_name)
    mapped = {name: _mapped(path, header, name) for name in {names[i] for i in channels}}
    lines = [mapped[names[i]][:, names[:i].count(names[i])] for i in channels]
    return _PlainCounts(header, channels, lines)


def _mapped(path: Path, header: Any, name: str) -> NDArray[Any]:
    kinds = {kind for kind, each in zip(header.fmt, header.file_name, strict=True) if each == name}
    shape = (int(header.sig_len), header.file_name.count(name))
    dtype = np.dtype(_PLAIN[kinds.pop()])
    try:
        if kinds:
            raise ValueError("its signals are of several formats")
        return np.memmap(path.parent / name, dtype, "r", shape=shape)
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error


def read_wfdb(path: Path, plan: FileMapping | None = None) -> Signals:
    """Open a WFDB record by its header (.hea); samples stay on disk until they are sliced.

    Raises
    ------
    MissingExtraError
        If wfdb is not installed.
    FormatError
        If the header is damaged, or promises more than its signal files hold.
    """
    wfdb = _wfdb(path)
    record = str(path.with_suffix(""))
    try:
        if path.stat().st_size > _LONGEST_HEADER:
            raise ValueError("its header is too long")
        header = wfdb.rdheader(record)
        names = [str(name or f"signal {i + 1}") for i, name in enumerate(header.sig_name or [])]
        units = _units(path, header)
        fs, n_times = float(header.fs), int(header.sig_len)
        _check_files(path, header, n_times)
    except MyosynthError:
        raise
    except Exception as error:
        raise _damaged(path, error) from error
    if len({*header.samps_per_frame}) > 1 or header.samps_per_frame[0] != 1:
        raise FormatError(f"{path} holds several samples per frame; convert it with WFDB's xform")
    if not (0 < fs < float("inf") and n_times > 0):
        raise FormatError(f"{path} is damaged: it states {fs} Hz and {n_times} samples")
    return Signals(
        names=unique(names, longest=None),
        units=units,
        rates=[fs] * len(names),
        pick=lambda rows: _samples(path, header, rows),
        annotations=[Annotation(0.0, n_times / fs, task)] if (task := _task(header)) else (),
    )


def _task(header: Any) -> str:
    found = (line.partition(_TASK) for line in header.comments or [])
    return next((after.strip() for before, sign, after in found if sign and not before), "")


def _damaged(path: Path, error: Exception) -> FormatError:
    # wfdb lets errors of many kinds through for damaged files
    said = str(error) or type(error).__name__
    return FormatError(f"{path} is not a sound WFDB record ({said}); export it again")


def _units(path: Path, header: Any) -> list[str]:
    """Units of the signals; none where the header gives no gain, so that counts mean nothing."""
    units = [str(unit or "") for unit in header.units or []]
    with path.open(encoding="utf-8", errors="replace") as file:
        lines = [line.split() for line in file if line.strip() and not line.startswith("#")]
    for i, cells in enumerate(lines[1 : len(units) + 1]):
        gain = _GAIN.match(cells[2]) if len(cells) > 2 else None
        if gain is None or float(gain[0]) == 0:
            units[i] = ""
    if not np.all(np.isfinite(header.adc_gain)) or 0 in header.adc_gain:
        raise ValueError("a gain is no number")
    return units


def _check_files(path: Path, header: Any, n_times: int) -> None:
    if not header.n_sig or not header.file_name:
        raise FormatError(f"{path} holds no signals")
    if not len(header.file_name) == len(header.fmt) == header.n_sig:
        raise ValueError(f"{header.n_sig} signals and {len(header.file_name)} lines about them")
    bits: dict[str, float] = {}
    for name, kind in zip(header.file_name, header.fmt, strict=True):
        if not name or set(name) & set("/\\:") or not (path.parent / name).is_file():
            raise FormatError(f"{path} needs the signal file {name!r} beside it")
        bits[name] = bits.get(name, 0.0) + _BITS.get(kind, 0)
    for name, per_time in bits.items():
        size = (path.parent / name).stat().st_size
        if per_time:
            if n_times * per_time / 8 > size + 16:
                raise FormatError(f"{path} promises {n_times} samples, and {name} holds fewer")
        else:
            check_claim(path.parent / name, 2.0 * n_times, name)


def write_wfdb(recording: Recording, path: Path) -> None:
    """Write a recording in memory as a WFDB record of 16 bits: `path` (.hea) and its .dat.

    The error is at most half a step of peak / 32767. The header holds the exact rate. Channel names
    lose their accents: it is ASCII.

    Raises
    ------
    FormatError
        If samples are not finite.
    """
    samples = recording.load()
    peaks = np.abs(samples).max(axis=1, initial=0.0)
    if not np.all(np.isfinite(peaks)):
        raise FormatError(f"{recording.name} holds NaN or infinite samples; cut them out first")
    # counts per millivolt, rounded up to what the header can say
    gains = [_HIGHEST / (peak * 1e3) if peak > 0 else 1.0 for peak in peaks]
    texts = [f"{gain * (1 - 1e-9):.12g}" for gain in gains]
    per_volt = np.array([float(text) for text in texts]) * 1e3
    counts = np.rint(samples * per_volt[:, None]).astype("<i2")
    stem = path.with_suffix("").name
    spelled = entities(path).get("task") == recording.task
    lines = [f"{stem} {recording.n_channels} {recording.fs!r} {recording.n_times}"]
    names = unique([plain_text(name) for name in recording.channel_names], longest=None)
    for name, gain, row in zip(names, texts, counts, strict=True):
        checksum = int(row.astype(np.int64).sum()) & 0xFFFF
        checksum -= 65536 * (checksum > 32767)
        lines.append(f"{stem}.dat 16 {gain}(0)/mV 16 0 {row[0]} {checksum} 0 {name}")
    if recording.task and not spelled:
        lines.append(f"#{_TASK} {recording.task}")
    with atomic_file(path.with_suffix(".dat")) as partial:
        partial.write_bytes(np.ascontiguousarray(counts.T).tobytes())
    with atomic_file(path.with_suffix(".hea")) as partial:
        partial.write_text("\n".join(lines) + "\n", encoding="utf-8")
