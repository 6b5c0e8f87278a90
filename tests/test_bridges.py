"""Recordings and segments in other libraries: units, rates, spans and names survive."""

from typing import Any

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import LeaveOneGroupOut, cross_val_score

from myosynth.errors import InputError, MissingExtraError
from myosynth.recordings import Annotation, Recording, SegmentSet
from myosynth.signal.features import feature_table
from myosynth.signal.filters import filter_recording
from myosynth.signal.segmentation import segment_recording
from myosynth.simulation import simulate_dataset, simulate_recording

mne = pytest.importorskip("mne")


def recording(fs: float = 1925.926, **fields: Any) -> Recording:
    rng = np.random.default_rng(0)
    given: dict[str, Any] = {
        "muscles": ("left erector spinae", ""),
        "session": "2",
        "task": "pull",
        "run": "3",
        "annotations": (Annotation(0.25, 0.5, "BAD_clipped"), Annotation(1.0, 0.75, "rest")),
        "filters": ({"name": "bandpass", "low_hz": 10.0, "high_hz": 450.0},),
        "metadata": {"unit": "V", "electrodes": {"distance_mm": 20}},
    }
    data = 1e-4 * rng.standard_normal((2, 4001))
    return Recording(data, fs, ["left", "right"], "S1", **(given | fields))


def same(one: Recording, other: Recording) -> None:
    for name in ("fs", "channel_names", "muscles", "subject", "session", "task", "run"):
        assert getattr(one, name) == getattr(other, name), name
    assert np.array_equal(one.load(), other.load())
    assert list(one.filters) == list(other.filters)
    assert dict(one.metadata) == dict(other.metadata)
    assert len(one.annotations) == len(other.annotations)
    for a, b in zip(one.annotations, other.annotations, strict=True):
        assert a.description == b.description
        assert (a.onset_s, a.duration_s) == pytest.approx((b.onset_s, b.duration_s), abs=1e-9)


# MNE --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fs", [1000.0, 1111.111, 1925.926, 2148.148])
def test_mne_there_and_back(fs: float) -> None:
    same(recording(fs), Recording.from_mne(recording(fs).to_mne()))


@pytest.mark.parametrize(
    "fields", [{"annotations": ()}, {"task": ""}, {"task": "", "annotations": ()}, {"filters": ()}]
)
def test_mne_there_and_back_with_little(fields: dict[str, Any]) -> None:
    same(recording(**fields), Recording.from_mne(recording(**fields).to_mne()))


def test_mne_sees_volts_emg_and_spans() -> None:
    raw = recording().to_mne()
    assert raw.get_channel_types() == ["emg", "emg"]
    assert raw.get_data(units="uV") == pytest.approx(recording().load() * 1e6)
    assert raw.info["sfreq"] == 1925.926
    assert (raw.info["highpass"], raw.info["lowpass"]) == (10.0, 450.0)
    assert raw.info["subject_info"]["his_id"] == "S1"
    assert list(raw.annotations.description) == ["pull", "BAD_clipped", "rest"]
    assert raw.annotations.duration[0] == pytest.approx(4001 / 1925.926)
    good = raw.get_data(reject_by_annotation="omit").shape[1]
    assert good == pytest.approx(4001 - 0.5 * 1925.926, abs=2)


@pytest.mark.parametrize("dated", [False, True])
def test_onsets_count_from_the_first_sample_of_a_cropped_raw(dated: bool) -> None:
    data = np.zeros((1, 4000))
    data[0, 2500:2600] = 1e-3
    info = mne.create_info(["a"], 1000.0, "emg")
    raw = mne.io.RawArray(data, info, verbose="error")
    if dated:
        raw.set_meas_date(1_600_000_000)
    raw.set_annotations(mne.Annotations([2.5], [0.1], ["burst"], raw.info["meas_date"]))
    found = Recording.from_mne(raw.crop(tmin=1.0))
    span = found.annotations[0]
    assert (span.onset_s, span.duration_s) == pytest.approx((1.5, 0.1))
    first = round(span.onset_s * found.fs)
    assert np.all(found.load()[0, first : first + 100] == 1e-3)
    assert np.count_nonzero(found.load()) == 100


def test_a_raw_of_other_software_is_asked_for_its_emg() -> None:
    raw = mne.io.RawArray(
        np.zeros((3, 1000)), mne.create_info(["a", "b", "c"], 1000.0, ["eeg", "emg", "misc"]),
        verbose="error",
    )  # fmt: skip
    raw.info["description"] = "free text"
    found = Recording.from_mne(raw, subject="7", task="lift", session="1", run="2")
    assert found.channel_names == ("b",)
    assert (found.subject, found.task, found.session, found.run) == ("7", "lift", "1", "2")
    assert Recording.from_mne(raw, picks=["a", "c"]).channel_names == ("a", "c")
    with pytest.raises(InputError, match="no channel x"):
        Recording.from_mne(raw, picks=["x"])
    with pytest.raises(InputError, match="none of the channels is of type emg"):
        Recording.from_mne(raw.copy().pick(["a"]))
    with pytest.raises(InputError, match="mne Raw, not of a str"):
        Recording.from_mne("file.fif")


def test_filters_of_other_software_are_noted() -> None:
    raw = simulate_recording("pull", duration_s=2.0).to_mne()
    raw.info["description"] = None
    filtered = raw.copy()
    with filtered.info._unlock():  # as its readers do from a file's header
        filtered.info["highpass"], filtered.info["lowpass"] = 20.0, 400.0
    assert list(Recording.from_mne(filtered).filters) == [
        {"name": "mne", "low_hz": 20.0, "high_hz": 400.0}
    ]
    assert list(Recording.from_mne(raw).filters) == []


def test_filtered_recordings_keep_their_record() -> None:
    filtered = filter_recording(simulate_recording("pull", duration_s=2.0))
    assert list(Recording.from_mne(filtered.to_mne()).filters) == list(filtered.filters)


# Tables -----------------------------------------------------------------------------------------


def test_pandas_holds_times_names_and_facts() -> None:
    frame = recording(1000.0).to_pandas()
    assert list(frame.columns) == ["left", "right"]
    assert frame.index.name == "time_s"
    assert frame.index[1000] == pytest.approx(1.0)
    assert np.array_equal(frame.to_numpy().T, recording().load())
    assert frame.attrs["fs_hz"] == 1000.0
    assert frame.attrs["units"] == "V"
    assert '"BAD_clipped"' in frame.attrs["annotations"]


def test_xarray_holds_times_names_and_facts() -> None:
    xarray = pytest.importorskip("xarray")
    array = recording(1000.0).to_xarray()
    assert isinstance(array, xarray.DataArray)
    piece = array.sel(channel="right", time=slice(0.0995, 0.2005))
    assert np.array_equal(piece.values, recording().load()[1, 100:201])
    assert array.muscle.sel(channel="left").item() == "left erector spinae"
    assert array.attrs["units"] == "V"
    assert array.attrs["subject"] == "S1"


# Segments ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def segments() -> SegmentSet:
    return SegmentSet.concatenate(
        segment_recording(filter_recording(each), overlap=0.5)[0]
        for each in simulate_dataset(n_subjects=3, duration_s=9.0, fs=1000.0)
    )


def test_scikit_learn_takes_them(segments: SegmentSet) -> None:
    X, y, groups = segments.to_numpy()
    assert np.array_equal(X, segments.read())
    table = feature_table(X, segments.fs).reshape(len(X), -1)
    scores = cross_val_score(
        LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"),
        table, y, groups=groups, cv=LeaveOneGroupOut(),
    )  # fmt: skip
    assert len(scores) == 3
    assert scores.mean() > 0.6
    assert set(segments.to_numpy(groups="recording")[2]) == set(segments.recording)
    with pytest.raises(InputError, match="groups must be one of"):
        segments.to_numpy(groups="task")


def test_torch_items_are_those_of_braindecode(segments: SegmentSet) -> None:
    from torch.utils.data import DataLoader, Dataset

    dataset = segments.to_torch()
    assert isinstance(dataset, Dataset)
    assert len(dataset) == len(segments)
    for row in (0, 7, -1):
        X, y, metainfo = dataset[row]
        assert X.dtype == np.float32
        assert np.array_equal(X, segments.read([row])[0])
        assert dataset.tasks[y] == segments.task[row]
        start = round(segments.start_s[row] * segments.fs)
        assert metainfo[1:] == [start, start + segments.n_times]
    per_recording = len(segments) // 12
    assert [dataset[i][2][0] for i in range(per_recording + 1)] == [*range(per_recording), 0]
    X, y, metainfo = next(iter(DataLoader(dataset, batch_size=5)))
    assert tuple(X.shape) == (5, 2, 3000)
    assert y.tolist() == dataset.targets[:5].tolist()
    assert [len(part) for part in metainfo] == [5, 5, 5]
    with pytest.raises(IndexError):
        dataset[len(dataset)]


@pytest.mark.slow
def test_torch_reads_from_disk_with_workers(segments: SegmentSet, tmp_path: Any) -> None:
    from torch.utils.data import DataLoader

    segments.save(tmp_path / "set")
    stored = SegmentSet.open(tmp_path / "set").to_torch()
    loader = DataLoader(stored, batch_size=16, num_workers=1, multiprocessing_context="spawn")
    X = np.concatenate([batch[0].numpy() for batch in loader])
    assert np.array_equal(X, segments.read())


def test_segments_as_tables(segments: SegmentSet) -> None:
    pytest.importorskip("xarray")
    frame = segments.to_torch().get_metadata()
    counts = frame.groupby("task")["subject"].nunique()
    assert counts.to_dict() == dict.fromkeys(segments.tasks, 3)
    assert [segments.tasks[i] for i in frame["target"]] == segments.task.tolist()
    array = segments.to_xarray()
    squat = array.where(array.task == "squat", drop=True)
    assert np.array_equal(squat.values, segments.where(task="squat").read())


# What is missing --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("library", "call"),
    [("mne", "to_mne"), ("pandas", "to_pandas"), ("xarray", "to_xarray")],
)
def test_a_missing_library_is_named(
    library: str, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_import = __import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == library:
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr("builtins.__import__", without)
    with pytest.raises(MissingExtraError, match=rf"needs {library}.*myosynth\[bridges\]"):
        getattr(recording(), call)()
