"""What was run, on what and with what: written into every output."""

import hashlib
import os
import platform
import shlex
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from myosynth.errors import FormatError
from myosynth.storage import read_json, write_json

__all__ = [
    "CARD_FILES",
    "PROVENANCE",
    "Provenance",
    "content_hash",
    "hide_from_validators",
    "mapping_input",
    "provenance_file",
    "read_provenance",
]

PROVENANCE = "provenance.json"
CARD_FILES = ("README.md", "croissant.json")
_SCHEMA = "myosynth-provenance/1"
_BLOCK_BYTES = 1 << 20
_LIBRARIES = (
    "numpy", "scipy", "torch", "diffusers", "safetensors", "zarr", "edfio", "scikit-learn",
    "pydantic", "matplotlib",
)  # fmt: skip


def content_hash(path: str | Path) -> str:
    """SHA-256 of a file's bytes, or of the names, sizes and bytes of all files below a folder.

    Provenance files do not count, so that the same data made twice have the same hash, nor does a
    card at the top of a folder, which describes what is there. Memory stays at one block whatever
    the size.
    """
    path = Path(path)
    total = hashlib.sha256()
    if path.is_file():
        _feed(total, path)
        return total.hexdigest()
    files = [each for each in path.rglob("*") if each.is_file()]
    for each in sorted(files, key=lambda file: file.relative_to(path).as_posix()):
        if each.name == PROVENANCE or each.name.endswith(f".{PROVENANCE}"):
            continue
        if each.parent == path and each.name in CARD_FILES:
            continue
        name = each.relative_to(path).as_posix()
        total.update(f"{name}\0{each.stat().st_size}\0".encode())
        _feed(total, each)
    return total.hexdigest()


def _feed(total: Any, path: Path) -> None:
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            total.update(block)


def mapping_input(mapping: str | None) -> dict[str, Path]:
    """A mapping file as an input; none where there is no mapping, or a shipped one."""
    from myosynth.formats import shipped_mappings

    return {"mapping": Path(mapping)} if mapping and mapping not in shipped_mappings() else {}


class Provenance:
    """The record of one run; made before it begins, so that inputs are hashed as they were read.

    Parameters
    ----------
    command : str
        What ran, such as ``prepare``.
    config : mapping
        Section → every option's value: a configuration file that does the run again.
    inputs : mapping of str to path
        Role → what was read.
    seed : int, optional
        The seed.
    """

    def __init__(
        self,
        command: str,
        config: Mapping[str, Mapping[str, Any]],
        *,
        inputs: Mapping[str, str | Path] | None = None,
        seed: int | None = None,
    ) -> None:
        self._start = time.monotonic()
        self.content: dict[str, Any] = {
            "schema": _SCHEMA,
            "myosynth": _version("myosynth"),
            "command": command,
            "seed": seed,
            "config": {name: _plain(values) for name, values in config.items()},
            "inputs": [
                {"role": role, "path": str(path), "sha256": content_hash(path)}
                for role, path in (inputs or {}).items()
                if Path(path).exists()
            ],
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": {
                "system": platform.system(),
                "release": platform.release(),
                "architecture": platform.machine(),
                "n_cores": os.cpu_count(),
                "python": platform.python_version(),
            },
            "libraries": {name: _version(name) for name in _LIBRARIES},
        }
        if Path(sys.argv[0]).name == "myosynth":
            self.content["command_line"] = shlex.join(["myosynth", *sys.argv[1:]])

    def finished(self) -> dict[str, Any]:
        """The record, with the seconds that the run took."""
        return {**self.content, "seconds": round(time.monotonic() - self._start, 2)}

    def write(self, out: str | Path) -> Path:
        """Write the record into the folder `out`, or beside the file `out`."""
        path = provenance_file(out)
        write_json(path, self.finished())
        return path


def provenance_file(out: str | Path) -> Path:
    """Where the record of an output lies: inside a folder, beside a file."""
    out = Path(out)
    return out / PROVENANCE if out.is_dir() else out.with_name(f"{out.name}.{PROVENANCE}")


def hide_from_validators(root: Path) -> None:
    """Name the record in a BIDS dataset's .bidsignore: it is no file that BIDS knows."""
    path = root / ".bidsignore"
    lines = path.read_text("utf-8").splitlines() if path.is_file() else []
    if PROVENANCE not in lines:
        path.write_text("\n".join([*lines, PROVENANCE]) + "\n", encoding="utf-8")


def read_provenance(out: str | Path) -> dict[str, Any] | None:
    """The record of an output, or None where it has none that can be read."""
    try:
        content = read_json(provenance_file(out))
    except (FormatError, OSError):
        return None
    return content if isinstance(content, dict) and content.get("schema") == _SCHEMA else None


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
