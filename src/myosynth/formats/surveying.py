"""What a folder of recordings holds, and what must be asked before it can be imported."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from myosynth.errors import FormatError, InputError, MyosynthError
from myosynth.formats.bids import is_bids, read_bids_file, recording_files
from myosynth.formats.duplicates import DuplicateFinder
from myosynth.formats.kinds import SUFFIXES, kind_of
from myosynth.formats.mapping import FileMapping, load_mapping
from myosynth.formats.names import natural_key
from myosynth.formats.readers import files_below, read_file
from myosynth.formats.sniffing import holds_numbers
from myosynth.recordings import Recording

__all__ = ["Survey", "SurveyRow", "survey"]

NO_TASK = "it has no task; write task: (with path:, or one name for all) into a mapping file"
_ALIKE = (
    "{} files would all be named {}; write subject:, task: or run: that tell them apart into a "
    "mapping file"
)


@dataclass(frozen=True)
class SurveyRow:
    """One file.

    Parameters
    ----------
    file : str
        Its path below the folder.
    kind : str
        A key of `READERS`, ``bids``, or empty.
    subject, session, task, run : str
        Empty where the file could not be read; `task` lists timed tasks too.
    fs, seconds : float or None
    channels, units : tuple of str
        The EMG channels, and the units that the file or the mapping gives them.
    problems : tuple of str
        Sentences; a file without any can be imported.
    name : str
        The recording's, by which a dataset knows it.
    """

    file: str
    kind: str
    subject: str = ""
    session: str = ""
    task: str = ""
    run: str = ""
    fs: float | None = None
    seconds: float | None = None
    channels: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    name: str = ""

    @property
    def is_named_alike(self) -> bool:
        """Whether another file would have the same name in a dataset."""
        return any("would all be named" in problem for problem in self.problems)

    @property
    def needs_answers(self) -> bool:
        """Whether all that is wrong with it is something that a mapping can say."""
        return bool(self.problems) and all("mapping" in problem for problem in self.problems)


@dataclass(frozen=True)
class Survey:
    """What `survey` found.

    Parameters
    ----------
    folder : path
    rows : tuple of SurveyRow
    problems : tuple of str
        About the set as a whole: several rates or sets of channels, copies, missing tasks.
    plan : FileMapping or None
        The mapping that was used.
    """

    folder: Path
    rows: tuple[SurveyRow, ...]
    problems: tuple[str, ...] = ()
    plan: FileMapping | None = None

    @property
    def is_ready(self) -> bool:
        """Whether every file can be imported as it is."""
        return all(not row.problems for row in self.rows)

    @property
    def totals(self) -> dict[str, Any]:
        """Counts for a last line: recordings, subjects, tasks, rates, units, seconds, problems."""
        read = [row for row in self.rows if row.fs is not None]
        return {
            "recordings": len(read),
            "subjects": len({row.subject for row in read}),
            "tasks": sorted({task for row in read for task in row.task.split(", ") if task}),
            "fs": sorted({row.fs for row in read if row.fs}),
            "units": sorted({unit for row in read for unit in row.units}),
            "seconds": round(sum(row.seconds or 0 for row in read), 3),
            "problems": sum(len(row.problems) for row in self.rows) + len(self.problems),
        }

    def files_to_mend(self) -> dict[str, list[str]]:
        """By problem (without the file's name): the files that have it, most frequent first."""
        by_problem: dict[str, list[str]] = {}
        for row in self.rows:
            for problem in row.problems:
                by_problem.setdefault(problem, []).append(row.file)
        return dict(sorted(by_problem.items(), key=lambda item: -len(item[1])))


def survey(
    folder: str | Path,
    mapping: str | Path | FileMapping | None = None,
    *,
    fs: float | None = None,
    check_duplicates: bool = True,
) -> Survey:
    """Look at every file of a folder without importing it.

    A file that cannot be read becomes a row with a problem; nothing but a missing or empty folder
    raises. `drafting.draft_mapping` turns the result and a few answers into a mapping file, with
    which a second survey has fewer problems:

    >>> found = survey("lab/")                                        # doctest: +SKIP
    >>> text = draft_mapping(found, {"fs": 2000, "unit": "uV"})       # doctest: +SKIP
    >>> survey("lab/", parse_mapping(text, "draft")).is_ready         # doctest: +SKIP

    Parameters
    ----------
    folder : path
        A folder, a BIDS dataset or one file.
    mapping : str, path or FileMapping, optional
        As for `read_recordings`.
    fs : float, optional
        Sampling rate in Hz where none is stated.
    check_duplicates : bool
        Compare recordings with one another (reads the first minute of each).

    Raises
    ------
    InputError
        If `folder` does not exist.
    FormatError
        If it holds no file of a known kind.
    ConfigError
        If the mapping is not sound.
    """
    folder = Path(folder)
    if not folder.exists():
        raise InputError(f"{folder} does not exist; check the path")
    plan = load_mapping(mapping) if mapping is not None else None
    finder = DuplicateFinder()
    rows: list[SurveyRow] = []
    names: Counter[str] = Counter()
    for path, root in _files(folder, plan):
        kind, read, problem = "", None, ""
        try:
            kind = "bids" if root else kind_of(path, plan)
            read = read_bids_file(path, root) if root else read_file(path, plan, fs=fs)
            if check_duplicates:
                finder.add(read)
            names[read.name] += 1
        except MyosynthError as error:
            problem = _without_path(str(error), path)
        rows.append(_row(folder, path, kind, read, problem))
    rows = [
        replace(row, problems=(*row.problems, _ALIKE.format(names[row.name], row.name)))
        if names[row.name] > 1
        else row
        for row in rows
    ]
    pairs = [f"{copy} copies {first}" for first, copy in finder.pairs]
    return Survey(folder, tuple(rows), (*_differences(rows), *pairs), plan)


def _files(folder: Path, plan: FileMapping | None) -> Iterator[tuple[Path, Path | None]]:
    if folder.is_file():
        return iter([(folder, None)])
    if plan is None and is_bids(folder):
        return ((path, folder) for path in recording_files(folder))
    if plan is not None:
        return ((path, None) for path in files_below(folder, plan))
    known = (p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    paths = [p for p in known if not p.name.startswith(".")]
    paths = [p for p in paths if kind_of(p) != "text" or holds_numbers(p)]  # no read-me files
    if not paths:
        kinds = ", ".join(SUFFIXES)
        raise FormatError(f"{folder} holds nothing that can be read, which is {kinds}")
    return ((path, None) for path in sorted(paths, key=natural_key))


def _row(folder: Path, path: Path, kind: str, read: Recording | None, problem: str) -> SurveyRow:
    file = path.relative_to(folder).as_posix() if path != folder else path.name
    if read is None:
        return SurveyRow(file, kind, problems=(problem,))
    return SurveyRow(
        file,
        kind,
        read.subject,
        read.session,
        ", ".join(read.tasks),
        read.run,
        read.fs,
        read.duration_s,
        tuple(read.channel_names),
        tuple(read.metadata.get("source_units", ())),
        () if read.tasks else (NO_TASK,),
        read.name,
    )


def _without_path(message: str, path: Path) -> str:
    for shown in (str(path), path.name):
        message = message.replace(f"{shown}: ", "").replace(f"{shown}, ", "").replace(shown, "it")
    return message


def _differences(rows: Sequence[SurveyRow]) -> list[str]:
    read = [row for row in rows if row.fs is not None]
    said = []
    for what, values in (
        ("sampling rates", Counter(f"{row.fs:.7g} Hz" for row in read)),
        ("channels", Counter(", ".join(row.channels) for row in read)),
    ):
        if len(values) > 1:
            counts = "; ".join(f"{n} files {value}" for value, n in values.most_common(4))
            said.append(f"the files differ in {what}: {counts}")
    by_subject: dict[str, set[str]] = {}
    for row in read:
        by_subject.setdefault(row.subject, set()).update(row.task.split(", "))
    every = set().union(*by_subject.values()) - {""} if by_subject else set()
    said += [
        f"subject {subject} lacks the task {', '.join(sorted(every - tasks))}"
        for subject, tasks in by_subject.items()
        if every - tasks
    ]
    return said
