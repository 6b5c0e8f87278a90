"""Several synthetic sets side by side, each judged against the same real set."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from myosynth.app.report_charts import Line, lines_of, row_label
from myosynth.app.report_pages import page, write_text
from myosynth.app.report_words import summarise, task_verdicts
from myosynth.errors import InputError
from myosynth.evaluation.scores import Scores
from myosynth.storage import write_json

__all__ = ["SCHEMA", "write_comparison"]

SCHEMA = "myosynth-comparison/1"
MAX_SETS = 8
_REAL_FACTS = ("real_segments", "real_subjects", "splits", "fs", "channel_names", "seconds")


def write_comparison(named_scores: Mapping[str, Scores], out: str | Path) -> None:
    """Write ``compare.html`` and ``compare.json`` into `out`.

    Parameters
    ----------
    named_scores : mapping of str to Scores
        Two to eight sets, by the name to show.
    out : path
        A folder; files of these names in it are replaced, each only once it is complete.

    Raises
    ------
    InputError
        If there are fewer than two or more than eight sets, or `out` is a file.
    """
    out = Path(out)
    if out.is_file():
        raise InputError(f"{out} is a file; name a folder to write the comparison to")
    if not 2 <= len(named_scores) <= MAX_SETS:
        raise InputError(
            f"a comparison takes 2 to {MAX_SETS} sets of scores, not {len(named_scores)}"
        )
    names = list(named_scores)
    warnings = _warnings(named_scores)
    verdicts = {
        name: {verdict.task: verdict for verdict in task_verdicts(scores)}
        for name, scores in named_scores.items()
    }
    tasks = sorted({task for own in verdicts.values() for task in own})
    rows = _joined(named_scores)
    text = page(
        "comparison.html",
        title="Synthetic EMG sets side by side",
        names=names,
        warnings=warnings,
        summaries={name: summarise(scores) for name, scores in named_scores.items()},
        findings={name: scores.findings for name, scores in named_scores.items()},
        verdicts=verdicts,
        tasks=tasks,
        charts={task: _chart(named_scores, task) for task in tasks},
        rows=rows,
        utility=[row for row in rows if row["group"] == "utility"
                 and row["metric"].startswith(("tstr_full", "tstr_hudgins", "gain", "trts"))],
    )  # fmt: skip
    content = {
        "schema": SCHEMA,
        "names": names,
        "warnings": warnings,
        "rows": rows,
        "sets": {name: scores.to_dict() for name, scores in named_scores.items()},
    }
    write_json(out / "compare.json", content)
    write_text(out / "compare.html", text)


def _warnings(named_scores: Mapping[str, Scores]) -> list[str]:
    """What keeps the sets from being comparable."""
    first, *others = named_scores
    facts = {name: scores.provenance_counts for name, scores in named_scores.items()}
    found = []
    for name in others:
        differ = [key for key in _REAL_FACTS if facts[first].get(key) != facts[name].get(key)]
        if differ:
            found.append(
                f"{first} and {name} were judged against different real sets "
                f"({', '.join(differ).replace('_', ' ')} differ): compare z with care and values "
                "not at all, or evaluate both against one real set."
            )
        elif facts[first].get("segments_compared") != facts[name].get("segments_compared"):
            found.append(
                f"{first} and {name} were compared by different numbers of segments: distances "
                "shrink with the number, so compare z, or generate equally many."
            )
    return found


def _joined(named_scores: Mapping[str, Scores]) -> list[dict[str, Any]]:
    """One row per task, group and metric, with the figures of every set."""
    joined: dict[tuple[str, str, str], dict[str, Any]] = {}
    for name, scores in named_scores.items():
        for row in scores.to_dict()["rows"]:
            key = (row["task"], row["group"], row["metric"])
            label, code = row_label(row)
            line = joined.setdefault(
                key,
                {"task": key[0], "group": key[1], "metric": key[2], "label": label, "code": code,
                 "unit": row["unit"], "better": row["better"], "sets": {}},
            )  # fmt: skip
            kept = ("value", "low", "high", "z", "z_low", "z_high", "beats_c3")
            line["sets"][name] = {key: row[key] for key in kept}
    return list(joined.values())


def _chart(named_scores: Mapping[str, Scores], task: str) -> list[dict[str, Any]]:
    """What verdicts rest on, line by line: every set's dot and interval on one axis."""
    charts: dict[str, dict[str, Any]] = {}
    for name, scores in named_scores.items():
        for line in lines_of(scores.rows, task):
            if line.main:
                own = charts.setdefault(line.label, {"line": line, "dots": {}})
                own["dots"][name] = line
    return [own | {"leader": _leader(own["dots"])} for own in charts.values()]


def _leader(dots: Mapping[str, Line]) -> str:
    """The set whose whole interval lies nearer than every other's dot, or ``a tie``."""
    known = {name: line for name, line in dots.items() if line.dot is not None}
    if len(known) < 2:
        return ""
    best, *others = sorted(known, key=lambda name: known[name].row["z"])
    bound = known[best].row["z_high"]
    if bound is not None and all(bound < known[name].row["z"] for name in others):
        return best
    return "a tie"
