"""Check recordings before anything is made of them: a table, a page and a JSON twin."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from myosynth.app.config import Overwrite, Progress, checked, taken
from myosynth.app.provenance import Provenance
from myosynth.app.report_pages import flattened, page, write_text

if TYPE_CHECKING:
    from myosynth.recordings import FloatArray, Recording
    from myosynth.signal.measurements import ChannelFigures
    from myosynth.signal.quality import QualityReport, SetReport

__all__ = ["SCHEMA", "check", "write_check"]

SCHEMA = "myosynth-check/1"
BADGES = {
    "error": ("unfit", "Must be mended"),
    "warning": ("fair", "Take care"),
    "note": ("none", "Note"),
    "fine": ("good", "Fine"),
}
CODES = {
    "channels": "Different channels",
    "clipped": "Clipping",
    "bad": "Marked as bad",
    "dead": "Dead channel",
    "drift": "Offset or drift",
    "duplicate": "Copies",
    "ecg": "Heart beats",
    "empty": "Nothing to check",
    "fatigue": "Fatigue",
    "flat": "Flat signal",
    "mains": "Mains hum",
    "missing": "Missing tasks",
    "motion": "Motion",
    "nan": "Not numbers",
    "rate": "Sampling rate",
    "short": "Too short",
    "snr": "Noise",
    "unfiltered": "Not high-passed",
    "unit": "Unit",
}
_MOST_PICTURES = 200
_WIDTH, _HEIGHT = 600.0, 60.0
_PSD_WIDTH = 200.0
_PSD_FLOOR_DB = -50.0
_PSD_TOP_HZ = 500.0


@checked
def check(
    folder: Path,
    out: Path | None = None,
    *,
    mapping: Annotated[
        str | None, Field(description="Mapping file for delimited text, or a shipped name.")
    ] = None,
    fs: Annotated[
        float | None, Field(gt=0, description="Sampling rate where the mapping gives none, Hz.")
    ] = None,
    task: Annotated[
        tuple[str, ...], Field(description="A task that every subject must have; all without it.")
    ] = (),
    overwrite: Overwrite = False,
    on_progress: Progress | None = None,
) -> "SetReport":
    """Check recordings: units, clipping, hum, motion, heart beats, noise, copies, missing tasks.

    Parameters
    ----------
    folder : path
        Where the recordings are; one file will do.
    out : path, optional
        The folder to write check.html and check.json to.

    Returns
    -------
    SetReport
        ``is_fine`` tells whether there is anything worse than a note.
    """
    from myosynth.formats.duplicates import DuplicateFinder
    from myosynth.formats.readers import iterate_recordings
    from myosynth.signal.quality import check_recordings
    from myosynth.storage import atomic_directory

    report = on_progress or (lambda share, what: None)
    stream = iterate_recordings(folder, mapping=mapping, fs=fs)
    finder = DuplicateFinder()

    def recordings() -> Iterator["Recording"]:
        for path, recording in stream:
            report(0.0, f"checking {path.name}")
            finder.add(recording)
            yield recording

    reports = check_recordings(recordings(), duplicates=finder.pairs, tasks=task)
    if out is not None:
        recorded = Provenance("check", {"check": taken(check, locals())}, inputs={"folder": folder})
        with atomic_directory(out, overwrite=overwrite) as target:
            write_check(reports, target, provenance=recorded.finished())
    report(1.0, "done")
    return reports


def write_check(reports: "SetReport", out: Path, *, provenance: Mapping[str, Any]) -> None:
    """Write ``check.html`` and ``check.json`` into `out`.

    Parameters
    ----------
    reports : SetReport
        From `check_recordings`.
    out : path
        A folder.
    provenance : mapping
        Whatever is known of the run.
    """
    from myosynth.storage import write_json

    with_pictures = [r for r in reports.reports if not r.is_fine]
    with_pictures += [r for r in reports.reports if r.is_fine]
    shown = {id(each) for each in with_pictures[:_MOST_PICTURES]}
    text = page(
        "check.html",
        title="Quality of the recordings",
        verdict=_verdict(reports),
        summary=_summary(reports),
        set_problems=reports.set_problems,
        codes=_by_code(reports),
        rows=[_row(each, id(each) in shown) for each in reports.reports],
        n_hidden=len(reports.reports) - len(shown),
        names=CODES,
        badges=BADGES,
        provenance=flattened(provenance),
    )
    content = {"schema": SCHEMA, **reports.to_dict(), "provenance": dict(provenance)}
    write_json(Path(out) / "check.json", content)
    write_text(Path(out) / "check.html", text)


def _verdict(reports: "SetReport") -> tuple[str, str]:
    severities = {problem.severity for problem in reports.problems}
    worst = next((s for s in ("error", "warning", "note") if s in severities), "fine")
    return BADGES["fine" if worst == "note" else worst]


def _summary(reports: "SetReport") -> str:
    n = len(reports.reports)
    fine = sum(each.is_fine for each in reports.reports)
    people = len({each.subject for each in reports.reports})
    seconds = sum(each.duration_s for each in reports.reports)
    return (
        f"{n} recordings of {people} subjects, {seconds:.0f} s in all; nothing is wrong with "
        f"{fine} of them, {n - fine} need care."
    )


def _by_code(reports: "SetReport") -> list[dict[str, Any]]:
    """Every kind of problem, how many recordings have it, and the worst sentence about it."""
    counts = Counter(problem.code for problem in reports.problems)
    ranks = ("error", "warning", "note")
    lines = []
    for code in counts:
        own = [problem for problem in reports.problems if problem.code == code]
        worst = min(own, key=lambda problem: ranks.index(problem.severity))
        lines.append({"code": code, "count": counts[code], "worst": worst})
    return sorted(lines, key=lambda line: (ranks.index(line["worst"].severity), -line["count"]))


def _row(report: "QualityReport", with_pictures: bool) -> dict[str, Any]:
    severity = report.problems[0].severity if report.problems else "fine"
    return {
        "report": report,
        "badge": BADGES[severity],
        "severity": severity,
        "channels": [_channel(each, report.duration_s, with_pictures) for each in report.channels],
        "tasks": ", ".join(report.tasks),
    }


def _channel(channel: "ChannelFigures", duration_s: float, with_pictures: bool) -> dict[str, Any]:
    drawn = with_pictures and len(channel.preview) > 1
    return {
        "figures": channel,
        "trace": _trace(channel.preview) if drawn else "",
        "spectrum": _spectrum(channel) if drawn else "",
        "span": f"{duration_s:.3g} s",
        "peak_mv": channel.peak_v * 1e3,
    }


def _trace(preview: "FloatArray") -> str:
    """An SVG path around the lowest and highest samples, whole pixels; the middle is the mean."""
    import numpy as np

    middle = float(preview.mean())
    half = max(float(np.abs(preview - middle).max()), 1e-30)
    across = np.linspace(0, _WIDTH, len(preview))
    down = (1 - (preview - middle) / half) * _HEIGHT / 2
    upper = zip(across, down[:, 1], strict=True)
    lower = zip(across[::-1], down[::-1, 0], strict=True)
    return _path([*upper, *lower]) + "Z"


def _spectrum(channel: "ChannelFigures") -> str:
    """An SVG path of the spectrum in dB below its top, up to 500 Hz."""
    import numpy as np

    inside = (channel.psd_hz > 0) & (channel.psd_hz <= _PSD_TOP_HZ)
    psd = channel.psd[inside]
    if len(psd) < 2 or psd.max() <= 0:
        return ""
    level = np.maximum(10 * np.log10(np.maximum(psd / psd.max(), 1e-12)), _PSD_FLOOR_DB)
    # the highest of each pair of bins: a line of hum must not be lost
    step = max(1, len(level) // 250)
    n = len(level) // step
    level = level[: n * step].reshape(n, step).max(axis=1)
    hz = channel.psd_hz[inside][: n * step : step]
    down = level / _PSD_FLOOR_DB * _HEIGHT
    return _path(list(zip(hz / _PSD_TOP_HZ * _PSD_WIDTH, down, strict=True)))


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.0f},{y:.1f}" for x, y in points)
