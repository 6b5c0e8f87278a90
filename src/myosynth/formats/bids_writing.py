"""Writing EMG-BIDS, one recording at a time; `bids` is the other half.

Source
------
BIDS 1.11.1, electromyography (BEP042): https://bids-specification.readthedocs.io.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from myosynth.errors import InputError
from myosynth.formats.bids import OWN_FIELD, whole_task
from myosynth.formats.duplicates import DuplicateFinder
from myosynth.formats.edf_writing import edf_labels, write_edf
from myosynth.formats.names import bids_label
from myosynth.formats.tsv import write_tsv
from myosynth.recordings import Recording
from myosynth.storage import atomic_directory, write_json

__all__ = ["BidsSummary", "write_bids"]

_BIDS_VERSION = "1.11.1"
_UNKNOWN_AUTHORS = ("The authors of the source", "The myosynth developers")
_UNKNOWN_FIELDS = (
    "EMGReference", "EMGGround", "PowerLineFrequency", "TaskDescription",
    "Instructions", "Manufacturer", "ManufacturersModelName", "SoftwareVersions",
    "DeviceSerialNumber", "AmplifierType", "ElectrodeManufacturer",
    "ElectrodeManufacturersModelName", "ElectrodeMaterial", "ElectrodeType",
    "HardwareFilters",
    "SubjectArtefactDescription", "InstitutionName", "InstitutionAddress",
    "InstitutionalDepartmentName",
)  # fmt: skip


@dataclass
class BidsSummary:
    """What `write_bids` wrote: counts, and the pairs (original, copy) of duplicated recordings."""

    n_recordings: int = 0
    seconds: float = 0.0
    subjects: list[str] = field(default_factory=list)
    tasks: list[str] = field(default_factory=list)
    duplicates: list[tuple[str, str]] = field(default_factory=list)


def write_bids(
    recordings: Iterable[Recording],
    root: str | Path,
    *,
    name: str,
    authors: Sequence[str] = (),
    generated_by: Mapping[str, Any] | None = None,
    source_datasets: Sequence[Mapping[str, str]] | None = None,
    dataset_type: str = "raw",
    readme: str | None = None,
    licence: str = "n/a",
    acquisition: str = "",
    overwrite: bool = False,
    format: str = "edf",
    drop_duplicates: bool = False,
    check_duplicates: bool = True,
) -> BidsSummary:
    """Write recordings as an EMG-BIDS dataset, consuming them one at a time; all or nothing.

    Parameters
    ----------
    recordings : iterable of Recording
        Names that are not letters and digits are shortened to them for the file names; the
        originals stay in the sidecars. ``metadata["sidecar"]`` fills BIDS fields
        (``{"Manufacturer": …, "PowerLineFrequency": 50}``), ``metadata["group"]`` goes to
        participants.tsv.
    root : path
        The folder to write.
    name, authors, licence, source_datasets, dataset_type, readme
        For dataset_description.json (``raw`` or ``derivative``) and README.
    generated_by : mapping, optional
        One entry of GeneratedBy; this package and its version by default.
    acquisition : str
        ``acq-`` label of every file, for example ``synthetic``.
    overwrite : bool
        Replace an existing folder.
    format : {"edf", "bdf"}
        16 or 24 bit.
    drop_duplicates : bool
        Leave out recordings that copy an earlier one. They stay, marked, by default.
    check_duplicates : bool
        Compare each recording with all earlier ones (`DuplicateFinder`).

    Returns
    -------
    BidsSummary

    Raises
    ------
    InputError
        If there are no recordings, two share a name, or one has neither task nor timed tasks.
    """
    if format not in ("edf", "bdf"):
        raise InputError(f"BIDS holds EMG as edf or bdf, not {format!r}")
    if dataset_type not in ("raw", "derivative"):
        raise InputError(f"dataset_type is raw or derivative, not {dataset_type!r}")
    summary, finder = BidsSummary(), DuplicateFinder()
    participants: dict[str, dict[str, str]] = {}
    with atomic_directory(root, overwrite=overwrite) as folder:
        for recording in recordings:
            original = finder.add(recording) if check_duplicates else ""
            if original and drop_duplicates:
                continue
            if original:
                metadata = {**recording.metadata, "duplicate_of": original}
                recording = recording.replace(metadata=metadata)
            _add_participant(participants, recording)
            _write_recording(recording, folder, acquisition, format)
            summary.n_recordings += 1
            summary.seconds += recording.duration_s
            summary.tasks = sorted({*summary.tasks, *recording.tasks})
        if not summary.n_recordings:
            raise InputError(f"there are no recordings to write to {root}")
        summary.subjects = [row["original_id"] for row in participants.values()]
        summary.duplicates = finder.pairs
        write_json(
            folder / "dataset_description.json",
            {
                "Name": name,
                "BIDSVersion": _BIDS_VERSION,
                "DatasetType": dataset_type,
                "License": licence,
                "Authors": _two_authors(authors),
                "HEDVersion": "8.4.0",
                "GeneratedBy": [
                    dict(generated_by or {"Name": "myosynth", "Version": version("myosynth")})
                ],
                "SourceDatasets": [dict(each) for each in source_datasets or []],
            },
        )
        text = _readme(name, readme, summary, dropped=drop_duplicates)
        (folder / "README").write_text(text, encoding="utf-8")
        _write_participants(folder, participants)
    return summary


def _two_authors(authors: Sequence[str]) -> list[str]:
    """Authors as the validator wants them: more than one."""
    if len(authors) == 1:
        return [*authors, "The myosynth developers (conversion)"]
    return list(authors or _UNKNOWN_AUTHORS)


def _add_participant(participants: dict[str, dict[str, str]], recording: Recording) -> None:
    label = bids_label(recording.subject, "subject")
    row = {"original_id": recording.subject, "group": str(recording.metadata.get("group", "n/a"))}
    known = participants.setdefault(label, row)
    if known["original_id"] != recording.subject:
        raise InputError(
            f"subjects {known['original_id']!r} and {recording.subject!r} would both be "
            f"sub-{label} in BIDS; rename one of them"
        )


def _write_participants(folder: Path, participants: Mapping[str, Mapping[str, str]]) -> None:
    described = {
        "original_id": {"Description": "The subject's identifier in the source"},
        "group": {"Description": "The group of subjects in the source"},
    }
    if all(row["original_id"] == label for label, row in participants.items()):
        del described["original_id"]
    if all(row["group"] == "n/a" for row in participants.values()):
        del described["group"]
    rows = [
        {"participant_id": f"sub-{label}", **{column: row[column] for column in described}}
        for label, row in participants.items()
    ]
    write_tsv(folder / "participants.tsv", rows)
    write_json(folder / "participants.json", {"Description": "Participants", **described})
    write_json(folder / "channels.json", {"Description": "Channels of each recording"})


def _readme(name: str, readme: str | None, summary: BidsSummary, *, dropped: bool) -> str:
    text = readme or (
        f"{name}\n\nSurface electromyography in EMG-BIDS {_BIDS_VERSION}, written by myosynth: "
        f"{summary.n_recordings} recordings of {len(summary.subjects)} subjects, "
        f"{summary.seconds:.0f} s in all.\nTasks: {', '.join(summary.tasks)}.\n"
        "What the source did not state is n/a.\n"
    )
    if summary.duplicates:
        fate = "left out" if dropped else "kept; the copy's sidecar says duplicate_of"
        lines = "".join(f"- {copy} copies {first}\n" for first, copy in summary.duplicates)
        text += f"\nKnown problems: duplicated recordings ({fate}):\n{lines}"
    return text


def _write_recording(recording: Recording, folder: Path, acquisition: str, format: str) -> None:
    if not recording.tasks:
        raise InputError(
            f"{recording.name} has neither a task nor timed tasks, and BIDS needs one; name it"
        )
    parts = {
        "sub": bids_label(recording.subject, "subject"),
        "ses": bids_label(recording.session, "session") if recording.session else "",
        "task": bids_label(_task_name(recording), "task"),
        "acq": acquisition,
        "run": recording.run if recording.run.isdigit() else "",
    }
    target = folder / f"sub-{parts['sub']}"
    target = (target / f"ses-{parts['ses']}" if parts["ses"] else target) / "emg"
    target.mkdir(parents=True, exist_ok=True)
    stem = _join(parts)
    if recording.run and not parts["run"]:  # BIDS wants a number: the next free one
        taken = sum(1 for _ in target.glob(f"{stem}_run-*_emg.{format}"))
        stem += f"_run-{taken + 1}"
    path = target / f"{stem}_emg.{format}"
    if path.exists():
        raise InputError(
            f"two recordings are both named {stem}; give them different subjects, sessions or runs"
        )
    units = write_edf(recording, path)
    write_json(path.with_suffix(".json"), _sidecar(recording))
    write_tsv(target / f"{stem}_channels.tsv", _channel_rows(recording, units))
    _write_events(recording, target / f"{stem}_events")


def _task_name(recording: Recording) -> str:
    """The task, or what the source calls a recording of several."""
    stated = recording.metadata.get("sidecar", {}).get("TaskName")
    return recording.task or (stated if isinstance(stated, str) and stated else "mixed")


def _join(parts: Mapping[str, str]) -> str:
    return "_".join(f"{key}-{value}" for key, value in parts.items() if value)


def _sidecar(recording: Recording) -> dict[str, Any]:
    filters: dict[str, Any] = {}
    for each in recording.filters:
        number, key = 1, str(each["name"])
        while key in filters:
            number, key = number + 1, f"{each['name']}{number + 1}"
        filters[key] = {k: v for k, v in each.items() if k != "name"} or {"Applied": True}
    stated = recording.metadata.get("sidecar", {})
    placement = {
        "EMGPlacementScheme": "Other",
        "EMGPlacementSchemeDescription": "not stated by the source",
    }
    return {
        "Description": f"Surface EMG, {recording.name}",
        **dict.fromkeys(_UNKNOWN_FIELDS, "n/a"),
        **placement,
        **stated,
        # after what the source stated, which may have been another rate or length
        "TaskName": _task_name(recording),
        "SamplingFrequency": recording.fs,
        "EMGChannelCount": recording.n_channels,
        "TriggerChannelCount": 0,
        "RecordingDuration": recording.duration_s,
        "RecordingType": "continuous",
        "SoftwareFilters": filters or stated.get("SoftwareFilters", "n/a"),
        OWN_FIELD: {
            "subject": recording.subject,
            "session": recording.session,
            "task": recording.task,
            "run": recording.run,
            "channel_names": list(recording.channel_names),
            "filters": [dict(each) for each in recording.filters],
            "metadata": dict(recording.metadata),
        },
    }


def _channel_rows(recording: Recording, units: Sequence[str]) -> list[dict[str, Any]]:
    labels = edf_labels(recording.channel_names)
    bad = recording.metadata.get("bad_channels", ())
    columns = zip(labels, units, recording.channel_names, recording.muscles, strict=True)
    return [
        {
            "name": label,
            "type": "EMG",
            "units": unit,
            "description": channel,
            "sampling_frequency": recording.fs,
            "target_muscle": muscle or "n/a",
            **({"status": "bad" if {label, channel} & {*bad} else "good"} if bad else {}),
        }
        for label, unit, channel, muscle in columns
    ]


def _write_events(recording: Recording, stem: Path) -> None:
    spans = sorted(recording.annotations, key=lambda a: a.onset_s)
    if recording.task and whole_task(recording) not in spans:
        spans.insert(0, whole_task(recording))  # other software finds the task as an event too
    rows = [(a.onset_s, a.duration_s, a.description) for a in spans]
    rows += [(float(at), 0.0, str(what)) for at, what in recording.metadata.get("events", ())]
    write_tsv(
        stem.with_suffix(".tsv"),
        [
            {"onset": onset, "duration": duration, "trial_type": what}
            for onset, duration, what in sorted(rows, key=lambda row: row[0])
        ],
    )
    levels = {" ".join(what.split()): _level(duration, what) for _, duration, what in rows}
    write_json(
        stem.with_suffix(".json"),
        {
            "Description": "Tasks and spans that must not be used",
            "trial_type": {"Description": "Task, event or bad span", "Levels": levels},
            "StimulusPresentation": {"SoftwareName": "n/a"},
        },
    )


def _level(duration_s: float, what: str) -> str:
    if what.upper().startswith("BAD"):
        return "Span that must not be used"
    return f"Task {what}" if duration_s > 0 else f"Event {what}"
