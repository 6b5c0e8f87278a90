"""Private training: the noise is what the accountant was told, and no segment counts for more."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import Tensor, nn

from myosynth.app import pipeline
from myosynth.diffusion import Progress, Synthesizer, TrainingSettings, train
from myosynth.diffusion.private import (
    PoissonPool,
    PrivacyPlan,
    PrivateOptimizer,
    composed_epsilon,
)
from myosynth.errors import ConfigError, InputError, MissingExtraError
from myosynth.recordings import SegmentSet

SMALL = {"width": 32, "envelope_width": 32, "batch_size": 6, "envelope_batch_size": 6, "threads": 1}


def segment_set(n: int = 40) -> SegmentSet:
    rng = np.random.default_rng(0)
    return SegmentSet(
        1e-4 * rng.standard_normal((n, 1, 300)).astype(np.float32),
        500.0,
        np.array(["lift", "carry"] * (n // 2)),
        subject=[f"s{i % 8}" for i in range(n)],
        split=np.array((["train"] * 6 + ["validation"] * 2) * (n // 8)),
        channel_names=["ch0"],
        metadata={"filters": [{"name": "bandpass", "low_hz": 10.0, "high_hz": 120.0}]},
    )


def plan(noise: float, *, clip: float = 1.0, batch: int = 4, n: int = 40) -> PrivacyPlan:
    return PrivacyPlan(8.0, 1e-5, clip, n, {"planes": (batch, 10)}, noise, 8.0)


# ---- accounting ----


def exact_delta(epsilon: float, noise: float) -> float:
    """Of one Gaussian mechanism of sensitivity 1 (Balle & Wang 2018, theorem 8)."""
    a, b = 1 / (2 * noise), epsilon * noise
    return float(norm.cdf(a - b) - math.exp(epsilon) * norm.cdf(-a - b))


def test_epsilon_bounds_the_exact_gaussian_mechanism_from_above_and_closely() -> None:
    pytest.importorskip("opacus")
    for noise, steps in ((2.0, 1), (8.0, 16)):  # 16 full batches: a Gaussian of noise / 4
        epsilon = composed_epsilon(noise, [(1.0, steps)], 1e-5)
        alone = noise / math.sqrt(steps)
        assert exact_delta(epsilon, alone) <= 1e-5
        assert exact_delta(0.8 * epsilon, alone) > 1e-5


def test_both_stages_together_use_up_the_budget_and_no_more() -> None:
    pytest.importorskip("opacus")
    settings = TrainingSettings(private=True, epsilon=4.0)
    stages = {"envelope": (32, 200), "planes": (8, 300)}
    made = PrivacyPlan.make(settings, 1000, stages)
    rates = [(32 / 1000, 200), (8 / 1000, 300)]
    assert composed_epsilon(made.noise_multiplier, rates, 1e-5) == pytest.approx(made.spent)
    assert 3.9 < made.spent <= 4.0
    assert composed_epsilon(made.noise_multiplier, rates[:1], 1e-5) < 0.99 * made.spent
    assert PrivacyPlan.make(settings, 4000, stages).noise_multiplier < made.noise_multiplier


def test_a_budget_that_cannot_hold_is_refused() -> None:
    pytest.importorskip("opacus")
    settings = TrainingSettings(private=True, epsilon=0.001, delta=1e-12)
    with pytest.raises(InputError, match="too small for this many steps"):
        PrivacyPlan.make(settings, 40, {"planes": (40, 10**9)})
    with pytest.raises(InputError, match="below 1 / 1000"):
        PrivacyPlan.make(TrainingSettings(private=True, delta=1e-3), 1000, {"planes": (8, 10)})
    with pytest.raises(ConfigError, match="epsilon must lie within"):
        TrainingSettings(private=True, epsilon=0.0)


def test_every_segment_is_in_a_batch_by_its_own_chance() -> None:
    pool = PoissonPool(np.arange(200), lambda rows: (torch.from_numpy(rows),), 0.1)
    counts, sizes = np.zeros(200), []
    for _ in range(400):
        (rows,) = pool.batch(20)
        counts[rows.numpy()] += 1
        sizes.append(len(rows))
    assert counts.mean() == pytest.approx(40, abs=1.5)
    assert counts.std() == pytest.approx(6.0, rel=0.25)  # binomial of each segment
    assert np.std(sizes) == pytest.approx(math.sqrt(18), rel=0.2)  # fixed sizes would give 0


# ---- gradients ----


def linear(
    made: PrivacyPlan, *, n_in: int = 3
) -> tuple[nn.Linear, PrivateOptimizer, torch.optim.SGD]:
    network = nn.Linear(n_in, 1, bias=False)
    nn.init.zeros_(network.weight)
    sgd = torch.optim.SGD(network.parameters(), lr=1.0)
    return network, PrivateOptimizer(network, sgd, made, "planes", 0.0), sgd


def step(network: nn.Linear, optimizer: PrivateOptimizer, x: Tensor) -> Tensor:
    """What one step adds to the weights where the loss of a segment is minus its output."""

    def losses(parts: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        out = -network(parts[0])[:, 0]
        return out, torch.zeros_like(out)

    optimizer.step((x,), losses)
    return network.weight.detach()[0].clone()


def test_gradients_are_clipped_one_by_one_and_averaged_over_the_expected_batch() -> None:
    pytest.importorskip("opacus")
    network, optimizer, _ = linear(plan(1e-9))
    x = torch.zeros(11, 3)  # more than a micro-batch
    x[:, 0] = 0.5
    x[0] = torch.tensor([0.0, 1000.0, 0.0])
    moved = step(network, optimizer, x)
    assert moved == pytest.approx([10 * 0.5 / 4, 1.0 / 4, 0.0], abs=1e-5)


@pytest.mark.parametrize("n", [0, 5])
def test_noise_has_the_size_of_the_plan_even_on_an_empty_batch(n: int) -> None:
    pytest.importorskip("opacus")
    network, optimizer, _ = linear(plan(3.0, clip=0.5), n_in=4000)
    moved = step(network, optimizer, torch.zeros(n, 4000))
    assert float(moved.std()) == pytest.approx(3.0 * 0.5 / 4, rel=0.05)


# ---- training ----


def test_a_private_model_says_what_is_protected_and_shows_no_training_loss(tmp_path: Path) -> None:
    pytest.importorskip("opacus")
    settings = TrainingSettings(**SMALL, private=True, epsilon=6.0)
    model = train(segment_set(), tmp_path / "model", steps=6, settings=settings)
    facts = json.loads((tmp_path / "model" / "config.json").read_text())["description"]["facts"]
    privacy = facts["privacy"]
    assert (privacy["epsilon"], privacy["privacy_unit"]) == (6.0, "segment")
    assert privacy["epsilon_spent"] <= 6.0
    assert any("effort" in each for each in privacy["not_covered"])
    assert {name: each["steps"] for name, each in privacy["stages"].items()} == {
        "envelope": 3,
        "planes": 3,
    }
    log = json.loads((tmp_path / "model" / "training.json").read_text())["log"]
    assert log
    assert all(set(row) == {"stage", "step", "seconds", "validation"} for row in log)
    again = Synthesizer.from_pretrained(tmp_path / "model")
    assert np.array_equal(
        again.sample("lift", seed=1).signals, model.sample("lift", seed=1).signals
    )


def test_the_seed_does_not_give_the_noise_away(tmp_path: Path) -> None:
    pytest.importorskip("opacus")
    settings = TrainingSettings(**SMALL, stages="one", private=True)
    for name in ("one", "two"):
        train(segment_set(), tmp_path / name, steps=2, seed=5, settings=settings)
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two")]
    assert weights[0] != weights[1]


def test_a_private_training_goes_on_and_counts_its_steps_once(tmp_path: Path) -> None:
    pytest.importorskip("opacus")
    settings = TrainingSettings(**SMALL, stages="one", private=True)
    steps: list[int] = []

    def interrupt(progress: Progress) -> None:
        steps.append(progress.step)
        if steps == [1, 2, 3]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(segment_set(), tmp_path / "m", steps=6, settings=settings, on_progress=interrupt)
    train(
        segment_set(), tmp_path / "m", steps=6, settings=settings, resume=True,
        on_progress=interrupt,
    )  # fmt: skip
    assert steps == sorted(set(steps))  # it may have made another step before it stopped
    assert steps[-1] == 6
    assert len(steps) > 3


def test_a_private_training_needs_steps(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs a budget in steps"):
        train(segment_set(), tmp_path / "m", minutes=1, settings=TrainingSettings(private=True))


def test_a_model_without_privacy_states_no_epsilon(tmp_path: Path) -> None:
    train(segment_set(), tmp_path / "m", steps=2, settings=TrainingSettings(**SMALL))
    assert "epsilon" not in (tmp_path / "m" / "config.json").read_text()


def test_without_opacus_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "opacus.accountants", None)
    with pytest.raises(MissingExtraError, match=r"myosynth\[dp\]"):
        composed_epsilon(1.0, [(0.1, 10)], 1e-5)


def test_the_command_line_trains_privately_and_records_the_unit(tmp_path: Path) -> None:
    pytest.importorskip("opacus")
    segment_set().save(tmp_path / "segments")
    small = {**SMALL, "stages": "one"}
    pipeline.train(
        tmp_path / "segments", tmp_path / "m", steps=2, settings=small, private=True, epsilon=5.0
    )
    record = json.loads((tmp_path / "m" / "provenance.json").read_text())
    assert record["privacy"]["privacy_unit"] == "segment"
    assert record["config"]["train"]["epsilon"] == record["privacy"]["epsilon"] == 5.0
    with pytest.raises(ConfigError, match="epsilon belongs to a private training"):
        pipeline.train(tmp_path / "segments", tmp_path / "n", steps=2, epsilon=5.0)
