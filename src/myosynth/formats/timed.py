"""Tables whose first column is the time and whose column names state units: Noraxon exports.

Noraxon MR3 and MR4 write a few lines about the recording, then ``time`` (or ``time,s``), often
``Activity`` and ``Marker``, and one column per signal, ``LT ERECTOR SPINAE, uV`` or
``Ultium EMG.EMG 1 (uV)``. Other programs write such tables too; they are read alike.

Source
------
The layouts as third parties describe them: a reader of Noraxon CSV exports in biomdp
(https://github.com/josellopezelvira/biomdp), and scripts over MR3 exports.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from myosynth.errors import FormatError
from myosynth.formats.exports import Table, rate_from_times
from myosynth.formats.lazy import stacked
from myosynth.formats.mapping import FileMapping
from myosynth.formats.names import is_voltage, unique
from myosynth.formats.sources import Signals
from myosynth.recordings import SignalArray

__all__ = ["is_timed", "name_and_unit", "read_timed"]

_HEADER = re.compile(r'\s*"?(?:time|zeit|tiempo|temps)\b', re.IGNORECASE)
_NAMED = re.compile(r"(?P<name>.+?)\s*(?:,\s*(?P<a>[^,()\[\]]+)|\((?P<b>[^()]*)\)|\[(?P<c>.*)\])$")
_NORAXON = ("noraxon", "ultium", "myoresearch", "telemyo", "mr3", "mr4")
_STATED = re.compile(r"(?:frequency|rate)\D*(\d+(?:[.,]\d+)?)\s*hz", re.IGNORECASE)
_DISAGREE = 1e-3
_LONGEST_NAME = 300
_SLOWEST_HZ = 50.0
_SECONDS = {"": 1.0, "s": 1.0, "sec": 1.0, "ms": 1e-3}


def is_timed(start: str) -> bool:
    """Whether a text has a line of column names with a time and a unit of voltage."""
    return any(
        _HEADER.match(line) and any(is_voltage(name_and_unit(cell)[1]) for cell in _loosely(line))
        for line in start.lstrip("\ufeff").splitlines()
    )


def _loosely(line: str) -> list[str]:
    parts = line.split(";") if ";" in line else line.split("\t")
    cells = [cell for part in parts for cell in (part, *part.split('","'))]
    return [cell.strip(' "') for cell in (*cells, *line.split(","))]


def name_and_unit(cell: str) -> tuple[str, str]:
    """The name of a column and its unit, out of ``ES, uV``, ``ES (uV)`` or ``ES [uV]``."""
    match = _NAMED.match(cell) if len(cell) < _LONGEST_NAME else None
    if match is None:
        return cell, ""
    return match["name"], next(match[key].strip() for key in "abc" if match[key] is not None)


def read_timed(path: Path, plan: FileMapping | None = None) -> Signals:
    """Open a table of times and signals; columns are read when they are picked.

    The times tell the rate (`exports.rate_from_times`); one that the lines above state is checked
    against them.

    Raises
    ------
    FormatError
        If there is no such header, or the times are uneven or contradict the stated rate.
    """
    table, above, header = Table.find(path, lambda line: bool(_HEADER.match(line)))
    per_unit = _SECONDS.get(name_and_unit(header[0])[1].lower())
    if per_unit is None:
        raise FormatError(
            f"{path}: the times in {header[0]!r} are in no unit that is known (s, ms)"
        )
    columns = [i for i, cell in enumerate(header) if i and cell]
    named = [name_and_unit(header[i]) for i in columns]
    emg = [i for i, (_, unit) in zip(columns, named, strict=True) if is_voltage(unit)]
    held = table.columns([0, *emg])
    fs = rate_from_times(held[0], str(path), per_unit)
    if fs < _SLOWEST_HZ and not name_and_unit(header[0])[1]:
        raise FormatError(
            f"{path}: the times in {header[0]!r} run at {fs:.7g} Hz if they are seconds, which is "
            f"no EMG; write their unit into the header ({header[0]},ms) and import it again"
        )
    stated = next((m[1] for line in above if (m := _STATED.search(line))), None)
    if stated is not None and abs(float(stated.replace(",", ".")) / fs - 1) > _DISAGREE:
        raise FormatError(
            f"{path} states {stated} Hz and its times run at {fs:.7g} Hz; export it again"
        )

    def pick(rows: Sequence[int]) -> SignalArray:
        chosen = [columns[row] for row in rows]
        other = [i for i in chosen if i not in held]
        values = {**held, **table.columns(other)} if other else held
        if len({len(values[i]) for i in (0, *chosen)}) > 1:
            raise FormatError(f"{path}: columns end at different times; export it again")
        return stacked([values[i] for i in chosen], len(values[0]))

    about = " ".join([*above, *header]).lower()
    known = any(word in about for word in _NORAXON)
    return Signals(
        names=unique([name for name, _ in named], longest=None),
        units=[unit for _, unit in named],
        rates=[fs] * len(columns),
        pick=pick,
        may_be_emg=[is_voltage(unit) for _, unit in named],
        metadata={"sidecar": {"Manufacturer": "Noraxon"}} if known else {},
    )
