"""Is a recording fit for use? What is wrong with it, how bad that is, and what to do about it."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from myosynth.recordings import Recording
from myosynth.signal.judgement import (
    SEVERITIES,
    Problem,
    channel_problems,
    recording_problems,
    volts,
)
from myosynth.signal.measurements import ChannelFigures, measure

__all__ = [
    "SEVERITIES",
    "Problem",
    "QualityReport",
    "SetReport",
    "check_recording",
    "check_recordings",
]

_ODD_RATIO = 100.0
_NEARER_1E6 = 10**4.5
_NO_FIGURES_S = 0.5
_NO_FIGURES_FS = 200.0


@dataclass(frozen=True)
class QualityReport:
    """One recording's figures and problems, the worst first."""

    name: str
    subject: str
    session: str
    task: str
    tasks: tuple[str, ...]
    fs: float
    duration_s: float
    channels: tuple[ChannelFigures, ...] = field(repr=False)
    problems: tuple[Problem, ...]
    filters: tuple[dict[str, Any], ...] = ()

    @property
    def codes(self) -> set[str]:
        return {problem.code for problem in self.problems}

    @property
    def is_fine(self) -> bool:
        """Whether there is nothing worse than a note."""
        return all(problem.severity == "note" for problem in self.problems)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; figures that do not exist are None."""
        return {
            "name": self.name,
            "subject": self.subject,
            "session": self.session,
            "tasks": list(self.tasks),
            "fs": self.fs,
            "duration_s": self.duration_s,
            "filters": [dict(each) for each in self.filters],
            "problems": [problem.to_dict() for problem in self.problems],
            "channels": [_channel_dict(channel) for channel in self.channels],
        }


@dataclass(frozen=True)
class SetReport:
    """A set's recordings, and the problems that only a set has."""

    reports: tuple[QualityReport, ...] = field(repr=False)
    set_problems: tuple[Problem, ...]

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Of the set first, then of the recordings."""
        own = (problem for report in self.reports for problem in report.problems)
        return (*self.set_problems, *own)

    @property
    def codes(self) -> set[str]:
        return {problem.code for problem in self.problems}

    @property
    def is_fine(self) -> bool:
        return all(problem.severity == "note" for problem in self.problems)

    def to_dict(self) -> dict[str, Any]:
        return {
            "is_fine": self.is_fine,
            "counts": dict(Counter(problem.severity for problem in self.problems)),
            "problems": [problem.to_dict() for problem in self.set_problems],
            "recordings": [report.to_dict() for report in self.reports],
        }


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _channel_dict(channel: ChannelFigures) -> dict[str, Any]:
    scalars = ("nan_share", "flat_share", "mean_v", "rms_v", "peak_v", "level_v", "quiet_v",
               "snr_db", "low_share", "drift_share", "mdf_hz")  # fmt: skip
    return {
        "name": channel.name,
        "muscle": channel.muscle,
        **{name: _number(getattr(channel, name)) for name in scalars},
        "clipped_share": channel.rails.share,
        "limits_v": [_number(channel.rails.low_v), _number(channel.rails.high_v)],
        "hum": {
            "hz": channel.hum.hz,
            "height_db": _number(channel.hum.height_db),
            "rms_v": _number(channel.hum.rms_v),
        },
        "heart": {
            "found": channel.heart.are_heart_beats,
            "rate_bpm": _number(channel.heart.rate_bpm),
            "height_v": _number(channel.heart.height_v),
        },
        "mdf_slope_per_min": [
            _number(each) for each in (channel.trend.slope, channel.trend.low, channel.trend.high)
        ],
    }


def check_recording(recording: Recording) -> QualityReport:
    """Measure a recording and judge it.

    Parameters
    ----------
    recording : Recording
        In volts; read twice, half a minute at a time.

    Returns
    -------
    QualityReport

    Notes
    -----
    What is judged, and by what: sampling rate and spectrum (SENIAM: Hermens et al. 2000,
    doi 10.1016/S1050-6411(00)00027-4), motion below 20 Hz (De Luca et al. 2010,
    doi 10.1016/j.jbiomech.2010.01.027), heart beats (`find_heart_beats`), fatigue as a falling
    median frequency (De Luca 1997, doi 10.1123/jab.13.2.135). The docs list every rule.
    """
    filters = tuple(dict(each) for each in recording.filters)
    channels: tuple[ChannelFigures, ...] = ()
    if recording.duration_s >= _NO_FIGURES_S and recording.fs >= _NO_FIGURES_FS:
        channels = tuple(measure(recording, _known_band(recording, filters)))
    problems = channel_problems(channels) + recording_problems(recording)
    named = [
        Problem(p.severity, p.code, p.text, p.channels, p.value, recording.name) for p in problems
    ]
    return QualityReport(
        name=recording.name,
        subject=recording.subject,
        session=recording.session,
        task=recording.task,
        tasks=recording.tasks,
        fs=recording.fs,
        duration_s=recording.duration_s,
        channels=channels,
        problems=tuple(sorted(named, key=lambda p: SEVERITIES.index(p.severity))),
        filters=filters,
    )


def _known_band(recording: Recording, filters: Sequence[dict[str, Any]]) -> tuple[float, float]:
    low, high = 0.0, recording.fs / 2
    for each in filters:
        low = max(low, float(each.get("low_hz", 0.0)))
        high = min(high, float(each.get("high_hz", high)))
    return low, high


def check_recordings(
    recordings: Iterable[Recording],
    *,
    duplicates: Iterable[tuple[str, str]] = (),
    tasks: Sequence[str] = (),
) -> SetReport:
    """Check recordings one at a time, then what only a set can show.

    Parameters
    ----------
    recordings : iterable of Recording
        Consumed once.
    duplicates : iterable of (original, copy)
        Names of recordings that are copies. It is read after the last recording: a list that grows
        while `recordings` is consumed will do.
    tasks : sequence of str
        What every subject should have done; by default every task that occurs.

    Returns
    -------
    SetReport
    """
    reports = tuple(check_recording(recording) for recording in recordings)
    problems: list[Problem] = []
    if not reports:
        problems.append(Problem("error", "empty", "there are no recordings; check the path"))
    problems += [_duplicate(pair, reports) for pair in duplicates]
    problems += _missing(reports, tasks) + _unlike(reports) + _odd_levels(reports)
    problems += _odd_subjects(reports)
    ordered = sorted(problems, key=lambda p: SEVERITIES.index(p.severity))
    return SetReport(reports, tuple(ordered))


def _duplicate(pair: tuple[str, str], reports: Sequence[QualityReport]) -> Problem:
    owner = {report.name: report.subject for report in reports}
    first, copy = pair
    across = owner.get(first) != owner.get(copy)
    where = f", of another subject ({owner.get(first)} and {owner.get(copy)})" if across else ""
    return Problem(
        "error", "duplicate",
        f"{copy} is a copy of {first}{where}; drop one (drop_duplicates), or a split by subject "
        "puts the same signal on both sides", recording=copy,
    )  # fmt: skip


def _missing(reports: Sequence[QualityReport], tasks: Sequence[str]) -> list[Problem]:
    done: dict[str, set[str]] = defaultdict(set)
    for report in reports:
        done[report.subject] |= set(report.tasks)
    wanted = set(tasks) or set().union(*done.values())
    lacking: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for subject, has in done.items():
        if wanted - has:
            lacking[tuple(sorted(wanted - has))].append(subject)
    return [
        Problem(
            "warning", "missing",
            f"subject{'s' if len(subjects) > 1 else ''} {', '.join(subjects)}: no recording of "
            f"{', '.join(missing)}; add it, or leave the task or the subject out",
            value=float(len(subjects)),
        )
        for missing, subjects in lacking.items()
    ]  # fmt: skip


def _unlike(reports: Sequence[QualityReport]) -> list[Problem]:
    problems = []
    rates = Counter(report.fs for report in reports)
    if len(rates) > 1:
        listed = ", ".join(f"{fs:.7g} Hz ({n})" for fs, n in rates.most_common())
        problems.append(Problem(
            "error", "rate", f"the recordings have different rates: {listed}; resample them to one"
        ))  # fmt: skip
    layouts = Counter(tuple(c.name for c in report.channels) for report in reports)
    layouts.pop((), None)
    if len(layouts) > 1:
        listed = "; ".join(f"{', '.join(names)} ({n})" for names, n in layouts.most_common(3))
        problems.append(Problem(
            "error", "channels",
            f"the recordings have different channels: {listed}; name and choose them alike",
        ))  # fmt: skip
    return problems


def _odd_levels(reports: Sequence[QualityReport]) -> list[Problem]:
    """Recordings whose unit differs from that of the others of their task, or of all."""
    levels = {
        id(report): float(np.median([channel.level_v for channel in report.channels]))
        for report in reports
        if report.channels
    }
    problems = []
    for report in reports:
        level = levels.get(id(report), 0.0)
        same = [levels[id(r)] for r in reports if r.tasks == report.tasks and id(r) in levels]
        alike = same if len(same) >= 3 else list(levels.values())
        usual = float(np.median(alike)) if len(alike) >= 3 else 0.0
        if min(level, usual) <= 0 or 1 / _ODD_RATIO < level / usual < _ODD_RATIO:
            continue
        ratio = max(level / usual, usual / level)
        problems.append(
            Problem(
                "error",
                "unit",
                f"its contractions ({volts(level)} RMS) are about "
                f"{'1e6' if ratio > _NEARER_1E6 else '1e3'} times "
                f"{'larger' if level > usual else 'smaller'} than those of the others "
                f"({volts(usual)}); correct its unit",
                value=level / usual,
                recording=report.name,
            )
        )
    return problems


def _odd_subjects(reports: Sequence[QualityReport]) -> list[Problem]:
    """Subjects that were recorded with other filters than the rest."""
    flags: dict[str, list[bool]] = defaultdict(list)
    for report in reports:
        flags[report.subject].append(bool(report.codes & {"unfiltered", "drift"}))
    if len(flags) < 3:
        return []
    shares = {subject: float(np.mean(values)) for subject, values in flags.items()}
    problems = []
    for subject, share in shares.items():
        others = max(value for other, value in shares.items() if other != subject)
        if share >= 0.5 and share - others >= 0.4:
            problems.append(Problem(
                "warning", "unfiltered",
                f"subject {subject}: {share:.0%} of the recordings hold much power below 20 Hz on "
                f"every channel, at most {others:.0%} of any other subject's; this subject was "
                "probably recorded without the others' filters: filter all alike, or leave it out",
                value=share,
            ))  # fmt: skip
    return problems
