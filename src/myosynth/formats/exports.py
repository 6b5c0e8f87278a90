"""Tables that recording software exports as text: header lines, then columns that may end early."""

import csv
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from myosynth.errors import FormatError
from myosynth.formats.spool import Spool

__all__ = ["Table", "bounded_lines", "filled_right", "rate_from_times", "text_encoding"]

_MOST_HEADER_LINES = 2000  # one per channel in some exports
_LINES_AT_ONCE = 20_000
_LONGEST_LINE = 1 << 20
_LONGEST_SAID = 2000  # characters of a line above the header that are looked at
_TIMES_AT_ONCE = 1 << 20
_ROUND_PERIOD = 2  # digits
_RATE_ROUNDING = 5e-7
_ODD_STEP = 0.75  # of a sample: times further off their place are no regular sampling


@dataclass(frozen=True)
class Table:
    """A text export whose locale has been told from its header line.

    Parameters
    ----------
    path : path
    encoding : str
    delimiter : str
    n_header : int
        Lines above the first row of numbers.
    """

    path: Path
    encoding: str
    delimiter: str
    n_header: int

    @classmethod
    def find(
        cls, path: Path, is_header: Callable[[str], bool]
    ) -> tuple["Table", list[str], list[str]]:
        """Find the line of column names, the first for which `is_header` holds.

        Returns
        -------
        Table, list of str, list of str
            The table that begins below it, the lines above it, and its cells.

        Raises
        ------
        FormatError
            If there is none.
        """
        encoding = text_encoding(path)
        above: list[str] = []
        with path.open(encoding=encoding, newline="") as file:
            for line in itertools.islice(bounded_lines(file, path), _MOST_HEADER_LINES):
                if is_header(line):
                    # names hold commas: "ES, uV"
                    delimiter = next((sign for sign in "\t;" if len(_cells(line, sign)) > 1), ",")
                    table = cls(path, encoding, delimiter, len(above) + 1)
                    return table, above, table.cells(line)
                above.append(line[:_LONGEST_SAID].rstrip("\r\n"))
        raise FormatError(f"{path} has no line of column names that is known")

    def cells(self, line: str) -> list[str]:
        """The cells of a line of the header."""
        return _cells(line, self.delimiter)

    def lines(self, count: int) -> list[str]:
        """The first lines below the column names."""
        with self.path.open(encoding=self.encoding, newline="") as file:
            return list(itertools.islice(file, self.n_header, self.n_header + count))

    def columns(self, wanted: Sequence[int]) -> dict[int, NDArray[np.float64]]:
        """The numbers of some columns; each may end early with empty cells.

        Raises
        ------
        FormatError
            Naming line and column, where a cell is no number or is empty above a filled one.
        """
        spools = {column: Spool(1) for column in wanted}
        ended: dict[int, int] = {}
        for first_line, lines in self._blocks():
            at_once = None if ended else self._at_once(lines, wanted)
            if at_once is None:
                found = self._one_by_one(lines, wanted, first_line, ended)
            else:
                found = list(at_once)
            for column, values in zip(wanted, found, strict=True):
                spools[column].append(values[:, None])
        return {column: spool.array()[:, 0] for column, spool in spools.items()}

    def _blocks(self) -> Iterator[tuple[int, list[str]]]:
        with self.path.open(encoding=self.encoding, newline="") as file:
            line = self.n_header + 1
            for _ in range(self.n_header):
                next(file, None)
            try:
                source = bounded_lines(file, self.path)
                while lines := list(itertools.islice(source, _LINES_AT_ONCE)):
                    yield line, lines
                    line += len(lines)
            except UnicodeDecodeError as error:
                raise FormatError(f"{self.path} is damaged near line {line} ({error})") from error

    def _at_once(self, lines: list[str], wanted: Sequence[int]) -> NDArray[np.float64] | None:
        """The numbers of complete rows, (n_wanted, n_lines); None where some cell is no number."""
        plain = lines if self.delimiter == "," else [line.replace(",", ".") for line in lines]
        try:
            numbers = np.loadtxt(
                plain, delimiter=self.delimiter, comments=None, quotechar='"', usecols=wanted,
                ndmin=2, dtype=np.float64,
            )  # fmt: skip
        except (ValueError, IndexError):
            return None
        complete = len(numbers) == len(lines) and np.all(np.isfinite(numbers))
        return numbers.T if complete else None

    def _one_by_one(
        self, lines: list[str], wanted: Sequence[int], first_line: int, ended: dict[int, int]
    ) -> list[NDArray[np.float64]]:
        try:
            rows = list(csv.reader(lines, delimiter=self.delimiter))
        except csv.Error as error:
            raise FormatError(f"{self.path} is damaged near line {first_line} ({error})") from error
        found = []
        for column in wanted:
            texts = [row[column] if column < len(row) else "" for row in rows]
            if "" in (each.strip() for each in texts) or column in ended:
                texts = self._until_end(texts, column, first_line, ended)
            found.append(self._numbers(texts, column, first_line))
        return found

    def _until_end(
        self, texts: list[str], column: int, first_line: int, ended: dict[int, int]
    ) -> list[str]:
        filled = [i for i, text in enumerate(texts) if text.strip()]
        n_filled = len(filled)
        if filled and (column in ended or filled[-1] != n_filled - 1):
            gap = next((i for i, text in enumerate(texts) if not text.strip()), 0)
            line = ended.get(column, first_line + gap)
            raise FormatError(
                f"{self.path}, line {line}, column {column + 1}: the cell is empty here, but not "
                "below"
            )
        ended.setdefault(column, first_line + n_filled)
        return texts[:n_filled]

    def _numbers(self, texts: list[str], column: int, first_line: int) -> NDArray[np.float64]:
        plain = [text.replace(",", ".") for text in texts]
        try:
            numbers = np.array(plain, dtype=np.float64) if plain else np.empty(0)
        except ValueError:
            numbers = np.array([_number(text) for text in plain])
        if not np.all(np.isfinite(numbers)):
            at = int(np.flatnonzero(~np.isfinite(numbers))[0])
            raise FormatError(
                f"{self.path}, line {first_line + at}, column {column + 1}: {texts[at]!r} is not "
                "a number"
            )
        return numbers


def bounded_lines(file: TextIO, path: Path) -> Iterator[str]:
    """The lines of a text file; one without an end is refused before it fills memory.

    Raises
    ------
    FormatError
        If a line is longer than any table's.
    """
    while line := file.readline(_LONGEST_LINE):
        if len(line) == _LONGEST_LINE:
            raise FormatError(f"{path} has a line of a million characters, so it is no table")
        yield line


def _cells(line: str, delimiter: str) -> list[str]:
    return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def text_encoding(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(1 << 20)
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    try:
        start[: start.rfind(b"\n") + 1].decode("utf-8-sig")
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8-sig"


def filled_right(cells: Sequence[str], length: int) -> list[str]:
    """`cells` where each empty one takes the text of the last filled one to its left."""
    filled, last = [], ""
    for i in range(length):
        last = (cells[i] if i < len(cells) else "") or last
        filled.append(last)
    return filled


def rate_from_times(times: NDArray[np.float64], where: str, per_unit: float = 1.0) -> float:
    """The sampling rate in Hz that a column of times shows; a time times `per_unit` is in seconds.

    The rate is the number with the fewest digits that the first and the last time allow, given how
    finely times are written, or that of a period of one or two digits (0.9 ms: 1111.111 Hz).

    Raises
    ------
    FormatError
        If there are fewer than two times, or they are not evenly spaced.
    """
    if len(times) < 2 or not times[-1] > times[0]:
        raise FormatError(f"{where}: the times do not rise, so they show no sampling rate")
    fineness = _fineness(times)
    n, span = len(times) - 1, float(times[-1] - times[0])
    for start in range(0, len(times), _TIMES_AT_ONCE):
        some = np.asarray(times[start : start + _TIMES_AT_ONCE])
        off = np.abs(some - times[0] - np.arange(start, start + len(some)) * span / n)
        if off.max() > _ODD_STEP * span / n + fineness:
            at = float(some[int(np.argmax(off))]) * per_unit
            raise FormatError(
                f"{where}: the times are not evenly spaced (near {at:g} s); samples are missing or "
                "the rate changes, so export it again at a fixed rate"
            )
    span, fineness = span * per_unit, fineness * per_unit
    low, high = n / (span + fineness), n / max(span - fineness, span / 2)
    shortest = _shortest(low, n / span, high)
    period = _shortest(1 / high, span / n, 1 / low)
    if _n_digits(period) <= _ROUND_PERIOD < _n_digits(shortest):
        rates = (round(1 / period, digits) for digits in range(12))
        return next((rate for rate in rates if abs(rate * period - 1) < _RATE_ROUNDING), 1 / period)
    return shortest


def _shortest(low: float, middle: float, high: float) -> float:
    """The number of fewest digits from `low` to `high`."""
    for digits in range(16):
        value = round(middle, digits)
        if low <= value <= high and value > 0:
            return value
    return middle


def _n_digits(value: float) -> int:
    """Significant digits, trailing zeros not counted."""
    return len(f"{value:.12e}".split("e")[0].replace(".", "").rstrip("0"))


def _fineness(times: NDArray[np.float64]) -> float:
    some = np.concatenate([times[:500], times[-500:]])
    for digits in range(12):
        if np.all(np.abs(some * 10.0**digits - np.rint(some * 10.0**digits)) < 1e-4):
            return float(10.0**-digits)
    return 1e-12
