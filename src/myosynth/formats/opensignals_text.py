"""OpenSignals (PLUX, BITalino) text files: a line of JSON about the device, then columns of counts.

Source
------
The header as OpenSignals (r)evolution writes it: ``# OpenSignals Text File Format``, one line with
``sensor``, ``column``, ``channels``, ``resolution``, ``sampling rate`` and ``device`` of each
device, ``# EndOfHeader``; `opensignals` for what turns counts into volts.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from myosynth.errors import FormatError
from myosynth.formats.exports import Table, text_encoding
from myosynth.formats.mapping import FileMapping
from myosynth.formats.opensignals import transfer
from myosynth.formats.sniffing import text_lines
from myosynth.formats.sources import Signals
from myosynth.recordings import FloatArray

__all__ = ["is_opensignals_text", "read_opensignals_text"]

_BEGINS = "# OpenSignals Text File Format"


def is_opensignals_text(start: str) -> bool:
    """Whether a text begins as these files do."""
    return start.lstrip("\ufeff").startswith(_BEGINS)


def read_opensignals_text(path: Path, plan: FileMapping | None = None) -> Signals:
    """Open an OpenSignals text file; sensors of type EMG are in volts.

    Raises
    ------
    FormatError
        If the header is damaged, or several devices are in one file.
    """
    _, lines = text_lines(path)
    try:
        n_header = next(i for i, line in enumerate(lines) if "EndOfHeader" in line) + 1
        devices: dict[str, Any] = json.loads(lines[1].lstrip("# "))
        (device,) = devices.values()
        columns = [str(name) for name in device["column"]]
        sensors = [str(sensor) for sensor in device["sensor"]]
        # BITalino states the digital columns' resolution too, before that of the channels
        bits = [int(n) for n in device["resolution"]][-len(sensors) :]
        fs, kind = float(device["sampling rate"]), str(device["device"])
        first = len(columns) - len(sensors)
        if len(bits) != len(sensors) or first < 0 or not fs > 0:
            raise ValueError("its sensors, columns and resolutions do not fit together")
    except (StopIteration, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise FormatError(
            f"{path} is not a sound OpenSignals file of one device ({error or 'no end of header'})"
        ) from error
    table = Table(path, text_encoding(path), "\t", n_header)
    is_emg = ["EMG" in sensor.upper() for sensor in sensors]
    scales = [
        transfer(kind, n) if emg else (sensor, 0.0, 1.0)
        for emg, n, sensor in zip(is_emg, bits, sensors, strict=True)
    ]

    def pick(rows: Sequence[int]) -> FloatArray:
        held = table.columns([first + row for row in rows])
        if len({len(held[first + row]) for row in rows}) > 1:
            raise FormatError(f"{path} has columns of different lengths; export it again")
        return np.stack([(held[first + row] + scales[row][1]) * scales[row][2] for row in rows])

    return Signals(
        names=columns[first:],
        units=[unit for unit, _, _ in scales],
        rates=[fs] * len(sensors),
        pick=pick,
        may_be_emg=is_emg,
        metadata={"sidecar": {"Manufacturer": "PLUX"}},
    )
