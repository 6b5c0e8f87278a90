"""From rows of a segment set to the tensors that a stage learns from."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from myosynth.diffusion.codec import SpectrogramCodec
from myosynth.diffusion.conditions import Conditions, columns_of
from myosynth.diffusion.model import Model
from myosynth.recordings import SegmentSet

__all__ = ["SegmentEncoder", "features_of", "to_shape"]


def to_shape(signals: NDArray[Any], codec: SpectrogramCodec) -> tuple[Tensor, NDArray[np.float64]]:
    """Shapes (B, C, T) and efforts (B, C) in ln V; see `SpectrogramCodec.to_shape`."""
    volts = torch.from_numpy(np.asarray(signals, dtype=np.float32))
    shape, effort = codec.to_shape(volts.to(codec.level.device))
    return shape, effort.double().cpu().numpy()


def features_of(
    segments: SegmentSet, rows: NDArray[np.intp], conditions: Conditions, effort: NDArray[Any]
) -> NDArray[np.float32]:
    """Conditions of rows as numbers; columns not there and values never trained on are missing."""
    has = columns_of(segments)
    values = {name: has[name][rows] for name in conditions.columns if name in has}
    return conditions.features(effort, values, strict=False)


class SegmentEncoder:
    """Rows → (clean, envelope map, task_id, features), on the CPU.

    `clean` is what the stage learns to draw: (B, P, F, N). For the first stage of two, and for a
    single one, the envelope map is empty: (B, C, 0, N). For the first stage of two, descriptors
    follow the features, and `clean` is relative to them.
    """

    def __init__(self, segments: SegmentSet, model: Model, stage: str, device: torch.device):
        self._segments, self._model, self._stage, self._device = segments, model, stage, device
        self._ids = {task: i for i, task in enumerate(model.conditions.tasks)}

    def __call__(self, rows: NDArray[np.intp]) -> tuple[Tensor, ...]:
        conditions = self._model.conditions
        shape, effort = to_shape(self._segments.read(rows), self._model.codec)
        envelope, planes = self._model.codec.encode(shape.to(self._device))
        features = torch.from_numpy(features_of(self._segments, rows, conditions, effort))
        null = len(self._ids)
        tasks = self._segments.task[rows].tolist()
        task_id = torch.tensor([self._ids.get(task, null) for task in tasks])
        clean, known = planes, envelope
        if self._stage == "envelope":
            known = envelope[:, :, :0]
            clean, features = self._model.first_stage(envelope, features)
        return clean.cpu(), known.cpu(), task_id, features
