"""MATLAB files: version 5 through scipy, version 7.3 (which is HDF5) through `hdf5`.

Source
------
MAT-File Format, The MathWorks, https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from myosynth.errors import FormatError, MyosynthError
from myosynth.formats.arrays import ArrayFile, Part, array_signals, check_claim, stack_parts
from myosynth.formats.mapping import FileMapping
from myosynth.formats.sources import Signals
from myosynth.recordings import FloatArray

__all__ = ["load_variables", "matlab_arrays", "read_matlab"]

_DEEPEST = 8


def read_matlab(path: Path, plan: FileMapping | None = None) -> Signals:
    """Open a MATLAB file of version 5 (or 4); the mapping names its variables.

    Fields of structs are named ``data.emg``. A variable is read when its channels are picked.

    Raises
    ------
    FormatError
        If the file is damaged or lacks what the mapping names.
    """
    return array_signals(matlab_arrays(path), plan)


def matlab_arrays(path: Path) -> ArrayFile:
    """What a MATLAB file of version 5 (or 4) holds."""
    held = _inventory(path)
    structs = {name for name, (_, kind) in held.items() if kind == "struct"}
    fields = dict(_flattened(load_variables(path, structs))) if structs else {}
    shapes = {name: shape for name, (shape, kind) in held.items() if _is_number_class(kind)}
    shapes |= {name: array.shape for name, array in fields.items()}

    def array(name: str) -> NDArray[Any]:
        return fields[name] if name in fields else np.asarray(load_variables(path, {name})[name])

    def read(parts: Sequence[Part]) -> FloatArray:
        return stack_parts(parts, array)

    return ArrayFile(path, shapes, read, lambda name: float(np.ravel(array(name))[0]))


def _is_number_class(kind: str) -> bool:
    return kind in ("double", "single") or kind.lstrip("u").startswith("int")


def _inventory(path: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    from scipy.io import whosmat

    try:
        held: dict[str, tuple[tuple[int, ...], str]] = {
            name: (tuple(shape), str(kind)) for name, shape, kind in whosmat(str(path))
        }
    except Exception as error:
        raise _damaged(path, error) from error
    for name, (shape, kind) in held.items():
        each = 1 if kind == "struct" else 8
        check_claim(path, float(np.prod([float(n) for n in shape])) * each, name)
    return held


def load_variables(path: Path, names: set[str] | None = None) -> dict[str, Any]:
    """The named variables of a MATLAB file (all by default) as numpy arrays.

    Raises
    ------
    FormatError
        If the file is damaged.
    """
    from scipy.io import loadmat

    wanted = set(_inventory(path)) if names is None else names
    try:
        loaded = loadmat(str(path), variable_names=sorted(wanted), struct_as_record=True)
    except Exception as error:
        raise _damaged(path, error) from error
    if missing := sorted(wanted - set(loaded)):
        raise FormatError(f"{path} is damaged: variable {missing[0]!r} cannot be read")
    return {name: loaded[name] for name in wanted}


def _damaged(path: Path, error: Exception) -> MyosynthError:
    # scipy lets errors of many kinds through for damaged files
    said = str(error) or type(error).__name__
    return FormatError(f"{path} is not a sound MATLAB file ({said}); save it again")


def _flattened(
    values: dict[str, Any], prefix: str = "", depth: int = 0
) -> Iterator[tuple[str, NDArray[Any]]]:
    for name, value in values.items():
        array = np.asarray(value)
        if array.dtype.names and array.size == 1 and depth < _DEEPEST:
            inner = {field: array[field].flat[0] for field in array.dtype.names}
            yield from _flattened(inner, f"{prefix}{name}/", depth + 1)
        elif array.dtype.kind in "fiu" and not array.dtype.names:
            yield f"{prefix}{name}", array
