"""Queries as 8-bit codes, in the order the integer products read them."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.cpu import aligned, amx
from kernels.cpu.codes import encode
from kernels.cpu.jit import any_order
from kernels.cpu.packed import ERROR, LEVEL_WEIGHT, NORM, REGION_WEIGHT, SCALE, SQUARE
from kernels.cpu.products import Product
from kernels.cpu.rows import CACHE_LINE, Held, Rows, fetch
from kernels.cpu.threads import over
from kernels.cpu.tile import TILE_QUERIES

RUNS = 8
"""Into so many the queries are divided for the threads."""


class PackedQueries(NamedTuple):
    """Q queries in tiles, measured from one centre.

    codes: int8 [tiles, places of all terms, 8, 4] for VNNI, int16 for AVX2, or int8 [.., 16, 64] for AMX: queries of a
    tile, after the last of any value, and channels of a place, filled up with code 0.
    start: int32 [terms, Q filled up], -128 times the sum of codes, which takes back the 128 in the rows' codes.
    sides: float32 [terms, Q, 6], as the rows' sides.
    places: int64 [terms + 1], where each term's places begin.
    """

    codes: NDArray[np.int8] | NDArray[np.int16]
    start: NDArray[np.int32]
    sides: NDArray[np.float32]
    places: NDArray[np.int64]

    @property
    def product(self) -> Product:
        """Which product takes this order and type."""
        if self.codes.shape[3] == amx.ROW_BYTES:
            return "amx"
        return "vnni" if self.codes.dtype == np.int8 else "avx2"


def pack_queries(ours: Held, centre: NDArray[np.float32], product: Product) -> PackedQueries:
    """Queries as codes measured from the rows' centre [terms, largest C_l]."""
    queries, terms = len(ours.rows.region_weights), len(centre)
    tile, width = (amx.TILE_QUERIES, amx.ROW_BYTES) if product == "amx" else (TILE_QUERIES, 4)
    kind = np.int16 if product == "avx2" else np.int8
    channels = np.tile(ours.rows.channels, ours.rows.region_weights.shape[1])
    places = np.concatenate(([0], np.cumsum(-(-channels // width)))).astype(np.int64)
    tiles = -(-queries // tile)
    result = PackedQueries(
        aligned.empty((tiles, int(places[-1]), tile, width), kind),
        np.zeros((terms, tiles * tile), np.int32),
        np.zeros((terms, queries, 6), np.float32),
        places,
    )
    run = -(-queries // (RUNS * tile)) * tile
    over(queries, run, lambda first, last: _pack(ours.rows, first, last, centre, result))
    return result


@any_order
def _pack(query: Rows, first: int, last: int, centre: NDArray[np.float32], packed: PackedQueries) -> None:
    """Fill queries first to last."""
    regions, levels, value = query.region_weights.shape[1], len(query.base), query.stored.itemsize
    tile, width = packed.codes.shape[2:]
    values = np.empty(centre.shape[1], np.float32)
    codes = np.zeros(-(-centre.shape[1] // width) * width, np.int8)
    as_taken = np.empty(len(codes), packed.codes.dtype)
    # Copied four bytes at a time.
    source, words = as_taken.view(np.int32), packed.codes.view(np.int32)
    for q in range(first, last):
        for r in range(regions):
            for level in range(levels):
                term = r * levels + level
                channels = query.channels[level]
                side = packed.sides[term, q]
                o_query = query.base[level] + (q * query.row[level] + r * query.region[level]) * value
                for line in range(0, channels * value, CACHE_LINE):
                    fetch(o_query + query.row[level] * value + line)
                side[SCALE], side[SQUARE], side[NORM], side[ERROR] = encode(
                    query.stored, o_query, centre[term], values[:channels], codes[:channels]
                )
                side[REGION_WEIGHT] = query.region_weights[q, r]
                side[LEVEL_WEIGHT] = query.level_weights[q, r, level]
                total = np.int32(0)
                for c in range(channels):
                    total += np.int32(codes[c])
                packed.start[term, q] = -128 * total
                codes[channels:] = 0
                for c in range(len(codes)):
                    as_taken[c] = codes[c]
                target = words[q // tile, packed.places[term] : packed.places[term + 1], q % tile]
                for place in range(len(target)):
                    for word in range(target.shape[1]):
                        target[place, word] = source[place * target.shape[1] + word]
