"""Lower bounds from 8-bit codes: a sixth of a float32 product's time and half the bytes of float16 rows.

With x, y the vectors measured from the packed block's centre, x = x^ + r_x, |r_x| <= e_x, and n = <x^, y^> / (s_x s_y)
exact in integers,

    |x - y|^2 = |x|^2 + |y|^2 - 2 <x, y>   and   <x, y> = <x^, y^> + <x^, r_y> + <r_x, y> <= s_x s_y n + slack,
    slack = (|x| + e_x) e_y + |y| e_x.

Far from y (a sketch is far from every photo) this is sharper than e_x + e_y off the distance: it is divided by it.
Bytes moved: 1 a value for each group of queries; sums, roots and weights stay in the cache.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.blocks import GalleryBlock
from kernels.bounds import FLOAT32_ROUNDOFF, weighted_sum_error
from kernels.cpu.direct import Slack, lowered, shrinking
from kernels.cpu.jit import any_order, part
from kernels.cpu.packed import (
    ERROR,
    LEVEL_WEIGHT,
    NORM,
    REGION_WEIGHT,
    SCALE,
    SQUARE,
    Packed,
    PackedQueries,
    pack_queries,
)
from kernels.cpu.threads import over
from kernels.cpu.vnni import TILE_QUERIES, TILE_ROWS, dot_tile
from kernels.reference import RegionFeatures

CANCELLED = np.float32(32 * FLOAT32_ROUNDOFF)
"""Float32 rounding of |x|^2 + |y|^2 - 2 s n - 2 slack, in units of |x|^2 + |y|^2.

e <= |x| (a code never moves a value further than 0 would), so |x^| <= 2|x|, 2 s n <= 4 (|x|^2 + |y|^2), and 2 slack <=
3 of these units. Roundings: the squares 1 u and their sum 1 u, the product's conversion, scales and product 3 u of 4,
the two subtractions of at most 5 and 8 units: 1 + 1 + 12 + 5 + 8 = 27, and slack's own is in its errors' 2^-20.
"""
VANISHED = np.float32(2.0**-96)
"""More than what falls below float32's normal range can take from a square: s n has n < 2^26 times 2^-126."""


RUN_TILES = 8
"""Tiles that a thread takes at a time: 4 MB of codes at 10,368 values a row."""


class Rough(NamedTuple):
    """Lower bounds of the canonical distances of Q queries and N rows, and what each level adds to them.

    bounds: float32 [Q, N], at most the sum of parts. parts: float32 [L, Q, N], lower bounds of a level's terms; empty
    for bounds that are sharp.
    """

    bounds: NDArray[np.float32]
    parts: NDArray[np.float32]


def screen(query: RegionFeatures, block: GalleryBlock, rows: Packed, region_weight_power: int) -> Rough:
    """Bounds of all pairs, dead rows too: never above the canonical distance."""
    queries, levels = pack_queries(query, rows), len(block.levels)
    result = Rough(
        np.empty((queries.sides.shape[1], len(block)), np.float32),
        np.empty((levels, queries.sides.shape[1], len(block)), np.float32),
    )
    factor = shrinking(1.01 * FLOAT32_ROUNDOFF * (2 + weighted_sum_error(len(rows.centre))))
    absolute = Slack(query, block, region_weight_power).absolute
    tiles = len(rows.codes)
    over(
        tiles,
        max(1, min(RUN_TILES, tiles // 8)),
        lambda first, last: _screen_tiles(queries, rows, region_weight_power, factor, absolute, first, last, result),
    )
    return result


@any_order
def _screen_tiles(
    queries: PackedQueries,
    rows: Packed,
    power: int,
    factor: float,
    absolute: float,
    first: int,
    last: int,
    result: Rough,
) -> None:
    """Fill the columns of result that tiles first to last hold."""
    levels, count, size = result.parts.shape
    terms = len(rows.centre)
    filled = queries.start.shape[1]
    dots = np.empty((TILE_QUERIES, TILE_ROWS), np.int32)
    totals = np.empty((levels, count, TILE_ROWS), np.float32)
    o_dots = dots.ctypes.data
    o_queries, o_start, o_codes = queries.codes.ctypes.data, queries.start.ctypes.data, rows.codes.ctypes.data
    all_steps = rows.steps[terms]
    for tile in range(first, last):
        totals[:] = 0
        for term in range(terms):
            o_step = rows.steps[term]
            steps = rows.steps[term + 1] - o_step
            codes = o_codes + (tile * all_steps + o_step) * (4 * TILE_ROWS)
            for q in range(0, count, TILE_QUERIES):
                here = o_queries + (q // TILE_QUERIES * all_steps + o_step) * (4 * TILE_QUERIES)
                start = o_start + (term * filled + q) * 4
                if count == 1:
                    dot_tile(codes, here, steps, start, o_dots, 1)
                else:
                    dot_tile(codes, here, steps, start, o_dots, TILE_QUERIES)
                for i in range(min(TILE_QUERIES, count - q)):
                    _add_term(
                        dots[i], queries.sides[term, q + i], rows.sides[tile, term], power, totals[term % levels, q + i]
                    )
        begin = tile * TILE_ROWS
        for q in range(count):
            for i in range(min(TILE_ROWS, size - begin)):
                bound = np.float32(0)
                for level in range(levels):
                    part_bound = lowered(totals[level, q, i], factor, absolute)
                    result.parts[level, q, begin + i] = part_bound
                    bound += part_bound
                # L additions round: 2^-20 covers 16 levels.
                result.bounds[q, begin + i] = bound * np.float32(1 - 2.0**-20)


@part
def _add_term(
    dots: NDArray[np.int32],
    query: NDArray[np.float32],
    rows: NDArray[np.float32],
    power: int,
    total: NDArray[np.float32],
) -> None:
    """Add a lower bound of w |x - y| for one query, region and level and a tile of rows."""
    half, two, zero = np.float32(0.5), np.float32(2), np.float32(0)
    scale, square, error = two * query[SCALE], query[SQUARE], two * query[ERROR]
    reach = two * query[NORM] + error
    for i in range(TILE_ROWS):
        squares = square + rows[SQUARE, i]
        apart = squares - (scale * rows[SCALE, i]) * np.float32(dots[i])
        apart -= reach * rows[ERROR, i] + rows[NORM, i] * error
        apart -= CANCELLED * squares + VANISHED
        # What overflowed, NaN included, bounds nothing.
        near = np.sqrt(apart if apart > zero else zero) if apart < np.float32(np.inf) else zero
        region = (query[REGION_WEIGHT] + rows[REGION_WEIGHT, i]) * half
        level = (query[LEVEL_WEIGHT] + rows[LEVEL_WEIGHT, i]) * half
        total[i] += level * (region * region if power == 2 else region) * near
