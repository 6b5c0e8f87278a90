"""Optimisers of the networks: Muon for the layers that data pass, AdamW for the rest."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from myosynth.diffusion.crew import Crew

__all__ = ["OPTIMISERS", "Muon", "make_optimiser"]

OPTIMISERS = ("muon", "adamw")
# Layers that see or give the data, and those of the conditions: a third of the cost of Muon
_OUTER = (
    "first", "last", "embed", "embed_sigma", "embed_task", "embed_effort", "embed_extra",
    "modulate", "modulate_here",
)  # fmt: skip
_QUINTIC, _N_ITERATIONS = (3.4445, -4.7750, 2.0315), 5
_MOMENTUM = 0.95
_BETAS = (0.9, 0.99)


class Muon(torch.optim.AdamW):
    """Muon for the matrices that data pass inside the network, AdamW elsewhere.

    Muon steps along the momentum with all its singular values brought to about one; a convolution's
    weight is taken as outputs × the rest. The step is scaled to the size that AdamW's steps have.
    Equal shapes are computed together.

    Source: Jordan et al. 2024 (https://kellerjordan.github.io/posts/muon), with the scale of Liu
    et al. 2025 (arXiv 2502.16982), eq. 4.

    Parameters
    ----------
    network : Module
    lr, matrix_lr : float
        Rates of AdamW and of Muon.
    weight_decay : float
    bf16 : bool
        Whether to bring singular values to one in bfloat16.
    crew : Crew, optional
        Who shares that work.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        lr: float,
        matrix_lr: float,
        weight_decay: float,
        bf16: bool = False,
        crew: Crew | None = None,
    ) -> None:
        matrices: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for name, parameter in network.named_parameters():
            inside = parameter.ndim > 1 and not set(name.split(".")) & set(_OUTER)
            (matrices if inside else others).append(parameter)
        groups: list[dict[str, Any]] = [
            {"params": matrices, "lr": matrix_lr, "momentum": _MOMENTUM},
            {"params": others, "lr": lr, "momentum": None},
        ]
        super().__init__(groups, betas=_BETAS, weight_decay=weight_decay)
        self._dtype = torch.bfloat16 if bf16 else torch.float32
        self._crew = crew or Crew()

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step along the gradients; those of the matrices are used up."""
        for group in self.param_groups:
            if group["momentum"] is not None:
                self._step_matrices(group)
        super().step(closure)

    def _step_matrices(self, group: dict[str, Any]) -> None:
        alike: dict[tuple[int, ...], list[nn.Parameter]] = {}
        for parameter in group["params"]:
            if parameter.grad is not None:
                alike.setdefault(tuple(parameter.shape), []).append(parameter)
        groups = sorted(alike.values(), key=lambda each: -sum(map(torch.numel, each)))
        self._crew.map(partial(self._step_alike, group=group), groups)

    @torch.no_grad()
    def _step_alike(self, parameters: list[nn.Parameter], *, group: dict[str, Any]) -> None:
        ahead = []
        for parameter in parameters:
            assert parameter.grad is not None
            state = self.state[parameter]
            if "momentum" not in state:
                state["momentum"] = torch.zeros_like(parameter)
                state["step"] = torch.zeros(())  # AdamW looks for it in what it loads
            state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
            ahead.append(parameter.grad.lerp(state["momentum"], group["momentum"]).flatten(1))
        steps = _orthogonal(torch.stack(ahead).to(self._dtype))
        size = group["lr"] * 0.2 * max(steps.shape[1:]) ** 0.5
        for parameter, step in zip(parameters, steps, strict=True):
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
            parameter.add_(step.reshape(parameter.shape).to(parameter.dtype), alpha=-size)
            parameter.grad = None


def _orthogonal(matrices: Tensor) -> Tensor:
    """(K, m, n) → nearly U Vᵀ of each singular value decomposition U S Vᵀ."""
    a, b, c = _QUINTIC
    wide = matrices.shape[1] <= matrices.shape[2]
    x: Tensor = matrices if wide else matrices.mT
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    if x.dtype != torch.bfloat16 and x.shape[2] >= 2 * x.shape[1]:
        x = _polynomial(x @ x.mT) @ x
    else:
        for _ in range(_N_ITERATIONS):
            square = x @ x.mT
            x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x if wide else x.mT


def _polynomial(gram: Tensor) -> Tensor:
    """What the iterations multiply a matrix by, from X Xᵀ alone: less work where X is wide."""
    a, b, c = _QUINTIC
    identity = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    product = identity
    for iteration in range(_N_ITERATIONS):
        factor = a * identity + torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        product = factor @ product if iteration else factor
        if iteration < _N_ITERATIONS - 1:
            gram = factor @ gram @ factor
    return product


def make_optimiser(
    name: str,
    network: nn.Module,
    *,
    lr: float,
    matrix_lr: float,
    weight_decay: float,
    bf16: bool = False,
    crew: Crew | None = None,
) -> torch.optim.Optimizer:
    """One of `OPTIMISERS`; `matrix_lr` is for `Muon` alone."""
    if name == "muon":
        return Muon(
            network,
            lr=lr,
            matrix_lr=matrix_lr,
            weight_decay=weight_decay,
            bf16=bf16,
            crew=crew,
        )
    return torch.optim.AdamW(network.parameters(), lr=lr, betas=_BETAS, weight_decay=weight_decay)
