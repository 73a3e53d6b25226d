"""Squared distances of float32 vectors to stored ones, several of each at once, in whole registers.

Written for vector types: for loops LLVM prefers registers of half the width. And what will be read next is asked for
line by line, while what is there is computed: asked for in one burst, the lines wait for each other.
"""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from kernels.cpu.jit import part
from kernels.cpu.lanes import loop
from kernels.cpu.rows import CACHE_LINE, as_float32, ask_for, load, stored_type
from kernels.cpu.vectors import LANES, WIDE, Vector, load_lanes

BLOCK = 2 * LANES
"""Channels that are taken together; `rest_of_squares` has what is left of a vector."""
Squares = Callable[[NDArray[np.generic], int, int, int, int, int, int], tuple[np.float32, ...]]


def squares_of(queries: int, rows: int, registers: int, fetching: bool = False) -> Squares:
    """A part of kernels: squared distances of some queries to some rows, each value loaded and converted once for all.

    registers: sums of a pair that run beside each other; 1 or 2. What it gives is called with an array of the rows'
    type (`kernels.cpu.rows.FORMATS`), the first query's address and the stride to the next, the same of the rows, all
    in bytes, the channels, a multiple of BLOCK, and an address: fetching, as many values as are read of the rows are
    asked for from there on, for the second cache. Returns a tuple of float32, queries outermost.
    """
    pairs = [(query, row) for query in range(queries) for row in range(rows)]
    result = types.UniTuple(types.float32, len(pairs))  # type: ignore[no-untyped-call]
    taken = LANES * registers

    def squares(
        typing_context: Any,
        stored: Any,
        query: Any,
        to_query: Any,
        row: Any,
        to_row: Any,
        channels: Any,
        ahead: Any,
    ) -> tuple[Any, Callable[..., Any]]:
        width = stored.dtype.bitwidth // 8

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            _, query, to_query, row, to_row, channels, ahead = arguments
            near, far = _addresses(builder, query, to_query, queries), _addresses(builder, row, to_row, rows)
            asked = _addresses(builder, ahead, to_row, rows) if fetching else []

            def add(block: Any, totals: list[Any]) -> list[Any]:
                ours_at, theirs_at = (builder.mul(block, WIDE(taken * size)) for size in (4, width))
                for address in asked:
                    for line in range(0, taken * width, CACHE_LINE):
                        ask_for(builder, builder.add(builder.add(address, theirs_at), WIDE(line)))
                found = []
                for first in range(0, taken, LANES):
                    ours = [_load(builder, types.float32, one, ours_at, first) for one in near]
                    theirs = [_load(builder, stored.dtype, one, theirs_at, first) for one in far]
                    found += [ours[q] - theirs[r] for q, r in pairs]
                sums = (Vector(builder, total) + one * one for total, one in zip(totals, found, strict=True))
                return [one.value for one in sums]

            zeros = [Vector.of(builder, 0.0).value] * (len(pairs) * registers)
            totals = loop(builder, builder.udiv(channels, WIDE(taken)), zeros, add)
            sums = [Vector(builder, total) for total in totals]
            if registers == 2:
                sums = [one + other for one, other in zip(sums[: len(pairs)], sums[len(pairs) :], strict=True)]
            return context.make_tuple(builder, result, [one.sum() for one in sums])

        return result(stored, *([types.int64] * 6)), generate

    return cast(Squares, intrinsic(squares))


def _addresses(builder: Any, first: Any, stride: Any, count: int) -> list[Any]:
    found = [first]
    while len(found) < count:
        found.append(builder.add(found[-1], stride))
    return found


def _load(builder: Any, dtype: Any, address: Any, offset: Any, first: int) -> Vector:
    """LANES values from number `first` of a block on, of the stored type that a numba type stands for."""
    width = dtype.bitwidth // 8
    place = builder.add(builder.add(address, offset), WIDE(first * width))
    return Vector(builder, as_float32(builder, load_lanes(builder, place, stored_type(dtype), width), dtype, LANES))


@part
def rest_of_squares(
    query_stored: NDArray[np.generic], query: int, stored: NDArray[np.generic], row: int, channels: int
) -> np.float32:
    """Of two vectors at two addresses: the squared distance of the channels that no block holds."""
    total = np.float32(0)
    for c in range(channels // BLOCK * BLOCK, channels):
        difference = load(query_stored, query, c) - load(stored, row, c)
        total += difference * difference
    return total
