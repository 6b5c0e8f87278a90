"""Attacks on released data segment by segment: fingerprints, copies, and their canaries."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from myosynth.evaluation.privacy.canaries import DISGUISES, Planting, plan_planting
from myosynth.evaluation.privacy.fingerprints import FINGERPRINTS, HINTS
from myosynth.evaluation.privacy.matching import Best, Matcher, Source
from myosynth.evaluation.privacy.results import Attack, Canary, segment_attack
from myosynth.evaluation.privacy.statistics import (
    Groups,
    Gumbel,
    clopper_pearson,
    threshold_at_fpr,
)

__all__ = ["COMBINED", "CopySearch", "search_copies"]

Array = NDArray[np.float64]
Text = NDArray[np.str_]
Progress = Callable[[float, str], None]

COMBINED = "fingerprints"
FALSE_ALARM = 1e-3
"""Probability, per attack and audit, that any segment of a set without copies is called one."""
CLEAR_FACTOR = 2.0
"""How many times more alike (in z) a copy must be than the nearest segment that it cannot copy."""
_MANY_HOLDOUT_HITS = 3
_MIN_FOR_LAW = 15

_MEANING = {
    "stft": "looks for copied time-frequency patterns, even with new phases",
    "periodogram": "looks for copied spectra, even shifted or reversed in time",
    "waveform": "looks for copied waveforms, even shifted, flipped, louder or noisy",
    COMBINED: "the three fingerprints together",
    "envelope": "looks for copied envelopes under a new carrier (a hint, no proof)",
}


@dataclass
class CopySearch:
    """What the fingerprint attacks found.

    Parameters
    ----------
    attacks : list of Attack
        Each fingerprint, then all together.
    canaries : list of Canary
        Every disguise × share × attack.
    copies : array of bool, (n_synthetic,)
        Synthetic segments found to be copies of train segments.
    holdout_copies : array of bool, (n_synthetic,)
        The same of holdout segments.
    leak : bool
        Whether there are more of them than chance allows.
    membership_p : float
        Of the true-positive rate of all together.
    nearest : list of (attack, synthetic, train)
        For each synthetic segment its nearest train segment; copies first, then most alike first.
    thresholds : dict of str to dict of str to float
        By attack and task: above which z a pair is called a copy.
    matchers : dict of str to Matcher
        To look at pairs again.
    """

    attacks: list[Attack]
    canaries: list[Canary]
    copies: NDArray[np.bool_]
    holdout_copies: NDArray[np.bool_]
    leak: bool
    membership_p: float
    nearest: list[tuple[str, int, int]]
    thresholds: dict[str, dict[str, float]]
    matchers: dict[str, Matcher]


@dataclass
class _One:
    """One fingerprint: its matches, its laws of chance, its canaries."""

    matcher: Matcher
    train: Best
    holdout: Best
    candidate_law: Gumbel
    synthetic_law: Gumbel
    limits: dict[str, float]
    tasks: Text
    planted: dict[tuple[str, float], "_Planted"] = field(default_factory=dict)

    @property
    def copies(self) -> NDArray[np.bool_]:
        return self.are_copies(self.train.by_synthetic, self.holdout.by_synthetic, self.tasks)

    @property
    def holdout_copies(self) -> NDArray[np.bool_]:
        return self.are_copies(self.holdout.by_synthetic, self.train.by_synthetic, self.tasks)

    def are_copies(self, own: Array, other: Array, tasks: Text) -> NDArray[np.bool_]:
        """Above the limit of the task, and far above the best match on the `other` side: a person
        whose bursts repeat exactly is like their own recordings on either."""
        return (own > self.limits_of(tasks)) & (own > CLEAR_FACTOR * other)

    def limits_of(self, tasks: Text) -> Array:
        return np.array([self.limits.get(str(task), self.limits[""]) for task in tasks])


@dataclass(frozen=True)
class _Planted:
    members: Array  # scores of the planted train segments
    non_members: Array  # scores of the holdout, the planted copies being there
    hits: NDArray[np.bool_]  # planted copies above the copy threshold


def search_copies(
    train: Source,
    holdout: Source,
    synthetic: Source,
    fs: float,
    groups: Groups,
    tasks: tuple[Text, Text],
    *,
    seed: int,
    n_jobs: int,
    on_progress: Progress,
) -> CopySearch:
    """Run the fingerprint attacks and plant their canaries.

    Parameters
    ----------
    train, holdout : Source
        Members and non-members.
    synthetic : Source
        Without segments that are real ones byte for byte.
    fs : float
        Sampling rate, Hz.
    groups : Groups
        Subject and task of members and non-members.
    tasks : two arrays of str
        Of the train and of the synthetic segments.
    seed : int
        For the planted segments, disguises and permutations.
    n_jobs : int
        Threads.
    on_progress : callable
        Share (0–1) and what is being done.
    """
    planting = plan_planting(train.n, synthetic.n, np.random.default_rng([seed, 1]))
    victims = train.read(planting.rows).astype(np.float64)
    disguised = {
        name: disguise(victims, fs, np.random.default_rng([seed, 2, k]))
        for k, (name, disguise) in enumerate(DISGUISES.items())
    }
    found: dict[str, _One] = {}
    for k, name in enumerate(FINGERPRINTS):

        def report(share: float, k: int = k, name: str = name) -> None:
            on_progress((k + share) / len(FINGERPRINTS), f"{name} fingerprints")

        rng = np.random.default_rng([seed, 3, k])
        one = _attack(name, train, holdout, synthetic, fs, rng, n_jobs, tasks[1], report)
        report(0.8)
        if name not in HINTS:
            planted_tasks = tasks[0][planting.rows]
            one.planted = _plant(one, victims, holdout, disguised, planting, planted_tasks)
        found[name] = one
    return _gather(found, groups, np.random.default_rng([seed, 4]))


def _attack(
    name: str,
    train: Source,
    holdout: Source,
    synthetic: Source,
    fs: float,
    rng: np.random.Generator,
    n_jobs: int,
    tasks: Text,
    report: Callable[[float], None],
) -> _One:
    matcher = Matcher(name, fs, holdout, synthetic, rng, n_jobs)
    of_holdout = matcher.match(holdout, synthetic, lambda share: report(0.4 * share))
    of_train = matcher.match(train, synthetic, lambda share: report(0.4 + 0.4 * share))
    law = _law_of_chance(of_train.by_synthetic, of_holdout.by_synthetic, train.n / holdout.n)
    return _One(
        matcher,
        of_train,
        of_holdout,
        Gumbel.fit(of_holdout.standardised(of_holdout.by_candidate)),
        law,
        _limits(law, of_holdout.by_synthetic, tasks, train.n / holdout.n),
        tasks,
    )


def _limits(law: Gumbel, of_holdout: Array, tasks: Text, ratio: float) -> dict[str, float]:
    """By task: what chance exceeds once in many audits. Tasks differ in how alike their segments
    are; one with its own wider law has its own higher limit. ``""`` stands for the others."""
    n = len(tasks) * max(1.0, ratio)
    limits = {"": law.threshold(n, FALSE_ALARM)}
    for task in np.unique(tasks):
        own = of_holdout[tasks == task]
        if len(own) < _MIN_FOR_LAW:
            continue
        of_task = Gumbel.fit(own)
        # where most of a task copies the holdout, its own law is that of the copies
        if of_task.location < law.location + 10 * law.scale:
            limits[str(task)] = max(limits[""], of_task.threshold(n, FALSE_ALARM))
    return limits


def _law_of_chance(of_train: Array, of_holdout: Array, ratio: float) -> Gumbel:
    """Of the best holdout match of a synthetic segment; from the train side where most of the
    synthetic set copies the holdout."""
    law, other = Gumbel.fit(of_holdout), Gumbel.fit(of_train)
    expected = other.location - other.scale * np.log(ratio)
    if law.location > expected + 10 * other.scale:
        return Gumbel(float(expected), other.scale)
    return law


def _plant(
    one: _One,
    victims: NDArray[Any],
    holdout: Source,
    disguised: dict[str, NDArray[Any]],
    planting: Planting,
    tasks: Text,
) -> dict[tuple[str, float], _Planted]:
    """Scores and copies found for each disguise and share; a share holds those before it."""
    step_of = np.searchsorted(list(planting.counts.values()), np.arange(len(victims)), "right")
    n_steps = len(planting.counts)
    part = np.concatenate([k * n_steps + step_of for k in range(len(disguised))])
    copies = Source.held(np.concatenate(list(disguised.values())))
    own, by_copy = one.matcher.match_parts(Source.held(victims), copies, part)
    others, by_other = one.matcher.match_parts(holdout, copies, part)
    found = one.are_copies(by_copy, by_other, np.tile(tasks, len(disguised)))
    results = {}
    usual = replace(one.train, usual=one.train.usual[:, planting.rows])
    for k, name in enumerate(disguised):
        members = one.train.by_candidate[planting.rows]
        non_members = one.holdout.by_candidate
        hits = found[k * len(victims) : (k + 1) * len(victims)]
        for step, (share, count) in enumerate(planting.counts.items()):
            members = np.maximum(members, own[k * n_steps + step])
            non_members = np.maximum(non_members, others[k * n_steps + step])
            results[name, share] = _Planted(
                usual.standardised(members)[:count],
                one.holdout.standardised(non_members),
                hits[:count],
            )
    return results


def _gather(found: dict[str, _One], groups: Groups, rng: np.random.Generator) -> CopySearch:
    hints = {name: found.pop(name) for name in HINTS}
    # a holdout segment that the set copies is no non-member
    apart = ~np.any(
        [one.holdout.by_candidate > max(one.limits.values()) for one in found.values()], axis=0
    )
    if not apart.any():
        apart[:] = True
    groups = Groups(groups.members, groups.non_members[apart])
    members = {n: one.train.standardised(one.train.by_candidate) for n, one in found.items()}
    non_members = {
        n: one.holdout.standardised(one.holdout.by_candidate)[apart] for n, one in found.items()
    }
    laws = {name: one.candidate_law for name, one in found.items()}
    copies = {name: one.copies for name, one in found.items()}
    members[COMBINED], non_members[COMBINED] = _best(members, laws), _best(non_members, laws)
    copies[COMBINED] = np.any(list(copies.values()), axis=0)
    held = np.any([one.holdout_copies for one in found.values()], axis=0) & ~copies[COMBINED]
    attacks = [
        segment_attack(
            name,
            members[name],
            non_members[name],
            groups,
            rng,
            copies=(n := int(copies[name].sum())),
            meaning=lambda tpr, auc, name=name, n=n: _sentence(name, tpr, n),  # type: ignore[misc]
        )
        for name in (*found, COMBINED)
    ]
    p = attacks[-1].p
    attacks += [_hint(name, one, groups, apart, rng) for name, one in hints.items()]
    ratio = len(members[COMBINED]) / len(apart)
    return CopySearch(
        attacks=attacks,
        canaries=_canaries(found, laws, apart, int(held.sum())),
        copies=copies[COMBINED],
        holdout_copies=held,
        leak=_is_leak(int(copies[COMBINED].sum()), int(held.sum()), ratio),
        membership_p=1.0 if p is None else p,
        nearest=_nearest(found),
        thresholds={name: one.limits for name, one in found.items()},
        matchers={name: one.matcher for name, one in found.items()},
    )


def _is_leak(n_train: int, n_holdout: int, ratio: float) -> bool:
    """More matches with train than with holdout segments, or matches with either beyond doubt."""
    if n_holdout >= _MANY_HOLDOUT_HITS:
        return True
    if n_train == 0 or n_holdout == 0:
        return n_train > 0
    test = binomtest(n_train, n_train + n_holdout, ratio / (1 + ratio), alternative="greater")
    return bool(test.pvalue < 0.01)


def _best(scores: dict[str, Array], laws: dict[str, Gumbel]) -> Array:
    standardised = [laws[name].standardise(values) for name, values in scores.items()]
    best: Array = np.max(standardised, axis=0)
    return best


def _hint(
    name: str, one: _One, groups: Groups, apart: NDArray[np.bool_], rng: np.random.Generator
) -> Attack:
    members = one.train.standardised(one.train.by_candidate)
    non_members = one.holdout.standardised(one.holdout.by_candidate)[apart]
    return segment_attack(
        name,
        members,
        non_members,
        groups,
        rng,
        evidence=False,
        meaning=lambda tpr, auc: _sentence(name, tpr, 0),
    )


def _sentence(name: str, tpr: float, copies: int) -> str:
    found = "finds no copy, and" if copies == 0 else f"finds {copies} copies, and"
    return (
        f"{_MEANING[name][0].upper()}{_MEANING[name][1:]}: {'' if name in HINTS else found + ' '}"
        f"picks out {tpr:.1%} of the train segments, while 1 % of the holdout is picked in error."
    )


def _canaries(
    found: dict[str, _One],
    laws: dict[str, Gumbel],
    apart: NDArray[np.bool_],
    n_holdout_hits: int,
) -> list[Canary]:
    results = []
    one = next(iter(found.values()))
    ratio = len(one.train.by_candidate) / len(one.holdout.by_candidate)
    keys = one.planted
    for disguise, share in keys:
        each = {name: one.planted[disguise, share] for name, one in found.items()}
        together = _Planted(
            _best({name: planted.members for name, planted in each.items()}, laws),
            _best({name: planted.non_members for name, planted in each.items()}, laws),
            np.any([planted.hits for planted in each.values()], axis=0),
        )
        for name, planted in {**each, COMBINED: together}.items():
            n = len(planted.members)
            threshold = threshold_at_fpr(planted.non_members[apart])
            hits = int((planted.members > threshold).sum())
            low, high = clopper_pearson(hits, n)
            n_found = int(planted.hits.sum())
            detected = _is_leak(n_found, n_holdout_hits, ratio)
            results.append(Canary(disguise, share, name, n, hits / n, low, high, n_found, detected))
    return results


def _nearest(found: dict[str, _One]) -> list[tuple[str, int, int]]:
    names = list(found)
    scores = np.stack([
        (one.train.by_synthetic - one.limits_of(one.tasks)) / one.synthetic_law.scale
        for one in found.values()
    ])  # fmt: skip
    scores += np.where([one.copies for one in found.values()], 1e6, 0)  # copies come first
    best = scores.argmax(axis=0)
    order = np.argsort(-scores.max(axis=0), kind="stable")
    return [
        (
            names[best[j]],
            int(j),
            int(found[names[best[j]]].train.candidate_of[j]),
        )
        for j in order
    ]
