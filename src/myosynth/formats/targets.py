"""Where a set of segments is written, and the rate that a file must state."""

from pathlib import Path

from myosynth.errors import FormatError, InputError

__all__ = ["stated_fs", "target_file"]


def target_file(out: Path, suffix: str, overwrite: bool) -> Path:
    """The file to write: `out` where it ends in `suffix`, else ``synthetic<suffix>`` inside it.

    Raises
    ------
    InputError
        If it exists and `overwrite` is false, or is a folder.
    """
    path = Path(out)
    if path.suffix.lower() != suffix:
        if path.is_file():
            raise InputError(f"{path} is a file; name a folder, or a file that ends in {suffix}")
        path /= f"synthetic{suffix}"
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a file that ends in {suffix}")
    if path.exists() and not overwrite:
        raise InputError(f"{path} already exists; name another file or pass --overwrite")
    return path


def stated_fs(path: Path, stored: float | None, given: float | None) -> float:
    """The rate in Hz that a file states or its reader gives.

    Raises
    ------
    FormatError
        If there is none, or the two differ.
    """
    if stored is None and given is None:
        raise FormatError(f"{path} states no sampling rate (fs in Hz); add it, or pass fs")
    if stored is not None and given is not None and stored != given:
        raise FormatError(f"{path} says {stored:g} Hz, but fs={given:g} Hz was asked for")
    return stored if stored is not None else float(given or 0)
