"""Memorisation against training time and number of segments.

    python benchmarks/memorisation.py [--segments 20 80] [--steps 60 240] [--out memorisation.json]

For each number of training segments and each budget of steps, a model is trained on simulated EMG,
and what it gives away is measured: the AUC with which the density of descriptors and the networks'
losses at fixed noise tell training segments from other recordings of the same people (0.5 =
nothing), and the gap between the losses that `train --audit-every` watches. Each cell is written as
soon as it is done; a run that was stopped goes on where it was. Prints the file; ``--figure PNG``
draws it and prints a table instead.
"""

import argparse
import json
import os
import platform
import shlex
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from myosynth.diffusion import TrainingSettings, train
from myosynth.recordings import SegmentSet
from myosynth.signal.filters import filter_recording
from myosynth.signal.segmentation import segment_recording
from myosynth.simulation import simulate_dataset
from myosynth.storage import read_json, write_json

# columns of `Synthesizer.loss`
PARTS = {"density": slice(1), "envelope": slice(1, 4), "planes": slice(4, 7)}
TITLES = {
    "density": "density of descriptors",
    "envelope": "network of the envelope map",
    "planes": "network of the planes",
}


class Cells:
    """A table that is written cell by cell and filled up when it is opened again.

    Parameters
    ----------
    path : Path
        JSON; a file of other settings or another seed is refused.
    settings : dict
        JSON-able: all that the cells have in common.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path = path
        self.content: dict[str, Any] = {
            "command": shlex.join(
                ["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]
            ),
            "settings": settings,
            "machine": {
                "processor": platform.processor() or platform.machine(),
                "n_cores": os.cpu_count(),
                "threads": os.environ.get("OMP_NUM_THREADS"),
                "python": platform.python_version(),
            },
            "versions": {name: version(name) for name in ("myosynth", "torch", "numpy")},
            "cells": {},
        }
        if path.exists():
            before = read_json(path)
            if before.get("settings") != settings:
                sys.exit(f"{path} holds other settings; name another file with --out")
            self.content["cells"] = before["cells"]

    def fill(self, name: str, make: Callable[[], dict[str, Any]]) -> None:
        """Make a cell unless it is there."""
        if name in self.content["cells"]:
            return
        start = time.perf_counter()
        cell = make()
        self.content["cells"][name] = {**cell, "seconds": round(time.perf_counter() - start, 1)}
        write_json(self.path, self.content)

    def show(self) -> None:
        print(json.dumps(self.content, indent=1))


def people(n_subjects: int, n_sessions: int, seconds: float, seed: int) -> SegmentSet:
    """Simulated segments of two tasks, sampled at 1000 Hz."""
    recordings = simulate_dataset(
        n_subjects=n_subjects, n_sessions=n_sessions, tasks=("push", "stoop"),
        duration_s=seconds, fs=1000.0, seed=seed,
    )  # fmt: skip
    return SegmentSet.concatenate(
        segment_recording(filter_recording(each))[0] for each in recordings
    )


def splits(n_train: int, seed: int) -> SegmentSet:
    """`n_train` segments of six people, other sessions of theirs, and four other people."""
    rng = np.random.default_rng(seed)
    own = people(6, 2, max(12.0, n_train / 4), seed)
    first = own.session == sorted(set(own.session.tolist()))[0]
    chosen = rng.permutation(np.flatnonzero(first))[:n_train]
    other = rng.permutation(np.flatnonzero(~first))[:120]
    own.split = np.where(first, "train", "holdout")
    own = own[np.sort(np.concatenate([chosen, other]))]
    others = people(4, 1, 12.0, seed + 1)
    others.subject = np.array([f"v{name}" for name in others.subject])
    others.split = np.full(len(others), "validation")
    return SegmentSet.concatenate([own, others])


def auc(members: np.ndarray, others: np.ndarray) -> float:
    """Chance that a member has the lower loss."""
    lower = members[:, None] < others[None]
    return float(lower.mean() + 0.5 * (members[:, None] == others[None]).mean())


def one_cell(n_segments: int, n_steps: int, width: int, seed: int) -> dict[str, Any]:
    segments = splits(n_segments, seed)
    settings = TrainingSettings(width=width, envelope_width=32, precision="float32")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "model"
        model = train(
            segments, out, steps=n_steps, seed=seed, settings=settings,
            audit_every=max(1, n_steps // 8),
        )  # fmt: skip
        stored = read_json(out / "training.json")
    losses = {}
    for split in ("train", "holdout"):
        losses[split] = model.loss(segments.where(split=split), seed=seed)
    gaps = {
        row["stage"]: round(row["memorisation"], 4)
        for row in stored["log"]
        if "memorisation" in row
    }
    return {
        "n_segments": int((segments.split == "train").sum()),
        "n_steps": n_steps,
        "auc": {
            name: round(auc(*(np.log(losses[each][:, part]).mean(1) for each in losses)), 3)
            for name, part in PARTS.items()
        },
        "gap": gaps,
        "warning": stored["memorisation"],
    }


def draw(content: dict[str, Any], path: Path) -> None:
    """AUC against steps, a line for each number of segments; a table on the screen."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    cells = list(content["cells"].values())
    figure, axes = plt.subplots(1, len(PARTS), figsize=(11, 3.2), sharey=True, layout="constrained")
    for n in sorted({cell["n_segments"] for cell in cells}):
        own = sorted((c for c in cells if c["n_segments"] == n), key=lambda c: c["n_steps"])
        steps = [cell["n_steps"] for cell in own]
        for ax, part in zip(axes, PARTS, strict=True):
            ax.plot(steps, [c["auc"][part] for c in own], marker="o", label=f"{n} segments")
            ax.set(xscale="log", xlabel="steps", title=TITLES[part])
            ax.set_xticks(steps, [str(each) for each in steps])
            ax.set_xticks([], minor=True)
        for c in own:
            warned = "yes" if c["warning"] else "no"
            found = " | ".join(str(c["auc"][part]) for part in PARTS)
            print(f"| {n} | {c['n_steps']} | {found} | {c['gap']} | {warned} |")
    for ax in axes:
        ax.axhline(0.5, color="0.6", linestyle=":")
    axes[0].set_ylabel("AUC of the loss (0.5 = nothing)")
    axes[-1].legend(fontsize=8)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--figure", type=Path, help="PNG to draw from --out")
    parser.add_argument("--segments", type=int, nargs="+", default=[20, 80])
    parser.add_argument("--steps", type=int, nargs="+", default=[60, 240])
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("memorisation.json"))
    args = parser.parse_args()
    if args.figure:
        draw(read_json(args.out), args.figure)
        return
    cells = Cells(args.out, {"width": args.width, "seed": args.seed})
    for n in args.segments:
        for steps in args.steps:
            cells.fill(
                f"{n} segments, {steps} steps",
                lambda n=n, steps=steps: one_cell(n, steps, args.width, args.seed),
            )
    cells.show()


if __name__ == "__main__":
    main()
