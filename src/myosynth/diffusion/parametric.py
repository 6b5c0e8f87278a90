"""A generator of few parameters, private for each subject: the honest rival of the networks."""

import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr

from myosynth.diffusion.autoregression import (
    NAMES,
    draw,
    measure,
    public_centre,
    public_half_width,
)
from myosynth.errors import CheckpointError, FormatError, InputError, NotEnoughDataError
from myosynth.recordings import SegmentSet
from myosynth.storage import atomic_directory, read_json, write_json

__all__ = ["ParametricGenerator", "fit_parametric", "gaussian_noise", "is_parametric"]

Array = NDArray[np.float64]

SCHEMA = "myosynth-parametric/1"
_CONFIG = "config.json"
_PRESENT = 1.0  # what one subject adds to the count of a task
_BLOCK = 64


def gaussian_noise(epsilon: float, delta: float, sensitivity: float) -> float:
    """Least standard deviation of Gaussian noise that gives (epsilon, delta)-privacy.

    Source: Balle & Wang 2018 (arXiv 1805.06530), theorem 8, solved by bisection.
    """

    def failure(sigma: float) -> float:
        a, b = sensitivity / (2 * sigma), epsilon * sigma / sensitivity
        return float(np.exp(log_ndtr(a - b)) - np.exp(epsilon + log_ndtr(-a - b)))

    low, high = 1e-9 * sensitivity, sensitivity
    while failure(high) > delta:
        high *= 2
    for _ in range(200):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if failure(middle) > delta else (low, middle)
    return high


@dataclass(frozen=True)
class ParametricGenerator:
    """Filtered noise under a slow envelope, with parameters by task and channel.

    Channels are drawn apart: it knows no coordination between muscles, no posture within a task
    and no waveform. See `myosynth.diffusion.autoregression` for the parameters.

    Parameters
    ----------
    fs : float
        Hz.
    n_times : int
        Samples of one segment.
    channel_names, muscles : tuple of str
        By channel.
    parameters : dict of str to array, (n_channels, n_parameters)
        By task.
    privacy : mapping
        What is protected, and by how much noise.
    """

    fs: float
    n_times: int
    channel_names: tuple[str, ...]
    muscles: tuple[str, ...]
    parameters: Mapping[str, Array]
    privacy: Mapping[str, Any]

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks it knows."""
        return tuple(self.parameters)

    @property
    def seconds(self) -> float:
        """Length of one segment, s."""
        return self.n_times / self.fs

    @property
    def config(self) -> dict[str, Any]:
        """What its config.json holds."""
        return {
            "schema": SCHEMA,
            "fs": self.fs,
            "n_times": self.n_times,
            "channel_names": list(self.channel_names),
            "muscles": list(self.muscles),
            "names": list(NAMES),
            "parameters": {task: values.tolist() for task, values in self.parameters.items()},
            "privacy": dict(self.privacy),
        }

    def sample(self, task: str, n_segments: int = 1, *, seed: int = 0) -> SegmentSet:
        """Draw segments of one task, in volts; segment i does not depend on `n_segments`.

        Raises
        ------
        InputError
            If the task is unknown or a number is below its least.
        """
        if task not in self.parameters:
            raise InputError(f"the model knows the tasks {', '.join(self.tasks)}, not {task!r}")
        if n_segments < 1 or seed < 0:
            raise InputError(
                f"n_segments must be 1 or more and seed 0 or more, not {n_segments} and {seed}"
            )
        signals = np.empty((n_segments, len(self.channel_names), self.n_times), dtype=np.float32)
        for i in range(n_segments):
            rng = np.random.default_rng([seed, i])
            for channel, parameters in enumerate(self.parameters[task]):
                signals[i, channel] = draw(parameters, self.n_times, self.fs, rng)
        return SegmentSet(
            signals,
            self.fs,
            task,
            channel_names=self.channel_names,
            muscles=self.muscles,
            metadata={"synthetic": True, "seed": seed, "model": {"kind": "parametric"}},
        )

    def loss(self, segments: SegmentSet) -> Array:
        """How far segments lie from the parameters: what an attacker with the model can look at.

        Parameters
        ----------
        segments : SegmentSet
            n segments of known tasks.

        Returns
        -------
        array, (n, 3)
            Mean squares over channels and parameters, in half widths of their public ranges, of
            level, envelope and spectrum.

        Raises
        ------
        InputError
            If a task is unknown or the number of channels another one.
        """
        tasks = segments.task.tolist()
        unknown = sorted(set(tasks) - set(self.parameters))
        if unknown:
            raise InputError(
                f"the model knows the tasks {', '.join(self.tasks)}, not {', '.join(unknown)}"
            )
        if segments.n_channels != len(self.channel_names):
            raise InputError(
                f"the model has {len(self.channel_names)} channels, the segments have "
                f"{segments.n_channels}"
            )
        own = np.stack([self.parameters[name] for name in tasks])
        squares = ((measure(segments.read(), self.fs) - own) / public_half_width()) ** 2
        parts = (slice(0, 1), slice(2, 4), slice(4, None))
        return np.stack([squares[..., part].mean(axis=(1, 2)) for part in parts], axis=1)

    def save_pretrained(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write a model folder: config.json alone."""
        with atomic_directory(path, overwrite=overwrite) as folder:
            write_json(folder / _CONFIG, self.config)

    @staticmethod
    def from_pretrained(path: str | Path) -> "ParametricGenerator":
        """Read a model folder.

        Raises
        ------
        CheckpointError
            If its config.json is missing, damaged or of another kind.
        """
        file = Path(path) / _CONFIG
        try:
            content = read_json(file)
            if content["schema"] != SCHEMA or content["names"] != list(NAMES):
                raise ValueError(f"schema {content['schema']!r}")
            channels = tuple(map(str, content["channel_names"]))
            parameters = {
                str(task): np.array(values, dtype=np.float64)
                for task, values in content["parameters"].items()
            }
            for values in parameters.values():
                if values.shape != (len(channels), len(NAMES)) or not np.isfinite(values).all():
                    raise ValueError("parameters of a wrong shape, or not finite")
            return ParametricGenerator(
                float(content["fs"]),
                int(content["n_times"]),
                channels,
                tuple(map(str, content["muscles"])),
                parameters,
                dict(content["privacy"]),
            )
        except (FormatError, OSError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(
                f"{file} is missing, damaged or no parametric model ({error}); restore it or train "
                "again"
            ) from error


def is_parametric(path: str | Path) -> bool:
    """Whether a folder holds a `ParametricGenerator`."""
    try:
        content = read_json(Path(path) / _CONFIG)
    except (FormatError, OSError):
        return False
    return isinstance(content, Mapping) and content.get("schema") == SCHEMA


def fit_parametric(
    segments: SegmentSet, *, epsilon: float = 8.0, delta: float = 1e-5, seed: int | None = None
) -> ParametricGenerator:
    """Average the parameters over subjects, with noise that hides whether any one took part.

    The unit is the subject: the guarantee is about one person more or less, with all of their
    segments. Each person gives one vector (their means by task and channel, in units of public
    ranges), clipped to a fixed length; the Gaussian mechanism is applied once, to the sum of these
    vectors and the counts of people by task together. Taken as known to everybody: names of tasks
    and channels, the sampling rate, the segments' length and the pass band.

    Parameters
    ----------
    segments : SegmentSet
        With `subject`; rows of the train split, or without any split, count.
    epsilon, delta : float
        Budget for each subject.
    seed : int, optional
        Of the noise. Who knows it can take the noise away: leave it out but in tests.

    Raises
    ------
    InputError
        If the budget is out of range, or segments do not say whose they are.
    NotEnoughDataError
        If there are fewer than two subjects.
    """
    if not (0 < epsilon < math.inf and 0 < delta < 1):
        raise InputError(f"epsilon must be above 0 and delta within 0 to 1, not {epsilon}, {delta}")
    rows = np.flatnonzero((segments.split == "train") | (segments.split == ""))
    subjects = sorted(set(segments.subject[rows].tolist()))
    if "" in subjects:
        raise InputError("some training segments do not say whose they are; fill in the subject")
    if len(subjects) < 2:
        raise NotEnoughDataError(f"there are {len(subjects)} training subjects; at least 2 needed")
    tasks = sorted(set(segments.task[rows].tolist()))
    centre = public_centre(segments.fs, _band(segments))
    half = public_half_width()
    vectors = np.stack([
        _subject_vector(segments, rows[segments.subject[rows] == name], tasks, centre, half)
        for name in subjects
    ])  # fmt: skip
    longest = 0.5 * math.sqrt(vectors.shape[1])
    sigma = gaussian_noise(epsilon, delta, longest)
    rng = np.random.default_rng(secrets.randbits(128) if seed is None else seed)
    total = _clipped(vectors, longest).sum(axis=0) + sigma * rng.standard_normal(vectors.shape[1])
    means = total.reshape(len(tasks), -1)
    counts = np.maximum(means[:, :1] / _PRESENT, 1.0)
    standard = np.clip(means[:, 1:] / counts, -1, 1).reshape(len(tasks), segments.n_channels, -1)
    return ParametricGenerator(
        segments.fs,
        segments.n_times,
        tuple(segments.channel_names),
        tuple(segments.muscles),
        dict(zip(tasks, centre + half * standard, strict=True)),
        _facts(epsilon, delta, longest, sigma),
    )


def _facts(epsilon: float, delta: float, sensitivity: float, sigma: float) -> dict[str, Any]:
    return {
        "epsilon": epsilon,
        "delta": delta,
        "privacy_unit": "subject",
        "neighbours": "one training subject added or removed, with all segments",
        "mechanism": "Gaussian mechanism on the sum of clipped subject vectors (arXiv 1805.06530)",
        "covers": "all parameters",
        "not_covered": [
            "names of tasks and channels, sampling rate, length of segments, pass band"
        ],
        "sensitivity": sensitivity,
        "noise_std": sigma,
    }


def _band(segments: SegmentSet) -> tuple[float, float]:
    for each in segments.metadata.get("filters", []):
        if each.get("name") == "bandpass":
            return float(each["low_hz"]), float(each["high_hz"])
    return 10.0, min(500.0, 0.45 * segments.fs)


def _subject_vector(
    segments: SegmentSet, rows: NDArray[np.intp], tasks: list[str], centre: Array, half: Array
) -> Array:
    """By task: presence, then the subject's means by channel within ±1; zeros without the task."""
    width = segments.n_channels * len(NAMES)
    vector = np.zeros((len(tasks), 1 + width))
    for number, task in enumerate(tasks):
        own = rows[segments.task[rows] == task]
        if not len(own):
            continue
        blocks = [own[i : i + _BLOCK] for i in range(0, len(own), _BLOCK)]
        found = np.concatenate([measure(segments.read(each), segments.fs) for each in blocks])
        mean = found.mean(axis=0)
        mean[:, 1] = np.log(np.maximum(found[..., 0].std(axis=0), 1e-3))
        vector[number, 0] = _PRESENT
        vector[number, 1:] = np.clip((mean - centre) / half, -1, 1).ravel()
    return vector.ravel()


def _clipped(vectors: Array, longest: float) -> Array:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    result: Array = vectors * np.minimum(1.0, longest / np.maximum(length, 1e-12))
    return result
