"""From a lab's folder to a dataset: what is found, what is asked, and a mapping that answers it."""

import warnings

import numpy as np
import pytest
import scipy.io

from myosynth.errors import ConfigError, FormatError, InputError
from myosynth.formats import (
    draft_mapping,
    parse_mapping,
    questions,
    read_recordings,
    survey,
    write_bids,
)
from myosynth.formats.edf_writing import write_edf
from myosynth.recordings import Recording


def samples(seed, n_times=4000):
    return np.random.default_rng(seed).standard_normal((2, n_times)) * 300  # µV


def csv_file(stem, data):
    rows = [f"{i / 2000:.4f};{a:.3f};{b:.3f}".replace(".", ",") for i, (a, b) in enumerate(data.T)]
    text = "Device;X\nt;ES left;ES right\n" + "\n".join(rows)
    stem.with_suffix(".csv").write_text(text, encoding="utf-8")


def mat_file(stem, data):
    scipy.io.savemat(stem.with_suffix(".mat"), {"emg": data, "fs": 2000.0, "note": "x"})


def npz_file(stem, data):
    np.savez(stem.with_suffix(".npz"), left=data[0], right=data[1], fs=2000)


def parquet_file(stem, data):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table({"left": data[0], "right": data[1]})
    parquet.write_table(table, stem.with_suffix(".parquet"))


def edf_file(stem, data):
    write_edf(Recording(data * 1e-6, 2000, ["left", "right"], "X"), stem.with_suffix(".edf"))


WRITERS = {
    # what each leaves open
    csv_file: {"unit", "task"},
    mat_file: {"unit", "task"},
    npz_file: {"unit", "task"},
    parquet_file: {"fs", "unit", "task"},
    edf_file: {"task"},
}
ANSWERS = {"fs": 2000, "unit": "uV", "task": "part2"}


@pytest.mark.parametrize("write", WRITERS)
def test_a_folder_becomes_a_dataset_with_a_few_answers(tmp_path, write):
    lab = tmp_path / "lab"
    lab.mkdir()
    for person in (1, 2):
        for task in ("pull", "push"):
            write(lab / f"P{person}_{task}", samples(person * 10 + len(task) + (task == "pull")))
    (lab / "notes.txt").write_text("subjects came in the morning\n")
    first = survey(lab)
    assert len(first.rows) == 4
    assert not first.is_ready
    required = {q.key for q in questions(first) if q.is_required}
    assert required == WRITERS[write]
    # without the answers, the draft does not do, and the message names what is missing
    plan = parse_mapping(draft_mapping(first), "draft")
    with pytest.raises((ConfigError, FormatError, InputError), match=r"unit|fs: …|task"):
        write_bids(read_recordings(lab, mapping=plan), tmp_path / "no", name="x")
    text = draft_mapping(first, {key: ANSWERS[key] for key in required})
    second = survey(lab, parse_mapping(text, "draft"))
    assert second.is_ready, second.files_to_mend()
    assert not second.problems
    assert second.totals == {
        "recordings": 4, "subjects": 2, "tasks": ["pull", "push"], "fs": [2000.0],
        "units": second.totals["units"], "seconds": 8.0, "problems": 0,
    }  # fmt: skip
    assert survey(lab, parse_mapping(text, "draft")).totals == second.totals
    plan = parse_mapping(text, "draft")
    write_bids(read_recordings(lab, mapping=plan), tmp_path / "set", name="x")
    found = {(r.subject, r.task): r for r in read_recordings(tmp_path / "set")}
    assert sorted(found) == [("P1", "pull"), ("P1", "push"), ("P2", "pull"), ("P2", "push")]
    np.testing.assert_allclose(found["P2", "push"].load(), samples(24) * 1e-6, atol=4e-8)


def test_a_survey_names_what_differs_and_reads_on_past_damage(tmp_path):
    lab = tmp_path / "lab"
    for name, fs, task, seed in (
        ("a1", 1000, "pull", 1), ("a2", 1000, "push", 2), ("b1", 2000, "pull", 3),
        ("c1", 1000, "pull", 1), ("c2", 1000, "push", 4),
    ):  # fmt: skip
        data = samples(seed, 3 * fs) * 1e-6
        (lab / name).mkdir(parents=True)
        path = lab / name / f"sub-{name[0]}_task-{task}_emg.edf"
        write_edf(Recording(data, fs, ["x", "y"], name[0]), path)
    damaged = lab / "a1" / "damaged.edf"
    damaged.write_bytes((lab / "a1" / "sub-a_task-pull_emg.edf").read_bytes()[:-50])
    found = survey(lab)
    assert [row.file for row in found.rows if row.problems] == ["a1/damaged.edf"]
    (problem,) = found.files_to_mend()
    assert problem.startswith("it is truncated or damaged")
    assert str(lab) not in problem
    assert "the files differ in sampling rates: 4 files 1000 Hz; 1 files 2000 Hz" in found.problems
    assert "subject b lacks the task push" in found.problems
    assert "sub-c_task-pull copies sub-a_task-pull" in found.problems
    assert found.totals["problems"] == 4


def test_a_bids_dataset_and_one_file_are_surveyed_too(tmp_path):
    recording = Recording(samples(1) * 1e-6, 2000, ["x", "y"], "1", task="pull")
    write_bids([recording], tmp_path / "set", name="x")
    (row,) = survey(tmp_path / "set").rows
    assert (row.kind, row.task, row.seconds, row.problems) == ("bids", "pull", 2.0, ())
    write_edf(recording, tmp_path / "one.edf")
    (row,) = survey(tmp_path / "one.edf").rows
    assert (row.file, row.kind, row.fs) == ("one.edf", "edf", 2000)


def test_there_must_be_something(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        survey(tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("nothing here\n")
    with pytest.raises(FormatError, match="holds nothing that can be read"):
        survey(tmp_path)


def test_answers_are_checked(tmp_path):
    csv_file(tmp_path / "P1_pull", samples(1))
    found = survey(tmp_path)
    with pytest.raises(InputError, match="no question 'units'"):
        draft_mapping(found, {"units": "uV"})
    with pytest.raises(InputError, match="2 columns need 2 muscles"):
        draft_mapping(found, {"muscles": ["erector spinae"]})
    text = draft_mapping(found, {**ANSWERS, "muscles": ["left ES", "right ES"]})
    (recording,) = read_recordings(tmp_path, mapping=parse_mapping(text, "draft"))
    assert recording.muscles == ("left ES", "right ES")


def test_a_shipped_mapping_surveys_the_real_set(shared_data):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = survey(shared_data / "uci-lower-limb", "uci-lower-limb")
    assert found.totals["recordings"] == 39
    assert found.totals["units"] == ["mV"]
    assert sorted(found.problems) == [
        f"sub-N2_task-{task} copies sub-N1_task-{task}"
        for task in ("seatedExtension", "standingFlexion")
    ]


def test_import_asks_once_and_keeps_the_answers(tmp_path):
    from myosynth.app.sources import import_recordings

    lab = tmp_path / "lab"
    lab.mkdir()
    for person in (1, 2):
        for task in ("pull", "push"):
            csv_file(lab / f"P{person}_{task}", samples(person * 10 + len(task) + (task == "pull")))
    with pytest.raises(ConfigError, match=r"4 of 4 files .*unit=….*task=….*out\.mapping\.yaml"):
        import_recordings(lab, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert parse_mapping((tmp_path / "out.mapping.yaml").read_text(), "draft").fs == 2000
    import_recordings(lab, tmp_path / "out", answer={"unit": "uV", "task": "part2"})
    kept = tmp_path / "out" / "code" / "mapping.yaml"
    import_recordings(lab, tmp_path / "again", mapping=str(kept))
    first = sorted((tmp_path / "out").glob("sub-*/emg/*.edf"))
    assert len(first) == 4
    for path in first:
        same = tmp_path / "again" / path.relative_to(tmp_path / "out")
        assert same.read_bytes() == path.read_bytes()


def test_import_does_not_draft_around_damage(tmp_path):
    from myosynth.app.sources import import_recordings

    (tmp_path / "lab").mkdir()
    edf_file(tmp_path / "lab" / "sub-1_task-pull", samples(1))
    path = tmp_path / "lab" / "sub-1_task-pull.edf"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(FormatError, match="truncated or damaged"):
        import_recordings(tmp_path / "lab", tmp_path / "out")
    assert not (tmp_path / "out.mapping.yaml").exists()


def test_info_shows_what_a_folder_lacks(tmp_path):
    from myosynth.app.info import info

    for name in ("tables", "files"):
        (tmp_path / name).mkdir()
    csv_file(tmp_path / "tables" / "P1_pull", samples(1))
    facts = info(tmp_path / "tables")
    assert facts["kind"] == "files that do not say enough, or are damaged"
    assert any("In what unit" in question for question in facts["to_answer"])
    assert facts["recordings"][0]["problems"].startswith("it is text")
    for task in ("pull", "push"):
        edf_file(tmp_path / "files" / f"sub-2_task-{task}", samples(2))
    damaged = tmp_path / "files" / "sub-2_task-push.edf"
    damaged.write_bytes(damaged.read_bytes()[:-10])
    facts = info(tmp_path / "files")
    assert (facts["n_recordings"], facts["n_problems"], facts["fs"]) == (1, 1, [2000.0])
    problems = {row["file"]: row["problems"] for row in facts["recordings"]}
    assert problems["sub-2_task-pull.edf"] == ""
    assert "truncated" in problems["sub-2_task-push.edf"]
