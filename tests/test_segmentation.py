"""Segments stay inside tasks and good spans, and every rejection is counted."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from myosynth.errors import InputError
from myosynth.recordings import Annotation, Recording
from myosynth.signal.segmentation import (
    clipped_samples,
    mark_clipped,
    segment_recording,
    task_spans,
)

FS = 100.0


def recording(n_times: int = 3000, **changes: object) -> Recording:
    data = np.random.default_rng(0).standard_normal((2, n_times)) * 1e-3
    made = Recording(data, FS, ["L", "R"], "01", session="a", task="pull")
    return made.replace(**changes)


def test_grid_overlap_and_origin() -> None:
    rec = recording()
    segments, counts = segment_recording(rec, seconds=3.0, overlap=0.5)
    assert counts == {"kept": 19, "nan": 0, "flat": 0, "clipped": 0, "too_short": 0}
    np.testing.assert_array_equal(segments.start_s, np.arange(19) * 1.5)
    np.testing.assert_array_equal(segments.read()[7], rec.load()[:, 1050:1350].astype(np.float32))
    assert set(segments.recording) == {"sub-01_ses-a_task-pull"}


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_no_segment_crosses_a_boundary(data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(1, 2999), min_size=1, max_size=6)))
    tasks = [
        Annotation(a / FS, (b - a) / FS, f"task{i % 2}")
        for i, (a, b) in enumerate(zip([0, *cuts], [*cuts, 3000], strict=True))
    ]
    bad_from = data.draw(st.integers(0, 2900))
    bad = Annotation(bad_from / FS, 0.35, "bad_cable")
    overlap = data.draw(st.sampled_from([0.0, 0.25, 0.5, 0.9]))
    rec = recording(annotations=[*tasks, bad], task="")
    segments, counts = segment_recording(rec, seconds=1.0, overlap=overlap)
    assert counts["kept"] == len(segments)
    for start_s, task in zip(segments.start_s, segments.task, strict=True):
        start = round(start_s * FS)
        home = next(
            t
            for t in tasks
            if round(t.onset_s * FS) <= start < round((t.onset_s + t.duration_s) * FS)
        )
        assert task == home.description
        assert start + 100 <= round((home.onset_s + home.duration_s) * FS)
        assert start + 100 <= bad_from or start >= bad_from + 35


def test_spans_give_the_split_and_are_boundaries() -> None:
    spans = [("train", 0.0, 20.0), ("holdout", 23.0, 30.0)]
    segments, _ = segment_recording(recording(), spans=spans)
    train = segments.where(split="train").start_s
    holdout = segments.where(split="holdout").start_s
    assert (train.max() + 3.0, holdout.min()) == (19.5, 23.0)
    assert len(train) + len(holdout) == len(segments)


def test_nan_and_flat_segments_are_rejected_and_counted() -> None:
    data = np.array(recording().load())
    data[0, 50] = np.nan
    data[1, 600:1500] = 0.02  # a dead channel, not at zero
    data[1, 600:1500:2] += 4e-9  # what a filter rings on with
    segments, counts = segment_recording(recording(data=data), overlap=0.0)
    assert counts == {"kept": 6, "nan": 1, "flat": 3, "clipped": 0, "too_short": 0}
    assert segments.start_s.tolist() == [3.0, 15.0, 18.0, 21.0, 24.0, 27.0]


def test_clipping_is_found_on_plateaus_only() -> None:
    data = np.array(recording().load())
    assert not clipped_samples(data).any()
    limit = np.quantile(np.abs(data), 0.8)
    limited = np.clip(data, -limit, limit)
    mask = clipped_samples(limited)
    found = np.flatnonzero(mask)
    assert 0 < len(found) < mask.size
    assert (np.abs(limited[:, found]) == limit).any(axis=0).all()
    assert not clipped_samples(np.zeros((2, 50))).any()


def test_clipped_share_decides() -> None:
    data = np.array(recording().load())
    data[0, 330:340] = data.max() * 2  # 10 of 300 samples of the second segment
    marked = mark_clipped(recording(data=data))
    assert [(a.onset_s, a.description) for a in marked.annotations] == [(3.3, "BAD_clipped")]
    assert mark_clipped(marked) is marked
    filtered = marked.replace(data=np.array(recording().load()))  # the plateau is gone
    for limit, kept in ((0.02, 9), (10 / 300, 10)):
        _, counts = segment_recording(filtered, overlap=0.0, max_clipped=limit)
        assert (counts["kept"], counts["clipped"]) == (kept, 10 - kept)


def test_shorter_than_a_segment_is_counted_once() -> None:
    segments, counts = segment_recording(recording(299))
    assert counts["too_short"] == 1
    assert segments.signals.shape == (0, 2, 300)


def test_overlapping_tasks_are_refused() -> None:
    tasks = [Annotation(0, 10, "pull"), Annotation(9, 5, "push")]
    with pytest.raises(InputError, match="pull and push overlap at 9 s"):
        task_spans(recording(annotations=tasks))
    assert task_spans(recording()) == [("pull", 0.0, 30.0)]


@pytest.mark.parametrize(
    "wrong", [{"overlap": 1.0}, {"seconds": 0.0}, {"seconds": float("nan")}, {"max_clipped": 2.0}]
)
def test_impossible_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError):
        segment_recording(recording(), **wrong)
