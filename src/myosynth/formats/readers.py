"""Reading recordings from a file, a folder or a BIDS dataset, whichever it is."""

from collections.abc import Callable, Iterator
from pathlib import Path

from myosynth.errors import FormatError, InputError
from myosynth.formats.bids import bids_root, is_bids, read_bids_file, recording_files
from myosynth.formats.delimited import delimited_files, read_delimited
from myosynth.formats.edf import read_edf
from myosynth.formats.mapping import TextMapping, load_mapping
from myosynth.formats.names import natural_key
from myosynth.recordings import Recording

__all__ = ["READERS", "Reader", "iterate_recordings", "read_recordings"]

Reader = Callable[[Path], Recording]

READERS: dict[str, Reader] = {".edf": read_edf, ".bdf": read_edf}
"""By suffix: the function that reads a file which says all that is needed about itself."""

_MAGIC = {b"0       ": ".edf", b"\xffBIOSEMI": ".bdf"}
_TEXT = (".txt", ".csv", ".tsv", ".asc", ".log")


def read_recordings(
    path: str | Path,
    *,
    mapping: str | Path | TextMapping | None = None,
    fs: float | None = None,
) -> Iterator[Recording]:
    """Read recordings one at a time from a file, a folder of files or an EMG-BIDS dataset.

    Parameters
    ----------
    path : path
        What a file is, is told by its first bytes, then by its suffix (`READERS`).
    mapping : str or path, optional
        Mapping file, or the name of a shipped one; makes it delimited text.
    fs : float, optional
        Sampling rate in Hz where the mapping gives none.

    Raises
    ------
    InputError
        If `path` does not exist.
    FormatError
        If there is nothing to read in it, or a file is damaged.
    """
    return (recording for _, recording in iterate_recordings(path, mapping=mapping, fs=fs))


def iterate_recordings(
    path: str | Path,
    *,
    mapping: str | Path | TextMapping | None = None,
    fs: float | None = None,
) -> Iterator[tuple[Path, Recording]]:
    """As `read_recordings`, with the file that each one came from."""
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist; check the path")
    if mapping is not None:
        plan = load_mapping(mapping)
        files = [path] if path.is_file() else delimited_files(path, plan)
        return ((each, read_delimited(each, plan, fs=fs)) for each in files)
    if path.is_file():
        return iter([(path, _read_file(path))])
    if is_bids(path):
        return ((each, read_bids_file(each, path)) for each in recording_files(path))
    files = [each for each in path.rglob("*") if each.suffix.lower() in READERS and each.is_file()]
    if not files:
        raise FormatError(f"{path} holds nothing that can be read; {_advice(path)}")
    return ((each, _read_file(each)) for each in sorted(files, key=natural_key))


def _read_file(path: Path) -> Recording:
    with path.open("rb") as file:
        start = file.read(8)
    kind = _MAGIC.get(start, path.suffix.lower())
    if kind not in READERS:
        said = f"{path} is of a kind that is not known"
        if kind in _TEXT:
            said = f"{path} is text, which does not say its columns, units and rate"
        raise FormatError(f"{said}; {_advice(path)}")
    root = bids_root(path)
    return read_bids_file(path, root) if root else READERS[kind](path)


def _advice(path: Path) -> str:
    texts = path.suffix.lower() in _TEXT or any(
        each.suffix.lower() in _TEXT for each in path.rglob("*")
    )
    if texts:
        return "give a mapping file for delimited text (--mapping)"
    return f"EMG-BIDS, {', '.join(READERS)} and mapped text are"
