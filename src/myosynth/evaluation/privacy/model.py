"""Attacks on a released model: does it fit its train segments better than other recordings?

A model is a callable from n segments to losses (n, n_parts): of networks at fixed noise levels and
fixed noise, before them of a density of descriptors; of a parametric generator by group of
parameters.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV

from myosynth.errors import InputError, NotEnoughDataError
from myosynth.evaluation.privacy.people import Described
from myosynth.evaluation.privacy.results import Attack, segment_attack
from myosynth.evaluation.privacy.statistics import Groups, area_under_curve
from myosynth.recordings import SegmentSet

__all__ = ["LossAttack", "ModelLoss", "Shadow", "lira", "loss_attack", "losses_of"]

Array = NDArray[np.float64]
Index = NDArray[np.intp]
ModelLoss = Callable[[SegmentSet], NDArray[Any]]
Shadow = Callable[[SegmentSet, int], ModelLoss]

_BATCH = 256
_RIDGE_ALPHAS = np.logspace(-1, 4, 11)
_N_FOLDS = 5
_N_PERMUTATIONS = 999
N_SHADOWS = 8
_N_DRAWS = 200
_BLOCK_SEGMENTS = 4.0  # overlapping neighbours go to the same side of a shadow model


def losses_of(model_loss: ModelLoss, segments: SegmentSet, rows: Index) -> Array:
    """Log losses of the chosen segments, (n, n_parts).

    Raises
    ------
    InputError
        If the callable gives another shape, NaN, or losses that are not positive.
    """
    parts = []
    for start in range(0, len(rows), _BATCH):
        batch = rows[start : start + _BATCH]
        loss = np.asarray(model_loss(segments[batch]), dtype=np.float64)
        if loss.ndim != 2 or len(loss) != len(batch) or loss.shape[1] == 0:
            raise InputError(
                f"model_loss must give (n_segments, n_parts) losses, got {loss.shape} for "
                f"{len(batch)} segments"
            )
        parts.append(loss)
    losses = np.concatenate(parts) if parts else np.zeros((0, 1))
    if not np.isfinite(losses).all() or (losses < 0).any():
        raise InputError(
            "model_loss gave losses that are NaN, infinite or negative; check that the model fits "
            "these segments (rate, channels, tasks)"
        )
    result: Array = np.log(np.maximum(losses, 1e-30))
    return result


@dataclass(frozen=True)
class LossAttack:
    """What the loss of a model gives away.

    Parameters
    ----------
    attacks : list of Attack
        All parts of the loss together, each alone, and by subject.
    leak : bool
        Whether train segments are fitted better than chance allows.
    smallest_auc : float
        The smallest AUC that four of five such audits would find at p ≤ 0.01.
    """

    attacks: list[Attack]
    leak: bool
    smallest_auc: float


def loss_attack(
    train: tuple[Array, Described],
    holdout: tuple[Array, Described],
    others: tuple[Array, Described],
    groups: Groups,
    rng: np.random.Generator,
) -> LossAttack:
    """Threshold on the loss, calibrated by the holdout.

    What makes a segment hard (level, colour, rhythm) is learned on the holdout of other groups and
    subtracted, so that what is left is what the model remembers. Sources: Yeom et al. (2018),
    arXiv:1709.01604; Watson et al. (2022), arXiv:2111.08440.

    Parameters
    ----------
    train, holdout, others : (log losses (n, n_parts), Described)
        Members, non-members and other subjects.
    groups : Groups
        Subject and task of members and non-members.
    rng : Generator
        Of the permutations.
    """
    expected = _Difficulty(holdout, groups.non_members)
    known = -expected.excess(*train, groups.members)
    held = -expected.excess(*holdout, groups.non_members)
    spread = held.std(axis=0) + 1e-12
    members, non_members = (known / spread).mean(axis=1), (held / spread).mean(axis=1)
    together = _figures("loss", members, non_members, groups, rng)
    attacks = [together] + [
        _figures(f"loss_part_{k}", known[:, k], held[:, k], groups, rng)
        for k in range(known.shape[1])
        if known.shape[1] > 1
    ]
    null = groups.null(area_under_curve, members, non_members, rng, 299)
    p_auc = float((1 + np.sum(null >= (together.auc or 0) - 1e-12)) / (len(null) + 1))
    # 2.33 + 0.84: one-sided 1 % error, 80 % power
    smallest = 0.5 + 3.17 * float(null.std())
    if len(others[0]):
        strangers = -expected.excess_of_strangers(*others) / spread
        by_subject = _by_subject(
            (held / spread).mean(axis=1), holdout[1], strangers.mean(axis=1), others[1], rng
        )
        attacks += [by_subject] if by_subject else []
    leak = p_auc <= 0.01 or (together.p or 1) <= 0.01
    return LossAttack(attacks, leak, min(1.0, smallest))


class _Difficulty:
    """Ridge regression of the log loss on features, each group by a model that never saw it."""

    def __init__(self, holdout: tuple[Array, Described], group: Index) -> None:
        losses, described = holdout
        self._fold = np.random.default_rng(0).permutation(int(group.max()) + 1) % _N_FOLDS
        self._models = []
        for fold in range(_N_FOLDS):
            seen = self._fold[group] != fold
            seen = seen if seen.sum() >= 2 * _N_FOLDS else np.ones(len(group), dtype=bool)
            model = RidgeCV(alphas=_RIDGE_ALPHAS)
            self._models.append(model.fit(described.table[seen], losses[seen]))

    def excess(self, losses: Array, described: Described, group: Index) -> Array:
        fold = self._fold[np.minimum(group, len(self._fold) - 1)]
        expected = np.empty_like(losses)
        for k, model in enumerate(self._models):
            here = fold == k
            if here.any():
                expected[here] = model.predict(described.table[here]).reshape(-1, losses.shape[1])
        return losses - expected

    def excess_of_strangers(self, losses: Array, described: Described) -> Array:
        guesses = [model.predict(described.table) for model in self._models]
        excess: Array = losses - np.mean(guesses, axis=0).reshape(losses.shape)
        return excess


def _figures(
    name: str, members: Array, non_members: Array, groups: Groups, rng: np.random.Generator
) -> Attack:
    level = "" if name in {"loss", "lira"} else f" (part {name.rsplit('_', 1)[-1]} of its loss)"
    return segment_attack(
        name,
        members,
        non_members,
        groups,
        rng,
        n_permutations=_N_PERMUTATIONS,
        meaning=lambda tpr, auc: (
            f"{_HOW[name.split('_')[0]]}{level}: picks out {tpr:.1%} of the train segments, "
            f"while 1 % of the holdout is picked in error; right in {auc:.0%} of pairs (50 % is "
            "guessing)."
        ),
    )


_HOW = {
    "loss": "Looks how well the model fits each segment",
    "lira": "Compares the model with small ones trained with and without each segment",
}


def _by_subject(
    held: Array, holdout: Described, strangers: Array, others: Described, rng: np.random.Generator
) -> Attack | None:
    members, non_members = (
        np.array([scores[part.subject == one].mean() for one in np.unique(part.subject)])
        for scores, part in ((held, holdout), (strangers, others))
    )
    if min(len(members), len(non_members)) < 2:
        return None
    auc = area_under_curve(members, non_members)
    both = np.concatenate([members, non_members])
    side = np.arange(len(both)) < len(members)
    draws = rng.permuted(np.tile(side, (_N_PERMUTATIONS, 1)), axis=1)
    null = np.array([area_under_curve(both[draw], both[~draw]) for draw in draws])
    return Attack(
        name="loss_subject",
        unit="subject",
        figure="auc",
        value=auc,
        best=0.5,
        auc=auc,
        p=float((1 + np.sum(null >= auc - 1e-12)) / (len(null) + 1)),
        n_members=len(members),
        n_non_members=len(non_members),
        meaning=(
            "Looks how well the model fits other recordings of a person, and is right in "
            f"{auc:.0%} of pairs about who took part (50 % is guessing)."
        ),
    )


def lira(
    model_loss: ModelLoss,
    shadow: Shadow,
    segments: SegmentSet,
    train: Index,
    holdout: Index,
    groups: Groups,
    *,
    seed: int,
    on_progress: Callable[[float, str], None],
) -> tuple[Attack, float]:
    """Likelihood-ratio attack with shadow models, each trained on a random half of all candidates.

    Blocks of neighbouring segments are in or out together, each in half of the shadow models. With
    so few models the variance is shared by all segments. Source: Carlini et al. (2022),
    arXiv:2112.03570, section V and appendix on fixed variance.

    Returns
    -------
    attack : Attack
        On the model itself.
    power : float
        AUC of the same attack on the shadow models, whose members are known: what the attack can
        find in models of that size that were trained on that much.
    """
    rng = np.random.default_rng([seed, 7])
    candidates = np.concatenate([train, holdout])
    inside = _halves(segments, candidates, rng)
    target = -losses_of(model_loss, segments, candidates)
    fits: list[Array] = []
    for k in range(N_SHADOWS):
        on_progress(k / (N_SHADOWS + 1), f"shadow model {k + 1} of {N_SHADOWS}")
        learned = segments[candidates[inside[:, k]]]
        learned.split = np.full(len(learned), "train")
        fits.append(-losses_of(shadow(learned, seed + 1 + k), segments, candidates))
        if fits[-1].shape != target.shape:
            raise InputError(
                f"a shadow model gives {fits[-1].shape[1]} losses a segment and the model "
                f"{target.shape[1]}; shadow models must be built like the model"
            )
    on_progress(N_SHADOWS / (N_SHADOWS + 1), "likelihood ratios")
    confidence = np.stack(fits, axis=1)
    scores = _likelihood_ratio(target, confidence, inside)
    attack = _figures("lira", scores[: len(train)], scores[len(train) :], groups, rng)
    known: list[Array] = [np.zeros(0), np.zeros(0)]
    for k in range(N_SHADOWS):
        rest = np.arange(N_SHADOWS) != k
        score = _likelihood_ratio(confidence[:, k], confidence[:, rest], inside[:, rest])
        known = [np.r_[known[0], score[inside[:, k]]], np.r_[known[1], score[~inside[:, k]]]]
    return attack, area_under_curve(*known)


def _halves(segments: SegmentSet, rows: Index, rng: np.random.Generator) -> NDArray[np.bool_]:
    """(n, n_shadows): whether each segment is in; each block is in exactly half of them."""
    block_s = _BLOCK_SEGMENTS * segments.duration_s
    start = segments.start_s[rows]
    position = np.arange(len(rows)) // int(_BLOCK_SEGMENTS)
    number = np.floor(start / block_s) if np.ptp(start) > 0 else position
    columns = (segments.recording, segments.subject, segments.task, segments.split)
    labels = [
        "\t".join([*(column[row] for column in columns), f"{k:.0f}"])
        for row, k in zip(rows, number, strict=True)
    ]
    names, block = np.unique(labels, return_inverse=True)
    half = np.arange(N_SHADOWS) < N_SHADOWS // 2
    task = segments.task[rows]
    for _ in range(_N_DRAWS):
        drawn = rng.permuted(np.tile(half, (len(names), 1)), axis=1)
        chosen: NDArray[np.bool_] = drawn[block]
        # a model that never met a task has no loss for it
        if all(chosen[task == name].any(axis=0).all() for name in np.unique(task)):
            return chosen
    raise NotEnoughDataError(
        "the shadow-model attack needs every task in several recordings, so that each half of them "
        "holds it; leave out the rare task, or the attack (--deep)"
    )


def _likelihood_ratio(target: Array, confidence: Array, inside: NDArray[np.bool_]) -> Array:
    """Mean over parts of log p(in) − log p(out); target (n, s), confidence (n, m, s)."""
    weight = inside[:, :, None].astype(float)
    mean_in = (confidence * weight).sum(axis=1) / np.maximum(weight.sum(axis=1), 1)
    mean_out = (confidence * (1 - weight)).sum(axis=1) / np.maximum((1 - weight).sum(axis=1), 1)
    mean = np.where(inside[:, :, None], mean_in[:, None], mean_out[:, None])
    spread = confidence - mean
    variance = np.mean(spread**2, axis=(0, 1)) + 1e-12
    # a target trained longer than its shadows fits everything better: that says nothing
    level = np.median(target - 0.5 * (mean_in + mean_out), axis=0)
    shifted = target - level
    ratio = ((shifted - mean_out) ** 2 - (shifted - mean_in) ** 2) / (2 * variance)
    result: Array = ratio.mean(axis=1)
    return result
