"""The parametric generator: its noise is the mechanism's, and without it it matches its source."""

import json
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from scipy.signal import welch
from scipy.stats import norm

from myosynth.app import pipeline
from myosynth.diffusion.autoregression import NAMES, draw, measure, public_centre
from myosynth.diffusion.parametric import (
    ParametricGenerator,
    fit_parametric,
    gaussian_noise,
    is_parametric,
)
from myosynth.errors import CheckpointError, ConfigError, InputError, NotEnoughDataError
from myosynth.recordings import SegmentSet
from myosynth.signal.filters import filter_recording
from myosynth.signal.segmentation import segment_recording
from myosynth.simulation import simulate_dataset


@pytest.fixture(scope="module")
def cohort() -> SegmentSet:
    recordings = simulate_dataset(n_subjects=4, duration_s=12.0, fs=1000.0, seed=3)
    return SegmentSet.concatenate(
        segment_recording(filter_recording(each))[0] for each in recordings
    )


# ---- the mechanism ----


@pytest.mark.parametrize(("epsilon", "delta"), [(0.5, 1e-5), (8.0, 1e-5), (16.0, 1e-6)])
def test_the_noise_is_the_least_that_keeps_the_budget(epsilon: float, delta: float) -> None:
    sigma = gaussian_noise(epsilon, delta, 3.0)

    def failure(s: float) -> float:
        a, b = 3.0 / (2 * s), epsilon * s / 3.0
        return float(norm.cdf(a - b) - math.exp(epsilon) * norm.cdf(-a - b))

    assert failure(sigma) == pytest.approx(delta, rel=1e-4)
    assert failure(0.99 * sigma) > delta
    if epsilon < 1:  # the classical bound is never below it (Dwork & Roth 2014, theorem A.1)
        assert sigma < 3.0 * math.sqrt(2 * math.log(1.25 / delta)) / epsilon


def test_the_parameters_carry_the_noise_that_is_stated(cohort: SegmentSet) -> None:
    clean = fit_parametric(cohort, epsilon=1e6, seed=0)
    noisy = [fit_parametric(cohort, epsilon=300.0, seed=seed) for seed in range(6)]
    stated = noisy[0].privacy["noise_std"]
    n_subjects = len(set(cohort.subject.tolist()))
    centre = math.log(3e-4)
    shifts = []
    for each in noisy:
        for task in cohort.tasks:  # ln RMS: half-width 3.5; the count of people is noisy as well
            value = (clean.parameters[task][:, 0] - centre) / 3.5
            moved = (each.parameters[task][:, 0] - centre) / 3.5 - value
            shifts += list(moved / np.sqrt(1 + value**2))
    assert np.std(shifts) == pytest.approx(stated / n_subjects, rel=0.3)


def test_a_person_unlike_all_others_is_clipped_to_the_sensitivity(cohort: SegmentSet) -> None:
    wild = SegmentSet.concatenate([cohort])
    wild.signals = np.array(wild.read())
    first = wild.subject == wild.subjects[0]
    time = np.arange(wild.n_times) / 1000.0
    wild.signals[first] = 1e-9 * sum(np.sin(2 * np.pi * f * time) for f in range(30, 480, 75))
    with_them = fit_parametric(wild, epsilon=1e6, seed=0)
    without = fit_parametric(wild[np.flatnonzero(~first)], epsilon=1e6, seed=0)
    least = math.log(3e-4) - 3.5  # where their level is clipped
    for task in cohort.tasks:
        level, others = (each.parameters[task][:, 0] for each in (with_them, without))
        weight = (others - level) / (level - least)  # of them, beside three others
        assert 3 * weight.min() > 0.5
        assert 3 * weight.max() < 0.9


# ---- the signal model ----


def test_what_is_drawn_measures_as_what_was_asked() -> None:
    asked = public_centre(1000.0, (10.0, 450.0))
    asked[:4] = np.log([2e-4, 0.2, 0.5, 1.5])
    rng = np.random.default_rng(1)
    made = np.stack([draw(asked, 8000, 1000.0, rng) for _ in range(60)])[:, None]
    found = measure(made, 1000.0)[:, 0]
    assert found[:, 0].mean() == pytest.approx(asked[0], abs=0.08)
    assert found[:, 0].std() == pytest.approx(0.2, rel=0.3)
    assert found[:, 2].mean() == pytest.approx(asked[2], abs=0.2)
    assert found[:, 3].mean() == pytest.approx(asked[3], abs=0.25)
    assert found[:, 4:].mean(axis=0) == pytest.approx(asked[4:], abs=0.06)


def test_with_little_noise_it_has_the_spectra_and_levels_of_its_source(cohort: SegmentSet) -> None:
    model = fit_parametric(cohort, epsilon=1e6, seed=0)
    for task in cohort.tasks:
        real = cohort.read(np.flatnonzero(cohort.task == task))
        made = model.sample(task, 24, seed=2).signals
        assert np.log(_rms(made)).mean(0) == pytest.approx(np.log(_rms(real)).mean(0), abs=0.2)
        assert _log_spectra(made) == pytest.approx(_log_spectra(real), abs=1.0)
    levels = {task: np.log(_rms(model.sample(task, 8).signals)).mean() for task in model.tasks}
    assert max(levels.values()) - min(levels.values()) > 0.3  # the tasks are told apart


def _rms(signals: np.ndarray) -> np.ndarray:
    return np.sqrt(np.mean(np.square(signals, dtype=np.float64), axis=-1))


def _log_spectra(signals: np.ndarray) -> np.ndarray:
    """Mean log spectrum of unit-RMS segments in bands from 20 to 300 Hz, by channel."""
    frequencies, power = welch(signals / _rms(signals)[..., None], 1000.0, nperseg=256)
    edges = (20, 40, 60, 90, 130, 180, 300)
    bands = [
        power[..., (frequencies >= low) & (frequencies < high)].mean(axis=-1)
        for low, high in pairwise(edges)
    ]
    return np.log(np.stack(bands)).mean(axis=1)


# ---- files and the command line ----


def test_it_is_read_back_as_it_was_and_damage_is_named(cohort: SegmentSet, tmp_path: Path) -> None:
    model = fit_parametric(cohort, seed=0)
    model.save_pretrained(tmp_path / "m")
    again = ParametricGenerator.from_pretrained(tmp_path / "m")
    task = model.tasks[0]
    assert np.array_equal(again.sample(task, seed=3).signals, model.sample(task, seed=3).signals)
    assert is_parametric(tmp_path / "m")
    file = tmp_path / "m" / "config.json"
    content = json.loads(file.read_text())
    content["parameters"][task][0].pop()
    file.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="damaged"):
        ParametricGenerator.from_pretrained(tmp_path / "m")
    assert not is_parametric(tmp_path)


def test_segments_of_nobody_and_of_one_are_refused(cohort: SegmentSet) -> None:
    one = cohort[np.flatnonzero(cohort.subject == cohort.subject[0])]
    with pytest.raises(NotEnoughDataError):
        fit_parametric(one)
    one.subject = np.full(len(one), "")
    with pytest.raises(InputError, match="whose they are"):
        fit_parametric(one)
    with pytest.raises(InputError, match="knows the tasks"):
        fit_parametric(cohort).sample("none")


def test_the_noise_is_new_each_time(cohort: SegmentSet) -> None:
    one, two = (fit_parametric(cohort).parameters[cohort.tasks[0]] for _ in range(2))
    assert not np.array_equal(one, two)
    assert one.shape == (cohort.n_channels, len(NAMES))


def test_train_and_generate_from_the_command_line(cohort: SegmentSet, tmp_path: Path) -> None:
    cohort.save(tmp_path / "segments")
    pipeline.train(tmp_path / "segments", tmp_path / "m", parametric=True, epsilon=6.0)
    record = json.loads((tmp_path / "m" / "provenance.json").read_text())
    assert record["privacy"]["privacy_unit"] == "subject"
    assert record["privacy"]["epsilon"] == 6.0
    assert pipeline.info(tmp_path / "m")["privacy"]["privacy_unit"] == "subject"
    (card,) = pipeline.card(tmp_path / "m")
    assert "the unit is one **subject**" in card.read_text()
    made = pipeline.generate(tmp_path / "m", tmp_path / "out.npz", n_segments=3, seed=1)
    assert len(made) == 3 * len(cohort.tasks)
    with pytest.raises(InputError, match="has no effort"):
        pipeline.generate(tmp_path / "m", tmp_path / "b.npz", effort=-9.0)
    with pytest.raises(ConfigError, match="minutes"):
        pipeline.train(tmp_path / "segments", tmp_path / "n", parametric=True, minutes=1)
    with pytest.raises(InputError, match="already exists"):
        pipeline.train(tmp_path / "segments", tmp_path / "m", parametric=True)


# ---- what an attacker can look at ----


def relabelled(segments: SegmentSet, task: str) -> SegmentSet:
    return SegmentSet(segments.read(), segments.fs, task, channel_names=segments.channel_names)


def test_its_loss_is_least_for_what_it_was_made_from(cohort: SegmentSet) -> None:
    model = fit_parametric(cohort, epsilon=1e6, seed=0)
    pull, stoop = (cohort.where(task=name) for name in ("pull", "stoop"))
    right = model.loss(pull)
    wrong = model.loss(relabelled(pull, "stoop"))
    assert right.shape == (len(pull), 3)
    assert (np.median(wrong, axis=0) > 1.5 * np.median(right, axis=0))[:2].all()
    as_it_is = model.loss(stoop)
    stoop.signals = np.e**2 * stoop.read()
    louder = model.loss(stoop)
    assert np.median(louder[:, 0]) > 4 * np.median(as_it_is[:, 0])
    assert louder[:, 1:] == pytest.approx(as_it_is[:, 1:], abs=1e-3)
    with pytest.raises(InputError, match="knows the tasks"):
        model.loss(relabelled(pull, "dance"))
    with pytest.raises(InputError, match="channels"):
        model.loss(SegmentSet(pull.read()[:, :1], pull.fs, "pull"))


@pytest.mark.slow
def test_a_parametric_model_can_be_audited(tmp_path: Path, cohort: SegmentSet) -> None:
    """`audit --model --deep` takes its folder."""
    real = cohort[:]
    real.split = np.where(np.arange(len(real)) % 7 < 4, "train", "holdout")
    real.save(tmp_path / "segments")
    pipeline.train(tmp_path / "segments", tmp_path / "model", parametric=True)
    pipeline.generate(tmp_path / "model", tmp_path / "made", n_segments=10)
    found = pipeline.audit(
        tmp_path / "segments", tmp_path / "made", tmp_path / "audit", model=tmp_path / "model",
        deep=True,
    )  # fmt: skip
    names = {attack.name for attack in found.threats["model"].attacks}
    assert {"loss", "loss_part_0", "loss_part_2", "lira"} <= names
    assert found.threats["model"].verdict in {"none_found", "no_power"}
