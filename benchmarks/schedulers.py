"""Drawing by the schedulers of diffusers, for comparison. Not a script.

They are written for 1000 discrete noise levels of a network that gives the noise; here those levels
are the ones that a denoiser is drawn with (Karras et al. 2022, eq. 5).
"""

from typing import Any

import torch
from torch import Tensor

from myosynth.diffusion.samplers import (
    ALL_LEVELS,
    SAMPLERS,
    Denoise,
    Levels,
    Sampler,
    noise_levels,
)  # fmt: skip

__all__ = ["EVALUATIONS_PER_STEP", "evaluations", "register"]

N_LEVELS = 1000

# name: (scheduler, whether its samples grow with sigma, options)
SCHEDULERS: dict[str, tuple[str, bool, dict[str, Any]]] = {
    "unipc": ("UniPCMultistepScheduler", False, {"use_karras_sigmas": True}),
    "deis": ("DEISMultistepScheduler", False, {"use_karras_sigmas": True}),
    "dpmsolver++ singlestep": (
        "DPMSolverSinglestepScheduler", False,
        {"use_karras_sigmas": True, "lower_order_final": True, "final_sigmas_type": "zero"},
    ),
    "dpmsolver++ 3": (
        "DPMSolverMultistepScheduler", False, {"use_karras_sigmas": True, "solver_order": 3},
    ),
    "sde-dpmsolver++": (
        "DPMSolverMultistepScheduler", False,
        {"use_karras_sigmas": True, "algorithm_type": "sde-dpmsolver++"},
    ),
    "lms": ("LMSDiscreteScheduler", True, {"use_karras_sigmas": True}),
    "heun (diffusers)": ("HeunDiscreteScheduler", True, {"use_karras_sigmas": True}),
    "euler ancestral": ("EulerAncestralDiscreteScheduler", True, {}),
    "ddim": ("DDIMScheduler", False, {"clip_sample": False, "set_alpha_to_one": True}),
    "ddpm": ("DDPMScheduler", False, {"clip_sample": False}),
}  # fmt: skip
STOCHASTIC = ("sde-dpmsolver++", "euler ancestral", "ddpm")
EVALUATIONS_PER_STEP = {"heun": 2, "heun (diffusers)": 2}


def evaluations(sampler: str, n_steps: int) -> int:
    """How often a sampler really asks the denoiser."""
    asked = []

    def count(x: Tensor, sigma: Tensor) -> Tensor:
        asked.append(float(sigma[0]))
        return 0.5 * x

    SAMPLERS[sampler](count, torch.ones(1, 1, 2, 2), n_steps, ALL_LEVELS)
    return len(asked)


def register() -> None:
    """Make every scheduler known to `Synthesizer.sample` by its name."""
    for name, (kind, grows, options) in SCHEDULERS.items():
        SAMPLERS[name] = _sampler(kind, grows, name in STOCHASTIC, options)


def _betas(levels: Levels) -> list[float]:
    """Such that level i has the i-th lowest sigma: ᾱ = 1 / (1 + σ²)."""
    sigmas = noise_levels(N_LEVELS, levels)[:-1].flip(0)
    kept = 1 / (1 + sigmas**2)
    before = torch.cat([torch.ones(1, dtype=torch.float64), kept[:-1]])
    return list((1 - kept / before).tolist())


def _sampler(kind: str, grows: bool, stochastic: bool, options: dict[str, Any]) -> Sampler:
    def run(denoise: Denoise, noise: Tensor, n_steps: int, levels: Levels) -> Tensor:
        import diffusers

        spaced = {} if "Singlestep" in kind else {"timestep_spacing": "linspace"}
        scheduler = getattr(diffusers, kind)(
            num_train_timesteps=N_LEVELS, trained_betas=_betas(levels),
            prediction_type="epsilon", **spaced, **options,
        )  # fmt: skip
        scheduler.set_timesteps(n_steps)
        more = {"generator": _generators(noise)} if stochastic else {}
        x = noise * (levels[1] ** 2 + 1) ** 0.5 if grows else noise
        for number, t in enumerate(scheduler.timesteps):
            scheduler.scale_model_input(x, t)
            sigma = _sigma(scheduler, number, t)
            scaled = x if grows else x * (1 + sigma**2) ** 0.5
            denoised = denoise(scaled, x.new_full((len(x),), max(sigma, levels[0])))
            x = scheduler.step((scaled - denoised) / sigma, t, x, **more).prev_sample
        sample: Tensor = x.to(noise.dtype)
        return sample

    return run


def _sigma(scheduler: Any, number: int, t: Tensor) -> float:
    if hasattr(scheduler, "sigmas"):
        return float(scheduler.sigmas[number])
    kept = float(scheduler.alphas_cumprod[int(t)])
    return ((1 - kept) / kept) ** 0.5


def _generators(noise: Tensor) -> list[torch.Generator]:
    """One for each segment, from its first noise, so that a segment does not depend on others."""
    seeds = [int(each.flatten()[:64].double().abs().sum() * 1e6) for each in noise]
    return [torch.Generator().manual_seed(seed) for seed in seeds]
