"""A new model: layers at their first weights, and all that is fitted before training."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from myosynth.diffusion.codec import SpectrogramCodec
from myosynth.diffusion.conditions import Conditions
from myosynth.diffusion.encoding import features_of, to_shape
from myosynth.diffusion.model import Description, Model
from myosynth.diffusion.settings import TrainingSettings
from myosynth.recordings import SegmentSet

__all__ = ["make_model"]

_FIT_SEGMENTS = 2048  # enough for the codec's constants; bounds the time before the first step
_BLOCK = 64


def make_model(
    segments: SegmentSet,
    rows: NDArray[np.intp],
    settings: TrainingSettings,
    seed: int,
    privacy: Mapping[str, Any],
) -> Model:
    """An untrained model whose conditions, codec and descriptors are fitted to training rows.

    `privacy` are facts that its description states besides those of the segments.
    """
    rng = np.random.default_rng([seed, 1])
    few = np.sort(rng.permutation(rows)[:_FIT_SEGMENTS])
    blocks = [few[i : i + _BLOCK] for i in range(0, len(few), _BLOCK)]
    efforts = torch.cat([
        SpectrogramCodec.split_gain(torch.from_numpy(segments.read(block)).float())[1]
        for block in blocks
    ]).double()  # fmt: skip
    conditions = Conditions.fit(segments, few, efforts.numpy(), settings.conditions, seed)
    description = _describe(segments, rows, privacy)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # layers draw their first weights from the global state
        model = Model(description, settings, conditions)

    def shapes() -> Iterator[Tensor]:
        return (to_shape(segments.read(block), model.codec)[0] for block in blocks)

    model.codec.fit_level(efforts)
    model.codec.fit(shapes)
    if model.descriptors is not None:
        _fit_descriptors(model, segments, few, efforts.numpy(), shapes)
    return model


def _fit_descriptors(
    model: Model,
    segments: SegmentSet,
    rows: NDArray[np.intp],
    efforts: NDArray[np.float64],
    shapes: Callable[[], Iterator[Tensor]],
) -> None:
    conditions = model.conditions
    features = features_of(segments, rows, conditions, efforts)
    assert model.descriptors is not None
    model.descriptors.fit(
        (model.codec.encode(shape)[0] for shape in shapes()),
        features,
        conditions.known(features),
        np.array([conditions.task_id(task) for task in segments.task[rows]]),
        segments.subject[rows],
    )


def _describe(
    segments: SegmentSet, rows: NDArray[np.intp], privacy: Mapping[str, Any]
) -> Description:
    metadata = segments.metadata
    low, high = 10.0, min(500.0, 0.45 * segments.fs)
    for each in metadata.get("filters", []):
        if each.get("name") == "bandpass":
            low, high = each["low_hz"], each["high_hz"]
    facts = {
        "n_segments": len(rows),
        "n_subjects": len(set(segments.subject[rows].tolist())),
        "segments_by_task": {
            task: int((segments.task[rows] == task).sum()) for task in segments.tasks
        },
        "split": dict(metadata.get("split", {}).get("subjects", {})),
        "filters": metadata.get("filters", []),
        **privacy,
    }
    return Description(
        segments.fs,
        segments.n_times,
        tuple(segments.channel_names),
        tuple(segments.muscles),
        (float(low), float(high)),
        facts,
    )
