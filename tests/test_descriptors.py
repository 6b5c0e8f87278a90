"""The density of descriptors against what it was fitted to, by known truth."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from myosynth.diffusion.descriptors import Descriptors, _edges
from myosynth.diffusion.places import even_places
from myosynth.errors import InputError

N_BANDS, N_ROWS, N_FRAMES = 3, 5, 48
SLOPE = 2.0
MADE = {"n_channels": 1, "n_bands": N_BANDS, "n_rows": N_ROWS, "n_frames": N_FRAMES}


def maps(levels: NDArray[np.float64], seed: int = 0) -> torch.Tensor:
    """Envelope maps whose rows have these means (n, N_ROWS): bands vary by frame, texture not."""
    rng = np.random.default_rng(seed)
    made = levels[:, None, :, None] + np.zeros((1, 1, 1, N_FRAMES))
    chance = rng.standard_normal((len(levels), 1, N_BANDS, N_FRAMES))
    made[:, :, :N_BANDS] += chance - chance.mean(-1, keepdims=True)
    return torch.from_numpy(made).float()


class Truth:
    """Two tasks, three people, one effort that moves the first row, spread 0.5 within a person."""

    def __init__(self, n: int = 900) -> None:
        rng = np.random.default_rng(3)
        self.task_id = rng.integers(2, size=n)
        person = rng.integers(3, size=n)
        self.group = np.array(["a", "b", "c"])[person]
        self.features = rng.standard_normal((n, 1)).astype(np.float32)
        self.levels = 0.5 * rng.standard_normal((n, N_ROWS))
        self.levels[:, 0] += SLOPE * self.features[:, 0]
        self.levels[:, 1] += 4.0 * person
        self.levels[:, 2] += 10.0 * self.task_id
        self.known = np.ones((n, 1), dtype=bool)

    def fitted(self) -> Descriptors:
        made = Descriptors(**MADE, n_features=1, n_tasks=2)
        blocks = maps(self.levels).split(100)
        made.fit(iter(blocks), self.features, self.known, self.task_id, self.group)
        return made


@pytest.fixture(scope="module")
def truth() -> Truth:
    return Truth()


@pytest.fixture(scope="module")
def fitted(truth: Truth) -> Descriptors:
    return truth.fitted()


def drawn(
    made: Descriptors, task_id: int, features: list[float], *, known: bool = True, n: int = 600
) -> NDArray[np.float64]:
    """Levels of the rows of `n` draws, (n, N_ROWS)."""
    rng = np.random.default_rng(0)
    given, there = np.array(features, np.float32), np.full(len(features), known)
    density = made.density()
    draws = np.stack([density.draw(task_id, given, there, rng) for _ in range(n)])
    plain = draws * made.std.numpy() + made.mean.numpy()
    return plain[:, :N_ROWS]


def test_draws_follow_the_task_the_effort_and_the_people(fitted: Descriptors) -> None:
    low, high = drawn(fitted, 0, [-1.0]), drawn(fitted, 0, [1.0])
    assert high[:, 0].mean() - low[:, 0].mean() == pytest.approx(2 * SLOPE, abs=0.15)
    assert high[:, 0].std() == pytest.approx(0.5, abs=0.08)
    people = np.round(high[:, 1] / 4).astype(int)
    assert set(people.tolist()) == {0, 1, 2}
    assert np.bincount(people).min() > 150
    assert (high[:, 1] - 4 * people).std() == pytest.approx(0.5, abs=0.08)
    assert drawn(fitted, 1, [0.0])[:, 2].mean() == pytest.approx(10.0, abs=0.2)


def test_the_null_task_is_all_tasks_mixed(fitted: Descriptors) -> None:
    second = drawn(fitted, 2, [0.0])[:, 2] > 5
    assert 0.4 < second.mean() < 0.6


def test_a_missing_condition_is_drawn_too(fitted: Descriptors) -> None:
    """Then the first row varies as it does over all efforts."""
    spread = drawn(fitted, 0, [0.0], known=False)[:, 0].std()
    assert spread == pytest.approx(np.hypot(0.5, SLOPE), rel=0.15)


def test_a_category_tells_the_person() -> None:
    truth = Truth()
    places = np.searchsorted(["a", "b", "c"], truth.group)
    truth.features = np.concatenate([truth.features, np.eye(3)[places]], 1).astype(np.float32)
    truth.known = np.ones(truth.features.shape, dtype=bool)
    truth.known[::7, 1:] = False  # some are missing
    truth.features[::7, 1:] = 0
    made = Descriptors(**MADE, n_features=4, n_tasks=2)
    made.fit(iter([maps(truth.levels)]), truth.features, truth.known, truth.task_id, truth.group)
    levels = drawn(made, 0, [0.0, 0.0, 1.0, 0.0], n=200)
    assert np.abs(levels[:, 1] - 4.0).max() < 3.0


def test_what_is_measured_comes_back_as_texture(truth: Truth, fitted: Descriptors) -> None:
    envelope = maps(truth.levels[:7])
    back = fitted.texture(fitted.measure(envelope), N_FRAMES)
    assert torch.allclose(back, envelope[:, :, N_BANDS:], atol=1e-4)


def test_bands_are_drawn_relative_to_means_and_spread(truth: Truth, fitted: Descriptors) -> None:
    bands = maps(truth.levels[:7])
    described = fitted.measure(bands)
    parts = fitted.relative(bands[:, :, :N_BANDS], described)
    assert torch.allclose(parts.mean(-1), torch.zeros(()), atol=1e-4)
    back = fitted.absolute(parts, described)
    assert torch.allclose(back, bands[:, :, :N_BANDS], atol=1e-4)


def test_a_spread_far_beyond_training_does_not_blow_a_map_up(fitted: Descriptors) -> None:
    parts = torch.randn(1, 1, N_BANDS, N_FRAMES, generator=torch.Generator().manual_seed(0))
    far, farther = torch.zeros(2, 1, fitted.n)
    far[:, N_ROWS], farther[:, N_ROWS] = 4.0, 400.0
    assert torch.equal(fitted.absolute(parts, farther), fitted.absolute(parts, far))


def test_the_modulation_shows_the_rhythm(fitted: Descriptors) -> None:
    frames = torch.arange(N_FRAMES)
    envelope = torch.zeros(2, 1, N_ROWS, N_FRAMES)
    for i, cycles in enumerate((4, 12)):
        envelope[i, 0, :N_BANDS] = torch.sin(2 * torch.pi * cycles * frames / N_FRAMES)
    measured = fitted._measured(envelope)
    assert measured[:, N_ROWS].exp().numpy() == pytest.approx(0.5**0.5, abs=1e-3)  # its spread
    modulation = measured[:, N_ROWS + 1 :]
    for i, cycles in enumerate((4, 12)):
        loudest = int(modulation[i].argmax())
        assert fitted.edges[loudest] <= cycles < fitted.edges[loudest + 1]


@pytest.mark.parametrize("n_lines", [1, 2, 3, 25, 400])
def test_modulation_bands_cover_all_lines_once(n_lines: int) -> None:
    edges = _edges(n_lines)
    assert edges == sorted(set(edges))
    assert edges[0] == 1
    assert edges[-1] == max(1, n_lines)


def test_strangers_surprise(truth: Truth, fitted: Descriptors) -> None:
    own, known = truth.levels[:50], truth.known[:50]
    far = own.copy()
    far[:, 1] += 2.0  # between two people
    surprise = [
        fitted.density().surprise(
            truth.task_id[:50], truth.features[:50], known, fitted.measure(maps(levels))
        )
        for levels in (own, far)
    ]
    assert (surprise[0] >= 0).all()
    assert np.median(surprise[1] - surprise[0]) > 4


def test_few_segments_are_not_a_list_of_themselves() -> None:
    """Two segments a person: one group, and draws vary as the whole set does, not as copies."""
    truth = Truth(n=6)
    truth.task_id[:] = [0, 0, 0, 0, 0, 1]
    truth.group[:] = ["a", "a", "b", "b", "a", "b"]
    made = truth.fitted()
    assert made.n_groups == 2
    for task, feature in ((0, truth.features[0, 0]), (1, truth.features[5, 0])):
        levels = drawn(made, task, [float(feature)], n=200)
        spread = levels.std(0) / truth.levels.std(0)
        assert spread.min() > 0.3
        assert spread.max() < 2.0


def test_a_person_with_few_segments_is_described_with_others() -> None:
    truth = Truth(n=300)
    truth.task_id[:] = 0
    truth.task_id[0] = 1
    truth.group[:] = np.repeat(["a", "b", "c"], 100)
    truth.group[:3] = ["d", "e", "f"]  # of one segment each, joined to the largest
    made = truth.fitted()
    assert made.n_groups == 4
    assert made.density().group_share[:3].min() > 0.3
    truth.group[:5] = ["d", "e", "f", "d", "e"]  # four of the first task: a group of their own
    assert truth.fitted().n_groups == 5


def test_places_fill_the_density_evenly(truth: Truth, fitted: Descriptors) -> None:
    """Means and shares of people in sets of 60 draws hardly depend on chance."""
    density = fitted.density()
    given, there = np.zeros(1, np.float32), np.ones(1, dtype=bool)

    def drawn_in_sets(*, evenly: bool) -> NDArray[np.float64]:
        sets = []
        for seed in range(30):
            rng = np.random.default_rng(seed)
            places = even_places(0, 60, density.n_axes, seed) if evenly else [None] * 60
            sets.append([density.draw(0, given, there, rng, place) for place in places])
        return np.array(sets)

    even, random = (drawn_in_sets(evenly=each) for each in (True, False))
    assert np.allclose(even.mean((0, 1)), random.mean((0, 1)), atol=0.1)
    assert np.allclose(even.std((0, 1)), random.std((0, 1)), rtol=0.1)
    assert (even.mean(1).std(0) < 0.35 * random.mean(1).std(0)).all()
    low, high = even[..., 1].min(), even[..., 1].max()  # people lie far apart in this row
    shares = [(each[..., 1] < 0.75 * low + 0.25 * high).mean(1).std() for each in (even, random)]
    assert shares[0] < 0.35 * shares[1]


@pytest.mark.parametrize("n", [2, 8, 18])
def test_many_conditions_of_few_segments_are_not_followed_far(n: int) -> None:
    rng = np.random.default_rng(0)
    levels = rng.standard_normal((n, N_ROWS))
    made = Descriptors(**MADE, n_features=16, n_tasks=1)
    features = rng.standard_normal((n, 16)).astype(np.float32)
    known = np.ones(features.shape, dtype=bool)
    made.fit(iter([maps(levels)]), features, known, np.zeros(n, int), np.full(n, ""))
    density = made.density()
    asked = rng.standard_normal((200, 16)).astype(np.float32)
    draws = np.stack([density.draw(0, each, known[0], rng) for each in asked])
    assert np.abs(draws).max() < 12


def test_other_lengths_are_refused(fitted: Descriptors) -> None:
    with pytest.raises(InputError, match="length of training"):
        fitted.measure(torch.zeros(1, 1, N_ROWS, N_FRAMES // 2))


def test_more_descriptors_than_factors_keep_their_variance() -> None:
    made = Descriptors(
        n_channels=30, n_bands=N_BANDS, n_rows=N_ROWS, n_frames=8, n_features=2, n_tasks=1
    )
    rng = np.random.default_rng(0)
    n = 60
    envelopes = torch.from_numpy(rng.standard_normal((n, 30, N_ROWS, 8))).float()
    features = rng.standard_normal((n, 2)).astype(np.float32)
    made.fit(
        iter([envelopes]), features, np.ones(features.shape, bool), np.zeros(n, int),
        np.full(n, "a"),
    )  # fmt: skip
    assert made.factors.shape[-1] == 64 < made.n
    density = made.density()
    draws = np.stack([density.draw(0, features[i], np.ones(2, bool), rng) for i in range(n)])
    assert draws.std(0).mean() == pytest.approx(1.0, abs=0.05)
