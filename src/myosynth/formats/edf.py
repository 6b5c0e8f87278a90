"""EDF, EDF+, BDF and BDF+: both read and written piece by piece, in bounded memory.

The format holds its rate as samples per record over seconds per record, the latter in eight
characters. `write_edf` picks that pair so that other software sees the rate to about 1e-8, and
notes the exact rate and length in the recording identification, from where `read_edf` restores
them.

Source
------
Kemp & Olivan (2003), doi:10.1016/S1388-2457(03)00123-8; https://www.edfplus.info/specs/edfplus.html;
BDF: https://www.biosemi.com/faq/file_format.htm.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from myosynth.errors import FormatError, InputError
from myosynth.formats.names import entities, volts_per_unit
from myosynth.recordings import Annotation, FloatArray, Recording
from myosynth.storage import atomic_file

__all__ = ["edf_labels", "read_edf", "write_edf"]

_BLOCK = 1 << 20  # samples per channel handled at once
_MAX_RECORD_BYTES = 10_000_000  # what other EDF software still opens
_RATE_TOLERANCES = (1e-8, 1e-7, 1e-6)
_SMALL_PADDING = 32
_SIGNAL_FIELDS = (16, 80, 8, 8, 8, 8, 8, 80, 8, 32)
_NOTE = re.compile(r"\bfs=(\S+) n_times=(\d+)")
_TAL = re.compile(rb"([+-]\d+(?:\.\d*)?)(?:\x15(\d+(?:\.\d*)?))?\x14(.*?)\x14\x00", re.DOTALL)


@dataclass(frozen=True)
class _Signal:
    label: str
    unit: str
    physical: tuple[float, float]
    digital: tuple[int, int]
    prefiltering: str
    n_times: int  # per record
    offset: int  # bytes from the start of a record

    @property
    def is_annotation(self) -> bool:
        return self.label in ("EDF Annotations", "BDF Annotations")


@dataclass(frozen=True)
class _Header:
    path: Path
    width: int  # bytes per sample
    n_bytes: int
    n_records: int
    record_s: float
    record_bytes: int
    patient: str
    recording: str
    signals: tuple[_Signal, ...]

    def records(self) -> NDArray[np.uint8]:
        if self.n_records == 0:
            return np.empty((0, self.record_bytes), dtype=np.uint8)
        shape = (self.n_records, self.record_bytes)
        return np.memmap(self.path, dtype=np.uint8, mode="r", offset=self.n_bytes, shape=shape)


class _Samples:
    """Samples of some signals in volts, (n_channels, n_times), read when they are sliced."""

    def __init__(
        self, header: _Header, signals: Sequence[_Signal], scale: FloatArray, n_times: int
    ) -> None:
        self._header, self._signals, self._scale = header, signals, scale
        self.shape = (len(signals), n_times)

    def __getitem__(self, index: Any, /) -> FloatArray:
        rows, columns = index if isinstance(index, tuple) else (index, slice(None))
        chosen = np.arange(self.shape[0])[rows]
        times = np.arange(self.shape[1])[columns] if not isinstance(columns, slice) else columns
        if isinstance(times, slice):
            span = range(*times.indices(self.shape[1]))
            low, high = (min(span), max(span) + 1) if span else (0, 0)
            inner: Any = slice(None) if span.step == 1 else np.asarray(span) - low
        else:
            low, high = (int(times.min()), int(times.max()) + 1) if times.size else (0, 0)
            inner = times - low
        block = np.stack([self._read(int(row), low, high) for row in np.atleast_1d(chosen)])
        return np.asarray(block[0][inner] if np.ndim(chosen) == 0 else block[:, inner])

    def _read(self, row: int, low: int, high: int) -> FloatArray:
        header, signal = self._header, self._signals[row]
        n = signal.n_times
        first = low // n
        records = header.records()[first : -(-high // n)]
        raw = records[:, signal.offset : signal.offset + n * header.width]
        digital = _integers(np.ascontiguousarray(raw), header.width)
        digital = digital[low - first * n : high - first * n]
        (p_low, p_high), (d_low, d_high) = signal.physical, signal.digital
        gain = (p_high - p_low) / (d_high - d_low)
        return np.asarray((p_low + (digital - float(d_low)) * gain) * self._scale[row])


def _integers(raw: NDArray[np.uint8], width: int) -> NDArray[np.integer[Any]]:
    if width == 2:
        return raw.reshape(-1).view("<i2")
    padded = np.zeros((raw.size // 3, 4), dtype=np.uint8)
    padded[:, 1:] = raw.reshape(-1, 3)
    return padded.reshape(-1).view("<i4") >> 8  # the shift carries the sign


def read_edf(
    path: str | Path,
    *,
    channels: Sequence[str] | None = None,
    unit: str | Mapping[str, str] | None = None,
) -> Recording:
    """Open an EDF(+) or BDF(+) file; samples stay on disk until they are sliced.

    Parameters
    ----------
    path : path
        Subject, session, task and run come from BIDS entities in its name (``sub-01_task-pull``);
        without them the subject is the header's patient code, or else the file's name.
    channels : sequence of str, optional
        Labels to keep; all by default.
    unit : str or mapping of label to str, optional
        Counts where the header's unit is missing or is not a voltage.

    Returns
    -------
    Recording
        In volts. Annotations with a duration are timed tasks or bad spans; those without are in
        ``metadata["events"]``.

    Raises
    ------
    FormatError
        If the file is damaged, truncated, discontinuous, or has channels without a unit of voltage
        or of different rates.
    """
    path = Path(path)
    header = _read_header(path)
    signals = [s for s in header.signals if not s.is_annotation]
    if channels is not None:
        by_label = {s.label: s for s in signals}
        if missing := [name for name in channels if name not in by_label]:
            raise FormatError(f"{path} has no channel {missing[0]!r}; it has {list(by_label)}")
        signals = [by_label[name] for name in channels]
    if not signals or header.n_records == 0:
        raise FormatError(f"{path} holds no samples; leave it out or export it again")
    if len({s.n_times for s in signals}) > 1:
        rates = {s.label: s.n_times / header.record_s for s in signals}
        raise FormatError(
            f"{path} has channels of different rates, {rates}; keep those of one rate"
        )
    stated = dict.fromkeys((s.label for s in signals), unit) if isinstance(unit, str) else unit
    units = [_unit(s, (stated or {}).get(s.label, "")) for s in signals]
    scale = np.array(
        [
            volts_per_unit(u, f"{path}, channel {s.label!r}")
            for u, s in zip(units, signals, strict=True)
        ]
    )
    fs, n_times = _exact_rate_and_length(header, signals[0].n_times)
    annotations = [a for a in _read_annotations(header) if a.onset_s < n_times / fs]
    names = entities(path)
    patient = header.patient.split(" ")[0]
    code = patient if patient not in ("", "X") else path.stem
    return Recording(
        data=_Samples(header, signals, scale, n_times),
        fs=fs,
        channel_names=_unique([s.label for s in signals]),
        subject=names.get("sub", code),
        session=names.get("ses", ""),
        task=names.get("task", ""),
        run=names.get("run", ""),
        annotations=[a for a in annotations if a.duration_s > 0 or a.is_bad],
        metadata={
            "source_file": path.name,
            "source_units": units,
            "prefiltering": [s.prefiltering for s in signals],
            "events": [[a.onset_s, a.description] for a in annotations if a.duration_s == 0],
        },
    )


def _unit(signal: _Signal, stated: str) -> str:
    try:
        volts_per_unit(signal.unit, "")
    except FormatError:
        return stated or signal.unit
    return signal.unit


def _read_header(path: Path) -> _Header:
    try:
        with path.open("rb") as file:
            fixed = file.read(256)
            n_signals = int(fixed[252:256]) if len(fixed) == 256 else 0
            n_bytes = 256 * (n_signals + 1)
            size = path.stat().st_size
            if n_signals < 1 or size < n_bytes:
                raise ValueError("the header is cut off")
            per_signal = file.read(256 * n_signals)
        header = _parse_header(path, fixed, per_signal, n_signals)
    except FileNotFoundError as error:
        raise FormatError(f"{path} does not exist") from error
    except (ValueError, OverflowError, IsADirectoryError) as error:
        raise FormatError(f"{path} is not a sound EDF or BDF file ({error})") from error
    n_data = size - header.n_bytes
    if n_data != header.n_records * header.record_bytes:
        raise FormatError(
            f"{path} is truncated or damaged: its header promises {header.n_records} data records "
            f"and it holds {n_data / header.record_bytes:.2f}; copy or export it again"
        )
    return header


def _parse_header(path: Path, fixed: bytes, per_signal: bytes, n_signals: int) -> _Header:
    width = 3 if fixed[:1] == b"\xff" else 2
    if fixed[:8] not in (b"0       ", b"\xffBIOSEMI"):
        raise ValueError(f"it begins with {fixed[:8]!r}")
    text = fixed[8:].decode("latin-1")
    if text[184:228].strip()[3:5] == "+D":
        raise FormatError(
            f"{path} is discontinuous (EDF+D): it has gaps; export every part as a file of its own"
        )
    n_records, record_s = int(text[228:236]), float(text[236:244])
    if not 0 < record_s < float("inf"):
        raise ValueError(f"a data record lasts {record_s} s")
    fields: list[list[str]] = []
    start = 0
    for length in _SIGNAL_FIELDS:
        block = per_signal[start : start + length * n_signals].decode("latin-1")
        fields.append([block[i * length : (i + 1) * length].strip() for i in range(n_signals)])
        start += length * n_signals
    signals, offset = [], 0
    for label, _, unit, p_low, p_high, d_low, d_high, prefiltering, n_times, _ in zip(
        *fields, strict=True
    ):
        digital, physical = (int(d_low), int(d_high)), (float(p_low), float(p_high))
        if digital[0] >= digital[1] or int(n_times) < 1 or not np.all(np.isfinite(physical)):
            raise ValueError(f"channel {label!r} has an impossible range or sample count")
        if physical[0] == physical[1] and not label.endswith("Annotations"):
            raise ValueError(f"channel {label!r} has an empty physical range")
        signals.append(_Signal(label, unit, physical, digital, prefiltering, int(n_times), offset))
        offset += int(n_times) * width
    n_bytes = 256 * (n_signals + 1)
    if n_records == -1:  # the device did not close the file: the length tells
        n_records = (path.stat().st_size - n_bytes) // offset
    if n_records < 0:
        raise ValueError(f"it claims {n_records} data records")
    patient, recording = text[:80].strip(), text[80:160].strip()
    return _Header(
        path, width, n_bytes, n_records, record_s, offset, patient, recording, tuple(signals)
    )


def _exact_rate_and_length(header: _Header, per_record: int) -> tuple[float, int]:
    fs, n_times = per_record / header.record_s, per_record * header.n_records
    if (note := _NOTE.search(header.recording)) is None:
        return fs, n_times
    try:
        noted_fs, noted_n_times = float(note[1]), int(note[2])
    except ValueError as error:
        raise FormatError(f"{header.path} is damaged: it notes a rate of {note[1]!r}") from error
    if not abs(noted_fs / fs - 1) <= 1e-4 or not 0 < noted_n_times <= n_times:
        raise FormatError(
            f"{header.path} contradicts itself: {fs:g} Hz and {n_times} samples in the header, "
            f"{noted_fs:g} Hz and {noted_n_times} in its recording identification"
        )
    return noted_fs, noted_n_times


def _read_annotations(header: _Header) -> Iterator[Annotation]:
    origin: float | None = None
    for signal in header.signals:
        if not signal.is_annotation:
            continue
        end = signal.offset + signal.n_times * header.width
        for record in header.records():
            for onset, duration, texts in _TAL.findall(record[signal.offset : end].tobytes()):
                if origin is None:
                    origin = float(onset)
                for text in texts.split(b"\x14"):
                    if text:
                        yield Annotation(
                            max(0.0, float(onset) - origin),
                            float(duration or 0),
                            text.decode("utf-8", "replace"),
                        )


def write_edf(recording: Recording, path: str | Path) -> list[str]:
    """Write a recording as EDF (16 bit) or, where `path` ends in ``.bdf``, BDF (24 bit).

    The physical range of each channel is its largest absolute value, so that the error is at most
    half a quantisation step (peak / 32767 or peak / 8388607). A last record that is not full is
    filled with the last sample; `read_edf` cuts that off again.

    Parameters
    ----------
    recording : Recording
        Read in two passes, piece by piece. Annotations make it EDF+C / BDF+C.
    path : path
        Replaced if it exists.

    Returns
    -------
    list of str
        The unit chosen for each channel: V, mV or uV.

    Raises
    ------
    InputError
        If there are no samples, or some are NaN or infinite (EDF cannot hold them).
    """
    path = Path(path)
    if recording.n_times == 0 or recording.n_channels == 0:
        raise InputError(f"{recording.name} holds no samples, so there is nothing to write")
    width = 3 if path.suffix.lower() == ".bdf" else 2
    d_high = 8388607 if width == 3 else 32767
    peaks = _peaks(recording)
    units = ["V" if p >= 1 else "mV" if p >= 1e-3 else "uV" for p in peaks]
    scale = np.array([volts_per_unit(unit, path.name) for unit in units])
    limits = [_field_at_least(peak) for peak in peaks / scale]
    step = np.array([float(limit) for limit in limits]) * scale / d_high
    per_record, record_s = _record_geometry(
        recording.fs, recording.n_times, recording.n_channels * width
    )
    n_records = -(-recording.n_times // per_record)
    tals = _annotation_bytes(recording, n_records, float(record_s), width)
    header = _header_bytes(
        recording, units, limits, d_high, per_record, record_s, tals.shape[1] // width
    )
    with atomic_file(path) as partial, partial.open("wb") as file:
        file.write(header)
        records_at_once = max(1, _BLOCK // per_record)
        for first in range(0, n_records, records_at_once):
            last = min(first + records_at_once, n_records)
            block = np.asarray(recording.data[:, first * per_record : last * per_record])
            missing = (last - first) * per_record - block.shape[1]
            block = np.pad(block, ((0, 0), (0, missing)), mode="edge")
            digital = np.clip(np.rint(block / step[:, None]), -d_high, d_high).astype("<i4")
            octets = digital.view(np.uint8).reshape(recording.n_channels, last - first, -1, 4)
            records = octets[..., :width].swapaxes(0, 1).reshape(last - first, -1)
            file.write(np.hstack([records, tals[first:last]]).tobytes())
    return units


def _peaks(recording: Recording) -> FloatArray:
    peaks = np.zeros(recording.n_channels)
    for start in range(0, recording.n_times, _BLOCK):
        block = np.asarray(recording.data[:, start : start + _BLOCK], dtype=np.float64)
        # NaN and infinity both survive the maximum
        peaks = np.maximum(peaks, np.abs(block).max(axis=1))
    if not np.all(np.isfinite(peaks)):
        name = recording.channel_names[int(np.flatnonzero(~np.isfinite(peaks))[0])]
        raise InputError(
            f"{recording.name}, channel {name!r} holds NaN or infinite samples, which EDF cannot "
            "store; cut or interpolate them first"
        )
    return peaks


def _field_at_least(value: float) -> str:
    """The smallest number ≥ `value` that fits, with a minus sign, into eight characters."""
    decimals = 6 - len(str(int(value)))
    if decimals < 0:
        raise InputError(f"an amplitude of {value:g} V does not fit into an EDF header")
    if value * 10**decimals < 1:
        return "1" if value == 0 else f"{10.0**-decimals:.{decimals}f}"
    whole = int(np.ceil(round(value * 10**decimals, 6)))
    return f"{whole / 10**decimals:.{decimals}f}"[:7].rstrip(".")


def _record_geometry(fs: float, n_times: int, bytes_each: int) -> tuple[int, str]:
    """Samples per record and its seconds (≤ 8 characters): little padding first, then the rate."""
    longest = max(1, _MAX_RECORD_BYTES // bytes_each)
    low = min(max(1, round(0.1 * fs)), n_times, longest)
    high = min(max(n_times, round(fs)), longest, low + 200_000)
    n = np.arange(low, high + 1)
    if high < n_times <= longest:
        n = np.append(n, n_times)
    seconds = n / fs
    decimals = 7 - np.maximum(1, np.floor(np.log10(seconds)).astype(int) + 1)
    rounded = np.maximum(np.round(seconds * 10.0**decimals), 1) / 10.0**decimals
    error = np.abs(n / rounded / fs - 1)
    error[n / rounded == fs] = 0.0
    padding = -n_times % n
    for tolerance in _RATE_TOLERANCES:
        close = (error <= tolerance) & (padding <= _SMALL_PADDING)
        if close.any():
            break
    else:  # very short: the rate comes first
        close = error <= max(_RATE_TOLERANCES[-1], error.min())
        close &= padding == padding[close].min()
    rank = np.lexsort((np.abs(np.log(rounded[close])), padding[close], error[close]))
    best = np.flatnonzero(close)[rank[0]]
    text = f"{rounded[best]:.{max(0, decimals[best])}f}"
    return int(n[best]), text.rstrip("0").rstrip(".") if "." in text else text


def _annotation_bytes(
    recording: Recording, n_records: int, record_s: float, width: int
) -> NDArray[np.uint8]:
    """The annotation signal, (n_records, bytes); no bytes where there are none (plain EDF)."""
    if not recording.annotations:
        return np.empty((n_records, 0), dtype=np.uint8)
    lists = [f"+{record * record_s:.9g}\x14\x14\x00".encode() for record in range(n_records)]
    for note in recording.annotations:
        text = re.sub(r"[\x00\x14\x15]", " ", note.description)
        record = min(max(0, int(note.onset_s / record_s)), n_records - 1)
        lists[record] += f"+{note.onset_s:.9f}\x15{note.duration_s:.9f}\x14{text}\x14\x00".encode()
    n_bytes = -(-max(map(len, lists)) // width) * width
    joined = b"".join(each.ljust(n_bytes, b"\x00") for each in lists)
    return np.frombuffer(joined, dtype=np.uint8).reshape(n_records, n_bytes)


def edf_labels(channel_names: Sequence[str]) -> list[str]:
    """Channel names as EDF stores them: ASCII, at most 16 characters, unique."""
    plain = [
        name.encode("ascii", "replace").decode().strip()[:16] or "EMG" for name in channel_names
    ]
    return _unique(plain)


def _unique(labels: Sequence[str]) -> list[str]:
    seen: dict[str, None] = {}
    for label in labels:
        number, unique = 1, label
        while unique in seen:
            number += 1
            unique = f"{label[: 15 - len(str(number))]}-{number}"
        seen[unique] = None
    return list(seen)


def _header_bytes(
    recording: Recording,
    units: Sequence[str],
    limits: Sequence[str],
    d_high: int,
    per_record: int,
    record_s: str,
    n_annotation: int,
) -> bytes:
    kind = "BDF" if d_high > 32767 else "EDF"
    n_records = -(-recording.n_times // per_record)
    n = recording.n_channels
    columns: list[tuple[str, ...]] = [
        (label, "", unit, f"-{limit}", limit, str(-d_high), str(d_high), "", str(per_record), "")
        for label, unit, limit in zip(
            edf_labels(recording.channel_names), units, limits, strict=True
        )
    ]
    if n_annotation:
        lowest = str(-d_high - 1)
        label = f"{kind} Annotations"
        columns.append((label, "", "", "-1", "1", lowest, str(d_high), "", str(n_annotation), ""))
        n += 1
    code = re.sub(r"[^!-~]", "", recording.subject)[:60] or "X"
    note = f"Startdate X X X X fs={recording.fs!r} n_times={recording.n_times}"
    fixed = (
        (f"{code} X X X", 80), (note, 80), ("01.01.85", 8), ("00.00.00", 8),
        (str(256 * (n + 1)), 8), (f"{kind}+C" if n_annotation else "24BIT" * (kind == "BDF"), 44),
        (str(n_records), 8), (record_s, 8), (str(n), 4),
    )  # fmt: skip
    version = b"\xffBIOSEMI" if kind == "BDF" else b"0       "
    text = "".join(value.ljust(length) for value, length in fixed)
    for field, length in enumerate(_SIGNAL_FIELDS):
        text += "".join(column[field].ljust(length) for column in columns)
    return version + text.encode("ascii")
