"""Vectors rounded to bfloat16, as the matrix units multiply them, measured from a centre: x = x^ + r, |r| <= error.

Nothing is kept of the rows: they are rounded each time they are read, six instructions for 16 values. The error is not
measured, which would take three more, but bounded: 0.4 % of |x|, where 8-bit codes lose about 1 %.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from kernels.bounds import FLOAT32_ROUNDOFF
from kernels.cpu import aligned
from kernels.cpu.amx import ROW_BYTES, TILE_QUERIES
from kernels.cpu.codes import UNDERFLOW
from kernels.cpu.jit import any_order, part
from kernels.cpu.lanes import loop
from kernels.cpu.packed import ERROR, LEVEL_WEIGHT, NORM, REGION_WEIGHT, SCALE, SQUARE
from kernels.cpu.rows import CACHE_LINE, Held, Rows, as_float32, ask_for, load, stored_type
from kernels.cpu.threads import over
from kernels.cpu.vectors import FLAGS, WIDE, load_lanes, sum_of_lanes

HALF = 16
CHANNELS = 2 * HALF
"""That a place takes, as 16 pairs: channel c lies beside channel c + 16, which takes one instruction to put there."""
PAIRS_BYTES = HALF * ROW_BYTES
"""Of a place of 16 queries."""
WIDEST = 2048
"""Channels whose squares add up in float32 to within 73 u, of `bound.KEPT`'s 133: 64 in a lane, 5 sums of lanes."""
BFLOAT16_ROUNDOFF = 2.0**-8
RUN = 2 * TILE_QUERIES
"""Queries that a thread takes at a time."""
_SIXTEEN = ir.VectorType(ir.IntType(32), HALF)


class RoundedQueries(NamedTuple):
    """Q queries in tiles of 16, measured from a centre.

    pairs: uint32 [tiles, places of all terms, 16, 16]: two channels of a query, queries innermost; after the last of
    any value.
    sides: float32 [tiles, terms, 6, 16], as in `Packed`.
    places: int64 [terms + 1], where each term's places of 32 channels begin.
    centre: float32 [terms, largest C_l].
    """

    pairs: NDArray[np.uint32]
    sides: NDArray[np.float32]
    places: NDArray[np.int64]
    centre: NDArray[np.float32]


def round_queries(ours: Held, centre: NDArray[np.float32]) -> RoundedQueries:
    """Queries in bfloat16, measured from a centre [terms, largest C_l]."""
    queries, regions = ours.rows.region_weights.shape
    channels, tiles = np.tile(ours.rows.channels, regions), -(-queries // TILE_QUERIES)
    places = np.concatenate(([0], np.cumsum(-(-channels // CHANNELS)))).astype(np.int64)
    result = RoundedQueries(
        aligned.empty((tiles, int(places[-1]), HALF, TILE_QUERIES), np.uint32),
        aligned.zeros((tiles, len(centre), 6, TILE_QUERIES), np.float32),
        places,
        centre,
    )
    over(queries, RUN, lambda first, last: _round_queries(ours.rows, first, last, result))
    return result


@any_order
def _round_queries(query: Rows, first: int, last: int, rounded: RoundedQueries) -> None:
    """Fill queries first to last."""
    regions, levels, value = query.region_weights.shape[1], len(query.base), query.stored.itemsize
    room = aligned.scratch(rounded.pairs, -(-rounded.centre.shape[1] // CHANNELS) * HALF)
    rest = aligned.scratch(rounded.centre, 2 * CHANNELS)
    for q in range(first, last):
        tile, column = q // TILE_QUERIES, q % TILE_QUERIES
        for r in range(regions):
            for level in range(levels):
                term, channels = r * levels + level, query.channels[level]
                o_query = query.base[level] + (q * query.row[level] + r * query.region[level]) * value
                o_centre, o_room = rounded.centre[term].ctypes.data, room.ctypes.data
                square = round_places(query.stored, o_query, o_centre, channels // CHANNELS, o_room, o_query)
                if channels % CHANNELS:
                    square += round_rest(query.stored, o_query, o_centre, channels, o_room, rest)
                side = rounded.sides[tile, term, :, column]
                side[SCALE], side[SQUARE], side[NORM], side[ERROR] = sides_of(square, channels)
                side[REGION_WEIGHT], side[LEVEL_WEIGHT] = query.region_weights[q, r], query.level_weights[q, r, level]
                target = rounded.pairs[tile, rounded.places[term] : rounded.places[term + 1]]
                for place in range(len(target)):
                    for pair in range(HALF):
                        target[place, pair, column] = room[place * HALF + pair]


@part
def round_rest(
    stored: NDArray[np.generic], address: int, centre: int, channels: int, pairs: int, rest: NDArray[np.float32]
) -> np.float32:
    """Round the channels of a vector that no whole place holds, filled up with zeros; the sum of their squares.

    Addresses of the vector, its centre and its pairs; rest: float32 [2 CHANNELS], to work in.
    """
    first = channels // CHANNELS * CHANNELS
    rest[:] = 0
    for c in range(first, channels):
        rest[c - first], rest[c - first + CHANNELS] = load(stored, address, c), load(rest, centre, c)
    o_rest = rest.ctypes.data
    return round_places(rest, o_rest, o_rest + CHANNELS * 4, 1, pairs + 2 * first, o_rest)


@part
def sides_of(square: np.float32, channels: int) -> tuple[np.float32, np.float32, np.float32, np.float32]:
    """(SCALE, SQUARE, NORM, ERROR), float32, of a rounded vector whose values' squares add up to `square`.

    With u float32's unit roundoff and v bfloat16's: the difference from the centre is off by u |x|, and rounding it by
    v (1 + u) |x|. A lane adds up to `WIDEST` / 32 = 64 squares, and five sums and the rest's follow: with the rounding
    of x, which counts twice, and of its square, |x|^2 is within 73 u. What vanishes is less than 2^-126 of each square,
    which is given back here, and of each value, which the units take for 0: far less than v |x| is with that.
    Half of what the product of two rounded vectors may be off by is in each one's error: C products, exact in float32,
    are added in any order, each sum within u, twice that for units that round otherwise, so 2 u C |x^| |y^|, and
    |x^| <= (1 + v) |x|. 2^-6 of all this covers the products of small things, the norm's own rounding and what a
    float32 bound does with both.
    """
    lost = np.float32((BFLOAT16_ROUNDOFF + FLOAT32_ROUNDOFF * (channels + 2)) * (1 + 2.0**-6))
    square += np.float32(channels * UNDERFLOW)
    norm = np.sqrt(square)
    return np.float32(1), square, norm, norm * lost


def _places(
    typing_context: Any, stored: Any, address: Any, centre: Any, places: Any, to: Any, ahead: Any
) -> tuple[Any, Callable[..., Any]]:
    """Round `places` times CHANNELS values at `address`, less those at `centre`, to `to`; their squares' sum, float32.

    stored: an array of the values' type. From `ahead` on as many bytes are asked for.
    """
    width = stored.dtype.bitwidth // 8

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, address, centre, places, to, ahead = arguments

        def every_lane(value: int) -> Any:
            return ir.Constant(_SIXTEEN, [value] * HALF)

        def add(place: Any, totals: list[Any]) -> list[Any]:
            def at(base: Any, size: int, first: int = 0) -> Any:
                return builder.add(base, builder.add(builder.mul(place, WIDE(CHANNELS * size)), WIDE(first * size)))

            for line in range(0, CHANNELS * width, CACHE_LINE):
                ask_for(builder, builder.add(at(ahead, width), WIDE(line)))
            bits, sums = [], []
            for first, total in zip((0, HALF), totals, strict=True):
                value = load_lanes(builder, at(address, width, first), stored_type(stored.dtype), width, HALF)
                origin = load_lanes(builder, at(centre, 4, first), ir.FloatType(), 4, HALF)
                x = builder.fsub(as_float32(builder, value, stored.dtype, HALF), origin, flags=FLAGS)
                sums.append(builder.fadd(total, builder.fmul(x, x, flags=FLAGS), flags=FLAGS))
                # To the nearest, halves away from 0: the upper 16 bits are the bfloat16.
                bits.append(builder.add(builder.bitcast(x, _SIXTEEN), every_lane(0x8000)))
            lower = builder.lshr(bits[0], every_lane(16))
            both = builder.or_(lower, builder.and_(bits[1], every_lane(0xFFFF0000)))
            builder.store(both, builder.inttoptr(at(to, 2), _SIXTEEN.as_pointer()), align=CACHE_LINE)
            return sums

        zeros = ir.Constant(ir.VectorType(ir.FloatType(), HALF), [0.0] * HALF)
        lower, upper = loop(builder, places, [zeros, zeros], add)
        return sum_of_lanes(builder, builder.fadd(lower, upper, flags=FLAGS))

    return types.float32(stored, *[types.int64] * 5), generate


round_places = cast(Callable[[NDArray[np.generic], int, int, int, int, int], np.float32], intrinsic(_places))
