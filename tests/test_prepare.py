"""From recordings to segments, streamed: splits, filters, rejections, mistakes, memory."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import edfio
import numpy as np
import pytest

from myosynth.app.pipeline import prepare, simulate
from myosynth.errors import InputError, NotEnoughDataError
from myosynth.formats import read_recordings, write_bids
from myosynth.recordings import Annotation, Recording, SegmentSet
from myosynth.signal.filters import filter_recording

FS = 1000.0


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recordings") / "dataset"
    simulate(folder, subjects=6, task=("pull", "stoop"), seconds=16, fs=FS)
    return folder


@pytest.fixture(scope="module")
def segments(dataset: Path) -> SegmentSet:
    out = dataset.parent / "segments"
    prepare(dataset, out)
    return SegmentSet.open(out)


def noise(
    subject: str, *, seconds: float = 12.0, seed: int = 0, fs: float = FS, **fields: Any
) -> Recording:
    rng = np.random.default_rng([seed, *subject.encode()])
    # the slow modulation makes each recording its own to the search for copies
    slow = np.repeat(rng.uniform(0.5, 2.0, int(seconds * 2) + 1), int(fs / 2))
    data = 1e-3 * rng.standard_normal((2, round(seconds * fs)))
    data *= slow[: data.shape[1]]
    values: dict[str, Any] = {"task": "pull", "channel_names": ("L", "R"), **fields}
    return Recording(data, fs, subject=subject, **values)


def bids(path: Path, *recordings: Recording) -> Path:
    write_bids(recordings, path, name="test")
    return path


def left(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


# ---- what is kept ----


def test_subjects_stay_on_one_side(segments: SegmentSet) -> None:
    sides = {
        split: set(segments.subject[segments.split == split])
        for split in ("train", "validation", "unseen")
    }
    assert all(sides.values())
    assert sum(map(len, sides.values())) == 6 == len(set().union(*sides.values()))
    assert set(segments.subject[segments.split == "holdout"]) == sides["train"]


def test_held_out_time_is_a_segment_away_from_train_time(segments: SegmentSet) -> None:
    n_pairs = 0
    for name in set(segments.recording):
        own = segments.recording == name
        train = segments.start_s[own & (segments.split == "train")]
        held = segments.start_s[own & (segments.split == "holdout")]
        if len(train) and len(held):
            n_pairs += 1
            gaps = np.abs(train[:, None] - held[None, :]) - segments.duration_s
            assert gaps.min() >= segments.duration_s - 1e-6
    assert n_pairs == 6


def test_a_segment_is_the_filtered_recording_at_its_start(
    dataset: Path, segments: SegmentSet
) -> None:
    for recording in read_recordings(dataset):
        filtered = filter_recording(recording).load()
        for row in np.flatnonzero(segments.recording == recording.name):
            first = round(segments.start_s[row] * FS)
            wanted = filtered[:, first : first + segments.n_times]
            assert np.array_equal(segments.read([row])[0], wanted)
            assert segments.task[row] == recording.task


def test_the_set_says_how_it_was_made(dataset: Path, segments: SegmentSet) -> None:
    facts = segments.metadata
    assert facts["filters"][0]["high_hz"] == 450.0  # 500 Hz do not exist at 1000 Hz
    assert facts["split"]["subjects"] == {
        name: ("train" if split == "holdout" else split)
        for name, split in zip(segments.subject.tolist(), segments.split.tolist(), strict=True)
    }
    assert facts["segments"]["kept"] == len(segments)
    record = json.loads((dataset.parent / "segments" / "provenance.json").read_text())
    assert record["config"]["prepare"]["overlap"] == 0.5
    assert [each["role"] for each in record["inputs"]] == ["dataset"]


def test_copies_go_to_the_same_side(tmp_path: Path) -> None:
    people = [noise(f"{i:02d}") for i in range(1, 7)]
    people[4] = people[0].replace(subject="05", data=people[0].load() * 0.5)
    folder = bids(tmp_path / "set", *people)
    for seed in range(6):
        summary = prepare(folder, tmp_path / "out", seed=seed, overwrite=True)
        assert summary.duplicates == [("sub-01_task-pull", "sub-05_task-pull")]
        assert summary.subjects["05"] == summary.subjects["01"]
    out = SegmentSet.open(tmp_path / "out")
    assert out.metadata["duplicates"] == [["sub-01_task-pull", "sub-05_task-pull"]]


def test_same_seed_same_bytes(dataset: Path, tmp_path: Path) -> None:
    sides = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2), ("d", 3)):
        summary = prepare(dataset, tmp_path / name, seed=seed)
        sides.append(summary.subjects)
    files = [each for each in (tmp_path / "a").rglob("*") if each.is_file()]
    same = [each for each in files if each.name != "provenance.json"]
    assert len(same) > 5
    for each in same:
        assert (tmp_path / "b" / each.relative_to(tmp_path / "a")).read_bytes() == each.read_bytes()
    assert sides[0] == sides[1]
    assert sides[0] not in sides[2:]


def test_another_rate_is_resampled_only_when_asked(tmp_path: Path) -> None:
    folder = bids(tmp_path / "set", noise("01"), noise("02", fs=1250.0), noise("03"))
    with pytest.raises(InputError) as caught:
        prepare(folder, tmp_path / "out")
    said = str(caught.value)
    for part in ("sub-01_task-pull_emg.edf", "1000 Hz", "sub-02_task-pull_emg.edf", "1250 Hz"):
        assert part in said
    assert "--fs" in said
    assert left(tmp_path) == ["set"]
    summary = prepare(folder, tmp_path / "out", fs=800)
    out = SegmentSet.open(tmp_path / "out")
    assert summary.fs == out.fs == 800
    assert out.n_times == 2400
    assert set(out.subject) == {"01", "02", "03"}


def test_other_channels_are_left_out_only_when_asked(tmp_path: Path) -> None:
    folder = bids(tmp_path / "set", noise("01"), noise("02", channel_names=("R", "X")))
    with pytest.raises(InputError, match=r"sub-01.*L, R.*sub-02.*R, X.*--channel"):
        prepare(folder, tmp_path / "out")
    with pytest.raises(InputError, match="no channel 'L'; it has R, X"):
        prepare(folder, tmp_path / "out", channel=("L",))
    prepare(folder, tmp_path / "out", channel=("R",))
    out = SegmentSet.open(tmp_path / "out")
    assert out.channel_names == ("R",)
    recordings = {each.subject: each for each in read_recordings(folder)}
    for subject, row in (("01", 1), ("02", 0)):
        wanted = filter_recording(recordings[subject]).load()[row, :3000]
        chosen = out.rows(subject=subject)
        first = chosen[np.argmin(out.start_s[chosen])]
        assert out.start_s[first] == 0
        assert np.array_equal(out.read([first])[0, 0], wanted)


def test_channels_that_are_marked_as_bad_are_named(tmp_path: Path) -> None:
    spoilt = noise("02").replace(metadata={"bad_channels": ["L"]})
    folder = bids(tmp_path / "set", noise("01"), spoilt)
    found = prepare(folder, tmp_path / "out").warnings
    assert [each for each in found if re.search(r"bad.*1 of 2.*sub-02.*: L\)", each)]
    kept = prepare(folder, tmp_path / "right", channel=("R",)).warnings
    assert not [each for each in kept if "bad" in each]


def test_plateaus_are_found_before_the_filter_hides_them(tmp_path: Path) -> None:
    whole = noise("01")
    data = whole.load().copy()
    data[:, 6000:7000] = np.clip(8 * data[:, 6000:7000], -2e-3, 2e-3)
    data = np.clip(data, -2e-3, 2e-3)
    folder = bids(tmp_path / "set", whole.replace(data=data), noise("02"))
    summary = prepare(folder, tmp_path / "out", max_clipped=0.05, overlap=0)
    out = SegmentSet.open(tmp_path / "out")
    assert summary.counts["clipped"] == 1
    assert 6.0 not in out.start_s[out.subject == "01"]


def test_bad_spans_and_task_boundaries_are_not_crossed(tmp_path: Path) -> None:
    spans = (
        Annotation(0.0, 7.0, "pull"),
        Annotation(7.0, 9.0, "push"),
        Annotation(10.0, 1.0, "BAD_motion"),
    )
    timed = noise("01", seconds=16.0, task="", annotations=spans)
    prepare(bids(tmp_path / "set", timed), tmp_path / "out", holdout_share=0)
    out = SegmentSet.open(tmp_path / "out")
    assert out.tasks == ("pull", "push")
    for start, task in zip(out.start_s, out.task, strict=True):
        stop = start + 3
        assert (stop <= 7.0) if task == "pull" else (start >= 7.0)
        assert stop <= 10.0 or start >= 11.0


MAPPING = """
files: "*.csv"
delimiter: comma
fs: 1000
columns:
  - {column: 1, channel: L, unit: mV}
path: "/(?P<subject>[0-9]+)_(?P<task>[a-z]+)\\\\.csv$"
"""


@pytest.fixture
def text_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "text"
    folder.mkdir()
    for subject in ("01", "02"):
        values = noise(subject).load()[0] * 1e3
        if subject == "02":
            values[4000] = np.nan
        np.savetxt(folder / f"{subject}_pull.csv", values, fmt="%.6f")
    (tmp_path / "map.yaml").write_text(MAPPING)
    return folder


def test_nan_is_refused_bridged_or_rejected_as_asked(text_folder: Path) -> None:
    out, mapping = text_folder.parent / "out", str(text_folder.parent / "map.yaml")
    with pytest.raises(InputError, match="not numbers"):
        prepare(text_folder, out, mapping=mapping)
    assert left(text_folder.parent) == ["map.yaml", "text"]
    kept = prepare(text_folder, out, mapping=mapping, on_nan="keep", overlap=0)
    assert kept.counts["nan"] == 1
    bridged = prepare(
        text_folder, out, mapping=mapping, on_nan="interpolate", overlap=0, overwrite=True
    )
    assert bridged.counts["nan"] == 0
    assert bridged.n_segments == kept.n_segments + 1
    assert left(text_folder.parent) == ["map.yaml", "out", "text"]


# ---- what cannot be prepared ----


def test_too_short_recordings_are_named_or_refused(tmp_path: Path) -> None:
    folder = bids(tmp_path / "set", noise("01", seconds=2.0), noise("02"))
    summary = prepare(folder, tmp_path / "out")
    assert summary.empty == ["sub-01_task-pull (2 s hold no whole segment)"]
    with pytest.raises(NotEnoughDataError, match="none of 2 recordings holds a whole segment"):
        prepare(folder, tmp_path / "other", seconds=20)
    assert left(tmp_path) == ["out", "set"]


def test_an_unnamed_task_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    rows = noise("01").load()
    signal = edfio.EdfSignal(1e6 * rows[0], FS, label="EMG", physical_dimension="uV")
    edfio.Edf([signal]).write(tmp_path / "set" / "recording.edf")
    with pytest.raises(InputError, match=r"recording\.edf has no task"):
        prepare(tmp_path / "set", tmp_path / "out")


def test_an_existing_set_is_replaced_only_when_asked(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="--overwrite"):
        prepare(dataset, tmp_path / "out")
    assert left(tmp_path / "out") == ["mine.txt"]


# ---- memory ----

MEASURE = """
import resource, sys
from myosynth.app.pipeline import prepare
prepare(sys.argv[1], sys.argv[2])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def long_recordings(n: int) -> Iterator[Recording]:
    return (noise(f"{i:02d}", seconds=120.0, fs=2000.0, seed=i) for i in range(n))


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_recordings(tmp_path: Path) -> None:
    peaks = []
    for n in (8, 64):
        write_bids(long_recordings(n), tmp_path / f"set{n}", name="test", check_duplicates=False)
        command = [sys.executable, "-c", MEASURE, tmp_path / f"set{n}", tmp_path / f"out{n}"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks.append(float(done.stdout))
        assert len(SegmentSet.open(tmp_path / f"out{n}")) > 50 * n
    # 56 more recordings are 215 MB of float64
    assert peaks[1] < peaks[0] + 30, peaks
