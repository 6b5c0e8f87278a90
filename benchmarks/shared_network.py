"""One network for both stages, as far as its layers agree: a row of the ablation. Not a script.

Layers of the same place, counted from the coarsest level, and of the same shape belong to both: the
first block of every level, attention, what lies between, and most of what reads noise level and
task. The stages take turns so that each has its share of the time, as without sharing; an
average of the weights, and an optimiser, each has for itself.
"""

import copy
import re
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from myosynth.diffusion import Progress, Synthesizer, TrainingSettings
from myosynth.diffusion.crew import Crew
from myosynth.diffusion.lanes import Lane, run_lanes
from myosynth.diffusion.making import make_model
from myosynth.diffusion.model import Model, save_model
from myosynth.diffusion.precision import uses_bf16
from myosynth.diffusion.progress import StageState
from myosynth.diffusion.stage import Stage
from myosynth.recordings import SegmentSet


def fit(
    real: SegmentSet,
    out: Path,
    clock: Callable[[], float],
    *,
    minutes: float,
    seed: int,
    settings: TrainingSettings,
    on_progress: Callable[[Progress], None],
) -> Synthesizer:
    """Train on the CPU with a shared network, by the seconds of `clock`; write to `out`."""
    began = clock()
    rows = np.flatnonzero(real.split == "train")
    model = make_model(real, rows, settings, seed, {})
    share_layers(model)
    shares = {"envelope": settings.envelope_share, "planes": 1 - settings.envelope_share}
    turns, found = Turns(shares, clock), dict[str, Mapping[str, Any]]()

    def used() -> float:
        return (clock() - began) / (60 * minutes)

    def job(name: str, lane: Lane[Progress]) -> None:
        state = StageState()

        def on_step(share: float, losses: dict[str, float]) -> None:
            lane.tell(Progress(share, name, state.step, losses, clock() - began))
            turns.pass_on(name)
            turns.wait(name, lane.stopped)

        try:
            turns.wait(name, lane.stopped)
            crew = Crew(settings.n_threads)
            with crew.working():
                stage = Stage(
                    model, name, real, rows, seed=seed, state=state, device=torch.device("cpu"),
                    bf16=uses_bf16(settings.precision, torch.device("cpu")), crew=crew,
                )  # fmt: skip
                stage.run(used, on_step, lambda: None, stopped=lane.stopped)
                found[name] = copy.deepcopy(stage.denoiser.state_dict())
        finally:
            turns.leave(name)

    run_lanes([partial(job, name) for name in shares], on_progress, threads=1)
    model.stages["envelope"] = copy.deepcopy(model.stage("envelope"))  # no longer the same layers
    for name in shares:
        model.stage(name).load_state_dict(found[name])
    save_model(model.eval(), out)
    return Synthesizer(model)


def share_layers(model: Model) -> int:
    """Give the map's network the layers of the planes' that are shaped alike; how many weights."""
    planes: Any = model.stage("planes").network
    coarse, fine = model.stage("envelope").network, planes.inner
    n_finer = len(fine.down) - len(coarse.down)  # type: ignore[arg-type]
    own = dict(fine.named_modules())
    n_shared = 0
    for name, layer in list(coarse.named_modules()):
        twin = own.get(_twin(name, n_finer))
        if twin is not None and _shapes(layer) and _shapes(layer) == _shapes(twin):
            parent, _, leaf = name.rpartition(".")
            setattr(coarse.get_submodule(parent), leaf, twin)
            n_shared += sum(weight.numel() for weight in twin.parameters())
    return n_shared


def _twin(name: str, n_finer: int) -> str:
    """Levels are counted from the finest on the way down, and from the coarsest on the way up."""
    return re.sub(r"^(down|shrink)\.(\d+)", lambda m: f"{m[1]}.{int(m[2]) + n_finer}", name)


def _shapes(layer: nn.Module) -> dict[str, torch.Size]:
    """Of a layer's own weights; none for what is made of layers."""
    return {name: weight.shape for name, weight in layer.named_parameters(recurse=False)}


class Turns:
    """Threads that work one at a time: next is who has had least of its share of the time."""

    def __init__(self, shares: Mapping[str, float], clock: Callable[[], float]) -> None:
        self._shares, self._clock = dict(shares), clock
        self._spent = dict.fromkeys(shares, 0.0)
        self._changed = threading.Condition()
        self._began = 0.0

    def wait(self, name: str, stopped: Callable[[], bool]) -> None:
        """Until it is its turn, or all are to stop."""
        with self._changed:
            while min(self._spent, key=self._spent.__getitem__) != name and not stopped():
                self._changed.wait(1.0)
            self._began = self._clock()

    def pass_on(self, name: str) -> None:
        with self._changed:
            self._spent[name] += (self._clock() - self._began) / self._shares[name]
            self._changed.notify_all()

    def leave(self, name: str) -> None:
        with self._changed:
            del self._spent[name]
            self._changed.notify_all()
