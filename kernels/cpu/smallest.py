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
NONE = np.uint64(INFINITY << 32 | 0xFFFFFFFF)
"""Infinity and column -1. A value's bits and, below them, its column are sorted and divided as one number."""
ROOM = 4
"""So many times as many values as are wanted are kept before they are thinned out."""


def smallest(values: NDArray[np.float32], count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The `count` smallest finite values of each row, ascending: float32 and columns int64 [Q, count].

    values: float32 [Q, N], >= 0, rows of consecutive values; infinity is never taken: where fewer are finite, infinity
    and -1 fill the end. Of equal values those in earlier columns come first.
    """
    queries = len(values)
    found, columns = np.empty((queries, count), np.float32), np.empty((queries, count), np.int64)
    bits = values.view(np.uint32)

    def run(first: int, last: int) -> None:
        kept = np.full((last - first, ROOM * (count + BLOCK)), NONE)
        _keep(bits, first, last, count, kept)
        # numpy's own selection and sort use the vector units, numba's don't.
        kept.partition(count - 1, axis=1)
        ordered = np.sort(kept[:, :count], axis=1)
        found[first:last] = (ordered >> np.uint64(32)).astype(np.uint32).view(np.float32)
        columns[first:last] = ordered.astype(np.uint32).view(np.int32)

    over(queries, max(1, RUN_VALUES // max(1, values.shape[1])), run)
    return found, columns


@kernel
def _keep(values: NDArray[np.uint32], first: int, last: int, count: int, kept: NDArray[np.uint64]) -> None:
    """Fill the beginning of kept[q - first] with the `count` smallest of row q and some that are larger."""
    for q in range(first, last):
        mine, size, limit = kept[q - first], 0, np.uint32(INFINITY)
        for start in range(0, values.shape[1], BLOCK):
            block = values[q, start : start + BLOCK]
            if _below(block, limit) == 0:
                continue
            for i in range(len(block)):
                if block[i] < limit:
                    mine[size] = (np.uint64(block[i]) << np.uint64(32)) | np.uint64(start + i)
                    size += 1
            if size > len(mine) - BLOCK:
                mine[:size] = np.partition(mine[:size], count - 1)
                size, limit = count, np.uint32(mine[count - 1] >> np.uint64(32))
                mine[size:] = NONE


@kernel
def _below(values: NDArray[np.uint32], limit: np.uint32) -> int:
    count = 0
    for i in range(len(values)):
        count += values[i] < limit
    return count
