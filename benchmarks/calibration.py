"""Calibration of `evaluate`'s statistics on simulated cohorts in which nothing differs.

    python benchmarks/calibration.py [--repeats 200] [--pool 600] [--subjects 12] [--task squat]

Two halves of one simulated cohort, split by subject, are compared again and again, each time with
other subjects. Prints JSON: the share of repeats in which the 95 % interval of each metric holds
its long-run mean (wanted: 95 ± 3 %), with the standard error of that share; the standard deviation
of the metric and the mean one that its intervals rest on; and the distribution of the MMD² p-value
(wanted: uniform). The same with another session of the same subjects that names nobody, as a
synthetic set does: what the two share is not known there, so that intervals err on the wide side.
"""

import argparse
import json
import platform
import time

import numpy as np
from scipy.stats import kstest

from myosynth.evaluation.fidelity import Sample, Scale, compare, describe
from myosynth.evaluation.halves import SubjectHalves
from myosynth.evaluation.intervals import interval_of
from myosynth.signal.filters import filter_recording
from myosynth.signal.segmentation import segment_recording
from myosynth.simulation import simulate_dataset


def pool(task: str, n_subjects: int, seed: int) -> tuple[dict[str, list[Sample]], float, int]:
    """Two described sessions of each subject."""
    recordings = simulate_dataset(
        n_subjects=n_subjects, n_sessions=2, tasks=(task,), duration_s=10.0, seed=seed
    )
    sessions: dict[str, list[Sample]] = {}
    for recording in recordings:
        segments = segment_recording(filter_recording(recording))[0]
        described = describe(segments.read(), segments.fs, segments.subject)
        sessions.setdefault(recording.subject, []).append(described)
    return sessions, recording.fs, recording.n_channels


def nobody(sample: Sample) -> Sample:
    return Sample(sample.table, sample.psd, np.full(len(sample), ""))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--pool", type=int, default=600, help="simulated subjects to draw from")
    parser.add_argument("--subjects", type=int, default=12, help="subjects on either side")
    parser.add_argument("--bootstrap", type=int, default=200)
    parser.add_argument("--task", default="squat")
    parser.add_argument("--c2st", action="store_true", help="the forests too (slow)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    start = time.process_time()
    sessions, fs, n_channels = pool(args.task, args.pool, args.seed)
    names = np.array(sorted(sessions))
    rng = np.random.default_rng(args.seed)
    found: dict[str, dict[str, list[tuple[float, ...]]]] = {"halves": {}, "same": {}}
    p_values: list[float] = []
    for repeat in range(args.repeats):
        chosen = rng.permutation(names)[: 2 * args.subjects]
        one, two = chosen[: args.subjects], chosen[args.subjects :]
        first = Sample.join([sessions[name][0] for name in one])
        scale = Scale.fit(first, n_channels, fs)
        pairs = {
            "halves": Sample.join([sessions[name][0] for name in two]),
            "same": nobody(Sample.join([sessions[name][1] for name in one])),
        }
        for kind, other in pairs.items():
            n = min(len(first), len(other))
            a, b = first.take(evenly(first, n)), other.take(evenly(other, n))
            halves = SubjectHalves(a.subject, args.bootstrap // 2, rng)
            rows = halves.rows(a.subject), halves.rows(b.subject)
            result = compare(a, b, scale, seed=repeat, halves=rows, c2st=args.c2st)
            for key, value in result.values.items():
                low, high = interval_of(value, result.draws[key])
                found[kind].setdefault("/".join(key), []).append((value, low, high))
            if kind == "halves" and result.p is not None:
                p_values.append(result.p)
    print(
        json.dumps(
            {
                "machine": platform.processor() or platform.machine(),
                "cpu_seconds": round(time.process_time() - start, 1),
                "repeats": args.repeats,
                "subjects_per_side": args.subjects,
                "task": args.task,
                "coverage_of_95_percent_intervals": {
                    kind: {key: coverage(np.array(rows)) for key, rows in metrics.items()}
                    for kind, metrics in found.items()
                },
                "standard_error": round(float(np.sqrt(0.95 * 0.05 / args.repeats)), 3),
                "mmd2_p": {
                    "deciles": [
                        round(float(q), 3) for q in np.quantile(p_values, np.arange(0.1, 1, 0.1))
                    ],
                    "ks_p": round(float(kstest(p_values, "uniform").pvalue), 3),
                    "share_below_0.05": round(float(np.mean(np.array(p_values) <= 0.05)), 3),
                },
            },
            indent=1,
        )
    )


def evenly(sample: Sample, n: int) -> np.ndarray:
    return ((np.arange(n) + 0.5) * len(sample) / n).astype(np.intp)


def coverage(rows: np.ndarray) -> dict[str, float]:
    value, low, high = rows.T
    truth = value.mean()
    return {
        "coverage": round(float(np.mean((low <= truth) & (truth <= high))), 3),
        "mean": round(float(truth), 4),
        "sd": round(float(value.std()), 4),
        "sd_of_intervals": round(float(np.mean(high - low) / 3.92), 4),
    }


if __name__ == "__main__":
    main()
