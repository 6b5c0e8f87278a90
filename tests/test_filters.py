"""Filters and resampling against analytic truth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from myosynth.errors import InputError, NotEnoughDataError
from myosynth.recordings import Recording
from myosynth.signal.filters import band_edges, bandpass, filter_recording, notch, resample

FS = 2000.0


def sine(hz: float, fs: float = FS, seconds: float = 8.0) -> np.ndarray:
    return np.sin(2 * np.pi * hz * np.arange(round(seconds * fs)) / fs)


def gain_db(before: np.ndarray, after: np.ndarray) -> float:
    middle = slice(len(before) // 4, -len(before) // 4)
    return float(20 * np.log10(np.std(after[middle]) / np.std(before[middle])))


def recording(data: np.ndarray, fs: float = FS) -> Recording:
    return Recording(np.atleast_2d(data), fs, ["left"], "01", task="pull")


@pytest.mark.parametrize("edge", [10.0, 500.0])
def test_both_edges_are_6_db_down(edge: float) -> None:
    wave = sine(edge)
    assert gain_db(wave, bandpass(wave, FS, 10, 500)) == pytest.approx(-6.02, abs=0.05)


def test_slope_is_that_of_twice_the_order() -> None:
    # order 4 run twice: |H|² of a prototype of order 4, 48 dB per octave far below the edge
    low, lower = (gain_db(sine(hz), bandpass(sine(hz), FS, 40, 500)) for hz in (10.0, 5.0))
    assert low - lower == pytest.approx(48.2, abs=1.5)


def test_passband_keeps_amplitude_and_phase() -> None:
    wave = sine(80.0)
    middle = slice(4000, -4000)
    np.testing.assert_allclose(bandpass(wave, FS, 10, 500)[middle], wave[middle], atol=2e-3)


def test_upper_edge_is_lowered_and_both_are_recorded() -> None:
    assert band_edges(2000.0) == (10.0, 500.0)
    assert band_edges(1000.0) == (10.0, 450.0)
    done = filter_recording(recording(sine(50, 1000.0), 1000.0)).filters[-1]
    assert (done["high_hz"], done["requested_high_hz"]) == (450.0, 500.0)


def test_no_band_left_says_so() -> None:
    with pytest.raises(InputError, match="at 20 Hz the band must end by 9 Hz"):
        filter_recording(recording(np.ones(100), 20.0))
    with pytest.raises(InputError, match="low_hz < high_hz"):
        band_edges(1000.0, 300.0, 200.0)
    with pytest.raises(NotEnoughDataError, match="too few"):
        filter_recording(recording(np.ones(1)))


def test_notch_takes_mains_and_its_harmonics_and_little_else() -> None:
    waves = {hz: sine(hz) for hz in (50.0, 100.0, 150.0, 200.0, 75.0)}
    mixed = np.sum(list(waves.values()), axis=0)
    done = filter_recording(recording(mixed), notch_hz=50.0, notch_harmonics=3)
    assert next(f for f in done.filters if f["name"] == "notch")["hz"] == [50.0, 100.0, 150.0]
    spectrum = np.abs(np.fft.rfft(np.asarray(done.data[0])[4000:-4000]))
    line = {hz: spectrum[round(hz * 4)] / (len(spectrum) - 1) for hz in waves}
    assert max(line[50.0], line[100.0], line[150.0]) < 0.01
    assert min(line[75.0], line[200.0]) > 0.9
    assert gain_db(sine(50), notch(sine(50), FS, 50)) < -40


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from([1000.0, 1111.111, 1259.259, 1500.0, 1925.926, 2000.0, 2048.0, 4000.0]),
    st.sampled_from([1000.0, 1111.111, 1925.926, 2000.0, 2148.148, 4000.0]),
    st.integers(3000, 9000),
)
def test_resampling_any_rate_to_any_other(fs: float, target: float, n_times: int) -> None:
    seconds = n_times / fs
    out = resample(np.sin(2 * np.pi * 93.7 * np.arange(n_times) / fs), fs, target)
    assert len(out) == round(n_times * target / fs)
    times = np.arange(len(out)) / target
    middle = (times > 0.2) & (times < seconds - 0.2)
    error = out[middle] - np.sin(2 * np.pi * 93.7 * times[middle])
    assert np.max(np.abs(error)) < 2e-3


def test_sinc_way_is_exact_to_1e_4() -> None:
    out = resample(sine(93.7), FS, 1111.111)
    expected = np.sin(2 * np.pi * 93.7 * np.arange(len(out)) / 1111.111)
    assert np.max(np.abs(out - expected)[200:-200]) < 1e-4


def test_resampling_does_not_alias() -> None:
    for target in (1000.0, 1111.111):  # the polyphase and the sinc way
        assert gain_db(sine(900.0), np.resize(resample(sine(900.0), FS, target), 16000)) < -50


def test_nan_raises_is_bridged_or_kept() -> None:
    data = sine(80.0)
    data[5000:5004] = np.nan
    with pytest.raises(InputError, match=r"channel left .* 4 samples .* first at sample 5000"):
        filter_recording(recording(data))
    bridged = filter_recording(recording(data), on_nan="interpolate")
    assert np.isfinite(bridged.load()).all()
    assert bridged.filters[0] == {"name": "nan", "rule": "interpolate", "n_samples": 4}
    kept = filter_recording(recording(data), on_nan="keep", target_fs=1000.0).load()[0]
    assert set(np.flatnonzero(np.isnan(kept))) == {2500, 2501}
    with pytest.raises(InputError, match="no number at all"):
        filter_recording(recording(np.full(4000, np.nan)), on_nan="keep")
    with pytest.raises(InputError, match="on_nan must be"):
        filter_recording(recording(data), on_nan="zero")  # type: ignore[arg-type]


def test_filters_are_appended_in_order() -> None:
    once = filter_recording(recording(sine(80.0)))
    twice = filter_recording(once, target_fs=1925.926)
    assert [f["name"] for f in twice.filters] == ["bandpass", "bandpass", "resample"]
    assert twice.fs == 1925.926
    assert twice.n_times == 15407
