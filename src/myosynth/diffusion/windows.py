"""Signals longer than a training segment: overlapping windows denoised together.

Source: Bar-Tal et al. 2023 (MultiDiffusion, arXiv 2302.08113), along time: at every step of the
sampler each window is denoised by itself and the results are averaged, so that there is no seam.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from myosynth.diffusion.denoiser import Condition

__all__ = ["window_starts", "windowed"]

Denoise = Callable[[Tensor, Tensor, Condition], Tensor]


def window_starts(n_frames: int, size: int) -> list[int]:
    """First frames of windows of `size` that cover `n_frames`, overlapping by half or more."""
    n_steps = -(-(n_frames - size) // (size // 2))
    return [round(i * (n_frames - size) / max(1, n_steps)) for i in range(n_steps + 1)]


def windowed(
    denoise: Denoise, condition: Condition, n_frames: int, size: int, *, at_once: int = 1
) -> Callable[[Tensor, Tensor], Tensor]:
    """Bind a condition to a denoiser, and let it denoise more frames than it was trained on.

    Parameters
    ----------
    denoise : callable
        (x (B, P, F, size), sigma (B,), condition) → the same shape.
    condition : Condition
        With an envelope map of `n_frames` frames, or none.
    n_frames, size : int
        Frames of x, and frames of one window.
    at_once : int
        Windows that are denoised as one batch.

    Returns
    -------
    callable
        (x (B, P, F, n_frames), sigma (B,)) → the same shape.
    """
    if n_frames == size:
        return lambda x, sigma: denoise(x, sigma, condition)
    starts = window_starts(n_frames, size)
    # the ends of a window saw padding in training; inside a longer signal they hardly count
    taper = torch.minimum(torch.arange(1, size + 1), torch.arange(size, 0, -1)).float()
    tapers = (taper / taper.max()).square().repeat(len(starts), 1)
    tapers[0, : size // 2] = 1.0
    tapers[-1, size // 2 :] = 1.0
    parts = [slice(start, start + size) for start in starts]
    weight = torch.zeros(n_frames)
    for part, own in zip(parts, tapers, strict=True):
        weight[part] += own

    def long(x: Tensor, sigma: Tensor) -> Tensor:
        total = torch.zeros_like(x)
        for first in range(0, len(parts), at_once):
            some = parts[first : first + at_once]
            windows = torch.cat([x[..., part] for part in some])
            told = _repeated(condition, some)
            denoised = denoise(windows, sigma.repeat(len(some)), told).chunk(len(some))
            for part, own, each in zip(some, tapers[first:], denoised, strict=False):
                total[..., part] += own * each
        return total / weight

    return long


def _repeated(condition: Condition, parts: list[slice]) -> Condition:
    """The condition of a batch for several stretches of it, one after another."""
    extra = condition.extra
    return Condition(
        condition.task_id.repeat(len(parts)),
        condition.effort.repeat(len(parts), 1),
        None if extra is None else torch.cat([extra[..., part] for part in parts]),
    )
