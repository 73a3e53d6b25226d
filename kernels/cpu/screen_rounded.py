"""Lower bounds of all pairs from rows that have no codes, by products in bfloat16: see `bound` for the proof.

Bytes moved: the rows as they are stored, once for all queries; each tile's vectors of a region and level are rounded to
where they stay in the second cache while all queries pass.
"""

import numpy as np
from numpy.typing import NDArray

from kernels.blocks import GalleryBlock
from kernels.cpu.aligned import scratch
from kernels.cpu.amx import CONFIGURATION, TILE_QUERIES, configure, release
from kernels.cpu.amx_bfloat16 import available, multiply
from kernels.cpu.bound import add_rounded_term
from kernels.cpu.direct import AHEAD_BYTES, Slack, lowered
from kernels.cpu.jit import any_order
from kernels.cpu.packed import ERROR, LEVEL_WEIGHT, NORM, REGION_WEIGHT, SCALE, SQUARE
from kernels.cpu.rounded import CHANNELS, HALF, PAIRS_BYTES, WIDEST, RoundedQueries, round_places, round_rest, sides_of
from kernels.cpu.rows import Rows, held
from kernels.cpu.screen import given_up_by_products, run_of
from kernels.cpu.threads import Work
from kernels.cpu.tile import TILE_ROWS
from kernels.reference import RegionFeatures


def can_be_rounded(block: GalleryBlock) -> bool:
    """Whether this processor multiplies bfloat16, and there are rows, none too wide for the sums of their squares."""
    return available() and len(block) > 0 and max(level.shape[2] for level in block.levels) <= WIDEST


def screening(
    query: RegionFeatures, queries: RoundedQueries, block: GalleryBlock, region_weight_power: int
) -> tuple[NDArray[np.float32], Work]:
    """Bounds of all pairs, dead rows too, never above the canonical distance: float32 [Q, N]; the work that fills them.

    queries: those of query, rounded.
    """
    theirs, terms = held(block), len(queries.centre)
    bounds = np.empty((len(query.region_weights), len(block)), np.float32)
    given_up = given_up_by_products(query, block, terms, region_weight_power)

    def run(first: int, last: int) -> None:
        _fill(queries, theirs.rows, region_weight_power, given_up, first, last, bounds)

    tiles = -(-len(block) // TILE_ROWS)
    return bounds, Work(tiles, run_of(tiles), run)


@any_order
def _fill(
    queries: RoundedQueries,
    gallery: Rows,
    power: int,
    given_up: Slack,
    first: int,
    last: int,
    bounds: NDArray[np.float32],
) -> None:
    """Fill the columns of bounds [Q, N] that tiles first to last hold."""
    rows, regions = gallery.region_weights.shape
    # A cache line more than a row needs keeps rows of 2^n channels out of each other's place in the first cache.
    room = -(-queries.centre.shape[1] // CHANNELS) * HALF + HALF
    near = scratch(queries.pairs, regions * TILE_ROWS * room).reshape(regions, TILE_ROWS, room)
    rest = scratch(queries.centre, 2 * CHANNELS)
    dots = scratch(queries.centre, 2 * TILE_ROWS * TILE_QUERIES).reshape(2, TILE_ROWS, TILE_QUERIES)
    sides = np.empty((regions, TILE_ROWS, 6), np.float32)
    totals = np.empty((TILE_ROWS, len(queries.pairs), TILE_QUERIES), np.float32)
    configure(CONFIGURATION.ctypes.data)
    for tile in range(first, last):
        start = tile * TILE_ROWS
        count = min(TILE_ROWS, rows - start)
        totals[:] = 0
        for level in range(len(gallery.base)):
            _round_rows(gallery, queries.centre, level, start, count, near, sides, rest)
            _add_products(queries, near, sides, level, power, dots, totals[:count])
        for q in range(len(bounds)):
            for i in range(count):
                bounds[q, start + i] = lowered(totals[i, q // TILE_QUERIES, q % TILE_QUERIES], given_up)
    release()


@any_order
def _round_rows(
    gallery: Rows,
    centre: NDArray[np.float32],
    level: int,
    start: int,
    count: int,
    near: NDArray[np.uint32],
    sides: NDArray[np.float32],
    rest: NDArray[np.float32],
) -> None:
    """Round a level's vectors of `count` rows, as they lie in memory, to near [R, TILE_ROWS, ..] and sides."""
    regions, levels, value = len(near), len(gallery.base), gallery.stored.itemsize
    channels = gallery.channels[level]
    places = channels // CHANNELS
    o_near, o_centre = near.ctypes.data, centre.ctypes.data
    for i in range(count):
        for r in range(regions):
            o_row = gallery.base[level] + ((start + i) * gallery.row[level] + r * gallery.region[level]) * value
            o_to = o_near + (r * TILE_ROWS + i) * near.shape[2] * near.itemsize
            o_from = o_centre + (r * levels + level) * centre.shape[1] * centre.itemsize
            # Not one part that takes `gallery`: counting its references would wait for all that is read.
            square = round_places(gallery.stored, o_row, o_from, places, o_to, o_row + AHEAD_BYTES)
            if places * CHANNELS < channels:
                square += round_rest(gallery.stored, o_row, o_from, channels, o_to, rest)
            scale, square, norm, error = sides_of(square, channels)
            sides[r, i, SCALE], sides[r, i, SQUARE], sides[r, i, NORM], sides[r, i, ERROR] = scale, square, norm, error
            sides[r, i, REGION_WEIGHT] = gallery.region_weights[start + i, r]
            sides[r, i, LEVEL_WEIGHT] = gallery.level_weights[start + i, r, level]


@any_order
def _add_products(
    queries: RoundedQueries,
    near: NDArray[np.uint32],
    sides: NDArray[np.float32],
    level: int,
    power: int,
    dots: NDArray[np.float32],
    totals: NDArray[np.float32],
) -> None:
    """Add a level's terms of the rounded rows to totals [rows, tiles of queries, 16], by way of dots [2, .., 16]."""
    regions, tiles, stride = len(near), len(queries.pairs), near.shape[2] * near.itemsize
    levels, all_places = len(queries.centre) // regions, queries.places[len(queries.centre)]
    o_dots, apart = dots.ctypes.data, all_places * PAIRS_BYTES
    for r in range(regions):
        term = r * levels + level
        places = queries.places[term + 1] - queries.places[term]
        o_near = near.ctypes.data + r * TILE_ROWS * stride
        for group in range(0, tiles, 2):
            o_group = queries.pairs.ctypes.data + (group * all_places + queries.places[term]) * PAIRS_BYTES
            if group + 1 < tiles:
                multiply(o_near, stride, o_group, apart, places, o_dots, 2)
            else:
                multiply(o_near, stride, o_group, apart, places, o_dots, 1)
            for number in range(group, min(group + 2, tiles)):
                side = queries.sides[number, term]
                for i in range(len(totals)):
                    add_rounded_term(dots[number - group, i], sides[r, i], side, power, totals[i, number])
