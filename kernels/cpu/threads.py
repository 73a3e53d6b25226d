"""Rows shared out among as many threads as PyTorch uses.

The kernels run without the GIL, so plain threads do. Numba's own parallel loops would need OpenMP or TBB to be safe
under several calling threads, and would spin beside PyTorch's.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import count
from typing import NamedTuple

import torch


class Work(NamedTuple):
    """task(start, stop), to be called for consecutive runs of `step` of `items`."""

    items: int
    step: int
    task: Callable[[int, int], None]


def over(items: int, step: int, task: Callable[[int, int], None]) -> None:
    """Call task(start, stop) for consecutive runs of `step` of `items`, on `torch.get_num_threads()` threads."""
    over_all([Work(items, step, task)])


def over_all(works: Sequence[Work]) -> None:
    """All runs of several works, shared out at once: threads are woken once, however small the works are.

    The caller is one of the threads, so calls from many threads at once all make progress. An error of a task is
    raised here.
    """
    runs = [
        (work.task, start, min(work.items, start + work.step))
        for work in works
        for start in range(0, work.items, work.step)
    ]
    numbers = count()

    def some() -> None:
        while (number := next(numbers)) < len(runs):
            task, start, stop = runs[number]
            task(start, stop)

    helpers = min(torch.get_num_threads(), len(runs)) - 1
    futures = [_pool(helpers).submit(some) for _ in range(helpers)] if helpers > 0 else []
    try:
        some()
    finally:
        # One that hasn't begun would find nothing left to do.
        running = [future for future in futures if not future.cancel()]
        failed = [error for future in running if (error := future.exception())]
    if failed:
        raise failed[0]


@cache
def _pool(helpers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(helpers, thread_name_prefix="kernels-cpu")


if hasattr(os, "register_at_fork"):
    # A child has none of its parent's threads.
    os.register_at_fork(after_in_child=_pool.cache_clear)
