"""The whole job on simulated recordings, from nothing to a report."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from myosynth.app.config import Overwrite, Progress, Seed, checked, taken
from myosynth.app.preparation import prepare
from myosynth.app.provenance import Provenance
from myosynth.app.sources import simulate
from myosynth.app.synthesis import evaluate, generate, train
from myosynth.errors import InputError

if TYPE_CHECKING:
    from myosynth.evaluation import Scores
    from myosynth.recordings import SegmentSet

__all__ = ["DemoSummary", "demo", "task_rows"]

_STEPS = {"simulate": 0.05, "prepare": 0.05, "train": 0.6, "generate": 0.1, "evaluate": 0.2}
"""Step → about its share of the whole, for the progress bar."""
_GROUPS = ("time", "spectral", "envelope", "higher_order")
_RHYTHMIC = 0.5
_MOST_SEGMENTS = 500


@dataclass
class DemoSummary:
    """What the demo made.

    Parameters
    ----------
    report : path
        The report, an HTML file.
    rows : list of dict
        One per task, see `task_rows`.
    seconds : dict of str to float
        Step → the time it took.
    """

    report: Path
    rows: list[dict[str, Any]]
    seconds: dict[str, float] = field(default_factory=dict)


@checked
def demo(
    out: Path = Path("demo"),
    *,
    minutes: Annotated[float, Field(gt=0, description="Of training.")] = 4.5,
    subjects: Annotated[int, Field(ge=2, description="Simulated people.")] = 12,
    seconds: Annotated[float, Field(gt=0, description="Length of a recording, s.")] = 60.0,
    n_segments: Annotated[int, Field(ge=8, description="Segments to draw of each task.")] = 150,
    seed: Seed = 0,
    resume: Annotated[bool, Field(description="Go on where a stopped demo was.")] = False,
    overwrite: Overwrite = False,
    sections: Mapping[str, Mapping[str, Any]] | None = None,
    on_progress: Progress | None = None,
) -> DemoSummary:
    """Simulate, prepare, train, generate, evaluate and report, in one folder.

    Parameters
    ----------
    out : path
        The folder: recordings (EMG-BIDS), segments, model, synthetic.npz, report.
    sections : mapping, optional
        Further options of the steps, by command.

    Returns
    -------
    DemoSummary
    """
    from myosynth.formats import read_segments
    from myosynth.recordings import SegmentSet

    if out.exists() and (out.is_file() or any(out.iterdir())) and not (overwrite or resume):
        raise InputError(
            f"{out} already exists; name another folder, or pass --overwrite, or --resume to go "
            "on with a stopped demo"
        )
    out.mkdir(parents=True, exist_ok=True)
    options = {name: dict((sections or {}).get(name, {})) for name in _STEPS}
    for name, values in (
        ("simulate", {"subjects": subjects, "seconds": seconds}),
        ("train", {"minutes": minutes} if "steps" not in options["train"] else {}),
        ("generate", {"n_segments": n_segments}),
    ):
        options[name] = {**values, **options[name]}
    options = {name: {"seed": seed, **values} for name, values in options.items()}
    recorded = Provenance("demo", {"demo": taken(demo, locals()), **options}, seed=seed)
    recordings, segments, model = out / "recordings", out / "segments", out / "model"
    synthetic, report = out / "synthetic.npz", out / "report"
    run = _Steps(options, resume, on_progress or (lambda share, what: None))
    run.step("simulate", simulate, recordings)
    run.step("prepare", prepare, recordings, segments)
    run.step("train", train, segments, model, resume=resume)
    run.step("generate", generate, model, synthetic)
    options["evaluate"].setdefault("model", model)
    scores = run.step("evaluate", evaluate, segments, synthetic, report, always=True)
    recorded.write(out)
    rows = task_rows(SegmentSet.open(segments), read_segments(synthetic), scores)
    return DemoSummary(report / "report.html", rows, run.seconds)


class _Steps:
    """Runs the steps one after another under one progress bar."""

    def __init__(
        self, options: Mapping[str, Mapping[str, Any]], resume: bool, report: Progress
    ) -> None:
        self._options, self._resume, self._report = options, resume, report
        self.seconds: dict[str, float] = {}

    def step(
        self,
        name: str,
        command: Callable[..., Any],
        *paths: Path,
        always: bool = False,
        **more: Any,
    ) -> Any:
        if self._resume and paths[-1].exists() and not always:
            return None
        names = list(_STEPS)
        before = sum(_STEPS[each] for each in names[: names.index(name)])

        def told(share: float, what: str) -> None:
            self._report(before + _STEPS[name] * share, f"{name}: {what}")

        start = time.monotonic()
        result = command(*paths, **self._options[name], **more, overwrite=True, on_progress=told)
        self.seconds[name] = round(time.monotonic() - start, 1)
        return result


def task_rows(
    real: "SegmentSet", synthetic: "SegmentSet", scores: "Scores"
) -> list[dict[str, Any]]:
    """A row per task: what was meant to come out, beside what came out.

    Returns
    -------
    list of dict
        ``task``; ``rms_real``, ``rms_synthetic`` (median over segments and channels, V);
        ``rate_real``, ``rate_synthetic`` (median of the dominant envelope rate, Hz; None for tasks
        without rhythm); ``z`` (feature group → z of its Wasserstein distance, or None). Real
        segments are those of the train subjects, held-out ones included.
    """
    rows = []
    for task in [name for name in real.tasks if name in synthetic.tasks]:
        known = real.rows(task=task)
        known = known[[split in ("train", "holdout") for split in real.split[known]]]
        one, two = _figures(real, known), _figures(synthetic, synthetic.rows(task=task))
        rhythmic = one["rate_share"] >= _RHYTHMIC
        found = {row["group"]: row["z"] for row in scores.select(task=task, metric="w1")}
        rows.append(
            {
                "task": task,
                "rms_real": one["rms"],
                "rms_synthetic": two["rms"],
                "rate_real": one["rate"] if rhythmic else None,
                "rate_synthetic": two["rate"] if rhythmic else None,
                "z": {group: found.get(group) for group in _GROUPS},
            }
        )
    return rows


def _figures(segments: "SegmentSet", rows: Any) -> dict[str, float]:
    import numpy as np

    from myosynth.signal.features import FEATURES, feature_table

    chosen = rows[:: -(-len(rows) // _MOST_SEGMENTS)]
    table = feature_table(segments.read(chosen), segments.fs)
    names = list(FEATURES)
    middle = np.median(table, axis=(0, 1))
    return {
        "rms": float(np.exp(middle[names.index("rms")])),
        "rate": float(middle[names.index("env_rate")]),
        "rate_share": float(middle[names.index("env_rate_share")]),
    }
