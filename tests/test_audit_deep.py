"""`audit --model --deep` on a real model: eight shadow models of the same build are trained."""

from pathlib import Path

import numpy as np
import pytest

from myosynth.app import pipeline
from myosynth.recordings import SegmentSet
from myosynth.signal.filters import filter_recording
from myosynth.signal.segmentation import segment_recording
from myosynth.simulation import simulate_dataset

pytestmark = pytest.mark.slow


def test_the_shadow_models_are_built_like_the_model(tmp_path: Path) -> None:
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
        settings={"width": 32, "envelope_width": 32, "threads": 1},
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
    assert 0.2 < (lira.auc or 0) < 0.8  # four steps teach nothing
    assert "own shadow models" in threat.power_meaning
