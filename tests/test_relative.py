"""What is left of an envelope map given its descriptors, and back."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from myosynth.diffusion.relative import RelativeMap


def levels(bands: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return bands.mean(-1), bands.mean(2).std(-1, correction=0)


def random_bands(n: int, n_channels: int, n_bands: int, n_frames: int, seed: int) -> torch.Tensor:
    """Levels that vary from .1 to 1 by segment, bands that differ a little from them."""
    rng = np.random.default_rng(seed)
    size = rng.uniform(0.1, 1.0, (n, n_channels, 1, 1))
    level = size * rng.standard_normal((n, n_channels, 1, n_frames))
    rest = 0.3 * rng.standard_normal((n, n_channels, n_bands, n_frames))
    return torch.from_numpy(level + rest + rng.standard_normal((n, n_channels, n_bands, 1))).float()


def fitted(bands: torch.Tensor) -> RelativeMap:
    made = RelativeMap(bands.shape[1], bands.shape[2])
    made.fit(made.squares(bands, *levels(bands)).mean(0))
    return made


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 3), st.integers(2, 12), st.integers(4, 60), st.integers(0, 1000)
)  # fmt: skip
def test_relative_and_absolute_are_inverse(
    n_channels: int, n_bands: int, n_frames: int, seed: int
) -> None:
    bands = random_bands(5, n_channels, n_bands, n_frames, seed)
    made = fitted(bands)
    back = made.absolute(made.relative(bands, *levels(bands)), *levels(bands))
    assert torch.allclose(back, bands, atol=1e-4)


def test_components_are_of_unit_rms_and_alike_in_quiet_and_lively_segments() -> None:
    bands = random_bands(400, 2, 8, 48, 1)
    made = fitted(bands)
    parts = made.relative(bands, *levels(bands))
    assert parts.square().mean((0, 3)).sqrt().numpy() == pytest.approx(1.0, abs=1e-3)
    spread = levels(bands)[1][:, 0]
    quiet, lively = spread < 0.3, spread > 0.8
    own = parts[:, 0, 0].std(-1)
    asked = float(spread[lively].mean() / spread[quiet].mean())
    assert float(own[lively].mean() / own[quiet].mean()) == pytest.approx(asked**0.5, rel=0.1)


def test_a_level_that_does_not_vary_gives_numbers() -> None:
    bands = torch.zeros(2, 1, 4, 16)
    made = fitted(bands)
    mean, spread = levels(bands)
    assert bool(torch.isfinite(made.relative(bands, mean, spread)).all())
    assert bool(torch.isfinite(made.absolute(bands, mean, spread)).all())
