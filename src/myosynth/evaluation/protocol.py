"""The evaluation protocol: every metric per task, between the floors that real people set.

For each task and metric
- value: synthetic against the real holdout, so that copying the train split earns nothing;
- floor_same: real train against real holdout (same subjects, other recordings);
- floor_new: real against real after a random split by subject, mean of `n_repeats`;
- z = (value − floor_same) / (floor_new − floor_same): 0 = as near as more recordings of the same
  people, 1 = as far off as other people.
All of them compare samples of one size n, the largest that every comparison of the task can give:
between two samples of the same distribution a distance falls with n, a classifier's success rises
with n, and unequal sizes would set value and floors on different axes. Where a side has more than
n, distances of the value, floor_same and C3 are means over `n_repeats` random picks; classifiers,
intervals and other surrogates are of the first.
z is not given where floor_new is not clearly worse than floor_same, that is where the 95 % interval
of their difference (subjects resampled) does not exclude zero.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor
from numpy.typing import NDArray

from myosynth.errors import InputError
from myosynth.evaluation import findings as judge
from myosynth.evaluation.fidelity import (
    METRICS,
    Comparison,
    Key,
    Sample,
    compare,
    distances,
    effort_response,
)
from myosynth.evaluation.halves import SubjectHalves
from myosynth.evaluation.intervals import Axis, interval_of
from myosynth.evaluation.samples import (
    AUGMENTATIONS,
    MIN_SEGMENTS,
    RoundTrip,
    TaskSamples,
    prepare,
)
from myosynth.evaluation.scores import Finding, Scores, make_row
from myosynth.evaluation.surrogates import SURROGATES
from myosynth.evaluation.utility import (
    Labelled,
    learning_curve,
    leave_one_subject_out,
    utility_rows,
)
from myosynth.evaluation.validity import Scan, check_comparable, gate, scan
from myosynth.recordings import SegmentSet
from myosynth.signal.features import FEATURES

__all__ = ["MIN_SEGMENTS", "evaluate"]

Array = NDArray[np.float64]
Index = NDArray[np.intp]
Progress = Callable[[float, str], None]

_N_CLASSIFIER_REPEATS = 6  # of the splits by subject: forests are the slow part
_SEGMENTS_FOR_PROCESSES = 400  # real and synthetic ones; with fewer their start takes longer


@dataclass(frozen=True)
class _Settings:
    seed: int
    n_bootstrap: int
    n_repeats: int
    max_segments: int


def evaluate(
    real: SegmentSet,
    synthetic: SegmentSet,
    *,
    round_trip: RoundTrip | None = None,
    make_generator: Callable[[SegmentSet, int], SegmentSet] | None = None,
    seed: int = 0,
    n_bootstrap: int = 200,
    n_repeats: int = 20,
    max_segments: int = 500,
    n_jobs: int = 2,
    on_progress: Progress | None = None,
) -> Scores:
    """Judge a synthetic set: fidelity per task between its floors, utility, findings.

    Parameters
    ----------
    real : SegmentSet
        With `split` (train and holdout needed; validation and unseen wanted), task and subject.
    synthetic : SegmentSet
        Same rate, channels and length; a numeric column ``effort`` (log RMS asked for, ln V) is
        compared with what was obtained.
    round_trip : callable, optional
        From (n, n_channels, n_times) to the same: the generator's representation and back.
    make_generator : callable, optional
        From (real segments, seed) to synthetic segments; adds utility leaving one subject out.
    seed : int
        Same seed, same scores.
    n_bootstrap : int
        Deviations behind each interval of fidelity: halves of the subjects and their complements
        (`halves`); resamples of test subjects behind those of utility.
    n_repeats : int
        Random splits by subject behind floor_new, and random picks of n segments behind the rest.
    max_segments : int
        Most segments of one task and split that are used, ≥ 8: bounds time and memory.
    n_jobs : int
        Processes that score tasks side by side, where there is enough to do for them.
    on_progress : callable, optional
        Called with the share done (0–1) and what is being done.

    Returns
    -------
    Scores
        With None wherever a figure could not be given, and a finding that says why.

    Raises
    ------
    InputError
        If the sets differ in rate, channels or length, or the real set has no train or holdout.
    """
    check_comparable(real, synthetic)
    if max_segments < MIN_SEGMENTS or n_bootstrap < 20 or n_repeats < 2:
        raise InputError(
            f"evaluate needs max_segments ≥ {MIN_SEGMENTS}, n_bootstrap ≥ 20 and n_repeats ≥ 2"
        )
    settings = _Settings(seed, n_bootstrap, n_repeats, max_segments)
    report = on_progress or (lambda share, what: None)
    report(0.0, "looking at the samples")
    seen_real, seen = scan(real), scan(synthetic)
    validity, found = gate(real, synthetic, seen_real, seen)
    found += judge.about_sets(real, synthetic, seen_real, seen)
    tasks = [name for name in real.tasks if name in synthetic.tasks]
    scores = Scores(validity=validity)
    prepared: list[TaskSamples] = []
    waiting = []
    for number, name in enumerate(tasks):
        report(0.02 + 0.05 * number / len(tasks), f"features of {name}")
        rng = np.random.default_rng([seed, number])
        task = prepare(real, synthetic, seen_real, seen, name, round_trip, max_segments, rng, found)
        if task is not None:
            prepared.append(task)
            waiting.append(delayed(_task_rows)(task, settings, rng))
    enough = len(real) + len(synthetic) >= _SEGMENTS_FOR_PROCESSES
    n_processes = max(1, min(n_jobs, len(waiting))) if enough else 1
    with _side_by_side(waiting, n_processes) as done:
        for number, task in enumerate(prepared):
            report(0.07 + 0.73 * number / len(prepared), f"task {task.name}")
            scores.rows += next(done)
            scores.rows += _effort_rows(synthetic, seen, task.name)
    report(0.8, "utility")
    scores.rows += _utility(real, prepared, settings, found)
    if make_generator is not None:
        usable = np.flatnonzero(seen_real.finite)
        scores.rows += leave_one_subject_out(real[usable], make_generator, seed=seed)
    scores.provenance_counts = _counts(real, synthetic, prepared, settings)
    found += judge.about_copies(sum(task.n_near_copies for task in prepared), validity)
    order = {"error": 0, "warning": 1, "note": 2}
    scores.findings = sorted(found, key=lambda finding: order[finding.severity])
    report(1.0, "done")
    return scores


@contextmanager
def _side_by_side(work: list[Any], n_processes: int) -> Iterator[Iterator[Any]]:
    """Results in order; leaves no process behind, even where not all results are taken."""
    done = Parallel(n_jobs=n_processes, return_as="generator")(work)
    try:
        yield done
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that results were not used
            done.close()
        if n_processes > 1:
            get_reusable_executor().shutdown(wait=False)


# ---- one task ----


def _task_rows(
    task: TaskSamples, settings: _Settings, rng: np.random.Generator
) -> list[dict[str, Any]]:
    pool = Sample.join([task.train, task.holdout, task.others])
    n = _common_size(task, pool)
    known = np.concatenate([task.train.subject, task.holdout.subject])
    halves = SubjectHalves(known, settings.n_bootstrap // 2, rng)
    chance = rng.spawn(1)[0]

    def against(reference: Sample, sample: Sample, *, spread: bool = False) -> Comparison:
        a, b = _pick(reference, n, rng), _pick(sample, n, rng)
        rows = (halves.rows(a.subject), halves.rows(b.subject)) if spread else None
        first = compare(a, b, task.scale, seed=settings.seed, halves=rows)
        if not spread or max(len(reference), len(sample)) == n:
            return first
        more = [
            distances(_pick(reference, n, chance), _pick(sample, n, chance), task.scale)
            for _ in range(settings.n_repeats - 1)
        ]
        return replace(first, values=first.values | _mean_of([first.values, *more]))

    value = against(task.reference, task.synthetic, spread=True)
    same = against(task.holdout, task.train, spread=True)
    c3 = against(task.holdout, task.imitations["c3"], spread=True)
    others = {
        label: against(task.holdout, task.imitations[label]).values
        for label in SURROGATES
        if label != "c3"
    }
    through = None if task.round_trip is None else against(task.holdout, task.round_trip).values
    new = _floor_new(task, pool, n, settings, rng)
    n_subjects = len(np.unique(pool.subject))
    rows = []
    for key in value.values:
        axis = Axis(key, same, new.get(key, []), n_subjects, rng)
        rows.append(_row(task.name, key, axis, value, c3, others, through))
    return rows


def _row(
    task: str,
    key: Key,
    axis: Axis,
    value: Comparison,
    c3: Comparison,
    others: dict[str, dict[Key, float]],
    through: dict[Key, float] | None,
) -> dict[str, Any]:
    group, name = key
    metric = METRICS[name]
    sign = -1.0 if metric.better == "higher" else 1.0
    spread = value.draws[key]
    low, high = interval_of(value.values[key], spread)
    floor, top = _range(name)
    ahead = c3.values[key] + c3.draws[key] - value.values[key] - spread
    z_low, z_high = axis.interval(value.values[key] + spread)
    known = {label: values[key] for label, values in others.items()}
    known["c3"] = c3.values[key]
    return make_row(
        task,
        group,
        name,
        unit=metric.unit,
        better=metric.better,
        value=value.values[key],
        low=float(np.clip(low, floor, top)),
        high=float(np.clip(high, floor, top)),
        floor_same=axis.same,
        floor_new=axis.new,
        c3=c3.values[key],
        round_trip=None if through is None else through[key],
        z=axis.z(value.values[key]),
        z_low=z_low,
        z_high=z_high,
        c3_z=axis.z(c3.values[key]),
        beats_c3=bool(np.quantile(sign * ahead, 0.025) > 0),
        p=value.p if name == "mmd2" else None,
        surrogates=known,
        surrogates_z={label: axis.z(known[label]) for label in known},
    )


def _range(metric: str) -> tuple[float, float]:
    if metric == "mmd2":
        return -np.inf, np.inf  # unbiased: may be negative
    return 0.0, 1.0 if METRICS[metric].unit in {"0-1", "AUC"} else np.inf


def _common_size(task: TaskSamples, pool: Sample) -> int:
    sizes = [len(task.train), len(task.reference), len(task.holdout), len(task.synthetic)]
    n_subjects = len(np.unique(pool.subject))
    if n_subjects > 1:
        half = n_subjects // 2 / n_subjects * len(pool)
        sizes.append(max(MIN_SEGMENTS, int(0.9 * half)))  # most splits by subject have as many
    return min(sizes)


def _floor_new(
    task: TaskSamples, pool: Sample, n: int, settings: _Settings, rng: np.random.Generator
) -> dict[Key, list[float]]:
    subjects = np.unique(pool.subject)
    values: dict[Key, list[float]] = {}
    if len(subjects) < 2:
        return values
    for repeat in range(settings.n_repeats):
        first = np.isin(pool.subject, rng.permutation(subjects)[: len(subjects) // 2])
        if min(first.sum(), (~first).sum()) < n:
            continue
        a = _pick(pool.take(np.flatnonzero(first)), n, rng)
        b = _pick(pool.take(np.flatnonzero(~first)), n, rng)
        c2st = repeat < _N_CLASSIFIER_REPEATS
        one = compare(a, b, task.scale, seed=repeat, c2st=c2st)
        for key, value in one.values.items():
            values.setdefault(key, []).append(value)
    return values


def _mean_of(picks: list[dict[Key, float]]) -> dict[Key, float]:
    return {key: float(np.mean([one[key] for one in picks])) for key in picks[-1]}


def _pick(sample: Sample, n: int, rng: np.random.Generator) -> Sample:
    return sample.take(np.sort(rng.permutation(len(sample))[:n]))


def _effort_rows(synthetic: SegmentSet, seen: Scan, name: str) -> list[dict[str, Any]]:
    asked = synthetic.columns.get("effort")
    if asked is None or asked.dtype.kind != "f":
        return []
    rows = np.flatnonzero((synthetic.task == name) & np.isfinite(asked) & seen.finite)
    if len(rows) < MIN_SEGMENTS:
        return []
    slope, r2 = effort_response(asked[rows], seen.log_rms[rows])
    return [
        make_row(name, "effort", metric, unit=METRICS[metric].unit, better=METRICS[metric].better,
                 value=value if np.isfinite(value) else None)
        for metric, value in (("slope", slope), ("r2", r2))
    ]  # fmt: skip


# ---- all tasks together ----


def _utility(
    real: SegmentSet, tasks: list[TaskSamples], settings: _Settings, found: list[Finding]
) -> list[dict[str, Any]]:
    if not tasks:
        return []
    n_columns = len(FEATURES) * real.n_channels

    def gather(pick: Callable[[TaskSamples], Sample]) -> Labelled:
        parts = [(task.name, pick(task)) for task in tasks]
        return Labelled(
            np.concatenate([sample.table[:, :n_columns] for _, sample in parts]),
            np.concatenate([np.full(len(sample), name) for name, sample in parts]),
            np.concatenate([sample.subject for _, sample in parts]),
        )

    def equal(pick: Callable[[TaskSamples], Sample]) -> Labelled:
        rng = np.random.default_rng(settings.seed)
        return gather(lambda t: _pick(pick(t), min(len(t.train), len(t.synthetic)), rng))

    train, synthetic = equal(lambda t: t.train), equal(lambda t: t.synthetic)
    known, held = gather(lambda t: t.train), gather(lambda t: t.holdout)
    made = gather(lambda t: t.synthetic)
    variety, rows = judge.about_variety(known, held, made, settings.seed)
    if all(finding.code != "unit" for finding in found):  # which spoils both
        found += judge.about_labels(known, held, made) + variety
    if len(tasks) < 2:
        text = "Only one task can be scored, so utility (telling tasks apart) is not given."
        found.append(Finding("warning", "one_task", text))
        return rows
    test = gather(lambda t: t.others)
    if len(np.unique(test.task)) < len(tasks):
        test = held
        text = (
            "There are no unseen subjects of every task, so utility is tested on the holdout of "
            "the train subjects: it is too optimistic."
        )
        found.append(Finding("warning", "no_unseen", text))
    rivals = {
        label: equal(lambda t, label=label: t.imitations[label])  # type: ignore[misc]
        for label in ("c3", *AUGMENTATIONS)
    }
    rows += utility_rows(
        train, synthetic, test, rivals,
        seed=settings.seed, n_bootstrap=settings.n_bootstrap,
    )  # fmt: skip
    return rows + learning_curve(known, synthetic, test, seed=settings.seed)


def _counts(
    real: SegmentSet, synthetic: SegmentSet, tasks: list[TaskSamples], settings: _Settings
) -> dict[str, Any]:
    splits = sorted(set(real.split.tolist()) - {""})
    return {
        "real_segments": len(real),
        "real_subjects": len(real.subjects),
        "synthetic_segments": len(synthetic),
        "splits": {
            split: {
                "segments": int((real.split == split).sum()),
                "subjects": len(np.unique(real.subject[real.split == split])),
            }
            for split in splits
        },
        "tasks": {
            name: {
                "real": int((real.task == name).sum()),
                "synthetic": int((synthetic.task == name).sum()),
            }
            for name in sorted({*real.tasks, *synthetic.tasks})
        },
        "segments_compared": {
            task.name: _common_size(task, Sample.join([task.train, task.holdout, task.others]))
            for task in tasks
        },
        "fs": real.fs,
        "channel_names": list(real.channel_names),
        "seconds": real.duration_s,
        "seed": settings.seed,
        "n_bootstrap": settings.n_bootstrap,
        "n_repeats": settings.n_repeats,
    }
