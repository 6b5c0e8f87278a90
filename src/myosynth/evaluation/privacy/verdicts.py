"""From figures to verdicts, and to sentences that say what was found and what to do next."""

from myosynth.evaluation.privacy.canaries import POWER_SHARES
from myosynth.evaluation.privacy.copies import COMBINED, CopySearch
from myosynth.evaluation.privacy.model import LossAttack
from myosynth.evaluation.privacy.results import Attack, Canary, Principle, Threat
from myosynth.evaluation.scores import Finding

__all__ = [
    "FEW_HOLDOUT",
    "POWER_NEEDED",
    "about_envelopes",
    "about_people",
    "data_threat",
    "model_threat",
    "principles",
]

POWER_NEEDED = 0.8
"""Share of the planted copies of every disguise that must be found before silence counts."""
LARGEST_MISSED_AUC = 0.6
"""A model attack that would miss a larger AUC than this has no power."""
FEW_HOLDOUT = 100
"""Fewer holdout segments cannot show a false-positive rate of 1 %."""
_P = 0.01


def data_threat(
    search: CopySearch | None, n_identical: int, people: list[Attack], n_synthetic: int
) -> Threat:
    """The verdict on releasing the synthetic data.

    Parameters
    ----------
    search : CopySearch or None
        None where there was too little to search in.
    n_identical : int
        Synthetic segments that are real ones byte for byte.
    people : list of Attack
        Shown with the verdict; they do not decide it.
    n_synthetic : int
        All of them.
    """
    attacks = ([] if search is None else search.attacks) + people
    canaries = [] if search is None else search.canaries
    copies = n_identical + (0 if search is None else int(search.copies.sum()))
    power = _power(canaries)
    leak = n_identical > 0 or (search is not None and (search.leak or _membership(search)))
    if leak:
        verdict = "leak_found"
        meaning = (
            f"{copies} of {n_synthetic} synthetic segments are copies of real ones, in disguise or "
            "not."
            if copies
            else "Train segments can be told from other recordings by the synthetic set alone."
        )
        step = (
            "Do not share this set. Train for a shorter time, on more people, or with a smaller "
            "model, select on validation subjects, and audit again."
        )
    elif power is not None and power >= POWER_NEEDED:
        verdict = "none_found"
        meaning = (
            f"No copy was found, by attacks that find {_at_least(power)} planted copies in each of "
            f"three disguises ({_planted(canaries)} of each). Other attacks may still succeed."
        )
        step = (
            "Read what is said about people below, and state this power wherever the set is shared."
        )
    else:
        verdict = "no_power"
        meaning = (
            "The attacks miss copies that were planted on purpose, or too little was there to "
            "attack: that nothing was found means nothing."
        )
        step = "Add holdout segments (300 or more) or synthetic segments, and audit again."
    return Threat(
        verdict=verdict,
        meaning=meaning,
        next_step=step,
        power=power,
        power_meaning=(
            "The smallest share of planted copies found, over three disguises, at 5 and 10 % "
            "planted, while 1 % of the holdout is picked in error."
        ),
        copies_found=copies,
        attacks=attacks,
        canaries=canaries,
    )


def _power(canaries: list[Canary]) -> float | None:
    shares = [
        canary.tpr if canary.detected else 0.0
        for canary in canaries
        if canary.attack == COMBINED and canary.share in POWER_SHARES
    ]
    return min(shares, default=None)


def _planted(canaries: list[Canary]) -> str:
    counts = sorted({c.n_planted for c in canaries if c.share in POWER_SHARES})
    return " and ".join(str(count) for count in counts)


def _at_least(power: float) -> str:
    return "all" if power == 1 else f"{power:.0%} or more of the"


def _membership(search: CopySearch) -> bool:
    together = next(attack for attack in search.attacks if attack.name == COMBINED)
    return search.membership_p <= _P / 2 and (together.low or 0) > together.best


def model_threat(
    loss: LossAttack | None, deep: tuple[Attack, float] | None, n_holdout: int
) -> Threat:
    """The verdict on releasing the model; ``not_tested`` where no model was given."""
    if loss is None:
        return Threat(
            verdict="not_tested",
            meaning="No model was given: what it would give away was not tested.",
            next_step="Name the model (--model) before you release it; share only the data else.",
        )
    attacks = loss.attacks + ([] if deep is None else [deep[0]])
    leak = loss.leak or (deep is not None and (deep[0].p or 1) <= _P and (deep[0].auc or 0) > 0.5)
    together = loss.attacks[0]
    if leak:
        verdict = "leak_found"
        meaning = (
            "The model remembers segments it was trained on: its loss tells them from other "
            f"recordings of the same people (right in {together.auc:.0%} of pairs)."
        )
        step = (
            "Do not release the model; release synthetic data that pass their own audit, or train "
            "without descriptors (descriptors: false), for a shorter time, on more people, or with "
            "differential privacy."
        )
    elif loss.smallest_auc <= LARGEST_MISSED_AUC and n_holdout >= FEW_HOLDOUT:
        verdict = "none_found"
        meaning = (
            "Train segments are not fitted better than other recordings of the same people; an "
            f"attack that is right in {loss.smallest_auc:.0%} of pairs or more (50 % is guessing) "
            "would have been noticed."
        )
        step = "State this power wherever the model is released; add --deep for a stronger attack."
    else:
        verdict = "no_power"
        meaning = (
            "There are too few segments or people to tell: a model whose loss is right in up to "
            f"{loss.smallest_auc:.0%} of pairs would not be noticed."
        )
        step = "Audit with more holdout segments of more people (100 or more, 300 is better)."
    power_meaning = (
        "The smallest AUC (share of pairs of a train and another segment that are told apart; 0.5 "
        "is guessing) that four of five such audits would notice."
    )
    if deep is not None:
        power_meaning += (
            f" The shadow-model attack reaches an AUC of {deep[1]:.2f} on its own shadow models, "
            "whose training segments are known (0.5 is guessing)."
        )
    return Threat(
        verdict=verdict,
        meaning=meaning,
        next_step=step,
        power=loss.smallest_auc,
        power_meaning=power_meaning,
        attacks=attacks,
    )


def principles(threats: dict[str, Threat]) -> list[Principle]:
    """Singling out, linkability and inference, as Opinion 05/2014 (WP29 216) names them."""
    data, model = threats["data"], threats["model"]
    single = _worst([data.verdict, model.verdict])
    names = [COMBINED, "loss", "lira"]
    linked = [a for a in (data.attack(name) for name in ("subject_membership", "linkage")) if a]
    by_model = model.attack("loss_subject")
    linked += [by_model] if by_model else []
    inferred = data.attack("attribute_inference")
    return [
        Principle(
            "singling_out",
            single,
            f"Can a recording of one person be isolated? {_words(single)}",
            [name for name in names if data.attack(name) or model.attack(name)],
        ),
        Principle(
            "linkability",
            _people_verdict(linked),
            "Can recordings of the same person be linked to the set? "
            + _words(_people_verdict(linked)),
            [attack.name for attack in linked],
        ),
        Principle(
            "inference",
            _inference_verdict(inferred),
            "Can a property of a person be deduced from the set beyond what other recordings tell? "
            + _words(_inference_verdict(inferred)),
            [inferred.name] if inferred else [],
        ),
    ]


def about_envelopes(search: CopySearch | None) -> list[Finding]:
    """What the envelope fingerprint hints at."""
    hints = [a for a in search.attacks if not a.evidence] if search else []
    text = (
        "The envelopes (bursts and rests) of train segments come back in the synthetic set more "
        "closely than those of the holdout: the generator may remember them under a new carrier. "
        "Look at the nearest pairs, and train for a shorter time."
    )
    return [
        Finding("warning", "envelopes", text)
        for one in hints
        if (one.p or 1) <= _P and (one.low or 0) > one.best
    ]


_ANSWERS = {
    "leak_found": "Yes: an attack managed it.",
    "none_found": "Not by these attacks, which would have noticed more than a little.",
    "no_power": "This audit cannot tell: there are too few people or segments.",
    "not_tested": "Not tested.",
}


def _worst(verdicts: list[str]) -> str:
    order = ("leak_found", "no_power", "none_found", "not_tested")
    return min(verdicts, key=order.index)


def _words(verdict: str) -> str:
    return _ANSWERS[verdict]


def _people_verdict(attacks: list[Attack]) -> str:
    if not attacks:
        return "not_tested"
    if any((attack.p or 1) <= _P for attack in attacks):
        return "leak_found"
    # five against five people can reach p = 0.004
    enough = all(min(attack.n_members, attack.n_non_members) >= 5 for attack in attacks)
    return "none_found" if enough else "no_power"


def _inference_verdict(attack: Attack | None) -> str:
    if attack is None or attack.low is None or attack.high is None:
        return "not_tested"
    if attack.low > 0 and (attack.p or 1) <= _P:
        return "leak_found"
    # a gain of more than a twentieth is ruled out, or would have been seen
    seen = attack.high <= 0.05 or attack.high - attack.low <= 0.1
    return "none_found" if seen else "no_power"


def about_people(found: list[Principle]) -> list[Finding]:
    """Sentences on linkability and inference; they stand beside the verdict on copies."""
    texts = {
        "linkability": (
            "The synthetic set resembles the people it was learned from more than other people: "
            "whoever holds recordings of a person can tell whether that person took part. If "
            "taking part is itself confidential, do not share the set; more people in training "
            "help most."
        ),
        "inference": (
            "Properties of train segments are guessed better from the synthetic set than from "
            "other recordings of the same people: it gives details of them away. Do not share it "
            "before the cause (copies, too long training) is removed."
        ),
    }
    return [
        Finding("warning", one.name, texts[one.name])
        for one in found
        if one.name in texts and one.verdict == "leak_found"
    ]
