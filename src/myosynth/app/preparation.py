"""From recordings to segments: split by subject, filter, cut, reject; one recording at a time."""

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from myosynth.app.config import Overwrite, Progress, Seed, checked, taken
from myosynth.app.provenance import PROVENANCE, Provenance, mapping_input
from myosynth.errors import InputError, NotEnoughDataError

if TYPE_CHECKING:
    from myosynth.recordings import Recording
    from myosynth.signal.splitting import RecordingRow, SplitPlan

__all__ = ["PrepareSummary", "prepare"]

_SAME_RATE = 1e-6


@dataclass
class PrepareSummary:
    """What `prepare` kept and why it rejected the rest.

    Parameters
    ----------
    n_recordings : int
    n_segments : int
    counts : dict of str to int
        ``kept``, and the rejected segments by reason (``nan``, ``flat``, ``clipped``).
    by_task : dict of (split, task) to int
        Segments kept.
    subjects : dict of str to str
        Subject → train (holdout included), validation or unseen.
    empty : list of str
        Recordings that gave no segment, with the reason.
    duplicates : list of (str, str)
        Recordings that copy another: (original, copy).
    warnings : list of str
        One sentence each.
    no_heart : list of str
        Recordings in which heart beats were to be removed and none were found.
    fs : float
        Rate of the segments, Hz.
    channel_names : tuple of str
    """

    n_recordings: int = 0
    n_segments: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    by_task: Counter[tuple[str, str]] = field(default_factory=Counter)
    subjects: dict[str, str] = field(default_factory=dict)
    empty: list[str] = field(default_factory=list)
    duplicates: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    no_heart: list[str] = field(default_factory=list)
    fs: float = 0.0
    channel_names: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "n_recordings": self.n_recordings,
            "segments": dict(self.counts),
            "by_split_and_task": {
                f"{split}/{task}": count for (split, task), count in sorted(self.by_task.items())
            },
            "empty_recordings": self.empty,
            "duplicates": [list(pair) for pair in self.duplicates],
            "warnings": self.warnings,
            "no_heart": self.no_heart,
        }


@checked
def prepare(
    dataset: Path,
    segments: Path,
    *,
    seconds: Annotated[float, Field(gt=0, description="Length of a segment, s.")] = 3.0,
    overlap: Annotated[
        float, Field(ge=0, lt=1, description="Share of a segment that the next one repeats.")
    ] = 0.5,
    low_hz: Annotated[float, Field(gt=0, description="Lower edge of the band, Hz.")] = 10.0,
    high_hz: Annotated[
        float, Field(gt=0, description="Upper edge, Hz; lowered to 0.45 of the rate if above it.")
    ] = 500.0,
    notch_hz: Annotated[
        float | None, Field(gt=0, description="Mains frequency to notch out, 50 or 60 Hz.")
    ] = None,
    ecg: Annotated[
        Literal["template", "highpass", "template+highpass"] | None,
        Field(description="Remove heart beats from trunk EMG, where they are found, by this way."),
    ] = None,
    fs: Annotated[
        float | None, Field(gt=0, description="Resample every recording to this rate, Hz.")
    ] = None,
    channel: Annotated[
        tuple[str, ...], Field(description="Keep this channel only; give it once for each.")
    ] = (),
    validation_share: Annotated[
        float, Field(ge=0, lt=1, description="Share of the subjects for model selection.")
    ] = 0.15,
    unseen_share: Annotated[
        float, Field(ge=0, lt=1, description="Share of the subjects that only evaluation sees.")
    ] = 0.25,
    holdout_share: Annotated[
        float, Field(ge=0, lt=1, description="Share of a train subject's time that is held out.")
    ] = 0.25,
    max_clipped: Annotated[
        float, Field(ge=0, le=1, description="Largest share of clipped samples in a segment.")
    ] = 0.01,
    on_nan: Annotated[
        Literal["raise", "interpolate", "keep"],
        Field(description="Samples that are not numbers: refuse, bridge, or reject the segment."),
    ] = "raise",
    mapping: Annotated[
        str | None, Field(description="Mapping file for delimited text, or a shipped name.")
    ] = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    on_progress: Progress | None = None,
) -> PrepareSummary:
    """Cut recordings into segments, split by subject, and write them as a segment folder.

    Recordings are read one at a time: once for rate, channels, tasks and copies, once for the
    samples. Memory does not grow with their number.

    Parameters
    ----------
    dataset : path
        EMG-BIDS, a folder of EDF or BDF files, one file, or delimited text with `mapping`.
    segments : path
        The segment folder to write.
    on_progress : callable, optional
        Called with the share done (0-1) and what is being done.

    Returns
    -------
    PrepareSummary

    Raises
    ------
    InputError
        If rates or channels differ between recordings (both are named), or one has no task.
    NotEnoughDataError
        If no segment is left.
    """
    options = taken(prepare, locals())
    from myosynth.signal.splitting import assign_splits
    from myosynth.storage import atomic_directory, write_json

    report = on_progress or (lambda share, what: None)
    with atomic_directory(segments, overwrite=overwrite) as folder:
        recorded = Provenance(
            "prepare",
            {"prepare": options},
            inputs={"dataset": dataset, **mapping_input(mapping)},
            seed=seed,
        )
        with tempfile.TemporaryDirectory(dir=segments.parent, prefix=".spool-") as spool:
            summary = PrepareSummary()
            recordings, rows = _survey(dataset, options, Path(spool), summary, report)
            plan = assign_splits(
                rows,
                seed=seed,
                validation_share=validation_share,
                unseen_share=unseen_share,
                holdout_share=holdout_share,
                gap_s=seconds,
                duplicates=summary.duplicates,
            )
            summary.subjects = dict(plan.subjects)
            summary.warnings += plan.warnings
            _cut(recordings, plan, options, folder, summary, report)
        write_json(folder / PROVENANCE, recorded.finished())
    report(1.0, "done")
    return summary


def _survey(
    dataset: Path,
    options: Mapping[str, Any],
    spool: Path,
    summary: PrepareSummary,
    report: Progress,
) -> tuple[list["Recording"], list["RecordingRow"]]:
    """Every recording with its samples left on disk, and what splitting needs to know of each."""
    from myosynth.formats import DuplicateFinder
    from myosynth.formats.readers import iterate_recordings
    from myosynth.signal.splitting import RecordingRow

    finder = DuplicateFinder()
    recordings: list[Recording] = []
    rows: list[RecordingRow] = []
    first: tuple[Path, Recording] | None = None
    for path, read in iterate_recordings(dataset, mapping=options["mapping"]):
        report(0.0, f"looking at {path.name}")
        recording = _on_disk(read, spool / f"{len(recordings)}.npy")
        first = first or (path, recording)
        _check_alike(first, (path, recording), options)
        row = RecordingRow.of(recording)
        if "" in row.tasks:
            raise InputError(
                f"{path} has no task; name it in events.tsv, in the annotations or in the file "
                "name (task-pull)"
            )
        finder.add(recording)
        recordings.append(recording)
        rows.append(row)
    if first is None:
        raise NotEnoughDataError(f"{dataset} holds no recordings")
    summary.n_recordings = len(recordings)
    summary.duplicates = finder.pairs
    summary.fs = options["fs"] or first[1].fs
    summary.channel_names = options["channel"] or tuple(first[1].channel_names)
    summary.warnings += _marked_bad(recordings, summary.channel_names)
    return recordings, rows


def _marked_bad(recordings: Sequence["Recording"], used: Sequence[str]) -> list[str]:
    marked = {
        recording.name: bad
        for recording in recordings
        if (bad := [name for name in recording.bad_channels if name in used])
    }
    if not marked:
        return []
    name, bad = next(iter(marked.items()))
    return [
        f"channels that are marked as bad were kept in {len(marked)} of {len(recordings)} "
        f"recordings ({name}: {', '.join(bad)}); leave them out with --channel, or leave those "
        "recordings out"
    ]


def _on_disk(recording: "Recording", path: Path) -> "Recording":
    """Samples that a reader had to parse whole wait in a file, so that no file is read twice."""
    import numpy as np

    if not isinstance(recording.data, np.ndarray) or isinstance(recording.data, np.memmap):
        return recording
    np.save(path, recording.data, allow_pickle=False)
    return recording.replace(data=np.load(path, mmap_mode="r", allow_pickle=False))


def _check_alike(
    first: tuple[Path, "Recording"], other: tuple[Path, "Recording"], options: Mapping[str, Any]
) -> None:
    (path_a, a), (path_b, b) = first, other
    if options["fs"] is None and abs(a.fs / b.fs - 1) > _SAME_RATE:
        raise InputError(
            f"{path_a} ({a.fs:.7g} Hz) and {path_b} ({b.fs:.7g} Hz) differ in sampling rate; "
            "resample all of them with --fs, or prepare them apart"
        )
    if options["channel"]:
        missing = [name for name in options["channel"] if name not in b.channel_names]
        if missing:
            raise InputError(
                f"{path_b} has no channel {missing[0]!r}; it has {', '.join(b.channel_names)}"
            )
    elif a.channel_names != b.channel_names:
        raise InputError(
            f"{path_a} ({', '.join(a.channel_names)}) and {path_b} ({', '.join(b.channel_names)}) "
            "differ in channels; choose those that all of them have with --channel"
        )


def _cut(
    recordings: Sequence["Recording"],
    plan: "SplitPlan",
    options: Mapping[str, Any],
    folder: Path,
    summary: PrepareSummary,
    report: Progress,
) -> None:
    """Filter and segment each recording and append what is kept to the segment folder."""
    from myosynth.recordings import SegmentSet
    from myosynth.signal.filters import filter_recording
    from myosynth.signal.segmentation import mark_clipped, segment_recording

    def cut(recording: "Recording") -> tuple["Recording", SegmentSet, dict[str, int]]:
        parts = plan.parts[recording.name]
        filtered = filter_recording(
            mark_clipped(_chosen_channels(recording, options["channel"], summary.fs)),
            low_hz=options["low_hz"],
            high_hz=options["high_hz"],
            notch_hz=options["notch_hz"],
            target_fs=summary.fs,
            on_nan=options["on_nan"],
        )
        if options["ecg"]:
            filtered = _without_heart(filtered, options["ecg"], summary)
        kept, counts = segment_recording(
            filtered,
            seconds=options["seconds"],
            overlap=options["overlap"],
            max_clipped=options["max_clipped"],
            spans=parts,
        )
        return filtered, kept, counts

    start, kept, counts = cut(recordings[0])
    with SegmentSet.writer(folder, like=kept) as writer:
        for number, recording in enumerate(recordings):
            report(0.1 + 0.9 * number / len(recordings), f"cutting {recording.name}")
            if number:
                _, kept, counts = cut(recording)
            writer.append(kept)
            _count(summary, recording, kept, counts)
        if not summary.n_segments:
            raise NotEnoughDataError(_nothing_left(summary, options["seconds"]))
        if summary.no_heart:
            summary.warnings.append(
                f"no heart beats were found in {len(summary.no_heart)} of {len(recordings)} "
                "recordings; no template was subtracted there"
            )
        writer.metadata.update(
            {
                "prepare": {k: list(v) if isinstance(v, tuple) else v for k, v in options.items()},
                "filters": [dict(each) for each in start.filters],
                "split": plan.to_dict(),
                **summary.to_dict(),
            }
        )


def _without_heart(recording: "Recording", method: Any, summary: PrepareSummary) -> "Recording":
    """Templates need beats that can be seen: where there are none, only a high-pass is left."""
    from myosynth.signal.repairs import remove_ecg, shows_heart

    if method != "highpass" and not shows_heart(recording):
        summary.no_heart.append(recording.name)
        if method == "template":
            return recording
        method = "highpass"
    return remove_ecg(recording, method=method)


def _chosen_channels(recording: "Recording", names: Sequence[str], fs: float) -> "Recording":
    if abs(recording.fs / fs - 1) <= _SAME_RATE:  # headers round rates
        recording = recording.replace(fs=fs)
    if not names:
        return recording
    index = [list(recording.channel_names).index(name) for name in names]
    return recording.replace(
        data=recording.load()[index],
        channel_names=names,
        muscles=[recording.muscles[i] for i in index],
    )


def _count(
    summary: PrepareSummary, recording: "Recording", kept: Any, counts: Mapping[str, int]
) -> None:
    summary.n_segments += len(kept)
    summary.by_task.update(zip(kept.split.tolist(), kept.task.tolist(), strict=True))
    summary.counts.update({key: n for key, n in counts.items() if key != "too_short"})
    if not len(kept):
        if counts["too_short"]:
            why = f"{recording.duration_s:g} s hold no whole segment"
        else:
            why = ", ".join(f"{n} {key}" for key, n in counts.items() if n)
        summary.empty.append(f"{recording.name} ({why})")


def _nothing_left(summary: PrepareSummary, seconds: float) -> str:
    lost = {key: n for key, n in summary.counts.items() if n and key != "kept"}
    if lost:
        reasons = ", ".join(f"{n} {key}" for key, n in lost.items())
        return f"no segment is left of {summary.n_recordings} recordings: rejected {reasons}"
    return (
        f"none of {summary.n_recordings} recordings holds a whole segment of {seconds:g} s; "
        "ask for shorter ones with --seconds"
    )
