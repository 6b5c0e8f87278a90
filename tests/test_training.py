"""Training, its files, and drawing from a model: small models on short modulated noise."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.utils.hooks import RemovableHandle

from myosynth.diffusion import Progress, Synthesizer, TrainingSettings, drawing, train
from myosynth.diffusion.crew import Crew
from myosynth.diffusion.lanes import Lane, run_lanes
from myosynth.diffusion.pool import SegmentPool
from myosynth.diffusion.samplers import ALL_LEVELS, Levels, draw
from myosynth.diffusion.stage import Stage
from myosynth.errors import CheckpointError, ConfigError, InputError, NotEnoughDataError
from myosynth.recordings import SegmentSet
from myosynth.signal.filters import bandpass

FS = 500.0
SMALL = TrainingSettings(
    width=32, envelope_width=32, batch_size=4, envelope_batch_size=4, threads=1
)


def segment_set(n: int = 48, n_channels: int = 2, seed: int = 0) -> SegmentSet:
    rng = np.random.default_rng(seed)
    raw = bandpass(rng.standard_normal((n, n_channels, 500)), FS, 10.0, 200.0)
    phase = rng.uniform(0, 2 * np.pi, (n, 1, 1))
    raw *= np.exp(2 * np.sin(2 * np.pi * 2.0 * np.arange(500) / FS + phase))
    task = np.array(["lift", "carry"] * (n // 2))
    gain = np.where(task == "lift", 1e-3, 1e-4) * np.exp(0.2 * rng.standard_normal(n))
    split = np.array((["train"] * 6 + ["validation"] * 2) * (n // 8))
    return SegmentSet(
        (raw * gain[:, None, None]).astype(np.float32),
        FS,
        task,
        subject=[f"s{i % 8}" for i in range(n)],
        split=split,
        channel_names=[f"ch{i}" for i in range(n_channels)],
        columns={"load": np.where(task == "lift", 10.0, 20.0)},
        metadata={
            "filters": [{"name": "bandpass", "low_hz": 10.0, "high_hz": 120.0}],
            "split": {"subjects": {"s0": "train", "s7": "validation"}, "parts": {"s0": []}},
        },
    )


@pytest.fixture(scope="module")
def segments() -> SegmentSet:
    return segment_set()


@pytest.fixture(scope="module")
def synthesizer(
    segments: SegmentSet, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Synthesizer, Path]:
    out = tmp_path_factory.mktemp("model") / "model"
    settings = TrainingSettings(**{**SMALL.to_dict(), "conditions": ("load",), "patch": (2, 4)})
    return train(segments, out, steps=12, seed=3, settings=settings), out


def same_weights(one: Path, two: Path) -> bool:
    a, b = load_file(one / "model.safetensors"), load_file(two / "model.safetensors")
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# ---- training ----


@pytest.mark.parametrize("stop_at", [3, 9])  # within the first stage, and within the second
def test_an_interrupted_training_resumes_to_the_same_bytes(
    segments: SegmentSet, tmp_path: Path, stop_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(segments, tmp_path / "whole", steps=12, settings=SMALL)
    n_steps = 0

    def interrupt(progress: Progress) -> None:
        nonlocal n_steps
        n_steps += 1
        if n_steps == stop_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(segments, tmp_path / "cut", steps=12, settings=SMALL, on_progress=interrupt)
    assert not (tmp_path / "cut").exists()
    with pytest.raises(InputError, match="--resume"):
        train(segments, tmp_path / "cut", steps=12, settings=SMALL)
    with pytest.raises(CheckpointError, match="another seed"):
        train(segments, tmp_path / "cut", steps=12, seed=1, settings=SMALL, resume=True)
    with monkeypatch.context() as later:
        later.setattr("myosynth.diffusion.training.SCHEMA", "myosynth-model/0")
        with pytest.raises(CheckpointError, match="another schema"):
            train(segments, tmp_path / "cut", steps=12, settings=SMALL, resume=True)
    train(segments, tmp_path / "cut", steps=12, settings=SMALL, resume=True)
    assert same_weights(tmp_path / "whole", tmp_path / "cut")
    assert not (tmp_path / "cut.training").exists()


def test_ctrl_c_ends_after_a_whole_step_with_the_state_saved(
    segments: SegmentSet, tmp_path: Path
) -> None:
    def send(progress: Progress) -> None:
        if progress.step == 2:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
    try:
        with pytest.raises(KeyboardInterrupt):
            train(segments, tmp_path / "m", steps=12, settings=SMALL, on_progress=send)
        kept = {path.name for path in (tmp_path / "m.training").iterdir()}
        assert kept == {"start.safetensors", "envelope.safetensors"}
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


SIDE_BY_SIDE = TrainingSettings(**{**SMALL.to_dict(), "threads": 2})


@pytest.mark.parametrize("stop_at", [1, 9])
def test_stages_side_by_side_resume_to_the_bytes_of_one_after_the_other(
    segments: SegmentSet, tmp_path: Path, stop_at: int
) -> None:
    seen: list[Progress] = []
    train(segments, tmp_path / "one", steps=30, settings=SMALL)
    train(segments, tmp_path / "two", steps=30, settings=SIDE_BY_SIDE, on_progress=seen.append)
    assert same_weights(tmp_path / "one", tmp_path / "two")
    stages = [progress.stage for progress in seen]
    assert stages.index("planes") < len(stages) - 1 - stages[::-1].index("envelope")
    shares = [progress.share for progress in seen]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0

    stopped_at = 0.0

    def stop(progress: Progress) -> None:
        nonlocal stopped_at
        stopped_at = progress.share
        if progress.stage == "planes" and progress.step == stop_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(segments, tmp_path / "cut", steps=30, settings=SIDE_BY_SIDE, on_progress=stop)
    assert {path.name for path in (tmp_path / "cut.training").iterdir()} == {
        "start.safetensors",
        "envelope.safetensors",
        "planes.safetensors",
    }
    again: list[Progress] = []
    train(
        segments,
        tmp_path / "cut",
        steps=30,
        settings=SIDE_BY_SIDE,
        resume=True,
        on_progress=again.append,
    )
    assert again[0].share > stopped_at  # it went on, and did not begin once more
    assert same_weights(tmp_path / "two", tmp_path / "cut")
    log = json.loads((tmp_path / "cut" / "training.json").read_text())["log"]
    whole = json.loads((tmp_path / "two" / "training.json").read_text())["log"]
    assert [{**row, "seconds": 0} for row in log] == [{**row, "seconds": 0} for row in whole]


def test_what_ends_one_stage_stops_and_keeps_the_other(
    segments: SegmentSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch, n_batches = SegmentPool.batch, 0

    def fail(pool: SegmentPool, n: int) -> tuple[torch.Tensor, ...]:
        nonlocal n_batches
        if threading.current_thread() is threading.main_thread():
            pytest.fail("a stage runs in the caller's thread, where Ctrl-C would cut its steps")
        parts = batch(pool, n)
        n_batches += 1
        if parts[1].shape[2] == 0 and n_batches > 20:  # the envelope map's stage
            raise OSError("the disk is gone")
        return parts

    monkeypatch.setattr(SegmentPool, "batch", fail)
    with pytest.raises(OSError, match="the disk is gone"):
        train(segments, tmp_path / "m", steps=5000, settings=SIDE_BY_SIDE)
    assert n_batches < 1000
    assert {path.name for path in (tmp_path / "m.training").iterdir()} == {
        "start.safetensors",
        "planes.safetensors",
    }
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(("began_with", "goes_on_with"), [(2, 1), (1, 2)])
def test_another_number_of_threads_does_not_change_the_order_of_a_begun_training(
    segments: SegmentSet, tmp_path: Path, began_with: int, goes_on_with: int
) -> None:
    settings = TrainingSettings(**{**SMALL.to_dict(), "threads": None})

    def stages_until(step: int, *, resume: bool) -> set[str]:
        seen: set[str] = set()

        def stop(progress: Progress) -> None:
            seen.add(progress.stage)
            if len(seen) == 2 or progress.step == step:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train(
                segments,
                tmp_path / "m",
                steps=400,
                settings=settings,
                resume=resume,
                on_progress=stop,
            )
        return seen

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(began_with)
        begun = stages_until(60, resume=False)
        torch.set_num_threads(goes_on_with)
        assert stages_until(120, resume=True) == begun
    finally:
        torch.set_num_threads(before)
    assert begun == ({"envelope", "planes"} if began_with == 2 else {"envelope"})


def test_a_state_that_cannot_be_saved_is_not_taken_for_an_interrupted_training(
    segments: SegmentSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(progress: Progress) -> None:
        raise KeyboardInterrupt

    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("myosynth.diffusion.training.save_stage", full)
    with pytest.raises(OSError, match="no space left"):
        train(segments, tmp_path / "m", steps=500, settings=SIDE_BY_SIDE, on_progress=stop)


def test_lanes_raise_what_came_first_unless_another_fails_in_stopping() -> None:
    told: list[int] = []

    def early(lane: Lane[int]) -> None:
        lane.tell(1)
        raise ValueError("early")

    def obedient(lane: Lane[int]) -> None:
        while not lane.stopped():
            time.sleep(0.001)
        raise KeyboardInterrupt

    def failing(lane: Lane[int]) -> None:
        while not lane.stopped():
            time.sleep(0.001)
        raise OSError("in stopping")

    with pytest.raises(ValueError, match="early"):
        run_lanes([obedient, early], told.append, threads=1)
    with pytest.raises(OSError, match="in stopping") as caught:
        run_lanes([failing, early], told.append, threads=1)
    assert isinstance(caught.value.__cause__, ValueError)
    assert told == [1, 1]


def test_starting_anew_forgets_what_an_unfinished_training_left(
    segments: SegmentSet, tmp_path: Path
) -> None:
    def stop(progress: Progress) -> None:
        raise KeyboardInterrupt

    def finish(seed: int, name: str, **more: Any) -> None:
        train(segments, tmp_path / name, steps=12, seed=seed, settings=SIDE_BY_SIDE, **more)

    with pytest.raises(KeyboardInterrupt):
        finish(0, "m", on_progress=stop)
    with pytest.raises(KeyboardInterrupt):
        finish(1, "m", on_progress=stop, overwrite=True)
    finish(1, "m", resume=True)
    finish(1, "whole")
    assert same_weights(tmp_path / "m", tmp_path / "whole")


def test_the_pool_forgets_and_renews_and_still_resumes(
    segments: SegmentSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("myosynth.diffusion.pool._BLOCK", 4)
    monkeypatch.setattr("myosynth.diffusion.pool._MAX_BYTES", 1)
    loads: list[int] = []
    load = SegmentPool._load
    monkeypatch.setattr(
        SegmentPool, "_load", lambda pool, block: loads.append(block) or load(pool, block)
    )
    train(segments, tmp_path / "a", steps=10, settings=SMALL)
    assert len(set(loads)) > 4  # more blocks than the two that the pool holds

    def stop(progress: Progress) -> None:
        if progress.stage == "planes" and progress.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(segments, tmp_path / "b", steps=10, settings=SMALL, on_progress=stop)
    train(segments, tmp_path / "b", steps=10, settings=SMALL, resume=True)
    assert same_weights(tmp_path / "a", tmp_path / "b")


@pytest.mark.parametrize("stages", ["one", "coarse_to_fine"])
def test_training_lowers_the_loss(segments: SegmentSet, tmp_path: Path, stages: str) -> None:
    losses: list[float] = []

    def note(progress: Progress) -> None:
        if progress.stage == ("planes" if stages == "one" else "envelope"):
            losses.append(progress.loss["spectral"])

    settings = TrainingSettings(
        stages=stages,
        width=32,
        envelope_width=32,
        batch_size=16,
        threads=1,
        envelope_batch_size=16,
        envelope_share=0.9,
    )
    # most of a map relative to its descriptors is chance: what can be learned takes more steps
    steps = 60 if stages == "one" else 300
    train(segments, tmp_path / "m", steps=steps, settings=settings, on_progress=note)
    assert np.mean(losses[-10:]) < 0.9 * np.mean(losses[:3])


@pytest.mark.parametrize("threads", [1, 2])
def test_a_budget_of_time_is_kept(segments: SegmentSet, tmp_path: Path, threads: int) -> None:
    last: list[Progress] = []
    settings = TrainingSettings(**{**SMALL.to_dict(), "threads": threads})
    train(segments, tmp_path / "m", minutes=0.05, settings=settings, on_progress=last.append)
    ends = [[p.seconds for p in last if p.stage == name][-1] for name in ("envelope", "planes")]
    assert 3.0 <= ends[1] < 8.0
    assert (ends[0] >= 3.0) == (threads == 2)  # one thread: half of the time is the other's
    assert {progress.stage for progress in last} == {"envelope", "planes"}
    assert [p.share for p in last] == sorted(p.share for p in last)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_resumed_training_has_what_is_left_of_its_time(
    segments: SegmentSet, tmp_path: Path, threads: int
) -> None:
    seen: list[Progress] = []
    settings = TrainingSettings(**{**SMALL.to_dict(), "threads": threads})

    def stop(progress: Progress) -> None:
        if progress.seconds > 4.0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(segments, tmp_path / "m", minutes=0.1, settings=settings, on_progress=stop)
    train(
        segments, tmp_path / "m", minutes=0.1, settings=settings, resume=True,
        on_progress=seen.append,
    )  # fmt: skip
    assert seen[0].seconds > 4.0
    assert 6.0 <= seen[-1].seconds < 11.0


@pytest.mark.parametrize("backbone", ["temporal", "unet1d", "unet2d"])
@pytest.mark.parametrize("stages", ["one", "coarse_to_fine"])
def test_every_make_of_model_comes_back_from_its_files(
    segments: SegmentSet, tmp_path: Path, backbone: str, stages: str
) -> None:
    settings = TrainingSettings(
        stages=stages,
        backbone=backbone,
        width=32,
        envelope_width=32,
        batch_size=4,
        envelope_batch_size=4,
        threads=1,
    )
    made = train(segments, tmp_path / "m", steps=4, settings=settings).sample("lift", 2, n_steps=3)
    again = Synthesizer.from_pretrained(tmp_path / "m").sample("lift", 2, n_steps=3)
    assert np.array_equal(made.read(), again.read())
    assert np.isfinite(made.read()).all()


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ({"minutes": 0.0}, "positive"),
        ({"minutes": 1.0, "steps": 5}, "not both"),
        ({"steps": 1}, "2 or more"),
    ],
)
def test_budgets_that_make_no_sense(segments, tmp_path, what, message) -> None:
    with pytest.raises(InputError, match=message):
        train(segments, tmp_path / "m", settings=SMALL, **what)


def test_a_set_without_training_segments(segments: SegmentSet, tmp_path: Path) -> None:
    with pytest.raises(NotEnoughDataError, match="0 training segments"):
        train(segments.where(split="validation"), tmp_path / "m", steps=4, settings=SMALL)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ({"stages": "three"}, "coarse_to_fine"),
        ({"width": 40}, "multiple of 32"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"envelope_stride": 3}, "even"),
        ({"threads": 0}, "threads"),
    ],
)
def test_settings_out_of_range(what, message) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainingSettings(**what)


# ---- files ----


def test_a_model_folder_holds_no_pickle_and_says_what_it_is(synthesizer) -> None:
    made, out = synthesizer
    assert sorted(path.name for path in out.iterdir()) == [
        "config.json",
        "model.safetensors",
        "training.json",
    ]
    assert made.tasks == ("carry", "lift")
    assert made.fs == FS
    assert made.config["description"]["band_hz"] == [10.0, 120.0]
    assert made.config["description"]["facts"]["n_segments"] == 36
    assert made.config["description"]["facts"]["split"] == {"s0": "train", "s7": "validation"}


def test_damaged_model_folders_say_which_file(synthesizer, tmp_path: Path) -> None:
    made, _ = synthesizer
    with pytest.raises(CheckpointError, match="does not exist"):
        Synthesizer.from_pretrained(tmp_path / "none")
    for name in ("config.json", "model.safetensors"):
        made.save_pretrained(tmp_path / name)
        file = tmp_path / name / name
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        with pytest.raises(CheckpointError, match=name):
            Synthesizer.from_pretrained(tmp_path / name)
        if name == "config.json":
            file.write_text(json.dumps({**made.config, "settings": {"colour": "red"}}))
            with pytest.raises(CheckpointError, match="colour"):
                Synthesizer.from_pretrained(tmp_path / name)
        file.unlink()
        with pytest.raises(CheckpointError, match=f"lacks {name}"):
            Synthesizer.from_pretrained(tmp_path / name)


# ---- sampling ----


@pytest.mark.parametrize("seconds", [None, 3.7])
def test_the_nth_segment_depends_on_the_seed_alone(synthesizer, seconds: float | None) -> None:
    made, _ = synthesizer

    def drawn(n: int, seed: int = 5, size: int | None = None) -> np.ndarray:
        return made.sample(
            "lift", n, seed=seed, seconds=seconds, n_steps=3, batch_size=size
        ).read()  # fmt: skip

    ten = drawn(10)
    assert np.array_equal(drawn(3), ten[:3])
    for size in (1, 4):  # maps are drawn for four batches at a time
        assert np.allclose(drawn(10, size=size), ten, atol=1e-4 * np.abs(ten).max())
    assert not np.allclose(drawn(1, seed=6), ten[:1])


def test_planes_begin_where_the_map_leaves_something_open(
    synthesizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, Levels]] = []

    def watched(
        sampler: str, denoise: Any, noise: torch.Tensor, n: int, levels: Levels = ALL_LEVELS
    ) -> torch.Tensor:
        asked.append((n, levels))
        return draw(sampler, denoise, noise, n, levels)

    monkeypatch.setattr(drawing, "draw", watched)
    synthesizer[0].sample("lift", 1)
    a_map = (12, (0.1, 15.0))
    assert asked == [a_map, (4, (0.1, 8.0))]
    for number, (changed, steps) in enumerate(
        [
            ({"stages": "one"}, [(15, ALL_LEVELS)]),
            ({"whitening": False}, [a_map, (4, ALL_LEVELS)]),
        ]
    ):
        settings = TrainingSettings(**{**SMALL.to_dict(), **changed})
        made = train(segment_set(), tmp_path / str(number), steps=2, settings=settings)
        asked.clear()
        made.sample("lift", 1)
        assert asked == steps


@pytest.mark.parametrize("n", [1, 3, 10, 64])
def test_a_validation_looks_at_every_level_equally_often(
    n: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []
    members: list[float] = []
    described: list[torch.Tensor] = []

    def losses(stage: Stage, noisy: tuple[torch.Tensor, ...], **_: bool):
        seen.extend(noisy[5].tolist())
        members.extend(noisy[0].flatten(1)[:, 0].tolist())
        described.append(noisy[4])
        return (torch.ones(len(noisy[0])), None)

    monkeypatch.setattr(Stage, "_losses", losses)
    stage = Stage.__new__(Stage)
    stage.crew, stage.settings = Crew(), SMALL
    stage.model = SimpleNamespace(conditions=SimpleNamespace(n_features=2))
    clean = torch.arange(n, dtype=torch.float32)[:, None, None, None].expand(n, 2, 3, 4)
    assert stage._fixed_loss((clean, clean, torch.zeros(n), torch.zeros(n, 5))) == 1.0
    features = torch.cat(described)  # two conditions, then three descriptors with noise
    assert not features[:, :2].any()
    assert float(features[:, 2:].std()) == pytest.approx(SMALL.descriptor_noise, rel=0.3)
    assert {seen.count(level) for level in set(seen)} == {13}
    assert len(set(zip(seen, members, strict=True))) >= min(5 * n, 60)


def test_the_effort_asked_for_is_obtained(synthesizer) -> None:
    made, _ = synthesizer
    low, high = made.effort_range("lift")
    asked = np.linspace(low, high, 6)
    segments = made.sample("lift", 6, effort=asked, n_steps=3)
    obtained = 0.5 * np.log(np.mean(segments.read().astype(float) ** 2, axis=(1, 2)))
    assert obtained == pytest.approx(asked, abs=1e-4)
    assert segments.columns["effort"] == pytest.approx(asked)
    with pytest.raises(InputError, match="outside what training saw of lift"):
        made.sample("lift", 1, effort=high + 1)
    beyond = made.sample("lift", 1, effort=high + 1, allow_extrapolation=True, n_steps=3)
    assert beyond.columns["effort"][0] == pytest.approx(high + 1)


def test_effort_follows_the_task_where_none_is_asked(synthesizer) -> None:
    made, _ = synthesizer
    lift, carry = (made.sample(task, 20, n_steps=2).columns["effort"] for task in ("lift", "carry"))
    assert np.median(lift) - np.median(carry) == pytest.approx(np.log(10), abs=0.3)


@pytest.mark.parametrize("seconds", [0.4, 1.0, 3.7])
def test_any_length_can_be_drawn(synthesizer, seconds: float) -> None:
    made, _ = synthesizer
    segments = made.sample("carry", 2, seconds=seconds, n_steps=3)
    assert segments.n_times == round(seconds * FS)
    rms = np.sqrt(np.mean(segments.read() ** 2, axis=(1, 2)))
    assert np.log(rms) == pytest.approx(segments.columns["effort"], abs=1e-3)


def test_the_envelope_map_is_drawn_in_finer_steps(synthesizer) -> None:
    made, _ = synthesizer
    asked = dict.fromkeys(made._model.stages, 0)

    def count(name: str) -> RemovableHandle:
        def note(*_: object) -> None:
            asked[name] += 1

        return made._model.stage(name).network.register_forward_hook(note)

    hooks = [count(name) for name in asked]
    try:
        made.sample("lift", 1, n_steps=4, threads=1)
    finally:
        for hook in hooks:
            hook.remove()
    assert asked == {"envelope": 12, "planes": 4}


def test_the_null_task_draws_from_all(synthesizer) -> None:
    made, _ = synthesizer
    mixed = made.sample(None, 40, n_steps=2)
    assert set(mixed.task) == {""}
    assert np.ptp(mixed.columns["effort"]) > 1.5


def test_conditions_change_the_result_and_are_noted(synthesizer) -> None:
    made, _ = synthesizer
    plain = made.sample("lift", 1, n_steps=3)
    loaded = made.sample("lift", 1, n_steps=3, conditions={"load": 20.0})
    assert loaded.columns["load"].tolist() == [20.0]
    assert not np.array_equal(plain.read(), loaded.read())
    with pytest.raises(InputError, match=r"no condition 'age'; it has: load"):
        made.sample("lift", 1, conditions={"age": 3})


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ({"task": "climb"}, "carry, lift"),
        ({"task": "lift", "n_segments": 0}, "1 or more"),
        ({"task": "lift", "seconds": -1.0}, "seconds"),
        ({"task": "lift", "seconds": float("nan")}, "seconds"),
        ({"task": "lift", "seed": -1}, "seed"),
        ({"task": "lift", "effort": float("nan")}, "effort"),
        ({"task": "lift", "guidance_scale": -2.0}, "guidance_scale"),
        ({"task": "lift", "sampler": "magic"}, "heun"),
    ],
)
def test_what_cannot_be_drawn(synthesizer, what, message) -> None:
    with pytest.raises(InputError, match=message):
        synthesizer[0].sample(**what)


def test_round_trip_and_loss_look_at_each_segment_alone(synthesizer, segments) -> None:
    made, _ = synthesizer
    few = segments[:10]
    signals = few.read()
    back = made.round_trip(signals)
    assert np.mean((back - signals) ** 2) < 0.4 * np.mean(signals**2)
    losses = made.loss(few)
    assert losses.shape == (10, 7)
    assert np.allclose(made.loss(few[3:5]), losses[3:5], atol=1e-4)
    assert np.ptp(losses[:, 0]) > 0


def test_the_loss_is_that_of_the_conditions_a_segment_has(synthesizer, segments) -> None:
    """A model that was told the load is asked about segments with it; without it is a guess."""
    made, _ = synthesizer
    few, without, other = (segments[:10] for _ in range(3))
    del without.columns["load"]
    other.columns["load"] = 30.0 - other.columns["load"]
    losses = [made.loss(each) for each in (few, without, other)]
    for part in (0, 1, 4):  # density, envelope, planes
        assert len({each[:, part].tobytes() for each in losses}) == 3


@pytest.mark.parametrize(("tolerance", "kept"), [(0.05, 3.0), (0.0, 2.0)])
def test_the_last_weights_within_the_tolerance_are_kept(
    segments: SegmentSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tolerance, kept
) -> None:
    losses = iter([1.2, 1.0, 1.04, 1.2])  # of weights that are set to 1, 2, 3, 4
    monkeypatch.setattr(Stage, "_fixed_loss", lambda stage, parts: next(losses))
    settings = TrainingSettings(**{**SMALL.to_dict(), "stages": "one", "tolerance": tolerance})
    marks = iter([1.0, 2.0, 3.0, 4.0])

    def mark(stage: Stage) -> None:
        for average in stage.average:
            average.fill_(next(marks) if average is stage.average[0] else 0.0)

    validate = Stage._validate
    monkeypatch.setattr(Stage, "_update_average", lambda stage: None)
    monkeypatch.setattr(Stage, "_validate", lambda stage: (mark(stage), validate(stage))[1])
    model = train(segments, tmp_path / "m", steps=3, settings=settings)
    first = next(iter(model._model.stage("planes").network.parameters()))
    assert set(first.flatten().tolist()) == {kept}


@pytest.mark.parametrize("fs", [1000.0, 1111.111, 1259.259, 1925.926, 2148.148, 4000.0])
def test_models_can_be_built_at_any_rate(tmp_path: Path, fs: float) -> None:
    rng = np.random.default_rng(0)
    signals = rng.standard_normal((6, 1, round(1.0 * fs))).astype(np.float32)
    model = train(SegmentSet(signals, fs, "lift"), tmp_path / "m", steps=2, settings=SMALL)
    assert model.sample("lift", 1, n_steps=2).n_times == round(fs)


def test_threads_do_not_change_what_is_drawn(synthesizer) -> None:
    made, _ = synthesizer
    one, two = (made.sample("lift", 20, n_steps=3, threads=n).read() for n in (1, 2))
    assert np.array_equal(one, two)


def test_the_first_draw_of_a_process_may_use_two_threads(synthesizer) -> None:
    _, out = synthesizer
    code = (
        "import sys; from myosynth import Synthesizer; "
        "Synthesizer.from_pretrained(sys.argv[1]).sample('lift', 32, n_steps=2, threads=2)"
    )
    subprocess.run([sys.executable, "-c", code, str(out)], check=True)
