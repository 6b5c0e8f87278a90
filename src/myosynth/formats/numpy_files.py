"""npy and npz files of samples; a mapping says how they lie and what they are."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from myosynth.errors import FormatError
from myosynth.formats.arrays import ArrayFile, array_signals, stack_parts
from myosynth.formats.claims import check_claim
from myosynth.formats.mapping import FileMapping
from myosynth.formats.sources import Signals

__all__ = ["check_npz", "npy_arrays", "npz_arrays", "npz_names", "read_npy", "read_npz"]


def read_npy(path: Path, plan: FileMapping | None = None) -> Signals:
    """Open an npy file; its samples stay on disk. The array is called ``samples``.

    Raises
    ------
    FormatError
        If it is damaged, or holds anything but numbers.
    """
    if plan is not None and not plan.samples:
        plan = plan.model_copy(update={"samples": "samples"})
    return array_signals(npy_arrays(path), plan)


def npy_arrays(path: Path) -> ArrayFile:
    """What an npy file holds, under the name ``samples``."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:
        raise FormatError(f"{path} is not a sound npy file ({error})") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise FormatError(f"{path} holds {getattr(array, 'dtype', 'no array')}, not numbers")

    return ArrayFile(
        path, {"samples": array.shape}, lambda parts: stack_parts(parts, lambda _: array), float
    )


def read_npz(path: Path, plan: FileMapping | None = None) -> Signals:
    """Open an npz file; an array is read when its channels are picked.

    Raises
    ------
    FormatError
        If it is damaged.
    """
    return array_signals(npz_arrays(path), plan)


def npz_arrays(path: Path) -> ArrayFile:
    """What an npz file holds."""
    shapes = check_npz(path)

    def array(name: str) -> NDArray[Any]:
        try:
            with np.load(path, allow_pickle=False) as stored:
                return np.asarray(stored[name])
        except Exception as error:
            raise FormatError(f"{path} is not a sound npz file ({error})") from error

    return ArrayFile(
        path,
        shapes,
        lambda parts: stack_parts(parts, array),
        lambda name: float(np.ravel(array(name))[0]),
    )


def check_npz(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of the arrays of numbers in an npz file, none of which claims too much.

    Raises
    ------
    FormatError
        If the file is damaged, or an array claims more than its part of the file can hold.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                check_claim(path, float(info.file_size), info.filename)
                with archive.open(info) as member:
                    version = np.lib.format.read_magic(member)
                    read = (
                        np.lib.format.read_array_header_1_0
                        if version == (1, 0)
                        else np.lib.format.read_array_header_2_0
                    )
                    shape, _, dtype = read(member)
                claimed = float(np.prod([float(n) for n in shape])) * dtype.itemsize
                check_claim(path, claimed, info.filename)
                if dtype.kind in "fiu":
                    shapes[info.filename.removesuffix(".npy")] = tuple(shape)
    except FormatError:
        raise
    except Exception as error:
        raise FormatError(f"{path} is not a sound npz file without pickles ({error})") from error
    return shapes


def npz_names(path: Path) -> list[str]:
    """Names of all arrays in an npz file, numbers or not.

    Raises
    ------
    FormatError
        If it is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except Exception as error:
        raise FormatError(f"{path} is not a sound npz file without pickles ({error})") from error
