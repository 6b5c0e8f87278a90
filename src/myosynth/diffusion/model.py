"""The whole of what is learned, as one module, and its files: config.json + model.safetensors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from myosynth.diffusion.codec import SpectrogramCodec
from myosynth.diffusion.conditions import Conditions
from myosynth.diffusion.denoiser import Denoiser
from myosynth.diffusion.descriptors import Descriptors
from myosynth.diffusion.memorisation import memorisation_warning
from myosynth.diffusion.networks import ResidualUNet, TemporalUNet
from myosynth.diffusion.settings import TrainingSettings
from myosynth.errors import CheckpointError, ConfigError, FormatError
from myosynth.storage import atomic_directory, read_json, write_json

__all__ = ["Description", "Model", "load_model", "save_model"]

SCHEMA = "myosynth-model/7"
_CONFIG, _WEIGHTS = "config.json", "model.safetensors"


@dataclass(frozen=True)
class Description:
    """What the segments were that a model learned from.

    Parameters
    ----------
    fs : float
        Sampling rate, Hz.
    n_times : int
        Samples of one segment.
    channel_names, muscles : tuple of str
        By channel.
    band_hz : (float, float)
        Pass band of the recordings.
    facts : mapping
        JSON-able: the split, counts, filters.
    """

    fs: float
    n_times: int
    channel_names: tuple[str, ...]
    muscles: tuple[str, ...]
    band_hz: tuple[float, float]
    facts: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        return {
            "fs": self.fs,
            "n_times": self.n_times,
            "channel_names": list(self.channel_names),
            "muscles": list(self.muscles),
            "band_hz": list(self.band_hz),
            "facts": dict(self.facts),
        }

    @staticmethod
    def from_dict(content: Mapping[str, Any]) -> "Description":
        low, high = content["band_hz"]
        return Description(
            float(content["fs"]),
            int(content["n_times"]),
            tuple(content["channel_names"]),
            tuple(content["muscles"]),
            (float(low), float(high)),
            dict(content["facts"]),
        )


class Model(nn.Module):
    """Codec and denoisers: ``stages["envelope"]`` (unless one stage) and ``stages["planes"]``.

    `n_groups` are those of the density of descriptors, where there is one: 0 before it is fitted.
    """

    descriptors: Descriptors | None

    def __init__(
        self,
        description: Description,
        settings: TrainingSettings,
        conditions: Conditions,
        *,
        n_groups: int = 0,
    ) -> None:
        super().__init__()
        self.description, self.settings, self.conditions = description, settings, conditions
        n_channels = len(description.channel_names)
        two = settings.stages == "coarse_to_fine"
        self.codec = SpectrogramCodec(
            fs=description.fs,
            n_channels=n_channels,
            n_times=description.n_times,
            band_hz=description.band_hz,
            n_bands=settings.n_bands if two else 0,
            window_s=settings.window_s,
            envelope_stride=settings.envelope_stride,
            patch=settings.patch,
            texture_bands=settings.texture_bands,
            representation=settings.representation,
            gain_shape=settings.gain_shape,
            whitening=settings.whitening,
            compression=settings.compression,
        )
        shared: dict[str, Any] = {
            "n_tasks": len(conditions.tasks),
            "n_efforts": conditions.n_features,
        }
        self.descriptors = None
        if settings.describes:
            self.descriptors = Descriptors(
                n_channels=n_channels,
                n_bands=self.codec.n_bands,
                n_rows=self.codec.n_rows,
                n_frames=self.codec.n_frames() // self.codec.stride,
                n_features=conditions.n_features,
                n_tasks=len(conditions.tasks),
                n_groups=n_groups,
            )
        self.stages = nn.ModuleDict()
        if two:
            n_known = 0 if self.descriptors is None else self.descriptors.n
            envelope = ResidualUNet(
                in_planes=n_channels,
                n_bins=self.n_drawn_rows,
                n_extra=0,
                width=settings.envelope_width,
                n_parts=1,
                **{**shared, "n_efforts": conditions.n_features + n_known},
            )
            self.stages["envelope"] = self._denoiser(envelope)
        self.stages["planes"] = self._denoiser(self._planes_network(n_channels, shared))

    def _denoiser(self, network: ResidualUNet | TemporalUNet) -> Denoiser:
        settings = self.settings
        return Denoiser(
            network, objective=settings.objective, multiplicative=settings.multiplicative
        )

    def _planes_network(
        self, n_channels: int, shared: dict[str, Any]
    ) -> ResidualUNet | TemporalUNet:
        settings, codec = self.settings, self.codec
        n_parts = 1 if settings.representation == "magnitude" else 2
        shared = {
            "in_planes": n_parts * n_channels,
            "n_bins": codec.n_bins,
            "n_extra": n_channels * codec.n_rows,
            "width": settings.width,
            "n_blocks": settings.n_blocks,
            **shared,
        }
        if settings.backbone != "temporal":
            return ResidualUNet(
                backbone=settings.backbone, patch=settings.patch, n_parts=n_parts, **shared
            )
        return TemporalUNet(
            to_signal=codec.to_signal,
            to_planes=codec.to_planes,
            scale=codec.n_fft**0.5 / 2,
            n_channels=n_channels,
            patch_times=_patch_times(codec.hop_length, settings.patches_per_hop),
            n_fine_levels=settings.fine_levels,
            **shared,
        )

    @property
    def n_drawn_rows(self) -> int:
        """Rows of the envelope map that the first stage draws: not those that are descriptors."""
        return self.codec.n_rows if self.descriptors is None else self.codec.n_bands

    def first_stage(self, envelope: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """What the first of two stages draws of an envelope map, and what it is told of it.

        Bands (B, C, ·, N) relative to their descriptors, and the conditions (B, ·) followed by
        these; without descriptors the map and the conditions as they are.
        """
        drawn = envelope[:, :, : self.n_drawn_rows]
        if self.descriptors is None:
            return drawn, features
        described = self.descriptors.measure(envelope)
        told = torch.cat([features, described.to(features.device)], dim=1)
        return self.descriptors.relative(drawn, described), told

    @property
    def n_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.stages.parameters())

    def stage(self, name: str) -> Denoiser:
        denoiser = self.stages[name]
        assert isinstance(denoiser, Denoiser)
        return denoiser

    def shape_of(self, stage: str, n_times: int | None = None) -> tuple[int, int, int]:
        """(P, F, N) of what a stage draws for signals of `n_times` samples."""
        network = self.stage(stage).network
        n_frames = self.codec.n_frames(n_times)
        n_frames = n_frames // self.codec.stride if stage == "envelope" else n_frames
        return network.in_planes, network.n_bins, n_frames

    def extra(self, envelope: Tensor) -> Tensor | None:
        """Envelope map (B, C, K, N / stride) → condition by frame (B, C·K, N); None where empty."""
        return self.codec.by_frame(envelope).flatten(1, 2) if envelope.shape[2] else None

    def config(self) -> dict[str, Any]:
        """JSON-able: all that `load_model` needs beside the weights."""
        return {
            "schema": SCHEMA,
            "description": self.description.to_dict(),
            "settings": self.settings.to_dict(),
            "conditions": self.conditions.to_dict(),
            "n_groups": 0 if self.descriptors is None else self.descriptors.n_groups,
            "n_parameters": self.n_parameters,
        }

    @staticmethod
    def from_config(config: Mapping[str, Any]) -> "Model":
        """An untrained model of the same make."""
        return Model(
            Description.from_dict(config["description"]),
            TrainingSettings.from_dict(config["settings"]),
            Conditions.from_dict(config["conditions"]),
            n_groups=int(config["n_groups"]),
        )


def _patch_times(hop_length: int, wanted: int) -> int:
    """The most samples that divide a hop into at least `wanted` equal patches."""
    most = max(1, hop_length // wanted)
    return next(size for size in range(most, 0, -1) if hop_length % size == 0)


def save_model(
    model: Model,
    path: str | Path,
    *,
    training: Sequence[Mapping[str, Any]] | None = None,
    overwrite: bool = False,
) -> None:
    """Write a model folder, whole or not at all."""
    with atomic_directory(path, overwrite=overwrite) as folder:
        write_json(folder / _CONFIG, model.config())
        state = {name: value.contiguous().cpu() for name, value in model.state_dict().items()}
        save_file(state, folder / _WEIGHTS)
        if training is not None:
            found = memorisation_warning(training)
            log = [dict(row) for row in training]
            write_json(folder / "training.json", {"log": log, "memorisation": found})


def load_model(path: str | Path) -> Model:
    """Read a model folder.

    Raises
    ------
    CheckpointError
        If a file is missing, damaged or of another kind.
    """
    path = Path(path)
    if not path.exists():
        raise CheckpointError(f"{path} does not exist; name a folder made with: myosynth train")
    for name in (_CONFIG, _WEIGHTS):
        if not (path / name).is_file():
            raise CheckpointError(
                f"{path} lacks {name}, so it is not a whole model; "
                "restore the file, or train again with: myosynth train"
            )
    try:
        config = read_json(path / _CONFIG)
    except FormatError as error:
        raise CheckpointError(str(error)) from error
    if not isinstance(config, Mapping) or config.get("schema") != SCHEMA:
        said = config.get("schema") if isinstance(config, Mapping) else type(config).__name__
        raise CheckpointError(
            f"{path / _CONFIG} has the schema {said!r}, not {SCHEMA!r}; train the model again"
        )
    try:
        model = Model.from_config(config)
    except (KeyError, TypeError, ValueError, ConfigError) as error:
        raise CheckpointError(
            f"{path / _CONFIG} is damaged ({type(error).__name__}: {error}); restore it or train "
            "again"
        ) from error
    try:
        model.load_state_dict(load_file(path / _WEIGHTS))
    except (SafetensorError, RuntimeError, OSError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise CheckpointError(
            f"{path / _WEIGHTS} is damaged or belongs to another config.json ({first}); restore "
            "it or train again"
        ) from error
    if not all(bool(torch.isfinite(value).all()) for value in model.state_dict().values()):
        raise CheckpointError(f"{path / _WEIGHTS} holds NaN; restore it or train again")
    return model.eval()
