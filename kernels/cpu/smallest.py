"""The smallest values of each row of a matrix, with their columns: one pass, a vector's compare for nearly all."""

import numpy as np
from numpy.typing import NDArray

from kernels.cpu.jit import kernel
from kernels.cpu.threads import over

RUN_VALUES = 1 << 14
"""Values that a thread takes at a time, about."""
BLOCK = 64
"""Values that are compared at once."""
INFINITY = 0x7F800000
"""Its bits. Those of float32 values >= 0 are ordered as the values are."""


def smallest(values: NDArray[np.float32], count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The `count` smallest finite values of each row, ascending: float32 and columns int64 [Q, count].

    values: float32 [Q, N], >= 0, rows of consecutive values; infinity is never taken: where fewer are finite, infinity
    and -1 fill the end. Of equal values those in earlier columns come first.
    """
    queries = len(values)
    found = np.full((queries, count), np.inf, np.float32)
    columns = np.full((queries, count), -1, np.int64)
    bits = values.view(np.uint32)
    step = max(1, RUN_VALUES // max(1, values.shape[1]))
    over(queries, step, lambda first, last: _smallest_of_rows(bits, first, last, found.view(np.uint32), columns))
    return found, columns


@kernel
def _smallest_of_rows(
    values: NDArray[np.uint32], first: int, last: int, found: NDArray[np.uint32], columns: NDArray[np.int64]
) -> None:
    count = found.shape[1]
    # A value's bits and, below them, its column: sorted and divided as one number.
    kept = np.empty(2 * count + BLOCK, np.uint64)
    for q in range(first, last):
        size, limit = 0, np.uint32(INFINITY)
        for start in range(0, values.shape[1], BLOCK):
            block = values[q, start : start + BLOCK]
            if _below(block, limit) == 0:
                continue
            for i in range(len(block)):
                if block[i] < limit:
                    kept[size] = (np.uint64(block[i]) << np.uint64(32)) | np.uint64(start + i)
                    size += 1
            if size > len(kept) - BLOCK:
                kept[:count] = np.partition(kept[:size], count - 1)[:count]
                size, limit = count, np.uint32(kept[count - 1] >> np.uint64(32))
        ordered = np.sort(kept[:size])
        for i in range(min(size, count)):
            found[q, i] = np.uint32(ordered[i] >> np.uint64(32))
            columns[q, i] = np.int64(ordered[i] & np.uint64(0xFFFFFFFF))


@kernel
def _below(values: NDArray[np.uint32], limit: np.uint32) -> int:
    count = 0
    for i in range(len(values)):
        count += values[i] < limit
    return count
