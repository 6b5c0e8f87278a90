"""The long benchmarks: their parts, and that each of them starts."""

import json
import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from myosynth.diffusion import Synthesizer, TrainingSettings, training
from myosynth.diffusion.making import make_model
from myosynth.diffusion.samplers import ALL_LEVELS, SAMPLERS
from myosynth.diffusion.stage import Stage
from myosynth.diffusion.windows import window_starts
from myosynth.recordings import SegmentSet

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import ablation
import control
import few_steps
import peer_models
import peers
import runs
import scaling
import schedulers
import shared_network


@pytest.fixture(autouse=True)
def _samplers_as_before() -> Iterator[None]:
    known = dict(SAMPLERS)
    yield
    SAMPLERS.clear()
    SAMPLERS.update(known)


@pytest.mark.parametrize("bench", [ablation, few_steps, peers, scaling])
def test_each_bench_says_what_it_takes(
    bench: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [f"{bench.__name__}.py", "--help"])
    with pytest.raises(SystemExit) as left:
        bench.main()
    assert left.value.code == 0
    assert "--full" in capsys.readouterr().out
    if bench is not scaling:
        monkeypatch.setattr(sys, "argv", [f"{bench.__name__}.py", "--only", "nothing"])
        with pytest.raises(SystemExit, match="no row 'nothing'"):
            bench.main()


def test_a_run_is_done_again_only_if_it_was_made_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = []

    def make() -> dict[str, Any]:
        done.append(1)
        return {"found": len(done)}

    for key, n in (({"minutes": 1}, 1), ({"minutes": 1}, 1), ({"minutes": 2}, 2)):
        row = runs.Runs(tmp_path).fill("a", key, make)
        assert (row["found"], len(done)) == (n, n)
    assert [row["found"] for row in runs.Runs(tmp_path).stored()] == [2]
    monkeypatch.setattr(runs, "MODEL_SCHEMA", "another")  # models of another make
    assert runs.Runs(tmp_path).fill("a", {"minutes": 2}, make)["found"] == 3


def test_a_table_keeps_the_rows_of_other_machines(tmp_path: Path) -> None:
    def row(name: str, value: int) -> dict[str, Any]:
        return {"name": name, "summary": {"z": value}, "rows": [1, 2], "findings": ["x"]}

    path = tmp_path / "peers.json"
    assert runs.together(path, [row("a", 1)])[0]["rows"] == [1, 2]
    runs.write_table(tmp_path, "peers", "first", [row("a", 1), row("b", 2)])
    both = runs.together(path, [row("b", 3), row("c", 4)])
    assert [(each["name"], each["summary"]["z"]) for each in both] == [("a", 1), ("b", 3), ("c", 4)]
    assert all("rows" not in each for each in both[:1])
    assert len(path.read_text().splitlines()) == 4  # a run in each line


def test_a_budget_of_processor_time_does_not_pass_while_nothing_is_computed() -> None:
    wall, processor = runs.clock(2, False), runs.clock(2, True)
    before = wall(), processor()
    time.sleep(0.3)
    assert wall() - before[0] > 0.25
    assert processor() - before[1] < 0.1
    asked = []

    def clock() -> float:
        asked.append(1)
        return 7.0

    with runs._training_by(clock):
        assert training.time.monotonic() == 7.0
    assert asked
    assert training.time is time


def test_no_place_of_a_file_is_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/some/where/ablation.py", "--dataset", "/home/me/segments"])
    assert runs.command() == "python benchmarks/ablation.py --dataset segments"
    assert set(runs.machine()) == {"processor", "n_cores", "system"}


def test_a_bar_in_a_cell_does_not_open_another_cell() -> None:
    assert runs.markdown(["a", "b"], [["|z|", "1"]]) == "| a | b |\n| --- | --- |\n| \\|z\\| | 1 |"


def test_means_of_a_summary_leave_out_what_is_not_given() -> None:
    def row(task: str, group: str, z: float | None) -> dict[str, Any]:
        ends = {"z_low": None if z is None else z - 1, "z_high": None if z is None else z + 1}
        return {"task": task, "group": group, "metric": "w1", "value": 2.0, "low": 1.0,
                "high": 3.0, "floor_same": 1.5, "z": z, "c3_z": z, **ends}  # fmt: skip

    found = runs.summary([row("pull", "time", 0.1), row("push", "time", 0.3),
                          row("pull", "envelope", None)])  # fmt: skip
    assert found["z_time"] == pytest.approx([0.2, -0.8, 1.2])
    assert found["z_envelope"] is None
    assert found["z"] == pytest.approx([0.2, -0.8, 1.2])
    assert found["z_worst"] == 0.3
    assert found["w1"] == [2.0, 1.0, 3.0]
    assert found["w1_same"] == 1.5


@pytest.mark.filterwarnings("ignore:__array_.*:DeprecationWarning")
def test_schedulers_reach_a_known_distribution() -> None:
    schedulers.register()
    std = 0.7  # the ideal denoiser of N(0, std²) is a Wiener gain

    def ideal(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return (std**2 / (std**2 + sigma.square())).reshape(-1, 1, 1, 1) * x

    start = torch.randn((32, 2, 8, 8), generator=torch.Generator().manual_seed(0))
    for name, levels in product(schedulers.SCHEDULERS, (ALL_LEVELS, (0.1, 4.0))):
        made = SAMPLERS[name](ideal, start, 100, levels)
        assert float(made.std()) == pytest.approx(std, rel=0.1), name
        three, alone = (SAMPLERS[name](ideal, part, 5, levels) for part in (start[:3], start[2:3]))
        assert torch.allclose(alone[0], three[2], atol=1e-4), name
    assert schedulers.evaluations("heun", 5) == 9
    assert schedulers.evaluations("unipc", 5) == 5


@pytest.mark.parametrize("name", ["wgan-gp", "vae"])
def test_peers_learn_and_draw_each_task_at_its_own_scale(name: str) -> None:
    rng = np.random.default_rng(0)
    task = np.arange(32) % 2
    volts = rng.standard_normal((32, 2, 500)) * np.where(task, 1e-3, 1e-5)[:, None, None]

    def fitted() -> peer_models.Peer:
        peer = peer_models.PEERS[name](2, 500, 2, seed=0)
        peer.fit(volts.astype(np.float32), task, 0.3)
        return peer

    peer = fitted()
    assert peer.n_steps >= 1
    weak, strong = (peer.draw(number, 20, seed=3) for number in (0, 1))
    assert strong.shape == (20, 2, 500)
    assert np.abs(weak).max() < 0.1 * np.abs(strong).max() < 1e-2
    assert np.array_equal(strong, peer.draw(1, 20, seed=3))
    before = [p.detach().clone() for p in peer.networks()[0].parameters()]
    peer.step(torch.rand(4, 2, peer.length), torch.tensor([0, 1, 0, 1]))
    after = list(peer.networks()[0].parameters())
    peer.n_steps = 4  # the step in which a GAN's generator learns
    peer.step(torch.rand(4, 2, peer.length), torch.tensor([0, 1, 0, 1]))
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_scaling_takes_fewer_people_segments_and_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    n = 60
    split = np.array(["train", "holdout", "validation"] * (n // 3))
    who = [f"v{i % 4}" if s == "validation" else f"t{i % 5}" for i, s in enumerate(split)]
    whole = SegmentSet(np.random.default_rng(0).standard_normal((n, 2, 40)), 100.0, "lift",
                       subject=who, split=split)  # fmt: skip
    monkeypatch.setattr(scaling, "_whole", lambda cell, args: whole)

    def cut(**changes: Any) -> SegmentSet:
        return scaling.data({**scaling.BASE, **changes}, Namespace())

    few = cut(subjects=2)
    assert len(few.where(split="train").subjects) == 2
    assert few.where(split="holdout").subjects == few.where(split="train").subjects
    assert len(few.where(split="validation")) == n // 3
    assert len(cut(segments=7).where(split="train")) == 7
    assert len(cut(segments=7).where(split="holdout")) == n // 3
    four = cut(channels=4)
    assert np.array_equal(four.read()[:, :2], whole.read())
    rows = np.flatnonzero((four.subject == "t0") & (four.split == "train"))
    own, lent = whole.read(rows), four.read(rows)[:, 2:]
    assert not np.array_equal(own, lent)
    assert sorted(own.sum((1, 2)).tolist()) == pytest.approx(sorted(lent.sum((1, 2)).tolist()))
    assert np.array_equal(cut(channels=1).read(), whole.read()[:, :1])


def test_a_shared_network_learns_both_stages_in_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = runs.simulated(n_train=2, n_validation=1, n_unseen=1, duration_s=8.0, fs=1000.0)
    settings = TrainingSettings(
        width=32, envelope_width=32, batch_size=2, envelope_batch_size=2, threads=1,
        envelope_share=0.25,
    )  # fmt: skip
    told: list[str] = []

    def fit(name: str) -> Synthesizer:
        seconds = iter(range(10_000))  # every look at the clock takes one
        told.clear()
        return shared_network.fit(
            real, tmp_path / name, lambda: float(next(seconds)), minutes=2.0, seed=0,
            settings=settings, on_progress=lambda now: told.append(now.stage),
        )  # fmt: skip

    model = fit("model")
    assert len(told) > 20
    assert told[:10].count("planes") == pytest.approx(7, abs=1)
    weights = dict(load_file(tmp_path / "model" / "model.safetensors"))
    one, other = (
        weights[f"stages.{name}.conv1.weight"]
        for name in ("envelope.network.middle", "planes.network.inner.middle")
    )
    # averages over the steps of each stage, which are not the same steps, of one weight
    assert 0 < (one - other).abs().mean() < 0.05 * one.abs().mean()
    assert np.isfinite(model.sample("push", 2, seed=0, threads=1).read()).all()

    class Failing(Stage):
        def _step(self, share: float) -> dict[str, float]:
            if self.name == "planes" and self.state.step == 2:
                raise ValueError("a step fails")
            return super()._step(share)

    monkeypatch.setattr(shared_network, "Stage", Failing)
    with pytest.raises(ValueError, match="a step fails"):
        fit("not-there")
    assert not (tmp_path / "not-there").exists()


def test_seams_are_found_where_there_are_some() -> None:
    rng, fs = np.random.default_rng(0), 1000.0
    signals = rng.standard_normal((6, 2, 30_000)) * rng.uniform(0.5, 2.0, (6, 1, 1))
    at = np.arange(1500.0, 29_000.0, 1500.0)
    weaker = 1 - 0.3 * np.exp(-0.5 * ((np.arange(30_000) - at[:, None]) / 50.0) ** 2).sum(0)
    plain, found = (
        control.against_chance(*control.told_apart(each, fs, at - 750.0, at, 0.5, 6))
        for each in (signals, signals * weaker)
    )
    mean, sd = plain["by chance"]
    assert plain["auc"] < mean + 4 * sd
    assert found["auc"] > 0.8
    assert found["p"] == pytest.approx(1 / 7, abs=1e-3)


@pytest.mark.slow
def test_a_model_does_what_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = control.small_model(tmp_path / "model")
    long = model.sample("stoop", 6, seconds=30.0, seed=0, threads=1)
    middles, seams = control.window_places(model, long.n_times)
    # where the windows of planes count equally
    codec = model._model.codec
    starts = window_starts(codec.n_frames(long.n_times), codec.n_frames())
    assert seams[0] / codec.hop_length == (starts[1] + starts[2] + codec.n_frames() - 1) / 2
    volts = long.read().astype(float)
    found = control.against_chance(*control.told_apart(volts, long.fs, middles, seams, 0.5, 5))
    assert found["auc"] < found["by chance"][0] + 4 * found["by chance"][1]
    # beside them segments of training length, one after another
    short = model.sample("stoop", 60, seed=0, threads=1).read().astype(float)
    glued = np.concatenate(np.split(short, 10), axis=-1)
    ends = short.shape[-1] * np.arange(1.0, 10.0)
    starts_of = ends - short.shape[-1] / 2
    found = control.against_chance(*control.told_apart(glued, long.fs, starts_of, ends, 0.5, 5))
    assert found["auc"] > 0.7
    assert found["auc"] > found["by chance"][0] + 4 * found["by chance"][1]
    monkeypatch.setattr(control, "small_model", lambda folder: model)
    monkeypatch.setattr(sys, "argv", ["control.py", "--threads", "1"])
    control.main()
    told = json.loads(capsys.readouterr().out)["tasks"]["pull"]
    assert told["effort"]["slope"] == pytest.approx(1, abs=0.01)
    assert told["effort"]["r2"] > 0.999
    # another segment is several off
    assert 0 < max(told["one by one"], told["one by one, long"]) < 0.1
    with pytest.raises(SystemExit, match="take more seconds"):
        control.window_places(model, round(4 * model.fs))


def test_layers_shaped_alike_are_shared() -> None:
    real = runs.simulated(n_train=2, n_validation=1, n_unseen=1, duration_s=8.0, fs=1000.0)
    settings = TrainingSettings(width=32, envelope_width=32, threads=1)
    model = make_model(real, np.flatnonzero(real.split == "train"), settings, 0, {})
    before = model.n_parameters
    n_shared = shared_network.share_layers(model)
    assert model.n_parameters == before - n_shared
    planes: Any = model.stage("planes").network
    coarse: Any = model.stage("envelope").network
    # the planes have one finer level in front: levels are alike from the coarsest on
    assert coarse.down[1][0].conv1 is planes.inner.down[2][0].conv1
    assert coarse.up[0][0].conv2 is planes.inner.up[0][0].conv2
    assert coarse.attention.qkv is planes.inner.attention.qkv
    assert coarse.first is not planes.inner.first


@pytest.mark.slow
def test_the_ablation_runs_in_its_short_form_and_makes_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = ["--threads", "1", "--only", "guidance-2", "--draws", "2"]
    monkeypatch.setattr(sys, "argv", ["ablation.py", *asked])
    ablation.main()
    first, again = json.loads(capsys.readouterr().out)
    assert first["training"] == again["training"]  # of one model
    assert first["summary"]["z_time"] != again["summary"]["z_time"]
    results = str(tmp_path / "results" / "ablation-short")
    monkeypatch.setattr(
        sys, "argv", ["ablation.py", "--table", "--results", results, "--docs", str(tmp_path)]
    )
    ablation.main()
    text = (tmp_path / "ablation.md").read_text()
    assert "| guidance-2 | guidance scale (1) |" in text
    assert "python benchmarks/ablation.py --threads 1 --only guidance-2 --draws 2" in text
    assert "| 1 × 2 |" in text
