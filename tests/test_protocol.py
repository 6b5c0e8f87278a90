import json

import numpy as np
import pytest
from scipy.signal import lfilter

from myosynth.errors import FormatError, InputError, NotEnoughDataError
from myosynth.evaluation import Scores, evaluate
from myosynth.evaluation.fidelity import compare
from myosynth.evaluation.scores import ROW_KEYS
from myosynth.recordings import SegmentSet

FS = 500.0
QUICK = {"n_bootstrap": 40, "n_repeats": 6, "n_jobs": 1}


@pytest.fixture(autouse=True, scope="module")
def few_trees():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("myosynth.evaluation.distances.N_TREES", 8)
        yield


def person(number, task, n, rng):
    """Noise whose gain, colour and tail are the person's own."""
    own = np.random.default_rng(number)
    gain, pole, degrees = np.exp(0.5 * own.standard_normal()), own.uniform(-0.2, 0.7), 4
    degrees += 10 * own.random()
    rhythm = own.uniform(0.7, 3)
    white = rng.standard_t(degrees, (n, 1, 500))
    coloured = lfilter([1.0], [1.0, -pole], white, axis=-1)
    time = np.arange(500) / FS
    depth = 0.8 if task == "pull" else own.uniform(0, 0.3)
    phase = rng.uniform(0, 2 * np.pi, (n, 1, 1))
    base = 4e-3 if task == "pull" else 1e-3
    return base * gain * coloured * (1 + depth * np.cos(2 * np.pi * rhythm * time + phase))


def cohort(numbers, split, seed, n=8, tasks=("pull", "stoop")):
    rng = np.random.default_rng(seed)
    parts = [
        SegmentSet(
            person(number, task, n, rng).astype(np.float32),
            FS,
            task,
            subject=f"p{number}",
            split=split,
        )
        for number in numbers
        for task in tasks
    ]
    return SegmentSet.concatenate(parts)


@pytest.fixture(scope="module")
def real():
    people = range(10)
    return SegmentSet.concatenate(
        [
            cohort(people, "train", 1),
            cohort(people, "holdout", 2),
            cohort(range(10, 16), "unseen", 3),
        ]
    )


@pytest.fixture(scope="module")
def truth():
    made = cohort(range(10), "", 4)
    made.subject = np.full(len(made), "")
    return made


def codes(scores):
    return {finding.code for finding in scores.findings}


def changed(segments, signals=None, **columns):
    result = segments[:]
    if signals is not None:
        result.signals = np.asarray(signals, dtype=np.float32)
    for name, values in columns.items():
        setattr(result, name, values)
    return result


@pytest.fixture(scope="module")
def scores_of_truth(real, truth):
    effort = truth[:]
    power = np.mean(np.square(effort.read(), dtype=float), axis=(1, 2))
    effort.columns["effort"] = 0.5 * np.log(power)
    return evaluate(real, effort, round_trip=lambda x: 1.5 * x, **QUICK)


def test_truth_lies_at_the_same_subject_floor(scores_of_truth):
    assert scores_of_truth.validity["passed"]
    assert not [f for f in scores_of_truth.findings if f.severity == "error"]
    for task in ("pull", "stoop"):
        for group in ("time", "spectral"):
            row = scores_of_truth.select(task=task, group=group, metric="w1")[0]
            assert abs(row["z"]) < 0.35
            assert row["z_low"] <= 0.1
            assert row["floor_new"] > row["floor_same"]


def test_rows_are_complete_and_survive_json(scores_of_truth):
    for row in scores_of_truth.rows:
        assert tuple(row) == ROW_KEYS
    text = json.dumps(scores_of_truth.to_dict(), allow_nan=False)
    again = Scores.from_dict(json.loads(text))
    assert again.to_dict() == scores_of_truth.to_dict()
    with pytest.raises(FormatError, match="schema"):
        Scores.from_dict({"schema": "other/1"})


def test_effort_asked_is_compared_with_effort_obtained(scores_of_truth):
    rows = scores_of_truth.select(task="pull", group="effort")
    assert {row["metric"]: round(row["value"], 6) for row in rows} == {"slope": 1.0, "r2": 1.0}


def test_round_trip_shows_its_own_loss_only(scores_of_truth):
    loud = scores_of_truth.select(task="pull", group="time", metric="w1")[0]
    shape = scores_of_truth.select(task="pull", group="higher_order", metric="w1")[0]
    assert loud["round_trip"] > loud["floor_same"] + 0.3
    assert shape["round_trip"] < shape["floor_same"] + 0.2


def without_forests(*samples, **settings):
    return compare(*samples, **{**settings, "c2st": False})


@pytest.fixture
def quickly(monkeypatch):
    monkeypatch.setattr("myosynth.evaluation.protocol.compare", without_forests)
    monkeypatch.setattr("myosynth.evaluation.protocol._utility", lambda *_: [])


def test_what_can_be_compared_once_is_averaged_over_picks(quickly):
    """Few holdout segments and twenty times as many synthetic ones: which are taken is chance."""
    few, many = range(5), range(50)
    real = SegmentSet.concatenate([
        cohort(few, "train", 1, n=4), cohort(few, "holdout", 2, n=2), cohort(few, "unseen", 3, n=2),
    ])  # fmt: skip
    synthetic = cohort(many, "", 4, n=4)
    counts, rows = [], []
    for n_repeats in (2, 20):
        seen = [evaluate(real, synthetic, n_bootstrap=20, n_repeats=n_repeats, seed=seed, n_jobs=1)
                for seed in range(4)]  # fmt: skip
        counts.append(seen[0].provenance_counts["segments_compared"]["pull"])
        rows.append(
            [
                [row[name] for row in each.select(metric="w1")]
                for name in ("value", "floor_same", "c3")
                for each in seen
            ]
        )
    assert counts == [10, 10]
    spread = [np.array(each).reshape(3, 4, -1).std(axis=1).mean(axis=1) for each in rows]
    # two picks against twenty: 1 / √10 of the chance, if that were all of it
    assert (spread[1] < 0.5 * spread[0]).all()
    assert np.mean(rows[1][:4]) == pytest.approx(np.mean(rows[0][:4]), rel=0.15)


@pytest.mark.slow
def test_holdout_as_synthetic_is_zero_and_other_people_are_one(quickly):
    """In six cohorts: of 95 % intervals some miss, so that the share is tested at one."""
    settings = {**QUICK, "n_bootstrap": 100}
    held, z = [], []
    for first in range(0, 600, 100):
        known, others = range(first, first + 10), range(first + 10, first + 16)
        real = SegmentSet.concatenate([
            cohort(known, "train", first + 1),
            cohort(known, "holdout", first + 2),
            cohort(others, "unseen", first + 3),
        ])  # fmt: skip
        zero = evaluate(real, real.where(split="holdout"), **settings)
        assert {"copies", "holdout_copied"} <= codes(zero)
        for row in zero.select(metric="w1"):
            assert row["z"] is None or row["z_low"] <= 0 <= row["z_high"], row
        for row in evaluate(real, real.where(split="unseen"), **settings).select(metric="w1"):
            if row["z"] is not None:
                held.append(row["z_low"] <= 1 <= row["z_high"])
                z.append(row["z"])
    assert len(held) >= 20
    assert np.mean(held) >= 0.85
    assert 0.6 < np.median(z) < 1.4


@pytest.mark.slow
def test_same_seed_same_scores(real, truth):
    few = real[np.flatnonzero(real.task == "pull")]
    one, two = (evaluate(few, truth, seed=5, **QUICK).to_dict() for _ in range(2))
    assert one == two
    codes_ = {finding["code"] for finding in one["findings"]}
    assert {"one_task", "task_unknown"} <= codes_


@pytest.mark.slow
def test_processes_give_the_same_scores(real, truth, monkeypatch):
    monkeypatch.setattr("myosynth.evaluation.protocol._SEGMENTS_FOR_PROCESSES", 1)
    monkeypatch.setattr("myosynth.evaluation.distances.N_TREES", 60)  # as other processes have it
    settings = {"n_bootstrap": 20, "n_repeats": 2}
    shares = []
    alone = evaluate(real, truth, **settings, n_jobs=1)
    two = evaluate(real, truth, **settings, n_jobs=2, on_progress=lambda x, _: shares.append(x))
    assert json.dumps(two.rows, default=str) == json.dumps(alone.rows, default=str)
    assert shares == sorted(shares)


@pytest.mark.slow
@pytest.mark.parametrize(("factor", "words"), [(1e3, "1000 times larger"), (1e-6, "1,000,000")])
def test_units_are_named(real, truth, factor, words):
    scores = evaluate(real, changed(truth, factor * truth.read()), **QUICK)
    (unit,) = [finding for finding in scores.findings if finding.code == "unit"]
    assert words in unit.text
    assert not {"labels_shuffled", "labels_wrong", "variety"} & codes(scores)


def test_broken_segments_are_counted_and_the_rest_is_scored(real, truth):
    signals = truth.read().copy()
    signals[3, 0, 5] = np.nan
    signals[10] = 2e-3
    signals[20] = signals[21]
    signals[30] = np.clip(signals[30], -5e-4, 5e-4)
    scores = evaluate(real, changed(truth, signals), **QUICK)
    wanted = {
        "nan_segments": 1,
        "constant_segments": 1,
        "duplicate_segments": 1,
        "clipped_segments": 1,
        "copies_of_real": 0,
    }
    assert {key: scores.validity[key] for key in wanted} == wanted
    assert not scores.validity["passed"]
    assert {"nan", "constant", "duplicates", "clipped"} <= codes(scores)
    assert scores.select(task="pull", group="time", metric="w1")


@pytest.mark.slow
def test_missing_task_and_tiny_class_are_flagged(real, truth):
    scores = evaluate(real, truth.where(task="pull"), **QUICK)
    assert "task_missing" in codes(scores)
    few = np.r_[truth.rows(task="pull"), truth.rows(task="stoop")[:3]]
    scores = evaluate(real, truth[few], **QUICK)
    assert any("stoop is not scored" in f.text and "3 synthetic" in f.text for f in scores.findings)
    assert not scores.select(task="stoop")


@pytest.mark.slow
def test_one_subject_gives_values_without_z(truth):
    real = SegmentSet.concatenate([cohort([0], "train", 1, n=20), cohort([0], "holdout", 2, n=20)])
    scores = evaluate(real, truth, **QUICK)
    assert {"one_subject", "no_unseen"} <= codes(scores)
    row = scores.select(task="pull", group="time", metric="w1")[0]
    assert row["value"] > row["floor_same"]
    assert row["z"] is row["floor_new"] is None


def test_silence_everywhere_is_no_crash(real, truth):
    scores = evaluate(changed(real, 0 * real.read()), changed(truth, 0 * truth.read()), **QUICK)
    assert {"constant_task", "constant"} <= codes(scores)


@pytest.mark.slow
def test_two_names_for_one_recording_are_reported(real, truth):
    signals = real.read().copy()
    signals[real.subject == "p1"] = signals[real.subject == "p0"]
    scores = evaluate(changed(real, signals), truth, **QUICK)
    assert any("p0, p1" in f.text for f in scores.findings if f.code == "real_duplicates")


def test_what_cannot_be_compared_is_refused(real, truth):
    with pytest.raises(NotEnoughDataError, match="holdout"):
        evaluate(real.where(split="train"), truth)
    with pytest.raises(InputError, match="sampling rates"):
        evaluate(real, SegmentSet(truth.read(), 1000.0, truth.task))
    with pytest.raises(InputError, match="channels"):
        evaluate(real, SegmentSet(np.repeat(truth.read(), 2, axis=1), FS, truth.task))
    with pytest.raises(InputError, match="lengths"):
        evaluate(real, SegmentSet(truth.read()[..., :400], FS, truth.task))
    with pytest.raises(NotEnoughDataError, match="no segments"):
        evaluate(real, truth[:0])
    with pytest.raises(InputError, match="n_bootstrap"):
        evaluate(real, truth, n_bootstrap=1)


@pytest.mark.slow
def test_generator_factory_adds_leave_one_out_and_progress_ends_at_one(real, truth):
    shares = []
    small = real[np.flatnonzero(np.isin(real.subject, ["p0", "p1", "p2", "p10"]))]
    scores = evaluate(
        small,
        truth,
        make_generator=lambda others, seed: others,
        on_progress=lambda share, what: shares.append(share),
        **QUICK,
    )
    names = {row["metric"] for row in scores.select(group="utility")}
    assert "tstr_loso_full_lda" in names
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert "few_subjects" in codes(scores)
