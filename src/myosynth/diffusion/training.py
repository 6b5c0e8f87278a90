"""Training: both stages side by side, or one after the other, within one budget; resumable."""

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from myosynth.diffusion.crew import Crew
from myosynth.diffusion.lanes import Lane, run_lanes
from myosynth.diffusion.making import make_model
from myosynth.diffusion.model import SCHEMA, Model, save_model
from myosynth.diffusion.precision import uses_bf16
from myosynth.diffusion.private import PrivacyPlan
from myosynth.diffusion.progress import (
    Progress,
    StageState,
    Start,
    load_stage,
    load_start,
    save_stage,
    save_start,
)
from myosynth.diffusion.settings import TrainingSettings
from myosynth.diffusion.stage import Stage
from myosynth.diffusion.synthesizer import Synthesizer
from myosynth.errors import InputError, NotEnoughDataError
from myosynth.recordings import SegmentSet

__all__ = ["train"]

_DEFAULT_MINUTES = 10.0


def train(
    segments: SegmentSet,
    out: str | Path,
    *,
    minutes: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    resume: bool = False,
    overwrite: bool = False,
    settings: TrainingSettings | None = None,
    audit_every: float | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Synthesizer:
    """Train on the train split and write a model folder.

    On a processor with two threads or more both stages are trained at the same time, each with half
    of the threads: neither looks at what the other learns. A GPU, one thread and private training
    take one after the other.

    Parameters
    ----------
    segments : SegmentSet
        With `split`; rows without any split count as train. Validation subjects (the holdout where
        there are none) choose the weights; unseen subjects are not looked at.
    out : path
        The model folder, which appears whole at the end. Until then all that is needed to go on
        lies in ``<out>.training``.
    minutes : float, optional
        Budget of wall-clock time, preparation included; 10 where neither is given.
    steps : int, optional
        Budget of optimiser steps, over all stages, instead.
    seed : int
        Same seed, steps and threads: same bytes on a CPU, interrupted or not; but not when
        private, since noise that anybody can draw again protects nobody.
    resume : bool
        Go on from ``<out>.training`` where there is one.
    overwrite : bool
        Replace an existing model, or start an unfinished training anew.
    settings : TrainingSettings, optional
        How to build and train it. Private training needs a budget in steps: the noise follows from
        it. What it protects is the single segment, not the subject.
    audit_every : float, optional
        How often to compare the loss on training segments with that on validation subjects, in
        minutes or steps as the budget; `memorisation_warning` reads what was found.
    on_progress : callable, optional
        Called after every step, in the caller's thread; the stages do not wait for it.

    Returns
    -------
    Synthesizer

    Raises
    ------
    InputError
        If the budget is not positive, `out` exists, or an unfinished training is in the way; or if
        a private training has no budget in steps.
    MissingExtraError
        If a private training lacks opacus.
    NotEnoughDataError
        If there are no training segments.
    CheckpointError
        If the state to resume from is damaged or belongs to another set, seed or settings.
    KeyboardInterrupt
        After Ctrl-C, once the state is saved.
    """
    settings = settings or TrainingSettings()
    budget = _budget(minutes, steps)
    if settings.private and budget.steps is None:
        raise InputError(
            "a private training needs a budget in steps (steps), not in minutes: its noise follows "
            "from the number of steps"
        )
    _check_audit(audit_every, segments, settings)
    out = Path(out)
    folder = out.with_name(out.name + ".training")
    _check_target(out, folder, resume=resume, overwrite=overwrite)
    rows = np.flatnonzero((segments.split == "train") | (segments.split == ""))
    if len(rows) < 2:
        raise NotEnoughDataError(
            f"there are {len(rows)} training segments; prepare a set with a split named train"
        )
    report = on_progress or (lambda progress: None)
    with _torch_threads(settings.n_threads):
        run = _Run(segments, rows, settings, budget, seed, folder, report, audit_every)
        run.start(resume=resume)
        run.train_stages()
        save_model(run.model, out, training=run.log(), overwrite=overwrite)
    run.remove_state()
    return Synthesizer(run.model.cpu())


@dataclass(frozen=True)
class _Budget:
    """Of time or of steps; one of the two is None."""

    seconds: float | None
    steps: int | None

    def used(self, seconds: float, steps: int) -> float:
        if self.steps is not None:
            return steps / self.steps
        return seconds / max(self.seconds or 0.0, 1e-9)


def _budget(minutes: float | None, steps: int | None) -> _Budget:
    if minutes is not None and steps is not None:
        raise InputError("give a budget in minutes or in steps, not both")
    if steps is not None:
        if steps < 2:
            raise InputError(f"steps must be 2 or more, not {steps}")
        return _Budget(None, steps)
    minutes = _DEFAULT_MINUTES if minutes is None else minutes
    if not (math.isfinite(minutes) and minutes > 0):
        raise InputError(f"minutes must be a positive number, not {minutes}")
    return _Budget(60.0 * minutes, None)


def _check_audit(every: float | None, segments: SegmentSet, settings: TrainingSettings) -> None:
    if every is None:
        return
    if not (math.isfinite(every) and every > 0):
        raise InputError(f"audit_every must be a positive number, not {every}")
    if settings.private:
        raise InputError(
            "audit_every looks at the losses of training segments without noise, which a private "
            "training must not; leave one of the two out"
        )
    if not np.isin(segments.split, ["validation", "holdout"]).any():
        raise InputError(
            "audit_every compares with segments that are not trained on; prepare a set with a "
            "validation or holdout split"
        )


def _check_target(out: Path, folder: Path, *, resume: bool, overwrite: bool) -> None:
    if out.is_file():
        raise InputError(f"{out} is a file; name a folder for the model")
    if out.is_dir() and any(out.iterdir()) and not overwrite:
        raise InputError(f"{out} already exists; name another folder or pass --overwrite")
    if folder.exists() and not (resume or overwrite):
        raise InputError(
            f"{folder} holds a training that did not finish; pass --resume to go on with it, or "
            "--overwrite to start anew"
        )


@contextmanager
def _torch_threads(n: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass
class _Run:
    """One call of `train`."""

    segments: SegmentSet
    rows: NDArray[np.intp]
    settings: TrainingSettings
    budget: _Budget
    seed: int
    folder: Path
    report: Callable[[Progress], None]
    audit_every: float | None = None
    model: Model = field(init=False)
    states: dict[str, StageState] = field(init=False)

    def start(self, *, resume: bool) -> None:
        """Make a new model with a fitted codec, or take up the stored one."""
        self._began = time.monotonic()
        self.device = _device(self.settings.device)
        self.bf16 = uses_bf16(self.settings.precision, self.device)
        two = self.settings.stages == "coarse_to_fine"
        share = self.settings.envelope_share
        self.shares = {"envelope": share, "planes": 1 - share} if two else {"planes": 1.0}
        self.plan = self._privacy() if self.settings.private else None
        shared = self.device.type == "cpu" and self.plan is None
        stored = load_start(self.folder, self._fingerprint()) if resume else None
        self._lock, self._is_kept = threading.Lock(), stored is not None
        if stored is None:
            privacy = {} if self.plan is None else {"privacy": self.plan.facts()}
            self.model = make_model(self.segments, self.rows, self.settings, self.seed, privacy)
            self.remove_state()
            n_threads, config = self.settings.n_threads, self.model.config()
            weights = {name: each.clone() for name, each in self.model.state_dict().items()}
            self._start = Start(self._fingerprint(), n_threads, config, weights)
        else:
            self._start = stored
            self.model = Model.from_config(stored.config)
            self.model.load_state_dict(stored.weights)
        self.together = shared and len(self.shares) > 1 and self._start.n_threads > 1
        self.crews = self._crews(self._start.n_threads) if shared else {}
        self.states = {name: load_stage(self.folder, name) for name in self.shares}
        for name, state in self.states.items():
            if state.finished:
                self.model.stage(name).load_state_dict(state.weights)
        self.model.to(self.device)
        self._before = {name: state.seconds for name, state in self.states.items()}

    def _fingerprint(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "settings": self.settings.to_dict(),
            "seed": self.seed,
            "steps": self.budget.steps,
            "seconds": self.budget.seconds,
            "n_segments": len(self.rows),
            "channel_names": list(self.segments.channel_names),
            "fs": self.segments.fs,
            "n_times": self.segments.n_times,
        }

    def _privacy(self) -> PrivacyPlan:
        settings = self.settings
        sizes = {"envelope": settings.envelope_batch_size, "planes": settings.batch_size}
        stages = {name: (sizes[name], self._steps(name) or 0) for name in self.shares}
        self.bf16 = False  # gradients of single segments are summed in full precision
        return PrivacyPlan.make(settings, len(self.rows), stages)

    def _crews(self, n_threads: int) -> dict[str, Crew]:
        """Who shares the batches of each stage."""
        if not self.together:
            return {name: Crew(n_threads) for name in self.shares}
        half = n_threads // 2
        return {"envelope": Crew(half), "planes": Crew(n_threads - half)}

    def train_stages(self) -> None:
        """Train every stage that is not finished, and leave the best weights in the model."""
        left = [name for name, state in self.states.items() if not state.finished]
        done = {name: state.share for name, state in self.states.items()}

        def told(report: Progress) -> None:
            done[report.stage] = report.share
            share = sum(self.shares[name] * each for name, each in done.items())
            self.report(replace(report, share=share))

        lanes = [[name] for name in left] if self.together else [left]
        jobs = [partial(self._train, names) for names in lanes if names]
        if jobs:
            run_lanes(jobs, told, threads=1 if self.crews else self.settings.n_threads)
        self.model.eval()

    def _train(self, names: list[str], lane: Lane[Progress]) -> None:
        for name in names:
            crew = self.crews.get(name)
            with crew.working() if crew else nullcontext():
                self._train_stage(name, lane)

    def _train_stage(self, name: str, lane: Lane[Progress]) -> None:
        state, began = self.states[name], self._begins(name)
        budget = _Budget(self._seconds(name), self._steps(name))
        stage = Stage(
            self.model,
            name,
            self.segments,
            self.rows,
            seed=self.seed,
            state=state,
            device=self.device,
            bf16=self.bf16,
            plan=self.plan,
            crew=self.crews.get(name),
        )

        def used() -> float:
            return budget.used(self._elapsed(name) - began, state.step)

        def on_step(share: float, losses: Mapping[str, float]) -> None:
            seconds, state.share = self._elapsed(name), share
            if "validation" in losses:
                # a loss on training segments is not covered by the noise: it is not written
                kept = {"validation": losses["validation"]} if self.plan else losses
                state.log.append({"stage": name, "step": state.step, "seconds": seconds, **kept})
            lane.tell(Progress(share, name, state.step, losses, seconds))

        def audit_due() -> bool:
            if self.audit_every is None:
                return False
            last = [row for row in state.log if "memorisation" in row][-1:]
            if self.budget.steps is not None:
                return bool(state.step - sum(r["step"] for r in last) >= self.audit_every)
            since = last[0]["seconds"] if last else began
            return bool(self._elapsed(name) - since >= 60 * self.audit_every)

        save = partial(self._save, name)
        stage.run(used, on_step, save, stopped=lane.stopped, audit_due=audit_due)
        state.finish(stage.denoiser.state_dict())
        save()

    def _begins(self, name: str) -> float:
        """At which second of the training a stage begins."""
        if self.together:
            return 0.0
        earlier = list(self.shares)[: list(self.shares).index(name)]
        return max((self.states[each].seconds for each in earlier), default=0.0)

    def _seconds(self, name: str) -> float | None:
        """A stage's part of the time; one after the other, all that is left up to its end."""
        if self.budget.seconds is None:
            return None
        if self.together:
            return self.budget.seconds * self.shares[name] / max(self.shares.values())
        return self.budget.seconds * self._span(name)[1] - self._begins(name)

    def _steps(self, name: str) -> int | None:
        """A stage's part of the steps."""
        if self.budget.steps is None:
            return None
        first, last = (round(self.budget.steps * share) for share in self._span(name))
        return max(1, last - first)

    def _span(self, name: str) -> tuple[float, float]:
        """The shares of the budget at which a stage begins and ends, one after the other."""
        names = list(self.shares)
        before = sum(self.shares[each] for each in names[: names.index(name)])
        return before, 1.0 if name == names[-1] else before + self.shares[name]

    def _elapsed(self, name: str) -> float:
        """Seconds of training up to where a stage is, interruptions left out."""
        before = self._before[name] if self.together else max(self._before.values())
        return before + time.monotonic() - self._began

    def _save(self, name: str) -> None:
        with self._lock:  # the stages may end at the same time
            if not self._is_kept:
                save_start(self.folder, self._start)
                self._is_kept = True
        self.states[name].seconds = self._elapsed(name)
        save_stage(self.folder, name, self.states[name])

    def log(self) -> list[dict[str, Any]]:
        """Losses at each validation, stage by stage."""
        return [row for state in self.states.values() for row in state.log]

    def remove_state(self) -> None:
        for path in self.folder.glob("*"):
            path.unlink()
        if self.folder.exists():
            self.folder.rmdir()


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.empty(1, device=name).device  # the caller's GPU, in other threads as well
    except (RuntimeError, AssertionError) as error:
        first = str(error).splitlines()[0]
        raise InputError(f"device {name!r} cannot be used ({first}); take cpu") from error
    return device
