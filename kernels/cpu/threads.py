"""Rows shared out among as many threads as PyTorch uses.

The kernels run without the GIL, so plain threads do. Numba's own parallel loops would need OpenMP or TBB to be safe
under several calling threads, and would spin beside PyTorch's.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import count

import torch


def over(items: int, step: int, task: Callable[[int, int], None]) -> None:
    """Call task(start, stop) for consecutive runs of `step` of `items`, on `torch.get_num_threads()` threads.

    The caller is one of them, so calls from many threads at once all make progress. An error of a task is raised here.
    """
    runs = -(-items // step)
    numbers = count()

    def work() -> None:
        while (number := next(numbers)) < runs:
            task(number * step, min(items, (number + 1) * step))

    helpers = min(torch.get_num_threads(), runs) - 1
    futures = [_pool(helpers).submit(work) for _ in range(helpers)] if helpers > 0 else []
    try:
        work()
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
