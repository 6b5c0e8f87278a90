"""Our generator beside others: same segments, same time to train, same evaluation.

    python benchmarks/peers.py                             a short form: does it run?
    python benchmarks/peers.py --full [--minutes 5 20] [--only ours wgan-gp ...] [--seeds 0 1 2]
                               [--dataset sim|FOLDER] [--threads 2] [--unseen]
    python benchmarks/peers.py --full --files NAME=PATH    any other generator, by its segments
    python benchmarks/peers.py --table                     docs/results/peers.md from the runs

Peers (peer_models.py): the raw-signal diffusion of denoising-diffusion-pytorch (left out where it
is not installed: pip install --no-deps denoising-diffusion-pytorch, then einops, ema-pytorch,
accelerate, tqdm), a conditional WGAN-GP and a conditional VAE; the method as the paper states it
(magnitudes, 2-D U-Net, DDPM with 1000 steps); surrogates, which resample real segments. Each run is
a file, as in ablation.py. Prints JSON.
"""

import argparse
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("TQDM_DISABLE", "1")

import numpy as np
import torch

import peer_models
import runs
import schedulers
from myosynth.evaluation.surrogates import SURROGATES
from myosynth.formats import read_segments
from myosynth.recordings import SegmentSet

PAPER: dict[str, Any] = {
    "stages": "one", "backbone": "unet2d", "representation": "magnitude", "gain_shape": False,
    "whitening": False, "multiplicative": False,
}  # fmt: skip
NETWORKS = ("ours", "paper", *peer_models.PEERS)
MEANINGS = {
    "ours": "the defaults of this version",
    "paper": "magnitudes, 2-D U-Net, one stage, DDPM 1000 steps, Griffin–Lim",
    "unet1d-ddpm": "denoising-diffusion-pytorch on the raw signal, DDIM 25 steps",
    "wgan-gp": "conditional WGAN-GP on the raw signal",
    "vae": "conditional VAE on the raw signal",
    "ar": "AR(12) noise, RMS of a real segment",
    "phase": "real segments with random phases",
    "task_psd": "noise of the task's spectrum under a real envelope",
    "c3": "noise with the spectrum and envelope of one real segment",
}
COLUMNS = {
    "z_time": "z time", "z_spectral": "z spectral", "z_envelope": "z envelope",
    "z_higher_order": "z higher order", "z": "z mean", "z_worst": "z worst", "w1": "W1 mean, SD",
    "c2st": "C2ST", "c2st_train": "C2ST train", "lsd": "LSD, dB", "tstr_over_trtr": "TSTR/TRTR",
    "tstr_over_trtr_full": "TSTR/TRTR all features",
}  # fmt: skip

INTRODUCTION = """# Peers

The same segments, the same wall time to train, the same evaluation (against the holdout, as in the
[ablation](ablation.md)). Seconds per segment are processor seconds, all threads together.
Surrogates are not generators: each of them changes real segments of the train split, which gives
their envelopes and spectra away. Peers on the raw signal get each task at its own scale.
"""


def run(args: argparse.Namespace) -> list[dict[str, Any]]:
    schedulers.register()
    real = runs.segments(args)
    kept = runs.Runs(args.results)
    start, scoring = runs.slug(args.dataset), runs.common_key(args)
    everything = (*NETWORKS, *SURROGATES) if args.full else ("ours", "wgan-gp", "vae", "c3")
    chosen = args.only or (() if args.files else everything)
    for seed in args.seeds:
        for name in [each for each in chosen if each in SURROGATES]:
            key = {"peer": name, "seed": seed, "minutes": 0.0, **scoring}
            kept.fill(f"{start}-{name}-s{seed}", key, partial(surrogate, name, real, args, seed))
        for minutes in args.minutes:
            for name in [each for each in chosen if each in NETWORKS]:
                key = {"peer": name, "seed": seed, "minutes": minutes, **scoring}
                kept.fill(
                    f"{start}-{minutes:g}min-{name}-s{seed}",
                    key | _config(name, args),
                    partial(network, name, real, args, minutes, seed),
                )
    for given in args.files or ():
        name, path = given.split("=", 1)
        made = read_segments(Path(path), seconds=real.duration_s)
        key = {"peer": name, "seed": 0, "minutes": 0.0, "n": len(made), **scoring}
        kept.fill(f"{start}-files-{name}", key, partial(judged, real, made, args))
    return kept.rows


def _config(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """What the row depends on beside time and seed."""
    if name in peer_models.PEERS:
        return {"threads": args.threads}
    drawing = {"n_steps": args.paper_steps} if name == "paper" else {}
    return {"settings": _settings(name, args).to_dict(), **drawing}


def _settings(name: str, args: argparse.Namespace) -> Any:
    small = {} if args.full else {"width": 32, "envelope_width": 32}
    return runs.settings_of(args, {**(PAPER if name == "paper" else {}), **small})


def network(
    name: str, real: SegmentSet, args: argparse.Namespace, minutes: float, seed: int
) -> dict[str, Any]:
    if name in ("ours", "paper"):
        drawing = {"sampler": "ddpm", "n_steps": args.paper_steps} if name == "paper" else {}
        settings = _settings(name, args)
        return runs.judged(real, args, settings, minutes=minutes, seed=seed, **drawing)
    return other(name, real, args, minutes, seed)


def other(
    name: str, real: SegmentSet, args: argparse.Namespace, minutes: float, seed: int
) -> dict[str, Any]:
    tasks = real.where(split="train").tasks
    try:
        peer = peer_models.PEERS[name](real.n_channels, real.n_times, len(tasks), seed)
    except peer_models.MissingPeerError as error:
        return {"skipped": str(error)}
    own = real.where(split="train")
    ids = np.array([tasks.index(task) for task in own.task])
    with _threads(args.threads):
        wall, cpu = time.perf_counter(), time.process_time()
        clock = runs.clock(torch.get_num_threads(), args.cpu_time)
        peer.fit(own.read().astype(np.float32), ids, 60 * minutes, clock)
        training = {
            "train_seconds": round(time.perf_counter() - wall, 1),
            "train_cpu_seconds": round(time.process_time() - cpu, 1),
            "n_steps": {"all": peer.n_steps},
            "n_parameters": peer.n_parameters,
        }

        def sample(task: str, n: int) -> SegmentSet:
            return _made(peer.draw(tasks.index(task), n, 1000 + seed), task, real)

        made, cost = runs.drawn(sample, tasks, args.made)
    return {"training": training, "drawing": cost, **judged(real, made, args)}


def surrogate(
    name: str, real: SegmentSet, args: argparse.Namespace, seed: int
) -> dict[str, Any]:  # fmt: skip
    rng = np.random.default_rng(seed)

    def sample(task: str, n: int) -> SegmentSet:
        signals = real.where(task=task, split="train").read().astype(np.float64)
        return _made(SURROGATES[name](signals, real.fs, n, rng), task, real)

    made, cost = runs.drawn(sample, real.where(split="train").tasks, args.made)
    none = {"train_seconds": 0.0, "n_steps": {}, "n_parameters": 0}
    return {"training": none, "drawing": cost, **judged(real, made, args)}


def judged(real: SegmentSet, made: SegmentSet, args: argparse.Namespace) -> dict[str, Any]:
    return runs.scored(real, made, n_resamples=args.resamples, unseen=args.unseen)


def _made(signals: Any, task: str, real: SegmentSet) -> SegmentSet:
    volts = np.asarray(signals, np.float32)
    return SegmentSet(
        volts, real.fs, task, channel_names=real.channel_names, muscles=real.muscles
    )  # fmt: skip


@contextmanager
def _threads(n: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(n or min(8, before))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def table(rows: list[dict[str, Any]]) -> str:
    parts = [INTRODUCTION.rstrip()]
    for which in sorted({_set(row) for row in rows}):
        own = [row for row in rows if _set(row) == which]
        key = own[0]["key"]
        closed = "opened" if key["unseen"] else "closed"
        timed = f", minutes{runs.of_processor(key)}" if key["cpu_time"] else ""
        parts.append(
            f"## {key['dataset']}, {key['made']} segments a task, unseen subjects {closed}{timed}"
        )
        lines = _lines(own)
        head = ["generator", "what", "minutes", "parameters", "steps", "training, s",
                "s per segment", *COLUMNS.values(), "seeds"]  # fmt: skip
        parts.append(runs.markdown(head, lines))
        parts += [f"- {row['key']['peer']}: {row['skipped']}" for row in own if "skipped" in row]
        parts.append(runs.provenance(own))
    return "\n\n".join(parts)


def _set(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row["key"][name] for name in ("dataset", "made", "unseen", "cpu_time"))


def _lines(rows: list[dict[str, Any]]) -> list[list[str]]:
    cells: dict[tuple[float, str], list[dict[str, Any]]] = {}
    for row in rows:
        if "summary" in row:
            cells.setdefault((row["key"]["minutes"], row["key"]["peer"]), []).append(row)
    lines = []
    for minutes, name in sorted(cells, key=_place):
        same = cells[minutes, name]
        training, cost = same[0].get("training", {}), same[0].get("drawing", {})
        each = cost.get("draw_cpu_seconds_each")
        spent = "train_cpu_seconds" if same[0]["key"]["cpu_time"] else "train_seconds"
        steps = "+".join(map(str, training.get("n_steps", {}).values()))
        lines.append(
            [
                name, MEANINGS.get(name, "from files"), f"{minutes:g}" if minutes else "–",
                f"{training.get('n_parameters', 0) / 1e6:.2f} M" if minutes else "–",
                steps or "–", f"{training.get(spent, 0):.0f}" if minutes else "–",
                peer_models.seconds_text(each) if each else "–",
                *(runs.over_seeds(same, column) for column in COLUMNS), str(len(same)),
            ]
        )  # fmt: skip
    return lines


def _place(cell: tuple[float, str]) -> tuple[bool, float, int]:
    """Networks by time to train, then what takes none."""
    minutes, name = cell
    return minutes == 0, minutes, [*MEANINGS, name].index(name)


def main() -> None:
    parser = runs.parser(__doc__ or "", minutes=5.0, results="peers")
    parser.add_argument("--files", nargs="+", metavar="NAME=PATH", help="segments of a generator")
    parser.add_argument("--paper-steps", type=int, default=1000, help="of DDPM, for the paper")
    args = parser.parse_args()
    runs.carry_out(args, "peers", (*NETWORKS, *SURROGATES), run, table)


if __name__ == "__main__":
    main()
