"""Folders as labs have them, turned into datasets: what is asked, kept and refused."""

import json
import shutil
import struct

import edfio
import numpy as np
import pytest
import scipy.io

from myosynth.app.sources import import_recordings
from myosynth.errors import ConfigError, FormatError, InputError
from myosynth.formats import (
    draft_mapping,
    find_duplicates,
    parse_mapping,
    questions,
    read_recordings,
    survey,
    write_bids,
)
from myosynth.formats.edf_writing import write_edf
from myosynth.formats.exports import rate_from_times
from myosynth.formats.names import bids_label
from myosynth.formats.wfdb_files import write_wfdb
from myosynth.recordings import Annotation, Recording


def volts(seed, n_channels=2, n_times=6000):
    return np.random.default_rng(seed).standard_normal((n_channels, n_times)) * 1e-4


def asked(folder):
    return {q.key: q.text for q in questions(survey(folder)) if q.is_required}


def edf(path, seed, units=("uV", "uV", "g"), annotations=()):
    path.parent.mkdir(parents=True, exist_ok=True)
    signals = [
        edfio.EdfSignal(row * 1e6, 2000, label=label, physical_dimension=unit)
        for row, label, unit in zip(volts(seed, 3), ("ES L", "ES R", "ACC"), units, strict=True)
    ]
    edfio.Edf(signals, annotations=annotations).write(path)


# --- who, what and which --------------------------------------------------------------------------


def test_files_that_would_be_named_alike_are_asked_about_at_once(tmp_path):
    """One subject per folder, a file per task, tasks as annotations."""
    lab = tmp_path / "lab"
    for i, person in enumerate(("Müller 01", "Žižek-02")):
        for j, task in enumerate(("Heben", "Ziehen")):
            notes = [edfio.EdfAnnotation(0.5, 1, task), edfio.EdfAnnotation(2, None, "beep é")]
            edf(lab / person / f"{task}.EDF", 2 * i + j, annotations=notes)
    with pytest.raises(ConfigError, match=r"Who is it.*subject=….*apart.*part2 \(Heben\).*run=…"):
        import_recordings(lab, tmp_path / "out")
    answers = {"subject": "part1", "run": "part2"}
    summary = import_recordings(lab, tmp_path / "out", answer=answers)
    assert (summary.n_recordings, summary.duplicates) == (4, [])
    names = {path.name for path in (tmp_path / "out").glob("sub-*")}
    assert names == {"sub-Muller01", "sub-Zizek02"}
    found = {(r.subject, r.run): r for r in read_recordings(tmp_path / "out")}
    ours = found["Žižek-02", "Ziehen"]
    assert (ours.tasks, ours.channel_names) == (("Ziehen",), ("ES L", "ES R"))
    np.testing.assert_allclose(ours.load(), volts(3, 3)[:2], atol=1e-8)
    again = import_recordings(
        lab, tmp_path / "again", mapping=str(tmp_path / "out" / "code" / "mapping.yaml")
    )
    assert again.n_recordings == 4


def test_files_of_one_task_in_folders_need_no_more_than_the_subject(tmp_path):
    for i, person in enumerate(("a", "b")):
        edf(tmp_path / person / "x.edf", i, annotations=[edfio.EdfAnnotation(0, 2, "pull")])
    assert set(asked(tmp_path)) == {"subject"}


def test_names_that_say_subject_and_task_are_not_asked_about(tmp_path):
    scipy.io.savemat(tmp_path / "sub-7_task-pull_run-2.mat", {"emg": volts(1).T, "fs": 1925.926})
    assert set(asked(tmp_path)) == {"unit"}
    plan = parse_mapping(draft_mapping(survey(tmp_path), {"unit": "V"}), "draft")
    (recording,) = read_recordings(tmp_path, mapping=plan)
    assert (recording.name, recording.fs) == ("sub-7_task-pull_run-2", 1925.926)


@pytest.mark.parametrize(
    ("text", "label"), [("Müller 01", "Muller01"), ("Żółć", "Zolc"), ("Groß-2", "Gross2")]
)
def test_labels_lose_accents_not_letters(text, label):
    assert bids_label(text, "subject") == label


# --- which columns, which rate --------------------------------------------------------------------


def table(path, header, columns, times=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = columns.T if times is None else np.column_stack([times, columns.T])
    lines = [";".join(f"{value:.6f}".replace(".", ",") for value in row) for row in rows]
    path.write_text("\n".join([header, *lines] if header else lines), encoding="utf-8")


def test_columns_that_are_not_emg_can_be_left_out(tmp_path):
    lab = tmp_path / "lab"
    data = volts(1, 3) * 1e3
    table(lab / "a_pull.csv", "Time;ES L;ES R;Force", data, np.arange(6000) / 2000)
    assert "in ES L, ES R, Force:" in asked(lab)["unit"]
    assert "--answer columns=" in asked(lab)["unit"]
    answers = {"unit": "mV", "task": "part2", "columns": ["ES R", "ES L"]}
    import_recordings(lab, tmp_path / "out", answer=answers)
    (recording,) = read_recordings(tmp_path / "out")
    assert recording.channel_names == ("ES R", "ES L")
    np.testing.assert_allclose(recording.load(), data[[1, 0]] * 1e-3, atol=2e-8)
    with pytest.raises(InputError, match="no column 'ES X'; the columns are ES L, ES R, Force"):
        draft_mapping(survey(lab), {**answers, "columns": "ES X"})


def test_channels_without_a_unit_beside_those_with_one_are_asked_about(tmp_path):
    lab = tmp_path / "lab"
    edf(lab / "sub-1_task-pull.edf", 1, units=("uV", "mV", ""))
    assert "in ACC:" in asked(lab)["unit"]
    import_recordings(lab, tmp_path / "out", answer={"columns": ["ES L", "ES R"]})
    (recording,) = read_recordings(tmp_path / "out")
    assert recording.channel_names == ("ES L", "ES R")
    scale = np.array([[1], [1e3]])
    np.testing.assert_allclose(recording.load(), volts(1, 3)[:2] * scale, atol=1e-5)


def test_an_answer_does_not_overrule_the_units_that_other_files_state(tmp_path):
    lab = tmp_path / "lab"
    edf(lab / "sub-1_task-pull.edf", 1, units=("uV", "uV", "g"))
    edf(lab / "sub-2_task-pull.edf", 2, units=("", "", "g"))
    edf(lab / "sub-3_task-pull.edf", 3, units=("mV", "mV", "g"))
    import_recordings(lab, tmp_path / "out", answer={"unit": "mV"})
    found = {r.subject: r for r in read_recordings(tmp_path / "out")}
    for i, per_number in ((1, 1e-6), (2, 1e-3), (3, 1e-3)):
        expected = volts(i, 3)[:2] * 1e6 * per_number
        np.testing.assert_allclose(found[str(i)].load(), expected, atol=1e-4 * expected.max())


def test_an_answer_does_not_overrule_the_units_that_names_state(tmp_path):
    table(tmp_path / "sub-1_task-pull.csv", "ES L [uV];ES R", volts(1) * 1e6)
    plan = parse_mapping(draft_mapping(survey(tmp_path), {"fs": 2000, "unit": "mV"}), "draft")
    (recording,) = read_recordings(tmp_path, mapping=plan)
    scale = np.array([[1], [1e3]])
    np.testing.assert_allclose(recording.load(), volts(1) * scale, rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize("fs", [1111.111, 1259.259, 1925.926, 2148.148, 2000.0, 1000.0])
def test_a_column_of_times_tells_the_rate_by_the_whole_file(tmp_path, fs):
    times = np.arange(6000) / fs
    table(tmp_path / "a_pull.csv", "Time (s);ES", volts(1, 1) * 1e3, times)
    assert set(asked(tmp_path)) == {"unit", "task"}
    text = draft_mapping(survey(tmp_path), {"unit": "mV", "task": "pull"})
    assert abs(parse_mapping(text, "draft").fs / fs - 1) < 3e-7  # times of microseconds over 3 s
    table(tmp_path / "a_pull.csv", "time_ms;ES", volts(1, 1) * 1e3, times * 1e3)
    text = draft_mapping(survey(tmp_path), {"unit": "mV", "task": "pull"})
    assert abs(parse_mapping(text, "draft").fs / fs - 1) < 1e-9


def test_times_that_no_name_calls_so_are_a_question(tmp_path):
    data = volts(1) * 1e3
    table(tmp_path / "a_pull.csv", "", data, np.arange(6000) / 2000)
    assert "(2000, if column 1 holds times in seconds)" in asked(tmp_path)["fs"]
    table(tmp_path / "a_pull.csv", "sample;ES L;ES R", data, np.arange(6000))
    assert asked(tmp_path)["fs"] == "At what rate were they sampled, in Hz?"
    assert "in ES L, ES R:" in asked(tmp_path)["unit"]
    table(tmp_path / "a_pull.csv", "time;ES L;ES R", data, np.arange(6000) / 2)  # ms, not said
    assert asked(tmp_path)["fs"] == "At what rate were they sampled, in Hz?"


def test_times_without_a_unit_that_are_no_seconds_are_refused(tmp_path):
    table(tmp_path / "x.csv", "time;ES, uV", volts(1, 1) * 1e6, np.arange(6000) / 2)
    with pytest.raises(FormatError, match=r"run at 2 Hz if they are seconds.*time,ms"):
        next(read_recordings(tmp_path / "x.csv"))
    table(tmp_path / "x.csv", "time,ms;ES, uV", volts(1, 1) * 1e6, np.arange(6000) / 2)
    (recording,) = read_recordings(tmp_path / "x.csv")
    assert recording.fs == 2000


def test_a_round_period_is_a_rate_too():
    times = np.round(np.arange(5555) / 1111.111, 6)
    assert rate_from_times(times, "x") == 1111.111
    assert rate_from_times(np.round(np.arange(900) / 300 / 3, 4), "x") == 900
    assert rate_from_times(np.round(np.arange(4000) * 0.6e-3, 7), "x") == pytest.approx(
        1e3 / 0.6, rel=5e-7
    )
    assert rate_from_times(np.round(np.arange(9000) / 2048, 7), "x") == 2048


def test_other_columns_of_a_noraxon_table_have_no_unit_to_ask_for(tmp_path):
    data = volts(1, 1)[0] * 1e6
    lines = ["Noraxon MR4", "time,s;Activity;Marker;LT LUMBAR ES, uV;Accel Ax 1 (mG)"]
    lines += [f"{i / 2000:.4f};;;{value:.3f};0".replace(".", ",") for i, value in enumerate(data)]
    (tmp_path / "P1_pull.csv").write_text("\n".join(lines), encoding="utf-16")
    assert set(asked(tmp_path)) == {"task"}


def test_sensors_of_several_rates_are_asked_about(tmp_path):
    lab = tmp_path / "lab"
    lab.mkdir()
    rates = (1259.259, 2148.148)
    sides = [np.random.default_rng(i).standard_normal(round(3 * fs)) for i, fs in enumerate(rates)]
    lines = ["X[s],L: EMG 1 [V],X[s],R: EMG 2 [V]"]
    for i in range(len(sides[1])):
        cells = [
            f"{i / fs:.7f},{side[i] * 1e-4:.9f}" if i < len(side) else ","
            for fs, side in zip(rates, sides, strict=True)
        ]
        lines.append(",".join(cells))
    (lab / "a.csv").write_text("\n".join(lines))
    with pytest.raises(ConfigError, match=r"run at 1259\.259 and 2148\.148 Hz.*which one"):
        import_recordings(lab, tmp_path / "out", answer={"task": "pull"})
    import_recordings(lab, tmp_path / "out", answer={"task": "pull", "fs": 2148.148})
    (recording,) = read_recordings(tmp_path / "out")
    assert (recording.fs, recording.channel_names) == (2148.148, ("R: EMG 2",))


def test_times_in_parquet_and_npz_are_no_emg(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    times = np.arange(6000) / 2000
    data = volts(1)
    parquet.write_table(
        pyarrow.table({"time": times, "L": data[0], "R": data[1]}), tmp_path / "a_x.parquet"
    )
    assert "in L, R:" in asked(tmp_path)["unit"]
    (tmp_path / "a_x.parquet").unlink()
    np.savez(tmp_path / "a_x.npz", t=times, L=data[0], R=data[1], fs=2000)
    assert "in L, R:" in asked(tmp_path)["unit"]


@pytest.mark.parametrize(
    "header",
    ["time,ES L [mV],ES R [mV]", "Time (s),ES L (mV),ES R (mV)", 'time,"ES L, mV","ES R, mV"'],
)
def test_names_of_a_comma_separated_table_state_units(tmp_path, header):
    data = volts(1)
    rows = [f"{i / 2000:.4f},{a * 1e3:.6f},{b * 1e3:.6f}" for i, (a, b) in enumerate(data.T)]
    (tmp_path / "sub-1_task-pull.csv").write_text("\n".join([header, *rows]))
    (recording,) = read_recordings(tmp_path)
    assert (recording.fs, recording.channel_names) == (2000, ("ES L", "ES R"))
    np.testing.assert_allclose(recording.load(), data, atol=1e-9)


def test_names_state_units_where_there_are_no_times(tmp_path):
    table(tmp_path / "sub-1_task-pull.csv", "ES L [uV];ES R [uV];Force [N]", volts(1, 3) * 1e6)
    assert set(asked(tmp_path)) == {"fs", "unit"}
    assert "in Force [N]:" in asked(tmp_path)["unit"]
    answers = {"fs": 2000, "columns": ["ES L [uV]", "ES R [uV]"]}
    plan = parse_mapping(draft_mapping(survey(tmp_path), answers), "draft")
    (recording,) = read_recordings(tmp_path, mapping=plan)
    np.testing.assert_allclose(recording.load(), volts(1, 3)[:2], atol=1e-11)


def test_numbers_in_quotes_are_numbers(tmp_path):
    data = volts(1) * 1e3
    lines = ['"L","R"', *(f'"{a:.6f}","{b:.6f}"' for a, b in data.T)]
    (tmp_path / "sub-1_task-pull.csv").write_text("\n".join(lines), encoding="utf-8-sig")
    plan = parse_mapping(draft_mapping(survey(tmp_path), {"fs": 2000, "unit": "mV"}), "draft")
    (recording,) = read_recordings(tmp_path, mapping=plan)
    np.testing.assert_allclose(recording.load(), data * 1e-3, atol=1e-9)


# --- damage ---------------------------------------------------------------------------------------


def test_c3d_with_empty_texts_is_read(tmp_path):
    ezc3d = pytest.importorskip("ezc3d")
    file = ezc3d.c3d()
    file["parameters"]["POINT"]["RATE"]["value"] = [100]
    file["parameters"]["ANALOG"]["RATE"]["value"] = [1000]
    file["parameters"]["ANALOG"]["LABELS"]["value"] = ["ES"]
    file["parameters"]["ANALOG"]["UNITS"]["value"] = [""]
    file["data"]["points"] = np.zeros((4, 0, 300))
    file["data"]["analogs"] = volts(1, 1, 3000)[None]
    file.write(str(tmp_path / "sub-1_task-pull.c3d"))
    with pytest.raises(FormatError, match="channel 'ES': no unit is given"):
        next(read_recordings(tmp_path / "sub-1_task-pull.c3d"))
    plan = parse_mapping("columns: [{column: ES, unit: V}]", "x")
    (recording,) = read_recordings(tmp_path / "sub-1_task-pull.c3d", mapping=plan)
    np.testing.assert_allclose(recording.load(), volts(1, 1, 3000), rtol=1e-6)


def test_c3d_with_a_damaged_scale_is_refused(tmp_path):
    ezc3d = pytest.importorskip("ezc3d")
    file = ezc3d.c3d()
    file["parameters"]["POINT"]["RATE"]["value"] = [100]
    file["parameters"]["ANALOG"]["RATE"]["value"] = [1000]
    file["parameters"]["ANALOG"]["LABELS"]["value"] = ["ES"]
    file["data"]["points"] = np.zeros((4, 0, 300))
    file["data"]["analogs"] = volts(1, 1, 3000)[None]
    file.write(str(tmp_path / "x.c3d"))
    content = (tmp_path / "x.c3d").read_bytes()
    at = content.index(b"GEN_SCALE") + len("GEN_SCALE") + 2
    texts = struct.pack("<bB", -1, 0) + b"x"  # a text where a number must be
    (tmp_path / "x.c3d").write_bytes(content[:at] + texts + content[at + 3 :])
    with pytest.raises(FormatError, match="not a sound C3D file"):
        next(read_recordings(tmp_path / "x.c3d"))


def test_hidden_files_are_no_recordings(tmp_path):
    edf(tmp_path / "sub-1_task-pull.edf", 1)
    (tmp_path / "._sub-1_task-pull.edf").write_bytes(b"\0\5\x16\7" + bytes(100))
    assert [row.file for row in survey(tmp_path).rows] == ["sub-1_task-pull.edf"]
    assert len([*read_recordings(tmp_path)]) == 1


def test_a_dataset_does_not_go_into_the_folder_that_it_is_made_of(tmp_path):
    edf(tmp_path / "lab" / "sub-1_task-pull.edf", 1)
    with pytest.raises(InputError, match="lies inside"):
        import_recordings(tmp_path / "lab", tmp_path / "lab" / "out")
    import_recordings(tmp_path / "lab", tmp_path / "lab-out")


def test_shares_of_a_maximal_contraction_are_refused(tmp_path):
    edf(tmp_path / "lab" / "sub-1_task-pull.edf", 1, units=("%MVC", "%MVC", "g"))
    with pytest.raises(
        FormatError, match=r"share of a maximal contraction.*export the signal in v"
    ):
        import_recordings(tmp_path / "lab", tmp_path / "out")
    edf(tmp_path / "lab" / "sub-1_task-pull.edf", 1, units=("", "", "g"))
    with pytest.raises(ConfigError, match="share of a maximal contraction"):
        import_recordings(tmp_path / "lab", tmp_path / "out", answer={"unit": "%MVC"})


def test_answers_are_texts_unless_they_are_numbers_or_lists(tmp_path):
    from typer.testing import CliRunner

    from myosynth.app.commands import _mapping, app

    given = ["a=%MVC", "b=01", "c=12.5", "d=[x, y]", "e=no", "f={part1}", "g=", "h=[open"]
    read = {"a": "%MVC", "b": "01", "c": 12.5, "d": ["x", "y"], "e": "no", "f": {"part1": None},
            "g": "", "h": "[open"}  # fmt: skip
    assert _mapping("answer", given) == read
    edf(tmp_path / "lab" / "x.edf", 1)
    words = ["import", str(tmp_path / "lab"), str(tmp_path / "out"), "--answer", "task=%MVC"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output


# --- copies ---------------------------------------------------------------------------------------


def rhythm(seed, n_times=12_000):
    at = np.arange(n_times) / 2000
    envelope = 0.2 + np.clip(np.sin(np.pi * at), 0, 1)
    return volts(seed, 2, n_times) * envelope


def test_the_same_rhythm_is_no_copy():
    recordings = [Recording(rhythm(i), 2000, ["L", "R"], str(i), task="pull") for i in range(3)]
    assert find_duplicates(recordings) == []
    copy = rhythm(1)[:, 31:] * 1.3 + 1e-5 + volts(9, 2, 12_000 - 31) * 0.1
    recordings.append(Recording(copy, 2000, ["L", "R"], "c", task="pull"))
    assert find_duplicates(recordings) == [("sub-1_task-pull", "sub-c_task-pull")]


@pytest.mark.parametrize("volts_each", [1e-12, 1e-6, 1.0])
def test_small_or_empty_recordings_are_no_copies_of_one_another(volts_each):
    recordings = [
        Recording(volts(i) * volts_each, 2000, ["L", "R"], str(i), task="pull") for i in range(3)
    ]
    empty = np.zeros((2, 6000))
    recordings += [Recording(empty, 2000, ["L", "R"], name, task="pull") for name in "ab"]
    assert find_duplicates(recordings) == []
    recordings.append(recordings[1].replace(subject="copy"))
    assert find_duplicates(recordings) == [("sub-1_task-pull", "sub-copy_task-pull")]


# --- what a dataset keeps -------------------------------------------------------------------------


def test_bad_channels_events_and_the_name_of_mixed_tasks_are_kept(tmp_path):
    recording = Recording(
        volts(1), 2000, ["ES left", "ES right"], "1",
        annotations=[Annotation(0, 1, "pull"), Annotation(1, 1, "push")],
        metadata={"bad_channels": ["ES right"], "events": [[0.5, "beep"]],
                  "sidecar": {"TaskName": "shelf filling"}},
    )  # fmt: skip
    write_bids([recording], tmp_path / "set", name="x")
    folder = tmp_path / "set" / "sub-1" / "emg"
    stem = "sub-1_task-shelfFilling"
    assert json.loads((folder / f"{stem}_emg.json").read_text())["TaskName"] == "shelf filling"
    rows = [line.split("\t") for line in (folder / f"{stem}_channels.tsv").read_text().split("\n")]
    assert [row[rows[0].index("status")] for row in rows[1:3]] == ["good", "bad"]
    events = (folder / f"{stem}_events.tsv").read_text().split("\n")
    assert events[1:4] == ["0\t1\tpull", "0.5\t0.0\tbeep", "1\t1\tpush"]
    (read,) = read_recordings(tmp_path / "set")
    assert read.metadata["bad_channels"] == ["ES right"]
    (table,) = tmp_path.rglob("*_channels.tsv")
    table.write_text(table.read_text().replace("\tbad", "\tgood"))
    (read,) = read_recordings(table.parents[2])
    assert "bad_channels" not in read.metadata
    assert (read.metadata["events"], read.tasks) == ([[0.5, "beep"]], ("pull", "push"))


def test_channel_names_lose_accents_where_files_hold_ascii_only(tmp_path):
    names = ["Rücken rechts µ", "Ärm", "Örm", "Arm"]
    recording = Recording(volts(1, 4), 2000, names, "1", task="pull")
    write_edf(recording, tmp_path / "x.edf")
    assert edfio.read_edf(tmp_path / "x.edf").labels == ("Rucken rechts u", "Arm", "Orm", "Arm-2")
    wfdb = pytest.importorskip("wfdb")
    write_wfdb(recording, tmp_path / "x.hea")
    other = wfdb.rdheader(str(tmp_path / "x"))
    assert other.sig_name == ["Rucken rechts u", "Arm", "Orm", "Arm-2"]


def test_mne_bids_sees_events_and_bad_channels(tmp_path):
    mne_bids = pytest.importorskip("mne_bids")
    recording = Recording(
        volts(1), 2000, ["L", "R"], "1", task="pull",
        metadata={"bad_channels": ["R"], "events": [[0.5, "beep"]]},
    )  # fmt: skip
    write_bids([recording], tmp_path / "set", name="x")
    path = mne_bids.BIDSPath(
        root=tmp_path / "set", subject="1", task="pull", datatype="emg", suffix="emg",
        extension=".edf",
    )  # fmt: skip
    raw = mne_bids.read_raw_bids(path, verbose="error")
    assert raw.info["bads"] == ["R"]
    seen = {(note["description"], note["onset"]) for note in raw.annotations}
    assert ("beep", 0.5) in seen


def test_a_folder_with_the_name_of_a_shipped_mapping_is_read_with_it(shared_data, tmp_path):
    lab = tmp_path / "uci-lower-limb" / "N_TXT"
    lab.mkdir(parents=True)
    for name in ("1Nmar.txt", "1Nsen.txt"):
        shutil.copy(next((shared_data / "uci-lower-limb").rglob(name)), lab / name)
    summary = import_recordings(tmp_path / "uci-lower-limb", tmp_path / "out")
    assert summary.n_recordings == 2
    tasks = {recording.task for recording in read_recordings(tmp_path / "out")}
    assert tasks == {"gait", "seatedExtension"}
    (tmp_path / "out").rename(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "uci-lower-limb").mkdir()
    for each in list((tmp_path / "elsewhere").iterdir()):
        if each.name != "uci-lower-limb":
            each.rename(tmp_path / "elsewhere" / "uci-lower-limb" / each.name)
    again = import_recordings(tmp_path / "elsewhere" / "uci-lower-limb", tmp_path / "copy")
    assert again.n_recordings == 2  # EMG-BIDS says enough by itself
    lab.parent.rename(tmp_path / "mine")
    with pytest.raises(ConfigError, match="do not say enough"):
        import_recordings(tmp_path / "mine", tmp_path / "again")
