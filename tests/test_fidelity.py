import numpy as np
import pytest
from scipy.stats import kstest

from myosynth.evaluation.distances import (
    c2st_auc,
    coverage,
    gaussian_kernel,
    mmd_permutation,
    permutation_p,
    recall,
)
from myosynth.evaluation.fidelity import (
    Sample,
    Scale,
    _pairs,
    compare,
    describe,
    effort_response,
)
from myosynth.evaluation.halves import SubjectHalves, spread_of
from myosynth.evaluation.intervals import interval_of
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
    monkeypatch.setattr("myosynth.evaluation.distances._KNN_BLOCK", 7)
    np.testing.assert_array_equal(recall(one, two), whole[0])
    np.testing.assert_array_equal(coverage(one, two), whole[1])


def test_c2st_is_at_chance_for_equals_and_at_one_for_strangers(rng):
    one, two = rng.standard_normal((2, 150, 3))
    assert c2st_auc(one, two, seed=0) == pytest.approx(0.5, abs=0.12)
    assert c2st_auc(one, two + 4, seed=0) > 0.99


def test_every_metric_has_a_spread_about_its_value(rng):
    one, two = noise_sample(rng, 50), noise_sample(rng, 50, gain=1.05)
    splits = SubjectHalves(one.subject, 30, rng)
    halves = splits.rows(one.subject), splits.rows(two.subject)
    got = compare(one, two, Scale.fit(one, 1, FS), seed=0, halves=halves)
    assert set(got.draws) == set(got.values)
    for key, spread in got.draws.items():
        assert np.std(spread) > 0, key
        assert np.mean(spread) == pytest.approx(0, abs=1e-12)


def test_halves_are_the_same_for_all_samples_of_the_same_people_and_split_nobody(rng):
    subject = np.repeat(["a", "b", "c", "d"], 5)
    splits = SubjectHalves(subject, 20, rng)
    one, two = splits.rows(subject), splits.rows(subject[::-1])
    assert one.shape == (2, 20, 10)
    for side in range(2):
        for draw in range(20):
            people = set(subject[one[side, draw]])
            assert len(people) == 2
            assert people == set(subject[::-1][two[side, draw]])
            assert len(set(one[side, draw])) == 10  # nothing is repeated
            assert not people & set(subject[one[1 - side, draw]])


def test_samples_without_people_are_split_by_segment(rng):
    splits = SubjectHalves(np.array(["a", "b", "c"]), 10, rng)
    rows = splits.rows(np.full(9, ""))
    assert rows.shape == (2, 10, 4)
    assert not set(rows[0, 0]) & set(rows[1, 0])


def test_spread_of_a_mean_is_its_textbook_interval():
    """Means of 12 people: deviation s / √12, Student's t with 11 degrees of freedom."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal(12)
    splits = SubjectHalves(np.array([f"s{i:02d}" for i in range(12)]), 4000, rng)
    rows = splits.rows(np.array([f"s{i:02d}" for i in range(12)]))
    one, two = values[rows[0]].mean(axis=1), values[rows[1]].mean(axis=1)
    low, high = interval_of(values.mean(), spread_of(one, two, 11, rng))
    half = 2.200985 * values.std(ddof=1) / np.sqrt(12)
    assert high - values.mean() == pytest.approx(half, rel=0.03)
    assert values.mean() - low == pytest.approx(half, rel=0.03)


def test_what_does_not_add_up_over_people_counts_half(rng):
    one, two = np.array([1.0, 3.0] * 500), np.array([1.0, 3.0] * 500)
    spread = spread_of(one, two, 10**6, rng)  # odd part 0, even part of variance 1
    assert np.mean(spread**2) == pytest.approx(0.5, rel=0.1)
    assert np.mean(spread_of(one, two, 10**6, rng, beyond=0.0) ** 2) == 0
    least = spread_of(one, two, 10**6, rng, beyond=0.0, least_sd=0.2)
    assert np.mean(least**2) == pytest.approx(0.04, rel=0.15)


def test_p_is_uniform_for_halves_of_a_cohort_whose_people_differ(rng):
    """Five segments of each person, much more alike than those of two people."""
    subject = np.repeat([f"s{i}" for i in range(16)], 5)
    p, by_segment = [], []
    for _ in range(80):
        table = np.repeat(rng.standard_normal((16, 3)), 5, axis=0)
        table += 0.3 * rng.standard_normal(table.shape)
        kernel = gaussian_kernel(table)
        p.append(permutation_p(kernel, 40, rng, 99, (subject[:40], subject[40:])))
        by_segment.append(permutation_p(kernel, 40, rng, 99))
    assert kstest(p, "uniform").pvalue > 0.01
    assert np.mean(np.array(by_segment) <= 0.05) > 0.5


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


def test_halves_of_two_segments_are_no_crash(rng):
    one, two = noise_sample(rng, 4), noise_sample(rng, 4)
    splits = SubjectHalves(one.subject, 3, rng)
    halves = splits.rows(one.subject), splits.rows(two.subject)
    got = compare(one, two, Scale.fit(one, 1, FS), seed=0, halves=halves, c2st=False)
    assert all(np.isfinite(draws).all() for draws in got.draws.values())


def test_who_is_always_told_apart_is_not_told_apart_for_sure(rng):
    """No half shows an area below 1; other people might."""
    one, two = noise_sample(rng, 24), noise_sample(rng, 24)
    two = Sample(two.table + 9, two.psd, two.subject)
    splits = SubjectHalves(one.subject, 20, rng)
    halves = splits.rows(one.subject), splits.rows(two.subject)
    got = compare(one, two, Scale.fit(one, 1, FS), seed=0, halves=halves)
    assert got.values["all", "c2st"] == 1
    assert got.draws["all", "c2st"].std() > 1e-3


@pytest.mark.parametrize(("people", "half"), [(6, 0.372), (24, 0.107)])
def test_a_share_of_one_may_be_chance_where_people_are_few(rng, people, half):
    """By hand: s = (n + 2) / (n + 4), t(1.4n) √(s (1 − s) / (n + 2)) with n people but one."""
    names = np.array([f"a{i % people}" for i in range(96)])
    drawn = noise_sample(rng, 96)
    one = Sample(drawn.table, drawn.psd, names)
    two = Sample(drawn.table, drawn.psd, np.char.replace(names, "a", "b"))
    splits = SubjectHalves(names, 200, rng)
    halves = splits.rows(one.subject), splits.rows(one.subject)
    got = compare(one, two, Scale.fit(one, 1, FS), seed=0, halves=halves, c2st=False)
    for metric in ("recall", "coverage"):
        assert got.values["all", metric] == 1
        _, high = interval_of(1.0, got.draws["all", metric])
        assert high - 1 == pytest.approx(half, rel=0.12)


@pytest.mark.parametrize(
    ("people", "named", "pairs"), [(4, True, 16), (12, True, 110), (12, False, 55)]
)
def test_an_area_rests_on_no_more_pairs_than_there_are_people(people, named, pairs):
    def sample(names):
        n = len(names)
        return Sample(np.zeros((n, 1)), np.zeros((n, 1, 2)), np.array(names))

    one = sample([f"a{i % people}" for i in range(60)])
    two = sample([f"b{i % people}" if named else "" for i in range(60)])
    assert _pairs(one, two) == pairs
