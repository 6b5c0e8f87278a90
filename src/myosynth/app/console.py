"""What the command line shows: progress on stderr, results on stdout."""

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from myosynth.app.config import Progress
from myosynth.storage import read_json

if TYPE_CHECKING:
    from myosynth.app.demo import DemoSummary
    from myosynth.app.preparation import PrepareSummary
    from myosynth.app.sources import ImportSummary
    from myosynth.diffusion import Synthesizer
    from myosynth.diffusion.parametric import ParametricGenerator
    from myosynth.evaluation import Scores
    from myosynth.evaluation.privacy import Audit
    from myosynth.formats import BidsSummary
    from myosynth.recordings import SegmentSet
    from myosynth.signal.quality import SetReport

__all__ = [
    "progress_bar",
    "show_audit",
    "show_card",
    "show_check",
    "show_comparison",
    "show_demo",
    "show_import",
    "show_info",
    "show_model",
    "show_prepare",
    "show_scores",
    "show_simulate",
    "show_synthetic",
]

_MOST_ROWS = 60
_MOST_NOTES = 10
_NEVER_WRAPPED = 18
_INFO_TABLES = ("splits", "findings", "recordings")
_SEVERITIES = ("error", "warning", "note")
_SPLITS = ("train", "holdout", "validation", "unseen")


@contextmanager
def progress_bar(title: str, *, quiet: bool) -> Iterator[Progress | None]:
    """A bar on stderr, fed by the share done and what is being done.

    Without a terminal a line is written at every tenth, so that logs stay short.
    """
    if quiet:
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _log_lines(title)
        return
    columns = (
        TextColumn("{task.fields[title]}"),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("", total=1.0, title=title)

        def told(share: float, what: str) -> None:
            progress.update(bar, completed=share, description=what)

        yield told


def _log_lines(title: str) -> Progress:
    said = -1

    def told(share: float, what: str) -> None:
        nonlocal said
        tenth = int(share * 10)
        if tenth > said:
            said = tenth
            sys.stderr.write(f"{title} {share:4.0%} {what}\n")
            sys.stderr.flush()

    return told


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE, pad_edge=False)
    for number, name in enumerate(columns):
        numeric = bool(rows) and all(not isinstance(row[number], str) for row in rows)
        longest = max((len(_text(row[number])) for row in rows), default=0)
        table.add_column(
            name,
            justify="right" if numeric else "left",
            overflow="fold",
            min_width=min(longest, _NEVER_WRAPPED),
        )
    for row in rows[:_MOST_ROWS]:
        table.add_row(*(_text(value) for value in row))
    console = Console()
    console.print(table)
    if len(rows) > _MOST_ROWS:
        console.print(f"… and {len(rows) - _MOST_ROWS} more")


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if not isinstance(value, float):
        return str(value)
    return f"{value:.4g}" if abs(value) < 1000 else f"{value:.7g}"  # 1925.926 Hz is not 1926


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _warn(sentences: Sequence[str]) -> None:
    for sentence in sentences:
        sys.stderr.write(f"Note: {sentence}\n")


def _about_copies(pairs: Sequence[tuple[str, str]], fate: str) -> list[str]:
    return [f"{copy} is a copy of {first}; {fate}." for first, copy in pairs]


def show_simulate(summary: "BidsSummary", out: str) -> None:
    _say(
        f"{summary.n_recordings} recordings of {len(summary.subjects)} simulated people "
        f"({summary.seconds:.0f} s; {', '.join(summary.tasks)}) are in {out}"
    )


def show_check(reports: "SetReport", out: str | None) -> None:
    problems = sorted(reports.problems, key=lambda each: _SEVERITIES.index(each.severity))
    worst = {each.code: each for each in reversed(problems)}
    counts = Counter(each.code for each in problems)
    rows = [
        [code, each.severity, counts[code], f"{each.recording}: {each.text}".removeprefix(": ")]
        for code, each in sorted(
            worst.items(), key=lambda item: _SEVERITIES.index(item[1].severity)
        )
    ]
    if rows:
        _table("What was found", ["problem", "worst", "times", "what to do"], rows)
    troubled = [report for report in reports.reports if report.problems]
    if troubled:
        codes = [
            [report.name, report.problems[0].severity, ", ".join(p.code for p in report.problems)]
            for report in troubled
        ]
        _table("Recordings", ["recording", "worst", "problems"], codes)
    fine = len(reports.reports) - len(troubled)
    _say(f"{len(reports.reports)} recordings checked, nothing to say about {fine} of them")
    if out:
        _say(f"The report is {out}/check.html")


def show_import(summary: "ImportSummary", out: str) -> None:
    columns = [
        *("file", "subject", "session", "task", "seconds", "fs", "channels", "units", "clipped")
    ]
    columns = [name for name in columns if any(each[name] for each in summary.files)]
    rows = [[each[name] for name in columns] for each in summary.files]
    heads = ["s" if name == "seconds" else "Hz" if name == "fs" else name for name in columns]
    _table(f"{len(rows)} recordings found", heads, rows)
    fate = "kept and marked" if summary.n_recordings == len(rows) else "left out"
    _warn(_about_copies(summary.duplicates, fate))
    _say(f"{summary.n_recordings} recordings are in {out} (EMG-BIDS)")


def show_prepare(summary: "PrepareSummary", out: str) -> None:
    rows: list[list[Any]] = [
        [task, *(summary.by_task[split, task] for split in _SPLITS)]
        for task in sorted({task for _, task in summary.by_task})
    ]
    rows.append(["all", *(sum(column) for column in list(zip(*rows, strict=True))[1:])])
    title = f"{summary.n_segments} segments of {summary.n_recordings} recordings"
    _table(title, ["task", *_SPLITS], rows)
    for side in ("train", "validation", "unseen"):
        people = [name for name, where in summary.subjects.items() if where == side]
        _say(f"{side + ' subjects:':<20} {', '.join(people) or 'none'}")
    rejected = {key: n for key, n in summary.counts.items() if key != "kept" and n}
    if rejected:
        _say("Rejected: " + ", ".join(f"{n} {key}" for key, n in rejected.items()))
    _warn([f"no segment came from {each}." for each in summary.empty[:_MOST_NOTES]])
    if len(summary.empty) > _MOST_NOTES:
        _warn([f"no segment came from {len(summary.empty) - _MOST_NOTES} more recordings."])
    _warn(_about_copies(summary.duplicates, "both went to the same side of the split"))
    _warn(summary.warnings)
    _say(f"{', '.join(summary.channel_names)} at {summary.fs:.7g} Hz are in {out}")


def show_model(model: "Synthesizer | ParametricGenerator", out: str) -> None:
    _say(
        f"A model of {', '.join(model.tasks)} ({model.seconds:g} s at {model.fs:.7g} Hz, "
        f"{len(model.channel_names)} channels) is in {out}"
    )
    log = Path(out) / "training.json"
    warning = read_json(log).get("memorisation") if log.is_file() else None
    if warning:
        _say(f"Beware: {warning}.")


def show_synthetic(segments: "SegmentSet", out: str) -> None:
    _say(
        f"{len(segments)} synthetic segments of {segments.duration_s:g} s "
        f"({', '.join(segments.tasks)}) are in {out}"
    )


def show_scores(scores: "Scores", out: str) -> None:
    wanted = [row for row in scores.rows if row["metric"] in ("w1", "lsd")]
    keys = ("task", "group", "metric", "value", "floor_same", "floor_new", "c3", "z")
    heads = ("task", "features", "metric", "value", "same", "other", "C3", "z")
    _table(
        "Distance to the real holdout, beside that of the same people, other people and noise C3",
        heads,
        [[_spaced(row[key]) for key in keys] for row in wanted],
    )
    for finding in scores.findings:
        _say(f"{finding.severity}: {finding.text}")
    _say(f"The report is {out}/report.html")


def show_audit(audit: "Audit", out: str) -> None:
    from myosynth.evaluation.privacy import VERDICTS

    rows = []
    for name, threat in audit.threats.items():
        power = "" if threat.power is None else f"{threat.power:.2f}"
        rows.append([name, VERDICTS[threat.verdict], power, threat.meaning, threat.next_step])
    _table("Who has the … learns", ["has", "verdict", "power", "meaning", "next"], rows)
    said = {finding.text for finding in audit.findings}
    _warn([each for each in audit.warnings if each not in said])
    for finding in audit.findings:
        _say(f"{finding.severity}: {finding.text}")
    _say(f"The audit is {out}/audit.html")


def show_comparison(names: Sequence[str], out: str) -> None:
    _say(f"{', '.join(names)} stand side by side in {out}/compare.html")


def show_card(files: "Sequence[Path]", path: str) -> None:
    _say(f"The card of {path} is {' and '.join(map(str, files))}")


def show_demo(summary: "DemoSummary", out: str) -> None:
    rows = [
        [
            row["task"],
            _pair(row["rms_real"], row["rms_synthetic"], 1e3),
            _pair(row["rate_real"], row["rate_synthetic"], 1.0),
            *(_two_places(z) for z in row["z"].values()),
        ]
        for row in summary.rows
    ]
    groups = [_spaced(name) for name in summary.rows[0]["z"]] if summary.rows else []
    minutes = sum(summary.seconds.values()) / 60
    steps = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in summary.seconds.items())
    _say(f"Done in {minutes:.1f} min ({steps})")
    _table(
        "Real / synthetic, and z by features: 0 = like the same people, 1 = like others",
        ["task", "RMS (mV)", "rhythm (Hz)", *groups],
        rows,
    )
    _say(f"Report: {summary.report}")


def _spaced(value: Any) -> Any:
    return value.replace("_", " ") if isinstance(value, str) else value


def _two_places(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _pair(one: float | None, two: float | None, factor: float) -> str:
    if one is None or two is None:
        return "–"
    return f"{one * factor:.2f} / {two * factor:.2f}"


def show_info(facts: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        _say(json.dumps(facts, indent=2, ensure_ascii=False))
        return
    tables = {key: facts[key] for key in _INFO_TABLES if facts.get(key)}
    hidden = {"config", *_INFO_TABLES}  # a model's config is long: --json shows it
    rows = [[key, _plain(value)] for key, value in facts.items() if key not in hidden]
    _table(str(facts["kind"]), ["what", "value"], [row for row in rows if row[1] != ""])
    for key, value in tables.items():
        columns = list(value[0])
        _table(key, columns, [[_plain(row[name]) for name in columns] for row in value])


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        sign = "; " if any(isinstance(item, Mapping) for item in value) else ", "
        return sign.join(str(_plain(item)) for item in value)
    return value
