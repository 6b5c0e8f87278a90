"""The paper's two figures and those of the scorecard, as matplotlib figures without global state.

Figure 1 shows the spectra by task, Figure 2 the signals by task, real beside synthetic, after the
study whose method this package follows (doi:10.1177/10711813241276462).
"""

import io
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from myosynth.app.report_data import Side, TaskView, task_views
from myosynth.recordings import FloatArray, SegmentSet
from myosynth.signal.features import band_limits
from myosynth.storage import atomic_file

__all__ = [
    "C3",
    "QUIET",
    "REAL",
    "STYLE",
    "SYNTHETIC",
    "draw_signals",
    "draw_spectra",
    "figure_signals",
    "figure_spectra",
    "picture_bytes",
    "readme_picture",
    "save_figure",
]

REAL, SYNTHETIC, C3 = "#0072B2", "#D55E00", "#009E73"
"""Blue, vermillion and green of the colour-blind-safe palette of Okabe & Ito (2008)."""

_INK, QUIET = "#333333", "#777777"
STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "text.color": _INK,
    "svg.fonttype": "none",
}
_WIDTH_IN = 9.0
_COLUMNS = 700  # of a drawn signal: a pair of its smallest and largest sample in each


def figure_spectra(real: SegmentSet, synthetic: SegmentSet, *, channel: int = 0) -> Figure:
    """Figure 1: power spectral density by task, real beside synthetic, on a log scale.

    Parameters
    ----------
    real, synthetic : SegmentSet
        Of the same rate and channels; of the real set the holdout is drawn where there is one.
    channel : int
        Position of the channel.

    Returns
    -------
    matplotlib.figure.Figure
        ``save_figure(figure, "figure1.png")`` writes it.

    Raises
    ------
    InputError
        If rates or numbers of channels differ.
    """
    return draw_spectra(task_views(real, synthetic), channel)


def figure_signals(
    real: SegmentSet,
    synthetic: SegmentSet,
    *,
    channel: int = 0,
    include_real_signals: bool = True,
) -> Figure:
    """Figure 2: the segment of median amplitude of each task, real beside synthetic.

    Parameters
    ----------
    real, synthetic, channel
        As in `figure_spectra`.
    include_real_signals : bool
        False leaves out the excerpts of real people's recordings.
    """
    return draw_signals(task_views(real, synthetic), channel, include_real_signals)


def grid_of(
    n_rows: int,
    n_columns: int,
    title: str,
    *,
    row_in: float,
    gaps_in: tuple[float, float],
    bottom_in: float = 0.8,
    **shared: Any,
) -> tuple[Figure, NDArray[Any]]:
    """A figure of panels `row_in` high, with (vertical, horizontal) gaps, all in inches.

    Fixed margins: matplotlib's own search for them takes as long as the drawing.
    """
    left, right, top, bottom = 0.75, 0.15, 0.6, bottom_in
    height = n_rows * (row_in + gaps_in[0]) - gaps_in[0] + top + bottom
    width = (_WIDTH_IN - left - right + gaps_in[1]) / n_columns - gaps_in[1]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(_WIDTH_IN, height))
        axes = figure.subplots(n_rows, n_columns, squeeze=False, **shared)
        figure.subplots_adjust(
            left / _WIDTH_IN, bottom / height, 1 - right / _WIDTH_IN, 1 - top / height,
            gaps_in[1] / width, gaps_in[0] / row_in,
        )  # fmt: skip
        figure.suptitle(title, fontsize=10, x=0.01, y=1 - 0.1 / height, ha="left", parse_math=False)
    return figure, axes


def channel_of(views: Sequence[TaskView], channel: int) -> str:
    return f"channel {views[0].channel_names[channel]}"


def missing(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=QUIET)


def name_row(axes: Axes, task: str) -> None:
    axes.annotate(
        task or "(no task)", (0, 1), xytext=(4, 3), xycoords="axes fraction",
        textcoords="offset points", fontweight="bold", va="bottom", parse_math=False,
    )  # fmt: skip


def draw_spectra(views: Sequence[TaskView], channel: int = 0) -> Figure:
    """Figure 1 from views already made; see `figure_spectra`."""
    title = f"Spectra by task ({channel_of(views, channel)})"
    figure, grid = grid_of(
        len(views), 2, title, row_in=1.4, gaps_in=(0.4, 0.3), sharex=True, sharey="row"
    )
    top_hz = min(500.0, views[0].fs / 2)
    with mpl.rc_context(STYLE):
        for view, (left, right) in zip(views, grid, strict=True):
            _spectrum_pair(view, channel, left, right)
            name_row(left, view.task)
            left.set_ylabel("mV²/Hz")
            left.set_yscale("log")
            left.set_xlim(0, top_hz)
            _limit_spectrum(view, channel, left)
        for axes in grid[-1]:
            axes.set_xlabel("Frequency (Hz)")
        handles = legend_of(grid)
        figure.legend(*handles, loc="lower center", ncols=4, frameon=False)
    return figure


def _spectrum_pair(view: TaskView, channel: int, left: Axes, right: Axes) -> None:
    real, made = view.real, view.synthetic
    for axes, own in ((left, real), (right, made)):
        if real is not None and real.psd_band is not None:
            low, high = 1e6 * real.psd_band[:, channel]
            axes.fill_between(
                real.frequencies, low, high, color=REAL, alpha=0.18, lw=0,
                label="Real subjects, 10th to 90th percentile",
            )  # fmt: skip
        if own is None:
            missing(axes, "no segments of this task")
    if real is not None:
        left.plot(real.frequencies, 1e6 * real.psd[channel], color=REAL, lw=1.4, label="Real, mean")
        right.plot(
            real.frequencies, 1e6 * real.psd[channel], color=REAL, lw=1, ls="--", label="Real, mean"
        )
    if made is not None:
        right.plot(
            made.frequencies, 1e6 * made.psd[channel], color=SYNTHETIC, lw=1.4,
            label="Synthetic, mean",
        )  # fmt: skip
    for axes, name, side in ((left, "Real", real), (right, "Synthetic", made)):
        axes.set_title(_side_title(name, side), fontsize=9, loc="right", color=QUIET)


def _side_title(name: str, side: Side | None) -> str:
    if side is None:
        return name
    people = f", {side.n_subjects} subjects" if side.n_subjects > 1 else ""
    plural = "s" if side.n_segments > 1 else ""
    return f"{name}: {side.n_segments} segment{plural}{people}"


def _limit_spectrum(view: TaskView, channel: int, axes: Axes) -> None:
    """To what is inside the band: the edges of filters would take half the axis."""
    edges = band_limits(view.fs)
    values = [
        1e6 * side.psd[channel][(side.frequencies >= edges[0]) & (side.frequencies <= edges[-1])]
        for side in (view.real, view.synthetic)
        if side is not None
    ]
    if values and max(part.max() for part in values) > 0:
        top = max(part.max() for part in values)
        axes.set_ylim(max(min(part.min() for part in values), 1e-6 * top) / 3, 4 * top)


def legend_of(grid: NDArray[Any]) -> tuple[list[Any], list[str]]:
    """Each label once, solid lines before dashed ones."""
    found: dict[str, Any] = {}
    for axes in grid.flat:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    return list(found.values()), list(found)


def draw_signals(
    views: Sequence[TaskView], channel: int = 0, include_real_signals: bool = True
) -> Figure:
    """Figure 2 from views already made; see `figure_signals`."""
    title = f"Signals by task ({channel_of(views, channel)}): the segment of median amplitude"
    figure, grid = grid_of(
        len(views), 2, title, row_in=1.1, gaps_in=(0.4, 0.3), sharex=True, sharey="row"
    )
    with mpl.rc_context(STYLE):
        for view, pair in zip(views, grid, strict=True):
            sides = (("Real", view.real, REAL), ("Synthetic", view.synthetic, SYNTHETIC))
            drawn = [
                side
                for name, side, _ in sides
                if side is not None and (name == "Synthetic" or include_real_signals)
            ]
            factor, unit = voltage(
                max((np.abs(s.example[channel]).max() for s in drawn), default=0)
            )
            for axes, (name, side, colour) in zip(pair, sides, strict=True):
                axes.set_title(name, fontsize=9, loc="right", color=QUIET)
                if side is None:
                    missing(axes, "no segments of this task")
                elif name == "Real" and not include_real_signals:
                    missing(axes, "left out: real recording")
                else:
                    time, signal = thinned(side.example[channel], view.fs)
                    axes.plot(time, factor * signal, color=colour, lw=0.5)
            name_row(pair[0], view.task)
            pair[0].set_ylabel(unit)
        for axes in grid[-1]:
            axes.set_xlabel("Time (s)")
    return figure


def voltage(peak: float) -> tuple[float, str]:
    return (1e6, "µV") if peak < 1e-4 else (1e3, "mV")


def thinned(signal: FloatArray, fs: float) -> tuple[NDArray[np.float64], FloatArray]:
    """Times (s) and samples to draw: the smallest and largest in each of `_COLUMNS` columns."""
    step = len(signal) // _COLUMNS
    if step < 3:
        return np.arange(len(signal)) / fs, signal
    n = len(signal) // step
    parts = signal[: n * step].reshape(n, step)
    which = np.sort(np.stack([parts.argmin(axis=1), parts.argmax(axis=1)], axis=1), axis=1)
    rows = (which + step * np.arange(n)[:, None]).ravel()
    return rows / fs, signal[rows]


def readme_picture(real: SegmentSet, synthetic: SegmentSet, *, channel: int = 0) -> Figure:
    """One picture of both: signals by task, real beside synthetic, and their spectra.

    Parameters
    ----------
    real, synthetic, channel
        As in `figure_spectra`. Meant for simulated recordings: it draws segments.
    """
    views = task_views(real, synthetic)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 1.35 * len(views) + 0.7), layout="constrained")
        grid = figure.subplots(
            len(views), 3, squeeze=False, sharex="col", width_ratios=(1.25, 1.25, 1)
        )
        for view, row in zip(views, grid, strict=True):
            _picture_row(view, channel, row)
        for axes, title in zip(grid[0], ("Real", "Synthetic", "Spectra"), strict=True):
            axes.set_title(title, fontsize=10)
        for axes, label in zip(grid[-1], ("Time (s)", "Time (s)", "Frequency (Hz)"), strict=True):
            axes.set_xlabel(label)
        figure.legend(*legend_of(grid[:, 2:]), loc="outside lower center", ncols=3, frameon=False)
    return figure


def _picture_row(view: TaskView, channel: int, row: NDArray[Any]) -> None:
    sides = ((view.real, REAL, "Real"), (view.synthetic, SYNTHETIC, "Synthetic"))
    peak = 0.0
    for axes, (side, colour, name) in zip(row[:2], sides, strict=True):
        if side is None:
            missing(axes, "no segments of this task")
            continue
        time, signal = thinned(side.example[channel], view.fs)
        axes.plot(time, 1e3 * signal, color=colour, lw=0.4)
        peak = max(peak, 1.05e3 * float(np.abs(signal).max()))
        row[2].plot(
            side.frequencies, 1e6 * side.psd[channel], color=colour, label=name,
            ls="--" if name == "Real" else "-", lw=1.3,
        )  # fmt: skip
    if view.real is not None and view.real.psd_band is not None:
        low, high = 1e6 * view.real.psd_band[:, channel]
        row[2].fill_between(
            view.real.frequencies, low, high, color=REAL, alpha=0.18, lw=0, label="Real subjects"
        )
    for axes in row[:2]:
        axes.set_ylim(-(peak or 1), peak or 1)
    row[0].set_ylabel(f"{view.task}\n(mV)", parse_math=False)
    row[1].tick_params(labelleft=False)
    row[2].set_yscale("log")
    row[2].set_xlim(0, min(500.0, view.fs / 2))
    row[2].set_ylabel("mV²/Hz")
    _limit_spectrum(view, channel, row[2])


def picture_bytes(figure: Figure, kind: str, *, salt: str = "", dpi: int = 150) -> bytes:
    """The figure as PNG or SVG; same figure, same bytes.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        Any figure.
    kind : str
        ``png``, ``svg`` or ``pdf``.
    salt : str
        Goes into the names inside an SVG, so that several can stand on one page.
    dpi : int
        Of a PNG.
    """
    buffer = io.BytesIO()
    undated: dict[str, Any] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    with mpl.rc_context({**STYLE, "svg.hashsalt": salt or "myosynth"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # a box is drawn instead
        figure.savefig(buffer, format=kind, dpi=dpi, facecolor="white", metadata=undated.get(kind))
    return buffer.getvalue()


def inline_svg(svg: bytes, label: str) -> str:
    """An SVG of `picture_bytes` as an element for a page, with `label` for screen readers.

    It scales with the page up to its own width. Names of parts that nothing refers to are taken
    out, since they would stand twice on a page with two figures.
    """
    from markupsafe import escape

    text = svg.decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' id="[A-Za-z0-9.]+_[0-9]+"', "", text)
    text = re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path[0]), text)
    head, body = text.split(">", 1)
    box = re.search(r'viewBox="([^"]*)"', head)
    assert box is not None
    width = round(float(box[1].split()[2]) * 96 / 72)
    return (
        f'<svg viewBox="{box[1]}" role="img" aria-label="{escape(label)}" '
        f'xmlns:xlink="http://www.w3.org/1999/xlink" style="max-width:{width}px">{body}'
    )


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure, atomically; the suffix (.png, .svg, .pdf) says how.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        Any figure of this module.
    path : path
        The file to write.
    """
    path = Path(path)
    with atomic_file(path) as partial:
        partial.write_bytes(picture_bytes(figure, path.suffix.removeprefix(".").lower() or "png"))
