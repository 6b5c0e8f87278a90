"""How quality and cost grow with time to train, segments, people, channels, rate and length.

    python benchmarks/scaling.py                           a short form: does it run?
    python benchmarks/scaling.py --full [--only minutes subjects ...] [--minutes 2] [--seeds 0 1]
                                 [--dataset sim|FOLDER] [--threads 2]
    python benchmarks/scaling.py --table                   docs/results/scaling.md and its figure

One thing is changed at a time around a base (the first of `--minutes`, and all that the data hold).
Rate and length are changed on simulated recordings alone. Each cell is a file, as in ablation.py.
Prints JSON.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import runs
from myosynth.recordings import SegmentSet

BASE: dict[str, Any] = {
    "segments": None, "subjects": None, "channels": 2, "fs": 2000, "seconds": 3.0,
}  # fmt: skip
AXES: dict[str, tuple[str, tuple[Any, ...]]] = {
    "minutes": ("minutes of training", (0.5, 1.0, 2.0, 4.0, 8.0)),
    "segments": ("training segments", (60, 240, 960)),
    "subjects": ("training subjects", (2, 4, 8)),
    "channels": ("channels", (1, 2, 4)),
    "fs": ("sampling rate, Hz", (1000, 2000, 4000)),
    "seconds": ("length of a segment, s", (1.5, 3.0, 6.0)),
}
COLUMNS = {
    "z_time": "z time", "z_spectral": "z spectral", "z_envelope": "z envelope",
    "z_higher_order": "z higher order", "z": "z mean", "w1": "W1 mean, SD",
    "w1_same": "W1 same people", "c2st": "C2ST", "c2st_same": "C2ST same people",
    "tstr_over_trtr": "TSTR/TRTR",
}  # fmt: skip

INTRODUCTION = """# Scaling

One thing is changed at a time around the base; everything else is as in the
[ablation](ablation.md). Steps per second are of both networks together, over the whole time to
train; seconds per segment are processor seconds, all threads together. With fewer people the
holdout is theirs alone, so that z stays on its own axis. Four channels are two simulated recordings
of one person and task side by side.
"""


def run(args: argparse.Namespace) -> list[dict[str, Any]]:
    kept = runs.Runs(args.results)
    simulated = args.dataset in runs.COHORTS
    axes = {name: values for name, (_, values) in AXES.items()}
    if not simulated:
        axes = {name: axes[name] for name in ("minutes", "segments", "subjects", "channels")}
    if not args.full:
        axes = {"channels": (1,), "seconds": (1.5,)}
    base = {**BASE, "minutes": args.minutes[0]}
    if not simulated:
        found = runs.segments(args)
        base |= {"channels": found.n_channels, "fs": found.fs, "seconds": found.duration_s}
    cells = [base]
    if not simulated and "channels" in axes:
        axes["channels"] = tuple(n for n in axes["channels"] if n < base["channels"])
    for name in args.only or axes:
        cells += [{**base, name: value} for value in axes.get(name, ()) if value != base[name]]
    for seed in args.seeds:
        for cell in cells:
            settings = _settings(args)
            key = {**runs.common_key(args), **cell, "settings": settings.to_dict(), "seed": seed}
            kept.fill(f"{runs.slug(args.dataset)}-{_name(cell)}-s{seed}", key,
                      partial(one, cell, args, seed))  # fmt: skip
    return kept.rows


def _settings(args: argparse.Namespace) -> Any:
    return runs.settings_of(args, {} if args.full else {"width": 32, "envelope_width": 32})


def _name(cell: dict[str, Any]) -> str:
    return "-".join(f"{name}{'all' if v is None else f'{v:g}'}" for name, v in cell.items())


def one(cell: dict[str, Any], args: argparse.Namespace, seed: int) -> dict[str, Any]:
    real = data(cell, args)
    dataset = f"{runs.slug(args.dataset)} {_name({**cell, 'minutes': 0})}"
    trained_on = argparse.Namespace(**{**vars(args), "dataset": dataset})
    row = runs.judged(real, trained_on, _settings(args), minutes=cell["minutes"], seed=seed)
    own = real.where(split="train")
    size = {"segments": len(own), "subjects": len(own.subjects), "channels": own.n_channels}
    steps = sum(row["training"]["n_steps"].values()) / (60 * cell["minutes"])
    return {**row, "size": size, "steps_per_second": round(steps, 3)}


def data(cell: dict[str, Any], args: argparse.Namespace) -> SegmentSet:
    real = _whole(cell, args)
    rng = np.random.default_rng(0)
    keep = np.ones(len(real), dtype=bool)
    train = real.split == "train"
    if cell["subjects"] is not None:
        known = rng.permutation(np.unique(real.subject[train]))[: cell["subjects"]]
        others = np.isin(real.split, ["validation", "unseen"])
        keep = others | np.isin(real.subject, known)
    if cell["segments"] is not None:
        chosen = rng.permutation(np.flatnonzero(train & keep))[: cell["segments"]]
        keep &= ~train
        keep[chosen] = True
    return _with_channels(real[np.flatnonzero(keep)], cell["channels"], rng)


def _whole(cell: dict[str, Any], args: argparse.Namespace) -> SegmentSet:
    as_base = all(cell[name] == BASE[name] for name in ("fs", "seconds"))
    if as_base or args.dataset not in runs.COHORTS:
        return runs.segments(args)
    path = args.results.parent / f"segments-{args.dataset}-{cell['fs']}Hz-{cell['seconds']:g}s"
    if not path.exists():
        size = runs.COHORTS[args.dataset]
        made = runs.simulated(**size, fs=float(cell["fs"]), seconds=cell["seconds"])
        path.parent.mkdir(parents=True, exist_ok=True)
        made.save(path)
    return SegmentSet.open(path)[:]


def _with_channels(real: SegmentSet, n: int, rng: np.random.Generator) -> SegmentSet:
    """The first `n` channels; beyond those that there are, of other segments of the same kind."""
    if n == real.n_channels:
        return real
    volts = real.read()
    if n > real.n_channels:
        kinds = np.stack([real.subject, real.task, real.split], axis=1)
        _, which = np.unique(kinds, axis=0, return_inverse=True)
        partner = np.arange(len(real))
        for kind in np.unique(which):
            rows = np.flatnonzero(which == kind)
            partner[rows] = np.roll(rows, rng.integers(1, max(2, len(rows))))
        volts = np.concatenate([volts, volts[partner]], axis=1)
    return SegmentSet(
        volts[:, :n], real.fs, real.task, subject=real.subject, session=real.session,
        recording=real.recording, split=real.split, start_s=real.start_s, metadata=real.metadata,
    )  # fmt: skip


# -- table and figure


def _axes_of(rows: list[Any]) -> dict[str, list[Any]]:
    """Axis → the runs that differ from the base in it alone, and the base."""
    names = list(AXES)
    keys = [{name: row["key"][name] for name in names} for row in rows]
    base = max(keys, key=lambda key: sum(_apart(key, other) <= 1 for other in keys))
    found = {}
    for name in names:
        own = [
            row
            for row, key in zip(rows, keys, strict=True)
            if all(key[each] == base[each] for each in names if each != name)
        ]
        if len({_value(row, name) for row in own}) > 1:
            found[name] = sorted(own, key=lambda row, name=name: _value(row, name))
    return found


def _apart(one: dict[str, Any], two: dict[str, Any]) -> int:
    return sum(one[name] != two[name] for name in one)


def _value(row: Any, axis: str) -> float:
    """Of an axis; what is left open in the base is what the data held."""
    return float(row["size"].get(axis, row["key"][axis]))


def _measures(rows: list[Any], axis: str) -> tuple[list[float], dict[str, list[float]]]:
    at = sorted({_value(row, axis) for row in rows})
    found: dict[str, list[float]] = {"w1": [], "w1_same": [], "c2st": [], "steps": [], "draw": []}
    for value in at:
        same = [row for row in rows if _value(row, axis) == value]
        found["w1"].append(float(np.mean([r["summary"]["w1"][0] for r in same])))
        found["w1_same"].append(float(np.mean([r["summary"]["w1_same"] for r in same])))
        found["c2st"].append(float(np.mean([r["summary"]["c2st"][0] for r in same])))
        found["steps"].append(float(np.mean([r["steps_per_second"] for r in same])))
        found["draw"].append(float(np.mean([r["drawing"]["draw_cpu_seconds_each"] for r in same])))
    return at, found


def figure(axes: dict[str, list[Any]], path: Path) -> None:
    import matplotlib.pyplot as plt

    labels = {"w1": "mean W1, SD", "c2st": "C2ST", "steps": "steps per s", "draw": "s per segment"}
    drawn, grid = plt.subplots(
        len(labels), len(axes), figsize=(2.4 * len(axes) + 0.6, 7.2), layout="constrained",
        sharex="col", sharey="row", squeeze=False,
    )  # fmt: skip
    for column, (name, rows) in enumerate(axes.items()):
        at, found = _measures(rows, name)
        for line, (measure, label) in enumerate(labels.items()):
            axis = grid[line, column]
            axis.plot(at, found[measure], marker="o", color=f"C{line}")
            if measure == "w1":
                axis.plot(at, found["w1_same"], ls="--", color="0.5", label="same people")
                if not column:
                    axis.legend(frameon=False)
            axis.margins(y=0.15)
            axis.set_xscale("log")
            axis.set_xticks(at, [f"{value:g}" for value in at])
            axis.minorticks_off()
            axis.tick_params(labelbottom=line == len(labels) - 1)
            if not column:
                axis.set_ylabel(label)
        grid[-1, column].set_xlabel(AXES[name][0])
    for line, measure in enumerate(labels):  # only now: every column has its share of the scale
        grid[line, 0].set_ylim(bottom=0.45 if measure == "c2st" else 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn.savefig(path, dpi=150)
    plt.close(drawn)


def table(rows: list[dict[str, Any]], folder: Path) -> str:
    parts = [INTRODUCTION.rstrip()]
    for number, dataset in enumerate(sorted({row["key"]["dataset"] for row in rows})):
        own = [row for row in rows if row["key"]["dataset"] == dataset]
        axes = _axes_of(own)
        timed = ", minutes" + runs.of_processor(own[0]["key"])
        parts.append(f"## {dataset}{timed if own[0]['key']['cpu_time'] else ''}")
        if axes:
            name = f"scaling-{number}.png" if number else "scaling.png"
            figure(axes, folder / name)
            parts.append(f"![Quality and cost]({name})")
        for axis, same in axes.items():
            lines = []
            for value in sorted({_value(row, axis) for row in same}):
                at = [row for row in same if _value(row, axis) == value]
                draw = np.mean([row["drawing"]["draw_cpu_seconds_each"] for row in at])
                steps = np.mean([row["steps_per_second"] for row in at])
                lines.append([f"{value:g}", *(runs.over_seeds(at, c) for c in COLUMNS),
                              f"{steps:.2f}", f"{draw:.3f}", str(len(at))])  # fmt: skip
            head = [AXES[axis][0], *COLUMNS.values(), "steps per s", "s per segment", "seeds"]
            parts += [f"### {AXES[axis][0]}", runs.markdown(head, lines)]
        parts.append(runs.provenance(own))
    return "\n\n".join(parts)


def main() -> None:
    parser = runs.parser(__doc__ or "", minutes=2.0, results="scaling")
    args = parser.parse_args()
    runs.carry_out(args, "scaling", AXES, run, lambda rows: table(rows, args.docs))


if __name__ == "__main__":
    main()
