"""Queries as integer codes, in the order the integer products read them."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.cpu import amx, vnni
from kernels.cpu.codes import LEVELS, TWO_LIMBS, encode
from kernels.cpu.jit import any_order
from kernels.cpu.packed import ERROR, LEVEL_WEIGHT, NORM, REGION_WEIGHT, SCALE, SQUARE
from kernels.cpu.rows import Held, Rows
from kernels.cpu.threads import over


class PackedQueries(NamedTuple):
    """Q queries in tiles of 8 (one limb, for VNNI) or 16 (two, for AMX), measured from one centre.

    codes: int8 [tiles, steps of all terms, 8, 4] or [tiles, blocks of all terms, 2, 16, 64]: a block is 64 channels,
    filled up with code 0.
    start: int32 [limbs, terms, Q filled up], -128 times the sum of a limb, which takes back the 128 in the rows' codes.
    sides: float32 [terms, Q, 6], as the rows' sides.
    places: int64 [terms + 1], where each term's steps or blocks begin.
    """

    codes: NDArray[np.int8]
    start: NDArray[np.int32]
    sides: NDArray[np.float32]
    places: NDArray[np.int64]


def pack_queries(ours: Held, centre: NDArray[np.float32], limbs: int) -> PackedQueries:
    """Queries as codes of 8 bits for each of the `limbs`, measured from the rows' centre [terms, largest C_l]."""
    queries, terms = len(ours.rows.region_weights), len(centre)
    tile, width = (vnni.TILE_QUERIES, 4) if limbs == 1 else (amx.TILE_QUERIES, amx.ROW_BYTES)
    channels = np.tile(ours.rows.channels, ours.rows.region_weights.shape[1])
    places = np.concatenate(([0], np.cumsum(-(-channels // width)))).astype(np.int64)
    tiles = -(-queries // tile)
    shape = (tiles, int(places[-1]), tile, width) if limbs == 1 else (tiles, int(places[-1]), limbs, tile, width)
    result = PackedQueries(
        np.zeros(shape, np.int8),
        np.zeros((limbs, terms, tiles * tile), np.int32),
        np.zeros((terms, queries, 6), np.float32),
        places,
    )
    flat = result.codes.reshape(-1, tile, width)
    over(queries, tile, lambda first, last: _pack(ours.rows, first, last, centre, limbs, flat, result))
    return result


@any_order
def _pack(
    query: Rows,
    first: int,
    last: int,
    centre: NDArray[np.float32],
    limbs: int,
    flat: NDArray[np.int8],
    packed: PackedQueries,
) -> None:
    """Fill queries first to last. flat: the codes [tiles * places * limbs, queries of a tile, channels of a place]."""
    regions, levels, value = query.region_weights.shape[1], len(query.base), query.stored.itemsize
    tile, width, places = flat.shape[1], flat.shape[2], packed.places[-1]
    codes = np.empty(centre.shape[1], np.int16)
    for q in range(first, last):
        for r in range(regions):
            for level in range(levels):
                term = r * levels + level
                channels = query.channels[level]
                side = packed.sides[term, q]
                o_query = query.base[level] + (q * query.row[level] + r * query.region[level]) * value
                side[SCALE], side[SQUARE], side[NORM], side[ERROR] = encode(
                    query.stored, o_query, centre[term], LEVELS if limbs == 1 else TWO_LIMBS, codes[:channels]
                )
                side[REGION_WEIGHT] = query.region_weights[q, r]
                side[LEVEL_WEIGHT] = query.level_weights[q, r, level]
                place = (q // tile * places + packed.places[term]) * limbs
                upper, lower = 0, 0
                for begin in range(0, channels, width):
                    inside = min(width, channels - begin)
                    high = flat[place, q % tile]
                    if limbs == 1:
                        for c in range(inside):
                            high[c] = codes[begin + c]
                    else:
                        low = flat[place + 1, q % tile]
                        for c in range(inside):
                            code = codes[begin + c]
                            high[c] = (code + 64) >> 7
                            low[c] = ((code + 64) & 127) - 64
                            lower += low[c]
                    for c in range(inside):
                        upper += high[c]
                    place += limbs
                packed.start[0, term, q] = -128 * upper
                if limbs > 1:
                    packed.start[1, term, q] = -128 * lower
