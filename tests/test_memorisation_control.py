"""Memorisation is watched while a model trains, without a trace in the model."""

import json
from pathlib import Path

import numpy as np
import pytest

from myosynth.app import console, pipeline
from myosynth.diffusion import Progress, TrainingSettings, train
from myosynth.diffusion.memorisation import memorisation_warning
from myosynth.errors import InputError
from myosynth.recordings import SegmentSet

SMALL = TrainingSettings(
    stages="one", width=32, envelope_width=32, batch_size=4, threads=1, precision="float32",
    learning_rate=5e-3, temporal_weight=0.0, task_dropout=0.0, weight_decay=0.0, ema_length=0.05,
)  # fmt: skip


def segment_set(n_train: int = 4, n_other: int = 24) -> SegmentSet:
    n = n_train + n_other
    rng = np.random.default_rng(0)
    return SegmentSet(
        1e-4 * rng.standard_normal((n, 1, 200)).astype(np.float32),
        500.0,
        "lift",
        subject=[f"s{i % 4}" for i in range(n_train)] + ["v"] * n_other,
        split=["train"] * n_train + ["validation"] * n_other,
        metadata={"filters": [{"name": "bandpass", "low_hz": 10.0, "high_hz": 200.0}]},
    )


def rows(gaps: list[float], stage: str = "planes", validation: float = 0.5) -> list[dict]:
    return [
        {"stage": stage, "step": 100 * (i + 1), "validation": validation, "memorisation": gap}
        for i, gap in enumerate(gaps)
    ]


def test_only_a_gap_that_keeps_growing_is_a_warning() -> None:
    found = memorisation_warning(rows([0.05, 0.02, 0.05, 0.09, 0.14]))
    assert found is not None
    assert "since step 200" in found
    assert "24%" in found
    assert memorisation_warning(rows([0.2, 0.2, 0.2, 0.2])) is None  # other people are harder
    assert memorisation_warning(rows([0.02, 0.05, 0.09])) is None  # too few
    assert memorisation_warning(rows([0.02, 0.2, 0.1, 0.3])) is None  # not running
    assert memorisation_warning(rows([0.02, 0.03, 0.04, 0.05])) is None  # small
    two = rows([0.0, 0.2], "envelope") + rows([0.3, 0.4])
    assert memorisation_warning(two) is None  # never across stages
    assert memorisation_warning([{"stage": "planes", "step": 1, "validation": 1.0}]) is None


def test_audits_are_made_on_time_and_change_nothing(tmp_path: Path) -> None:
    seen: list[Progress] = []
    for name, every in (("plain", None), ("audited", 5)):
        train(
            segment_set(8), tmp_path / name, steps=16, settings=SMALL, audit_every=every,
            on_progress=seen.append,
        )  # fmt: skip
    assert [each.step for each in seen if "memorisation" in each.loss] == [5, 10, 15]
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("plain", "audited")]
    assert files[0] == files[1]


def test_an_interrupted_training_keeps_the_time_of_its_audits(tmp_path: Path) -> None:
    steps: list[int] = []

    def note(progress: Progress) -> None:
        if "memorisation" in progress.loss:
            steps.append(progress.step)
        if progress.step == 7 and len(steps) == 1:
            raise KeyboardInterrupt

    options = {"steps": 16, "settings": SMALL, "audit_every": 5, "on_progress": note}
    with pytest.raises(KeyboardInterrupt):
        train(segment_set(8), tmp_path / "m", **options)
    train(segment_set(8), tmp_path / "m", resume=True, **options)
    assert steps == [5, 10, 15]


def test_a_model_that_learns_four_segments_by_heart_is_warned_about(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    segment_set().save(tmp_path / "s")
    settings = {**SMALL.to_dict(), "patch": (2, 4)}
    made = pipeline.train(
        tmp_path / "s", tmp_path / "m", steps=240, settings=settings, audit_every=40
    )
    stored = json.loads((tmp_path / "m" / "training.json").read_text())
    gaps = [row["memorisation"] for row in stored["log"] if "memorisation" in row]
    assert gaps[-1] > gaps[0]
    assert "by heart" in stored["memorisation"]
    console.show_model(made, str(tmp_path / "m"))
    assert "by heart" in " ".join(capsys.readouterr().out.split())


def test_what_cannot_be_watched_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="without noise"):
        train(
            segment_set(8), tmp_path / "m", steps=4, audit_every=2,
            settings=TrainingSettings(private=True),
        )  # fmt: skip
    with pytest.raises(InputError, match="not trained on"):
        train(segment_set(8, 0), tmp_path / "m", steps=4, audit_every=2)
    with pytest.raises(InputError, match="positive number"):
        train(segment_set(8), tmp_path / "m", steps=4, audit_every=0)
