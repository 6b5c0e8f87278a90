"""Speed and memory of importing a long recording into EMG-BIDS, beside its library reading it.

    python benchmarks/import.py [--hours 8] [--formats edf bdf hdf5 npy wfdb] [--folder DIR]

A recording of eight channels at 2000 Hz is written once per format. Each measurement runs in a
process of its own: the library alone (every sample decoded, nothing kept), and the import. Prints
JSON: seconds by the clock and of the processor, peak memory of the larger process, and the import's
speed as a share of the library's (1/3 or more is wanted, below 1 GiB).
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from myosynth.formats import FileMapping, read_recordings, write_bids
from myosynth.formats.edf_writing import write_edf
from myosynth.formats.isolation import end_worker
from myosynth.formats.lazy import LazySamples
from myosynth.recordings import FloatArray, Recording

FS, N_CHANNELS, BLOCK = 2000.0, 8, 1 << 20
COLUMNS = [{"column": i + 1, "channel": f"EMG{i + 1}", "unit": "V"} for i in range(N_CHANNELS)]
MAPPINGS = {
    "hdf5": {"samples": "emg", "layout": "times x channels", "columns": COLUMNS, "fs": FS},
    "npy": {"layout": "times x channels", "columns": COLUMNS, "fs": FS},
}
SUFFIXES = {"edf": ".edf", "bdf": ".bdf", "hdf5": ".h5", "npy": ".npy", "wfdb": ".hea"}


class Noise(LazySamples):
    """The same minute of noise again and again."""

    def __init__(self, n_times: int) -> None:
        super().__init__(N_CHANNELS, n_times)
        rng = np.random.default_rng(0)
        self._minute = rng.standard_normal((N_CHANNELS, int(60 * FS))) * 1e-3

    def block(self, rows: np.ndarray, low: int, high: int) -> FloatArray:
        at = np.arange(low, high) % self._minute.shape[1]
        return self._minute[rows][:, at]


def write(kind: str, path: Path, samples: Noise) -> None:
    n_times = samples.shape[1]
    blocks = range(0, n_times, BLOCK)
    names = [f"EMG{i + 1}" for i in range(N_CHANNELS)]
    if kind in ("edf", "bdf"):
        write_edf(Recording(samples, FS, names, "1", task="pull"), path)
    elif kind == "hdf5":
        import h5py

        with h5py.File(path, "w") as file:
            emg = file.create_dataset("emg", (n_times, N_CHANNELS), "f4", chunks=(1 << 14, 8))
            for start in blocks:
                emg[start : start + BLOCK] = samples[:, start : start + BLOCK].T
    elif kind == "npy":
        emg = np.lib.format.open_memmap(path, "w+", np.float32, (n_times, N_CHANNELS))
        for start in blocks:
            emg[start : start + BLOCK] = samples[:, start : start + BLOCK].T
        emg.flush()
    else:
        lines = [f"{path.stem} {N_CHANNELS} {FS:g} {n_times}"]
        lines += [f"{path.stem}.dat 16 5000(0)/mV 16 0 0 0 0 {name}" for name in names]
        path.write_text("\n".join(lines) + "\n")
        with path.with_suffix(".dat").open("wb") as file:
            for start in blocks:
                counts = np.rint(samples[:, start : start + BLOCK].T * 5e6)
                file.write(np.clip(counts, -32767, 32767).astype("<i2").tobytes())


def read_alone(kind: str, path: Path) -> None:
    if kind in ("edf", "bdf"):
        import edfio

        reader = edfio.read_edf if kind == "edf" else edfio.read_bdf
        for signal in reader(path).signals:
            signal.data.max()
        return
    if kind == "hdf5":
        import h5py

        with h5py.File(path) as file:
            for start in range(0, file["emg"].shape[0], BLOCK):
                file["emg"][start : start + BLOCK].astype(float)
    elif kind == "npy":
        emg = np.load(path, mmap_mode="r")
        for start in range(0, len(emg), BLOCK):
            np.array(emg[start : start + BLOCK], dtype=float)
    else:
        import wfdb

        n_times = wfdb.rdheader(str(path.with_suffix(""))).sig_len
        for start in range(0, n_times, BLOCK):
            stop = min(start + BLOCK, n_times)
            wfdb.rdrecord(str(path.with_suffix("")), sampfrom=start, sampto=stop)


def import_it(kind: str, path: Path) -> None:
    mapping = MAPPINGS.get(kind)
    plan = FileMapping(**mapping, task="pull") if mapping else FileMapping(task="pull")
    write_bids(read_recordings(path, mapping=plan), path.parent / "bids", name="x", overwrite=True)


def measured(what: str, kind: str, path: Path, hours: float) -> dict[str, float]:
    # writing too: a process's peak of memory begins with that of the one that starts it
    os.sync()  # what was written before must not slow this down
    command = [sys.executable, __file__, "--measure", what, kind, str(path), "--hours", str(hours)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout or "{}")


def measure(what: str, kind: str, path: Path) -> None:
    before, started = time.process_time(), time.perf_counter()
    (read_alone if what == "library" else import_it)(kind, path)
    seconds = time.perf_counter() - started
    end_worker()  # what a child used counts when it has ended
    own, child = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    processor_s = time.process_time() - before + child.ru_utime + child.ru_stime
    mib = max(own.ru_maxrss, child.ru_maxrss) / 1024
    print(
        json.dumps(
            {
                "seconds": round(seconds, 2),
                "processor_seconds": round(processor_s, 2),
                "peak_mib": round(mib),
            }
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=8.0)
    parser.add_argument("--formats", nargs="+", choices=SUFFIXES, default=["edf"])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        what, kind, path = args.measure[0], args.measure[1], Path(args.measure[2])
        if what == "write":
            write(kind, path, Noise(round(args.hours * 3600 * FS)))
        else:
            measure(what, kind, path)
        return
    rows = []
    for kind in args.formats:
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            path = Path(folder) / f"long{SUFFIXES[kind]}"
            measured("write", kind, path, args.hours)
            data = path.with_suffix(".dat") if kind == "wfdb" else path
            library = measured("library", kind, path, args.hours)
            ours = measured("import", kind, path, args.hours)
            share, processor_share = (
                round(library[unit] / ours[unit], 2) for unit in ("seconds", "processor_seconds")
            )
            rows.append(
                {"format": kind, "mib": round(data.stat().st_size / 2**20), "library": library,
                 "import": ours, "speed_of_library": share,
                 "processor_speed_of_library": processor_share}
            )  # fmt: skip
    machine = {
        "processor": platform.machine(),
        "system": platform.system(),
    }
    print(json.dumps({"machine": machine, "hours": args.hours, "channels": N_CHANNELS,
                      "fs": FS, "rows": rows}, indent=2))  # fmt: skip


if __name__ == "__main__":
    main()
