"""A bounded pool of encoded training segments, renewed block by block as training goes on."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["SegmentPool"]

Rows = NDArray[np.intp]
Encode = Callable[[Rows], tuple[Tensor, ...]]

_BLOCK = 16  # neighbouring segments share chunks on disk
_MAX_BYTES = 128 << 20


class SegmentPool:
    """Encoded segments in memory, 128 MiB of them at most however large the set is.

    Parameters
    ----------
    rows : array of int
        Training rows, ascending.
    encode : callable
        From rows to tensors of equal first length: what a batch is made of.
    rng : Generator
        Chooses blocks and batches.
    held : array of int, optional
        Blocks that the pool holds (`held`), to go on where another pool stopped.
    """

    def __init__(
        self,
        rows: Rows,
        encode: Encode,
        rng: np.random.Generator,
        *,
        held: Rows | None = None,
    ) -> None:
        self._rows, self._encode, self._rng = rows, encode, rng
        self._n_blocks = -(-len(rows) // _BLOCK)
        first = self._load(0)
        bytes_each = sum(part.element_size() * part[0].numel() for part in first)
        n_slots = max(2, min(self._n_blocks, _MAX_BYTES // (_BLOCK * bytes_each)))
        n_slots = min(n_slots, self._n_blocks)
        if held is None:
            held = rng.permutation(self._n_blocks)[:n_slots]
        self.held = held
        self._parts = tuple(
            torch.empty((len(held) * _BLOCK, *part.shape[1:]), dtype=part.dtype) for part in first
        )
        for slot, block in enumerate(held):
            self._fill(slot, int(block))

    def batch(self, n: int) -> tuple[Tensor, ...]:
        """`n` random segments; now and then a block is exchanged for one outside the pool."""
        if len(self.held) < self._n_blocks:
            outside = np.setdiff1d(np.arange(self._n_blocks), self.held)
            slot = int(self._rng.integers(len(self.held)))
            self._fill(slot, int(self._rng.choice(outside)))
        chosen = torch.from_numpy(self._rng.integers(len(self._parts[0]), size=n))
        return tuple(part[chosen] for part in self._parts)

    def _fill(self, slot: int, block: int) -> None:
        self.held[slot] = block
        for part, new in zip(self._parts, self._load(block), strict=True):
            part[slot * _BLOCK : (slot + 1) * _BLOCK] = new

    def _load(self, block: int) -> tuple[Tensor, ...]:
        places = (np.arange(_BLOCK) + block * _BLOCK) % len(self._rows)
        return self._encode(self._rows[places])
