"""Differentially private training of the networks: DP-SGD, with one segment as the unit."""

import math
import secrets
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from myosynth.diffusion.settings import TrainingSettings
from myosynth.errors import InputError, MissingExtraError

__all__ = ["PoissonPool", "PrivacyPlan", "PrivateOptimizer"]

Losses = Callable[[tuple[Tensor, ...]], tuple[Tensor, Tensor]]

_MECHANISM = "DP-SGD: Poisson sampling, per-segment clipping, Gaussian noise; RDP accountant"
_NOT_COVERED = (
    "names of tasks, conditions and channels, and numbers of segments and subjects",
    "constants of the representation (mean powers over at most 2048 training segments)",
    "densities and ranges of effort by task, and means or categories of further conditions",
    "validation or holdout segments, by which the weights are chosen",
)
_LEAST_NOISE, _MOST_NOISE = 0.2, 1e4
_ORDERS = (1.25, 1.5, 1.75, 2.5, 3.5, *range(2, 33), 40, 48, 64, 96, 128, 192, 256, 512)
_MICRO_BATCH = 8  # gradients of every segment apart: memory is this many times the weights


@dataclass(frozen=True)
class PrivacyPlan:
    """How much noise keeps a whole training within (epsilon, delta), known before it begins.

    The unit is the segment: the guarantee is about one training segment more or less. Whoever has
    k segments in the set is protected k times less (k · epsilon, and a larger delta). It covers
    the weights of the networks and nothing else; `facts` names what it leaves out.

    Parameters
    ----------
    epsilon, delta : float
        The budget.
    max_grad_norm : float
        To which the gradient of each segment is clipped.
    n_segments : int
        Training segments.
    stages : mapping of str to (int, int)
        Stage → expected batch size, steps.
    noise_multiplier : float
        Standard deviation of the noise on a sum of gradients, in units of `max_grad_norm`.
    spent : float
        Epsilon at `delta` after all steps, ≤ `epsilon`.
    """

    epsilon: float
    delta: float
    max_grad_norm: float
    n_segments: int
    stages: Mapping[str, tuple[int, int]]
    noise_multiplier: float
    spent: float

    @staticmethod
    def make(
        settings: TrainingSettings, n_segments: int, stages: Mapping[str, tuple[int, int]]
    ) -> "PrivacyPlan":
        """Find the least noise for which both stages, composed, stay within the budget.

        Raises
        ------
        MissingExtraError
            Without opacus.
        InputError
            If `delta` is not below one over the number of segments, or no noise suffices.
        """
        if settings.delta * n_segments >= 1:
            raise InputError(
                f"delta must be below 1 / {n_segments}, one over the number of training segments, "
                f"not {settings.delta:g}; otherwise one segment could be given away whole"
            )
        rates = [(min(1.0, batch / n_segments), steps) for batch, steps in stages.values()]

        def spent(noise: float) -> float:
            return composed_epsilon(noise, rates, settings.delta)

        if spent(_MOST_NOISE) > settings.epsilon:
            raise InputError(
                f"epsilon {settings.epsilon:g} is too small for this many steps; ask for a larger "
                "epsilon or fewer steps"
            )
        noise = _least_noise(spent, settings.epsilon)
        return PrivacyPlan(
            settings.epsilon,
            settings.delta,
            settings.max_grad_norm,
            n_segments,
            stages,
            noise,
            spent(noise),
        )

    def rate(self, stage: str) -> float:
        """Chance of each segment to be in a batch."""
        return min(1.0, self.stages[stage][0] / self.n_segments)

    def facts(self) -> dict[str, Any]:
        """JSON-able, for config.json."""
        return {
            "epsilon": self.epsilon,
            "delta": self.delta,
            "privacy_unit": "segment",
            "neighbours": "one training segment added or removed",
            "mechanism": _MECHANISM,
            "covers": "weights of the networks, all stages together",
            "not_covered": list(_NOT_COVERED),
            "epsilon_spent": self.spent,
            "noise_multiplier": self.noise_multiplier,
            "max_grad_norm": self.max_grad_norm,
            "n_segments": self.n_segments,
            "stages": {
                name: {"sampling_rate": self.rate(name), "steps": steps}
                for name, (_, steps) in self.stages.items()
            },
        }


def composed_epsilon(noise: float, stages: list[tuple[float, int]], delta: float) -> float:
    """Epsilon after stages of (sampling rate, steps) with one noise multiplier.

    Source: Mironov, Talwar, Zhang 2019 (arXiv 1908.10530), Rényi divergence of the sampled Gaussian
    mechanism, which adds up over steps; computed by opacus.
    """
    try:
        from opacus.accountants import RDPAccountant
    except ImportError as error:
        raise MissingExtraError("opacus", "dp", "private training") from error
    accountant = RDPAccountant()
    accountant.history = [(noise, rate, steps) for rate, steps in stages]
    with (
        warnings.catch_warnings()
    ):  # an order at an end of the list makes the bound loose, not wrong
        warnings.simplefilter("ignore")
        return float(accountant.get_epsilon(delta, alphas=list(_ORDERS)))


def _least_noise(spent: Callable[[float], float], epsilon: float) -> float:
    if spent(_LEAST_NOISE) <= epsilon:
        return _LEAST_NOISE
    low, high = _LEAST_NOISE, _MOST_NOISE
    while high / low > 1.003:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if spent(middle) > epsilon else (low, middle)
    return high


class PoissonPool:
    """Batches in which each training segment is by chance of its own, as the accountant assumes.

    The chance comes from the operating system and not from the seed of the training, which is
    published with the model.

    Parameters
    ----------
    rows : array of int
        Training rows.
    encode : callable
        From rows to tensors of equal first length.
    rate : float
        Chance of a row to be in a batch.
    """

    held: NDArray[np.intp] | None = None

    def __init__(
        self,
        rows: NDArray[np.intp],
        encode: Callable[[NDArray[np.intp]], tuple[Tensor, ...]],
        rate: float,
    ) -> None:
        self._rows, self._encode, self._rate = rows, encode, rate
        self._rng = np.random.default_rng(secrets.randbits(128))

    def batch(self, n: int) -> tuple[Tensor, ...]:
        """About `n` segments, or none at all."""
        chosen = self._rows[self._rng.random(len(self._rows)) < self._rate]
        if not len(chosen):
            return tuple(part[:0] for part in self._encode(self._rows[:1]))
        return self._encode(chosen)


class PrivateOptimizer:
    """Steps along clipped and noisy sums of per-segment gradients.

    Source: Abadi et al. 2016 (arXiv 1607.00133), algorithm 1, through opacus. The noise comes from
    a generator seeded by the operating system; it is not hardened against an attacker who reads
    the last bits of floating-point numbers (Mironov 2012).

    Parameters
    ----------
    network : Module
        Whose parameters `optimizer` changes.
    optimizer : Optimizer
        Of torch.
    plan : PrivacyPlan
        Noise and clipping.
    stage : str
        A name in ``plan.stages``.
    temporal_weight : float
        Weight of the second loss.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        plan: PrivacyPlan,
        stage: str,
        temporal_weight: float,
    ) -> None:
        from opacus.grad_sample import GradSampleHooks
        from opacus.optimizers import DPOptimizer

        device = next(network.parameters()).device
        generator = torch.Generator(device).manual_seed(secrets.randbits(63))
        self._hooks = GradSampleHooks(network, loss_reduction="sum")
        self._optimizer = DPOptimizer(
            optimizer,
            noise_multiplier=plan.noise_multiplier,
            max_grad_norm=plan.max_grad_norm,
            expected_batch_size=plan.rate(stage) * plan.n_segments,
            loss_reduction="mean",
            generator=generator,
        )
        self._weight = temporal_weight

    def step(self, parts: tuple[Tensor, ...], losses: Losses) -> tuple[Tensor, Tensor]:
        """One step on a batch, which may be empty; the two losses by segment."""
        n = len(parts[0])
        if not n:
            for parameter in self._optimizer.params:
                parameter.grad_sample = torch.zeros(0, *parameter.shape, device=parameter.device)
            self._optimizer.step()
            self._optimizer.zero_grad(set_to_none=True)
            return torch.zeros(1), torch.zeros(1)
        seen = []
        for start in range(0, n, _MICRO_BATCH):
            piece = tuple(part[start : start + _MICRO_BATCH] for part in parts)
            spectral, temporal = losses(piece)
            with warnings.catch_warnings():  # the first layers' inputs need no gradient
                warnings.simplefilter("ignore")
                torch.autograd.backward((spectral + self._weight * temporal).sum())
            self._optimizer.signal_skip_step(start + _MICRO_BATCH < n)
            self._optimizer.step()
            self._optimizer.zero_grad(set_to_none=True)
            seen.append((spectral.detach(), temporal.detach()))
        return torch.cat([one for one, _ in seen]), torch.cat([two for _, two in seen])

    def close(self) -> None:
        """Leave the network as it was found, but for its weights."""
        self._hooks.cleanup()
