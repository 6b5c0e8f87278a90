"""What differential privacy costs in fidelity: the networks and the parametric generator.

    python benchmarks/private.py [--epsilon 4 8 16] [--steps 120] [--subjects 10]

For each epsilon, DP-SGD (unit: one segment) and the parametric generator (unit: one person) are
trained on simulated EMG, beside the same networks and generator without noise (``none``), and each
is scored by `evaluate`: the median of z (0 = as another recording of the same people, 1 = as other
people) by group of features, and of lsd and w1. The two units are not comparable: an epsilon for a
person is the far stronger promise. Cells are written as they are done. Prints the file;
``--figure PNG`` draws it and prints a table instead, without training anything.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from memorisation import Cells, people
from myosynth.diffusion import TrainingSettings, train
from myosynth.diffusion.parametric import fit_parametric
from myosynth.evaluation import evaluate
from myosynth.recordings import SegmentSet
from myosynth.storage import read_json


def splits(n_subjects: int, seconds: float, seed: int) -> SegmentSet:
    """Two sessions of the train people, and others for validation and the floors."""
    own = people(n_subjects, 2, seconds, seed)
    first = own.session == sorted(set(own.session.tolist()))[0]
    own.split = np.where(first, "train", "holdout")
    parts = [own]
    for number, split in enumerate(("validation", "unseen"), start=1):
        others = people(4, 1, seconds, seed + number)
        others.subject = np.array([f"{split}{name}" for name in others.subject])
        others.split = np.full(len(others), split)
        parts.append(others)
    return SegmentSet.concatenate(parts)


def scored(real: SegmentSet, model: Any, n_each: int, seed: int) -> dict[str, Any]:
    made = SegmentSet.concatenate([model.sample(task, n_each, seed=seed) for task in model.tasks])
    scores = evaluate(real, made, seed=seed, n_bootstrap=20, max_segments=100)
    found: dict[str, Any] = {"z": {}, "value": {}}
    for metric in ("lsd", "w1"):
        rows = [row for row in scores.rows if row["metric"] == metric]
        for group in sorted({row["group"] for row in rows}):
            own = [row for row in rows if row["group"] == group]
            for key in ("z", "value"):
                values = [row[key] for row in own if row[key] is not None]
                median = round(float(np.median(values)), 4) if values else None
                found[key][f"{metric} {group}"] = median
    return found


def networks(real: SegmentSet, epsilon: float | None, args: argparse.Namespace) -> dict[str, Any]:
    budget = {} if epsilon is None else {"private": True, "epsilon": epsilon}
    settings = TrainingSettings(
        width=args.width, envelope_width=32, batch_size=8, envelope_share=0.3, precision="float32",
        **budget,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        model = train(
            real, Path(folder) / "model", steps=args.steps, seed=args.seed, settings=settings
        )
    facts = model.config["description"]["facts"].get("privacy", {})
    return {
        "unit": facts.get("privacy_unit"),
        "noise_multiplier": facts.get("noise_multiplier"),
        **scored(real, model, args.made, args.seed),
    }


def parametric(real: SegmentSet, epsilon: float | None, args: argparse.Namespace) -> dict[str, Any]:
    model = fit_parametric(real, epsilon=1e9 if epsilon is None else epsilon)
    return {
        "unit": None if epsilon is None else model.privacy["privacy_unit"],
        "noise_std": model.privacy["noise_std"],
        **scored(real, model, args.made, args.seed),
    }


def draw(content: dict[str, Any], path: Path) -> None:
    """Distances by epsilon, the networks beside the parametric generator; a table on the screen."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    cells = content["cells"]
    budgets = list(dict.fromkeys(name.split(", ")[1] for name in cells))
    budgets.sort(key=lambda budget: budget.endswith("none"))  # the least private last
    labels = [budget.removeprefix("epsilon ") for budget in budgets]
    shown = {
        "lsd spectral": "spectrum (dB)", "w1 time": "amplitude (SD)",
        "w1 spectral": "frequency content (SD)", "w1 envelope": "bursts, rhythm (SD)",
        "w1 higher_order": "fine structure (SD)",
    }  # fmt: skip
    figure, axes = plt.subplots(1, len(shown), figsize=(13, 3.2), layout="constrained")
    units = {"networks": "networks (unit: segment)", "parametric": "parametric (unit: person)"}
    for ax, (key, title) in zip(axes, shown.items(), strict=True):
        for kind, marker in (("networks", "o"), ("parametric", "s")):
            values = [cells.get(f"{kind}, {budget}", {"value": {}})["value"].get(key)
                      for budget in budgets]  # fmt: skip
            ax.plot(range(len(budgets)), values, marker=marker, label=units[kind])
            print(f"| {kind} | {title} | " + " | ".join(str(v) for v in values) + " |")
        ax.set(title=title, xticks=range(len(budgets)), xticklabels=labels, xlabel="epsilon")
        ax.set_ylim(bottom=0)
    axes[0].set_ylabel("distance to the real holdout")
    axes[-1].legend(fontsize=7)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--figure", type=Path, help="PNG to draw from --out")
    parser.add_argument("--epsilon", type=float, nargs="+", default=[4.0, 8.0, 16.0])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--subjects", type=int, default=6)
    parser.add_argument("--duration", type=float, default=12.0, help="s of each recording")
    parser.add_argument("--made", type=int, default=24, help="synthetic segments of each task")
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("private.json"))
    args = parser.parse_args()
    if args.figure:
        draw(read_json(args.out), args.figure)
        return
    common = {
        key: value for key, value in vars(args).items() if key not in ("out", "epsilon", "figure")
    }
    cells = Cells(args.out, common)
    real = splits(args.subjects, args.duration, args.seed)
    for epsilon in (None, *args.epsilon):
        for kind in (networks, parametric):
            name = f"{kind.__name__}, epsilon {'none' if epsilon is None else f'{epsilon:g}'}"
            cells.fill(name, lambda kind=kind, epsilon=epsilon: kind(real, epsilon, args))
    cells.show()


if __name__ == "__main__":
    main()
