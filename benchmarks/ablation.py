"""What each part of the method gives, at equal wall time.

    python benchmarks/ablation.py                          a short form: does it run?
    python benchmarks/ablation.py --full [--only NAME ...] [--minutes 3] [--seeds 0 1 2]
                                  [--draws 1] [--dataset sim|FOLDER] [--threads 2] [--unseen]
    python benchmarks/ablation.py --table                  docs/results/ablation.md from the runs
    python benchmarks/ablation.py --list                   the variants

Every variant is the default with one field (or a few), or how it is trained, changed, is trained
for the same time, draws as many segments and is scored by the evaluation protocol against the
holdout of the train subjects.
Each run is a file in the results folder; a run that is there is not done again, and rows that
differ in drawing alone share a model. Prints JSON.
"""

import argparse
from itertools import product
from typing import Any

import runs
import shared_network

UNET1D = {"backbone": "unet1d", "width": 192}
UNET2D = {"backbone": "unet2d", "width": 96}

# name: (settings changed, how to train and draw, what it asks)
VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "default": ({}, {}, "the defaults"),
    "one-stage": ({"stages": "one"}, {}, "planes at once, no envelope map"),
    "bands-4": ({"n_bands": 4}, {}, "bands of the envelope map (8)"),
    "bands-16": ({"n_bands": 16}, {}, "bands of the envelope map (8)"),
    "smooth-4": ({"envelope_stride": 4}, {}, "STFT frames per frame of the envelope map (2)"),
    "smooth-6": ({"envelope_stride": 6}, {}, "STFT frames per frame of the envelope map (2)"),
    "share-0.3": ({"envelope_share": 0.3}, {}, "of the time for the envelope map (0.5)"),
    "share-0.65": ({"envelope_share": 0.65}, {}, "of the time for the envelope map (0.5)"),
    "known-exactly": ({"envelope_noise": 0.0}, {}, "noise on the map in training (0.1)"),
    "known-roughly": ({"envelope_noise": 0.3}, {}, "noise on the map in training (0.1)"),
    "shared": ({}, {"fit": shared_network.fit}, "layers that agree belong to both stages"),
    "no-descriptors": (
        {"descriptors": False}, {}, "texture drawn with the map, not from a density first",
    ),
    "described-exactly": ({"descriptor_noise": 0.0}, {}, "noise on descriptors (0.3)"),
    "described-roughly": ({"descriptor_noise": 0.6}, {}, "noise on descriptors (0.3)"),
    "no-texture": ({"texture_bands": 0}, {}, "no texture of the segment beside its map (16 bands)"),
    "consistency-0": ({"consistency": 0}, {}, "not held to the map while drawing (2 rounds)"),
    "adamw": ({"optimiser": "adamw"}, {}, "AdamW for all weights (Muon for matrices)"),
    "no-gain-shape": ({"gain_shape": False}, {}, "one level for all segments"),
    "no-whitening": ({"whitening": False}, {}, "one level for all bins"),
    "additive": ({"multiplicative": False}, {}, "no gain on the input of the network"),
    "temporal-loss-0": ({"temporal_weight": 0.0}, {}, "weight of the temporal loss (0.1)"),
    "temporal-loss-1": ({"temporal_weight": 1.0}, {}, "weight of the temporal loss (0.1)"),
    "unet1d": (UNET1D, {}, "network over time with bins as channels"),
    "unet2d": (UNET2D, {}, "network over patches of bins and frames"),
    "unet1d-compressed": ({**UNET1D, "compression": 0.75}, {}, "|z|^0.75; beside unet1d"),
    "unet1d-magnitude": (
        {**UNET1D, "representation": "magnitude"}, {}, "Griffin–Lim phases; beside unet1d",
    ),
    "unet2d-one-stage": ({**UNET2D, "stages": "one"}, {}, "beside unet2d and the next"),
    "unet2d-one-magnitude": (
        {**UNET2D, "stages": "one", "representation": "magnitude"}, {}, "as in the paper",
    ),
    "sigma-low": ({"p_mean": -1.2}, {}, "mean of ln σ of the planes (−0.4)"),
    "sigma-high": ({"p_mean": 0.4}, {}, "mean of ln σ of the planes (−0.4)"),
    "sigma-narrow": ({"p_std": 0.8}, {}, "spread of ln σ (1.2)"),
    "sigma-wide": ({"p_std": 1.6}, {}, "spread of ln σ (1.2)"),
    "envelope-sigma-low": (
        {"envelope_p_mean": -0.5, "envelope_p_std": 1.2}, {}, "ln σ of the map (0 ± 1.4)",
    ),
    "envelope-sigma-high": (
        {"envelope_p_mean": 0.4, "envelope_p_std": 1.6}, {}, "ln σ of the map (0 ± 1.4)",
    ),
    "guidance-1.5": ({}, {"guidance_scale": 1.5}, "guidance scale (1)"),
    "guidance-2": ({}, {"guidance_scale": 2.0}, "guidance scale (1)"),
    "ema-off": ({"ema_length": 0.001}, {}, "length of the average of the weights (0.1)"),
    "ema-short": ({"ema_length": 0.03}, {}, "length of the average of the weights (0.1)"),
    "ema-long": ({"ema_length": 0.3}, {}, "length of the average of the weights (0.1)"),
    "float32": ({"precision": "float32"}, {}, "no bfloat16"),
    "flow": (
        {"objective": "flow", "p_mean": 0.0, "p_std": 1.0}, {}, "rectified flow, DPM-Solver++",
    ),
    "flow-euler": (
        {"objective": "flow", "p_mean": 0.0, "p_std": 1.0},
        {"sampler": "flow", "n_steps": 20},
        "rectified flow, 20 Euler steps",
    ),
    "window-32ms": ({"window_s": 0.032}, {}, "window of the STFT (64 ms)"),
    "width-32": ({"width": 32}, {}, "width of the planes' network (64)"),
    "width-96": ({"width": 96}, {}, "width of the planes' network (64)"),
    "width-32-flat": ({"width": 32, "fine_levels": 0}, {}, "width 64 behind a level of 32"),
    "patches-4ms": ({"patches_per_hop": 8, "fine_levels": 0}, {}, "patches of 2 ms, a finer level"),
    "patches-8ms": (
        {"patches_per_hop": 4, "fine_levels": 0, "width": 96}, {}, "patches of 2 ms, a finer level",
    ),
    "batch-2": ({"batch_size": 2}, {}, "segments per step of the planes' network (4)"),
    "batch-8": ({"batch_size": 8}, {}, "segments per step of the planes' network (4)"),
    "batch-16": ({"batch_size": 16}, {}, "segments per step of the planes' network (4)"),
    "envelope-width-32": ({"envelope_width": 32}, {}, "width of the map's network (64)"),
    "envelope-width-96": ({"envelope_width": 96}, {}, "width of the map's network (64)"),
    "envelope-batch-16": ({"envelope_batch_size": 16}, {}, "segments per step of the map's (32)"),
    "matrix-rate-1.5e-3": ({"matrix_learning_rate": 1.5e-3}, {}, "learning rate of Muon (3e-3)"),
    "matrix-rate-6e-3": ({"matrix_learning_rate": 6e-3}, {}, "learning rate of Muon (3e-3)"),
    "rate-5e-4": ({"learning_rate": 5e-4}, {}, "learning rate (1e-3)"),
    "rate-2e-3": ({"learning_rate": 2e-3}, {}, "learning rate (1e-3)"),
}  # fmt: skip

COLUMNS = {
    "z_time": "z time", "z_spectral": "z spectral", "z_envelope": "z envelope",
    "z_higher_order": "z higher order", "z": "z mean", "z_worst": "z worst",
    "w1": "W1 mean, SD", "c2st": "C2ST", "c2st_train": "C2ST train", "lsd": "LSD, dB",
    "tstr_over_trtr": "TSTR/TRTR",
}  # fmt: skip

INTRODUCTION = """# Ablation

Every row is the default with one thing changed (its value by default in brackets), trained for the
same time and scored against the holdout (other recordings of the train subjects).
z: 0 = as near as more recordings of the same people, 1 = as far off as other people, mean over
tasks; W1: Wasserstein distance of features over their real spread, the figure with the least
noise between rows; C2ST: AUC of a forest that tells synthetic from real, against the holdout (the
same people's own recordings: {same}) and against the train split itself; in brackets 95 % intervals
(subjects resampled, their ends averaged over tasks), in square brackets the range over seeds and
draws.
One seed and a few minutes are a screening. {noise}
Rows of one seed draw their segments from the same random numbers.
"""


def run(args: argparse.Namespace) -> list[dict[str, Any]]:
    real = runs.segments(args)
    kept = runs.Runs(args.results)
    small = {} if args.full else {"width": 32, "envelope_width": 32}
    chosen = args.only or (list(VARIANTS) if args.full else ["default", "one-stage"])
    for minutes, seed, name, draw in product(
        args.minutes, args.seeds, chosen, range(args.draws)
    ):  # fmt: skip
        one(name, real, kept, args, small, minutes, seed, draw)
    return kept.rows


def one(
    name: str, real: Any, kept: runs.Runs, args: argparse.Namespace, small: dict[str, Any],
    minutes: float, seed: int, draw: int,
) -> None:  # fmt: skip
    changes, how, _ = VARIANTS[name]
    settings = runs.settings_of(args, {**changes, **small})
    key = {
        "variant": name, "settings": settings.to_dict(), "draw": _named(how),
        "minutes": minutes, "seed": seed, **runs.common_key(args),
        **({"drawn_again": draw} if draw else {}),
    }  # fmt: skip

    def make() -> dict[str, Any]:
        return runs.judged(real, args, settings, minutes=minutes, seed=seed, draw=draw, **how)

    again = f"-d{draw}" if draw else ""
    kept.fill(f"{runs.slug(args.dataset)}-{minutes:g}min-{name}-s{seed}{again}", key, make)


def _named(how: dict[str, Any]) -> dict[str, Any]:
    """What is not the same in every run, as it can be written."""
    return {key: value.__module__ if callable(value) else value for key, value in how.items()}


def table(rows: list[dict[str, Any]]) -> str:
    ranges = [0.0]
    parts = []
    for title, own in runs.sections(rows):
        lines = []
        for name, (_, _, asks) in VARIANTS.items():
            same = [row for row in own if row["key"]["variant"] == name]
            if same:
                values = [row["summary"]["w1"][0] for row in same]
                ranges.append(max(values) - min(values))
                cells = [runs.over_seeds(same, column) for column in COLUMNS]
                steps = "+".join(map(str, same[0]["training"]["n_steps"].values()))
                seeds = len({row["key"]["seed"] for row in same})
                draws = 1 + max(row["key"].get("drawn_again", 0) for row in same)
                lines.append([name, asks, *cells, steps, f"{seeds}" + f" × {draws}" * (draws > 1)])
        head = ["variant", "what", *COLUMNS.values(), "steps", "seeds"]
        parts += [f"## {title}", runs.markdown(head, lines), runs.provenance(own)]
    noise = "No row has several seeds: how much chance moves a row is not known."
    if max(ranges):
        noise = f"Between seeds of one row W1 differed by up to {max(ranges):.3f}."
    same = runs.over_seeds(rows, "c2st_same")
    return "\n\n".join([INTRODUCTION.format(same=same, noise=noise).rstrip(), *parts])


def main() -> None:
    parser = runs.parser(__doc__ or "", minutes=3.0, results="ablation")
    parser.add_argument("--list", action="store_true", help="name the variants")
    parser.add_argument("--draws", type=int, default=1, help="of each model, scored one by one")
    args = parser.parse_args()
    if args.list:
        print("\n".join(f"{name:22} {asks}" for name, (_, _, asks) in VARIANTS.items()))
        return
    runs.carry_out(args, "ablation", VARIANTS, run, table)


if __name__ == "__main__":
    main()
