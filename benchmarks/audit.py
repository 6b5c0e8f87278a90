"""Time, memory, power and false alarms of `audit`.

    python benchmarks/audit.py [--segments 1000]           # one audit, its canaries, its cost
    python benchmarks/audit.py --false-alarms 40           # sets without copies: how many accused
    python benchmarks/audit.py --pairs 500 1000 10000x500  # cost per pair of each fingerprint

Real: simulated subjects in two sessions (train, holdout) and unseen subjects. Synthetic: a third
session of the train subjects, so that nothing is copied. Prints JSON.
"""

import argparse
import json
import platform
import resource
import time
from typing import Any

import numpy as np

from myosynth.evaluation import audit
from myosynth.evaluation.privacy.fingerprints import FINGERPRINTS
from myosynth.evaluation.privacy.matching import Matcher, Source
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


def sets(n_real: int, n_synthetic: int, seconds: float, seed: int) -> tuple[SegmentSet, SegmentSet]:
    people = cohort(12, 3, seconds, seed)
    sessions = [people[people.session == name] for name in sorted(set(people.session))]
    for segments, split in zip(sessions, ("train", "holdout", ""), strict=True):
        segments.split = np.full(len(segments), split)
    unseen = cohort(6, 1, seconds, seed + 1)
    unseen.split = np.full(len(unseen), "unseen")
    unseen.subject = np.array([f"u{name}" for name in unseen.subject])
    made = sessions[2]
    made.subject, made.recording = np.full(len(made), ""), np.full(len(made), "")
    real = SegmentSet.concatenate([sessions[0], sessions[1], unseen])
    rng = np.random.default_rng(seed)

    def some(segments: SegmentSet, n: int) -> SegmentSet:
        return segments[np.sort(rng.permutation(len(segments))[:n])]

    return some(real, n_real), some(made, n_synthetic)


def one_audit(n: int, seed: int, n_jobs: int) -> dict[str, Any]:
    # 12 subjects × 4 tasks × 21 segments of a 33-s recording give 1008 of each session
    real, made = sets(n, n, max(6.0, 33.0 * n / 1000), seed)
    start, cpu = time.perf_counter(), time.process_time()
    result = audit(real, made, seed=seed, n_jobs=n_jobs)
    data = result.threats["data"]
    return {
        "seconds": round(time.perf_counter() - start, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "used": result.counts["used"],
        "synthetic": len(made),
        "verdict": data.verdict,
        "power": data.power,
        "copies_found": data.copies_found,
        "attacks": {a.name: [a.value, a.auc, a.p] for a in data.attacks},
        "canaries": {
            f"{c.disguise} {c.share:.0%} {c.attack}": [c.n_planted, c.tpr, c.n_copies_found]
            for c in data.canaries
        },
    }


def false_alarms(repeats: int, seed: int, n_jobs: int) -> dict[str, Any]:
    accused, least, hits = 0, 1.0, 0
    for repeat in range(repeats):
        real, made = sets(10**6, 10**6, 6.0, seed + 10 * repeat)
        data = audit(real, made, seed=repeat, n_jobs=n_jobs).threats["data"]
        accused += data.verdict == "leak_found"
        hits += data.copies_found or 0
        least = min(least, data.power or 0.0)
    return {"repeats": repeats, "accused": accused, "copies": hits, "least_power": least}


def pair_costs(sizes: list[str], n_jobs: int) -> list[dict[str, Any]]:
    """Noise of two channels, 3 s at 2000 Hz, made when it is read: only the audit is held."""

    def source(n: int, seed: int) -> Source:
        def read(rows: Any) -> Any:
            made = [np.random.default_rng([seed, row]).standard_normal((2, 6000)) for row in rows]
            return np.asarray(made, dtype=np.float32)

        return Source(read, n)

    table = []
    for size in sizes:
        n, m = (int(part) for part in (size.split("x") * 2)[:2])
        row: dict[str, Any] = {"candidates": n, "synthetic": m}
        for name in FINGERPRINTS:
            one, two = source(n, 1), source(m, 2)
            matcher = Matcher(name, 2000.0, one, two, np.random.default_rng(0), n_jobs)
            cpu = time.process_time()
            matcher.match(one, two)
            row[f"{name}_cpu_us_per_pair"] = round(1e6 * (time.process_time() - cpu) / (n * m), 2)
        row["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        table.append(row)
    return table


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--segments", type=int, default=1000)
    parser.add_argument("--false-alarms", type=int, default=0)
    parser.add_argument("--pairs", nargs="*", default=[], help="1000 or 10000x500")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    content: dict[str, Any] = {"machine": platform.processor() or platform.machine()}
    if args.false_alarms:
        content["false_alarms"] = false_alarms(args.false_alarms, args.seed, args.jobs)
    elif args.pairs:
        content["pairs"] = pair_costs(args.pairs, args.jobs)
    else:
        content["audit"] = one_audit(args.segments, args.seed, args.jobs)
    print(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
