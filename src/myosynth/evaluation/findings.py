"""Plain sentences about what is wrong with a synthetic set, and what to do next."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier

from myosynth.evaluation.scores import Finding, make_row
from myosynth.evaluation.utility import (
    CLASSIFIERS,
    Labelled,
    balanced_accuracy,
    confusion,
    predict,
)
from myosynth.evaluation.validity import Scan, unit_finding
from myosynth.recordings import SegmentSet

__all__ = ["about_copies", "about_labels", "about_sets", "about_variety"]

FEW_SUBJECTS = 8


def about_sets(
    real: SegmentSet, synthetic: SegmentSet, seen_real: Scan, seen: Scan
) -> list[Finding]:
    """Tasks, channels, subjects and units that do not match."""
    found = []
    for task in sorted(set(real.tasks) - set(synthetic.tasks)):
        text = f"Task {task} is missing from the synthetic set; generate it too."
        found.append(Finding("error", "task_missing", text))
    extra = sorted(set(synthetic.tasks) - set(real.tasks))
    if extra:
        names = ", ".join(name or "(empty)" for name in extra)
        text = f"The synthetic set has tasks that the real set lacks (not scored): {names}."
        found.append(Finding("warning", "task_unknown", text))
    if real.channel_names != synthetic.channel_names:
        text = (
            f"Channel names differ (real {', '.join(real.channel_names)}; synthetic "
            f"{', '.join(synthetic.channel_names)}); they are compared in this order."
        )
        found.append(Finding("warning", "channel_names", text))
    n_subjects = len(real.subjects)
    if n_subjects == 1:
        text = (
            "The real set has one subject: what other people are like is unknown, so there is no "
            "floor for new subjects and no z."
        )
        found.append(Finding("warning", "one_subject", text))
    elif n_subjects < FEW_SUBJECTS:
        text = (
            f"Only {n_subjects} real subjects: with fewer than {FEW_SUBJECTS}, floors and "
            "intervals are rough; do not rest a decision on them."
        )
        found.append(Finding("warning", "few_subjects", text))
    unit = _about_units(real, synthetic, seen_real, seen)
    return found + ([unit] if unit else [])


def _about_units(
    real: SegmentSet, synthetic: SegmentSet, seen_real: Scan, seen: Scan
) -> Finding | None:
    """Compared task by task: tasks differ tenfold in amplitude."""
    medians = []
    for task in set(real.tasks) & set(synthetic.tasks):
        one = seen_real.log_rms[(real.task == task) & seen_real.finite]
        two = seen.log_rms[(synthetic.task == task) & seen.finite]
        if len(one) and len(two):
            medians.append((np.median(one), np.median(two)))
    if not medians:
        return None
    one, two = np.median(np.array(medians), axis=0)
    return unit_finding(float(one), float(two))


def about_copies(n_near: int, validity: dict[str, Any]) -> list[Finding]:
    """Plain near-copies of the train split, beyond the byte-identical ones."""
    if n_near == 0 or n_near <= validity["copies_of_real"]:
        return []
    text = (
        f"{n_near} synthetic segments follow a train segment sample by sample: they are copies "
        "with noise or another gain. Do not share the set; see: myosynth audit."
    )
    return [Finding("error", "near_copies", text)]


def about_labels(train: Labelled, holdout: Labelled, synthetic: Labelled) -> list[Finding]:
    """Whether the synthetic tasks are what a classifier trained on real segments takes them for."""
    tasks = tuple(np.unique(synthetic.task).tolist())
    if len(tasks) < 2:
        return []
    chance = 1 / len(tasks)
    # a linear classifier takes all of a set that lies off the real ones for one task, whatever the
    # labels; labels are at fault only where no classifier sees them
    able, right, guess = max(
        (_recognised(train, holdout, synthetic, classifier) for classifier in CLASSIFIERS),
        key=lambda found: found[1],
    )
    if able < chance + 0.15 or right > chance + 0.5 * (able - chance):
        return []
    table = confusion(synthetic.task, guess, tasks)
    taken = table.argmax(axis=1)
    if len(set(taken)) == len(tasks) and table.max(axis=1).min() > 0.5:
        pairs = [f"{a} looks like {tasks[b]}" for a, b in zip(tasks, taken, strict=True)]
        moved = [pair for pair, a, b in zip(pairs, tasks, taken, strict=True) if a != tasks[b]]
        return [Finding("error", "labels_swapped", f"Labels look swapped: {', '.join(moved)}.")]
    spread = np.abs(table - table.mean(axis=0)).max()
    if spread < 0.25:
        text = (
            f"Labels look shuffled: a classifier of real segments is right in {right:.0%} of the "
            f"synthetic ones (real ones {able:.0%}, chance {chance:.0%}), whatever their label."
        )
        return [Finding("error", "labels_shuffled", text)]
    text = (
        f"Many labels look wrong: a classifier of real segments is right in {right:.0%} of the "
        f"synthetic ones, against {able:.0%} of the real holdout."
    )
    return [Finding("warning", "labels_wrong", text)]


def _recognised(
    train: Labelled, holdout: Labelled, synthetic: Labelled, classifier: str
) -> tuple[float, float, NDArray[np.str_]]:
    """Balanced accuracy on the holdout and on the synthetic set, and the tasks guessed there."""
    able = balanced_accuracy(holdout.task, predict(train, holdout, classifier=classifier))
    guess = predict(train, synthetic, classifier=classifier)
    return able, balanced_accuracy(synthetic.task, guess), guess


def about_variety(
    train: Labelled, holdout: Labelled, synthetic: Labelled, seed: int
) -> tuple[list[Finding], list[dict[str, Any]]]:
    """How many train subjects the synthetic set resembles.

    A forest assigns each segment to a train subject, within its task; the effective number is
    exp(entropy) of the shares. The holdout of the same subjects shows what could be reached.
    """
    subjects = np.unique(train.subject)
    if len(subjects) < 3:
        return [], []
    shares = {"synthetic": np.zeros(len(subjects)), "holdout": np.zeros(len(subjects))}
    for task in np.unique(train.task):
        own = train.take(train.task == task)
        if len(np.unique(own.subject)) < 2:
            continue
        forest = ExtraTreesClassifier(100, min_samples_leaf=2, random_state=seed)
        forest.fit(own.table, own.subject)
        for which, labelled in (("synthetic", synthetic), ("holdout", holdout)):
            segments = labelled.take(labelled.task == task)
            if len(segments):
                found = np.searchsorted(subjects, forest.predict(segments.table).astype(str))
                shares[which] += np.bincount(found, minlength=len(subjects)) / len(found)
    made, reached = (_effective(shares[which]) for which in ("synthetic", "holdout"))
    row = make_row(
        "all", "variety", "effective_subjects", unit="subjects", better="higher",
        value=made, floor_same=reached,
    )  # fmt: skip
    if made >= 0.6 * reached:
        return [], [row]
    text = (
        f"The synthetic set has only about {made:.0f} of {len(subjects)} subjects' worth of "
        f"variety (the real holdout: {reached:.0f}); the generator leaves people out."
    )
    return [Finding("error", "variety", text)], [row]


def _effective(shares: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    p = shares[shares > 0] / shares.sum()
    return float(np.exp(-np.sum(p * np.log(p))))
