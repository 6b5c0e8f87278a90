"""What training reports, and the states from which it goes on."""

import json
import math
from collections.abc import Mapping, Sequence
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

__all__ = [
    "Progress",
    "StageState",
    "Start",
    "load_stage",
    "load_start",
    "save_stage",
    "save_start",
]


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


@dataclass(frozen=True)
class Start:
    """What all stages of a training begin with.

    `fingerprint` names the set, seed, settings and budget; a training of another one is refused.
    `n_threads` are those with which it goes on as well, since results depend on them.
    """

    fingerprint: Mapping[str, Any]
    n_threads: int
    config: Mapping[str, Any]
    weights: Mapping[str, Tensor]


@dataclass
class StageState:
    """All that a stage needs to go on to the same bytes.

    `seconds` are those of the whole training when the stage was last kept, `share` is that of its
    budget.
    """

    finished: bool = False
    seconds: float = 0.0
    share: float = 0.0
    log: list[dict[str, Any]] = field(default_factory=list)
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

    def finish(self, weights: Mapping[str, Tensor]) -> None:
        """Keep the weights, and nothing of the way to them."""
        self.finished, self.share, self.weights = True, 1.0, dict(weights)
        self.best, self.average, self.optimizer, self.held = [], [], {}, None


_START = "start.safetensors"
_FACTS = ("fingerprint", "n_threads", "config")
_PLAIN = ("finished", "seconds", "share", "log", "step", "n_validations", "numpy_rng")


def save_start(folder: Path, start: Start) -> None:
    """Write what all stages begin with, once."""
    facts = {name: getattr(start, name) for name in _FACTS}
    _save(folder / _START, facts, start.weights)


def save_stage(folder: Path, name: str, state: StageState) -> None:
    """Write the state of a stage as one file, so that it is whole or absent."""
    facts = {each: getattr(state, each) for each in _PLAIN}
    facts["best_loss"] = None if math.isinf(state.best_loss) else state.best_loss
    facts["param_groups"] = state.optimizer.get("param_groups", [])
    tensors = {f"weights/{each}": value for each, value in state.weights.items()}
    for each in ("average", "best"):
        tensors |= {f"{each}/{i}": value for i, value in enumerate(getattr(state, each))}
    for i, values in state.optimizer.get("state", {}).items():
        tensors |= {f"optimizer/{i}/{key}": value for key, value in values.items()}
    tensors["torch_rng"] = state.torch_rng
    if state.held is not None:
        tensors["held"] = torch.from_numpy(state.held)
    _save(folder / f"{name}.safetensors", facts, tensors)


def _save(path: Path, facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    # names that share memory cannot be stored: a copy of each
    whole = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
    with atomic_file(path) as partial:
        save_file(whole, partial, metadata={"facts": json.dumps(facts)})


def load_start(folder: Path, fingerprint: Mapping[str, Any]) -> Start | None:
    """What a training in a folder began with, or None where there is no folder.

    Raises
    ------
    CheckpointError
        If it is damaged, or was begun with another set, seed, budget or other settings.
    """
    if not folder.exists():
        return None
    facts, tensors = _load(folder / _START, _FACTS)
    for name, value in fingerprint.items():
        if facts["fingerprint"].get(name) != value:
            raise CheckpointError(
                f"{folder} was begun with another {name} ({facts['fingerprint'].get(name)!r}, now "
                f"{value!r}); repeat the first command, or pass --overwrite to start anew"
            )
    return Start(**facts, weights=tensors)


def load_stage(folder: Path, name: str) -> StageState:
    """Where a stage stopped; a new state where it did not begin.

    Raises
    ------
    CheckpointError
        If it is damaged.
    """
    path = folder / f"{name}.safetensors"
    if not path.exists():
        return StageState()
    facts, tensors = _load(path, (*_PLAIN, "best_loss", "param_groups"))
    state = StageState(**{each: facts[each] for each in _PLAIN})
    state.best_loss = math.inf if facts["best_loss"] is None else facts["best_loss"]
    prefix = "weights/"
    state.weights = {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
    state.average, state.best = _listed(tensors, "average"), _listed(tensors, "best")
    state.torch_rng = tensors["torch_rng"]
    state.held = tensors["held"].numpy().copy() if "held" in tensors else None
    moments: dict[int, dict[str, Tensor]] = {}
    for each, value in tensors.items():
        if each.startswith("optimizer/"):
            _, i, key = each.split("/")
            moments.setdefault(int(i), {})[key] = value
    if moments:
        state.optimizer = {"state": moments, "param_groups": facts["param_groups"]}
    return state


def _load(path: Path, names: Sequence[str]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as stored:
            whole = json.loads(stored.metadata()["facts"])
            facts = {name: whole[name] for name in names}
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise CheckpointError(
            f"{path} is missing or damaged ({error}); pass --overwrite to start anew"
        ) from error
    return facts, tensors


def _listed(tensors: Mapping[str, Tensor], name: str) -> list[Tensor]:
    n = sum(key.startswith(f"{name}/") for key in tensors)
    return [tensors[f"{name}/{i}"] for i in range(n)]
