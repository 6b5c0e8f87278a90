"""The loop over steps of one denoiser."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from myosynth.diffusion.crew import Crew
from myosynth.diffusion.denoiser import Condition, draw_sigma, spectral_loss
from myosynth.diffusion.encoding import SegmentEncoder
from myosynth.diffusion.model import Model
from myosynth.diffusion.optimisers import make_optimiser
from myosynth.diffusion.pool import SegmentPool
from myosynth.diffusion.private import PoissonPool, PrivacyPlan, PrivateOptimizer
from myosynth.diffusion.progress import StageState
from myosynth.recordings import SegmentSet

__all__ = ["Stage"]

_VALIDATION_SEGMENTS = 64
_VALIDATION_PASSES = 65  # thirteen for each level
_VALIDATION_BATCH = 8
_VALIDATION_SIGMAS = (0.1, 0.3, 0.7, 1.5, 4.0)
_N_VALIDATIONS = 8
_SAVE_EVERY_S = 60.0
_WARM_UP = 0.05
_CLIP_NORM = 1.0

Losses = dict[str, float]
Parts = tuple[Tensor, ...]


class Stage:
    """Trains ``model.stages[name]`` on rows of a set, from where `state` stands.

    Parameters
    ----------
    model : Model
        With a fitted codec; only the named denoiser is changed.
    name : str
        ``envelope`` or ``planes``.
    segments, rows : SegmentSet, array of int
        Training rows, ascending.
    seed : int
        Of batches and noise.
    state : StageState
        Fresh, or what an interrupted stage left.
    device, bf16 : device, bool
        Where to compute, and whether in bfloat16.
    plan : PrivacyPlan, optional
        How to train with differential privacy.
    crew : Crew, optional
        Who shares the batches, where the training is not private.
    """

    def __init__(
        self,
        model: Model,
        name: str,
        segments: SegmentSet,
        rows: NDArray[np.intp],
        *,
        seed: int,
        state: StageState,
        device: torch.device,
        bf16: bool,
        plan: PrivacyPlan | None = None,
        crew: Crew | None = None,
    ) -> None:
        self.model, self.name, self.state = model, name, state
        self.settings, self.denoiser = model.settings, model.stage(name)
        self.device, self.bf16, self.crew = device, bf16, crew or Crew()
        number = list(model.stages).index(name)
        self.rng = np.random.default_rng([seed, 2 + number])
        self.generator = torch.Generator().manual_seed(1000 * seed + number)
        self.parameters = list(self.denoiser.network.parameters())
        self.average = [parameter.detach().clone() for parameter in self.parameters]
        self.optimizer = make_optimiser(
            "adamw" if plan else self.settings.optimiser,  # opacus adds its noise to gradients
            self.denoiser.network,
            lr=self.settings.learning_rate,
            matrix_lr=self.settings.matrix_learning_rate,
            weight_decay=self.settings.weight_decay,
            bf16=bf16,
            crew=self.crew,
        )
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        coarse, chosen = name == "envelope", self.settings
        self.batch_size = chosen.envelope_batch_size if coarse else chosen.batch_size
        self.p_mean = chosen.envelope_p_mean if coarse else chosen.p_mean
        self.p_std = chosen.envelope_p_std if coarse else chosen.p_std
        self.exponent = _average_exponent(self.settings.ema_length)
        if state.step:
            self._restore()
        encode = SegmentEncoder(segments, model, name, device)
        self.private: PrivateOptimizer | None = None
        if plan is None:
            held = state.held if state.step else None
            self.pool: SegmentPool | PoissonPool = SegmentPool(rows, encode, self.rng, held=held)
        else:
            self.pool = PoissonPool(rows, encode, plan.rate(name))
            self.private = PrivateOptimizer(
                self.denoiser, self.optimizer, plan, name, self.settings.temporal_weight
            )
        validation = _validation_rows(segments)
        self.validation = encode(validation) if len(validation) else None
        self.encode, self.rows = encode, rows

    def run(
        self,
        used: Callable[[], float],
        on_step: Callable[[float, Losses], None],
        save: Callable[[], None],
        *,
        stopped: Callable[[], bool] = lambda: False,
        audit_due: Callable[[], bool] = lambda: False,
    ) -> None:
        """Step until the budget is used up; leaves the best averaged weights in the model.

        Parameters
        ----------
        used : callable
            The share of the budget that is used up.
        on_step : callable
            Called with that share and the losses.
        save : callable
            Called after `pack` when the state is to be kept: now and then, and when stopped.
        stopped : callable
            Whether to stop here.
        audit_due : callable
            Whether to compare the losses on training and validation segments after this step.

        Raises
        ------
        KeyboardInterrupt
            When stopped, once the state is saved.
        """
        last_save = time.monotonic()
        while (share := used()) < 1.0:
            losses = self._step(share)
            self.state.step += 1
            share = min(1.0, used())
            if self._due(share):
                losses["validation"] = self._validate()
            if audit_due():
                losses |= self._audit()
            on_step(share, losses)
            stop = stopped()
            if stop or time.monotonic() - last_save > _SAVE_EVERY_S:
                self.pack()
                save()
                last_save = time.monotonic()
            if stop:
                raise KeyboardInterrupt
        if self.state.step:
            self._validate()
            self._set(self.state.best)
        if self.private is not None:
            self.private.close()

    def pack(self) -> None:
        """Bring the state up to date, so that it can be saved."""
        state = self.state
        weights = self.denoiser.state_dict()
        state.weights = {name: value.detach().cpu() for name, value in weights.items()}
        state.average = [tensor.cpu() for tensor in self.average]
        state.optimizer = self.optimizer.state_dict()
        state.torch_rng = self.generator.get_state()
        state.numpy_rng = dict(self.rng.bit_generator.state)
        state.held = self.pool.held

    def _restore(self) -> None:
        state = self.state
        self.denoiser.load_state_dict(state.weights)
        self.average = [tensor.clone().to(self.device) for tensor in state.average]
        self.optimizer.load_state_dict(state.optimizer)
        self.generator.set_state(state.torch_rng)
        self.rng.bit_generator.state = state.numpy_rng

    # -- one step

    def _step(self, share: float) -> Losses:
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * _schedule(share)
        batch = self.pool.batch(self.batch_size)
        if self.private is not None:
            spectral, temporal = self.private.step(
                batch, lambda part: self._losses(self._noisy(part))
            )
            means = spectral.detach().mean(), temporal.detach().mean()
        else:
            n = len(batch[0])

            def losses(part: Parts) -> Parts:
                spectral, temporal = (each.sum() / n for each in self._losses(part))
                return spectral + self.settings.temporal_weight * temporal, spectral, temporal

            found = self.crew.gradients(losses, self._noisy(batch), self.parameters)
            means = found[1], found[2]
            torch.nn.utils.clip_grad_norm_(self.parameters, _CLIP_NORM)
            self.optimizer.step()
        self._update_average()
        return {"spectral": float(means[0]), "temporal": float(means[1])}

    def _noisy(self, batch: Parts) -> Parts:
        """What the losses of a batch need, with all that is random in them."""
        clean, envelope, task_id, features = batch
        settings = self.settings
        task_id, features = self._dropped(task_id, features)
        self._roughen(features, self.generator)
        known = envelope + settings.envelope_noise * self._normal(envelope.shape)
        sigma = draw_sigma(len(clean), self.generator, p_mean=self.p_mean, p_std=self.p_std)
        return clean, envelope, known, task_id, features, sigma, self._normal(clean.shape)

    def _losses(self, noisy: Parts, *, temporal: bool = True) -> tuple[Tensor, Tensor]:
        """Spectral and temporal loss by segment; none depends on another."""
        clean, envelope, known, task_id, features, sigma, noise = noisy
        condition = self._condition(known, task_id, features)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            return spectral_loss(
                self.denoiser,
                clean.to(self.device),
                condition,
                sigma.to(self.device),
                noise.to(self.device),
                self._to_signals(envelope.to(self.device)) if temporal else None,
            )

    def _condition(self, envelope: Tensor, task_id: Tensor, features: Tensor) -> Condition:
        extra = self.model.extra(envelope.to(self.device))
        return Condition(task_id.to(self.device), features.to(self.device), extra)

    def _dropped(self, task_id: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Null task, and missing conditions, for the chosen shares of the batch."""
        n = len(task_id)
        drop = torch.rand(n, generator=self.generator) < self.settings.task_dropout
        task_id = torch.where(drop, len(self.model.conditions.tasks), task_id)
        for where in self.model.conditions.slices():
            keep = torch.rand(n, generator=self.generator) >= self.settings.condition_dropout
            features[:, where] *= keep[:, None]
        return task_id, features

    def _roughen(self, features: Tensor, generator: torch.Generator) -> None:
        """Add noise to the descriptors that follow the conditions, in place."""
        described = features[:, self.model.conditions.n_features :]
        described += self.settings.descriptor_noise * torch.randn(
            described.shape, generator=generator
        )

    def _normal(self, shape: torch.Size) -> Tensor:
        return torch.randn(shape, generator=self.generator)

    def _to_signals(self, envelope: Tensor) -> Callable[[Tensor, Tensor], Tensor] | None:
        settings, decode = self.settings, self.model.codec.decode
        if self.name == "envelope" or settings.temporal_weight == 0:
            return None
        if settings.representation == "magnitude":
            return None  # its phases are found by iterations that no gradient goes through

        def difference(denoised: Tensor, clean: Tensor) -> Tensor:
            with torch.autocast(self.device.type, enabled=False):
                if settings.linear:
                    return decode(envelope, denoised - clean)
                return decode(envelope, denoised) - decode(envelope, clean)

        return difference

    def _update_average(self) -> None:
        """Power-function average: its length grows with training, so that early weights fade.

        Source: Karras et al. 2024 (arXiv 2312.02696), eq. 1.
        """
        beta = (1 - 1 / (self.state.step + 1)) ** (1 + self.exponent)
        with torch.no_grad():
            for average, parameter in zip(self.average, self.parameters, strict=True):
                average.lerp_(parameter, 1 - beta)

    # -- validation

    def _due(self, share: float) -> bool:
        due = int(share * _N_VALIDATIONS)
        if due <= self.state.n_validations:
            return False
        self.state.n_validations = due
        return True

    def _validate(self) -> float:
        """Loss of the averaged weights on validation subjects, at fixed noise.

        The last weights count that do not lose more than `tolerance` to the best there.
        """
        with self._averaged():
            loss = 0.0 if self.validation is None else self._fixed_loss(self.validation)
        self.state.best_loss = min(self.state.best_loss, loss)
        if loss <= (1 + self.settings.tolerance) * self.state.best_loss or self.validation is None:
            self.state.best = [tensor.clone() for tensor in self.average]
        return loss

    def _audit(self) -> Losses:
        """The loss on validation subjects, and how far it is above that on training segments."""
        assert self.validation is not None
        with self._averaged():
            others = self._fixed_loss(self.validation)
            members = self._fixed_loss(self.encode(_few(self.rows)))
        return {"validation": others, "memorisation": others - members}

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        kept = [parameter.detach().clone() for parameter in self.parameters]
        self._set(self.average)
        yield
        self._set(kept)

    def _fixed_loss(self, parts: Parts) -> float:
        """Always the same passes, each level equally often; few segments are taken repeatedly."""
        n = len(parts[0])
        passes = torch.arange(_VALIDATION_PASSES)
        chosen = [each[(passes + passes // n) % n] for each in parts]
        levels = torch.tensor(_VALIDATION_SIGMAS)[passes % len(_VALIDATION_SIGMAS)]
        generator = torch.Generator().manual_seed(7)
        noise = torch.randn(chosen[0].shape, generator=generator)
        self._roughen(chosen[-1], generator)
        whole = (*chosen, levels, noise)
        pieces = zip(*(torch.split(x, _VALIDATION_BATCH) for x in whole), strict=True)

        def loss(piece: Parts) -> float:
            clean, envelope, task_id, features, level, noise = piece
            noisy = (clean, envelope, envelope, task_id, features, level, noise)
            with torch.inference_mode():
                return float(self._losses(noisy, temporal=False)[0].sum())

        return sum(self.crew.map(loss, pieces)) / len(noise)

    def _set(self, values: list[Tensor]) -> None:
        with torch.no_grad():
            for parameter, value in zip(self.parameters, values, strict=True):
                parameter.copy_(value)


def _validation_rows(segments: SegmentSet) -> NDArray[np.intp]:
    """Segments of validation subjects; of the holdout where there are none."""
    rows = np.flatnonzero(segments.split == "validation")
    if not len(rows):
        rows = np.flatnonzero(segments.split == "holdout")
    return _few(rows)


def _few(rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """The same random rows every time."""
    return np.sort(np.random.default_rng(7).permutation(rows)[:_VALIDATION_SEGMENTS])


def _schedule(share: float) -> float:
    """Learning rate as a share of its peak: a short rise, then half a cosine to zero."""
    return min(1.0, (share + 1e-3) / _WARM_UP) * 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))


def _average_exponent(length: float) -> float:
    """γ of the power-function average of relative width `length`.

    Source: Karras et al. 2024 (arXiv 2312.02696), the width σ_rel as a function of γ, inverted by
    bisection.
    """
    low, high = 0.0, 1e4
    for _ in range(80):
        middle = (low + high) / 2
        width = math.sqrt((middle + 1) / ((middle + 2) ** 2 * (middle + 3)))
        low, high = (middle, high) if width > length else (low, middle)
    return low
