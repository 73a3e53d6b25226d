"""The screen's loops around the AMX product.

For CHUNK queries and a term, what is read over and over fits the second cache: the queries' limbs, 0.2 MB at 1664
channels, a tile of rows, 80 KB, and the sums of a run of tiles.
"""

import numpy as np
from numpy.typing import NDArray

from kernels.cpu.amx import LIMBS, ROW_BYTES, ROW_TILE, STEPS, TILE_QUERIES, configure, multiply, release
from kernels.cpu.bound import add_term
from kernels.cpu.direct import Slack, lowered
from kernels.cpu.jit import any_order
from kernels.cpu.packed import Packed
from kernels.cpu.packed_queries import PackedQueries
from kernels.cpu.vnni import TILE_ROWS

CHUNK = 64


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
    """Fill the columns of bounds [Q, N] that tiles first to last hold. parts: empty; these bounds are sharp enough."""
    count, size = bounds.shape
    terms = len(rows.centre)
    dots = np.empty((LIMBS, TILE_QUERIES, TILE_ROWS), np.int32)
    products = np.empty(TILE_ROWS, np.float32)
    o_dots, o_codes, o_queries = dots.ctypes.data, rows.codes.ctypes.data, queries.codes.ctypes.data
    all_steps, all_blocks = rows.steps[terms], queries.places[terms]
    begin, end = first * TILE_ROWS, min(last * TILE_ROWS, size)
    tiles = np.zeros(64, np.uint8)
    tiles[0] = 1  # the palette of eight tiles
    tiles[16:32:2] = ROW_BYTES
    tiles[48:56] = min(TILE_QUERIES, count)  # fewer rows of a tile take less time
    tiles[48 + ROW_TILE] = STEPS
    configure(tiles.ctypes.data)
    for chunk in range(0, count, CHUNK):
        stop = min(chunk + CHUNK, count)
        bounds[chunk:stop, begin:end] = 0
        for term in range(terms):
            o_step, o_block = rows.steps[term], queries.places[term]
            blocks = queries.places[term + 1] - o_block
            for q in range(chunk, stop, TILE_QUERIES):
                place = q // TILE_QUERIES * all_blocks + o_block
                here = o_queries + place * (LIMBS * TILE_QUERIES * ROW_BYTES)
                for tile in range(first, last):
                    multiply(o_codes + (tile * all_steps + o_step) * (4 * TILE_ROWS), here, blocks, o_dots)
                    left, right = tile * TILE_ROWS, min((tile + 1) * TILE_ROWS, size)
                    for i in range(min(TILE_QUERIES, stop - q)):
                        upper, lower = queries.start[0, term, q + i], queries.start[1, term, q + i]
                        for g in range(TILE_ROWS):
                            products[g] = np.float32(128) * np.float32(dots[0, i, g] + upper) + np.float32(
                                dots[1, i, g] + lower
                            )
                        total = bounds[q + i, left:right]
                        add_term(products, queries.sides[term, q + i], rows.sides[tile, term], power, total)
        for q in range(chunk, stop):
            for g in range(begin, end):
                bounds[q, g] = lowered(bounds[q, g], given_up)
    release()
