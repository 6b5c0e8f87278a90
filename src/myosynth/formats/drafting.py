"""A mapping file drafted from a look at the files, so that only what is not in them is asked."""

import csv
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from myosynth.errors import FormatError, InputError, MyosynthError
from myosynth.formats.arrays import ArrayFile
from myosynth.formats.exports import rate_from_times
from myosynth.formats.hdf5 import hdf5_arrays
from myosynth.formats.matlab import matlab_arrays
from myosynth.formats.names import is_counts, is_voltage
from myosynth.formats.numpy_files import npy_arrays, npz_arrays
from myosynth.formats.parquet import parquet_columns
from myosynth.formats.readers import READERS
from myosynth.formats.sniffing import is_samples, locale_of, number_or_none, text_lines
from myosynth.formats.surveying import Survey

__all__ = ["Question", "draft_mapping", "questions"]

_ARRAYS = {
    "hdf5": hdf5_arrays,
    "matlab": matlab_arrays,
    "matlab73": lambda path: hdf5_arrays(path, flipped=True),
    "npy": npy_arrays,
    "npz": npz_arrays,
}
_DELIMITERS = {"\t": "tab", ";": "semicolon", ",": "comma", " ": "space"}
_RATE_NAMES = re.compile(r"(?:^|[/._])(fs|fsamp|srate|sf|sampling.?(?:rate|frequency))$", re.I)


@dataclass(frozen=True)
class Question:
    """What a person must say: the key of an answer to `draft_mapping`, and the question."""

    key: str
    text: str
    is_required: bool = True


@dataclass
class _Look:
    """What one file shows of itself, as keys of a mapping."""

    keys: dict[str, Any] = field(default_factory=dict)
    columns: list[tuple[int | str, str]] = field(default_factory=list)  # column, unit or ""
    fs: float | None = None
    fs_note: str = ""


def questions(found: Survey) -> list[Question]:
    """What the files of a survey do not say, to be asked once.

    Returns
    -------
    list of Question
        Keys: ``fs`` (Hz), ``unit`` (V, mV, uV or nV, of every column), ``task`` (one name for all,
        or ``part2`` to take it from the path), ``subject`` likewise, ``muscles`` (one per column,
        not required).
    """
    kind, paths = _worst(found)
    look = _look(kind, paths[0])
    asked: list[Question] = []
    if look.fs is None and "fs_from" not in look.keys and not (found.plan and found.plan.fs):
        asked.append(Question("fs", "At what rate were they sampled, in Hz?"))
    if not look.columns or any(not unit for _, unit in look.columns):
        asked.append(Question("unit", "In what unit are the numbers: V, mV, uV or nV?"))
    if not all(row.task for row in found.rows):
        _, groups = _path_pattern(found.folder, paths)
        shown = ", ".join(f"{name} ({value})" for name, value in groups.items())
        asked.append(Question("task", f"Which task is it: a name for all, or one of {shown}?"))
        asked.append(Question("subject", f"Who is it: one of {shown}?", False))
    names = ", ".join(str(column) for column, _ in look.columns)
    asked.append(Question("muscles", f"Which muscle is below each of {names}?", False))
    return asked


def draft_mapping(found: Survey, answers: Mapping[str, Any] | None = None) -> str:
    """A mapping file (YAML with comments) for the files of a survey that need one.

    What the files show is filled in: delimiter, decimal sign, encoding, columns, arrays and their
    layout, and the parts of the path. What is not in them stays empty, and reading with the draft
    names the line to fill, unless `answers` has it.

    Parameters
    ----------
    found : Survey
    answers : mapping, optional
        By the keys of `questions`: ``fs``, ``unit``, ``task``, ``subject``, ``session``, ``run``
        (a name for all, or a part of the path such as ``part1``), ``muscles`` (one per column).

    Returns
    -------
    str

    Raises
    ------
    InputError
        If an answer has an unknown key, or there are not as many muscles as columns.
    """
    given = dict(answers or {})
    known = ("fs", "unit", "task", "subject", "session", "run", "muscles")
    if unknown := sorted(set(given) - set(known)):
        raise InputError(f"there is no question {unknown[0]!r}; the answers are {', '.join(known)}")
    kind, paths = _worst(found)
    look = _look(kind, paths[0])
    muscles = list(given.get("muscles", ())) or [""] * len(look.columns)
    if len(muscles) != len(look.columns):
        raise InputError(f"{len(look.columns)} columns need {len(look.columns)} muscles")
    suffixes = Counter(path.suffix for path in paths)
    lines = [
        f"# Drafted from {len(paths)} files of kind {kind or 'unknown'}. Fill in what is empty.",
        *(f"# {len(files)} files: {said}" for said, files in found.files_to_mend().items()),
        _line("files", f"**/*{suffixes.most_common(1)[0][0]}"),
        *(_line(key, value) for key, value in look.keys.items()),
    ]
    if "fs_from" not in look.keys:
        fs = given.get("fs", look.fs)
        lines.append(_line("fs", fs) if fs else "fs:  # Hz")
        if fs and "fs" not in given and look.fs_note:
            lines[-1] += f"  # {look.fs_note}"
    lines += _column_lines(look, muscles, given.get("unit", ""))
    pattern, groups = _path_pattern(found.folder, paths)
    lines.append(_line("path", pattern))
    lines.append("# for example " + ", ".join(f"{name}: {value}" for name, value in groups.items()))
    first = _telling(paths, pattern)
    for key, default in (("subject", f"{{{first}}}"), ("session", ""), ("task", ""), ("run", "")):
        text = _text(given.get(key, default), groups)
        lines.append(_line(key, text) + ("  # such as {part2}, or one name for all" * (not text)))
    return "\n".join(lines) + "\n"


def _text(answer: Any, groups: Mapping[str, str]) -> str:
    if isinstance(answer, Mapping):  # {part2} as YAML reads it
        answer = next(iter(answer), "")
    return f"{{{answer}}}" if answer in groups else str(answer)


def _column_lines(look: _Look, muscles: Sequence[str], unit: str) -> list[str]:
    # where the files state every unit, they need no list, and each may have other channels
    needed = unit or any(muscles) or any(not stated for _, stated in look.columns)
    sign = "" if needed else "# "
    lines = [f"{sign}columns:  # leave out what is not EMG"]
    for (column, stated), muscle in zip(look.columns, muscles, strict=True):
        name = column if isinstance(column, str) else f"EMG{column}"
        entry = {"column": column, "channel": name, "muscle": muscle, "unit": unit or stated}
        lines.append(f"{sign}  - {_flow(entry)}")
    return lines


def _telling(paths: Sequence[Path], pattern: str) -> str:
    """The first part of the path that is not the same in every file."""
    found = [re.search(pattern, path.absolute().as_posix()) for path in paths]
    values = [match.groupdict() for match in found if match]
    names = list(values[0]) if values else []
    several = (name for name in names if len({each[name] for each in values}) > 1)
    return next(several, names[0] if names else "part1")


def _line(key: str, value: Any) -> str:
    return f"{key}: {_scalar(value)}"


def _scalar(value: Any) -> str:
    text = yaml.safe_dump(value, default_style='"' if isinstance(value, str) else None, width=10**6)
    return text.removesuffix("...\n").strip()


def _flow(entry: Mapping[str, Any]) -> str:
    return "{" + ", ".join(f"{key}: {_scalar(value)}" for key, value in entry.items()) + "}"


def _worst(found: Survey) -> tuple[str, list[Path]]:
    """The kind with most files that have problems (else with most files), and its files."""
    with_problems = [row for row in found.rows if row.problems] or list(found.rows)
    kind = Counter(row.kind for row in with_problems).most_common(1)[0][0]
    base = found.folder
    paths = [base / row.file if base.is_dir() else base for row in found.rows if row.kind == kind]
    return kind, paths


def _look(kind: str, path: Path) -> _Look:
    try:
        if kind == "text":
            return _look_at_text(path)
        if kind in _ARRAYS and not _describes_itself(kind, path):
            return _look_at_arrays(_ARRAYS[kind](path))
        if kind == "parquet":
            return _Look(columns=[(name, "") for name in parquet_columns(path)])
        signals = READERS[kind](path, None)
        columns: list[tuple[int | str, str]] = []
        for name, unit in zip(signals.names, signals.units, strict=True):
            if is_voltage(unit) or is_counts(unit):
                columns.append((name, unit if is_voltage(unit) else ""))
        return _Look(columns=columns, fs=next((rate for rate in signals.rates if rate), None))
    except (MyosynthError, KeyError):
        return _Look()


def _describes_itself(kind: str, path: Path) -> bool:
    try:
        READERS[kind](path, None)
    except MyosynthError:
        return False
    return True


def _look_at_arrays(file: ArrayFile) -> _Look:
    look = _Look()
    if rate := next((name for name in file.shapes if _RATE_NAMES.search(name)), ""):
        look.keys["fs_from"] = rate
    matrices = {n: s for n, s in file.shapes.items() if len(s) == 2 and 1 < min(s) < max(s) / 4}
    if matrices:
        name = max(matrices, key=lambda each: int(np.prod(matrices[each])))
        rows, columns = matrices[name]
        look.keys["samples"] = name
        look.keys["layout"] = "times x channels" if rows > columns else "channels x times"
        look.columns = [(i + 1, "") for i in range(min(rows, columns))]
        return look
    longest = max((int(np.prod(shape)) for shape in file.shapes.values()), default=0)
    vectors = [n for n, shape in file.shapes.items() if int(np.prod(shape)) == longest > 1]
    look.columns = [(name, "") for name in vectors]
    return look


def _look_at_text(path: Path) -> _Look:
    encoding, lines = text_lines(path)
    delimiter, decimal = locale_of(path, lines)
    spaced = delimiter == " "
    rows = [
        next(csv.reader([line.strip("\r\n ")], delimiter=delimiter, skipinitialspace=spaced), [])
        for line in lines
    ]
    plain = [[number_or_none(cell, decimal) for cell in row] for row in rows]
    first = next(i for i, row in enumerate(plain) if is_samples(row))
    block = [row for row in plain[first:] if len(row) == len(plain[first])]
    numeric = [i for i in range(len(block[0])) if all(row[i] is not None for row in block)]
    header = [cell.strip() for cell in rows[first - 1]] if first else []
    named = len(header) == len(block[0]) and all(header[i] for i in numeric)
    look = _Look({"delimiter": _DELIMITERS[delimiter], "encoding": encoding})
    if decimal == ",":
        look.keys["decimal"] = ","
    for i in numeric:
        values = np.array([row[i] for row in block], dtype=float)
        if i == numeric[0] and len(numeric) > 1 and (fs := _as_times(values)):
            look.fs, look.fs_note = fs, f"as the times in column {i + 1} show, if they are seconds"
        else:
            look.columns.append((header[i] if named else i + 1, ""))
    return look


def _as_times(values: np.ndarray[Any, np.dtype[np.float64]]) -> float | None:
    steps = np.diff(values)
    if len(steps) < 2 or not np.all(steps > 0) or float(steps[0]).is_integer():
        return None
    try:
        return rate_from_times(values, "")
    except FormatError:
        return None


def _path_pattern(folder: Path, paths: Sequence[Path]) -> tuple[str, dict[str, str]]:
    """A pattern whose groups are the folders and the words of the names, and the first's values."""
    base = folder if folder.is_dir() else folder.parent
    relative = [path.relative_to(base) for path in paths]
    depth = min(len(path.parts) for path in relative)
    words = [re.split(r"[_\s]+", path.stem) for path in relative]
    n_words = len(words[0]) if len({len(each) for each in words}) == 1 else 1
    parts = [*relative[0].parts[-depth:-1], *(words[0] if n_words > 1 else [relative[0].stem])]
    groups = {f"part{i + 1}": value for i, value in enumerate(parts)}
    names = list(groups)
    folders = "".join(f"(?P<{name}>[^/]+)/" for name in names[: depth - 1])
    inside = "[^/_\\s]+" if n_words > 1 else "[^/]+"
    stem = r"[_\s]+".join(f"(?P<{name}>{inside})" for name in names[depth - 1 :])
    suffixes = "|".join(sorted({re.escape(path.suffix) for path in relative}))
    return f"/{folders}{stem}(?:{suffixes})$", groups
