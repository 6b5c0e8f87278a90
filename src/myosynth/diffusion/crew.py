"""Threads that share work: each takes a part of it, on one thread of torch."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor

__all__ = ["Crew"]

Parts = tuple[Tensor, ...]
Item = TypeVar("Item")
Result = TypeVar("Result")


class Crew:
    """Does several things at the same time while it is working, and one after another else.

    The kernels of a small network leave several threads of torch idle most of the time; a batch, or
    a part of one, on one thread each does not. Results and sums come in the order of the parts, so
    that they are the same every time.

    Parameters
    ----------
    n_threads : int
        How many at a time, and how many parts of a batch.
    """

    def __init__(self, n_threads: int = 1) -> None:
        self.n_threads = n_threads
        self._pool: ThreadPoolExecutor | None = None

    @contextmanager
    def working(self) -> Iterator[None]:
        """Give torch's threads to the crew; they are given back in the end."""
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        pool = self._pool = ThreadPoolExecutor(
            self.n_threads, initializer=torch.set_num_threads, initargs=(1,)
        )
        try:
            yield
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None
            torch.set_num_threads(before)

    def stream(self, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Results in the order of the items, each as soon as it is there."""
        return map(work, items) if self._pool is None else self._pool.map(work, items)

    def map(self, work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """Results in the order of the items, all of them."""
        return list(self.stream(work, items))

    def gradients(
        self,
        losses: Callable[[Parts], Parts],
        batch: Parts,
        parameters: Sequence[Tensor],
    ) -> Parts:
        """Add up the gradients of a batch in `parameters`, and give its losses.

        Parameters
        ----------
        losses : callable
            From tensors of equal first length to what is to be minimised, a number, and further
            numbers; all are sums over the segments.
        batch : tuple of Tensor
        parameters : sequence of Tensor
            Their `grad` is replaced.

        Returns
        -------
        tuple of Tensor
            What `losses` gave, added up and detached.
        """

        def work(part: Parts) -> tuple[Parts, Parts]:
            found = losses(part)
            return torch.autograd.grad(found[0], parameters, allow_unused=True), found

        n = min(self.n_threads, len(batch[0]))
        parts = list(zip(*(whole.tensor_split(n) for whole in batch), strict=True))
        done = self.map(work, parts)
        found = [
            _added(each).detach() for each in zip(*(losses for _, losses in done), strict=True)
        ]
        gradients = zip(*(each for each, _ in done), strict=True)
        for parameter, each in zip(parameters, gradients, strict=True):
            parameter.grad = None if each[0] is None else _added(each)
        return tuple(found)


def _added(parts: Sequence[Tensor]) -> Tensor:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total
