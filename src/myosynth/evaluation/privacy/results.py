"""What a privacy audit hands back: two threats, their attacks, canaries and verdicts."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from myosynth.evaluation.privacy.statistics import (
    FPR,
    Groups,
    area_under_curve,
    clopper_pearson,
    tpr_at_fpr,
)
from myosynth.evaluation.scores import Finding, plain, stored

__all__ = [
    "SCHEMA",
    "VERDICTS",
    "Attack",
    "Audit",
    "Canary",
    "Principle",
    "Threat",
    "segment_attack",
]

SCHEMA = "myosynth-audit/1"

VERDICTS = {
    "leak_found": "leak found",
    "none_found": "none found",
    "no_power": "no power",
    "not_tested": "not tested",
}
"""Verdict → the words to show. ``none_found`` is always shown with its power."""

APPENDIX_WARNING = (
    "PRIVATE: this appendix points at segments of real people. It must not be shared, published or "
    "stored beside the synthetic data."
)


@dataclass(frozen=True)
class Attack:
    """One attack and what it reached.

    Parameters
    ----------
    name : str
        ``stft``, ``periodogram``, ``waveform``, ``fingerprints`` (the three together),
        ``envelope`` (a hint),
        ``subject_membership``, ``linkage``, ``attribute_inference``, ``nearest_neighbour``;
        on the model ``loss``, ``loss_part_<k>``, ``loss_subject``, ``lira``.
    unit : str
        What is attacked: ``segment`` or ``subject``.
    figure : str
        What `value` is: ``tpr`` (true-positive rate at 1 % false positives), ``auc``,
        ``excess_mass``, ``gain`` or ``share``.
    value, low, high : float or None
        The figure and its 95 % interval (Clopper–Pearson for ``tpr``).
    best : float
        The value where nothing leaks.
    auc : float or None
        Members against non-members, 0.5 = guessing.
    p : float or None
        Permutation p-value of no leak, corrected for nothing.
    copies : int or None
        Synthetic segments that match a train segment more closely than chance allows.
    n_members, n_non_members : int
        How many of each were compared.
    evidence : bool
        False for a diagnostic that is shown but never decides a verdict.
    meaning : str
        One plain sentence.
    """

    name: str
    unit: str
    figure: str
    value: float | None
    best: float
    meaning: str
    low: float | None = None
    high: float | None = None
    auc: float | None = None
    p: float | None = None
    copies: int | None = None
    n_members: int = 0
    n_non_members: int = 0
    evidence: bool = True


def segment_attack(
    name: str,
    members: NDArray[np.float64],
    non_members: NDArray[np.float64],
    groups: Groups,
    rng: np.random.Generator,
    *,
    meaning: Callable[[float, float], str],
    n_permutations: int = 499,
    copies: int | None = None,
    evidence: bool = True,
) -> Attack:
    """The figures of an attack on single segments from its scores; higher ones mean members.

    Parameters
    ----------
    meaning : callable
        From (TPR, AUC) to one plain sentence.
    """
    tpr, auc = tpr_at_fpr(members, non_members), area_under_curve(members, non_members)
    low, high = clopper_pearson(round(tpr * len(members)), len(members))
    return Attack(
        name=name,
        unit="segment",
        figure="tpr",
        value=tpr,
        low=low,
        high=high,
        best=FPR,
        auc=auc,
        p=groups.p_value(tpr_at_fpr, members, non_members, rng, n_permutations),
        copies=copies,
        n_members=len(members),
        n_non_members=len(non_members),
        evidence=evidence,
        meaning=meaning(tpr, auc),
    )


@dataclass(frozen=True)
class Canary:
    """Planted copies of one disguise and share, and how many the same attacks found.

    Parameters
    ----------
    disguise : str
        ``noise``, ``shift_flip_gain`` or ``new_phase``.
    share : float
        Planted copies over the synthetic segments, 0–1.
    attack : str
        ``stft``, ``periodogram``, ``waveform`` or ``fingerprints`` (the three together).
    n_planted : int
        How many train segments were planted.
    tpr, low, high : float
        Share of the planted train segments found at 1 % false positives; Clopper–Pearson 95 %.
    n_copies_found : int
        Planted copies above the stricter threshold of `Attack.copies`.
    detected : bool
        Whether the audit would have said ``leak_found`` of the set with them.
    """

    disguise: str
    share: float
    attack: str
    n_planted: int
    tpr: float
    low: float
    high: float
    n_copies_found: int
    detected: bool


@dataclass(frozen=True)
class Threat:
    """One way to attack: with the released data, or with the released model.

    Parameters
    ----------
    verdict : str
        One of `VERDICTS`.
    meaning, next_step : str
        One plain sentence each: what the verdict says, and what to do.
    power : float or None
        Data: the smallest share of planted copies found over all disguises at 5 and 10 %.
        Model: the smallest AUC that would be found in four of five audits (see `power_meaning`).
    power_meaning : str
        What `power` is, in one sentence.
    copies_found : int or None
        Synthetic segments found to be copies of train segments; None for the model.
    attacks : list of Attack
        In the order to show.
    canaries : list of Canary
        Every disguise × share × attack; empty for the model.
    """

    verdict: str
    meaning: str
    next_step: str
    power: float | None = None
    power_meaning: str = ""
    copies_found: int | None = None
    attacks: list[Attack] = field(default_factory=list)
    canaries: list[Canary] = field(default_factory=list)

    def attack(self, name: str) -> Attack | None:
        """The attack of that name, or None where it was not run."""
        return next((attack for attack in self.attacks if attack.name == name), None)


@dataclass(frozen=True)
class Principle:
    """One of the three risks of Opinion 05/2014 (WP29 216).

    Parameters
    ----------
    name : str
        ``singling_out``, ``linkability`` or ``inference``.
    verdict : str
        One of `VERDICTS`.
    meaning : str
        One plain sentence.
    attacks : list of str
        The attacks that speak to it.
    """

    name: str
    verdict: str
    meaning: str
    attacks: list[str]


@dataclass
class Audit:
    """Result of `audit`.

    Parameters
    ----------
    threats : dict
        ``data`` and ``model`` → `Threat`.
    principles : list of Principle
        Singling out, linkability, inference.
    findings : list of Finding
        Plain sentences in order of severity: what was found, what it means, what to do next.
    warnings : list of str
        What limits every verdict (few subjects, few holdout segments, segments left out).
    counts : dict
        Segments and subjects by split, seed, thresholds, sizes.
    appendix : list of dict or None
        Only on demand: the nearest pairs of synthetic and real segments, most alike first, with
        ``synthetic`` and ``real`` (positions in the two sets), ``attack``, ``similarity`` (0–1),
        ``copy`` (bool), ``subject``, ``recording``, ``start_s``, ``task``. Never in `to_dict`;
        `appendix_to_dict` gives it with a warning on its face.
    """

    threats: dict[str, Threat]
    principles: list[Principle] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    counts: dict[str, Any] = field(default_factory=dict)
    appendix: list[dict[str, Any]] | None = None

    @property
    def copies_found(self) -> int:
        """Synthetic segments found to be copies of train segments."""
        return self.threats["data"].copies_found or 0

    def to_dict(self) -> dict[str, Any]:
        """JSON-able, without NaN and without the private appendix."""
        cleaned: dict[str, Any] = plain(
            {
                "schema": SCHEMA,
                "copies_found": self.copies_found,
                "threats": {name: asdict(threat) for name, threat in self.threats.items()},
                "principles": [asdict(principle) for principle in self.principles],
                "findings": [asdict(finding) for finding in self.findings],
                "warnings": self.warnings,
                "counts": self.counts,
            }
        )
        return cleaned

    def appendix_to_dict(self) -> dict[str, Any]:
        """The nearest pairs, with the warning that they must not be shared.

        Returns
        -------
        dict
            ``schema``, ``warning``, ``pairs``.
        """
        cleaned: dict[str, Any] = plain(
            {
                "schema": "myosynth-audit-appendix/1",
                "warning": APPENDIX_WARNING,
                "pairs": self.appendix or [],
            }
        )
        return cleaned

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Audit":
        """The inverse of `to_dict`.

        Raises
        ------
        FormatError
            If the schema is another one or a part is missing.
        """
        with stored(content, SCHEMA, "audit"):
            return cls(
                threats={name: _threat(content["threats"][name]) for name in ("data", "model")},
                principles=[Principle(**one) for one in content["principles"]],
                findings=[Finding(**one) for one in content["findings"]],
                warnings=[str(text) for text in content["warnings"]],
                counts=dict(content["counts"]),
            )


def _threat(content: Mapping[str, Any]) -> Threat:
    if content["verdict"] not in VERDICTS:
        raise KeyError(f"verdict {content['verdict']!r}")
    parts = dict(content)
    parts["attacks"] = [Attack(**one) for one in parts["attacks"]]
    parts["canaries"] = [Canary(**one) for one in parts["canaries"]]
    return Threat(**parts)
