"""Where recordings come from: simulated, or imported into EMG-BIDS."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from myosynth.app.config import Overwrite, Progress, Seed, checked, taken
from myosynth.app.provenance import PROVENANCE, Provenance, hide_from_validators

if TYPE_CHECKING:
    from myosynth.formats import BidsSummary
    from myosynth.recordings import Recording

__all__ = ["ImportSummary", "import_recordings", "simulate"]


@contextmanager
def _dataset_folder(out: Path, overwrite: bool, recorded: Provenance) -> Iterator[Path]:
    """A BIDS folder in the making; the record of the run joins it, unseen by validators."""
    from myosynth.storage import atomic_directory, write_json

    with atomic_directory(out, overwrite=overwrite) as folder:
        yield folder
        write_json(folder / PROVENANCE, recorded.finished())
        hide_from_validators(folder)


@checked
def simulate(
    out: Path,
    *,
    subjects: Annotated[int, Field(ge=1, description="How many people.")] = 12,
    sessions: Annotated[int, Field(ge=1, description="Visits of each.")] = 1,
    task: Annotated[
        tuple[str, ...], Field(description="pull, push, squat or stoop; all four without it.")
    ] = (),
    seconds: Annotated[float, Field(gt=0, description="Length of a recording, s.")] = 60.0,
    fs: Annotated[float, Field(gt=0, description="Sampling rate, Hz.")] = 2000.0,
    ecg: Annotated[
        float, Field(ge=0, description="Height of the heart's R peaks, V; 0 = none.")
    ] = 0.0,
    mains: Annotated[float, Field(ge=0, description="Amplitude of mains hum, V; 0 = none.")] = 0.0,
    mains_hz: Annotated[float, Field(description="Frequency of the hum, 50 or 60 Hz.")] = 50.0,
    noise: Annotated[
        float | None, Field(ge=0, description="RMS of the amplifier's noise, V; 2e-5 without it.")
    ] = None,
    fatigue: Annotated[
        float, Field(ge=0, le=1, description="Fall of conduction velocity, share per minute.")
    ] = 0.0,
    truth: Annotated[
        bool, Field(description="Save activation and discharges too (sourcedata/truth).")
    ] = False,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    on_progress: Progress | None = None,
) -> "BidsSummary":
    """Simulate lifting, pulling and pushing EMG of known truth as an EMG-BIDS dataset.

    Parameters
    ----------
    out : path
        The dataset folder to write.

    Returns
    -------
    BidsSummary
    """
    from myosynth.formats import write_bids
    from myosynth.simulation import NOISE_RMS, TASKS, simulate_dataset

    report = on_progress or (lambda share, what: None)
    recorded = Provenance("simulate", {"simulate": taken(simulate, locals())}, seed=seed)
    tasks = task or TASKS
    stream = simulate_dataset(
        n_subjects=subjects,
        n_sessions=sessions,
        tasks=tasks,
        duration_s=seconds,
        fs=fs,
        seed=seed,
        ecg=ecg,
        mains=mains,
        mains_hz=mains_hz,
        noise=NOISE_RMS if noise is None else noise,
        fatigue=fatigue,
        with_truth=True,
    )
    total = subjects * sessions * len(tasks)
    with _dataset_folder(out, overwrite, recorded) as folder:

        def recordings() -> Iterator["Recording"]:
            for number, (recording, known) in enumerate(stream):
                report(number / total, f"simulating {recording.name}")
                if truth:
                    known.save(folder / "sourcedata" / "truth" / f"{recording.name}_truth.npz")
                yield recording

        summary = write_bids(
            recordings(),
            folder / "bids",
            name="Simulated surface EMG of manual material handling",
            licence="CC0",
            authors=("The myosynth developers",),
            check_duplicates=False,
        )
        _lift(folder / "bids", folder)
    report(1.0, "done")
    return summary


def _lift(inner: Path, outer: Path) -> None:
    """Move what `inner` holds one level up."""
    for each in sorted(inner.iterdir()):
        each.replace(outer / each.name)
    inner.rmdir()


@dataclass
class ImportSummary:
    """What an import found.

    Parameters
    ----------
    files : list of dict
        One per recording: file, subject, session, task, seconds, fs, channels, clipped (share).
    n_recordings : int
        How many were written.
    duplicates : list of (str, str)
        (original, copy).
    """

    files: list[dict[str, Any]] = field(default_factory=list)
    n_recordings: int = 0
    duplicates: list[tuple[str, str]] = field(default_factory=list)


@checked
def import_recordings(
    folder: Path,
    out: Path,
    *,
    mapping: Annotated[
        str | None, Field(description="Mapping file for delimited text, or a shipped name.")
    ] = None,
    fs: Annotated[
        float | None, Field(gt=0, description="Sampling rate where the mapping gives none, Hz.")
    ] = None,
    name: Annotated[
        str | None, Field(description="Name of the dataset; that of the folder without it.")
    ] = None,
    format: Annotated[
        Literal["edf", "bdf"], Field(description="16 or 24 bit inside the dataset.")
    ] = "edf",
    drop_duplicates: Annotated[
        bool, Field(description="Leave out recordings that copy an earlier one.")
    ] = False,
    overwrite: Overwrite = False,
    on_progress: Progress | None = None,
) -> ImportSummary:
    """Turn recordings in EDF, BDF or delimited text into an EMG-BIDS dataset.

    Parameters
    ----------
    folder : path
        Where the recordings are; one file will do.
    out : path
        The dataset folder to write.

    Returns
    -------
    ImportSummary
        Duplicated recordings are reported and, unless `drop_duplicates`, kept and marked.
    """
    from myosynth.formats import load_mapping, write_bids
    from myosynth.formats.readers import iterate_recordings

    report = on_progress or (lambda share, what: None)
    plan = load_mapping(mapping) if mapping else None
    stream = iterate_recordings(folder, mapping=plan, fs=fs)
    inputs = {"folder": folder} | ({"mapping": Path(mapping)} if mapping else {})
    recorded = Provenance("import", {"import": taken(import_recordings, locals())}, inputs=inputs)
    summary = ImportSummary()
    with _dataset_folder(out, overwrite, recorded) as target:

        def recordings() -> Iterator["Recording"]:
            for path, recording in stream:
                report(0.0, f"reading {path.name}")
                summary.files.append(_found(path, recording))
                yield recording

        written = write_bids(
            recordings(),
            target,
            name=name or (plan and plan.name) or folder.absolute().name,
            licence=plan.licence if plan else "n/a",
            authors=plan.authors if plan else (),
            source_datasets=plan.source_datasets if plan else None,
            format=format,
            drop_duplicates=drop_duplicates,
        )
    summary.n_recordings, summary.duplicates = written.n_recordings, written.duplicates
    report(1.0, "done")
    return summary


def _found(path: Path, recording: "Recording") -> dict[str, Any]:
    clipped = sum(a.duration_s for a in recording.annotations if "clipped" in a.description.lower())
    return {
        "file": path.name,
        "subject": recording.subject,
        "session": recording.session,
        "task": ", ".join(recording.tasks),
        "seconds": round(recording.duration_s, 3),
        "fs": recording.fs,
        "channels": recording.n_channels,
        "clipped": round(clipped / recording.duration_s, 4) if recording.duration_s else 0.0,
    }
