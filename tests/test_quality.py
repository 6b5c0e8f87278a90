"""The quality report against known faults: what it must find, and where it must keep silent."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from myosynth.recordings import Recording
from myosynth.signal.filters import filter_recording
from myosynth.signal.heart import find_heart_beats
from myosynth.signal.measurements import measure
from myosynth.signal.quality import (
    SEVERITIES,
    QualityReport,
    check_recording,
    check_recordings,
)
from myosynth.simulation import TASKS, simulate_dataset, simulate_recording


def simulated(
    task: str = "push", seconds: float = 20.0, seed: int = 0, **options: float
) -> Recording:
    return simulate_recording(task, duration_s=seconds, seed=seed, **options)


def changed(recording: Recording, channel: int, samples: np.ndarray) -> Recording:
    data = recording.load().copy()
    data[channel] = samples
    return recording.replace(data=data)


def cohort(**options: float) -> Iterator[Recording]:
    return simulate_dataset(n_subjects=4, duration_s=20.0, seed=11, fs=1000.0, **options)


def share_with(code: str, **options: float) -> dict[str, float]:
    """Share of the recordings of each task in which a problem is found."""
    found: dict[str, list[bool]] = {task: [] for task in TASKS}
    for recording in cohort(**options):
        found[recording.task].append(code in check_recording(recording).codes)
    return {task: float(np.mean(values)) for task, values in found.items()}


# Silence on good recordings ---------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [10.0, 40.0])
def test_good_recordings_are_fine(seconds: float) -> None:
    reports = [
        check_recording(recording)
        for recording in simulate_dataset(n_subjects=5, duration_s=seconds, seed=21, fs=1000.0)
    ]
    assert sum(not report.is_fine for report in reports) == 0
    assert sum("fatigue" in report.codes for report in reports) <= 2  # of 20, by chance


@pytest.mark.parametrize("fs", [1000.0, 1925.926, 4000.0])
def test_good_recordings_are_fine_at_any_rate(fs: float) -> None:
    assert [
        p.text for task in TASKS for p in check_recording(simulated(task, fs=fs)).problems
    ] == []


def test_filtered_recordings_are_fine() -> None:
    for task in TASKS:
        assert check_recording(filter_recording(simulated(task), notch_hz=50.0)).is_fine


# One fault at a time ----------------------------------------------------------------------------


def only(report: QualityReport, code: str) -> None:
    assert report.codes == {code}, [p.text for p in report.problems]


@pytest.mark.parametrize(("limit", "severity"), [(3.2, "warning"), (1.2, "error")])
def test_clipping(limit: float, severity: str) -> None:
    recording = simulated("squat")
    first = recording.load()[0]
    stop = limit * first.std()
    report = check_recording(changed(recording, 0, np.clip(first, -stop, stop)))
    only(report, "clipped")
    problem = report.problems[0]
    assert problem.severity == severity
    assert problem.channels == ("LES_left",)
    assert problem.value == pytest.approx(float(np.mean(np.abs(first) >= stop)), rel=1e-3)
    assert report.channels[0].rails.high_v == pytest.approx(stop, rel=1e-6)


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_a_coarse_converter_is_not_clipping(bits: int) -> None:
    for seed in range(3):
        recording = simulated("squat", seed=seed, fs=4000.0)
        step = 2 * np.abs(recording.load()).max() / 2**bits
        coarse = recording.replace(data=np.round(recording.load() / step) * step)
        assert "clipped" not in check_recording(coarse).codes


def test_flat_and_nan() -> None:
    recording = simulated()
    samples = recording.load()[1].copy()
    only(check_recording(changed(recording, 1, np.full_like(samples, 1e-3))), "flat")
    samples[4000:8000] = 0.0
    report = check_recording(changed(recording, 1, samples))
    only(report, "flat")
    assert report.problems[0].severity == "warning"
    assert report.problems[0].value == pytest.approx(0.1, abs=0.01)
    samples[4000:8000] = np.nan
    report = check_recording(changed(recording, 1, samples))
    only(report, "nan")
    assert report.problems[0].value == pytest.approx(0.1)


def test_a_dead_channel() -> None:
    recording = simulated("squat")
    noise = 2e-6 * np.random.default_rng(0).standard_normal(recording.n_times)
    report = check_recording(changed(recording, 0, noise))
    assert {"dead"} <= report.codes
    assert next(p for p in report.problems if p.code == "dead").channels == ("LES_left",)


def test_a_channel_that_is_marked_as_bad() -> None:
    recording = simulated("squat")
    recording = recording.replace(
        metadata={**recording.metadata, "bad_channels": ["LES_right", "not_read"]}
    )
    report = check_recording(recording)
    only(report, "bad")
    assert report.problems[0].channels == ("LES_right",)


@pytest.mark.parametrize(
    ("factor", "said"),
    [(1e3, "1e3 too large"), (1e6, "1e6 too large"), (1e-6, "1e6 too small")],
)
def test_a_wrong_unit_is_named_with_its_factor(factor: float, said: str) -> None:
    # a recording from the skin: the simulator's amplifier has a gain of 20
    recording = simulated("push")
    skin = recording.load() / 20
    assert "unit" not in check_recording(recording.replace(data=skin)).codes
    report = check_recording(recording.replace(data=skin * factor))
    problem = next(p for p in report.problems if p.code == "unit")
    assert problem.severity == "error"
    assert said in problem.text


def test_a_recording_of_another_unit_in_a_set() -> None:
    recordings = [
        r.replace(data=r.load() * (1e-3 if r.name == "sub-02_task-squat" else 1.0))
        for r in simulate_dataset(n_subjects=3, duration_s=5.0)
    ]
    report = check_recordings(recordings)
    problem = next(p for p in report.set_problems if p.code == "unit")
    assert problem.recording == "sub-02_task-squat"
    assert "about 1e3 times smaller" in problem.text


def test_a_low_rate_and_a_short_recording() -> None:
    recording = filter_recording(simulated(), target_fs=500.0)
    assert "rate" in check_recording(recording).codes
    only(check_recording(simulated(seconds=2.0)), "short")
    assert "short" in check_recording(simulated(seconds=0.1)).codes


def test_offset_and_drift() -> None:
    recording = simulated("squat")
    t = np.arange(recording.n_times) / recording.fs
    left = recording.load()[0]
    only(check_recording(changed(recording, 0, left + 1.0)), "drift")
    only(check_recording(changed(recording, 0, left + 0.05 * np.sin(2 * np.pi * 0.3 * t))), "drift")


def test_motion_in_one_channel_and_in_all() -> None:
    recording = simulated("squat")
    rng = np.random.default_rng(0)
    t = np.arange(recording.n_times) / recording.fs
    motion = sum(
        rng.standard_normal() * np.sin(2 * np.pi * hz * t + rng.uniform(0, 6.3))
        for hz in np.arange(6.0, 16.0, 0.31)
    )
    data = recording.load()
    motion *= data[0].std() / np.std(motion)
    only(check_recording(changed(recording, 0, data[0] + motion)), "motion")
    only(check_recording(recording.replace(data=data + motion)), "unfiltered")


def test_noise_without_a_muscle() -> None:
    noise = 5e-5 * np.random.default_rng(1).standard_normal((2, 40000))
    only(check_recording(simulated().replace(data=noise)), "snr")


# Calibrated on the simulator's options ----------------------------------------------------------


@pytest.mark.slow
def test_mains_hum_is_found_where_it_matters() -> None:
    found = share_with("mains", mains=1e-3)
    assert found["push"] == found["stoop"] == 1.0
    weak = share_with("mains", mains=2e-4)
    assert weak["stoop"] >= 0.6  # a tenth of the RMS
    assert weak["squat"] == 0.0  # a hundredth


@pytest.mark.parametrize("mains_hz", [50.0, 60.0])
def test_the_frequency_of_the_hum_and_its_size(mains_hz: float) -> None:
    recording = simulated("stoop", seconds=40.0, mains=2e-3, mains_hz=mains_hz)
    report = check_recording(recording)
    only(report, "mains")
    assert f"{mains_hz:.0f}-Hz mains hum" in report.problems[0].text
    expected = 2e-3 * np.sqrt(0.5 * (1 + 0.3**2 + 0.15**2))
    for channel in report.channels:
        assert channel.hum.rms_v == pytest.approx(expected, rel=0.1)


def test_hum_is_gone_after_a_notch() -> None:
    recording = simulated("stoop", seconds=40.0, mains=1e-3)
    assert "mains" in check_recording(recording).codes
    mended = filter_recording(recording, notch_hz=50.0, notch_harmonics=5)
    assert check_recording(mended).is_fine


@pytest.mark.slow
def test_heart_beats_are_found_where_they_stand_out() -> None:
    found = share_with("ecg", ecg=5e-3)
    assert found["stoop"] == 1.0  # five times the RMS
    assert found["push"] >= 0.8
    assert found["squat"] == 0.0  # half of it
    assert sum(share_with("ecg").values()) == 0.0


def test_heart_rate_and_places_are_the_truth() -> None:
    for seed in range(4):
        recording, truth = simulate_recording(
            "stoop", duration_s=30.0, seed=seed, ecg=5e-3, with_truth=True
        )
        heart = find_heart_beats(recording.load()[0].astype(float), recording.fs)
        assert heart.are_heart_beats
        assert heart.rate_bpm == pytest.approx(60 / np.diff(truth.heart_beats_s).mean(), rel=0.03)
        errors = [np.abs(heart.times_s - beat).min() for beat in truth.heart_beats_s]
        assert np.mean(np.array(errors) < 0.01) > 0.95


def test_a_rhythm_in_one_of_many_channels_is_a_note() -> None:
    one, other = (simulated("stoop", seconds=30.0, fs=1000.0, ecg=ecg) for ecg in (5e-3, 0.0))
    quiet = [simulated("stoop", seconds=30.0, fs=1000.0, seed=i).load() for i in (1, 2)]
    data = np.concatenate([one.load()[:1], other.load()[1:], *quiet])
    many = one.replace(data=data, channel_names=[*"abcdef"], muscles=())
    problems = check_recording(many).problems
    assert [(p.severity, p.code, p.channels) for p in problems] == [("note", "ecg", ("a",))]
    assert check_recording(one).problems[0].severity == "warning"


def test_rhythmic_bursts_are_not_heart_beats() -> None:
    for seed in range(6):
        traits = simulate_recording("pull", duration_s=1.0, seed=seed).metadata
        assert traits["simulation"]["traits"]["pull"]["cadence_hz"] > 0.5  # 30 to 210 per minute
        for channel in simulated("pull", seconds=30.0, seed=seed, fs=1000.0).load():
            assert not find_heart_beats(channel.astype(float), 1000.0).are_heart_beats


@pytest.mark.slow
@pytest.mark.parametrize(("fatigue", "lowest", "highest"), [(0.0, 0.0, 0.15), (0.25, 0.85, 1.0)])
def test_fatigue(fatigue: float, lowest: float, highest: float) -> None:
    reports = [
        check_recording(simulated(task, seconds=60.0, seed=seed, fatigue=fatigue, fs=1000.0))
        for task in ("squat", "push")
        for seed in range(3)
    ]
    found = np.mean(["fatigue" in report.codes for report in reports])
    assert lowest <= found <= highest
    slopes = [channel.trend.slope for report in reports for channel in report.channels]
    assert np.median(slopes) == pytest.approx(-fatigue, abs=0.06)
    covered = [c.trend.low <= -fatigue <= c.trend.high for r in reports for c in r.channels]
    assert np.mean(covered) > 0.6
    assert all(report.is_fine for report in reports)  # a note, not a defect


def test_noise_lowers_the_snr_by_its_level() -> None:
    ratios = []
    for noise in (5e-4, 5e-3, 5e-2):
        recording = simulated("squat", noise=noise)
        ratios.append([c.snr_db for c in measure(recording, (10.0, 1000.0))])
    assert np.all(np.diff(ratios, axis=0) < -2)


# Sets -------------------------------------------------------------------------------------------


def test_duplicates_are_read_after_the_last_recording() -> None:
    pairs: list[tuple[str, str]] = []

    def recordings() -> Iterator[Recording]:
        yield simulated("push", seconds=4.0)
        yield simulated("push", seconds=4.0).replace(subject="02")
        pairs.append(("sub-01_task-push", "sub-02_task-push"))

    report = check_recordings(recordings(), duplicates=pairs)
    problem = report.set_problems[0]
    assert (problem.severity, problem.code) == ("error", "duplicate")
    assert "of another subject (01 and 02)" in problem.text


def test_missing_tasks_name_the_subject() -> None:
    everything = simulate_dataset(n_subjects=3, duration_s=5.0)
    recordings = [r for r in everything if r.name != "sub-03_task-push"]
    problems = check_recordings(recordings).set_problems
    assert [(p.code, p.severity) for p in problems] == [("missing", "warning")]
    assert "subject 03: no recording of push" in problems[0].text
    assert check_recordings(recordings[:4], tasks=["pull", "carry"]).codes == {"missing"}


def test_unlike_recordings() -> None:
    one = simulated(seconds=5.0)
    two = simulated(seconds=5.0, fs=1000.0).replace(subject="02")
    three = simulated(seconds=5.0).replace(subject="03", channel_names=["A", "B"])
    codes = [p.code for p in check_recordings([one, two, three]).set_problems]
    assert codes == ["rate", "channels"]


def test_a_subject_recorded_without_the_others_filters() -> None:
    people = list(simulate_dataset(n_subjects=4, duration_s=6.0))
    filtered = [filter_recording(r, low_hz=20.0) for r in people if r.subject != "02"]
    rng = np.random.default_rng(0)
    wild = []
    for recording in people:
        if recording.subject == "02":
            slow = np.cumsum(rng.standard_normal((2, recording.n_times)), axis=1)
            wild.append(recording.replace(data=recording.load() + slow / np.std(slow) * 0.01))
    problems = check_recordings([*filtered, *wild]).set_problems
    assert [p.code for p in problems] == ["unfiltered"]
    assert problems[0].text.startswith("subject 02: ")


def test_an_empty_set() -> None:
    assert check_recordings([]).codes == {"empty"}


# The report itself ------------------------------------------------------------------------------


def test_the_worst_comes_first_and_all_is_jsonable() -> None:
    recording = simulated("stoop", seconds=30.0, ecg=5e-3, mains=2e-3, fatigue=0.5)
    samples = recording.load()[0].copy()
    report = check_recording(changed(recording, 0, np.clip(samples, -1e-4, 1e-4)))
    ranks = [SEVERITIES.index(problem.severity) for problem in report.problems]
    assert ranks == sorted(ranks)
    assert ranks[0] == 0
    stored = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert {p["code"] for p in stored["problems"]} == report.codes
    assert len(stored["channels"]) == 2


class Counting:
    """An array that notes how many samples were asked for at once."""

    def __init__(self, data: np.ndarray) -> None:
        self.data, self.shape, self.largest = data, data.shape, 0

    def __getitem__(self, index: object) -> np.ndarray:
        found = self.data[index]  # type: ignore[index]
        self.largest = max(self.largest, found.shape[-1])
        return found


def test_long_recordings_are_read_in_pieces_with_the_same_result() -> None:
    recording = simulated("squat", seconds=150.0, fs=1000.0, fatigue=0.2)
    lazy = Counting(recording.load())
    report = check_recording(replace(recording, data=lazy))
    assert lazy.largest < 40 * 1000
    only(report, "fatigue")
    whole = recording.load().astype(float)
    for channel, row in zip(report.channels, whole, strict=True):
        assert channel.rms_v == pytest.approx(row.std(), rel=1e-6)
        assert channel.peak_v == pytest.approx(np.abs(row - row.mean()).max(), rel=1e-6)
        assert channel.preview[:, 0].min() == row.min()
        assert channel.preview[:, 1].max() == row.max()


@pytest.mark.parametrize(
    ("spoil", "codes"),
    [
        (lambda x: np.full_like(x, np.nan), {"nan"}),
        (lambda x: np.where(np.arange(len(x)) % 2, x, np.inf), {"nan"}),
        (lambda x: np.zeros_like(x), {"flat"}),
        (lambda x: np.where(np.arange(len(x)) == 7, 1.0, 0.0), {"flat"}),
    ],
)
def test_broken_channels_are_named_once_and_break_nothing(spoil: Any, codes: set[str]) -> None:
    recording = simulated("squat", seconds=8.0, fs=1000.0)
    report = check_recording(changed(recording, 0, spoil(recording.load()[0])))
    assert report.codes == codes
    assert all(problem.channels == ("LES_left",) for problem in report.problems)
    json.dumps(report.to_dict(), allow_nan=False)


@pytest.mark.parametrize("n_times", [0, 1, 400, 1200])
def test_tiny_recordings_are_too_short(n_times: int) -> None:
    recording = simulated("squat", seconds=8.0, fs=1000.0)
    tiny = recording.replace(data=recording.load()[:, :n_times])
    assert "short" in check_recording(tiny).codes
