"""`Synthesizer`: a trained model that makes segments."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from myosynth.diffusion.conditions import overall_effort
from myosynth.diffusion.crew import Crew
from myosynth.diffusion.denoiser import Condition, spectral_loss
from myosynth.diffusion.drawing import BATCH, BATCHES_OF_A_MAP, Draws
from myosynth.diffusion.encoding import features_of, to_shape
from myosynth.diffusion.model import Model, load_model, save_model
from myosynth.errors import InputError
from myosynth.recordings import FloatArray, SegmentSet

__all__ = ["DEFAULT_SAMPLER", "DEFAULT_STEPS", "Synthesizer"]

DEFAULT_SAMPLER = "dpmsolver++"
DEFAULT_STEPS, DEFAULT_STEPS_OF_ONE_STAGE = 4, 15
_LOSS_SIGMAS = (0.1, 0.3, 1.0)


class Synthesizer:
    """Draws synthetic segments from a trained model.

    Parameters
    ----------
    model : Model
        As `load_model` gives it.
    """

    def __init__(self, model: Model) -> None:
        self._model = model.eval()

    @classmethod
    def from_pretrained(cls, path: str | Path) -> "Synthesizer":
        """Read a model folder.

        Raises
        ------
        CheckpointError
            If a file is missing or damaged.
        """
        return cls(load_model(path))

    def save_pretrained(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write a model folder: config.json and model.safetensors, whole or not at all."""
        save_model(self._model, path, overwrite=overwrite)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks it knows."""
        return self._model.conditions.tasks

    @property
    def fs(self) -> float:
        """Sampling rate, Hz."""
        return self._model.description.fs

    @property
    def channel_names(self) -> tuple[str, ...]:
        return self._model.description.channel_names

    @property
    def muscles(self) -> tuple[str, ...]:
        return self._model.description.muscles

    @property
    def n_times(self) -> int:
        """Samples of one segment of the length it was trained on."""
        return self._model.description.n_times

    @property
    def seconds(self) -> float:
        """Length of the segments it was trained on, s."""
        return self.n_times / self.fs

    @property
    def config(self) -> dict[str, Any]:
        """What its config.json holds."""
        return self._model.config()

    def effort_range(self, task: str) -> tuple[float, float]:
        """Smallest and largest effort (ln V, over all channels) of a task seen in training."""
        self._model.conditions.task_id(task)
        density = self._model.conditions.efforts[task]
        return density.low, density.high

    def sample(
        self,
        task: str | None = None,
        n_segments: int = 1,
        *,
        effort: float | Sequence[float] | None = None,
        seconds: float | None = None,
        seed: int = 0,
        guidance_scale: float = 1.0,
        sampler: str | None = None,
        n_steps: int | None = None,
        batch_size: int | None = None,
        conditions: Mapping[str, Any] | None = None,
        allow_extrapolation: bool = False,
        threads: int | None = None,
        on_progress: Callable[[float], None] | None = None,
    ) -> SegmentSet:
        """Draw segments of one task.

        Parameters
        ----------
        task : str, optional
            One of `tasks`; None draws from the null task, which is all tasks mixed.
        n_segments : int
            How many, ≥ 1.
        effort : float or sequence of float, optional
            Natural logarithm of the RMS over all channels (RMS in volts), for all segments or for
            each; drawn from the density of the task where not given.
        seconds : float, optional
            Length; longer than in training is drawn without a seam, shorter is cut from a segment.
        seed : int
            Same seed, same bytes; segment i does not depend on `n_segments`. The segments of a seed
            fill the densities evenly, and so are no independent sample: take seeds for that.
        guidance_scale : float
            1 = plain conditional; above 1 the task is exaggerated and variety narrows.
        sampler : str, optional
            A name in `SAMPLERS`.
        n_steps : int, optional
            Steps of the sampler for the planes, 4 by default (15 with one stage); the envelope map
            takes three times as many.
        batch_size : int, optional
            Segments whose planes are denoised together (of their maps, four times as many; of long
            ones, a few windows of each); changes the result by rounding at most.
        conditions : mapping, optional
            Values of further columns that the model was trained with; others count as missing.
        allow_extrapolation : bool
            Permit an effort outside the range of the task that was seen in training.
        threads : int, optional
            Batches that are drawn at the same time, one thread each; as many as torch takes
            threads by itself but at most 8 by default. The result does not depend on it.
        on_progress : callable, optional
            Called with the share done, 0–1.

        Returns
        -------
        SegmentSet
            In volts; column ``effort`` holds the log RMS asked for.

        Raises
        ------
        InputError
            If the task, a condition or a number is not what the model takes, or if the sampler
            takes too few steps to settle.
        """
        n_times = self._check(n_segments, seconds, guidance_scale, batch_size, seed)
        task_id = self._model.conditions.task_id(task)
        batch = batch_size or max(1, min(BATCH, BATCH * self.n_times // n_times))
        parts: list[FloatArray] = []
        two = "envelope" in self._model.stages
        draws = Draws(
            self._model,
            sampler or DEFAULT_SAMPLER,
            n_steps or (DEFAULT_STEPS if two else DEFAULT_STEPS_OF_ONE_STAGE),
            guidance_scale,
            n_times,
            seed,
        )
        places = draws.effort_places(n_segments)
        efforts = self._efforts(task, places, effort, seed, allow_extrapolation)
        features = self._features(efforts, conditions or {})

        # long segments are batches enough
        together = BATCHES_OF_A_MAP if n_times <= self.n_times else 1

        # the last batch is filled up, or its size would change the bits of its segments
        def block(start: int) -> Tensor:
            index = np.arange(start, start + together * batch)
            return draws.envelopes(index, task_id, features[np.minimum(index, n_segments - 1)])

        def one(item: tuple[int, Tensor]) -> FloatArray:
            start, envelope = item
            index = np.arange(start, start + batch)
            rows = np.minimum(index, n_segments - 1)
            made = draws.signals(index, task_id, features[rows], efforts[rows], envelope)
            return made[: n_segments - start]

        crew = Crew(threads or min(8, torch.get_num_threads()))
        at_once = crew.n_threads * together * batch
        with crew.working():
            for first in range(0, n_segments, at_once):
                starts = range(first, min(n_segments, first + at_once), batch)
                envelopes = torch.split(torch.cat(crew.map(block, starts[::together])), batch)
                for made in crew.stream(one, zip(starts, envelopes, strict=False)):
                    parts.append(made)
                    if on_progress is not None:
                        on_progress(min(1.0, len(parts) * batch / n_segments))
        columns: dict[str, Any] = {"effort": overall_effort(efforts)}
        for name, value in (conditions or {}).items():
            columns[name] = np.full(n_segments, value)
        return SegmentSet(
            np.concatenate(parts),
            self.fs,
            task or "",
            channel_names=self.channel_names,
            muscles=self.muscles,
            columns=columns,
            metadata={"synthetic": True, "seed": seed, "model": self._facts()},
        )

    def round_trip(self, signals: FloatArray) -> FloatArray:
        """Segments (n, n_channels, n_times) in volts through the representation and back.

        No network is involved: it shows what the representation alone costs.
        """
        codec = self._model.codec
        parts = []
        with torch.inference_mode():
            for start in range(0, len(signals), 64):
                block = torch.from_numpy(np.asarray(signals[start : start + 64], np.float32))
                shape, effort = codec.to_shape(block)
                envelope, planes = codec.encode(shape)
                back = codec.from_shape(codec.decode(envelope, planes, block.shape[-1]), effort)
                parts.append(back.numpy())
        return np.concatenate(parts)

    def loss(
        self,
        segments: SegmentSet,
        *,
        sigmas: Sequence[float] = _LOSS_SIGMAS,
        n_noise: int = 4,
        seed: int = 0,
    ) -> NDArray[np.float64]:
        """Losses of segments at fixed noise: what an attacker with the model can look at.

        Parameters
        ----------
        segments : SegmentSet
            n segments of known tasks, of the length of training where the model has descriptors.
            Further conditions that it has no column of count as missing.
        sigmas : sequence of float
            Noise levels.
        n_noise : int
            Draws of noise averaged over; every segment meets the same ones.
        seed : int
            Of the noise.

        Returns
        -------
        array, (n, n_stages · n_sigmas), or one column more
            Stage by stage (envelope, planes), in the order of `sigmas`; before them, where the
            model has descriptors, −2 ln of their density up to a constant.
        """
        blocks = [np.arange(i, min(i + 64, len(segments))) for i in range(0, len(segments), 64)]
        return np.concatenate([
            self._losses(segments, rows, sigmas, n_noise, seed) for rows in blocks
        ])  # fmt: skip

    # -- parts of the above

    def _losses(
        self,
        segments: SegmentSet,
        rows: NDArray[np.intp],
        sigmas: Sequence[float],
        n: int,
        seed: int,
    ) -> NDArray[np.float64]:
        model = self._model
        shape, effort = to_shape(segments.read(rows), model.codec)
        features = features_of(segments, rows, model.conditions, effort)
        ids = [model.conditions.task_id(each) for each in segments.task[rows].tolist()]
        task_id = torch.tensor(ids)
        columns = []
        with torch.inference_mode():
            envelope, planes = model.codec.encode(shape)
            given = torch.from_numpy(features)
            if "envelope" in model.stages:
                bands, told = model.first_stage(envelope, given)
            if model.descriptors is not None:
                described = told[:, given.shape[1] :]
                known = model.conditions.known(features)
                density = model.descriptors.density()
                surprise = density.surprise(task_id.numpy(), features, known, described)
                columns.append(torch.from_numpy(surprise))
            for name in model.stages:
                if name == "envelope":
                    clean, condition = bands, Condition(task_id, told)
                else:
                    clean, condition = planes, Condition(task_id, given, model.extra(envelope))
                generator = torch.Generator().manual_seed(seed)
                noises = [torch.randn(clean.shape[1:], generator=generator) for _ in range(n)]
                for sigma in sigmas:
                    level = torch.full((len(clean),), float(sigma))
                    each = [
                        spectral_loss(
                            model.stage(name), clean, condition, level, noise.expand(clean.shape)
                        )[0]
                        for noise in noises
                    ]
                    columns.append(torch.stack(each).mean(0))
        table: NDArray[np.float64] = torch.stack(columns, dim=1).double().numpy()
        return table

    def _check(
        self,
        n_segments: int,
        seconds: float | None,
        guidance_scale: float,
        batch_size: int | None,
        seed: int,
    ) -> int:
        if n_segments < 1 or (batch_size is not None and batch_size < 1):
            raise InputError(
                f"n_segments and batch_size must be 1 or more, not {n_segments} and {batch_size}"
            )
        if seed < 0:
            raise InputError(f"seed must be 0 or more, not {seed}")
        if not 0 <= guidance_scale <= 100:
            raise InputError(f"guidance_scale must lie within 0 to 100, not {guidance_scale}")
        if seconds is None:
            return self.n_times
        n_times = round(seconds * self.fs) if np.isfinite(seconds) else 0
        if not 2 <= n_times <= 3600 * self.fs:
            raise InputError(f"seconds must be above 0 and at most an hour, not {seconds}")
        return n_times

    def _efforts(
        self,
        task: str | None,
        places: NDArray[np.float64],
        asked: float | Sequence[float] | None,
        seed: int,
        allow_extrapolation: bool,
    ) -> NDArray[np.float64]:
        densities = self._model.conditions.efforts
        names = list(densities)
        wanted: NDArray[Any] | None = None
        if asked is not None:
            wanted = np.broadcast_to(np.asarray(asked, dtype=np.float64), (len(places),))
            self._check_efforts(task, wanted, allow_extrapolation)
        efforts = np.empty((len(places), len(self.channel_names)))
        for i, place in enumerate(places):
            rng = np.random.default_rng([seed, i])
            density = densities[task if task is not None else names[rng.integers(len(names))]]
            if wanted is None:
                efforts[i] = density.draw(rng, place)
            else:
                efforts[i] = density.draw_at(float(wanted[i]), rng)
        return efforts

    def _check_efforts(self, task: str | None, wanted: NDArray[Any], allowed: bool) -> None:
        if not np.isfinite(wanted).all():
            raise InputError("effort must be a number: the natural logarithm of the RMS in volts")
        densities = self._model.conditions.efforts
        chosen = [densities[task]] if task is not None else list(densities.values())
        low, high = min(each.low for each in chosen), max(each.high for each in chosen)
        outside = wanted[(wanted < low) | (wanted > high)]
        if len(outside) and not allowed:
            raise InputError(
                f"effort {outside[0]:.3f} (RMS {np.exp(outside[0]):.3g} V) lies outside what "
                f"training saw of {task or 'any task'}: {low:.3f} to {high:.3f} "
                f"({np.exp(low):.3g} to {np.exp(high):.3g} V); ask for an effort within it, or "
                "allow extrapolation"
            )

    def _features(
        self, efforts: NDArray[np.float64], conditions: Mapping[str, Any]
    ) -> NDArray[np.float32]:
        known = self._model.conditions.columns
        unknown = sorted(set(conditions) - set(known))
        if unknown:
            has = ", ".join(known) or "none"
            raise InputError(f"the model has no condition {unknown[0]!r}; it has: {has}")
        values = {name: np.full(len(efforts), value) for name, value in conditions.items()}
        return self._model.conditions.features(efforts, values)

    def _facts(self) -> dict[str, Any]:
        settings = self._model.settings
        return {
            "stages": settings.stages,
            "backbone": settings.backbone,
            "n_parameters": self._model.n_parameters,
            "trained_seconds": self.seconds,
        }
