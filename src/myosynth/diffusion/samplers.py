"""Drawing algorithms: each is a function from noise and a denoiser to a sample."""

import math
import threading
from collections.abc import Callable

import torch
from torch import Tensor

from myosynth.errors import InputError

__all__ = ["ALL_LEVELS", "SAMPLERS", "Levels", "draw", "noise_levels"]

Levels = tuple[float, float]
"""The last and the first noise level of a drawing."""
ALL_LEVELS: Levels = (0.02, 40.0)
RHO = 7.0
_IMPORTING = threading.Lock()  # its modules load on first use, which two threads cannot do at once
Denoise = Callable[[Tensor, Tensor], Tensor]
Sampler = Callable[[Denoise, Tensor, int, Levels], Tensor]
"""Denoiser, unit noise, number of steps and noise levels → sample."""


def noise_levels(n_steps: int, levels: Levels = ALL_LEVELS) -> Tensor:
    """Descending sigmas ending in 0, (n_steps + 1,) (Karras et al. 2022, eq. 5)."""
    ramp = torch.linspace(0, 1, n_steps, dtype=torch.float64)
    low, high = (level ** (1 / RHO) for level in levels)
    return torch.cat([(high + ramp * (low - high)) ** RHO, torch.zeros(1, dtype=torch.float64)])


def heun(denoise: Denoise, noise: Tensor, n_steps: int, levels: Levels) -> Tensor:
    """Deterministic second-order steps; 2·n_steps − 1 evaluations (Karras et al. 2022, alg. 1)."""
    sigmas = noise_levels(n_steps, levels)
    x = noise * math.sqrt(levels[1] ** 2 + 1)
    for now, then in zip(sigmas[:-1].tolist(), sigmas[1:].tolist(), strict=True):
        slope = (x - denoise(x, x.new_full((len(x),), now))) / now
        stepped = x + (then - now) * slope
        if then > 0:
            second = (stepped - denoise(stepped, x.new_full((len(x),), then))) / then
            stepped = x + (then - now) * 0.5 * (slope + second)
        x = stepped
    return x


def flow(denoise: Denoise, noise: Tensor, n_steps: int, levels: Levels) -> Tensor:
    """Euler steps of equal time along a rectified flow, t = σ / (1 + σ) (Liu et al. 2022).

    Goes with the objective ``flow``, and draws from any denoiser; the last step has its own level.
    """
    sigma_max = levels[1]
    times = torch.linspace(sigma_max / (1 + sigma_max), 0.0, n_steps + 1, dtype=torch.float64)
    x = noise * math.sqrt(sigma_max**2 + 1) / (1 + sigma_max)
    for now, then in zip(times[:-1].tolist(), times[1:].tolist(), strict=True):
        denoised = denoise(x / (1 - now), x.new_full((len(x),), now / (1 - now)))
        x = x + (then - now) * (x - denoised) / now
    return x


def _diffusers(scheduler_name: str) -> Sampler:
    def run(denoise: Denoise, noise: Tensor, n_steps: int, levels: Levels) -> Tensor:
        with _IMPORTING:
            import diffusers  # 3 s to import, so only where it is used

            kind = getattr(diffusers, scheduler_name)
        scheduler = kind(sigma_min=levels[0], sigma_max=levels[1], sigma_data=1.0, rho=RHO)
        scheduler.set_timesteps(n_steps)
        x = noise * scheduler.init_noise_sigma
        for t, sigma in zip(scheduler.timesteps, scheduler.sigmas[:-1].tolist(), strict=True):
            scheduler.scale_model_input(x, t)
            denoised = denoise(x, x.new_full((len(x),), sigma))
            # the scheduler applies the preconditioning itself: hand it the network's raw output
            c_skip, c_out = 1 / (sigma**2 + 1), sigma / math.sqrt(sigma**2 + 1)
            x = scheduler.step((denoised - c_skip * x) / c_out, t, x).prev_sample
        sample: Tensor = x
        return sample

    return run


SAMPLERS: dict[str, Sampler] = {
    "heun": heun,
    "flow": flow,
    "dpmsolver++": _diffusers("EDMDPMSolverMultistepScheduler"),
    "euler": _diffusers("EDMEulerScheduler"),
}


def draw(
    sampler: str, denoise: Denoise, noise: Tensor, n_steps: int, levels: Levels = ALL_LEVELS
) -> Tensor:
    """Run a sampler by name on unit noise, from the higher noise level to the lower one, and to 0.

    At the higher one, data of unit variance are taken to be Gaussian beside the noise.

    Raises
    ------
    InputError
        If the sampler is unknown or `n_steps` is below 2.
    """
    if sampler not in SAMPLERS:
        raise InputError(f"unknown sampler {sampler!r}; take one of {', '.join(SAMPLERS)}")
    if n_steps < 2:
        raise InputError(f"a sampler needs at least 2 steps, not {n_steps}")
    with torch.inference_mode():
        return SAMPLERS[sampler](denoise, noise, n_steps, levels)
