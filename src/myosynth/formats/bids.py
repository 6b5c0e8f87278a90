"""Reading EMG-BIDS, the native form of a set of recordings; `bids_writing` is the other half.

Source
------
BIDS 1.11.1, electromyography (BEP042): https://bids-specification.readthedocs.io;
Pernet et al. (2019), doi:10.1038/s41597-019-0104-8, for the conventions shared with EEG.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from myosynth.errors import FormatError
from myosynth.formats.edf import read_edf
from myosynth.formats.names import entities, natural_key
from myosynth.formats.tsv import number, read_tsv
from myosynth.recordings import Annotation, Recording
from myosynth.storage import read_json

__all__ = [
    "OWN_FIELD",
    "bids_root",
    "is_bids",
    "read_bids",
    "read_bids_file",
    "recording_files",
    "whole_task",
]

OWN_FIELD = "Myosynth"
"""Name of the sidecar's object that holds what BIDS has no field for."""

_SAME_RATE = 1e-4


def is_bids(root: Path) -> bool:
    """Whether a folder is the root of a BIDS dataset."""
    return (root / "dataset_description.json").is_file() or any(root.glob("sub-*/**/emg/*_emg.?df"))


def bids_root(path: Path) -> Path | None:
    """The root of the dataset that a file ``sub-…/emg/…_emg.edf`` belongs to."""
    if not path.stem.endswith("_emg") or path.parent.name != "emg":
        return None
    return next(
        (p.parent for p in path.parents if p.name == f"sub-{entities(path).get('sub')}"), None
    )


def recording_files(root: Path) -> list[Path]:
    """The EMG files of a BIDS dataset in natural order.

    Raises
    ------
    FormatError
        If there is none.
    """
    patterns = (
        f"sub-*/{sessions}emg/*_emg.{s}" for s in ("edf", "bdf") for sessions in ("", "ses-*/")
    )
    files = sorted((path for each in patterns for path in root.glob(each)), key=natural_key)
    if not files:
        raise FormatError(f"{root} holds no EMG-BIDS recording (sub-…/emg/…_emg.edf or .bdf)")
    return files


def read_bids(root: str | Path) -> Iterator[Recording]:
    """Read the EMG recordings of a BIDS dataset, one at a time; see `read_bids_file`."""
    return (read_bids_file(path, Path(root)) for path in recording_files(Path(root)))


def read_bids_file(path: Path, root: Path) -> Recording:
    """Read one ``…_emg.edf`` or ``.bdf`` with the sidecars that apply to it.

    Channels whose type is not EMG are dropped. The header's unit counts; channels.tsv gives it
    where the header has none. Rows of events.tsv with a duration are timed tasks (trial_type) or
    bad spans; the file's own task then only names the file.

    Raises
    ------
    FormatError
        If a file is damaged, or the header and the sidecars contradict each other.
    """
    sidecar: dict[str, Any] = {}
    for each in _inherited(path, root, "emg.json"):
        sidecar |= read_json(each)
    own: dict[str, Any] = sidecar.pop(OWN_FIELD, {})
    tables = _inherited(path, root, "channels.tsv")
    rows = read_tsv(tables[-1], ("name", "type", "units")) if tables else []
    kept = [row for row in rows if row["type"].upper() == "EMG"]
    if rows and not kept:
        raise FormatError(f"{tables[-1]} has no channel of type EMG; mark the EMG channels so")
    names = [row["name"] for row in kept]
    header = read_edf(path, channels=names or None, unit={r["name"]: r["units"] for r in kept})
    events = _inherited(path, root, "events.tsv")
    annotations, points = (
        _read_events(events[-1]) if events else (header.annotations, header.metadata["events"])
    )
    parts = entities(path)
    timed = any(not a.is_bad for a in annotations)
    stated = {key: value for key, value in sidecar.items() if value != "n/a"}
    metadata = (
        own["metadata"]
        if "metadata" in own
        else {
            "source_file": path.name,
            "source_units": header.metadata["source_units"],
            "sidecar": stated,
            **({"events": points} if points else {}),
        }
    )
    found = header.replace(
        fs=_agreed_fs(path, header.fs, sidecar, kept),
        channel_names=own.get("channel_names") or header.channel_names,
        muscles=[row.get("target_muscle", "") for row in kept] or header.muscles,
        subject=own.get("subject") or parts.get("sub", header.subject),
        session=own.get("session", parts.get("ses", "")),
        task=own.get("task", "" if timed else parts.get("task", "")),
        run=own.get("run", parts.get("run", "")),
        annotations=annotations,
        filters=own.get("filters", _foreign_filters(sidecar.get("SoftwareFilters"))),
        metadata=metadata,
    )
    return found.replace(
        annotations=[a for a in found.annotations if a != whole_task(found)],
        metadata=_marked(found, kept),
    )


def _inherited(path: Path, root: Path, ending: str) -> list[Path]:
    """Sidecars that apply to `path`, the most general first (the inheritance principle)."""
    wanted = entities(path).items()
    folders = [path.parent, *path.parent.parents]
    folders = folders[: folders.index(root) + 1] if root in folders else folders[:1]
    found: list[Path] = []
    for folder in reversed(folders):
        fitting = [
            each
            for pattern in (ending, f"*_{ending}")
            for each in folder.glob(pattern)
            if entities(each).items() <= wanted
        ]
        found += sorted(fitting, key=lambda each: len(entities(each)))
    return found


def _agreed_fs(
    path: Path, header_fs: float, sidecar: Mapping[str, Any], kept: Sequence[Mapping[str, str]]
) -> float:
    stated = [sidecar["SamplingFrequency"]] if "SamplingFrequency" in sidecar else []
    stated += [row["sampling_frequency"] for row in kept if row.get("sampling_frequency")]
    for value in stated:
        try:
            fs = float(value)
        except (TypeError, ValueError):
            fs = math.nan
        if not abs(fs / header_fs - 1) <= _SAME_RATE:
            raise FormatError(
                f"{path}: the header says {header_fs:.7g} Hz and its sidecar {value} Hz; "
                "correct the one that is wrong"
            )
    # the header's rate is a quotient of rounded numbers: the sidecar can be more exact
    first = float(stated[0]) if stated else header_fs
    return first if abs(first / header_fs - 1) <= 1e-6 else header_fs


def _marked(recording: Recording, kept: Sequence[Mapping[str, str]]) -> Mapping[str, Any]:
    """Its metadata with the bad channels that channels.tsv names; there they can be edited."""
    if not any("status" in row for row in kept):
        return recording.metadata
    metadata = {k: v for k, v in recording.metadata.items() if k != "bad_channels"}
    rows = zip(recording.channel_names, kept, strict=True)
    bad = [name for name, row in rows if row.get("status", "").lower() == "bad"]
    return {**metadata, "bad_channels": bad} if bad else metadata


def _foreign_filters(filters: Any) -> list[dict[str, Any]]:
    if not isinstance(filters, Mapping):
        return []
    return [
        {"name": key, **(dict(value) if isinstance(value, Mapping) else {"value": value})}
        for key, value in filters.items()
    ]


def _read_events(path: Path) -> tuple[list[Annotation], list[list[Any]]]:
    spans: list[Annotation] = []
    points: list[list[Any]] = []
    for line, row in enumerate(read_tsv(path, ("onset", "duration")), start=2):
        onset = number(path, line, "onset", row["onset"])
        duration = number(path, line, "duration", row["duration"] or "0")
        kind = row.get("trial_type", "")
        if kind and duration > 0 and onset + duration > 0:
            # an event may begin before the first sample: its part inside counts
            spans.append(Annotation(max(0.0, onset), duration + min(0.0, onset), kind))
        elif kind:
            points.append([onset, kind])
    return spans, points


def whole_task(recording: Recording) -> Annotation:
    """The span of a recording's own task."""
    return Annotation(0.0, recording.duration_s, recording.task)
