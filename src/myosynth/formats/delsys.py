"""Delsys Trigno exports as text: EMGworks and Trigno Discover.

EMGworks: a line ``Label: … Sampling frequency: … Unit: …`` for each channel, then a header line
with ``X[s]`` (times) and ``<sensor>: EMG 1 [V]``, a time column per channel or one for all.
Trigno Discover: lines of sensors, of modes, of columns (``EMG 1 Time Series (s)``, ``EMG 1 (mV)``),
of rates and of sample periods, with an event table on the right. Sensors differ in rate, so that
columns end early. With European settings the delimiter is ``;`` and the decimal sign ``,``.

Source
------
The layouts as third parties describe them: Trigno format in biosigIO's documentation
(https://github.com/neuromechanist/biosigIO), and readers of Trigno Discover 1.7 and 2.1 exports.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from myosynth.errors import FormatError
from myosynth.formats.exports import Table, filled_right, rate_from_times
from myosynth.formats.lazy import stacked
from myosynth.formats.mapping import FileMapping
from myosynth.formats.names import is_voltage, unique
from myosynth.formats.sources import Signals
from myosynth.recordings import FloatArray, SignalArray

__all__ = ["is_delsys", "read_delsys"]

_LABEL = re.compile(
    r"Label:\s*(?P<name>.+?)\s*[,;]?\s*Sampling frequency:\s*(?P<rate>\d+(?:[.,]\d+)?).*?"
    r"Unit:\s*(?P<unit>[^\s,;]+)"
)
_EMGWORKS = re.compile(r"(?P<name>.+?)\s*\[(?P<unit>[^\]]*)\]$")
_DISCOVER = re.compile(r"(?P<name>.+?)\s*\((?P<unit>[^)]*)\)$")
_SERIAL = re.compile(r"\s*\(\d+\)$")
_HERTZ = re.compile(r"(\d+(?:[.,]\d+)?)\s*Hz")
_TIMES = ("X[s]", "X [s]")
_LINES_BELOW = 6  # rates, sample periods, …
_DISAGREE = 1e-3
_LONGEST_NAME = 300
_LONGEST_DIFFERENCE = 0.01


def is_delsys(start: str) -> bool:
    """Whether a text begins as one of these exports does."""
    plain = start.lstrip('\ufeff"\r\n ')
    return (
        plain.startswith(("Label:", *_TIMES))
        or "Trigno Discover" in plain[:200]
        or ("Time Series (s)" in plain and "sensor mode" in plain)
    )


@dataclass(frozen=True)
class _Column:
    name: str
    unit: str
    rate: float | None
    times: int  # position of its column of times
    values: int


def read_delsys(path: Path, plan: FileMapping | None = None) -> Signals:
    """Open a Delsys export; columns are read when they are picked.

    Channels are named ``<sensor>: <signal>``. Those whose unit is no voltage (acceleration, turn
    rate) are not EMG. A stated rate is checked against the times; where none is stated the times
    tell it.

    Raises
    ------
    FormatError
        If there is no header, or the times contradict the rate.
    """
    with path.open("rb") as file:
        discover = b"Time Series" in file.read(1 << 16)
    table, columns = (_discover if discover else _emgworks)(path)
    emg = [column for column in columns if is_voltage(column.unit)]
    if not emg:
        raise FormatError(f"{path} is a Delsys export without a channel in volts")
    held = table.columns(sorted({i for column in emg for i in (column.times, column.values)}))

    def pick(rows: Sequence[int]) -> SignalArray:
        chosen = [columns[row] for row in rows]
        other = [column.values for column in chosen if column.values not in held]
        return _equally_long(path, chosen, {**held, **table.columns(other)} if other else held)

    return Signals(
        names=unique([column.name for column in columns], longest=None),
        units=[column.unit for column in columns],
        rates=[_rate(path, column, held.get(column.times)) for column in columns],
        pick=pick,
        metadata={"sidecar": {"Manufacturer": "Delsys"}},
    )


def _rate(path: Path, column: _Column, times: NDArray[np.float64] | None) -> float | None:
    if times is None or not is_voltage(column.unit):
        return column.rate
    where = f"{path}, {column.name!r}"
    shown = rate_from_times(times, where)
    if column.rate is not None and abs(shown / column.rate - 1) > _DISAGREE:
        raise FormatError(
            f"{where}: the header says {column.rate:g} Hz and the times run at {shown:g} Hz; "
            "export it again"
        )
    return column.rate or shown


def _emgworks(path: Path) -> tuple[Table, list[_Column]]:
    table, above, header = Table.find(path, lambda line: line.lstrip('"').startswith(_TIMES))
    labels = [match for line in above if (match := _LABEL.search(line))]
    stated = {match["name"]: (_float(match["rate"]), match["unit"]) for match in labels}
    columns: list[_Column] = []
    times = 0
    for i, cell in enumerate(header):
        if cell.startswith(_TIMES):
            times = i
        elif cell:
            match = _EMGWORKS.match(cell[-_LONGEST_NAME:])
            name = match["name"] if match else cell
            rate, unit = stated.get(name, (None, ""))
            columns.append(_Column(name, match["unit"] if match else unit, rate, times, i))
    return table, columns


def _discover(path: Path) -> tuple[Table, list[_Column]]:
    table, above, header = Table.find(path, lambda line: "Time Series (s)" in line)
    sensors = filled_right(table.cells(above[-2]) if len(above) >= 2 else [], len(header))
    rates: list[str] = []
    n_header = table.n_header
    for line in table.lines(_LINES_BELOW):
        cells = table.cells(line)
        if cells and _is_number(cells[0]):
            break
        rates = cells if any(_HERTZ.search(cell) for cell in cells) else rates
        n_header += 1
    columns: list[_Column] = []
    times = 0
    for i, cell in enumerate(header):
        match = _DISCOVER.match(cell[-_LONGEST_NAME:])
        if match and match["name"].endswith("Time Series"):
            times = i
        elif match:
            hertz = _HERTZ.search(rates[i]) if i < len(rates) else None
            sensor = _SERIAL.sub("", sensors[i])
            name = f"{sensor}: {match['name']}" if sensor else match["name"]
            rate = _float(hertz[1]) if hertz else None
            columns.append(_Column(name, match["unit"], rate, times, i))
    return replace(table, n_header=n_header), columns


def _equally_long(
    path: Path, columns: Sequence[_Column], values: Mapping[int, FloatArray]
) -> SignalArray:
    lengths = [len(values[column.values]) for column in columns]
    n_times = min(lengths)
    if n_times < (1 - _LONGEST_DIFFERENCE) * max(lengths):
        short = columns[int(np.argmin(lengths))].name
        raise FormatError(
            f"{path}: {short!r} ends after {n_times} samples and others after {max(lengths)}; "
            "the sensor dropped out, so leave it out through columns: in a mapping file"
        )
    return stacked([values[column.values] for column in columns], n_times)


def _float(text: str) -> float:
    return float(text.replace(",", "."))


def _is_number(text: str) -> bool:
    try:
        _float(text)
    except ValueError:
        return False
    return True
