"""The simulator against the truth that it states and the physiology that it claims."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.signal import welch
from scipy.stats import kurtosis

from myosynth.app.pipeline import simulate
from myosynth.errors import FormatError, InputError
from myosynth.evaluation.surrogates import modulated_noise
from myosynth.recordings import Recording
from myosynth.signal.features import FEATURES, envelope, feature_table
from myosynth.simulation import (
    NOISE_RMS,
    TASKS,
    SubjectTraits,
    Truth,
    draw_subject,
    simulate_dataset,
    simulate_recording,
    vary_session,
    write_truth,
)

Pair = tuple[Recording, Truth]
SECONDS = 20.0
AMPLITUDES_V = {"pull": 4e-3, "push": 2e-3, "squat": 1e-2, "stoop": 1e-3}
# Fuglevand et al. 1993, in its own units: range of thresholds, lowest and highest rates
RR, MFR, PFR_1, PFRD = 30.0, 8.0, 35.0, 10.0
E_MAX = RR + PFR_1 - PFRD - MFR


@pytest.fixture(scope="module")
def cohort() -> dict[str, list[Pair]]:
    pairs: dict[str, list[Pair]] = {task: [] for task in TASKS}
    for recording, truth in simulate_dataset(
        n_subjects=24, duration_s=SECONDS, seed=5, with_truth=True
    ):
        pairs[recording.task].append((recording, truth))
    return pairs


def rms(recording: Recording) -> float:
    return float(np.sqrt(np.mean(np.square(recording.load(), dtype=float))))


def median_hz(recording: Recording) -> float:
    f, psd = welch(recording.load().astype(float), recording.fs, nperseg=2048)
    share = np.cumsum(psd.mean(axis=0)) / psd.mean(axis=0).sum()
    return float(np.interp(0.5, share, f))


def person(seed: int = 0) -> SubjectTraits:
    return draw_subject(np.random.default_rng(seed))


def with_effort(traits: SubjectTraits, factor: float) -> SubjectTraits:
    """A person whose squat is held at `factor` of its usual excitation."""
    return replace(traits, squat=replace(traits.squat, effort=traits.squat.effort * factor))


# What the paper reports -------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_amplitudes_are_those_of_the_paper(cohort: dict[str, list[Pair]], task: str) -> None:
    levels = [rms(recording) for recording, _ in cohort[task]]
    assert np.median(levels) == pytest.approx(AMPLITUDES_V[task], rel=0.25)


def test_amplitudes_are_ordered_in_every_person(cohort: dict[str, list[Pair]]) -> None:
    levels = np.array(
        [[rms(r) for r, _ in cohort[task]] for task in ("stoop", "push", "pull", "squat")]
    )
    ordered = np.all(np.diff(levels, axis=0) > 0, axis=0)
    assert ordered.mean() >= 0.9
    assert np.all(np.diff(np.median(levels, axis=1)) > 0)


@pytest.mark.parametrize("task", ["pull", "push"])
def test_cadence_is_the_truth(cohort: dict[str, list[Pair]], task: str) -> None:
    errors = []
    for recording, truth in cohort[task]:
        slow = envelope(recording.load(), recording.fs)[:, ::20].mean(axis=0)
        f = np.fft.rfftfreq(1 << 14, 20 / recording.fs)
        spectrum = np.abs(np.fft.rfft((slow - slow.mean()) * np.hanning(len(slow)), 1 << 14))
        errors.append(abs(f[np.argmax(np.where(f > 0.4, spectrum, 0))] - truth.cadence_hz))
    assert np.median(errors) < 0.05
    assert np.mean(np.array(errors) < 0.3) >= 0.9


def test_bursts_repeat_and_holds_do_not(cohort: dict[str, list[Pair]]) -> None:
    depth = {}
    for task in TASKS:
        ratios = []
        for recording, _ in cohort[task]:
            slow = envelope(recording.load(), recording.fs, 0.2)
            ratios.append(np.percentile(slow, 90) / np.percentile(slow, 10))
        depth[task] = np.median(ratios)
    assert min(depth["pull"], depth["push"]) > 3
    assert max(depth["squat"], depth["stoop"]) < 2.5


def test_sustained_tasks_have_no_cadence(cohort: dict[str, list[Pair]]) -> None:
    assert all(truth.cadence_hz == 0 for task in ("squat", "stoop") for _, truth in cohort[task])
    lowest = [truth.activation.min() for _, truth in cohort["squat"]]
    assert np.median(lowest) > 0.2  # held all the time


@pytest.mark.parametrize("task", TASKS)
def test_spectrum_is_broad_over_10_to_200_hz(cohort: dict[str, list[Pair]], task: str) -> None:
    f, psd = welch(
        np.concatenate([r.load() / rms(r) for r, _ in cohort[task]]).astype(float), 2000.0,
        nperseg=1024,
    )  # fmt: skip
    mean = psd.mean(axis=0)
    assert mean[(f >= 10) & (f <= 200)].sum() / mean.sum() > 0.93
    inside = mean[(f >= 15) & (f <= 150)]
    assert 10 * np.log10(inside.min() / inside.max()) > -20
    assert mean[(f >= 300)].sum() / mean.sum() < 0.02


# What modulated noise lacks ---------------------------------------------------------------------


def test_kurtosis_falls_towards_gaussian_as_effort_rises() -> None:
    efforts = (0.08, 0.16, 0.35, 0.7, 1.3)
    by_effort = [
        np.median(
            [
                kurtosis(
                    simulate_recording(
                        "squat", traits=with_effort(person(i), factor), duration_s=15.0, seed=i,
                        noise=0.0,
                    ).load().astype(float), axis=1,
                )
                for i in range(8)
            ]
        )
        for factor in efforts
    ]  # fmt: skip
    assert np.all(np.diff(by_effort) < 0)
    assert by_effort[0] > 3
    assert 0 < by_effort[-1] < 1


@pytest.mark.parametrize(("task", "lowest"), [("pull", 0.3), ("push", 0.2)])
def test_frequency_follows_amplitude_beyond_modulated_noise(
    cohort: dict[str, list[Pair]], task: str, lowest: float
) -> None:
    column = list(FEATURES).index("amp_freq_corr")
    gaps = []
    for i, (recording, _) in enumerate(cohort[task][:8]):
        signals = recording.load().astype(float)[:, : 6 * 6000].reshape(2, 6, 6000).swapaxes(0, 1)
        surrogate = modulated_noise(signals, recording.fs, 6, np.random.default_rng(i))
        tables = [feature_table(x, recording.fs)[..., column] for x in (signals, surrogate)]
        gaps.append(tables[0].mean() - tables[1].mean())
    assert np.median(gaps) > lowest


# Who differs ------------------------------------------------------------------------------------


def test_people_differ_more_than_visits() -> None:
    seen: dict[tuple[str, str], list[list[float]]] = {}
    for recording, truth in simulate_dataset(
        n_subjects=8, n_sessions=3, tasks=["pull", "stoop"], duration_s=10.0, with_truth=True
    ):
        row = [np.log(rms(recording)), np.log(median_hz(recording)), truth.cadence_hz]
        seen.setdefault((recording.task, recording.subject), []).append(row)
    table = np.array([seen[key] for key in sorted(seen)])  # (task × person, visit, figure)
    for rows, figures in ((slice(0, 8), (0, 1, 2)), (slice(8, 16), (0, 1))):
        between = table[rows].mean(axis=1).std(axis=0, ddof=1)
        within = np.sqrt(table[rows].var(axis=1, ddof=1).mean(axis=0))
        for figure in figures:
            assert 0 < within[figure] < 0.7 * between[figure]


def test_a_visit_keeps_the_anatomy() -> None:
    one = person(3)
    other = vary_session(one, np.random.default_rng(0))
    assert other.anatomy_seed == one.anatomy_seed
    assert other.tissue_mm == one.tissue_mm
    assert other.electrode_shift_mm != one.electrode_shift_mm


# Motor units ------------------------------------------------------------------------------------


def unit_counts(truth: Truth, channel: int) -> np.ndarray:
    chosen = truth.spike_channels == channel
    return np.bincount(truth.spike_units[chosen], minlength=truth.threshold.shape[1])


@pytest.mark.parametrize("task", TASKS)
def test_units_fire_above_their_threshold_only(cohort: dict[str, list[Pair]], task: str) -> None:
    for _, truth in cohort[task][:4]:
        frames = np.minimum(
            (truth.spike_times_s * truth.activation_fs).astype(int), truth.activation.shape[1] - 1
        )
        drive = truth.activation[truth.spike_channels, frames]
        assert np.all(drive >= truth.threshold[truth.spike_channels, truth.spike_units])
        recruited = truth.n_recruited[truth.spike_channels, frames]
        assert np.all(truth.spike_units < recruited)  # the size principle


def test_thresholds_span_the_published_range(cohort: dict[str, list[Pair]]) -> None:
    threshold = cohort["squat"][0][1].threshold[0]
    assert np.all(np.diff(threshold) > 0)
    assert threshold[-1] / threshold[0] == pytest.approx(RR ** (119 / 120), rel=1e-9)
    assert threshold[-1] == pytest.approx(RR / E_MAX)


@pytest.mark.parametrize("task", ["pull", "squat"])
def test_rates_follow_the_drive(cohort: dict[str, list[Pair]], task: str) -> None:
    _, truth = cohort[task][0]
    rte = truth.threshold[0][:, None] * E_MAX
    drive = truth.activation[0] * E_MAX
    rate = np.where(
        drive >= rte, np.minimum(drive - rte + MFR, PFR_1 - PFRD * rte / RR), 0.0
    )  # eq. 3 and 4
    expected = rate.sum(axis=1) / truth.activation_fs
    counts = unit_counts(truth, 0)
    assert counts.sum() == pytest.approx(expected.sum(), rel=0.01)
    assert np.all(np.abs(counts - expected) <= 4 * 0.2 * np.sqrt(expected) + 1.5)


def test_intervals_vary_by_a_fifth() -> None:
    strong = with_effort(person(), 6.0)  # the first unit fires at its peak rate throughout
    _, truth = simulate_recording("squat", traits=strong, duration_s=60.0, with_truth=True)
    assert truth.activation.min() * E_MAX > PFR_1
    first = (truth.spike_units == 0) & (truth.spike_channels == 0)
    intervals = np.diff(truth.spike_times_s[first])
    assert intervals.mean() == pytest.approx(1 / (PFR_1 - PFRD * RR ** (1 / 120) / RR), rel=0.02)
    assert intervals.std() / intervals.mean() == pytest.approx(0.2, abs=0.02)


@pytest.mark.parametrize("fs", [1000.0, 1925.926, 4000.0])
def test_discharges_do_not_depend_on_the_rate(fs: float) -> None:
    _, reference = simulate_recording("pull", duration_s=7.3, seed=9, with_truth=True)
    recording, truth = simulate_recording("pull", duration_s=7.3, seed=9, fs=fs, with_truth=True)
    assert recording.fs == fs
    assert recording.n_times == round(7.3 * fs)
    assert np.array_equal(truth.spike_times_s, reference.spike_times_s)
    assert np.array_equal(truth.activation, reference.activation)


def test_rates_show_the_same_wave_below_their_edge() -> None:
    def low(fs: float) -> np.ndarray:
        recording = simulate_recording("squat", duration_s=8.0, seed=2, fs=fs, noise=0.0)
        spectrum = np.fft.rfft(recording.load().astype(float), axis=1) / recording.n_times
        return spectrum[:, : 8 * 300]  # below 300 Hz

    assert np.linalg.norm(low(4000.0) - low(1000.0)) < 0.05 * np.linalg.norm(low(4000.0))


# Same seed, same bytes --------------------------------------------------------------------------


def test_same_seed_same_bytes() -> None:
    options = {"ecg": 1e-3, "mains": 1e-4, "fatigue": 0.1, "duration_s": 4.0}
    first, again, other = (
        simulate_recording("push", seed=seed, **options).load().tobytes() for seed in (3, 3, 4)
    )
    assert first == again
    assert first != other


def test_a_small_cohort_is_part_of_a_large_one() -> None:
    large = {r.name: r.load() for r in simulate_dataset(n_subjects=3, duration_s=2.0, seed=1)}
    small = {
        r.name: r.load()
        for r in simulate_dataset(n_subjects=2, tasks=["stoop"], duration_s=2.0, seed=1)
    }
    assert set(small) == {"sub-01_task-stoop", "sub-02_task-stoop"}
    assert all(np.array_equal(small[name], large[name]) for name in small)
    assert not np.array_equal(large["sub-01_task-pull"], large["sub-02_task-pull"])


# Options ----------------------------------------------------------------------------------------


def added(**option: float) -> tuple[np.ndarray, Truth]:
    """What an option adds to the same recording without it."""
    plain = simulate_recording("stoop", duration_s=12.0, seed=6)
    changed, truth = simulate_recording("stoop", duration_s=12.0, seed=6, with_truth=True, **option)
    return changed.load().astype(float) - plain.load(), truth


def test_the_heart_beats_at_its_stated_times_and_heights() -> None:
    heart, truth = added(ecg=5e-3)
    assert len(truth.heart_beats_s) > 12
    samples = np.rint(truth.heart_beats_s * 2000).astype(int)
    samples = samples[(samples > 60) & (samples < 23900)]
    windows = np.stack([heart[0, s - 60 : s + 60] for s in samples])
    assert np.all(np.abs(windows.argmax(axis=1) - 60) <= 10)
    assert windows.max(axis=1) == pytest.approx(5e-3, rel=0.05)
    assert heart[1] == pytest.approx(0.6 * heart[0], abs=1e-8)


def test_mains_is_a_line_and_its_odd_harmonics() -> None:
    hum, truth = added(mains=2e-4, mains_hz=60.0)
    assert len(truth.heart_beats_s) == 0
    f = np.fft.rfftfreq(24000, 1 / 2000)
    amplitude = np.abs(np.fft.rfft(hum * np.hanning(24000), axis=1)) * 4 / 24000
    for hz, height in ((60, 2e-4), (180, 6e-5), (300, 3e-5)):
        near = np.abs(f - hz) < 1.5
        assert amplitude[:, near].max(axis=1) == pytest.approx([height] * 2, rel=0.2)
    lines = np.min(np.abs(f[:, None] - [60, 180, 300]), axis=1) < 3
    assert np.sum(hum**2) > 0
    assert np.sum(amplitude[:, ~lines] ** 2) < 1e-3 * np.sum(amplitude[:, lines] ** 2)


def test_noise_has_its_stated_level() -> None:
    noise, _ = added(noise=3 * NOISE_RMS)  # the same noise, three times as large
    f, psd = welch(noise, 2000.0, nperseg=2048)
    band = (f >= 100) & (f <= 500)
    density = (2 * NOISE_RMS) ** 2 / 490
    assert psd[:, band].mean() == pytest.approx(density, rel=0.05)
    assert psd[:, (f > 1.5) & (f < 4)].mean() > 5 * density  # the electrode's


@pytest.mark.slow
@pytest.mark.parametrize("fatigue", [0.0, 0.15, 0.4])
def test_median_frequency_falls_at_the_stated_rate(fatigue: float) -> None:
    slopes = []
    for seed in range(3):
        recording = simulate_recording(
            "squat", duration_s=90.0, seed=seed, fatigue=fatigue, noise=0.0, fs=1000.0
        )
        parts = recording.load().reshape(2, 18, 5000).swapaxes(0, 1)
        medians = [median_hz(recording.replace(data=np.ascontiguousarray(part))) for part in parts]
        minutes = (np.arange(18) + 0.5) * 5 / 60
        slopes.append(np.polyfit(minutes, np.log(medians), 1)[0])
    assert np.mean(slopes) == pytest.approx(-fatigue, abs=0.04)


def test_fatigue_slows_fibres_and_leaves_discharges_alone() -> None:
    truths = [
        simulate_recording("pull", duration_s=3.0, fatigue=fatigue, with_truth=True)[1]
        for fatigue in (0.0, 0.3)
    ]
    assert np.array_equal(truths[0].spike_times_s, truths[1].spike_times_s)
    assert np.array_equal(truths[0].activation, truths[1].activation)


def test_a_recording_says_that_it_is_simulated() -> None:
    recording = simulate_recording("pull", duration_s=1.0, seed=4, ecg=1e-3)
    assert recording.metadata["simulated"] is True
    assert recording.metadata["simulation"]["seed"] == 4
    assert recording.metadata["simulation"]["ecg"] == 1e-3


# The truth beside the signal --------------------------------------------------------------------


def pairs() -> Iterator[Pair]:
    return simulate_dataset(n_subjects=2, tasks=["pull"], duration_s=1.5, ecg=1e-3, with_truth=True)


def test_truth_is_kept_beside_the_signal(tmp_path: Path) -> None:
    names = [recording.name for recording in write_truth(pairs(), tmp_path / "truth")]
    for name, (_, truth) in zip(names, pairs(), strict=True):
        stored = Truth.load(tmp_path / "truth" / f"{name}_truth.npz")
        assert stored.task == "pull"
        assert stored.cadence_hz == truth.cadence_hz
        for field in ("activation", "threshold", "spike_times_s", "spike_units", "heart_beats_s"):
            assert np.array_equal(getattr(stored, field), getattr(truth, field))


def test_the_shell_keeps_the_truth_in_the_dataset(tmp_path: Path) -> None:
    simulate(tmp_path / "set", subjects=1, task=("push",), seconds=2.0, fs=1000.0, truth=True)
    stored = Truth.load(tmp_path / "set" / "sourcedata" / "truth" / "sub-01_task-push_truth.npz")
    _, truth = next(
        simulate_dataset(n_subjects=1, tasks=["push"], duration_s=2.0, fs=1000.0, with_truth=True)
    )
    assert np.array_equal(stored.spike_times_s, truth.spike_times_s)
    simulate(tmp_path / "plain", subjects=1, task=("push",), seconds=2.0, fs=1000.0)
    assert not (tmp_path / "plain" / "sourcedata").exists()


def test_truth_leaves_nothing_where_the_writer_fails(tmp_path: Path) -> None:
    stream = write_truth(pairs(), tmp_path / "truth")
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert list(tmp_path.iterdir()) == []


def test_truth_refuses_another_file(tmp_path: Path) -> None:
    (tmp_path / "other.npz").write_bytes(b"not a truth")
    with pytest.raises(FormatError, match="does not hold a simulation's truth"):
        Truth.load(tmp_path / "other.npz")


# Bad values -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"task": "walk"}, "pull, push, squat, stoop, not 'walk'"),
        ({"duration_s": 0.0}, "duration_s must be above 0 s"),
        ({"duration_s": float("nan")}, "duration_s must be a finite number"),
        ({"duration_s": "60"}, "duration_s must be a finite number"),
        ({"duration_s": 90000.0}, "at most a day"),
        ({"duration_s": 0.0004}, "not even two samples"),
        ({"fs": 100.0}, "fs must lie within 800–20000 Hz"),
        ({"fs": float("inf")}, "fs must be a finite number"),
        ({"seed": -1}, "seed must be a whole number"),
        ({"seed": 1.5}, "seed must be a whole number"),
        ({"ecg": -1e-3}, "ecg must not be negative"),
        ({"mains": 1e-3, "mains_hz": 100.0}, "mains_hz is 50 or 60 Hz"),
        ({"noise": -1.0}, "noise must not be negative"),
        ({"fatigue": 1.5}, "fatigue is a share per minute"),
        ({"fatigue": 0.5, "duration_s": 3600.0}, "all but stop conduction"),
    ],
)
def test_bad_values_are_one_sentence(option: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {"task": "pull", "duration_s": 1.0} | option
    with pytest.raises(InputError, match=message):
        simulate_recording(**arguments)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    "option",
    [{"n_subjects": 0}, {"n_sessions": 0}, {"tasks": []}, {"tasks": ["pull", "pull"]},
     {"tasks": "pull"}, {"tasks": ["lift"]}, {"fs": 0.0}],
)  # fmt: skip
def test_a_cohort_refuses_bad_values_at_the_call(option: dict[str, object]) -> None:
    with pytest.raises(InputError):
        simulate_dataset(**option)  # type: ignore[call-overload]
