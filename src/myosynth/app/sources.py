"""Where recordings come from: simulated, or imported into EMG-BIDS."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from myosynth.app.config import Overwrite, Progress, Seed, checked, taken
from myosynth.app.provenance import PROVENANCE, Provenance, hide_from_validators, mapping_input
from myosynth.errors import ConfigError, FormatError, InputError
from myosynth.storage import atomic_file

if TYPE_CHECKING:
    from myosynth.formats import BidsSummary
    from myosynth.recordings import Recording
    from myosynth.simulation import Truth

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
    from myosynth.simulation import NOISE_RMS, TASKS, simulate_dataset, write_truth

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

        def told() -> Iterator[tuple["Recording", "Truth"]]:
            for number, pair in enumerate(stream):
                report(number / total, f"simulating {pair[0].name}")
                yield pair

        summary = write_bids(
            write_truth(told(), folder / "sourcedata" / "truth")
            if truth
            else (recording for recording, _ in told()),
            folder / "bids",
            name="Simulated surface EMG of manual material handling",
            licence="CC0",
            authors=("The myosynth developers", "The person who ran the simulation"),
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
        One per recording: file, subject, session, task, seconds, fs, channels, units, clipped
        (share).
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
        str | None,
        Field(description="Mapping file for delimited text, or a shipped name."),
    ] = None,
    fs: Annotated[
        float | None, Field(gt=0, description="Sampling rate where the mapping gives none, Hz.")
    ] = None,
    answer: Annotated[
        dict[str, Any] | None,
        Field(description="What the files do not say: unit=uV, fs=2000, task=pull or task=part2."),
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
    """Turn recordings of any kind that is read into an EMG-BIDS dataset.

    Where the files do not say enough and there is no mapping, one is drafted: with `answer` it is
    used and kept in the dataset (code/mapping.yaml), else it is written beside `out`, to be filled.
    A folder that bears the name of a shipped mapping and holds such files is read with that.

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

    Raises
    ------
    ConfigError
        If the files do not say enough; the message names the draft and the questions.
    """
    from myosynth.formats import load_mapping, parse_mapping, shipped_mappings, write_bids
    from myosynth.formats.readers import iterate_recordings

    shipped = folder.absolute().name
    if mapping is None and not answer and shipped in shipped_mappings():
        mapping = shipped if any(folder.glob(load_mapping(shipped).files or "*")) else None
    report = on_progress or (lambda share, what: None)
    if folder.is_dir() and out.resolve().is_relative_to(folder.resolve()):
        raise InputError(
            f"{out} lies inside {folder}, so that the next import would read it as recordings; "
            "name a folder elsewhere"
        )
    drafted = "" if mapping else _drafted(folder, out, fs, answer or {})
    plan = load_mapping(mapping) if mapping else None
    if drafted:
        plan = parse_mapping(drafted, "drafted")
    stream = iterate_recordings(folder, mapping=plan, fs=fs)
    inputs = {"folder": folder, **mapping_input(mapping)}
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
        if drafted:
            (target / "code").mkdir()
            (target / "code" / "mapping.yaml").write_text(drafted, encoding="utf-8")
    summary.n_recordings, summary.duplicates = written.n_recordings, written.duplicates
    report(1.0, "done")
    return summary


def _drafted(folder: Path, out: Path, fs: float | None, answers: dict[str, Any]) -> str:
    """A mapping made of what the files show and the answers; empty where none is needed."""
    from myosynth.formats import draft_mapping, parse_mapping, questions, survey

    found = survey(folder, fs=fs, check_duplicates=False)
    for row in found.rows:
        if row.problems and not row.needs_answers:
            raise FormatError(f"{folder / row.file}: {row.problems[0]}")
    if found.is_ready and not answers:
        return ""
    given = {**({"fs": fs} if fs else {}), **answers}
    text = draft_mapping(found, given)
    asked = [q for q in questions(found) if q.is_required and q.key not in given]
    left = survey(folder, parse_mapping(text, "drafted"), check_duplicates=False)
    if left.is_ready and not {"subject", "run"} & {question.key for question in asked}:
        return text
    draft = out.with_name(f"{out.name}.mapping.yaml")
    with atomic_file(draft) as partial:
        partial.write_text(text, encoding="utf-8")
    to_answer = " ".join(f"{q.text} (--answer {q.key}=…)" for q in asked) or " ".join(
        f"{problem[0].upper()}{problem[1:]}." for problem in [*left.files_to_mend()][:1]
    )
    open_files = [row.file for row in found.rows if row.problems]
    named = f"{', '.join(open_files[:3])}{', …' if len(open_files) > 3 else ''}"
    raise ConfigError(
        f"{len(open_files)} of {len(found.rows)} files in {folder} do not say enough ({named}; "
        f"myosynth info shows them all). {to_answer} Or fill in {draft} "
        "and pass it as --mapping."
    )


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
        "units": ", ".join(sorted(set(recording.metadata.get("source_units", ())))),
        "clipped": round(clipped / recording.duration_s, 4) if recording.duration_s else 0.0,
    }
