"""What the long benchmarks share: segments, one run with its file, scores, tables. Not a script.

A run is one JSON file in a results folder. It is done again only if what it was made with (`key`)
has changed, so that a benchmark that was stopped goes on where it was.
"""

import argparse
import hashlib
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, is_dataclass
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

import myosynth.diffusion.training as training
from myosynth.diffusion import Progress, Synthesizer, TrainingSettings, train
from myosynth.diffusion.model import SCHEMA as MODEL_SCHEMA
from myosynth.diffusion.precision import uses_bf16
from myosynth.errors import CheckpointError
from myosynth.evaluation import evaluate, fidelity
from myosynth.evaluation.distances import c2st_auc
from myosynth.evaluation.scores import plain
from myosynth.recordings import SegmentSet
from myosynth.signal.features import feature_table
from myosynth.signal.filters import filter_recording
from myosynth.signal.segmentation import segment_recording
from myosynth.simulation import simulate_dataset
from myosynth.storage import atomic_directory, atomic_file, read_json, write_json

GROUPS = ("time", "spectral", "envelope", "higher_order")
COHORTS: dict[str, dict[str, Any]] = {
    "sim": {"n_train": 12, "n_validation": 4, "n_unseen": 8, "duration_s": 60.0},
    "tiny": {"n_train": 4, "n_validation": 2, "n_unseen": 4, "duration_s": 15.0},
}
DOCS = Path(__file__).parents[1] / "docs" / "results"


# -- what is common to the command lines


def parser(text: str, *, minutes: float, results: str) -> argparse.ArgumentParser:
    """Options that every long benchmark has."""
    made = argparse.ArgumentParser(
        description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--full", action="store_true", help="the whole benchmark, not a short form")
    made.add_argument("--table", action="store_true", help="write the table from what is there")
    made.add_argument("--dataset", default="sim", help="sim, or a folder made by prepare")
    made.add_argument("--minutes", type=float, nargs="+", default=[minutes], help="of training")
    made.add_argument("--seeds", type=int, nargs="+", default=[0])
    made.add_argument("--only", nargs="+", metavar="NAME", help="these rows alone")
    made.add_argument("--threads", type=int, help="of training; drawing takes as many")
    made.add_argument(
        "--cpu-time",
        action="store_true",
        help="minutes are processor time over the threads: for a machine that is not quiet",
    )
    made.add_argument("--made", type=int, default=100, help="synthetic segments of each task")
    made.add_argument("--resamples", type=int, default=40, help="behind each interval")
    made.add_argument(
        "--unseen", action="store_true", help="open the unseen subjects: to report, not to choose"
    )
    made.add_argument("--docs", type=Path, default=DOCS, help="where tables are written")
    made.add_argument("--results", type=Path, default=Path("results") / results)
    return made


def shortened(args: argparse.Namespace) -> argparse.Namespace:
    """The short form, which only shows that the benchmark runs: `--full` leaves it out."""
    if not args.full:
        args.minutes, args.made, args.resamples = [0.1], 8, 20
        args.dataset, args.results = "tiny", args.results.with_name(args.results.name + "-short")
    return args


# -- segments


def segments(args: argparse.Namespace) -> SegmentSet:
    """``sim`` (12 train subjects in two sessions, 4 validation, 8 unseen), ``tiny``, or a folder.

    Simulated ones are kept beside the results. The second session is the holdout.
    """
    name, folder = args.dataset, args.results.parent
    if name not in COHORTS:
        return SegmentSet.open(name)[:]
    path = folder / f"segments-{name}"
    if not path.exists():
        made = simulated(**COHORTS[name])
        folder.mkdir(parents=True, exist_ok=True)
        made.save(path)
    return SegmentSet.open(path)[:]


def simulated(
    *,
    n_train: int,
    n_validation: int,
    n_unseen: int,
    duration_s: float,
    fs: float = 2000.0,
    seconds: float = 3.0,
    seed: int = 0,
) -> SegmentSet:
    """A simulated cohort, split by subject; train subjects hold out their second session."""

    def part(n: int, n_sessions: int, prefix: str, number: int) -> SegmentSet:
        recordings = simulate_dataset(
            n_subjects=n, n_sessions=n_sessions, duration_s=duration_s, fs=fs,
            seed=1000 * seed + number,
        )  # fmt: skip
        made = SegmentSet.concatenate(
            segment_recording(filter_recording(each), seconds=seconds)[0] for each in recordings
        )
        made.subject = np.array([prefix + name for name in made.subject])
        return made

    own = part(n_train, 2, "t", 0)
    first = sorted(set(own.session.tolist()))[0]
    own.split = np.where(own.session == first, "train", "holdout")
    parts = [own]
    for number, (split, n) in enumerate((("validation", n_validation), ("unseen", n_unseen)), 1):
        parts.append(part(n, 1, split[0], number))
        parts[-1].split = np.full(len(parts[-1]), split)
    return SegmentSet.concatenate(parts)


def without_unseen(real: SegmentSet) -> SegmentSet:
    """For figures to choose by: the unseen subjects stay closed."""
    return real[np.flatnonzero(real.split != "unseen")]


# -- runs


class Runs:
    """Files of one benchmark.

    Parameters
    ----------
    folder : Path
        Of the results.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: list[dict[str, Any]] = []

    def fill(
        self, name: str, key: Mapping[str, Any], make: Callable[[], Mapping[str, Any]]
    ) -> dict[str, Any]:
        """The run `name`, from its file where that was made with the same `key`."""
        made_by = {"version": version("myosynth"), "model": MODEL_SCHEMA}
        key = json.loads(json.dumps({**key, **made_by}))
        path = self.folder / f"{name}.json"
        if path.exists() and (stored := read_json(path))["key"] == key:
            self.rows.append(stored)
            return dict(stored)
        print(f"{time.strftime('%H:%M:%S')} {name} ...", file=sys.stderr, flush=True)
        wall, cpu = time.perf_counter(), time.process_time()
        row = {
            "name": name,
            "key": key,
            **make(),
            "seconds": round(time.perf_counter() - wall, 1),
            "cpu_seconds": round(time.process_time() - cpu, 1),
            "command": command(),
            "machine": machine(),
            "versions": versions(),
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(path, row)
        self.rows.append(row)
        print(f"{time.strftime('%H:%M:%S')} {name}: {headline(row)}", file=sys.stderr, flush=True)
        return row

    def stored(self) -> list[dict[str, Any]]:
        """Every run there is a file of."""
        return [read_json(path) for path in sorted(self.folder.glob("*.json"))]


def command() -> str:
    """As it was given, without the places of files."""
    given = [Path(each).name if Path(each).is_absolute() else each for each in sys.argv[1:]]
    return shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *given])


def machine() -> dict[str, Any]:
    """Processor, what it can do and cores; no name of the machine."""
    found = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        named = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        found = named[0].split(":", 1)[1].strip() if named else found
    able = torch.backends.cpu.get_cpu_capability()
    if uses_bf16("auto", torch.device("cpu")):
        able += " with bfloat16"
    found = f"{found} ({able})"
    return {"processor": found, "n_cores": os.cpu_count(), "system": platform.system()}


def versions() -> dict[str, str]:
    """Of what computes, with the commit where there is a repository."""
    found = {name: version(name) for name in ("myosynth", "torch", "numpy", "diffusers")}
    found["python"] = platform.python_version()
    try:
        asked = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
        found["commit"] = subprocess.run(
            asked, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        pass
    return found


def digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


# -- a model of ours

Fit = Callable[..., Synthesizer]
"""Segments, folder, clock, and `minutes`, `seed`, `settings`, `on_progress` → a model, written."""


@dataclass(frozen=True)
class Trained:
    """A model with what its training took."""

    model: Synthesizer
    facts: Mapping[str, Any]


def trained(
    real: SegmentSet,
    folder: Path,
    *,
    dataset: str,
    settings: TrainingSettings,
    minutes: float,
    seed: int,
    cpu_time: bool = False,
    fit: Fit | None = None,
) -> Trained:
    """Train, by `fit` or as usual, or take the model that was trained in the same way before."""
    made_with = {
        "settings": settings.to_dict(), "minutes": minutes, "seed": seed, "dataset": dataset,
        "cpu_time": cpu_time, "version": version("myosynth"),
        **({} if fit is None else {"fit": fit.__module__}),
    }  # fmt: skip
    path = folder / "models" / digest(made_with)
    if (path / "facts.json").exists():
        try:
            return Trained(Synthesizer.from_pretrained(path), read_json(path / "facts.json"))
        except CheckpointError:
            print("the stored model does not fit this version; training anew", file=sys.stderr)
    path.parent.mkdir(parents=True, exist_ok=True)
    steps: dict[str, int] = {}
    shown = [time.monotonic()]

    def progress(now: Progress) -> None:
        steps[now.stage] = now.step
        if time.monotonic() - shown[0] > 30:
            shown[0] = time.monotonic()
            print(f"  {now.share:4.0%} {now.stage} step {now.step}", file=sys.stderr, flush=True)

    wall, cpu = time.perf_counter(), time.process_time()
    with atomic_directory(path, overwrite=True) as partial:
        model = (fit or _fit)(
            real, partial / "model", clock(settings.n_threads, cpu_time), minutes=minutes,
            seed=seed, settings=settings, on_progress=progress,
        )  # fmt: skip
        for each in (partial / "model").iterdir():
            each.rename(partial / each.name)
        (partial / "model").rmdir()
        facts = {
            "train_seconds": round(time.perf_counter() - wall, 1),
            "train_cpu_seconds": round(time.process_time() - cpu, 1),
            "n_steps": dict(sorted(steps.items())),
            "n_parameters": model.config["n_parameters"],
            "made_with": made_with,
        }
        write_json(partial / "facts.json", facts)
    return Trained(model, facts)


def clock(threads: int, cpu_time: bool) -> Callable[[], float]:
    """What a budget is counted by, s: wall time, or what it would be were the machine quiet."""
    if not cpu_time:
        return time.monotonic
    return lambda: time.process_time() / threads


def _fit(real: SegmentSet, out: Path, clock: Callable[[], float], **how: Any) -> Synthesizer:
    with _training_by(clock):
        return train(real, out, **how)


@contextmanager
def _training_by(clock: Callable[[], float]) -> Iterator[None]:
    """`train` has a budget of wall time: let it read another clock."""
    own = training.time  # type: ignore[attr-defined]
    training.time = SimpleNamespace(monotonic=clock)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        training.time = own  # type: ignore[attr-defined]


def drawn(
    sample: Callable[[str, int], SegmentSet], tasks: Iterable[str], n_each: int
) -> tuple[SegmentSet, dict[str, float]]:
    """`n_each` segments of every task, and what drawing took."""
    names = list(tasks)
    sample(names[0], 1)  # loads what is loaded on first use
    wall, cpu = time.perf_counter(), time.process_time()
    made = SegmentSet.concatenate([sample(task, n_each) for task in names])
    n = len(made)
    return made, {
        "draw_cpu_seconds_each": (time.process_time() - cpu) / n,
        "draw_seconds_each": (time.perf_counter() - wall) / n,
        "segment_seconds": made.duration_s,
    }


def round_trip_error(model: Synthesizer, real: SegmentSet) -> float:
    """Relative error of real segments through the representation, no network."""
    rows = np.flatnonzero(real.split == "holdout")[::7][:60]
    volts = real.read(rows).astype(np.float64)
    return float(np.linalg.norm(model.round_trip(volts) - volts) / np.linalg.norm(volts))


def judged(
    real: SegmentSet,
    args: argparse.Namespace,
    settings: TrainingSettings,
    *,
    minutes: float,
    seed: int,
    draw: int = 0,
    fit: Fit | None = None,
    **drawing: Any,
) -> dict[str, Any]:
    """A whole run of ours: train, draw (for the `draw`th time), score."""
    found = trained(
        real, args.results.parent, dataset=args.dataset, settings=settings, minutes=minutes,
        seed=seed, cpu_time=args.cpu_time, fit=fit,
    )  # fmt: skip
    made, cost = drawn(
        lambda task, n: found.model.sample(
            task, n, seed=1000 * (1 + draw) + seed, threads=args.threads, **drawing
        ),
        found.model.tasks,
        args.made,
    )
    return {
        "training": {k: v for k, v in found.facts.items() if k != "made_with"},
        "drawing": cost,
        "round_trip_error": round(round_trip_error(found.model, real), 4),
        **scored(real, made, n_resamples=args.resamples, unseen=args.unseen),
    }


# -- scores


def common_key(args: argparse.Namespace) -> dict[str, Any]:
    """What a run depends on beside the generator, its time and its seed."""
    names = ("dataset", "cpu_time", "made", "resamples", "unseen")
    return {name: getattr(args, name) for name in names} | {"dataset": slug(args.dataset)}


def slug(dataset: str) -> str:
    """A data set by the name of its folder: no path goes into a result."""
    return Path(dataset).name


def scored(
    real: SegmentSet, made: SegmentSet, *, n_resamples: int, unseen: bool = False, seed: int = 0
) -> dict[str, Any]:
    """The evaluation protocol, with fewer repeats.

    The unseen subjects stay closed unless `unseen`: then the floor of new people, and the test of
    utility, are of the validation subjects.
    """
    n_each = max(8, min(int((made.task == task).sum()) for task in made.tasks))
    cpu = time.process_time()
    with _comparisons_kept():
        scores = evaluate(
            real if unseen else without_unseen(real), made, seed=seed, n_bootstrap=n_resamples,
            n_repeats=10, n_jobs=1,
        )  # fmt: skip
    keys = ("value", "low", "high", "floor_same", "floor_new", "z", "z_low", "z_high", "c3", "c3_z",
            "beats_c3")  # fmt: skip
    wanted = {"w1", "c2st", "lsd", "recall", "slope", "r2"}
    rows = [
        {"task": row["task"], "group": row["group"], "metric": row["metric"],
         **{key: row[key] for key in keys}}
        for row in scores.rows
        if row["metric"] in wanted or row["group"] == "utility"
    ]  # fmt: skip
    rows = plain(rows)
    near = {task: _c2st_train(real, made, task, n_each) for task in made.tasks}
    return {
        "summary": {**summary(rows), "c2st_train": round(float(np.mean(list(near.values()))), 4)},
        "c2st_train": near,
        "rows": rows,
        "findings": [f.text for f in scores.findings],
        "score_cpu_seconds": round(time.process_time() - cpu, 1),
    }


def _c2st_train(real: SegmentSet, made: SegmentSet, task: str, n: int) -> float:
    """C2ST of all features against the train split itself, which copies would win."""
    rng = np.random.default_rng(0)
    tables = []
    for which, rows in ((real, real.rows(task=task, split="train")), (made, made.rows(task=task))):
        few = np.sort(rng.permutation(rows)[:n])
        found = feature_table(which.read(few), which.fs).reshape(len(few), -1)
        tables.append(found[:, np.isfinite(found).all(axis=0)])
    return round(c2st_auc(*tables, seed=0), 4)


_KEPT: dict[str, Any] = {}


@contextmanager
def _comparisons_kept() -> Iterator[None]:
    """Compute a comparison of the same two samples once.

    Floors and surrogates are the same for every generator that is scored in one go: their forests
    are most of the work.
    """
    compare = fidelity.compare
    places = [
        module
        for name, module in sys.modules.items()
        if name.startswith("myosynth.evaluation") and getattr(module, "compare", None) is compare
    ]

    def kept(*parts: Any, **more: Any) -> Any:
        content = hashlib.sha256()
        _feed(content, [*parts, sorted(more.items())])
        if (name := content.hexdigest()) not in _KEPT:
            _KEPT[name] = compare(*parts, **more)
        return _KEPT[name]

    for module in places:
        setattr(module, "compare", kept)  # noqa: B010
    try:
        yield
    finally:
        for module in places:
            setattr(module, "compare", compare)  # noqa: B010


def _feed(content: Any, value: Any) -> None:
    if isinstance(value, np.ndarray):
        content.update(repr(value.shape).encode() + np.ascontiguousarray(value).tobytes())
    elif is_dataclass(value):
        _feed(content, list(vars(value).items()))
    elif isinstance(value, Mapping):
        _feed(content, list(value.items()))
    elif isinstance(value, list | tuple):
        for each in value:
            _feed(content, each)
    else:
        content.update(repr(value).encode() + b"\0")


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over tasks (and classifiers); ends of intervals are averaged as well.

    The tasks share their subjects, so that the average of the ends is the interval of a mean whose
    parts go up and down together: wide rather than narrow.
    """
    found: dict[str, Any] = {}
    for group in GROUPS:
        own = _of(rows, group=group, metric="w1")
        found[f"z_{group}"] = _mean(own, "z", "z_low", "z_high")
        found[f"w1_{group}"] = _mean(own, "value", "low", "high")
        found[f"c3_z_{group}"] = _mean(own, "c3_z")
    every = [row for group in GROUPS for row in _of(rows, group=group, metric="w1")]
    found["z"] = _mean(every, "z", "z_low", "z_high")
    found["w1"] = _mean(every, "value", "low", "high")
    found["c3_z"] = _mean(every, "c3_z")
    worst = [row["z"] for row in every if row["z"] is not None]
    found["z_worst"] = max(worst) if worst else None
    found["c2st"] = _mean(_of(rows, group="all", metric="c2st"), "value", "low", "high")
    found["w1_same"] = _mean(every, "floor_same")
    found["c2st_same"] = _mean(_of(rows, group="all", metric="c2st"), "floor_same")
    found["c2st_higher_order"] = _mean(_of(rows, group="higher_order", metric="c2st"), "value")
    found["lsd"] = _mean(_of(rows, group="spectral", metric="lsd"), "value", "low", "high")
    found["recall"] = _mean(_of(rows, group="all", metric="recall"), "value", "low", "high")
    ratio = [row for row in rows if str(row["metric"]).startswith("tstr_over_trtr")]
    found["tstr_over_trtr"] = _mean(ratio, "value", "low", "high")
    full = [row for row in ratio if "full" in str(row["metric"])]
    found["tstr_over_trtr_full"] = _mean(full, "value", "low", "high")
    return found


def _of(rows: Sequence[Mapping[str, Any]], **wanted: str) -> list[Mapping[str, Any]]:
    return [row for row in rows if all(row[key] == wanted[key] for key in wanted)]


def _mean(rows: Sequence[Mapping[str, Any]], *keys: str) -> list[float] | float | None:
    known = [[row[key] for key in keys] for row in rows]
    known = [values for values in known if None not in values]
    if not known:
        return None
    means = [round(float(each), 4) for each in np.mean(known, axis=0)]
    return means if len(keys) > 1 else means[0]


def headline(row: Mapping[str, Any]) -> str:
    """A line of progress."""
    found = row.get("summary")
    if not found:
        return str(row.get("skipped", "done"))
    parts = [f"{name} {_text(found[name])}" for name in ("z", "c2st", "lsd", "tstr_over_trtr")]
    return f"{', '.join(parts)} ({row['seconds']:.0f} s)"


# -- tables


def of_processor(key: Mapping[str, Any]) -> str:
    return " of processor time" if key["cpu_time"] else ""


def carry_out(
    args: argparse.Namespace,
    name: str,
    names: Iterable[str],
    run: Callable[[argparse.Namespace], list[dict[str, Any]]],
    table: Callable[[list[dict[str, Any]]], str],
) -> None:
    """Run a benchmark's rows, or write its table from those that are there."""
    if args.table:
        rows = together(args.docs / f"{name}.json", Runs(args.results).stored())
        write_table(args.docs, name, table(rows), rows)
        return
    check_names(args.only, names)
    show(run(shortened(args)))


def check_names(asked: Sequence[str] | None, known: Iterable[str]) -> None:
    unknown = sorted(set(asked or ()) - set(known))
    if unknown:
        sys.exit(f"there is no row {unknown[0]!r}; there are: {', '.join(known)}")


def sections(rows: Iterable[Mapping[str, Any]]) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """Runs that may stand in one table, under what they have in common."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        key = row["key"]
        who = "unseen subjects opened" if key["unseen"] else "unseen subjects closed"
        minutes = f"{key['minutes']:g} minutes{of_processor(key)}"
        title = f"{key['dataset']}, {minutes}, {key['made']} segments a task, {who}"
        found.setdefault(title, []).append(row)
    return sorted(found.items())


def over_seeds(rows: Sequence[Mapping[str, Any]], name: str) -> str:
    """One cell: the mean over seeds and draws, its interval, and the range where several."""
    values = [row["summary"].get(name) for row in rows if row.get("summary")]
    values = [value for value in values if value is not None]
    if not values:
        return "–"
    if not isinstance(values[0], list):
        return f"{np.mean(values):.2f}"
    middle, low, high = np.mean(values, axis=0)
    text = f"{middle:.2f} ({low:.2f}–{high:.2f})"
    if len(values) > 1:
        firsts = [value[0] for value in values]
        text += f" [{min(firsts):.2f}–{max(firsts):.2f}]"
    return text


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"

    return "\n".join([line(head), "|" + " --- |" * len(head), *map(line, rows)])


def provenance(rows: Sequence[Mapping[str, Any]]) -> str:
    """Machine, versions, commands and seeds of the runs of a table, as text."""

    def each(values: Iterable[Any]) -> list[str]:
        return sorted({json.dumps(value, sort_keys=True) for value in values})

    lines = ["Machine: " + "; ".join(
        f"{m['processor']}, {m['n_cores']} cores, {m['system']}"
        for m in map(json.loads, each(row["machine"] for row in rows))
    ) + "."]  # fmt: skip
    lines += [
        "Versions: " + ", ".join(f"{k} {v}" for k, v in found.items()) + "."
        for found in map(json.loads, each(row["versions"] for row in rows))
    ]
    seeds = sorted({row["key"].get("seed", 0) for row in rows})
    lines.append("Seeds: " + ", ".join(map(str, seeds)) + ".")
    commands = sorted({row["command"] for row in rows})
    return "\n".join([*lines, "", "```bash", *commands, "```"])


def together(path: Path, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Runs of a table that is there, and new ones, which take the place of theirs by name.

    A table grows from machine to machine. Where the defaults change, delete its JSON twin first:
    rows with other defaults do not belong into one table.
    """
    found = {row["name"]: row for row in (read_json(path)["runs"] if path.exists() else [])}
    return list((found | {row["name"]: row for row in rows}).values())


_DETAILS = ("rows", "findings")  # of a run: one figure of each task, group and metric


def write_table(folder: Path, name: str, text: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """``NAME.md`` and its JSON twin, a run in each line, without the figures by task."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(text.rstrip() + "\n", encoding="utf-8")
    lines = [
        json.dumps({k: v for k, v in row.items() if k not in _DETAILS}, allow_nan=False)
        for row in rows
    ]
    twin = '{"runs": [\n' + ",\n".join(lines) + "\n]}\n"
    with atomic_file(folder / f"{name}.json") as partial:
        partial.write_text(twin, encoding="utf-8")
    print(f"{folder / name}.md, .json")


def show(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print what was measured as JSON, a line for each run; the files hold the rest."""
    kept = ("name", "skipped", "training", "drawing", "summary", "seconds")
    lines = [json.dumps({k: row[k] for k in kept if k in row}) for row in rows]
    print("[" + ",\n ".join(lines) + "]")


def _text(value: Any) -> str:
    if value is None:
        return "–"
    return (
        f"{value[0]:.2f} ({value[1]:.2f}–{value[2]:.2f})"
        if isinstance(value, list)
        else f"{value:.2f}"
    )


def settings_of(args: argparse.Namespace, changes: Mapping[str, Any]) -> TrainingSettings:
    """The defaults with some fields changed."""
    fields = asdict(TrainingSettings()) | dict(changes)
    return TrainingSettings(**{**fields, "threads": args.threads})
