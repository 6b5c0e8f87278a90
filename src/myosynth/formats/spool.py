"""Numbers from text that outgrow memory: they go on in a temporary file without a name."""

import tempfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Spool"]

_IN_MEMORY_BYTES = 64 << 20


class Spool:
    """Rows of numbers, appended piece by piece.

    Parameters
    ----------
    n_columns : int
    """

    def __init__(self, n_columns: int) -> None:
        self._n_columns = n_columns
        self._parts: list[NDArray[np.float64]] = []
        self._n_bytes = 0
        self._file: Any = None

    def append(self, rows: NDArray[np.float64]) -> None:
        """Add rows, (n, n_columns)."""
        self._parts.append(rows)
        self._n_bytes += rows.nbytes
        if self._file is None and self._n_bytes > _IN_MEMORY_BYTES:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as its array
        if self._file is not None:
            for part in self._parts:
                np.ascontiguousarray(part).tofile(self._file)
            self._parts = []

    def array(self) -> NDArray[np.float64]:
        """All rows, (n_rows, n_columns): in memory, or mapped to the file. Ends the spool."""
        if self._file is None:
            return np.concatenate([np.empty((0, self._n_columns)), *self._parts])
        self._file.flush()
        n_rows = self._n_bytes // (8 * self._n_columns)
        array = np.memmap(self._file, np.float64, "r", shape=(n_rows, self._n_columns))
        self._file.close()  # the mapping holds the file
        return array
