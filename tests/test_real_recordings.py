"""Evaluation and audit on the recordings of 13 people (uci-lower-limb): floors, canaries."""

import numpy as np
import pytest

from myosynth.evaluation import audit, evaluate
from myosynth.formats import find_duplicates, read_recordings
from myosynth.recordings import SegmentSet
from myosynth.signal.filters import filter_recording
from myosynth.signal.segmentation import segment_recording
from myosynth.signal.splitting import RecordingRow, assign_splits

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def recordings(shared_data):
    folder = shared_data / "uci-lower-limb"
    if not folder.is_dir():
        pytest.skip(f"uci-lower-limb is not at {folder}")
    return [filter_recording(r) for r in read_recordings(folder, mapping="uci-lower-limb")]


def segmented(recordings, duplicates, overlap):
    rows = [RecordingRow.of(recording) for recording in recordings]
    plan = assign_splits(rows, seed=0, holdout_share=0.5, duplicates=duplicates)
    return SegmentSet.concatenate(
        segment_recording(recording, spans=plan.parts[recording.name], overlap=overlap)[0]
        for recording in recordings
    )


@pytest.fixture(scope="module")
def real(recordings):
    return segmented(recordings, find_duplicates(recordings), 0.9)


def covered(scores, wanted):
    rows = [row for row in scores.rows if row["z"] is not None]
    outside = [
        (row["task"], row["group"], row["metric"], row["z_low"], row["z_high"])
        for row in rows
        if not row["z_low"] <= wanted <= row["z_high"]
    ]
    return len(rows), outside


def test_real_holdout_is_at_zero_and_other_people_are_at_one(real, monkeypatch):
    monkeypatch.setattr("myosynth.evaluation.distances.N_TREES", 8)
    settings = {"n_bootstrap": 60, "n_repeats": 8, "n_jobs": 1, "max_segments": 60}
    real = real[real.task != "gait"][::2]
    n, outside = covered(evaluate(real, real.where(split="holdout"), **settings), 0)
    assert n >= 4
    assert outside == []
    others = real[np.isin(real.split, ["validation", "unseen"])]
    n, outside = covered(evaluate(real, others, **settings), 1)
    assert n >= 4
    assert outside == []


def test_canaries_are_found_and_other_people_are_not_copies(real):
    assert (real.split == "holdout").sum() >= 300
    others = real[np.isin(real.split, ["validation", "unseen"])][::4]
    others.signals = others.read() * np.float32(1.01)  # not byte for byte the same
    data = audit(real[~np.isin(real.split, ["validation", "unseen"])], others).threats["data"]
    assert data.verdict == "none_found"
    assert data.copies_found == 0
    for canary in data.canaries:
        if canary.attack == "fingerprints" and canary.share >= 0.05:
            assert canary.tpr >= 0.95, canary


def test_a_recording_filed_under_two_names_is_reported_first(recordings):
    real = segmented(recordings, (), 0.5)
    others = real[np.isin(real.split, ["validation", "unseen"])]
    others.signals = others.read() * np.float32(1.01)
    result = audit(real, others)
    assert "N1 and N2" in result.findings[0].text or result.findings[0].severity == "error"
    assert any("N1 and N2" in warning for warning in result.warnings)
    assert result.warnings[0].startswith("The real subjects N1 and N2")
