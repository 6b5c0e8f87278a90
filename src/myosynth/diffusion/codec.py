"""Between signals and planes: the STFT with its exact inverse, gain–shape and whitening."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from myosynth.diffusion.moments import mean_of, moments, rms, within_bins
from myosynth.diffusion.phases import griffin_lim
from myosynth.diffusion.stft import Stft, to_complex, to_planes
from myosynth.diffusion.texture import Texture, band_matrices, filtered
from myosynth.errors import InputError

__all__ = ["SpectrogramCodec"]

_FRAMES_MULTIPLE = 4
_POWER_FLOOR = 1e-4
_FINE = 4  # windows of the STFT in one of the fine spectrum
_LARGEST_STEP = 0.15  # of log power in one round: no frame is blown up, and no chance of it forced
_TEXTURE_STD = 3.0  # of its rows in standard deviations: being equal in all frames they are plain


class SpectrogramCodec(nn.Module):
    """Signals ↔ effort, envelope map and carrier.

    A segment is divided by the RMS of each channel (its log is the *effort*: gain–shape), and by
    the mean amplitude spectrum of training at four times the resolution of the STFT (whitening),
    taken as one period whose end runs over into its start, so that both are undone exactly. The
    STFT with a square-root Hann window both ways at half overlap is inverted exactly on the kept
    bins; each bin is again divided by its training RMS. The *envelope map* is the log power in
    `n_bands` triangular bands, averaged over a triangle of 2 · `envelope_stride` frames, and below
    it rows that are the same in all frames, the segment's `Texture`; the *carrier* is the whitened
    planes divided by that envelope (interpolated), again whitened by bin. Each of these can be left
    out, and magnitudes taken for complex planes, to see what it gives.

    Parameters
    ----------
    fs : float
        Sampling rate, Hz.
    n_channels, n_times : int
        Shape of one segment.
    band_hz : (float, float)
        The recordings' pass band; bins above 1.1 × its upper edge are not modelled.
    window_s : float
        Length of the STFT window, s.
    n_bands : int
        Bands of the envelope map; 0 for one stage (no envelope map).
    envelope_stride : int
        STFT frames per frame of the envelope map.
    patch : (int, int)
        Bins and frames are rounded up to multiples of these.
    texture_bands, representation, gain_shape, whitening, compression
        As in `TrainingSettings`.

    Raises
    ------
    InputError
        If the segment is shorter than two windows.
    """

    fine_rms: Tensor
    bin_rms: Tensor
    carrier_rms: Tensor
    carrier_mean: Tensor
    level: Tensor
    envelope_mean: Tensor
    envelope_std: Tensor
    to_bands: Tensor
    to_bins: Tensor
    triangle: Tensor

    def __init__(
        self,
        *,
        fs: float,
        n_channels: int,
        n_times: int,
        band_hz: tuple[float, float] = (10.0, 500.0),
        window_s: float = 0.064,
        n_bands: int = 8,
        envelope_stride: int = 2,
        patch: tuple[int, int] = (2, 4),
        texture_bands: int = 16,
        representation: str = "complex",
        gain_shape: bool = True,
        whitening: bool = True,
        compression: float = 1.0,
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {
            "fs": fs,
            "n_channels": n_channels,
            "n_times": n_times,
            "band_hz": list(band_hz),
            "window_s": window_s,
            "n_bands": n_bands,
            "envelope_stride": envelope_stride,
            "patch": list(patch),
            "texture_bands": texture_bands,
            "representation": representation,
            "gain_shape": gain_shape,
            "whitening": whitening,
            "compression": compression,
        }
        self.magnitude, self.gain_shape = representation == "magnitude", gain_shape
        self.whitening, self.compression = whitening, compression
        self.fs, self.n_channels, self.n_times = float(fs), n_channels, n_times
        self.stride, self.patch_frames = envelope_stride, patch[1]
        # a multiple of 8, so that at any rate a hop can be cut into equal patches
        self.hop_length = 8 * max(1, round(window_s * fs / 16))
        self.n_fft = 2 * self.hop_length
        if n_times < 2 * self.n_fft:
            raise InputError(
                f"segments of {n_times} samples at {fs:.7g} Hz are too short for the spectrogram; "
                f"prepare segments of at least {2 * self.n_fft / fs:.2f} s"
            )
        wanted = math.ceil(1.1 * band_hz[1] / (fs / self.n_fft))
        wanted = -(-wanted // patch[0]) * patch[0]
        self.n_bins = min(self.n_fft // 2 // patch[0] * patch[0], wanted)
        self.n_bands = min(n_bands, self.n_bins)
        self.stft = Stft(self.n_fft, self.n_bins)
        to_bands, to_bins = band_matrices(self.n_bins, max(1, self.n_bands))
        self.register_buffer("to_bands", to_bands, persistent=False)
        self.register_buffer("to_bins", to_bins, persistent=False)
        ramp = torch.arange(1, 2 * envelope_stride, 2) / (2 * envelope_stride**2)
        triangle = torch.cat([ramp, ramp.flip(0)])
        self.register_buffer("triangle", triangle.reshape(1, 1, -1), persistent=False)
        n_long = min(_FINE, n_times // self.n_fft) * self.n_fft
        described = texture_bands if self.n_bands and representation == "complex" else 0
        self.texture = Texture(n_long, n_long * self.n_bins // self.n_fft, described)
        self.n_rows = self.n_bands + self.texture.n_rows
        self.register_buffer("fine_rms", torch.ones(n_channels, n_long // 2 + 1))
        rows = max(1, self.n_rows)
        self.register_buffer("bin_rms", torch.ones(n_channels, self.n_bins, 1))
        self.register_buffer("carrier_rms", torch.ones(n_channels, self.n_bins, 1))
        self.register_buffer(
            "carrier_mean", torch.zeros(n_channels, self.n_bins, 1), persistent=self.magnitude
        )
        self.register_buffer("level", torch.ones(n_channels, 1), persistent=not gain_shape)
        self.register_buffer("envelope_mean", torch.zeros(n_channels, rows, 1))
        self.register_buffer("envelope_std", torch.ones(n_channels, rows, 1))

    def n_frames(self, n_times: int | None = None) -> int:
        """STFT frames for a signal of `n_times` samples, rounded up to whole envelope frames.

        At least one hop is left in which the end runs over into the start.
        """
        frames = -(-(n_times or self.n_times) // self.hop_length) + 2
        multiple = math.lcm(_FRAMES_MULTIPLE * self.stride, self.patch_frames)
        return -(-frames // multiple) * multiple

    # -- STFT and its inverse

    def _ring(self, signals: Tensor) -> Tensor:
        """(B, C, T) filled up to whole frames, so that the end runs over into the start."""
        n_times = signals.shape[-1]
        room = (self.n_frames(n_times) - 1) * self.hop_length - n_times
        reach = min(room, n_times - 1)  # a short segment leaves more room than it fills
        ramp = torch.linspace(0, 1, reach + 2, device=signals.device)[1:-1]
        after = signals[..., -reach - 1 : -1].flip(-1) * (1 - ramp)
        before = signals[..., 1 : reach + 1].flip(-1) * ramp
        after = functional.pad(after, (0, room - reach))
        before = functional.pad(before, (room - reach, 0))
        return torch.cat([signals, after + before], dim=-1)

    def to_signal(self, planes: Tensor) -> Tensor:
        """Planes (B, 2C, F, N) → the signal of all frames (B, C, (N + 1) · hop), ends included."""
        return self.stft.overlap_add(to_complex(planes))

    def to_planes(self, signal: Tensor) -> Tensor:
        """The inverse of `to_signal` on signals within the bins."""
        return to_planes(self.stft.frames(signal))

    def round_trip(self, signals: Tensor) -> Tensor:
        """What the representation alone costs: signals through the STFT and back, no network."""
        return self._unwhiten(self.whiten(signals), signals.shape[-1])

    # -- gain–shape

    @staticmethod
    def split_gain(signals: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, T) volts → unit-RMS shape (B, C, T) and effort (B, C), the natural log of the RMS.

        Raises
        ------
        InputError
            If a channel of a segment is constant zero.
        """
        rms = signals.square().mean(-1).sqrt()
        if not bool((rms > 0).all()):
            raise InputError(
                "a segment has a channel that is zero throughout; leave flat channels out"
            )
        return signals / rms[..., None], rms.log()

    @staticmethod
    def join_gain(shape: Tensor, effort: Tensor) -> Tensor:
        """The inverse of `split_gain`: the shape is brought to unit RMS, then scaled."""
        rms = shape.square().mean(-1, keepdim=True).sqrt().clamp_min(1e-12)
        return shape / rms * effort.exp()[..., None]

    def to_shape(self, signals: Tensor) -> tuple[Tensor, Tensor]:
        """`split_gain`; without gain–shape, signals over the level of training, and the effort."""
        shape, effort = self.split_gain(signals)
        return (shape if self.gain_shape else signals / self.level), effort

    def from_shape(self, shape: Tensor, effort: Tensor) -> Tensor:
        """The inverse of `to_shape`; without gain–shape the effort is in the shape already."""
        return self.join_gain(shape, effort) if self.gain_shape else shape * self.level

    def fit_level(self, efforts: Tensor) -> None:
        """RMS by channel over training segments of the given efforts (n, C)."""
        self.level.copy_((2 * efforts).exp().mean(0).sqrt()[:, None])

    # -- shape ↔ envelope map and carrier

    def whiten(self, shape: Tensor) -> Tensor:
        """Unit-RMS signals (B, C, T) → whitened complex spectrum (B, C, F, N)."""
        return self._spectrum(self._flat(self._ring(shape)))

    def _spectrum(self, flat: Tensor) -> Tensor:
        whitened: Tensor = self.stft(flat) / self.bin_rms
        return whitened

    def _flat(self, ring: Tensor) -> Tensor:
        return filtered(ring, self.fine_rms, inverse=True) if self.whitening else ring

    def _coloured(self, ring: Tensor) -> Tensor:
        return filtered(ring, self.fine_rms) if self.whitening else ring

    def _closed(self, ring: Tensor, n_times: int | None) -> Tensor:
        """What is drawn need not run over into its start: it is made to, as data are."""
        return self._flat(self._ring(self._coloured(ring)[..., : (n_times or self.n_times)]))

    def _unwhiten(self, spectrum: Tensor, n_times: int | None = None) -> Tensor:
        """The inverse of `whiten`: complex (B, C, F, N) → (B, C, n_times)."""
        ring = self._coloured(self.stft.inverse(spectrum * self.bin_rms))
        return ring[..., : (n_times or self.n_times)]

    def log_envelope(self, whitened: Tensor) -> Tensor:
        """Whitened spectrum → log power by band and envelope frame (B, C, n_bands, N / stride)."""
        power = torch.einsum("bcfn,fk->bckn", whitened.abs().square(), self.to_bands)
        batch, channels, bands, frames = power.shape
        half = self.stride // 2
        ends = (half, self.stride - half)
        flat = functional.pad(power.reshape(-1, 1, frames), ends, mode="replicate")
        smooth = functional.conv1d(flat, self.triangle, stride=self.stride)
        return (smooth.reshape(batch, channels, bands, -1) + _POWER_FLOOR).log()

    def by_frame(self, envelope: Tensor) -> Tensor:
        """(B, C, K, N / stride) → (B, C, K, N), interpolated."""
        if self.stride == 1 or envelope.shape[2] == 0:
            return envelope.repeat_interleave(self.stride, dim=-1)
        flat = envelope.flatten(1, 2)
        fine = functional.interpolate(flat, scale_factor=self.stride, mode="linear")
        return fine.reshape(*envelope.shape[:3], -1)

    def envelope_scale(self, log_envelope: Tensor) -> Tensor:
        """Log power by band and envelope frame → amplitude by bin and frame (B, C, F, N)."""
        fine = self.by_frame(log_envelope[:, :, : self.n_bands])
        return (0.5 * torch.einsum("bckn,kf->bcfn", fine, self.to_bins)).exp()

    def encode(self, shape: Tensor) -> tuple[Tensor, Tensor]:
        """Unit-RMS signals (B, C, T) → standardised envelope map (B, C, R, N / stride) and planes.

        Planes are (B, 2C, F, N): the real planes of all channels, then the imaginary ones; or
        magnitudes (B, C, F, N). With one stage (`n_bands` = 0) the map is empty:
        (B, C, 0, N / stride).
        """
        flat, bands, carrier = self._split(shape)
        if self.n_bands == 0:
            return bands, self._standardised(carrier)
        envelope = (self._rows(flat, bands, carrier) - self.envelope_mean) / self.envelope_std
        return envelope, self._standardised(carrier)

    def _split(self, shape: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Whitened signal, log power by band and frame, and carrier (B, C, F, N)."""
        flat = self._flat(self._ring(shape))
        whitened = self._spectrum(flat)
        if self.n_bands == 0:
            return flat, whitened.real[:, :, :0, :: self.stride], whitened
        bands = self.log_envelope(whitened)
        return flat, bands, whitened / self.envelope_scale(bands)

    def _rows(self, flat: Tensor, bands: Tensor, carrier: Tensor) -> Tensor:
        """The envelope map, not standardised: bands, and below them the texture."""
        if not self.texture.n_rows:
            return bands
        scale = self.envelope_scale(bands)
        white = self.stft.inverse(carrier)
        coloured = self.stft.inverse(carrier * self._colour(scale))
        rows = self.texture.measure(flat, white, coloured, self._amplitude(scale))
        return torch.cat([bands, rows[..., None].expand(-1, -1, -1, bands.shape[-1])], 2)

    def decode(
        self,
        envelope: Tensor,
        planes: Tensor,
        n_times: int | None = None,
        phase: Tensor | None = None,
    ) -> Tensor:
        """The inverse of `encode`: (B, C, T) at about unit RMS.

        `phase` (B, C, F, N), radians, is where Griffin–Lim iterations start for magnitudes; random
        but always the same by default.
        """
        spectrum = self._carrier(planes)
        if self.n_bands:
            log_envelope = envelope * self.envelope_std + self.envelope_mean
            spectrum = spectrum * self.envelope_scale(log_envelope)
        if not self.magnitude:
            return self._unwhiten(spectrum, n_times)
        spectrum = spectrum * self.bin_rms
        if phase is None:
            fixed = torch.Generator().manual_seed(0)
            phase = 2 * math.pi * torch.rand(spectrum.shape, generator=fixed)
        ring = griffin_lim(spectrum, phase, self.stft.inverse, self.stft)
        return self._coloured(ring)[..., : (n_times or self.n_times)]

    def consistent(
        self, envelope: Tensor, planes: Tensor, n_rounds: int, n_times: int | None = None
    ) -> Tensor:
        """Planes whose signal has the given envelope map and texture.

        By definition a carrier has none of its own, but what a network draws has a little, which
        would come on top of what is asked. In turns, the fine spectrum, the peakedness and the
        power by band and frame are measured on the signal and brought to what the map says.

        Parameters
        ----------
        envelope, planes : Tensor
            As `encode` gives them; complex planes without compression.
        n_rounds : int
            0 changes nothing; 2 come close.
        n_times : int, optional
            Length of the signal, that of training by default.
        """
        if not (n_rounds and self.n_bands):
            return planes
        wanted = envelope * self.envelope_std + self.envelope_mean
        scale, rows = self.envelope_scale(wanted), wanted[:, :, self.n_bands :].mean(-1)
        whitened, amplitude = self._carrier(planes) * scale, self._amplitude(scale)
        for _ in range(n_rounds):
            ring = self._closed(self.stft.inverse(whitened * self.bin_rms), n_times)
            if self.texture.n_rows:
                ring = self.texture.with_spectrum(ring, rows)
            whitened = self._spectrum(ring)
            if self.texture.n_rows:
                whitened = self._peaked(whitened, rows[..., -3:-2])
                whitened = self._peaked(whitened, rows[..., -2:], amplitude)
            step = wanted[:, :, : self.n_bands] - self.log_envelope(whitened)
            whitened = whitened * self.envelope_scale(step.clamp(-_LARGEST_STEP, _LARGEST_STEP))
        return self._standardised(whitened / scale)

    def _peaked(self, whitened: Tensor, wanted: Tensor, amplitude: Tensor | None = None) -> Tensor:
        """The carrier under the map that the signal has by now made as peaked as `wanted`.

        In its colour where there is an `amplitude`, and then under that as well.
        """
        own = self.envelope_scale(self.log_envelope(whitened))
        scale = own if amplitude is None else own / self._colour(own)
        carrier = self.stft.inverse(whitened / scale)
        change: Tensor = self.stft(self.texture.with_peaks(carrier, wanted, amplitude) - carrier)
        return whitened + change * scale

    def _colour(self, scale: Tensor) -> Tensor:
        """Amplitude by bin of a whole segment (B, C, F, 1), of its `envelope_scale`."""
        return scale.square().mean(-1, keepdim=True).sqrt() * self.bin_rms

    def _amplitude(self, scale: Tensor) -> Tensor:
        """RMS over all bins of an `envelope_scale`, at each sample of the ring (B, C, T)."""
        by_frame = (scale * self.bin_rms).square().sum(2).sqrt()
        n_samples = (by_frame.shape[-1] - 1) * self.hop_length + 1
        fine = functional.interpolate(by_frame, n_samples, mode="linear", align_corners=True)
        return fine[..., :-1] / fine[..., :-1].square().mean(-1, keepdim=True).sqrt()

    def _standardised(self, carrier: Tensor) -> Tensor:
        """Complex carrier (B, C, F, N) → planes of about unit variance."""
        if self.magnitude:
            return (self._pressed(carrier) - self.carrier_mean) / self.carrier_rms
        return to_planes(self._pressed(carrier) / self.carrier_rms)

    def _carrier(self, planes: Tensor) -> Tensor:
        """The inverse of `_standardised`: complex, or magnitudes."""
        if self.magnitude:
            pressed = planes * self.carrier_rms + self.carrier_mean
            return pressed.clamp_min(0).pow(1 / self.compression)
        return _raised(to_complex(planes) * self.carrier_rms, 1 / self.compression)

    def _pressed(self, carrier: Tensor) -> Tensor:
        if self.magnitude:
            return carrier.abs().pow(self.compression)
        return _raised(carrier, self.compression)

    def fit(self, shapes: Any) -> None:
        """Fit the whitening and envelope constants on training shapes.

        Parameters
        ----------
        shapes : callable returning an iterator of Tensor (B, C, T)
            Called up to four times; each pass runs over the training segments in bounded memory.
        """
        if self.whitening:
            power = mean_of(self.texture.power(self._ring(shape)) for shape in shapes())
            self.fine_rms.copy_(within_bins(power, self.texture.n_long // self.n_fft))
        self.bin_rms.copy_(self._by_bin(rms(self.whiten(shape).abs() for shape in shapes())))
        if self.n_bands:
            mean, std = moments(self._rows(*self._split(shape)) for shape in shapes())
            self.envelope_mean.copy_(mean)
            self.envelope_std.copy_(std)
            self.envelope_std[:, self.n_bands :] *= _TEXTURE_STD

        def carriers() -> Any:
            for shape in shapes():
                yield self._pressed(self._split(shape)[2]).abs()

        if self.magnitude:
            mean, std = moments(carriers())
            middle = mean if self.whitening else mean.mean(1, keepdim=True).expand_as(mean)
            spread = (std.square() + (mean - middle).square()).sqrt()
            self.carrier_mean.copy_(middle)
            self.carrier_rms.copy_(self._by_bin(spread))
        elif self.n_bands or self.compression != 1.0:
            self.carrier_rms.copy_(self._by_bin(rms(carriers())))

    def _by_bin(self, rms: Tensor) -> Tensor:
        """(C, F, 1) as it is; without whitening, the RMS over all bins in every one."""
        if self.whitening:
            return rms
        return rms.square().mean(1, keepdim=True).sqrt().expand_as(rms)


def _raised(spectrum: Tensor, exponent: float) -> Tensor:
    """Magnitudes to a power, phases as they are."""
    if exponent == 1.0:
        return spectrum
    return spectrum * spectrum.abs().clamp_min(1e-12).pow(exponent - 1)
