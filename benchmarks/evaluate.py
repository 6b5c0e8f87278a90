"""Time and memory of `evaluate`: 1000 real against 1000 synthetic 3-s segments, two channels.

    python benchmarks/evaluate.py [--segments 1000] [--synthetic truth|c3|new]

Prints JSON: seconds, peak memory, and z by task and group. Real: simulated subjects in two sessions
(train, holdout) and unseen subjects. Synthetic: a third session of the train subjects ("truth"),
C3 surrogates of the train split, or the same tasks of other subjects ("new").
"""

import argparse
import json
import platform
import resource
import time

import numpy as np

from myosynth.evaluation import evaluate
from myosynth.evaluation.surrogates import modulated_noise
from myosynth.recordings import SegmentSet
from myosynth.signal.filters import filter_recording
from myosynth.signal.segmentation import segment_recording
from myosynth.simulation import simulate_dataset


def cohort(n_subjects: int, n_sessions: int, seconds: float, seed: int) -> SegmentSet:
    recordings = simulate_dataset(
        n_subjects=n_subjects, n_sessions=n_sessions, duration_s=seconds, seed=seed
    )
    return SegmentSet.concatenate(
        segment_recording(filter_recording(recording))[0] for recording in recordings
    )


def labelled(segments: SegmentSet, split: str, prefix: str = "") -> SegmentSet:
    segments.split = np.full(len(segments), split)
    segments.subject = np.array([prefix + name for name in segments.subject])
    return segments


def cpu_seconds() -> float:
    """Of this process and of those that it started and that have ended, as tasks' workers do."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--segments", type=int, default=1000)
    parser.add_argument("--synthetic", choices=("truth", "c3", "new"), default="truth")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    people = cohort(12, 3, 15.0, args.seed)
    first, second, third = (people.session == name for name in sorted(set(people.session)))
    parts = [
        labelled(people[first], "train"),
        labelled(people[second], "holdout"),
        labelled(cohort(4, 1, 15.0, args.seed + 1), "unseen", "u"),
    ]
    real = SegmentSet.concatenate(parts)
    rng = np.random.default_rng(args.seed)
    if args.synthetic == "truth":
        made = people[third]
        made.subject = np.full(len(made), "")
    elif args.synthetic == "new":
        made = cohort(12, 1, 15.0, args.seed + 2)
        made.subject = np.array([f"n{name}" for name in made.subject])
    else:
        sets = []
        for task in real.tasks:
            signals = real.where(task=task, split="train").read()
            c3 = modulated_noise(signals.astype(float), real.fs, args.segments // 4, rng)
            sets.append(SegmentSet(c3.astype(np.float32), real.fs, task,
                                   channel_names=real.channel_names))  # fmt: skip
        made = SegmentSet.concatenate(sets)

    def sized(segments: SegmentSet) -> SegmentSet:
        extra = rng.integers(len(segments), size=max(0, args.segments - len(segments)))
        rows = np.r_[rng.permutation(len(segments))[: args.segments], extra]
        chosen = segments[rows]
        # repeats only fill the size: a trace of noise keeps them from being duplicates
        chosen.signals = chosen.read() * (1 + 1e-3 * rng.standard_normal((len(rows), 1, 1)))
        return chosen

    real, made = sized(real), sized(made)
    start, cpu = time.perf_counter(), cpu_seconds()
    scores = evaluate(real, made, seed=args.seed, n_jobs=args.jobs)
    seconds, cpu = time.perf_counter() - start, cpu_seconds() - cpu
    table = {
        f"{row['task']}/{row['group']}/{row['metric']}": [
            None if row[key] is None else round(float(row[key]), 3)
            for key in ("value", "floor_same", "floor_new", "c3", "z", "z_low", "z_high", "c3_z")
        ]
        for row in scores.rows
    }
    print(
        json.dumps(
            {
                "machine": platform.processor() or platform.machine(),
                "real": len(real),
                "synthetic": len(made),
                "seconds": round(seconds, 1),
                "cpu_seconds": round(cpu, 1),
                "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
                "peak_mib_of_a_worker": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
                // 1024,
                "findings": [finding.text for finding in scores.findings],
                "columns": "value floor_same floor_new c3 z z_low z_high c3_z",
                "rows": table,
            },
            indent=1,
            allow_nan=False,
        )
    )


if __name__ == "__main__":
    main()
