"""Repairs against the simulator's truth."""

import numpy as np
import pytest

from myosynth.errors import InputError, NotEnoughDataError
from myosynth.recordings import Recording
from myosynth.signal.filters import bandpass
from myosynth.signal.quality import check_recording
from myosynth.signal.repairs import EcgMethod, highpass, remove_ecg, subtract_template
from myosynth.simulation import Truth, simulate_recording

Case = tuple[np.ndarray, Recording, Truth]


def case(task: str, ecg: float, seed: int = 0) -> Case:
    """The clean EMG, the same with heart beats, and the truth about them."""
    clean = simulate_recording(task, duration_s=45.0, seed=seed)
    with_heart, truth = simulate_recording(
        task, duration_s=45.0, seed=seed, ecg=ecg, with_truth=True
    )
    return clean.load().astype(float), with_heart, truth


def snr_db(clean: np.ndarray, recording: Recording) -> float:
    """EMG over what is not EMG, within 10–500 Hz."""
    wanted, seen = (
        bandpass(x, recording.fs, 10.0, 500.0) for x in (clean, recording.load().astype(float))
    )
    return float(10 * np.log10(np.sum(wanted**2) / np.sum((seen - wanted) ** 2)))


@pytest.mark.parametrize(
    ("task", "ecg", "gain_db"), [("stoop", 1e-2, 15.0), ("stoop", 5e-3, 10.0), ("push", 1e-2, 10.0)]
)
def test_template_subtraction_gains_snr(task: str, ecg: float, gain_db: float) -> None:
    gains = []
    for seed in range(3):
        clean, contaminated, _ = case(task, ecg, seed)
        mended = remove_ecg(contaminated)
        gains.append(snr_db(clean, mended) - snr_db(clean, contaminated))
    assert np.mean(gains) > gain_db
    assert min(gains) > 0.7 * gain_db


def test_the_template_keeps_the_low_band_that_the_highpass_takes() -> None:
    clean, contaminated, _ = case("stoop", 5e-3)
    results: dict[EcgMethod, float] = {
        method: snr_db(clean, remove_ecg(contaminated, method=method))
        for method in ("template", "highpass", "template+highpass")
    }
    assert results["template"] > results["highpass"] + 5
    assert results["highpass"] > snr_db(clean, contaminated)
    low = {
        method: np.sum(
            bandpass(remove_ecg(contaminated, method=method).load(), 2000.0, 12, 25) ** 2
        )
        for method in results
    }
    wanted = np.sum(bandpass(clean, 2000.0, 12, 25) ** 2)
    assert low["template"] == pytest.approx(wanted, rel=0.25)
    assert low["highpass"] < 0.2 * wanted


def test_no_heart_is_left() -> None:
    _, contaminated, _ = case("stoop", 5e-3)
    assert check_recording(contaminated).codes == {"ecg"}
    assert check_recording(remove_ecg(contaminated)).codes == set()


def test_beats_from_elsewhere_work_where_none_can_be_seen() -> None:
    clean, contaminated, truth = case("squat", 1e-2)
    with pytest.raises(InputError, match="no heart beats are found"):
        remove_ecg(case("squat", 2e-3)[1])
    mended = remove_ecg(contaminated, beats_s=truth.heart_beats_s)
    assert snr_db(clean, mended) > snr_db(clean, contaminated)


def test_what_was_done_is_noted() -> None:
    _, contaminated, truth = case("stoop", 5e-3)
    entry = remove_ecg(contaminated).filters[-1]
    assert entry["name"] == "ecg"
    assert entry["method"] == "template"
    assert entry["beats_from"] in contaminated.channel_names
    assert abs(entry["n_beats"] - len(truth.heart_beats_s)) <= 2
    both = remove_ecg(contaminated, method="template+highpass", highpass_hz=20.0).filters[-1]
    assert both["highpass_hz"] == 20.0


def test_a_beat_is_taken_out_of_silence_completely() -> None:
    fs, beats = 1000.0, np.arange(0.5, 29.0, 0.8)
    t = np.arange(30000) / fs
    heart = sum(np.exp(-0.5 * ((t - beat) / 0.016) ** 2) for beat in beats) * 1e-3
    left = subtract_template(np.asarray(heart), fs, beats)
    assert np.abs(highpass(left, fs, 5.0)).max() < 0.02e-3  # all but the mean


def test_highpass_is_6_db_down_at_its_edge_and_has_no_phase() -> None:
    t = np.arange(20000) / 2000.0
    for hz, gain in ((30.0, 0.5), (100.0, 1.0), (5.0, 0.0)):
        wave = np.sin(2 * np.pi * hz * t)
        middle = slice(5000, 15000)
        left = highpass(wave, 2000.0, 30.0)[middle]
        assert left @ wave[middle] / (wave[middle] @ wave[middle]) == pytest.approx(gain, abs=0.01)


def test_repairs_refuse_what_they_cannot_do() -> None:
    recording = simulate_recording("stoop", duration_s=5.0, ecg=1e-2)
    with pytest.raises(InputError, match="method must be template"):
        remove_ecg(recording, method="ica")  # type: ignore[arg-type]
    data = recording.load().copy()
    data[0, 10] = np.nan
    with pytest.raises(InputError, match="not numbers"):
        remove_ecg(recording.replace(data=data))
    with pytest.raises(NotEnoughDataError, match="too few for a template"):
        remove_ecg(recording, beats_s=np.array([1.0, 2.0]))
    with pytest.raises(InputError, match="needs an edge"):
        highpass(data, 2000.0, 1200.0)
