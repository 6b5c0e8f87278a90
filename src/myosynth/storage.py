"""Writing without half-written results: every file and folder appears whole or not at all."""

import json
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from myosynth.errors import FormatError, InputError

__all__ = ["atomic_directory", "atomic_file", "read_json", "write_json"]


def _partial(path: Path) -> Path:
    return path.with_name(f"{path.name}.partial-{uuid.uuid4().hex[:8]}")


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary sibling of `path`; rename it to `path` when the block ends well.

    Parameters
    ----------
    path : path
        The file to write. Missing parent folders are made. An existing file is replaced.

    Yields
    ------
    Path
        Where to write. It is removed again when the block raises.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(path)
    try:
        yield partial
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextmanager
def atomic_directory(path: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary sibling folder of `path`; rename it to `path` when the block ends well.

    Parameters
    ----------
    path : path
        The folder to write.
    overwrite : bool
        Replace an existing folder (only once the new one is complete).

    Raises
    ------
    InputError
        If `path` is a file, or a folder that is not empty and `overwrite` is false.
    """
    path = Path(path)
    if path.is_file():
        raise InputError(f"{path} is a file; name a folder to write to")
    if path.is_dir() and any(path.iterdir()) and not overwrite:
        raise InputError(
            f"{path} already exists and is not empty; name another folder or pass --overwrite"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(path)
    partial.mkdir()
    try:
        yield partial
        if path.exists():
            old = _partial(path)
            path.replace(old)
            partial.replace(path)
            shutil.rmtree(old)
        else:
            partial.replace(path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def write_json(path: str | Path, content: Any) -> None:
    """Write `content` as indented JSON, atomically. NaN and infinities are refused."""
    with atomic_file(path) as partial:
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
        partial.write_text(text + "\n", encoding="utf-8")


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises
    ------
    FormatError
        If the file is missing or is not JSON.
    """
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise FormatError(f"{path} does not exist") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise FormatError(f"{path} is not valid JSON ({error}); restore or remake it") from error
