"""Recordings of known truth: surface EMG of the lumbar erector spinae, left and right."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from numbers import Integral, Real
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from myosynth.errors import InputError
from myosynth.recordings import Recording
from myosynth.simulation.artefacts import electrocardiogram, electronic_noise, mains_hum
from myosynth.simulation.motor_units import (
    DRIVE_FS,
    INTER_ELECTRODE_MM,
    draw_pool,
    firing_times,
    render,
)
from myosynth.simulation.tasks import (
    TASKS,
    SubjectTraits,
    activation_profile,
    check_task,
    draw_subject,
    vary_session,
)
from myosynth.simulation.truth import Truth

__all__ = ["CHANNEL_NAMES", "NOISE_RMS", "simulate_dataset", "simulate_recording"]

CHANNEL_NAMES = ("LES_left", "LES_right")
MUSCLE = "erector spinae longissimus"
NOISE_RMS = 2e-5
"""Default noise in V at the amplifier's output: 1 µV at the electrodes (SENIAM's and ISEK's limit
for a good amplifier is a few µV) through the gain of `AMPLIFIER_GAIN`."""
AMPLIFIER_GAIN = 20.0  # V/V: puts squat lifting at 1e-2 V for half a millivolt on the skin
_VOLTS_PER_UNIT = 1.93e-2  # scale of the action potentials, set once from the paper's amplitudes
_LONGEST_S = 24 * 3600.0
_LOWEST_FS, _HIGHEST_FS = 800.0, 20000.0
_MAINS_HZ = (45.0, 65.0)
_DEEPEST_FATIGUE = 1.0
_TAIL_S = 0.1


@overload
def simulate_recording(
    task: str,
    *,
    traits: SubjectTraits | None = ...,
    duration_s: float = ...,
    fs: float = ...,
    seed: int = ...,
    ecg: float = ...,
    mains: float = ...,
    mains_hz: float = ...,
    noise: float = ...,
    fatigue: float = ...,
    with_truth: Literal[False] = ...,
    subject: str = ...,
    session: str = ...,
    run: str = ...,
) -> Recording: ...
@overload
def simulate_recording(
    task: str,
    *,
    traits: SubjectTraits | None = ...,
    duration_s: float = ...,
    fs: float = ...,
    seed: int = ...,
    ecg: float = ...,
    mains: float = ...,
    mains_hz: float = ...,
    noise: float = ...,
    fatigue: float = ...,
    with_truth: Literal[True],
    subject: str = ...,
    session: str = ...,
    run: str = ...,
) -> tuple[Recording, Truth]: ...
def simulate_recording(
    task: str,
    *,
    traits: SubjectTraits | None = None,
    duration_s: float = 60.0,
    fs: float = 2000.0,
    seed: int = 0,
    ecg: float = 0.0,
    mains: float = 0.0,
    mains_hz: float = 50.0,
    noise: float = NOISE_RMS,
    fatigue: float = 0.0,
    with_truth: bool = False,
    subject: str = "01",
    session: str = "",
    run: str = "",
) -> Recording | tuple[Recording, Truth]:
    """Simulate one person doing one task.

    Parameters
    ----------
    task : str
        One of `TASKS`.
    traits : SubjectTraits, optional
        The person; drawn from `seed` where not given.
    duration_s : float
        Length in s, above 0, at most a day.
    fs : float
        Sampling rate in Hz, ≥ 800. The discharges do not depend on it.
    seed : int
        ≥ 0; the same seed gives the same bytes.
    ecg : float
        Height of the R peaks on the left, V at the amplifier's output; 0 = none. Trunk EMG shows
        1e-3 to 1e-2 here.
    mains, mains_hz : float
        Amplitude of the hum in V (0 = none) and its frequency, 50 or 60 Hz.
    noise : float
        RMS of the amplifier's noise within 10–500 Hz, V; 0 = none.
    fatigue : float
        Rate at which muscle-fibre conduction velocity falls, share per minute, 0–1, at most 1 by
        the end; median frequency falls with it (Merletti et al. 1990,
        doi 10.1152/jappl.1990.69.5.1810).
    with_truth : bool
        Return the truth beside the recording.
    subject, session, run : str
        How the recording is called.

    Returns
    -------
    Recording, or (Recording, Truth)
        Raw, in V at the amplifier's output (gain 20), wide band; its metadata says that it is
        simulated and holds all parameters.

    Raises
    ------
    InputError
        If a value is out of its range.
    """
    check_task(task)
    options = {"ecg": ecg, "mains": mains, "mains_hz": mains_hz, "noise": noise, "fatigue": fatigue}
    _check(duration_s, fs, seed, options)
    n_times = round(duration_s * fs)
    if n_times < 2:
        raise InputError(f"{duration_s:g} s at {fs:.7g} Hz is not even two samples; ask for more")
    person = traits or draw_subject(np.random.default_rng(seed))
    muscle_rng, artefact_rng = np.random.default_rng([seed, 1 + TASKS.index(task)]).spawn(2)
    data, truth = _muscles(task, person, duration_s, fs, fatigue, muscle_rng)
    ecg_rng, mains_rng, noise_rng = artefact_rng.spawn(3)
    if ecg:
        heart, beats_s = electrocardiogram(
            n_times, fs, peak=ecg, heart_rate_bpm=person.heart_rate_bpm, rng=ecg_rng
        )
        data += heart
        truth = replace(truth, heart_beats_s=beats_s)
    if mains:
        data += mains_hum(n_times, fs, amplitude=mains, mains_hz=mains_hz, rng=mains_rng)
    if noise:
        data += electronic_noise(n_times, fs, rms=noise, rng=noise_rng)
    recording = Recording(
        data=data.astype(np.float32),
        fs=fs,
        channel_names=CHANNEL_NAMES,
        muscles=(MUSCLE, MUSCLE),
        subject=subject,
        session=session,
        task=task,
        run=run,
        metadata={
            "simulated": True,
            "description": (
                "Simulated surface EMG of a motor-unit pool; not a measurement of a person."
            ),
            "unit": "V at the amplifier's output",
            "amplifier_gain": AMPLIFIER_GAIN,
            "inter_electrode_mm": INTER_ELECTRODE_MM,
            "mains_hz": mains_hz,
            "simulation": {"seed": int(seed), **options, "traits": asdict(person)},
        },
    )
    return (recording, truth) if with_truth else recording


def _muscles(
    task: str,
    person: SubjectTraits,
    duration_s: float,
    fs: float,
    fatigue: float,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float64], Truth]:
    """Both muscles without artefacts, (2, n_times) in volts, and the truth about them."""
    drive_rng, *firing_rngs = rng.spawn(3)
    # action potentials are centred on their discharge: those just after the end reach back into it
    n_frames = int(np.ceil((duration_s + _TAIL_S) * DRIVE_FS))
    n_times = round(duration_s * fs)
    activation = activation_profile(task, person, n_frames, drive_rng)
    pools = [
        draw_pool(pool_rng) for pool_rng in np.random.default_rng(person.anatomy_seed).spawn(2)
    ]
    data = np.empty((2, n_times))
    times, units = [], []
    for side, (pool, firing_rng) in enumerate(zip(pools, firing_rngs, strict=True)):
        side_times, side_units = firing_times(pool, activation[side], firing_rng)
        data[side] = render(
            pool, person.geometry, side_times, side_units, fs=fs, n_times=n_times, fatigue=fatigue
        )
        inside = side_times < duration_s
        times.append(side_times[inside])
        units.append(side_units[inside])
    data *= _VOLTS_PER_UNIT * person.gain
    truth = Truth(
        task=task,
        cadence_hz=person.task(task).cadence_hz,
        activation=activation[:, : int(np.ceil(duration_s * DRIVE_FS))],
        activation_fs=DRIVE_FS,
        threshold=np.stack([pool.threshold for pool in pools]),
        spike_times_s=np.concatenate(times),
        spike_units=np.concatenate(units),
        spike_channels=np.repeat([0, 1], [len(side) for side in times]),
        heart_beats_s=np.empty(0),
    )
    return data, truth


@overload
def simulate_dataset(
    *,
    n_subjects: int = ...,
    n_sessions: int = ...,
    tasks: Sequence[str] = ...,
    duration_s: float = ...,
    fs: float = ...,
    seed: int = ...,
    ecg: float = ...,
    mains: float = ...,
    mains_hz: float = ...,
    noise: float = ...,
    fatigue: float = ...,
    with_truth: Literal[False] = ...,
) -> Iterator[Recording]: ...
@overload
def simulate_dataset(
    *,
    n_subjects: int = ...,
    n_sessions: int = ...,
    tasks: Sequence[str] = ...,
    duration_s: float = ...,
    fs: float = ...,
    seed: int = ...,
    ecg: float = ...,
    mains: float = ...,
    mains_hz: float = ...,
    noise: float = ...,
    fatigue: float = ...,
    with_truth: Literal[True],
) -> Iterator[tuple[Recording, Truth]]: ...
def simulate_dataset(
    *,
    n_subjects: int = 12,
    n_sessions: int = 1,
    tasks: Sequence[str] = TASKS,
    duration_s: float = 60.0,
    fs: float = 2000.0,
    seed: int = 0,
    ecg: float = 0.0,
    mains: float = 0.0,
    mains_hz: float = 50.0,
    noise: float = NOISE_RMS,
    fatigue: float = 0.0,
    with_truth: bool = False,
) -> Iterator[Recording] | Iterator[tuple[Recording, Truth]]:
    """Simulate a cohort, one recording at a time.

    Subject, session and task each have their own random stream: the first subjects of a large
    cohort are those of a small one, and leaving a task out changes no other recording.

    Parameters
    ----------
    n_subjects, n_sessions : int
        People, and visits of each; ≥ 1. A single visit gets no session name.
    tasks : sequence of str
        Any of `TASKS`, each once.
    duration_s, fs, ecg, mains, mains_hz, noise, fatigue, with_truth
        As in `simulate_recording`.
    seed : int
        ≥ 0; the same seed gives the same bytes.

    Returns
    -------
    iterator of Recording, or of (Recording, Truth)
        By subject, session and task.

    Raises
    ------
    InputError
        If a value is out of its range; raised at the call, before the first recording.
    """
    _check_whole("n_subjects", n_subjects, 1)
    _check_whole("n_sessions", n_sessions, 1)
    if isinstance(tasks, str) or not tasks or len(set(tasks)) != len(tasks):
        raise InputError(
            f"tasks must be one or more of {', '.join(TASKS)}, each once, not {tasks!r}"
        )
    for task in tasks:
        check_task(task)
    options = {"ecg": ecg, "mains": mains, "mains_hz": mains_hz, "noise": noise, "fatigue": fatigue}
    _check(duration_s, fs, seed, options)

    def recordings() -> Iterator[Any]:
        for subject, session in np.ndindex(n_subjects, n_sessions):
            person = draw_subject(np.random.default_rng([seed, subject]))
            visit = vary_session(person, np.random.default_rng([seed, subject, 1 + session]))
            visit_seed = np.random.SeedSequence([seed, subject, session, 1]).generate_state(1)[0]
            for task in tasks:
                yield simulate_recording(
                    task,
                    traits=visit,
                    duration_s=duration_s,
                    fs=fs,
                    seed=int(visit_seed),
                    **options,
                    with_truth=with_truth,  # type: ignore[call-overload]
                    subject=f"{subject + 1:02d}",
                    session=f"{session + 1:02d}" if n_sessions > 1 else "",
                )

    return recordings()


def _check(duration_s: float, fs: float, seed: int, options: dict[str, float]) -> None:
    _check_whole("seed", seed, 0)
    for name, value in {"duration_s": duration_s, "fs": fs, **options}.items():
        if isinstance(value, bool) or not isinstance(value, Real) or not np.isfinite(value):
            raise InputError(f"{name} must be a finite number, not {value!r}")
        if value < 0:
            raise InputError(f"{name} must not be negative, got {value!r}")
    if not 0 < duration_s <= _LONGEST_S:
        raise InputError(f"duration_s must be above 0 s and at most a day, not {duration_s!r}")
    if not _LOWEST_FS <= fs <= _HIGHEST_FS:
        raise InputError(
            f"fs must lie within {_LOWEST_FS:g}–{_HIGHEST_FS:g} Hz to hold EMG, not {fs!r}; "
            "resample afterwards where another rate is wanted"
        )
    if options["mains"] and not _MAINS_HZ[0] <= options["mains_hz"] <= _MAINS_HZ[1]:
        raise InputError(f"mains_hz is 50 or 60 Hz the world over, not {options['mains_hz']!r}")
    if options["fatigue"] > 1:
        raise InputError(f"fatigue is a share per minute, at most 1, not {options['fatigue']!r}")
    if options["fatigue"] * duration_s / 60 > _DEEPEST_FATIGUE:
        raise InputError(
            f"fatigue {options['fatigue']:g} per minute over {duration_s:g} s would all but stop "
            f"conduction; keep their product below {_DEEPEST_FATIGUE:g} (a fall to 37 %)"
        )


def _check_whole(name: str, value: int, lowest: int) -> None:
    if isinstance(value, bool) or not isinstance(value, Integral) or value < lowest:
        raise InputError(f"{name} must be a whole number, {lowest} or above, not {value!r}")
