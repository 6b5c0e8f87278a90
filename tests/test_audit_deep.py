"""`audit --model --deep` on a real model: eight shadow models of the same build are trained."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from myosynth.app import pipeline
from myosynth.app.judging import _shadows
from myosynth.diffusion import TrainingSettings
from myosynth.recordings import SegmentSet
from myosynth.signal.filters import filter_recording
from myosynth.signal.segmentation import segment_recording
from myosynth.simulation import simulate_dataset

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("descriptors", "low", "high"), [(False, 0.2, 0.8), (True, 0.6, 1.0)])
def test_the_shadow_models_are_built_like_the_model(
    tmp_path: Path, descriptors: bool, low: float, high: float
) -> None:
    """Four steps teach nothing, but a density of few segments knows them."""
    recordings = simulate_dataset(
        n_subjects=3, n_sessions=2, tasks=("pull", "stoop"), duration_s=12.0, fs=1000.0, seed=2
    )
    real = SegmentSet.concatenate(
        segment_recording(filter_recording(each))[0] for each in recordings
    )
    first = real.session == sorted(set(real.session.tolist()))[0]
    real.split = np.where(first, "train", "holdout")
    real.save(tmp_path / "segments")
    pipeline.train(
        tmp_path / "segments", tmp_path / "model", steps=4,
        settings={"width": 32, "envelope_width": 32, "threads": 1, "descriptors": descriptors},
    )  # fmt: skip
    pipeline.generate(tmp_path / "model", tmp_path / "made", n_segments=8)
    found = pipeline.audit(
        tmp_path / "segments", tmp_path / "made", tmp_path / "audit",
        model=tmp_path / "model", deep=True, shadow_steps=2,
    )  # fmt: skip
    threat = found.threats["model"]
    lira = threat.attack("lira")
    assert lira is not None
    assert lira.n_members == int(first.sum())
    assert low < (lira.auc or 0) <= high
    assert "own shadow models" in threat.power_meaning


def test_shadows_of_a_private_model_have_as_many_losses(tmp_path: Path) -> None:
    """A private model has no density of descriptors, so neither have its shadows."""
    rng = np.random.default_rng(0)
    real = SegmentSet(
        1e-3 * rng.standard_normal((16, 1, 500)).astype(np.float32), 500.0, "pull",
        subject=["a", "b"] * 8, split="train",
    )  # fmt: skip
    settings = TrainingSettings(width=32, envelope_width=32, threads=1)
    for private, n_losses in ((True, 6), (False, 7)):
        own = {**settings.to_dict(), "private": private}
        loss = _shadows(SimpleNamespace(config={"settings": own}), 2)(real, 0)  # type: ignore[arg-type]
        assert loss(real).shape == (16, n_losses)
