"""The charts of the scorecard: dots and intervals on the axis z, envelopes, features, learning."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from myosynth.app.figures import (
    C3,
    QUIET,
    REAL,
    STYLE,
    SYNTHETIC,
    channel_of,
    grid_of,
    legend_of,
    missing,
    name_row,
    thinned,
    voltage,
)
from myosynth.app.report_data import FEATURE_WORDS, TaskView, worst_features
from myosynth.app.report_pages import number
from myosynth.app.report_words import ASPECTS, state_of
from myosynth.evaluation.scores import Scores
from myosynth.signal.features import FEATURES, band_limits, envelope

__all__ = [
    "LABELS",
    "Line",
    "draw_curve",
    "draw_envelopes",
    "draw_features",
    "draw_scores",
    "lines_of",
    "position",
    "row_label",
]

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
    """What stands in place of the dot: the figures that there are, and why there is no z."""
    if row["z"] is not None or row["value"] is None:
        return ""
    names = (("floor_same", "same people"), ("floor_new", "other people"), ("c3", "C3"))
    known = [f"{name} {number(row[key])}" for key, name in names if row[key] is not None]
    beyond = "beyond both" if state_of(row) == "off" else ""
    return " · ".join(["no z", *known, *filter(None, [beyond])])


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


def draw_envelopes(
    views: Sequence[TaskView], channel: int = 0, include_real_signals: bool = True
) -> Figure:
    """Envelopes (100 ms) of the segments of Figure 2, and how much of each rate envelopes hold."""
    title = f"Envelopes and their rhythm ({channel_of(views, channel)})"
    figure, grid = grid_of(len(views), 2, title, row_in=1.1, gaps_in=(0.4, 0.8), sharex="col")
    with mpl.rc_context(STYLE):
        for view, (left, right) in zip(views, grid, strict=True):
            drawn = []
            for name, side, colour in (
                ("Real", view.real, REAL),
                ("Synthetic", view.synthetic, SYNTHETIC),
            ):
                style = {"color": colour, "lw": 1.3, "ls": "--" if name == "Real" else "-"}
                if side is None:
                    continue
                right.plot(side.rhythm_hz, 100 * side.rhythm[channel], label=name, **style)
                if name == "Synthetic" or include_real_signals:
                    drawn.append((envelope(side.example[channel], view.fs), style))
            factor, unit = voltage(max((float(line.max()) for line, _ in drawn), default=0))
            for line, style in drawn:
                time, thin = thinned(line, view.fs)
                left.plot(time, factor * thin, **style)
            name_row(left, view.task)
            left.set_ylabel(unit)
            left.set_ylim(bottom=0)
            right.set_ylabel("% of power")
            right.set_ylim(bottom=0)
        grid[0][0].set_title("one segment of median amplitude", fontsize=9, loc="right")
        grid[0][1].set_title("rhythm, mean of all segments", fontsize=9, loc="right")
        grid[-1][0].set_xlabel("Time (s)")
        grid[-1][1].set_xlabel("Rate of the envelope (Hz)")
        figure.legend(*legend_of(grid), loc="lower center", ncols=2, frameon=False)
    return figure


def draw_features(views: Sequence[TaskView], n_worst: int = 3) -> Figure:
    """The features of each task that differ most, as distributions of real and synthetic."""
    figure, grid = grid_of(
        len(views), n_worst, "The features that differ most, by task",
        row_in=1.25, gaps_in=(0.85, 0.65), bottom_in=1.0,
    )  # fmt: skip
    with mpl.rc_context(STYLE):
        for view, row in zip(views, grid, strict=True):
            worst = worst_features(view, n_worst)
            for axes in row[len(worst) :]:
                axes.set_axis_off()
            if not worst:
                missing(row[0], "cannot be compared")
            name_row(row[0], view.task)
            for axes, (name, channel, distance) in zip(row, worst, strict=False):
                _distribution(view, axes, name, channel, distance)
        figure.legend(*legend_of(grid), loc="lower center", ncols=2, frameon=False)
    return figure


def _distribution(view: TaskView, axes: Axes, name: str, channel: int, distance: float) -> None:
    column = list(FEATURES).index(name)
    assert view.real is not None
    assert view.synthetic is not None
    real = view.real.features[:, channel, column]
    made = view.synthetic.features[:, channel, column]
    edges = np.linspace(*_reach(np.concatenate([real, made])), 25)
    for values, colour, label, filled in (
        (real, REAL, "Real", True),
        (made, SYNTHETIC, "Synthetic", False),
    ):
        share = np.histogram(values, edges)[0] / len(values)
        axes.stairs(
            100 * share, edges, color=colour, fill=filled, alpha=0.35 if filled else 1.0,
            lw=0 if filled else 1.4, label=label,
        )  # fmt: skip
    words, unit = feature_words(name, view.fs)
    where = f"\n{view.channel_names[channel]}" if len(view.channel_names) > 1 else ""
    axes.set_xlabel(f"{words} ({unit}){where}", fontsize=8, parse_math=False)
    axes.set_title(f"{distance:.2f} SD apart", fontsize=9, loc="right", color=QUIET)
    axes.set_ylabel("% of segments", fontsize=8)


def _reach(values: NDArray[np.float64]) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    room = 0.02 * (high - low) or 0.5
    return low - room, high + room


def feature_words(name: str, fs: float) -> tuple[str, str]:
    """A feature's plain name and unit."""
    if name.startswith("band_"):
        edges = band_limits(fs)
        number = int(name.removeprefix("band_"))
        return f"power {edges[number - 1]:.0f}–{edges[number]:.0f} Hz", "ln share"
    return FEATURE_WORDS[name]
