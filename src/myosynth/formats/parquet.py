"""Parquet tables with a column per channel; a mapping names the columns, their units and the rate.

Source
------
https://parquet.apache.org/docs/file-format/
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from myosynth.errors import ConfigError, FormatError, MissingExtraError, MyosynthError
from myosynth.formats.claims import check_claim
from myosynth.formats.lazy import LazySamples
from myosynth.formats.mapping import FileMapping
from myosynth.formats.sources import Signals
from myosynth.recordings import FloatArray

__all__ = ["all_parquet_columns", "open_parquet", "parquet_columns", "read_parquet"]

_NUMBERS = ("double", "float", "halffloat", "int8", "int16", "int32", "int64", "uint8", "uint16",
            "uint32", "uint64")  # fmt: skip


@contextmanager
def open_parquet(path: Path) -> Iterator[Any]:
    """Open a Parquet file; whatever pyarrow raises inside becomes a `FormatError`.

    Raises
    ------
    MissingExtraError
        If pyarrow is not installed.
    FormatError
        If the file is damaged.
    """
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("pyarrow", "parquet", f"reading {path}") from error
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            yield file
    except MyosynthError:
        raise
    except Exception as error:
        said = str(error) or type(error).__name__
        raise FormatError(f"{path} is not a sound Parquet file ({said}); save it again") from error


class _ParquetSamples(LazySamples):
    """Columns as channels; only the row groups that a block touches are decoded."""

    def __init__(self, path: Path, columns: Sequence[str], group_rows: Sequence[int]) -> None:
        super().__init__(len(columns), sum(group_rows))
        self._path, self._columns = path, columns
        self._starts = np.cumsum([0, *group_rows])
        self._held: tuple[int, tuple[int, ...], FloatArray] | None = None

    def block(self, rows: NDArray[np.intp], low: int, high: int) -> FloatArray:
        block = np.empty((len(rows), high - low))
        for group in range(len(self._starts) - 1):
            start, stop = self._starts[group], self._starts[group + 1]
            first, last = max(low, start), min(high, stop)
            if first < last:
                decoded = self._group(group, rows)
                block[:, first - low : last - low] = decoded[:, first - start : last - start]
        return block

    def _group(self, group: int, rows: NDArray[np.intp]) -> FloatArray:
        key = tuple(int(row) for row in rows)
        if self._held is None or self._held[:2] != (group, key):
            names = [self._columns[row] for row in key]
            with open_parquet(self._path) as file:
                table = file.read_row_group(group, columns=list(dict.fromkeys(names)))
                lines = [table[name].to_numpy().astype(np.float64) for name in names]
            self._held = (group, key, np.stack(lines))
        return self._held[2]


def read_parquet(path: Path, plan: FileMapping | None = None) -> Signals:
    """Open a Parquet table of samples; it is decoded piece by piece.

    Raises
    ------
    ConfigError
        If there is no mapping that lists its columns.
    FormatError
        If the file is damaged.
    """
    names = parquet_columns(path)
    with open_parquet(path) as file:
        metadata = file.metadata
        group_rows = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
        check_claim(path, float(sum(group_rows)), "its table")
    if plan is None or not plan.columns:
        raise ConfigError(
            f"{path} holds columns {names} and does not say which are EMG, their units and the "
            "rate; give a mapping file (--mapping) with columns: and fs:"
        )

    def pick(rows: Sequence[int]) -> LazySamples:
        return _ParquetSamples(path, [names[row] for row in rows], group_rows)

    return Signals(names=names, units=[""] * len(names), rates=[None] * len(names), pick=pick)


def all_parquet_columns(path: Path) -> list[str]:
    """Names of all columns."""
    with open_parquet(path) as file:
        return list(file.schema_arrow.names)


def parquet_columns(path: Path) -> list[str]:
    """Names of the columns that hold numbers."""
    with open_parquet(path) as file:
        return [field.name for field in file.schema_arrow if str(field.type) in _NUMBERS]
