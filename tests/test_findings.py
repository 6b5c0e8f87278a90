"""What is said about labels: a set that is off is not accused of wrong labels."""

import numpy as np
import pytest

from myosynth.evaluation.findings import about_labels
from myosynth.evaluation.privacy.results import Attack
from myosynth.evaluation.privacy.verdicts import _inference_verdict
from myosynth.evaluation.utility import Labelled
from myosynth.signal.features import FEATURES


def labelled(rng, n=80, shift=0.0):
    """Two tasks told apart by the first feature; the last one differs a little, and may be off."""
    task = np.repeat(["pull", "stoop"], n)
    table = rng.standard_normal((2 * n, len(FEATURES)))
    table[:, 0] += np.where(task == "pull", 4.0, -4.0)
    table[:, -1] = 0.1 * table[:, -1] + np.where(task == "pull", 0.05, -0.05) + shift
    return Labelled(table, task, np.tile([f"s{i}" for i in range(8)], n // 4))


@pytest.fixture
def real():
    rng = np.random.default_rng(0)
    return labelled(rng), labelled(rng)


def test_a_set_that_lies_off_the_real_ones_is_not_accused_of_its_labels(real):
    made = labelled(np.random.default_rng(1), shift=20.0)
    assert about_labels(*real, made) == []


def test_shuffled_labels_are_still_named_when_the_set_lies_off(real):
    rng = np.random.default_rng(2)
    made = labelled(rng, shift=20.0)
    shuffled = Labelled(made.table, rng.permutation(made.task), made.subject)
    (finding,) = about_labels(*real, shuffled)
    assert finding.code == "labels_shuffled"


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(-0.34, -0.2, "none_found"), (-0.1, 0.2, "no_power"), (-0.02, 0.07, "none_found")],
)
def test_a_gain_that_is_ruled_out_is_not_called_no_power(low, high, verdict):
    attack = Attack("attribute_inference", "segment", "gain", 0.5 * (low + high), 0.0, "",
                    low=low, high=high, p=0.9)  # fmt: skip
    assert _inference_verdict(attack) == verdict
