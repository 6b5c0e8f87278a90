"""Utility: does a classifier of tasks learn from synthetic segments what it learns from real ones?

Balanced accuracy; train/test R = real, S = synthetic: TRTR is the ceiling, TSTR what the synthetic
set alone teaches, TRTS whether its labels are right, the gain what it adds to the real set. Source
of the names: Esteban, Hyland & Rätsch (2017), arXiv:1706.02633.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from myosynth.errors import InputError, NotEnoughDataError
from myosynth.evaluation.scores import make_row
from myosynth.recordings import SegmentSet
from myosynth.signal.features import FEATURES, feature_table

__all__ = [
    "CLASSIFIERS",
    "FEATURE_SETS",
    "Labelled",
    "balanced_accuracy",
    "confusion",
    "learning_curve",
    "leave_one_subject_out",
    "predict",
    "utility_rows",
]

Array = NDArray[np.float64]
Text = NDArray[np.str_]

FEATURE_SETS: dict[str, tuple[str, ...]] = {
    "hudgins": ("mav", "wl", "zc", "ssc"),
    "full": tuple(FEATURES),
}
"""Hudgins, Parker & Scott (1993), doi:10.1109/10.204774, and all of `FEATURES`."""


def _lda(seed: int) -> Pipeline:
    lda = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    return make_pipeline(StandardScaler(), lda)


def _forest(seed: int) -> Pipeline:
    forest = ExtraTreesClassifier(100, min_samples_leaf=2, random_state=seed)
    return make_pipeline(forest)


CLASSIFIERS: dict[str, Callable[[int], Pipeline]] = {"lda": _lda, "forest": _forest}


@dataclass(frozen=True)
class Labelled:
    """Features of segments with their labels.

    Parameters
    ----------
    table : array, (n_segments, n_channels · n_features)
        Channel by channel in the order of `FEATURES`.
    task, subject : array of str, (n_segments,)
        Labels.
    """

    table: Array
    task: Text
    subject: Text

    def __len__(self) -> int:
        return len(self.table)

    def take(self, rows: NDArray[Any]) -> "Labelled":
        return Labelled(self.table[rows], self.task[rows], self.subject[rows])

    def __add__(self, other: "Labelled") -> "Labelled":
        return Labelled(
            np.concatenate([self.table, other.table]),
            np.concatenate([self.task, other.task]),
            np.concatenate([self.subject, other.subject]),
        )

    @staticmethod
    def of(segments: SegmentSet) -> "Labelled":
        table = feature_table(segments.signals, segments.fs)
        return Labelled(table.reshape(len(segments), -1), segments.task, segments.subject)


def _columns(feature_set: str, n_columns: int) -> NDArray[np.intp]:
    names = np.tile(list(FEATURES), n_columns // len(FEATURES))
    return np.flatnonzero(np.isin(names, FEATURE_SETS[feature_set]))


def predict(
    train: Labelled,
    test: Labelled,
    *,
    features: str = "full",
    classifier: str = "lda",
    seed: int = 0,
) -> Text:
    """The tasks that a classifier trained on `train` gives to the segments of `test`."""
    used = _columns(features, train.table.shape[1])
    used = used[np.ptp(train.table[:, used], axis=0) > 0]
    names, counts = np.unique(train.task, return_counts=True)
    known = names[counts > 1]  # one segment has no spread to learn from
    if len(known) < 2 or len(used) == 0:
        return np.full(len(test), names[counts.argmax()])
    train = train.take(np.isin(train.task, known))
    model = CLASSIFIERS[classifier](seed).fit(train.table[:, used], train.task)
    found: Text = model.predict(test.table[:, used]).astype(str)
    return found


def confusion(true: Text, found: Text, tasks: tuple[str, ...]) -> Array:
    """(n_tasks, n_tasks): share of each true task that was found as each task; rows sum to 1."""
    table = np.array([[np.sum((true == t) & (found == f)) for f in tasks] for t in tasks], float)
    result: Array = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    return result


def balanced_accuracy(true: Text, found: Text, weight: Array | None = None) -> float:
    """Mean over the tasks of the share that was found; tasks without weight do not count."""
    w = np.ones(len(true)) if weight is None else weight
    totals = [(w[true == t].sum(), w[(true == t) & (found == t)].sum()) for t in np.unique(true)]
    shares = [hit / total for total, hit in totals if total > 0]
    return float(np.mean(shares))


def utility_rows(
    real: Labelled,
    synthetic: Labelled,
    test: Labelled,
    rivals: dict[str, Labelled],
    *,
    seed: int,
    n_bootstrap: int,
) -> list[dict[str, Any]]:
    """Rows for every feature set and classifier.

    Parameters
    ----------
    real : Labelled
        The train split, as many segments per task as `synthetic`.
    synthetic : Labelled
        The set that is judged.
    test : Labelled
        Real segments of subjects that no generator saw.
    rivals : dict of str to Labelled
        Made from `real`, of the size of `synthetic`: ``c3``, ``jitter``, ``magnitude_warp``.
    seed, n_bootstrap : int
        For the forests and the subject-cluster bootstrap of the test subjects.
    """
    weights = _subject_weights(test.subject, n_bootstrap, np.random.default_rng(seed))
    rows = []
    for features in FEATURE_SETS:
        for classifier in CLASSIFIERS:

            def found(
                train: Labelled, on: Labelled, f: str = features, c: str = classifier
            ) -> Text:
                return predict(train, on, features=f, classifier=c, seed=seed)

            rows += _rows_of_one(
                f"{features}_{classifier}", found, real, synthetic, test, rivals, weights
            )
    return rows


def _rows_of_one(
    name: str,
    found: Callable[[Labelled, Labelled], Text],
    real: Labelled,
    synthetic: Labelled,
    test: Labelled,
    rivals: dict[str, Labelled],
    weights: Array,
) -> list[dict[str, Any]]:
    def on_test(train: Labelled) -> tuple[float, Array]:
        guess = found(train, test)
        draws = [balanced_accuracy(test.task, guess, weight) for weight in weights]
        return balanced_accuracy(test.task, guess), np.array(draws)

    def row(what: str, value: float, draws: Array, **more: Any) -> dict[str, Any]:
        low, high = np.quantile(draws, [0.025, 0.975]) if len(draws) else (None, None)
        unit = "balanced accuracy" if what in {"trtr", "tstr", "trts"} else "difference"
        unit = "ratio" if what == "tstr_over_trtr" else unit
        return make_row(
            "all",
            "utility",
            f"{what}_{name}",
            unit=unit,
            better="higher",
            value=value,
            low=low,
            high=high,
            **more,
        )

    trtr, trtr_draws = on_test(real)
    tstr, tstr_draws = on_test(synthetic)
    both, both_draws = on_test(real + synthetic)
    alone = {rival: on_test(set_)[0] for rival, set_ in rivals.items()}
    added = {rival: on_test(real + set_)[0] - trtr for rival, set_ in rivals.items()}
    guess = found(real, synthetic)
    trts = balanced_accuracy(synthetic.task, guess)
    chance = np.random.default_rng(len(guess))
    picks = chance.integers(len(guess), size=(len(weights), len(guess)))
    trts_draws = np.array([balanced_accuracy(synthetic.task[p], guess[p]) for p in picks])
    return [
        row("trtr", trtr, trtr_draws),
        row("tstr", tstr, tstr_draws, c3=alone.get("c3"), surrogates=alone),
        row("tstr_over_trtr", tstr / max(trtr, 1e-9), tstr_draws / np.maximum(trtr_draws, 1e-9)),
        row("trts", trts, trts_draws),
        row("gain", both - trtr, both_draws - trtr_draws, c3=added.get("c3"), surrogates=added),
    ]


def learning_curve(
    real: Labelled, synthetic: Labelled, test: Labelled, *, seed: int, n_repeats: int = 5
) -> list[dict[str, Any]]:
    """Accuracy against the number of real subjects, alone and with the synthetic set added.

    The value is real + synthetic, `surrogates["real_alone"]` what the same subjects give alone.
    The generator has seen all train subjects, so that the gain at few subjects is what a user gets
    who receives the synthetic set and records few people, not what the generator could do with few.
    """
    rng = np.random.default_rng(seed)
    subjects = np.unique(real.subject)
    sizes = [k for k in (1, 2, 4, 8, 16, 32) if k < len(subjects)] + [len(subjects)]
    rows = []
    for size in sizes:
        alone, both = [], []
        for _ in range(1 if size == len(subjects) else n_repeats):
            few = real.take(np.isin(real.subject, rng.permutation(subjects)[:size]))
            alone.append(balanced_accuracy(test.task, predict(few, test)))
            both.append(balanced_accuracy(test.task, predict(few + synthetic, test)))
        rows.append(
            make_row(
                "all",
                "utility",
                f"curve_{size}_subjects",
                unit="balanced accuracy",
                better="higher",
                value=float(np.mean(both)),
                low=min(both),
                high=max(both),
                surrogates={"real_alone": float(np.mean(alone))},
            )
        )
    return rows


def leave_one_subject_out(
    real: SegmentSet,
    make_generator: Callable[[SegmentSet, int], SegmentSet],
    *,
    seed: int,
) -> list[dict[str, Any]]:
    """TRTR and TSTR where, for each subject, a generator is trained without that subject.

    Parameters
    ----------
    real : SegmentSet
        All subjects.
    make_generator : callable
        From (real segments of the other subjects, seed) to the synthetic segments of a generator
        trained on them.
    seed : int
        For generators and forests.

    Raises
    ------
    NotEnoughDataError
        If there are fewer than two subjects.
    InputError
        If a generator's segments have other channels than the real ones.
    """
    if len(real.subjects) < 2:
        raise NotEnoughDataError("leaving one subject out needs at least two subjects")
    table = Labelled.of(real)
    accuracy: dict[str, list[float]] = {}
    for number, subject in enumerate(real.subjects):
        others = np.flatnonzero(real.subject != subject)
        synthetic = make_generator(real[others], seed + number)
        if synthetic.n_channels != real.n_channels:
            raise InputError(
                f"the generator made {synthetic.n_channels} channels where the real set has "
                f"{real.n_channels}"
            )
        test = table.take(real.subject == subject)
        sources = {"trtr": table.take(others), "tstr": Labelled.of(synthetic)}
        for features in FEATURE_SETS:
            for classifier in CLASSIFIERS:
                for what, train in sources.items():
                    guess = predict(
                        train,
                        test,
                        features=features,
                        classifier=classifier,
                        seed=seed,
                    )
                    name = f"{what}_loso_{features}_{classifier}"
                    accuracy.setdefault(name, []).append(balanced_accuracy(test.task, guess))
    weights = _subject_weights(table.subject, 200, np.random.default_rng(seed), by_subject=True)
    rows = []
    for name, each in accuracy.items():
        low, high = np.quantile(weights @ np.array(each) / len(each), [0.025, 0.975])
        rows.append(
            make_row(
                "all",
                "utility",
                name,
                unit="balanced accuracy",
                better="higher",
                value=float(np.mean(each)),
                low=low,
                high=high,
            )
        )
    return rows


def _subject_weights(
    subject: Text, n_bootstrap: int, rng: np.random.Generator, *, by_subject: bool = False
) -> Array:
    """How often each segment (or subject) is drawn when subjects are drawn with replacement."""
    names, which = np.unique(subject, return_inverse=True)
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=n_bootstrap)
    result: Array = (drawn if by_subject else drawn[:, which]).astype(float)
    return result
