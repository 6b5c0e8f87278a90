"""Attacks on released data person by person: who took part, whose is it, what else are they like.

They look at features, as an attacker does who holds other recordings of a person, never the train
segments themselves. A generator that learned from few people resembles them, copies or not; what is
found here is therefore told beside the verdict on copies, not instead of it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from myosynth.evaluation.privacy.results import Attack
from myosynth.evaluation.privacy.statistics import area_under_curve
from myosynth.recordings import SegmentSet
from myosynth.signal.features import FEATURES, feature_table

__all__ = [
    "Described",
    "attribute_inference",
    "linkage",
    "nearest_neighbour_share",
    "subject_membership",
]

Array = NDArray[np.float64]
Index = NDArray[np.intp]
Text = NDArray[np.str_]

MIN_SEGMENTS = 3
"""Fewer segments of a person in a task say nothing about the person."""
MIN_PEOPLE = 2
SECRETS = ("rms", "mdf", "env_rate", "kurtosis")
"""One feature of each group, guessed from the features of the other groups."""
TOLERANCE_SD = 0.25
_N_PERMUTATIONS = 1999


@dataclass(frozen=True)
class Described:
    """Features of segments, standardised by task on real train and holdout segments.

    Parameters
    ----------
    table : array, (n_segments, n_channels · n_features)
        In real standard deviations, limited to ±6.
    task, subject : array of str, (n_segments,)
        Labels; the subject is empty for synthetic segments.
    """

    table: Array
    task: Text
    subject: Text

    def __len__(self) -> int:
        return len(self.table)

    def take(self, rows: NDArray[np.generic]) -> "Described":
        return Described(self.table[rows], self.task[rows], self.subject[rows])

    @staticmethod
    def of(segments: SegmentSet, parts: dict[str, Index]) -> "dict[str, Described]":
        """Features of the named parts of a set, not yet standardised."""
        described = {}
        for name, rows in parts.items():
            step = max(1, (1 << 23) // (segments.n_channels * segments.n_times))
            tables = [
                feature_table(segments.read(rows[i : i + step]), segments.fs)
                for i in range(0, max(len(rows), 1), step)
            ]
            table = np.concatenate(tables).reshape(len(rows), segments.n_channels * len(FEATURES))
            described[name] = Described(table, segments.task[rows], segments.subject[rows])
        return described

    @staticmethod
    def standardise(parts: "dict[str, Described]") -> "dict[str, Described]":
        """By task, with mean and standard deviation of ``train`` and ``holdout``."""
        result = {name: np.zeros_like(part.table) for name, part in parts.items()}
        known = [parts["train"], parts["holdout"]]
        for task in np.unique(np.concatenate([part.task for part in known])):
            table = np.concatenate([part.table[part.task == task] for part in known])
            mean, sd = table.mean(axis=0), table.std(axis=0)
            varies = sd > 1e-9 * (1 + np.abs(mean))
            for name, part in parts.items():
                rows = part.task == task
                z = (part.table[rows] - mean) / np.where(varies, sd, 1)
                result[name][rows] = np.where(varies, z, 0).clip(-6, 6)
        return {
            name: Described(result[name], part.task, part.subject) for name, part in parts.items()
        }


def subject_membership(
    holdout: Described, others: Described, synthetic: Described, rng: np.random.Generator
) -> Attack | None:
    """Whether people who took part lie nearer to the synthetic set than people who did not.

    The score of a person is the median distance of their segments to the nearest synthetic segment
    of the same task, averaged over tasks; for members the attacker holds the holdout segments.

    Returns
    -------
    Attack or None
        None where there are fewer than two people on either side.
    """
    members, non_members = (_median_nearest(part, synthetic) for part in (holdout, others))
    if min(len(members), len(non_members)) < MIN_PEOPLE:
        return None
    auc = area_under_curve(-members, -non_members)
    both = np.concatenate([members, non_members])
    is_member = np.arange(len(both)) < len(members)
    draws = rng.permuted(np.tile(is_member, (_N_PERMUTATIONS, 1)), axis=1)
    null = np.array([area_under_curve(-both[draw], -both[~draw]) for draw in draws])
    resampled = [
        area_under_curve(
            -rng.choice(members, len(members)), -rng.choice(non_members, len(non_members))
        )
        for _ in range(500)
    ]
    low, high = np.quantile(resampled, [0.025, 0.975])
    p = float((1 + np.sum(null >= auc - 1e-12)) / (len(null) + 1))
    return Attack(
        name="subject_membership",
        unit="subject",
        figure="auc",
        value=auc,
        low=float(low),
        high=float(high),
        best=0.5,
        auc=auc,
        p=p,
        n_members=len(members),
        n_non_members=len(non_members),
        meaning=(
            "Somebody who holds other recordings of a person says whether that person took part, "
            f"and is right in {auc:.0%} of pairs (50 % is guessing)."
        ),
    )


def _median_nearest(people: Described, synthetic: Described) -> Array:
    scores: dict[str, list[float]] = {}
    for task in np.unique(people.task):
        cloud = synthetic.table[synthetic.task == task]
        if len(cloud) == 0:
            continue
        own = people.take(people.task == task)
        distance = _nearest_distance(cloud, own.table)
        for subject in np.unique(own.subject):
            one = distance[own.subject == subject]
            if len(one) >= MIN_SEGMENTS:
                scores.setdefault(str(subject), []).append(float(np.median(one)))
    return np.array([np.mean(one) for one in scores.values()])


def _nearest_distance(cloud: Array, points: Array) -> Array:
    return np.asarray(cKDTree(cloud).query(points)[0], dtype=np.float64)


def linkage(
    holdout: Described, others: Described, synthetic: Described, rng: np.random.Generator
) -> Attack | None:
    """Posterior mass that synthetic segments put on people who took part, over its prior.

    The attacker trains a classifier of people on their own recordings of members and of others,
    as many of each, and asks it whose each synthetic segment is.
    """
    everybody = Described(
        np.concatenate([holdout.table, others.table]),
        np.concatenate([holdout.task, others.task]),
        np.concatenate([holdout.subject, others.subject]),
    )
    rows = _equal_rows(everybody.subject, rng)
    known = everybody.take(rows)
    people = np.unique(known.subject)
    member = np.isin(people, np.unique(holdout.subject))
    if min(member.sum(), (~member).sum()) < MIN_PEOPLE or len(synthetic) == 0:
        return None
    usable = np.flatnonzero(np.ptp(known.table, axis=0) > 0)
    if len(usable) == 0:
        return None
    model = LinearDiscriminantAnalysis(
        solver="lsqr", shrinkage="auto", priors=np.full(len(people), 1 / len(people))
    ).fit(known.table[:, usable], known.subject)
    mass = model.predict_proba(synthetic.table[:, usable]).mean(axis=0)
    prior = float(member.mean())
    excess = float(mass[member].sum() - prior)
    draws = rng.permuted(np.tile(member, (_N_PERMUTATIONS, 1)), axis=1)
    null = draws @ mass - prior
    resampled = []
    for _ in range(500):
        inside = rng.choice(mass[member], member.sum()).sum()
        outside = rng.choice(mass[~member], (~member).sum()).sum()
        resampled.append(inside / max(inside + outside, 1e-12) - prior)
    low, high = np.quantile(resampled, [0.025, 0.975])
    return Attack(
        name="linkage",
        unit="subject",
        figure="excess_mass",
        value=excess,
        low=float(low),
        high=float(high),
        best=0.0,
        p=float((1 + np.sum(null >= excess - 1e-12)) / (len(null) + 1)),
        n_members=int(member.sum()),
        n_non_members=int((~member).sum()),
        meaning=(
            f"Asked whose the synthetic segments are, a classifier of people names those who took "
            f"part with {prior + excess:.0%} of its weight, against {prior:.0%} by chance."
        ),
    )


def _equal_rows(subject: Text, rng: np.random.Generator) -> Index:
    names, counts = np.unique(subject, return_counts=True)
    names = names[counts >= MIN_SEGMENTS]
    if len(names) == 0:
        return np.zeros(0, dtype=np.intp)
    n = int(counts[counts >= MIN_SEGMENTS].min())
    rows = [rng.permutation(np.flatnonzero(subject == name))[:n] for name in names]
    return np.sort(np.concatenate(rows))


def attribute_inference(
    train: Described,
    holdout: Described,
    synthetic: Described,
    rng: np.random.Generator,
    *,
    n_repeats: int = 5,
) -> Attack | None:
    """How much better a property of a train segment is guessed from synthetic than from holdout.

    The attacker knows the features of three groups and reads the fourth off the nearest segment of
    the same task, in the synthetic set or in as many holdout segments; a guess within ¼ standard
    deviation is right. Source of the idea of a control: Giomi et al. (2023), arXiv:2211.10459.
    """
    gains: list[Array] = []
    owners: list[Text] = []
    for task in np.unique(train.task):
        own, held, made = (part.take(part.task == task) for part in (train, holdout, synthetic))
        n = min(len(held), len(made))
        if n < 2 * MIN_SEGMENTS or len(own) < MIN_SEGMENTS:
            continue
        gain = np.zeros(len(own))
        for _ in range(n_repeats):
            for part, sign in ((made, 1.0), (held, -1.0)):
                chosen = part.take(rng.permutation(len(part))[:n])
                gain += sign * _share_guessed(own.table, chosen.table) / n_repeats
        gains.append(gain)
        owners.append(own.subject)
    if not gains:
        return None
    gain, owner = np.concatenate(gains), np.concatenate(owners)
    names, which = np.unique(owner, return_inverse=True)
    total = np.bincount(which, weights=gain)
    count = np.bincount(which)
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=1000)
    means = (drawn @ total) / (drawn @ count)
    low, high = np.quantile(means, [0.025, 0.975])
    signs = rng.choice([-1.0, 1.0], size=(_N_PERMUTATIONS, len(names)))
    observed = float(total.sum())
    p = float((1 + np.sum(signs @ total >= observed - 1e-12)) / (_N_PERMUTATIONS + 1))
    value = float(gain.mean())
    return Attack(
        name="attribute_inference",
        unit="segment",
        figure="gain",
        value=value,
        low=float(low),
        high=float(high),
        best=0.0,
        p=p,
        n_members=len(gain),
        n_non_members=len(holdout),
        meaning=(
            "Somebody who knows part of a train segment's properties guesses the rest right "
            f"{abs(value):.1%} {'more' if value > 0 else 'less'} often with the synthetic set than "
            "with other recordings of the same people (more often means that the set gives "
            "something away)."
        ),
    )


def _share_guessed(table: Array, cloud: Array) -> Array:
    names = list(FEATURES)
    n_channels = table.shape[1] // len(names)
    group = np.tile([feature.group for feature in FEATURES.values()], n_channels)
    column = np.tile(np.array(names), n_channels)
    right = np.zeros(len(table))
    for secret in SECRETS:
        known = group != FEATURES[secret].group
        _, nearest = cKDTree(cloud[:, known]).query(table[:, known])
        wanted = column == secret
        error = np.abs(cloud[nearest][:, wanted] - table[:, wanted])
        right += (error < TOLERANCE_SD).mean(axis=1) / len(SECRETS)
    return right


def nearest_neighbour_share(
    train: Described, holdout: Described, synthetic: Described, rng: np.random.Generator
) -> Attack | None:
    """Share of synthetic segments whose nearest real one is a train segment: a diagnostic only.

    Source of the reservation: Yao et al. (2025), arXiv:2505.01524: sets that leak pass it.
    """
    nearer: list[NDArray[np.bool_]] = []
    for task in np.unique(synthetic.task):
        own, held, made = (part.take(part.task == task) for part in (train, holdout, synthetic))
        n = min(len(own), len(held))
        if n < MIN_SEGMENTS or len(made) == 0:
            continue
        to_train, to_holdout = (
            _nearest_distance(part.table[rng.permutation(len(part))[:n]], made.table)
            for part in (own, held)
        )
        nearer.append(to_train < to_holdout)
    if not nearer:
        return None
    share = float(np.concatenate(nearer).mean())
    return Attack(
        name="nearest_neighbour",
        unit="segment",
        figure="share",
        value=share,
        best=0.5,
        n_members=len(train),
        n_non_members=len(holdout),
        evidence=False,
        meaning=(
            f"{share:.0%} of the synthetic segments lie nearer to a train than to a holdout "
            "segment (50 % is chance); shown for comparison with other reports, it proves nothing."
        ),
    )
