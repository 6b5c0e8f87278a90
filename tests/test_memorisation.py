"""A real model that was trained on twenty segments until it knows them by heart is caught."""

from pathlib import Path

import numpy as np
import pytest

from myosynth.diffusion import Synthesizer, TrainingSettings, train
from myosynth.evaluation import Audit, audit
from myosynth.recordings import SegmentSet
from myosynth.signal.filters import bandpass

pytestmark = pytest.mark.slow

FS, N_TIMES = 500.0, 500
TASKS = ("pull", "stoop")
SETTINGS = TrainingSettings(
    stages="one", width=64, envelope_width=32, batch_size=20, threads=1, precision="float32",
    patches_per_hop=4, fine_levels=0,  # long patches: a step takes less time
    temporal_weight=0.0, task_dropout=0.0, learning_rate=3e-3, weight_decay=0.0, ema_length=0.05,
    tolerance=1e6,  # or the holdout would stop it before it knows them by heart
)  # fmt: skip


def people(n_each: int, split: str, seed: int) -> SegmentSet:
    """Ten people, two tasks, `n_each` segments of a second of modulated noise."""
    rng = np.random.default_rng(seed)
    time = np.arange(N_TIMES) / FS
    parts = []
    for number in range(10):
        for task in TASKS:
            raw = bandpass(rng.standard_normal((n_each, 1, N_TIMES)), FS, 10.0, 200.0)
            phase = rng.uniform(0, 2 * np.pi, (n_each, 1, 1))
            depth = 1.5 if task == "pull" else 0.2
            raw *= 1e-4 * np.exp(depth * np.sin(2 * np.pi * 2 * time + phase))
            parts.append(
                SegmentSet(
                    raw.astype(np.float32), FS, task, subject=f"p{number}", split=split,
                    recording=f"p{number}-{task}-{split}", start_s=np.arange(n_each) * 1.0,
                    metadata={"band_hz": [10.0, 200.0]},
                )
            )  # fmt: skip
    return SegmentSet.concatenate(parts)


def draw(model: Synthesizer, task: str) -> SegmentSet:
    # finely: a few large steps blur what is known by heart
    return model.sample(task, 40, seed=3, threads=1, sampler="heun", n_steps=24)


def audited(steps: int, out: Path) -> Audit:
    few, holdout = people(1, "train", 1), people(8, "holdout", 2)
    model: Synthesizer = train(few, out, steps=steps, settings=SETTINGS)
    made = SegmentSet.concatenate([draw(model, task) for task in TASKS])
    made = SegmentSet(made.read(), FS, made.task)
    return audit(SegmentSet.concatenate([few, holdout]), made, model_loss=model.loss, n_jobs=1)


def test_a_model_that_knows_twenty_segments_by_heart_is_caught_both_ways(tmp_path):
    result = audited(1200, tmp_path / "model")
    data, model = result.threats["data"], result.threats["model"]
    assert data.verdict == "leak_found"
    assert data.copies_found >= 8
    assert data.attack("fingerprints").p <= 0.01
    assert model.verdict == "leak_found"
    assert model.attack("loss").auc > 0.95
    assert model.attack("loss").value > 0.8


def test_a_model_that_was_hardly_trained_copies_nothing(tmp_path):
    result = audited(30, tmp_path / "model")
    assert result.copies_found == 0
    assert result.threats["model"].attack("loss").value < 0.5
