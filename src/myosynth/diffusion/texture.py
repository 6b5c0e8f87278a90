"""What a segment is like throughout: its fine spectrum, and how peaked it is between bursts."""

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Texture", "band_matrices", "filtered"]

_POWER_FLOOR = 1e-4
_LARGEST_STEP = 2.0  # of log power in one round, so that a segment far off is not torn
_LEAST_EXPONENT, _MOST_EXPONENT = 0.8, 1.25  # beyond, spikes stand alone
# Of Newton's method: so damped that where loudness hardly varies one power is taken everywhere
_N_STEPS, _RIDGE = 4, 0.1


class Texture(nn.Module):
    """A few numbers by segment and channel that no short STFT window shows, and signals made so.

    The fine spectrum is the log power of the whitened signal in `n_bands` triangular bands over
    windows of `n_long` samples; the peakedness is the log kurtosis of the carrier, which is
    high where single action potentials stand out, once as it is (its high frequencies count most,
    as in the gaps between potentials) and once in the colour of the segment (as in the potentials).
    The last number is by how much more peaked the coloured carrier is under the segment's amplitude
    than the two are by themselves: above 0 where loud stretches are more peaked than quiet ones.
    `with_spectrum` and `with_peaks` bring a signal to given values, or nearer to them, by the
    smallest change of its kind: a filter, and a power of its magnitude, for the coloured carrier
    another in loud stretches than in quiet ones.

    Source: the idea of describing a texture by such statistics, and of drawing it by bringing a
    signal to them in turns, is that of Portilla & Simoncelli 2000 (doi 10.1023/A:1026553619983).

    Parameters
    ----------
    n_long : int
        Samples of the window of the fine spectrum.
    n_lines : int
        Its lowest lines that are modelled.
    n_bands : int
        Bands of the fine spectrum; 0 describes nothing.
    """

    window: Tensor
    to_bands: Tensor
    to_lines: Tensor

    def __init__(self, n_long: int, n_lines: int, n_bands: int) -> None:
        super().__init__()
        self.n_long = n_long
        self.n_bands = min(n_bands, n_lines)
        self.n_rows = self.n_bands + 3 if self.n_bands else 0
        self.register_buffer("window", torch.hann_window(n_long), persistent=False)
        to_bands, to_lines = band_matrices(n_lines, max(1, self.n_bands))
        self.register_buffer("to_bands", to_bands, persistent=False)
        self.register_buffer("to_lines", to_lines, persistent=False)

    def power(self, ring: Tensor) -> Tensor:
        """(B, C, T) → mean power of all lines (B, C, n_long / 2 + 1), windows at half overlap."""
        frames = ring.unfold(-1, self.n_long, self.n_long // 2) * self.window
        mean: Tensor = torch.fft.rfft(frames).abs().square().mean(-2)
        return mean

    def measure(self, ring: Tensor, carrier: Tensor, coloured: Tensor, amplitude: Tensor) -> Tensor:
        """Whitened signal, carrier, white and coloured, and its amplitude → (B, C, n_rows).

        All are (B, C, T).
        """
        white, alone, under, uneven = (
            _peakedness(each) for each in (carrier, coloured, coloured * amplitude, amplitude)
        )
        peaked = torch.stack([white, alone, under - alone - uneven], dim=-1)
        return torch.cat([self._spectrum(ring), peaked], dim=-1)

    def with_spectrum(self, ring: Tensor, rows: Tensor) -> Tensor:
        """The whitened signal, filtered so that its fine spectrum is as `rows` (B, C, n_rows)."""
        step = rows[..., : self.n_bands] - self._spectrum(ring)
        gain = (0.5 * step.clamp(-_LARGEST_STEP, _LARGEST_STEP) @ self.to_lines).exp()
        above = self.n_long // 2 + 1 - gain.shape[-1]
        gain = functional.pad(gain, (0, above), mode="replicate")
        return filtered(ring, gain)

    def with_peaks(
        self, carrier: Tensor, wanted: Tensor, amplitude: Tensor | None = None
    ) -> Tensor:
        """The carrier (B, C, T) to a power, signs and RMS kept, so that it is as peaked as wanted.

        Parameters
        ----------
        wanted : Tensor, (B, C, 1) or (B, C, 2)
            The peakedness of the carrier and, with an amplitude, how much more peaked their product
            is than the two by themselves.
        amplitude : Tensor, (B, C, T), optional
            Where it is large the power is another than where it is small.
        """
        ones = torch.ones_like(carrier)
        under = stretches = ones[..., None, :]
        if amplitude is not None:
            power = amplitude.square()
            loud = power / (power + power.mean(-1, keepdim=True))
            under = torch.stack([ones, amplitude], dim=-2)
            stretches = torch.stack([1 - loud, loud], dim=-2)
            both = wanted.sum(-1) + _peakedness(amplitude)
            wanted = torch.stack([wanted[..., 0], both], dim=-1)
        size = carrier.abs().clamp_min(1e-6).log()
        exponents = torch.ones_like(wanted)
        for _ in range(_N_STEPS):
            found, slopes = _peakedness_of_power(size, exponents, stretches, under)
            step = _least_squares(slopes, wanted - found)
            exponents = (exponents + step).clamp(_LEAST_EXPONENT, _MOST_EXPONENT)
        raised = carrier.sign() * (_by_sample(exponents, stretches) * size).exp()
        return raised * (_mean_square(carrier) / _mean_square(raised)).sqrt()

    def _spectrum(self, ring: Tensor) -> Tensor:
        power = self.power(ring)[..., : len(self.to_bands)]
        return (power @ self.to_bands + _POWER_FLOOR).log()


def filtered(ring: Tensor, gain: Tensor, *, inverse: bool = False) -> Tensor:
    """(B, C, T), as one period, times (or over) a gain (…, L) from 0 to half the sampling rate."""
    spectrum = torch.fft.rfft(ring)
    rows = gain.reshape(1, -1, gain.shape[-1])
    fine = functional.interpolate(
        rows, size=spectrum.shape[-1], mode="linear", align_corners=True
    ).reshape(*gain.shape[:-1], -1)
    changed: Tensor = spectrum / fine if inverse else spectrum * fine
    signal: Tensor = torch.fft.irfft(changed, n=ring.shape[-1])
    return signal


def band_matrices(n_bins: int, n_bands: int) -> tuple[Tensor, Tensor]:
    """Triangular band averages (F, K) and the linear interpolation back (K, F).

    Band centres lie evenly on a warped axis, log(1 + bin / 12), so that low bands are narrow.
    """
    bins = torch.arange(n_bins, dtype=torch.float64)
    warped = torch.log1p(bins / 12)
    centres = torch.linspace(float(warped[0]), float(warped[-1]), n_bands + 2)[1:-1].double()
    if n_bands == 1:
        weights = torch.ones(n_bins, 1, dtype=torch.float64)
    else:
        spacing = centres[1] - centres[0]
        clipped = warped.clamp(centres[0], centres[-1])
        weights = (1 - (clipped[:, None] - centres).abs() / spacing).clamp_min(0)
    back = weights.T.contiguous()
    return (weights / weights.sum(0)).float(), (back / back.sum(0)).float()


def _peakedness(signal: Tensor) -> Tensor:
    square = signal.square()
    return (square.square().mean(-1) / square.mean(-1).square().clamp_min(1e-24)).log()


def _by_sample(exponents: Tensor, stretches: Tensor) -> Tensor:
    """Exponents (B, C, P) of stretches (B, C, P, T), which add up to 1 → (B, C, T)."""
    return torch.einsum("bcp,bcpt->bct", exponents, stretches)


def _peakedness_of_power(
    size: Tensor, exponents: Tensor, stretches: Tensor, under: Tensor
) -> tuple[Tensor, Tensor]:
    """Peakedness (B, C, S) of a signal to a power, and how it changes with exponents (B, C, S, P).

    `size` (B, C, T) is its log magnitude, and `under` (B, C, S, T) are the amplitudes it is under.
    """
    square = (2 * _by_sample(exponents, stretches) * size).exp()[..., None, :] * under.square()
    fourth = square.square()
    second_mean, fourth_mean = square.mean(-1), fourth.mean(-1)
    found = fourth_mean.log() - 2 * second_mean.log()
    moved = size[..., None, :] * stretches / size.shape[-1]
    of_fourth = torch.einsum("bcst,bcpt->bcsp", fourth, moved) / fourth_mean[..., None]
    of_second = torch.einsum("bcst,bcpt->bcsp", square, moved) / second_mean[..., None]
    return found, 4 * (of_fourth - of_second)


def _least_squares(slopes: Tensor, wanted: Tensor) -> Tensor:
    """The small step (B, C, P) with slopes (B, C, S, P) · step = wanted (B, C, S), nearly."""
    turned = slopes.mT
    inner = turned @ slopes + _RIDGE * torch.eye(slopes.shape[-1], device=slopes.device)
    step: Tensor = torch.linalg.solve(inner, turned @ wanted[..., None])
    return step[..., 0]


def _mean_square(signal: Tensor) -> Tensor:
    return signal.square().mean(-1, keepdim=True).clamp_min(1e-24)
