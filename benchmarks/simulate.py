"""Time and memory of `simulate_dataset`: 12 subjects × 4 tasks × 60 s at 2000 Hz, one process.

    python benchmarks/simulate.py [--subjects 12] [--seconds 60] [--fs 2000] [--fatigue 0]

Prints JSON: seconds, seconds of signal made per second, peak memory, and the median RMS by task.
"""

import argparse
import json
import platform
import resource
import time

import numpy as np

from myosynth.simulation import simulate_dataset


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--subjects", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--fs", type=float, default=2000.0)
    parser.add_argument("--fatigue", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    levels: dict[str, list[float]] = {}
    start = time.perf_counter()
    signal_s = 0.0
    for recording in simulate_dataset(
        n_subjects=args.subjects,
        duration_s=args.seconds,
        fs=args.fs,
        fatigue=args.fatigue,
        seed=args.seed,
    ):
        signal_s += recording.duration_s
        power = np.mean(np.square(recording.load(), dtype=np.float64))
        levels.setdefault(recording.task, []).append(float(np.sqrt(power)))
    seconds = time.perf_counter() - start
    print(
        json.dumps(
            {
                "machine": platform.processor() or platform.machine(),
                "recordings": sum(map(len, levels.values())),
                "seconds": round(seconds, 2),
                "signal_seconds_per_second": round(signal_s / seconds, 1),
                "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
                "median_rms_v": {task: round(float(np.median(v)), 6) for task, v in levels.items()},
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
