import numpy as np
import pytest
from scipy.stats import kstest

from myosynth.evaluation.fidelity import (
    Sample,
    Scale,
    c2st_auc,
    compare,
    coverage,
    describe,
    effort_response,
    mmd_permutation,
    recall,
)
from myosynth.signal.features import FEATURES

FS = 1000.0


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def noise_sample(rng, n=60, gain=1.0, channels=1):
    signals = gain * 1e-3 * rng.standard_normal((n, channels, 1000))
    return describe(signals, FS, np.array([f"s{i % 4}" for i in range(n)]))


def test_identical_samples_are_at_distance_zero(rng):
    one = noise_sample(rng)
    got = compare(one, one, Scale.fit(one, 1, FS), seed=0, c2st=False).values
    for key in got:
        if key[1] in {"recall", "coverage"}:
            assert got[key] == 1
        elif key[1] != "mmd2":
            assert got[key] == pytest.approx(0, abs=1e-12), key


def test_gain_of_two_moves_amplitude_and_spectrum_level_only(rng):
    signals = 1e-3 * rng.standard_normal((60, 1, 1000))
    who = np.full(60, "s")
    one, two = describe(signals, FS, who), describe(2 * signals, FS, who)
    got = compare(one, two, Scale.fit(one, 1, FS), seed=0, c2st=False).values
    assert got["spectral", "lsd"] == pytest.approx(20 * np.log10(2), abs=1e-6)
    assert got["spectral", "acd"] == pytest.approx(0, abs=1e-9)
    assert got["spectral", "w1"] == pytest.approx(0, abs=1e-6)
    assert got["higher_order", "w1"] == pytest.approx(0, abs=1e-6)
    assert got["time", "w1"] > 5


def test_w1_and_ks_of_a_shift_by_one_sd(rng):
    one = noise_sample(rng, n=200)
    scale = Scale.fit(one, 1, FS)
    two = Sample(one.table + scale.sd, one.psd, one.subject)
    got = compare(one, two, scale, seed=0, c2st=False).values
    for group in ("time", "spectral", "envelope", "higher_order"):
        assert got[group, "w1"] == pytest.approx(1, rel=1e-6)
    # normal distributions one SD apart differ by 2 Φ(1/2) − 1 = 0.383
    assert got["all", "ks"] == pytest.approx(0.383, abs=0.06)


def test_ks_counts_ties_once(rng):
    one = noise_sample(rng, n=20)
    scale = Scale.fit(one, 1, FS)
    flat = Sample(np.round(one.table), one.psd, one.subject)
    again = Sample(flat.table[::-1], one.psd, one.subject)
    assert compare(flat, again, scale, seed=0, c2st=False).values["all", "ks"] == 0


def test_acd_grows_with_the_difference_of_colour(rng):
    white = 1e-3 * rng.standard_normal((40, 1, 1001))
    who = np.full(40, "s")
    plain = describe(white[..., 1:], FS, who)
    mixed = describe(white[..., 1:] + 0.9 * white[..., :-1], FS, who)
    got = compare(plain, mixed, Scale.fit(plain, 1, FS), seed=0, c2st=False).values
    # moving average with weight b: lag-1 correlation b / (1 + b²)
    assert got["spectral", "acd"] == pytest.approx(0.9 / 1.81, abs=0.05)


def test_channel_correlations_are_scored_apart(rng):
    own = rng.standard_normal((80, 2, 1000))
    both = own.copy()
    both[:, 1] = 0.8 * own[:, 0] + 0.6 * own[:, 1]
    who = np.full(80, "s")
    one, two = describe(own, FS, who), describe(both, FS, who)
    assert one.table.shape[1] == 2 * len(FEATURES) + 2
    assert two.table[:, -2].mean() == pytest.approx(0.8, abs=0.02)
    got = compare(one, two, Scale.fit(one, 2, FS), seed=0, c2st=False).values
    assert got["channels", "w1"] > 3
    assert got["time", "w1"] < 0.5


def test_mmd_p_values_are_uniform_under_the_null(rng):
    p = [
        mmd_permutation(rng.standard_normal((25, 4)), rng.standard_normal((25, 4)), rng, n=99)
        for _ in range(150)
    ]
    assert kstest(p, "uniform").pvalue > 0.01
    shifted = mmd_permutation(
        rng.standard_normal((25, 4)), 1.5 + rng.standard_normal((25, 4)), rng, n=99
    )
    assert shifted == pytest.approx(0.01)


def test_mmd_is_unbiased(rng):
    values = []
    for _ in range(40):
        one, two = noise_sample(rng, 12), noise_sample(rng, 12)
        scale = Scale.fit(noise_sample(rng, 60), 1, FS)
        values.append(compare(one, two, scale, seed=0, c2st=False).values["all", "mmd2"])
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(len(values))
    assert min(values) < 0


def test_recall_and_coverage_see_a_lost_mode_and_a_far_one(rng):
    near, far = rng.standard_normal((60, 2)), 50 + rng.standard_normal((60, 2))
    real = np.concatenate([near, far])
    only_near = rng.standard_normal((120, 2))
    assert recall(real, only_near)[60:].sum() == 0
    assert coverage(real, only_near)[60:].sum() == 0
    assert coverage(real, only_near)[:60].mean() > 0.9
    assert recall(real, only_near)[:60].mean() > 0.8


def test_blocks_do_not_change_neighbours(rng, monkeypatch):
    one, two = rng.standard_normal((50, 3)), 0.5 + rng.standard_normal((50, 3))
    whole = recall(one, two), coverage(one, two)
    monkeypatch.setattr("myosynth.evaluation.fidelity._KNN_BLOCK", 7)
    np.testing.assert_array_equal(recall(one, two), whole[0])
    np.testing.assert_array_equal(coverage(one, two), whole[1])


def test_c2st_is_at_chance_for_equals_and_at_one_for_strangers(rng):
    one, two = rng.standard_normal((2, 150, 3))
    assert c2st_auc(one, two, seed=0) == pytest.approx(0.5, abs=0.12)
    assert c2st_auc(one, two + 4, seed=0) > 0.99


def test_bootstrap_draws_scatter_around_the_value(rng):
    one, two = noise_sample(rng, 50), noise_sample(rng, 50, gain=1.05)
    index = tuple(rng.integers(50, size=(2, 60, 50)))
    got = compare(one, two, Scale.fit(one, 1, FS), seed=0, index=index)
    assert set(got.draws) == set(got.values)
    for key in (("time", "w1"), ("spectral", "lsd"), ("all", "mmd2"), ("time", "c2st")):
        draws = got.draws[key]
        assert np.std(draws) > 0
        assert draws.min() - np.std(draws) <= got.values[key] <= draws.max() + np.std(draws)


def test_constant_columns_are_left_out(rng):
    one = noise_sample(rng)
    one.table[:, 0] = -5.0
    scale = Scale.fit(one, 1, FS)
    assert 0 not in scale.groups["time"]
    assert 0 not in scale.groups["all"]


def test_effort_response_recovers_a_line(rng):
    asked = rng.uniform(-8, -5, 200)
    slope, r2 = effort_response(asked, 0.8 * asked + 0.1 + 0.1 * rng.standard_normal(200))
    assert slope == pytest.approx(0.8, abs=0.03)
    assert 0.95 < r2 < 1
    assert np.isnan(effort_response(np.ones(5), asked[:5])).all()


def test_a_resample_of_one_segment_is_no_crash(rng):
    one = noise_sample(rng, 20)
    index = (np.zeros((3, 20), dtype=int), rng.integers(20, size=(3, 20)))
    got = compare(one, noise_sample(rng, 20), Scale.fit(one, 1, FS), seed=0, index=index)
    assert all(np.isfinite(draws).all() for draws in got.draws.values())
