"""Moments of tensors that come block by block, in bounded memory: what the codec is fitted to."""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["mean_of", "moments", "rms", "within_bins"]

_MOST_FINE = 3.0  # times an amplitude is changed within a bin


def rms(blocks: Iterable[Tensor]) -> Tensor:
    """RMS over segments, frames and the two planes: (C, F, 1)."""
    total, count = torch.zeros(()), 0
    for block in blocks:
        total = total + block.double().square().sum((0, 3))
        count += block.shape[0] * block.shape[3] * 2
    return (total / count).sqrt().clamp_min(1e-6)[..., None].float()


def mean_of(blocks: Iterable[Tensor]) -> Tensor:
    """Mean over segments."""
    total, count = torch.zeros(()), 0
    for block in blocks:
        total, count = total + block.double().sum(0), count + len(block)
    return (total / count).float()


def within_bins(power: Tensor, reach: int) -> Tensor:
    """Amplitude by line over that of the lines within `reach`, one bin, of it, (C, L) → (C, L).

    What differs between bins is left to them: dividing by it would blow up the place where the end
    runs over into the start, which has more power far from the band than the signal has.
    """
    wide = functional.avg_pool1d(
        functional.pad(power, (reach, reach), mode="reflect"), 2 * reach + 1, stride=1
    )
    floor = 1e-12 * power.mean(-1, keepdim=True)
    return ((power + floor) / (wide + floor)).sqrt().clamp(1 / _MOST_FINE, _MOST_FINE)


def moments(blocks: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation over segments and frames: (C, K, 1) each."""
    total, squares, count = torch.zeros(()), torch.zeros(()), 0
    for block in blocks:
        total = total + block.double().sum((0, 3))
        squares = squares + block.double().square().sum((0, 3))
        count += block.shape[0] * block.shape[3]
    mean = total / count
    std = (squares / count - mean.square()).clamp_min(0).sqrt().clamp_min(1e-3)
    return mean[..., None].float(), std[..., None].float()
