"""MMH surface EMG of known truth, built from motor units: the default data and the ground truth."""

from myosynth.simulation.emg import CHANNEL_NAMES, NOISE_RMS, simulate_dataset, simulate_recording
from myosynth.simulation.tasks import (
    TASKS,
    SubjectTraits,
    TaskTraits,
    draw_subject,
    vary_session,
)
from myosynth.simulation.truth import Truth, write_truth

__all__ = [
    "CHANNEL_NAMES",
    "NOISE_RMS",
    "TASKS",
    "SubjectTraits",
    "TaskTraits",
    "Truth",
    "draw_subject",
    "simulate_dataset",
    "simulate_recording",
    "vary_session",
    "write_truth",
]
