import numpy as np
import pytest
from scipy.signal import lfilter

from myosynth.errors import NotEnoughDataError
from myosynth.evaluation.surrogates import (
    SURROGATES,
    ar_noise,
    jittered,
    magnitude_warped,
    modulated_noise,
    phase_randomised,
)
from myosynth.signal.features import FEATURES, feature_table, mean_psd

FS = 1000.0


def mean(signals, name):
    return feature_table(signals, FS)[..., list(FEATURES).index(name)].mean()


@pytest.fixture
def rng():
    return np.random.default_rng(5)


@pytest.fixture
def real(rng):
    """Bursty and, within the bursts, heavy-tailed: what motor units do and noise does not."""
    spikes = rng.standard_normal((40, 2, 3000)) * (rng.random((40, 2, 3000)) < 0.05)
    coloured = lfilter([1.0], [1.0, -0.6], spikes, axis=-1)
    time = np.arange(3000) / FS
    phase = rng.uniform(0, 2 * np.pi, (40, 1, 1))
    return 1e-3 * coloured * (1 + 0.8 * np.cos(2 * np.pi * 1.2 * time + phase))


@pytest.mark.parametrize("name", SURROGATES)
def test_each_keeps_amplitude_and_spectrum(name, real, rng):
    made = SURROGATES[name](real, FS, 80, rng)
    assert made.shape == (80, 2, 3000)
    assert mean(made, "rms") == pytest.approx(mean(real, "rms"), abs=0.05)
    _, one = mean_psd(real, FS)
    _, two = mean_psd(made, FS)
    assert np.sqrt(np.mean((10 * np.log10(two / one)[:, 5:110]) ** 2)) < 1.0


def test_what_each_keeps_and_loses(real, rng):
    made = {name: make(real, FS, 80, rng) for name, make in SURROGATES.items()}
    envelope = mean(real, "env_cv")
    for name in ("c3", "task_psd"):
        assert mean(made[name], "env_cv") == pytest.approx(envelope, abs=0.15)
        assert mean(made[name], "env_rate_share") > 0.6
    for name in ("ar", "phase"):
        assert mean(made[name], "env_cv") < envelope - 0.5
    for name in SURROGATES:
        assert mean(made[name], "local_kurtosis") < mean(real, "local_kurtosis") - 0.4


def test_phases_turn_alike_in_all_channels(real, rng):
    real[:, 1] = 0.5 * real[:, 0]
    made = phase_randomised(real, FS, 10, rng)
    np.testing.assert_allclose(made[:, 1], 0.5 * made[:, 0], atol=1e-12)


def test_ar_finds_the_pole(rng):
    white = rng.standard_normal((30, 1, 3000))
    coloured = lfilter([1.0], [1.0, -0.9], white, axis=-1)
    made = ar_noise(coloured, FS, 30, rng)
    lag = np.mean(made[..., 1:] * made[..., :-1]) / np.mean(made**2)
    assert lag == pytest.approx(0.9, abs=0.01)


def test_augmentations_stay_close_to_a_real_segment(real, rng):
    for make in (jittered, magnitude_warped):
        made = make(real[:1], FS, 5, rng)
        for one in made:
            assert np.corrcoef(one[0], real[0, 0])[0, 1] > 0.8
            assert not np.array_equal(one, real[0])


def test_same_seed_same_bytes_and_silence_is_no_crash(real):
    for make in SURROGATES.values():
        one = make(real, FS, 4, np.random.default_rng(1))
        assert one.tobytes() == make(real, FS, 4, np.random.default_rng(1)).tobytes()
        assert np.isfinite(make(0 * real, FS, 4, np.random.default_rng(1))).all()


def test_no_segment_is_refused(real, rng):
    with pytest.raises(NotEnoughDataError):
        modulated_noise(real[:0], FS, 3, rng)
