"""A mapping file drafted from a look at the files, so that only what is not in them is asked."""

import contextlib
import csv
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from myosynth.errors import FormatError, InputError, MyosynthError
from myosynth.formats.arrays import ArrayFile
from myosynth.formats.exports import Table, rate_from_times
from myosynth.formats.hdf5 import hdf5_arrays
from myosynth.formats.kinds import kind_of
from myosynth.formats.matlab import matlab_arrays
from myosynth.formats.names import entities, is_counts, is_voltage
from myosynth.formats.numpy_files import npy_arrays, npz_arrays
from myosynth.formats.parquet import parquet_columns
from myosynth.formats.readers import READERS
from myosynth.formats.sniffing import is_samples, locale_of, number_or_none, text_lines
from myosynth.formats.surveying import Survey
from myosynth.formats.timed import name_and_unit

__all__ = ["Question", "draft_mapping", "questions"]

_ARRAYS = {
    "hdf5": hdf5_arrays,
    "matlab": matlab_arrays,
    "matlab73": lambda path: hdf5_arrays(path, flipped=True),
    "npy": npy_arrays,
    "npz": npz_arrays,
}
_DELIMITERS = {"\t": "tab", ";": "semicolon", ",": "comma", " ": "space"}
_TIMES = re.compile(r"(?:t|times?|zeit|tiempo|temps|timestamps?)(?:$|[\s_,(\[/])", re.I)
_MILLISECONDS = re.compile(r"(?:^|[\s_,(\[])(?:ms|msec|milliseconds)\b", re.I)
_SLOWEST_HZ, _FASTEST_HZ = 50.0, 1e6
_MOST_NAMED = 12
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
    rates: tuple[float, ...] = ()  # where there are several
    states_units: bool = False  # as some files of its kind do


def questions(found: Survey) -> list[Question]:
    """What the files of a survey do not say, to be asked once.

    Returns
    -------
    list of Question
        Keys: ``fs`` (Hz), ``unit`` (V, mV, uV or nV, of every column), ``task`` (one name for all,
        or ``part2`` to take it from the path), ``subject`` and ``run`` likewise, ``muscles`` (one
        per column, not required).
    """
    kind, paths = _worst(found)
    look = _look(kind, paths[0])
    asked: list[Question] = []
    if look.fs is None and "fs_from" not in look.keys and not (found.plan and found.plan.fs):
        asked.append(Question("fs", _rate_question(look)))
    names = _listed([str(column) for column, _ in look.columns])
    if not look.columns or any(not unit for _, unit in look.columns):
        unknown = _listed([str(column) for column, unit in look.columns if not unit])
        which = f" in {unknown}" if unknown else ""
        some = "; if some are not EMG, list those that are with --answer columns=[…]"
        text = f"In what unit are the numbers{which}: V, mV, uV or nV{some if names else ''}?"
        asked.append(Question("unit", text))
    asked += _questions_of_names(found, paths)
    if names:
        asked.append(Question("muscles", f"Which muscle is below each of {names}?", False))
    return asked


def _listed(names: Sequence[str]) -> str:
    return ", ".join([*names[:_MOST_NAMED], *(["…"] if len(names) > _MOST_NAMED else [])])


def _rate_question(look: _Look) -> str:
    if look.rates:
        held = " and ".join(f"{rate:.10g}" for rate in look.rates)
        return f"The signals run at {held} Hz, and a recording has one rate: which one?"
    return f"At what rate were they sampled, in Hz{f' ({look.fs_note})' if look.fs_note else ''}?"


def _questions_of_names(found: Survey, paths: Sequence[Path]) -> list[Question]:
    pattern, groups = _path_pattern(found.folder, paths)
    shown = ", ".join(f"{name} ({value})" for name, value in groups.items())
    alike = [row for row in found.rows if row.is_named_alike]
    if not _are_named(paths) and not all(row.task for row in found.rows):
        task = f"Which task is it: a name for all, or one of {shown}?"
        return [Question("task", task), Question("subject", f"Who is it: one of {shown}?", False)]
    if not alike:
        return []
    base, telling = found.folder, _telling(paths, pattern)
    where = [re.search(pattern, (base / row.file).absolute().as_posix()) for row in alike]
    left = Counter(
        (match and match[telling], row.name.partition("_")[2])
        for match, row in zip(where, alike, strict=True)
    )
    asked = [Question("subject", f"Who is it: one of {shown}?")]
    if any(count > 1 for count in left.values()):
        asked.append(Question("run", f"What tells recordings of one person apart: one of {shown}?"))
    return asked


def _are_named(paths: Sequence[Path]) -> bool:
    """Whether the names say subject and task as BIDS does."""
    return all({"sub", "task"} <= entities(path).keys() for path in paths)


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
        (a name for all, or a part of the path such as ``part1``), ``columns`` (those that are EMG;
        all without it), ``muscles`` (one per column).

    Returns
    -------
    str

    Raises
    ------
    InputError
        If an answer has an unknown key, names no column, or there are not as many muscles as
        columns.
    """
    given = dict(answers or {})
    known = ("fs", "unit", "task", "subject", "session", "run", "columns", "muscles")
    if unknown := sorted(set(given) - set(known)):
        raise InputError(f"there is no question {unknown[0]!r}; the answers are {', '.join(known)}")
    kind, paths = _worst(found)
    look = _look(kind, paths[0])
    if "columns" in given:
        look.columns = _those(look.columns, given["columns"])
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
    lines += _column_lines(look, muscles, given.get("unit", ""), chosen="columns" in given)
    if not (_are_named(paths) and not {"task", "subject", "session", "run"} & given.keys()):
        lines += _name_lines(found.folder, paths, given)
    return "\n".join(lines) + "\n"


def _those(columns: Sequence[tuple[int | str, str]], wanted: Any) -> list[tuple[int | str, str]]:
    names = wanted if isinstance(wanted, list | tuple) else [wanted]
    by_name = {str(column): (column, unit) for column, unit in columns}
    if missing := [name for name in names if str(name) not in by_name]:
        raise InputError(f"there is no column {missing[0]!r}; the columns are {', '.join(by_name)}")
    return [by_name[str(name)] for name in names]


def _name_lines(folder: Path, paths: Sequence[Path], given: Mapping[str, Any]) -> list[str]:
    pattern, groups = _path_pattern(folder, paths)
    shown = ", ".join(f"{name}: {value}" for name, value in groups.items())
    lines = [_line("path", pattern), f"# for example {shown}"]
    first = _telling(paths, pattern)
    for key, default in (("subject", f"{{{first}}}"), ("session", ""), ("task", ""), ("run", "")):
        text = _text(given.get(key, default), groups)
        lines.append(_line(key, text) + ("  # such as {part2}, or one name for all" * (not text)))
    return lines


def _text(answer: Any, groups: Mapping[str, str]) -> str:
    if isinstance(answer, Mapping):  # {part2} as YAML reads it
        answer = next(iter(answer), "")
    return f"{{{answer}}}" if answer in groups else str(answer)


def _column_lines(look: _Look, muscles: Sequence[str], unit: str, *, chosen: bool) -> list[str]:
    # where the files state every unit, they need no list, and each may have other channels
    needed = chosen or unit or any(muscles) or any(not stated for _, stated in look.columns)
    sign = "" if needed else "# "
    lines = [f"{sign}columns:  # leave out what is not EMG"]
    for (column, stated), muscle in zip(look.columns, muscles, strict=True):
        name = column if isinstance(column, str) else f"EMG{column}"
        entry = {"column": column, "channel": name, "muscle": muscle}
        # an answer must not overrule what other files of the folder state
        entry |= {"missing_unit": unit} if look.states_units else {"unit": stated or unit}
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
    """The kind with most files that have problems (else with most files), and its files, those
    first that cannot be read."""
    with_problems = [row for row in found.rows if row.problems] or list(found.rows)
    kind = Counter(row.kind for row in with_problems).most_common(1)[0][0]
    base = found.folder
    rows = sorted(
        (row for row in found.rows if row.kind == kind), key=lambda row: row.fs is not None
    )
    return kind, [base / row.file if base.is_dir() else base for row in rows]


def _look(kind: str, path: Path) -> _Look:
    try:
        if kind == "text":
            return _look_at_text(path)
        if kind in _ARRAYS and not _describes_itself(kind, path):
            return _look_at_arrays(_ARRAYS[kind](path))
        if kind == "parquet":
            names = [name for name in parquet_columns(path) if not _TIMES.match(name)]
            return _Look(columns=[(name, "") for name in names])
        signals = READERS[kind if kind in READERS else kind_of(path)](path, None)
        may_be = signals.may_be_emg or [True] * len(signals.names)
        columns: list[tuple[int | str, str]] = []
        rates: dict[float | None, None] = {}
        for i, (name, unit) in enumerate(zip(signals.names, signals.units, strict=True)):
            if may_be[i] and (is_voltage(unit) or is_counts(unit)):
                columns.append((name, unit if is_voltage(unit) else ""))
                rates[signals.rates[i]] = None
        stated = sorted(rate for rate in rates if rate)
        several = tuple(stated) if len(stated) > 1 else ()
        fs = stated[0] if len(stated) == 1 else None
        return _Look(columns=columns, fs=fs, rates=several, states_units=True)
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
    lengths = {name: int(np.prod(shape)) for name, shape in file.shapes.items()}
    vectors = [
        name
        for name, length in lengths.items()
        if length == longest > 1 and not _TIMES.match(re.split(r"[/.]", name)[-1])
    ]
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
    table = Table(path, encoding, delimiter, first)
    for i in numeric:
        values = np.array([row[i] for row in block], dtype=float)
        name = header[i] if named else ""
        if is_time := bool(_TIMES.match(name)) or (i == numeric[0] and _rises(values)):
            _note_times(look, table, i, name, values)
        if not (is_time and len(numeric) > 1):
            unit = name_and_unit(name)[1]
            look.columns.append((name or i + 1, unit if is_voltage(unit) else ""))
    return look


def _rises(values: NDArray[np.float64]) -> bool:
    """Whether numbers are times or a count of samples."""
    return len(values) > 2 and bool(np.all(np.diff(values) > 0))


def _note_times(look: _Look, table: Table, i: int, name: str, values: NDArray[np.float64]) -> None:
    """The rate that a column of times shows; a person must confirm it if no name says so."""
    if float(np.diff(values)[0]).is_integer() and not _MILLISECONDS.search(name):
        return
    with contextlib.suppress(FormatError, UnicodeError):
        if table.delimiter != " ":
            values = table.columns([i])[i]
        fs = rate_from_times(values, "", 1e-3 if _MILLISECONDS.search(name) else 1.0)
        if not _SLOWEST_HZ <= fs <= _FASTEST_HZ:
            return
        if _TIMES.match(name):
            look.fs, look.fs_note = fs, f"as the times in column {i + 1} show"
        else:
            look.fs_note = f"{fs:.7g}, if column {i + 1} holds times in seconds"


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
