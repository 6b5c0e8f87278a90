"""Whether a model does what it is asked for: effort, length, a seed's segments one by one.

    python benchmarks/control.py                        a short form, one task of a small model
    python benchmarks/control.py MODEL [--signals 12] [--seconds 60] [--excerpt 0.5] [--seed 0]
                                 [--exchanges 39] [--threads 2]

By task; prints JSON. *Effort*: slope and R² of the log RMS obtained on that asked for, evenly over
the range of training. *One by one*: the largest difference between segments drawn in batches of 1,
3 and 32, or a few alone, and in batches as usual, in standard deviations of segment and channel.
*Seams*: long signals are drawn in overlapping windows (`myosynth.diffusion.windows`). Excerpts
around places where two windows count equally are told apart, by a forest on all features, from
excerpts around middles of windows: AUC, 0.5 is chance. By chance: the same with seam and middle
exchanged at random within each pair of neighbours, mean and standard deviation, and p, the share of
such AUCs (and of the AUC itself) that are as high. Features are taken off their mean in the signal.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import runs
from myosynth.diffusion import Synthesizer, TrainingSettings, train
from myosynth.diffusion.windows import window_starts
from myosynth.evaluation.distances import c2st_auc
from myosynth.evaluation.fidelity import effort_response
from myosynth.evaluation.validity import scan
from myosynth.recordings import SegmentSet
from myosynth.signal.features import feature_table

Array = NDArray[np.float64]
Draw = Callable[..., SegmentSet]
"""`Synthesizer.sample` of a task, with a seed."""

_LEAST_WINDOWS = 4


def efforts(draw: Draw, asked: Array) -> dict[str, float]:
    obtained = scan(draw(len(asked), effort=asked.tolist())).log_rms
    slope, r2 = effort_response(asked, obtained)
    return {
        "slope": round(slope, 4), "r2": round(r2, 4),
        "largest miss, %": round(100 * float(np.abs(np.expm1(obtained - asked)).max()), 3),
    }  # fmt: skip


def one_by_one(draw: Draw, n: int, sizes: Sequence[int], **how: Any) -> float:
    """The largest difference between ways of drawing the same segments."""
    usual = draw(n, **how).read().astype(np.float64)
    others = [draw(n, batch_size=size, **how) for size in sizes] + [draw(2, **how)]
    off = [
        np.abs(other.read() - usual[: len(other)]) / usual[: len(other)].std(-1, keepdims=True)
        for other in others
    ]
    return float(f"{max(each.max() for each in off):.1e}")


def window_places(model: Synthesizer, n_times: int) -> tuple[Array, Array]:
    """Samples of middles of windows, and of the seams behind them; not of the first and the last.

    Frame k of an STFT has its middle at sample k · hop.
    """
    codec = model._model.codec
    size = codec.n_frames()
    starts = np.array(window_starts(codec.n_frames(n_times), size), dtype=float)
    if len(starts) < _LEAST_WINDOWS:
        raise SystemExit(f"signals of {n_times / model.fs:g} s have no seams; take more seconds")
    middles = (starts + (size - 1) / 2) * codec.hop_length
    return middles[1:-2], (middles[1:-2] + middles[2:-1]) / 2


def told_apart(
    signals: Array, fs: float, middles: Array, seams: Array, excerpt_s: float, n_exchanges: int
) -> tuple[float, Array]:
    """AUC of excerpts of signals (n, C, T) at seams against middles; and (n_exchanges,) by chance.

    Both are (n_places,), in samples, and neighbours in pairs.
    """
    pairs = np.stack([_features(signals, fs, at, excerpt_s) for at in (middles, seams)])
    pairs -= pairs.mean((0, 1))  # (2, n_places, n, n_features)
    pairs = pairs[..., pairs.std((0, 1, 2)) > 1e-9]
    rng = np.random.default_rng(0)
    found = []
    for number in range(n_exchanges + 1):
        exchanged = (rng.random(pairs.shape[1:3]) < 0.5) & (number > 0)
        both = np.where(exchanged[..., None], pairs[::-1], pairs)
        flat = both.reshape(2, -1, both.shape[-1])
        found.append(c2st_auc(flat[1], flat[0], seed=0))
    return found[0], np.array(found[1:])


def against_chance(auc: float, by_chance: Array) -> dict[str, Any]:
    mean, sd = float(by_chance.mean()), float(by_chance.std(ddof=1))
    p = (1 + int((by_chance >= auc).sum())) / (1 + len(by_chance))
    return {
        "auc": round(auc, 3), "by chance": [round(mean, 3), round(sd, 3)], "p": round(p, 3),
    }  # fmt: skip


def _features(signals: Array, fs: float, at: Array, excerpt_s: float) -> Array:
    half = round(excerpt_s * fs / 2)
    cut = np.stack([signals[..., int(i) - half : int(i) + half] for i in at.round()])
    table = feature_table(cut.reshape(-1, *cut.shape[2:]), fs)
    return table.reshape(len(at), len(signals), -1)


def small_model(folder: Path) -> Synthesizer:
    """Trained for some seconds: to see that this runs."""
    real = runs.simulated(n_train=4, n_validation=1, n_unseen=1, duration_s=16.0, fs=1000.0)
    settings = TrainingSettings(
        width=32, envelope_width=32, batch_size=4, envelope_batch_size=8, threads=1
    )
    return train(real, folder, steps=60, seed=0, settings=settings)


def run(model: Synthesizer, tasks: Sequence[str], args: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {}
    whole = []
    for task in tasks:
        draw = partial(model.sample, task, seed=args.seed, threads=args.threads)
        made = draw(args.signals, seconds=args.seconds)
        places = window_places(model, made.n_times)
        volts = made.read().astype(np.float64)
        whole.append(told_apart(volts, made.fs, *places, args.excerpt, args.exchanges))
        found[task] = {
            "effort": efforts(draw, np.linspace(*model.effort_range(task), 24)),
            "one by one": one_by_one(draw, 32, (1, 3, 32)),
            "one by one, long": one_by_one(draw, 3, (1,), seconds=args.seconds),
            "seams": against_chance(*whole[-1]),
        }
    aucs, by_chance = zip(*whole, strict=True)
    found["mean of tasks"] = {"seams": against_chance(float(np.mean(aucs)), np.mean(by_chance, 0))}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("--signals", type=int, default=12, help="of each task")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--excerpt", type=float, default=0.5, help="seconds")
    parser.add_argument("--exchanges", type=int, default=39)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="of drawing")
    args = parser.parse_args()
    if args.model is None:
        args.signals, args.seconds, args.exchanges = 2, 15.0, 2
        with tempfile.TemporaryDirectory() as folder:
            model = small_model(Path(folder) / "model")
            found = run(model, model.tasks[:1], args)
    else:
        model = Synthesizer.from_pretrained(args.model)
        found = run(model, model.tasks, args)
    more = {"command": runs.command(), "machine": runs.machine(), "versions": runs.versions()}
    print(json.dumps({"tasks": found, **more}, indent=1))


if __name__ == "__main__":
    main()
