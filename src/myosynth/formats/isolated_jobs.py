"""What the worker process of `isolation` does: h5py and scipy's MATLAB reader are called here."""

import contextlib
import importlib
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from myosynth.errors import FormatError, MissingExtraError, MyosynthError
from myosynth.formats.claims import check_claim
from myosynth.formats.handover import left_array, left_copy
from myosynth.formats.isolation import receive, send
from myosynth.formats.opensignals import is_opensignals, opensignals_channels

__all__ = ["JOBS"]

_NO_NUMBERS = (b"char", b"cell", b"struct", b"function_handle")
_MOST_OBJECTS = 100_000
_DEEPEST = 8
_LARGE_BYTES = 1 << 20  # what is larger goes through a file
_SMALL_CHUNK_BYTES = 1 << 14
_MOST_BYTES = 3 << 28  # of memory beside the libraries, and so many times what is to be read:
_MOST_TIMES = 64


@contextlib.contextmanager
def _hdf5(path: Path) -> Iterator[Any]:
    try:
        import h5py
    except ImportError as error:
        raise MissingExtraError("h5py", "hdf5", f"reading {path}") from error
    with h5py.File(path, "r", locking=False) as file:
        yield file


def hdf5_inventory(path: Path) -> dict[str, Any]:
    """Shapes and types of the arrays of numbers and of their chunks, all names at the top, and
    OpenSignals' channels if any."""
    import h5py

    shapes: dict[str, list[int]] = {}
    chunks: dict[str, list[int]] = {}
    types: dict[str, str] = {}
    seen = 0

    def visit(name: str, item: Any) -> bool | None:
        nonlocal seen
        seen += 1
        if seen > _MOST_OBJECTS:
            return True
        if not isinstance(item, h5py.Dataset) or name.startswith("#") or item.shape is None:
            return None
        if item.dtype.kind in "fiu" and item.attrs.get("MATLAB_class") not in _NO_NUMBERS:
            _check(path, name, item)
            shapes[name] = [int(n) for n in item.shape]
            types[name] = item.dtype.str
            chunks[name] = [int(n) for n in item.chunks or (1,) * item.ndim]
        return None

    with _hdf5(path) as file:
        file.visititems(visit)
        channels = opensignals_channels(path, file) if is_opensignals(file) else []
        return {
            "shapes": shapes,
            "chunks": chunks,
            "types": types,
            "names": list(file),
            "channels": [vars(channel) for channel in channels],
        }


def _check(path: Path, name: str, item: Any) -> None:
    n_bytes = float(np.prod([float(n) for n in item.shape])) * item.dtype.itemsize
    check_claim(path, n_bytes, name)


def hdf5_block(
    path: Path, parts: Sequence[Sequence[Any]], low: int, high: int, into: str
) -> list[Any]:
    """Leave times `low` to `high` of parts of arrays in the file `into`, in the types they have.

    A part is an array's name, its first and last channel and whether times come first, or a
    vector's name, None, None and True.
    """
    left: list[Any] = []
    after = 0
    with _hdf5(path) as file:
        for name, first, last, times_first in parts:
            array, times = file[name], slice(low, high)
            if first is None:
                along = int(np.argmax(array.shape))
                place = tuple(times if i == along else slice(None) for i in range(array.ndim))
            else:
                channels = slice(first, last + 1)
                place = (times, channels) if times_first else (channels, times)
            lengths = [range(*s.indices(n)) for s, n in zip(place, array.shape, strict=True)]
            shape = tuple(len(each) for each in lengths)
            values, told, after = left_array(into, array.dtype, shape, after)
            if values.size:
                array.read_direct(values, place)
            left.append(told)
    return left


def hdf5_places(path: Path, names: Sequence[str]) -> dict[str, Any]:
    """Where the chunks of arrays begin in the file, of those that no filter has packed."""
    places: dict[str, Any] = {}
    with _hdf5(path) as file, path.open("rb") as octets:
        for name in names if file.userblock_size == 0 else ():
            array = file[name]
            offsets = _chunk_offsets(array)
            if offsets is None:
                continue
            chunk = array.chunks or array.shape
            for where in ((0,) * array.ndim, tuple(n - 1 for n in offsets.shape)):
                first = tuple(i * n for i, n in zip(where, chunk, strict=True))
                stop = min(first[-1] + min(chunk[-1], 16), array.shape[-1])
                values = array[(*first[:-1], slice(first[-1], stop))]
                octets.seek(offsets[where])
                if octets.read(values.nbytes) != values.tobytes():
                    break  # the library reads it otherwise than it looks
            else:
                places[name] = {"dtype": array.dtype.str, "chunk": chunk, "offsets": offsets}
    return places


def _chunk_offsets(array: Any) -> NDArray[np.int64] | None:
    """The first byte of each chunk, of an array that is not chunked the only one, or None."""
    from h5py import h5d

    creation, kind = array.id.get_create_plist(), array.id.get_type()
    if creation.get_nfilters() or array.is_virtual or array.external or 0 in array.shape:
        return None
    if 8 * kind.get_size() != kind.get_precision():
        return None
    if creation.get_layout() == h5d.CONTIGUOUS:
        offset = array.id.get_offset()
        return None if offset is None else np.full((1,) * array.ndim, offset, dtype=np.int64)
    if creation.get_layout() != h5d.CHUNKED:
        return None
    grid = [-(-n // step) for n, step in zip(array.shape, array.chunks, strict=True)]
    small = np.prod(array.chunks) * array.dtype.itemsize < _SMALL_CHUNK_BYTES
    if small or array.id.get_num_chunks() != np.prod(grid):
        return None
    offsets = np.full(grid, -1, dtype=np.int64)

    def note(chunk: Any) -> None:
        where = tuple(i // n for i, n in zip(chunk.chunk_offset, array.chunks, strict=True))
        offsets[where] = chunk.byte_offset if chunk.filter_mask == 0 else -1

    array.id.chunk_iter(note)
    return offsets


def hdf5_number(path: Path, name: str) -> float:
    """The value of an array that holds one number."""
    with _hdf5(path) as file:
        return float(np.ravel(file[name][()])[0])


def hdf5_content(path: Path, texts: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Every array at the top of a file, those in `texts` as text."""
    content: dict[str, NDArray[Any]] = {}
    with _hdf5(path) as file:
        for name, item in file.items():
            if not hasattr(item, "dtype"):
                continue
            _check(path, name, item)
            is_text = name in texts or item.dtype.kind == "O"
            values = np.asarray(item.asstr()[()] if is_text else item[()])
            content[name] = values.astype(str) if is_text else values
    return content


def matlab_inventory(path: Path) -> dict[str, Any]:
    """By variable: its shape and MATLAB class."""
    from scipy.io import whosmat

    held: dict[str, Any] = {}
    for name, shape, kind in whosmat(str(path)):
        held[name] = [[int(n) for n in shape], str(kind)]
        n_bytes = float(np.prod([float(n) for n in shape])) * (1 if kind == "struct" else 8)
        check_claim(path, n_bytes, name)
    return held


def matlab_content(path: Path, names: Sequence[str], into: str) -> list[dict[str, Any]]:
    """Variables, fields of structs as ``data/emg``, cells of texts as texts: the small ones, and
    where in the file `into` the large ones are and whether they lie there turned."""
    from scipy.io import loadmat

    loaded = loadmat(str(path), variable_names=list(names), struct_as_record=True)
    if missing := sorted(set(names) - set(loaded)):
        raise FormatError(f"{path} is damaged: variable {missing[0]!r} cannot be read")
    small, large, after = {}, {}, 0
    for name, array in _flattened({name: loaded[name] for name in names}):
        if array.nbytes < _LARGE_BYTES or array.dtype.kind not in "fiu":
            small[name] = array
            continue
        is_turned = not array.flags.c_contiguous
        told, after = left_copy(into, array.T if is_turned else array, after)
        large[name] = [told, is_turned]
    return [small, large]


def _flattened(
    values: Mapping[str, Any], prefix: str = "", depth: int = 0
) -> Iterator[tuple[str, NDArray[Any]]]:
    for name, value in values.items():
        array = np.asarray(value)
        if array.dtype.names:
            if array.size == 1 and depth < _DEEPEST:
                inner = {field: array[field].flat[0] for field in array.dtype.names}
                yield from _flattened(inner, f"{prefix}{name}/", depth + 1)
        elif array.dtype.kind in "fiu":
            yield f"{prefix}{name}", array
        elif array.dtype.kind in "OU":
            texts = [_cell(each) for each in array.ravel()]
            yield f"{prefix}{name}", np.array(texts, dtype=str)


def _cell(value: Any) -> str:
    if isinstance(value, np.ndarray):  # an empty text is an empty array
        return str(value.flat[0]) if value.size else ""
    return str(value)


JOBS: dict[str, Callable[..., Any]] = {
    "hdf5_inventory": hdf5_inventory,
    "hdf5_block": hdf5_block,
    "hdf5_places": hdf5_places,
    "hdf5_number": hdf5_number,
    "hdf5_content": hdf5_content,
    "matlab_inventory": matlab_inventory,
    "matlab_content": matlab_content,
}


def _answer(request: Mapping[str, Any]) -> dict[str, Any]:
    path = Path(request["path"])
    try:
        return {"value": JOBS[request["job"]](path, **request["arguments"])}
    except MyosynthError as error:
        return {"error": type(error).__name__, "message": str(error)}
    except Exception as error:
        # these libraries let errors of every kind through for damaged files
        kind = "MATLAB" if request["job"].startswith("matlab") else "HDF5"
        said = str(error) or type(error).__name__
        message = f"{path} is not a sound {kind} file ({said}); save it again"
        return {"error": "FormatError", "message": message}


def _limit_memory(n_bytes: float) -> None:
    try:
        import resource
    except ImportError:  # not on this system
        return
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    limit = _MOST_BYTES + int(_MOST_TIMES * n_bytes)
    if most != resource.RLIM_INFINITY:
        limit = min(limit, most)
    with contextlib.suppress(ValueError, OSError):  # not every system lets it be set
        resource.setrlimit(resource.RLIMIT_DATA, (limit, most))


def _work() -> None:
    # what a library prints must not be taken for an answer
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    requests = sys.stdin.buffer
    has_clock = hasattr(signal, "ITIMER_PROF")
    into = ""
    while True:
        try:
            request = receive(requests)
        except EOFError:  # the other process ended, perhaps by force
            if into:
                Path(into).unlink(missing_ok=True)
            return
        into = request["arguments"].get("into", into)
        library = "scipy.io" if request["job"].startswith("matlab") else "h5py"
        with contextlib.suppress(ImportError):
            importlib.import_module(library)  # before the clock starts
        _limit_memory(request["n_bytes"])
        if has_clock:  # its signal ends the process, inside compiled code too
            signal.setitimer(signal.ITIMER_PROF, request["seconds"])
        answer = _answer(request)
        if has_clock:
            signal.setitimer(signal.ITIMER_PROF, 0)
        send(answers, answer)


if __name__ == "__main__":
    _work()
