"""Sets of segments: the contract every format keeps, other people's sets, and bad input."""

import json
import subprocess
import sys

import edfio
import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st

from myosynth.errors import FormatError, InputError
from myosynth.formats import SET_READERS, WRITERS, is_set_file, read_recordings, read_segments
from myosynth.formats.edf_writing import write_edf
from myosynth.recordings import Annotation, Recording, SegmentSet

CONTRACT = {
    "npz": 0.0,
    "csv": 0.0,
    "edf": 0.51 / 32767,
    "bdf": 0.51 / 8388607,
    "bids": 0.51 / 32767,
    "hdf5": 0.0,
    "mat": 0.0,
    "parquet": 0.0,
    "wfdb": 0.51 / 32767,
}
SINGLE_FILES = {"npz": ".npz", "csv": ".csv", "hdf5": ".h5", "mat": ".mat", "parquet": ".parquet"}
"""A row per format: the largest error, as a share of the peak."""


def make(n=6, channels=2, n_times=300, fs=2000.0, amplitude=1e-3, tasks=("pull", "squat lift")):
    rng = np.random.default_rng(n_times)
    signals = (rng.standard_normal((n, channels, n_times)) * amplitude).astype(np.float32)
    return SegmentSet(signals, fs, np.resize(np.array(tasks), n),
                      channel_names=[f"ES {i}" for i in range(channels)])  # fmt: skip


def test_every_format_is_under_contract():
    assert set(CONTRACT) == set(WRITERS)
    assert set(SET_READERS) == {*SINGLE_FILES.values(), ".hdf5"}


@pytest.mark.parametrize("format", CONTRACT)
@settings(max_examples=15, deadline=None)
@given(
    fs=st.sampled_from([1000, 1111.111, 1259.259, 1500, 1925.926, 2000, 2048, 2148.148, 4000]),
    n=st.integers(1, 6),
    channels=st.integers(1, 8),
    n_times=st.integers(1, 6007),
    amplitude=st.floats(-7, 1),
)
def test_what_is_written_comes_back(tmp_path_factory, format, fs, n, channels, n_times, amplitude):
    segments = make(n, channels, n_times, fs, 10**amplitude)
    out = WRITERS[format](segments, tmp_path_factory.mktemp("set") / "out")
    back = read_segments(out)
    assert (back.fs, back.channel_names) == (fs, segments.channel_names)
    assert back.task.tolist() == segments.task.tolist()
    error = np.abs(back.read().astype(float) - segments.read()).max(axis=2)
    peak = np.abs(segments.read()).max(axis=2)
    assert np.all(error <= CONTRACT[format] * peak + (2e-7 * peak if CONTRACT[format] else 0))


def test_the_path_rule_and_overwriting(tmp_path):
    segments = make()
    for format, suffix in SINGLE_FILES.items():
        exact = WRITERS[format](segments, tmp_path / f"mine{suffix}")
        assert exact == tmp_path / f"mine{suffix}"
        inside = WRITERS[format](segments, tmp_path / format)
        if format != "parquet":
            assert inside == tmp_path / format / f"synthetic{suffix}"
        assert len(read_segments(tmp_path / format)) == len(segments)
        with pytest.raises(InputError, match="already exists"):
            WRITERS[format](segments, exact)
        WRITERS[format](segments[:2], exact, overwrite=True)
        assert len(read_segments(exact)) == 2
    WRITERS["edf"](segments, tmp_path / "edf")
    names = sorted(p.name for p in (tmp_path / "edf").iterdir())
    assert names[:2] == ["sub-syn001_task-pull_emg.edf", "sub-syn002_task-squatLift_emg.edf"]


@pytest.mark.parametrize("format", ["npz", "hdf5", "mat", "parquet"])
def test_what_is_known_of_each_segment_is_kept(tmp_path, format):
    segments = SegmentSet(
        make().read(), 2000, "pull", subject=[f"s{i}" for i in range(6)], split="train",
        start_s=np.arange(6) * 1.5, muscles=["left ES", ""],
        columns={"load_kg": [1, 2, 3, 4, 5, np.nan], "hand": ["left", ""] * 3},
        metadata={"a": [1]},
    )  # fmt: skip
    back = read_segments(WRITERS[format](segments, tmp_path / f"x{SINGLE_FILES[format]}"))
    assert back.read().tobytes() == segments.read().tobytes()
    assert back.subject.tolist() == segments.subject.tolist()
    assert back.start_s.tolist() == segments.start_s.tolist()
    assert back.split.tolist() == ["train"] * 6
    np.testing.assert_array_equal(back.columns["load_kg"], segments.columns["load_kg"])
    assert back.columns["hand"].tolist() == ["left", ""] * 3
    assert back.session.tolist() == [""] * 6
    assert back.muscles == ("left ES", "")
    assert back.metadata == {"a": [1]}


def test_synthetic_bids_says_so(tmp_path):
    root = WRITERS["bids"](make(), tmp_path / "set")
    assert (root / "sub-syn001/emg/sub-syn001_task-pull_acq-synthetic_emg.edf").is_file()
    assert "is synthetic. No person was recorded" in (root / "README").read_text()
    description = json.loads((root / "dataset_description.json").read_text())
    assert description["GeneratedBy"][0]["Name"] == "myosynth"


def foreign_npz(path, **changes):
    content = {
        "signals": np.ones((2, 1, 50), np.float32),
        "task": np.array(["a", "b"]),
        "fs": 1000.0,
    }
    content = {k: v for k, v in {**content, **changes}.items() if v is not None}
    np.savez(path, **content)
    return path


def test_a_bare_npz_of_others_is_read(tmp_path):
    back = read_segments(foreign_npz(tmp_path / "x.npz"))
    assert (back.fs, back.tasks, back.channel_names) == (1000, ("a", "b"), ("EMG1",))
    assert read_segments(foreign_npz(tmp_path / "y.npz", fs=None), fs=500).fs == 500


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"fs": None}, "states no sampling rate"),
        ({"fs": 0.0}, "positive number of hertz"),
        ({"task": None}, "lacks 'task'"),
        ({"task": np.array(["a", "b", "c"])}, r"x\.npz"),
        ({"signals": np.ones((2, 50))}, r"not float64 \(2, 50\)"),
        ({"signals": np.array([[["a"]]])}, "must be numbers"),
        ({"task": np.array(["a", None], dtype=object)}, "without pickles"),
    ],
)
def test_npz_that_cannot_be_a_set_is_refused(tmp_path, changes, said):
    with pytest.raises(FormatError, match=said):
        read_segments(foreign_npz(tmp_path / "x.npz", **changes))


def test_a_damaged_npz_is_refused(tmp_path):
    path = foreign_npz(tmp_path / "x.npz")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(FormatError, match="not a sound npz"):
        read_segments(path)


GOOD_CSV = "segment,task,time_s,fs_hz,ES [mV]\n0,pull,0,1000,1.5\n0,pull,0.001,1000,2\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD_CSV.replace("1.5", "x"), r"line 2, column 'ES \[mV\]': 'x' is not a number"),
        (GOOD_CSV.replace("ES [mV]", "ES"), "no unit is given"),
        (GOOD_CSV.replace("fs_hz", "time [V]").replace("[mV]", "[kg]"), "'kg' is not a voltage"),
        (GOOD_CSV + "1,pull,0,1000,1\n", "segment 1 has 1 samples and the first has 2"),
        (GOOD_CSV + "1,pull,0,2000,1\n1,pull,0,2000,1\n", "two sampling rates"),
        (GOOD_CSV + "1,pull\n", "line 4: 2 cells for 5 columns"),
        (GOOD_CSV.replace("task", "label"), "lacks the column 'task'"),
        ("segment,task,time_s,ES [V]\n0,pull,0,1\n", "states no sampling rate"),
        ("", "lacks the column 'segment'"),
    ],
)
def test_csv_that_cannot_be_a_set_is_refused(tmp_path, text, said):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(FormatError, match=said):
        read_segments(tmp_path / "x.csv")


def test_csv_units_are_read(tmp_path):
    (tmp_path / "x.csv").write_text(GOOD_CSV)
    back = read_segments(tmp_path / "x.csv")
    np.testing.assert_allclose(back.read(), [[[1.5e-3, 2e-3]]], rtol=1e-6)


def edf(path, n_times=3000, fs=1000.0, names=("a",), **fields):
    path.parent.mkdir(exist_ok=True, parents=True)
    data = np.tile(np.arange(n_times) % 500 * 1e-6, (len(names), 1))
    write_edf(Recording(data, fs, names, "1", **fields), path)


def test_long_files_are_cut_and_the_folder_names_the_task(tmp_path):
    edf(tmp_path / "set" / "pull" / "one.edf")
    edf(tmp_path / "set" / "task-x_b.edf", n_times=1500)
    back = read_segments(tmp_path / "set", seconds=1)
    assert back.task.tolist() == ["pull", "pull", "pull", "x"]
    assert back.start_s.tolist() == [0, 1, 2, 0]
    np.testing.assert_allclose(back.read()[1, 0], np.arange(1000) % 500 * 1e-6, atol=1e-8)


def test_cutting_stays_within_tasks_and_off_bad_spans(tmp_path):
    notes = [
        Annotation(0.25, 1.0, "pull"),
        Annotation(1.5, 1.2, "push"),
        Annotation(2.1, 0.1, "BAD_x"),
    ]
    edf(tmp_path / "set" / "one.edf", annotations=notes)
    back = read_segments(tmp_path / "set", seconds=0.5)
    assert back.task.tolist() == ["pull", "pull", "push"]
    assert back.start_s.tolist() == [0.25, 0.75, 1.5]


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"fs": 1200.0}, r"task-a_1\.edf and .*task-a_2\.edf differ in sampling rates"),
        ({"names": ("b",)}, r"task-a_1\.edf and .*task-a_2\.edf differ in channels"),
        ({"n_times": 900}, r"task-a_2\.edf \(0\.9 s\) has no task that lasts 1 s"),
    ],
)
def test_files_that_do_not_go_together_are_named(tmp_path, other, said):
    edf(tmp_path / "set" / "task-a_1.edf")
    edf(tmp_path / "set" / "task-a_2.edf", **other)
    with pytest.raises(InputError, match=said):
        read_segments(tmp_path / "set", seconds=1)


def test_what_is_missing_is_asked_for(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_segments(tmp_path / "nowhere")
    with pytest.raises(FormatError, match="holds nothing that can be read"):
        read_segments(tmp_path)
    edf(tmp_path / "set" / "one.edf")
    with pytest.raises(FormatError, match=r"one\.edf has no task"):
        read_segments(tmp_path / "set")
    edf(tmp_path / "set" / "task-a.edf", n_times=10)
    edf(tmp_path / "set" / "task-b.edf", n_times=20)
    (tmp_path / "set" / "one.edf").unlink()
    with pytest.raises(InputError, match="pass the length of a segment"):
        read_segments(tmp_path / "set")


def test_sets_are_cut_too(tmp_path):
    segments = make(3, n_times=300, fs=100)
    segments.save(tmp_path / "zarr")
    back = read_segments(tmp_path / "zarr", seconds=1.0)
    assert back.task.tolist() == np.repeat(segments.task, 3).tolist()
    assert back.start_s.tolist() == [0, 1, 2] * 3
    assert np.array_equal(back.read()[4], segments.read()[1, :, 100:200])
    with pytest.raises(InputError, match="shorter than the 4 s"):
        read_segments(tmp_path / "zarr", seconds=4)


def test_a_file_is_told_by_its_content(tmp_path):
    edf(tmp_path / "x.edf", task="pull")
    (tmp_path / "x.edf").rename(tmp_path / "x.dat")
    assert next(read_recordings(tmp_path / "x.dat")).n_times == 3000
    (tmp_path / "y.dat").write_bytes(b"\x00" * 100)
    with pytest.raises(FormatError, match="kind that is not known"):
        read_recordings(tmp_path / "y.dat")


def test_importing_the_room_is_light():
    code = "import sys, myosynth.formats; print({'torch', 'mne', 'pyarrow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def synthetic_set():
    segments = make(5, 2, 3000, 1925.926)
    segments.metadata["synthetic"] = True
    return segments


@pytest.mark.slow
def test_the_datasets_library_loads_the_parquet_layout_offline(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    segments = synthetic_set()
    folder = WRITERS["parquet"](segments, tmp_path / "set")
    card = (folder / "README.md").read_text()
    assert "No person was recorded for it" in card
    files = str(folder / "data" / "*.parquet")
    by_file = datasets.load_dataset("parquet", data_files=files, split="train",
                                    cache_dir=str(tmp_path / "cache"))  # fmt: skip
    by_card = datasets.load_dataset(str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    for data in (by_file, by_card):
        assert data.num_rows == 5
        assert data["task"] == segments.task.tolist()
        row = data.with_format("numpy")[3]
        assert row["signals"].shape == (2, 3000)
        assert np.array_equal(np.asarray(row["signals"], np.float32), segments.read([3])[0])
        assert (float(row["fs"]), row["channel_names"].tolist()) == (1925.926, ["ES 0", "ES 1"])


def test_parquet_is_split_into_parts_and_joined_again(tmp_path, monkeypatch):
    monkeypatch.setattr("myosynth.formats.segment_parquet._SHARD_BYTES", 60_000)
    segments = synthetic_set()
    folder = WRITERS["parquet"](segments, tmp_path / "set")
    names = sorted(path.name for path in folder.glob("data/*"))
    assert names == ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"]
    back = read_segments(folder)
    assert back.read().tobytes() == segments.read().tobytes()
    assert back.task.tolist() == segments.task.tolist()


@pytest.mark.parametrize("fs", [1000.0, 1111.111, 1925.926, 2148.148])
def test_other_software_reads_what_is_written(tmp_path, fs):
    """WFDB by wfdb, MATLAB by scipy, HDF5 by h5py, BDF by edfio: values, rate, task, names."""
    segments = make(2, 2, 2999, fs)
    expected = segments.read([1])[0].astype(float)
    peak = np.abs(expected).max(axis=1, keepdims=True)
    WRITERS["wfdb"](segments, tmp_path / "wfdb")
    wfdb = pytest.importorskip("wfdb")
    record = wfdb.rdrecord(str(tmp_path / "wfdb" / "sub-syn002_task-squatLift_emg"))
    assert (record.fs, record.sig_name, record.units) == (fs, ["ES 0", "ES 1"], ["mV", "mV"])
    assert np.all(np.abs(record.p_signal.T * 1e-3 - expected) <= 0.51 * peak / 32767)
    assert record.comments == ["task: squat lift"]
    stored = scipy.io.loadmat(WRITERS["mat"](segments, tmp_path / "x.mat"))
    assert np.array_equal(stored["signals"][1], segments.read([1])[0])
    assert (stored["fs"].item(), stored["task"][1, 0].item()) == (fs, "squat lift")
    h5py = pytest.importorskip("h5py")
    with h5py.File(WRITERS["hdf5"](segments, tmp_path / "x.h5")) as file:
        assert np.array_equal(file["signals"][1], segments.read([1])[0])
        assert (file["fs"][()], file["task"].asstr()[1]) == (fs, "squat lift")
    WRITERS["bdf"](segments, tmp_path / "bdf")
    bdf = edfio.read_bdf(tmp_path / "bdf" / "sub-syn002_task-squatLift_emg.bdf")
    found = np.stack([signal.data[:2999] for signal in bdf.signals]) * 1e-3
    assert np.all(np.abs(found - expected) <= 1.01 * peak / 8388607)


@pytest.mark.parametrize("format", ["hdf5", "mat", "parquet"])
def test_a_file_without_segments_is_named(tmp_path, format):
    path = WRITERS[format](make(), tmp_path / f"x{SINGLE_FILES[format]}")
    if format == "hdf5":
        h5py = pytest.importorskip("h5py")
        with h5py.File(path, "r+") as file:
            del file["task"]
    elif format == "mat":
        scipy.io.savemat(path, {"signals": np.ones((2, 3, 4))})
    else:
        pyarrow = pytest.importorskip("pyarrow.parquet")
        pyarrow.write_table(pyarrow.read_table(path).drop_columns(["task"]), path)
    with pytest.raises(FormatError, match=r"lacks .*'task'"):
        read_segments(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(FormatError, match="not a sound"):
        read_segments(path)


def test_a_set_is_told_from_recordings(tmp_path):
    for format, suffix in SINGLE_FILES.items():
        assert is_set_file(WRITERS[format](make(), tmp_path / f"x{suffix}"))
    scipy.io.savemat(tmp_path / "raw.mat", {"emg": np.ones((2, 300)), "fs": 1000.0})
    np.savez(tmp_path / "raw.npz", emg=np.ones((2, 300)))
    (tmp_path / "raw.csv").write_text("time (s),ES (mV)\n0,1\n0.001,2\n")
    for name in ("raw.mat", "raw.npz", "raw.csv"):
        assert not is_set_file(tmp_path / name)


def test_recordings_of_devices_are_no_sets(tmp_path):
    rows = "\n".join(f"{i / 1000:.3f},{i % 7}" for i in range(2000))
    (tmp_path / "task-pull.csv").write_text(f'time,"ES, uV"\n{rows}\n')
    back = read_segments(tmp_path / "task-pull.csv", seconds=0.5)
    assert (len(back), back.fs, back.tasks) == (4, 1000, ("pull",))
