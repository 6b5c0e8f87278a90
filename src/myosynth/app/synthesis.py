"""The steps that need a generator: train it, draw from it, score what it drew."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from myosynth.app.config import Overwrite, Progress, Seed, checked, plain_settings, taken
from myosynth.app.provenance import (
    PROVENANCE,
    Provenance,
    content_hash,
    hide_from_validators,
    read_provenance,
)
from myosynth.errors import ConfigError, InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from myosynth import diffusion
    from myosynth.diffusion import Synthesizer
    from myosynth.diffusion.parametric import ParametricGenerator
    from myosynth.evaluation import Scores
    from myosynth.recordings import SegmentSet

__all__ = ["evaluate", "generate", "train"]


@checked
def train(
    segments: Path,
    model: Path,
    *,
    minutes: Annotated[
        float | None, Field(gt=0, description="Wall-clock budget, min; at least a few.")
    ] = None,
    steps: Annotated[
        int | None, Field(ge=1, description="Optimiser steps, in place of a budget of time.")
    ] = None,
    settings: Annotated[
        dict[str, Any] | None, Field(description="A training setting, such as batch_size=32.")
    ] = None,
    audit_every: Annotated[
        float | None,
        Field(
            gt=0,
            description="Look for memorised segments this often, in minutes (or steps where the "
            "budget is in steps).",
        ),
    ] = None,
    private: Annotated[
        bool,
        Field(description="Differential privacy for each segment, not each person; needs --steps."),
    ] = False,
    parametric: Annotated[
        bool,
        Field(
            description="Fit noise under an envelope instead, with differential privacy for each "
            "person; takes seconds."
        ),
    ] = False,
    epsilon: Annotated[
        float | None,
        Field(
            gt=0,
            description="Budget of --private (for each segment) or --parametric (for each "
            "person); 8 without it.",
        ),
    ] = None,
    delta: Annotated[
        float | None,
        Field(gt=0, lt=1, description="Chance that this privacy fails; 1e-5 without it."),
    ] = None,
    seed: Seed = 0,
    resume: Annotated[bool, Field(description="Go on where a stopped run was.")] = False,
    overwrite: Overwrite = False,
    on_progress: Progress | None = None,
) -> "Synthesizer | ParametricGenerator":
    """Train a generator on the train split of a segment folder.

    Parameters
    ----------
    segments : path
        What `prepare` wrote.
    model : path
        The model folder to write. It appears whole at the end; a stopped run waits in
        ``<model>.training`` for `resume`.

    Returns
    -------
    Synthesizer or ParametricGenerator

    Raises
    ------
    ConfigError
        If options do not go together.
    """
    from myosynth import diffusion
    from myosynth.recordings import SegmentSet

    if parametric:
        asked = {
            "minutes": minutes,
            "steps": steps,
            "settings": settings,
            "audit_every": audit_every,
            "private": private,
        }
        for name in (name for name, value in asked.items() if value):
            raise ConfigError(f"{name} does not go with parametric; leave one of them out")
        values = taken(train, locals())
        return _train_parametric(segments, model, epsilon, delta, overwrite, values)
    chosen = _with_privacy(settings or {}, private, epsilon, delta)
    data = SegmentSet.open(segments)
    report = on_progress or (lambda share, what: None)
    recorded = Provenance(
        "train", {"train": taken(train, locals())}, inputs={"segments": segments}, seed=seed
    )

    said: dict[str, str] = {}  # both stages may be trained at the same time

    def told(progress: "diffusion.Progress") -> None:
        loss = progress.loss["spectral"]
        said[progress.stage] = f"{progress.stage} step {progress.step}, loss {loss:.3f}"
        report(progress.share, "; ".join(said[name] for name in sorted(said)))

    synthesizer = diffusion.train(
        data,
        model,
        minutes=minutes,
        steps=steps,
        seed=seed,
        resume=resume,
        overwrite=overwrite,
        settings=plain_settings(diffusion.TrainingSettings, chosen, "train.settings"),
        audit_every=audit_every,
        on_progress=told,
    )
    privacy = synthesizer.config["description"]["facts"].get("privacy")
    if privacy:
        recorded.content["privacy"] = privacy
    recorded.write(model)
    return synthesizer


def _train_parametric(
    segments: Path,
    model: Path,
    epsilon: float | None,
    delta: float | None,
    overwrite: bool,
    options: dict[str, Any],
) -> "ParametricGenerator":
    from myosynth.diffusion.parametric import fit_parametric
    from myosynth.recordings import SegmentSet

    _check_new(model, overwrite)
    data = SegmentSet.open(segments)
    recorded = Provenance("train", {"train": options}, inputs={"segments": segments})
    generator = fit_parametric(data, epsilon=epsilon or 8.0, delta=delta or 1e-5)
    recorded.content["privacy"] = dict(generator.privacy)
    generator.save_pretrained(model, overwrite=overwrite)
    recorded.write(model)
    return generator


def _with_privacy(
    settings: dict[str, Any], private: bool, epsilon: float | None, delta: float | None
) -> dict[str, Any]:
    budget = {"epsilon": epsilon, "delta": delta}
    given = {name: value for name, value in budget.items() if value is not None}
    if given and not private:
        raise ConfigError(f"{next(iter(given))} belongs to a private training; pass --private")
    return {**settings, **({"private": True} if private else {}), **given}


@checked
def generate(
    model: Path,
    out: Path,
    *,
    task: Annotated[
        tuple[str, ...], Field(description="Task to generate, once for each; all without it.")
    ] = (),
    n_segments: Annotated[int, Field(ge=1, description="How many of each task.")] = 100,
    seconds: Annotated[
        float | None, Field(gt=0, description="Length, s; that of the training without it.")
    ] = None,
    effort: Annotated[
        float | None,
        Field(description="Log RMS to ask for, ln V; as in training without it."),
    ] = None,
    condition: Annotated[
        dict[str, Any] | None, Field(description="Further condition of the model, such as load=12.")
    ] = None,
    allow_extrapolation: Annotated[
        bool, Field(description="Take conditions outside what the training saw.")
    ] = False,
    guidance_scale: Annotated[
        float, Field(ge=0, description="How strongly to follow the task; 1 = as trained.")
    ] = 1.0,
    sampler: Annotated[
        str | None, Field(description="Drawing algorithm; the model's own choice without it.")
    ] = None,
    steps: Annotated[int | None, Field(ge=1, description="Steps of the sampler (4).")] = None,
    batch_size: Annotated[int | None, Field(ge=1, description="Segments drawn at a time.")] = None,
    threads: Annotated[
        int | None, Field(ge=1, description="Threads of torch; one per core without it.")
    ] = None,
    format: Annotated[
        Literal["npz", "csv", "edf", "bdf", "bids", "hdf5", "mat", "parquet", "wfdb"] | None,
        Field(description="What to write; by the suffix of OUT, else npz, without it."),
    ] = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    on_progress: Progress | None = None,
) -> "SegmentSet":
    """Draw synthetic segments from a model and write them.

    Parameters
    ----------
    model : path
        What `train` wrote.
    out : path
        A file that ends in .npz, .csv, .h5, .mat or .parquet, or a folder.

    Returns
    -------
    SegmentSet
        What was written.

    Raises
    ------
    InputError
        If the model does not know a task; those it knows are named.
    """
    from myosynth.diffusion import Synthesizer
    from myosynth.diffusion.parametric import ParametricGenerator, is_parametric
    from myosynth.formats import WRITERS
    from myosynth.recordings import SegmentSet

    report = on_progress or (lambda share, what: None)
    kind = _format(out, format)
    _check_new(out, overwrite)
    asked = {
        "seconds": seconds,
        "effort": effort,
        "condition": condition,
        "sampler": sampler,
        "steps": steps,
        "guidance_scale": guidance_scale if guidance_scale != 1.0 else None,
    }
    synthesizer: Synthesizer | ParametricGenerator
    if is_parametric(model):
        synthesizer = ParametricGenerator.from_pretrained(model)
        for name in (name for name, value in asked.items() if value is not None):
            raise InputError(f"{model} is a parametric model and has no {name}; leave it out")
    else:
        synthesizer = Synthesizer.from_pretrained(model)
    recorded = Provenance(
        "generate", {"generate": taken(generate, locals())}, inputs={"model": model}, seed=seed
    )
    tasks = _known_tasks(task, synthesizer.tasks)
    parts = []
    for number, name in enumerate(tasks):

        def told(share: float, what: str = "", number: int = number, name: str = name) -> None:
            report((number + share) / len(tasks), f"drawing {name}")

        task_seed = _task_seed(seed, synthesizer.tasks.index(name))
        if isinstance(synthesizer, ParametricGenerator):
            told(0.0)
            parts.append(synthesizer.sample(name, n_segments, seed=task_seed))
            continue
        drawn = synthesizer.sample(
            name,
            n_segments,
            effort=effort,
            seconds=seconds,
            seed=task_seed,
            guidance_scale=guidance_scale,
            sampler=sampler,
            n_steps=steps,
            batch_size=batch_size,
            conditions=condition,
            allow_extrapolation=allow_extrapolation,
            threads=threads,
            on_progress=told,
        )
        parts.append(drawn)
    made = SegmentSet.concatenate(parts)
    written = WRITERS[kind](made, out, overwrite=overwrite)
    recorded.write(out if out.is_dir() else written)
    if kind == "bids":
        hide_from_validators(out)
    report(1.0, "done")
    return made


_FORMAT_OF_SUFFIX = {
    ".npz": "npz",
    ".csv": "csv",
    ".h5": "hdf5",
    ".hdf5": "hdf5",
    ".mat": "mat",
    ".parquet": "parquet",
}


def _format(out: Path, asked: str | None) -> str:
    kind = _FORMAT_OF_SUFFIX.get(out.suffix.lower())
    if kind is None:
        return asked or "npz"
    if asked not in (None, kind):
        raise InputError(
            f"{out} ends in {out.suffix}, but the format asked for is {asked}; change one"
        )
    return kind


def _check_new(out: Path, overwrite: bool) -> None:
    """Said before the drawing, which can take long, and not after it."""
    taken_folder = out.is_dir() and any(out.iterdir())
    if (out.is_file() or taken_folder) and not overwrite:
        raise InputError(f"{out} already exists; name another place or pass --overwrite")


def _known_tasks(asked: tuple[str, ...], known: tuple[str, ...]) -> list[str]:
    for name in asked:
        if name not in known:
            raise InputError(
                f"this model does not know the task {name!r}; it knows {', '.join(known)}"
            )
    return list(dict.fromkeys(asked)) or list(known)


def _task_seed(seed: int, position: int) -> int:
    """Of its own for each task, whichever tasks are asked for beside it."""
    import numpy as np

    return int(np.random.SeedSequence([seed, position]).generate_state(1)[0])


@checked
def evaluate(
    segments: Path,
    synthetic: Path,
    out: Path,
    *,
    model: Annotated[
        Path | None, Field(description="The generator, for the round-trip column.")
    ] = None,
    mapping: Annotated[
        str | None, Field(description="Mapping file, where SYNTHETIC is delimited text.")
    ] = None,
    n_bootstrap: Annotated[int, Field(ge=20, description="Resamples behind each interval.")] = 200,
    max_segments: Annotated[
        int, Field(ge=8, description="Most segments of one task and split that are used.")
    ] = 500,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    on_progress: Progress | None = None,
) -> "Scores":
    """Score a synthetic set against the real segments and write the report.

    Parameters
    ----------
    segments : path
        What `prepare` wrote.
    synthetic : path
        Any set of segments: npz, CSV, a segment folder, EDF files, EMG-BIDS, mapped text.
    out : path
        The folder to write: report.html, scores.json.

    Returns
    -------
    Scores
    """
    from myosynth import evaluation
    from myosynth.app.report import write_report
    from myosynth.formats import read_segments
    from myosynth.recordings import SegmentSet
    from myosynth.storage import atomic_directory, write_json

    real = SegmentSet.open(segments)
    made = read_segments(synthetic, seconds=real.duration_s, mapping=mapping)
    report = on_progress or (lambda share, what: None)
    with atomic_directory(out, overwrite=overwrite) as folder:
        model = model or _model_of(synthetic)
        inputs = {"segments": segments, "synthetic": synthetic}
        recorded = Provenance(
            "evaluate",
            {"evaluate": taken(evaluate, locals())},
            inputs=inputs | ({"model": model} if model else {}),
            seed=seed,
        )
        scores = evaluation.evaluate(
            real,
            made,
            round_trip=_round_trip(model),
            seed=seed,
            n_bootstrap=n_bootstrap,
            max_segments=max_segments,
            on_progress=lambda share, what: report(0.9 * share, what),
        )
        report(0.9, "drawing the report")
        provenance = recorded.finished()
        write_report(scores, real, made, folder, provenance=provenance)
        write_json(folder / PROVENANCE, provenance)
    report(1.0, "done")
    return scores


def _model_of(synthetic: Path) -> Path | None:
    """The model that drew a set, where its record names one that is still there, unchanged."""
    record = read_provenance(synthetic) or {}
    for each in record.get("inputs", []):
        path = Path(str(each.get("path")))
        if each.get("role") == "model" and path.is_dir() and each["sha256"] == content_hash(path):
            return path
    return None


def _round_trip(model: Path | None) -> "Callable[[NDArray[Any]], NDArray[Any]] | None":
    from myosynth.diffusion.parametric import is_parametric

    if model is None or is_parametric(model):
        return None
    from myosynth.diffusion import Synthesizer

    return Synthesizer.from_pretrained(model).round_trip
