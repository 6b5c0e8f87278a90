"""The four manual-material-handling tasks and the people who do them."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from myosynth.errors import InputError
from myosynth.simulation.motor_units import DRIVE_FS, DetectionGeometry

__all__ = [
    "TASKS",
    "SubjectTraits",
    "TaskTraits",
    "activation_profile",
    "check_task",
    "draw_subject",
    "vary_session",
]

TASKS = ("pull", "push", "squat", "stoop")

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _TaskTemplate:
    """Means over people.

    Parameters
    ----------
    peak : float
        Excitation at the top of a burst, or held, as a share of the maximum. Chosen so that the
        amplitudes are those of the HFES 2024 paper (doi 10.1177/10711813241276462): about 4e-3,
        2e-3, 1e-2 and 1e-3 V. That stoop lifting comes out lowest agrees with the silence of the
        erector spinae in full flexion (Floyd & Silver 1955, doi 10.1113/jphysiol.1955.sp005347).
    rest : float
        Excitation between the bursts (posture), relative to `peak`.
    cadence_hz : float
        Bursts per second; 0 for a sustained task.
    duty : float
        Share of the cycle that a burst takes; 1 for a sustained task.
    """

    peak: float
    rest: float
    cadence_hz: float
    duty: float


_TEMPLATES = {
    "pull": _TaskTemplate(peak=0.45, rest=0.22, cadence_hz=1.1, duty=0.50),
    "push": _TaskTemplate(peak=0.20, rest=0.28, cadence_hz=1.8, duty=0.55),
    "squat": _TaskTemplate(peak=0.60, rest=1.0, cadence_hz=0.0, duty=1.0),
    "stoop": _TaskTemplate(peak=0.056, rest=1.0, cadence_hz=0.0, duty=1.0),
}

# Variability: standard deviations of the logarithm unless said otherwise. Between people after the
# spread of amplitudes that surface EMG is known for; between visits a quarter to a third of it.
_BETWEEN_SUBJECTS = {"gain": 0.15, "effort": 0.12, "task_effort": 0.08, "cadence": 0.16}
_BETWEEN_SESSIONS = {"gain": 0.05, "task_effort": 0.03, "cadence": 0.03}
_ELECTRODE_SHIFT_MM = 2.0  # replacement error between visits, standard deviation
_CYCLE_LENGTH = 0.05  # between cycles
_CYCLE_PEAK = 0.15  # between cycles
_REPETITION_S = 6.0  # mean length of one lift of a sustained task, s
_REPETITION_LEVEL = 0.10  # between lifts
_COMMON_DRIVE = 0.16  # fluctuation shared by both sides (De Luca & Erim 1994)
_OWN_DRIVE = 0.10  # fluctuation of one side
_DRIVE_TIME_S = 0.25  # its correlation time, s: most of the power below 1–2 Hz


@dataclass(frozen=True)
class TaskTraits:
    """How one person does one task.

    Parameters
    ----------
    effort : float
        Factor on the task's mean excitation, > 0.
    cadence_hz : float
        Bursts per second, 0.5–4; 0 for a sustained task.
    duty : float
        Share of the cycle that a burst takes, in (0, 1]; 1 for a sustained task.
    """

    effort: float
    cadence_hz: float
    duty: float


@dataclass(frozen=True)
class SubjectTraits:
    """What makes one simulated person's EMG differ from another's.

    Parameters
    ----------
    anatomy_seed : int
        Seeds the places of the motor units below both electrodes; fixed for life.
    gain : float
        Factor on the amplitude (skin, electrode), > 0.
    tissue_mm : float
        Skin and fat over the muscle, mm; more of it lowers amplitude and spectrum.
    velocity_m_s : float
        Mean muscle-fibre conduction velocity, m/s (3–5 in healthy muscle, Farina & Merletti 2004).
    electrode_shift_mm : float
        Displacement of the electrodes along the fibres, mm.
    balance : float
        Left minus right logarithm of excitation, about 0.
    lag_ms : float
        By how much the right side follows the left, ms.
    heart_rate_bpm : float
        Beats per minute.
    pull, push, squat, stoop : TaskTraits
        How the person does each task.
    """

    anatomy_seed: int
    gain: float
    tissue_mm: float
    velocity_m_s: float
    electrode_shift_mm: float
    balance: float
    lag_ms: float
    heart_rate_bpm: float
    pull: TaskTraits
    push: TaskTraits
    squat: TaskTraits
    stoop: TaskTraits

    def task(self, task: str) -> TaskTraits:
        """The traits of the named task; an unknown one raises `InputError`."""
        traits: TaskTraits = getattr(self, check_task(task))
        return traits

    @property
    def geometry(self) -> DetectionGeometry:
        """How the electrodes see the motor units."""
        return DetectionGeometry(self.tissue_mm, self.velocity_m_s, self.electrode_shift_mm)


def check_task(task: str) -> str:
    """Return `task`, or raise `InputError` where the simulator does not know it."""
    if task not in TASKS:
        raise InputError(f"the simulator knows the tasks {', '.join(TASKS)}, not {task!r}")
    return task


def draw_subject(rng: np.random.Generator) -> SubjectTraits:
    """Draw a person.

    Parameters
    ----------
    rng : Generator
        The same state gives the same person.

    Returns
    -------
    SubjectTraits
    """
    spread = _BETWEEN_SUBJECTS
    effort = _log_normal(rng, spread["effort"])
    tasks = {}
    for task, template in _TEMPLATES.items():
        cadence = template.cadence_hz * _log_normal(rng, spread["cadence"])
        duty = template.duty + rng.uniform(-0.1, 0.1)
        tasks[task] = TaskTraits(
            effort=effort * _log_normal(rng, spread["task_effort"]),
            cadence_hz=float(np.clip(cadence, 0.6, 3.5)) if template.cadence_hz else 0.0,
            duty=float(duty) if template.cadence_hz else 1.0,
        )
    return SubjectTraits(
        anatomy_seed=int(rng.integers(2**31)),
        gain=_log_normal(rng, spread["gain"]),
        tissue_mm=float(rng.uniform(4.0, 9.0)),
        velocity_m_s=float(np.clip(rng.normal(4.0, 0.35), 3.2, 4.9)),
        electrode_shift_mm=0.0,
        balance=float(rng.normal(0.0, 0.08)),
        lag_ms=float(rng.uniform(-40.0, 40.0)),
        heart_rate_bpm=float(np.clip(rng.normal(85.0, 10.0), 60.0, 120.0)),
        **tasks,
    )


def vary_session(traits: SubjectTraits, rng: np.random.Generator) -> SubjectTraits:
    """The same person on another day: electrodes put on anew, effort and cadence a little changed.

    Parameters
    ----------
    traits : SubjectTraits
    rng : Generator

    Returns
    -------
    SubjectTraits
        With the same anatomy.
    """
    spread = _BETWEEN_SESSIONS
    tasks = {
        task: replace(
            traits.task(task),
            effort=traits.task(task).effort * _log_normal(rng, spread["task_effort"]),
            cadence_hz=traits.task(task).cadence_hz * _log_normal(rng, spread["cadence"]),
        )
        for task in TASKS
    }
    return replace(
        traits,
        gain=traits.gain * _log_normal(rng, spread["gain"]),
        electrode_shift_mm=traits.electrode_shift_mm + float(rng.normal(0.0, _ELECTRODE_SHIFT_MM)),
        heart_rate_bpm=traits.heart_rate_bpm * _log_normal(rng, 0.05),
        pull=tasks["pull"],
        push=tasks["push"],
        squat=tasks["squat"],
        stoop=tasks["stoop"],
    )


def activation_profile(
    task: str, traits: SubjectTraits, n_frames: int, rng: np.random.Generator
) -> Floats:
    """Excitation of the left and the right muscle.

    Parameters
    ----------
    task : str
        One of `TASKS`.
    traits : SubjectTraits
    n_frames : int
        Length at `DRIVE_FS`.
    rng : Generator

    Returns
    -------
    array, (2, n_frames)
        Share of the maximal excitation, in [0, 1].
    """
    template, own = _TEMPLATES[check_task(task)], traits.task(task)
    cycles_rng, *drive_rngs = rng.spawn(4)
    seconds = np.arange(n_frames) / DRIVE_FS
    lags_s = (0.0, traits.lag_ms * 1e-3)
    if own.cadence_hz:
        shape = _bursts(seconds, lags_s, own, template.rest, cycles_rng)
    else:
        shape = _holds(seconds, lags_s, cycles_rng)
    shared, left, right = (_fluctuation(n_frames, drive_rng) for drive_rng in drive_rngs)
    fluctuation = _COMMON_DRIVE * shared + _OWN_DRIVE * np.stack([left, right])
    balance = np.array([[0.5], [-0.5]]) * traits.balance
    activation = template.peak * own.effort * shape * np.exp(balance + fluctuation)
    return np.clip(activation, 0.0, 1.0)


def _bursts(
    seconds: Floats,
    lags_s: tuple[float, float],
    own: TaskTraits,
    rest: float,
    rng: np.random.Generator,
) -> Floats:
    """Bursts of sin² shape; every cycle has its own length and height."""
    # the lagging side looks back or ahead by less than a cycle: start two early, end two late
    n_cycles = int(1.5 * (seconds[-1] + 1) * own.cadence_hz) + 12
    lengths = np.exp(_CYCLE_LENGTH * rng.standard_normal(n_cycles)) / own.cadence_hz
    heights = np.exp(_CYCLE_PEAK * rng.standard_normal(n_cycles))
    onsets = np.cumsum(lengths) - lengths[0] * (2 + rng.uniform())
    shape = np.empty((2, len(seconds)))
    for side, lag_s in enumerate(lags_s):
        moment = seconds - lag_s
        cycle = np.searchsorted(onsets, moment, side="right") - 1
        phase = (moment - onsets[cycle]) / lengths[(cycle + 1) % n_cycles] / own.duty
        burst = np.where(phase < 1, np.sin(np.pi * np.minimum(phase, 1.0)) ** 2, 0.0)
        shape[side] = rest + (1 - rest) * heights[cycle] * burst
    return shape


def _holds(seconds: Floats, lags_s: tuple[float, float], rng: np.random.Generator) -> Floats:
    """Lift after lift, each held at its own level, with soft changes between them."""
    n_lifts = int(3 * (seconds[-1] + 1) / _REPETITION_S) + 4
    knots = np.cumsum(rng.uniform(0.5, 1.5, n_lifts) * _REPETITION_S) - 2 * _REPETITION_S
    levels = np.exp(_REPETITION_LEVEL * rng.standard_normal(n_lifts))
    return np.stack([np.interp(seconds - lag_s, knots, levels) for lag_s in lags_s])


def _fluctuation(n_frames: int, rng: np.random.Generator) -> Floats:
    """Stationary first-order noise of unit variance."""
    pole = np.exp(-1 / (_DRIVE_TIME_S * DRIVE_FS))
    white = rng.standard_normal(n_frames)
    white[0] /= np.sqrt(1 - pole**2)
    return np.asarray(lfilter([np.sqrt(1 - pole**2)], [1.0, -pole], white))


def _log_normal(rng: np.random.Generator, sd: float) -> float:
    return float(np.exp(sd * rng.standard_normal()))
