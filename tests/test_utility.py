import numpy as np
import pytest

from myosynth.errors import NotEnoughDataError
from myosynth.evaluation.utility import (
    Labelled,
    balanced_accuracy,
    confusion,
    learning_curve,
    leave_one_subject_out,
    predict,
    utility_rows,
)
from myosynth.recordings import SegmentSet
from myosynth.signal.features import FEATURES

TASKS = ("lift", "pull", "push")


def labelled(rng, n=90, spread=1.0):
    task = np.array(TASKS)[np.arange(n) % 3]
    table = spread * rng.standard_normal((n, len(FEATURES)))
    table[np.arange(n), np.arange(n) % 3] += 5  # rms, mav and wl each mark one task
    return Labelled(table, task, np.array([f"s{i // 3 % 5}" for i in range(n)]))


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def value(rows, metric):
    return next(row["value"] for row in rows if row["metric"] == metric)


def test_balanced_accuracy_counts_tasks_not_segments():
    true = np.array(["a"] * 8 + ["b"] * 2)
    assert balanced_accuracy(true, np.full(10, "a")) == 0.5
    assert balanced_accuracy(true, true) == 1
    weight = np.r_[np.ones(8), 0, 0]
    assert balanced_accuracy(true, np.full(10, "a"), weight) == 1


def test_confusion_rows_are_shares():
    table = confusion(np.array(["a", "a", "b"]), np.array(["a", "b", "b"]), ("a", "b"))
    np.testing.assert_array_equal(table, [[0.5, 0.5], [0, 1]])


@pytest.mark.parametrize("classifier", ["lda", "forest"])
def test_a_good_set_teaches_what_real_segments_teach(rng, classifier):
    real, test, good = labelled(rng), labelled(rng), labelled(rng)
    shuffled = Labelled(good.table, rng.permutation(good.task), good.subject)
    rivals = {"c3": shuffled}
    for made, tstr_range in ((good, (0.9, 1)), (shuffled, (0.1, 0.65))):
        rows = utility_rows(real, made, test, rivals, seed=0, n_bootstrap=30)
        assert value(rows, f"trtr_full_{classifier}") > 0.9
        assert tstr_range[0] <= value(rows, f"tstr_full_{classifier}") <= tstr_range[1]
        row = next(r for r in rows if r["metric"] == f"tstr_full_{classifier}")
        assert row["low"] <= row["value"] <= row["high"]
        assert row["c3"] < 0.65
    assert value(rows, f"trts_full_{classifier}") < 0.6
    assert value(rows, f"gain_full_{classifier}") <= 0.03


def test_hudgins_does_not_see_the_other_features(rng):
    real = labelled(rng)
    blind = Labelled(rng.standard_normal(real.table.shape), real.task, real.subject)
    blind.table[:, list(FEATURES).index("kurtosis")] += 9.0 * (real.task == "pull")
    full = balanced_accuracy(real.task, predict(blind, blind, features="full"))
    few = balanced_accuracy(real.task, predict(blind, blind, features="hudgins"))
    assert full > few + 0.1


def test_learning_curve_rises_with_subjects(rng):
    noisy = labelled(rng, spread=3.0)
    rows = learning_curve(noisy, labelled(rng), labelled(rng), seed=0)
    assert [row["metric"] for row in rows] == [f"curve_{k}_subjects" for k in (1, 2, 4, 5)]
    assert rows[-1]["surrogates"]["real_alone"] > rows[0]["surrogates"]["real_alone"]
    assert rows[0]["value"] > rows[0]["surrogates"]["real_alone"]


def test_left_out_subject_is_never_shown_to_the_generator(rng):
    n = 48
    task = np.array(["a", "b"])[np.arange(n) % 2]
    gain = np.where(task == "a", 1e-3, 4e-3)[:, None, None]
    signals = (gain * rng.standard_normal((n, 1, 500))).astype(np.float32)
    subject = np.array([f"s{i // 2 % 3}" for i in range(n)])
    real = SegmentSet(signals, 1000.0, task, subject=subject)
    seen = []

    def make(others, seed):
        seen.append(set(others.subjects))
        return others

    rows = leave_one_subject_out(real, make, seed=0)
    assert seen == [{"s1", "s2"}, {"s0", "s2"}, {"s0", "s1"}]
    assert value(rows, "tstr_loso_full_lda") == value(rows, "trtr_loso_full_lda") == 1
    with pytest.raises(NotEnoughDataError):
        leave_one_subject_out(real.where(subject="s0"), make, seed=0)


def test_a_task_of_one_segment_is_never_answered(rng):
    real = labelled(rng)
    rows = np.flatnonzero(real.task != "push")
    few = real.take(np.r_[rows, np.flatnonzero(real.task == "push")[0]])
    assert set(predict(few, real)) == {"lift", "pull"}
    assert set(predict(real.take(np.array([0, 1, 2, 4])), real)) == {"pull"}
