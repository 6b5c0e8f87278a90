"""The dot-and-interval charts: positions for a page, and the same chart for a figure file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from myosynth.app.figures import C3, REAL, STYLE, SYNTHETIC
from myosynth.app.report_words import ASPECTS, state_of
from myosynth.evaluation.scores import Scores

__all__ = ["LABELS", "Line", "draw_curve", "draw_scores", "lines_of", "position", "row_label"]

Row = Mapping[str, Any]

LOW, HIGH = -1.0, 3.0
"""The part of z that is drawn; what lies beyond is put at the edge, with an arrow."""

LABELS: dict[tuple[str, str], str] = {
    **{key: name[0].upper() + name[1:] for key, (name, _) in ASPECTS.items()},
    ("spectral", "lsd"): "Mean spectrum",
    ("spectral", "acd"): "Autocorrelation",
    ("all", "ks"): "Distributions, all features",
    ("all", "mmd2"): "All features together",
    ("all", "coverage"): "Real segments with a near twin",
    ("all", "c2st"): "Told apart by all features",
    ("time", "c2st"): "Told apart by amplitude",
    ("higher_order", "c2st"): "Told apart by fine structure",
    ("effort", "slope"): "Effort obtained per effort asked",
    ("effort", "r2"): "Effort follows what was asked",
    ("variety", "effective_subjects"): "People the set resembles",
}
"""(group, metric) → plain label, in the order of the charts: first what the verdict rests on."""

NAMES = {"w1": "W1", "ks": "KS", "lsd": "LSD", "acd": "ACD", "mmd2": "MMD²", "c2st": "C2ST",
         "r2": "R²"}  # fmt: skip


@dataclass(frozen=True)
class Line:
    """One line of a chart; positions are shares of the axis, 0–1, or None where there is no z.

    Parameters
    ----------
    label, code : str
        Plain label; group and metric.
    row : mapping
        The row of the scores.
    main : bool
        Whether the verdict rests on it.
    dot, start, end, c3, round_trip : float or None
        z of the synthetic set, its interval, C3 and the round trip.
    note : str
        In place of the dot where there is no z.
    beyond : str
        ``left`` or ``right`` where the dot itself lies beyond the axis, else empty.
    """

    label: str
    code: str
    row: Row
    main: bool
    dot: float | None
    start: float | None
    end: float | None
    c3: float | None
    round_trip: float | None
    note: str
    beyond: str


def row_label(row: Row) -> tuple[str, str]:
    """A row's plain label and its short code."""
    key = (row["group"], row["metric"])
    name = NAMES.get(row["metric"], row["metric"].replace("_", " "))
    return LABELS.get(key, row["group"].replace("_", " ")), name


def lines_of(rows: Sequence[Row], task: str) -> list[Line]:
    """The lines of a task's chart; effort rows have no z and stay in the tables."""
    order = list(LABELS)
    mine = [row for row in rows if row["task"] == task and row["group"] != "effort"]
    known = [row for row in mine if (row["group"], row["metric"]) in LABELS]
    known.sort(key=lambda row: order.index((row["group"], row["metric"])))
    return [_line(row) for row in known]


def _line(row: Row) -> Line:
    label, code = row_label(row)
    z = row["z"]
    return Line(
        label,
        code,
        row,
        (row["group"], row["metric"]) in ASPECTS,
        position(z),
        position(row["z_low"]),
        position(row["z_high"]),
        position(row["c3_z"]),
        position(round_trip_z(row)),
        _note(row),
        "" if z is None else "left" if z < LOW else "right" if z > HIGH else "",
    )


def _note(row: Row) -> str:
    if row["z"] is not None:
        return ""
    if row["floor_new"] is None:
        return "no z: it needs more than one person" if row["floor_same"] is not None else ""
    if state_of(row) == "off":
        return "no z: people hardly differ here, yet this lies beyond them"
    return "no z: people do not differ enough here"


def round_trip_z(row: Row) -> float | None:
    """Where the round trip stands on the row's axis; None where the row has no z."""
    if row["z"] is None or row["round_trip"] is None:
        return None
    return float((row["round_trip"] - row["floor_same"]) / (row["floor_new"] - row["floor_same"]))


def position(z: float | None) -> float | None:
    """z as a share of the drawn axis, kept inside it."""
    return None if z is None else min(1.0, max(0.0, (z - LOW) / (HIGH - LOW)))


def draw_scores(scores: Scores) -> Figure:
    """The chart of every task in one figure, for papers and slides."""
    tasks = sorted({row["task"] for row in scores.rows} - {"all"})
    charts = {task: lines_of(scores.rows, task) for task in tasks}
    charts = {task: lines for task, lines in charts.items() if lines}
    n_rows = max(1, -(-len(charts) // 2))
    height = 0.24 * max([len(lines) for lines in charts.values()] + [4]) + 0.7
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.0, n_rows * height + 0.5), layout="constrained")
        if not charts:
            figure.text(0.5, 0.5, "No task could be scored.", ha="center")
            return figure
        grid = figure.subplots(n_rows, min(2, len(charts)), squeeze=False, sharex=True)
        for axes in grid.flat[len(charts) :]:
            axes.set_axis_off()
        for axes, (task, lines) in zip(grid.flat, charts.items(), strict=False):
            _draw_lines(axes, lines)
            axes.set_title(task, fontsize=10, fontweight="bold", loc="left", parse_math=False)
        for axes in grid[-1]:
            axes.set_xlabel("z: 0 = like the same people, 1 = like other people")
        handles = grid.flat[0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside lower center", ncols=3, frameon=False)
    return figure


def _draw_lines(axes: Any, lines: Sequence[Line]) -> None:
    span = HIGH - LOW

    def at(share: float | None) -> float:
        return float("nan") if share is None else LOW + span * share

    heights = range(len(lines))
    for floor in (0, 1):
        axes.axvline(floor, color="#999999", lw=0.8, zorder=0)
    axes.hlines(
        heights, [at(line.start) for line in lines], [at(line.end) for line in lines],
        color=SYNTHETIC, lw=1.6,
    )  # fmt: skip
    for values, marker, colour, label, filled in (
        ([line.c3 for line in lines], "D", C3, "C3 (noise shaped like a real segment)", False),
        ([line.round_trip for line in lines], "^", REAL, "Round trip, no model", False),
        ([line.dot for line in lines], "o", SYNTHETIC, "Synthetic, 95 % interval", True),
    ):
        axes.plot(
            [at(value) for value in values], heights, marker, ms=5, color=colour, label=label,
            mfc=colour if filled else "white",
        )  # fmt: skip
    for height, line in zip(heights, lines, strict=True):
        if line.dot is None:
            axes.text(LOW, height, " no z", fontsize=7, color="#777777", va="center")
    axes.set_yticks(heights, [f"{line.label} ({line.code})" for line in lines], fontsize=8)
    axes.set_ylim(len(lines) - 0.4, -0.6)
    axes.set_xlim(LOW - 0.05, HIGH + 0.05)


def draw_curve(curve: Sequence[Mapping[str, float]]) -> Figure:
    """Balanced accuracy against the number of real subjects, with and without the synthetic set.

    Parameters
    ----------
    curve : sequence of mapping
        subjects, alone, both (balanced accuracy, 0–1), both_low, both_high.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.0, 2.6), layout="constrained")
        axes = figure.subplots()
        subjects = [point["subjects"] for point in curve]
        axes.fill_between(
            subjects, [100 * point["both_low"] for point in curve],
            [100 * point["both_high"] for point in curve], color=SYNTHETIC, alpha=0.15, lw=0,
        )  # fmt: skip
        for key, colour, style, label in (
            ("alone", REAL, "s--", "real segments alone"),
            ("both", SYNTHETIC, "o-", "with the synthetic set added"),
        ):
            values = [100 * point[key] for point in curve]
            axes.plot(subjects, values, style, color=colour, label=label, ms=5, lw=1.3)
        axes.set_xscale("log", base=2)
        axes.set_xticks(subjects, [f"{number:g}" for number in subjects])
        axes.minorticks_off()
        axes.set_xlabel("People recorded")
        axes.set_ylabel("Tasks named right (%)")
        axes.legend(frameon=False, fontsize=8, loc="lower right")
    return figure
