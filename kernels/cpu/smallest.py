"""The smallest values of each row of a matrix, with their columns: one pass, a compare for nearly every value."""

import numpy as np
from numpy.typing import NDArray

from kernels.cpu.jit import kernel
from kernels.cpu.threads import over

RUN_VALUES = 1 << 16
"""Values that a thread takes at a time, about."""


def smallest(values: NDArray[np.float32], count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The `count` smallest finite values of each row, ascending: float32 and columns int64 [Q, count].

    values: float32 [Q, N]; infinity is never taken: where fewer are finite, infinity and -1 fill the end. Which of
    equal values at the end are taken depends on the row alone.
    """
    queries = len(values)
    found = np.full((queries, count), np.inf, np.float32)
    columns = np.full((queries, count), -1, np.int64)
    step = max(1, RUN_VALUES // max(1, values.shape[1]))
    over(queries, step, lambda first, last: _smallest_of_rows(values, first, last, found, columns))
    return found, columns


@kernel
def _smallest_of_rows(
    values: NDArray[np.float32], first: int, last: int, found: NDArray[np.float32], columns: NDArray[np.int64]
) -> None:
    count = found.shape[1]
    capacity = 2 * count + 64
    kept, where = np.empty(capacity, np.float32), np.empty(capacity, np.int64)
    for q in range(first, last):
        size, limit = 0, np.float32(np.inf)
        for column in range(values.shape[1]):
            value = values[q, column]
            if value < limit:
                kept[size], where[size] = value, column
                size += 1
                if size == capacity:
                    size = _keep(kept, where, size, count)
                    limit = kept[count - 1]
        size = _keep(kept, where, size, count)
        found[q, :size], columns[q, :size] = kept[:size], where[:size]


@kernel
def _keep(kept: NDArray[np.float32], where: NDArray[np.int64], size: int, count: int) -> int:
    """Put the `count` smallest of the first `size` (all, if fewer) in front, ascending; returns how many."""
    order = np.argsort(kept[:size], kind="mergesort")[:count]
    kept[: len(order)], where[: len(order)] = kept[order], where[order]
    return len(order)
