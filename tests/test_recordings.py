"""Recording and SegmentSet: checks, selection, and the zarr round trip."""

from pathlib import Path

import numpy as np
import pytest

from myosynth.errors import FormatError, InputError
from myosynth.recordings import Annotation, Recording, SegmentSet


def make_set(n: int = 7, seed: int = 0, **changes: object) -> SegmentSet:
    rng = np.random.default_rng(seed)
    options: dict[str, object] = {
        "subject": [f"s{i % 3}" for i in range(n)],
        "recording": [f"r{i}" for i in range(n)],
        "split": ["train", "unseen"] * (n // 2) + ["holdout"] * (n % 2),
        "start_s": np.arange(n) * 1.5,
        "channel_names": ["left", "right"],
        "columns": {"load_kg": np.where(np.arange(n) % 2, np.nan, 12.5), "grip": ["a"] * n},
        "metadata": {"filters": [{"name": "bandpass"}]},
    }
    options.update(changes)
    tasks = [("pull", "push")[i % 2] for i in range(n)]
    return SegmentSet(rng.normal(size=(n, 2, 300)).astype(np.float32), 100.0, tasks, **options)  # type: ignore[arg-type]


def assert_same(one: SegmentSet, two: SegmentSet) -> None:
    np.testing.assert_array_equal(one.read(), two.read())
    for name in ("task", "subject", "session", "recording", "split", "start_s"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    assert one.columns.keys() == two.columns.keys()
    for name, values in one.columns.items():
        np.testing.assert_array_equal(values, two.columns[name])
    assert (one.fs, one.channel_names, one.muscles) == (two.fs, two.channel_names, two.muscles)
    assert one.metadata == two.metadata


def test_save_and_open_are_inverse(tmp_path: Path) -> None:
    segments = make_set()
    segments.save(tmp_path / "set")
    assert_same(segments, SegmentSet.open(tmp_path / "set"))


def test_appending_in_pieces_equals_writing_whole(tmp_path: Path) -> None:
    segments = make_set(n=901)
    with SegmentSet.writer(tmp_path / "set", like=segments) as writer:
        for start in (0, 1, 400, 850):
            stop = {0: 1, 1: 400, 400: 850, 850: 901}[start]
            writer.append(segments[start:stop])
    assert_same(segments, SegmentSet.open(tmp_path / "set"))


def test_stored_set_reads_rows_in_the_asked_order(tmp_path: Path) -> None:
    segments = make_set(n=50)
    segments.save(tmp_path / "set")
    stored = SegmentSet.open(tmp_path / "set")
    for rows in ([40, 3, 3, 17], [-1], []):
        np.testing.assert_array_equal(stored.read(rows), segments.read(rows))
    chosen = stored.where(task="push", split="unseen")
    assert set(chosen.task) == {"push"}
    assert chosen.recording.tolist() == [f"r{i}" for i in range(1, 50, 2)]


def test_nothing_is_left_when_writing_fails(tmp_path: Path) -> None:
    segments = make_set()

    def interrupted() -> None:
        with SegmentSet.writer(tmp_path / "set", like=segments) as writer:
            writer.append(segments)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_existing_folder_is_kept_unless_overwrite_is_asked(tmp_path: Path) -> None:
    make_set(seed=1).save(tmp_path / "set")
    with pytest.raises(InputError, match="already exists"):
        make_set(seed=2).save(tmp_path / "set")
    assert_same(SegmentSet.open(tmp_path / "set"), make_set(seed=1))
    make_set(seed=2).save(tmp_path / "set", overwrite=True)
    assert_same(SegmentSet.open(tmp_path / "set"), make_set(seed=2))
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channel_names": ["one"]}, "2 channel names"),
        ({"channel_names": ["one", "one"]}, "unique"),
        ({"split": "test"}, "split must be one of"),
        ({"subject": ["a"]}, "subject must be 7 texts"),
        ({"start_s": ["x"] * 7}, "start_s must be 7 numbers"),
    ],
)
def test_wrong_columns_are_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_set(**changes)


def test_sets_that_differ_are_not_joined() -> None:
    with pytest.raises(InputError, match="different channels"):
        SegmentSet.concatenate([make_set(), make_set(channel_names=["left", "middle"])])


def test_a_folder_that_is_no_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="myosynth prepare"):
        SegmentSet.open(tmp_path)


def test_a_damaged_set_is_refused(tmp_path: Path) -> None:
    make_set().save(tmp_path / "set")
    (tmp_path / "set" / "start_s" / "zarr.json").unlink()
    with pytest.raises(FormatError, match="damaged"):
        SegmentSet.open(tmp_path / "set")


@pytest.mark.parametrize("fs", [0, -1, float("nan"), "fast", None])
def test_a_recording_needs_a_rate(fs: object) -> None:
    with pytest.raises(InputError, match="sampling rate"):
        Recording(np.zeros((1, 5)), fs, ["a"], "01")  # type: ignore[arg-type]


def test_recording_names_its_tasks_and_itself() -> None:
    recording = Recording(
        np.zeros((2, 100)), 100, ["a", "b"], "01", task="lift", run="2",
        annotations=[Annotation(0, 1, "pull"), Annotation(0.2, 0.1, "bad_motion")],
    )  # fmt: skip
    assert recording.tasks == ("lift", "pull")
    assert recording.name == "sub-01_task-lift_run-2"
    assert recording.duration_s == 1.0
