"""Delimited text (CSV, TSV, device logs) through a mapping file."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from myosynth.errors import ConfigError, FormatError
from myosynth.formats.exports import bounded_lines
from myosynth.formats.lazy import stacked
from myosynth.formats.mapping import FileMapping
from myosynth.formats.sources import Signals
from myosynth.formats.spool import Spool
from myosynth.recordings import FloatArray, SignalArray

__all__ = ["read_delimited"]

_DELIMITERS = {"tab": "\t", "comma": ",", "semicolon": ";", "space": None}
_AROUND = ' \t\r\n"'  # what may stand around a cell
_MOST_HEADER_LINES = 200
_ROWS_AT_ONCE = 100_000


def read_delimited(path: Path, plan: FileMapping | None) -> Signals:
    """Open one table of delimited text; its channels are the mapping's columns.

    Rows at the end in which every EMG column is empty are cut off; their count is in
    ``metadata["trimmed_rows"]``.

    Raises
    ------
    FormatError
        If a cell is no number (named by file, line and column), or there is no mapping.
    """
    if plan is None or plan.delimiter is None:
        raise FormatError(
            f"{path} is text, which does not say its columns, units and rate; give a mapping file "
            "for delimited text (--mapping) with delimiter:, columns: and fs:"
        )
    numbers, trimmed = _read_numbers(path, plan, plan.delimiter)

    def pick(rows: Sequence[int]) -> SignalArray:
        return stacked([numbers[:, row] for row in rows], len(numbers))

    return Signals(
        names=[column.channel or str(column.column) for column in plan.columns],
        units=[""] * len(plan.columns),
        rates=[None] * len(plan.columns),
        pick=pick,
        listed=True,
        metadata={"trimmed_rows": trimmed},
    )


def _read_numbers(path: Path, plan: FileMapping, kind: str) -> tuple[FloatArray, int]:
    """Numbers (n_times, n_columns) as they stand in the file, and how many rows were trimmed."""
    delimiter = _DELIMITERS[kind]
    positions, n_header = _find_data(path, plan, delimiter)
    counts = {"rows": 0, "trimmed": 0}

    def rows() -> Iterator[str]:
        for number, line in _lines(path, plan, skip=n_header):
            cells = line.split(delimiter)
            used = [cells[i].strip(_AROUND) if i < len(cells) else "" for i in positions]
            if not any(used):
                counts["trimmed"] += any(cell.strip() for cell in cells)
            elif counts["trimmed"]:
                raise FormatError(
                    f"{path}, line {number - 1}: the EMG columns are empty here, but not below"
                )
            else:
                counts["rows"] += 1
                yield "\t".join(used)

    spool, left = Spool(len(positions)), rows()
    try:
        while block := list(itertools.islice(left, _ROWS_AT_ONCE)):
            numbers = np.loadtxt(block, delimiter="\t", comments=None, ndmin=2, dtype=np.float64)
            spool.append(numbers)
    except ValueError as error:
        raise _bad_cell(path, plan, positions, n_header, delimiter) from error
    return spool.array(), counts["trimmed"]


def _lines(path: Path, plan: FileMapping, skip: int = 0) -> Iterator[tuple[int, str]]:
    try:
        with path.open(encoding=plan.encoding, newline=None) as file:
            for number, line in enumerate(bounded_lines(file, path), start=1):
                if number > skip:
                    yield number, line.replace(",", ".") if plan.decimal == "," else line
    except FileNotFoundError as error:
        raise FormatError(f"{path} does not exist") from error
    except UnicodeDecodeError as error:
        raise FormatError(
            f"{path} is not {plan.encoding} text; name its encoding in the mapping (latin-1?)"
        ) from error
    except LookupError as error:
        raise ConfigError(f"encoding: {plan.encoding!r} is not known") from error


def _find_data(path: Path, plan: FileMapping, delimiter: str | None) -> tuple[list[int], int]:
    """Positions of the listed columns, and the number of lines above the first samples."""
    wanted = [column.column for column in plan.columns]
    names = [each for each in wanted if isinstance(each, str)]
    positions: list[int] | None = None
    if not names:
        positions = [each - 1 for each in wanted if isinstance(each, int)]
    for number, line in _lines(path, plan):
        cells = [cell.strip(_AROUND) for cell in line.split(delimiter)]
        if positions is None and all(name in cells for name in names):
            positions = [cells.index(w) if isinstance(w, str) else w - 1 for w in wanted]
        elif positions is not None:
            if plan.header_lines is not None and number > plan.header_lines:
                return positions, plan.header_lines
            if plan.header_lines is None and all(
                i < len(cells) and _is_number(cells[i]) for i in positions
            ):
                return positions, number - 1
        if number > _MOST_HEADER_LINES + (plan.header_lines or 0):
            break
    if positions is None:
        raise FormatError(f"{path} has no header line with the columns {names}")
    raise FormatError(
        f"{path} has no line with numbers in columns {[i + 1 for i in positions]}; check the "
        "delimiter, decimal sign and columns in the mapping"
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _bad_cell(
    path: Path, plan: FileMapping, positions: Sequence[int], n_header: int, delimiter: str | None
) -> FormatError:
    for number, line in _lines(path, plan, skip=n_header):
        cells = line.split(delimiter)
        if not line.strip():
            continue
        for position, column in zip(positions, plan.columns, strict=True):
            text = cells[position].strip(_AROUND) if position < len(cells) else ""
            if not _is_number(text):
                said = f"{text!r} is not a number" if text else "the cell is empty"
                return FormatError(
                    f"{path}, line {number}, column {position + 1} ({column.channel}): {said}"
                )
    return FormatError(f"{path} could not be read as numbers; check the mapping")
