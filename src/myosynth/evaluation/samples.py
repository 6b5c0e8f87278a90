"""One task's samples: real ones by split, the synthetic one, and what imitates real ones."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from myosynth.evaluation.fidelity import Sample, Scale, describe
from myosynth.evaluation.scores import Finding
from myosynth.evaluation.surrogates import SURROGATES, jittered, magnitude_warped
from myosynth.evaluation.validity import Scan, near_copies
from myosynth.recordings import SegmentSet

__all__ = ["AUGMENTATIONS", "MIN_SEGMENTS", "RoundTrip", "TaskSamples", "prepare"]

Array = NDArray[np.float64]
Index = NDArray[np.intp]
RoundTrip = Callable[[NDArray[Any]], NDArray[Any]]

MIN_SEGMENTS = 8
"""Fewer segments of a task in any of the compared samples: the task is not scored."""
AUGMENTATIONS = {"jitter": jittered, "magnitude_warp": magnitude_warped}


@dataclass(frozen=True)
class TaskSamples:
    """One task's samples; `others` are the validation and unseen subjects."""

    name: str
    train: Sample
    holdout: Sample
    others: Sample
    synthetic: Sample
    reference: Sample
    imitations: dict[str, Sample]
    round_trip: Sample | None
    scale: Scale
    n_near_copies: int


def prepare(
    real: SegmentSet,
    synthetic: SegmentSet,
    seen_real: Scan,
    seen: Scan,
    name: str,
    round_trip: RoundTrip | None,
    max_segments: int,
    rng: np.random.Generator,
    found: list[Finding],
) -> TaskSamples | None:
    def draw(rows: Index) -> Index:
        few = rng.permutation(rows)[:max_segments]
        few.sort()
        return few

    def real_rows(*splits: str) -> Index:
        chosen = (real.task == name) & np.isin(real.split, splits) & seen_real.finite
        return draw(np.flatnonzero(chosen))

    rows = {"train": real_rows("train"), "holdout": real_rows("holdout")}
    rows["others"] = real_rows("validation", "unseen")
    rows["synthetic"] = draw(np.flatnonzero((synthetic.task == name) & seen.finite))
    few = {which: len(rows[which]) for which in ("train", "holdout", "synthetic")}
    if min(few.values()) < MIN_SEGMENTS:
        counts = ", ".join(f"{count} {which}" for which, count in few.items())
        text = (
            f"Task {name} is not scored: it has {counts} segments, and each needs at least "
            f"{MIN_SEGMENTS}; record or generate more."
        )
        found.append(Finding("warning", "too_few", text))
        return None
    signals = real.read(rows["train"]).astype(np.float64)
    made = synthetic.read(rows["synthetic"])
    samples = {
        which: describe(real.read(rows[which]), real.fs, real.subject[rows[which]])
        for which in ("train", "holdout", "others")
    }
    owners = synthetic.subject[rows["synthetic"]]
    samples["synthetic"] = describe(made, real.fs, owners)
    nobody = np.full(len(made), "")
    imitations = {
        label: describe(make(signals, real.fs, len(made), rng), real.fs, nobody)
        for label, make in (SURROGATES | AUGMENTATIONS).items()
    }
    known = Sample.join([samples["train"], samples["holdout"]])
    scale = Scale.fit(known, real.n_channels, real.fs)
    if "all" not in scale.groups:
        text = f"Task {name} is not scored: its real segments are all constant."
        found.append(Finding("warning", "constant_task", text))
        return None
    size = min(few.values())
    return TaskSamples(
        name=name,
        reference=_reference(rows, samples, seen_real, seen, name, found),
        imitations=imitations,
        # of all subjects: the first rows are those of the first people alone
        round_trip=_passed_through(
            round_trip, signals[np.sort(rng.permutation(len(signals))[:size])], real.fs, name, found
        ),
        scale=scale,
        n_near_copies=near_copies(signals, made),
        **samples,
    )


def _reference(
    rows: dict[str, Index],
    samples: dict[str, Sample],
    seen_real: Scan,
    seen: Scan,
    name: str,
    found: list[Finding],
) -> Sample:
    """The holdout without what the synthetic set copies; the train split where little is left.

    A set would be at distance zero from itself. Real holdout segments handed in as synthetic are
    thereby measured against the train split, which is the floor they should come out at.
    """
    for which in ("holdout", "train"):
        own = ~np.isin(seen_real.digest[rows[which]], seen.digest)
        if own.sum() >= max(MIN_SEGMENTS, 0.5 * len(own)):
            if which == "train":
                text = (
                    f"Task {name}: the synthetic set holds the holdout segments themselves, so it "
                    "is compared with the train split instead."
                )
                found.append(Finding("warning", "holdout_copied", text))
            return samples[which].take(np.flatnonzero(own))
    return samples["holdout"]


def _passed_through(
    round_trip: RoundTrip | None,
    signals: Array,
    fs: float,
    name: str,
    found: list[Finding],
) -> Sample | None:
    if round_trip is None:
        return None
    result = np.asarray(round_trip(signals.astype(np.float32)))
    if result.shape != signals.shape or not np.isfinite(result).all():
        text = f"Task {name}: the round trip changed the shape or gave NaN, so it is not shown."
        found.append(Finding("warning", "round_trip", text))
        return None
    return describe(result, fs, np.full(len(result), ""))
