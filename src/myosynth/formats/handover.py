"""A temporary file in which a worker process leaves large arrays, so that no pipe copies them."""

import contextlib
import errno
import os
import tempfile
import weakref
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from myosynth.errors import InputError

__all__ = ["Handover", "left_array", "left_copy"]

_ALIGNED = 64

Told = tuple[str, tuple[int, ...], int]
"""What is said of an array: its type, its shape and the byte at which it begins."""


class Handover:
    """The side that takes arrays; its file is removed with it, and arrays from it live on."""

    def __init__(self) -> None:
        handle, path = tempfile.mkstemp(prefix="myosynth-")
        os.close(handle)
        self.path = path
        self._mapped = np.empty(0, np.uint8)
        weakref.finalize(self, _remove, path, os.getpid())

    def array(self, told: Told) -> NDArray[Any]:
        """The array that `left_array` told of: its type, shape and place."""
        kind, shape, at = told
        n_bytes = _n_bytes(np.dtype(kind), shape)
        if len(self._mapped) < at + n_bytes:
            self._mapped = np.memmap(self.path, np.uint8, "r")
        return self._mapped[at : at + n_bytes].view(kind).reshape(shape)


def _remove(path: str, owner: int) -> None:
    if os.getpid() == owner:
        with contextlib.suppress(OSError):  # some systems keep files that are still mapped
            Path(path).unlink()


def left_array(
    path: str, dtype: np.dtype[Any], shape: tuple[int, ...], after: int = 0
) -> tuple[NDArray[Any], Told, int]:
    """An array in the file at `path` to be filled, what to tell of it, and the byte behind it.

    Parameters
    ----------
    path : str
        Of a `Handover` of another process.
    dtype : dtype
    shape : tuple of int
    after : int
        The byte behind the array before it.

    Raises
    ------
    InputError
        If the folder of temporary files is full.
    """
    at = -(-after // _ALIGNED) * _ALIGNED
    end = at + _n_bytes(dtype, shape)
    _grow(path, end)
    mapped = _MAPPED.get(path)
    if mapped is None or len(mapped) < end:
        _MAPPED.clear()
        mapped = _MAPPED[path] = np.memmap(path, np.uint8, "r+") if end else np.empty(0, np.uint8)
    return mapped[at:end].view(dtype).reshape(shape), (dtype.str, shape, at), end


_MAPPED: dict[str, NDArray[np.uint8]] = {}
"""The file that was used last: to map it anew costs as much as to fill it."""


def _n_bytes(dtype: np.dtype[Any], shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=np.int64)) * dtype.itemsize


def left_copy(path: str, array: NDArray[Any], after: int) -> tuple[Told, int]:
    """As `left_array`, but filled with `array`, which takes no more memory."""
    at = -(-after // _ALIGNED) * _ALIGNED
    _grow(path, at + array.nbytes)
    with Path(path).open("r+b") as file:
        file.seek(at)
        np.ascontiguousarray(array).tofile(file)
    return (array.dtype.str, array.shape, at), at + array.nbytes


def _grow(path: str, n_bytes: int) -> None:
    """Take room on the disk now: writing to a mapped file on a full disk ends the process."""
    with Path(path).open("r+b") as file:
        if os.fstat(file.fileno()).st_size >= n_bytes:
            return
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, n_bytes)
            else:
                file.truncate(n_bytes)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
                raise
            raise InputError(
                f"{Path(path).parent} has no room for {n_bytes / 2**20:.0f} MiB of temporary "
                "files; make some, or set TMPDIR to another folder"
            ) from error
