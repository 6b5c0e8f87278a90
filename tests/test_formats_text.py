"""Delimited text through mapping files: the real sets with their traps, and bad input."""

import numpy as np
import pytest
import yaml

from myosynth.errors import ConfigError, FormatError, InputError
from myosynth.formats import load_mapping, read_recordings, shipped_mappings, write_bids

PLAN = {
    "delimiter": "semicolon",
    "decimal": ",",
    "fs": 1259.259,
    "files": "*.csv",
    "columns": [
        {"column": "ES L", "channel": "L", "muscle": "erector spinae", "unit": "mV"},
        {"column": 3, "channel": "R", "unit": "uV", "scale": 0.5},
    ],
    "clip_limit": 100,
    "path": r"(?P<who>\w+)_(?P<what>\w+)\.csv$",
    "subject": "S{who}",
    "task": "{what}",
    "tasks": {"zug": "pull"},
    "values": {"who": {"1": "left-handed"}},
}
TEXT = "Device X\n1\n\nES L;note;ES R\n1,5;a;2\n-2,5;b;-100\n0,25;c;4\n;d;\n;e;\n"


@pytest.fixture
def read(tmp_path):
    def read(text=TEXT, name="1_zug.csv", encoding="utf-8", **changes):
        plan = {key: value for key, value in {**PLAN, **changes}.items() if value is not None}
        (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
        (tmp_path / name).write_text(text, encoding=encoding)
        return next(read_recordings(tmp_path / name, mapping=tmp_path / "plan.yaml"))

    return read


def test_a_mapped_file_becomes_a_recording(read):
    recording = read()
    expected = [[1.5e-3, -2.5e-3, 0.25e-3], [1e-6, -50e-6, 2e-6]]
    np.testing.assert_allclose(recording.data, expected, rtol=1e-12)
    assert (recording.fs, recording.subject, recording.task) == (1259.259, "S1", "pull")
    assert recording.muscles == ("erector spinae", "")
    assert recording.metadata["who"] == "left-handed"
    assert recording.metadata["trimmed_rows"] == 2
    assert recording.metadata["clipped_samples"] == {"L": 0, "R": 1}
    (bad,) = recording.annotations
    assert bad.description == "BAD_clipped"
    assert [bad.onset_s, bad.duration_s] == pytest.approx([1 / 1259.259] * 2)


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        (
            {"text": TEXT.replace("-100", "x")},
            FormatError,
            r"zug.csv, line 6, column 3 \(R\): 'x'",
        ),
        (
            {"text": TEXT.replace("-2,5", "")},
            FormatError,
            r"line 6, column 1 \(L\): the cell",
        ),
        ({"text": TEXT + "1;f;2\n"}, FormatError, "line 9: the EMG columns are empty"),
        ({"text": "ES L;note;ES R\n"}, FormatError, "no line with numbers"),
        ({"text": "1;2;3\n"}, FormatError, r"no header line with the columns \['ES L'\]"),
        ({"text": ""}, FormatError, "no header line"),
        ({"text": "µ" + TEXT, "encoding": "latin-1"}, FormatError, "is not utf-8 text"),
        ({"name": "1_schub.csv"}, FormatError, "task 'schub' is not in the mapping's tasks"),
        ({"name": "zug.csv"}, FormatError, "does not fit the mapping's path pattern"),
        ({"fs": None}, ConfigError, "no sampling rate; write fs"),
        ({"subject": "{nobody}"}, ConfigError, "group 'nobody'"),
        ({"encodnig": "x"}, ConfigError, "unknown key 'encodnig'; the nearest is 'encoding'"),
        ({"fs": "fast"}, ConfigError, "fs: Input should be a valid number"),
        (
            {"columns": [{"column": 1, "channel": "L", "unit": ""}], "header_lines": 4},
            FormatError,
            "no unit is given",
        ),
        (
            {"columns": [{"column": 1, "chanel": "L", "unit": "V"}]},
            ConfigError,
            "nearest is 'channel'|Field required",
        ),
    ],
)
def test_what_does_not_fit_is_named(read, changes, error, said):
    with pytest.raises(error, match=said):
        read(**changes)


def test_wrong_places_are_named(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_recordings(tmp_path / "nowhere")
    with pytest.raises(FormatError, match="holds nothing that can be read"):
        read_recordings(tmp_path)
    with pytest.raises(FormatError, match="holds no file that fits files"):
        read_recordings(tmp_path, mapping="uci-lower-limb")
    with pytest.raises(ConfigError, match="one of those shipped: uci-lower-limb"):
        read_recordings(tmp_path, mapping="uci-lowerlimb")
    (tmp_path / "x.csv").write_text("1,2\n")
    with pytest.raises(FormatError, match="give a mapping file"):
        read_recordings(tmp_path)


def test_shipped_mappings_are_sound():
    assert shipped_mappings() == ["uci-lower-limb", "uci-physical-action"]
    for name in shipped_mappings():
        assert load_mapping(name).fs == 1000
    assert not {"squat", "stoop"} & set(load_mapping("uci-physical-action").tasks.values())


def test_lower_limb_with_its_traps(shared_data, tmp_path):
    folder = shared_data / "uci-lower-limb"
    found = {r.name: r for r in read_recordings(folder, mapping="uci-lower-limb")}
    assert len(found) == 39
    assert {r.subject for r in found.values()} == {*(f"N{i}" for i in range(1, 8)),
                                                   *(f"A{i}" for i in range(1, 7))}  # fmt: skip
    first = found["sub-N1_task-gait"]
    assert (first.n_times, first.metadata["trimmed_rows"]) == (5681, 19)
    start = [0.0007e-3, -0.0083e-3, 0.0045e-3, -0.0091e-3]
    np.testing.assert_allclose(first.data[:, 0], start, rtol=1e-12)
    assert first.metadata["group"] == "healthy"
    other_header = found["sub-N7_task-gait"]
    start = [-0.0135e-3, 0.0067e-3, 0.012e-3, -0.105e-3]
    np.testing.assert_allclose(other_header.data[:, 0], start, rtol=1e-12)
    assert found["sub-N4_task-seatedExtension"].n_times == 15601  # the goniometer ends first
    assert found["sub-A4_task-gait"].metadata["group"] == "knee condition"
    assert sum(r.n_times for r in found.values()) == 827_222
    summary = write_bids(found.values(), tmp_path / "set", name="lower limb")
    assert sorted(summary.duplicates) == [
        (f"sub-N1_task-{task}", f"sub-N2_task-{task}")
        for task in ("seatedExtension", "standingFlexion")
    ]
    for back in read_recordings(tmp_path / "set"):
        peak = np.abs(found[back.name].data).max(axis=1, keepdims=True)
        assert np.all(np.abs(back.load() - found[back.name].data) <= peak / 32767)


def test_physical_action_with_its_clipping(shared_data):
    folder = shared_data / "uci-physical-action"
    found = {r.name: r for r in read_recordings(folder, mapping="uci-physical-action")}
    assert len(found) == 60
    pulling = found["sub-01_task-pulling"]
    assert pulling.data[0, 0] == pytest.approx(1045 * 0.75e-6, rel=1e-12)
    assert pulling.n_times == 9659
    assert np.abs(pulling.data).max() == pytest.approx(3e-3)
    clipped = np.abs(pulling.data) > 2.9999e-3
    assert pulling.metadata["clipped_samples"]["R-Thi"] == clipped[4].sum() > 0
    marked = np.zeros(pulling.n_times, dtype=bool)
    for a in pulling.annotations:
        marked[round(a.onset_s * 1000) : round((a.onset_s + a.duration_s) * 1000)] = True
    assert marked[clipped.any(axis=0)].all()
    assert marked.mean() < 1
    assert found["sub-01_task-standing"].annotations == ()
    assert {"pushing", "hammering", "bowing"} < {r.task for r in found.values()}
