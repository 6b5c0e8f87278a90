"""Jobs in threads of their own, whose reports and errors reach the caller's thread."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Generic, TypeVar

import torch

__all__ = ["Lane", "run_lanes"]

Report = TypeVar("Report")


class Lane(Generic[Report]):
    """What a job has of the others: `tell`, and `stopped`, at which it ends as soon as it can."""

    def __init__(self, reports: "SimpleQueue[Report | Future[None]]", stop: threading.Event):
        self.tell: Callable[[Report], None] = reports.put
        self.stopped: Callable[[], bool] = stop.is_set


def run_lanes(
    jobs: Sequence[Callable[[Lane[Report]], None]],
    on_report: Callable[[Report], None],
    *,
    threads: int,
) -> None:
    """Run all jobs at the same time until every one has ended.

    Whatever ends one of them, or `on_report`, or comes from outside (Ctrl-C), stops the others:
    they are waited for, and it is raised here, so that a signal never cuts a job in two. Where one
    of them fails in stopping, that is raised, with the first as its cause.

    Parameters
    ----------
    jobs : sequence of callables
        Each is given its `Lane`.
    on_report : callable
        Called in the caller's thread with what the jobs tell, in the order in which they do.
    threads : int
        Threads of torch for each job.
    """
    stop = threading.Event()
    reports: SimpleQueue[Report | Future[None]] = SimpleQueue()
    running: list[Future[None]] = []
    with ThreadPoolExecutor(
        len(jobs), initializer=torch.set_num_threads, initargs=(threads,)
    ) as pool:
        try:
            for job in jobs:
                running.append(pool.submit(job, Lane(reports, stop)))
                running[-1].add_done_callback(reports.put)
            n_left = len(running)
            while n_left:
                report = reports.get()
                if isinstance(report, Future):
                    report.result()
                    n_left -= 1
                else:
                    on_report(report)
        except BaseException as first:
            stop.set()
            for error in [each.exception() for each in running]:  # waits for each
                if error is not first and isinstance(error, Exception):
                    raise error from first
            raise
