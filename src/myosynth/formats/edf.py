"""EDF, EDF+, BDF and BDF+: samples stay on disk until they are sliced.

`edf_writing` is the other half.

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

from myosynth.errors import FormatError
from myosynth.formats.lazy import LazySamples
from myosynth.formats.mapping import FileMapping
from myosynth.formats.names import entities, unique, volts_per_unit
from myosynth.formats.sources import Signals
from myosynth.recordings import Annotation, FloatArray, Recording

__all__ = ["SIGNAL_FIELDS", "EdfSamples", "StoredRange", "edf_signals", "read_edf"]

SIGNAL_FIELDS = (16, 80, 8, 8, 8, 8, 8, 80, 8, 32)
"""Bytes of the header's fields about a signal."""

_UNIT_OF = {volts_per_unit(unit, ""): unit for unit in ("V", "mV", "uV", "nV")}
_NOTE = re.compile(r"\bfs=(\S+) n_times=(\d+)")
_TAL = re.compile(rb"([+-]\d+(?:\.\d*)?)(?:\x15(\d+(?:\.\d*)?))?\x14(.*)\x14", re.DOTALL)


@dataclass(frozen=True)
class StoredRange:
    """How integers in an EDF or BDF file stand for volts.

    Parameters
    ----------
    width : int
        Bytes per integer.
    units : sequence of str
        V, mV, uV or nV, one per channel.
    physical : sequence of (str, str)
        Lowest and highest value in that unit, as written in the header.
    digital : sequence of (int, int)
        The integers that stand for them.
    """

    width: int
    units: Sequence[str]
    physical: Sequence[tuple[str, str]]
    digital: Sequence[tuple[int, int]]


@dataclass(frozen=True)
class _Signal:
    label: str
    unit: str
    physical_text: tuple[str, str]
    digital: tuple[int, int]
    prefiltering: str
    n_times: int  # per record
    offset: int  # bytes from the start of a record

    @property
    def gain(self) -> float:
        low, high = map(float, self.physical_text)
        return (high - low) / (self.digital[1] - self.digital[0])

    @property
    def base(self) -> float:
        return float(self.physical_text[0]) - self.digital[0] * self.gain

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


class EdfSamples(LazySamples):
    """Samples of some signals times `scale`, (n_channels, n_times), read when they are sliced."""

    def __init__(
        self, header: _Header, signals: Sequence[_Signal], scale: FloatArray, n_times: int
    ) -> None:
        super().__init__(len(signals), n_times)
        self._header, self._signals, self._scale = header, signals, scale

    def rescaled(self, factors: FloatArray) -> LazySamples:
        return EdfSamples(self._header, self._signals, self._scale * factors, self.shape[1])

    def block(self, rows: NDArray[np.intp], low: int, high: int) -> FloatArray:
        block = np.empty((len(rows), high - low))
        for samples, row in zip(block, rows, strict=True):
            signal = self._signals[row]
            np.multiply(self._integers(signal, low, high), signal.gain * self._scale[row], samples)
            samples += signal.base * self._scale[row]
        return block

    def digital(self, low: int, high: int) -> NDArray[np.int32]:
        """Samples of every channel as the integers in the file, (n_channels, high - low)."""
        block = np.empty((self.shape[0], high - low), dtype=np.int32)
        for samples, signal in zip(block, self._signals, strict=True):
            samples[:] = self._integers(signal, low, high)
        return block

    def stored(self) -> "StoredRange | None":
        """How the integers stand for volts, where the header's numbers and a unit say it."""
        units = [_UNIT_OF.get(float(each)) for each in self._scale]
        if any(unit is None for unit in units):
            return None
        return StoredRange(
            self._header.width,
            [str(unit) for unit in units],
            [signal.physical_text for signal in self._signals],
            [signal.digital for signal in self._signals],
        )

    def _integers(self, signal: _Signal, low: int, high: int) -> NDArray[np.integer[Any]]:
        n, width = signal.n_times, self._header.width
        first = low // n
        records = self._header.records()[first : -(-high // n)]
        raw = records[:, signal.offset : signal.offset + n * width]
        digital = _integers(np.ascontiguousarray(raw), width)
        return digital[low - first * n : high - first * n]


def _integers(raw: NDArray[np.uint8], width: int) -> NDArray[np.integer[Any]]:
    if width == 2:
        return raw.reshape(-1).view("<i2")
    padded = np.zeros((raw.size // 3, 4), dtype=np.uint8)
    padded[:, 1:] = raw.reshape(-1, 3)
    return padded.reshape(-1).view("<i4") >> 8  # the shift carries the sign


def edf_signals(path: Path, plan: FileMapping | None = None) -> Signals:
    """Every signal of an EDF(+) or BDF(+) file; see `read_edf`."""
    header = _read_header(path)
    signals = [s for s in header.signals if not s.is_annotation]
    if not signals or header.n_records == 0:
        raise FormatError(f"{path} holds no samples; leave it out or export it again")
    exact = {n: _exact_rate_and_length(header, n) for n in {s.n_times for s in signals}}
    most = max(exact.values(), key=lambda pair: pair[1])

    def pick(rows: Sequence[int]) -> EdfSamples:
        chosen = [signals[row] for row in rows]
        n_times = exact[chosen[0].n_times][1]
        return EdfSamples(header, chosen, np.ones(len(rows)), n_times)

    spans, events = _spans_and_events(header, most[1] / most[0])
    patient = header.patient.split(" ")[0]
    return Signals(
        names=unique([s.label for s in signals], 16),
        units=[s.unit for s in signals],
        rates=[exact[s.n_times][0] for s in signals],
        pick=pick,
        subject=patient if patient != "X" else "",
        annotations=spans,
        metadata={"prefiltering": [s.prefiltering for s in signals], "events": events},
    )


def _spans_and_events(
    header: _Header, duration_s: float
) -> tuple[list[Annotation], list[list[Any]]]:
    found = [a for a in _read_annotations(header) if a.onset_s < duration_s]
    spans = [a for a in found if a.duration_s > 0 or a.is_bad]
    return spans, [[a.onset_s, a.description] for a in found if a.duration_s == 0]


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
    spans, events = _spans_and_events(header, n_times / fs)
    names = entities(path)
    patient = header.patient.split(" ")[0]
    code = patient if patient not in ("", "X") else path.stem
    return Recording(
        data=EdfSamples(header, signals, scale, n_times),
        fs=fs,
        channel_names=unique([s.label for s in signals], 16),
        subject=names.get("sub", code),
        session=names.get("ses", ""),
        task=names.get("task", ""),
        run=names.get("run", ""),
        annotations=spans,
        metadata={
            "source_file": path.name,
            "source_units": units,
            "prefiltering": [s.prefiltering for s in signals],
            "events": events,
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
    for length in SIGNAL_FIELDS:
        block = per_signal[start : start + length * n_signals].decode("latin-1")
        fields.append([block[i * length : (i + 1) * length].strip() for i in range(n_signals)])
        start += length * n_signals
    signals, offset = [], 0
    for label, _, unit, p_low, p_high, d_low, d_high, prefiltering, n_times, _ in zip(
        *fields, strict=True
    ):
        digital, physical = (int(d_low), int(d_high)), (float(p_low), float(p_high))
        texts = (p_low, p_high)
        if digital[0] >= digital[1] or int(n_times) < 1 or not np.all(np.isfinite(physical)):
            raise ValueError(f"channel {label!r} has an impossible range or sample count")
        if physical[0] == physical[1] and not label.endswith("Annotations"):
            raise ValueError(f"channel {label!r} has an empty physical range")
        signals.append(_Signal(label, unit, texts, digital, prefiltering, int(n_times), offset))
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
            f"{header.path} contradicts itself: {fs:.7g} Hz and {n_times} samples in the header, "
            f"{noted_fs:.7g} Hz and {noted_n_times} in its recording identification"
        )
    return noted_fs, noted_n_times


def _read_annotations(header: _Header) -> Iterator[Annotation]:
    origin: float | None = None
    for signal in header.signals:
        if not signal.is_annotation:
            continue
        end = signal.offset + signal.n_times * header.width
        for record in header.records():
            lists = record[signal.offset : end].tobytes().split(b"\x00")
            for match in filter(None, map(_TAL.fullmatch, lists)):
                onset, duration, texts = match.groups()
                if origin is None:
                    origin = float(onset)
                for text in texts.split(b"\x14"):
                    if text:
                        yield Annotation(
                            max(0.0, float(onset) - origin),
                            float(duration or 0),
                            text.decode("utf-8", "replace"),
                        )
