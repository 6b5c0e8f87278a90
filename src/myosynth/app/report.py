"""The scorecard, the audit page and the comparison: self-contained HTML with a JSON twin."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from myosynth.app.figures import draw_signals, draw_spectra, inline_svg, picture_bytes
from myosynth.app.report_audit import read_audit, write_audit
from myosynth.app.report_charts import (
    draw_curve,
    draw_envelopes,
    draw_features,
    draw_scores,
    lines_of,
    row_label,
)
from myosynth.app.report_comparison import write_comparison
from myosynth.app.report_data import TaskView, amplitude_rows, task_views, worst_features
from myosynth.app.report_pages import flattened, number, page, write_text
from myosynth.app.report_words import Verdict, summarise, task_verdicts
from myosynth.errors import InputError
from myosynth.evaluation.scores import Scores, plain
from myosynth.recordings import SegmentSet
from myosynth.storage import atomic_directory, read_json, write_json

__all__ = [
    "amplitude_table",
    "read_audit",
    "read_scores",
    "utility_of",
    "write_audit",
    "write_comparison",
    "write_report",
]

Row = Mapping[str, Any]

FEW_SEGMENTS = 30
"""Fewer segments compared: the reader is told that intervals are wide for that reason."""
MAX_CHANNELS = 8
"""Most channels whose figures are drawn."""
MAX_PANELS = 40
"""Most tasks times channels that are drawn in Figure 1 and in Figure 2; one channel always is."""
_UTILITY = re.compile(r"(trtr|tstr|tstr_over_trtr|trts|gain)(_loso)?_(hudgins|full)_(lda|forest)")
_LEARNERS = {
    "hudgins_lda": "Hudgins features, linear",
    "hudgins_forest": "Hudgins features, forest",
    "full_lda": "all features, linear",
    "full_forest": "all features, forest",
}
_GATE = {
    "nan_segments": "segments with NaN or infinite samples",
    "constant_segments": "segments with a channel that never changes",
    "clipped_segments": "clipped segments",
    "duplicate_segments": "segments that repeat another one exactly",
    "copies_of_real": "byte-identical copies of real segments",
    "power_beyond_band": "share of power outside the band of the real set",
    "fs": "sampling rate (Hz)",
}


def write_report(
    scores: Scores,
    real: SegmentSet,
    synthetic: SegmentSet,
    out: str | Path,
    *,
    provenance: Mapping[str, Any],
    include_real_signals: bool = True,
) -> None:
    """Write the scorecard: ``report.html``, ``scores.json`` and ``figures/`` into `out`.

    Parameters
    ----------
    scores : Scores
        From `evaluate`.
    real, synthetic : SegmentSet
        The sets that were compared.
    out : path
        A folder; files of these names in it are replaced, each only once it is complete.
    provenance : mapping
        Whatever is known of the run; shown and kept in ``scores.json``.
    include_real_signals : bool
        False leaves excerpts of real recordings out of page and figures.

    Raises
    ------
    InputError
        If the sets cannot be drawn side by side, or `out` is a file.
    """
    out = Path(out)
    if out.is_file():
        raise InputError(f"{out} is a file; name a folder to write the report to")
    views = task_views(real, synthetic)
    utility = utility_of(scores)
    figures = _figures(scores, views, utility, include_real_signals)
    pictures = [_picture(name, *parts) for name, parts in figures.items()]
    content = _twin(scores, views, provenance)
    text = page(
        "scorecard.html",
        title="Scorecard of a synthetic EMG set",
        summary=summarise(scores),
        tasks=[_task_block(scores, verdict, content) for verdict in task_verdicts(scores)],
        findings=scores.findings,
        amplitudes=content["amplitudes"],
        pictures=[picture for picture in pictures if picture["name"] != "scores"],
        undrawn=views[0].channel_names[_n_drawn(views) :],
        utility=utility,
        gate=[(_GATE.get(name, name), value) for name, value in scores.validity.items()
              if name != "passed"],
        gate_passed=scores.validity.get("passed"),
        counts=scores.provenance_counts,
        provenance=flattened(plain(provenance)),
        rows=[(row, *row_label(row)) for row in scores.rows],
        real_signals=include_real_signals,
    )  # fmt: skip
    with atomic_directory(out / "figures", overwrite=True) as folder:
        for picture in pictures:
            for kind in ("png", "svg"):
                (folder / f"{picture['name']}.{kind}").write_bytes(picture[kind])
    write_json(out / "scores.json", content)
    write_text(out / "report.html", text)


def amplitude_table(real: SegmentSet, synthetic: SegmentSet) -> list[dict[str, Any]]:
    """Per task: median RMS, envelope rate and median frequency, real (holdout) and synthetic."""
    return amplitude_rows(task_views(real, synthetic))


def read_scores(path: str | Path) -> Scores:
    """Scores from a ``scores.json``, or from the folder that holds one.

    Raises
    ------
    FormatError
        If it is missing, damaged or of another schema.
    """
    path = Path(path)
    return Scores.from_dict(read_json(path / "scores.json" if path.is_dir() else path))


def _twin(
    scores: Scores, views: Sequence[TaskView], provenance: Mapping[str, Any]
) -> dict[str, Any]:
    content: dict[str, Any] = scores.to_dict()
    summary = summarise(scores)
    content["verdict"] = {
        "level": summary.level, "good": summary.good, "weak": summary.weak,
        "next": list(summary.next),
    }  # fmt: skip
    content["verdicts"] = [asdict(verdict) for verdict in task_verdicts(scores)]
    content["amplitudes"] = plain(amplitude_rows(views))
    content["worst_features"] = {
        view.task: [
            {"feature": name, "channel": view.channel_names[channel], "distance_sd": distance}
            for name, channel, distance in worst_features(view)
        ]
        for view in views
    }
    content["provenance"] = plain(provenance)
    return content


def _figures(
    scores: Scores,
    views: Sequence[TaskView],
    utility: Mapping[str, Any],
    include_real_signals: bool,
) -> dict[str, tuple[Figure, str, str, bool]]:
    """File name → (figure, heading, caption, shown at once)."""
    names = views[0].channel_names[: _n_drawn(views)]
    found: dict[str, tuple[Figure, str, str, bool]] = {
        "scores": (draw_scores(scores), "", "", False)
    }
    spectra = "Left the real holdout, right the synthetic set. Shaded: the middle 80 % of people."
    signals = "Of each task the segment of median amplitude, so that no fine one was picked."
    for channel, name in enumerate(names):
        suffix = f"-channel{channel + 1}" if len(names) > 1 else ""
        found[f"figure1-spectra{suffix}"] = (
            draw_spectra(views, channel),
            f"Figure 1. Spectra by task, {name}", spectra, channel == 0,
        )  # fmt: skip
        found[f"figure2-signals{suffix}"] = (
            draw_signals(views, channel, include_real_signals),
            f"Figure 2. Signals by task, {name}", signals, channel == 0,
        )  # fmt: skip
    found["envelopes"] = (
        draw_envelopes(views, 0, include_real_signals),
        f"Figure 3. Envelopes, {names[0]}",
        "Right: which rates the envelopes hold. A peak is a rhythm, such as one pull a second.",
        True,
    )
    found["features"] = (
        draw_features(views),
        "Figure 4. The three features that differ most",
        "Filled: real. Line: synthetic. The farther apart, the more there is to mend.",
        True,
    )
    if utility.get("curve"):
        found["learning-curve"] = (draw_curve(utility["curve"]), "", "", False)
    return found


def _n_drawn(views: Sequence[TaskView]) -> int:
    most = min(MAX_CHANNELS, max(1, MAX_PANELS // len(views)))
    return min(most, len(views[0].channel_names))


def _picture(name: str, figure: Figure, heading: str, caption: str, shown: bool) -> dict[str, Any]:
    svg = picture_bytes(figure, "svg", salt=name)
    return {
        "name": name,
        "heading": heading,
        "caption": caption,
        "shown": shown,
        "png": picture_bytes(figure, "png"),
        "svg": svg,
        "inline": inline_svg(svg, heading or name.replace("-", " ")),
    }


def _task_block(scores: Scores, verdict: Verdict, content: Mapping[str, Any]) -> dict[str, Any]:
    amplitudes = {row["task"]: row for row in content["amplitudes"]}
    compared = scores.provenance_counts.get("segments_compared", {})
    return {
        "verdict": verdict,
        "lines": lines_of(scores.rows, verdict.task),
        "facts": _facts(scores, verdict.task, amplitudes.get(verdict.task, {})),
        "compared": compared.get(verdict.task),
    }


def _facts(scores: Scores, task: str, amplitude: Row) -> list[str]:
    """What a reader asks of a task next, in plain sentences."""
    facts = []
    compared = scores.provenance_counts.get("segments_compared", {}).get(task)
    if compared is not None and compared < FEW_SEGMENTS:
        facts.append(
            f"Only {compared} segments a side could be compared, so intervals are wide; hold out "
            "longer or more recordings to narrow them."
        )
    if amplitude.get("ratio") is not None:
        facts.append(
            f"Median amplitude (RMS) {number(amplitude['synthetic_rms_mv'])} mV, real "
            f"{number(amplitude['real_rms_mv'])} mV ({100 * (amplitude['ratio'] - 1):+.0f} %)."
        )
    facts += [
        f"A classifier tells synthetic from real segments {told_apart(row['value'])} "
        f"(AUC {row['value']:.2f}; more recordings of the same people {row['floor_same']:.2f}"
        f"{_other_people(row)}; 0.50 = not at all)."
        for row in scores.select(task=task, group="all", metric="c2st")
        if row["value"] is not None and row["floor_same"] is not None
    ]
    facts += [
        f"Asked for twice the amplitude, it gives {2 ** row['value']:.2f} times."
        for row in scores.select(task=task, group="effort", metric="slope")
        if row["value"] is not None
    ]
    return facts


def _other_people(row: Row) -> str:
    return "" if row["floor_new"] is None else f", other people {row['floor_new']:.2f}"


def told_apart(auc: float) -> str:
    """How well, in a word."""
    return next(
        word
        for limit, word in (
            (0.6, "hardly"),
            (0.75, "a little"),
            (0.9, "often"),
            (2, "nearly always"),
        )
        if auc < limit
    )


def utility_of(scores: Scores) -> dict[str, Any]:
    """The utility rows as ``table``, ``curve`` and plain ``sentences``; empty without any."""
    table: dict[str, dict[str, Row]] = {}
    curve = []
    for row in scores.select(group="utility"):
        if match := _UTILITY.fullmatch(row["metric"]):
            what, alone, features, learner = match.groups()
            name = _LEARNERS[f"{features}_{learner}"] + (", leaving one out" if alone else "")
            table.setdefault(name, {})[what] = row
        elif match := re.fullmatch(r"curve_(\d+)_subjects", row["metric"]):
            curve.append(
                {
                    "subjects": int(match[1]),
                    "alone": row["surrogates"]["real_alone"],
                    "both": row["value"],
                    "both_low": row["low"],
                    "both_high": row["high"],
                }
            )
    return {"table": table, "curve": curve, "sentences": _about_utility(table, scores)}


def _about_utility(table: Mapping[str, Mapping[str, Row]], scores: Scores) -> list[str]:
    full = {name: parts for name, parts in table.items() if {"trtr", "tstr", "gain"} <= set(parts)}
    if not full:
        return []
    name, best = max(full.items(), key=lambda item: item[1]["trtr"]["value"])
    trtr, tstr, gain = (best[what]["value"] for what in ("trtr", "tstr", "gain"))
    n_tasks = len({row["task"] for row in scores.rows} - {"all"})
    share = tstr / trtr if trtr else 0.0
    level = (
        "as well as" if share >= 0.95 else "nearly as well as" if share >= 0.85 else "worse than"
    )
    sentences = [
        f"Synthetic segments teach a classifier of tasks {level} real ones: trained on them alone "
        f"it names {100 * tstr:.0f} % of real segments right, trained on real ones "
        f"{100 * trtr:.0f} % (guessing: {100 / n_tasks:.0f} %; {name}, the best learner on real "
        "segments).",
        f"Added to the real segments they change that by {100 * gain:+.1f} points"
        + (
            "." if gain > 0
            else ": use them where few people were recorded, or where the real ones cannot be "
            "shared."
        ),
    ]  # fmt: skip
    c3 = best["tstr"]["c3"]
    if c3 is not None:
        better = "more" if tstr > c3 else "no more"
        sentences.append(f"They teach {better} than shaped noise does (C3: {100 * c3:.0f} %).")
    return sentences
