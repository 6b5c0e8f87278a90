"""Simulated EMG of known truth: which attack must move and which must not."""

import itertools

import numpy as np
import pytest
from scipy.ndimage import uniform_filter1d

from myosynth.evaluation import audit
from myosynth.evaluation.privacy.canaries import DISGUISES
from myosynth.evaluation.surrogates import modulated_noise
from myosynth.recordings import SegmentSet
from myosynth.signal.filters import filter_recording
from myosynth.signal.segmentation import segment_recording
from myosynth.simulation import simulate_dataset

pytestmark = pytest.mark.slow


def simulated(n_subjects, n_sessions, seed):
    recordings = simulate_dataset(
        n_subjects=n_subjects, n_sessions=n_sessions, duration_s=7.5, seed=seed
    )
    return SegmentSet.concatenate(segment_recording(filter_recording(r))[0] for r in recordings)


def labelled(segments, split, prefix=""):
    segments.split = np.full(len(segments), split)
    segments.subject = np.array([prefix + name for name in segments.subject])
    return segments


@pytest.fixture(scope="module")
def sets():
    people = simulated(12, 3, 0)
    first, second, third = (people[people.session == s] for s in sorted(set(people.session)))
    strangers = labelled(simulated(6, 1, 1), "unseen", "u")
    real = SegmentSet.concatenate(
        [labelled(first, "train"), labelled(second, "holdout"), strangers]
    )
    return real, third


def released(segments, signals=None):
    """What a generator would hand over: no names."""
    made = segments[:]
    for column in ("subject", "recording", "split", "session"):
        setattr(made, column, np.full(len(made), ""))
    made.signals = made.read() if signals is None else np.asarray(signals, dtype=np.float32)
    return made


def data_of(real, made):
    threat = audit(real, made, n_jobs=1).threats["data"]
    return threat, {attack.name: attack for attack in threat.attacks}


def test_another_session_of_the_same_people_is_not_accused(sets):
    real, third = sets
    threat, attacks = data_of(real, released(third))
    assert threat.verdict == "none_found"
    assert threat.power >= 0.95
    assert threat.copies_found == 0
    assert attacks["subject_membership"].value > 0.8  # they are these people, after all
    assert attacks["attribute_inference"].low < 0.02


def test_other_people_move_nothing(sets):
    real, _ = sets
    threat, attacks = data_of(real, released(simulated(12, 1, 2)))
    assert threat.verdict == "none_found"
    assert attacks["subject_membership"].p > 0.05
    assert attacks["linkage"].p > 0.05
    assert attacks["attribute_inference"].low < 0


def test_three_of_twelve_people_are_no_copies(sets):
    real, third = sets
    few = third[np.isin(third.subject, third.subjects[:3])]
    threat, _ = data_of(real, released(few))
    assert threat.verdict == "none_found"
    assert threat.copies_found == 0


def test_a_set_of_noisy_copies_moves_every_attack(sets):
    real, _ = sets
    train = real.where(split="train")
    hidden = DISGUISES["noise"](train.read().astype(float), real.fs, np.random.default_rng(0))
    threat, attacks = data_of(real, released(train, hidden))
    assert threat.verdict == "leak_found"
    assert threat.copies_found == len(train)
    for name in ("stft", "periodogram", "waveform"):
        assert attacks[name].value > 0.95, name
        assert attacks[name].copies > 0.95 * len(train), name
    assert attacks["attribute_inference"].low > 0.1


@pytest.mark.parametrize(
    ("disguise", "finds", "blind"),
    [
        ("shift_flip_gain", ("waveform", "periodogram"), ()),
        ("new_phase", ("stft",), ("waveform", "periodogram")),
    ],
)
def test_ten_percent_disguised_copies_move_the_attack_that_looks_there(
    sets, disguise, finds, blind
):
    real, third = sets
    rng = np.random.default_rng(1)
    n = len(third) // 10
    taken = rng.permutation(real.rows(split="train"))[:n]
    signals = third.read().astype(float)
    signals[:n] = DISGUISES[disguise](real.read(taken).astype(float), real.fs, rng)
    threat, attacks = data_of(real, released(third, signals))
    assert threat.verdict == "leak_found"
    assert threat.copies_found == n
    for name in finds:
        assert attacks[name].copies == n, name
    for name in blind:
        assert attacks[name].copies == 0, name


def test_noise_with_copied_spectra_and_envelopes_copies_nothing(sets):
    real, _ = sets
    made = []
    for task in real.tasks:
        own = real.where(task=task, split="train").read().astype(float)
        noise = modulated_noise(own, real.fs, len(own), np.random.default_rng(3))
        made.append(SegmentSet(noise.astype(np.float32), real.fs, task,
                               channel_names=real.channel_names))  # fmt: skip
    threat, _ = data_of(real, SegmentSet.concatenate(made))
    assert threat.copies_found == 0


def under_a_new_carrier(signals, fs, rng, n_bands=8, window_s=0.128):
    """Noise with the envelope of each segment in each of eight bands."""
    frequency = np.fft.rfftfreq(signals.shape[-1], 1 / fs)
    spectra = [np.fft.rfft(x) for x in (signals, rng.standard_normal(signals.shape))]
    made = np.zeros_like(signals)
    edges = np.geomspace(10, 0.45 * fs, n_bands + 1)
    for low, high in itertools.pairwise(edges):
        inside = (frequency >= low) & (frequency < high)
        own, noise = (np.fft.irfft(s * inside, signals.shape[-1]) for s in spectra)
        level = uniform_filter1d(own**2, round(window_s * fs), axis=-1, mode="wrap")
        made += noise / noise.std(axis=-1, keepdims=True) * np.sqrt(level)
    return made


def test_envelopes_copied_band_by_band_are_hinted_at_and_no_copies(sets):
    real, third = sets
    train = real.where(split="train")
    made = under_a_new_carrier(train.read().astype(float), real.fs, np.random.default_rng(4))
    result = audit(real, released(train, made), n_jobs=1)
    hint = result.threats["data"].attack("envelope")
    assert hint.value > 0.3
    assert not hint.evidence
    assert "envelopes" in {finding.code for finding in result.findings}
    honest = audit(real, released(third), n_jobs=1)
    assert honest.threats["data"].attack("envelope").p > 0.01
    assert "envelopes" not in {finding.code for finding in honest.findings}
