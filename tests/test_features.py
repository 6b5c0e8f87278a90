import numpy as np
import pytest

from myosynth.errors import InputError
from myosynth.signal.features import (
    FEATURE_GROUPS,
    FEATURES,
    band_limits,
    envelope,
    feature_table,
    mean_psd,
)

FS = 2000.0
N = 6000


def columns(signals, fs=FS):
    table = feature_table(signals, fs)
    return {name: table[..., i] for i, name in enumerate(FEATURES)}


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture
def noise(rng):
    return 1e-3 * rng.standard_normal((40, 2, N))


def test_sine_has_the_values_that_calculus_gives():
    time = np.arange(N) / FS
    sine = (2e-3 * np.sin(2 * np.pi * 80 * time + 0.3))[None, None]
    got = {name: float(value[0, 0]) for name, value in columns(sine).items()}
    assert got["rms"] == pytest.approx(np.log(2e-3 / np.sqrt(2)), abs=1e-3)
    assert got["mav"] == pytest.approx(np.log(2e-3 * 2 / np.pi), abs=1e-3)
    assert got["wl"] == pytest.approx(np.log(4 * 2e-3 * 80), abs=0.01)
    assert got["peak"] == pytest.approx(np.log(2e-3), abs=1e-2)
    assert got["zc"] == pytest.approx(160, abs=1)
    assert got["ssc"] == pytest.approx(160, abs=1)
    assert got["mnf"] == pytest.approx(80, abs=0.5)
    assert got["mdf"] == pytest.approx(80, abs=2)
    assert got["kurtosis"] == pytest.approx(np.log(1.5), abs=1e-3)


def test_gaussian_noise_is_the_zero_of_higher_orders(noise):
    got = columns(noise)
    assert got["kurtosis"].mean() == pytest.approx(np.log(3), abs=0.01)
    assert got["local_kurtosis"].mean() == pytest.approx(np.log(3), abs=0.03)
    assert abs(got["amp_freq_corr"].mean()) < 0.05
    # a flat spectrum gives each band the share that its width has
    widths = np.diff(band_limits(FS)) / 490
    for i, width in enumerate(widths):
        assert np.exp(got[f"band_{i + 1}"]).mean() == pytest.approx(width, rel=0.12)


def test_rhythm_is_found_between_the_bins_of_the_segment(noise):
    time = np.arange(N) / FS
    for rate in (0.8, 1.3, 2.45):
        bursts = noise * (1 + 0.9 * np.cos(2 * np.pi * rate * time))
        got = columns(bursts)
        assert np.median(got["env_rate"]) == pytest.approx(rate, abs=0.06)
        assert np.median(got["env_rate_share"]) > 0.75
        assert got["env_cv"].mean() > columns(noise)["env_cv"].mean() + 1.5


def test_modulation_raises_kurtosis_but_not_local_kurtosis(noise):
    time = np.arange(N) / FS
    got = columns(noise * (1 + 0.9 * np.cos(2 * np.pi * time)))
    assert got["kurtosis"].mean() > np.log(3) + 0.3
    assert got["local_kurtosis"].mean() == pytest.approx(np.log(3), abs=0.06)


def test_coupling_of_amplitude_and_frequency_has_its_sign(rng):
    time = np.arange(N) / FS
    depth = np.cos(2 * np.pi * time)
    phase = 2 * np.pi * np.cumsum(80 + 40 * depth) / FS
    up = (1 + 0.8 * depth) * np.sin(phase)
    down = (1 - 0.8 * depth) * np.sin(phase)
    got = columns(np.stack([up, down])[:, None])["amp_freq_corr"][:, 0]
    assert got[0] > 0.8
    assert got[1] < -0.8


def test_only_amplitudes_depend_on_the_gain(noise):
    one, two = columns(noise), columns(noise * 1000)
    for name, feature in FEATURES.items():
        shift = np.log(1000) if feature.unit.startswith("ln V") else 0.0
        np.testing.assert_allclose(two[name] - one[name], shift, atol=1e-6, err_msg=name)


def test_blocks_do_not_change_the_values(noise):
    many = np.concatenate([noise] * 3)
    whole = feature_table(many, FS)
    alone = np.concatenate([feature_table(many[i : i + 1], FS) for i in range(len(many))])
    np.testing.assert_allclose(whole, alone, rtol=1e-9, atol=1e-9)


def test_parseval_holds_for_the_mean_psd(noise):
    frequencies, psd = mean_psd(noise, FS)
    power = psd.sum(axis=-1) * (frequencies[1] - frequencies[0])
    np.testing.assert_allclose(power, np.mean(noise**2, axis=(0, 2)), rtol=0.02)


def test_envelope_follows_a_step():
    step = np.r_[np.ones(2000), 3 * np.ones(2000)]
    got = envelope(step, FS)
    assert got[100] == pytest.approx(1)
    assert got[-100] == pytest.approx(3)
    assert got[2000] == pytest.approx(np.sqrt(5), rel=0.02)


@pytest.mark.parametrize("fs", [200.0, 1000.0, 1925.926, 4000.0])
def test_every_rate_and_constant_segments_give_finite_features(rng, fs):
    signals = rng.standard_normal((3, 1, round(3 * fs)))
    signals[1] = 0
    signals[2] = 5e-3
    assert np.isfinite(feature_table(signals, fs)).all()


def test_bad_input_is_named(noise):
    with pytest.raises(InputError, match="n_segments, n_channels"):
        feature_table(noise[0], FS)
    with pytest.raises(InputError, match="too short"):
        feature_table(noise[..., :100], FS)
    with pytest.raises(InputError, match="at least 45 Hz"):
        feature_table(noise, 30.0)
    noise[3, 0, 17] = np.nan
    with pytest.raises(InputError, match="NaN"):
        feature_table(noise, FS)


def test_every_feature_belongs_to_a_known_group():
    assert {feature.group for feature in FEATURES.values()} == set(FEATURE_GROUPS)
