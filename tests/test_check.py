"""`myosynth check`: exit codes, the table, the page and its JSON twin."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from myosynth.app import commands
from myosynth.app.check import CODES, write_check
from myosynth.app.pipeline import check, prepare, simulate
from myosynth.formats import write_bids
from myosynth.recordings import SegmentSet
from myosynth.signal.quality import check_recordings
from myosynth.simulation import simulate_dataset


def run(*args: object) -> Result:
    return CliRunner().invoke(commands.app, [str(each) for each in args])


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good set and one with a clipped recording, a copy and a missing task."""
    folder = tmp_path_factory.mktemp("sets")
    good = list(simulate_dataset(n_subjects=2, tasks=["push", "squat"], duration_s=8.0, fs=1000.0))
    write_bids(good, folder / "good", name="Good")
    limit = 1.5 * good[1].load().std()
    clipped = good[1].replace(data=np.clip(good[1].load(), -limit, limit))
    copy = good[0].replace(subject="02")
    write_bids([good[0], clipped, copy], folder / "bad", name="Bad")
    return folder


def test_a_good_set_ends_with_0(sets: Path, tmp_path: Path) -> None:
    result = run("check", sets / "good", tmp_path / "report")
    assert result.exit_code == 0, result.output
    assert "4 recordings checked, nothing to say about 4 of them" in result.stdout
    content = json.loads((tmp_path / "report" / "check.json").read_text())
    assert content["is_fine"] is True
    assert len(content["recordings"]) == 4
    assert content["provenance"]["command"] == "check"


def test_a_bad_set_ends_with_1_and_says_why(sets: Path, tmp_path: Path) -> None:
    result = run("check", sets / "bad", tmp_path / "report")
    assert result.exit_code == 1
    for word in ("clipped", "duplicate", "missing", "sub-01_task-squat"):
        assert word in result.stdout
    content = json.loads((tmp_path / "report" / "check.json").read_text())
    assert content["is_fine"] is False
    assert {p["code"] for p in content["problems"]} == {"duplicate", "missing"}
    by_name = {each["name"]: each for each in content["recordings"]}
    assert [p["code"] for p in by_name["sub-01_task-squat"]["problems"]] == ["clipped"]
    assert by_name["sub-01_task-push"]["problems"] == []


def test_without_a_folder_nothing_is_written(sets: Path, tmp_path: Path) -> None:
    before = sorted(sets.rglob("*"))
    assert run("check", sets / "bad", "--quiet").exit_code == 1
    assert run("check", sets / "bad", "--quiet").stdout == ""
    assert sorted(sets.rglob("*")) == before
    assert run("check", sets / "good", "--task", "pull").exit_code == 1


def test_what_cannot_be_read_ends_with_2(tmp_path: Path) -> None:
    result = run("check", tmp_path / "nowhere")
    assert result.exit_code == 2
    assert "does not exist" in result.stderr
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("keep")
    (tmp_path / "one.csv").write_text("no numbers here")
    assert run("check", tmp_path / "one.csv", tmp_path / "out").exit_code == 2
    assert not (tmp_path / "out").exists()


def test_a_report_does_not_replace_a_folder_unasked(sets: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    assert run("check", sets / "good", tmp_path).exit_code == 2
    assert (tmp_path / "mine.txt").read_text() == "keep"


def test_the_page_shows_every_recording_and_stands_alone(sets: Path, tmp_path: Path) -> None:
    reports = check(sets / "bad")
    write_check(reports, tmp_path, provenance={"command": "check <b>"})
    html = (tmp_path / "check.html").read_text()
    for report in reports.reports:
        assert report.name in html
        for problem in report.problems:
            assert CODES[problem.code] in html
    assert "check &lt;b&gt;" in html
    assert not re.search(r"(src|href)=\"(?!data:)", html)
    traces = re.findall(r'<path d="M([^"]*)Z"', html)
    assert len(traces) == 6  # three recordings of two channels
    heights = np.array([float(y) for y in re.findall(r",([0-9.]+)", traces[0])])
    assert heights.min() >= 0
    assert heights.max() <= 60
    assert np.ptp(heights) > 20


def test_a_set_without_recordings_is_said_so(tmp_path: Path) -> None:
    reports = check_recordings([])
    write_check(reports, tmp_path, provenance={})
    assert "Nothing to check" in (tmp_path / "check.html").read_text()
    assert not reports.is_fine


# Repairs while preparing ------------------------------------------------------------------------


def test_prepare_removes_the_heart_where_it_is_found(tmp_path: Path) -> None:
    options = {"subjects": 2, "task": ("stoop", "squat"), "seconds": 30.0, "fs": 1000.0}
    simulate(tmp_path / "set", ecg=1e-2, **options)
    simulate(tmp_path / "clean", **options)
    prepare(tmp_path / "clean", tmp_path / "wanted")
    prepare(tmp_path / "set", tmp_path / "before")
    summary = prepare(tmp_path / "set", tmp_path / "after", ecg="template")
    assert summary.no_heart  # where the muscle drowns the heart there is nothing to subtract
    assert all("squat" in name for name in summary.no_heart)
    assert f"in {len(summary.no_heart)} of 4 recordings" in summary.warnings[-1]
    wanted, before, after = (
        SegmentSet.open(tmp_path / name).where(task="stoop").read().astype(float)
        for name in ("wanted", "before", "after")
    )
    gain_db = 10 * np.log10(np.sum((before - wanted) ** 2) / np.sum((after - wanted) ** 2))
    assert gain_db > 8
    record = json.loads((tmp_path / "after" / "provenance.json").read_text())
    assert record["config"]["prepare"]["ecg"] == "template"
