"""Quality against number of evaluations of the networks, sampler by sampler.

    python benchmarks/few_steps.py                         a short form: does it run?
    python benchmarks/few_steps.py --full [--minutes 10] [--only heun dpmsolver++ ...]
                                   [--seeds 0 1] [--dataset sim|FOLDER] [--threads 2]
    python benchmarks/few_steps.py --table                 docs/results/few-steps.md and its figure

One model (training seed 0; of another benchmark, where that trained it already) draws with every
sampler and number of steps; `--seeds` are seeds of drawing. Each cell is a file, as in ablation.py.
Prints JSON.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import runs
import schedulers
from myosynth.diffusion.samplers import SAMPLERS
from myosynth.diffusion.synthesizer import DEFAULT_SAMPLER, DEFAULT_STEPS
from myosynth.errors import InputError

EVALUATIONS = (2, 4, 5, 6, 8, 10, 12, 18, 36)
BATCHES = (1, 2, 4, 8, 16, 32)
BY_DEFAULT = (
    "dpmsolver++", "heun", "euler", "unipc", "deis", "dpmsolver++ singlestep", "lms",
    "sde-dpmsolver++", "euler ancestral",
)  # fmt: skip
CLOSE = 1.05
COLUMNS = {
    "z_time": "z time", "z_spectral": "z spectral", "z_envelope": "z envelope",
    "z_higher_order": "z higher order", "z": "z mean", "w1": "W1 mean, SD", "c2st": "C2ST",
    "lsd": "LSD, dB",
}  # fmt: skip

INTRODUCTION = """# Few-step sampling

One model draws with every sampler; an evaluation is one pass through the planes' network (the
envelope map takes three times as many). Scores are against the holdout, as in the
[ablation](ablation.md). Seconds are processor seconds for one segment, all threads together.
"""


def run(args: argparse.Namespace) -> list[dict[str, Any]]:
    schedulers.register()
    real = runs.segments(args)
    kept = runs.Runs(args.results)
    small = {} if args.full else {"width": 32, "envelope_width": 32}
    settings = runs.settings_of(args, small)
    minutes = args.minutes[0]
    found = runs.trained(
        real, args.results.parent, dataset=args.dataset, settings=settings,
        minutes=minutes, seed=0, cpu_time=args.cpu_time,
    )  # fmt: skip
    common = {"settings": settings.to_dict(), "minutes": minutes, **runs.common_key(args)}
    start = f"{runs.slug(args.dataset)}-{minutes:g}min"
    for seed in args.seeds:
        for sampler in args.only or (BY_DEFAULT if args.full else ("dpmsolver++", "heun")):
            for wanted in EVALUATIONS if args.full else (2, 4):
                n_steps = _steps(sampler, wanted)
                if n_steps is None:
                    continue
                key = {**common, "seed": seed, "sampler": sampler, "n_steps": n_steps}

                def make(key: dict[str, Any] = key) -> dict[str, Any]:
                    return cell(found, real, args, key)

                name = sampler.replace(" ", "-").replace("(", "").replace(")", "")
                kept.fill(f"{start}-{name}-{n_steps}-s{seed}", key, make)
    kept.fill(f"{start}-speed", {**common, "seed": 0, "sampler": "speed"},
              lambda: {"speed": speed(found, args.made)})  # fmt: skip
    return kept.rows


def _steps(sampler: str, wanted: int) -> int | None:
    """Steps that ask the networks `wanted` times at most, or None where that takes under two."""
    per_step = schedulers.EVALUATIONS_PER_STEP.get(sampler, 1)
    n_steps = (wanted + per_step - 1) // per_step
    return n_steps if n_steps >= 2 else None


def cell(
    found: runs.Trained, real: Any, args: argparse.Namespace, key: dict[str, Any]
) -> dict[str, Any]:

    def sample(task: str, n: int) -> Any:
        return found.model.sample(
            task, n, seed=1000 + key["seed"], threads=args.threads, sampler=key["sampler"],
            n_steps=key["n_steps"],
        )  # fmt: skip

    try:
        made, cost = runs.drawn(sample, found.model.tasks, args.made)
    except InputError as error:
        return {"skipped": str(error)}
    return {
        "training": {k: v for k, v in found.facts.items() if k != "made_with"},
        "n_evaluations": schedulers.evaluations(key["sampler"], key["n_steps"]),
        "drawing": cost,
        **runs.scored(real, made, n_resamples=args.resamples, unseen=args.unseen),
    }


def speed(found: runs.Trained, n: int) -> list[dict[str, Any]]:
    """Processor seconds for one segment by precision and batch size, at the default sampler."""
    model, rows = found.model, []
    inner = model._model
    before, task = inner.settings, model.tasks[0]
    for precision in ("bfloat16", "float32"):
        inner.settings = replace(before, precision=precision)
        for batch in [size for size in BATCHES if size <= max(8, n)]:
            model.sample(task, batch, batch_size=batch, threads=1)
            wall, cpu = time.perf_counter(), time.process_time()
            n_drawn = batch * max(1, 16 // batch)
            model.sample(task, n_drawn, batch_size=batch, threads=1)
            rows.append(
                {
                    "precision": precision,
                    "batch_size": batch,
                    "cpu_seconds_each": (time.process_time() - cpu) / n_drawn,
                    "seconds_each": (time.perf_counter() - wall) / n_drawn,
                }
            )
    inner.settings = before
    return rows


def table(rows: list[dict[str, Any]], folder: Path) -> str:
    parts = [INTRODUCTION.rstrip()]
    for number, (title, every) in enumerate(runs.sections(rows)):
        own = [row for row in every if "summary" in row]
        lines = []
        for sampler, n in sorted({(r["key"]["sampler"], r["n_evaluations"]) for r in own}):
            same = [r for r in own if (r["key"]["sampler"], r["n_evaluations"]) == (sampler, n)]
            seconds = np.mean([r["drawing"]["draw_cpu_seconds_each"] for r in same])
            cells = [runs.over_seeds(same, column) for column in COLUMNS]
            lines.append([sampler, str(n), *cells, f"{seconds:.4f}", str(len(same))])
        head = ["sampler", "evaluations", *COLUMNS.values(), "s per segment", "seeds"]
        name = f"few-steps-{number}.png" if number else "few-steps.png"
        figure(own, folder / name)
        parts += [f"## {title}", knee(own), f"![Quality against evaluations]({name})"]
        parts += [runs.markdown(head, lines), *_speed(every), runs.provenance(every)]
    return "\n\n".join(parts)


def _speed(rows: list[Any]) -> list[str]:
    found = [row["speed"] for row in rows if "speed" in row]
    if not found:
        return []
    lines = [
        [each["precision"], str(each["batch_size"]), f"{each['cpu_seconds_each']:.4f}"]
        for each in found[-1]
    ]
    text = f"One thread, {DEFAULT_SAMPLER} with {DEFAULT_STEPS} steps:"
    return [text, runs.markdown(["precision", "batch size", "s per segment"], lines)]


def _curve(rows: list[Any], sampler: str, figure_of: str) -> tuple[list[int], list[float]]:
    values: dict[int, list[float]] = {}
    for row in rows:
        value = row["summary"].get(figure_of)
        if row["key"]["sampler"] == sampler and value is not None:
            one = value[0] if isinstance(value, list) else value
            values.setdefault(row["n_evaluations"], []).append(one)
    at = sorted(values)
    return at, [float(np.mean(values[n])) for n in at]


def knee(rows: list[Any]) -> str:
    """The fewest evaluations of each sampler that are nearly as good as the best cell of all."""
    curves = {s: _curve(rows, s, "w1") for s in dict.fromkeys(r["key"]["sampler"] for r in rows)}
    best = min(min(values) for _, values in curves.values())
    found = {
        s: min((n for n, v in zip(*curve, strict=True) if v <= CLOSE * best), default=None)
        for s, curve in curves.items()
    }
    near = sorted((n, s) for s, n in found.items() if n is not None)
    told = ", ".join(f"{s} {n}" for n, s in near)
    return f"Fewest evaluations with a mean W1 within 5 % of the best cell ({best:.3f} SD): {told}."


def figure(rows: list[Any], path: Path) -> None:
    import matplotlib.pyplot as plt

    panels = {"w1": "mean W1, SD", "w1_higher_order": "W1 higher order, SD", "c2st": "C2ST"}
    drawn, axes = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained")
    samplers = [s for s in SAMPLERS if any(r["key"]["sampler"] == s for r in rows)]
    for axis, (name, label) in zip(axes, panels.items(), strict=True):
        for number, sampler in enumerate(samplers):
            at, values = _curve(rows, sampler, name)
            chosen = sampler == DEFAULT_SAMPLER
            axis.plot(
                at, values, marker="osv^D*PX"[number % 8], ms=4, lw=2.5 if chosen else 1,
                color=f"C{number % 10}", ls="-" if number < 10 else "--", label=sampler,
            )  # fmt: skip
        axis.axvline(DEFAULT_STEPS, color="0.7", lw=1, zorder=0)
        axis.set(xscale="log", xlabel="evaluations of the networks", ylabel=label)
        if name != "c2st":
            axis.set_yscale("log")
            axis.yaxis.set_major_formatter("{x:g}")
            axis.yaxis.set_minor_formatter("{x:g}")
        ticks = [n for n in EVALUATIONS if n != 12]  # which would touch the 10
        axis.set_xticks(ticks, [str(n) for n in ticks])
        axis.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
    axes[0].legend(fontsize=7, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn.savefig(path, dpi=150)
    plt.close(drawn)


def main() -> None:
    parser = runs.parser(__doc__ or "", minutes=10.0, results="few-steps")
    args = parser.parse_args()
    schedulers.register()
    runs.carry_out(args, "few-steps", SAMPLERS, run, lambda rows: table(rows, args.docs))


if __name__ == "__main__":
    main()
