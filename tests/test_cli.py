"""The command line: its contract for scripts, its sentences, its exit codes, what it leaves."""

import errno
import json
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from myosynth.app import commands
from myosynth.app.pipeline import prepare, simulate, train
from myosynth.formats import read_segments
from myosynth.recordings import SegmentSet

SMALL = {"width": 32, "envelope_width": 32, "batch_size": 8, "threads": 1}
TASKS = ("pull", "stoop")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small dataset, its segments and a model of a few steps."""
    folder = tmp_path_factory.mktemp("work")
    simulate(folder / "dataset", subjects=6, task=TASKS, seconds=40, fs=800)
    prepare(folder / "dataset", folder / "segments")
    train(folder / "segments", folder / "model", steps=4, settings=SMALL)
    return folder


def run(*args: object) -> Result:
    return CliRunner().invoke(commands.app, [str(each) for each in args])


def generate(*args: object) -> Result:
    return run("generate", *args, "--threads", 1, "--steps", 4)


def failed(*args: object) -> str:
    """The one sentence on stderr of a command that must end with 2."""
    result = run(*args)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    lines = [line for line in result.stderr.splitlines() if not is_progress(line)]
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("Error: ")
    return lines[0].removeprefix("Error: ")


def is_progress(line: str) -> bool:
    return line.split()[:1] in ([name] for name in commands.COMMANDS)


def left(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


# ---- the contract ----


def test_simulate_prepare_info(work: Path, tmp_path: Path) -> None:
    made = run("simulate", tmp_path / "set", "--subjects", 2, "--task", "pull", "--seconds", 9)
    assert made.exit_code == 0, made.output
    assert "2 recordings of 2 simulated people" in made.stdout
    cut = run("prepare", tmp_path / "set", tmp_path / "cut", "--overlap", "0", "--seed", 3)
    assert cut.exit_code == 0, cut.output
    facts = json.loads(run("info", tmp_path / "cut", "--json").stdout)
    assert (facts["kind"], facts["fs"], facts["seconds"]) == ("segment set", 2000.0, 3.0)
    assert facts["made_by"]["seed"] == 3
    assert facts["n_segments"] == len(SegmentSet.open(tmp_path / "cut")) > 0
    about = json.loads(run("info", tmp_path / "set", "--json").stdout)
    assert (about["kind"], about["n_recordings"]) == ("recordings (EMG-BIDS)", 2)
    assert "segment set" in run("info", tmp_path / "cut").stdout


def test_npz_is_as_scripts_expect_it(work: Path, tmp_path: Path) -> None:
    out = tmp_path / "synthetic.npz"
    args = ("--task", "pull", "-n", 3, "--seconds", 3, "--seed", 5, "--format", "npz")
    result = generate(work / "model", out, *args)
    assert result.exit_code == 0, result.output
    with np.load(out, allow_pickle=False) as stored:
        assert stored["signals"].shape == (3, 2, 2400)
        assert stored["signals"].dtype == np.float32
        assert stored["task"].tolist() == ["pull"] * 3
        assert float(stored["fs"]) == 800.0
        assert stored["channel_names"].tolist() == ["LES_left", "LES_right"]
        first = stored["signals"]
    record = json.loads((tmp_path / "synthetic.npz.provenance.json").read_text())
    assert record["config"]["generate"]["n_segments"] == 3
    assert record["inputs"][0]["role"] == "model"
    repeat = ("--config", f"{out}.provenance.json")
    again = generate(work / "model", tmp_path / "again.npz", *repeat)
    assert again.exit_code == 0, again.output
    assert np.array_equal(np.load(tmp_path / "again.npz")["signals"], first)


@pytest.mark.parametrize("format", ["csv", "edf", "bids"])
def test_every_format_holds_the_same_segments(work: Path, tmp_path: Path, format: str) -> None:
    out = tmp_path / format
    options = ("-n", 2, "--seconds", "1.5", "--format", format, "--quiet")
    result = generate(work / "model", out, *options)
    assert (result.exit_code, result.output) == (0, "")
    assert (out / "provenance.json").is_file()
    made = read_segments(out)
    assert sorted(made.task.tolist()) == ["pull", "pull", "stoop", "stoop"]
    generate(work / "model", tmp_path / "x.npz", "-n", 2, "--seconds", "1.5")
    exact = read_segments(tmp_path / "x.npz")
    for task in TASKS:
        one, two = made.where(task=task).read(), exact.where(task=task).read()
        assert np.abs(one - two).max() <= np.abs(two).max() / 30_000


def test_a_task_s_segments_do_not_depend_on_the_others(work: Path, tmp_path: Path) -> None:
    generate(work / "model", tmp_path / "all.npz", "-n", 2)
    generate(work / "model", tmp_path / "one.npz", "-n", 2, "--task", "stoop")
    one = read_segments(tmp_path / "one.npz")
    every = read_segments(tmp_path / "all.npz")
    assert np.array_equal(every.where(task="stoop").read(), one.read())
    assert not np.array_equal(every.where(task="pull").read(), one.read())


@pytest.mark.slow
def test_evaluate_writes_a_report_and_scores(work: Path, tmp_path: Path) -> None:
    assert generate(work / "model", tmp_path / "s.npz", "-n", 20).exit_code == 0
    options = ("--n-bootstrap", 20, "--max-segments", 16)
    result = run("evaluate", work / "segments", tmp_path / "s.npz", tmp_path / "report", *options)
    assert result.exit_code == 0, result.output
    scores = json.loads((tmp_path / "report" / "scores.json").read_text())
    assert scores["schema"].startswith("myosynth-scores")
    assert {row["task"] for row in scores["rows"]} >= set(TASKS)
    row = next(row for row in scores["rows"] if row["metric"] == "lsd")
    wanted = {"task", "group", "metric", "value", "low", "high", "floor_same", "floor_new", "c3"}
    assert wanted | {"round_trip", "z"} <= set(row)
    # the record of the synthetic set names the model, so that the round trip is there unasked
    assert row["round_trip"] is not None
    page = (tmp_path / "report" / "report.html").read_text()
    assert "<html" in page
    record = json.loads((tmp_path / "report" / "provenance.json").read_text())
    assert [each["role"] for each in record["inputs"]] == ["segments", "synthetic", "model"]
    about = json.loads(run("info", tmp_path / "report", "--json").stdout)
    assert (about["kind"], about["pages"]) == ("evaluation report", ["report.html"])
    both = (tmp_path / "report", tmp_path / "report" / "scores.json", tmp_path / "both")
    assert "not unique" in failed("compare", *both)
    side = run("compare", *both, "--name", "one", "--name", "two")
    assert side.exit_code == 0, side.output
    assert left(tmp_path / "both") == ["compare.html", "compare.json", "provenance.json"]
    seen = run("card", tmp_path / "s.npz", "--scores", tmp_path / "report", "--author", "A. Person")
    assert seen.exit_code == 0, seen.output
    assert "A. Person" in (tmp_path / "s-card" / "README.md").read_text()


@pytest.mark.slow
def test_audit_writes_its_verdicts(work: Path, tmp_path: Path) -> None:
    assert generate(work / "model", tmp_path / "s.npz", "-n", 20).exit_code == 0
    args = (work / "segments", tmp_path / "s.npz", tmp_path / "audit")
    assert "--model" in failed("audit", *args, "--deep")
    result = run("audit", *args, "--model", work / "model")
    assert result.exit_code == 0, result.output
    audit = json.loads((tmp_path / "audit" / "audit.json").read_text())
    assert audit["schema"].startswith("myosynth-audit")
    assert set(audit["threats"]) == {"data", "model"}
    assert audit["threats"]["model"]["verdict"] != "not_tested"
    about = json.loads(run("info", tmp_path / "audit", "--json").stdout)
    assert about["verdicts"] == {
        name: threat["verdict"] for name, threat in audit["threats"].items()
    }


def test_info_knows_models_trainings_and_synthetic_sets(work: Path, tmp_path: Path) -> None:
    model = json.loads(run("info", work / "model", "--json").stdout)
    assert (model["kind"], model["tasks"], model["fs"]) == ("model", list(TASKS), 800.0)
    assert model["trained_on"]["n_subjects"] >= 3
    assert "n_parameters" in run("info", work / "model").stdout
    generate(work / "model", tmp_path / "s.csv", "-n", 1, "--seconds", 1)
    assert json.loads(run("info", tmp_path / "s.csv", "--json").stdout)["kind"] == "synthetic set"
    generate(work / "model", tmp_path / "b", "-n", 1, "--format", "bids")
    kind = json.loads(run("info", tmp_path / "b", "--json").stdout)["kind"]
    assert kind == "synthetic set (EMG-BIDS)"


def test_import_finds_the_copies_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    rng = np.random.default_rng(0)
    values = rng.standard_normal(6000) * np.repeat(rng.uniform(0.2, 2, 30), 200)
    for name in ("1_pull", "2_pull"):
        np.savetxt(tmp_path / "text" / f"{name}.csv", values, fmt="%.5f")
    (tmp_path / "map.yaml").write_text(
        'files: "*.csv"\ndelimiter: comma\nfs: 1925.926\n'
        "columns: [{column: 1, channel: L, unit: mV}]\n"
        'path: "/(?P<subject>[0-9])_(?P<task>[a-z]+)\\\\.csv$"\n'
    )
    args = (tmp_path / "text", tmp_path / "set", "--mapping", tmp_path / "map.yaml")
    result = run("import", *args)
    assert result.exit_code == 0, result.output
    assert "1925.926" in result.stdout
    assert "sub-2_task-pull is a copy of sub-1_task-pull; kept and marked" in result.stderr
    assert "2 recordings are in" in result.stdout
    dropped = run("import", *args, "--overwrite", "--drop-duplicates")
    assert "left out" in dropped.stderr
    assert "1 recordings are in" in dropped.stdout


# ---- mistakes ----


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("prepare", "{work}/none", "{out}"), "does not exist"),
        (("prepare", "{empty}", "{out}"), "holds nothing that can be read"),
        (("prepare", "{work}/dataset", "{work}/segments"), "--overwrite"),
        (("prepare", "{work}/dataset", "{out}", "--overlap", "2"), "--overlap must be below 1"),
        (("prepare", "{work}/dataset", "{out}", "--seconds", "x"), "--seconds must be a number"),
        (("prepare", "{work}/dataset", "{out}", "--on-nan", "rise"), "did you mean raise?"),
        (("prepare", "{work}/dataset", "{out}", "--seconds", "99"), "none of 12 recordings"),
        (("prepare", "{work}/dataset", "{out}", "--mapping", "none"), "none"),
        (("prepare", "{work}/dataset", "{out}", "--config", "{bad}"), "the nearest is 'overlap'"),
        (("train", "{work}/dataset", "{out}"), "not a segment set"),
        (("train", "{work}/segments", "{out}", "--set", "widht=64"), "the nearest is 'width'"),
        (("train", "{work}/segments", "{out}", "--set", "width"), "--set takes KEY=VALUE"),
        (("train", "{work}/segments", "{out}", "--minutes", "0"), "--minutes must be above 0"),
        (("train", "{work}/segments", "{work}/model", "--steps", "4"), "--overwrite"),
        (("generate", "{work}/segments", "{out}.npz"), "config.json"),
        (("generate", "{work}/none", "{out}.npz"), "none"),
        (("generate", "{work}/model", "{out}.npz", "--task", "pul"), "it knows pull, stoop"),
        (("generate", "{work}/model", "{out}.npz", "-n", "0"), "--n-segments must be 1 or above"),
        (
            ("generate", "{work}/model", "{out}.npz", "--format", "csv"),
            "the format asked for is csv",
        ),
        (("evaluate", "{work}/segments", "{work}/none", "{out}"), "does not exist"),
        (("evaluate", "{work}/model", "{work}/none", "{out}"), "not a segment set"),
        (("info", "{work}/none"), "does not exist"),
        (("info", "{empty}"), "is an empty folder"),
        (("simulate", "{out}", "--task", "lift"), "lift"),
        (("import", "{empty}", "{out}"), "holds nothing that can be read"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_nothing(
    work: Path, tmp_path: Path, args: Sequence[str], said: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.yaml").write_text("prepare: {overlp: 0.5}")
    before = left(work)
    names = {"work": work, "out": tmp_path / "out", "empty": tmp_path / "empty",
             "bad": tmp_path / "bad.yaml"}  # fmt: skip
    assert said in failed(*(each.format(**names) for each in args))
    assert left(tmp_path) == ["bad.yaml", "empty"]
    assert left(work) == before


def test_a_damaged_model_is_said(work: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(work / "model", tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert "model.safetensors" in failed("generate", tmp_path / "model", tmp_path / "out.npz")
    (tmp_path / "model" / "config.json").write_text("{")
    assert "config.json" in failed("info", tmp_path / "model")
    assert left(tmp_path) == ["model"]


@pytest.mark.parametrize(
    "args", [("prepar",), ("prepare",), ("prepare", "a", "b", "--secods", "3"), ("info", "--x")]
)
def test_usage_errors_end_with_2(args: Sequence[str]) -> None:
    result = run(*args)
    assert result.exit_code == 2
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "seg/c/0"), "the disk is full at seg"),
        (PermissionError(errno.EACCES, "Permission denied", "/seg"), "permission denied at /seg"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
        (MemoryError(), "not enough memory"),
    ],
)
def test_the_system_s_refusals_are_sentences(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    from myosynth.recordings import SegmentWriter

    def refuse(*_: Any) -> None:
        raise error

    monkeypatch.setattr(SegmentWriter, "append", refuse)
    assert said in failed("prepare", work / "dataset", tmp_path / "out")
    assert left(tmp_path) == []


def test_ctrl_c_ends_with_130(work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from myosynth.recordings import SegmentWriter

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(SegmentWriter, "append", stop)
    result = run("prepare", work / "dataset", tmp_path / "out", "--quiet")
    assert result.exit_code == 130
    assert result.stderr == "Error: stopped; nothing half-written was left behind\n"
    assert left(tmp_path) == []


# ---- as a process ----


def command(*args: object) -> list[str]:
    return [sys.executable, "-m", "myosynth.app.cli", *map(str, args)]


def small_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))


@pytest.mark.parametrize(
    "args", [("prepare", "{work}/dataset", "{out}/seg"), ("simulate", "{out}/set", "--subjects=1")]
)
def test_a_full_disk_leaves_nothing_behind(work: Path, tmp_path: Path, args: Sequence[str]) -> None:
    filled = [each.format(work=work, out=tmp_path) for each in args]
    done = subprocess.run(
        command(*filled, "--quiet"), capture_output=True, text=True, preexec_fn=small_files
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("Error: the disk is full")
    assert done.stderr.count("\n") == 1
    assert left(tmp_path) == []


@pytest.mark.slow
def test_a_stopped_training_goes_on(work: Path, tmp_path: Path) -> None:
    settings = [f"--set={key}={value}" for key, value in SMALL.items()]
    args = ("train", work / "segments", tmp_path / "model", "--steps", 120, *settings)
    process = subprocess.Popen(
        command(*args),
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored in background
    )
    assert process.stderr is not None
    assert "train" in process.stderr.readline()  # the first tenth is done
    process.send_signal(signal.SIGINT)
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == 130, said
    assert "Traceback" not in said
    assert "--resume" in said.splitlines()[-1]
    assert left(tmp_path) == ["model.training"]
    kind = json.loads(run("info", tmp_path / "model.training", "--json").stdout)["kind"]
    assert kind == "training in progress"
    assert "--resume" in failed(*args)
    started = time.monotonic()
    done = subprocess.run(command(*args, "--resume", "--quiet"), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), f"after {time.monotonic() - started:.0f} s"
    assert left(tmp_path) == ["model"]
    assert left(tmp_path / "model") == [
        "config.json", "model.safetensors", "provenance.json", "training.json",
    ]  # fmt: skip


@pytest.mark.slow
def test_the_demo_in_small(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(
        "simulate: {fs: 800}\n"
        "train: {steps: 4, settings: {width: 32, envelope_width: 32, batch_size: 8, threads: 1}}\n"
        "generate: {steps: 4, threads: 1}\n"
        "evaluate: {n_bootstrap: 20, max_segments: 16}\n"
    )
    options = ("--subjects", 6, "--seconds", 60, "-n", 20, "--config", tmp_path / "small.yaml")
    result = run("demo", tmp_path / "demo", *options)
    assert result.exit_code == 0, result.output
    assert left(tmp_path / "demo") == [
        "model", "provenance.json", "recordings", "report", "segments", "synthetic.npz",
        "synthetic.npz.provenance.json",
    ]  # fmt: skip
    lines = result.stdout.strip().splitlines()
    assert lines[-1] == f"Report: {tmp_path / 'demo' / 'report' / 'report.html'}"
    rows = [line.split()[0] for line in lines if line.split()[:1]]
    for task in ("pull", "push", "squat", "stoop"):
        assert task in rows
    assert json.loads(run("info", tmp_path / "demo", "--json").stdout)["kind"] == "demo"
