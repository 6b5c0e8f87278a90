"""Whether a model does what it is asked for: effort, length, a seed's segments one by one.

    python benchmarks/control.py MODEL [--signals 24] [--seconds 60] [--excerpt 0.5] [--seed 0]

*Effort*: slope and R² of the log RMS obtained on that asked for, evenly over the range of training.
*Batches*: the largest difference, in standard deviations of the signal, between segments drawn in
batches of 1, 3 and 32 and in batches as usual. *Seams*: long signals are drawn in overlapping
windows (`myosynth.diffusion.windows`); excerpts around the places where two windows count equally
are told apart, by a forest on all features, from excerpts around the middles of windows: AUC, 0.5
is chance, with the interval in which 95 % of AUCs lie by chance; in control middles from other
middles. Features are taken off their mean at all places of the same signal. Prints JSON.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import runs
from myosynth.diffusion import Synthesizer
from myosynth.diffusion.windows import window_starts
from myosynth.evaluation.distances import c2st_auc
from myosynth.evaluation.fidelity import effort_response
from myosynth.signal.features import FEATURES, feature_table

Array = NDArray[np.float64]


def efforts(model: Synthesizer, task: str, n: int, seed: int) -> dict[str, float]:
    asked = np.linspace(*model.effort_range(task), n)
    volts = model.sample(task, n, effort=asked.tolist(), seed=seed).read().astype(np.float64)
    obtained = 0.5 * np.log(np.square(volts).mean((1, 2)))
    slope, r2 = effort_response(asked, obtained)
    return {
        "slope": round(slope, 4), "r2": round(r2, 4),
        "largest miss, %": round(100 * float(np.abs(np.expm1(obtained - asked)).max()), 3),
    }  # fmt: skip


def batches(model: Synthesizer, task: str, seed: int) -> float:
    usual = model.sample(task, 32, seed=seed).read().astype(np.float64)
    apart = [
        np.abs(model.sample(task, 32, seed=seed, batch_size=size).read() - usual).max()
        for size in (1, 3, 32)
    ]
    return float(f"{max(apart) / usual.std():.1e}")


def seams(model: Synthesizer, n_times: int) -> tuple[Array, Array]:
    """Samples at which windows meet, and their middles, without the first and last windows."""
    codec = model._model.codec
    size = codec.n_frames()
    starts = np.array(window_starts(codec.n_frames(n_times), size), dtype=float)
    middles = (starts + size / 2) * codec.hop_length
    return (middles[1:-2] + middles[2:-1]) / 2, middles[1:-1]


def told_apart(
    signals: Array, fs: float, seams: Array, middles: Array, excerpt_s: float
) -> dict[str, Any]:
    """Excerpts of signals (n, C, T) at some samples against those at others."""
    ours, others = (_features(signals, fs, at, excerpt_s) for at in (seams, middles))
    centre = np.concatenate([ours, others]).mean(0)
    ours, others = ours - centre, others - centre  # (n_places, n, n_features)
    varies = np.concatenate([ours, others]).std((0, 1)) > 0
    flat = [each[..., varies].reshape(-1, varies.sum()) for each in (ours, others)]
    shift = (flat[0].mean(0) - flat[1].mean(0)) / np.concatenate(flat).std(0)
    names = [f"{name}, channel {c}" for c in range(signals.shape[1]) for name in FEATURES]
    largest = int(np.abs(shift).argmax())
    return {
        "at seams": _auc(*flat),
        "control": _auc(*(others[i::2][..., varies].reshape(-1, varies.sum()) for i in (0, 1))),
        "largest shift": [str(np.array(names)[varies][largest]), round(float(shift[largest]), 3)],
        "standard error of a shift": round(_error(*map(len, flat)) * 12**0.5, 3),
    }


def _features(signals: Array, fs: float, at: Array, excerpt_s: float) -> Array:
    half = round(excerpt_s * fs / 2)
    cut = np.stack([signals[..., int(i) - half : int(i) + half] for i in at.round()])
    table = feature_table(cut.reshape(-1, *cut.shape[2:]), fs)
    return np.nan_to_num(table).reshape(len(at), len(signals), -1)


def _auc(one: Array, other: Array) -> dict[str, Any]:
    auc, reach = c2st_auc(one, other, seed=0), 1.96 * _error(len(one), len(other))
    return {"auc": round(auc, 3), "by chance": [round(0.5 - reach, 3), round(0.5 + reach, 3)]}


def _error(n: int, m: int) -> float:
    """Standard error of an AUC of 0.5 (Mann & Whitney 1947, doi:10.1214/aoms/1177730491)."""
    return float(((n + m + 1) / (12 * n * m)) ** 0.5)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--signals", type=int, default=24, help="of each task")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--excerpt", type=float, default=0.5, help="seconds")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    model = Synthesizer.from_pretrained(args.model)
    found: dict[str, Any] = {}
    for task in model.tasks:
        made = model.sample(task, args.signals, seconds=args.seconds, seed=args.seed)
        places = seams(model, made.n_times)
        volts = made.read().astype(np.float64)
        found[task] = {
            "effort": efforts(model, task, args.signals, args.seed),
            "batches": batches(model, task, args.seed),
            **told_apart(volts, made.fs, *places, args.excerpt),
        }
    more = {"command": runs.command(), "machine": runs.machine(), "versions": runs.versions()}
    print(json.dumps({"tasks": found, **more}, indent=1))


if __name__ == "__main__":
    main()
