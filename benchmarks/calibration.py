"""Calibration of `evaluate`'s statistics on simulated cohorts in which nothing differs.

    python benchmarks/calibration.py [--repeats 200] [--pool 160] [--bootstrap 200]

Two halves of one simulated cohort, split by subject, are compared again and again, each time with
other subjects. Prints JSON: the share of repeats in which the 95 % interval of each metric holds
its long-run mean (wanted: 95 ± 3 %), and the distribution of the MMD² p-value (wanted: uniform).
The same with another session of the same subjects that names nobody, as a synthetic set does.
"""

import argparse
import json
import platform
import time

import numpy as np
from scipy.stats import kstest

from myosynth.evaluation.fidelity import Sample, Scale, compare, describe, mmd_permutation
from myosynth.evaluation.intervals import SubjectDraws, centred_interval
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
    parser.add_argument("--pool", type=int, default=160, help="simulated subjects to draw from")
    parser.add_argument("--subjects", type=int, default=12, help="subjects on either side")
    parser.add_argument("--bootstrap", type=int, default=200)
    parser.add_argument("--task", default="squat")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    start = time.perf_counter()
    sessions, fs, n_channels = pool(args.task, args.pool, args.seed)
    names = np.array(sorted(sessions))
    rng = np.random.default_rng(args.seed)
    found: dict[str, dict[str, list[tuple[float, float, float]]]] = {"halves": {}, "same": {}}
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
            draws = SubjectDraws(first.subject, args.bootstrap, rng)
            index = draws.rows(first.subject), draws.rows(other.subject)
            result = compare(first, other, scale, seed=repeat, index=index, c2st=False)
            for key, value in result.values.items():
                low, high = centred_interval(value, result.draws[key])
                found[kind].setdefault("/".join(key), []).append((value, low, high))
        # one segment of each subject: permuting exchanges what is independent
        singles = [
            np.stack([sessions[name][0].table[0] for name in side])[:, scale.groups["all"]]
            for side in (one, two)
        ]
        p_values.append(mmd_permutation(*singles, rng))
    coverage = {
        kind: {
            key: round(float(np.mean((v[:, 1] <= v[:, 0].mean()) & (v[:, 0].mean() <= v[:, 2]))), 3)
            for key, rows in metrics.items()
            for v in [np.array(rows)]
        }
        for kind, metrics in found.items()
    }
    print(
        json.dumps(
            {
                "machine": f"{platform.processor() or platform.machine()} {platform.node()}",
                "seconds": round(time.perf_counter() - start, 1),
                "repeats": args.repeats,
                "subjects_per_side": args.subjects,
                "coverage_of_95_percent_intervals": coverage,
                "mmd2_p": {
                    "deciles": [
                        round(float(q), 3) for q in np.quantile(p_values, np.arange(0.1, 1, 0.1))
                    ],
                    "ks_p": round(float(kstest(p_values, "uniform").pvalue), 3),
                },
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
