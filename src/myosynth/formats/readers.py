"""Reading recordings from a file, a folder or a BIDS dataset, whichever it is."""

from collections.abc import Iterator
from pathlib import Path

from myosynth.errors import FormatError, InputError
from myosynth.formats.bids import bids_root, is_bids, read_bids_file, recording_files
from myosynth.formats.c3d import read_c3d
from myosynth.formats.delimited import read_delimited
from myosynth.formats.delsys import read_delsys
from myosynth.formats.edf import edf_signals
from myosynth.formats.hdf5 import read_hdf5, read_matlab73
from myosynth.formats.kinds import SUFFIXES, kind_of
from myosynth.formats.mapping import FileMapping, load_mapping
from myosynth.formats.matlab import read_matlab
from myosynth.formats.names import natural_key
from myosynth.formats.numpy_files import read_npy, read_npz
from myosynth.formats.opensignals_text import read_opensignals_text
from myosynth.formats.parquet import read_parquet
from myosynth.formats.sources import Reader, as_recording
from myosynth.formats.timed import read_timed
from myosynth.formats.wfdb_files import read_wfdb
from myosynth.formats.xdf import read_xdf
from myosynth.recordings import Recording

__all__ = ["READERS", "files_below", "iterate_recordings", "read_file", "read_recordings"]

READERS: dict[str, Reader] = {
    "edf": edf_signals,
    "bdf": edf_signals,
    "c3d": read_c3d,
    "hdf5": read_hdf5,
    "matlab": read_matlab,
    "matlab73": read_matlab73,
    "npy": read_npy,
    "npz": read_npz,
    "parquet": read_parquet,
    "wfdb": read_wfdb,
    "xdf": read_xdf,
    "delsys": read_delsys,
    "opensignals": read_opensignals_text,
    "timed": read_timed,
    "text": read_delimited,
}
"""By kind (`kinds.kind_of` tells it): the function from a path and a mapping to `Signals`."""


def read_recordings(
    path: str | Path,
    *,
    mapping: str | Path | FileMapping | None = None,
    fs: float | None = None,
) -> Iterator[Recording]:
    """Read recordings one at a time from a file, a folder of files or an EMG-BIDS dataset.

    Parameters
    ----------
    path : path
        What a file is, is told by its first bytes, then by its suffix (`READERS`).
    mapping : str or path, optional
        Mapping file, or the name of a shipped one, for what the files do not say.
    fs : float, optional
        Sampling rate in Hz where neither the file nor the mapping gives one.

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
    mapping: str | Path | FileMapping | None = None,
    fs: float | None = None,
) -> Iterator[tuple[Path, Recording]]:
    """As `read_recordings`, with the file that each one came from."""
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist; check the path")
    plan = load_mapping(mapping) if mapping is not None else None
    if path.is_file():
        return iter([(path, read_file(path, plan, fs=fs))])
    if plan is None and is_bids(path):
        return ((each, read_bids_file(each, path)) for each in recording_files(path))
    files = files_below(path, plan)
    return ((each, read_file(each, plan, fs=fs)) for each in files)


def read_file(path: Path, plan: FileMapping | None = None, *, fs: float | None = None) -> Recording:
    """Read one file of any kind; an EDF or BDF file of a BIDS dataset with its sidecars.

    Raises
    ------
    FormatError
        If its kind is not known, it is damaged, or it does not say what is needed.
    """
    kind = kind_of(path, plan)
    if kind not in READERS:
        raise FormatError(f"{path} is of a kind that is not known; {_known()}")
    root = bids_root(path) if plan is None else None
    if root and kind in ("edf", "bdf"):
        return read_bids_file(path, root)
    return as_recording(path, READERS[kind](path, plan), plan, fs=fs)


def files_below(folder: Path, plan: FileMapping | None) -> list[Path]:
    """The files below `folder` to read, in natural order.

    Those that the mapping's ``files`` pattern names, else those of a known suffix. Plain text is
    among them where a mapping says how to read it, or where it is a device's export. Hidden files
    (``._x.edf`` of a Mac) are not.

    Raises
    ------
    FormatError
        If there is none.
    """
    pattern = plan.files if plan else ""
    paths = [
        p for p in folder.glob(pattern or "**/*") if p.is_file() and not p.name.startswith(".")
    ]
    if pattern and not paths:
        raise FormatError(f"{folder} holds no file that fits files: {pattern!r} of the mapping")
    texts = False
    if not pattern:
        known = [path for path in paths if path.suffix.lower() in SUFFIXES]
        tables = bool(plan and plan.delimiter)
        paths = [path for path in known if tables or kind_of(path, plan) != "text"]
        texts = len(paths) < len(known)
    if not paths:
        advice = "give a mapping file for delimited text (--mapping)" if texts else _known()
        raise FormatError(f"{folder} holds nothing that can be read; {advice}")
    return sorted(paths, key=natural_key)


def _known() -> str:
    return f"EMG-BIDS and {', '.join(READERS)} are"
