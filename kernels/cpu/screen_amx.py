"""The screen's loops around the AMX product.

For CHUNK queries and a term, what is read over and over fits the second cache: the queries, 0.4 MB at 1664 channels,
the tiles of a run, 0.6 MB, and their sums, 0.4 MB.
"""

import numpy as np
from numpy.typing import NDArray

from kernels.cpu.aligned import scratch
from kernels.cpu.amx import CONFIGURATION, ROW_BYTES, TILE_QUERIES, configure, multiply, release
from kernels.cpu.bound import add_term, lower
from kernels.cpu.direct import Slack
from kernels.cpu.jit import any_order
from kernels.cpu.packed import Packed
from kernels.cpu.packed_queries import PackedQueries
from kernels.cpu.tile import TILE_ROWS

CHUNK = 256


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
    dots = scratch(queries.start, 2 * TILE_QUERIES * TILE_ROWS).reshape(2 * TILE_QUERIES, TILE_ROWS)
    o_dots, o_codes, o_queries = dots.ctypes.data, rows.codes.ctypes.data, queries.codes.ctypes.data
    all_steps, all_places = rows.steps[terms], queries.places[terms]
    tile_bytes = all_places * (TILE_QUERIES * ROW_BYTES)
    tiles = CONFIGURATION.copy()
    tiles[48:55] = min(TILE_QUERIES, count)  # fewer queries of a tile take less time
    configure(tiles.ctypes.data)
    for chunk in range(0, count, CHUNK):
        stop = min(chunk + CHUNK, count)
        bounds[chunk:stop, first * TILE_ROWS : last * TILE_ROWS] = 0
        for term in range(terms):
            o_step, o_place = rows.steps[term], queries.places[term]
            blocks = queries.places[term + 1] - o_place
            for q in range(chunk, stop, 2 * TILE_QUERIES):
                here = o_queries + q // TILE_QUERIES * tile_bytes + o_place * (TILE_QUERIES * ROW_BYTES)
                for tile in range(first, last):
                    codes = o_codes + (tile * all_steps + o_step) * (4 * TILE_ROWS)
                    if stop - q > TILE_QUERIES:
                        multiply(codes, here, tile_bytes, blocks, o_dots, 2)
                    else:
                        multiply(codes, here, tile_bytes, blocks, o_dots, 1)
                    for i in range(min(2 * TILE_QUERIES, stop - q)):
                        total = bounds[q + i, tile * TILE_ROWS : (tile + 1) * TILE_ROWS]
                        start = queries.start[term, q + i]
                        add_term(dots[i], start, queries.sides[term, q + i], rows.sides[tile, term], power, total)
        lower(bounds[chunk:stop, first * TILE_ROWS : last * TILE_ROWS], given_up)
    release()
