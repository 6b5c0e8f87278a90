"""EMG-BIDS: what is written comes back, and what others wrote is read as they meant it."""

import json
import warnings

import edfio
import numpy as np
import pytest

from myosynth.errors import FormatError, InputError
from myosynth.formats import find_duplicates, read_recordings, write_bids
from myosynth.recordings import Annotation, Recording

FIELDS = [
    "fs",
    "channel_names",
    "muscles",
    "subject",
    "session",
    "task",
    "run",
    "annotations",
    "filters",
    "metadata",
    "n_times",
]


def make(subject="01", task="pull", *, seed=0, n_times=9001, fs=1925.926, **fields):
    data = np.random.default_rng([seed, n_times]).standard_normal((2, n_times)) * 1e-3
    fields.setdefault("channel_names", ["left erector spinae L3", "left erector spinae L5"])
    return Recording(data, fs, subject=subject, task=task, **fields)


def various():
    yield make("P 1", muscles=["erector spinae", ""], metadata={"group": "A", "nested": {"x": [1]}})
    yield make("b2", "", session="1", seed=1, annotations=[Annotation(0.5, 2.0, "squat lift")])
    yield make(
        "b2", "squat lift", session="2", run="first", seed=2,
        annotations=[Annotation(1.0, 0.25, "BAD_clipped")],
        filters=[{"name": "bandpass", "low_hz": 10.0}, {"name": "bandpass", "low_hz": 20.0}],
    )  # fmt: skip
    yield make("b2", "squat lift", session="2", run="second", seed=3)
    yield make("b2", "stoop", run="2", fs=2000, seed=4)


@pytest.mark.parametrize("format", ["edf", "bdf"])
def test_everything_comes_back(tmp_path, format):
    summary = write_bids(various(), tmp_path / "set", name="Test", format=format)
    assert (summary.n_recordings, summary.subjects) == (5, ["P 1", "b2"])
    back = list(read_recordings(tmp_path / "set"))
    by_key = {(r.subject, r.session, r.task, r.run): r for r in back}
    assert len(by_key) == 5
    for recording in various():
        found = by_key[recording.subject, recording.session, recording.task, recording.run]
        for name in FIELDS:
            assert getattr(found, name) == getattr(recording, name), name
        np.testing.assert_allclose(found.load(), recording.data, atol=1e-7)


def test_bids_fields_that_are_known_are_written(tmp_path):
    known = {"Manufacturer": "Delsys", "PowerLineFrequency": 60, "SamplingFrequency": 17}
    write_bids([make(metadata={"sidecar": known})], tmp_path / "set", name="Test")
    sidecar = json.loads(next(tmp_path.glob("set/sub-01/emg/*_emg.json")).read_text())
    assert (sidecar["Manufacturer"], sidecar["PowerLineFrequency"]) == ("Delsys", 60)
    assert sidecar["SamplingFrequency"] == 1925.926


def test_one_file_is_read_with_its_sidecars(tmp_path):
    write_bids(various(), tmp_path / "set", name="Test")
    path = next(tmp_path.glob("set/sub-P1/emg/*.edf"))
    (one,) = read_recordings(path)
    assert (one.subject, one.muscles) == ("P 1", ("erector spinae", ""))


@pytest.mark.slow
def test_mne_bids_reads_what_we_write(tmp_path):
    mne_bids = pytest.importorskip("mne_bids")
    write_bids(various(), tmp_path / "set", name="Test")
    path = mne_bids.BIDSPath(
        subject="b2", session="2", task="squatLift", run="1", datatype="emg", root=tmp_path / "set"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        raw = mne_bids.read_raw_bids(path, verbose="error")
    original = list(various())[2]
    assert raw.get_channel_types() == ["emg", "emg"]
    assert raw.info["sfreq"] == pytest.approx(1925.926, rel=2e-8)
    np.testing.assert_allclose(raw.get_data()[:, :9001], original.data, atol=1e-6)
    assert sorted(raw.annotations.description) == ["BAD_clipped", "squat lift"]


def foreign(root, *, unit="uV", sidecar_fs=1000, events=None, channels=None, task="lifting"):
    """A dataset as another program might leave it: sparse, with extra channels and files."""
    folder = root / "sub-x01" / "emg"
    folder.mkdir(parents=True)
    data = np.sin(np.arange(5000) / 9) * 250
    signals = [
        edfio.EdfSignal(data * 2, 1000, label="ES_L", physical_dimension=unit),
        edfio.EdfSignal(data[::10], 100, label="knee", physical_dimension="deg"),
        edfio.EdfSignal(data, 1000, label="ES_R", physical_dimension=unit),
    ]
    edfio.Edf(signals).write(folder / f"sub-x01_task-{task}_emg.edf")
    (root / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.11.0"}')
    (root / f"task-{task}_emg.json").write_text(
        json.dumps({"TaskName": task, "SamplingFrequency": sidecar_fs, "SoftwareFilters": "n/a"})
    )
    (folder / f"sub-x01_task-{task}_channels.tsv").write_text(
        channels
        or "name\ttype\tunits\ttarget_muscle\tstatus\nES_L\tEMG\tuV\terector spinae\tgood\n"
        "knee\tMISC\tdeg\tn/a\tn/a\nES_R\tEMG\tuV\tn/a\tbad\n"
    )
    if events:
        (folder / f"sub-x01_task-{task}_events.tsv").write_text(events)
    (root / "CHANGES").write_text("1.0.0\n")
    return root


@pytest.mark.parametrize("unit", ["uV", ""])
def test_a_sparse_foreign_dataset_is_read(tmp_path, unit):
    events = "onset\tduration\ttrial_type\n1.0\t2.0\tpull\n3.5\tn/a\tbeep\n4.0\t0.5\tn/a\n"
    (one,) = read_recordings(foreign(tmp_path, unit=unit, events=events))
    assert one.channel_names == ("ES_L", "ES_R")
    assert one.muscles == ("erector spinae", "")
    assert (one.fs, one.subject, one.session, one.task) == (1000, "x01", "", "")
    assert one.annotations == (Annotation(1.0, 2.0, "pull"),)
    assert one.metadata["events"] == [[3.5, "beep"]]
    assert one.metadata["bad_channels"] == ["ES_R"]
    assert np.abs(one.load()).max(axis=1) == pytest.approx([500e-6, 250e-6], rel=1e-3)


def test_without_events_the_task_is_that_of_the_name(tmp_path):
    (one,) = read_recordings(foreign(tmp_path))
    assert (one.task, one.annotations) == ("lifting", ())


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"sidecar_fs": 2000}, "header says 1000 Hz and its sidecar 2000 Hz"),
        ({"sidecar_fs": "fast"}, "sidecar fast Hz"),
        ({"events": "onset\tduration\nsoon\t1\n"}, "line 2, column 'onset': 'soon'"),
        ({"events": "onset\tduration\n1\n"}, "line 2: 1 cells for 2 columns"),
        ({"channels": "name\ttype\nES_L\tEMG\n"}, "lacks the column 'units'"),
        ({"channels": "name\ttype\tunits\nES_X\tEMG\tuV\n"}, "no channel 'ES_X'"),
        ({"channels": "name\ttype\tunits\nES_L\tMISC\tuV\n"}, "no channel of type EMG"),
        ({"channels": "name\ttype\tunits\nES_L\tEMG\tn/a\n", "unit": ""}, "no unit is given"),
    ],
)
def test_contradictions_are_named(tmp_path, fields, said):
    with pytest.raises(FormatError, match=said):
        list(read_recordings(foreign(tmp_path, **fields)))


def test_the_set_is_written_whole_or_not_at_all(tmp_path):
    def broken():
        yield make()
        raise RuntimeError("the source broke off")

    with pytest.raises(RuntimeError, match="broke off"):
        write_bids(broken(), tmp_path / "set", name="Test")
    with pytest.raises(InputError, match="both named sub-01_task-pull"):
        write_bids([make(), make(seed=1)], tmp_path / "set", name="Test")
    with pytest.raises(InputError, match="would both be sub-a1"):
        write_bids([make("a 1"), make("a-1", seed=1)], tmp_path / "set", name="Test")
    with pytest.raises(InputError, match="no recordings"):
        write_bids([], tmp_path / "set", name="Test")
    with pytest.raises(InputError, match="neither a task"):
        write_bids([make(task="")], tmp_path / "set", name="Test")
    assert not list(tmp_path.iterdir())


def test_recordings_are_taken_one_at_a_time(tmp_path):
    seen: list[int] = []

    def source():
        for index in range(3):
            seen.append(len(list(tmp_path.glob("set.partial-*/sub-*/emg/*.edf"))))
            yield make(f"{index}", seed=index)

    write_bids(source(), tmp_path / "set", name="Test")
    assert seen == [0, 1, 2]


def test_copies_are_found_in_disguise_and_others_are_not():
    base = make("a", n_times=20_000, fs=2000)
    rng = np.random.default_rng(9)
    noise = rng.standard_normal(base.data.shape) * 1e-4
    recordings = [
        base,
        base.replace(subject="same"),
        base.replace(subject="gain", data=base.data * 3 + 1e-3),
        base.replace(subject="noise", data=base.data + noise),
        base.replace(subject="shift", data=base.data[:, 3000:]),
        *(make(f"other{i}", seed=i + 1, n_times=20_000, fs=2000) for i in range(5)),
    ]
    pairs = find_duplicates(iter(recordings))
    names = ("same", "gain", "noise", "shift")
    assert pairs == [("sub-a_task-pull", f"sub-{name}_task-pull") for name in names]


def test_copies_are_kept_and_marked_or_dropped_on_demand(tmp_path):
    recordings = [make("a"), make("b")]
    summary = write_bids(recordings, tmp_path / "kept", name="Test")
    assert summary.duplicates == [("sub-a_task-pull", "sub-b_task-pull")]
    copies = [r.metadata.get("duplicate_of") for r in read_recordings(tmp_path / "kept")]
    assert copies == [None, "sub-a_task-pull"]
    assert "sub-b_task-pull copies sub-a_task-pull" in (tmp_path / "kept" / "README").read_text()
    write_bids(recordings, tmp_path / "dropped", name="Test", drop_duplicates=True)
    assert [r.subject for r in read_recordings(tmp_path / "dropped")] == ["a"]


@pytest.mark.slow
@pytest.mark.parametrize(("fs", "format"), [(1000.0, "EDF"), (2048.0, "BDF")])
def test_what_mne_bids_writes_is_read_and_goes_on(tmp_path, fs, format):
    mne = pytest.importorskip("mne")
    mne_bids = pytest.importorskip("mne_bids")
    rng = np.random.default_rng(0)
    data = rng.standard_normal((3, int(5 * fs))) * 1e-3
    info = mne.create_info(["ES_L", "ES_R", "Trig"], fs, ["emg", "emg", "misc"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        raw = mne.io.RawArray(data, info, verbose="error")
        raw.set_annotations(mne.Annotations([1.0, 4.0], [2.0, 0.0], ["pull", "beep"]))
        path = mne_bids.BIDSPath(subject="x1", task="lifting", datatype="emg", root=tmp_path / "a")
        mne_bids.write_raw_bids(
            raw, path, allow_preload=True, format=format, emg_placement="Other", verbose="error"
        )
    (one,) = read_recordings(tmp_path / "a")
    assert (one.fs, one.channel_names, one.n_times) == (fs, ("ES_L", "ES_R"), int(5 * fs))
    assert one.annotations == (Annotation(1.0, 2.0, "pull"),)
    assert one.metadata["events"] == [[4.0, "beep"]]
    np.testing.assert_allclose(one.load(), data[:2], atol=2e-7)
    # at half the rate, the sidecar must follow
    half = one.replace(data=one.load()[:, ::2], fs=fs / 2)
    write_bids([half], tmp_path / "b", name="Half")
    (back,) = read_recordings(tmp_path / "b")
    assert (back.fs, back.annotations) == (fs / 2, one.annotations)
    assert (
        json.loads(next(tmp_path.glob("b/sub-x1/emg/*_emg.json")).read_text())["SamplingFrequency"]
        == fs / 2
    )
