"""What the figures of a scorecard mean, in sentences that need no statistics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from myosynth.evaluation.scores import Scores

__all__ = ["ASPECTS", "Aspect", "Summary", "Verdict", "aspects_of", "summarise", "task_verdicts"]

Row = Mapping[str, Any]

ASPECTS: dict[tuple[str, str], tuple[str, str]] = {
    ("time", "w1"): (
        "amplitude and waveform",
        "Compare the amplitudes in the table below; ask for the efforts you need when you "
        "generate, and check that both sets are in the same unit and band.",
    ),
    ("spectral", "w1"): (
        "frequency content",
        "See in Figure 1 where the lines part; check that both sets went through the same filter, "
        "then train longer.",
    ),
    ("envelope", "w1"): (
        "bursts and rhythm",
        "See the envelopes below; train longer, and with recordings long enough to hold several "
        "bursts of each person.",
    ),
    ("higher_order", "w1"): (
        "fine structure",
        "Spikes and their shape are not those of real muscles; train longer, or with the two-stage "
        "default if you left it.",
    ),
    ("channels", "w1"): (
        "how the channels go together",
        "Generate all channels with one model instead of one by one, and keep their order.",
    ),
    ("all", "recall"): (
        "variety",
        "Part of what real people do is missing; generate more segments with a guidance scale of "
        "1, and train on more people.",
    ),
}
"""(group, metric) → (plain name, what to do where it is off): what the verdict rests on."""

_SPOILT = {
    "copies": "it holds copies of real segments",
    "near_copies": "it holds near-copies of real segments",
    "unit": "its unit is wrong",
    "labels_swapped": "its labels are swapped",
    "labels_shuffled": "its labels are shuffled",
}
"""Findings that make the figures of every task meaningless."""

LEVELS = ("good", "fair", "weak", "unfit", "unknown")
TITLES = {
    "good": "Good",
    "fair": "Fair",
    "weak": "Weak",
    "unfit": "Do not use",
    "unknown": "Not judged",
}


@dataclass(frozen=True)
class Aspect:
    """One respect in which a task is judged.

    Parameters
    ----------
    name : str
        Plain name.
    state : str
        ``near`` (its whole interval is nearer than other people), ``unsure`` (the interval
        reaches beyond), ``off`` (the whole interval is beyond), ``unmeasured`` (people do not
        differ enough in it to judge).
    advice : str
        What to do where it is off.
    row : mapping
        The row behind it.
    """

    name: str
    state: str
    advice: str
    row: Row


@dataclass(frozen=True)
class Verdict:
    """What a reader is told about one task.

    Parameters
    ----------
    task : str
        Its name.
    level : str
        One of `LEVELS`.
    meaning, next : str
        One plain line each: what it means, and what to do.
    """

    task: str
    level: str
    meaning: str
    next: str

    @property
    def title(self) -> str:
        return TITLES[self.level]


@dataclass(frozen=True)
class Summary:
    """The head of the scorecard: is it good, where is it not, what next."""

    level: str
    good: str
    weak: str
    next: tuple[str, ...]

    @property
    def title(self) -> str:
        return TITLES[self.level]


def aspects_of(rows: Sequence[Row], task: str) -> list[Aspect]:
    """The respects in which `task` was measured, in the order of `ASPECTS`."""
    mine = {(row["group"], row["metric"]): row for row in rows if row["task"] == task}
    return [
        Aspect(name, state_of(mine[key]), advice, mine[key])
        for key, (name, advice) in ASPECTS.items()
        if key in mine and mine[key]["value"] is not None
    ]


def state_of(row: Row) -> str:
    """``near``, ``unsure``, ``off`` or ``unmeasured``, as in `Aspect`."""
    low, high = row["z_low"], row["z_high"]
    if row["z"] is not None and low is not None and high is not None:
        return "near" if high <= 1 else "off" if low > 1 else "unsure"
    floors = [row[key] for key in ("floor_same", "floor_new") if row[key] is not None]
    if len(floors) < 2 or row["low"] is None or row["high"] is None:
        return "unmeasured"
    higher = row["better"] == "higher"
    beyond = row["high"] < min(floors) if higher else row["low"] > max(floors)
    return "off" if beyond else "unmeasured"


def loses_to_noise(rows: Sequence[Row], task: str) -> bool:
    """Whether the fine structure is no better than that of noise shaped like a real segment.

    Where that noise itself is as near as more recordings of the same people, a tie says nothing.
    """
    for row in rows:
        if (row["task"], row["group"], row["metric"]) == (task, "higher_order", "w1"):
            near = row["z"] is not None and row["z"] <= 0.5
            return row["c3"] is not None and not row["beats_c3"] and not near
    return False


def task_verdicts(scores: Scores) -> list[Verdict]:
    """One verdict for every task of either set, by name."""
    counted = scores.provenance_counts.get("tasks", {})
    tasks = sorted({*counted, *(row["task"] for row in scores.rows)} - {"all"})
    codes = [finding.code for finding in scores.findings]
    spoilt = [_SPOILT[code] for code in codes if code in _SPOILT]
    return [_verdict(scores, task, spoilt, counted.get(task, {})) for task in tasks]


def _verdict(scores: Scores, task: str, spoilt: list[str], counts: Mapping[str, Any]) -> Verdict:
    aspects = aspects_of(scores.rows, task)
    if counts and not counts.get("synthetic"):
        return Verdict(
            task, "unfit", "The synthetic set has no segments of this task.",
            f"Generate it: myosynth generate … --task {task}",
        )  # fmt: skip
    if counts and not counts.get("real"):
        return Verdict(
            task, "unknown", "The real set has no such task, so there is nothing to compare with.",
            "Check the task's name in both sets.",
        )  # fmt: skip
    if spoilt:
        return Verdict(
            task, "unfit", f"The synthetic set cannot be used as it is: {spoilt[0]}.",
            "Mend what the findings name first; the figures below mean nothing until then.",
        )  # fmt: skip
    if not aspects:
        return Verdict(
            task, "unknown", "Too few usable segments on one side to judge this task.",
            "Record or generate more segments; the findings say how many there are.",
        )  # fmt: skip
    return _judged(task, aspects, loses_to_noise(scores.rows, task))


def _judged(task: str, aspects: list[Aspect], loses: bool) -> Verdict:
    ranked = sorted(aspects, key=_distance, reverse=True)
    measured = [aspect for aspect in ranked if aspect.state != "unmeasured"]
    off = [aspect for aspect in measured if aspect.state == "off"]
    unsure = [aspect for aspect in measured if aspect.state == "unsure"]
    if off:
        return Verdict(
            task, "weak",
            f"Farther from the real recordings than another person's would be in "
            f"{len(off)} of {len(measured)} respects: {_list(off)}.",
            off[0].advice,
        )  # fmt: skip
    if loses:
        return Verdict(
            task, "weak",
            "The fine structure is no nearer to the real one than that of plain noise shaped like "
            "a real segment (C3).",
            ASPECTS["higher_order", "w1"][1],
        )  # fmt: skip
    if not measured:
        return Verdict(
            task, "unknown",
            "The real people differ too little, or are too few, to say what near and far mean.",
            "Evaluate with recordings of more people.",
        )  # fmt: skip
    if unsure:
        return Verdict(
            task, "fair",
            "As close to the real recordings as another person's would be, as far as can be told; "
            f"it may be farther off in {_list(unsure)}.",
            _advice_for_unsure(unsure),
        )  # fmt: skip
    return Verdict(
        task, "good",
        "Closer to the real recordings than another person's would be, in "
        f"{'all' if len(measured) == len(aspects) else 'every measurable one of'} "
        f"{len(measured)} respects.",
        "Look at the figures once, then audit for privacy before you share the set.",
    )  # fmt: skip


def _distance(aspect: Aspect) -> float:
    """By z; what is off without one ranks behind what is off with one."""
    return 1.0 if aspect.row["z"] is None else float(aspect.row["z"])


def _advice_for_unsure(unsure: list[Aspect]) -> str:
    worst = unsure[0]
    if _distance(worst) <= 1:
        return "More people or more segments in both sets would narrow the intervals."
    return worst.advice


def _list(aspects: Sequence[Aspect]) -> str:
    names = [aspect.name for aspect in aspects]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def summarise(scores: Scores) -> Summary:
    """The three answers at the head: is it good, where is it not, what next."""
    verdicts = task_verdicts(scores)
    errors = [finding for finding in scores.findings if finding.severity == "error"]
    levels = [verdict.level for verdict in verdicts]
    if errors or "unfit" in levels:
        level = "unfit"
    elif not levels or set(levels) == {"unknown"}:
        level = "unknown"
    else:
        level = next(one for one in ("weak", "fair", "good") if one in levels)
    steps = [finding.text for finding in errors]
    if not errors:
        steps += _steps([v for v in verdicts if v.level != "good"])
    steps.append(
        "This page says how alike the sets are, not whether real people can be found in the "
        "synthetic one: run myosynth audit before you share it."
    )
    return Summary(level, _how_good(verdicts), _how_weak(scores, verdicts), tuple(steps))


def _steps(verdicts: Sequence[Verdict]) -> list[str]:
    """Each advice once, with the tasks it is for, the worst level first."""
    tasks: dict[str, list[str]] = {}
    worst_first = ("unfit", "weak", "fair", "unknown", "good")
    for verdict in sorted(verdicts, key=lambda one: worst_first.index(one.level)):
        tasks.setdefault(verdict.next, []).append(verdict.task)
    return [f"{', '.join(names)}: {advice}" for advice, names in tasks.items()]


def _how_good(verdicts: Sequence[Verdict]) -> str:
    good = [verdict.task for verdict in verdicts if verdict.level == "good"]
    fair = [verdict.task for verdict in verdicts if verdict.level == "fair"]
    if not verdicts:
        return "Nothing could be judged."
    if not good and not fair:
        return f"For none of {len(verdicts)} tasks as it stands."
    parts = []
    if good:
        parts.append(f"Yes for {', '.join(good)} ({len(good)} of {len(verdicts)} tasks)")
    if fair:
        parts.append(f"{'f' if good else 'F'}air for {', '.join(fair)}")
    return "; ".join(parts) + "."


def _how_weak(scores: Scores, verdicts: Sequence[Verdict]) -> str:
    parts: list[str] = []
    if len({verdict.meaning for verdict in verdicts}) == 1 and verdicts[0].level == "unfit":
        return f"In every task: {verdicts[0].meaning}"
    for verdict in verdicts:
        if verdict.level in {"unfit", "unknown"}:
            parts.append(f"{verdict.task}: {verdict.meaning}")
        elif verdict.level in {"weak", "fair"}:
            parts.append(f"{verdict.task}: {_weak_spots(scores, verdict)}")
    return "; ".join(part.rstrip(".") for part in parts) + "." if parts else "Nothing stood out."


def _weak_spots(scores: Scores, verdict: Verdict) -> str:
    """The respects behind a weak or fair verdict, the farthest first."""
    aspects = sorted(aspects_of(scores.rows, verdict.task), key=_distance, reverse=True)
    off = [aspect for aspect in aspects if aspect.state == "off"]
    if not off and verdict.level == "weak":
        return "fine structure (no better than shaped noise)"
    return _list((off or [aspect for aspect in aspects if aspect.state == "unsure"])[:3])
