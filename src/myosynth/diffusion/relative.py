"""The bands of an envelope map relative to what its descriptors say of it, and back."""

import math

import torch
from torch import Tensor, nn

__all__ = ["RelativeMap"]

_LEAST = 1e-3


class RelativeMap(nn.Module):
    """Bands of an envelope map ↔ components of about unit RMS, their means and spread apart.

    What is known of a map by its descriptors need not be drawn again: the mean of each band is
    taken off. The bands are turned into components by an orthonormal cosine transform; the first
    of them is the level over all bands, the others say how bands differ from it. Each is divided by
    its RMS over training, and the level, which varies four times as much in one task as in another,
    by the square root of its own spread before: halfway to as much in every segment. So no
    component of any task is so small that a denoiser could leave it out unpunished.

    Parameters
    ----------
    n_channels, n_bands : int
        Channels C and bands K of the envelope map.
    """

    rms: Tensor
    turn: Tensor

    def __init__(self, n_channels: int, n_bands: int) -> None:
        super().__init__()
        self.register_buffer("rms", torch.ones(n_channels, n_bands))
        self.register_buffer("turn", _cosines(n_bands), persistent=False)

    @torch.no_grad()
    def fit(self, squares: Tensor) -> None:
        """Set the RMS from mean squares (C, K) of components over training."""
        self.rms.copy_(squares.sqrt().clamp_min(_LEAST))

    def squares(self, bands: Tensor, mean: Tensor, spread: Tensor) -> Tensor:
        """Mean squares of components before they are divided by their RMS, (B, C, K)."""
        return self._components(bands, mean, spread).square().mean(-1)

    def relative(self, bands: Tensor, mean: Tensor, spread: Tensor) -> Tensor:
        """Bands (B, C, K, N), their means (B, C, K) and the level's spread (B, C) → components."""
        return self._components(bands, mean, spread) / self.rms[..., None]

    def absolute(self, components: Tensor, mean: Tensor, spread: Tensor) -> Tensor:
        """The inverse of `relative`."""
        parts = components * self.rms[..., None] * self._size(spread)
        return torch.einsum("kj,bckn->bcjn", self.turn, parts) + mean[..., None]

    def _components(self, bands: Tensor, mean: Tensor, spread: Tensor) -> Tensor:
        parts = torch.einsum("kj,bcjn->bckn", self.turn, bands - mean[..., None])
        return parts / self._size(spread)

    def _size(self, spread: Tensor) -> Tensor:
        """The root of the spread for the level, 1 for the other components, (B, C, K, 1)."""
        level = spread.clamp_min(_LEAST).sqrt()[..., None, None]
        others = torch.ones_like(level).expand(-1, -1, len(self.turn) - 1, -1)
        return torch.cat([level, others], dim=2)


def _cosines(n: int) -> Tensor:
    """Rows of the orthonormal discrete cosine transform (DCT-II), (n, n)."""
    k, t = torch.arange(n, dtype=torch.float64)[:, None], torch.arange(n) + 0.5
    rows = torch.cos(math.pi * k * t / n) * math.sqrt(2 / n)
    rows[0] /= math.sqrt(2)
    return rows.float()
