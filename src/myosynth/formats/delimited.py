"""Delimited text (CSV, TSV, device logs) through a mapping file."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from myosynth.errors import ConfigError, FormatError
from myosynth.formats.mapping import TextMapping, load_mapping
from myosynth.formats.names import natural_key, volts_per_unit
from myosynth.recordings import Annotation, FloatArray, Recording

__all__ = ["delimited_files", "read_delimited"]

_DELIMITERS = {"tab": "\t", "comma": ",", "semicolon": ";", "space": None}
_MOST_HEADER_LINES = 200
_MERGE_S = 0.01  # clipped spans closer than this become one


def delimited_files(folder: Path, plan: TextMapping) -> list[Path]:
    """The files below `folder` that the mapping's ``files`` pattern names, in natural order.

    Raises
    ------
    FormatError
        If there is none.
    """
    paths = sorted((path for path in folder.glob(plan.files) if path.is_file()), key=natural_key)
    if not paths:
        raise FormatError(f"{folder} holds no file that fits files: {plan.files!r} of the mapping")
    return paths


def read_delimited(
    path: str | Path, mapping: str | Path | TextMapping, *, fs: float | None = None
) -> Recording:
    """Read one delimited text file.

    Rows at the end in which every EMG column is empty are cut off; their count is in
    ``metadata["trimmed_rows"]``. Samples at the mapping's ``clip_limit`` are marked ``BAD_clipped``
    and counted by channel in ``metadata["clipped_samples"]``.

    Parameters
    ----------
    path : path
        The file.
    mapping : str, path or TextMapping
        See `TextMapping`.
    fs : float, optional
        Sampling rate in Hz where the mapping gives none.

    Raises
    ------
    FormatError
        If a cell is no number (named by file, line and column), or the path does not fit.
    ConfigError
        If the rate is given nowhere or the mapping does not fit the file.
    """
    path, plan = Path(path), load_mapping(mapping)
    rate = plan.fs or fs
    if rate is None:
        raise ConfigError(f"{path}: no sampling rate; write fs: … (in Hz) into the mapping file")
    found = _from_path(path, plan)
    numbers, trimmed = _read_numbers(path, plan)
    scale = [
        column.scale * volts_per_unit(column.unit, f"mapping for {path.name}, {column.channel!r}")
        for column in plan.columns
    ]
    names = [column.channel for column in plan.columns]
    metadata: dict[str, Any] = {
        "source_file": path.name,
        "source_units": [column.unit for column in plan.columns],
        **{key: plan.values.get(key, {}).get(value, value) for key, value in found.items()},
        "trimmed_rows": trimmed,
        "sidecar": dict(plan.sidecar),
    }
    annotations: list[Annotation] = []
    if plan.clip_limit is not None:
        clipped: NDArray[np.bool_] = np.asarray(np.abs(numbers) >= plan.clip_limit)
        annotations = _spans(np.asarray(clipped.any(axis=1)), rate)
        metadata["clipped_samples"] = dict(zip(names, clipped.sum(axis=0).tolist(), strict=True))
    return Recording(
        data=np.ascontiguousarray((numbers * scale).T),
        fs=rate,
        channel_names=names,
        muscles=[column.muscle for column in plan.columns],
        subject=_filled(plan.subject, found, "subject"),
        session=_filled(plan.session, found, "session"),
        task=_task(path, plan, _filled(plan.task, found, "task")),
        run=_filled(plan.run, found, "run"),
        annotations=annotations,
        metadata=metadata,
    )


def _from_path(path: Path, plan: TextMapping) -> dict[str, str]:
    try:
        match = re.search(plan.path, path.absolute().as_posix())
    except re.error as error:
        raise ConfigError(f"path: {plan.path!r} is not a regular expression ({error})") from error
    if match is None:
        raise FormatError(
            f"{path} does not fit the mapping's path pattern {plan.path!r}; mend the pattern, or "
            "leave the file out through files:"
        )
    return {key: value or "" for key, value in match.groupdict().items()}


def _filled(text: str, found: dict[str, str], what: str) -> str:
    try:
        return re.sub(r"\{(\w+)\}", lambda match: found[match[1]], text)
    except KeyError as error:
        raise ConfigError(
            f"{what}: {text!r} names the group {error}, which the path pattern does not have "
            f"(it has {sorted(found)})"
        ) from error


def _task(path: Path, plan: TextMapping, task: str) -> str:
    if plan.tasks and task not in plan.tasks:
        raise FormatError(
            f"{path}: task {task!r} is not in the mapping's tasks ({', '.join(plan.tasks)}); add it"
        )
    return plan.tasks.get(task, task)


def _read_numbers(path: Path, plan: TextMapping) -> tuple[FloatArray, int]:
    """Numbers (n_times, n_columns) as they stand in the file, and how many rows were trimmed."""
    delimiter = _DELIMITERS[plan.delimiter]
    positions, n_header = _find_data(path, plan, delimiter)
    counts = {"rows": 0, "trimmed": 0}

    def rows() -> Iterator[str]:
        for number, line in _lines(path, plan, skip=n_header):
            cells = line.split(delimiter)
            used = [cells[i].strip() if i < len(cells) else "" for i in positions]
            if not any(used):
                counts["trimmed"] += any(cell.strip() for cell in cells)
            elif counts["trimmed"]:
                raise FormatError(
                    f"{path}, line {number - 1}: the EMG columns are empty here, but not below"
                )
            else:
                counts["rows"] += 1
                yield "\t".join(used)

    try:
        numbers = np.loadtxt(rows(), delimiter="\t", comments=None, ndmin=2, dtype=np.float64)
    except ValueError as error:
        raise _bad_cell(path, plan, positions, n_header, delimiter) from error
    return numbers, counts["trimmed"]


def _lines(path: Path, plan: TextMapping, skip: int = 0) -> Iterator[tuple[int, str]]:
    try:
        with path.open(encoding=plan.encoding, newline=None) as file:
            for number, line in enumerate(file, start=1):
                if number > skip:
                    yield number, line.replace(",", ".") if plan.decimal == "," else line
    except FileNotFoundError as error:
        raise FormatError(f"{path} does not exist") from error
    except UnicodeDecodeError as error:
        raise FormatError(
            f"{path} is not {plan.encoding} text; name its encoding in the mapping (latin-1?)"
        ) from error
    except LookupError as error:
        raise ConfigError(f"encoding: {plan.encoding!r} is not known") from error


def _find_data(path: Path, plan: TextMapping, delimiter: str | None) -> tuple[list[int], int]:
    """Positions of the listed columns, and the number of lines above the first samples."""
    wanted = [column.column for column in plan.columns]
    names = [each for each in wanted if isinstance(each, str)]
    positions: list[int] | None = None
    if not names:
        positions = [each - 1 for each in wanted if isinstance(each, int)]
    for number, line in _lines(path, plan):
        cells = [cell.strip().strip('"') for cell in line.split(delimiter)]
        if positions is None and all(name in cells for name in names):
            positions = [cells.index(w) if isinstance(w, str) else w - 1 for w in wanted]
        elif positions is not None:
            if plan.header_lines is not None and number > plan.header_lines:
                return positions, plan.header_lines
            if plan.header_lines is None and all(
                i < len(cells) and _is_number(cells[i]) for i in positions
            ):
                return positions, number - 1
        if number > _MOST_HEADER_LINES + (plan.header_lines or 0):
            break
    if positions is None:
        raise FormatError(f"{path} has no header line with the columns {names}")
    raise FormatError(
        f"{path} has no line with numbers in columns {[i + 1 for i in positions]}; check the "
        "delimiter, decimal sign and columns in the mapping"
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _bad_cell(
    path: Path, plan: TextMapping, positions: Sequence[int], n_header: int, delimiter: str | None
) -> FormatError:
    for number, line in _lines(path, plan, skip=n_header):
        cells = line.split(delimiter)
        if not line.strip():
            continue
        for position, column in zip(positions, plan.columns, strict=True):
            text = cells[position].strip() if position < len(cells) else ""
            if not _is_number(text):
                said = f"{text!r} is not a number" if text else "the cell is empty"
                return FormatError(
                    f"{path}, line {number}, column {position + 1} ({column.channel}): {said}"
                )
    return FormatError(f"{path} could not be read as numbers; check the mapping")


def _spans(marked: NDArray[np.bool_], fs: float) -> list[Annotation]:
    """Spans of marked samples; those closer than `_MERGE_S` are one."""
    at = np.flatnonzero(marked)
    if not at.size:
        return []
    breaks = np.flatnonzero(np.diff(at) > max(1, _MERGE_S * fs))
    starts = at[np.r_[0, breaks + 1]]
    stops = at[np.r_[breaks, at.size - 1]] + 1
    return [
        Annotation(float(start / fs), float((stop - start) / fs), "BAD_clipped")
        for start, stop in zip(starts, stops, strict=True)
    ]
