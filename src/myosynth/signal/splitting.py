"""Decide which subject, and which part of a recording, goes to which split, before segmenting."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from myosynth.errors import InputError, NotEnoughDataError
from myosynth.recordings import Recording
from myosynth.signal.segmentation import Span, task_spans

__all__ = ["RecordingRow", "SplitPlan", "assign_splits"]

_N_DRAWS = 20


@dataclass(frozen=True)
class RecordingRow:
    """What splitting needs to know of one recording.

    Parameters
    ----------
    name, subject, session, run : str
        As in `Recording`; `name` is unique.
    spans : sequence of (task, start_s, stop_s)
        Its tasks, in order of time (`task_spans`).
    """

    name: str
    subject: str
    session: str
    run: str
    spans: tuple[Span, ...]

    @classmethod
    def of(cls, recording: Recording) -> "RecordingRow":
        spans = tuple(task_spans(recording))
        return cls(recording.name, recording.subject, recording.session, recording.run, spans)

    @property
    def tasks(self) -> set[str]:
        return {task for task, _, _ in self.spans}


@dataclass(frozen=True)
class SplitPlan:
    """Where every part of every recording goes.

    Parameters
    ----------
    subjects : mapping of subject to split
        ``train`` (its holdout included), ``validation`` or ``unseen``.
    parts : mapping of recording name to list of (split, start_s, stop_s)
        In order of time; what is in no part is used by nobody.
    warnings : sequence of str
        What the split could not give, one sentence each.
    """

    subjects: Mapping[str, str]
    parts: Mapping[str, Sequence[Span]]
    warnings: Sequence[str] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "subjects": dict(self.subjects),
            "parts": {name: [list(span) for span in spans] for name, spans in self.parts.items()},
            "warnings": list(self.warnings),
        }


def assign_splits(
    table: Iterable[RecordingRow],
    *,
    seed: int = 0,
    validation_share: float = 0.15,
    unseen_share: float = 0.25,
    holdout_share: float = 0.25,
    gap_s: float = 3.0,
    duplicates: Iterable[tuple[str, str]] = (),
) -> SplitPlan:
    """Split recordings by subject, then hold out part of the train subjects' recordings.

    Validation and unseen subjects give all of their recordings. A train subject that has several
    recordings of a task holds out the last of them (by session, run and name); of a task with one
    recording the last part is held out. Train time within `gap_s` of held-out time in the same
    recording is used by nobody. Twelve subjects give 7 train, 2 validation and 3 unseen.

    Parameters
    ----------
    table : iterable of RecordingRow
        Every recording.
    seed : int
        Chooses the subjects; the same table, in any order, and seed give the same plan.
    validation_share, unseen_share : float
        Shares of the subjects, together < 1. With 4 subjects or fewer: one unseen from 2
        subjects, one validation from 4.
    holdout_share : float
        Share of each train subject's time, or recordings, per task; 0 ≤ `holdout_share` < 1.
    gap_s : float
        The length of one segment: the least that is held out, and the distance to train time.
    duplicates : iterable of (name, name)
        Recordings that are copies: their subjects go to the same side, and the same parts of
        both are held out.

    Raises
    ------
    NotEnoughDataError
        If the table is empty.
    InputError
        If a share is out of range or two recordings share a name.
    """
    rows = sorted(table, key=lambda row: (row.subject, row.session, row.run, row.name))
    _check(rows, validation_share, unseen_share, holdout_share, gap_s)
    pairs = [tuple(sorted(pair)) for pair in duplicates]
    copies = _joined((row.name for row in rows), pairs)
    owner = {row.name: row.subject for row in rows}
    people = _joined({row.subject for row in rows}, [(owner[a], owner[b]) for a, b in pairs])
    warnings: list[str] = []
    group_split = _subject_splits(rows, people, seed, validation_share, unseen_share, warnings)
    subjects = {subject: group_split[people[subject]] for subject in sorted(people)}
    whole = _whole_holdouts(rows, copies, subjects, holdout_share)
    parts: dict[str, Sequence[Span]] = {}
    n_without = 0
    for row in sorted(rows, key=lambda row: copies[row.name] != row.name):  # copies come last
        split = subjects[row.subject]
        if split != "train":
            parts[row.name] = [(split, start, stop) for _, start, stop in row.spans]
        elif copies[row.name] in parts:
            parts[row.name] = parts[copies[row.name]]
        else:
            parts[row.name] = _train_parts(row, whole, holdout_share, gap_s)
            has_holdout = any(split == "holdout" for split, _, _ in parts[row.name])
            elsewhere = all(whole.get((row.name, task)) is not None for task in row.tasks)
            n_without += not (has_holdout or elsewhere or holdout_share == 0)
    if n_without:
        warnings.append(
            f"{n_without} train recordings are too short to hold out a part of {gap_s:g} s; "
            "all of them is trained on"
        )
    return SplitPlan(subjects, parts, tuple(warnings))


def _check(
    rows: Sequence[RecordingRow], validation: float, unseen: float, holdout: float, gap_s: float
) -> None:
    if not rows:
        raise NotEnoughDataError("there is no recording to split")
    names = [row.name for row in rows]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(
            f"recordings must be told apart by subject, session, task and run: {twice[0]} occurs "
            "more than once; give each a run"
        )
    if not (validation >= 0 and unseen >= 0 and validation + unseen < 1):
        raise InputError(
            "validation_share and unseen_share are shares of the subjects that leave some to "
            f"train on, not {validation} and {unseen}"
        )
    if not (0 <= holdout < 1 and gap_s >= 0):
        raise InputError(
            f"holdout_share must be 0 ≤ share < 1 and gap_s ≥ 0, not {holdout} and {gap_s}"
        )


def _joined(names: Iterable[str], pairs: Iterable[Sequence[str]]) -> dict[str, str]:
    """Each name's group, called after the group's first name."""
    group = {name: name for name in names}
    for a, b in pairs:
        first, other = sorted((group[a], group[b]))
        for name in group:
            if group[name] == other:
                group[name] = first
    return group


def _subject_splits(
    rows: Sequence[RecordingRow],
    people: Mapping[str, str],
    seed: int,
    validation_share: float,
    unseen_share: float,
    warnings: list[str],
) -> dict[str, str]:
    groups = sorted(set(people.values()))
    n = len(groups)
    n_unseen = _count(n, unseen_share, at_least=n >= 2)
    n_validation = min(_count(n, validation_share, at_least=n >= 4), n - 1 - n_unseen)
    if n <= 4:
        wanted = (
            ("unseen", unseen_share, n_unseen),
            ("validation", validation_share, n_validation),
        )
        none = [name for name, share, count in wanted if share > 0 and count == 0]
        warnings.append(
            f"only {n} subject{'s' if n > 1 else ''}: "
            + (f"no {' and no '.join(none)} subject can be set apart; " if none else "")
            + "scores say little about other people"
        )
    tasks: dict[str, set[str]] = {group: set() for group in groups}
    for row in rows:
        tasks[people[row.subject]] |= row.tasks
    every = set().union(*tasks.values())
    rng = np.random.default_rng(seed)
    best: tuple[int, dict[str, str]] | None = None
    for _ in range(_N_DRAWS):  # the first draw in which every split has every task, or the nearest
        order = [groups[i] for i in rng.permutation(n)]
        names = ["unseen"] * n_unseen + ["validation"] * n_validation
        names += ["train"] * (n - len(names))
        drawn = dict(zip(order, names, strict=True))
        held = {s: set().union(*(tasks[g] for g in groups if drawn[g] == s)) for s in set(names)}
        lacking = sum((10 if s == "train" else 1) * len(every - has) for s, has in held.items())
        if best is None or lacking < best[0]:
            best = lacking, drawn
            missing = {s: sorted(every - has) for s, has in held.items() if every - has}
    assert best is not None
    warnings += [
        f"no {split} subject has a recording of: {', '.join(missing[split])}"
        for split in sorted(missing)
    ]
    return best[1]


def _count(n: int, share: float, *, at_least: bool) -> int:
    """How many of `n` subjects: the share rounded, and one where it is wanted and there are any."""
    if share == 0 or not at_least:
        return 0
    return max(1, int(np.floor(share * n + 0.5))) if n > 4 else 1


def _whole_holdouts(
    rows: Sequence[RecordingRow],
    copies: Mapping[str, str],
    subjects: Mapping[str, str],
    share: float,
) -> dict[tuple[str, str], bool]:
    """(recording, task) → held out or trained on, for the tasks a subject did more than once."""
    several: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if subjects[row.subject] == "train" and copies[row.name] == row.name and share > 0:
            for task in sorted(row.tasks):
                several.setdefault((row.subject, task), []).append(row.name)
    whole: dict[tuple[str, str], bool] = {}
    for (_, task), names in several.items():
        if len(names) > 1:
            n_held = min(max(1, int(np.floor(share * len(names) + 0.5))), len(names) - 1)
            for i, name in enumerate(names):
                whole[name, task] = i >= len(names) - n_held
    return whole


def _train_parts(
    row: RecordingRow, whole: Mapping[tuple[str, str], bool], share: float, gap_s: float
) -> list[Span]:
    held: list[tuple[float, float]] = []
    for task in sorted(row.tasks):
        spans = [(start, stop) for name, start, stop in row.spans if name == task]
        decided = whole.get((row.name, task))
        if decided:
            held += spans
        elif decided is None and share > 0:
            held += _last_part(spans, share, gap_s)
    parts: list[Span] = [("holdout", start, stop) for start, stop in held]
    for task, start, stop in row.spans:
        if not whole.get((row.name, task)):
            parts += [("train", a, b) for a, b in _minus(start, stop, held, gap_s)]
    return sorted(parts, key=lambda part: part[1])


def _last_part(
    spans: Sequence[tuple[float, float]], share: float, gap_s: float
) -> list[tuple[float, float]]:
    """The last share of the spans' time, one segment at least; none where no segment is left."""
    total = sum(stop - start for start, stop in spans)
    left = max(share * total, gap_s)
    if total - left < 2 * gap_s:  # the gap and one segment to train on
        return []
    held = []
    for start, stop in reversed(spans):
        held.append((max(start, stop - left), stop))
        left -= stop - start
        if left <= 0:
            break
    return held[::-1]


def _minus(
    start: float, stop: float, held: Sequence[tuple[float, float]], gap_s: float
) -> list[tuple[float, float]]:
    """What is left of start–stop once held-out time and the gap around it are taken away."""
    left = [(start, stop)]
    for a, b in held:
        low, high = a - gap_s, b + gap_s
        cut = [piece for s, e in left for piece in ((s, min(e, low)), (max(s, high), e))]
        left = [(s, e) for s, e in cut if e > s]
    return left
