"""The preconditioned network, its training loss, and the samplers' view of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from myosynth.diffusion.networks import ResidualUNet, TemporalUNet

__all__ = ["OBJECTIVES", "Condition", "Denoiser", "draw_sigma", "spectral_loss"]

SIGMA_DATA = 1.0
OBJECTIVES = ("edm", "flow")


@dataclass
class Condition:
    """What a batch is conditioned on.

    Parameters
    ----------
    task_id : Tensor of int, (B,)
        Position in the task list; the length of that list is the null task.
    effort : Tensor, (B, E)
        Standardised log RMS by channel, further conditions, and descriptors for the first stage.
    extra : Tensor or None, (B, C·K, N)
        The standardised envelope map, for the second stage.
    """

    task_id: Tensor
    effort: Tensor
    extra: Tensor | None = None

    def unconditional(self, null_task: int) -> "Condition":
        return Condition(torch.full_like(self.task_id, null_task), self.effort, self.extra)


class Denoiser(nn.Module):
    """D(x; σ) = c_skip x + c_out (r + g·c_in x): EDM preconditioning with a multiplicative output.

    EMG coefficients are nearly Gaussian with a slowly varying variance, for which the ideal
    denoiser is a Wiener gain on the input; the gain map g lets the network say that directly.

    With the objective ``flow`` the network gives the velocity ε − x₀ of a rectified flow at
    x_t = (1 − t) x₀ + t ε, which is the same form with t = σ / (1 + σ).

    Parameters
    ----------
    network : ResidualUNet or TemporalUNet
    objective : {"edm", "flow"}
    multiplicative : bool
        Without it the gain map is taken as zero.

    Source: Karras et al. 2022, eq. 7 and table 1 (arXiv 2206.00364), with σ_data = 1; Liu et al.
    2022 (arXiv 2209.03003), eq. 1.
    """

    def __init__(
        self,
        network: ResidualUNet | TemporalUNet,
        *,
        objective: str = "edm",
        multiplicative: bool = True,
    ) -> None:
        super().__init__()
        self.network, self.flow = network, objective == "flow"
        if not multiplicative:
            inner = network.inner if isinstance(network, TemporalUNet) else network
            inner.register_forward_hook(_without_gain)

    def weight(self, sigma: Tensor) -> Tensor:
        """λ(σ): the squared error of what the network gives, per squared error of D."""
        if self.flow:
            return ((1 + sigma) / sigma).square()
        return (sigma.square() + SIGMA_DATA**2) / (sigma * SIGMA_DATA).square()

    def _scaling(self, s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """c_skip, c_out, c_in."""
        if self.flow:
            return 1 / (1 + s), -s / (1 + s), 1 / (1 + s)
        norm = (s.square() + SIGMA_DATA**2).sqrt()
        return SIGMA_DATA**2 / norm.square(), s * SIGMA_DATA / norm, 1 / norm

    def forward(self, x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        """x (B, P, F, N) with noise of level sigma (B,) → denoised (B, P, F, N)."""
        x = self.network.project(x)
        c_skip, c_out, c_in = self._scaling(sigma.reshape(-1, 1, 1, 1))
        residual, gain = self.network(
            c_in * x, sigma.log() / 4, condition.task_id, condition.effort, condition.extra
        )
        out: Tensor = c_skip * x + c_out * (residual.float() + gain.float() * (c_in * x))
        return out

    def guided(
        self, x: Tensor, sigma: Tensor, condition: Condition, guidance_scale: float = 1.0
    ) -> Tensor:
        """`forward`, pushed away from the null task where `guidance_scale` is above 1."""
        denoised = self.forward(x, sigma, condition)
        if guidance_scale == 1.0:
            return denoised
        plain = self.forward(x, sigma, condition.unconditional(self.network.n_tasks))
        return plain + guidance_scale * (denoised - plain)


def draw_sigma(
    n: int, generator: torch.Generator, *, p_mean: float = -0.4, p_std: float = 1.2
) -> Tensor:
    """Log-normal noise levels (n,) for training (Karras et al. 2022, table 1)."""
    return (p_mean + p_std * torch.randn(n, generator=generator)).exp()


def spectral_loss(
    denoiser: Denoiser,
    clean: Tensor,
    condition: Condition,
    sigma: Tensor,
    noise: Tensor,
    temporal: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """The two losses, by segment.

    Parameters
    ----------
    clean, noise : Tensor, (B, P, F, N)
    sigma : Tensor, (B,)
    temporal : callable, optional
        Denoised and clean planes → the difference of their signals (B, C, T), of about unit RMS.

    Returns
    -------
    spectral : Tensor, (B,)
        λ(σ) · mean |D − x|² over the planes (Karras et al. 2022, eq. 2).
    temporal : Tensor, (B,)
        The same after the inverse STFT, per sample of time; zero without `temporal`.
    """
    clean = denoiser.network.project(clean)  # what no denoiser could give back is no error
    denoised = denoiser(clean + sigma.reshape(-1, 1, 1, 1) * noise, sigma, condition)
    weight = denoiser.weight(sigma)
    error = denoised - clean
    spectral = weight * error.square().mean((1, 2, 3))
    if temporal is None:
        return spectral, torch.zeros_like(spectral)
    return spectral, weight * temporal(denoised, clean).square().mean((1, 2))


def _without_gain(_: nn.Module, given: Any, out: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return out[0], torch.zeros_like(out[1])
