"""Phases for a spectrogram of which only the magnitudes are known."""

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["griffin_lim"]

_N_ITERATIONS = 32
_MOMENTUM = 0.99


def griffin_lim(
    magnitude: Tensor,
    phase: Tensor,
    to_signal: Callable[[Tensor], Tensor],
    to_spectrum: Callable[[Tensor], Tensor],
) -> Tensor:
    """A signal whose spectrogram has nearly the given magnitudes.

    Parameters
    ----------
    magnitude : Tensor, (B, C, F, N)
        0 or more.
    phase : Tensor, (B, C, F, N)
        Where to start, radians.
    to_signal, to_spectrum : callable
        Inverse STFT and STFT.

    Returns
    -------
    Tensor, (B, C, T)

    Source: Perraudin, Balazs & Søndergaard 2013 (doi 10.1109/WASPAA.2013.6701851), algorithm 2.
    """
    consistent = torch.polar(magnitude, phase)
    ahead = consistent
    for _ in range(_N_ITERATIONS):
        turned = torch.polar(magnitude, ahead.angle())
        before, consistent = consistent, to_spectrum(to_signal(turned))
        ahead = consistent + _MOMENTUM * (consistent - before)
    return to_signal(torch.polar(magnitude, ahead.angle()))
