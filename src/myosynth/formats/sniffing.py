"""How a text file writes its numbers: told by the lines, for a person to confirm."""

import itertools
from collections.abc import Sequence
from pathlib import Path

from myosynth.errors import FormatError
from myosynth.formats.exports import bounded_lines, text_encoding

__all__ = ["holds_numbers", "is_samples", "locale_of", "number_or_none", "text_lines"]

_LINES = 400


def text_lines(path: Path) -> tuple[str, list[str]]:
    """The encoding and the first lines of a text file."""
    encoding = text_encoding(path)
    with path.open(encoding=encoding, newline="") as file:
        return encoding, list(itertools.islice(bounded_lines(file, path), _LINES))


def holds_numbers(path: Path) -> bool:
    """Whether any line near the beginning of a text file is a row of numbers."""
    try:
        locale_of(path, text_lines(path)[1])
    except (FormatError, UnicodeError):
        return False
    return True


def locale_of(path: Path, lines: Sequence[str]) -> tuple[str, str]:
    """The delimiter and decimal sign by which most lines are rows of numbers.

    Raises
    ------
    FormatError
        If no line is one.
    """

    def share(line: str, delimiter: str, decimal: str) -> int:
        cells = [number_or_none(cell, decimal) for cell in line.strip().split(delimiter)]
        return sum(1 if cell is not None else -1 for cell in cells) if is_samples(cells) else 0

    pairs = [(d, p) for d in "\t;, " for p in ".," if d != p]
    scores = [sum(share(line, *pair) for line in lines) for pair in pairs]
    if not any(scores):
        raise FormatError(f"{path} holds no rows of numbers")
    return pairs[scores.index(max(scores))]


def is_samples(row: Sequence[float | None]) -> bool:
    """Whether a row begins with a number and holds more numbers than not."""
    return bool(row) and row[0] is not None and sum(cell is not None for cell in row) * 2 > len(row)


def number_or_none(cell: str, decimal: str) -> float | None:
    """The number in a cell, with quotes or without, or None."""
    plain = cell.strip(' "\r\n')
    try:
        return float(plain.replace(",", ".") if decimal == "," else plain)
    except ValueError:
        return None
