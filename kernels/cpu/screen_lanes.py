"""The screen's loops around the products by lanes: tile by tile of rows, all terms and queries while it is cached."""

import numpy as np
from numpy.typing import NDArray

from kernels.cpu.aligned import scratch
from kernels.cpu.bound import add_term, lower
from kernels.cpu.direct import Slack
from kernels.cpu.jit import any_order
from kernels.cpu.packed import Packed
from kernels.cpu.packed_queries import PackedQueries
from kernels.cpu.products import dot_tile
from kernels.cpu.tile import TILE_QUERIES, TILE_ROWS


@any_order
def fill(
    queries: PackedQueries,
    rows: Packed,
    power: int,
    given_up: Slack,
    first: int,
    last: int,
    bounds: NDArray[np.float32],
) -> None:
    """Fill the columns of bounds [Q, N filled up] that tiles first to last hold."""
    count, terms = len(bounds), len(rows.centre)
    filled = queries.start.shape[1]
    dots = scratch(queries.start, TILE_QUERIES * TILE_ROWS).reshape(TILE_QUERIES, TILE_ROWS)
    o_dots = dots.ctypes.data
    o_queries, o_start, o_codes = queries.codes.ctypes.data, queries.start.ctypes.data, rows.codes.ctypes.data
    all_steps = rows.steps[terms]
    tile_bytes = 4 * TILE_QUERIES * queries.codes.itemsize
    for tile in range(first, last):
        totals = bounds[:, tile * TILE_ROWS : (tile + 1) * TILE_ROWS]
        totals[:] = 0
        for term in range(terms):
            o_step = rows.steps[term]
            steps = rows.steps[term + 1] - o_step
            codes = o_codes + (tile * all_steps + o_step) * (4 * TILE_ROWS)
            for q in range(0, count, TILE_QUERIES):
                here = o_queries + (q // TILE_QUERIES * all_steps + o_step) * tile_bytes
                start = o_start + (term * filled + q) * 4
                if count == 1:
                    dot_tile(queries.codes, codes, here, steps, start, o_dots, 1)
                else:
                    dot_tile(queries.codes, codes, here, steps, start, o_dots, TILE_QUERIES)
                for i in range(min(TILE_QUERIES, count - q)):
                    add_term(
                        dots[i], np.int32(0), queries.sides[term, q + i], rows.sides[tile, term], power, totals[q + i]
                    )
        lower(totals, given_up)
