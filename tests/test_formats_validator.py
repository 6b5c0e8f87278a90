"""EMG-BIDS as others judge it: the official validator, and mne-bids on every kind of set."""

import json
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from myosynth.formats import WRITERS, load_mapping, read_recordings, write_bids
from myosynth.recordings import Annotation, Recording, SegmentSet
from myosynth.simulation import simulate_dataset

pytestmark = pytest.mark.slow


def real(name, shared_data, root):
    plan = load_mapping(name)
    write_bids(
        read_recordings(shared_data / name, mapping=plan),
        root,
        name=plan.name,
        authors=plan.authors,
        licence=plan.licence,
        source_datasets=plan.source_datasets,
    )


def simulated(_, root):
    write_bids(simulate_dataset(n_subjects=2, duration_s=5.0), root, name="Simulated EMG")


def synthetic(_, root):
    rng = np.random.default_rng(0)
    signals = (rng.standard_normal((4, 2, 5778)) * 1e-3).astype("float32")
    tasks = ["pull", "push", "squat lift", "stoop"]
    source = [{"URL": "https://doi.org/10.1177/10711813241276462"}]
    segments = SegmentSet(signals, 1925.926, tasks, metadata={"source_datasets": source})
    WRITERS["bids"](segments, root)


def rich(_, root):
    """Sessions, runs, timed tasks, bad spans, groups, filters, BIDS fields, 24 bit."""
    rng = np.random.default_rng(1)
    spans = [Annotation(0.5, 1.0, "squat lift"), Annotation(1.0, 0.25, "BAD_clipped")]
    write_bids(
        (
            Recording(
                rng.standard_normal((2, 6001)) * 1e-3, 2148.148, ["ES links µ", "ES rechts"],
                f"P {person}", muscles=["left erector spinae", ""], session=f"day {day}",
                run=run, annotations=spans,
                filters=[{"name": "bandpass", "low_hz": 10.0}, {"name": "notch", "hz": 50.0}],
                metadata={"group": "A", "sidecar": {"PowerLineFrequency": 50}},
            )
            for person in (1, 2)
            for day in (1, 2)
            for run in ("1", "b")
        ),
        root,
        name="Rich",
        format="bdf",
    )  # fmt: skip


def simulate_command(_, root):
    from myosynth.app.sources import simulate

    simulate(root, subjects=2, seconds=4.0, truth=True)


def import_command(_, root):
    from myosynth.app.sources import import_recordings

    lab = root.parent / "lab"
    lab.mkdir()
    rng = np.random.default_rng(2)
    for name in ("P1_pull", "P2_pull"):
        rows = "\n".join(f"{i / 1000:.3f},{v:.3f}" for i, v in enumerate(rng.normal(0, 300, 3000)))
        (lab / f"{name}.csv").write_text(f"t,ES\n{rows}\n")
    import_recordings(lab, root, answer={"unit": "uV", "task": "part2"})


SETS = {
    "uci-lower-limb": lambda data, root: real("uci-lower-limb", data, root),
    "uci-physical-action": lambda data, root: real("uci-physical-action", data, root),
    "simulated": simulated,
    "synthetic": synthetic,
    "rich": rich,
    "simulate": simulate_command,
    "import": import_command,
}


@pytest.fixture(scope="module", params=SETS)
def dataset(request, tmp_path_factory):
    data = request.getfixturevalue("shared_data") if request.param.startswith("uci") else None
    root = tmp_path_factory.mktemp("bids") / request.param
    SETS[request.param](data, root)
    return root


@pytest.fixture(scope="module")
def issues():
    beside = Path(sys.executable).with_name("bids-validator-deno")
    program = str(beside) if beside.is_file() else shutil.which("bids-validator-deno")
    if program is None:
        pytest.skip("the validator is not installed: pip install bids-validator-deno==3.0.2")

    def issues(root):
        done = subprocess.run(
            [program, str(root), "--format", "json"], capture_output=True, text=True, check=False
        )
        found = json.loads(done.stdout)["issues"]["issues"]
        return [(issue["severity"], issue["code"], issue.get("location")) for issue in found]

    return issues


def test_the_validator_has_nothing_to_say(dataset, issues):
    assert issues(dataset) == []


def test_the_validator_would_say_it(tmp_path, issues):
    rich(None, tmp_path / "set")
    (tmp_path / "set" / "README").unlink()
    sidecar = next(tmp_path.glob("set/sub-*/ses-*/emg/*_emg.json"))
    sidecar.write_text(sidecar.read_text().replace("SamplingFrequency", "Rate"))
    said = {(severity, code) for severity, code, _ in issues(tmp_path / "set")}
    assert ("warning", "README_FILE_MISSING") in said
    assert any(severity == "error" for severity, _ in said)


def test_one_author_is_enough_to_name(tmp_path, issues):
    recording = Recording(np.ones((1, 500)) * 1e-3, 1000, ["x"], "1", task="pull")
    write_bids([recording], tmp_path / "set", name="One", authors=["A. Author"])
    assert issues(tmp_path / "set") == []


def test_a_synthetic_set_would_pass_as_raw_too(tmp_path, issues):
    synthetic(None, tmp_path / "set")  # the validator asks less of derivatives
    path = tmp_path / "set" / "dataset_description.json"
    description = json.loads(path.read_text())
    assert description["DatasetType"] == "derivative"
    assert description["SourceDatasets"][0]["URL"].startswith("https://doi.org")
    path.write_text(json.dumps({**description, "DatasetType": "raw"}))
    assert issues(tmp_path / "set") == []


def test_mne_bids_reads_unit_rate_and_annotations(dataset):
    mne_bids = pytest.importorskip("mne_bids")
    paths = mne_bids.find_matching_paths(dataset, datatypes="emg", extensions=[".edf", ".bdf"])
    ours = {recording.metadata["path"]: recording for recording in with_paths(dataset)}
    assert len(paths) == len(ours) > 1
    for path in paths[:: max(1, len(paths) // 8)]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about fields that BIDS leaves open
            raw = mne_bids.read_raw_bids(path, verbose="error")
        recording = ours[path.fpath.name]
        assert set(raw.get_channel_types()) == {"emg"}
        assert raw.info["sfreq"] == pytest.approx(recording.fs, rel=1.1e-7)
        peak = np.abs(recording.load()).max()
        theirs = raw.get_data()[:, : recording.n_times]
        np.testing.assert_allclose(theirs, recording.load(), atol=1e-6 * peak)
        whole = [(0.0, recording.duration_s, recording.task)] if recording.task else []
        spans = [(a.onset_s, a.duration_s, a.description) for a in recording.annotations]
        said = raw.annotations
        found = sorted(zip(said.onset, said.duration, said.description, strict=True))
        assert len(found) == len(whole + spans)
        for one, two in zip(found, sorted(whole + spans), strict=True):
            assert one[2] == two[2]
            assert one[:2] == pytest.approx(two[:2], abs=1e-3)


def with_paths(root):
    for path in sorted(root.glob("sub-*/**/*_emg.?df")):
        (recording,) = read_recordings(path)
        yield recording.replace(metadata={**recording.metadata, "path": path.name})
