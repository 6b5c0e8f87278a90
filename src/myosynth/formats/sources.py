"""From what a file holds, in its own units, to a `Recording`, with a mapping's help."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from myosynth.errors import ConfigError, FormatError, InputError
from myosynth.formats.lazy import scaled
from myosynth.formats.mapping import Column, FileMapping
from myosynth.formats.names import (
    entities,
    is_counts,
    is_normalised,
    is_voltage,
    unique,
    volts_per_unit,
)
from myosynth.recordings import Annotation, Recording, SignalArray

__all__ = ["Reader", "Signals", "as_recording"]

_BLOCK = 1 << 20  # samples per channel looked at together
_MERGE_S = 0.01  # clipped spans closer than this become one
_SAME_RATE = 1e-4


@dataclass(frozen=True)
class Signals:
    """The channels of a file as they stand in it.

    Parameters
    ----------
    names, units : sequence of str
        One per channel; an empty unit is one that the file does not state.
    rates : sequence of float or None
        Hz, one per channel; None where the file does not state it.
    pick : function
        From positions of channels, all of one rate, to samples (n_channels, n_times) in their own
        units.
    may_be_emg : sequence of bool, optional
        False for what is known not to be EMG (force plates, times). All by default.
    listed : bool
        The channels are the mapping's columns, in its order.
    subject, session, task, run, annotations, metadata
        As in `Recording`, where the file knows them.
    """

    names: Sequence[str]
    units: Sequence[str]
    rates: Sequence[float | None]
    pick: Callable[[Sequence[int]], SignalArray]
    may_be_emg: Sequence[bool] = ()
    listed: bool = False
    subject: str = ""
    session: str = ""
    task: str = ""
    run: str = ""
    annotations: Sequence[Annotation] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)


Reader = Callable[[Path, FileMapping | None], Signals]


@dataclass(frozen=True)
class _Channel:
    index: int
    name: str
    muscle: str
    unit: str
    scale: float


def as_recording(
    path: Path, signals: Signals, plan: FileMapping | None = None, *, fs: float | None = None
) -> Recording:
    """Make a recording of a file's channels.

    With `plan.columns` those channels, else every one whose unit is a voltage (where rates differ,
    those of `plan.fs`); the others are named in ``metadata["other_channels"]``. What the file does
    not state the mapping or `fs` must; what the mapping says of a unit counts before the file's
    word.

    Raises
    ------
    FormatError
        If a channel is missing, a unit is not known, rates differ or contradict one another, or
        the path does not fit the mapping's pattern.
    ConfigError
        If the rate is given nowhere, or the mapping does not fit.
    """
    channels = _chosen(path, signals, plan)
    rate = _rate(path, signals, channels, plan, fs)
    factors = [
        channel.scale * _volts(path, channel.unit, signals.names[channel.index])
        for channel in channels
    ]
    samples = signals.pick([channel.index for channel in channels])
    if samples.shape[1] == 0:
        raise FormatError(f"{path} holds no samples; leave it out or export it again")
    names = unique([channel.name for channel in channels], longest=None)
    found = _from_path(path, plan) if plan and plan.path else {}
    metadata: dict[str, Any] = {
        "source_file": path.name,
        "source_units": [channel.unit for channel in channels],
        **signals.metadata,
    }
    used = {channel.index for channel in channels}
    other = [name for i, name in enumerate(signals.names) if i not in used]
    if other and not (plan and plan.columns):
        metadata["other_channels"] = other
    annotations = list(signals.annotations)
    if plan is not None:
        meaning = {k: plan.values.get(k, {}).get(v, v) for k, v in found.items()}
        metadata |= meaning | {"sidecar": {**metadata.get("sidecar", {}), **plan.known_fields}}
        annotations = [
            Annotation(a.onset_s, a.duration_s, plan.tasks.get(a.description, a.description))
            for a in annotations
        ]
    if plan is not None and plan.clip_limit is not None:
        clipped, counts = _clipped(samples, plan.clip_limit)
        annotations += _spans(clipped, rate)
        metadata["clipped_samples"] = dict(zip(names, counts.tolist(), strict=True))
    who = _who_and_what(path, signals, plan, found)
    try:
        return Recording(
            data=scaled(samples, factors),
            fs=rate,
            channel_names=names,
            muscles=[channel.muscle for channel in channels],
            annotations=annotations,
            metadata=metadata,
            subject=who["subject"],
            session=who["session"],
            task=who["task"],
            run=who["run"],
        )
    except InputError as error:
        raise FormatError(f"{path}: {error}") from error


def _chosen(path: Path, signals: Signals, plan: FileMapping | None) -> list[_Channel]:
    if plan is not None and plan.columns:
        return [
            _Channel(
                index := position if signals.listed else _position(path, signals, column),
                column.channel or str(column.column),
                column.muscle,
                column.unit or _stated_or(column.missing_unit, signals.units[index]),
                column.scale,
            )
            for position, column in enumerate(plan.columns)
        ]
    may_be = signals.may_be_emg or [True] * len(signals.names)
    wanted = plan.fs if plan is not None and len(set(signals.rates)) > 1 else None
    candidates = [i for i in range(len(signals.names)) if may_be[i]]
    if wanted is not None:  # of several rates the mapping names one
        candidates = [i for i in candidates if _is_rate(signals.rates[i], wanted)]
    unknown = [i for i in candidates if is_counts(signals.units[i])]
    chosen = [i for i in candidates if is_voltage(signals.units[i])]
    if unknown:
        _volts(path, signals.units[unknown[0]], signals.names[unknown[0]])
    for i in candidates if not chosen else ():
        if is_normalised(signals.units[i]):
            _volts(path, signals.units[i], signals.names[i])
    if not chosen:
        held = ", ".join(
            f"{name} [{unit}]" for name, unit in zip(signals.names, signals.units, strict=True)
        )
        raise FormatError(
            f"{path} holds no channel with a unit of voltage ({held or 'no channel at all'}); list "
            "the EMG channels under columns: in a mapping file"
        )
    return [_Channel(i, signals.names[i], "", signals.units[i], 1.0) for i in chosen]


def _stated_or(missing: str, stated: str) -> str:
    return missing if missing and is_counts(stated) else stated


def _position(path: Path, signals: Signals, column: Column) -> int:
    if isinstance(column.column, int):
        if column.column > len(signals.names):
            raise FormatError(
                f"{path} has {len(signals.names)} channels, so there is no column {column.column}"
            )
        return column.column - 1
    try:
        return list(signals.names).index(column.column)
    except ValueError as error:
        raise FormatError(
            f"{path} has no channel {column.column!r}; it has {list(signals.names)}"
        ) from error


def _volts(path: Path, unit: str, name: str) -> float:
    return volts_per_unit(unit, f"{path}, channel {name!r}")


def _rate(
    path: Path,
    signals: Signals,
    channels: Sequence[_Channel],
    plan: FileMapping | None,
    fs: float | None,
) -> float:
    rates = {signals.names[c.index]: signals.rates[c.index] for c in channels}
    if len(set(rates.values())) > 1:
        said = ", ".join(f"{name} {rate:g} Hz" for name, rate in rates.items() if rate)
        raise FormatError(
            f"{path} has channels of different rates ({said}); write fs: (one of them) into a "
            "mapping file, or list channels of one rate under columns:"
        )
    stated = next(iter(rates.values()))
    wanted = (plan.fs if plan else None) or fs
    if stated is None and wanted is None:
        raise ConfigError(f"{path}: no sampling rate; write fs: … (in Hz) into the mapping file")
    if wanted is not None and not _is_rate(stated, wanted):
        raise FormatError(
            f"{path} says {stated or 0:g} Hz, but fs: {wanted:g} was asked for; correct the wrong "
            "one"
        )
    return float(wanted or stated or 0)


def _is_rate(stated: float | None, wanted: float) -> bool:
    return stated is None or abs(wanted / stated - 1) <= _SAME_RATE


def _from_path(path: Path, plan: FileMapping) -> dict[str, str]:
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


def _who_and_what(
    path: Path, signals: Signals, plan: FileMapping | None, found: Mapping[str, str]
) -> dict[str, str]:
    """Subject, session, task and run: the mapping's, else those in the name, else the file's."""
    named = entities(path)
    who = {
        "subject": named.get("sub") or signals.subject or path.stem,
        "session": named.get("ses") or signals.session,
        "task": named.get("task") or signals.task,
        "run": named.get("run") or signals.run,
    }
    if plan is None:
        return who
    if plan.path:
        who = {key: _filled(getattr(plan, key), found, key) for key in who}
    else:
        stated = {key: str(getattr(plan, key)) for key in who}
        who |= {key: text for key, text in stated.items() if text and "{" not in text}
    if plan.tasks and who["task"] and who["task"] not in plan.tasks:
        raise FormatError(
            f"{path}: task {who['task']!r} is not in the mapping's tasks "
            f"({', '.join(plan.tasks)}); add it"
        )
    return who | {"task": plan.tasks.get(who["task"], who["task"])}


def _filled(text: str, found: Mapping[str, str], what: str) -> str:
    try:
        return re.sub(r"\{(\w+)\}", lambda match: found[match[1]], text)
    except KeyError as error:
        raise ConfigError(
            f"{what}: {text!r} names the group {error}, which the path pattern does not have "
            f"(it has {sorted(found)})"
        ) from error


def _clipped(
    samples: SignalArray, limit: float
) -> tuple[NDArray[np.bool_], NDArray[np.signedinteger[Any]]]:
    """Where any channel is at the limit, (n_times,), and how often each is."""
    clipped = np.zeros(samples.shape[1], dtype=bool)
    counts = np.zeros(samples.shape[0], dtype=np.intp)
    for start in range(0, samples.shape[1], _BLOCK):
        marked = np.abs(np.asarray(samples[:, start : start + _BLOCK])) >= limit
        clipped[start : start + _BLOCK] = marked.any(axis=0)
        counts += marked.sum(axis=1)
    return clipped, counts


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
