"""The audit: attacks on released data and on a released model, apart, each with its power."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from myosynth.errors import InputError, NotEnoughDataError
from myosynth.evaluation import findings as judge
from myosynth.evaluation.privacy import people as persons
from myosynth.evaluation.privacy.copies import CopySearch, search_copies
from myosynth.evaluation.privacy.matching import Source
from myosynth.evaluation.privacy.model import (
    LossAttack,
    ModelLoss,
    Shadow,
    lira,
    loss_attack,
    losses_of,
)
from myosynth.evaluation.privacy.people import Described
from myosynth.evaluation.privacy.repeats import about_repeats, held_out_apart
from myosynth.evaluation.privacy.results import Attack, Audit
from myosynth.evaluation.privacy.statistics import Groups
from myosynth.evaluation.privacy.verdicts import (
    FEW_HOLDOUT,
    about_envelopes,
    about_people,
    data_threat,
    model_threat,
    principles,
)
from myosynth.evaluation.scores import Finding
from myosynth.evaluation.validity import Scan, check_comparable, scan
from myosynth.recordings import SegmentSet

__all__ = ["audit"]

Index = NDArray[np.intp]
Progress = Callable[[float, str], None]

MIN_SEGMENTS = 20
"""Fewer train, holdout or synthetic segments: the fingerprint attacks are not run."""
_N_APPENDIX = 20


@dataclass(frozen=True)
class _Rows:
    """Usable segments: of the real set by role, and of the synthetic set without real ones."""

    train: Index
    holdout: Index
    others: Index
    synthetic: Index
    identical: Index

    @property
    def real(self) -> tuple[Index, Index, Index]:
        return self.train, self.holdout, self.others


def audit(
    real: SegmentSet,
    synthetic: SegmentSet,
    *,
    model_loss: ModelLoss | None = None,
    shadow: Shadow | None = None,
    private_appendix: bool = False,
    seed: int = 0,
    n_jobs: int = 2,
    on_progress: Progress | None = None,
) -> Audit:
    """Attack a synthetic set, and the model behind it, and say what that proves.

    Parameters
    ----------
    real : SegmentSet
        With `split`: train (members), holdout (other recordings of the same subjects) and, better,
        validation or unseen (other subjects).
    synthetic : SegmentSet
        Same rate, channels and length.
    model_loss : callable, optional
        From a set of n segments to losses (n, n_parts) that are the same each time, as
        `Synthesizer.loss` is; adds the attacks on the model.
    shadow : callable, optional
        From (segments, seed) to the `model_loss` of a small model trained on them; adds the attack
        with eight shadow models (slow). Needs `model_loss`.
    private_appendix : bool
        Also keep the nearest pairs of synthetic and train segments. Never share them.
    seed : int
        Same seed, same audit.
    n_jobs : int
        Threads.
    on_progress : callable, optional
        Called with the share done (0–1) and what is being done.

    Returns
    -------
    Audit
        ``threats["data"]`` and ``threats["model"]`` with their verdicts.

    Raises
    ------
    NotEnoughDataError
        If there is no train or no holdout segment that can be used.
    InputError
        If the sets differ in rate, channels or length, or `model_loss` gives no losses.
    """
    check_comparable(real, synthetic)
    if shadow is not None and model_loss is None:
        raise InputError("the shadow-model attack needs the model too; pass model_loss (--model)")
    report = on_progress or (lambda share, what: None)
    report(0.0, "looking at the samples")
    seen_real, seen = scan(real), scan(synthetic)
    found, warnings = _about_sets(real, synthetic, seen_real, seen)
    rows = _usable(real, synthetic, seen_real, seen, found, warnings)
    groups = Groups.of(
        [real.subject[rows.train], real.task[rows.train]],
        [real.subject[rows.holdout], real.task[rows.holdout]],
    )
    losses = None
    if model_loss is not None:
        report(0.02, "model losses")
        losses = [losses_of(model_loss, real, part) for part in rows.real]
    top = 0.3 if shadow is not None else 0.85

    def within(low: float, high: float) -> Progress:
        return lambda share, what: report(low + (high - low) * share, what)

    search = _search(real, synthetic, rows, groups, seed, n_jobs, within(0.02, top), warnings)
    report(top, "people")
    described = Described.standardise(
        Described.of(real, {"train": rows.train, "holdout": rows.holdout, "others": rows.others})
        | Described.of(synthetic, {"synthetic": np.sort(np.r_[rows.synthetic, rows.identical])})
    )
    people = _people(described, np.random.default_rng([seed, 5]))
    loss, deep = None, None
    if losses is not None and model_loss is not None:
        report(top + 0.05, "attacks on the model")
        loss = _loss(losses, described, groups, seed)
        if shadow is not None:
            deep = lira(
                model_loss, shadow, real, rows.train, rows.holdout, groups,
                seed=seed, on_progress=within(top + 0.1, 0.99),
            )  # fmt: skip
    threats = {
        "data": data_threat(search, len(rows.identical), people, len(synthetic)),
        "model": model_threat(loss, deep, len(rows.holdout)),
    }
    risks = principles(threats)
    found += _about_copies(search, rows, real, synthetic, seen_real, seen) + about_people(risks)
    found += about_envelopes(search)
    order = {"error": 0, "warning": 1, "note": 2}
    result = Audit(
        threats=threats,
        principles=risks,
        findings=sorted(found, key=lambda finding: order[finding.severity]),
        warnings=warnings,
        counts=_counts(real, synthetic, rows, search, seed),
    )
    if private_appendix:
        result.appendix = _appendix(real, synthetic, rows, search, seen_real, seen)
    report(1.0, "done")
    return result


def _about_sets(
    real: SegmentSet, synthetic: SegmentSet, seen_real: Scan, seen: Scan
) -> tuple[list[Finding], list[str]]:
    """What must be said before anything is attacked; repeated segments come first."""
    found = about_repeats(real, seen_real)
    relevant = {"unit", "channel_names", "task_unknown"}
    about = judge.about_sets(real, synthetic, seen_real, seen)
    found += [finding for finding in about if finding.code in relevant]
    warnings = [finding.text for finding in found]
    n_subjects = len(real.subjects)
    if n_subjects < judge.FEW_SUBJECTS:
        warnings.append(
            f"Only {n_subjects} real subject{'s' if n_subjects > 1 else ''}: under "
            f"{judge.FEW_SUBJECTS}, every verdict here is weak; do not rest a decision on it."
        )
    if not np.isin(real.split, ("validation", "unseen")).any():
        warnings.append(
            "There are no other subjects (validation or unseen), so nothing is said about who took "
            "part."
        )
    return found, warnings


def _usable(
    real: SegmentSet,
    synthetic: SegmentSet,
    seen_real: Scan,
    seen: Scan,
    found: list[Finding],
    warnings: list[str],
) -> _Rows:
    good_real = seen_real.finite & ~np.isneginf(seen_real.log_rms)
    for name, look in (("real", seen_real), ("synthetic", seen)):
        for what, bad in (("hold NaN or infinite samples", ~look.finite),
                          ("have a channel that never changes", look.constant)):  # fmt: skip
            if bad.any():
                left = " and were left out" if "NaN" in what else ""
                text = f"{int(bad.sum())} {name} segments {what}{left}."
                found.append(Finding("warning", f"{name}_broken", text))
                warnings.append(text)

    def of(*splits: str) -> Index:
        return np.flatnonzero(np.isin(real.split, splits) & good_real)

    train, holdout, others = of("train"), of("holdout"), of("validation", "unseen")
    for name, rows in (("train", train), ("holdout", holdout)):
        if len(rows) == 0:
            raise NotEnoughDataError(
                f"no {name} segment of the real set can be used (all hold NaN); repair them first"
            )
    holdout, others = held_out_apart(real, seen_real, train, holdout, others, found, warnings)
    if len(holdout) == 0:
        raise NotEnoughDataError(
            "every holdout segment overlaps or repeats a train segment, so there is nothing to "
            "compare members with; hold out other recordings: myosynth prepare does it"
        )
    if len(holdout) < FEW_HOLDOUT:
        warnings.append(
            f"Only {len(holdout)} holdout segments: with fewer than {FEW_HOLDOUT} an error of 1 % "
            "cannot be measured, so that a train segment is picked out only where it scores above "
            "every holdout segment."
        )
    usable = np.flatnonzero(seen.finite)
    same = np.isin(seen.digest[usable], seen_real.digest)
    return _Rows(train, holdout, others, usable[~same], usable[same])


def _search(
    real: SegmentSet,
    synthetic: SegmentSet,
    rows: _Rows,
    groups: Groups,
    seed: int,
    n_jobs: int,
    report: Progress,
    warnings: list[str],
) -> CopySearch | None:
    sizes = {"train": rows.train, "holdout": rows.holdout, "synthetic": rows.synthetic}
    few = [f"{len(part)} {name}" for name, part in sizes.items() if len(part) < MIN_SEGMENTS]
    if few:
        warnings.append(
            f"There are only {' and '.join(few)} segments to search for copies; the search needs "
            f"{MIN_SEGMENTS} of each and was not run."
        )
        return None
    return search_copies(
        Source.of(real, rows.train),
        Source.of(real, rows.holdout),
        Source.of(synthetic, rows.synthetic),
        real.fs,
        groups,
        (real.task[rows.train], synthetic.task[rows.synthetic]),
        seed=seed,
        n_jobs=n_jobs,
        on_progress=report,
    )


def _people(described: dict[str, Described], rng: np.random.Generator) -> list[Attack]:
    train, holdout, others, made = (
        described[name] for name in ("train", "holdout", "others", "synthetic")
    )
    results = [
        persons.subject_membership(holdout, others, made, rng),
        persons.linkage(holdout, others, made, rng),
        persons.attribute_inference(train, holdout, made, rng),
        persons.nearest_neighbour_share(train, holdout, made, rng),
    ]
    return [attack for attack in results if attack is not None]


def _loss(
    losses: list[NDArray[np.float64]], described: dict[str, Described], groups: Groups, seed: int
) -> LossAttack:
    train, holdout, others = (
        (loss, described[name])
        for loss, name in zip(losses, ("train", "holdout", "others"), strict=True)
    )
    return loss_attack(train, holdout, others, groups, np.random.default_rng([seed, 6]))


def _about_copies(
    search: CopySearch | None,
    rows: _Rows,
    real: SegmentSet,
    synthetic: SegmentSet,
    seen_real: Scan,
    seen: Scan,
) -> list[Finding]:
    found = []
    n = len(synthetic)
    if len(rows.identical):
        known = seen_real.digest[rows.train]
        n_train = int(np.isin(seen.digest[rows.identical], known).sum())
        text = (
            f"{len(rows.identical)} of {n} synthetic segments are real segments, byte by byte "
            f"({n_train} of them from the train split): do not share this set; check which files "
            "you passed."
        )
        found.append(Finding("error", "identical", text))
    if search is None:
        return found
    if search.copies.any():
        text = (
            f"{int(search.copies.sum())} of {n} synthetic segments are disguised copies of train "
            "segments: the generator repeats what it saw. Do not share the set; the private "
            "appendix (--private-appendix) shows the pairs to whoever may see them."
        )
        found.append(Finding("error", "copies", text))
    if search.holdout_copies.any():
        text = (
            f"{int(search.holdout_copies.sum())} of {n} synthetic segments match holdout segments "
            "as copies do: the generator has seen the holdout, or one recording is filed twice. "
            "Mend the split, train again and audit again."
        )
        severity = "error" if search.leak else "warning"
        found.append(Finding(severity, "holdout_copies", text))
    return found


def _counts(
    real: SegmentSet, synthetic: SegmentSet, rows: _Rows, search: CopySearch | None, seed: int
) -> dict[str, Any]:
    parts = {"train": rows.train, "holdout": rows.holdout, "others": rows.others}
    return {
        "real_segments": len(real),
        "real_subjects": len(real.subjects),
        "synthetic_segments": len(synthetic),
        "used": {
            name: {"segments": len(part), "subjects": len(np.unique(real.subject[part]))}
            for name, part in parts.items()
        },
        "synthetic_searched": len(rows.synthetic),
        "identical": len(rows.identical),
        "copy_limits_z": {
            name: {task or "other tasks": round(limit, 2) for task, limit in limits.items()}
            for name, limits in (search.thresholds if search else {}).items()
        },
        "fs": real.fs,
        "channel_names": list(real.channel_names),
        "seconds": real.duration_s,
        "seed": seed,
    }


def _appendix(
    real: SegmentSet,
    synthetic: SegmentSet,
    rows: _Rows,
    search: CopySearch | None,
    seen_real: Scan,
    seen: Scan,
) -> list[dict[str, Any]]:
    origin = {digest: row for row, digest in reversed(list(enumerate(seen_real.digest)))}
    pairs = [
        (int(made), origin[seen.digest[made]], "identical", 1.0, True) for made in rows.identical
    ]
    if search is not None:
        n = max(_N_APPENDIX, int(search.copies.sum()))
        for name, j, i in search.nearest[:n]:
            made, row = rows.synthetic[j], rows.train[i]
            alike = search.matchers[name].similarity(real.read([row]), synthetic.read([made]))[0]
            pairs.append((int(made), int(row), name, float(alike), bool(search.copies[j])))
    return [
        {
            "synthetic": made,
            "real": row,
            "attack": name,
            "similarity": alike,
            "copy": copy,
            "subject": str(real.subject[row]),
            "recording": str(real.recording[row]),
            "start_s": float(real.start_s[row]),
            "task": str(real.task[row]),
        }
        for made, row, name, alike, copy in pairs
    ]
