"""Threads that share a batch: what they find together is what one finds alone."""

from pathlib import Path

import pytest
import torch
from torch import nn

from myosynth.diffusion import TrainingSettings, train
from myosynth.diffusion.crew import Crew
from myosynth.diffusion.optimisers import Muon
from test_training import segment_set


def _problem() -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 16), nn.SiLU(), nn.Linear(16, 3))
    return network, (torch.randn(7, 6), torch.randn(7, 3))


@pytest.mark.parametrize("n_threads", [1, 2, 3, 7, 20])
def test_gradients_are_those_of_the_whole_batch(n_threads: int) -> None:
    network, batch = _problem()
    unused = nn.Parameter(torch.ones(1))
    unused.grad = torch.ones(1)
    parameters = [*network.parameters(), unused]

    def losses(part: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        squares = (network(part[0]) - part[1]).square()
        return squares.sum(), squares.detach().max(1).values.sum()

    whole = losses(batch)
    wanted = torch.autograd.grad(whole[0], list(network.parameters()))
    crew = Crew(n_threads)
    with crew.working():
        found = crew.gradients(losses, batch, parameters)
    torch.testing.assert_close(found, tuple(each.detach() for each in whole))
    for parameter, gradient in zip(network.parameters(), wanted, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)
    assert unused.grad is None


def test_the_threads_of_torch_are_given_back() -> None:
    before = torch.get_num_threads()
    crew = Crew(before + 1)
    with crew.working():
        assert torch.get_num_threads() == 1
        assert crew.map(lambda _: torch.get_num_threads(), range(4)) == [1, 1, 1, 1]
    assert torch.get_num_threads() == before
    with pytest.raises(ZeroDivisionError), crew.working():
        crew.map(lambda n: 1 // n, [1, 0])
    assert torch.get_num_threads() == before


def test_muon_takes_the_same_steps_with_a_crew() -> None:
    crew = Crew(2)
    weights = []
    for shared in (None, crew):
        network, (x, y) = _problem()
        muon = Muon(network, lr=1e-2, matrix_lr=1e-2, weight_decay=0.1, crew=shared)
        with crew.working():
            for _ in range(3):
                (network(x) - y).square().mean().backward()
                muon.step()
                muon.zero_grad()
        weights.append([parameter.detach() for parameter in network.parameters()])
    torch.testing.assert_close(*weights)


def test_the_same_threads_train_to_the_same_bytes_and_other_threads_nearly(
    tmp_path: Path,
) -> None:
    segments, bytes_of, losses = segment_set(), [], []
    for i, threads in enumerate((2, 2, 1)):
        seen: list[float] = []
        settings = TrainingSettings(stages="one", threads=threads, width=32)
        train(
            segments, tmp_path / f"{i}", steps=12, settings=settings,
            on_progress=lambda now, seen=seen: seen.append(now.loss["spectral"]),
        )  # fmt: skip
        bytes_of.append(next((tmp_path / f"{i}").glob("*.safetensors")).read_bytes())
        losses.append(torch.tensor(seen))
    assert bytes_of[0] == bytes_of[1]
    torch.testing.assert_close(losses[0], losses[2], rtol=0.02, atol=0.02)
