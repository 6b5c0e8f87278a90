"""Runs the stages of a model for batches of segments."""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from myosynth.diffusion.denoiser import Condition
from myosynth.diffusion.model import Model
from myosynth.diffusion.places import even_places
from myosynth.diffusion.precision import uses_bf16
from myosynth.diffusion.samplers import ALL_LEVELS, draw
from myosynth.diffusion.windows import windowed
from myosynth.errors import InputError
from myosynth.recordings import FloatArray

__all__ = ["BATCH", "BATCHES_OF_A_MAP", "Draws"]

BATCH = (
    8  # segments as in training, or windows of longer ones; larger ones are hardly faster on a CPU
)
BATCHES_OF_A_MAP = 4  # whose network is small: in batches of 8 it took twice as long

# The envelope map is drawn in more steps: its chance variation is decided at low noise (ADR 0018),
# but not below 0.1, nor anything above 15 (ADR 0021). Given it, nothing of the planes is decided
# above a noise level of 8 (ADR 0019), and little below 0.1 (ADR 0020).
_ENVELOPE_STEPS, _LEVELS_OF_A_MAP, _LEVELS_GIVEN_A_MAP = 3, (0.1, 15.0), (0.1, 8.0)
_PLACES_AT_ONCE = 4096


class Draws:
    """Runs the stages for batches of segments."""

    def __init__(
        self,
        model: Model,
        sampler: str,
        n_steps: int,
        guidance_scale: float,
        n_times: int,
        seed: int,
    ) -> None:
        self.model, self.sampler, self.n_steps = model, sampler, n_steps
        self.guidance_scale, self.seed = guidance_scale, seed
        self.n_times = n_times
        self.bf16 = uses_bf16(model.settings.precision, torch.device("cpu"))
        self.n_drawn = max(n_times, model.description.n_times)
        self.density = None if model.descriptors is None else model.descriptors.density()
        self.n_effort_axes = 1 + len(model.description.channel_names)

    def effort_places(self, n_segments: int) -> NDArray[np.float64]:
        """(n_segments, 1 + n_channels) places in the density of efforts."""
        starts = range(0, n_segments, _PLACES_AT_ONCE)
        sizes = [min(_PLACES_AT_ONCE, n_segments - start) for start in starts]
        return np.concatenate([
            self._places(start, n)[:, : self.n_effort_axes]
            for start, n in zip(starts, sizes, strict=True)
        ])  # fmt: skip

    def _places(self, first: int, n: int) -> NDArray[np.float64]:
        """Where in their densities segments from the `first` on lie: efforts, then descriptors."""
        n_more = 0 if self.density is None else self.density.n_axes
        return even_places(first, n, self.n_effort_axes + n_more, self.seed)

    def envelopes(
        self, index: NDArray[np.intp], task_id: int, features: NDArray[np.float32]
    ) -> Tensor:
        """Envelope maps (B, C, R, N / stride) of segments, empty with one stage.

        `index` are their numbers in the whole set, one after another, and `features`
        (B, n_features) the conditions.
        """
        condition = Condition(torch.full((len(index),), task_id), torch.from_numpy(features))
        with torch.inference_mode():
            if "envelope" in self.model.stages:
                return self._map(index, condition, features)
            return torch.zeros(len(index), len(self.model.description.channel_names), 0, 1)

    def signals(
        self,
        index: NDArray[np.intp],
        task_id: int,
        features: NDArray[np.float32],
        efforts: NDArray[np.float64],
        envelope: Tensor,
    ) -> FloatArray:
        """(B, C, n_times) in volts, for the envelope maps of these segments."""
        condition = Condition(torch.full((len(index),), task_id), torch.from_numpy(features))
        with torch.inference_mode():
            condition.extra = self.model.extra(envelope)
            planes = self._stage("planes", index, condition)
            codec, settings = self.model.codec, self.model.settings
            if settings.linear:
                planes = codec.consistent(envelope, planes, settings.consistency, self.n_drawn)
            phase = self._phase(index, planes.shape)
            shape = codec.decode(envelope, planes, self.n_drawn, phase)
            if self.n_times < self.n_drawn:
                shape = self._cut(shape, index)
            signals = codec.from_shape(shape, torch.from_numpy(efforts).float())
        if not bool(torch.isfinite(signals).all()):
            raise InputError(
                f"sampler {self.sampler} did not settle in {self.n_steps} steps; take more steps, "
                "or another sampler"
            )
        return signals.numpy().astype(np.float32, copy=False)

    def _map(
        self, index: NDArray[np.intp], condition: Condition, features: NDArray[np.float32]
    ) -> Tensor:
        """The envelope map: descriptors, then the bands given them, roughly as in training."""
        model = self.model
        if model.descriptors is None or self.density is None:
            return self._stage("envelope", index, condition)
        task_id, known = int(condition.task_id[0]), model.conditions.known(features)
        drawn, noise = [], []
        places = self._places(int(index[0]), len(index))[:, self.n_effort_axes :]
        for i, own, there, place in zip(index, features, known, places, strict=True):
            rng = np.random.default_rng([self.seed, int(i), 4])
            drawn.append(self.density.draw(task_id, own, there, rng, place))
            noise.append(rng.standard_normal(model.descriptors.n))
        described = torch.from_numpy(np.stack(drawn)).float()
        roughly = described + model.settings.descriptor_noise * torch.from_numpy(np.stack(noise))
        effort = torch.cat([condition.effort, roughly.float()], dim=1)
        parts = self._stage("envelope", index, replace(condition, effort=effort))
        bands = model.descriptors.absolute(parts, described)
        return torch.cat([bands, model.descriptors.texture(described, bands.shape[-1])], dim=2)

    def _stage(self, name: str, index: NDArray[np.intp], condition: Condition) -> Tensor:
        shape = self.model.shape_of(name, self.n_drawn)
        number = list(self.model.stages).index(name)
        noise = torch.stack([
            torch.randn(shape, generator=_generator(self.seed, int(i), number)) for i in index
        ])  # fmt: skip
        denoiser = self.model.stage(name)

        def denoise(x: Tensor, sigma: Tensor, c: Condition) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
                return denoiser.guided(x, sigma, c, self.guidance_scale)

        most = BATCHES_OF_A_MAP * BATCH if name == "envelope" else BATCH
        view = windowed(
            denoise,
            condition,
            shape[-1],
            self.model.shape_of(name)[-1],
            at_once=max(1, most // len(index)),
        )
        if name == "envelope":
            n_steps = _ENVELOPE_STEPS * self.n_steps
            return draw(self.sampler, view, noise, n_steps, _LEVELS_OF_A_MAP)
        # without whitening some bins stand above such noise
        given = "envelope" in self.model.stages and self.model.settings.whitening
        levels = _LEVELS_GIVEN_A_MAP if given else ALL_LEVELS
        return draw(self.sampler, view, noise, self.n_steps, levels)

    def _phase(self, index: NDArray[np.intp], shape: torch.Size) -> Tensor | None:
        """Where the phases of magnitudes start, for each segment by itself."""
        if not self.model.codec.magnitude:
            return None
        n = len(self.model.stages)
        return 2 * torch.pi * torch.stack([
            torch.rand(shape[1:], generator=_generator(self.seed, int(i), n)) for i in index
        ])  # fmt: skip

    def _cut(self, shape: Tensor, index: NDArray[np.intp]) -> Tensor:
        """A random stretch of the wanted length from each segment."""
        room = shape.shape[-1] - self.n_times
        parts = []
        for one, i in zip(shape, index, strict=True):
            start = int(np.random.default_rng([self.seed, int(i), 3]).integers(room + 1))
            parts.append(one[:, start : start + self.n_times])
        return torch.stack(parts)


def _generator(seed: int, index: int, stage: int) -> torch.Generator:
    state = np.random.SeedSequence([seed, index, stage]).generate_state(2, np.uint32)
    return torch.Generator().manual_seed(int(state[0]) << 31 | int(state[1]) >> 1)
