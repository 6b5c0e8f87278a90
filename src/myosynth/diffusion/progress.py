"""What training reports, and the state from which it goes on."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from myosynth.errors import CheckpointError
from myosynth.storage import atomic_file

__all__ = ["Progress", "TrainingState", "load_state", "save_state"]

_FILE = "state.safetensors"


@dataclass(frozen=True)
class Progress:
    """A report after a step.

    Parameters
    ----------
    share : float
        Of the whole budget, 0–1.
    stage : str
        ``envelope`` or ``planes``.
    step : int
        Within the stage.
    loss : dict of str to float
        ``spectral``, ``temporal`` and, now and then, ``validation`` and ``memorisation`` (how far
        the loss on validation subjects is above that on training segments).
    seconds : float
        Since training began, interruptions left out.
    """

    share: float
    stage: str
    step: int
    loss: Mapping[str, float]
    seconds: float


@dataclass
class TrainingState:
    """All that a training needs to go on to the same bytes.

    `fingerprint` names the set, seed, settings and budget; a state of another one is refused.
    """

    fingerprint: dict[str, Any]
    config: dict[str, Any]
    finished: list[str] = field(default_factory=list)
    stage_seconds: dict[str, float] = field(default_factory=dict)
    log: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    step: int = 0
    n_validations: int = 0
    best_loss: float = math.inf
    numpy_rng: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, Tensor] = field(default_factory=dict)
    average: list[Tensor] = field(default_factory=list)
    best: list[Tensor] = field(default_factory=list)
    optimizer: dict[str, Any] = field(default_factory=dict)
    torch_rng: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.uint8))
    held: NDArray[np.intp] | None = None

    def begin_stage(self) -> None:
        """Forget what belongs to the stage that just ended."""
        self.step, self.n_validations, self.best_loss = 0, 0, math.inf
        self.best, self.average, self.optimizer, self.held = [], [], {}, None


_PLAIN = ("fingerprint", "config", "finished", "stage_seconds", "log", "seconds", "step",
          "n_validations", "numpy_rng")  # fmt: skip


def save_state(folder: Path, state: TrainingState) -> None:
    """Write the state as one file, so that it is whole or absent."""
    facts = {name: getattr(state, name) for name in _PLAIN}
    facts["best_loss"] = None if math.isinf(state.best_loss) else state.best_loss
    facts["param_groups"] = state.optimizer.get("param_groups", [])
    tensors = {f"weights/{name}": value for name, value in state.weights.items()}
    for name in ("average", "best"):
        tensors |= {f"{name}/{i}": value for i, value in enumerate(getattr(state, name))}
    for i, values in state.optimizer.get("state", {}).items():
        tensors |= {f"optimizer/{i}/{key}": value for key, value in values.items()}
    tensors["torch_rng"] = state.torch_rng
    if state.held is not None:
        tensors["held"] = torch.from_numpy(state.held)
    # names that share memory cannot be stored: a copy of each
    whole = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
    with atomic_file(folder / _FILE) as partial:
        save_file(whole, partial, metadata={"state": json.dumps(facts)})


def load_state(folder: Path, fingerprint: Mapping[str, Any]) -> TrainingState | None:
    """The state in a folder, or None where there is no folder.

    Raises
    ------
    CheckpointError
        If it is damaged, or was begun with another set, seed, budget or other settings.
    """
    if not folder.exists():
        return None
    path = folder / _FILE
    try:
        with safe_open(path, framework="pt") as stored:
            facts = json.loads(stored.metadata()["state"])
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise CheckpointError(
            f"{path} is missing or damaged ({error}); pass --overwrite to start anew"
        ) from error
    for name, value in fingerprint.items():
        if facts["fingerprint"].get(name) != value:
            raise CheckpointError(
                f"{folder} was begun with another {name} ({facts['fingerprint'].get(name)!r}, now "
                f"{value!r}); repeat the first command, or pass --overwrite to start anew"
            )
    state = TrainingState(**{name: facts[name] for name in _PLAIN})
    state.best_loss = math.inf if facts["best_loss"] is None else facts["best_loss"]
    prefix = "weights/"
    state.weights = {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
    state.average, state.best = _listed(tensors, "average"), _listed(tensors, "best")
    state.torch_rng = tensors["torch_rng"]
    state.held = tensors["held"].numpy().copy() if "held" in tensors else None
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer/"):
            _, i, key = name.split("/")
            moments.setdefault(int(i), {})[key] = value
    if moments:
        state.optimizer = {"state": moments, "param_groups": facts["param_groups"]}
    return state


def _listed(tensors: Mapping[str, Tensor], name: str) -> list[Tensor]:
    n = sum(key.startswith(f"{name}/") for key in tensors)
    return [tensors[f"{name}/{i}"] for i in range(n)]
