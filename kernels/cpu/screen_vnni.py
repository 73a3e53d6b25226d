"""The screen's loops around the VNNI product: tile by tile of rows, all terms and queries while it is cached."""

import numpy as np
from numpy.typing import NDArray

from kernels.cpu.bound import add_term, finish
from kernels.cpu.direct import Slack
from kernels.cpu.jit import any_order
from kernels.cpu.packed import Packed
from kernels.cpu.packed_queries import PackedQueries
from kernels.cpu.vnni import TILE_QUERIES, TILE_ROWS, dot_tile


@any_order
def fill(
    queries: PackedQueries,
    rows: Packed,
    power: int,
    given_up: Slack,
    first: int,
    last: int,
    bounds: NDArray[np.float32],
    parts: NDArray[np.float32],
) -> None:
    """Fill the columns of bounds [Q, N] and parts [L, Q, N] that tiles first to last hold."""
    levels, count, size = parts.shape
    terms = len(rows.centre)
    filled = queries.start.shape[2]
    dots = np.empty((TILE_QUERIES, TILE_ROWS), np.int32)
    products = np.empty(TILE_ROWS, np.float32)
    o_dots = dots.ctypes.data
    o_queries, o_start, o_codes = queries.codes.ctypes.data, queries.start.ctypes.data, rows.codes.ctypes.data
    all_steps = rows.steps[terms]
    for tile in range(first, last):
        begin = tile * TILE_ROWS
        end = min(begin + TILE_ROWS, size)
        parts[:, :, begin:end] = 0
        for term in range(terms):
            o_step = rows.steps[term]
            steps = rows.steps[term + 1] - o_step
            codes = o_codes + (tile * all_steps + o_step) * (4 * TILE_ROWS)
            side = rows.sides[tile, term]
            for q in range(0, count, TILE_QUERIES):
                here = o_queries + (q // TILE_QUERIES * all_steps + o_step) * (4 * TILE_QUERIES)
                start = o_start + (term * filled + q) * 4
                if count == 1:
                    dot_tile(codes, here, steps, start, o_dots, 1)
                else:
                    dot_tile(codes, here, steps, start, o_dots, TILE_QUERIES)
                for i in range(min(TILE_QUERIES, count - q)):
                    for g in range(TILE_ROWS):
                        products[g] = dots[i, g]
                    total = parts[term % levels, q + i, begin:end]
                    add_term(products, queries.sides[term, q + i], side, power, total)
        finish(parts, bounds, (0, count), (begin, end), given_up)
