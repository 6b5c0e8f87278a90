"""Subjects never cross sides, and held-out time is a whole segment from train time."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from myosynth.errors import InputError, NotEnoughDataError
from myosynth.signal.splitting import RecordingRow, SplitPlan, assign_splits

TASKS = ("pull", "push", "squat")


def row(subject: str, task: str, session: str = "", run: str = "", stop: float = 60.0):
    name = f"sub-{subject}_ses-{session}_task-{task}_run-{run}"
    return RecordingRow(name, subject, session, run, ((task, 0.0, stop),))


def cohort(n: int, **options: str) -> list[RecordingRow]:
    return [row(f"{i:02d}", task, **options) for i in range(n) for task in TASKS]


def sizes(plan: SplitPlan) -> tuple[int, int, int]:
    splits = list(plan.subjects.values())
    return splits.count("train"), splits.count("validation"), splits.count("unseen")


@pytest.mark.parametrize(
    ("n", "expected"),
    [(1, (1, 0, 0)), (2, (1, 0, 1)), (3, (2, 0, 1)), (4, (2, 1, 1)), (5, (3, 1, 1)),
     (12, (7, 2, 3)), (20, (12, 3, 5))],
)  # fmt: skip
def test_how_many_subjects_go_where(n: int, expected: tuple[int, int, int]) -> None:
    plan = assign_splits(cohort(n))
    assert sizes(plan) == expected
    assert bool(plan.warnings) == (n <= 4)


def test_one_subject_says_what_is_missing() -> None:
    (warning,) = assign_splits(cohort(1)).warnings
    assert "no unseen and no validation subject" in warning


@st.composite
def tables(draw: st.DrawFn) -> list[RecordingRow]:
    rows = []
    for i in range(draw(st.integers(1, 9))):
        for session in draw(st.sampled_from([("",), ("1", "2")])):
            cuts = sorted(draw(st.sets(st.integers(1, 80), min_size=1, max_size=5)))
            spans = tuple(
                (TASKS[k % 3], float(a), float(b))
                for k, (a, b) in enumerate(zip([0, *cuts], cuts, strict=False))
            )
            rows.append(RecordingRow(f"{i}-{session}", str(i), session, "", spans))
    return rows


@settings(max_examples=120, deadline=None)
@given(tables(), st.integers(0, 5), st.sampled_from([1.0, 3.0, 10.0]), st.randoms())
def test_split_properties(
    rows: list[RecordingRow], seed: int, gap_s: float, shuffler: random.Random
) -> None:
    plan = assign_splits(rows, seed=seed, gap_s=gap_s)
    shuffled = list(rows)
    shuffler.shuffle(shuffled)
    assert assign_splits(shuffled, seed=seed, gap_s=gap_s).to_dict() == plan.to_dict()
    for made in rows:
        parts = plan.parts[made.name]
        allowed = {"train": {"train", "holdout"}}.get(
            plan.subjects[made.subject], {plan.subjects[made.subject]}
        )
        assert {split for split, _, _ in parts} <= allowed
        inside = [(a, b) for _, a, b in made.spans]
        for split, start, stop in parts:
            assert any(a <= start < stop <= b for a, b in inside)
            for other, begin, end in parts:
                if (split, other) == ("train", "holdout"):
                    assert stop + gap_s <= begin + 1e-9 or end + gap_s <= start + 1e-9


def test_another_session_is_held_out_where_there_is_one() -> None:
    rows = cohort(6, session="1") + cohort(6, session="2")
    plan = assign_splits(rows)
    for made in rows:
        if plan.subjects[made.subject] == "train":
            split = "holdout" if made.session == "2" else "train"
            assert plan.parts[made.name] == [(split, 0.0, 60.0)]


def test_the_last_part_is_held_out_otherwise() -> None:
    plan = assign_splits(cohort(1), holdout_share=0.25, gap_s=3.0)
    assert plan.parts[cohort(1)[0].name] == [("train", 0.0, 42.0), ("holdout", 45.0, 60.0)]


def test_too_short_to_hold_out_warns() -> None:
    plan = assign_splits([row("1", "pull", stop=8.0)])
    assert list(plan.parts.values()) == [[("train", 0.0, 8.0)]]
    assert any("too short to hold out" in warning for warning in plan.warnings)


@pytest.mark.parametrize("seed", range(6))
def test_copies_stay_on_one_side(seed: int) -> None:
    rows = [*cohort(8), row("00", "pull", run="2")]
    copies = [(row("00", "pull", run="2").name, row("07", "pull").name)]
    plan = assign_splits(rows, seed=seed, duplicates=copies)
    assert plan.subjects["00"] == plan.subjects["07"]
    assert plan.parts[copies[0][0]] == plan.parts[copies[0][1]]


def test_copies_follow_the_first_name_whatever_the_order() -> None:
    rows = [row("1", "pull", run="1"), row("1", "pull", run="2")]
    rows.append(RecordingRow("z", "0", "", "", (("pull", 0.0, 60.0),)))  # sorted first by subject
    plan = assign_splits(rows, duplicates=[("z", rows[1].name)], unseen_share=0.0)
    assert plan.parts["z"] == plan.parts[rows[1].name] == [("holdout", 0.0, 60.0)]


def test_every_task_is_trained_on_where_that_is_possible() -> None:
    rows = [row(f"{i}", "squat" if i < 2 else "pull") for i in range(8)]
    for seed in range(10):
        plan = assign_splits(rows, seed=seed)
        assert "train" in {plan.subjects["0"], plan.subjects["1"]}


def test_mistakes_are_named() -> None:
    with pytest.raises(NotEnoughDataError, match="no recording"):
        assign_splits([])
    with pytest.raises(InputError, match="occurs more than once"):
        assign_splits([row("1", "pull")] * 2)
    with pytest.raises(InputError, match="leave some to train on"):
        assign_splits(cohort(3), validation_share=0.6, unseen_share=0.5)
    with pytest.raises(InputError, match="holdout_share"):
        assign_splits(cohort(3), holdout_share=1.0)
