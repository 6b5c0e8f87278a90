"""How a model is built and trained: plain values, checked once."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch

from myosynth.diffusion.denoiser import OBJECTIVES
from myosynth.diffusion.networks import BACKBONES
from myosynth.diffusion.optimisers import OPTIMISERS
from myosynth.errors import ConfigError

__all__ = ["TrainingSettings"]

STAGES = ("coarse_to_fine", "one")
PRECISIONS = ("auto", "float32", "bfloat16")
REPRESENTATIONS = ("complex", "magnitude")


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of `train`; the defaults are what the ablation table recommends.

    Parameters
    ----------
    stages : {"coarse_to_fine", "one"}
        Envelope map first, then the planes given it; or the planes at once.
    backbone : {"temporal", "unet1d", "unet2d"}
        Of the planes' network: `TemporalUNet`, or `ResidualUNet` with bins as channels or over
        patches.
    patch : (int, int)
        Bins and frames of a patch of `unet2d`.
    patches_per_hop : int
        Positions of the ``temporal`` network per hop of the STFT.
    fine_levels : int
        Levels of half the width in front of the three of the ``temporal`` network.
    n_blocks : int
        Residual blocks per level of the planes' network.
    width, envelope_width : int
        Channels of either network, multiples of 32; see `ResidualUNet`.
    n_bands : int
        Bands of the envelope map.
    window_s : float
        Length of the STFT window, s; short enough to see single action potentials.
    envelope_stride : int
        STFT frames per frame of the envelope map.
    texture_bands : int
        Bands of the fine spectrum that is drawn beside the envelope map, with how peaked the
        carrier is, and how much more so where it is loud; 0 leaves all of it out.
    descriptors : bool
        Draw what a segment is like as a whole from a density first, and its envelope map given
        that; see `Descriptors`. Without it, and in private training, the first stage draws both.
    descriptor_noise : float
        Standard deviation of the noise on standardised descriptors that the first stage sees, in
        training and in drawing: given exactly, they would tell which segment it is.
    consistency : int
        Rounds in which a drawn signal is brought to the envelope map and texture it was asked to
        have; see `SpectrogramCodec.consistent`.
    envelope_share : float
        Share of the budget for the first stage, in (0, 1). Where both are trained at the same time
        (see `train`), a stage whose share is smaller ends before the other.
    representation : {"complex", "magnitude"}
        Real and imaginary planes; or magnitudes, as in the paper, whose phases are recovered by
        Griffin–Lim iterations. Magnitudes need `unet1d` or `unet2d` and have no temporal loss.
    gain_shape : bool
        Divide every segment by its own RMS, so that its amplitude is a condition and nothing else;
        or all by the level of the train split.
    whitening : bool
        Divide every bin by its own RMS; or all by one number for each channel.
    compression : float
        Exponent of the planes' magnitudes, 1 for none; below 1 needs `unet1d` or `unet2d`.
    multiplicative : bool
        Whether the network gives a gain on its input beside a residual.
    objective : {"edm", "flow"}
        Denoising under EDM's preconditioning, or rectified flow (velocity at logit-normal times,
        with `p_mean` and `p_std` of the logit).
    batch_size, envelope_batch_size : int
        Segments per step of the planes' network (or the only one), and of the envelope's. A batch
        keeps at most as many threads busy as it has segments; take more on a GPU or many cores.
    optimiser : {"muon", "adamw"}
        Muon steps along matrices with equal singular values, which takes fewer steps; private
        training takes AdamW.
    learning_rate, matrix_learning_rate, weight_decay : float
        Of AdamW, and of Muon's matrices; the rates warm up and then fall to zero along half a
        cosine.
    temporal_weight : float
        Weight of the temporal loss beside the spectral one; 0 leaves it out.
    envelope_noise : float
        Standard deviation of the noise on the standardised envelope map that the second stage
        sees in training, so that it forgives what the first stage gets slightly wrong.
    task_dropout, condition_dropout : float
        Share of the segments trained with the null task, or with a condition missing.
    p_mean, envelope_p_mean, p_std, envelope_p_std : float
        Of the log-normal noise levels; higher for the envelope map, whose values hang together over
        seconds, so that its rhythm is decided under more noise, and wider, since its chance
        variation from frame to frame is decided under less.
    tolerance : float
        The last weights are kept whose loss on validation subjects is above the lowest by no more
        than this share: what new people lose by it is little, what the trained ones gain is not.
    ema_length : float
        Length of the weights' running average as a share of the training so far.
    conditions : tuple of str
        Further columns to condition on (text or number; may have missing values).
    precision : {"auto", "float32", "bfloat16"}
        auto: bfloat16 where the processor multiplies it natively.
    threads : int, optional
        Threads of torch; as many as torch takes by itself (OMP_NUM_THREADS) but at most 8 by
        default.
    device : str
        ``auto`` takes a GPU where there is one.
    private : bool
        Train with differential privacy for each segment (not for each subject); see `PrivacyPlan`.
    epsilon, delta : float
        Its budget, over all stages.
    max_grad_norm : float
        To which the gradient of each segment is clipped when private.

    Raises
    ------
    ConfigError
        If a value is out of its range.
    """

    stages: str = "coarse_to_fine"
    backbone: str = "temporal"
    patch: tuple[int, int] = (2, 4)
    patches_per_hop: int = 16
    fine_levels: int = 1
    n_blocks: int = 1
    width: int = 64
    envelope_width: int = 64
    n_bands: int = 8
    window_s: float = 0.064
    envelope_stride: int = 2
    texture_bands: int = 16
    descriptors: bool = True
    descriptor_noise: float = 0.3
    consistency: int = 2
    envelope_share: float = 0.5
    representation: str = "complex"
    gain_shape: bool = True
    whitening: bool = True
    compression: float = 1.0
    multiplicative: bool = True
    objective: str = "edm"
    batch_size: int = 4
    envelope_batch_size: int = 32
    optimiser: str = "muon"
    learning_rate: float = 1e-3
    matrix_learning_rate: float = 3e-3
    weight_decay: float = 0.01
    temporal_weight: float = 0.1
    envelope_noise: float = 0.1
    task_dropout: float = 0.1
    condition_dropout: float = 0.2
    p_mean: float = -0.4
    envelope_p_mean: float = 0.0
    p_std: float = 1.2
    envelope_p_std: float = 1.4
    tolerance: float = 0.05
    ema_length: float = 0.1
    conditions: tuple[str, ...] = ()
    precision: str = "auto"
    threads: int | None = None
    device: str = "auto"
    private: bool = False
    epsilon: float = 8.0
    delta: float = 1e-5
    max_grad_norm: float = 1.0

    def __post_init__(self) -> None:
        for name, allowed in (
            ("stages", STAGES),
            ("backbone", BACKBONES),
            ("precision", PRECISIONS),
            ("representation", REPRESENTATIONS),
            ("objective", OBJECTIVES),
            ("optimiser", OPTIMISERS),
        ):
            if getattr(self, name) not in allowed:
                raise ConfigError(
                    f"{name} must be one of {', '.join(allowed)}, not {getattr(self, name)!r}"
                )
        for name in ("width", "envelope_width"):
            if getattr(self, name) < 32 or getattr(self, name) % 32:
                raise ConfigError(f"{name} must be a multiple of 32, not {getattr(self, name)}")
        for name, low, high in (
            ("envelope_share", 0.01, 0.99),
            ("learning_rate", 1e-7, 1.0),
            ("matrix_learning_rate", 1e-7, 1.0),
            ("weight_decay", 0.0, 1.0),
            ("temporal_weight", 0.0, 1e3),
            ("envelope_noise", 0.0, 10.0),
            ("descriptor_noise", 0.0, 10.0),
            ("task_dropout", 0.0, 0.99),
            ("condition_dropout", 0.0, 0.99),
            ("p_mean", -10.0, 10.0),
            ("envelope_p_mean", -10.0, 10.0),
            ("p_std", 0.01, 10.0),
            ("envelope_p_std", 0.01, 10.0),
            ("tolerance", 0.0, 1e6),
            ("ema_length", 0.001, 0.5),
            ("batch_size", 1, 65536),
            ("envelope_batch_size", 1, 65536),
            ("n_bands", 2, 256),
            ("n_blocks", 1, 16),
            ("patches_per_hop", 1, 64),
            ("fine_levels", 0, 4),
            ("window_s", 0.004, 1.0),
            ("envelope_stride", 1, 64),
            ("texture_bands", 0, 256),
            ("consistency", 0, 64),
            ("compression", 0.1, 1.0),
            ("epsilon", 1e-3, 1e6),
            ("delta", 1e-12, 0.1),
            ("max_grad_norm", 1e-6, 1e6),
        ):
            if not low <= getattr(self, name) <= high:
                raise ConfigError(
                    f"{name} must lie within {low:g} to {high:g}, not {getattr(self, name)}"
                )
        if self.envelope_stride % 2:
            raise ConfigError(f"envelope_stride must be even, not {self.envelope_stride}")
        if self.backbone == "temporal" and not self.linear:
            raise ConfigError(
                "the temporal backbone works on a signal, which magnitudes and compressed planes "
                "are not; take backbone unet1d or unet2d"
            )
        if len(self.patch) != 2 or min(self.patch) < 1:
            raise ConfigError(f"patch must be two numbers of 1 or more, not {self.patch}")
        if self.threads is not None and self.threads < 1:
            raise ConfigError(f"threads must be 1 or more, not {self.threads}")

    @property
    def linear(self) -> bool:
        """Whether the planes are the STFT of a signal, up to gains by bin and frame."""
        return self.representation == "complex" and self.compression == 1.0

    @property
    def describes(self) -> bool:
        """Whether descriptors are drawn before the envelope map.

        Not in private training: noise on gradients does not cover their density.
        """
        return self.descriptors and self.stages == "coarse_to_fine" and not self.private

    @property
    def n_threads(self) -> int:
        """Threads of torch that are used."""
        return self.threads or min(8, torch.get_num_threads())

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; a budget of privacy that does not hold is not stated."""
        content = asdict(self)
        if not self.private:
            for name in ("private", "epsilon", "delta", "max_grad_norm"):
                del content[name]
        content["patch"] = list(self.patch)
        content["conditions"] = list(self.conditions)
        return content

    @staticmethod
    def from_dict(content: Mapping[str, Any]) -> "TrainingSettings":
        """The inverse of `to_dict`; an unknown key raises `ConfigError`."""
        known = {field.name for field in fields(TrainingSettings)}
        unknown = sorted(set(content) - known)
        if unknown:
            raise ConfigError(f"unknown training setting {unknown[0]!r}")
        values: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in content.items()
        }
        return TrainingSettings(**values)
