"""The short-time Fourier transform of one period, with its exact inverse."""

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Stft", "to_complex", "to_planes"]


class Stft(nn.Module):
    """Square-root Hann windows both ways at half overlap; the lowest `n_bins` bins are kept.

    Parameters
    ----------
    n_fft : int
        Samples of the window, even.
    n_bins : int
        At most n_fft / 2 + 1.
    """

    window: Tensor

    def __init__(self, n_fft: int, n_bins: int) -> None:
        super().__init__()
        self.n_fft, self.n_bins, self.hop_length = n_fft, n_bins, n_fft // 2
        self.register_buffer("window", torch.hann_window(n_fft).sqrt(), persistent=False)

    def forward(self, ring: Tensor) -> Tensor:
        """One period (B, C, (N - 1) · hop) → complex (B, C, F, N)."""
        return self.frames(functional.pad(ring, (self.hop_length,) * 2, mode="circular"))

    def inverse(self, spectrum: Tensor) -> Tensor:
        """Complex (B, C, F, N) → (B, C, (N - 1) · hop), exact on signals within the bins."""
        return self.overlap_add(spectrum)[..., self.hop_length : -self.hop_length]

    def frames(self, padded: Tensor) -> Tensor:
        """(B, C, (N + 1) · hop) → complex (B, C, F, N)."""
        frames = padded.unfold(-1, self.n_fft, self.hop_length) * self.window
        spectrum: Tensor = torch.fft.rfft(frames).transpose(-1, -2)
        return spectrum[..., : self.n_bins, :]

    def overlap_add(self, spectrum: Tensor) -> Tensor:
        """The inverse of `frames`, up to the fading first and last hop."""
        batch, channels, n_bins, n_frames = spectrum.shape
        full = functional.pad(spectrum, (0, 0, 0, self.n_fft // 2 + 1 - n_bins))
        frames = torch.fft.irfft(full.transpose(-1, -2), n=self.n_fft) * self.window
        halves = frames.reshape(batch, channels, n_frames, 2, self.hop_length)
        first = functional.pad(halves[:, :, :, 0], (0, 0, 0, 1))
        second = functional.pad(halves[:, :, :, 1], (0, 0, 1, 0))
        return (first + second).reshape(batch, channels, -1)


def to_planes(spectrum: Tensor) -> Tensor:
    """Complex (B, C, F, N) → real planes, then imaginary ones (B, 2C, F, N)."""
    return torch.cat([spectrum.real, spectrum.imag], dim=1)


def to_complex(planes: Tensor) -> Tensor:
    """The inverse of `to_planes`."""
    real, imag = planes.chunk(2, dim=1)
    return torch.complex(real.float(), imag.float())
