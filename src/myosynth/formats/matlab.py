"""MATLAB files of version 5 through scipy; those of version 7.3 are HDF5 and are read by `hdf5`.

Source
------
MAT-File Format, The MathWorks, https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from myosynth.formats.arrays import ArrayFile, Part, array_signals, stack_parts
from myosynth.formats.handover import Handover
from myosynth.formats.isolation import isolated
from myosynth.formats.mapping import FileMapping
from myosynth.formats.sources import Signals
from myosynth.recordings import SignalArray

__all__ = ["load_variables", "matlab_arrays", "read_matlab"]


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
    held = isolated("matlab_inventory", path)
    structs = [name for name, (_, kind) in held.items() if kind == "struct"]
    fields = load_variables(path, structs) if structs else {}
    shapes = {name: tuple(shape) for name, (shape, kind) in held.items() if _is_number_class(kind)}
    shapes |= {name: array.shape for name, array in fields.items() if array.dtype.kind in "fiu"}

    def array(name: str) -> NDArray[Any]:
        return fields[name] if name in fields else load_variables(path, [name])[name]

    def read(parts: Sequence[Part]) -> SignalArray:
        return stack_parts(parts, array)

    return ArrayFile(path, shapes, read, lambda name: float(np.ravel(array(name))[0]))


def _is_number_class(kind: str) -> bool:
    return kind in ("double", "single") or kind.lstrip("u").startswith("int")


def load_variables(path: Path, names: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
    """The named variables of a MATLAB file (all by default): arrays of numbers or texts.

    Large ones are mapped to a temporary file.

    Raises
    ------
    FormatError
        If the file is damaged.
    """
    wanted = list(isolated("matlab_inventory", path)) if names is None else list(names)
    handover = Handover()
    small, large = isolated(
        "matlab_content",
        path,
        n_bytes=float(path.stat().st_size),
        names=wanted,
        into=handover.path,
    )
    loaded: dict[str, NDArray[Any]] = small
    for name, (told, is_turned) in large.items():
        array = handover.array(told)
        loaded[name] = array.T if is_turned else array
    return loaded
