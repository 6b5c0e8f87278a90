"""What kind of file a path is: told by its first bytes, then by its suffix."""

from pathlib import Path

from myosynth.errors import FormatError
from myosynth.formats.delsys import is_delsys
from myosynth.formats.mapping import FileMapping
from myosynth.formats.opensignals_text import is_opensignals_text
from myosynth.formats.timed import is_timed

__all__ = ["SUFFIXES", "kind_of"]

SUFFIXES = {
    ".edf": "edf",
    ".bdf": "bdf",
    ".c3d": "c3d",
    ".h5": "hdf5",
    ".hdf5": "hdf5",
    ".mat": "matlab",
    ".npy": "npy",
    ".npz": "npz",
    ".parquet": "parquet",
    ".hea": "wfdb",
    ".xdf": "xdf",
    ".csv": "text",
    ".tsv": "text",
    ".txt": "text",
    ".asc": "text",
    ".log": "text",
}
"""The kind that a suffix stands for where the first bytes do not tell."""

_MAGIC = {
    b"0       ": "edf",
    b"\xffBIOSEMI": "bdf",
    b"MATLAB 5.0 MAT-file": "matlab",
    b"MATLAB 7.3 MAT-file": "matlab73",
    b"\x89HDF\r\n\x1a\n": "hdf5",
    b"\x93NUMPY": "npy",
    b"PK\x03\x04": "npz",
    b"PAR1": "parquet",
    b"XDF:": "xdf",
}
_LOOK = 8192


def kind_of(path: Path, plan: FileMapping | None = None) -> str:
    """The kind of a file, a key of `READERS`; empty where it is not known.

    A mapping that gives a delimiter makes every text file a plain table.

    Raises
    ------
    FormatError
        If the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            start = file.read(_LOOK)
    except OSError as error:
        raise FormatError(f"{path} cannot be read ({error.strerror})") from error
    for magic, kind in _MAGIC.items():
        if start.startswith(magic):
            return kind
    kind = SUFFIXES.get(path.suffix.lower(), "")
    if plan is not None and plan.delimiter and kind in ("", "text"):
        return "text"
    return _text_kind(start) if kind == "text" else kind


def _text_kind(start: bytes) -> str:
    encoding = "utf-16" if start.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    text = start.decode(encoding, "replace")
    if is_delsys(text):
        return "delsys"
    if is_opensignals_text(text):
        return "opensignals"
    return "timed" if is_timed(text) else "text"
