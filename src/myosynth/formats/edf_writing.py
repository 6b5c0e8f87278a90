"""Writing EDF, EDF+C, BDF and BDF+C piece by piece; `edf` is the other half.

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
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from myosynth.errors import InputError
from myosynth.formats.edf import SIGNAL_FIELDS, EdfSamples, StoredRange
from myosynth.formats.lazy import StoredSamples, extremes, pieces
from myosynth.formats.names import plain_text, unique, volts_per_unit
from myosynth.recordings import FloatArray, Recording, SignalArray
from myosynth.storage import atomic_file

__all__ = ["edf_labels", "write_edf"]

_KEPT_BYTES = 128 << 20
_MAX_RECORD_BYTES = 10_000_000  # what other EDF software still opens
_RATE_TOLERANCES = (1e-8, 1e-7, 1e-6)
_SMALL_PADDING = 32

Digital = Callable[[int, int], NDArray[np.number[Any]]]
"""From the first and last of some samples to the whole numbers to store, (n_channels, n)."""


def write_edf(recording: Recording, path: str | Path) -> list[str]:
    """Write a recording as EDF (16 bit) or, where `path` ends in ``.bdf``, BDF (24 bit).

    The physical range of each channel is its largest absolute value, so that the error is at most
    half a quantisation step (peak / 32767 or peak / 8388607). Samples that stand in an EDF or BDF
    file of no more bits are taken over as they are, with their range. A last record that is not
    full is filled with the last sample; `read_edf` cuts that off again.

    Parameters
    ----------
    recording : Recording
        Read piece by piece, in two passes. Annotations make it EDF+C / BDF+C.
    path : path
        Replaced if it exists.

    Returns
    -------
    list of str
        The unit chosen for each channel: V, mV or uV (or that of the source).

    Raises
    ------
    InputError
        If there are no samples, or some are NaN or infinite (EDF cannot hold them).
    """
    path = Path(path)
    if recording.n_times == 0 or recording.n_channels == 0:
        raise InputError(f"{recording.name} holds no samples, so there is nothing to write")
    width = 3 if path.suffix.lower() == ".bdf" else 2
    stored, digital = _taken_over(recording, width) or _quantised(recording, width)
    per_record, record_s = _record_geometry(
        recording.fs, recording.n_times, recording.n_channels * width
    )
    n_records = -(-recording.n_times // per_record)
    tals = _annotation_bytes(recording, n_records, float(record_s), width)
    header = _header_bytes(recording, stored, per_record, record_s, tals.shape[1])
    layout = _record_layout(recording.n_channels, per_record, width, tals.shape[1])
    n_times = n_records * per_record
    with atomic_file(path) as partial, partial.open("wb") as file:
        file.write(header)
        for low, high in pieces(recording.n_channels, 0, n_times, per_record):
            block = digital(low, min(high, recording.n_times))
            if missing := high - low - block.shape[1]:
                block = np.pad(block, ((0, 0), (0, missing)), mode="edge")
            records = np.empty((high - low) // per_record, layout)
            numbers = block.reshape(recording.n_channels, -1, per_record).swapaxes(0, 1)
            records["signals"] = numbers if width == 2 else _three_octets(numbers)
            records["annotations"] = tals[low // per_record : high // per_record]
            records.tofile(file)
    return list(stored.units)


def _record_layout(
    n_channels: int, per_record: int, width: int, n_tal_bytes: int
) -> np.dtype[np.void]:
    one = ("<i2", ()) if width == 2 else ("u1", (3,))
    signals = (one[0], (n_channels, per_record, *one[1]))
    return np.dtype([("signals", *signals), ("annotations", "u1", (n_tal_bytes,))])


def _three_octets(numbers: NDArray[np.number[Any]]) -> NDArray[np.uint8]:
    octets = numbers.astype("<i4", order="C").view(np.uint8)
    return octets.reshape(*numbers.shape, 4)[..., :3]


def _taken_over(recording: Recording, width: int) -> tuple[StoredRange, Digital] | None:
    samples = recording.data
    if not isinstance(samples, EdfSamples):
        return None
    stored = samples.stored()
    if stored is None or stored.width > width:
        return None
    return replace(stored, width=width), samples.digital


def _quantised(recording: Recording, width: int) -> tuple[StoredRange, Digital]:
    if 8 * recording.n_channels * recording.n_times <= _KEPT_BYTES:
        recording = recording.replace(data=recording.load())  # two passes, one reading
    d_high = 8388607 if width == 3 else 32767
    peaks = _peaks(recording)
    units = ["V" if p >= 1 else "mV" if p >= 1e-3 else "uV" for p in peaks]
    scale = np.array([volts_per_unit(unit, recording.name) for unit in units])
    limits = [_field_at_least(peak) for peak in peaks / scale]
    per_volt = d_high / (np.array([float(limit) for limit in limits]) * scale)
    block = _scaling(recording.data, per_volt, width)

    def digital(low: int, high: int) -> FloatArray:
        numbers = block(low, high)
        return np.rint(numbers, out=numbers)

    ranges = [(f"-{limit}", limit) for limit in limits]
    return StoredRange(width, units, ranges, [(-d_high, d_high)] * len(units)), digital


def _scaling(
    samples: SignalArray, factors: FloatArray, width: int
) -> Callable[[int, int], FloatArray]:
    """From the first and last of some samples to new numbers, each channel times its factor."""
    if isinstance(samples, StoredSamples):
        scaled, rows = samples.rescaled(factors), np.arange(samples.shape[0])
        # 16 bits of a float32 need no more precision than it has
        precision = np.float32 if width == 2 and samples.is_single else np.float64

        def fill(low: int, high: int) -> FloatArray:
            return scaled.filled(np.empty((len(rows), high - low), precision), rows, low, high)

        return fill
    return lambda low, high: np.multiply(samples[:, low:high], factors[:, None], dtype=np.float64)


def _peaks(recording: Recording) -> FloatArray:
    low, high = extremes(recording.data)
    peaks = np.maximum(high, -low)  # NaN and infinity both survive
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
    whole += whole * (1 + 1e-9) < value * 10**decimals  # what rounds to the highest integer is fine
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
    """Channel names as EDF stores them: ASCII (no accents), at most 16 characters, unique."""
    return unique([plain_text(name).strip()[:16] or "EMG" for name in channel_names], 16)


def _header_bytes(
    recording: Recording, stored: StoredRange, per_record: int, record_s: str, tal_bytes: int
) -> bytes:
    kind = "BDF" if stored.width == 3 else "EDF"
    n_records = -(-recording.n_times // per_record)
    labels = edf_labels(recording.channel_names)
    columns: list[tuple[str, ...]] = [
        (label, "", unit, *physical, *map(str, digital), "", str(per_record), "")
        for label, unit, physical, digital in zip(
            labels, stored.units, stored.physical, stored.digital, strict=True
        )
    ]
    if tal_bytes:
        highest = 8388607 if kind == "BDF" else 32767
        digital = (str(-highest - 1), str(highest))
        n_times = str(tal_bytes // stored.width)
        columns.append((f"{kind} Annotations", "", "", "-1", "1", *digital, "", n_times, ""))
    n = len(columns)
    code = re.sub(r"[^!-~]", "", recording.subject)[:60] or "X"
    note = f"Startdate X X X X fs={recording.fs!r} n_times={recording.n_times}"
    fixed = (
        (f"{code} X X X", 80), (note, 80), ("01.01.85", 8), ("00.00.00", 8),
        (str(256 * (n + 1)), 8), (f"{kind}+C" if tal_bytes else "24BIT" * (kind == "BDF"), 44),
        (str(n_records), 8), (record_s, 8), (str(n), 4),
    )  # fmt: skip
    version = b"\xffBIOSEMI" if kind == "BDF" else b"0       "
    text = "".join(value.ljust(length) for value, length in fixed)
    for field, length in enumerate(SIGNAL_FIELDS):
        text += "".join(column[field].ljust(length) for column in columns)
    return version + text.encode("ascii")
