"""TSV tables as BIDS has them: a header line, UTF-8, ``n/a`` for what is not known."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from myosynth.errors import FormatError

__all__ = ["number", "read_tsv", "write_tsv"]


def write_tsv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows that share their keys; white space inside a cell becomes one space."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(
            file, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE, quotechar=None
        )
        writer.writerow(rows[0])
        writer.writerows([_cell(value) for value in row.values()] for row in rows)


def _cell(value: Any) -> str:
    return " ".join(str(value).split()) or "n/a"


def number(path: Path, line: int, column: str, text: str) -> float:
    """The finite number in a cell.

    Raises
    ------
    FormatError
        Naming file, line and column, if it is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise FormatError(f"{path}, line {line}, column {column!r}: {text!r} is not a number")
    return value


def read_tsv(path: Path, required: Sequence[str]) -> list[dict[str, str]]:
    """Rows of a TSV; ``n/a`` becomes an empty text.

    Raises
    ------
    FormatError
        If a required column is missing or a line has too few or too many cells.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError(f"{path} is not UTF-8, as BIDS wants; save it so") from error
    lines = list(csv.reader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE))
    header = [name.strip() for name in lines[0]] if lines else []
    if missing := [name for name in required if name not in header]:
        raise FormatError(f"{path} lacks the column {missing[0]!r}; it has {header}")
    rows = []
    for number, cells in enumerate(lines[1:], start=2):
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(header):
            raise FormatError(
                f"{path}, line {number}: {len(cells)} cells for {len(header)} columns"
            )
        values = ("" if cell.strip() == "n/a" else cell.strip() for cell in cells)
        rows.append(dict(zip(header, values, strict=True)))
    return rows
