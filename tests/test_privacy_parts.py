"""The parts of the audit: statistics, fingerprints, matching, canaries, verdict rules."""

import tracemalloc

import numpy as np
import pytest
from scipy.signal import lfilter
from scipy.stats import kstest

from myosynth.evaluation.privacy import matching
from myosynth.evaluation.privacy.canaries import DISGUISES, plan_planting
from myosynth.evaluation.privacy.copies import _is_leak, _limits
from myosynth.evaluation.privacy.fingerprints import (
    FINGERPRINTS,
    HINTS,
    block_similarity,
    fingerprints,
)
from myosynth.evaluation.privacy.matching import Matcher, Source
from myosynth.evaluation.privacy.statistics import (
    Groups,
    Gumbel,
    area_under_curve,
    clopper_pearson,
    threshold_at_fpr,
    tpr_at_fpr,
)

FS = 1000.0


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def noise(n, rng, n_channels=2, n_times=2000):
    white = rng.standard_normal((n, n_channels, n_times))
    return 1e-4 * lfilter([1.0], [1.0, -0.6], white, axis=-1)


# ---- statistics ----


def test_clopper_pearson_is_the_textbook_interval():
    assert clopper_pearson(0, 10) == (0.0, pytest.approx(1 - 0.025 ** (1 / 10)))
    assert clopper_pearson(10, 10) == (pytest.approx(0.025 ** (1 / 10)), 1.0)
    assert clopper_pearson(5, 10) == (
        pytest.approx(0.1871, abs=1e-4),
        pytest.approx(0.8129, abs=1e-4),
    )


def test_threshold_lets_one_in_a_hundred_through():
    scores = np.arange(300.0)
    assert (scores > threshold_at_fpr(scores)).sum() == 3
    assert threshold_at_fpr(np.arange(50.0)) == 49
    assert tpr_at_fpr(np.array([1.0, 299.5, 400.0]), scores) == pytest.approx(2 / 3)


def test_auc_counts_pairs_and_halves_ties(rng):
    a, b = rng.integers(0, 6, 40).astype(float), rng.integers(0, 5, 30).astype(float)
    pairs = (a[:, None] > b).mean() + 0.5 * (a[:, None] == b).mean()
    assert area_under_curve(a, b) == pytest.approx(pairs)


def test_swapping_groups_gives_uniform_p_where_segments_are_alike(rng):
    """Shuffling single segments would not: those of one recording share their level."""
    group = np.repeat(np.arange(12), 10)
    groups = Groups(group, group)
    swapped, shuffled = [], []
    for _ in range(150):
        members, others = (rng.normal(size=12)[group] + 0.3 * rng.normal(size=120) for _ in "ab")
        swapped.append(groups.p_value(area_under_curve, members, others, rng, 99))
        both = np.concatenate([members, others])
        draws = [rng.permutation(both) for _ in range(99)]
        null = np.array([area_under_curve(draw[:120], draw[120:]) for draw in draws])
        shuffled.append((1 + np.sum(null >= area_under_curve(members, others))) / 100)
    assert kstest(swapped, "uniform").pvalue > 0.01
    assert kstest(shuffled, "uniform").pvalue < 1e-4


def test_a_real_difference_has_a_small_p(rng):
    group = np.repeat(np.arange(12), 10)
    members, others = rng.normal(0.8, 1, 120), rng.normal(0, 1, 120)
    assert Groups(group, group).p_value(area_under_curve, members, others, rng) < 0.01


def test_gumbel_threshold_holds_its_false_alarm_and_ignores_copies(rng):
    alarms = 0
    for _ in range(200):
        maxima = rng.normal(size=(300, 200)).max(axis=1)
        maxima[:15] = 50  # true copies among them
        limit = Gumbel.fit(maxima).threshold(300, 0.05)
        alarms += rng.normal(size=(300, 200)).max() > limit
        assert limit < 8
    # maxima of normal numbers fall off faster than Gumbel's law: fewer alarms, never more
    assert alarms <= 18


# ---- fingerprints ----


def alike(name, one, two):
    pairs = zip(fingerprints(name, one, FS), fingerprints(name, two, FS), strict=True)
    return np.max([block_similarity(a, b) for a, b in pairs], axis=0)


@pytest.mark.parametrize("name", FINGERPRINTS)
def test_a_segment_is_like_itself_and_unlike_others(name, rng):
    signals = noise(12, rng)
    table = alike(name, signals, signals)
    np.testing.assert_allclose(table.diagonal(), 1, atol=2e-3)
    assert table[~np.eye(12, dtype=bool)].max() < 0.35


@pytest.mark.parametrize("name", FINGERPRINTS)
def test_gain_sign_and_volts_change_nothing(name, rng):
    signals = noise(6, rng)
    plain = alike(name, signals, noise(6, np.random.default_rng(1)))
    changed = alike(name, -3e-5 * signals, noise(6, np.random.default_rng(1)))
    np.testing.assert_allclose(plain, changed, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "least"), [("waveform", 0.85), ("periodogram", 0.99), ("stft", 0.5)]
)
def test_a_lag_is_found(name, least, rng):
    signals = noise(6, rng)
    moved = np.stack([np.roll(s, 137 * (k + 1), axis=-1) for k, s in enumerate(signals)])
    assert alike(name, signals, moved).diagonal().min() > least


@pytest.mark.parametrize(("name", "least"), [("waveform", 0.85), ("periodogram", 0.99)])
def test_reversed_time_is_found(name, least, rng):
    signals = noise(6, rng)
    assert alike(name, signals, np.roll(signals[..., ::-1], 77, axis=-1)).diagonal().min() > least


@pytest.mark.parametrize("name", [name for name in FINGERPRINTS if name not in HINTS])
def test_shared_hum_and_rhythm_make_nothing_alike(name, rng):
    time = np.arange(2000) / FS
    shared = 3e-4 * sum(np.sin(2 * np.pi * 50 * k * time) for k in (1, 2, 3, 5))
    rhythm = 1 + 0.9 * np.cos(2 * np.pi * 1.5 * time)
    one, two = (rhythm * noise(15, rng) + shared for _ in "ab")
    plain = alike(name, noise(15, rng), noise(15, rng))
    assert alike(name, one, two).max() < plain.max() + 0.08


@pytest.mark.parametrize("name", FINGERPRINTS)
def test_silence_is_like_nothing(name, rng):
    silent = np.zeros((2, 2, 2000)) + 1e-3
    half = noise(2, rng)
    half[:, 1] = 5e-3
    for other in (silent, noise(3, rng)):
        assert np.abs(alike(name, silent, other)).max() == 0
    assert np.isfinite(alike(name, half, noise(3, rng))).all()


# ---- matching ----


def test_blocks_and_chunks_give_what_the_whole_table_gives(rng, monkeypatch):
    real, made = noise(23, rng, n_times=600), noise(17, rng, n_times=600)
    made[4] = np.roll(real[9], 50, axis=-1)
    matcher = Matcher("stft", FS, Source.held(real), Source.held(made), np.random.default_rng(1))
    whole = matcher.match(Source.held(real), Source.held(made))
    monkeypatch.setattr(matching, "_CHUNK_VALUES", 6 * 2 * 600)
    monkeypatch.setattr(matching, "_BLOCK_VALUES", 800)
    pieces = matcher.match(Source.held(real), Source.held(made))
    np.testing.assert_allclose(pieces.by_candidate, whole.by_candidate, rtol=1e-4)
    np.testing.assert_array_equal(pieces.synthetic_of, whole.synthetic_of)
    np.testing.assert_allclose(pieces.by_synthetic, whole.by_synthetic, rtol=1e-4)
    np.testing.assert_array_equal(pieces.candidate_of, whole.candidate_of)
    assert whole.candidate_of[4] == 9
    assert whole.synthetic_of[9] == 4
    part = np.arange(17) % 3
    by_candidate, by_synthetic = matcher.match_parts(Source.held(real), Source.held(made), part)
    np.testing.assert_allclose(by_candidate.max(axis=0), whole.by_candidate, rtol=1e-4)
    np.testing.assert_allclose(by_synthetic, whole.by_synthetic, rtol=1e-4)
    assert by_candidate[1, 9] == pytest.approx(whole.by_candidate[9], rel=1e-4)
    assert by_candidate[0, 9] < 0.5 * whole.by_candidate[9]


@pytest.mark.parametrize("name", FINGERPRINTS)
def test_memory_does_not_grow_with_pairs(name, rng, monkeypatch):
    monkeypatch.setattr(matching, "_BLOCK_VALUES", 1 << 16)
    monkeypatch.setattr(matching, "_CHUNK_VALUES", 1 << 16)
    n = 1500 if name == "periodogram" else 600
    signals = rng.standard_normal((n, 1, 64)).astype(np.float32)
    source = Source.held(signals)
    matcher = Matcher(name, FS, source, source, rng)
    tracemalloc.start()
    matcher.match(source, source)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    table = 4 * n * n * max(part.n_lags for part in fingerprints(name, signals[:1], FS))
    assert peak < 0.5 * table


# ---- canaries ----


def test_disguises_hide_the_waveform_but_keep_what_they_say(rng):
    signals = noise(8, rng)
    hidden = {name: make(signals, FS, np.random.default_rng(2)) for name, make in DISGUISES.items()}
    rms = np.sqrt(np.mean(signals**2))
    left = np.sqrt(np.mean((hidden["noise"] - signals) ** 2))
    assert 20 * np.log10(rms / left) == pytest.approx(15, abs=0.3)
    for name in ("shift_flip_gain", "new_phase"):
        for one, two in zip(signals, hidden[name], strict=True):
            assert abs(np.corrcoef(one.ravel(), two.ravel())[0, 1]) < 0.2, name
    power = [np.sort(np.abs(np.fft.rfft(x[0, 0]))) for x in (signals, hidden["shift_flip_gain"])]
    ratio = power[1] / power[0]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-6)
    assert hidden["new_phase"].std() == pytest.approx(signals.std(), rel=0.3)


def test_planting_takes_each_train_segment_once_and_grows_by_share(rng):
    plan = plan_planting(500, 400, rng)
    assert plan.counts == {0.01: 4, 0.05: 20, 0.1: 40}
    assert len(set(plan.rows.tolist())) == 40
    assert plan_planting(10, 400, rng).counts == {0.01: 4, 0.05: 10, 0.1: 10}


# ---- what counts as a copy ----


def test_a_task_of_repeating_bursts_has_its_own_higher_limit(rng):
    law = Gumbel(4.0, 0.8)
    tasks = np.repeat(["plain", "bursts", "rare", "copied"], [60, 60, 5, 60])
    maxima = rng.gumbel(4.0, 0.8, len(tasks))
    maxima[tasks == "bursts"] = rng.gumbel(6.0, 1.8, 60)
    maxima[tasks == "copied"] = 90
    limits = _limits(law, maxima, tasks, ratio=1.0)
    assert limits["bursts"] > 1.5 * limits[""]
    assert limits["plain"] < 1.3 * limits[""]
    assert set(limits) == {"", "plain", "bursts"}


@pytest.mark.parametrize(
    ("n_train", "n_holdout", "leak"),
    [(0, 0, False), (1, 0, True), (2, 1, False), (12, 1, True), (5, 5, True), (0, 3, True)],
)
def test_matches_with_the_holdout_weigh_against_those_with_train(n_train, n_holdout, leak):
    assert _is_leak(n_train, n_holdout, 1.0) is leak
