"""Degradations of known truth: which metric must move and which must not."""

import numpy as np
import pytest

from myosynth.evaluation import evaluate
from myosynth.evaluation.fidelity import Sample, Scale, compare, describe
from myosynth.evaluation.surrogates import SURROGATES
from myosynth.recordings import SegmentSet
from myosynth.signal.filters import filter_recording
from myosynth.signal.segmentation import segment_recording
from myosynth.simulation import simulate_dataset

pytestmark = pytest.mark.slow
QUICK = {"n_bootstrap": 40, "n_repeats": 6, "n_jobs": 1}


def simulated(n_subjects, n_sessions, seed):
    recordings = simulate_dataset(
        n_subjects=n_subjects, n_sessions=n_sessions, duration_s=12.0, seed=seed
    )
    return SegmentSet.concatenate(segment_recording(filter_recording(r))[0] for r in recordings)


def named(segments, split="", prefix=""):
    segments.split = np.full(len(segments), split)
    segments.subject = np.array([prefix + name for name in segments.subject])
    return segments


@pytest.fixture(scope="module")
def sets():
    people = simulated(12, 3, 0)
    first, second, third = (people[people.session == s] for s in sorted(set(people.session)))
    strangers = named(simulated(8, 1, 1), "unseen", "u")
    real = SegmentSet.concatenate([named(first, "train"), named(second, "holdout"), strangers])
    return real, third


@pytest.fixture(scope="module")
def measure(sets):
    """From a split, a set of segments or signals to the metrics against the holdout."""
    real, _ = sets
    cache = {}

    def of(task, signals, subject=None):
        if task not in cache:
            holdout, train = (real.where(task=task, split=s) for s in ("holdout", "train"))
            described = [describe(s.read(), s.fs, s.subject) for s in (holdout, train)]
            cache[task] = described[0], Scale.fit(Sample.join(described), real.n_channels, real.fs)
        holdout, scale = cache[task]
        n = min(len(holdout), len(signals))
        rng = np.random.default_rng(0)
        other = describe(signals, real.fs, np.full(len(signals), ""))
        pick = [np.sort(rng.permutation(len(s))[:n]) for s in (holdout, other)]
        return compare(holdout.take(pick[0]), other.take(pick[1]), scale, seed=0).values

    return of


def of_task(segments, task, split=None):
    return segments.where(task=task, split=split).read().astype(float)


@pytest.mark.parametrize("task", ["pull", "squat"])
def test_surrogates_keep_what_they_copy_and_lose_the_motor_units(sets, measure, task):
    real, third = sets
    truth = measure(task, of_task(third, task))
    train = of_task(real, task, "train")
    rng = np.random.default_rng(1)
    got = {k: measure(task, make(train, real.fs, 90, rng)) for k, make in SURROGATES.items()}
    for name, values in got.items():
        assert values["higher_order", "w1"] > 2 * truth["higher_order", "w1"], name
        assert values["higher_order", "c2st"] >= 0.85, name
    assert got["c3"]["spectral", "lsd"] < truth["spectral", "lsd"] + 3
    assert got["c3"]["time", "w1"] < got["c3"]["higher_order", "w1"]
    if task == "pull":
        for name in ("ar", "phase"):
            assert got[name]["envelope", "w1"] > 3 * truth["envelope", "w1"]
        assert got["c3"]["envelope", "w1"] < 2 * truth["envelope", "w1"]


def test_new_people_move_every_ordinary_distance(sets, measure):
    real, third = sets
    truth, new = (
        measure("pull", of_task(third, "pull")),
        measure("pull", of_task(real, "pull", "unseen")),
    )
    for key in (("time", "w1"), ("spectral", "w1"), ("all", "ks"), ("all", "mmd2")):
        assert new[key] > 1.3 * truth[key], key
    assert new["all", "coverage"] < truth["all", "coverage"] - 0.3
    assert new["all", "recall"] < truth["all", "recall"] - 0.2


def test_few_people_lose_coverage_and_recall_but_are_not_far(sets, measure):
    _, third = sets
    few = third[np.isin(third.subject, third.subjects[:3])]
    repeated = np.concatenate([of_task(few, "pull")] * 4)
    noise = 1 + 1e-3 * np.random.default_rng(0).standard_normal(repeated.shape)
    got, truth = measure("pull", repeated * noise), measure("pull", of_task(third, "pull"))
    assert got["all", "coverage"] < truth["all", "coverage"] - 0.3
    assert got["all", "recall"] < truth["all", "recall"] - 0.3


def findings(real, made):
    scores = evaluate(real, made, **QUICK)
    return {finding.code: finding.text for finding in scores.findings}, scores


@pytest.fixture
def few_trees(monkeypatch):
    monkeypatch.setattr("myosynth.evaluation.distances.N_TREES", 8)


def anonymous(segments):
    segments = segments[:]
    segments.subject = np.full(len(segments), "")
    return segments


def test_truth_is_accused_of_nothing_and_a_dropped_task_is_named(sets, few_trees):
    real, third = sets
    found, scores = findings(real, anonymous(third[third.task != "push"]))
    assert "push" in found.pop("task_missing")
    assert found == {}
    z = [row["z"] for row in scores.select(metric="w1") if row["z"] is not None]
    assert np.mean(z) < 0.5
    for row in scores.select(group="higher_order", metric="w1"):
        assert row["beats_c3"]


def test_shuffled_labels_are_named(sets, few_trees):
    real, third = sets
    made = anonymous(third)
    made.task = np.random.default_rng(0).permutation(made.task)
    found, _ = findings(real, made)
    assert "shuffled" in found["labels_shuffled"]
    assert "variety" not in found


def test_swapped_labels_are_named(sets, few_trees):
    real, third = sets
    made = anonymous(third)
    swap = {"pull": "squat", "squat": "pull"}
    made.task = np.array([swap.get(task, task) for task in made.task])
    found, _ = findings(real, made)
    assert "pull looks like squat" in found["labels_swapped"]


def test_three_of_twelve_people_are_named(sets, few_trees):
    real, third = sets
    few = anonymous(third[np.isin(third.subject, third.subjects[:3])])
    found, _ = findings(real, few)
    assert "of 12 subjects" in found["variety"]
    assert "labels_shuffled" not in found


def test_copies_with_noise_are_named_and_gain_nothing(sets, few_trees):
    real, _ = sets
    train = real.where(split="train")
    noise = np.random.default_rng(0).standard_normal(train.signals.shape)
    signals = train.read()
    made = anonymous(train)
    made.signals = (signals + 0.1 * signals.std(-1, keepdims=True) * noise).astype(np.float32)
    made.split = np.full(len(made), "")
    found, scores = findings(real, made)
    assert "near_copies" in found
    for row in scores.select(metric="w1", group="time"):
        # measured against the holdout: copying comes out at the floor, not below it
        assert row["value"] > 0.6 * row["floor_same"]
